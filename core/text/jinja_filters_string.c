/* text/jinja_filters_string.c: filters over strings, numbers and anything else, and the lookup of
 * filters by name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"
#include "text/jinja_strings.h"
#include "text/jinja_unicode.h"
#include "text/utf8.h"

/* ---- case and whitespace -------------------------------------------------------------------- */

#define CASE_FILTER(name, mode)                                                                    \
  static mtk_status filter_##name(jinja *j, jinja_value self, const jinja_args *args,              \
                                  jinja_value *out) {                                              \
    jinja_value text;                                                                              \
    MTK_TRY(mtk_jinja_bind(j, #name, args, NULL, 0, NULL));                                        \
    MTK_TRY(mtk_jinja_to_string(j, self, &text));                                                  \
    return mtk_jinja_map_case(j, text.u.s, mode, out);                                             \
  }
CASE_FILTER(lower, CASE_LOWER)
CASE_FILTER(upper, CASE_UPPER)
CASE_FILTER(capitalize, CASE_CAPITALIZE)
CASE_FILTER(title, CASE_TITLE_WORDS)

static mtk_status trim(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"chars"};
  jinja_value v[1] = {0}, text;
  jinja_string *chars;
  MTK_TRY(mtk_jinja_bind(j, "trim", args, names, 1, v));
  MTK_TRY(mtk_jinja_string_arg(j, "trim", v[0], &chars));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  return mtk_jinja_strip(j, text.u.s, chars, true, true, out);
}

static mtk_status center(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"width"};
  jinja_value v[1] = {0}, text;
  int64_t width;
  MTK_TRY(mtk_jinja_bind(j, "center", args, names, 1, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 80, &width));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  int64_t missing = width - (int64_t)mtk_jinja_chars(text.u.s);
  size_t total = missing > 0 ? (size_t)missing : 0;
  size_t left = total / 2 + (total & (size_t)width & 1);
  return mtk_jinja_pad(j, text.u.s, left, total - left, NULL, out);
}

/* The text one level of indentation adds: spaces, or a given string. */
static mtk_status indentation(jinja *j, jinja_value width, jinja_value *out) {
  int64_t n;
  *out = width;
  if (width.kind == JINJA_STRING) return MTK_OK;
  MTK_TRY(mtk_jinja_int_arg(j, width, 4, &n));
  MTK_TRY(mtk_jinja_new_string(j, "", 0, false, out));
  return mtk_jinja_pad(j, out->u.s, n > 0 ? (size_t)n : 0, 0, NULL, out);
}

static mtk_status indent(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"width", "first", "blank"};
  jinja_value v[3] = {0}, text, by, lines, newline;
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_bind(j, "indent", args, names, 3, v));
  MTK_TRY(indentation(j, v[0], &by));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  MTK_TRY(mtk_jinja_new_string(j, "\n", 1, false, &newline));
  MTK_TRY(mtk_jinja_binary(j, OP_ADD, text, newline, &text)); /* so that a last empty line counts */
  MTK_TRY(mtk_jinja_splitlines(j, text.u.s, false, &lines));
  for (size_t i = 0; i < lines.u.l->len; i++) {
    const jinja_string *line = lines.u.l->items[i].u.s;
    bool indented = i == 0 ? mtk_jinja_truth(v[1]) : line->len > 0 || mtk_jinja_truth(v[2]);
    if (i > 0) MTK_TRY(mtk_jinja_text_puts(j, &t, "\n"));
    if (indented) MTK_TRY(mtk_jinja_text_add_string(j, &t, by.u.s));
    MTK_TRY(mtk_jinja_text_add_string(j, &t, line));
  }
  return mtk_jinja_text_value(j, &t, out);
}

/* ---- text ----------------------------------------------------------------------------------- */

static mtk_status replace(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"old", "new", "count"};
  jinja_value v[3] = {0}, text, old, by;
  int64_t times;
  MTK_TRY(mtk_jinja_bind(j, "replace", args, names, 3, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[2].kind == JINJA_NONE ? (jinja_value){0} : v[2], -1, &times));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  MTK_TRY(mtk_jinja_to_string(j, v[0], &old));
  MTK_TRY(mtk_jinja_to_string(j, v[1], &by));
  return mtk_jinja_replace(j, text.u.s, old.u.s, by.u.s, times, out);
}

static mtk_status string(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_bind(j, "string", args, NULL, 0, NULL));
  return mtk_jinja_to_string(j, self, out);
}

