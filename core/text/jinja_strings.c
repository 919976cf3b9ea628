/* text/jinja_strings.c: the methods of str. Parts of a string keep its data marks. */
#include "text/jinja_strings.h"

#include <string.h>

#include "text/jinja_unicode.h"
#include "text/utf8.h"

mtk_status mtk_jinja_positional(jinja *j, const char *what, const jinja_args *args, size_t least,
                            size_t most, jinja_value *values) {
  if (args->n_named > 0) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "%s() takes no keyword arguments", what);
  }
  if (args->n < least || args->n > most) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "%s() takes %zu to %zu arguments, got %zu", what, least,
                      most, args->n);
  }
  for (size_t i = 0; i < args->n; i++) values[i] = args->items[i];
  return MTK_OK;
}

/* A required string argument. */
static mtk_status need_string(jinja *j, const char *what, jinja_value v, jinja_string **out) {
  MTK_TRY(mtk_jinja_string_arg(j, what, v, out));
  if (*out) return MTK_OK;
  return mtk_jinja_fail(j, MTK_E_INVALID, "%s: argument must be str, not %s", what,
                        mtk_jinja_type_name(v));
}

/* ---- strip ---------------------------------------------------------------------------------- */

static bool strips(uint32_t cp, const jinja_string *chars) {
  if (!chars) return text_is_space(cp) || (cp >= 0x1C && cp <= 0x1F);
  for (size_t i = 0; i < chars->len;) {
    uint32_t c = 0;
    i += text_utf8_decode(chars->data + i, chars->len - i, &c);
    if (c == cp) return true;
  }
  return false;
}

mtk_status mtk_jinja_strip(jinja *j, const jinja_string *s, const jinja_string *chars, bool left,
                       bool right, jinja_value *out) {
  size_t begin = 0, end = s->len;
  uint32_t cp = 0;
  MTK_TRY(mtk_jinja_step(j, chars ? (s->len / 16 + 1) * (chars->len / 16 + 1) : s->len / 64));
  while (left && begin < end) {
    size_t n = text_utf8_decode(s->data + begin, end - begin, &cp);
    if (!strips(cp, chars)) break;
    begin += n;
  }
  while (right && end > begin) {
    size_t at = end - 1;
    while (at > begin && ((uint8_t)s->data[at] & 0xC0) == 0x80) at--;
    text_utf8_decode(s->data + at, end - at, &cp);
    if (!strips(cp, chars)) break;
    end = at;
  }
  return mtk_jinja_substring(j, s, begin, end, out);
}

static mtk_status strip_method(jinja *j, const char *what, jinja_value self, const jinja_args *args,
                               bool left, bool right, jinja_value *out) {
  jinja_value v[1] = {0};
  jinja_string *chars;
  MTK_TRY(mtk_jinja_positional(j, what, args, 0, 1, v));
  MTK_TRY(mtk_jinja_string_arg(j, what, v[0], &chars));
  return mtk_jinja_strip(j, self.u.s, chars, left, right, out);
}

static mtk_status strip(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return strip_method(j, "strip", self, args, true, true, out);
}

static mtk_status lstrip(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return strip_method(j, "lstrip", self, args, true, false, out);
}

static mtk_status rstrip(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return strip_method(j, "rstrip", self, args, false, true, out);
}

/* ---- search --------------------------------------------------------------------------------- */

static bool starts_at(const jinja_string *s, size_t at, const jinja_string *what) {
  return s->len - at >= what->len && memcmp(s->data + at, what->data, what->len) == 0;
}

/* Byte offset of `what` in s[from..to), or SIZE_MAX; last = the last one. */
static size_t find_bytes(const jinja_string *s, size_t from, size_t to, const jinja_string *what,
                         bool last) {
  if (from > to || to - from < what->len) return SIZE_MAX;
  if (!last) {
    const char *p =
        what->len ? memmem(s->data + from, to - from, what->data, what->len) : s->data + from;
    return p ? (size_t)(p - s->data) : SIZE_MAX;
  }
  for (size_t at = to - what->len + 1; at > from; at--) {
    if (starts_at(s, at - 1, what)) return at - 1;
  }
  return SIZE_MAX;
}

