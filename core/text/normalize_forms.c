/* text/normalize_forms.c: NFC, NFD, NFKC and NFKD with utf8proc's tables.
 *
 * The text is cut into groups that never combine with each other: a starter and the marks and jamo
 * after it. A group is decomposed, its combining marks are put in canonical order by a stable merge
 * sort (utf8proc's own ordering is quadratic in the number of marks), then it is composed. */
#include <string.h>
#include <utf8proc.h>

#include "text/normalize.h"
#include "text/unicode_age.h"
#include "text/utf8.h"

typedef struct group {
  const text_normalize_work *work;
  int32_t *chars, *spare;
  size_t n;
  size_t begin; /* in the input */
} group;

static mtk_status reserve(text_normalize_work *w, size_t n, mtk_error *err) {
  if (n <= w->cap_chars) return MTK_OK;
  size_t cap = w->cap_chars * 2 + n + 64;
  int32_t *chars = mtk_realloc(w->chars, w->cap_chars, cap, sizeof *chars);
  if (chars) w->chars = chars;
  int32_t *spare = chars ? mtk_realloc(w->spare, w->cap_chars, cap, sizeof *spare) : NULL;
  if (!spare) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory normalizing text");
  w->spare = spare;
  w->cap_chars = cap;
  return MTK_OK;
}

enum { VERSION = 9 }; /* of Unicode, as in `tokenizers`; newer characters have no properties */

static bool is_known(int32_t cp) { return mtk_text_unicode_age((uint32_t)cp) <= VERSION; }

static int combining_class(int32_t cp) {
  return is_known(cp) ? utf8proc_get_property(cp)->combining_class : 0;
}

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

static void order_marks(int32_t *chars, int32_t *spare, size_t n) {
  for (size_t i = 0; i < n;) {
    size_t end = i;
    while (end < n && combining_class(chars[end]) != 0) end++;
    if (end - i > 1) sort_marks(chars + i, spare, end - i);
    i = end > i ? end : i + 1;
  }
}

/* Whether a decomposed character may combine with what stands before it. */
static bool joins_before(int32_t cp) {
  if (cp < 0x300) return false;
  if (cp >= 0x1160 && cp <= 0x11FF) return true; /* vowels and finals of Hangul */
  if (!is_known(cp)) return false;
  const utf8proc_property_t *p = utf8proc_get_property(cp);
  return p->combining_class != 0 ||
         (p->category >= UTF8PROC_CATEGORY_MN && p->category <= UTF8PROC_CATEGORY_ME);
}

/* Characters that no form changes unless a mark follows. */
static bool is_stable(uint32_t cp, bool compatibility, bool composing) {
  if (cp < 0x80) return true;
  if (cp >= 0x4E00 && cp <= 0x9FFF) return true;
  if (compatibility || !composing) return false;
  return cp < 0x300 || (cp >= 0x400 && cp <= 0x482) || (cp >= 0x3041 && cp <= 0x3096) ||
         (cp >= 0x30A1 && cp <= 0x30FA) || (cp >= 0xAC00 && cp <= 0xD7A3) ||
         (cp >= 0x1F300 && cp <= 0x1FAFF);
}

/* Bytes at s[from..) whose characters are stable and not followed by one that is not. */
static size_t stable_end(const text_slice *in, size_t from, bool compatibility, bool composing) {
  size_t last = from, at = from;
  while (at < in->n) {
    uint32_t cp;
    size_t len = text_utf8_decode(in->s + at, in->n - at, &cp);
    if (len == 0) {
      len = 1; /* not UTF-8: stays, and nothing joins it */
    } else if (!is_stable(cp, compatibility, composing)) {
      return last;
    }
    last = at;
    at += len;
  }
  return in->n;
}

static mtk_status flush(const group *g, bool composing, const text_slice *in, text_buffer *out,
                        mtk_error *err) {
  order_marks(g->chars, g->spare, g->n);
  utf8proc_ssize_t n = (utf8proc_ssize_t)g->n;
  if (composing && n > 1) {
    n = utf8proc_normalize_utf32(g->chars, n,
                                 (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (n < 0) return mtk_fail(err, MTK_E_INTERNAL, NULL, "cannot compose text");
  }
  size_t source = text_slice_source(in, g->begin);
  for (utf8proc_ssize_t i = 0; i < n; i++) {
    MTK_TRY(mtk_text_buffer_put_char(out, (uint32_t)g->chars[i], source, err));
  }
  return MTK_OK;
}

/* Rewrites in[from..), one group after the other; returns in *from where it stopped: at the next
 * character that is not part of a group. */
static mtk_status rewrite(mtk_step_kind form, text_normalize_work *w, const text_slice *in,
                          size_t *from, text_buffer *out, mtk_error *err) {
  bool compatibility = form == MTK_STEP_NFKC || form == MTK_STEP_NFKD;
  bool composing = form == MTK_STEP_NFC || form == MTK_STEP_NFKC;
  utf8proc_option_t options = (utf8proc_option_t)(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                                  (compatibility ? UTF8PROC_COMPAT : 0));
  size_t n = 0, begin = *from, at = *from;
  while (at < in->n) {
    uint32_t cp = 0;
    size_t len = text_utf8_decode(in->s + at, in->n - at, &cp);
    if (len == 0) break;
    MTK_TRY(reserve(w, n + 32, err));
    int boundary = 0;
    w->chars[n] = (int32_t)cp;
    utf8proc_ssize_t got =
        !is_known((int32_t)cp)
            ? 1
            : utf8proc_decompose_char((utf8proc_int32_t)cp, w->chars + n, 32, options, &boundary);
    if (got < 0 || got > 32) {
      return mtk_fail(err, MTK_E_INTERNAL, NULL, "cannot decompose U+%04X", cp);
    }
    if (n > 0 && got > 0 && !joins_before(w->chars[n])) {
      if (is_stable(cp, compatibility, composing)) break;
      int32_t kept[32];
      memcpy(kept, w->chars + n, (size_t)got * sizeof *kept);
      group done = {w, w->chars, w->spare, n, begin};
      MTK_TRY(flush(&done, composing, in, out, err));
      memcpy(w->chars, kept, (size_t)got * sizeof *kept);
      n = 0;
      begin = at;
    }
    n += (size_t)got;
    at += len;
  }
  *from = at;
  group last = {w, w->chars, w->spare, n, begin};
  return n > 0 ? flush(&last, composing, in, out, err) : MTK_OK;
}

mtk_status mtk_text_normalize_form(mtk_step_kind form, text_normalize_work *w, text_buffer *out,
                                   text_slice *text, mtk_error *err) {
  bool compatibility = form == MTK_STEP_NFKC || form == MTK_STEP_NFKD;
  bool composing = form == MTK_STEP_NFC || form == MTK_STEP_NFKC;
  size_t at = stable_end(text, 0, compatibility, composing);
  if (at == text->n) return MTK_OK;
  mtk_text_buffer_start(out, w->track);
  MTK_TRY(mtk_text_buffer_copy(out, text, 0, at, err));
  while (at < text->n) {
    size_t from = at;
    MTK_TRY(rewrite(form, w, text, &at, out, err));
    size_t end = stable_end(text, at, compatibility, composing);
    if (end == at && at == from) end++; /* a byte that is not UTF-8 */
    MTK_TRY(mtk_text_buffer_copy(out, text, at, end, err));
    at = end;
  }
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}
