/* parse.c: checks the header of a GGUF file and indexes it. Works on bytes in memory and reads only
 * those; every count is bounded by the bytes left before anything is allocated for it. The index
 * borrows the bytes. No state between calls: any thread. */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

/* A position in the file. Functions below move it and fail with its offset. */
typedef struct cursor {
  const gguf_index *g;
  size_t pos;
  mtk_error *err;
} cursor;

static mtk_status fail(const cursor *c, size_t at, const char *what, const char *why) {
  return mtk_fail_at(c->err, MTK_E_FORMAT, c->g->path, at, "%s %s", what, why);
}

static mtk_status need(const cursor *c, uint64_t n, const char *what) {
  if (n > c->g->size - c->pos) return fail(c, c->pos, what, "runs past the end of the file");
  return MTK_OK;
}

static uint32_t load_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t load_u64(const uint8_t *p) {
  return (uint64_t)load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
}

static mtk_status take_u32(cursor *c, uint32_t *out, const char *what) {
  MTK_TRY(need(c, 4, what));
  *out = load_u32(c->g->data + c->pos);
  c->pos += 4;
  return MTK_OK;
}

static mtk_status take_u64(cursor *c, uint64_t *out, const char *what) {
  MTK_TRY(need(c, 8, what));
  *out = load_u64(c->g->data + c->pos);
  c->pos += 8;
  return MTK_OK;
}

/* A key or tensor name as a C string in the arena. */
static mtk_status take_name(cursor *c, const char **out, size_t max, const char *what) {
  size_t at = c->pos;
  uint64_t len = 0;
  MTK_TRY(take_u64(c, &len, what));
  MTK_TRY(need(c, len, what));
  if (len == 0) return fail(c, at, what, "is empty");
  if (len > max) return fail(c, at, what, "is too long");
  const char *s = (const char *)c->g->data + c->pos;
  if (memchr(s, 0, (size_t)len)) return fail(c, at, what, "contains a zero byte");
  *out = mtk_arena_strndup(c->g->arena, s, (size_t)len);
  if (!*out) return mtk_fail(c->err, MTK_E_NOMEM, c->g->path, "out of memory");
  c->pos += (size_t)len;
  return MTK_OK;
}

/* Bytes of a fixed-size value by its type number; 0 for strings, arrays and unknown types. */
static size_t value_bytes(uint32_t type) {
  static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < sizeof bytes ? bytes[type] : 0;
}

static mtk_status skip_fixed(cursor *c, uint32_t type, uint64_t n, const char *key) {
  size_t bytes = value_bytes(type);
  if (n > (c->g->size - c->pos) / bytes) {
    return fail(c, c->pos, key, "has a value that runs past the end of the file");
  }
  if (type == MTK_META_BOOL) {
    for (uint64_t i = 0; i < n; i++)
      if (c->g->data[c->pos + i] > 1) return fail(c, c->pos + i, key, "is a bool but not 0 or 1");
  }
  c->pos += (size_t)n * bytes;
  return MTK_OK;
}

static mtk_status skip_value(cursor *c, uint32_t type, const char *key, int depth) {
  if (value_bytes(type)) return skip_fixed(c, type, 1, key);
  if (type == MTK_META_STRING) {
    uint64_t len = 0;
    MTK_TRY(take_u64(c, &len, key));
    MTK_TRY(need(c, len, key));
    c->pos += (size_t)len;
    return MTK_OK;
  }
  if (type != MTK_META_ARRAY) return fail(c, c->pos, key, "has an unknown value type");
  if (depth == GGUF_MAX_DEPTH) return fail(c, c->pos, key, "has arrays nested too deeply");
  uint32_t item = 0;
  uint64_t n = 0;
  MTK_TRY(take_u32(c, &item, key));
  MTK_TRY(take_u64(c, &n, key));
  if (value_bytes(item)) return skip_fixed(c, item, n, key);
  size_t smallest = item == MTK_META_STRING ? 8 : 12;
  if (n > (c->g->size - c->pos) / smallest) {
    return fail(c, c->pos, key, "has more items than the file has bytes");
  }
  if (n == 0 && item > MTK_META_F64) return fail(c, c->pos, key, "has an unknown item type");
  for (uint64_t i = 0; i < n; i++) MTK_TRY(skip_value(c, item, key, depth + 1));
  return MTK_OK;
}

static mtk_status take_kv(cursor *c, gguf_kv *kv) {
  MTK_TRY(take_name(c, &kv->key, GGUF_MAX_KEY, "key"));
  MTK_TRY(take_u32(c, &kv->type, kv->key));
  kv->begin = c->pos;
  MTK_TRY(skip_value(c, kv->type, kv->key, 0));
  kv->end = c->pos;
  return MTK_OK;
}

