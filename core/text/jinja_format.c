/* text/jinja_format.c: printf-style formatting ("%s" % x, the format filter) and str.format. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"
#include "text/jinja_strings.h"
#include "text/utf8.h"

enum { MAX_WIDTH = 10000 };

/* One conversion: flags, width, precision, type. */
typedef struct spec {
  char fill[5]; /* UTF-8 */
  char align;   /* < > ^ = or 0 */
  char sign;    /* + - space or 0 */
  bool alternate, zero, comma;
  int width, precision; /* -1 = not given */
  char type;
} spec;

static mtk_status bad_format(jinja *j, const char *why) {
  return mtk_jinja_fail(j, MTK_E_INVALID, "bad format string: %s", why);
}

static size_t read_number(const char *s, size_t n, int *value) {
  size_t i = 0;
  *value = 0;
  for (; i < n && s[i] >= '0' && s[i] <= '9'; i++) {
    if (*value <= MAX_WIDTH) *value = *value * 10 + (s[i] - '0'); /* beyond it, any value will do */
  }
  return i;
}

/* ---- values as text ------------------------------------------------------------------------- */

static mtk_status integer_of(jinja *j, jinja_value v, int64_t *out) {
  if (v.kind == JINJA_FLOAT && fabs(v.u.f) < 9e18) {
    *out = (int64_t)v.u.f;
    return MTK_OK;
  }
  return mtk_jinja_int_arg(j, v, 0, out);
}

/* Digits of n in base 2, 8, 10 or 16 with commas if asked; buf ends at buf + 100. */
static const char *digits(char *buf, uint64_t n, const spec *f) {
  unsigned base = f->type == 'x' || f->type == 'X' ? 16
                  : f->type == 'o'                 ? 8
                  : f->type == 'b'                 ? 2
                                                   : 10;
  const char *alphabet = f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  char *p = buf + 99;
  int count = 0;
  *p = 0;
  do {
    if (f->comma && count > 0 && count % 3 == 0) *--p = ',';
    *--p = alphabet[n % base];
    n /= base;
    count++;
  } while (n > 0);
  return p;
}

static mtk_status format_int(jinja *j, jinja_value v, const spec *f, jinja_text *sign,
                             jinja_text *body) {
  char buf[100];
  int64_t n = 0;
  MTK_TRY(integer_of(j, v, &n));
  if (n < 0 || f->sign == '+' || f->sign == ' ') {
    MTK_TRY(mtk_jinja_text_printf(j, sign, "%c", n < 0 ? '-' : f->sign));
  }
  bool prefixed = f->alternate && f->type && strchr("xXob", f->type);
  if (prefixed) MTK_TRY(mtk_jinja_text_printf(j, sign, "0%c", f->type));
  uint64_t magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  return mtk_jinja_text_puts(j, body, digits(buf, magnitude, f));
}

static mtk_status add_commas(jinja *j, jinja_text *body, const char *text) {
  size_t whole = strspn(text, "0123456789");
  for (size_t i = 0; i < whole; i++) {
    if (i > 0 && (whole - i) % 3 == 0) MTK_TRY(mtk_jinja_text_puts(j, body, ","));
    MTK_TRY(mtk_jinja_text_add(j, body, text + i, 1, false));
  }
  return mtk_jinja_text_puts(j, body, text + whole);
}

static mtk_status format_real(jinja *j, jinja_value v, const spec *f, jinja_text *sign,
                              jinja_text *body) {
  char buf[512];
  MTK_TRY(mtk_jinja_require_defined(j, v));
  if (!mtk_jinja_is_number(v)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "must be real number, not %s", mtk_jinja_type_name(v));
  }
  double x = mtk_jinja_number(v);
  int precision = f->precision < 0 ? 6 : f->precision > 100 ? 100 : f->precision;
  if (signbit(x) || f->sign == '+' || f->sign == ' ') {
    MTK_TRY(mtk_jinja_text_printf(j, sign, "%c", signbit(x) ? '-' : f->sign));
  }
  x = fabs(x);
  switch (f->type) {
  case 'e': snprintf(buf, sizeof buf, "%.*e", precision, x); break;
  case 'E': snprintf(buf, sizeof buf, "%.*E", precision, x); break;
  case 'g': snprintf(buf, sizeof buf, "%.*g", precision, x); break;
  case 'G': snprintf(buf, sizeof buf, "%.*G", precision, x); break;
  case '%': snprintf(buf, sizeof buf, "%.*f%%", precision, x * 100); break;
  case 0: mtk_jinja_format_float(buf, x); break;
  default: snprintf(buf, sizeof buf, "%.*f", precision, x);
  }
  return f->comma ? add_commas(j, body, buf) : mtk_jinja_text_puts(j, body, buf);
}

