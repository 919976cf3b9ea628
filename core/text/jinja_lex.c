/* text/mtk_jinja_lex.c: template source to tokens, with trim_blocks, lstrip_blocks, explicit +/-
 * marks, comments and raw blocks, as jinja2/lexer.py does. Pure; memory from the caller's arena. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"
#include "text/utf8.h"

typedef struct lexer {
  const char *s;
  size_t n, at;
  int line;
  bool line_starting; /* the last tag ended with a newline */
  jinja_tokens *out;
  mtk_arena *arena;
  mtk_error *err;
} lexer;

mtk_status mtk_jinja_fail_line(mtk_error *err, mtk_status code, int line, const char *fmt, ...) {
  va_list list;
  va_start(list, fmt);
  char message[400];
  mtk_bytes text = {.max = sizeof message};
  mtk_bytes_printf(&text, "line %d", line);
  char place[32] = "";
  if (text.data) memcpy(place, text.data, text.len < 31 ? text.len : 31);
  mtk_bytes_finish(&text);
  int len = vsnprintf(message, sizeof message, fmt, list);
  va_end(list);
  return mtk_fail(err, code, place, "%s", len < 0 ? "" : message);
}

static mtk_status push(lexer *l, jinja_token token) {
  jinja_tokens *t = l->out;
  if (t->len == t->cap) {
    size_t cap = t->cap * 2 + 64;
    jinja_token *grown = mtk_arena_alloc(l->arena, cap, sizeof *grown);
    if (!grown) return mtk_fail(l->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
    if (t->len > 0) memcpy(grown, t->items, t->len * sizeof *grown);
    t->items = grown;
    t->cap = cap;
  }
  token.line = token.line ? token.line : l->line;
  t->items[t->len++] = token;
  return MTK_OK;
}

static void advance(lexer *l, size_t n) {
  for (size_t i = 0; i < n; i++) l->line += l->s[l->at + i] == '\n';
  l->at += n;
}

static bool starts(const lexer *l, size_t at, const char *text) {
  size_t n = strlen(text);
  return l->n - at >= n && memcmp(l->s + at, text, n) == 0;
}

/* Bytes of the whitespace at s[at..]. */
static size_t spaces(const lexer *l, size_t at) {
  size_t from = at, len;
  uint32_t cp;
  while ((len = text_utf8_decode(l->s + at, l->n - at, &cp)) > 0 && text_is_space(cp)) at += len;
  return at - from;
}

/* Whether the word stands at `at`, after whitespace; *end = behind it. */
static bool word_at(const lexer *l, size_t at, const char *word, size_t *end) {
  at += spaces(l, at);
  if (!starts(l, at, word)) return false;
  *end = at + strlen(word);
  return true;
}

/* Length of text[0..n) without the whitespace at its end. */
static size_t trimmed(const char *text, size_t n) {
  while (n > 0) {
    size_t begin = n - 1;
    while (begin > 0 && ((uint8_t)text[begin] & 0xC0) == 0x80) begin--;
    uint32_t cp;
    if (text_utf8_decode(text + begin, n - begin, &cp) == 0 || !text_is_space(cp)) break;
    n = begin;
  }
  return n;
}

/* Length of the text in front of a tag after the tag's sign ('-', '+' or 0) and lstrip_blocks. */
static size_t strip_before(const lexer *l, const char *text, size_t n, char sign, bool is_print) {
  if (sign == '-') return trimmed(text, n);
  if (sign == '+' || is_print) return n;
  size_t line = n;
  while (line > 0 && text[line - 1] != '\n') line--;
  if (line == 0 && !l->line_starting) return n;
  return trimmed(text + line, n - line) == 0 ? line : n;
}

static mtk_status push_text(lexer *l, const char *text, size_t n) {
  if (n == 0) return MTK_OK;
  return push(l, (jinja_token){.kind = TOKEN_TEXT, .text = text, .len = n});
}

/* If a tag's end "[+-]close" stands at `at`, its length with what it swallows; else 0. */
static size_t tag_end(const lexer *l, size_t at, const char *close, bool trim) {
  char sign = at < l->n ? l->s[at] : 0;
  size_t mark = sign == '-' || (sign == '+' && trim) ? 1 : 0;
  if (!starts(l, at + mark, close)) return 0;
  size_t end = at + mark + 2;
  if (sign == '-')
    end += spaces(l, end);
  else if (!mark && trim && end < l->n && l->s[end] == '\n')
    end++;
  return end - at;
}

static void leave_tag(lexer *l, size_t n) {
  advance(l, n);
  l->line_starting = n > 0 && l->s[l->at - 1] == '\n';
}

/* ---- inside tags ---------------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  char lower = (char)(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
}

/* Length of digits with single underscores between them. */
static size_t digits(const char *s, size_t n, int base) {
  size_t i = 0;
  while (i < n && (digit_value(s[i]) < base ||
                   (s[i] == '_' && i > 0 && i + 1 < n && digit_value(s[i + 1]) < base))) {
    i++;
  }
  return i;
}

/* Length of a float literal at s, or 0. */
static size_t float_length(const char *s, size_t n) {
  size_t whole = digits(s, n, 10), i = whole;
  if (whole == 0) return 0;
  size_t fraction = i + 1 < n && s[i] == '.' ? digits(s + i + 1, n - i - 1, 10) : 0;
  if (fraction > 0) i += 1 + fraction;
  size_t e = i;
  if (e < n && (s[e] | 0x20) == 'e') {
    e++;
    if (e < n && (s[e] == '+' || s[e] == '-')) e++;
    size_t exponent = digits(s + e, n - e, 10);
    if (exponent > 0) return e + exponent;
  }
  return fraction > 0 ? i : 0;
}

static mtk_status lex_float(lexer *l, size_t n) {
  char buf[128];
  size_t len = 0;
  if (n >= sizeof buf) return mtk_jinja_fail_line(l->err, MTK_E_LIMIT, l->line, "number too long");
  for (size_t i = 0; i < n; i++) {
    if (l->s[l->at + i] != '_') buf[len++] = l->s[l->at + i];
  }
  buf[len] = 0;
  MTK_TRY(push(l, (jinja_token){.kind = TOKEN_FLOAT, .f = strtod(buf, NULL)}));
  advance(l, n);
  return MTK_OK;
}

static mtk_status lex_number(lexer *l, bool after_dot) {
  const char *s = l->s + l->at;
  size_t n = l->n - l->at, length = after_dot ? 0 : float_length(s, n), skip = 0;
  if (length > 0) return lex_float(l, length);
  int base = 10;
  if (n > 2 && s[0] == '0') {
    char mark = (char)(s[1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    if (base != 10) skip = 2;
  }
  length = digits(s + skip, n - skip, base);
  int64_t value = 0;
  for (size_t i = 0; i < length; i++) {
    if (s[skip + i] == '_') continue;
    if (__builtin_mul_overflow(value, base, &value) ||
        __builtin_add_overflow(value, digit_value(s[skip + i]), &value)) {
      return mtk_jinja_fail_line(l->err, MTK_E_UNSUPPORTED, l->line, "an integer beyond 64 bits");
    }
  }
  MTK_TRY(push(l, (jinja_token){.kind = TOKEN_INT, .i = value}));
  advance(l, skip + length);
  return MTK_OK;
}

/* \ooo, \xhh, \uhhhh, \Uhhhhhhhh at s (behind the backslash): code point and length, 0 = none (\N
 * with its names never is one). */
static size_t numeric_escape(const char *s, size_t n, uint32_t *cp) {
  size_t want = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0, at = want ? 1 : 0;
  int base = want ? 16 : 8;
  size_t most = want ? want : 3, i = 0;
  uint64_t value = 0;
  while (i < most && at + i < n && digit_value(s[at + i]) < base) {
    value = value * (uint64_t)base + (uint64_t)digit_value(s[at + i]);
    i++;
  }
  if (i == 0 || (want && i < want) || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    return 0;
  }
  *cp = (uint32_t)value;
  return at + i;
}

/* Python's escapes; unknown ones stay as they are. Returns the new length, or SIZE_MAX. */
static size_t unescape(char *dst, const char *s, size_t n) {
  static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
  size_t len = 0;
  for (size_t i = 0; i < n; i++) {
    if (s[i] != '\\' || i + 1 == n) {
      dst[len++] = s[i];
      continue;
    }
    char c = s[++i];
    const char *simple = strchr(from, c);
    uint32_t cp = 0;
    if (c == '\n') continue;
    if (simple && c) {
      dst[len++] = to[simple - from];
    } else if (strchr("01234567xuUN", c) && c) {
      size_t used = numeric_escape(s + i, n - i, &cp);
      if (used == 0) return SIZE_MAX;
      len += text_utf8_encode(cp, dst + len);
      i += used - 1;
    } else {
      dst[len++] = '\\';
      dst[len++] = c;
    }
  }
  return len;
}

static mtk_status lex_string(lexer *l) {
  char quote = l->s[l->at];
  size_t end = l->at + 1;
  while (end < l->n && l->s[end] != quote) end += l->s[end] == '\\' ? 2 : 1;
  if (end >= l->n) {
    return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, l->line, "a string is not closed");
  }
  size_t n = end - l->at - 1;
  char *text = mtk_arena_alloc(l->arena, n + 1, 1);
  if (!text) return mtk_fail(l->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  size_t len = unescape(text, l->s + l->at + 1, n);
  if (len == SIZE_MAX) {
    return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, l->line, "a bad escape in a string");
  }
  MTK_TRY(push(l, (jinja_token){.kind = TOKEN_STRING, .text = text, .len = len}));
  advance(l, n + 2);
  return MTK_OK;
}

static bool is_name(char c) {
  return c == '_' || is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (uint8_t)c >= 0x80;
}

static mtk_status lex_name(lexer *l) {
  size_t n = 0;
  while (l->at + n < l->n && is_name(l->s[l->at + n])) n++;
  const char *text = mtk_arena_strndup(l->arena, l->s + l->at, n);
  if (!text) return mtk_fail(l->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  MTK_TRY(push(l, (jinja_token){.kind = TOKEN_NAME, .text = text, .len = n}));
  advance(l, n);
  return MTK_OK;
}

static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                        "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                        ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

enum { MAX_OPEN = 256 };

/* An operator; brackets are matched on the stack `open`. */
static mtk_status lex_operator(lexer *l, char *open, size_t *n_open) {
  static const char closing[] = ")]}", opening[] = "([{";
  const char *op = NULL;
  for (size_t i = 0; i < sizeof operators / sizeof operators[0] && !op; i++) {
    if (starts(l, l->at, operators[i])) op = operators[i];
  }
  if (!op) {
    return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, l->line, "unexpected character '%c'",
                           l->s[l->at] >= 32 ? l->s[l->at] : '?');
  }
  const char *open_at = strchr(opening, op[0]), *close_at = strchr(closing, op[0]);
  if (open_at) {
    if (*n_open == MAX_OPEN) {
      return mtk_jinja_fail_line(l->err, MTK_E_LIMIT, l->line, "too many open brackets");
    }
    open[(*n_open)++] = closing[open_at - opening];
  } else if (close_at && (*n_open == 0 || open[--*n_open] != op[0])) {
    return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, l->line, "unexpected '%s'", op);
  }
  MTK_TRY(push(l, (jinja_token){.kind = TOKEN_OPERATOR, .text = op, .len = strlen(op)}));
  advance(l, strlen(op));
  return MTK_OK;
}

/* Tokens up to and with the end of the tag. */
static mtk_status lex_tag(lexer *l, const char *close, bool is_print) {
  char open[MAX_OPEN];
  size_t n_open = 0;
  int begin_line = l->line;
  for (;;) {
    advance(l, spaces(l, l->at));
    if (l->at >= l->n) {
      return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, begin_line,
                                 "a tag is not closed, missing '%s'", close);
    }
    size_t end = n_open == 0 ? tag_end(l, l->at, close, !is_print) : 0;
    if (end > 0) {
      MTK_TRY(push(l, (jinja_token){.kind = is_print ? TOKEN_PRINT_END : TOKEN_BLOCK_END}));
      leave_tag(l, end);
      return MTK_OK;
    }
    char c = l->s[l->at];
    if (c == '"' || c == '\'')
      MTK_TRY(lex_string(l));
    else if (is_digit(c))
      MTK_TRY(lex_number(l, l->at > 0 && l->s[l->at - 1] == '.'));
    else if (is_name(c))
      MTK_TRY(lex_name(l));
    else
      MTK_TRY(lex_operator(l, open, &n_open));
  }
}

