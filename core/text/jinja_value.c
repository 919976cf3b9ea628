/* text/jinja_value.c: making, comparing and walking values. */
#include <string.h>

#include "text/jinja.h"

enum { SMALL_DICT = 12, MAX_VALUE_DEPTH = 500 };

jinja_value mtk_jinja_bool(bool b) { return (jinja_value){JINJA_BOOL, {.b = b}}; }
jinja_value mtk_jinja_int(int64_t i) { return (jinja_value){JINJA_INT, {.i = i}}; }
jinja_value mtk_jinja_float(double f) { return (jinja_value){JINJA_FLOAT, {.f = f}}; }
jinja_value mtk_jinja_none(void) { return (jinja_value){JINJA_NONE, {.i = 0}}; }

mtk_status mtk_jinja_undefined(jinja *j, const char *owner, const char *name, size_t len,
                           jinja_value *out) {
  jinja_missing *u = mtk_jinja_alloc(j, 1, sizeof *u);
  if (!u) return jinja_failed(j);
  *u = (jinja_missing){.owner = owner, .name = name, .name_len = len};
  *out = (jinja_value){JINJA_UNDEFINED, {.u = u}};
  return MTK_OK;
}

mtk_status mtk_jinja_require_defined(jinja *j, jinja_value v) {
  if (v.kind != JINJA_UNDEFINED) return MTK_OK;
  const jinja_missing *u = v.u.u;
  int len = u->name_len < 80 ? (int)u->name_len : 80;
  if (u->unsafe) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "access to attribute '%.*s' of '%s' object is unsafe",
                          len, u->name, u->owner);
  }
  if (u->owner) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' has no attribute '%.*s'", u->owner, len, u->name);
  }
  return mtk_jinja_fail(j, MTK_E_INVALID, "'%.*s' is undefined", len, u->name);
}

/* ---- lists ---------------------------------------------------------------------------------- */

mtk_status mtk_jinja_new_view(jinja *j, jinja_kind kind, const char *type, size_t n,
                              jinja_value *out) {
  jinja_list *l = mtk_jinja_alloc(j, 1, sizeof *l);
  if (!l) return jinja_failed(j);
  l->items = mtk_jinja_alloc(j, n, sizeof *l->items);
  if (!l->items) return jinja_failed(j);
  l->type = type;
  *out = (jinja_value){kind, {.l = l}};
  return MTK_OK;
}

mtk_status mtk_jinja_new_list(jinja *j, jinja_kind kind, size_t n, jinja_value *out) {
  return mtk_jinja_new_view(j, kind, "list", n, out);
}

/* ---- dicts ---------------------------------------------------------------------------------- */

mtk_status mtk_jinja_new_dict(jinja *j, jinja_kind kind, jinja_value *out) {
  jinja_dict *d = mtk_jinja_alloc(j, 1, sizeof *d);
  if (!d) return jinja_failed(j);
  *out = (jinja_value){kind, {.d = d}};
  return MTK_OK;
}

static uint32_t hash_bytes(const char *s, size_t n) {
  uint64_t h = 0xCBF29CE484222325u;
  for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 0x100000001B3u;
  return (uint32_t)(h ^ (h >> 32));
}

/* Equal keys hash alike: 1, 1.0 and True are one key. */
static uint32_t hash_value(jinja_value v) {
  uint32_t h = 17;
  switch (v.kind) {
  case JINJA_STRING: return hash_bytes(v.u.s->data, v.u.s->len);
  case JINJA_BOOL:
  case JINJA_INT:
  case JINJA_FLOAT: {
    double f = mtk_jinja_number(v) + 0.0; /* -0.0 becomes 0.0 */
    return hash_bytes((const char *)&f, sizeof f);
  }
  case JINJA_TUPLE:
    for (size_t i = 0; i < v.u.l->len; i++) h = h * 31 + hash_value(v.u.l->items[i]);
    return h;
  default: return h + (uint32_t)v.kind;
  }
}

