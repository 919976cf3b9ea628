/* chat/parse_arguments.c: arguments of calls that are not written in JSON, to JSON: Qwen3-Coder's
 * XML, Gemma's braces, Python. Pure; any thread. */
#include <string.h>

#include "chat/parser.h"

enum { MAX_DEPTH = 64 };

/* What is being read. */
typedef struct source {
  mtk_bytes *out;
  const char *at, *end;
  const char *quote; /* Gemma */
} source;

static void skip_space(source *s) {
  while (s->at < s->end && *s->at && strchr(" \n\r\t", *s->at)) s->at++;
}

static bool take(source *s, const char *text) {
  size_t n = strlen(text);
  if ((size_t)(s->end - s->at) < n || memcmp(s->at, text, n) != 0) return false;
  s->at += n;
  return true;
}

/* Bytes up to text; SIZE_MAX: it does not come. */
static size_t until(const source *s, const char *text) {
  const char *hit = memmem(s->at, (size_t)(s->end - s->at), text, strlen(text));
  return hit ? (size_t)(hit - s->at) : SIZE_MAX;
}

static bool is_word(const char *s, size_t n, const char *word) {
  return strlen(word) == n && !memcmp(s, word, n);
}

/* A literal of JSON or Python; false if it is neither. */
static bool put_literal(mtk_bytes *out, const char *s, size_t n) {
  static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (is_word(s, n, words[i][0])) {
      mtk_bytes_puts(out, words[i][1]);
      return true;
    }
  return mtk_json_normalize(out, s, n, false);
}

/* ---- <function=NAME><parameter=KEY>VALUE</parameter></function> ----------------------------- */

/* The type that the tool's schema gives a parameter; NULL = unknown. */
static const char *type_of(const json_t *tools, const char *name, size_t n_name, const char *key,
                           size_t n_key) {
  for (size_t i = 0; i < json_array_size(tools); i++) {
    const json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
    if (!function) function = tool;
    size_t n;
    const char *own = mtk_json_get(function, "name", &n);
    if (!own || n != n_name || memcmp(own, name, n) != 0) continue;
    const json_t *all = json_object_get(json_object_get(function, "parameters"), "properties");
    return mtk_json_get(json_object_getn(all, key, n_key), "type", NULL);
  }
  return NULL;
}

static void put_parameter(source *s, const char *value, size_t n, const char *type) {
  if (n && *value == '\n') value++, n--;
  if (n && value[n - 1] == '\n') n--;
  bool string = type ? !strcmp(type, "string") : n && *value == '"';
  if (string || !put_literal(s->out, value, n)) mtk_json_string(s->out, value, n);
}

/* The value ends at its marker or, where a model forgot that, at the next one. */
static size_t parameter_end(const source *s, size_t *marker) {
  static const char close[] = "</parameter>";
  const char *const others[] = {"<parameter=", "</function>"};
  size_t end = until(s, close);
  *marker = end == SIZE_MAX ? 0 : sizeof close - 1;
  for (size_t i = 0; i < 2 && end == SIZE_MAX; i++) end = until(s, others[i]);
  return end;
}

bool mtk_arguments_xml(mtk_bytes *out, mtk_span *name, const char *body, size_t n,
                       const json_t *tools) {
  source s = {out, body, body + n, NULL};
  if (!take(&s, "<function=") || until(&s, ">") == SIZE_MAX) return false;
  name->begin = (size_t)(s.at - body);
  name->end = name->begin + until(&s, ">");
  s.at = body + name->end + 1;
  mtk_bytes_puts(out, "{");
  skip_space(&s);
  for (bool first = true; take(&s, "<parameter="); first = false) {
    size_t n_key = until(&s, ">"), marker;
    if (n_key == SIZE_MAX) return false;
    const char *key = s.at;
    s.at += n_key + 1;
    size_t n_value = parameter_end(&s, &marker);
    if (n_value == SIZE_MAX) return false;
    if (!first) mtk_bytes_puts(out, ", ");
    mtk_json_string(out, key, n_key);
    mtk_bytes_puts(out, ": ");
    put_parameter(&s, s.at, n_value,
                  type_of(tools, body + name->begin, name->end - name->begin, key, n_key));
    s.at += n_value + marker;
    skip_space(&s);
  }
  mtk_bytes_puts(out, "}");
  return take(&s, "</function>");
}

/* ---- call:NAME{key:<quote>text<quote>,other:1} ---------------------------------------------- */

static bool gemma_value(source *s, int depth);

static bool gemma_string(source *s) {
  size_t n = take(s, s->quote) ? until(s, s->quote) : SIZE_MAX;
  if (n == SIZE_MAX) return false;
  mtk_json_string(s->out, s->at, n);
  s->at += n + strlen(s->quote);
  return true;
}

static bool gemma_key(source *s) {
  size_t n = until(s, ":");
  if (gemma_string(s)) return take(s, ":");
  if (n == SIZE_MAX || n == 0) return false;
  mtk_json_string(s->out, s->at, n);
  s->at += n + 1;
  return true;
}

