/* text/jinja_text.c: growing text that knows which of its bytes are data, and string values. All
 * memory is the render's arena. */
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"
#include "text/utf8.h"

static mtk_status add_mark(jinja *j, jinja_text *t, size_t begin, size_t end) {
  if (begin == end) return MTK_OK;
  if (t->n_marks > 0 && t->marks[t->n_marks - 1].end == begin) {
    t->marks[t->n_marks - 1].end = end;
    return MTK_OK;
  }
  if (t->n_marks == t->cap_marks) {
    size_t cap = t->cap_marks * 2 + 4;
    mtk_span *grown = mtk_jinja_alloc(j, cap, sizeof *grown);
    if (!grown) return jinja_failed(j);
    if (t->n_marks > 0) memcpy(grown, t->marks, t->n_marks * sizeof *grown);
    t->marks = grown;
    t->cap_marks = cap;
  }
  t->marks[t->n_marks++] = (mtk_span){begin, end};
  return MTK_OK;
}

static mtk_status add_bytes(jinja *j, jinja_text *t, const char *data, size_t n) {
  if (n > j->max_output || t->len > j->max_output - n) {
    return mtk_jinja_fail(j, MTK_E_LIMIT, "a text grows beyond %zu bytes", j->max_output);
  }
  if (n > t->cap - t->len) {
    size_t cap = t->cap * 2 + n + 32;
    char *grown = mtk_jinja_alloc(j, cap, 1);
    if (!grown) return jinja_failed(j);
    if (t->len > 0) memcpy(grown, t->data, t->len);
    t->data = grown;
    t->cap = cap;
  }
  if (n > 0) memcpy(t->data + t->len, data, n);
  t->len += n;
  return MTK_OK;
}

mtk_status mtk_jinja_text_add(jinja *j, jinja_text *t, const char *data, size_t n, bool is_data) {
  size_t begin = t->len;
  MTK_TRY(add_bytes(j, t, data, n));
  return is_data ? add_mark(j, t, begin, t->len) : MTK_OK;
}

mtk_status mtk_jinja_text_puts(jinja *j, jinja_text *t, const char *s) {
  return add_bytes(j, t, s, strlen(s));
}

mtk_status mtk_jinja_text_printf(jinja *j, jinja_text *t, const char *fmt, ...) {
  char buf[256];
  va_list list;
  va_start(list, fmt);
  int n = vsnprintf(buf, sizeof buf, fmt, list);
  va_end(list);
  if (n < 0) return mtk_jinja_fail(j, MTK_E_INTERNAL, "cannot format text");
  return add_bytes(j, t, buf, (size_t)n < sizeof buf ? (size_t)n : sizeof buf - 1);
}

mtk_status mtk_jinja_text_add_range(jinja *j, jinja_text *t, const jinja_string *s, size_t begin,
                                size_t end) {
  size_t base = t->len;
  MTK_TRY(add_bytes(j, t, s->data + begin, end - begin));
  for (size_t i = 0; i < s->n_marks; i++) {
    size_t from = s->marks[i].begin > begin ? s->marks[i].begin : begin;
    size_t to = s->marks[i].end < end ? s->marks[i].end : end;
    if (from < to) MTK_TRY(add_mark(j, t, base + from - begin, base + to - begin));
  }
  return MTK_OK;
}

mtk_status mtk_jinja_text_add_string(jinja *j, jinja_text *t, const jinja_string *s) {
  return mtk_jinja_text_add_range(j, t, s, 0, s->len);
}

bool mtk_jinja_is_data(const jinja_string *s) { return s->n_marks > 0; }

mtk_status mtk_jinja_text_value(jinja *j, jinja_text *t, jinja_value *out) {
  jinja_string *s = mtk_jinja_alloc(j, 1, sizeof *s);
  if (!s) return jinja_failed(j);
  *s = (jinja_string){t->data ? t->data : "", t->len, t->marks, t->n_marks, SIZE_MAX, false};
  *out = (jinja_value){JINJA_STRING, {.s = s}};
  return MTK_OK;
}

mtk_status mtk_jinja_new_string(jinja *j, const char *data, size_t n, bool is_data,
                                jinja_value *out) {
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_text_add(j, &t, data, n, is_data));
  return mtk_jinja_text_value(j, &t, out);
}

/* Marks inside [begin, end), shifted to begin; a run of the original if they need no change. */
static mtk_status cut_marks(jinja *j, const jinja_string *s, size_t begin, size_t end,
                            jinja_string *out) {
  size_t lo = 0, hi = s->n_marks;
  while (lo < hi && s->marks[lo].end <= begin) lo++;
  while (hi > lo && s->marks[hi - 1].begin >= end) hi--;
  out->n_marks = hi - lo;
  if (hi == lo) return MTK_OK;
  mtk_span *marks = mtk_jinja_alloc(j, hi - lo, sizeof *marks);
  if (!marks) return jinja_failed(j);
  for (size_t i = lo; i < hi; i++) {
    size_t from = s->marks[i].begin > begin ? s->marks[i].begin : begin;
    size_t to = s->marks[i].end < end ? s->marks[i].end : end;
    marks[i - lo] = (mtk_span){from - begin, to - begin};
  }
  out->marks = marks;
  return MTK_OK;
}

mtk_status mtk_jinja_substring(jinja *j, const jinja_string *s, size_t begin, size_t end,
                           jinja_value *out) {
  jinja_string *part = mtk_jinja_alloc(j, 1, sizeof *part);
  if (!part) return jinja_failed(j);
  MTK_TRY(mtk_jinja_step(j, s->n_marks / 16));
  *part = (jinja_string){
      .data = s->data + begin, .len = end - begin, .n_chars = SIZE_MAX, .markup = s->markup};
  MTK_TRY(cut_marks(j, s, begin, end, part));
  *out = (jinja_value){JINJA_STRING, {.s = part}};
  return MTK_OK;
}

size_t mtk_jinja_chars(jinja_string *s) {
  if (s->n_chars == SIZE_MAX) s->n_chars = text_utf8_count(s->data, s->len);
  return s->n_chars;
}

size_t mtk_jinja_char_offset(jinja_string *s, size_t index) {
  if (mtk_jinja_chars(s) == s->len) return index < s->len ? index : s->len;
  size_t at = 0;
  while (index > 0 && at < s->len) {
    at++;
    while (at < s->len && ((uint8_t)s->data[at] & 0xC0) == 0x80) at++;
    index--;
  }
  return at;
}
