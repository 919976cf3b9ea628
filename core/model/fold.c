/* model/fold.c: see model/fold.h. */
#include "model/fold.h"

#include <math.h>
#include <string.h>

#include "model/recode.h"

typedef struct folded {
  mtk_tensor source;
  mtk_fold fold;
  int64_t rows; /* of a matrix */
} folded;

/* One Hadamard block over rows [size][k]. Rows of a half lie behind one another. */
static void rotate_block(float *x, int64_t size, int64_t k) {
  float scale = 1.0f / sqrtf((float)size), *end = x + size * k;
  for (int64_t half = 1; half < size; half *= 2)
    for (float *a = x, *b; a < end; a = b + half * k) {
      b = a + half * k;
      for (int64_t j = 0; j < half * k; j++) {
        float sum = a[j] + b[j];
        b[j] = a[j] - b[j];
        a[j] = sum;
      }
    }
  for (int64_t i = 0; i < size * k; i++) x[i] *= scale;
}

void mtk_hadamard(float *x, int64_t count, int64_t size) {
  for (float *end = x + count; size > 1 && x < end; x += size) rotate_block(x, size, 1);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* First row of the block of rotated rows that a row is in; *size rows. A row that is not rotated is
 * a block of its own. */
static int64_t block_of(const folded *f, int64_t row, int64_t *size) {
  const mtk_fold_rotation *r = &f->fold.rotate_rows;
  int64_t in = row % f->rows - r->first;
  *size = r->size > 1 && in >= 0 && in < r->count ? r->size : 1;
  return row - (*size > 1 ? in % *size : 0);
}

/* One source row: columns, then its own factor. */
static void change_row(const folded *f, float *x, int64_t row, int64_t k) {
  const mtk_fold *fold = &f->fold;
  const float *c = fold->columns;
  if (c && !fold->shared_columns) c += row / f->rows * k;
  for (int64_t j = 0; c && j < k; j++) x[j] *= c[j];
  const mtk_fold_rotation *r = &fold->rotate_columns;
  if (r->size > 1) mtk_hadamard(x + r->first, r->count, r->size);
  for (int64_t j = 0; fold->rows && j < k; j++) x[j] *= fold->rows[row];
}

static mtk_status read_folded(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                              mtk_error *err) {
  const folded *f = t->read_ctx;
  if (n_rows == 0) return MTK_OK;
  int64_t k = mtk_tensor_row_elems(t), size, first = block_of(f, row0, &size);
  int64_t end = block_of(f, row0 + n_rows - 1, &size) + size, n = end - first;
  size_t count;
  bool fits = mtk_mul_ok((size_t)n, (size_t)k, &count);
  float *x = fits ? mtk_alloc(count, sizeof *x) : NULL;
  void *tmp = f->source.data ? NULL : mtk_alloc((size_t)n, mtk_tensor_row_bytes(&f->source));
  mtk_status st = x && (tmp || f->source.data)
                      ? mtk_tensor_fetch_f32(x, &f->source, first, n, tmp, err)
                      : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t r = 0; st == MTK_OK && r < n; r++) change_row(f, x + r * k, first + r, k);
  for (int64_t r = 0; st == MTK_OK && r < n; r += size) {
    block_of(f, first + r, &size);
    if (size > 1) rotate_block(x + r * k, size, k);
  }
  if (st == MTK_OK) memcpy(dst, x + (row0 - first) * k, (size_t)(n_rows * k) * sizeof *x);
  mtk_free(tmp);
  mtk_free(x);
  return st;
}

/* ---- changing the model --------------------------------------------------------------------- */

mtk_status mtk_model_fold(mtk_model *model, const char *name, const mtk_fold *fold,
                          mtk_error *err) {
  const mtk_tensor *source = mtk_model_tensor(model, name);
  if (!source) return mtk_fail(err, MTK_E_NOT_FOUND, name, "the model has no such tensor");
  folded *f = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *f);
  if (!f) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  int64_t rows = mtk_tensor_rows(source);
  if (fold->matrices < 1 || rows % fold->matrices)
    return mtk_fail(err, MTK_E_INTERNAL, name, "%lld rows of %lld matrices", (long long)rows,
                    (long long)fold->matrices);
  *f = (folded){*source, *fold, rows / fold->matrices};
  mtk_tensor t = *source;
  t.dtype = MTK_F32;
  t.data = NULL;
  t.read = read_folded;
  t.read_ctx = f;
  t.scales = NULL;
  t.scale_n = t.scale_k = 0;
  t.input_scale = 0;
  t.size_bytes = (uint64_t)rows * mtk_tensor_row_bytes(&t);
  return mtk_model_replace_tensor(model, &t, err);
}

const mtk_tensor *mtk_fold_original(const mtk_tensor *t) {
  while (t->read == read_folded) t = &((const folded *)t->read_ctx)->source;
  return t;
}

mtk_status mtk_model_settle_folds(mtk_model *model, mtk_error *err) {
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i), *from = mtk_fold_original(t);
    if (from == t || from->dtype == MTK_F32) continue;
    bool plain = from->dtype == MTK_BF16 || from->dtype == MTK_F16;
    mtk_recode *r = mtk_recode_create(model, t);
    if (!r) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
    MTK_TRY(mtk_recode_install(model, r, plain ? from->dtype : MTK_BF16, err));
  }
  return MTK_OK;
}
