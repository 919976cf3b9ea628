/* vocab.h: keys of GGUF vocabularies, shared by vocab_read.c and vocab_write.c. Static data. */
#ifndef MTK_FORMAT_GGUF_VOCAB_H
#define MTK_FORMAT_GGUF_VOCAB_H

#include "gguf.h"

#define KEY_MODEL     "tokenizer.ggml.model"
#define KEY_PRE       "tokenizer.ggml.pre"
#define KEY_TOKENS    "tokenizer.ggml.tokens"
#define KEY_TYPES     "tokenizer.ggml.token_type"
#define KEY_SCORES    "tokenizer.ggml.scores"
#define KEY_MERGES    "tokenizer.ggml.merges"
#define KEY_PREFIX    "tokenizer.ggml.add_space_prefix"
#define KEY_EXTRA     "tokenizer.ggml.remove_extra_whitespaces"
#define KEY_CHARSMAP  "tokenizer.ggml.precompiled_charsmap"
#define KEY_CLS       "tokenizer.ggml.cls_token_id"
#define KEY_SEP       "tokenizer.ggml.seperator_token_id" /* sic */
#define KEY_MASK      "tokenizer.ggml.mask_token_id"
#define KEY_LOWERCASE "tokenizer.ggml.normalizer.lowercase"
#define KEY_ACCENTS   "tokenizer.ggml.normalizer.strip_accents"
#define KEY_HF_JSON   "tokenizer.huggingface.json"
#define KEY_HF_CONFIG "mtk.attachment.tokenizer_config.json"
#define KEY_MISTRAL   "mtk.tokenizer.mistral_version"

#define GGUF_SPACE                                                                                 \
  "\xE2\x96\x81" /* U+2581: a space in SPM and UGM, the beginning of a word in WPM */

/* Ids and flags that are plain members of mtk_vocab. */
typedef struct gguf_vocab_id {
  const char *key;
  size_t offset; /* of an int32_t */
} gguf_vocab_id;
typedef struct gguf_vocab_flag {
  const char *key;
  size_t offset; /* of an int8_t: 1, 0, -1 */
} gguf_vocab_flag;
extern const gguf_vocab_id gguf_vocab_ids[];
extern const size_t gguf_vocab_ids_len;
extern const gguf_vocab_flag gguf_vocab_flags[];
extern const size_t gguf_vocab_flags_len;

static inline int32_t *gguf_vocab_id_of(mtk_vocab *v, const gguf_vocab_id *row) {
  return (int32_t *)(void *)((char *)v + row->offset);
}
static inline int8_t *gguf_vocab_flag_of(mtk_vocab *v, const gguf_vocab_flag *row) {
  return (int8_t *)v + row->offset;
}

#endif