static mtk_status truncate_text(jinja *j, jinja_value self, const jinja_args *args,
                                jinja_value *out) {
  static const char *const names[] = {"length", "killwords", "end", "leeway"};
  jinja_value v[4] = {0}, text, end, kept;
  int64_t length, leeway;
  MTK_TRY(mtk_jinja_bind(j, "truncate", args, names, 4, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 255, &length));
  MTK_TRY(mtk_jinja_int_arg(j, v[3].kind == JINJA_NONE ? (jinja_value){0} : v[3], 5, &leeway));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  if (v[2].kind == JINJA_ABSENT)
    MTK_TRY(mtk_jinja_new_string(j, "...", 3, false, &end));
  else
    MTK_TRY(mtk_jinja_to_string(j, v[2], &end));
  int64_t ending = (int64_t)mtk_jinja_chars(end.u.s);
  if (length < ending || leeway < 0)
    return mtk_jinja_fail(j, MTK_E_INVALID, "truncate: bad length");
  *out = text;
  if ((int64_t)mtk_jinja_chars(text.u.s) <= length + leeway) return MTK_OK;
  size_t cut = mtk_jinja_char_offset(text.u.s, (size_t)(length - ending));
  if (!mtk_jinja_truth(v[1])) { /* back to the last space */
    const char *space = memrchr(text.u.s->data, ' ', cut);
    if (space) cut = (size_t)(space - text.u.s->data);
  }
  MTK_TRY(mtk_jinja_substring(j, text.u.s, 0, cut, &kept));
  return mtk_jinja_binary(j, OP_ADD, kept, end, out);
}

static mtk_status wordcount(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value text;
  int64_t n = 0;
  bool inside = false;
  MTK_TRY(mtk_jinja_bind(j, "wordcount", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  MTK_TRY(mtk_jinja_step(j, text.u.s->len / 64));
  for (size_t i = 0; i < text.u.s->len;) {
    jinja_string one = {.data = text.u.s->data + i};
    uint32_t cp = 0;
    one.len = text_utf8_decode(one.data, text.u.s->len - i, &cp);
    bool word = cp == '_' || mtk_jinja_is_class(&one, CLASS_ALNUM);
    n += word && !inside;
    inside = word;
    i += one.len;
  }
  *out = mtk_jinja_int(n);
  return MTK_OK;
}

static mtk_status format(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value text, arguments;
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  if (args->n_named > 0 && args->n_named < args->n) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "format takes positional or named arguments, not both");
  }
  if (args->n_named == 0) {
    MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, args->n, &arguments));
    for (size_t i = 0; i < args->n; i++) arguments.u.l->items[i] = args->items[i];
    arguments.u.l->len = args->n;
  } else {
    MTK_TRY(mtk_jinja_new_dict(j, JINJA_DICT, &arguments));
    for (size_t i = 0; i < args->n; i++) {
      jinja_value key;
      MTK_TRY(mtk_jinja_new_string(j, args->names[i], strlen(args->names[i]), false, &key));
      MTK_TRY(mtk_jinja_dict_set(j, arguments.u.d, key, args->items[i]));
    }
  }
  return mtk_jinja_percent_format(j, text.u.s, arguments, out);
}

static mtk_status escape(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_bind(j, "escape", args, NULL, 0, NULL));
  return mtk_jinja_escape(j, self, out);
}

