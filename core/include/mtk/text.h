/* mtk/text.h: vocabularies, tokenizers, chat templates, incremental UTF-8.
 *
 * A mtk_vocab is the format-neutral description that readers fill and writers consume; a
 * mtk_tokenizer is compiled from it. Tokenizers and templates are immutable after creation and may
 * be shared by threads; encoders of one call keep no state. */
#ifndef MTK_TEXT_H
#define MTK_TEXT_H

#include <mtk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- vocabulary -------------------------------------------------------------------------- */

/* The model: how a pre-tokenized piece becomes ids. Token texts are spelled as the pieces are at
 * that point (after the pipeline's byte alphabet or Metaspace replacement). */
typedef enum mtk_vocab_kind {
  MTK_VOCAB_NONE = 0,
  MTK_VOCAB_BPE = 1,       /* ranked list of merges (tokenizer.json BPE, GGUF "gpt2") */
  MTK_VOCAB_SPM = 2,       /* merges the adjacent pair whose joined text has the highest score
                              (SentencePiece BPE, GGUF "llama") */
  MTK_VOCAB_RANKS = 3,     /* merges the adjacent pair whose joined bytes have the lowest rank
                              (tiktoken, tekken): rank = -score; texts are in the GPT-2 byte
                              alphabet */
  MTK_VOCAB_UNIGRAM = 4,   /* best segmentation by sum of scores (Viterbi) */
  MTK_VOCAB_WORDPIECE = 5, /* greedy longest match, `continuing_prefix` inside words */
  MTK_VOCAB_WORDLEVEL = 6  /* whole pieces only */
} mtk_vocab_kind;

/* One step of a tokenizer's pipeline, named as in tokenizer.json; fields a step does not name are
 * 0. Normalizers map text to text, pre-tokenizers cut it into pieces, decoders map token texts
 * back. */
typedef enum mtk_step_kind {
  MTK_STEP_NONE = 0,
  /* normalizers */
  MTK_STEP_NFC,
  MTK_STEP_NFD,
  MTK_STEP_NFKC,
  MTK_STEP_NFKD,
  MTK_STEP_LOWERCASE,
  MTK_STEP_STRIP_ACCENTS,
  MTK_STEP_BERT_NORMALIZER, /* flags CLEAN_TEXT, CHINESE_CHARS, LOWERCASE, STRIP_ACCENTS */
  MTK_STEP_NMT,
  MTK_STEP_PRECOMPILED, /* text: SentencePiece's charsmap blob; LONGEST; pattern: texts, each ending
                           with a NUL, that no rule touches (with LONGEST) */
  MTK_STEP_PREPEND,     /* text; with RIGHT it is appended instead */
  MTK_STEP_REMOVE_EXTRA_WHITESPACES, /* SentencePiece: strip ends, collapse runs of spaces */
  /* normalizers and decoders */
  MTK_STEP_REPLACE, /* pattern (a regular expression with REGEX, else plain) -> text */
  MTK_STEP_STRIP,   /* flags LEFT, RIGHT; as a decoder: up to a, b copies of `text` at the ends */
  /* pre-tokenizers */
  MTK_STEP_SPLIT,       /* pattern, behavior, INVERT */
  MTK_STEP_DIGITS,      /* INDIVIDUAL */
  MTK_STEP_PUNCTUATION, /* behavior */
  MTK_STEP_BERT_PRE_TOKENIZER,
  MTK_STEP_WHITESPACE, /* \w+|[^\w\s]+ */
  MTK_STEP_WHITESPACE_SPLIT,
  MTK_STEP_CHAR_DELIMITER, /* text: one character */
  MTK_STEP_UNICODE_SCRIPTS,
  MTK_STEP_FIXED_LENGTH, /* a = length */
  /* pre-tokenizers and decoders */
  MTK_STEP_METASPACE,  /* text: replacement; prepend; SPLIT */
  MTK_STEP_BYTE_LEVEL, /* PREFIX_SPACE, REGEX (GPT-2's pattern); also a normalizer */
  /* decoders */
  MTK_STEP_BYTE_FALLBACK, /* "<0x41>" -> byte */
  MTK_STEP_FUSE,
  MTK_STEP_WORDPIECE,   /* text: prefix; CLEANUP */
  MTK_STEP_BPE_DECODER, /* text: suffix */
  MTK_STEP_CTC          /* text: pad, pattern: word delimiter; CLEANUP */
} mtk_step_kind;

