/* safetensors.c: the strict reader of one safetensors file. Works on bytes in memory; the list
 * borrows them. No state between calls: any thread.
 * Format: https://github.com/huggingface/safetensors README, "Format". */
#include "hf.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 4000000 }; /* commas, colons and brackets: bounds the memory of the JSON tree */

static const struct {
  const char *name;
  mtk_dtype dtype;
} dtypes[] = {
    {"F32", MTK_F32},   {"F16", MTK_F16},         {"BF16", MTK_BF16},       {"F64", MTK_F64},
    {"I8", MTK_I8},     {"I16", MTK_I16},         {"I32", MTK_I32},         {"I64", MTK_I64},
    {"U8", MTK_U8},     {"U16", MTK_U16},         {"U32", MTK_U32},         {"U64", MTK_U64},
    {"BOOL", MTK_BOOL}, {"F8_E4M3", MTK_F8_E4M3}, {"F8_E5M2", MTK_F8_E5M2}, {"F8_E8M0", MTK_E8M0},
    {"F4", MTK_F4_E2M1},
    {"F6_E2M3", MTK_F6_E2M3},
    {"F6_E3M2", MTK_F6_E3M2},
    {"F8_E4M3FNUZ", MTK_F8_E4M3FNUZ},
    {"F8_E5M2FNUZ", MTK_F8_E5M2FNUZ},
    {"C64", MTK_C64},
};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *st_dtype_name(mtk_dtype dtype) {
  for (size_t i = 0; i < N_DTYPES; i++)
    if (dtypes[i].dtype == dtype) return dtypes[i].name;
  return NULL;
}

size_t st_alignment(mtk_dtype dtype) {
  const mtk_dtype_info *info = mtk_dtype_get(dtype);
  return info->block_elems == 1 ? info->block_bytes : 1;
}

static mtk_status bad(mtk_error *err, const char *path, const char *tensor, const char *why) {
  return mtk_fail(err, MTK_E_FORMAT, path, "tensor %s: %s", tensor, why);
}

static mtk_status parse_dtype(st_tensor *t, const json_t *value, const char *path, mtk_error *err) {
  const char *name = json_string_value(value);
  if (!name) return bad(err, path, t->name, "dtype is missing or not a string");
  for (size_t i = 0; i < N_DTYPES; i++) {
    if (strcmp(dtypes[i].name, name) != 0) continue;
    t->dtype = dtypes[i].dtype;
    return MTK_OK;
  }
  return mtk_fail(err, MTK_E_UNSUPPORTED, path, "tensor %s: dtype %.40s is not supported", t->name,
                  name);
}

/* The shape, and its size in bytes. */
static mtk_status parse_shape(st_tensor *t, const json_t *shape, uint64_t *bytes, const char *path,
                              mtk_error *err) {
  if (!json_is_array(shape)) return bad(err, path, t->name, "shape is missing or not a list");
  if (json_array_size(shape) > MTK_MAX_DIMS) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "tensor %s: more than %d dimensions", t->name,
                    MTK_MAX_DIMS);
  }
  uint64_t n = 1;
  const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
  t->n_dims = (int)json_array_size(shape);
  for (int i = 0; i < t->n_dims; i++) {
    const json_t *dim = json_array_get(shape, (size_t)i);
    if (!json_is_integer(dim) || json_integer_value(dim) < 0) {
      return bad(err, path, t->name, "shape holds something else than sizes");
    }
    t->shape[i] = json_integer_value(dim);
    if (__builtin_mul_overflow(n, (uint64_t)t->shape[i], &n)) {
      return bad(err, path, t->name, "shape overflows 64 bits");
    }
  }
  int64_t row = t->n_dims ? t->shape[t->n_dims - 1] : 1;
  if (n && (uint64_t)row % info->block_elems) { /* F4 and F6: a row would end inside a byte */
    return mtk_fail(err, MTK_E_UNSUPPORTED, path,
                    "tensor %s: rows of %lld elements of %s do not fill whole bytes", t->name,
                    (long long)row, st_dtype_name(t->dtype));
  }
  if (__builtin_mul_overflow(n / info->block_elems, info->block_bytes, bytes)) {
    return bad(err, path, t->name, "shape overflows 64 bits");
  }
  return MTK_OK;
}

static mtk_status parse_tensor(st_tensor *t, const json_t *info, uint64_t data_size,
                               const char *path, mtk_error *err) {
  uint64_t bytes = 0;
  if (!json_is_object(info)) return bad(err, path, t->name, "its entry is not an object");
  MTK_TRY(parse_dtype(t, json_object_get(info, "dtype"), path, err));
  MTK_TRY(parse_shape(t, json_object_get(info, "shape"), &bytes, path, err));
  const json_t *offsets = json_object_get(info, "data_offsets");
  const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second)) {
    return bad(err, path, t->name, "data_offsets is not a pair of integers");
  }
  int64_t begin = json_integer_value(first), end = json_integer_value(second);
  if (begin < 0 || begin > end || (uint64_t)end > data_size) {
    return bad(err, path, t->name, "data_offsets lie outside the file");
  }
  t->begin = (uint64_t)begin;
  t->size = (uint64_t)(end - begin);
  if (t->size != bytes) {
    return mtk_fail(err, MTK_E_FORMAT, path,
                    "tensor %s: shape and dtype need %llu bytes, data_offsets give %llu", t->name,
                    (unsigned long long)bytes, (unsigned long long)t->size);
  }
  return MTK_OK;
}

