/* text/vocab_hf.h: what reading and writing Hugging Face tokenizer files share. */
#ifndef MTK_TEXT_VOCAB_HF_H
#define MTK_TEXT_VOCAB_HF_H

#include <jansson.h>
#include <mtk/text.h>
#include <stddef.h>

/* The named special tokens: key in tokenizer_config.json, field of mtk_vocab. */
typedef struct text_hf_special {
  const char *key;
  size_t field;
} text_hf_special;
extern const text_hf_special mtk_text_hf_specials[];
extern const size_t mtk_text_hf_specials_len;

static inline int32_t *text_special_field(mtk_vocab *vocab, size_t field) {
  return (int32_t *)(void *)((char *)vocab + field);
}

#endif
