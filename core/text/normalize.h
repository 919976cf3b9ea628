/* text/normalize.h: Unicode normalization that remembers where its output came from.
 * Pure functions over the caller's buffers, any thread. */
#ifndef MTK_TEXT_NORMALIZE_H
#define MTK_TEXT_NORMALIZE_H

#include <mtk/base.h>

/* From output offset `out` on (until the next entry) the source offset is `in` + (offset - out);
 * inside a rewritten stretch (`rewritten`) it is `in`. */
typedef struct text_shift {
  size_t out, in;
  bool rewritten;
} text_shift;

typedef struct text_normalized {
  mtk_bytes text;
  text_shift *shifts;
  size_t n_shifts, cap_shifts;
} text_normalized;

/* True if s[0..n) is surely in form NFC already (pure ASCII). */
bool mtk_text_is_plain(const char *s, size_t n);
/* NFC of s[0..n) (Unicode Annex 15). Bytes that are not UTF-8 stay as they are. Near-linear. */
mtk_status mtk_text_normalize_nfc(text_normalized *out, const char *s, size_t n, mtk_error *err);
/* Offset in the source of an offset in the normalized text. */
size_t mtk_text_normalized_source(const text_normalized *t, size_t offset);
void mtk_text_normalized_finish(text_normalized *t);

#endif
