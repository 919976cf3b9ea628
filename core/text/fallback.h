/* text/fallback.h: what models do with bytes that no token spells: "<0xNN>" tokens, or unk, or
 * nothing. Immutable after creation, shared by threads. */
#ifndef MTK_TEXT_FALLBACK_H
#define MTK_TEXT_FALLBACK_H

#include "text/model.h"

typedef struct text_fallback {
  int32_t bytes[256]; /* ids, or -1 */
  bool use_bytes;     /* vocab->byte_fallback */
  bool fuse;          /* adjacent unknowns give one unk */
  int32_t unk;        /* or -1 */
} text_fallback;

void mtk_text_fallback_init(text_fallback *out, const mtk_vocab *vocab, const mtk_map *ids);
/* Ids of the character s[0..n), which begins at `offset`. *unknown: whether the last thing pushed
 * for this piece was unk; the caller clears it when it pushes something else. */
mtk_status mtk_text_fallback_push(const text_fallback *f, text_sink *sink, const char *s, size_t n,
                                  size_t offset, bool *unknown, mtk_error *err);

#endif