static mtk_status format_text(jinja *j, jinja_value v, const spec *f, bool repr, jinja_text *body) {
  jinja_text t = {0};
  jinja_value text;
  MTK_TRY(mtk_jinja_write(j, &t, v, repr));
  MTK_TRY(mtk_jinja_text_value(j, &t, &text));
  size_t end =
      f->precision < 0 ? text.u.s->len : mtk_jinja_char_offset(text.u.s, (size_t)f->precision);
  return mtk_jinja_text_add_range(j, body, text.u.s, 0, end);
}

/* sign + body, padded to the width. */
static mtk_status emit(jinja *j, jinja_text *out, const spec *f, jinja_text *sign, jinja_text *body,
                       char default_align) {
  if (f->width > MAX_WIDTH) {
    return mtk_jinja_fail(j, MTK_E_LIMIT, "a format is wider than %d", MAX_WIDTH);
  }
  jinja_value head, tail, fill, padded;
  MTK_TRY(mtk_jinja_text_value(j, sign, &head));
  MTK_TRY(mtk_jinja_text_value(j, body, &tail));
  MTK_TRY(mtk_jinja_new_string(j,
                           f->fill[0] ? f->fill
                           : f->zero  ? "0"
                                      : " ",
                           f->fill[0] ? strlen(f->fill) : 1, false, &fill));
  char align = f->align ? f->align : f->zero ? '=' : default_align;
  size_t have = head.u.s->len + mtk_jinja_chars(tail.u.s);
  size_t missing = f->width > 0 && (size_t)f->width > have ? (size_t)f->width - have : 0;
  size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  if (align == '=') {
    MTK_TRY(mtk_jinja_text_add_string(j, out, head.u.s));
    MTK_TRY(mtk_jinja_pad(j, tail.u.s, missing, 0, fill.u.s, &padded));
  } else {
    MTK_TRY(mtk_jinja_binary(j, OP_ADD, head, tail, &tail));
    MTK_TRY(mtk_jinja_pad(j, tail.u.s, left, missing - left, fill.u.s, &padded));
  }
  return mtk_jinja_text_add_string(j, out, padded.u.s);
}

/* ---- "%d" % value --------------------------------------------------------------------------- */

static mtk_status percent_value(jinja *j, jinja_text *out, jinja_value v, const spec *f) {
  jinja_text sign = {0}, body = {0};
  if (strchr("dixXou", f->type)) {
    if (!mtk_jinja_is_number(v)) {
      MTK_TRY(mtk_jinja_require_defined(j, v));
      return mtk_jinja_fail(j, MTK_E_INVALID, "%%%c format: a real number is required, not %s",
                            f->type, mtk_jinja_type_name(v));
    }
    MTK_TRY(format_int(j, v, f, &sign, &body));
  } else if (strchr("eEfFgG", f->type)) {
    MTK_TRY(format_real(j, v, f, &sign, &body));
  } else if (strchr("sra", f->type)) {
    MTK_TRY(format_text(j, v, f, f->type != 's', &body));
  } else {
    return bad_format(j, "unknown conversion");
  }
  spec padding = *f;
  if (strchr("sra", f->type)) padding.zero = false;
  return emit(j, out, &padding, &sign, &body, '>');
}

typedef struct percent {
  jinja *j;
  const jinja_string *s;
  size_t at;
  jinja_value arguments;
  size_t next; /* of a tuple */
} percent;

static mtk_status next_argument(percent *p, jinja_value *out) {
  bool tuple = p->arguments.kind == JINJA_TUPLE;
  size_t n = tuple ? p->arguments.u.l->len : 1;
  if (p->next >= n) {
    return mtk_jinja_fail(p->j, MTK_E_INVALID, "not enough arguments for format string");
  }
  *out = tuple ? p->arguments.u.l->items[p->next] : p->arguments;
  p->next++;
  return MTK_OK;
}

/* Flags, width and precision; p->at stands behind '%'. */
static mtk_status percent_spec(percent *p, spec *f) {
  const char *s = p->s->data;
  size_t n = p->s->len;
  for (; p->at < n && strchr("-+ #0", s[p->at]) && s[p->at]; p->at++) {
    char c = s[p->at];
    if (c == '-')
      f->align = '<';
    else if (c == '0')
      f->zero = true;
    else if (c == '#')
      f->alternate = true;
    else if (f->sign != '+')
      f->sign = c;
  }
  p->at += read_number(s + p->at, n - p->at, &f->width);
  if (p->at < n && s[p->at] == '.') {
    p->at++;
    p->at += read_number(s + p->at, n - p->at, &f->precision);
  }
  if (p->at >= n) return bad_format(p->j, "incomplete format");
  f->type = s[p->at++];
  return MTK_OK;
}

