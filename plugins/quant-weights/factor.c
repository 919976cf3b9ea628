/* factor.c: the factor that error propagation needs. Any thread; the work is shared with a pool.
 *
 * GPTQ (Frantar et al., arXiv 2210.17323) takes the upper Cholesky factor u of the inverse of H:
 * inverse(H) = u^T u. With H = r r^T, r upper triangular (Cholesky from the last row up), u is
 * inverse(r), so that H itself is never inverted. All is done in double, because the diagonal spans
 * many orders of magnitude, and on the transposes (t = r^T and v = u^T, lower triangular), whose
 * rows are contiguous. Every element is one chain in fixed order: neither the width of vectors nor
 * blocks nor threads change a bit. */
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

typedef double vector __attribute__((vector_size(64), aligned(8), may_alias));
enum { TILE_ROWS = 4, TILE_VECTORS = 2, TILE_COLUMNS = 16 };

/* Columns of a matrix whose element (row, step) is at a[row * row_step + step * step]. */
typedef struct operand {
  const double *a;
  int64_t row, step;
} operand;

/* c[r][x] -= a[r][s] * b[s][x], s ascending, for a tile that stays in registers. b: rows ld_b
 * apart. */
GPTQ_WIDE static void subtract_tile(double *c, int64_t ld_c, operand a, const double *b,
                                    int64_t ld_b, int64_t steps) {
  vector sum[TILE_ROWS][TILE_VECTORS];
  for (int r = 0; r < TILE_ROWS; r++)
    for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] = ((const vector *)(c + r * ld_c))[v];
  for (int64_t s = 0; s < steps; s++, b += ld_b) {
    const vector *x = (const vector *)b;
    for (int r = 0; r < TILE_ROWS; r++) {
      double factor = a.a[r * a.row + s * a.step];
      for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] -= factor * x[v];
    }
  }
  for (int r = 0; r < TILE_ROWS; r++)
    for (int v = 0; v < TILE_VECTORS; v++) ((vector *)(c + r * ld_c))[v] = sum[r][v];
}

/* ---- Cholesky -------------------------------------------------------------------------------- */

/* The triangle t; the rows j0 .. j1-1, at most BLOCK, are being eliminated. j0 divides by BLOCK. */
typedef struct elimination {
  double *t;
  int64_t k, j0, j1;
} elimination;

/* The block's own triangle; false if it is not positive definite. */
static bool solve_diagonal(const elimination *e) {
  for (int64_t j = e->j1 - 1; j >= e->j0; j--) {
    double *row = e->t + j * e->k, root = sqrt(row[j]);
    if (!(root > 0) || !isfinite(root)) return false;
    row[j] = root;
    for (int64_t i = e->j0; i < j; i++) row[i] /= root;
    for (int64_t l = e->j0; l < j; l++)
      subtract(e->t + l * e->k + e->j0, row + e->j0, row[l], l + 1 - e->j0);
  }
  return true;
}

/* Task: BLOCK columns left of it. */
static void solve_columns(void *ctx, int64_t task, int worker) {
  (void)worker;
  const elimination *e = ctx;
  int64_t c = task * BLOCK;
  for (int64_t j = e->j1 - 1; j >= e->j0; j--) {
    double *row = e->t + j * e->k, root = row[j];
    for (int64_t i = c; i < c + BLOCK; i++) row[i] /= root;
    for (int64_t l = e->j0; l < j; l++) subtract(e->t + l * e->k + c, row + c, row[l], BLOCK);
  }
}

/* Task: BLOCK rows above it lose what the block has of them. Tiles at the diagonal write beyond
 * it, where nothing is read. */
static void update_rows(void *ctx, int64_t task, int worker) {
  (void)worker;
  const elimination *e = ctx;
  const double *last = e->t + (e->j1 - 1) * e->k;
  int64_t l0 = task * BLOCK, l1 = l0 + BLOCK;
  for (int64_t c = 0; c < l1; c += TILE_COLUMNS)
    for (int64_t l = c > l0 ? c : l0; l < l1; l += TILE_ROWS)
      subtract_tile(e->t + l * e->k + c, e->k, (operand){last + l, 1, -e->k}, last + c, -e->k,
                    e->j1 - e->j0);
}

/* t = factor in place, zeros right of the diagonal; false if the matrix is not positive definite.
 */
