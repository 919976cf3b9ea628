/* model/bias.c: what rounding adds to the mean of a linear layer's outputs, E[dW x] = dW mean(x),
 * taken off its bias (Nagel et al. 2019, arXiv 1906.04721, section 4.2). One thread. */
#include <mtk/quantize.h>

#include <string.h>

#include "model/model_impl.h"

enum { CHUNK_ROWS = 64 };

/* bias[rows] -= (rounded - exact) mean; mean [matrices][k] for rows one matrix after the other. */
static mtk_status subtract_error(float *bias, const mtk_tensor *rounded, const mtk_tensor *exact,
                                 const float *mean, int64_t matrices, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(exact), k = mtk_tensor_row_elems(exact), per = rows / matrices;
  size_t n = (size_t)(CHUNK_ROWS * k);
  size_t bytes = CHUNK_ROWS * (mtk_tensor_row_bytes(exact) + mtk_tensor_row_bytes(rounded));
  float *q = mtk_alloc(n, sizeof *q), *w = mtk_alloc(n, sizeof *w);
  void *tmp = mtk_alloc(bytes, 1);
  mtk_status st =
      q && w && tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, exact->name, "out of memory");
  for (int64_t row0 = 0; row0 < rows && st == MTK_OK; row0 += CHUNK_ROWS) {
    int64_t count = rows - row0 < CHUNK_ROWS ? rows - row0 : CHUNK_ROWS;
    st = mtk_tensor_fetch_f32(q, rounded, row0, count, tmp, err);
    if (st == MTK_OK) st = mtk_tensor_fetch_f32(w, exact, row0, count, tmp, err);
    for (int64_t r = 0; r < count && st == MTK_OK; r++) {
      const float *m = mean + (row0 + r) / per * k;
      double sum = 0;
      for (int64_t j = 0; j < k; j++) sum += (double)(q[r * k + j] - w[r * k + j]) * (double)m[j];
      bias[row0 + r] = (float)((double)bias[row0 + r] - sum);
    }
  }
  mtk_free(tmp);
  mtk_free(w);
  mtk_free(q);
  return st;
}

/* The bias that belongs to a weight: one number per row, of a plain type. */
static const mtk_tensor *bias_of(const mtk_model *model, const mtk_tensor *weight) {
  static const char suffix[] = ".weight";
  size_t n = strlen(weight->name), end = sizeof suffix - 1;
  if (n < end || strcmp(weight->name + n - end, suffix) != 0) return NULL;
  char *name = mtk_asprintf("%.*s.bias", (int)(n - end), weight->name);
  const mtk_tensor *t = name ? mtk_model_tensor(model, name) : NULL;
  mtk_free(name);
  bool fits = t && mtk_tensor_rows(t) * mtk_tensor_row_elems(t) == mtk_tensor_rows(weight);
  const mtk_dtype_info *type = fits ? mtk_dtype_get(t->dtype) : NULL;
  return type && type->is_float && !type->is_quant && !t->scales ? t : NULL;
}

static mtk_status correct(mtk_model *model, const mtk_tensor *bias, const mtk_tensor *rounded,
                          const mtk_tensor *exact, const mtk_input_stats *stats, mtk_error *err) {
  int64_t matrices = stats->n_expert > 0 ? stats->n_expert : 1;
  float *values = mtk_alloc((size_t)mtk_tensor_rows(exact), sizeof *values);
  void *tmp = mtk_alloc(bias->size_bytes, 1);
  mtk_status st = values && tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, bias->name, "out of memory");
  if (st == MTK_OK) st = mtk_tensor_fetch_f32(values, bias, 0, mtk_tensor_rows(bias), tmp, err);
  if (st == MTK_OK) st = subtract_error(values, rounded, exact, stats->mean, matrices, err);
  if (st == MTK_OK) st = mtk_tensor_put(model, bias, values, err);
  mtk_free(tmp);
  mtk_free(values);
  return st;
}

mtk_status mtk_model_correct_biases(size_t *n_corrected, mtk_model *model, const mtk_model *source,
                                    const mtk_quantize_report *rows,
                                    const mtk_input_stats *(*stats)(void *ctx, const char *tensor),
                                    void *ctx, mtk_error *err) {
  *n_corrected = 0;
  for (size_t i = 0; i < rows->n_rows; i++) {
    if (rows->rows[i].reason != MTK_QUANTIZED) continue;
    const char *name = rows->rows[i].name;
    const mtk_tensor *rounded = mtk_model_tensor(model, name);
    const mtk_tensor *exact = mtk_model_tensor(source, name);
    const mtk_tensor *bias = rounded && exact ? bias_of(model, exact) : NULL;
    const mtk_input_stats *s = bias ? stats(ctx, name) : NULL;
    if (!s || !s->mean || s->k != mtk_tensor_row_elems(exact)) continue;
    MTK_TRY(correct(model, bias, rounded, exact, s, err));
    (*n_corrected)++;
  }
  return MTK_OK;
}
