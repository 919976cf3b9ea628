/* bytes.c: growable byte strings. The caller owns the struct; one thread at a time. */
#include "base/internal.h"

#include <stdio.h>
#include <string.h>

enum { FIRST_CAP = 64 };
static const size_t default_max = (size_t)1 << 30;

/* Room for n more bytes and the final NUL; false (sticky) when that cannot be. */
static bool reserve(mtk_bytes *b, size_t n) {
  size_t limit = b->max ? b->max : default_max, need;
  if (b->failed) return false;
  if (b->len > limit || n > limit - b->len || !mtk_add_ok(b->len + n, 1, &need)) {
    b->failed = b->over_limit = true;
    return false;
  }
  if (need <= b->cap) return true;
  size_t cap = b->cap ? b->cap : FIRST_CAP;
  while (cap < need)
    if (!mtk_mul_ok(cap, 2, &cap)) cap = need;
  char *data = mtk_realloc(b->data, b->data ? b->len + 1 : 0, cap, 1);
  if (!data) {
    b->failed = true;
    return false;
  }
  data[b->len] = 0;
  b->data = data;
  b->cap = cap;
  return true;
}

void mtk_bytes_append(mtk_bytes *b, const void *data, size_t n) {
  if (!reserve(b, n)) return;
  if (n) memcpy(b->data + b->len, data, n);
  b->len += n;
  b->data[b->len] = 0;
}

void mtk_bytes_puts(mtk_bytes *b, const char *s) { mtk_bytes_append(b, s, strlen(s)); }

void mtk_bytes_printf(mtk_bytes *b, const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  if (n < 0) {
    b->failed = true;
  } else if (reserve(b, (size_t)n)) {
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
  va_end(args);
}

void mtk_bytes_clear(mtk_bytes *b) {
  b->len = 0;
  if (b->data) b->data[0] = 0;
  b->failed = b->over_limit = false;
}

void mtk_bytes_finish(mtk_bytes *b) {
  size_t max = b->max;
  mtk_free(b->data);
  *b = (mtk_bytes){.max = max};
}

mtk_status mtk_bytes_status(const mtk_bytes *b, mtk_error *err) {
  if (!b->failed) return MTK_OK;
  if (b->over_limit)
    return mtk_fail(err, MTK_E_LIMIT, NULL, "text would grow beyond its limit of %zu bytes",
                    b->max ? b->max : default_max);
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for %zu bytes of text", b->len);
}
