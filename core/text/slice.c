/* text/slice.c: see the header. */
#include "text/slice.h"

#include "text/byte_alphabet.h"
#include "text/utf8.h"

void mtk_text_buffer_start(text_buffer *b, bool track) {
  b->bytes.max = (size_t)UINT32_MAX;
  mtk_bytes_clear(&b->bytes);
  b->base = 0;
  b->track = track;
}

/* Room for the origins of n bytes that are about to be appended. */
static mtk_status reserve(text_buffer *b, size_t n, size_t source, mtk_error *err) {
  if (b->bytes.len == 0) b->base = source;
  if (!b->track || b->bytes.len + n <= b->cap_origin) return MTK_OK;
  size_t cap = b->cap_origin * 2 + n + 64;
  uint32_t *grown = mtk_realloc(b->origin, b->cap_origin, cap, sizeof *grown);
  if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
  b->origin = grown;
  b->cap_origin = cap;
  return MTK_OK;
}

mtk_status mtk_text_buffer_copy(text_buffer *b, const text_slice *from, size_t begin, size_t end,
                                mtk_error *err) {
  if (begin >= end) return MTK_OK;
  MTK_TRY(reserve(b, end - begin, text_slice_source(from, begin), err));
  if (b->track) {
    uint32_t *to = b->origin + b->bytes.len;
    for (size_t i = begin; i < end; i++) to[i - begin] = (uint32_t)text_slice_source(from, i);
  }
  mtk_bytes_append(&b->bytes, from->s + begin, end - begin);
  return b->bytes.failed ? mtk_bytes_status(&b->bytes, err) : MTK_OK;
}

mtk_status mtk_text_buffer_put(text_buffer *b, const char *s, size_t n, size_t source,
                               mtk_error *err) {
  if (n == 0) return MTK_OK;
  MTK_TRY(reserve(b, n, source, err));
  if (b->track) {
    for (size_t i = 0; i < n; i++) b->origin[b->bytes.len + i] = (uint32_t)source;
  }
  mtk_bytes_append(&b->bytes, s, n);
  return b->bytes.failed ? mtk_bytes_status(&b->bytes, err) : MTK_OK;
}

mtk_status mtk_text_buffer_put_char(text_buffer *b, uint32_t cp, size_t source, mtk_error *err) {
  char utf8[4];
  return mtk_text_buffer_put(b, utf8, text_utf8_encode(cp, utf8), source, err);
}

mtk_status mtk_text_buffer_spell(text_buffer *b, const text_slice *from, size_t begin, size_t end,
                                 mtk_error *err) {
  char spelled[512];
  while (begin < end) {
    size_t part = end - begin < sizeof spelled / 2 ? end - begin : sizeof spelled / 2;
    size_t n = mtk_text_to_alphabet(spelled, from->s + begin, part);
    MTK_TRY(reserve(b, n, text_slice_source(from, begin), err));
    if (b->track) {
      uint32_t *to = b->origin + b->bytes.len;
      for (size_t i = 0, at = 0; i < n; i++) { /* one or two bytes for each */
        bool first = ((uint8_t)spelled[i] & 0xC0) != 0x80;
        if (first) at++;
        to[i] = (uint32_t)text_slice_source(from, begin + at - 1);
      }
    }
    mtk_bytes_append(&b->bytes, spelled, n);
    begin += part;
  }
  return b->bytes.failed ? mtk_bytes_status(&b->bytes, err) : MTK_OK;
}

text_slice mtk_text_buffer_slice(const text_buffer *b) {
  return (text_slice){b->bytes.data ? b->bytes.data : "", b->bytes.len, b->base,
                      b->track ? b->origin : NULL};
}

void mtk_text_buffer_finish(text_buffer *b) {
  mtk_bytes_finish(&b->bytes);
  mtk_free(b->origin);
  *b = (text_buffer){0};
}