/* The start and end arguments (characters) as byte offsets. */
static mtk_status search_range(jinja *j, jinja_string *s, const jinja_value *v, size_t *from,
                               size_t *to) {
  int64_t n = (int64_t)mtk_jinja_chars(s), begin, end;
  MTK_TRY(mtk_jinja_int_arg(j, v[0].kind == JINJA_NONE ? mtk_jinja_int(0) : v[0], 0, &begin));
  MTK_TRY(mtk_jinja_int_arg(j, v[1].kind == JINJA_NONE ? mtk_jinja_int(n) : v[1], n, &end));
  if (begin < 0) begin = begin + n < 0 ? 0 : begin + n;
  if (end < 0) end = end + n < 0 ? 0 : end + n;
  *from = begin > n ? SIZE_MAX : mtk_jinja_char_offset(s, (size_t)begin);
  *to = mtk_jinja_char_offset(s, (size_t)(end > n ? n : end));
  return MTK_OK;
}

static mtk_status find_method(jinja *j, const char *what, jinja_value self, const jinja_args *args,
                              bool last, bool must, jinja_value *out) {
  jinja_value v[3] = {0};
  jinja_string *needle = NULL;
  size_t from = 0, to = 0;
  MTK_TRY(mtk_jinja_positional(j, what, args, 1, 3, v));
  MTK_TRY(need_string(j, what, v[0], &needle));
  MTK_TRY(
      mtk_jinja_step(j, last ? self.u.s->len / 16 * (needle->len / 16 + 1) : self.u.s->len / 64));
  MTK_TRY(search_range(j, self.u.s, v + 1, &from, &to));
  size_t at = find_bytes(self.u.s, from, to, needle, last);
  if (at == SIZE_MAX && must) return mtk_jinja_fail(j, MTK_E_INVALID, "substring not found");
  *out = mtk_jinja_int(at == SIZE_MAX ? -1 : (int64_t)text_utf8_count(self.u.s->data, at));
  return MTK_OK;
}

static mtk_status find(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return find_method(j, "find", self, args, false, false, out);
}

static mtk_status rfind(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return find_method(j, "rfind", self, args, true, false, out);
}

static mtk_status index_of(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return find_method(j, "index", self, args, false, true, out);
}

static mtk_status rindex_of(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return find_method(j, "rindex", self, args, true, true, out);
}

static mtk_status count(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[3] = {0};
  jinja_string *needle = NULL;
  size_t from = 0, to = 0;
  int64_t n = 0;
  MTK_TRY(mtk_jinja_positional(j, "count", args, 1, 3, v));
  MTK_TRY(need_string(j, "count", v[0], &needle));
  MTK_TRY(mtk_jinja_step(j, self.u.s->len / 64));
  MTK_TRY(search_range(j, self.u.s, v + 1, &from, &to));
  if (needle->len == 0) {
    *out = mtk_jinja_int(
        from > to ? 0 : (int64_t)text_utf8_count(self.u.s->data + from, to - from) + 1);
    return MTK_OK;
  }
  size_t at;
  while ((at = find_bytes(self.u.s, from, to, needle, false)) != SIZE_MAX) {
    n++;
    from = at + needle->len;
  }
  *out = mtk_jinja_int(n);
  return MTK_OK;
}

static bool has_affix(const jinja_string *s, size_t from, size_t to, const jinja_string *affix,
                      bool at_end) {
  if (from > to || to - from < affix->len) return false;
  return memcmp(s->data + (at_end ? to - affix->len : from), affix->data, affix->len) == 0;
}

/* startswith and endswith, with a string or a tuple of them. */
static mtk_status affix_method(jinja *j, const char *what, jinja_value self, const jinja_args *args,
                               bool at_end, jinja_value *out) {
  jinja_value v[3] = {0};
  size_t from = 0, to = 0;
  bool holds = false;
  MTK_TRY(mtk_jinja_positional(j, what, args, 1, 3, v));
  MTK_TRY(search_range(j, self.u.s, v + 1, &from, &to));
  if (v[0].kind != JINJA_TUPLE) {
    jinja_string *affix = NULL;
    MTK_TRY(need_string(j, what, v[0], &affix));
    holds = has_affix(self.u.s, from, to, affix, at_end);
  } else {
    for (size_t i = 0; i < v[0].u.l->len && !holds; i++) {
      jinja_string *affix = NULL;
      MTK_TRY(need_string(j, what, v[0].u.l->items[i], &affix));
      holds = has_affix(self.u.s, from, to, affix, at_end);
    }
  }
  *out = mtk_jinja_bool(holds);
  return MTK_OK;
}

static mtk_status startswith(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return affix_method(j, "startswith", self, args, false, out);
}

static mtk_status endswith(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return affix_method(j, "endswith", self, args, true, out);
}

