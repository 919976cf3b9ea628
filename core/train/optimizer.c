/* train/optimizer.c: AdamW (Loshchilov & Hutter 2019) and Muon (Jordan et al. 2024). */
#include "train/optimizer.h"

#include <math.h>
#include <string.h>

double mtk_lr_factor(const mtk_train_options *o, int64_t step) {
  if (step < o->warmup_steps) return (double)(step + 1) / (double)o->warmup_steps;
  if (o->schedule == MTK_LR_CONSTANT) return 1.0;
  double span = (double)(o->total_steps - o->warmup_steps);
  double p = span > 0 ? (double)(step - o->warmup_steps) / span : 1.0,
         min = (double)o->lr_min_ratio;
  if (p > 1) p = 1;
  if (o->schedule == MTK_LR_LINEAR) return min + (1 - min) * (1 - p);
  double s, c;
  mtk_math_sincos(3.14159265358979323846 * p, &s, &c);
  return min + (1 - min) * 0.5 * (1 + c);
}

/* ---- ranges of all parameters --------------------------------------------------------------- */

enum { BLOCK = 4096, RANGE = 16 * BLOCK }; /* elements: of a partial sum of squares; of a task */

static int64_t pieces(const mtk_param *p, int64_t size) { return (p->n * p->k + size - 1) / size; }

static int64_t pieces_of_all(const mtk_param *params, size_t n, int64_t size) {
  int64_t sum = 0;
  for (size_t i = 0; i < n; i++) sum += pieces(&params[i], size);
  return sum;
}

typedef struct range_job {
  const mtk_param *params;
  mtk_param_fn *fn;
  void *ctx;
} range_job;

static void range_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  const range_job *j = ctx;
  size_t param = 0;
  while (task >= pieces(&j->params[param], RANGE)) task -= pieces(&j->params[param++], RANGE);
  int64_t count = j->params[param].n * j->params[param].k, i0 = task * RANGE;
  j->fn(j->ctx, param, i0, count - i0 < RANGE ? count : i0 + RANGE);
}

void mtk_params_run(const mtk_param *params, size_t n, mtk_pool *pool, mtk_param_fn *fn,
                    void *ctx) {
  range_job j = {params, fn, ctx};
  mtk_pool_run(pool, pieces_of_all(params, n, RANGE), range_task, &j);
}

typedef struct norm_job {
  const mtk_param *params;
  const mtk_kernels *k;
  double *sums; /* of each block of each parameter */
} norm_job;

static void sum_range(void *ctx, size_t param, int64_t i0, int64_t i1) {
  const norm_job *j = ctx;
  double *sums = j->sums + pieces_of_all(j->params, param, BLOCK);
  for (int64_t i = i0; i < i1; i += BLOCK)
    sums[i / BLOCK] = j->k->sum_squares(j->params[param].grad + i, i1 - i < BLOCK ? i1 - i : BLOCK);
}

mtk_status mtk_grad_norm(double *norm, const mtk_param *params, size_t n, mtk_pool *pool,
                         const mtk_kernels *k, mtk_error *err) {
  size_t blocks = (size_t)pieces_of_all(params, n, BLOCK);
  norm_job j = {params, k, mtk_alloc(blocks, sizeof *j.sums)};
  if (!j.sums) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_params_run(params, n, pool, sum_range, &j);
  double sum = 0;
  const double *from = j.sums;
  for (size_t i = 0; i < n; i++) {
    double of_one = 0;
    for (int64_t b = 0; b < pieces(&params[i], BLOCK); b++) of_one += *from++;
    sum += of_one;
  }
  mtk_free(j.sums);
  *norm = sqrt(sum);
  return MTK_OK;
}

/* ---- steps ---------------------------------------------------------------------------------- */

typedef struct step_job {
  const mtk_param *params;
  const mtk_train_options *o;
  const mtk_kernels *k;
  int64_t t;
  double lr_factor;
  float grad_scale;
  mtk_status *status;
} step_job;