enum {
  MTK_STEP_REGEX = 1,
  MTK_STEP_INVERT = 2,
  MTK_STEP_LEFT = 4,
  MTK_STEP_RIGHT = 8,
  MTK_STEP_SPLIT_PIECES = 16, /* Metaspace.split */
  MTK_STEP_INDIVIDUAL = 32,
  MTK_STEP_PREFIX_SPACE = 64,
  MTK_STEP_CLEANUP = 128,
  MTK_STEP_CLEAN_TEXT = 256,
  MTK_STEP_CHINESE_CHARS = 512,
  MTK_STEP_LOWER = 1024,
  MTK_STEP_ACCENTS = 2048, /* strip accents */
  MTK_STEP_LONGEST = 4096  /* Precompiled: the longest rule at each place, as SentencePiece does;
                              else by grapheme, as `tokenizers` does */
};
typedef enum mtk_split_behavior {
  MTK_SPLIT_ISOLATED = 0,
  MTK_SPLIT_REMOVED,
  MTK_SPLIT_MERGED_WITH_PREVIOUS,
  MTK_SPLIT_MERGED_WITH_NEXT,
  MTK_SPLIT_CONTIGUOUS
} mtk_split_behavior;
typedef enum mtk_prepend_scheme {
  MTK_PREPEND_NEVER = 0,
  MTK_PREPEND_ALWAYS, /* every section between added tokens */
  MTK_PREPEND_FIRST   /* only at the very start of the text */
} mtk_prepend_scheme;

typedef struct mtk_step {
  mtk_step_kind kind;
  uint32_t flags;
  mtk_split_behavior behavior;
  mtk_prepend_scheme prepend;
  int32_t a, b;
  const char *pattern, *text; /* owned by the vocab's arena */
  size_t n_pattern, n_text;
} mtk_step;
typedef struct mtk_steps {
  const mtk_step *items; /* applied in order */
  size_t n;
} mtk_steps;

/* Numbering of GGUF's tokenizer.ggml.token_type. */
typedef enum mtk_token_type {
  MTK_TOKEN_NORMAL = 1,
  MTK_TOKEN_UNKNOWN = 2,
  MTK_TOKEN_CONTROL = 3,      /* special: never produced by ordinary text */
  MTK_TOKEN_USER_DEFINED = 4, /* added, not special: matched in text before the model runs */
  MTK_TOKEN_UNUSED = 5,
  MTK_TOKEN_BYTE = 6
} mtk_token_type;

typedef struct mtk_token {
  const char *text; /* as the source file spells it; NUL-terminated, owned by the vocab's arena */
  uint32_t len;
  float score;
  uint8_t type;                                    /* mtk_token_type */
  uint8_t lstrip, rstrip, single_word, normalized; /* flags of added tokens */
} mtk_token;

