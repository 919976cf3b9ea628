/* text/jinja_repr.c: Python's str() and repr() of values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja.h"
#include "text/utf8.h"

enum { MAX_REPR_DEPTH = 500 };

/* The shortest decimal that reads back as f, in Python's choice of notation. */
size_t mtk_jinja_format_float(char *buf, double f) {
  if (isnan(f) || isinf(f)) {
    return (size_t)snprintf(buf, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
  }
  int precision = 1;
  do {
    snprintf(buf, 40, "%.*e", precision - 1, f);
  } while (strtod(buf, NULL) != f && precision++ < 17);
  int exponent = (int)strtol(strchr(buf, 'e') + 1, NULL, 10);
  if (exponent < -4 || exponent >= 16) return strlen(buf);
  int decimals = precision - 1 - exponent;
  return (size_t)snprintf(buf, 40, "%.*f", decimals > 1 ? decimals : 1, f);
}

/* Whether repr() shows a character as it is (Python's str.isprintable). */
static bool is_printable(uint32_t cp) {
  if (cp < 0x7F) return cp >= 0x20;
  switch (utf8proc_category((utf8proc_int32_t)cp)) {
  case UTF8PROC_CATEGORY_CC:
  case UTF8PROC_CATEGORY_CF:
  case UTF8PROC_CATEGORY_CS:
  case UTF8PROC_CATEGORY_CO:
  case UTF8PROC_CATEGORY_CN:
  case UTF8PROC_CATEGORY_ZL:
  case UTF8PROC_CATEGORY_ZP:
  case UTF8PROC_CATEGORY_ZS: return false;
  default: return true;
  }
}

static mtk_status repr_char(jinja *j, jinja_text *t, uint32_t cp, const char *raw, size_t n,
                            char quote) {
  static const char from[] = "\n\r\t", to[] = "nrt";
  const char *simple = cp < 0x80 && cp ? strchr(from, (int)cp) : NULL;
  if (simple) return mtk_jinja_text_printf(j, t, "\\%c", to[simple - from]);
  if (cp == '\\' || cp == (uint32_t)quote) return mtk_jinja_text_printf(j, t, "\\%c", (int)cp);
  if (is_printable(cp)) return mtk_jinja_text_add(j, t, raw, n, false);
  if (cp < 0x100) return mtk_jinja_text_printf(j, t, "\\x%02x", cp);
  return mtk_jinja_text_printf(j, t, cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
}

/* All of it is data if any of the string is. */
static mtk_status repr_string(jinja *j, jinja_text *out, const jinja_string *s) {
  bool single = memchr(s->data, '\'', s->len) != NULL, both = memchr(s->data, '"', s->len) != NULL;
  char quote = single && !both ? '"' : '\'';
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_step(j, s->len / 64));
  MTK_TRY(mtk_jinja_text_add(j, &t, &quote, 1, false));
  for (size_t i = 0; i < s->len;) {
    uint32_t cp = 0;
    size_t n = text_utf8_decode(s->data + i, s->len - i, &cp);
    MTK_TRY(repr_char(j, &t, cp, s->data + i, n, quote));
    i += n;
  }
  MTK_TRY(mtk_jinja_text_add(j, &t, &quote, 1, false));
  return mtk_jinja_text_add(j, out, t.data, t.len, mtk_jinja_is_data(s));
}

static mtk_status write_value(jinja *j, jinja_text *t, jinja_value v, bool repr, int depth);

static mtk_status write_items(jinja *j, jinja_text *t, const jinja_list *l, const char *open,
                              const char *close, int depth) {
  MTK_TRY(mtk_jinja_text_puts(j, t, open));
  for (size_t i = 0; i < l->len; i++) {
    if (i > 0) MTK_TRY(mtk_jinja_text_puts(j, t, ", "));
    MTK_TRY(write_value(j, t, l->items[i], true, depth + 1));
  }
  return mtk_jinja_text_puts(j, t, close);
}

static mtk_status write_dict(jinja *j, jinja_text *t, const jinja_dict *d, int depth) {
  MTK_TRY(mtk_jinja_text_puts(j, t, "{"));
  for (size_t i = 0; i < d->len; i++) {
    if (i > 0) MTK_TRY(mtk_jinja_text_puts(j, t, ", "));
    MTK_TRY(write_value(j, t, d->entries[i].key, true, depth + 1));
    MTK_TRY(mtk_jinja_text_puts(j, t, ": "));
    MTK_TRY(write_value(j, t, d->entries[i].value, true, depth + 1));
  }
  return mtk_jinja_text_puts(j, t, "}");
}

static mtk_status write_number(jinja *j, jinja_text *t, jinja_value v) {
  char buf[40];
  if (v.kind == JINJA_INT) return mtk_jinja_text_printf(j, t, "%lld", (long long)v.u.i);
  return mtk_jinja_text_add(j, t, buf, mtk_jinja_format_float(buf, v.u.f), false);
}

static mtk_status write_view(jinja *j, jinja_text *t, const jinja_list *l, int depth) {
  if (strcmp(l->type, "range") == 0) {
    return mtk_jinja_text_printf(j, t, "range(0, %zu)", l->len);
  }
  MTK_TRY(mtk_jinja_text_puts(j, t, l->type));
  return write_items(j, t, l, "([", "])", depth);
}

static mtk_status write_value(jinja *j, jinja_text *t, jinja_value v, bool repr, int depth) {
  if (depth > MAX_REPR_DEPTH) return mtk_jinja_fail(j, MTK_E_LIMIT, "values are nested too deeply");
  MTK_TRY(mtk_jinja_step(j, 1));
  switch (v.kind) {
  case JINJA_UNDEFINED: return repr ? mtk_jinja_text_puts(j, t, "Undefined") : MTK_OK;
  case JINJA_NONE: return mtk_jinja_text_puts(j, t, "None");
  case JINJA_BOOL: return mtk_jinja_text_puts(j, t, v.u.b ? "True" : "False");
  case JINJA_INT:
  case JINJA_FLOAT: return write_number(j, t, v);
  case JINJA_STRING:
    return repr ? repr_string(j, t, v.u.s) : mtk_jinja_text_add_string(j, t, v.u.s);
  case JINJA_LIST: return write_items(j, t, v.u.l, "[", "]", depth);
  case JINJA_TUPLE: return write_items(j, t, v.u.l, "(", v.u.l->len == 1 ? ",)" : ")", depth);
  case JINJA_VIEW: return write_view(j, t, v.u.l, depth);
  case JINJA_DICT: return write_dict(j, t, v.u.d, depth);
  case JINJA_NAMESPACE:
    MTK_TRY(mtk_jinja_text_puts(j, t, "<Namespace "));
    MTK_TRY(write_dict(j, t, v.u.d, depth));
    return mtk_jinja_text_puts(j, t, ">");
  default: return mtk_jinja_text_printf(j, t, "<%s object>", mtk_jinja_type_name(v));
  }
}

mtk_status mtk_jinja_write(jinja *j, jinja_text *t, jinja_value v, bool repr) {
  return write_value(j, t, v, repr, 0);
}

mtk_status mtk_jinja_escape(jinja *j, jinja_value v, jinja_value *out) {
  static const char from[] = "&<>'\"";
  static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  jinja_value text;
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_to_string(j, v, &text));
  const jinja_string *s = text.u.s;
  MTK_TRY(mtk_jinja_step(j, s->len / 64));
  for (size_t i = 0; i < s->len && !s->markup; i++) {
    const char *special = s->data[i] ? strchr(from, s->data[i]) : NULL;
    if (special)
      MTK_TRY(mtk_jinja_text_puts(j, &t, to[special - from]));
    else
      MTK_TRY(mtk_jinja_text_add_range(j, &t, s, i, i + 1));
  }
  if (s->markup) MTK_TRY(mtk_jinja_text_add_string(j, &t, s));
  MTK_TRY(mtk_jinja_text_value(j, &t, out));
  out->u.s->markup = true;
  return MTK_OK;
}

mtk_status mtk_jinja_to_string(jinja *j, jinja_value v, jinja_value *out) {
  if (v.kind == JINJA_STRING) {
    *out = v;
    return MTK_OK;
  }
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_write(j, &t, v, false));
  return mtk_jinja_text_value(j, &t, out);
}