/* ---- between tags --------------------------------------------------------------------------- */

static mtk_status lex_comment(lexer *l) {
  for (size_t at = l->at; at + 1 < l->n; at++) {
    size_t end = tag_end(l, at, "#}", true);
    if (end > 0) {
      leave_tag(l, at + end - l->at);
      return MTK_OK;
    }
  }
  return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, l->line,
                             "a comment is not closed, missing '#}'");
}

/* If "{% raw %}" begins at `at`, its length, else 0. */
static size_t raw_begin(const lexer *l, size_t at) {
  size_t end = at + 2;
  if (end < l->n && (l->s[end] == '-' || l->s[end] == '+')) end++;
  if (!word_at(l, end, "raw", &end)) return 0;
  end += spaces(l, end);
  bool minus = starts(l, end, "-%}");
  if (!minus && !starts(l, end, "%}")) return 0;
  end += minus ? 3 : 2;
  if (minus) end += spaces(l, end);
  return end - at;
}

static mtk_status lex_raw(lexer *l) {
  for (size_t at = l->at; at + 1 < l->n; at++) {
    if (!starts(l, at, "{%")) continue;
    char sign = at + 2 < l->n ? l->s[at + 2] : 0;
    size_t end = at + 2 + (sign == '-' || sign == '+');
    if (!word_at(l, end, "endraw", &end)) continue;
    end += spaces(l, end);
    size_t close = tag_end(l, end, "%}", true);
    if (close == 0) continue;
    MTK_TRY(push_text(l, l->s + l->at, strip_before(l, l->s + l->at, at - l->at, sign, false)));
    leave_tag(l, end + close - l->at);
    return MTK_OK;
  }
  return mtk_jinja_fail_line(l->err, MTK_E_FORMAT, l->line, "missing {%% endraw %%}");
}

