/* text/jinja_methods.c: methods of dict, list, tuple, loop and number values, and the table that
 * finds a method by the value's type. The sandbox forbids methods that change a list or dict. */
#include <math.h>
#include <string.h>

#include "text/jinja.h"
#include "text/jinja_strings.h"

/* ---- dict ----------------------------------------------------------------------------------- */

static mtk_status get(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[2] = {0};
  MTK_TRY(mtk_jinja_positional(j, "get", args, 1, 2, v));
  if (!mtk_jinja_hashable(v[0]) && v[0].kind != JINJA_UNDEFINED) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "unhashable type: '%s'", mtk_jinja_type_name(v[0]));
  }
  const jinja_value *found = mtk_jinja_dict_get(self.u.d, v[0]);
  *out = found ? *found : v[1].kind != JINJA_ABSENT ? v[1] : mtk_jinja_none();
  return MTK_OK;
}

/* what: 0 keys, 1 values, 2 items. */
static mtk_status dict_view(jinja *j, jinja_value self, const jinja_args *args, int what,
                            jinja_value *out) {
  static const char *const names[] = {"dict_keys", "dict_values", "dict_items"};
  const jinja_dict *d = self.u.d;
  MTK_TRY(mtk_jinja_positional(j, names[what], args, 0, 0, NULL));
  MTK_TRY(mtk_jinja_new_view(j, JINJA_VIEW, names[what], d->len, out));
  MTK_TRY(mtk_jinja_step(j, d->len));
  for (size_t i = 0; i < d->len; i++) {
    jinja_value *to = &out->u.l->items[i];
    if (what < 2) {
      *to = what == 0 ? d->entries[i].key : d->entries[i].value;
      continue;
    }
    MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, 2, to));
    to->u.l->items[0] = d->entries[i].key;
    to->u.l->items[1] = d->entries[i].value;
    to->u.l->len = 2;
  }
  out->u.l->len = d->len;
  return MTK_OK;
}

static mtk_status keys(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return dict_view(j, self, args, 0, out);
}

static mtk_status values(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return dict_view(j, self, args, 1, out);
}

static mtk_status items(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return dict_view(j, self, args, 2, out);
}

/* Lists and dicts never change, so a copy is the thing itself. */
static mtk_status copy(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_positional(j, "copy", args, 0, 0, NULL));
  *out = self;
  return MTK_OK;
}

/* ---- list ----------------------------------------------------------------------------------- */

static mtk_status list_index(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[1] = {0};
  MTK_TRY(mtk_jinja_positional(j, "index", args, 1, 1, v));
  for (size_t i = 0; i < self.u.l->len; i++) {
    bool equal = false;
    MTK_TRY(mtk_jinja_equal(j, self.u.l->items[i], v[0], &equal));
    if (!equal) continue;
    *out = mtk_jinja_int((int64_t)i);
    return MTK_OK;
  }
  return mtk_jinja_fail(j, MTK_E_INVALID, "the value is not in the list");
}

static mtk_status list_count(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[1] = {0};
  int64_t n = 0;
  MTK_TRY(mtk_jinja_positional(j, "count", args, 1, 1, v));
  for (size_t i = 0; i < self.u.l->len; i++) {
    bool equal = false;
    MTK_TRY(mtk_jinja_equal(j, self.u.l->items[i], v[0], &equal));
    n += equal;
  }
  *out = mtk_jinja_int(n);
  return MTK_OK;
}

/* ---- loop ----------------------------------------------------------------------------------- */

static mtk_status loop_cycle(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  if (args->n == 0) return mtk_jinja_fail(j, MTK_E_INVALID, "no items for cycling given");
  *out = args->items[self.u.loop->index % args->n];
  return MTK_OK;
}

static mtk_status loop_changed(jinja *j, jinja_value self, const jinja_args *args,
                               jinja_value *out) {
  jinja_value now;
  bool same = false;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, args->n, &now));
  for (size_t i = 0; i < args->n; i++) now.u.l->items[i] = args->items[i];
  now.u.l->len = args->n;
  if (self.u.loop->changed.kind != JINJA_ABSENT) {
    MTK_TRY(mtk_jinja_equal(j, now, self.u.loop->changed, &same));
  }
  self.u.loop->changed = now;
  *out = mtk_jinja_bool(!same);
  return MTK_OK;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static mtk_status is_integer(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_positional(j, "is_integer", args, 0, 0, NULL));
  *out = mtk_jinja_bool(self.kind != JINJA_FLOAT || self.u.f == floor(self.u.f));
  return MTK_OK;
}

/* ---- tables --------------------------------------------------------------------------------- */

static const jinja_row dict_methods[] = {
    {"get", get}, {"items", items}, {"keys", keys}, {"values", values}, {"copy", copy}};
static const jinja_row list_methods[] = {
    {"index", list_index}, {"count", list_count}, {"copy", copy}};
static const jinja_row loop_methods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};
static const jinja_row number_methods[] = {{"is_integer", is_integer}};

static const char *const dict_changers[] = {"clear",      "pop",    "popitem",
                                            "setdefault", "update", NULL};
static const char *const list_changers[] = {"append", "clear",  "pop",    "reverse", "insert",
                                            "sort",   "extend", "remove", NULL};

#define ROWS(table) (table), sizeof(table) / sizeof((table)[0])

const jinja_row *mtk_jinja_find_method(jinja_value v, const char *name, bool *unsafe) {
  const char *const *changers = NULL;
  const jinja_row *row = NULL;
  switch (v.kind) {
  case JINJA_STRING:
    row = mtk_jinja_find_row(mtk_jinja_str_methods, mtk_jinja_str_methods_len, name);
    break;
  case JINJA_DICT:
    row = mtk_jinja_find_row(ROWS(dict_methods), name);
    changers = dict_changers;
    break;
  case JINJA_LIST:
    changers = list_changers;
    row = mtk_jinja_find_row(ROWS(list_methods), name);
    break;
  case JINJA_TUPLE: row = mtk_jinja_find_row(list_methods, 2, name); break;
  case JINJA_LOOP: row = mtk_jinja_find_row(ROWS(loop_methods), name); break;
  case JINJA_INT:
  case JINJA_BOOL:
  case JINJA_FLOAT: row = mtk_jinja_find_row(ROWS(number_methods), name); break;
  default: break;
  }
  while (changers && *changers && !*unsafe) *unsafe = strcmp(*changers++, name) == 0;
  return row;
}
