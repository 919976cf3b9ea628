/* text/decode.h: decoders, that is steps that turn the texts of tokens back into text. Immutable
 * after creation, shared by threads; a stream belongs to one call at a time. */
#ifndef MTK_TEXT_DECODE_H
#define MTK_TEXT_DECODE_H

#include <mtk/text.h>

#include "text/regex.h"

typedef struct text_decoder text_decoder;
/* Copies what it needs of the steps. Without steps, tokens are joined by blanks. MTK_E_UNSUPPORTED
 * for a step that is no decoder. */
mtk_status mtk_text_decoder_create(text_decoder **out, const mtk_steps *steps, mtk_error *err);
void mtk_text_decoder_destroy(text_decoder *d);
/* Sets out to the bytes of one token by itself, in the middle of a text; may be part of a UTF-8
 * sequence. `work`: memory to be used again from call to call, as out's is. */
mtk_status mtk_text_decoder_piece(const text_decoder *d, mtk_bytes *out, mtk_bytes *work,
                                  const char *token, size_t n, mtk_error *err);

/* A sequence of tokens on its way through the steps. */
typedef struct text_decode_stream text_decode_stream;
mtk_status mtk_text_decode_create(text_decode_stream **out, const text_decoder *d, mtk_error *err);
void mtk_text_decode_destroy(text_decode_stream *s);
/* Appends what is certain after one more token, whole UTF-8 sequences only. */
mtk_status mtk_text_decode_push(text_decode_stream *s, mtk_bytes *out, const char *token, size_t n,
                                mtk_error *err);
/* Appends the rest; the stream begins anew. */
mtk_status mtk_text_decode_finish(text_decode_stream *s, mtk_bytes *out, mtk_error *err);

#endif
