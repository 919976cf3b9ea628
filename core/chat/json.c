/* chat/json.c: JSON text the way Python writes it, which is what models were trained on. Pure; any
 * thread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "chat/chat.h"
#include "text/jinja.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 500, MAX_NUMBER = 4300 /* Python's own limit on digits */ };

typedef struct reader {
  mtk_bytes *out;
  const char *at, *end;
  bool compact;
} reader;

void mtk_json_string(mtk_bytes *out, const char *text, size_t n) {
  static const char from[] = "\b\f\n\r\t\"\\", to[] = "bfnrt\"\\";
  mtk_bytes_append(out, "\"", 1);
  size_t plain = 0; /* where the bytes that need no escape begin */
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    const char *simple = c ? strchr(from, c) : NULL;
    mtk_bytes_append(out, text + plain, i - plain);
    plain = i + 1;
    if (simple)
      mtk_bytes_printf(out, "\\%c", to[simple - from]);
    else
      mtk_bytes_printf(out, "\\u%04x", c);
  }
  mtk_bytes_append(out, text + plain, n - plain);
  mtk_bytes_append(out, "\"", 1);
}

static void skip_space(reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
    r->at++;
}

static bool take(reader *r, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) return false;
  r->at += n;
  return true;
}

/* Four hex digits. */
static bool read_hex(reader *r, uint32_t *out) {
  *out = 0;
  if (r->end - r->at < 4) return false;
  for (int i = 0; i < 4; i++) {
    char c = *r->at++;
    const char *hex = "0123456789abcdef", *hit = strchr(hex, c >= 'A' && c <= 'F' ? c + 32 : c);
    if (!c || !hit) return false;
    *out = *out * 16 + (uint32_t)(hit - hex);
  }
  return true;
}

static void append_utf8(mtk_bytes *out, uint32_t cp) {
  char buf[4];
  size_t n = 1;
  if (cp < 0x80) {
    buf[0] = (char)cp;
  } else {
    n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6) buf[i] = (char)(0x80 | (cp & 0x3F));
    buf[0] = (char)((0xF00u >> n & 0xF0u) | cp);
  }
  mtk_bytes_append(out, buf, n);
}

/* After a backslash. A lone surrogate is refused: no text holds one. */
static bool read_escape(reader *r, mtk_bytes *text) {
  static const char from[] = "bfnrt\"\\/", to[] = "\b\f\n\r\t\"\\/";
  if (r->at == r->end) return false;
  char c = *r->at++;
  if (c != 'u') {
    const char *hit = c ? strchr(from, c) : NULL;
    if (hit) mtk_bytes_append(text, &to[hit - from], 1);
    return hit != NULL;
  }
  uint32_t cp, low;
  if (!read_hex(r, &cp) || (cp >= 0xDC00 && cp < 0xE000)) return false;
  if (cp >= 0xD800 && cp < 0xDC00) {
    if (!take(r, "\\u") || !read_hex(r, &low) || low < 0xDC00 || low >= 0xE000) return false;
    cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
  }
  append_utf8(text, cp);
  return true;
}

static bool read_string(reader *r) {
  mtk_bytes text = {0};
  bool ok = take(r, "\"");
  while (ok) {
    const char *from = r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20)
      r->at++;
    mtk_bytes_append(&text, from, (size_t)(r->at - from));
    ok = r->at < r->end && (unsigned char)*r->at >= 0x20;
    if (ok && *r->at++ == '"') break;
    ok = ok && read_escape(r, &text);
  }
  if (ok) mtk_json_string(r->out, text.data ? text.data : "", text.len);
  r->out->failed |= text.failed;
  mtk_bytes_finish(&text);
  return ok;
}

static size_t count_digits(const char *at, const char *end) {
  const char *from = at;
  while (at < end && *at >= '0' && *at <= '9') at++;
  return (size_t)(at - from);
}

/* Bytes of the number at r->at, 0 if there is none; *real: it has a fraction or an exponent. */
static size_t measure_number(const reader *r, bool *real) {
  const char *p = r->at + (r->at < r->end && *r->at == '-');
  size_t n = count_digits(p, r->end);
  if (n > 1 && *p == '0') n = 1;
  if (n == 0) return 0;
  p += n;
  *real = false;
  size_t fraction = p < r->end && *p == '.' ? count_digits(p + 1, r->end) : 0;
  if (fraction) p += 1 + fraction;
  const char *e = p;
  if (e < r->end && (*e == 'e' || *e == 'E')) e++;
  size_t sign = e > p && e < r->end && (*e == '+' || *e == '-');
  size_t exponent = e > p ? count_digits(e + sign, r->end) : 0;
  if (exponent) p = e + sign + exponent;
  *real = fraction || exponent;
  return (size_t)(p - r->at);
}

static bool read_number(reader *r) {
  bool real = false;
  size_t n = measure_number(r, &real);
  if (n == 0 || n > MAX_NUMBER) return false;
  char copy[MAX_NUMBER + 1], text[40];
  memcpy(copy, r->at, n);
  copy[n] = 0;
  r->at += n;
  if (!real) {
    mtk_bytes_puts(r->out, strcmp(copy, "-0") ? copy : "0");
    return true;
  }
  double value = strtod(copy, NULL);
  if (isinf(value))
    mtk_bytes_puts(r->out, value < 0 ? "-Infinity" : "Infinity");
  else
    mtk_bytes_append(r->out, text, mtk_jinja_format_float(text, value));
  return true;
}

