/* text/jinja_filters_sequence.c: filters over lists, dicts and iterators, as jinja2/filters.py. The
 * lazy ones work at once; what they return can still be walked only once. */
#include <string.h>

#include "text/jinja.h"
#include "text/jinja_unicode.h"

/* ---- attributes and keys -------------------------------------------------------------------- */

/* v.a.b.0 for the path "a.b.0", or v[path] for an integer path. */
static mtk_status get_path(jinja *j, jinja_value v, jinja_value path, jinja_value *out) {
  if (path.kind != JINJA_STRING) return mtk_jinja_get_item(j, v, path, out);
  const char *s = path.u.s->data;
  size_t n = path.u.s->len;
  *out = v;
  for (size_t at = 0; at <= n;) {
    const char *dot = memchr(s + at, '.', n - at);
    size_t end = dot ? (size_t)(dot - s) : n;
    jinja_value part;
    MTK_TRY(mtk_jinja_substring(j, path.u.s, at, end, &part));
    int64_t index = 0;
    bool digits = end > at && end - at < 10;
    for (size_t i = at; i < end && digits; i++) {
      digits = s[i] >= '0' && s[i] <= '9';
      index = index * 10 + (s[i] - '0');
    }
    MTK_TRY(mtk_jinja_get_item(j, *out, digits ? mtk_jinja_int(index) : part, out));
    at = end + 1;
  }
  return MTK_OK;
}

/* The value a filter looks at: the attribute if one is named, lower-cased unless case matters. */
static mtk_status get_key(jinja *j, jinja_value v, jinja_value attribute, bool fold,
                          jinja_value *out) {
  *out = v;
  if (attribute.kind != JINJA_ABSENT && attribute.kind != JINJA_NONE) {
    MTK_TRY(get_path(j, v, attribute, out));
  }
  return fold && out->kind == JINJA_STRING ? mtk_jinja_map_case(j, out->u.s, CASE_LOWER, out)
                                           : MTK_OK;
}

/* Tuples of keys, one for each attribute of "a,b"; always tuples, which have an order even if their
 * items are equal and have none. */
static mtk_status get_sort_key(jinja *j, jinja_value v, jinja_value attribute, bool fold,
                               jinja_value *out) {
  bool named = attribute.kind == JINJA_STRING;
  size_t n = named ? attribute.u.s->len : 0, parts = 1;
  const char *text = named ? attribute.u.s->data : "";
  for (size_t i = 0; i < n; i++) parts += text[i] == ',';
  MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, parts, out));
  for (size_t at = 0; at <= n;) {
    const char *comma = memchr(text + at, ',', n - at);
    size_t end = comma ? (size_t)(comma - text) : n;
    jinja_value part = attribute;
    if (named) MTK_TRY(mtk_jinja_substring(j, attribute.u.s, at, end, &part));
    MTK_TRY(get_key(j, v, part, fold, &out->u.l->items[out->u.l->len++]));
    at = end + 1;
  }
  return MTK_OK;
}

/* ---- picking items -------------------------------------------------------------------------- */

static mtk_status first(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_bind(j, "first", args, NULL, 0, NULL));
  if (self.kind == JINJA_ITERATOR) { /* takes one item only */
    jinja_list *l = self.u.l;
    if (l->next == l->len) return mtk_jinja_undefined(j, NULL, "first item", 10, out);
    *out = l->items[l->next++];
    return MTK_OK;
  }
  const jinja_list *items;
  MTK_TRY(mtk_jinja_items(j, self, &items));
  if (items->len == 0) return mtk_jinja_undefined(j, NULL, "first item", 10, out);
  *out = items->items[0];
  return MTK_OK;
}

static mtk_status last(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "last", args, NULL, 0, NULL));
  if (self.kind == JINJA_ITERATOR) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' object is not reversible",
                          mtk_jinja_type_name(self));
  }
  MTK_TRY(mtk_jinja_items(j, self, &items));
  if (items->len == 0) return mtk_jinja_undefined(j, NULL, "last item", 9, out);
  *out = items->items[items->len - 1];
  return MTK_OK;
}