typedef struct mtk_vocab {
  mtk_arena *arena; /* owns every string below */
  mtk_vocab_kind kind;
  mtk_token *tokens; /* index = id; a hole has text NULL and type UNUSED */
  size_t n_tokens;
  const char **merges; /* "left right", rank = index; spaces inside tokens never occur (alphabet) */
  size_t n_merges;
  const char *pre; /* GGUF name of the pre-tokenizer ("smollm", "llama-bpe", "qwen2", "tekken"), or
                      NULL when only patterns are known */
  const char **patterns; /* PCRE2 split patterns applied in order (isolated matches) */
  size_t n_patterns;
  bool split_digits; /* a Digits(individual) step comes first (SmolLM2) */
  bool add_prefix_space, ignore_merges;
  bool nfc;                        /* NFC normalizer (Qwen2) */
  int32_t bos, eos, unk, pad, eot; /* -1 = none */
  int8_t add_bos, add_eos;         /* 1, 0, or -1 = the source does not say */
  /* original tokenizer.json, kept for a lossless way back; or NULL */
  const char *hf_json;
  size_t hf_json_len;
  const char *hf_config_json; /* original tokenizer_config.json; or NULL */
  size_t hf_config_json_len;
  /* A byte that no token spells gives unk (tokenizer.json's model.unk_token); otherwise it is
   * dropped, as `tokenizers` and llama.cpp do. */
  bool bytes_to_unk;
  /* The pipeline. A vocabulary with no pre-tokenizer steps uses patterns, split_digits,
   * add_prefix_space and nfc above (GGUF's view of byte-level BPE). */
  mtk_steps normalizers, pre_tokenizers, decoders;
  bool byte_fallback; /* characters without a token become "<0x41>" tokens (type BYTE) */
  bool fuse_unk;      /* adjacent unknowns give one unk */
  /* User-defined tokens are found by the model in the normalized text, as SentencePiece does, not
   * cut out of the text before the pipeline. SPM and UNIGRAM only. */
  bool user_defined_in_model;
  const char *continuing_prefix;  /* WordPiece "##", BPE's continuing_subword_prefix; or NULL */
  const char *end_of_word_suffix; /* BPE; or NULL */
  size_t max_word_chars;          /* WordPiece: longer words are unk; 0 = no limit */
  /* Ids around an encoded text (a post-processor's `single` template) when MTK_ENCODE_BOS is
   * asked for. Used instead of add_bos/add_eos when has_template. */
  bool has_template;
  const int32_t *template_prefix, *template_suffix;
  size_t n_template_prefix, n_template_suffix;
  /* Mistral's tokenizers: version (3, 7, 11, 13, 15; 1 and 2 for SentencePiece), 0 = not one */
  int32_t mistral_version;
  const char *tekken_json; /* original tekken.json, kept for a lossless way back; or NULL */
  size_t tekken_json_len;
  const char *spm_model; /* original SentencePiece model; or NULL */
  size_t spm_model_len;
  /* Scores of the first ids in double precision, where a tokenizer.json gives more than a float
   * holds (tokens[].score is the nearest float); or NULL. */
  const double *exact_scores;
  size_t n_exact_scores;
} mtk_vocab;

mtk_vocab *mtk_vocab_create(void);
void mtk_vocab_destroy(mtk_vocab *vocab);
/* From Hugging Face tokenizer.json and (may be NULL) tokenizer_config.json texts. MTK_E_UNSUPPORTED
 * names the component that is not handled. Ids are those that the file's added_tokens state. */
mtk_status mtk_vocab_from_hf(mtk_vocab **out, const char *json, size_t n, const char *config_json,
                             size_t config_n, mtk_error *err);
/* tokenizer.json / tokenizer_config.json texts: the kept originals, or written from the fields. */
mtk_status mtk_vocab_to_hf(mtk_bytes *json, mtk_bytes *config_json, const mtk_vocab *vocab,
                           mtk_error *err);
/* From a SentencePiece model (protobuf; BPE and Unigram; WORD and CHAR are MTK_E_UNSUPPORTED), a
 * tekken.json, or a tiktoken rank file. `encoding` names the pattern and special tokens of a
 * tiktoken file ("cl100k_base", "o200k_base", "o200k_harmony", "qwen", ...); NULL = guess by the
 * number of ranks. */
mtk_status mtk_vocab_from_spm(mtk_vocab **out, const void *data, size_t n, mtk_error *err);
mtk_status mtk_vocab_from_tekken(mtk_vocab **out, const char *json, size_t n, mtk_error *err);
mtk_status mtk_vocab_from_tiktoken(mtk_vocab **out, const char *text, size_t n,
                                   const char *encoding, mtk_error *err);
/* And back: the kept originals, or written from the fields. MTK_E_UNSUPPORTED says what the target
 * cannot express. */
mtk_status mtk_vocab_to_spm(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err);
mtk_status mtk_vocab_to_tekken(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err);
mtk_status mtk_vocab_to_tiktoken(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err);
/* The merge list that amounts to the scores or ranks of a SPM or RANKS vocabulary ("left right",
 * best first; every way to make each token), into the caller's arena. A BPE vocabulary gives its
 * own. */