/* %(key)s */
static mtk_status percent_key(percent *p, jinja_value *out, bool *found) {
  const char *s = p->s->data;
  *found = p->at < p->s->len && s[p->at] == '(';
  if (!*found) return MTK_OK;
  const char *close = memchr(s + p->at, ')', p->s->len - p->at);
  if (!close) return bad_format(p->j, "incomplete format key");
  size_t end = (size_t)(close - s);
  jinja_value key;
  if (p->arguments.kind != JINJA_DICT) {
    return mtk_jinja_fail(p->j, MTK_E_INVALID, "format requires a mapping");
  }
  MTK_TRY(mtk_jinja_substring(p->j, p->s, p->at + 1, end, &key));
  const jinja_value *value = mtk_jinja_dict_get(p->arguments.u.d, key);
  if (!value) return mtk_jinja_fail(p->j, MTK_E_INVALID, "a key of the format is missing");
  *out = *value;
  p->at = end + 1;
  return MTK_OK;
}

mtk_status mtk_jinja_percent_format(jinja *j, const jinja_string *format, jinja_value arguments,
                                jinja_value *out) {
  percent p = {.j = j, .s = format, .arguments = arguments};
  jinja_text t = {0};
  while (p.at < format->len) {
    const char *mark = memchr(format->data + p.at, '%', format->len - p.at);
    size_t end = mark ? (size_t)(mark - format->data) : format->len;
    MTK_TRY(mtk_jinja_text_add_range(j, &t, format, p.at, end));
    p.at = end + 1;
    if (!mark) break;
    spec f = {.precision = -1};
    jinja_value v = {0};
    bool keyed = false;
    MTK_TRY(percent_key(&p, &v, &keyed));
    MTK_TRY(percent_spec(&p, &f));
    if (f.type == '%') {
      MTK_TRY(mtk_jinja_text_puts(j, &t, "%"));
      continue;
    }
    if (!keyed) MTK_TRY(next_argument(&p, &v));
    MTK_TRY(percent_value(j, &t, v, &f));
  }
  bool tuple = arguments.kind == JINJA_TUPLE;
  if ((tuple && p.next < arguments.u.l->len) ||
      (!tuple && p.next == 0 && arguments.kind != JINJA_DICT)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "not all arguments converted during string formatting");
  }
  return mtk_jinja_text_value(j, &t, out);
}

/* ---- "{}".format(value) --------------------------------------------------------------------- */

static bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static mtk_status brace_spec(jinja *j, const char *s, size_t n, spec *f) {
  size_t i = 0;
  uint32_t cp;
  size_t fill = text_utf8_decode(s, n, &cp);
  if (fill > 0 && fill < n && is_align(s[fill])) {
    memcpy(f->fill, s, fill);
    i = fill;
  }
  if (i < n && is_align(s[i])) f->align = s[i++];
  if (i < n && strchr("+- ", s[i]) && s[i]) f->sign = s[i++];
  if (i < n && s[i] == '#') f->alternate = s[i++] == '#';
  if (i < n && s[i] == '0') f->zero = s[i++] == '0';
  i += read_number(s + i, n - i, &f->width);
  if (i < n && (s[i] == ',' || s[i] == '_')) f->comma = s[i++] == ',';
  if (i < n && s[i] == '.') {
    i++;
    i += read_number(s + i, n - i, &f->precision);
  }
  if (i < n) f->type = s[i++];
  return i < n ? bad_format(j, "invalid format specifier") : MTK_OK;
}

static mtk_status brace_value(jinja *j, jinja_text *out, jinja_value v, char conversion,
                              const spec *f) {
  jinja_text sign = {0}, body = {0};
  bool number = mtk_jinja_is_number(v) && v.kind != JINJA_BOOL && !conversion;
  if (f->type && !strchr("sdnxXobeEfFgG%", f->type)) return bad_format(j, "unknown format code");
  if (f->type && f->type != 's' && !mtk_jinja_is_number(v)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "Unknown format code '%c' for object of type '%s'",
                          f->type, mtk_jinja_type_name(v));
  }
  bool real = (f->type && strchr("eEfFgG%", f->type)) || (v.kind == JINJA_FLOAT && number);
  if (real) {
    spec shown = *f;
    if (!f->type && f->precision >= 0) shown.type = 'g';
    MTK_TRY(format_real(j, v, &shown, &sign, &body));
    return emit(j, out, f, &sign, &body, '>');
  }
  if (number || (f->type && strchr("dnxXob", f->type))) {
    MTK_TRY(format_int(j, v, f, &sign, &body));
    return emit(j, out, f, &sign, &body, '>');
  }
  MTK_TRY(format_text(j, v, f, conversion == 'r' || conversion == 'a', &body));
  return emit(j, out, f, &sign, &body, '<');
}