static mtk_status remove_affix(jinja *j, const char *what, jinja_value self, const jinja_args *args,
                               bool at_end, jinja_value *out) {
  jinja_value v[1] = {0};
  jinja_string *affix = NULL, *s = self.u.s;
  MTK_TRY(mtk_jinja_positional(j, what, args, 1, 1, v));
  MTK_TRY(need_string(j, what, v[0], &affix));
  size_t cut = has_affix(s, 0, s->len, affix, at_end) ? affix->len : 0;
  return mtk_jinja_substring(j, s, at_end ? 0 : cut, at_end ? s->len - cut : s->len, out);
}

static mtk_status removeprefix(jinja *j, jinja_value self, const jinja_args *args,
                               jinja_value *out) {
  return remove_affix(j, "removeprefix", self, args, false, out);
}

static mtk_status removesuffix(jinja *j, jinja_value self, const jinja_args *args,
                               jinja_value *out) {
  return remove_affix(j, "removesuffix", self, args, true, out);
}

/* ---- replace -------------------------------------------------------------------------------- */

/* Replacing "" puts `by` before every character and at the end. */
static mtk_status replace_empty(jinja *j, jinja_string *s, const jinja_string *by, int64_t times,
                                jinja_value *out) {
  jinja_text t = {0};
  for (size_t at = 0; at <= s->len && times != 0; times--) {
    uint32_t cp;
    size_t n = text_utf8_decode(s->data + at, s->len - at, &cp);
    MTK_TRY(mtk_jinja_text_add_string(j, &t, by));
    MTK_TRY(mtk_jinja_text_add_range(j, &t, s, at, at + n));
    at += n ? n : 1;
    if (times == 1 && at < s->len) MTK_TRY(mtk_jinja_text_add_range(j, &t, s, at, s->len));
  }
  return mtk_jinja_text_value(j, &t, out);
}

mtk_status mtk_jinja_replace(jinja *j, jinja_string *s, const jinja_string *old,
                             const jinja_string *by, int64_t times, jinja_value *out) {
  jinja_text t = {0};
  size_t from = 0, at;
  if (times == 0) return mtk_jinja_substring(j, s, 0, s->len, out);
  MTK_TRY(mtk_jinja_step(j, s->len / 64));
  if (old->len == 0) return replace_empty(j, s, by, times, out);
  while (times != 0 && (at = find_bytes(s, from, s->len, old, false)) != SIZE_MAX) {
    MTK_TRY(mtk_jinja_step(j, 1 + s->n_marks / 16));
    MTK_TRY(mtk_jinja_text_add_range(j, &t, s, from, at));
    MTK_TRY(mtk_jinja_text_add_string(j, &t, by));
    from = at + old->len;
    times--;
  }
  MTK_TRY(mtk_jinja_text_add_range(j, &t, s, from, s->len));
  return mtk_jinja_text_value(j, &t, out);
}

static mtk_status replace(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[3] = {0};
  jinja_string *old = NULL, *by = NULL;
  int64_t times;
  MTK_TRY(mtk_jinja_positional(j, "replace", args, 2, 3, v));
  MTK_TRY(need_string(j, "replace", v[0], &old));
  MTK_TRY(need_string(j, "replace", v[1], &by));
  MTK_TRY(mtk_jinja_int_arg(j, v[2], -1, &times));
  return mtk_jinja_replace(j, self.u.s, old, by, times, out);
}

/* ---- split ---------------------------------------------------------------------------------- */

static mtk_status add_part(jinja *j, jinja_text *parts, const jinja_string *s, size_t begin,
                           size_t end) {
  jinja_value part;
  MTK_TRY(mtk_jinja_substring(j, s, begin, end, &part));
  return mtk_jinja_text_add(j, parts, (const char *)&part, sizeof part, false);
}

/* The collected parts as a list. */
static mtk_status parts_list(jinja *j, const jinja_text *parts, bool reversed, jinja_value *out) {
  size_t n = parts->len / sizeof(jinja_value);
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, n, out));
  if (n > 0) memcpy(out->u.l->items, parts->data, parts->len);
  out->u.l->len = n;
  for (size_t i = 0; reversed && i < n / 2; i++) {
    jinja_value swap = out->u.l->items[i];
    out->u.l->items[i] = out->u.l->items[n - 1 - i];
    out->u.l->items[n - 1 - i] = swap;
  }
  return MTK_OK;
}