/* Element count and byte size of a tensor, checked against each other and 63 bits. */
static mtk_status measure(const cursor *c, gguf_tensor *t, size_t at) {
  const mtk_dtype_info *info = mtk_dtype_get(t->type->dtype);
  uint64_t n = 1;
  for (uint32_t i = 0; i < t->n_dims; i++) {
    if (t->ne[i] == 0) return fail(c, at, t->name, "has a dimension of 0");
    if (__builtin_mul_overflow(n, t->ne[i], &n) || n > INT64_MAX) {
      return fail(c, at, t->name, "has more elements than 63 bits can count");
    }
  }
  uint64_t row = t->n_dims ? t->ne[0] : 1;
  if (row % info->block_elems) {
    return mtk_fail_at(c->err, MTK_E_FORMAT, c->g->path, at,
                       "%s has rows of %llu elements, not a multiple of %u (%s)", t->name,
                       (unsigned long long)row, info->block_elems, t->type->name);
  }
  if (__builtin_mul_overflow(n / info->block_elems, (uint64_t)info->block_bytes, &t->size)) {
    return fail(c, at, t->name, "is larger than 64 bits can count");
  }
  return MTK_OK;
}

static mtk_status take_tensor(cursor *c, gguf_tensor *t) {
  size_t at = c->pos;
  uint32_t type = 0;
  MTK_TRY(take_name(c, &t->name, GGUF_MAX_NAME, "tensor name"));
  MTK_TRY(take_u32(c, &t->n_dims, t->name));
  if (t->n_dims > GGUF_MAX_DIMS) return fail(c, at, t->name, "has more than 4 dimensions");
  for (uint32_t i = 0; i < t->n_dims; i++) MTK_TRY(take_u64(c, &t->ne[i], t->name));
  MTK_TRY(take_u32(c, &type, t->name));
  MTK_TRY(take_u64(c, &t->begin, t->name)); /* relative until the data section's start is known */
  t->type = gguf_type_by_id(type);
  if (!t->type) {
    return mtk_fail_at(c->err, MTK_E_FORMAT, c->g->path, at, "%s has the unknown tensor type %u",
                       t->name, type);
  }
  return measure(c, t, at);
}

/* ---- sorted views, duplicates, placement --------------------------------------------------- */

static int by_key(const void *a, const void *b) {
  return strcmp((*(gguf_kv *const *)a)->key, (*(gguf_kv *const *)b)->key);
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(gguf_tensor *const *)a)->name, (*(gguf_tensor *const *)b)->name);
}

static int by_begin(const void *a, const void *b) {
  const gguf_tensor *x = *(gguf_tensor *const *)a, *y = *(gguf_tensor *const *)b;
  return x->begin < y->begin ? -1 : x->begin > y->begin;
}

mtk_status gguf_sort_views(gguf_index *g, mtk_error *err) {
  g->kvs_by_key = mtk_arena_alloc(g->arena, g->n_kvs, sizeof *g->kvs_by_key);
  g->tensors_by_name = mtk_arena_alloc(g->arena, g->n_tensors, sizeof *g->tensors_by_name);
  if (!g->kvs_by_key || !g->tensors_by_name) {
    return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  }
  for (size_t i = 0; i < g->n_kvs; i++) g->kvs_by_key[i] = &g->kvs[i];
  for (size_t i = 0; i < g->n_tensors; i++) g->tensors_by_name[i] = &g->tensors[i];
  qsort(g->kvs_by_key, g->n_kvs, sizeof *g->kvs_by_key, by_key);
  qsort(g->tensors_by_name, g->n_tensors, sizeof *g->tensors_by_name, by_name);
  for (size_t i = 1; i < g->n_kvs; i++) {
    if (by_key(&g->kvs_by_key[i - 1], &g->kvs_by_key[i]) == 0) {
      return mtk_fail(err, MTK_E_FORMAT, g->path, "key %s occurs twice", g->kvs_by_key[i]->key);
    }
  }
  for (size_t i = 1; i < g->n_tensors; i++) {
    if (by_name(&g->tensors_by_name[i - 1], &g->tensors_by_name[i]) == 0) {
      return mtk_fail(err, MTK_E_FORMAT, g->path, "tensor %s occurs twice",
                      g->tensors_by_name[i]->name);
    }
  }
  return MTK_OK;
}

