/* text/jinja_json.c: the tojson filter (json.dumps as transformers calls it) and the context. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "text/jinja.h"
#include "text/utf8.h"

enum { MAX_JSON_DEPTH = 500 };

/* ---- values to JSON ------------------------------------------------------------------------- */

typedef struct writer {
  jinja *j;
  jinja_text text;
  bool ensure_ascii, sort_keys;
  jinja_string *indent; /* one level of it, or NULL */
  jinja_string *item_separator, *key_separator;
} writer;

static mtk_status write_value(writer *w, jinja_value v, int depth);

static mtk_status escape_char(writer *w, uint32_t cp, const char *raw, size_t n) {
  static const char from[] = "\b\f\n\r\t\"\\", to[] = "bfnrt\"\\";
  const char *simple = cp < 0x80 && cp ? strchr(from, (int)cp) : NULL;
  if (simple) return mtk_jinja_text_printf(w->j, &w->text, "\\%c", to[simple - from]);
  if (cp < 0x20 || (w->ensure_ascii && cp > 0x7E && cp < 0x10000)) {
    return mtk_jinja_text_printf(w->j, &w->text, "\\u%04x", cp);
  }
  if (w->ensure_ascii && cp >= 0x10000) {
    return mtk_jinja_text_printf(w->j, &w->text, "\\u%04x\\u%04x", 0xD7C0 + (cp >> 10),
                             0xDC00 + (cp & 0x3FF));
  }
  return mtk_jinja_text_add(w->j, &w->text, raw, n, false);
}

static mtk_status write_string(writer *w, const jinja_string *s) {
  jinja_text outer = w->text;
  w->text = (jinja_text){0};
  MTK_TRY(mtk_jinja_step(w->j, s->len / 64));
  MTK_TRY(mtk_jinja_text_puts(w->j, &w->text, "\""));
  for (size_t i = 0; i < s->len;) {
    uint32_t cp = 0;
    size_t n = text_utf8_decode(s->data + i, s->len - i, &cp);
    MTK_TRY(escape_char(w, cp, s->data + i, n));
    i += n;
  }
  MTK_TRY(mtk_jinja_text_puts(w->j, &w->text, "\""));
  jinja_text inner = w->text;
  w->text = outer;
  return mtk_jinja_text_add(w->j, &w->text, inner.data, inner.len, mtk_jinja_is_data(s));
}

static mtk_status new_line(writer *w, int depth) {
  if (!w->indent) return MTK_OK;
  MTK_TRY(mtk_jinja_text_puts(w->j, &w->text, "\n"));
  for (int i = 0; i < depth; i++) {
    MTK_TRY(mtk_jinja_text_add_string(w->j, &w->text, w->indent));
  }
  return MTK_OK;
}

static mtk_status write_list(writer *w, const jinja_list *l, int depth) {
  if (l->len == 0) return mtk_jinja_text_puts(w->j, &w->text, "[]");
  MTK_TRY(mtk_jinja_text_puts(w->j, &w->text, "["));
  for (size_t i = 0; i < l->len; i++) {
    if (i > 0) MTK_TRY(mtk_jinja_text_add_string(w->j, &w->text, w->item_separator));
    MTK_TRY(new_line(w, depth + 1));
    MTK_TRY(write_value(w, l->items[i], depth + 1));
  }
  MTK_TRY(new_line(w, depth));
  return mtk_jinja_text_puts(w->j, &w->text, "]");
}

