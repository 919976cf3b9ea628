/* train/optimizer.h: AdamW and Muon over a list of parameters. One thread drives; the pool works
 * inside; the bits do not depend on it. */
#ifndef MTK_TRAIN_OPTIMIZER_H
#define MTK_TRAIN_OPTIMIZER_H

#include <mtk/train.h>

/* One trained tensor. value and grad are borrowed, m and v owned by the trainer. */
typedef struct mtk_param {
  const char *name;
  int64_t n, k; /* matrix [n, k]; vectors n = 1 */
  float *value, *grad;
  float *m;   /* first moment; Muon's momentum */
  float *v;   /* second moment; NULL for Muon */
  bool decay; /* matrices */
  bool muon;
} mtk_param;

/* fn for ranges of elements of every parameter, on the pool; they begin at the same multiples of
 * 65,536 for any number of threads. */
typedef void mtk_param_fn(void *ctx, size_t param, int64_t i0, int64_t i1);
void mtk_params_run(const mtk_param *params, size_t n, mtk_pool *pool, mtk_param_fn *fn, void *ctx);

/* Learning-rate factor of step `step` (0-based): linear warm-up, then the schedule down to
 * lr_min_ratio. */
double mtk_lr_factor(const mtk_train_options *o, int64_t step);
/* Global L2 norm of all gradients (mtk_kernels.sum_squares of each, added in order, double). */
mtk_status mtk_grad_norm(double *norm, const mtk_param *params, size_t n, mtk_pool *pool,
                         const mtk_kernels *k, mtk_error *err);
/* One step. t = 1 for the first. grad_scale multiplies the gradients (clipping). */
mtk_status mtk_optimizer_step(const mtk_param *params, size_t n, const mtk_train_options *o,
                              int64_t t, double lr_factor, float grad_scale, const mtk_kernels *k,
                              mtk_error *err);

#endif