/* Bytes of the whitespace character at s[at..], or 0. */
static size_t space_at(const jinja_string *s, size_t at) {
  uint32_t cp = 0;
  size_t n = text_utf8_decode(s->data + at, s->len - at, &cp);
  return n > 0 && strips(cp, NULL) ? n : 0;
}

/* Bytes of the whitespace character that ends at s[..end), or 0. */
static size_t space_before(const jinja_string *s, size_t end) {
  size_t at = end > 0 ? end - 1 : 0;
  while (at > 0 && ((uint8_t)s->data[at] & 0xC0) == 0x80) at--;
  return end > 0 ? space_at(s, at) : 0;
}

static mtk_status split_words(jinja *j, const jinja_string *s, int64_t most, jinja_text *parts) {
  size_t at = 0, n;
  for (;;) {
    while ((n = space_at(s, at)) > 0) at += n;
    if (at == s->len) return MTK_OK;
    size_t begin = at;
    if (most == 0) return add_part(j, parts, s, begin, s->len);
    while (at < s->len && space_at(s, at) == 0) at++;
    MTK_TRY(add_part(j, parts, s, begin, at));
    most--;
  }
}

static mtk_status rsplit_words(jinja *j, const jinja_string *s, int64_t most, jinja_text *parts) {
  size_t at = s->len, n;
  for (;;) {
    while ((n = space_before(s, at)) > 0) at -= n;
    if (at == 0) return MTK_OK;
    size_t end = at;
    if (most == 0) return add_part(j, parts, s, 0, end);
    while (at > 0 && space_before(s, at) == 0) {
      at--;
      while (at > 0 && ((uint8_t)s->data[at] & 0xC0) == 0x80) at--;
    }
    MTK_TRY(add_part(j, parts, s, at, end));
    most--;
  }
}

static mtk_status split_at(jinja *j, const jinja_string *s, const jinja_string *separator,
                           int64_t most, bool from_right, jinja_text *parts) {
  size_t begin = 0, end = s->len, at;
  while (most != 0 && (at = find_bytes(s, begin, end, separator, from_right)) != SIZE_MAX) {
    MTK_TRY(mtk_jinja_step(j, 1));
    if (from_right) {
      MTK_TRY(add_part(j, parts, s, at + separator->len, end));
      end = at;
    } else {
      MTK_TRY(add_part(j, parts, s, begin, at));
      begin = at + separator->len;
    }
    most--;
  }
  return add_part(j, parts, s, begin, end);
}

static mtk_status split_method(jinja *j, const char *what, jinja_value self, const jinja_args *args,
                               bool from_right, jinja_value *out) {
  static const char *const names[] = {"sep", "maxsplit"};
  jinja_value v[2] = {0};
  jinja_string *separator;
  int64_t most;
  jinja_text parts = {0};
  MTK_TRY(mtk_jinja_bind(j, what, args, names, 2, v));
  MTK_TRY(mtk_jinja_string_arg(j, what, v[0], &separator));
  MTK_TRY(mtk_jinja_int_arg(j, v[1], -1, &most));
  MTK_TRY(mtk_jinja_step(j, self.u.s->len / 16 * (separator ? separator->len / 16 + 1 : 1)));
  if (separator && separator->len == 0) return mtk_jinja_fail(j, MTK_E_INVALID, "empty separator");
  if (separator)
    MTK_TRY(split_at(j, self.u.s, separator, most, from_right, &parts));
  else if (from_right)
    MTK_TRY(rsplit_words(j, self.u.s, most, &parts));
  else
    MTK_TRY(split_words(j, self.u.s, most, &parts));
  return parts_list(j, &parts, from_right, out);
}

static mtk_status split(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return split_method(j, "split", self, args, false, out);
}

static mtk_status rsplit(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return split_method(j, "rsplit", self, args, true, out);
}

/* Bytes of the line break at s[at..], or 0. */
static size_t break_at(const jinja_string *s, size_t at) {
  uint32_t cp = 0;
  size_t n = text_utf8_decode(s->data + at, s->len - at, &cp);
  if (n == 0) return 0;
  if (cp == '\r' && at + 1 < s->len && s->data[at + 1] == '\n') return 2;
  bool breaks = (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 ||
                cp == 0x2028 || cp == 0x2029;
  return breaks ? n : 0;
}

mtk_status mtk_jinja_splitlines(jinja *j, const jinja_string *s, bool keep_ends, jinja_value *out) {
  jinja_text parts = {0};
  size_t begin = 0;
  MTK_TRY(mtk_jinja_step(j, s->len / 16));
  for (size_t at = 0; at < s->len;) {
    size_t n = break_at(s, at);
    if (n == 0) {
      at++;
      continue;
    }
    MTK_TRY(add_part(j, &parts, s, begin, keep_ends ? at + n : at));
    begin = at += n;
  }
  if (begin < s->len) MTK_TRY(add_part(j, &parts, s, begin, s->len));
  return parts_list(j, &parts, false, out);
}

static mtk_status splitlines(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"keepends"};
  jinja_value v[1] = {0};
  MTK_TRY(mtk_jinja_bind(j, "splitlines", args, names, 1, v));
  return mtk_jinja_splitlines(j, self.u.s, mtk_jinja_truth(v[0]), out);
}

