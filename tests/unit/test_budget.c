/* test_budget.c: choosing options under a budget of bytes, against all choices tried one by one. */
#include <check.h>
#include <math.h>
#include <string.h>

#include <mtk/quantize.h>

#include "run_suite.h"

enum { MAX_GROUPS = 6, MAX_OPTIONS = 4 };

typedef struct instance {
  mtk_budget_option options[MAX_GROUPS][MAX_OPTIONS];
  mtk_budget_group groups[MAX_GROUPS];
  size_t n;
} instance;

/* Losses are whole numbers times 2^-20, so that sums are exact; coarse > 0 makes equal ones. */
static void make(instance *in, uint64_t seed, unsigned coarse) {
  uint64_t draw = 0;
  *in = (instance){.n = 1 + seed % MAX_GROUPS};
  for (size_t g = 0; g < in->n; g++) {
    size_t n = 1 + (size_t)(mtk_uniform(seed, 0, draw++) * MAX_OPTIONS);
    for (size_t i = 0; i < n; i++) {
      double bytes = mtk_uniform(seed, 1, draw), loss = mtk_uniform(seed, 2, draw++);
      in->options[g][i].bytes = coarse ? 10 * (uint64_t)(bytes * coarse) : (uint64_t)(bytes * 1e6);
      in->options[g][i].loss = ldexp(floor(loss * (coarse ? coarse : 1 << 20)), -20);
    }
    in->groups[g] = (mtk_budget_group){in->options[g], n};
  }
}

static mtk_budget_point total(const instance *in, const size_t *choice) {
  mtk_budget_point sum = {0, 0};
  for (size_t g = 0; g < in->n; g++) {
    ck_assert_uint_lt(choice[g], in->groups[g].n_options);
    sum.bytes += in->options[g][choice[g]].bytes;
    sum.loss += in->options[g][choice[g]].loss;
  }
  return sum;
}

static bool next(size_t *choice, const instance *in) {
  for (size_t g = 0; g < in->n; g++) {
    if (++choice[g] < in->groups[g].n_options) return true;
    choice[g] = 0;
  }
  return false;
}

/* Least loss, then fewest bytes; false: nothing fits. */
static bool try_all(mtk_budget_point *best, const instance *in, uint64_t budget) {
  size_t choice[MAX_GROUPS] = {0};
  bool found = false;
  do {
    mtk_budget_point p = total(in, choice);
    bool better = !found || p.loss < best->loss || (p.loss == best->loss && p.bytes < best->bytes);
    if (p.bytes > budget || !better) continue;
    *best = p;
    found = true;
  } while (next(choice, in));
  return found;
}

static void check_budget(const instance *in, uint64_t budget) {
  mtk_budget_point want, got;
  size_t choice[MAX_GROUPS], again[MAX_GROUPS];
  mtk_error err = {0};
  bool possible = try_all(&want, in, budget);
  mtk_status st = mtk_budget_solve(choice, in->groups, in->n, budget, &err);
  ck_assert_int_eq(st, possible ? MTK_OK : MTK_E_LIMIT);
  if (!possible) return;
  got = total(in, choice);
  ck_assert_double_eq(got.loss, want.loss);
  ck_assert_uint_eq(got.bytes, want.bytes);
  ck_assert_int_eq(mtk_budget_solve(again, in->groups, in->n, budget, &err), MTK_OK);
  ck_assert_mem_eq(choice, again, in->n * sizeof *choice);
}

static void check_instance(uint64_t seed, unsigned coarse) {
  instance in;
  mtk_budget_point *points, best;
  size_t n;
  make(&in, seed, coarse);
  ck_assert_int_eq(mtk_budget_curve(&points, &n, in.groups, in.n, NULL), MTK_OK);
  ck_assert_uint_ge(n, 1);
  check_budget(&in, points[0].bytes - (points[0].bytes > 0));
  for (size_t i = 0; i < n; i++) {
    /* a corner is the best choice for its bytes */
    ck_assert(try_all(&best, &in, points[i].bytes));
    ck_assert_double_eq(points[i].loss, best.loss);
    check_budget(&in, points[i].bytes);
    if (i == 0) continue;
    ck_assert_uint_gt(points[i].bytes, points[i - 1].bytes);
    ck_assert_double_lt(points[i].loss, points[i - 1].loss);
    uint64_t between = points[i - 1].bytes + (points[i].bytes - points[i - 1].bytes) * 2 / 3;
    check_budget(&in, between);
    check_budget(&in, points[i].bytes - 1);
  }
  check_budget(&in, UINT64_MAX);
  mtk_free(points);
}