static bool factorize(double *t, int64_t k, mtk_pool *pool) {
  elimination e = {t, k, 0, k};
  for (; e.j1 > 0; e.j1 = e.j0) {
    e.j0 = (e.j1 - 1) / BLOCK * BLOCK;
    if (!solve_diagonal(&e)) return false;
    mtk_pool_run(pool, e.j0 / BLOCK, solve_columns, &e);
    mtk_pool_run(pool, e.j0 / BLOCK, update_rows, &e);
  }
  for (int64_t i = 0; i < k; i++) memset(t + i * k + i + 1, 0, (size_t)(k - i - 1) * sizeof *t);
  return true;
}

/* ---- inverse --------------------------------------------------------------------------------- */

/* Rows i0 .. i1-1 of t, at most BLOCK, are being inverted; i0 divides by BLOCK. */
typedef struct inversion {
  double *t;
  double *rows; /* [BLOCK][k] they as they were, zeros behind the last */
  int64_t k, i0, i1;
} inversion;

/* Task: BLOCK columns of them: row i is (unit row i - sum over l < i of t_il * row l) / t_ii. */
static void invert_columns(void *ctx, int64_t task, int worker) {
  (void)worker;
  enum { DEPTH = 256 }; /* steps whose columns of a tile stay in the L1 cache */
  const inversion *v = ctx;
  int64_t c0 = task * BLOCK, c1 = c0 + BLOCK < v->i1 ? c0 + BLOCK : v->i1;
  double y[BLOCK][BLOCK] = {{0}};
  for (int64_t c = c0; c < c0 + BLOCK; c += TILE_COLUMNS)
    for (int64_t l = c0; l < v->i0; l += DEPTH)
      for (int64_t r = 0; r < BLOCK; r += TILE_ROWS)
        subtract_tile(&y[r][c - c0], BLOCK, (operand){v->rows + r * v->k + l, v->k, 1},
                      v->t + l * v->k + c, v->k, l + DEPTH < v->i0 ? DEPTH : v->i0 - l);
  for (int64_t i = v->i0; i < v->i1; i++) {
    const double *row = v->rows + (i - v->i0) * v->k;
    double *to = y[i - v->i0];
    for (int64_t l = v->i0; l < i; l++) subtract(to, y[l - v->i0], row[l], c1 - c0);
    for (int64_t c = c0; c < c1 && c < i; c++) to[c - c0] /= row[i];
    if (i >= c0 && i < c1) to[i - c0] = 1.0 / row[i];
    memcpy(v->t + i * v->k + c0, to, (size_t)(c1 - c0) * sizeof *to);
  }
}

/* t = inverse(t) in place. rows: [BLOCK][k]. */
static void invert(double *t, double *rows, int64_t k, mtk_pool *pool) {
  inversion v = {t, rows, k, 0, 0};
  for (; v.i0 < k; v.i0 = v.i1) {
    v.i1 = v.i0 + BLOCK < k ? v.i0 + BLOCK : k;
    size_t bytes = (size_t)((v.i1 - v.i0) * k) * sizeof *t;
    memset(rows, 0, (size_t)(BLOCK * k) * sizeof *t);
    memcpy(rows, t + v.i0 * k, bytes);
    mtk_pool_run(pool, v.i0 / BLOCK + 1, invert_columns, &v);
  }
}

/* ---- the factor ------------------------------------------------------------------------------ */

static mtk_status factor(gptq_factor *f, const float *h, double damp, mtk_pool *pool,
                         mtk_error *err) {
  int64_t k = f->k;
  size_t elements;
  if (!mtk_mul_ok((size_t)k, (size_t)k, &elements))
    return mtk_fail(err, MTK_E_NOMEM, NULL, "too large");
  double *t = mtk_alloc(elements, sizeof *t), *rows = mtk_alloc((size_t)(BLOCK * k), sizeof *rows);
  mtk_status st = t && rows ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) {
    load(t, f, h, damp);
    if (!factorize(t, k, pool))
      st = mtk_fail(err, MTK_E_INVALID, "--damp",
                    "the activation statistics are singular: raise --damp or calibrate on more "
                    "tokens");
  }
  if (st == MTK_OK) {
    invert(t, rows, k, pool);
    for (int64_t i = 0; i < k; i++)
      for (int64_t j = 0; j < k; j++) f->u[i * k + j] = j < i ? 0.0f : (float)t[j * k + i];
  }
  mtk_free(rows);
  mtk_free(t);
  return st;
}

mtk_status gptq_factor_create(gptq_factor **out, const float *h, int64_t k, double damp,
                              bool act_order, mtk_pool *pool, mtk_error *err) {
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
  if (st == MTK_OK) st = factor(f, h, damp, pool, err);
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