mtk_status mtk_vocab_merges(const char *const **merges, size_t *n, mtk_arena *arena,
                            const mtk_vocab *vocab, mtk_error *err);
/* And back: scores[0..n_tokens) under which merging by score (SPM, RANKS) does what the merge list
 * of a BPE vocabulary says. MTK_E_UNSUPPORTED if there are none. Tokens that nothing makes get 0.
 */
mtk_status mtk_vocab_scores(float *scores, const mtk_vocab *vocab, mtk_error *err);
/* The pipeline of SentencePiece's normalizer: charsmap, then white space, then " " -> U+2581. */
typedef struct mtk_spm_pipeline {
  bool dummy_prefix;             /* a space in front of each section between control tokens */
  bool whitespace_suffix;        /* ... behind instead */
  bool remove_extra_whitespaces; /* at both ends; runs become one space */
  bool escape_whitespaces;       /* " " becomes U+2581 */
  const char *charsmap;          /* precompiled_charsmap; copied by set, borrowed from get */
  size_t n_charsmap;
} mtk_spm_pipeline;
/* Replace the vocabulary's steps by such a pipeline (tokens, byte_fallback and
 * user_defined_in_model must be set already), or find the pipeline that its steps amount to; false
 * if there is none. */
mtk_status mtk_vocab_set_spm(mtk_vocab *vocab, const mtk_spm_pipeline *pipeline, mtk_error *err);
bool mtk_vocab_get_spm(mtk_spm_pipeline *out, const mtk_vocab *vocab);
/* Fill patterns and flags from a GGUF pre-tokenizer name (add_bos too, where it is still -1 and the
 * name implies BOS), or find the name for given patterns. */
mtk_status mtk_vocab_set_pre(mtk_vocab *vocab, const char *pre, mtk_error *err);
const char *mtk_vocab_find_pre(const mtk_vocab *vocab); /* NULL if no known name matches */

/* ---- tokenizer --------------------------------------------------------------------------- */

typedef struct mtk_tokenizer mtk_tokenizer;
/* Keeps no pointer to vocab. */
mtk_status mtk_tokenizer_create(mtk_tokenizer **out, const mtk_vocab *vocab, mtk_error *err);
void mtk_tokenizer_destroy(mtk_tokenizer *tok);

/* A growable list of ids. Initialise with {0}. */
typedef struct mtk_ids {
  int32_t *data;
  size_t len, cap;
} mtk_ids;
mtk_status mtk_ids_push(mtk_ids *ids, int32_t id, mtk_error *err);
void mtk_ids_finish(mtk_ids *ids);

enum {
  MTK_ENCODE_SPECIAL = 1, /* parse control tokens out of the text; otherwise they are plain text */
  MTK_ENCODE_BOS = 2      /* put BOS/EOS where the vocabulary says so (add_bos, add_eos) */
};
/* Append the ids of text[0..n). Any bytes are accepted; invalid UTF-8 goes through as bytes.
 * Near-linear time in n with the patterns of published tokenizers; MTK_E_LIMIT when a pattern
 * backtracks too long at one place. */
mtk_status mtk_tokenizer_encode(mtk_ids *out, const mtk_tokenizer *tok, const char *text, size_t n,
                                unsigned flags, mtk_error *err);
/* Raw bytes of a token (may be part of a UTF-8 sequence); NULL for a bad id. Control tokens give
 * their text only if `special`, else length 0. Borrowed. */
const char *mtk_tokenizer_piece(const mtk_tokenizer *tok, int32_t id, bool special, size_t *len);
/* Append the text of a whole sequence, as the `tokenizers` library decodes it: always valid UTF-8
 * (bytes that are none become U+FFFD). Control tokens count only if `special`. */
mtk_status mtk_tokenizer_decode(mtk_bytes *out, const mtk_tokenizer *tok, const int32_t *ids,
                                size_t n, bool special, mtk_error *err);