static mtk_status write_float(writer *w, double f) {
  char buf[40];
  if (isnan(f) || isinf(f)) {
    return mtk_jinja_text_puts(w->j, &w->text, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
  }
  return mtk_jinja_text_add(w->j, &w->text, buf, mtk_jinja_format_float(buf, f), false);
}

static mtk_status write_key(writer *w, jinja_value key) {
  if (key.kind == JINJA_STRING) return write_string(w, key.u.s);
  if (key.kind == JINJA_TUPLE) {
    return mtk_jinja_fail(w->j, MTK_E_INVALID,
                          "keys must be str, int, float, bool or None, not tuple");
  }
  MTK_TRY(mtk_jinja_text_puts(w->j, &w->text, "\""));
  MTK_TRY(write_value(w, key, 0));
  return mtk_jinja_text_puts(w->j, &w->text, "\"");
}

/* Numbers of the entries of d in the order to write: as inserted, or by key. */
static mtk_status entry_order(writer *w, const jinja_dict *d, size_t **order) {
  jinja_value *keys = mtk_jinja_alloc(w->j, d->len, sizeof *keys);
  if (!keys) return jinja_failed(w->j);
  for (size_t i = 0; i < d->len; i++) keys[i] = d->entries[i].key;
  if (w->sort_keys) return mtk_jinja_sort_order(w->j, keys, d->len, false, order);
  *order = mtk_jinja_alloc(w->j, d->len, sizeof **order);
  if (!*order) return jinja_failed(w->j);
  for (size_t i = 0; i < d->len; i++) (*order)[i] = i;
  return MTK_OK;
}

static mtk_status write_dict(writer *w, const jinja_dict *d, int depth) {
  size_t *order = NULL;
  if (d->len == 0) return mtk_jinja_text_puts(w->j, &w->text, "{}");
  MTK_TRY(entry_order(w, d, &order));
  MTK_TRY(mtk_jinja_text_puts(w->j, &w->text, "{"));
  for (size_t i = 0; i < d->len; i++) {
    if (i > 0) MTK_TRY(mtk_jinja_text_add_string(w->j, &w->text, w->item_separator));
    MTK_TRY(new_line(w, depth + 1));
    MTK_TRY(write_key(w, d->entries[order[i]].key));
    MTK_TRY(mtk_jinja_text_add_string(w->j, &w->text, w->key_separator));
    MTK_TRY(write_value(w, d->entries[order[i]].value, depth + 1));
  }
  MTK_TRY(new_line(w, depth));
  return mtk_jinja_text_puts(w->j, &w->text, "}");
}

static mtk_status write_value(writer *w, jinja_value v, int depth) {
  if (depth > MAX_JSON_DEPTH)
    return mtk_jinja_fail(w->j, MTK_E_LIMIT, "values are nested too deeply");
  MTK_TRY(mtk_jinja_step(w->j, 1));
  switch (v.kind) {
  case JINJA_NONE: return mtk_jinja_text_puts(w->j, &w->text, "null");
  case JINJA_BOOL: return mtk_jinja_text_puts(w->j, &w->text, v.u.b ? "true" : "false");
  case JINJA_INT: return mtk_jinja_text_printf(w->j, &w->text, "%lld", (long long)v.u.i);
  case JINJA_FLOAT: return write_float(w, v.u.f);
  case JINJA_STRING: return write_string(w, v.u.s);
  case JINJA_LIST:
  case JINJA_TUPLE: return write_list(w, v.u.l, depth);
  case JINJA_DICT: return write_dict(w, v.u.d, depth);
  default:
    return mtk_jinja_fail(w->j, MTK_E_INVALID, "Object of type %s is not JSON serializable",
                      mtk_jinja_type_name(v));
  }
}

static mtk_status indent_text(writer *w, jinja_value indent) {
  jinja_text t = {0};
  jinja_value value = indent;
  if (indent.kind == JINJA_ABSENT || indent.kind == JINJA_NONE) return MTK_OK;
  if (indent.kind != JINJA_STRING) {
    int64_t n;
    MTK_TRY(mtk_jinja_int_arg(w->j, indent, 0, &n));
    for (int64_t i = 0; i < n && i < 1000; i++) MTK_TRY(mtk_jinja_text_puts(w->j, &t, " "));
    MTK_TRY(mtk_jinja_text_value(w->j, &t, &value));
  }
  w->indent = value.u.s;
  return MTK_OK;
}

static mtk_status separators(writer *w, jinja_value given) {
  jinja_value item, key;
  MTK_TRY(mtk_jinja_new_string(w->j, w->indent ? "," : ", ", w->indent ? 1 : 2, false, &item));
  MTK_TRY(mtk_jinja_new_string(w->j, ": ", 2, false, &key));
  if (given.kind == JINJA_LIST || given.kind == JINJA_TUPLE) {
    const jinja_list *l = given.u.l;
    if (l->len != 2 || l->items[0].kind != JINJA_STRING || l->items[1].kind != JINJA_STRING) {
      return mtk_jinja_fail(w->j, MTK_E_INVALID, "tojson: separators must be two strings");
    }
    item = l->items[0];
    key = l->items[1];
  }
  w->item_separator = item.u.s;
  w->key_separator = key.u.s;
  return MTK_OK;
}

mtk_status mtk_jinja_tojson(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
  jinja_value v[4] = {0};
  MTK_TRY(mtk_jinja_bind(j, "tojson", args, names, 4, v));
  writer w = {.j = j, .ensure_ascii = mtk_jinja_truth(v[0]), .sort_keys = mtk_jinja_truth(v[3])};
  MTK_TRY(indent_text(&w, v[1]));
  MTK_TRY(separators(&w, v[2]));
  MTK_TRY(write_value(&w, self, 0));
  return mtk_jinja_text_value(j, &w.text, out);
}

/* ---- the context ---------------------------------------------------------------------------- */

/* Roles of messages. Templates build control tokens out of them ("<|" + role + "|>"), so these
 * words, as values of "role", count as the program's own text, not as data. */
static const char *const roles[] = {"system",      "user",         "assistant", "tool",
                                    "developer",   "function",     "model",     "ipython",
                                    "observation", "tool_response"};

static bool is_role(const char *key, const char *text, size_t n) {
  if (!key || strcmp(key, "role") != 0) return false;
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
    if (strlen(roles[i]) == n && memcmp(roles[i], text, n) == 0) return true;
  }
  return false;
}

