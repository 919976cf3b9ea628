/* tensor.c: rows of a tensor, from memory or through its read function, and values that replace
 * them. No state; any thread may read. */
#include <mtk/kernel.h>

#include "base/internal.h"
#include "model/model_impl.h"

int64_t mtk_tensor_rows(const mtk_tensor *t) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < t->n_dims; i++) rows *= t->shape[i];
  return rows;
}

int64_t mtk_tensor_row_elems(const mtk_tensor *t) {
  return t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
}

size_t mtk_tensor_row_bytes(const mtk_tensor *t) {
  return mtk_dtype_bytes(t->dtype, (uint64_t)mtk_tensor_row_elems(t));
}

mtk_status mtk_tensor_fetch(const void **out, const mtk_tensor *t, int64_t row0, int64_t n_rows,
                            void *buf, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(t);
  if (row0 < 0 || n_rows < 0 || row0 > rows || n_rows > rows - row0)
    return mtk_fail(err, MTK_E_INVALID, t->name, "rows %lld+%lld of a tensor with %lld rows",
                    (long long)row0, (long long)n_rows, (long long)rows);
  mtk_file_note_read((size_t)n_rows * mtk_tensor_row_bytes(t));
  if (t->data) {
    *out = (const uint8_t *)t->data + (size_t)row0 * mtk_tensor_row_bytes(t);
    return MTK_OK;
  }
  *out = buf;
  if (!t->read) return mtk_fail(err, MTK_E_INVALID, t->name, "the tensor has no values");
  return t->read(t, buf, row0, n_rows, err);
}

int64_t mtk_tensor_scale_count(const mtk_tensor *t) {
  if (!t->scales) return 0;
  int64_t rows = mtk_tensor_rows(t), cols = mtk_tensor_row_elems(t);
  return ((rows - 1) / t->scale_n + 1) * ((cols - 1) / t->scale_k + 1);
}

int64_t mtk_tensor_matrices(const mtk_tensor *t) {
  return t->n_dims == 3 && t->shape[0] > 0 ? t->shape[0] : 1;
}

static void multiply_scales(float *x, const mtk_tensor *t, int64_t row0, int64_t n_rows) {
  int64_t k = mtk_tensor_row_elems(t), per_row = (k - 1) / t->scale_k + 1;
  for (int64_t r = 0; r < n_rows; r++) {
    const float *s = t->scales + (row0 + r) / t->scale_n * per_row;
    for (int64_t at = 0; at < k; at += t->scale_k) {
      int64_t end = at + t->scale_k < k ? at + t->scale_k : k;
      float scale = s[at / t->scale_k];
      for (int64_t i = at; i < end; i++) x[r * k + i] *= scale;
    }
  }
}

mtk_status mtk_tensor_widen(float *out, const mtk_kernels *kernels, const mtk_tensor *t,
                            int64_t row0, int64_t n_rows, void *tmp, mtk_error *err) {
  const void *src = NULL;
  if (t->dtype == MTK_C64)
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "complex values cannot be read as f32");
  MTK_TRY(mtk_tensor_fetch(&src, t, row0, n_rows, tmp, err));
  int64_t k = mtk_tensor_row_elems(t);
  if (n_rows == 0 || k == 0) return MTK_OK;
  kernels->widen(out, src, t->dtype, n_rows * k);
  if (t->scales) multiply_scales(out, t, row0, n_rows);
  return MTK_OK;
}

mtk_status mtk_tensor_fetch_f32(float *out, const mtk_tensor *t, int64_t row0, int64_t n_rows,
                                void *tmp, mtk_error *err) {
  return mtk_tensor_widen(out, mtk_kernels_default(), t, row0, n_rows, tmp, err);
}

mtk_status mtk_tensor_put(mtk_model *model, const mtk_tensor *t, const float *values,
                          mtk_error *err) {
  size_t n = (size_t)(mtk_tensor_rows(t) * mtk_tensor_row_elems(t));
  mtk_tensor out = *t;
  void *data = mtk_arena_alloc(mtk_model_arena(model), 1, t->size_bytes + 1);
  if (!data) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  if (!mtk_dtype_encode(t->dtype, data, values, n))
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "%s has no encoder",
                    mtk_dtype_get(t->dtype)->name);
  out.data = data;
  out.read = NULL;
  out.read_ctx = NULL;
  return mtk_model_replace_tensor(model, &out, err);
}