/* min and max. */
static mtk_status extreme(jinja *j, jinja_value self, const jinja_args *args, bool want_max,
                          jinja_value *out) {
  static const char *const names[] = {"case_sensitive", "attribute"};
  jinja_value v[2] = {0}, best_key = {0};
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, want_max ? "max" : "min", args, names, 2, v));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  if (items->len == 0) return mtk_jinja_undefined(j, NULL, "item of an empty sequence", 25, out);
  for (size_t i = 0; i < items->len; i++) {
    jinja_value key;
    bool better = i == 0;
    MTK_TRY(get_key(j, items->items[i], v[1], !mtk_jinja_truth(v[0]), &key));
    if (i > 0)
      MTK_TRY(mtk_jinja_less(j, want_max ? best_key : key, want_max ? key : best_key, &better));
    if (!better) continue;
    best_key = key;
    *out = items->items[i];
  }
  return MTK_OK;
}

static mtk_status min_of(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return extreme(j, self, args, false, out);
}

static mtk_status max_of(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return extreme(j, self, args, true, out);
}

/* Items to choose from; what is false has none (also None). */
static mtk_status candidates(jinja *j, jinja_value v, const jinja_list **out) {
  static const jinja_list nothing = {.type = "list"};
  *out = &nothing;
  return mtk_jinja_truth(v) ? mtk_jinja_items(j, v, out) : MTK_OK;
}

/* ---- select, reject, map -------------------------------------------------------------------- */

/* Applies the test named by args[first] (or truth, if there is none). */
static mtk_status apply_test(jinja *j, jinja_value v, const jinja_args *args, size_t first_arg,
                             bool *holds) {
  if (args->n - args->n_named <= first_arg) {
    *holds = mtk_jinja_truth(v);
    return MTK_OK;
  }
  jinja_string *name;
  MTK_TRY(mtk_jinja_string_arg(j, "select", args->items[first_arg], &name));
  char text[64] = "";
  if (name && name->len < sizeof text) memcpy(text, name->data, name->len);
  const jinja_row *row = mtk_jinja_find_test(text);
  if (!row) return mtk_jinja_fail(j, MTK_E_UNSUPPORTED, "there is no test named '%s'", text);
  jinja_args rest = mtk_jinja_rest_args(args, first_arg + 1);
  jinja_value result;
  MTK_TRY(row->fn(j, v, &rest, &result));
  *holds = mtk_jinja_truth(result);
  return MTK_OK;
}

static mtk_status pick(jinja *j, jinja_value self, const jinja_args *args, bool by_attribute,
                       bool keep, jinja_value *out) {
  const jinja_list *items;
  if (by_attribute && args->n - args->n_named == 0) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "Missing parameter for attribute name");
  }
  MTK_TRY(candidates(j, self, &items));
  MTK_TRY(mtk_jinja_new_view(j, JINJA_ITERATOR, "generator", items->len, out));
  for (size_t i = 0; i < items->len; i++) {
    jinja_value v = items->items[i];
    bool holds = false;
    if (by_attribute) MTK_TRY(get_path(j, v, args->items[0], &v));
    MTK_TRY(apply_test(j, v, args, by_attribute, &holds));
    if (holds == keep) out->u.l->items[out->u.l->len++] = items->items[i];
  }
  return MTK_OK;
}

static mtk_status do_select(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return pick(j, self, args, false, true, out);
}

static mtk_status reject(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return pick(j, self, args, false, false, out);
}

static mtk_status selectattr(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return pick(j, self, args, true, true, out);
}

static mtk_status rejectattr(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  return pick(j, self, args, true, false, out);
}

static mtk_status map_attribute(jinja *j, const jinja_list *items, const jinja_args *args,
                                jinja_value *out) {
  static const char *const names[] = {"attribute", "default"};
  jinja_value v[2] = {0};
  MTK_TRY(mtk_jinja_bind(j, "map", args, names, 2, v));
  for (size_t i = 0; i < items->len; i++) {
    jinja_value *to = &out->u.l->items[i];
    MTK_TRY(get_path(j, items->items[i], v[0], to));
    if (to->kind == JINJA_UNDEFINED && v[1].kind != JINJA_ABSENT) *to = v[1];
  }
  out->u.l->len = items->len;
  return MTK_OK;
}

