/* text/slice.h: a stretch of text on its way through a tokenizer's pipeline, which remembers where
 * its bytes came from. Plain values; a buffer belongs to one call at a time. */
#ifndef MTK_TEXT_SLICE_H
#define MTK_TEXT_SLICE_H

#include <mtk/base.h>

/* Borrowed text. Byte i came from the source offset origin[i], or base + i where origin is NULL. */
typedef struct text_slice {
  const char *s;
  size_t n, base;
  const uint32_t *origin;
} text_slice;

/* Source offset of byte i < n. */
static inline size_t text_slice_source(const text_slice *t, size_t i) {
  return t->origin ? t->origin[i] : t->base + i;
}

static inline text_slice text_slice_part(const text_slice *t, size_t begin, size_t end) {
  return (text_slice){t->s + begin, end - begin, t->base + begin,
                      t->origin ? t->origin + begin : NULL};
}

/* Rewritten text. Without `track` only the first byte's source is kept. */
typedef struct text_buffer {
  mtk_bytes bytes;
  uint32_t *origin; /* one per byte if track */
  size_t cap_origin, base;
  bool track;
} text_buffer;

/* Empties. */
void mtk_text_buffer_start(text_buffer *b, bool track);
/* Appends bytes begin..end of a slice. */
mtk_status mtk_text_buffer_copy(text_buffer *b, const text_slice *from, size_t begin, size_t end,
                                mtk_error *err);
/* Appends s[0..n), all of which came from one source offset. */
mtk_status mtk_text_buffer_put(text_buffer *b, const char *s, size_t n, size_t source,
                               mtk_error *err);
mtk_status mtk_text_buffer_put_char(text_buffer *b, uint32_t cp, size_t source, mtk_error *err);
/* Appends bytes begin..end of a slice, spelled in the GPT-2 byte alphabet. */
mtk_status mtk_text_buffer_spell(text_buffer *b, const text_slice *from, size_t begin, size_t end,
                                 mtk_error *err);
/* What was appended; borrowed until the next start. */
text_slice mtk_text_buffer_slice(const text_buffer *b);
void mtk_text_buffer_finish(text_buffer *b);

#endif