bool mtk_jinja_hashable(jinja_value v) {
  if (v.kind == JINJA_TUPLE) {
    for (size_t i = 0; i < v.u.l->len; i++) { /* one level: tuples of tuples are not keys here */
      if (v.u.l->items[i].kind == JINJA_TUPLE || !mtk_jinja_hashable(v.u.l->items[i])) return false;
    }
    return true;
  }
  return v.kind == JINJA_STRING || v.kind == JINJA_NONE || mtk_jinja_is_number(v);
}

static bool same_key(jinja_value a, jinja_value b) {
  if (a.kind == JINJA_STRING || b.kind == JINJA_STRING) {
    return a.kind == b.kind && a.u.s->len == b.u.s->len &&
           memcmp(a.u.s->data, b.u.s->data, a.u.s->len) == 0;
  }
  if (a.kind == JINJA_INT && b.kind == JINJA_INT) return a.u.i == b.u.i;
  if (mtk_jinja_is_number(a) && mtk_jinja_is_number(b))
    return mtk_jinja_number(a) == mtk_jinja_number(b);
  if (a.kind != b.kind) return false;
  if (a.kind == JINJA_TUPLE) {
    if (a.u.l->len != b.u.l->len) return false;
    for (size_t i = 0; i < a.u.l->len; i++) {
      if (!same_key(a.u.l->items[i], b.u.l->items[i])) return false;
    }
  }
  return true;
}

/* Number of the entry + 1, or 0; *slot = where the index points or would point. */
static uint32_t find_entry(const jinja_dict *d, jinja_value key, uint32_t hash, size_t *slot) {
  if (!d->index) {
    for (size_t i = 0; i < d->len; i++) {
      if (d->entries[i].hash == hash && same_key(d->entries[i].key, key)) return (uint32_t)i + 1;
    }
    return 0;
  }
  size_t mask = d->n_index - 1, i = hash & mask;
  for (; d->index[i]; i = (i + 1) & mask) {
    const jinja_entry *entry = &d->entries[d->index[i] - 1];
    if (entry->hash == hash && same_key(entry->key, key)) break;
  }
  *slot = i;
  return d->index[i];
}

static mtk_status rebuild_index(jinja *j, jinja_dict *d) {
  size_t n = 32;
  while (n < d->cap * 2) n *= 2;
  uint32_t *index = mtk_jinja_alloc(j, n, sizeof *index);
  if (!index) return jinja_failed(j);
  for (size_t e = 0; e < d->len; e++) {
    size_t i = d->entries[e].hash & (n - 1);
    while (index[i]) i = (i + 1) & (n - 1);
    index[i] = (uint32_t)e + 1;
  }
  d->index = index;
  d->n_index = n;
  return MTK_OK;
}

mtk_status mtk_jinja_dict_set(jinja *j, jinja_dict *d, jinja_value key, jinja_value value) {
  if (!mtk_jinja_hashable(key)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "unhashable type: '%s'", mtk_jinja_type_name(key));
  }
  uint32_t hash = hash_value(key);
  size_t slot = 0;
  uint32_t found = find_entry(d, key, hash, &slot);
  if (found) {
    d->entries[found - 1].value = value;
    return MTK_OK;
  }
  if (d->len == d->cap) {
    size_t cap = d->cap * 2 + 4;
    jinja_entry *grown = mtk_jinja_alloc(j, cap, sizeof *grown);
    if (!grown) return jinja_failed(j);
    if (d->len > 0) memcpy(grown, d->entries, d->len * sizeof *grown);
    d->entries = grown;
    d->cap = cap;
    if (cap > SMALL_DICT) {
      MTK_TRY(rebuild_index(j, d));
      find_entry(d, key, hash, &slot);
    }
  }
  d->entries[d->len++] = (jinja_entry){key, value, hash};
  if (d->index) d->index[slot] = (uint32_t)d->len;
  return MTK_OK;
}

const jinja_value *mtk_jinja_dict_get(const jinja_dict *d, jinja_value key) {
  size_t slot;
  if (!mtk_jinja_hashable(key)) return NULL;
  uint32_t found = find_entry(d, key, hash_value(key), &slot);
  return found ? &d->entries[found - 1].value : NULL;
}