START_TEST(random_instances) {
  for (uint64_t seed = 0; seed < 200; seed++) check_instance(seed, 0);
}
END_TEST

START_TEST(many_equal_sums) {
  for (uint64_t seed = 0; seed < 200; seed++) check_instance(seed, 2 + (unsigned)(seed % 7));
}
END_TEST

/* As many groups as a large model has: within the budget, and not above the relaxation by more than
 * the largest step of the curve around it. */
START_TEST(a_large_model) {
  enum { N = 400, OPTIONS = 6 };
  static mtk_budget_option options[N][OPTIONS];
  static mtk_budget_group groups[N];
  static size_t choice[N];
  static const double bits[OPTIONS] = {2.625, 3.4375, 4.5, 5.5, 6.5625, 8.5};
  uint64_t elements = 0;
  for (size_t g = 0; g < N; g++) {
    uint64_t n = (g % 4 == 0 ? 4096u * 6144u : g % 4 == 1 ? 4096u * 4096u : 4096u * 14336u);
    double weight = exp(3 * mtk_normal(5, 0, g));
    elements += n;
    for (size_t i = 0; i < OPTIONS; i++)
      options[g][i] = (mtk_budget_option){(uint64_t)((double)n * bits[i] / 8) + 4 * (g % 3),
                                          weight * exp2(-2 * bits[i])};
    groups[g] = (mtk_budget_group){options[g], OPTIONS};
  }
  mtk_error err = {0};
  mtk_budget_point *points, got = {0, 0};
  size_t n, i = 0;
  uint64_t budget = (uint64_t)((double)elements * 4.8 / 8);
  ck_assert_int_eq(mtk_budget_solve(choice, groups, N, budget, &err), MTK_OK);
  for (size_t g = 0; g < N; g++) {
    got.bytes += options[g][choice[g]].bytes;
    got.loss += options[g][choice[g]].loss;
  }
  ck_assert_int_eq(mtk_budget_curve(&points, &n, groups, N, &err), MTK_OK);
  while (points[i + 1].bytes <= budget) i++;
  ck_assert_uint_le(got.bytes, budget);
  ck_assert_double_le(got.loss, points[i].loss * (1 + 1e-12));
  ck_assert_double_ge(got.loss, points[i + 1].loss);
  mtk_free(points);
}
END_TEST

START_TEST(what_is_refused) {
  mtk_budget_option options[] = {{10, 1}, {20, NAN}, {20, -1}};
  mtk_budget_group none = {options, 0}, nan = {options, 2}, negative = {options + 2, 1};
  size_t choice;
  mtk_error err;
  ck_assert_int_eq(mtk_budget_solve(&choice, &none, 1, 100, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_budget_solve(&choice, &nan, 1, 100, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_budget_solve(&choice, &negative, 1, 100, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_budget_solve(&choice, NULL, 0, 0, &err), MTK_OK);
  mtk_budget_group one = {options, 1};
  ck_assert_int_eq(mtk_budget_solve(&choice, &one, 1, 9, &err), MTK_E_LIMIT);
  ck_assert_ptr_nonnull(strstr(err.message, "10 bytes"));
  for (int64_t n = 0; n < 12; n++) {
    mtk_alloc_fail_after(n);
    mtk_status st = mtk_budget_solve(&choice, &one, 1, 10, &err);
    ck_assert(st == MTK_OK || st == MTK_E_NOMEM);
    mtk_alloc_fail_after(-1);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("budget");
  TCase *tests = tcase_create("all");
  tcase_set_timeout(tests, 60);
  tcase_add_test(tests, random_instances);
  tcase_add_test(tests, many_equal_sums);
  tcase_add_test(tests, a_large_model);
  tcase_add_test(tests, what_is_refused);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
