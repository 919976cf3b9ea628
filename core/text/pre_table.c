/* text/pre_table.c: the pre-tokenizers known by a GGUF name: all of llama.cpp's llama-vocab.cpp.
 * Patterns as in the models' own tokenizer.json; of rows with equal patterns the first is the name
 * written. */
#include "text/pretok.h"

const char mtk_text_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char mtk_text_pattern_digit[] = "\\p{N}";

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL         "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3                                                                                     \
  CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"                                        \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define QWEN2                                                                                      \
  CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"                                             \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define QWEN35                                                                                     \
  CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"                                     \
               "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL
#define WORD_LOWER                                                                                 \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define WORD_UPPER                                                                                 \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
#define PUNCTUATION_SLASH "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
#define TEKKEN            WORD_LOWER "|" WORD_UPPER "|\\p{N}" PUNCTUATION_SLASH TAIL
#define O200K                                                                                      \
  WORD_LOWER CONTRACTIONS "?|" WORD_UPPER CONTRACTIONS "?|\\p{N}{1,3}" PUNCTUATION_SLASH TAIL
#define DEEPSEEK3                                                                                  \
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"                                          \
  "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+"                \
  "|\\s+(?!\\S)|\\s+"

#define NO_CONTRACTIONS                                                                            \
  "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"                                                           \
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define O200K_DIGIT                                                                                \
  WORD_LOWER CONTRACTIONS "?|" WORD_UPPER CONTRACTIONS "?|\\p{N}" PUNCTUATION_SLASH TAIL
#define KANA              "[一-龥\u3040-ゟ゠-ヿ]+"
#define BLOOM             " ?[^(\\s|.,!?…。，、।۔،)]+"
#define LINES             "[^\\n]+|[\\n]+"
#define HUNDREDS          "[0-9][0-9][0-9]"
#define LATIN_PUNCTUATION "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
/* Moonshot's pattern: words without Chinese characters. */
#define NOT_HAN(class) "(?:(?!\\p{Han})" class ")"
#define KIMI_HEAD      "[^\\r\\n\\p{L}\\p{N}]?"
#define KIMI                                                                                       \
  "\\p{Han}+|" KIMI_HEAD NOT_HAN("[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]") "*" NOT_HAN(              \
      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]") "+" CONTRACTIONS "?|" KIMI_HEAD                             \
      NOT_HAN("[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]") "+" NOT_HAN(                                 \
          "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]") "*" CONTRACTIONS "?|\\p{N}{1,3}"                        \
                                           "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define SPACES(n) "|\\s{" #n "}(?!\\S)"
#define JAIS2                                                                                      \
  CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"                                        \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+" SPACES(512) SPACES(256) SPACES(128) \
                   SPACES(64) SPACES(32) SPACES(16) SPACES(8) SPACES(4) "|\\s{1,2}(?!\\S)|\\s{1}"
/* deepseek-llm's letters and punctuation, from its tokenizer.json */
static const char deepseek_letters[] =
    "\\s?["
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-"
    "ᶚ"
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBEῂ-ῄῆ-ῌῐ-\u1FD3ῖ-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126"
    "ℨ\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-"
    "𐓻𐲀-𐲲𐳀-𐳲"
    "𑢠-𑣟𞤀-𞥃"
    "]+";
#define DEEPSEEK_PUNCTUATION "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"
#define BAILING                                                                                    \
  "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"                                    \
  "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define THOUSANDS "\\d{1,3}(?=(?:\\d{3})*\\b)"

enum {
  DIGITS = TEXT_PRE_DIGITS,
  WHOLE = TEXT_PRE_WHOLE,
  NFC = TEXT_PRE_NFC,
  BOS = TEXT_PRE_BOS,
  SPACED = TEXT_PRE_SPACED,
  WORDS = TEXT_PRE_WORDS
};

