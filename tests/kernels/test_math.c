/* tests/kernels/test_math.c: the math of kernels/math.c against the C library in long double.
 *
 * Bounds stated here (in units in the last place of the result, or absolute): expf 0.9 ulp, logf
 * 0.501, exp 0.8, log 0.51, pow 0.75 (ulp of double), sin and cos 1.2e-16 absolute for |x| < 2^31.
 * Also: special values, the same bits from the vector form, monotone exp. The functions take no
 * level; checks run once, under ref. */
#include <math.h>
#include <string.h>

#include "checkker.h"

/* Distance |got - want| in ulps of a type with `digits` significant bits at want. */
static double ulps(long double got, long double want, int digits, int lowest) {
  int e;
  frexpl(want, &e);
  if (e < lowest) e = lowest;
  return (double)(fabsl(got - want) / ldexpl(1.0L, e - digits));
}
static double ulps_f32(float got, long double want) { return ulps(got, want, 24, -125); }
static double ulps_f64(double got, long double want) { return ulps(got, want, 53, -1021); }

static double uniform(double lo, double hi) {
  return lo + (hi - lo) * ((double)(ck_rand() >> 11) * 0x1p-53);
}

static void check_bound(const char *what, double worst, double at, double bound) {
  printf("  %-6s worst error %.4g at %.17g (bound %g)\n", what, worst, at, bound);
  if (!(worst <= bound)) ck_fail("%s: error %g at %.17g exceeds %g", what, worst, at, bound);
}

typedef struct worst_case {
  double error, at;
} worst_case;
static void keep_worst(worst_case *w, double error, double at) {
  if (error <= w->error) return;
  w->error = error;
  w->at = at;
}

static float next_up(float x, uint32_t steps) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  u += steps;
  memcpy(&x, &u, sizeof x);
  return x;
}

/* Every 61st float of both signs whose exponential is a normal float. */
static void test_expf(const mtk_kernels *k) {
  if (k != ck_ref()) return;
  worst_case w = {0};
  float last = 0;
  for (float x = 0x1p-40f; x < 88.7228f; x = next_up(x, 61)) {
    float up = mtk_math_expf(x), down = mtk_math_expf(-x);
    keep_worst(&w, ulps_f32(up, expl(x)), x);
    if (x < 87.3f) keep_worst(&w, ulps_f32(down, expl(-(long double)x)), -x);
    if (up < last) ck_fail("expf falls at %a", (double)x);
    last = up;
  }
  check_bound("expf", w.error, w.at, 0.9);
  struct {
    float x, y;
  } special[] = {{0, 1},         {-0.0f, 1},      {INFINITY, INFINITY},
                 {-INFINITY, 0}, {200, INFINITY}, {88.8f, INFINITY},
                 {-87.31f, 0},   {-3e38f, 0},     {3e38f, INFINITY},
                 {1e-40f, 1}};
  for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
    float y = mtk_math_expf(special[i].x);
    ck_same(&special[i].y, &y, 1, "expf(%g)", (double)special[i].x);
  }
  if (!isnan(mtk_math_expf(NAN))) ck_fail("expf(NaN) is a number");
}

/* exp in vectors is exp in scalars: softmax_xent_dx with lse 0, g 1 and no target is exp alone. */
static void test_vector_exp(const mtk_kernels *k) {
  enum { N = 1001 };
  float x[N], y[N];
  for (int round = 0; round < 300; round++) {
    for (int i = 0; i < N; i++) {
      x[i] = (float)uniform(-95, 95);
      if (i % 50 == 0) x[i] = round % 2 ? 88.7228f + 1e-5f * (float)i : -87.3f + 1e-5f * (float)i;
    }
    x[0] = INFINITY;
    x[N - 1] = -INFINITY;
    k->softmax_xent_dx(y, x, 0.0f, -1, 1.0f, N);
    for (int i = 0; i < N; i++) {
      float want = mtk_math_expf(x[i]);
      if (!ck_same(&want, &y[i], 1, "exp(%a) in a vector", (double)x[i])) return;
    }
  }
}

static void test_tanhf(const mtk_kernels *k) {
  if (k != ck_ref()) return;
  worst_case w = {0};
  for (float x = 0x1p-60f; x < 12.0f; x = next_up(x, 61)) {
    float y = mtk_math_tanhf(x), minus = -mtk_math_tanhf(-x);
    keep_worst(&w, ulps_f32(y, tanhl(x)), x);
    ck_same(&y, &minus, 1, "tanhf(-%a)", (double)x);
  }
  check_bound("tanhf", w.error, w.at, 1.5);
  const float special[][2] = {{0, 0}, {-0.0f, -0.0f}, {INFINITY, 1}, {-INFINITY, -1}, {3e38f, 1}};
  for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
    float y = mtk_math_tanhf(special[i][0]);
    ck_same(&special[i][1], &y, 1, "tanhf(%g)", (double)special[i][0]);
  }
  if (!isnan(mtk_math_tanhf(NAN))) ck_fail("tanhf(NaN) is a number");
}

/* tanh in vectors is tanh in scalars: softcap with cap 1. */
static void test_vector_tanh(const mtk_kernels *k) {
  enum { N = 1001 };
  float x[N], y[N];
  for (int round = 0; round < 300; round++) {
    for (int i = 0; i < N; i++) x[i] = (float)uniform(-1, 1) * (i % 2 ? 1.0f : 12.0f);
    x[0] = INFINITY;
    x[N - 1] = -INFINITY;
    k->softcap(y, x, 1.0f, N);
    for (int i = 0; i < N; i++) {
      float want = mtk_math_tanhf(x[i]);
      if (!ck_same(&want, &y[i], 1, "tanh(%a) in a vector", (double)x[i])) return;
    }
  }
}

