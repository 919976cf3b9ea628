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

double mtk_grad_norm(const mtk_param *params, size_t n, const mtk_kernels *k) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += k->sum_squares(params[i].grad, params[i].n * params[i].k);
  return sqrt(sum);
}

typedef struct step_job {
  const mtk_param *params;
  const mtk_train_options *o;
  const mtk_kernels *k;
  int64_t t;
  double lr_factor;
  float grad_scale;
  mtk_status *status;
} step_job;

static void adamw(const mtk_param *p, const step_job *j) {
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
  j->k->adamw(p->value, p->m, p->v, p->grad, p->n * p->k, &a);
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

static void step_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  step_job *j = ctx;
  const mtk_param *p = &j->params[task];
  if (p->muon)
    j->status[task] = muon(p, j);
  else
    adamw(p, j);
}

mtk_status mtk_optimizer_step(const mtk_param *params, size_t n, const mtk_train_options *o,
                              int64_t t, double lr_factor, float grad_scale, const mtk_kernels *k,
                              mtk_error *err) {
  step_job j = {params, o, k, t, lr_factor, grad_scale, mtk_alloc(n, sizeof *j.status)};
  if (!j.status) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_pool_run(o->pool, (int64_t)n, step_task, &j);
  mtk_status st = MTK_OK;
  for (size_t i = 0; i < n && st == MTK_OK; i++)
    if (j.status[i] != MTK_OK) st = mtk_fail(err, j.status[i], params[i].name, "out of memory");
  mtk_free(j.status);
  return st;
}