const jinja_value *mtk_jinja_dict_get_text(const jinja_dict *d, const char *key, size_t n) {
  jinja_string s = {.data = key, .len = n};
  return mtk_jinja_dict_get(d, (jinja_value){JINJA_STRING, {.s = &s}});
}

/* ---- questions ------------------------------------------------------------------------------ */

const char *mtk_jinja_type_name(jinja_value v) {
  static const char *const names[] = {
      "absent", "Undefined", "NoneType",  "bool", "int",       "float", "str",      "list",
      "tuple",  "view",      "generator", "dict", "Namespace", "Macro", "function", "LoopContext"};
  if (v.kind == JINJA_VIEW || v.kind == JINJA_ITERATOR) return v.u.l->type;
  return names[v.kind];
}

bool mtk_jinja_is_number(jinja_value v) {
  return v.kind == JINJA_BOOL || v.kind == JINJA_INT || v.kind == JINJA_FLOAT;
}

double mtk_jinja_number(jinja_value v) {
  return v.kind == JINJA_FLOAT ? v.u.f : v.kind == JINJA_INT ? (double)v.u.i : (double)v.u.b;
}

bool mtk_jinja_truth(jinja_value v) {
  switch (v.kind) {
  case JINJA_ABSENT:
  case JINJA_UNDEFINED:
  case JINJA_NONE: return false;
  case JINJA_BOOL: return v.u.b;
  case JINJA_INT: return v.u.i != 0;
  case JINJA_FLOAT: return v.u.f != 0;
  case JINJA_STRING: return v.u.s->len > 0;
  case JINJA_LIST:
  case JINJA_TUPLE:
  case JINJA_VIEW: return v.u.l->len > 0;
  case JINJA_DICT: return v.u.d->len > 0;
  default: return true;
  }
}

static int64_t integer(jinja_value v) { return v.kind == JINJA_BOOL ? v.u.b : v.u.i; }

static bool is_sequence(jinja_value v) {
  return v.kind == JINJA_LIST || v.kind == JINJA_TUPLE || v.kind == JINJA_VIEW;
}

static mtk_status equal_at(jinja *j, jinja_value a, jinja_value b, int depth, bool *equal);

static mtk_status equal_lists(jinja *j, const jinja_list *a, const jinja_list *b, int depth,
                              bool *equal) {
  *equal = a->len == b->len;
  for (size_t i = 0; i < a->len && *equal; i++) {
    MTK_TRY(equal_at(j, a->items[i], b->items[i], depth + 1, equal));
  }
  return MTK_OK;
}

static mtk_status equal_dicts(jinja *j, const jinja_dict *a, const jinja_dict *b, int depth,
                              bool *equal) {
  *equal = a->len == b->len;
  for (size_t i = 0; i < a->len && *equal; i++) {
    const jinja_value *other = mtk_jinja_dict_get(b, a->entries[i].key);
    *equal = other != NULL;
    if (other) MTK_TRY(equal_at(j, a->entries[i].value, *other, depth + 1, equal));
  }
  return MTK_OK;
}

static mtk_status equal_at(jinja *j, jinja_value a, jinja_value b, int depth, bool *equal) {
  if (depth > MAX_VALUE_DEPTH)
    return mtk_jinja_fail(j, MTK_E_LIMIT, "values are nested too deeply");
  MTK_TRY(mtk_jinja_step(j, 1));
  if (mtk_jinja_is_number(a) && mtk_jinja_is_number(b)) {
    bool floats = a.kind == JINJA_FLOAT || b.kind == JINJA_FLOAT;
    *equal = floats ? mtk_jinja_number(a) == mtk_jinja_number(b) : integer(a) == integer(b);
    return MTK_OK;
  }
  *equal = false;
  if (a.kind != b.kind) return MTK_OK;
  switch (a.kind) {
  case JINJA_NONE:
  case JINJA_UNDEFINED: *equal = true; return MTK_OK;
  case JINJA_STRING:
    MTK_TRY(mtk_jinja_step(j, a.u.s->len / 64));
    *equal = same_key(a, b);
    return MTK_OK;
  case JINJA_LIST:
  case JINJA_TUPLE:
  case JINJA_VIEW: return equal_lists(j, a.u.l, b.u.l, depth, equal);
  case JINJA_DICT: return equal_dicts(j, a.u.d, b.u.d, depth, equal);
  default: *equal = a.u.l == b.u.l; return MTK_OK; /* identity */
  }
}