static void test_log(const mtk_kernels *k) {
  if (k != ck_ref()) return;
  worst_case f = {0}, d = {0};
  for (int i = 0; i < 2000000; i++) {
    double x = ldexp(uniform(1, 2), (int)ck_range(-1070, 1020)), near1 = uniform(0.6, 1.6);
    if (i % 2) x = near1;
    keep_worst(&d, ulps_f64(mtk_math_log(x), logl(x)), x);
    float xf = (float)(i % 2 ? near1 : ldexp(uniform(1, 2), (int)ck_range(-140, 120)));
    keep_worst(&f, ulps_f32(mtk_math_logf(xf), logl(xf)), xf);
  }
  check_bound("log", d.error, d.at, 0.51);
  check_bound("logf", f.error, f.at, 0.501);
  if (mtk_math_log(1) != 0 || mtk_math_log(0) != -INFINITY || mtk_math_log(INFINITY) != INFINITY ||
      !isnan(mtk_math_log(-1)) || !isnan(mtk_math_log(NAN)))
    ck_fail("log of 1, 0, inf, -1 or NaN");
}

static void test_exp_pow(const mtk_kernels *k) {
  if (k != ck_ref()) return;
  worst_case e = {0}, p = {0};
  for (int i = 0; i < 1000000; i++) {
    double x = uniform(-745, 709.7);
    keep_worst(&e, ulps_f64(mtk_math_exp(x), expl(x)), x);
    double base = ldexp(uniform(1, 2), (int)ck_range(-40, 40)), y = uniform(-17, 17);
    if (i % 3 == 0) base = uniform(0.8, 1.2), y = uniform(-3000, 3000);
    keep_worst(&p, ulps_f64(mtk_math_pow(base, y), powl(base, y)), y);
  }
  check_bound("exp", e.error, e.at, 0.8);
  check_bound("pow", p.error, p.at, 0.75);
  struct {
    double base, y, want;
  } special[] = {{2, 10, 1024},
                 {0, 0, 1},
                 {0, 2, 0},
                 {0, -1, INFINITY},
                 {INFINITY, 2, INFINITY},
                 {1, INFINITY, 1},
                 {10, 400, INFINITY},
                 {10, -400, 0},
                 {9, 0.5, 3},
                 {0.9, 1, 0.9},
                 {0.5, 1074, 0x1p-1074}};
  for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
    double y = mtk_math_pow(special[i].base, special[i].y);
    ck_same_bytes(&special[i].want, &y, sizeof y, "pow(%g, %g) = %.17g", special[i].base,
                  special[i].y, y);
  }
  if (!isnan(mtk_math_pow(-2, 2))) ck_fail("pow of a negative base is a number");
  if (mtk_math_exp(0) != 1 || mtk_math_exp(800) != INFINITY || mtk_math_exp(-800) != 0)
    ck_fail("exp of 0 or +-800");
}

static void test_sincos(const mtk_kernels *k) {
  if (k != ck_ref()) return;
  worst_case w = {0};
  for (int i = 0; i < 2000000; i++) {
    double x = ldexp(uniform(-1, 1), (int)ck_range(-20, 31)), s, c;
    if (i % 4 == 0) x = rint(x) * 1.57079632679489661923; /* near zeros of sin and cos */
    mtk_math_sincos(x, &s, &c);
    keep_worst(&w, (double)fabsl((long double)s - sinl(x)), x);
    keep_worst(&w, (double)fabsl((long double)c - cosl(x)), x);
  }
  check_bound("sincos", w.error, w.at, 1.2e-16);
  double s, c;
  mtk_math_sincos(0, &s, &c);
  if (s != 0 || c != 1) ck_fail("sincos(0)");
  mtk_math_sincos(INFINITY, &s, &c);
  if (!isnan(s) || !isnan(c)) ck_fail("sincos(inf) is a number");
}

static void test_rope_table(const mtk_kernels *k) {
  if (k != ck_ref()) return;
  enum { ROPE = 64, ROWS = 5 };
  const int32_t pos[ROWS] = {0, 1, 4095, 131071, 2147483647};
  double inv_freq[ROPE / 2];
  float *table = ck_floats((int64_t)ROWS * ROPE, 1);
  for (int j = 0; j < ROPE / 2; j++) inv_freq[j] = mtk_math_pow(10000.0, -2.0 * j / ROPE);
  mtk_rope_table(table, pos, ROWS, inv_freq, ROPE, 1.25);
  for (int i = 0; i < ROWS; i++) {
    for (int j = 0; j < ROPE / 2; j++) {
      double angle = pos[i] * inv_freq[j];
      const float *pair = table + i * ROPE + 2 * j;
      if (!(fabsl((long double)pair[0] - 1.25L * cosl(angle)) < 0x1p-24L) ||
          !(fabsl((long double)pair[1] - 1.25L * sinl(angle)) < 0x1p-24L))
        ck_fail("rope table row %d pair %d: %g %g", i, j, (double)pair[0], (double)pair[1]);
    }
  }
  if (!ck_guards_ok()) ck_fail("rope table: wrote outside");
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"expf", test_expf, NULL},     {"exp in vectors", test_vector_exp, NULL},
      {"tanhf", test_tanhf, NULL},   {"tanh in vectors", test_vector_tanh, NULL},
      {"log", test_log, NULL},       {"exp and pow", test_exp_pow, NULL},
      {"sincos", test_sincos, NULL}, {"rope table", test_rope_table, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