static mtk_status read_alignment(gguf_index *g, mtk_error *err) {
  g->alignment = GGUF_ALIGNMENT;
  const gguf_kv *kv = gguf_find_kv(g, "general.alignment");
  if (!kv) return MTK_OK;
  if (kv->type != MTK_META_U32) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "general.alignment is not a uint32");
  }
  g->alignment = load_u32(g->data + kv->begin);
  if (g->alignment == 0 || (g->alignment & (g->alignment - 1))) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin,
                       "general.alignment is %llu, not a power of two",
                       (unsigned long long)g->alignment);
  }
  return MTK_OK;
}

/* Turn offsets into file positions: aligned, inside the file, not overlapping. */
static mtk_status place_tensors(gguf_index *g, size_t header_end, mtk_error *err) {
  uint64_t data_begin = (header_end + g->alignment - 1) & ~(g->alignment - 1);
  for (size_t i = 0; i < g->n_tensors; i++) {
    gguf_tensor *t = &g->tensors[i];
    if (t->begin % g->alignment) {
      return mtk_fail(err, MTK_E_FORMAT, g->path, "tensor %s: offset %llu is not aligned to %llu",
                      t->name, (unsigned long long)t->begin, (unsigned long long)g->alignment);
    }
    if (data_begin > g->size || t->begin > g->size - data_begin ||
        t->size > g->size - data_begin - t->begin) {
      return mtk_fail(err, MTK_E_FORMAT, g->path,
                      "tensor %s: %llu bytes at offset %llu run past the end of the file", t->name,
                      (unsigned long long)t->size, (unsigned long long)t->begin);
    }
    t->begin += data_begin;
    t->bytes = g->data + t->begin;
  }
  gguf_tensor **order = mtk_alloc(g->n_tensors, sizeof *order);
  if (!order) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  for (size_t i = 0; i < g->n_tensors; i++) order[i] = &g->tensors[i];
  qsort(order, g->n_tensors, sizeof *order, by_begin);
  mtk_status status = MTK_OK;
  for (size_t i = 1; i < g->n_tensors && status == MTK_OK; i++) {
    if (order[i]->begin < order[i - 1]->begin + order[i - 1]->size) {
      status = mtk_fail_at(err, MTK_E_FORMAT, g->path, order[i]->begin, "tensors %s and %s overlap",
                           order[i - 1]->name, order[i]->name);
    }
  }
  mtk_free(order);
  return status;
}

static mtk_status check_magic(cursor *c, uint64_t *n_tensors, uint64_t *n_kvs) {
  gguf_index *g = (gguf_index *)c->g;
  MTK_TRY(need(c, 4, "magic"));
  if (memcmp(g->data, "GGUF", 4) != 0) return fail(c, 0, "file", "does not begin with GGUF");
  c->pos = 4;
  MTK_TRY(take_u32(c, &g->version, "version"));
  if ((g->version & 0xFFFF) == 0 && g->version != 0) {
    return mtk_fail_at(c->err, MTK_E_UNSUPPORTED, g->path, 4,
                       "big-endian GGUF files are not supported");
  }
  if (g->version != 2 && g->version != GGUF_VERSION) {
    return mtk_fail_at(c->err, MTK_E_UNSUPPORTED, g->path, 4,
                       "GGUF version %u is not supported (2 and 3 are)", g->version);
  }
  MTK_TRY(take_u64(c, n_tensors, "tensor count"));
  MTK_TRY(take_u64(c, n_kvs, "key count"));
  if (*n_kvs > (g->size - c->pos) / 14) { /* 8 length, 1 name, 4 type, 1 value */
    return fail(c, 16, "key count", "is more than the file can hold");
  }
  if (*n_tensors > (g->size - c->pos) / 25) { /* 8 length, 1 name, 4 dims, 4 type, 8 offset */
    return fail(c, 8, "tensor count", "is more than the file can hold");
  }
  return MTK_OK;
}

mtk_status gguf_parse(gguf_index *out, mtk_arena *arena, const uint8_t *data, size_t size,
                      const char *path, mtk_error *err) {
  memset(out, 0, sizeof *out);
  out->data = data;
  out->size = size;
  out->path = path;
  out->arena = arena;
  cursor c = {out, 0, err};
  uint64_t n_tensors = 0, n_kvs = 0;
  MTK_TRY(check_magic(&c, &n_tensors, &n_kvs));
  out->kvs = mtk_arena_alloc(arena, (size_t)n_kvs, sizeof *out->kvs);
  out->tensors = mtk_arena_alloc(arena, (size_t)n_tensors, sizeof *out->tensors);
  if (!out->kvs || !out->tensors) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  for (; out->n_kvs < n_kvs; out->n_kvs++) MTK_TRY(take_kv(&c, &out->kvs[out->n_kvs]));
  for (; out->n_tensors < n_tensors; out->n_tensors++)
    MTK_TRY(take_tensor(&c, &out->tensors[out->n_tensors]));
  MTK_TRY(gguf_sort_views(out, err));
  MTK_TRY(read_alignment(out, err));
  return place_tensors(out, c.pos, err);
}