/* The argument a field names: "", "0", "name", then ".attr" and "[item]" parts. */
static mtk_status field_value(jinja *j, const jinja_string *s, size_t at, size_t end,
                              const jinja_args *args, size_t *automatic, jinja_value *out) {
  size_t head = at, positional = args->n - args->n_named;
  while (head < end && s->data[head] != '.' && s->data[head] != '[') head++;
  int number = 0;
  size_t used = read_number(s->data + at, head - at, &number);
  if (used == head - at) {
    size_t index = head == at ? (*automatic)++ : (size_t)number;
    if (index >= positional) {
      return mtk_jinja_fail(j, MTK_E_INVALID,
                        "Replacement index %zu out of range for positional args tuple", index);
    }
    *out = args->items[index];
  } else {
    size_t i = 0;
    while (i < args->n_named && (strlen(args->names[i]) != head - at ||
                                 memcmp(args->names[i], s->data + at, head - at) != 0)) {
      i++;
    }
    if (i == args->n_named)
      return mtk_jinja_fail(j, MTK_E_INVALID, "format: a named argument is missing");
    *out = args->items[positional + i];
  }
  while (head < end) {
    size_t begin = head + 1;
    char close = s->data[head] == '[' ? ']' : 0;
    head = begin;
    while (head < end &&
           (close ? s->data[head] != close : s->data[head] != '.' && s->data[head] != '[')) {
      head++;
    }
    jinja_value key;
    MTK_TRY(mtk_jinja_substring(j, s, begin, head, &key));
    bool digits_only = read_number(s->data + begin, head - begin, &number) == head - begin;
    MTK_TRY(mtk_jinja_get_item(j, *out, digits_only && close ? mtk_jinja_int(number) : key, out));
    head += close != 0;
  }
  return MTK_OK;
}

/* One "{...}" with its braces taken off: s[at..end). */
static mtk_status format_field(jinja *j, jinja_text *t, const jinja_string *s, size_t at,
                               size_t end, const jinja_args *args, size_t *automatic) {
  size_t name_end = at, spec_begin;
  char conversion = 0;
  spec f = {.precision = -1};
  jinja_value v = {0};
  while (name_end < end && s->data[name_end] != '!' && s->data[name_end] != ':') name_end++;
  spec_begin = name_end;
  if (spec_begin < end && s->data[spec_begin] == '!' && spec_begin + 1 < end) {
    conversion = s->data[spec_begin + 1];
    spec_begin += 2;
  }
  if (spec_begin < end && s->data[spec_begin] == ':') spec_begin++;
  MTK_TRY(field_value(j, s, at, name_end, args, automatic, &v));
  MTK_TRY(brace_spec(j, s->data + spec_begin, end - spec_begin, &f));
  return brace_value(j, t, v, conversion, &f);
}

mtk_status mtk_jinja_str_format(jinja *j, jinja_value self, const jinja_args *args,
                                jinja_value *out) {
  const jinja_string *s = self.u.s;
  jinja_text t = {0};
  size_t automatic = 0;
  for (size_t at = 0; at < s->len;) {
    char c = s->data[at];
    if ((c == '{' || c == '}') && at + 1 < s->len && s->data[at + 1] == c) {
      MTK_TRY(mtk_jinja_text_add_range(j, &t, s, at, at + 1));
      at += 2;
    } else if (c == '{') {
      const char *close = memchr(s->data + at, '}', s->len - at);
      if (!close) return bad_format(j, "expected '}'");
      size_t end = (size_t)(close - s->data);
      MTK_TRY(mtk_jinja_step(j, 1));
      MTK_TRY(format_field(j, &t, s, at + 1, end, args, &automatic));
      at = end + 1;
    } else if (c == '}') {
      return bad_format(j, "single '}'");
    } else {
      size_t end = at;
      while (end < s->len && s->data[end] != '{' && s->data[end] != '}') end++;
      MTK_TRY(mtk_jinja_text_add_range(j, &t, s, at, end));
      at = end;
    }
  }
  return mtk_jinja_text_value(j, &t, out);
}