static mtk_status map(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  const jinja_list *items;
  jinja_string *name;
  MTK_TRY(candidates(j, self, &items));
  MTK_TRY(mtk_jinja_new_view(j, JINJA_ITERATOR, "generator", items->len, out));
  if (args->n == args->n_named) return map_attribute(j, items, args, out);
  MTK_TRY(mtk_jinja_string_arg(j, "map", args->items[0], &name));
  char text[64] = "";
  if (name && name->len < sizeof text) memcpy(text, name->data, name->len);
  const jinja_row *row = mtk_jinja_find_filter(text);
  if (!row) return mtk_jinja_fail(j, MTK_E_UNSUPPORTED, "there is no filter named '%s'", text);
  jinja_args rest = mtk_jinja_rest_args(args, 1);
  for (size_t i = 0; i < items->len; i++) {
    MTK_TRY(row->fn(j, items->items[i], &rest, &out->u.l->items[i]));
  }
  out->u.l->len = items->len;
  return MTK_OK;
}

/* ---- order ---------------------------------------------------------------------------------- */

static mtk_status reorder(jinja *j, const jinja_list *items, const jinja_value *keys, bool reverse,
                          jinja_value *out) {
  size_t *order = NULL;
  MTK_TRY(mtk_jinja_sort_order(j, keys, items->len, reverse, &order));
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, items->len, out));
  for (size_t i = 0; i < items->len; i++) out->u.l->items[i] = items->items[order[i]];
  out->u.l->len = items->len;
  return MTK_OK;
}

static mtk_status sort(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"reverse", "case_sensitive", "attribute"};
  jinja_value v[3] = {0};
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "sort", args, names, 3, v));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  jinja_value *keys = mtk_jinja_alloc(j, items->len, sizeof *keys);
  if (!keys) return jinja_failed(j);
  for (size_t i = 0; i < items->len; i++) {
    MTK_TRY(get_sort_key(j, items->items[i], v[2], !mtk_jinja_truth(v[1]), &keys[i]));
  }
  return reorder(j, items, keys, mtk_jinja_truth(v[0]), out);
}

/* (key, value) pairs of a dict as a list of tuples. */
static mtk_status pairs(jinja *j, const jinja_dict *d, jinja_value *out) {
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, d->len, out));
  for (size_t i = 0; i < d->len; i++) {
    jinja_value pair;
    MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, 2, &pair));
    pair.u.l->items[0] = d->entries[i].key;
    pair.u.l->items[1] = d->entries[i].value;
    pair.u.l->len = 2;
    out->u.l->items[out->u.l->len++] = pair;
  }
  return MTK_OK;
}

static mtk_status dictsort(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"case_sensitive", "by", "reverse"};
  jinja_value v[3] = {0}, list;
  jinja_string *by;
  MTK_TRY(mtk_jinja_bind(j, "dictsort", args, names, 3, v));
  MTK_TRY(mtk_jinja_require_defined(j, self));
  if (self.kind != JINJA_DICT) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' object has no attribute 'items'",
                      mtk_jinja_type_name(self));
  }
  MTK_TRY(mtk_jinja_string_arg(j, "dictsort", v[1], &by));
  bool by_value = by && by->len == 5 && memcmp(by->data, "value", 5) == 0;
  MTK_TRY(pairs(j, self.u.d, &list));
  jinja_value *keys = mtk_jinja_alloc(j, list.u.l->len, sizeof *keys), absent = {0};
  if (!keys) return jinja_failed(j);
  for (size_t i = 0; i < list.u.l->len; i++) {
    jinja_value key = list.u.l->items[i].u.l->items[by_value];
    MTK_TRY(get_key(j, key, absent, !mtk_jinja_truth(v[0]), &keys[i]));
  }
  return reorder(j, list.u.l, keys, mtk_jinja_truth(v[2]), out);
}

static mtk_status reverse(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "reverse", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  if (self.kind == JINJA_STRING) {
    jinja_text t = {0};
    for (size_t i = items->len; i > 0; i--) {
      MTK_TRY(mtk_jinja_text_add_string(j, &t, items->items[i - 1].u.s));
    }
    return mtk_jinja_text_value(j, &t, out);
  }
  MTK_TRY(mtk_jinja_new_view(j, JINJA_ITERATOR, "list_reverseiterator", items->len, out));
  for (size_t i = 0; i < items->len; i++) out->u.l->items[i] = items->items[items->len - 1 - i];
  out->u.l->len = items->len;
  return MTK_OK;
}