static mtk_status urlencode(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value text;
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_bind(j, "urlencode", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  MTK_TRY(mtk_jinja_step(j, text.u.s->len / 16));
  bool is_data = mtk_jinja_is_data(text.u.s);
  for (size_t i = 0; i < text.u.s->len; i++) {
    char c = text.u.s->data[i], escaped[4] = {'%', 0, 0, 0};
    bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                 (c && strchr("_.-~/", c));
    escaped[1] = "0123456789ABCDEF"[(uint8_t)c >> 4];
    escaped[2] = "0123456789ABCDEF"[c & 15];
    MTK_TRY(mtk_jinja_text_add(j, &t, plain ? &c : escaped, plain ? 1 : 3, is_data));
  }
  return mtk_jinja_text_value(j, &t, out);
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* int(text, base) as Python reads it; false if it is no integer of 64 bits. */
static bool parse_int(const jinja_string *s, int64_t base, int64_t *out) {
  char buf[80];
  size_t n = 0;
  for (size_t i = 0; i < s->len; i++) {
    bool between = i > 0 && i + 1 < s->len && s->data[i - 1] != '_' && s->data[i + 1] != '_';
    if (s->data[i] == '_' && between) continue;
    if (n + 1 >= sizeof buf || !s->data[i]) return false;
    buf[n++] = s->data[i];
  }
  buf[n] = 0;
  char *digits = buf + strspn(buf, " \t\n\r\v\f"), *end;
  bool negative = *digits == '-';
  if (*digits == '-' || *digits == '+') digits++;
  char mark = digits[0] == '0' ? (char)(digits[1] | 0x20) : 0;
  int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (marked && (base == marked || base == 0)) {
    digits += 2;
    base = marked;
  }
  if (base == 0) base = 10;
  if (*digits == '-' || *digits == '+' || strchr(" \t\n\r\v\f", *digits)) return false;
  unsigned long long magnitude = strtoull(digits, &end, (int)base);
  end += strspn(end, " \t\n\r\v\f");
  if (*end || end == digits || magnitude > INT64_MAX) return false;
  *out = negative ? -(int64_t)magnitude : (int64_t)magnitude;
  return true;
}

/* float(text); false if it is none. */
static bool parse_float(const jinja_string *s, double *out) {
  char buf[400], *end;
  if (s->len == 0 || s->len >= sizeof buf || memchr(s->data, 0, s->len)) return false;
  memcpy(buf, s->data, s->len);
  buf[s->len] = 0;
  if (strpbrk(buf, "xXpP(")) return false; /* C's hexadecimal forms */
  *out = strtod(buf, &end);
  if (end == buf) return false;
  end += strspn(end, " \t\n\r\v\f");
  return *end == 0;
}

static mtk_status to_int(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"default", "base"};
  jinja_value v[2] = {0};
  int64_t base, n = 0;
  double f = 0;
  MTK_TRY(mtk_jinja_bind(j, "int", args, names, 2, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[1], 10, &base));
  MTK_TRY(mtk_jinja_require_defined(j, self));
  if (base != 0 && (base < 2 || base > 36))
    return mtk_jinja_fail(j, MTK_E_INVALID, "int: bad base");
  *out = v[0].kind == JINJA_ABSENT ? mtk_jinja_int(0) : v[0];
  bool is_number = mtk_jinja_is_number(self);
  if (self.kind == JINJA_STRING && parse_int(self.u.s, base, &n)) {
    *out = mtk_jinja_int(n);
  } else if (is_number || (self.kind == JINJA_STRING && parse_float(self.u.s, &f))) {
    if (is_number) f = mtk_jinja_number(self);
    if (self.kind == JINJA_INT)
      *out = self;
    else if (fabs(f) < 9.2e18)
      *out = mtk_jinja_int((int64_t)f);
  }
  return MTK_OK;
}

static mtk_status to_float(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"default"};
  jinja_value v[1] = {0};
  double f = 0;
  MTK_TRY(mtk_jinja_bind(j, "float", args, names, 1, v));
  MTK_TRY(mtk_jinja_require_defined(j, self));
  *out = v[0].kind == JINJA_ABSENT ? mtk_jinja_float(0) : v[0];
  if (mtk_jinja_is_number(self))
    *out = mtk_jinja_float(mtk_jinja_number(self));
  else if (self.kind == JINJA_STRING && parse_float(self.u.s, &f))
    *out = mtk_jinja_float(f);
  return MTK_OK;
}

static mtk_status absolute(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_bind(j, "abs", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_require_defined(j, self));
  if (!mtk_jinja_is_number(self)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "bad operand type for abs(): '%s'",
                          mtk_jinja_type_name(self));
  }
  if (self.kind == JINJA_FLOAT)
    *out = mtk_jinja_float(fabs(self.u.f));
  else if (self.kind == JINJA_BOOL)
    *out = mtk_jinja_int(self.u.b);
  else
    *out = mtk_jinja_int(self.u.i < 0 && self.u.i != INT64_MIN ? -self.u.i : self.u.i);
  return MTK_OK;
}

/* Python's round(): the nearest decimal of that many digits, ties to even on the exact value. */
static double round_common(double x, int64_t digits) {
  char buf[400];
  if (digits < 0) {
    double scale = pow(10, (double)-digits);
    return nearbyint(x / scale) * scale;
  }
  if (digits > 30 || fabs(x) > 1e300) return x;
  snprintf(buf, sizeof buf, "%.*f", (int)digits, x);
  return strtod(buf, NULL);
}