static bool gemma_items(source *s, char close, int depth) {
  mtk_bytes_puts(s->out, close == '}' ? "{" : "[");
  skip_space(s);
  for (bool first = true; s->at < s->end && *s->at != close; first = false) {
    if (!first && !take(s, ",")) return false;
    if (!first) mtk_bytes_puts(s->out, ", ");
    skip_space(s);
    if (close == '}') {
      if (!gemma_key(s)) return false;
      mtk_bytes_puts(s->out, ": ");
    }
    if (!gemma_value(s, depth + 1)) return false;
    skip_space(s);
  }
  if (s->at == s->end) return false;
  mtk_bytes_append(s->out, s->at++, 1);
  return true;
}

static bool gemma_value(source *s, int depth) {
  if (depth > MAX_DEPTH) return false;
  skip_space(s);
  if (take(s, "{")) return gemma_items(s, '}', depth);
  if (take(s, "[")) return gemma_items(s, ']', depth);
  if (gemma_string(s)) return true;
  const char *from = s->at;
  while (s->at < s->end && *s->at && !strchr(",}]", *s->at)) s->at++;
  size_t n = (size_t)(s->at - from);
  if (!put_literal(s->out, from, n)) mtk_json_string(s->out, from, n);
  return n > 0;
}

bool mtk_arguments_gemma(mtk_bytes *out, mtk_span *name, const char *body, size_t n,
                         const char *quote) {
  source s = {out, body, body + n, quote};
  if (!take(&s, "call:") || until(&s, "{") == SIZE_MAX) return false;
  name->begin = (size_t)(s.at - body);
  name->end = name->begin + until(&s, "{");
  s.at = body + name->end + 1;
  if (!gemma_items(&s, '}', 0)) return false;
  skip_space(&s);
  return s.at == s.end;
}

/* ---- name(key="text", other=1) -------------------------------------------------------------- */

static bool python_value(source *s, int depth);

static bool python_string(source *s) {
  static const char from[] = "nrt0bf", to[] = "\n\r\t\0\b\f";
  mtk_bytes text = {0};
  char quote = *s->at++;
  while (s->at < s->end && *s->at != quote) {
    char c = *s->at++;
    const char *hit = NULL;
    if (c == '\\' && s->at < s->end) {
      c = *s->at++;
      hit = c ? strchr(from, c) : NULL;
    }
    mtk_bytes_append(&text, hit ? &to[hit - from] : &c, 1);
  }
  bool ok = s->at < s->end;
  if (ok) s->at++;
  if (ok) mtk_json_string(s->out, text.data ? text.data : "", text.len);
  s->out->failed |= text.failed;
  mtk_bytes_finish(&text);
  return ok;
}

static bool python_items(source *s, char close, int depth) {
  mtk_bytes_puts(s->out, close == '}' ? "{" : "[");
  skip_space(s);
  for (bool first = true; s->at < s->end && *s->at != close; first = false) {
    if (!first && !take(s, ",")) return false;
    skip_space(s);
    if (!first && s->at < s->end && *s->at == close) break;
    if (!first) mtk_bytes_puts(s->out, ", ");
    if (close == '}') {
      if (s->at == s->end || (*s->at != '"' && *s->at != '\'') || !python_string(s)) return false;
      skip_space(s);
      if (!take(s, ":")) return false;
      mtk_bytes_puts(s->out, ": ");
    }
    if (!python_value(s, depth + 1)) return false;
    skip_space(s);
  }
  if (s->at == s->end) return false;
  s->at++;
  mtk_bytes_puts(s->out, close == '}' ? "}" : "]");
  return true;
}

static bool python_value(source *s, int depth) {
  skip_space(s);
  if (depth > MAX_DEPTH || s->at == s->end) return false;
  if (*s->at == '"' || *s->at == '\'') return python_string(s);
  if (take(s, "{")) return python_items(s, '}', depth);
  if (take(s, "[")) return python_items(s, ']', depth);
  if (take(s, "(")) return python_items(s, ')', depth);
  const char *from = s->at;
  while (s->at < s->end && *s->at && !strchr(",}]) \n\r\t", *s->at)) s->at++;
  return put_literal(s->out, from, (size_t)(s->at - from));
}

bool mtk_arguments_python(mtk_bytes *out, mtk_span *name, const char *body, size_t n) {
  source s = {out, body, body + n, NULL};
  skip_space(&s);
  bool print = take(&s, "print(");
  size_t n_name = until(&s, "(");
  if (n_name == SIZE_MAX) return false;
  *name = (mtk_span){(size_t)(s.at - body), (size_t)(s.at - body) + n_name};
  s.at += n_name + 1;
  mtk_bytes_puts(out, "{");
  skip_space(&s);
  for (bool first = true; s.at < s.end && *s.at != ')'; first = false) {
    if (!first && !take(&s, ",")) return false;
    skip_space(&s);
    size_t n_key = until(&s, "=");
    if (n_key == SIZE_MAX) return false;
    if (!first) mtk_bytes_puts(out, ", ");
    const char *key = s.at;
    s.at += n_key + 1;
    while (n_key && strchr(" \n\t", key[n_key - 1])) n_key--;
    mtk_json_string(out, key, n_key);
    mtk_bytes_puts(out, ": ");
    if (!python_value(&s, 0)) return false;
    skip_space(&s);
  }
  if (!take(&s, ")")) return false;
  if (print && !take(&s, ")")) return false;
  mtk_bytes_puts(out, "}");
  skip_space(&s);
  return s.at == s.end;
}
