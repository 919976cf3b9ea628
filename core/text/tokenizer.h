/* text/tokenizer.h: encoding with restricted control tokens, shared by tokenizer.c and chat.c. */
#ifndef MTK_TEXT_TOKENIZER_H
#define MTK_TEXT_TOKENIZER_H

#include "text/added.h"
#include "text/bpe.h"

/* As mtk_tokenizer_encode without bos/eos; control tokens are parsed outside `forbidden` only. */
mtk_status mtk_text_encode(text_sink *sink, const mtk_tokenizer *tok, const char *text, size_t n,
                       const text_forbidden *forbidden, mtk_error *err);

#endif