/* Variables like bos_token name control tokens: the program sets them. */
static bool is_token_variable(const char *name) {
  size_t n = strlen(name);
  return n > 6 && strcmp(name + n - 6, "_token") == 0;
}

static mtk_status load(jinja *j, json_t *json, const char *key, bool trusted, int depth,
                       jinja_value *out);

static mtk_status load_list(jinja *j, json_t *json, int depth, jinja_value *out) {
  size_t i;
  json_t *item;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, json_array_size(json), out));
  json_array_foreach(json, i, item) {
    MTK_TRY(load(j, item, NULL, false, depth + 1, &out->u.l->items[i]));
  }
  out->u.l->len = json_array_size(json);
  return MTK_OK;
}

static mtk_status load_dict(jinja *j, json_t *json, int depth, jinja_value *out) {
  const char *key;
  json_t *item;
  MTK_TRY(mtk_jinja_new_dict(j, JINJA_DICT, out));
  json_object_foreach(json, key, item) {
    jinja_value name, value;
    MTK_TRY(mtk_jinja_new_string(j, key, strlen(key), true, &name));
    MTK_TRY(load(j, item, key, false, depth + 1, &value));
    MTK_TRY(mtk_jinja_dict_set(j, out->u.d, name, value));
  }
  return MTK_OK;
}

static mtk_status load(jinja *j, json_t *json, const char *key, bool trusted, int depth,
                       jinja_value *out) {
  if (depth > MAX_JSON_DEPTH)
    return mtk_jinja_fail(j, MTK_E_LIMIT, "the context is nested too deeply");
  switch (json_typeof(json)) {
  case JSON_OBJECT: return load_dict(j, json, depth, out);
  case JSON_ARRAY: return load_list(j, json, depth, out);
  case JSON_STRING: {
    const char *text = json_string_value(json);
    size_t n = json_string_length(json);
    bool is_data = !trusted && !is_role(key, text, n);
    return mtk_jinja_new_string(j, text, n, is_data, out);
  }
  case JSON_INTEGER: *out = mtk_jinja_int(json_integer_value(json)); return MTK_OK;
  case JSON_REAL: *out = mtk_jinja_float(json_real_value(json)); return MTK_OK;
  case JSON_TRUE:
  case JSON_FALSE: *out = mtk_jinja_bool(json_is_true(json)); return MTK_OK;
  default: *out = mtk_jinja_none(); return MTK_OK;
  }
}

static mtk_status load_variables(jinja *j, jinja_scope *scope, json_t *root) {
  const char *key;
  json_t *item;
  json_object_foreach(root, key, item) {
    const mtk_map_value *name = mtk_map_get(j->names, key, strlen(key));
    if (!name) continue; /* the template never asks for it */
    jinja_value value;
    MTK_TRY(load(j, item, NULL, is_token_variable(key), 0, &value));
    MTK_TRY(mtk_jinja_scope_set(j, scope, name->p, value));
  }
  return MTK_OK;
}

mtk_status mtk_jinja_load_context(jinja *j, jinja_scope *scope, const char *json, size_t n) {
  json_error_t problem;
  json_t *root = json_loadb(json, n, JSON_ALLOW_NUL, &problem);
  if (!root) {
    return mtk_fail(j->err, MTK_E_FORMAT, "template context", "line %d: %s", problem.line,
                    problem.text);
  }
  mtk_status status = json_is_object(root)
                          ? load_variables(j, scope, root)
                          : mtk_fail(j->err, MTK_E_FORMAT, "template context", "is not an object");
  json_decref(root);
  return status;
}
