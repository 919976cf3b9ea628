/* test_optimizer.c: the work on parameters that is split over threads: every element once, and the
 * bits of one thread that takes each parameter as a whole. */
#include <check.h>
#include <math.h>
#include <mtk/limits.h>
#include <stdlib.h>
#include <string.h>

#include "graph/exec.h"
#include "run_suite.h"
#include "train/optimizer.h"

enum { N_PARAMS = 6 };
/* Below, at and above blocks of sums and ranges of tasks. */
static const int64_t counts[N_PARAMS] = {1, 4095, 65536, 65537, 250007, 4096};

typedef struct rig {
  mtk_param params[N_PARAMS];
  mtk_kernels kernels;
} rig;

static float *random_floats(int64_t n, uint64_t stream) {
  float *x = malloc((size_t)n * sizeof *x);
  for (int64_t i = 0; i < n; i++) x[i] = (float)mtk_normal(2, stream, (uint64_t)i);
  return x;
}

static void rig_init(rig *r) {
  mtk_error err;
  memset(r, 0, sizeof *r);
  ck_assert_int_eq(mtk_kernels_choose(&r->kernels, NULL, -1, &err), MTK_OK);
  for (int i = 0; i < N_PARAMS; i++) {
    uint64_t stream = 4 * (uint64_t)i;
    r->params[i] = (mtk_param){.name = "p", .n = 1, .k = counts[i], .decay = i % 2,
                               .value = random_floats(counts[i], stream),
                               .grad = random_floats(counts[i], stream + 1),
                               .m = random_floats(counts[i], stream + 2),
                               .v = random_floats(counts[i], stream + 3)};
    for (int64_t e = 0; e < counts[i]; e++) r->params[i].v[e] *= r->params[i].v[e];
  }
}

static void rig_finish(rig *r) {
  for (int i = 0; i < N_PARAMS; i++) {
    free(r->params[i].value);
    free(r->params[i].grad);
    free(r->params[i].m);
    free(r->params[i].v);
  }
}

static void count_range(void *ctx, size_t param, int64_t i0, int64_t i1) {
  uint8_t **seen = ctx;
  ck_assert_int_lt(i0, i1);
  for (int64_t i = i0; i < i1; i++) seen[param][i]++;
}

START_TEST(every_element_has_one_range) {
  rig r;
  rig_init(&r);
  mtk_pool *pool = NULL;
  ck_assert_int_eq(mtk_pool_create(&pool, 3, NULL), MTK_OK);
  uint8_t *seen[N_PARAMS];
  for (int i = 0; i < N_PARAMS; i++) seen[i] = calloc((size_t)counts[i], 1);
  mtk_params_run(r.params, N_PARAMS, pool, count_range, (void *)seen);
  for (int i = 0; i < N_PARAMS; i++) {
    for (int64_t e = 0; e < counts[i]; e++) ck_assert_uint_eq(seen[i][e], 1);
    free(seen[i]);
  }
  mtk_pool_destroy(pool);
  rig_finish(&r);
}
END_TEST

START_TEST(the_norm_is_that_of_whole_parameters) {
  rig r;
  rig_init(&r);
  double want = 0, exact = 0, got;
  for (int i = 0; i < N_PARAMS; i++) {
    want += r.kernels.sum_squares(r.params[i].grad, counts[i]);
    for (int64_t e = 0; e < counts[i]; e++)
      exact += (double)r.params[i].grad[e] * (double)r.params[i].grad[e];
  }
  want = sqrt(want);
  ck_assert_double_eq_tol(want, sqrt(exact), 1e-6 * want);
  for (int threads = 1; threads <= 4; threads++) {
    mtk_pool *pool = NULL;
    ck_assert_int_eq(mtk_pool_create(&pool, threads, NULL), MTK_OK);
    mtk_error err;
    ck_assert_int_eq(mtk_grad_norm(&got, r.params, N_PARAMS, pool, &r.kernels, &err), MTK_OK);
    ck_assert_mem_eq(&want, &got, sizeof want);
    mtk_pool_destroy(pool);
  }
  rig_finish(&r);
}
END_TEST

START_TEST(adamw_has_the_bits_of_whole_parameters) {
  for (int threads = 1; threads <= 4; threads++) {
    rig whole, split;
    rig_init(&whole);
    rig_init(&split);
    const mtk_train_options o = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f,
                                 .weight_decay = 0.1f};
    mtk_train_options so = o;
    ck_assert_int_eq(mtk_pool_create(&so.pool, threads, NULL), MTK_OK);
    ck_assert_int_eq(mtk_optimizer_step(split.params, N_PARAMS, &so, 3, 0.5, 0.7f, &split.kernels,
                                        NULL), MTK_OK);
    for (int i = 0; i < N_PARAMS; i++) {
      const mtk_param *p = &whole.params[i], *q = &split.params[i];
      const mtk_adamw_args a = {.lr = (float)((double)o.lr * 0.5), .beta1 = o.beta1,
                                .beta2 = o.beta2, .eps = o.eps,
                                .weight_decay = p->decay ? o.weight_decay : 0.0f,
                                .grad_scale = 0.7f,
                                .corr1 = (float)(1.0 / (1.0 - mtk_math_pow((double)o.beta1, 3))),
                                .corr2 = (float)(1.0 / (1.0 - mtk_math_pow((double)o.beta2, 3)))};
      whole.kernels.adamw(p->value, p->m, p->v, p->grad, counts[i], &a);
      size_t bytes = (size_t)counts[i] * sizeof(float);
      ck_assert(!memcmp(p->value, q->value, bytes) && !memcmp(p->m, q->m, bytes) &&
                !memcmp(p->v, q->v, bytes));
    }
    mtk_pool_destroy(so.pool);
    rig_finish(&whole);
    rig_finish(&split);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("optimizer");
  TCase *t = tcase_create("optimizer");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, every_element_has_one_range);
  tcase_add_test(t, the_norm_is_that_of_whole_parameters);
  tcase_add_test(t, adamw_has_the_bits_of_whole_parameters);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