/* The same token by token: what comes out of all pushes and finish, joined, is what decode gives.
 * Only whole UTF-8 sequences come out, as soon as later tokens cannot change them. The tokenizer
 * must outlive the stream; one thread at a time. */
typedef struct mtk_token_stream mtk_token_stream;
mtk_status mtk_token_stream_create(mtk_token_stream **out, const mtk_tokenizer *tok, bool special,
                                   mtk_error *err);
void mtk_token_stream_destroy(mtk_token_stream *s);
mtk_status mtk_token_stream_push(mtk_token_stream *s, mtk_bytes *out, int32_t id, mtk_error *err);
/* Append what is still held back; the stream begins anew. */
mtk_status mtk_token_stream_finish(mtk_token_stream *s, mtk_bytes *out, mtk_error *err);
size_t mtk_tokenizer_size(const mtk_tokenizer *tok);
/* id by source text, or -1 */
int32_t mtk_tokenizer_find(const mtk_tokenizer *tok, const char *text);
int32_t mtk_tokenizer_bos(const mtk_tokenizer *tok);
int32_t mtk_tokenizer_eos(const mtk_tokenizer *tok);
/* End of generation: eos, eot, or a control token with a well-known end-of-turn name. */
bool mtk_tokenizer_is_eog(const mtk_tokenizer *tok, int32_t id);
bool mtk_tokenizer_is_control(const mtk_tokenizer *tok, int32_t id);

/* Joins pieces and releases only whole UTF-8 sequences; invalid bytes become U+FFFD. {0} to
 * start. */
typedef struct mtk_utf8_stream {
  char pending[4];
  uint8_t n_pending;
} mtk_utf8_stream;
/* Append what is complete to out; finish=true flushes what is left as U+FFFD. */
void mtk_utf8_stream_push(mtk_utf8_stream *s, mtk_bytes *out, const char *data, size_t n,
                          bool finish);

/* ---- chat templates (Jinja) ---------------------------------------------------------------- */

typedef struct mtk_template mtk_template;
/* Parse. Errors: MTK_E_FORMAT with "line N" in place, or MTK_E_UNSUPPORTED naming the construct.
 * Settings are those of transformers: trim_blocks, lstrip_blocks, loop controls, {% generation
 * %}. */
mtk_status mtk_template_create(mtk_template **out, const char *source, size_t n, mtk_error *err);
void mtk_template_destroy(mtk_template *t);

/* A half-open byte range of a rendered text. */
typedef struct mtk_span {
  size_t begin, end;
} mtk_span;

/* Strings of the context are data, with two exceptions that templates build control tokens from:
 * the variables named *_token (bos_token, ...), which only the program may set, and the values of
 * "role" that are a well-known role ("user", "assistant", "tool", ...). */
typedef struct mtk_rendered {
  mtk_bytes text;
  mtk_span *data;       /* parts that came from the context's strings, not from the template: no */
  size_t n_data;        /* control token may be parsed inside them */
  mtk_span *generation; /* parts inside {% generation %}: what training learns */
  size_t n_generation;
} mtk_rendered;
void mtk_rendered_finish(mtk_rendered *r);

typedef struct mtk_template_options {
  size_t struct_size;
  const char *now;    /* ISO 8601 local time for strftime_now; NULL = the clock */
  uint64_t max_steps; /* 0 = 10 million */
  size_t max_output;  /* bytes, 0 = 64 MiB */
} mtk_template_options;
/* context_json: one JSON object with all variables (messages, tools, add_generation_prompt,
 * bos_token, ...). raise_exception() gives MTK_E_INVALID with the template's message. */
mtk_status mtk_template_render(mtk_rendered *out, const mtk_template *t, const char *context_json,
                               size_t n, const mtk_template_options *options, mtk_error *err);

/* Token ids of a rendered prompt: control tokens are parsed only outside the data spans. `mask`
 * (may be NULL) gets one byte per appended id: 1 if the id's first byte lies in a generation span.
 * *mask is allocated here, caller frees with mtk_free. */
mtk_status mtk_rendered_encode(mtk_ids *out, uint8_t **mask, const mtk_rendered *r,
                               const mtk_tokenizer *tok, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