/* Walks items in groups of equal keys; used by unique and groupby. */
static mtk_status find_key(jinja *j, const jinja_value *keys, size_t n, jinja_value key,
                           size_t *at) {
  bool equal = false;
  for (*at = 0; *at < n; (*at)++) {
    MTK_TRY(mtk_jinja_equal(j, keys[*at], key, &equal));
    if (equal) break;
  }
  return MTK_OK;
}

static mtk_status unique(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"case_sensitive", "attribute"};
  jinja_value v[2] = {0};
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "unique", args, names, 2, v));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  MTK_TRY(mtk_jinja_new_view(j, JINJA_ITERATOR, "generator", items->len, out));
  jinja_value *keys = mtk_jinja_alloc(j, items->len, sizeof *keys);
  if (!keys) return jinja_failed(j);
  for (size_t i = 0; i < items->len; i++) {
    size_t at, n = out->u.l->len;
    MTK_TRY(get_key(j, items->items[i], v[1], !mtk_jinja_truth(v[0]), &keys[n]));
    MTK_TRY(find_key(j, keys, n, keys[n], &at));
    if (at == n) out->u.l->items[out->u.l->len++] = items->items[i];
  }
  return MTK_OK;
}

static mtk_status groupby(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"attribute", "default", "case_sensitive"};
  jinja_value v[3] = {0}, sorted, previous = {0};
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "groupby", args, names, 3, v));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  jinja_value *keys = mtk_jinja_alloc(j, items->len, sizeof *keys);
  if (!keys) return jinja_failed(j);
  for (size_t i = 0; i < items->len; i++) {
    MTK_TRY(get_key(j, items->items[i], v[0], !mtk_jinja_truth(v[2]), &keys[i]));
    if (keys[i].kind == JINJA_UNDEFINED && v[1].kind != JINJA_ABSENT) keys[i] = v[1];
  }
  MTK_TRY(reorder(j, items, keys, false, &sorted));
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, items->len, out));
  jinja_value group = {0};
  for (size_t i = 0; i < items->len; i++) {
    jinja_value key;
    bool same = false;
    MTK_TRY(get_key(j, sorted.u.l->items[i], v[0], !mtk_jinja_truth(v[2]), &key));
    if (key.kind == JINJA_UNDEFINED && v[1].kind != JINJA_ABSENT) key = v[1];
    if (i > 0) MTK_TRY(mtk_jinja_equal(j, previous, key, &same));
    if (!same) {
      MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, 2, &group));
      group.u.l->items[0] = key;
      MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, items->len - i, &group.u.l->items[1]));
      group.u.l->len = 2;
      out->u.l->items[out->u.l->len++] = group;
      previous = key;
    }
    jinja_list *members = group.u.l->items[1].u.l;
    members->items[members->len++] = sorted.u.l->items[i];
  }
  return MTK_OK;
}

/* ---- shapes --------------------------------------------------------------------------------- */

static mtk_status list(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "list", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  jinja_list *copy = mtk_jinja_alloc(j, 1, sizeof *copy);
  if (!copy) return jinja_failed(j);
  *copy = (jinja_list){.items = items->items, .len = items->len, .type = "list"};
  *out = (jinja_value){JINJA_LIST, {.l = copy}}; /* lists never change: the items are shared */
  return MTK_OK;
}

static mtk_status items_of(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_bind(j, "items", args, NULL, 0, NULL));
  if (self.kind == JINJA_UNDEFINED) {
    return mtk_jinja_new_view(j, JINJA_ITERATOR, "generator", 0, out);
  }
  if (self.kind != JINJA_DICT) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "Can only get item pairs from a mapping.");
  }
  jinja_value list_value;
  MTK_TRY(pairs(j, self.u.d, &list_value));
  list_value.u.l->type = "generator";
  *out = (jinja_value){JINJA_ITERATOR, {.l = list_value.u.l}};
  return MTK_OK;
}

static mtk_status length(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  size_t n;
  MTK_TRY(mtk_jinja_bind(j, "length", args, NULL, 0, NULL));
  MTK_TRY(mtk_jinja_length(j, self, &n));
  *out = mtk_jinja_int((int64_t)n);
  return MTK_OK;
}

static mtk_status sum(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"attribute", "start"};
  jinja_value v[2] = {0};
  const jinja_list *items;
  MTK_TRY(mtk_jinja_bind(j, "sum", args, names, 2, v));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  *out = v[1].kind == JINJA_ABSENT ? mtk_jinja_int(0) : v[1];
  for (size_t i = 0; i < items->len; i++) {
    jinja_value key;
    MTK_TRY(get_key(j, items->items[i], v[0], false, &key));
    MTK_TRY(mtk_jinja_binary(j, OP_ADD, *out, key, out));
  }
  return MTK_OK;
}