/* The text up to the next tag, then the tag. */
static mtk_status lex_next(lexer *l) {
  size_t at = l->at;
  while (at < l->n &&
         !(l->s[at] == '{' && at + 1 < l->n && strchr("%#{", l->s[at + 1]) && l->s[at + 1])) {
    at++;
  }
  if (at == l->n) {
    MTK_TRY(push_text(l, l->s + l->at, at - l->at));
    advance(l, at - l->at);
    return MTK_OK;
  }
  char type = l->s[at + 1], sign = at + 2 < l->n ? l->s[at + 2] : 0;
  if (sign != '-' && sign != '+') sign = 0;
  size_t kept = strip_before(l, l->s + l->at, at - l->at, sign, type == '{');
  MTK_TRY(push_text(l, l->s + l->at, kept));
  advance(l, at - l->at);
  size_t raw = type == '%' ? raw_begin(l, at) : 0;
  if (raw > 0) {
    leave_tag(l, raw);
    return lex_raw(l);
  }
  advance(l, 2u + (sign != 0));
  if (type == '#') return lex_comment(l);
  MTK_TRY(push(l, (jinja_token){.kind = type == '{' ? TOKEN_PRINT_BEGIN : TOKEN_BLOCK_BEGIN}));
  return lex_tag(l, type == '{' ? "}}" : "%}", type == '{');
}