static void adamw(const mtk_param *p, const step_job *j, int64_t i0, int64_t i1) {
  const mtk_train_options *o = j->o;
  double b1 = (double)o->beta1, b2 = (double)o->beta2, t = (double)j->t;
  mtk_adamw_args a = {.lr = (float)((double)o->lr * j->lr_factor),
                      .beta1 = o->beta1,
                      .beta2 = o->beta2,
                      .eps = o->eps,
                      .weight_decay = p->decay ? o->weight_decay : 0.0f,
                      .grad_scale = j->grad_scale,
                      .corr1 = (float)(1.0 / (1.0 - mtk_math_pow(b1, t))),
                      .corr2 = (float)(1.0 / (1.0 - mtk_math_pow(b2, t)))};
  j->k->adamw(p->value + i0, p->m + i0, p->v + i0, p->grad + i0, i1 - i0, &a);
}

static void transpose(float *dst, const float *src, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) dst[c * rows + r] = src[r * cols + c];
}

/* x [r, c], r <= c: the nearest semi-orthogonal matrix, by five quintic Newton-Schulz steps
 * X <- aX + (bA + cA^2) X, A = X X^T. work: 2*r*c + 2*r*r floats. */
static void newton_schulz(float *x, int64_t r, int64_t c, float *work, const mtk_kernels *k) {
  static const float ca = 3.4445f, cb = -4.7750f, cc = 2.0315f;
  float *xt = work, *next = xt + r * c, *a = next + r * c, *b = a + r * r;
  double norm = sqrt(k->sum_squares(x, r * c));
  k->scale(x, x, (float)(1.0 / (norm + 1e-7)), r * c);
  for (int step = 0; step < 5; step++) {
    transpose(xt, x, r, c);
    memset(a, 0, (size_t)(r * r) * sizeof *a);
    k->gemm_nn(a, r, x, c, xt, r, 0, r, r, c);
    k->scale(b, a, cb, r * r);
    k->scale(next, a, cc, r * r); /* next doubles as scratch for cA */
    k->gemm_nn(b, r, next, r, a, r, 0, r, r, r);
    k->scale(next, x, ca, r * c);
    k->gemm_nn(next, c, b, r, x, c, 0, r, c, r);
    memcpy(x, next, (size_t)(r * c) * sizeof *x);
  }
}

/* Nesterov momentum, orthogonalized, scaled by sqrt(max(1, n/k)); decoupled decay. */
static mtk_status muon(const mtk_param *p, const step_job *j) {
  static const float momentum = 0.95f;
  int64_t n = p->n, c = p->k, count = n * c, small = n < c ? n : c, large = n < c ? c : n;
  float *u = mtk_alloc((size_t)(count * 4 + 2 * small * small), sizeof *u);
  if (!u) return MTK_E_NOMEM;
  float *x = u + count, *work = x + count;
  const mtk_kernels *k = j->k;
  k->scale(u, p->grad, j->grad_scale, count);
  k->scale(x, p->m, momentum, count);
  k->add(p->m, x, u, count);
  k->add_scaled(u, u, p->m, momentum, count);
  if (n <= c)
    memcpy(x, u, (size_t)count * sizeof *x);
  else
    transpose(x, u, n, c);
  newton_schulz(x, small, large, work, k);
  if (n > c) {
    transpose(u, x, c, n);
    x = u;
  }
  double lr = (double)j->o->muon_lr * j->lr_factor,
         ratio = n > c ? sqrt((double)n / (double)c) : 1.0;
  k->scale(p->value, p->value, (float)(1.0 - lr * (double)j->o->weight_decay), count);
  k->add_scaled(p->value, p->value, x, (float)(-lr * ratio), count);
  mtk_free(u);
  return MTK_OK;
}

/* Muon takes a matrix as a whole. */
static void step_range(void *ctx, size_t param, int64_t i0, int64_t i1) {
  const step_job *j = ctx;
  const mtk_param *p = &j->params[param];
  if (!p->muon)
    adamw(p, j, i0, i1);
  else if (i0 == 0)
    j->status[param] = muon(p, j);
}

mtk_status mtk_optimizer_step(const mtk_param *params, size_t n, const mtk_train_options *o,
                              int64_t t, double lr_factor, float grad_scale, const mtk_kernels *k,
                              mtk_error *err) {
  step_job j = {params, o, k, t, lr_factor, grad_scale, mtk_alloc(n, sizeof *j.status)};
  if (!j.status) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_params_run(params, n, o->pool, step_range, &j);
  mtk_status st = MTK_OK;
  for (size_t i = 0; i < n && st == MTK_OK; i++)
    if (j.status[i] != MTK_OK) st = mtk_fail(err, j.status[i], params[i].name, "out of memory");
  mtk_free(j.status);
  return st;
}