mtk_status mtk_jinja_equal(jinja *j, jinja_value a, jinja_value b, bool *equal) {
  return equal_at(j, a, b, 0, equal);
}

static mtk_status less_at(jinja *j, jinja_value a, jinja_value b, int depth, bool *less) {
  if (depth > MAX_VALUE_DEPTH)
    return mtk_jinja_fail(j, MTK_E_LIMIT, "values are nested too deeply");
  MTK_TRY(mtk_jinja_step(j, 1));
  if (mtk_jinja_is_number(a) && mtk_jinja_is_number(b)) {
    bool floats = a.kind == JINJA_FLOAT || b.kind == JINJA_FLOAT;
    *less = floats ? mtk_jinja_number(a) < mtk_jinja_number(b) : integer(a) < integer(b);
    return MTK_OK;
  }
  MTK_TRY(mtk_jinja_require_defined(j, a));
  MTK_TRY(mtk_jinja_require_defined(j, b));
  if (a.kind == JINJA_STRING && b.kind == JINJA_STRING) { /* UTF-8 sorts like code points */
    size_t n = a.u.s->len < b.u.s->len ? a.u.s->len : b.u.s->len;
    MTK_TRY(mtk_jinja_step(j, n / 64));
    int order = memcmp(a.u.s->data, b.u.s->data, n);
    *less = order != 0 ? order < 0 : a.u.s->len < b.u.s->len;
    return MTK_OK;
  }
  if (a.kind == b.kind && (a.kind == JINJA_LIST || a.kind == JINJA_TUPLE)) {
    size_t n = a.u.l->len < b.u.l->len ? a.u.l->len : b.u.l->len;
    for (size_t i = 0; i < n; i++) {
      bool equal;
      MTK_TRY(equal_at(j, a.u.l->items[i], b.u.l->items[i], depth + 1, &equal));
      if (!equal) return less_at(j, a.u.l->items[i], b.u.l->items[i], depth + 1, less);
    }
    *less = a.u.l->len < b.u.l->len;
    return MTK_OK;
  }
  return mtk_jinja_fail(j, MTK_E_INVALID, "'<' not supported between instances of '%s' and '%s'",
                    mtk_jinja_type_name(a), mtk_jinja_type_name(b));
}

mtk_status mtk_jinja_less(jinja *j, jinja_value a, jinja_value b, bool *less) {
  return less_at(j, a, b, 0, less);
}

static mtk_status contains_text(jinja *j, const jinja_string *text, jinja_value item, bool *found) {
  MTK_TRY(mtk_jinja_require_defined(j, item));
  if (item.kind != JINJA_STRING) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "'in <string>' requires string as left operand, not %s",
                      mtk_jinja_type_name(item));
  }
  MTK_TRY(mtk_jinja_step(j, text->len / 64));
  *found = item.u.s->len == 0 || memmem(text->data, text->len, item.u.s->data, item.u.s->len);
  return MTK_OK;
}

mtk_status mtk_jinja_contains(jinja *j, jinja_value container, jinja_value item, bool *found) {
  *found = false;
  if (container.kind == JINJA_STRING) return contains_text(j, container.u.s, item, found);
  if (container.kind == JINJA_DICT) {
    if (item.kind == JINJA_UNDEFINED) return MTK_OK;
    if (!mtk_jinja_hashable(item)) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "unhashable type: '%s'", mtk_jinja_type_name(item));
    }
    *found = mtk_jinja_dict_get(container.u.d, item) != NULL;
    return MTK_OK;
  }
  const jinja_list *items;
  MTK_TRY(mtk_jinja_items(j, container, &items));
  for (size_t i = 0; i < items->len && !*found; i++) {
    MTK_TRY(mtk_jinja_equal(j, items->items[i], item, found));
  }
  return MTK_OK;
}