/* Newlines become \n, and one newline at the very end goes. */
static char *normalize_newlines(mtk_arena *arena, const char *source, size_t *n) {
  char *text = mtk_arena_alloc(arena, *n + 1, 1);
  if (!text) return NULL;
  size_t len = 0;
  for (size_t i = 0; i < *n; i++) {
    if (source[i] == '\r' && i + 1 < *n && source[i + 1] == '\n') continue;
    text[len++] = source[i] == '\r' ? '\n' : source[i];
  }
  if (len > 0 && text[len - 1] == '\n') len--;
  *n = len;
  return text;
}

mtk_status mtk_jinja_lex(jinja_tokens *out, mtk_arena *arena, const char *source, size_t n,
                     mtk_error *err) {
  size_t valid = text_utf8_valid(source, n);
  if (valid < n) {
    int line = 1;
    for (size_t i = 0; i < valid; i++) line += source[i] == '\n';
    return mtk_jinja_fail_line(err, MTK_E_FORMAT, line, "the template is not UTF-8");
  }
  const char *text = normalize_newlines(arena, source, &n);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  lexer l = {
      .s = text, .n = n, .line = 1, .line_starting = true, .out = out, .arena = arena, .err = err};
  while (l.at < l.n) MTK_TRY(lex_next(&l));
  return push(&l, (jinja_token){.kind = TOKEN_END});
}
