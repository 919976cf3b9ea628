/* factor.c: the factor that error propagation needs. Pure functions; any thread.
 *
 * GPTQ (Frantar et al., arXiv 2210.17323) takes the upper Cholesky factor u of the inverse of H:
 * inverse(H) = u^T u. With H = r r^T, r upper triangular (Cholesky from the last row up), u is
 * inverse(r), so that H itself is never inverted. All is done in double, because the diagonal spans
 * many orders of magnitude, and on the transposes (t = r^T and v = u^T, lower triangular), whose
 * rows are contiguous. Every element is one chain in fixed order: vector width changes no bit. */
#include "gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64 };

typedef struct ranked {
  float diagonal;
  int64_t column;
} ranked;

/* Falling diagonal; equal ones by column. */
static int by_diagonal(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->diagonal > y->diagonal || x->diagonal < y->diagonal)
    return x->diagonal < y->diagonal ? 1 : -1;
  return (x->column > y->column) - (x->column < y->column);
}

static mtk_status order_columns(gptq_factor *f, const float *h, bool act_order, mtk_error *err) {
  ranked *r = mtk_alloc((size_t)f->k, sizeof *r);
  if (!r) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t i = 0; i < f->k; i++) r[i] = (ranked){h[i * f->k + i], i};
  for (int64_t i = 0; i < f->k; i++) f->column_weight[i] = r[i].diagonal;
  if (act_order) qsort(r, (size_t)f->k, sizeof *r, by_diagonal);
  for (int64_t i = 0; i < f->k; i++) f->order[i] = r[i].column;
  mtk_free(r);
  return MTK_OK;
}

/* The permuted, damped matrix: rows of its lower triangle. */
static void load(double *t, const gptq_factor *f, const float *h, double damp) {
  int64_t k = f->k;
  double sum = 0;
  for (int64_t i = 0; i < k; i++) sum += (double)h[i * k + i];
  double mean = sum > 0 ? sum / (double)k : 1.0;
  for (int64_t i = 0; i < k; i++) {
    const float *row = h + f->order[i] * k;
    for (int64_t j = 0; j <= i; j++) t[i * k + j] = (double)row[f->order[j]];
    if (t[i * k + i] <= 0) t[i * k + i] = mean; /* a column that was never active */
    t[i * k + i] += damp * mean;
  }
}

/* y -= s * x over n elements */
GPTQ_WIDE static void subtract(double *y, const double *x, double s, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] -= s * x[i];
}

/* t = factor in place; false if the matrix is not positive definite. Rows j1-1 .. j0 of a block are
 * finished first, then the rows below j0 get all of them at once. */
static bool factorize(double *t, int64_t k) {
  for (int64_t j1 = k; j1 > 0; j1 -= BLOCK) {
    int64_t j0 = j1 > BLOCK ? j1 - BLOCK : 0;
    for (int64_t j = j1 - 1; j >= j0; j--) {
      double *row = t + j * k, root = sqrt(row[j]);
      if (!(root > 0) || !isfinite(root)) return false;
      row[j] = root;
      for (int64_t i = 0; i < j; i++) row[i] /= root;
      for (int64_t l = j0; l < j; l++) subtract(t + l * k, row, row[l], l + 1);
    }
    for (int64_t l = 0; l < j0; l++)
      for (int64_t j = j1 - 1; j >= j0; j--) subtract(t + l * k, t + j * k, t[j * k + l], l + 1);
    if (j0 == 0) break;
  }
  return true;
}

/* t = inverse(t) in place: row i is (unit row i - sum over l < i of t_il * row l) / t_ii. */
static void invert(double *t, double *coefficients, int64_t k) {
  for (int64_t i = 0; i < k; i++) {
    double *row = t + i * k, diagonal = row[i];
    memcpy(coefficients, row, (size_t)i * sizeof *row);
    memset(row, 0, (size_t)i * sizeof *row);
    for (int64_t l = 0; l < i; l++) subtract(row, t + l * k, coefficients[l], l + 1);
    for (int64_t l = 0; l < i; l++) row[l] /= diagonal;
    row[i] = 1.0 / diagonal;
  }
}

static mtk_status factor(gptq_factor *f, const float *h, double damp, mtk_error *err) {
  int64_t k = f->k;
  size_t elements;
  if (!mtk_mul_ok((size_t)k, (size_t)k, &elements))
    return mtk_fail(err, MTK_E_NOMEM, NULL, "too large");
  double *t = mtk_alloc(elements, sizeof *t), *row = mtk_alloc((size_t)k, sizeof *row);
  mtk_status st = t && row ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) {
    load(t, f, h, damp);
    if (!factorize(t, k))
      st = mtk_fail(err, MTK_E_INVALID, "--damp",
                    "the activation statistics are singular: raise --damp or calibrate on more "
                    "tokens");
  }
  if (st == MTK_OK) {
    invert(t, row, k);
    for (int64_t i = 0; i < k; i++)
      for (int64_t j = 0; j < k; j++) f->u[i * k + j] = j < i ? 0.0f : (float)t[j * k + i];
  }
  mtk_free(row);
  mtk_free(t);
  return st;
}

mtk_status gptq_factor_create(gptq_factor **out, const float *h, int64_t k, double damp,
                              bool act_order, mtk_error *err) {
  size_t elements;
  gptq_factor *f = mtk_alloc(1, sizeof *f);
  if (!f || !mtk_mul_ok((size_t)k, (size_t)k, &elements)) {
    mtk_free(f);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  f->k = k;
  f->order = mtk_alloc((size_t)k, sizeof *f->order);
  f->column_weight = mtk_alloc((size_t)k, sizeof *f->column_weight);
  f->u = mtk_alloc(elements, sizeof *f->u);
  mtk_status st = f->order && f->column_weight && f->u
                      ? MTK_OK
                      : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = order_columns(f, h, act_order, err);
  if (st == MTK_OK) st = factor(f, h, damp, err);
  if (st == MTK_OK)
    *out = f;
  else
    gptq_factor_destroy(f);
  return st;
}

void gptq_factor_destroy(gptq_factor *f) {
  if (!f) return;
  mtk_free(f->u);
  mtk_free(f->column_weight);
  mtk_free(f->order);
  mtk_free(f);
}