static mtk_status partition_method(jinja *j, const char *what, jinja_value self,
                                   const jinja_args *args, bool last, jinja_value *out) {
  jinja_value v[1] = {0};
  jinja_string *separator = NULL, *s = self.u.s;
  MTK_TRY(mtk_jinja_positional(j, what, args, 1, 1, v));
  MTK_TRY(need_string(j, what, v[0], &separator));
  MTK_TRY(mtk_jinja_step(j, s->len / 16 * (separator->len / 16 + 1)));
  if (separator->len == 0) return mtk_jinja_fail(j, MTK_E_INVALID, "empty separator");
  size_t at = find_bytes(s, 0, s->len, separator, last);
  size_t left = at != SIZE_MAX ? at : last ? 0 : s->len;
  size_t right = at != SIZE_MAX ? at + separator->len : left;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, 3, out));
  out->u.l->len = 3;
  MTK_TRY(mtk_jinja_substring(j, s, 0, left, &out->u.l->items[0]));
  MTK_TRY(mtk_jinja_substring(j, s, left, right, &out->u.l->items[1]));
  return mtk_jinja_substring(j, s, right, s->len, &out->u.l->items[2]);
}

static mtk_status partition(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return partition_method(j, "partition", self, args, false, out);
}

static mtk_status rpartition(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return partition_method(j, "rpartition", self, args, true, out);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static mtk_status join(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[1] = {0};
  const jinja_list *items;
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_positional(j, "join", args, 1, 1, v));
  MTK_TRY(mtk_jinja_items(j, v[0], &items));
  for (size_t i = 0; i < items->len; i++) {
    if (items->items[i].kind != JINJA_STRING) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "sequence item %zu: expected str instance, %s found",
                            i, mtk_jinja_type_name(items->items[i]));
    }
    if (i > 0) MTK_TRY(mtk_jinja_text_add_string(j, &t, self.u.s));
    MTK_TRY(mtk_jinja_text_add_string(j, &t, items->items[i].u.s));
  }
  return mtk_jinja_text_value(j, &t, out);
}

mtk_status mtk_jinja_pad(jinja *j, const jinja_string *s, size_t left, size_t right,
                     const jinja_string *fill, jinja_value *out) {
  static const jinja_string space = {.data = " ", .len = 1, .n_chars = 1};
  jinja_text t = {0};
  if (!fill) fill = &space;
  MTK_TRY(mtk_jinja_step(j, left + right));
  for (size_t i = 0; i < left; i++) MTK_TRY(mtk_jinja_text_add_string(j, &t, fill));
  MTK_TRY(mtk_jinja_text_add_string(j, &t, s));
  for (size_t i = 0; i < right; i++) MTK_TRY(mtk_jinja_text_add_string(j, &t, fill));
  return mtk_jinja_text_value(j, &t, out);
}

/* side: -1 = text left, 0 = centred, 1 = text right. */
static mtk_status justify(jinja *j, const char *what, jinja_value self, const jinja_args *args,
                          int side, jinja_value *out) {
  jinja_value v[2] = {0};
  jinja_string *fill;
  int64_t width;
  MTK_TRY(mtk_jinja_positional(j, what, args, 1, 2, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 0, &width));
  MTK_TRY(mtk_jinja_string_arg(j, what, v[1], &fill));
  int64_t missing = width - (int64_t)mtk_jinja_chars(self.u.s);
  size_t total = missing > 0 ? (size_t)missing : 0;
  size_t left = side < 0 ? 0 : side > 0 ? total : total / 2 + (total & (size_t)width & 1);
  return mtk_jinja_pad(j, self.u.s, left, total - left, fill, out);
}

static mtk_status ljust(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return justify(j, "ljust", self, args, -1, out);
}

static mtk_status rjust(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return justify(j, "rjust", self, args, 1, out);
}