static mtk_status do_round(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"precision", "method"};
  jinja_value v[2] = {0};
  int64_t precision;
  jinja_string *method;
  MTK_TRY(mtk_jinja_bind(j, "round", args, names, 2, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 0, &precision));
  MTK_TRY(mtk_jinja_string_arg(j, "round", v[1], &method));
  MTK_TRY(mtk_jinja_require_defined(j, self));
  if (!mtk_jinja_is_number(self)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "type %s doesn't define __round__ method",
                      mtk_jinja_type_name(self));
  }
  double x = mtk_jinja_number(self), scale = pow(10, (double)precision);
  bool up = method && method->len == 4 && memcmp(method->data, "ceil", 4) == 0;
  bool down = method && method->len == 5 && memcmp(method->data, "floor", 5) == 0;
  if (up || down)
    *out = mtk_jinja_float((up ? ceil(x * scale) : floor(x * scale)) / scale);
  else if (self.kind != JINJA_FLOAT && precision >= 0)
    *out = mtk_jinja_int((int64_t)x);
  else if (self.kind != JINJA_FLOAT)
    *out = mtk_jinja_int((int64_t)round_common(x, precision));
  else
    *out = mtk_jinja_float(round_common(x, precision));
  if (self.kind == JINJA_INT && precision >= 0 && !up && !down) *out = self;
  return MTK_OK;
}

/* ---- anything ------------------------------------------------------------------------------- */

static mtk_status default_value(jinja *j, jinja_value self, const jinja_args *args,
                                jinja_value *out) {
  static const char *const names[] = {"default_value", "boolean"};
  jinja_value v[2] = {0};
  MTK_TRY(mtk_jinja_bind(j, "default", args, names, 2, v));
  bool use = self.kind == JINJA_UNDEFINED || (mtk_jinja_truth(v[1]) && !mtk_jinja_truth(self));
  *out = self;
  if (!use) return MTK_OK;
  *out = v[0];
  return v[0].kind == JINJA_ABSENT ? mtk_jinja_new_string(j, "", 0, false, out) : MTK_OK;
}

static mtk_status safe(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value text;
  MTK_TRY(mtk_jinja_bind(j, "safe", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_to_string(j, self, &text));
  MTK_TRY(mtk_jinja_substring(j, text.u.s, 0, text.u.s->len, out));
  out->u.s->markup = true;
  return MTK_OK;
}

static mtk_status attr(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"name"};
  jinja_value v[1] = {0}, text;
  MTK_TRY(mtk_jinja_bind(j, "attr", args, names, 1, v));
  MTK_TRY(mtk_jinja_to_string(j, v[0], &text));
  char *name = mtk_jinja_alloc(j, text.u.s->len + 1, 1);
  if (!name) return jinja_failed(j);
  memcpy(name, text.u.s->data, text.u.s->len);
  if (self.kind == JINJA_DICT && !mtk_jinja_find_method(self, name, &(bool){false})) {
    return mtk_jinja_undefined(j, "dict object", name, text.u.s->len, out); /* attributes only */
  }
  return mtk_jinja_get_attr(j, self, name, text.u.s->len, out);
}

const jinja_row mtk_jinja_string_filters[] = {
    {"lower", filter_lower},
    {"upper", filter_upper},
    {"capitalize", filter_capitalize},
    {"title", filter_title},
    {"trim", trim},
    {"center", center},
    {"indent", indent},
    {"replace", replace},
    {"string", string},
    {"truncate", truncate_text},
    {"wordcount", wordcount},
    {"format", format},
    {"escape", escape},
    {"e", escape},
    {"forceescape", escape},
    {"urlencode", urlencode},
    {"int", to_int},
    {"float", to_float},
    {"abs", absolute},
    {"round", do_round},
    {"default", default_value},
    {"d", default_value},
    {"safe", safe},
    {"attr", attr},
};
const size_t mtk_jinja_string_filters_len =
    sizeof mtk_jinja_string_filters / sizeof mtk_jinja_string_filters[0];

const jinja_row *mtk_jinja_find_filter(const char *name) {
  const jinja_row *row =
      mtk_jinja_find_row(mtk_jinja_sequence_filters, mtk_jinja_sequence_filters_len, name);
  return row ? row
             : mtk_jinja_find_row(mtk_jinja_string_filters, mtk_jinja_string_filters_len, name);
}
