/* text/pre_table.c: the pre-tokenizers known by a GGUF name. Patterns as in the models' own
 * tokenizer.json; of rows with equal patterns the first is the name written. */
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

const text_pre mtk_text_pre_table[] = {
    /* name, patterns, split_digits, ignore_merges, nfc, add_bos */
    {"gpt-2", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"smollm", {mtk_text_pattern_gpt2}, true, false, false, false},
    {"llama-bpe", {LLAMA3}, false, true, false, true},
    {"qwen2", {QWEN2}, false, false, true, false},
    {"tekken", {TEKKEN}, false, true, false, true},
    {"gpt-4o", {O200K}, false, true, false, false},
    {"deepseek-v3",
     {"\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3},
     false,
     false,
     false,
     false},
    {"deepseek-coder",
     {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\uD7FF]+", mtk_text_pattern_digit},
     false,
     false,
     false,
     false},
    {"qwen35", {QWEN35}, false, false, true, false},
    {"smaug-bpe", {LLAMA3}, false, false, false, false},
    {"deepseek-r1-qwen", {QWEN2}, false, false, false, false},
    /* further names of the same things */
    {"llama3", {LLAMA3}, false, true, false, true},
    {"llama-v3", {LLAMA3}, false, true, false, true},
    {"falcon3", {LLAMA3}, false, true, false, true},
    {"falcon-h1", {LLAMA3}, false, true, false, true},
    {"pixtral", {LLAMA3}, false, true, false, true},
    {"midm-2.0", {LLAMA3}, false, true, false, true},
    {"lfm2", {LLAMA3}, false, true, false, true},
    {"dbrx", {LLAMA3}, false, false, false, false},
    {"chatglm-bpe", {LLAMA3}, false, false, false, false},
    {"glm4", {LLAMA3}, false, false, false, false},
    {"stablelm2", {QWEN2}, false, false, false, false},
    {"hunyuan", {QWEN2}, false, false, false, false},
    {"megrez", {QWEN2}, false, false, false, false},
    {"kormo", {QWEN2}, false, false, false, false},
    {"llama4", {O200K}, false, false, false, false},
    {"kanana2", {O200K}, false, false, false, false},
    {"mpt", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"olmo", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"jais", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"phi-2", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"gigachat", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"exaone4", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"a.x-4.0", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"mellum", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"roberta-bpe", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"modern-bert", {mtk_text_pattern_gpt2}, false, false, false, false},
    {"starcoder", {mtk_text_pattern_gpt2}, true, false, false, false},
    {"refact", {mtk_text_pattern_gpt2}, true, false, false, false},
    {"command-r", {mtk_text_pattern_gpt2}, true, false, false, false},
    {"codeshell", {mtk_text_pattern_gpt2}, true, false, false, false},
    {"exaone", {mtk_text_pattern_gpt2}, true, false, false, false},
    {"minerva-7b", {mtk_text_pattern_gpt2}, true, false, false, false},
};
const size_t mtk_text_pre_table_len = sizeof mtk_text_pre_table / sizeof mtk_text_pre_table[0];
