/* text/tokenizer.h: what a tokenizer is made of, shared by tokenizer.c, encode.c and chat.c. */
#ifndef MTK_TEXT_TOKENIZER_H
#define MTK_TEXT_TOKENIZER_H

#include "text/added.h"
#include "text/decode.h"
#include "text/model.h"
#include "text/normalize.h"
#include "text/pretok.h"

typedef struct text_token {
  const char *text;  /* what the decoders get; NULL for a hole */
  const char *bytes; /* what it stands for in the middle of a text */
  uint32_t text_len, len;
  uint8_t type;
} text_token;

typedef struct text_encoder text_encoder;
typedef struct text_spare text_spare; /* a warm encoder, handed from call to call */

struct mtk_tokenizer {
  mtk_arena *arena; /* texts and bytes that are no keys of ids */
  text_token *tokens;
  size_t n_tokens;
  mtk_map *ids; /* token text as the source spells it -> id */
  text_normalizer *normalizer;
  text_pretok *pretok;
  text_decoder *decoder;
  text_added raw, normalized; /* matched in the text as it is, and after the normalizer */
  const text_model_class *class;
  void *model;
  text_spare *spare;
  int32_t bos, eos, eot;
  const int32_t *prefix, *suffix; /* ids around a text (MTK_ENCODE_BOS) */
  size_t n_prefix, n_suffix;
};

/* As mtk_tokenizer_encode without the ids around; control tokens are parsed outside `forbidden`
 * only. */
mtk_status mtk_text_encode(text_sink *sink, const mtk_tokenizer *tok, const char *text, size_t n,
                           const text_forbidden *forbidden, mtk_error *err);

mtk_status mtk_text_spare_create(text_spare **out, mtk_error *err);
void mtk_text_spare_destroy(text_spare *spare, const text_model_class *class);

#endif
