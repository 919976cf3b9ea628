/* options.c: values for a table of mtk_option_def. One thread sets, then any number read. */
#include <mtk/option.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct option_value {
  char *text;   /* as given, or the default; NULL = unset */
  double number;
  int64_t integer;
  char **items; /* LIST: heap copies */
  size_t n_items, cap_items;
  bool by_user;
} option_value;

struct mtk_option_values {
  const mtk_option_def *defs;
  size_t n;
  option_value *values; /* same order as defs */
};

static const mtk_option_def *find_def(const mtk_option_values *v, const char *name, size_t *index) {
  for (size_t i = 0; i < v->n; i++)
    if (strcmp(v->defs[i].name, name) == 0) {
      *index = i;
      return &v->defs[i];
    }
  return NULL;
}

/* ---- parsing ------------------------------------------------------------------------------- */

static mtk_status bad(mtk_error *err, const mtk_option_def *def, const char *text,
                      const char *want) {
  char place[80];
  snprintf(place, sizeof place, "--%s", def->name);
  return mtk_fail(err, MTK_E_INVALID, place, "'%.100s' is not %s", text, want);
}

static mtk_status check_range(const mtk_option_def *def, double v, const char *text,
                              mtk_error *err) {
  bool unlimited = !(def->min < 0) && !(def->min > 0) && !(def->max < 0) && !(def->max > 0);
  if (unlimited || (v >= def->min && v <= def->max)) return MTK_OK;
  char place[80];
  snprintf(place, sizeof place, "--%s", def->name);
  return mtk_fail(err, MTK_E_INVALID, place, "%.100s is outside %g to %g", text, def->min,
                  def->max);
}

static mtk_status parse_int(option_value *out, const mtk_option_def *def, const char *text,
                            mtk_error *err) {
  char *end;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (end == text || *end || errno) return bad(err, def, text, "a whole number");
  out->integer = v;
  out->number = (double)v;
  return check_range(def, out->number, text, err);
}

static mtk_status parse_float(option_value *out, const mtk_option_def *def, const char *text,
                              mtk_error *err) {
  char *end;
  out->number = strtod(text, &end);
  bool finite = out->number - out->number == 0.0;
  if (end == text || *end || !finite) return bad(err, def, text, "a number");
  return check_range(def, out->number, text, err);
}

static mtk_status parse_enum(option_value *out, const mtk_option_def *def, const char *text,
                             mtk_error *err) {
  (void)out;
  size_t n = strlen(text);
  for (const char *c = def->choices; *c;) {
    size_t len = strcspn(c, "|");
    if (len == n && memcmp(c, text, n) == 0) return MTK_OK;
    c += c[len] ? len + 1 : len;
  }
  char want[300];
  snprintf(want, sizeof want, "one of %s", def->choices);
  return bad(err, def, text, want);
}

static mtk_status parse_text(option_value *out, const mtk_option_def *def, const char *text,
                             mtk_error *err) {
  (void)out, (void)def, (void)text, (void)err;
  return MTK_OK;
}

typedef mtk_status (*parse_fn)(option_value *out, const mtk_option_def *def, const char *text,
                               mtk_error *err);
static const parse_fn parsers[] = {
    [MTK_OPT_FLAG] = parse_text, [MTK_OPT_INT] = parse_int,    [MTK_OPT_FLOAT] = parse_float,
    [MTK_OPT_STRING] = parse_text, [MTK_OPT_PATH] = parse_text, [MTK_OPT_ENUM] = parse_enum,
    [MTK_OPT_LIST] = parse_text,
};

static mtk_status append_item(option_value *v, char *text, mtk_error *err) {
  if (v->n_items == v->cap_items) {
    size_t cap = v->cap_items ? v->cap_items * 2 : 8;
    char **grown = mtk_realloc(v->items, v->cap_items, cap, sizeof *grown);
    if (!grown) {
      mtk_free(text);
      return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    }
    v->items = grown;
    v->cap_items = cap;
  }
  v->items[v->n_items++] = text;
  return MTK_OK;
}

static mtk_status assign(option_value *v, const mtk_option_def *def, const char *text,
                         mtk_error *err) {
  option_value parsed = {0};
  MTK_TRY(parsers[def->type](&parsed, def, text, err));
  char *copy = mtk_strdup(text);
  if (!copy) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (def->type == MTK_OPT_LIST) return append_item(v, copy, err);
  mtk_free(v->text);
  v->text = copy;
  v->number = parsed.number;
  v->integer = parsed.integer;
  return MTK_OK;
}

/* ---- public -------------------------------------------------------------------------------- */

mtk_option_values *mtk_options_create(const mtk_option_def *defs) {
  mtk_option_values *v = mtk_alloc(1, sizeof *v);
  if (!v) return NULL;
  v->defs = defs;
  while (defs && defs[v->n].name) v->n++;
  v->values = mtk_alloc(v->n, sizeof *v->values);
  bool ok = v->values != NULL;
  for (size_t i = 0; ok && i < v->n; i++)
    if (defs[i].default_value)
      ok = assign(&v->values[i], &defs[i], defs[i].default_value, NULL) == MTK_OK;
  if (ok) return v;
  mtk_options_destroy(v);
  return NULL;
}

static void clear_items(option_value *v) {
  for (size_t i = 0; i < v->n_items; i++) mtk_free(v->items[i]);
  v->n_items = 0;
}

void mtk_options_destroy(mtk_option_values *v) {
  if (!v) return;
  for (size_t i = 0; v->values && i < v->n; i++) {
    mtk_free(v->values[i].text);
    clear_items(&v->values[i]);
    mtk_free(v->values[i].items);
  }
  mtk_free(v->values);
  mtk_free(v);
}

mtk_status mtk_options_set(mtk_option_values *v, const char *name, const char *value,
                           mtk_error *err) {
  size_t i;
  const mtk_option_def *def = find_def(v, name, &i);
  if (!def) return mtk_fail(err, MTK_E_INVALID, NULL, "unknown option '--%.100s'", name);
  if (!value && def->type != MTK_OPT_FLAG)
    return mtk_fail(err, MTK_E_INVALID, NULL, "option '--%s' needs a value", name);
  if (value && def->type == MTK_OPT_FLAG)
    return mtk_fail(err, MTK_E_INVALID, NULL, "option '--%s' takes no value", name);
  if (!v->values[i].by_user) clear_items(&v->values[i]); /* the default gives way */
  MTK_TRY(assign(&v->values[i], def, value ? value : "true", err));
  v->values[i].by_user = true;
  return MTK_OK;
}

static const option_value *find_value(const mtk_option_values *v, const char *name) {
  static const option_value unset;
  size_t i;
  return v && find_def(v, name, &i) ? &v->values[i] : &unset;
}

bool mtk_options_is_set(const mtk_option_values *v, const char *name) {
  return find_value(v, name)->by_user;
}

bool mtk_options_flag(const mtk_option_values *v, const char *name) {
  const char *text = find_value(v, name)->text;
  return text && strcmp(text, "true") == 0;
}

int64_t mtk_options_int(const mtk_option_values *v, const char *name) {
  return find_value(v, name)->integer;
}

double mtk_options_float(const mtk_option_values *v, const char *name) {
  return find_value(v, name)->number;
}

const char *mtk_options_string(const mtk_option_values *v, const char *name) {
  return find_value(v, name)->text;
}

size_t mtk_options_list(const mtk_option_values *v, const char *name, const char *const **items) {
  const option_value *value = find_value(v, name);
  if (items) *items = (const char *const *)value->items;
  return value->n_items;
}