/* Merge sort of order[0..n) with scratch of the same size. */
static mtk_status merge_sort(jinja *j, const jinja_value *keys, bool reverse, size_t *order,
                             size_t *scratch, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t lo = 0; lo < n; lo += 2 * width) {
      size_t mid = lo + width < n ? lo + width : n, hi = mid + width < n ? mid + width : n;
      size_t left = lo, right = mid;
      for (size_t k = lo; k < hi; k++) {
        bool take_right = left == mid;
        if (left < mid && right < hi) {
          jinja_value a = keys[order[left]], b = keys[order[right]];
          MTK_TRY(mtk_jinja_less(j, reverse ? a : b, reverse ? b : a, &take_right));
        }
        scratch[k] = take_right ? order[right++] : order[left++];
      }
    }
    memcpy(order, scratch, n * sizeof *order);
  }
  return MTK_OK;
}

mtk_status mtk_jinja_sort_order(jinja *j, const jinja_value *keys, size_t n, bool reverse,
                            size_t **order) {
  *order = mtk_jinja_alloc(j, n, sizeof **order);
  size_t *scratch = *order ? mtk_jinja_alloc(j, n, sizeof *scratch) : NULL;
  if (!scratch) return jinja_failed(j);
  for (size_t i = 0; i < n; i++) (*order)[i] = i;
  return merge_sort(j, keys, reverse, *order, scratch, n);
}

/* ---- walking -------------------------------------------------------------------------------- */

static mtk_status characters(jinja *j, jinja_string *s, const jinja_list **out) {
  jinja_value list;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, mtk_jinja_chars(s), &list));
  MTK_TRY(mtk_jinja_step(j, s->len));
  for (size_t at = 0; at < s->len;) {
    size_t end = at + 1;
    while (end < s->len && ((uint8_t)s->data[end] & 0xC0) == 0x80) end++;
    MTK_TRY(mtk_jinja_substring(j, s, at, end, &list.u.l->items[list.u.l->len++]));
    at = end;
  }
  *out = list.u.l;
  return MTK_OK;
}

static mtk_status keys(jinja *j, const jinja_dict *d, const jinja_list **out) {
  jinja_value list;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, d->len, &list));
  for (size_t i = 0; i < d->len; i++) list.u.l->items[i] = d->entries[i].key;
  list.u.l->len = d->len;
  *out = list.u.l;
  return MTK_OK;
}

static mtk_status take_rest(jinja *j, jinja_list *iterator, const jinja_list **out) {
  jinja_list *rest = mtk_jinja_alloc(j, 1, sizeof *rest);
  if (!rest) return jinja_failed(j);
  rest->items = iterator->items + iterator->next;
  rest->len = iterator->len - iterator->next;
  rest->type = "list";
  iterator->next = iterator->len;
  *out = rest;
  return MTK_OK;
}

mtk_status mtk_jinja_items(jinja *j, jinja_value v, const jinja_list **out) {
  static const jinja_list nothing = {.type = "list"};
  if (is_sequence(v)) {
    *out = v.u.l;
    return MTK_OK;
  }
  switch (v.kind) {
  case JINJA_UNDEFINED: *out = &nothing; return MTK_OK;
  case JINJA_STRING: return characters(j, v.u.s, out);
  case JINJA_DICT: return keys(j, v.u.d, out);
  case JINJA_ITERATOR: return take_rest(j, v.u.l, out);
  default:
    return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' object is not iterable", mtk_jinja_type_name(v));
  }
}

mtk_status mtk_jinja_length(jinja *j, jinja_value v, size_t *out) {
  if (is_sequence(v)) {
    *out = v.u.l->len;
    return MTK_OK;
  }
  switch (v.kind) {
  case JINJA_UNDEFINED: *out = 0; return MTK_OK;
  case JINJA_STRING:
    if (v.u.s->n_chars == SIZE_MAX) MTK_TRY(mtk_jinja_step(j, v.u.s->len / 64));
    *out = mtk_jinja_chars(v.u.s);
    return MTK_OK;
  case JINJA_DICT: *out = v.u.d->len; return MTK_OK;
  default:
    return mtk_jinja_fail(j, MTK_E_INVALID, "object of type '%s' has no len()",
                          mtk_jinja_type_name(v));
  }
}