/* ---- reading checked values ---------------------------------------------------------------- */

const gguf_kv *gguf_find_kv(const gguf_index *g, const char *key) {
  const gguf_kv probe = {.key = key}, *at = &probe;
  gguf_kv **hit = g->n_kvs ? bsearch(&at, g->kvs_by_key, g->n_kvs, sizeof *hit, by_key) : NULL;
  return hit ? *hit : NULL;
}

gguf_tensor *gguf_find_tensor(const gguf_index *g, const char *name) {
  const gguf_tensor probe = {.name = name}, *at = &probe;
  gguf_tensor **hit =
      g->n_tensors ? bsearch(&at, g->tensors_by_name, g->n_tensors, sizeof *hit, by_name) : NULL;
  return hit ? *hit : NULL;
}

void gguf_next_string(const char **s, size_t *len, const gguf_index *g, size_t *pos) {
  *len = (size_t)load_u64(g->data + *pos);
  *s = (const char *)g->data + *pos + 8;
  *pos += 8 + *len;
}

mtk_status gguf_get_string(const char **s, size_t *len, const gguf_index *g, const char *key,
                           mtk_error *err) {
  const gguf_kv *kv = gguf_find_kv(g, key);
  *s = NULL;
  *len = 0;
  if (!kv) return MTK_OK;
  if (kv->type != MTK_META_STRING) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is not a string", key);
  }
  size_t pos = kv->begin;
  gguf_next_string(s, len, g, &pos);
  return MTK_OK;
}

mtk_status gguf_get_array(uint32_t *type, size_t *n, size_t *pos, const gguf_index *g,
                          const gguf_kv *kv, mtk_error *err) {
  if (kv->type != MTK_META_ARRAY) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is not an array", kv->key);
  }
  *type = load_u32(g->data + kv->begin);
  *n = (size_t)load_u64(g->data + kv->begin + 4);
  *pos = kv->begin + 12;
  return MTK_OK;
}

static void load_scalar(mtk_value *out, const uint8_t *p) {
  uint64_t bits = 0;
  size_t bytes = value_bytes((uint32_t)out->type);
  for (size_t i = 0; i < bytes; i++) bits |= (uint64_t)p[i] << (8 * i);
  float f32;
  double f64;
  uint32_t low = (uint32_t)bits;
  memcpy(&f32, &low, 4);
  memcpy(&f64, &bits, 8);
  switch (out->type) {
  case MTK_META_I8: out->as.i = (int8_t)bits; break;
  case MTK_META_I16: out->as.i = (int16_t)bits; break;
  case MTK_META_I32: out->as.i = (int32_t)bits; break;
  case MTK_META_I64: out->as.i = (int64_t)bits; break;
  case MTK_META_F32: out->as.f = (double)f32; break;
  case MTK_META_F64: out->as.f = f64; break;
  default: out->as.u = bits; break;
  }
}

static mtk_status load_value(mtk_value *out, gguf_index *g, uint32_t type, size_t *pos,
                             mtk_error *err) {
  out->type = (mtk_meta_type)type;
  if (type == MTK_META_STRING) {
    gguf_next_string(&out->as.str.s, &out->as.str.len, g, pos);
    return MTK_OK;
  }
  if (type != MTK_META_ARRAY) {
    load_scalar(out, g->data + *pos);
    *pos += value_bytes(type);
    return MTK_OK;
  }
  uint32_t item = load_u32(g->data + *pos);
  size_t n = (size_t)load_u64(g->data + *pos + 4);
  *pos += 12;
  size_t most = GGUF_FREE_ITEMS + g->size / 4; /* an item takes 32 bytes of memory */
  if (n > most - g->n_items) {
    return mtk_fail_at(err, MTK_E_LIMIT, g->path, *pos,
                       "metadata arrays hold more than %zu items in all", most);
  }
  g->n_items += n;
  mtk_value *items = mtk_arena_alloc(g->arena, n, sizeof *items);
  if (!items) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  for (size_t i = 0; i < n; i++) MTK_TRY(load_value(&items[i], g, item, pos, err));
  out->as.arr.type = (mtk_meta_type)item;
  out->as.arr.n = n;
  out->as.arr.items = items;
  return MTK_OK;
}

mtk_status gguf_value(mtk_value *out, gguf_index *g, const gguf_kv *kv, mtk_error *err) {
  size_t pos = kv->begin;
  return load_value(out, g, kv->type, &pos, err);
}