const text_pre mtk_text_pre_table[] = {
    /* name, patterns, flags */
    {"gpt-2", {mtk_text_pattern_gpt2}, 0},
    {"smollm", {mtk_text_pattern_gpt2}, DIGITS},
    {"llama-bpe", {LLAMA3}, WHOLE | BOS},
    {"qwen2", {QWEN2}, NFC},
    {"tekken", {TEKKEN}, WHOLE | BOS},
    {"gpt-4o", {O200K}, WHOLE},
    {"deepseek-v3", {"\\p{N}{1,3}", KANA, DEEPSEEK3}, 0},
    {"deepseek-coder",
     {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\uD7FF]+", mtk_text_pattern_digit},
     0},
    {"deepseek-llm",
     {"[\r\n]", deepseek_letters, DEEPSEEK_PUNCTUATION, "\\s+$", "[一-龥ࠀ-一가-\uD7FF]+",
      "\\p{N}+"},
     0},
    {"qwen35", {QWEN35}, NFC},
    {"gemma4", {LINES}, WHOLE | BOS | SPACED},
    {"kimi-k2", {KIMI}, 0},
    {"smaug-bpe", {LLAMA3}, 0},
    {"ufakzeka", {NO_CONTRACTIONS}, 0},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", mtk_text_pattern_gpt2, HUNDREDS}, 0},
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", mtk_text_pattern_gpt2, "\\p{N}+", HUNDREDS}, 0},
    {"bloom", {BLOOM}, 0},
    {"viking", {BLOOM, mtk_text_pattern_digit}, 0},
    {"chameleon",
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
      mtk_text_pattern_digit, "[\\p{P}!-/:-@\\[-`{-~]", mtk_text_pattern_gpt2},
     BOS},
    {"tiny_aya", {THOUSANDS, O200K}, 0},
    {"superbpe", {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}, 0},
    {"bailingmoe", {BAILING}, 0},
    {"seed-coder",
     {CONTRACTIONS "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}"
                   "| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
     0},
    {"exaone-moe",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
                   "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
     0},
    {"jais-2", {JAIS2}, 0},
    {"spark2_5",
     {"\\p{N}{1,3}", KANA,
      LATIN_PUNCTUATION "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\r\n]"
                        "|\\s+(?!\\S)|\\s+",
      mtk_text_pattern_digit},
     0},
    {"youtu",
     {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" KANA,
      O200K_DIGIT},
     WHOLE},
    {"afmoe",
     {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
      "[一-鿿㐀-䶿\uF900-\uFAFF\u3040-ゟ゠-ヿ･-ﾟ⼀-⿟\u0E00-\u0E7F\u0E80-\u0EFF\u1780-"
      "\u17FF"
      "\u1000-\u109F\uAA60-\uAA7F\uA9E0-\uA9FF가-\uD7AFᄀ-ᇿ]+",
      LATIN_PUNCTUATION
      "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL},
     0},
    {"laguna", {LINES, QWEN2}, 0},
    {"minicpm5",
     {"\\p{N}{1,3}", CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+"
                                  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL},
     WHOLE},
    {"whitespace", {NULL}, WORDS},
    /* further names of the same things */
    {"llama3", {LLAMA3}, WHOLE | BOS},
    {"llama-v3", {LLAMA3}, WHOLE | BOS},
    {"falcon3", {LLAMA3}, WHOLE | BOS},
    {"falcon-h1", {LLAMA3}, WHOLE | BOS},
    {"pixtral", {LLAMA3}, WHOLE | BOS},
    {"midm-2.0", {LLAMA3}, WHOLE | BOS},
    {"lfm2", {LLAMA3}, WHOLE | BOS},
    {"jina-v5-nano", {LLAMA3}, WHOLE | BOS},
    {"dbrx", {LLAMA3}, 0},
    {"chatglm-bpe", {LLAMA3}, 0},
    {"glm4", {LLAMA3}, 0},
    {"deepseek-r1-qwen", {QWEN2}, 0},
    {"stablelm2", {QWEN2}, 0},
    {"hunyuan", {QWEN2}, 0},
    {"megrez", {QWEN2}, 0},
    {"kormo", {QWEN2}, 0},
    {"f2llmv2", {QWEN2}, 0},
    {"grok-2", {QWEN2}, 0},
    {"solar-open", {QWEN2}, 0},
    {"llama4", {O200K}, 0},
    {"kanana2", {O200K}, 0},
    {"talkie", {O200K}, 0},
    {"minimax-m2", {O200K}, 0},
    {"granite-embed-multi-97m", {O200K}, WHOLE},
    {"hunyuan-dense", {"\\p{N}{1,3}", KANA, DEEPSEEK3}, 0},
    {"joyai-llm", {"\\p{N}{1,3}", KANA, DEEPSEEK3}, 0},
    {"hy_v4", {"\\p{N}{1,3}", KANA, DEEPSEEK3}, 0},
    {"poro-chat", {BLOOM}, 0},
    {"gpt3-finnish", {BLOOM}, 0},
    {"cohere2moe", {THOUSANDS, O200K}, 0},
    {"bailingmoe2", {BAILING}, 0},
    {"llada-moe", {BAILING}, 0},
    {"mpt", {mtk_text_pattern_gpt2}, 0},
    {"olmo", {mtk_text_pattern_gpt2}, 0},
    {"jais", {mtk_text_pattern_gpt2}, 0},
    {"phi-2", {mtk_text_pattern_gpt2}, 0},
    {"gigachat", {mtk_text_pattern_gpt2}, 0},
    {"exaone4", {mtk_text_pattern_gpt2}, 0},
    {"a.x-4.0", {mtk_text_pattern_gpt2}, 0},
    {"mellum", {mtk_text_pattern_gpt2}, 0},
    {"roberta-bpe", {mtk_text_pattern_gpt2}, 0},
    {"modern-bert", {mtk_text_pattern_gpt2}, 0},
    {"jina-es", {mtk_text_pattern_gpt2}, 0},
    {"jina-de", {mtk_text_pattern_gpt2}, 0},
    {"jina-v2-es", {mtk_text_pattern_gpt2}, 0},
    {"jina-v2-de", {mtk_text_pattern_gpt2}, 0},
    {"jina-v1-en", {mtk_text_pattern_gpt2}, 0},
    {"jina-v2-code", {mtk_text_pattern_gpt2}, 0},
    {"trillion", {mtk_text_pattern_gpt2}, 0},
    {"granite-docling", {mtk_text_pattern_gpt2}, 0},
    {"starcoder", {mtk_text_pattern_gpt2}, DIGITS},
    {"refact", {mtk_text_pattern_gpt2}, DIGITS},
    {"command-r", {mtk_text_pattern_gpt2}, DIGITS},
    {"codeshell", {mtk_text_pattern_gpt2}, DIGITS},
    {"exaone", {mtk_text_pattern_gpt2}, DIGITS},
    {"minerva-7b", {mtk_text_pattern_gpt2}, DIGITS},
    {"mellum2", {mtk_text_pattern_gpt2}, DIGITS},
    {"granite-embed-multi-311m", {LINES}, WHOLE | BOS | SPACED},
    {"sarvam-moe", {LINES}, SPACED},
};
const size_t mtk_text_pre_table_len = sizeof mtk_text_pre_table / sizeof mtk_text_pre_table[0];