static mtk_status parse_metadata(json_t **out, json_t *value, const char *path, mtk_error *err) {
  const char *key;
  json_t *item;
  if (!json_is_object(value)) {
    return mtk_fail(err, MTK_E_FORMAT, path, "__metadata__ is not an object");
  }
  json_object_foreach(value, key, item) {
    if (!json_is_string(item)) {
      return mtk_fail(err, MTK_E_FORMAT, path, "__metadata__: %.80s is not a string", key);
    }
  }
  if (out) *out = json_incref(value);
  return MTK_OK;
}

static int by_begin(const void *a, const void *b) {
  const st_tensor *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->size != y->size) return x->size < y->size ? -1 : 1;
  return strcmp(x->name, y->name);
}

/* Sorted by offset, the tensors must cover all the data without a gap or an overlap. */
static mtk_status check_cover(st_list *list, uint64_t data_size, const char *path, mtk_error *err) {
  uint64_t at = 0;
  qsort(list->items, list->n, sizeof *list->items, by_begin);
  for (size_t i = 0; i < list->n; i++) {
    const st_tensor *t = &list->items[i];
    if (t->begin != at) {
      return bad(err, path, t->name,
                 t->begin < at ? "its bytes overlap those of another tensor"
                               : "there is a gap before its bytes");
    }
    at += t->size;
  }
  if (at == data_size) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, path, "%llu bytes after the last tensor",
                  (unsigned long long)(data_size - at));
}

static mtk_status parse_entries(st_list *out, json_t **metadata, mtk_arena *arena, json_t *header,
                                const uint8_t *data, uint64_t data_size, const char *path,
                                mtk_error *err) {
  const char *name;
  json_t *info;
  out->items = mtk_arena_alloc(arena, json_object_size(header), sizeof *out->items);
  if (!out->items) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  json_object_foreach(header, name, info) {
    if (strcmp(name, "__metadata__") == 0) {
      MTK_TRY(parse_metadata(metadata, info, path, err));
      continue;
    }
    st_tensor *t = &out->items[out->n++];
    t->name = mtk_arena_strndup(arena, name, strlen(name));
    t->file = path;
    if (!t->name) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
    if (!*name) return mtk_fail(err, MTK_E_FORMAT, path, "a tensor has an empty name");
    MTK_TRY(parse_tensor(t, info, data_size, path, err));
    t->data = data + t->begin;
  }
  return check_cover(out, data_size, path, err);
}

/* A tree of JSON values takes many times the bytes of its text: bound it before parsing. */
static bool too_many_tokens(const uint8_t *text, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    count += text[i] == ',' || text[i] == ':' || text[i] == '[' || text[i] == '{';
  }
  return count > MAX_TOKENS;
}

mtk_status st_parse(st_list *out, json_t **metadata, mtk_arena *arena, const uint8_t *data,
                    size_t size, const char *path, mtk_error *err) {
  uint64_t n = 0;
  json_error_t at;
  if (size < 8) return mtk_fail_at(err, MTK_E_FORMAT, path, 0, "file ends inside the header size");
  for (size_t i = 0; i < 8; i++) n |= (uint64_t)data[i] << (8 * i);
  if (n > ST_MAX_HEADER) {
    return mtk_fail_at(err, MTK_E_LIMIT, path, 0, "header of %llu bytes; at most %d are allowed",
                       (unsigned long long)n, ST_MAX_HEADER);
  }
  if (n > size - 8) {
    return mtk_fail_at(err, MTK_E_FORMAT, path, 0, "header of %llu bytes runs past the end",
                       (unsigned long long)n);
  }
  if (too_many_tokens(data + 8, (size_t)n)) {
    return mtk_fail_at(err, MTK_E_LIMIT, path, 8, "header has too many entries");
  }
  json_t *header = json_loadb((const char *)data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &at);
  if (!header) {
    return mtk_fail_at(err, MTK_E_FORMAT, path, 8 + (uint64_t)(at.position > 0 ? at.position : 0),
                       "header: %s", at.text);
  }
  mtk_status status = MTK_OK;
  if (!json_is_object(header)) {
    status = mtk_fail_at(err, MTK_E_FORMAT, path, 8, "header is not a JSON object");
  } else {
    status = parse_entries(out, metadata, arena, header, data + 8 + n, size - 8 - n, path, err);
  }
  json_decref(header);
  return status;
}