static mtk_status center(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return justify(j, "center", self, args, 0, out);
}

static mtk_status zfill(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const jinja_string zero = {.data = "0", .len = 1, .n_chars = 1};
  jinja_value v[1] = {0}, sign, rest;
  jinja_string *s = self.u.s;
  int64_t width;
  MTK_TRY(mtk_jinja_positional(j, "zfill", args, 1, 1, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 0, &width));
  int64_t missing = width - (int64_t)mtk_jinja_chars(s);
  size_t mark = s->len > 0 && (s->data[0] == '-' || s->data[0] == '+') ? 1 : 0;
  MTK_TRY(mtk_jinja_substring(j, s, 0, mark, &sign));
  MTK_TRY(mtk_jinja_substring(j, s, mark, s->len, &rest));
  MTK_TRY(mtk_jinja_pad(j, rest.u.s, missing > 0 ? (size_t)missing : 0, 0, &zero, &rest));
  return mtk_jinja_binary(j, OP_ADD, sign, rest, out);
}

#define CASE_METHOD(name, mode)                                                                    \
  static mtk_status str_##name(jinja *j, jinja_value self, const jinja_args *args,                 \
                               jinja_value *out) {                                                 \
    MTK_TRY(mtk_jinja_positional(j, #name, args, 0, 0, NULL));                                     \
    return mtk_jinja_map_case(j, self.u.s, mode, out);                                             \
  }
CASE_METHOD(lower, CASE_LOWER)
CASE_METHOD(casefold, CASE_FOLD)
CASE_METHOD(upper, CASE_UPPER)
CASE_METHOD(swapcase, CASE_SWAP)
CASE_METHOD(capitalize, CASE_CAPITALIZE)
CASE_METHOD(title, CASE_TITLE)

#define CLASS_METHOD(name, which)                                                                  \
  static mtk_status str_##name(jinja *j, jinja_value self, const jinja_args *args,                 \
                               jinja_value *out) {                                                 \
    MTK_TRY(mtk_jinja_positional(j, #name, args, 0, 0, NULL));                                     \
    MTK_TRY(mtk_jinja_step(j, self.u.s->len / 64));                                                \
    *out = mtk_jinja_bool(mtk_jinja_is_class(self.u.s, which));                                    \
    return MTK_OK;                                                                                 \
  }
CLASS_METHOD(isalpha, CLASS_ALPHA)
CLASS_METHOD(isdecimal, CLASS_DECIMAL)
CLASS_METHOD(isdigit, CLASS_DIGIT)
CLASS_METHOD(isnumeric, CLASS_NUMERIC)
CLASS_METHOD(isalnum, CLASS_ALNUM)
CLASS_METHOD(isspace, CLASS_SPACE)
CLASS_METHOD(isascii, CLASS_ASCII)
CLASS_METHOD(isidentifier, CLASS_IDENTIFIER)
CLASS_METHOD(islower, CLASS_LOWER)
CLASS_METHOD(isupper, CLASS_UPPER)

const jinja_row mtk_jinja_str_methods[] = {
    {"strip", strip},
    {"lstrip", lstrip},
    {"rstrip", rstrip},
    {"find", find},
    {"rfind", rfind},
    {"index", index_of},
    {"rindex", rindex_of},
    {"count", count},
    {"startswith", startswith},
    {"endswith", endswith},
    {"removeprefix", removeprefix},
    {"removesuffix", removesuffix},
    {"replace", replace},
    {"split", split},
    {"rsplit", rsplit},
    {"splitlines", splitlines},
    {"partition", partition},
    {"rpartition", rpartition},
    {"join", join},
    {"ljust", ljust},
    {"rjust", rjust},
    {"center", center},
    {"zfill", zfill},
    {"lower", str_lower},
    {"casefold", str_casefold},
    {"upper", str_upper},
    {"swapcase", str_swapcase},
    {"capitalize", str_capitalize},
    {"title", str_title},
    {"isalpha", str_isalpha},
    {"isdecimal", str_isdecimal},
    {"isdigit", str_isdigit},
    {"isnumeric", str_isnumeric},
    {"isalnum", str_isalnum},
    {"isspace", str_isspace},
    {"isascii", str_isascii},
    {"isidentifier", str_isidentifier},
    {"islower", str_islower},
    {"isupper", str_isupper},
    {"format", mtk_jinja_str_format},
};
const size_t mtk_jinja_str_methods_len =
    sizeof mtk_jinja_str_methods / sizeof mtk_jinja_str_methods[0];
