/* text/normalize.c: NFC with utf8proc's tables.
 *
 * The text is cut before ASCII characters, which never combine with what precedes them; a stretch
 * is decomposed, its combining marks are put in canonical order by a stable merge sort (utf8proc's
 * own ordering is quadratic in the number of marks), then composed. */
#include "text/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "text/utf8.h"

typedef struct chars {
  int32_t *data, *spare; /* both have room for cap */
  size_t len, cap;
} chars;

static mtk_status chars_reserve(chars *c, size_t extra, mtk_error *err) {
  if (c->cap - c->len >= extra) return MTK_OK;
  size_t cap = c->cap * 2 + extra + 64;
  int32_t *data = mtk_realloc(c->data, c->cap, cap, sizeof *data);
  if (data) c->data = data;
  int32_t *spare = data ? mtk_realloc(c->spare, c->cap, cap, sizeof *spare) : NULL;
  if (!spare) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory normalizing text");
  c->spare = spare;
  c->cap = cap;
  return MTK_OK;
}

static mtk_status decompose(chars *c, const char *s, size_t n, mtk_error *err) {
  c->len = 0;
  for (size_t i = 0; i < n;) {
    uint32_t cp = 0;
    i += text_utf8_decode(s + i, n - i, &cp);
    MTK_TRY(chars_reserve(c, 32, err));
    int boundary = 0;
    utf8proc_ssize_t got = utf8proc_decompose_char(
        (utf8proc_int32_t)cp, c->data + c->len, 32,
        (utf8proc_option_t)(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
    if (got < 0 || got > 32) {
      return mtk_fail(err, MTK_E_INTERNAL, NULL, "cannot decompose U+%04X", cp);
    }
    c->len += (size_t)got;
  }
  return MTK_OK;
}

static int combining_class(int32_t cp) { return utf8proc_get_property(cp)->combining_class; }

/* Stable merge sort of a[0..n) by combining class; b is scratch. */
static void sort_marks(int32_t *a, int32_t *b, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t lo = 0; lo < n; lo += 2 * width) {
      size_t mid = lo + width < n ? lo + width : n;
      size_t hi = mid + width < n ? mid + width : n;
      size_t i = lo, j = mid, k = lo;
      while (i < mid && j < hi) {
        bool take_right = combining_class(a[j]) < combining_class(a[i]);
        b[k++] = take_right ? a[j++] : a[i++];
      }
      while (i < mid) b[k++] = a[i++];
      while (j < hi) b[k++] = a[j++];
    }
    memcpy(a, b, n * sizeof *a);
  }
}

static void order_marks(chars *c) {
  for (size_t i = 0; i < c->len;) {
    size_t end = i;
    while (end < c->len && combining_class(c->data[end]) != 0) end++;
    if (end - i > 1) sort_marks(c->data + i, c->spare + i, end - i);
    i = end > i ? end : i + 1;
  }
}

/* What was written from offset `out` on came from `in`. */
static mtk_status add_shift(text_normalized *t, size_t out, size_t in, bool rewritten,
                            mtk_error *err) {
  if (t->n_shifts > 0 && !rewritten) {
    const text_shift *last = &t->shifts[t->n_shifts - 1];
    if (!last->rewritten && out - last->out == in - last->in) return MTK_OK;
  }
  if (t->n_shifts == t->cap_shifts) {
    size_t cap = t->cap_shifts * 2 + 8;
    text_shift *grown = mtk_realloc(t->shifts, t->cap_shifts, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory normalizing text");
    t->shifts = grown;
    t->cap_shifts = cap;
  }
  t->shifts[t->n_shifts++] = (text_shift){out, in, rewritten};
  return MTK_OK;
}

/* NFC of one valid UTF-8 stretch that starts at offset `in` of the source. */
static mtk_status compose_stretch(text_normalized *out, chars *c, const char *s, size_t n,
                                  size_t in, mtk_error *err) {
  MTK_TRY(decompose(c, s, n, err));
  order_marks(c);
  utf8proc_ssize_t len = utf8proc_normalize_utf32(
      c->data, (utf8proc_ssize_t)c->len, (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  if (len < 0) return mtk_fail(err, MTK_E_INTERNAL, NULL, "cannot compose text");
  size_t begin = out->text.len;
  for (utf8proc_ssize_t i = 0; i < len; i++) {
    char buf[4];
    mtk_bytes_append(&out->text, buf, text_utf8_encode((uint32_t)c->data[i], buf));
  }
  MTK_TRY(mtk_bytes_status(&out->text, err));
  bool same = out->text.len - begin == n && memcmp(out->text.data + begin, s, n) == 0;
  return add_shift(out, begin, in, !same, err);
}

bool mtk_text_is_plain(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if ((uint8_t)s[i] >= 0x80) return false;
  }
  return true;
}

/* Bytes from s on that are one character and the non-ASCII characters after it; 0 = not UTF-8. */
static size_t stretch_length(const char *s, size_t n) {
  size_t i = 0;
  do {
    uint32_t cp;
    size_t len = text_utf8_decode(s + i, n - i, &cp);
    if (len == 0) break;
    i += len;
  } while (i < n && (uint8_t)s[i] >= 0x80);
  return i;
}

mtk_status mtk_text_normalize_nfc(text_normalized *out, const char *s, size_t n, mtk_error *err) {
  chars c = {0};
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < n && status == MTK_OK;) {
    size_t end = i;
    while (end < n && (uint8_t)s[end] < 0x80) end++;
    if (end < n && end > i) end--; /* the last ASCII character may compose with a mark */
    size_t stretch = end > i ? 0 : stretch_length(s + i, n - i);
    if (stretch > 0) {
      status = compose_stretch(out, &c, s + i, stretch, i, err);
      i += stretch;
    } else {
      if (end == i) end++; /* a byte that is not UTF-8 */
      status = add_shift(out, out->text.len, i, false, err);
      mtk_bytes_append(&out->text, s + i, end - i);
      i = end;
    }
  }
  mtk_free(c.data);
  mtk_free(c.spare);
  return status != MTK_OK ? status : mtk_bytes_status(&out->text, err);
}

size_t mtk_text_normalized_source(const text_normalized *t, size_t offset) {
  size_t lo = 0, hi = t->n_shifts;
  while (hi - lo > 1) {
    size_t mid = lo + (hi - lo) / 2;
    if (t->shifts[mid].out <= offset)
      lo = mid;
    else
      hi = mid;
  }
  if (lo >= t->n_shifts) return offset;
  const text_shift *shift = &t->shifts[lo];
  return shift->rewritten ? shift->in : shift->in + (offset - shift->out);
}

void mtk_text_normalized_finish(text_normalized *t) {
  mtk_bytes_finish(&t->text);
  mtk_free(t->shifts);
  *t = (text_normalized){0};
}