static bool read_value(reader *r, int depth);

/* Members of an object being read: their names, and where their values are in the output. Python
 * keeps the first place and the last value of a name that comes twice. */
typedef struct members {
  mtk_map *names;
  mtk_span *values;
  size_t cap;
  bool repeated;
} members;

static bool note_member(members *m, const mtk_bytes *out, mtk_span name, mtk_span value) {
  bool found = false;
  if (!m->names) m->names = mtk_map_create();
  if (!m->names || out->failed) return false;
  size_t n = mtk_map_count(m->names);
  mtk_map_value *v = mtk_map_put(m->names, out->data + name.begin, name.end - name.begin, &found);
  if (!v) return false;
  if (!found) v->i = (int64_t)n;
  m->repeated |= found;
  if (n == m->cap) {
    mtk_span *grown = mtk_realloc(m->values, n, 2 * n + 8, sizeof *grown);
    if (!grown) return false;
    m->values = grown;
    m->cap = 2 * n + 8;
  }
  m->values[v->i] = value;
  return true;
}

/* Write the object anew, each name once. */
static void rewrite(reader *r, const members *m, size_t begin, const char *comma,
                    const char *colon) {
  mtk_bytes text = {0};
  for (size_t i = 0; i < mtk_map_count(m->names); i++) {
    const mtk_map_entry *e = mtk_map_at(m->names, i);
    mtk_span value = m->values[e->value.i];
    mtk_bytes_puts(&text, i ? comma : "{");
    mtk_bytes_append(&text, e->key, e->key_len);
    mtk_bytes_puts(&text, colon);
    mtk_bytes_append(&text, r->out->data + value.begin, value.end - value.begin);
  }
  r->out->len = begin;
  mtk_bytes_append(r->out, text.data ? text.data : "", text.len);
  r->out->failed |= text.failed;
  mtk_bytes_finish(&text);
}

static bool read_name(reader *r, mtk_span *name, const char *colon) {
  name->begin = r->out->len;
  if (!read_string(r)) return false;
  name->end = r->out->len;
  skip_space(r);
  if (!take(r, ":")) return false;
  mtk_bytes_puts(r->out, colon);
  return true;
}

/* The members of an object or the items of a list up to the closing bracket; m NULL: a list. */
static bool read_members(reader *r, members *m, char close, int depth) {
  const char *comma = r->compact ? "," : ", ", *colon = r->compact ? ":" : ": ";
  size_t begin = r->out->len;
  mtk_bytes_puts(r->out, m ? "{" : "[");
  skip_space(r);
  for (bool first = true; r->at < r->end && (*r->at != close || !first); first = false) {
    mtk_span name = {0, 0}, value;
    if (m && !read_name(r, &name, colon)) return false;
    value.begin = r->out->len;
    if (!read_value(r, depth + 1)) return false;
    value.end = r->out->len;
    if (m && !note_member(m, r->out, name, value)) return false;
    skip_space(r);
    if (r->at < r->end && *r->at == close) break;
    if (!take(r, ",")) return false;
    mtk_bytes_puts(r->out, comma);
    skip_space(r);
  }
  if (r->at == r->end || r->out->failed) return false;
  r->at++;
  if (m && m->repeated) rewrite(r, m, begin, comma, colon);
  mtk_bytes_puts(r->out, m ? "}" : "]");
  return true;
}

static bool read_object(reader *r, int depth) {
  members m = {0};
  bool ok = read_members(r, &m, '}', depth);
  mtk_map_destroy(m.names);
  mtk_free(m.values);
  return ok;
}

static bool read_value(reader *r, int depth) {
  static const char *const words[] = {"true", "false", "null", "NaN", "Infinity", "-Infinity"};
  skip_space(r);
  if (r->at == r->end || depth > MAX_DEPTH) return false;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (take(r, words[i])) {
      mtk_bytes_puts(r->out, words[i]);
      return true;
    }
  if (*r->at == '"') return read_string(r);
  if (take(r, "{")) return read_object(r, depth);
  if (take(r, "[")) return read_members(r, NULL, ']', depth);
  return read_number(r);
}

bool mtk_json_normalize(mtk_bytes *out, const char *text, size_t n, bool compact) {
  size_t before = out->len;
  bool incomplete;
  if (mtk_utf8_prefix(text, n, &incomplete) != n) return false;
  reader r = {out, text, text + n, compact};
  bool ok = read_value(&r, 0);
  skip_space(&r);
  if (ok && r.at == r.end) return true;
  if (!out->failed && out->data) out->data[out->len = before] = 0;
  return false;
}

void mtk_json_value(mtk_bytes *out, const json_t *value, bool compact) {
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
  if (!text || !mtk_json_normalize(out, text, strlen(text), compact)) out->failed = true;
  free(text);
}

const char *mtk_json_get(const json_t *object, const char *key, size_t *n) {
  const json_t *v = json_object_get(object, key);
  if (n) *n = json_string_length(v);
  return json_string_value(v);
}