static mtk_status join(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"d", "attribute"};
  jinja_value v[2] = {0}, separator;
  const jinja_list *items;
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_bind(j, "join", args, names, 2, v));
  if (v[0].kind == JINJA_ABSENT)
    MTK_TRY(mtk_jinja_new_string(j, "", 0, false, &separator));
  else
    MTK_TRY(mtk_jinja_to_string(j, v[0], &separator));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  for (size_t i = 0; i < items->len; i++) {
    jinja_value item;
    if (i > 0) MTK_TRY(mtk_jinja_text_add_string(j, &t, separator.u.s));
    MTK_TRY(get_key(j, items->items[i], v[1], false, &item));
    MTK_TRY(mtk_jinja_write(j, &t, item, false));
  }
  return mtk_jinja_text_value(j, &t, out);
}

/* The next group of at most `size` items (and `fill` up to it) of batch and slice. */
static mtk_status add_group(jinja *j, const jinja_list *items, size_t from, size_t n, size_t size,
                            jinja_value fill, jinja_value *out) {
  jinja_value group;
  bool filled = fill.kind != JINJA_ABSENT && fill.kind != JINJA_NONE;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, size > n ? size : n, &group));
  for (size_t i = 0; i < n; i++) group.u.l->items[i] = items->items[from + i];
  group.u.l->len = n;
  while (filled && group.u.l->len < size) group.u.l->items[group.u.l->len++] = fill;
  out->u.l->items[out->u.l->len++] = group;
  return MTK_OK;
}

static mtk_status batch(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"linecount", "fill_with"};
  jinja_value v[2] = {0};
  const jinja_list *items;
  int64_t size;
  MTK_TRY(mtk_jinja_bind(j, "batch", args, names, 2, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 0, &size));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  if (size < 1 || size > 1000000) return mtk_jinja_fail(j, MTK_E_INVALID, "batch: bad size");
  MTK_TRY(mtk_jinja_new_view(j, JINJA_ITERATOR, "generator", items->len, out));
  for (size_t at = 0; at < items->len; at += (size_t)size) {
    size_t n = items->len - at < (size_t)size ? items->len - at : (size_t)size;
    MTK_TRY(add_group(j, items, at, n, (size_t)size, v[1], out));
  }
  return MTK_OK;
}

static mtk_status slices(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  static const char *const names[] = {"slices", "fill_with"};
  jinja_value v[2] = {0};
  const jinja_list *items;
  int64_t n;
  MTK_TRY(mtk_jinja_bind(j, "slice", args, names, 2, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 0, &n));
  MTK_TRY(mtk_jinja_items(j, self, &items));
  if (n < 1 || n > 1000000) return mtk_jinja_fail(j, MTK_E_INVALID, "slice: bad number of slices");
  MTK_TRY(mtk_jinja_new_view(j, JINJA_ITERATOR, "generator", (size_t)n, out));
  size_t per = items->len / (size_t)n, more = items->len % (size_t)n, at = 0;
  for (size_t i = 0; i < (size_t)n; i++) {
    size_t size = per + (i < more);
    MTK_TRY(add_group(j, items, at, size, i < more || more == 0 ? size : size + 1, v[1], out));
    at += size;
  }
  return MTK_OK;
}

const jinja_row mtk_jinja_sequence_filters[] = {
    {"first", first},
    {"last", last},
    {"min", min_of},
    {"max", max_of},
    {"select", do_select},
    {"reject", reject},
    {"selectattr", selectattr},
    {"rejectattr", rejectattr},
    {"map", map},
    {"sort", sort},
    {"dictsort", dictsort},
    {"reverse", reverse},
    {"unique", unique},
    {"groupby", groupby},
    {"list", list},
    {"items", items_of},
    {"length", length},
    {"count", length},
    {"sum", sum},
    {"join", join},
    {"batch", batch},
    {"slice", slices},
    {"tojson", mtk_jinja_tojson},
};
const size_t mtk_jinja_sequence_filters_len =
    sizeof mtk_jinja_sequence_filters / sizeof mtk_jinja_sequence_filters[0];
