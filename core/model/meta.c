/* meta.c: mtk_meta, an ordered map from key to typed value. Keys and values live in the meta's own
 * arena until it is destroyed (replaced ones too). One writer, or any number of readers. */
#include "base/hashmap.h"

#include <mtk/model.h>

#include <string.h>

enum { MAX_NESTING = 8 };

typedef struct meta_entry {
  const char *key;
  mtk_value value;
} meta_entry;

struct mtk_meta {
  mtk_arena *arena;
  mtk_map *index; /* key -> position in entries, -1 once removed */
  meta_entry *entries;
  size_t n, cap;
};

mtk_meta *mtk_meta_create(void) {
  mtk_meta *meta = mtk_alloc(1, sizeof *meta);
  if (!meta) return NULL;
  meta->arena = mtk_arena_create();
  meta->index = mtk_map_create();
  if (meta->arena && meta->index) return meta;
  mtk_meta_destroy(meta);
  return NULL;
}

void mtk_meta_destroy(mtk_meta *meta) {
  if (!meta) return;
  mtk_map_destroy(meta->index);
  mtk_arena_destroy(meta->arena);
  mtk_free(meta->entries);
  mtk_free(meta);
}

static mtk_status copy_value(mtk_value *out, mtk_arena *arena, const mtk_value *in, int depth,
                             mtk_error *err) {
  *out = *in;
  if (in->type == MTK_META_STRING) {
    char *s = mtk_arena_alloc(arena, in->as.str.len + 1, 1);
    if (!s) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    if (in->as.str.len) memcpy(s, in->as.str.s, in->as.str.len);
    out->as.str.s = s;
  } else if (in->type == MTK_META_ARRAY) {
    if (depth >= MAX_NESTING)
      return mtk_fail(err, MTK_E_LIMIT, NULL, "arrays are nested deeper than %d", MAX_NESTING);
    mtk_value *items = mtk_arena_alloc(arena, in->as.arr.n, sizeof *items);
    if (!items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    for (size_t i = 0; i < in->as.arr.n; i++)
      MTK_TRY(copy_value(&items[i], arena, &in->as.arr.items[i], depth + 1, err));
    out->as.arr.items = items;
  }
  return MTK_OK;
}

static mtk_status append_entry(mtk_meta *meta, mtk_map_value *at, const char *key,
                               const mtk_value *value, mtk_error *err) {
  if (meta->n == meta->cap) {
    size_t cap = meta->cap ? meta->cap * 2 : 32;
    meta_entry *grown = mtk_realloc(meta->entries, meta->cap, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, key, "out of memory");
    meta->entries = grown;
    meta->cap = cap;
  }
  char *name = mtk_arena_strndup(meta->arena, key, strlen(key));
  if (!name) return mtk_fail(err, MTK_E_NOMEM, key, "out of memory");
  meta->entries[meta->n] = (meta_entry){name, *value};
  at->i = (int64_t)meta->n++;
  return MTK_OK;
}

mtk_status mtk_meta_set(mtk_meta *meta, const char *key, const mtk_value *value, mtk_error *err) {
  mtk_value copy;
  mtk_status status = copy_value(&copy, meta->arena, value, 0, err);
  if (status != MTK_OK) return mtk_fail_in(err, status, key);
  bool found;
  mtk_map_value *at = mtk_map_put(meta->index, key, strlen(key), &found);
  if (!at) return mtk_fail(err, MTK_E_NOMEM, key, "out of memory");
  if (!found) at->i = -1;
  if (at->i < 0) return append_entry(meta, at, key, &copy, err);
  meta->entries[at->i].value = copy;
  return MTK_OK;
}

mtk_status mtk_meta_set_uint(mtk_meta *meta, const char *key, uint64_t v, mtk_error *err) {
  mtk_value value = {.type = v <= UINT32_MAX ? MTK_META_U32 : MTK_META_U64, .as.u = v};
  return mtk_meta_set(meta, key, &value, err);
}

mtk_status mtk_meta_set_float(mtk_meta *meta, const char *key, double v, mtk_error *err) {
  mtk_value value = {.type = MTK_META_F32, .as.f = (double)(float)v};
  return mtk_meta_set(meta, key, &value, err);
}

mtk_status mtk_meta_set_bool(mtk_meta *meta, const char *key, bool v, mtk_error *err) {
  mtk_value value = {.type = MTK_META_BOOL, .as.u = v};
  return mtk_meta_set(meta, key, &value, err);
}

mtk_status mtk_meta_set_string(mtk_meta *meta, const char *key, const char *s, mtk_error *err) {
  mtk_value value = {.type = MTK_META_STRING, .as.str = {s, strlen(s)}};
  return mtk_meta_set(meta, key, &value, err);
}

void mtk_meta_remove(mtk_meta *meta, const char *key) {
  mtk_map_value *at = mtk_map_get(meta->index, key, strlen(key));
  if (!at || at->i < 0) return;
  size_t pos = (size_t)at->i;
  at->i = -1;
  meta->n--;
  for (size_t i = pos; i < meta->n; i++) {
    meta->entries[i] = meta->entries[i + 1];
    const char *moved = meta->entries[i].key;
    mtk_map_get(meta->index, moved, strlen(moved))->i = (int64_t)i;
  }
}

const mtk_value *mtk_meta_get(const mtk_meta *meta, const char *key) {
  const mtk_map_value *at = mtk_map_get(meta->index, key, strlen(key));
  return at && at->i >= 0 ? &meta->entries[at->i].value : NULL;
}

size_t mtk_meta_count(const mtk_meta *meta) { return meta->n; }

const char *mtk_meta_key(const mtk_meta *meta, size_t index) {
  return index < meta->n ? meta->entries[index].key : NULL;
}

const mtk_value *mtk_meta_at(const mtk_meta *meta, size_t index) {
  return index < meta->n ? &meta->entries[index].value : NULL;
}

/* How a type is held in mtk_value.as. */
typedef enum value_kind { KIND_UINT, KIND_INT, KIND_FLOAT, KIND_OTHER } value_kind;

static const struct {
  value_kind kind;
  const char *name;
} value_types[] = {
    [MTK_META_U8] = {KIND_UINT, "u8"},        [MTK_META_I8] = {KIND_INT, "i8"},
    [MTK_META_U16] = {KIND_UINT, "u16"},      [MTK_META_I16] = {KIND_INT, "i16"},
    [MTK_META_U32] = {KIND_UINT, "u32"},      [MTK_META_I32] = {KIND_INT, "i32"},
    [MTK_META_F32] = {KIND_FLOAT, "f32"},     [MTK_META_BOOL] = {KIND_UINT, "bool"},
    [MTK_META_STRING] = {KIND_OTHER, "string"}, [MTK_META_ARRAY] = {KIND_OTHER, "array"},
    [MTK_META_U64] = {KIND_UINT, "u64"},      [MTK_META_I64] = {KIND_INT, "i64"},
    [MTK_META_F64] = {KIND_FLOAT, "f64"},
};

static value_kind kind_of(const mtk_value *v, const char **name) {
  size_t t = (size_t)v->type;
  bool known = t < sizeof value_types / sizeof value_types[0];
  *name = known ? value_types[t].name : "unknown";
  return known ? value_types[t].kind : KIND_OTHER;
}

mtk_status mtk_meta_uint(uint64_t *out, const mtk_meta *meta, const char *key, uint64_t fallback,
                         mtk_error *err) {
  const mtk_value *v = mtk_meta_get(meta, key);
  *out = fallback;
  if (!v) return MTK_OK;
  const char *name;
  value_kind kind = kind_of(v, &name);
  if (kind == KIND_INT && v->as.i < 0)
    return mtk_fail(err, MTK_E_FORMAT, key, "is negative (%lld)", (long long)v->as.i);
  if (kind != KIND_UINT && kind != KIND_INT)
    return mtk_fail(err, MTK_E_FORMAT, key, "has type %s, expected a whole number", name);
  *out = kind == KIND_UINT ? v->as.u : (uint64_t)v->as.i;
  return MTK_OK;
}

mtk_status mtk_meta_float(double *out, const mtk_meta *meta, const char *key, double fallback,
                          mtk_error *err) {
  const mtk_value *v = mtk_meta_get(meta, key);
  *out = fallback;
  if (!v) return MTK_OK;
  const char *name;
  value_kind kind = kind_of(v, &name);
  if (kind == KIND_OTHER || v->type == MTK_META_BOOL)
    return mtk_fail(err, MTK_E_FORMAT, key, "has type %s, expected a number", name);
  *out = kind == KIND_FLOAT ? v->as.f : kind == KIND_UINT ? (double)v->as.u : (double)v->as.i;
  return MTK_OK;
}

const char *mtk_meta_str(const mtk_meta *meta, const char *key, const char *fallback) {
  const mtk_value *v = mtk_meta_get(meta, key);
  return v && v->type == MTK_META_STRING ? v->as.str.s : fallback;
}
