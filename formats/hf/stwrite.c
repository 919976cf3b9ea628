/* stwrite.c: writes one safetensors file: header first, computed from the list, then the tensors,
 * each by its own function. Any thread. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>

static bool put_json_string(mtk_bytes *out, const char *s) {
  json_t *value = json_string(s);
  char *text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
  json_decref(value);
  if (text) mtk_bytes_puts(out, text);
  free(text);
  return text != NULL;
}

static bool put_entry(mtk_bytes *out, const st_out *t, uint64_t begin) {
  mtk_bytes_puts(out, ",");
  if (!put_json_string(out, t->name)) return false;
  mtk_bytes_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", st_dtype_name(t->dtype));
  for (int i = 0; i < t->n_dims; i++) {
    mtk_bytes_printf(out, "%s%lld", i ? "," : "", (long long)t->shape[i]);
  }
  mtk_bytes_printf(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                   (unsigned long long)(begin + t->size));
  return true;
}

/* The header with its size in front, padded with spaces to a multiple of 8. */
static mtk_status make_header(mtk_bytes *out, const st_out *tensors, size_t n, json_t *metadata,
                              mtk_error *err) {
  uint64_t at = 0;
  bool ok = true;
  const char *key;
  json_t *value;
  mtk_bytes_append(out, "\0\0\0\0\0\0\0", 8);
  mtk_bytes_puts(out, "{\"__metadata__\":{\"format\":\"pt\"");
  json_object_foreach(metadata, key, value) {
    mtk_bytes_puts(out, ",");
    ok = ok && put_json_string(out, key);
    mtk_bytes_puts(out, ":");
    ok = ok && put_json_string(out, json_string_value(value));
  }
  mtk_bytes_puts(out, "}");
  for (size_t i = 0; i < n && ok; i++) {
    ok = put_entry(out, &tensors[i], at);
    at += tensors[i].size;
  }
  mtk_bytes_puts(out, "}");
  while (out->len % 8 && !out->failed) mtk_bytes_puts(out, " ");
  if (!ok) return mtk_fail(err, MTK_E_INVALID, NULL, "a tensor's name is not UTF-8");
  MTK_TRY(mtk_bytes_status(out, err));
  uint64_t size = out->len - 8;
  for (size_t i = 0; i < 8; i++) out->data[i] = (char)(uint8_t)(size >> (8 * i));
  return MTK_OK;
}

/* Those that an interrupted run left stay. */
static mtk_status write_tensor(mtk_output *out, const st_out *t, hf_store *store, mtk_error *err) {
  uint64_t before = mtk_output_size(out);
  if (!mtk_output_has(out, t->name, t->size)) {
    MTK_TRY(t->write(t, out, store, err));
    if (mtk_output_size(out) - before != t->size)
      return mtk_fail(err, MTK_E_INTERNAL, t->name, "wrote another size than announced");
    MTK_TRY(mtk_output_mark(out, err));
  }
  if (!store) return MTK_OK;
  store->done += t->size;
  mtk_progress("write", store->done, store->total, "B");
  return MTK_OK;
}

static mtk_status write_all(mtk_output *out, const st_out *tensors, size_t n, json_t *metadata,
                            hf_store *store, mtk_error *err) {
  mtk_bytes header = {.max = ST_MAX_HEADER + 8};
  mtk_status status = make_header(&header, tensors, n, metadata, err);
  if (status == MTK_OK && !mtk_output_has(out, "header", header.len))
    status = mtk_output_write(out, header.data, header.len, err);
  if (status == MTK_OK) status = mtk_output_mark(out, err);
  mtk_bytes_finish(&header);
  for (size_t i = 0; i < n && status == MTK_OK; i++)
    status = write_tensor(out, &tensors[i], store, err);
  return status;
}

mtk_status st_write_file(const char *path, const st_out *tensors, size_t n, json_t *metadata,
                         mtk_outputs *outputs, bool force, hf_store *store, mtk_error *err) {
  mtk_output *out = NULL;
  MTK_TRY(mtk_output_create_in(&out, outputs, path, force, err));
  mtk_status status = write_all(out, tensors, n, metadata, store, err);
  if (status == MTK_OK) return mtk_output_commit(out, err);
  mtk_output_abort(out);
  return status;
}

static size_t item_bytes(const st_out *t) { return st_alignment(t->dtype); }

/* Readers that view tensors in place need offsets that are multiples of the element size. */
void st_sort_aligned(st_out *tensors, size_t n) {
  uint64_t at = 0;
  bool aligned = true;
  for (size_t i = 0; i < n; i++) {
    aligned &= at % item_bytes(&tensors[i]) == 0;
    at += tensors[i].size;
  }
  if (aligned) return;
  st_out *sorted = mtk_alloc(n, sizeof *sorted);
  if (!sorted) return; /* misaligned files are valid too */
  size_t used = 0;
  for (size_t bytes = 8; bytes; bytes /= 2) {
    for (size_t i = 0; i < n; i++)
      if (item_bytes(&tensors[i]) == bytes) sorted[used++] = tensors[i];
  }
  memcpy(tensors, sorted, n * sizeof *tensors);
  mtk_free(sorted);
}
