/* test_limits.c: the machine's limits with kernels whose speed is known: each thread counts once,
 * reading goes by the clock, and threads that do not run at the same time give no sum. */
#include <mtk/limits.h>

#include "base/internal.h"
#include "run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

static mtk_kernels kernels;

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One operation a microsecond of CPU time. */
static double multiply(float *io, int64_t rounds) {
  (void)io;
  double until = seconds(CLOCK_THREAD_CPUTIME_ID) + 1e-6 * (double)rounds;
  while (seconds(CLOCK_THREAD_CPUTIME_ID) < until) continue;
  return (double)rounds;
}

/* Any number of words in a millisecond at least, and hardly any CPU time. */
static uint64_t read_slowly(const uint64_t *words, size_t n, int streams) {
  (void)words, (void)n, (void)streams;
  nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  return 0;
}

static void setup(void) {
  mtk_kernels_init(&kernels, MTK_ISA_REF);
  for (int a = 0; a < MTK_ARITH_COUNT; a++) kernels.peak[a] = multiply;
  kernels.read_words = read_slowly;
}

static mtk_pool *pool_of(int threads) {
  mtk_pool *pool;
  ck_assert_int_eq(mtk_pool_create(&pool, threads, NULL), MTK_OK);
  return pool;
}

START_TEST(threads_beyond_the_cpus_add_nothing) {
  const int cpus = mtk_cpu_count();
  for (int threads = 1; threads <= 4 * cpus; threads *= 2) {
    mtk_pool *pool = pool_of(threads);
    double ops[MTK_ARITH_COUNT], at_once = threads < cpus ? threads : cpus;
    ck_assert_int_eq(mtk_limits_ops(ops, &kernels, pool, NULL), MTK_OK);
    ck_assert_double_gt(ops[MTK_A8], 0.5e6 * at_once);
    ck_assert_double_le(ops[MTK_A8], 1.001e6 * at_once);
    mtk_pool_destroy(pool);
  }
}
END_TEST

START_TEST(reading_goes_by_the_clock) {
  enum { BYTES = 1 << 16, LINE = 64 };
  mtk_pool *pool = pool_of(0);
  double rate, all = BYTES + LINE * mtk_pool_size(pool);
  ck_assert_int_eq(mtk_limits_read(&rate, &kernels, pool, BYTES, NULL), MTK_OK);
  ck_assert_double_gt(rate, 0);
  ck_assert_double_le(rate, all / 1e-3);
  mtk_pool_destroy(pool);
}
END_TEST

typedef struct inner {
  mtk_pool *pool;
  double ops[MTK_ARITH_COUNT], read;
} inner;

static void measure(void *ctx, int64_t task, int worker) {
  inner *in = ctx;
  (void)worker;
  if (task > 0) return;
  ck_assert_int_eq(mtk_limits_ops(in->ops, &kernels, in->pool, NULL), MTK_OK);
  ck_assert_int_eq(mtk_limits_read(&in->read, &kernels, in->pool, 4096, NULL), MTK_OK);
}

/* A pool that is busy runs all parts on one thread, one after the other. */
START_TEST(parts_that_ran_alone_are_no_sum) {
  if (mtk_cpu_count() < 2) return;
  inner in = {.pool = pool_of(2), .read = -1};
  mtk_pool_run(in.pool, 2, measure, &in);
  ck_assert_double_eq(in.ops[MTK_A32], 0);
  ck_assert_double_eq(in.read, 0);
  mtk_pool_destroy(in.pool);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("limits");
  TCase *t = tcase_create("limits");
  tcase_add_checked_fixture(t, setup, NULL);
  tcase_set_timeout(t, 120);
  tcase_add_test(t, threads_beyond_the_cpus_add_nothing);
  tcase_add_test(t, reading_goes_by_the_clock);
  tcase_add_test(t, parts_that_ran_alone_are_no_sum);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
