/* tests/kernels/test_gemm.c: gemm_nn and gemm_tn.
 *
 * Every level against ref on shapes around the tile and block sizes, all kinds of data, odd leading
 * dimensions and alignment; whole calls against splits over rows, columns and k (accumulation must
 * continue the chains); values against double precision. --bench prints GFLOP/s. */
#include <math.h>
#include <string.h>

#include "checkker.h"

typedef void gemm_fn(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                     int64_t ldb, int64_t m0, int64_t m1, int64_t n, int64_t k);

typedef struct operands {
  int64_t m, n, k, lda, ldb, ldc;
  float *a, *b, *c;
  int64_t c_floats;
} operands;

static operands make(int64_t m, int64_t n, int64_t k, int transposed, ck_kind kind) {
  operands o = {.m = m, .n = n, .k = k};
  int64_t a_rows = transposed ? k : m, a_cols = transposed ? m : k;
  o.lda = a_cols + ck_range(0, 5);
  o.ldb = n + ck_range(0, 5);
  o.ldc = n + ck_range(0, 5);
  o.c_floats = (m - 1) * o.ldc + n; /* the guard begins right after the last element */
  int64_t a_floats = (a_rows - 1) * o.lda + a_cols, b_floats = (k - 1) * o.ldb + n;
  o.a = ck_floats(a_floats, (size_t)ck_range(0, 7));
  o.b = ck_floats(b_floats, (size_t)ck_range(0, 7));
  o.c = ck_floats(o.c_floats, (size_t)ck_range(0, 7));
  ck_fill(o.a, a_floats, kind);
  ck_fill(o.b, b_floats, kind);
  ck_fill(o.c, o.c_floats, kind);
  return o;
}

static float *copy_c(const operands *o) {
  float *c = ck_floats(o->c_floats, (size_t)ck_range(0, 7));
  memcpy(c, o->c, (size_t)o->c_floats * sizeof *c);
  return c;
}

static void check_shape(const mtk_kernels *k, int64_t m, int64_t n, int64_t steps, int transposed,
                        ck_kind kind) {
  operands o = make(m, n, steps, transposed, kind);
  gemm_fn *ref = transposed ? ck_ref()->gemm_tn : ck_ref()->gemm_nn;
  gemm_fn *fast = transposed ? k->gemm_tn : k->gemm_nn;
  float *want = copy_c(&o), *got = copy_c(&o), *split = copy_c(&o);
  ref(want, o.ldc, o.a, o.lda, o.b, o.ldb, 0, m, n, steps);
  fast(got, o.ldc, o.a, o.lda, o.b, o.ldb, 0, m, n, steps);
  const char *name = transposed ? "gemm_tn" : "gemm_nn";
  ck_same(want, got, o.c_floats, "%s %lldx%lldx%lld %s", name, (long long)m, (long long)n,
          (long long)steps, ck_kind_name(kind));
  /* Rows in two ranges, columns in two calls, k in two: the same chains. */
  int64_t row = ck_range(0, m), col = ck_range(0, n), cut = ck_range(0, steps);
  const float *a2 = o.a + (transposed ? cut * o.lda : cut), *b2 = o.b + cut * o.ldb;
  for (int part = 0; part < 4; part++) {
    int64_t m0 = part & 1 ? row : 0, m1 = part & 1 ? m : row;
    int64_t j = part & 2 ? col : 0, cols = part & 2 ? n - col : col;
    fast(split + j, o.ldc, o.a, o.lda, o.b + j, o.ldb, m0, m1, cols, cut);
    fast(split + j, o.ldc, a2, o.lda, b2 + j, o.ldb, m0, m1, cols, steps - cut);
  }
  ck_same(want, split, o.c_floats, "%s split %lldx%lldx%lld %s", name, (long long)m, (long long)n,
          (long long)steps, ck_kind_name(kind));
  if (!ck_guards_ok()) ck_fail("%s: wrote outside C", name);
  ck_free_all();
}

static void check_layout(const mtk_kernels *k, int transposed) {
  static const int64_t around[] = {1,  2,  5,  6,  7,  8,  11, 12, 13,
                                   16, 17, 24, 31, 32, 33, 48, 63, 65};
  enum { N = sizeof around / sizeof *around };
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      int64_t steps = around[ck_range(0, N - 1)];
      ck_kind kind = (ck_kind)((i * N + j) % CK_ALL_KINDS);
      check_shape(k, around[i], around[j], steps, transposed, kind);
    }
  }
  static const int64_t large[][3] = {{191, 70, 129}, {193, 33, 257}, {200, 8, 300},
                                     {3, 576, 1000}, {400, 16, 128}, {12, 64, 385}};
  for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
    check_shape(k, large[i][0], large[i][1], large[i][2], transposed, CK_NORMAL);
    check_shape(k, large[i][0], large[i][1], large[i][2], transposed, CK_TINY);
    check_shape(k, large[i][0], large[i][1], large[i][2], transposed, CK_WIDE);
    check_shape(k, large[i][0], large[i][1], large[i][2], transposed, CK_SPECIAL);
  }
}

static void test_nn(const mtk_kernels *k) { check_layout(k, 0); }
static void test_tn(const mtk_kernels *k) { check_layout(k, 1); }

/* |C - exact| <= k * 2^-24 * (|C0| + sum |a b|), the bound of a chain of k roundings. */
static void test_oracle(const mtk_kernels *k) {
  for (int transposed = 0; transposed < 2; transposed++) {
    operands o = make(29, 43, 333, transposed, CK_NORMAL);
    float *got = copy_c(&o);
    (transposed ? k->gemm_tn : k->gemm_nn)(got, o.ldc, o.a, o.lda, o.b, o.ldb, 0, o.m, o.n, o.k);
    for (int64_t i = 0; i < o.m; i++) {
      for (int64_t j = 0; j < o.n; j++) {
        double sum = (double)o.c[i * o.ldc + j], size = fabs(sum);
        for (int64_t s = 0; s < o.k; s++) {
          double a = (double)o.a[transposed ? s * o.lda + i : i * o.lda + s];
          double term = a * (double)o.b[s * o.ldb + j];
          sum += term;
          size += fabs(term);
        }
        double error = fabs((double)got[i * o.ldc + j] - sum);
        if (!(error <= (double)o.k * 0x1p-24 * size)) {
          ck_fail("%s [%lld,%lld] is %g off", transposed ? "tn" : "nn", (long long)i, (long long)j,
                  error);
        }
      }
    }
    ck_free_all();
  }
}

typedef struct bench_case {
  gemm_fn *fn;
  operands o;
} bench_case;

static void run(void *arg) {
  bench_case *b = arg;
  b->fn(b->o.c, b->o.ldc, b->o.a, b->o.lda, b->o.b, b->o.ldb, 0, b->o.m, b->o.n, b->o.k);
}

static double gflops(bench_case *b) {
  double flops = 2.0 * (double)b->o.m * (double)b->o.n * (double)b->o.k;
  return flops / ck_seconds(run, b) * 1e-9;
}

static void bench(const mtk_kernels *k) {
  static const int64_t shapes[][3] = {
      {3000, 128, 128}, {3000, 128, 352}, {3000, 576, 576}, {3000, 1536, 576}, {3000, 576, 1536},
      {200, 576, 1536}, {3000, 8, 576},   {3000, 576, 8},   {30, 128, 352},    {1024, 1024, 1024}};
  if (k == ck_ref()) return;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    int64_t m = shapes[i][0], n = shapes[i][1], inner = shapes[i][2];
    bench_case nn = {k->gemm_nn, make(m, n, inner, 0, CK_NORMAL)};
    bench_case tn = {k->gemm_tn, make(n, inner, m, 1, CK_NORMAL)}; /* k = tokens */
    /* Values would grow without bound when C accumulates for the whole bench. */
    memset(nn.o.a, 0, (size_t)(m * inner) * sizeof(float));
    memset(tn.o.a, 0, (size_t)(m * n) * sizeof(float));
    printf("%-7s gemm_nn %5lldx%4lldx%4lld %7.1f GFLOP/s   gemm_tn %5lldx%4lldx%4lld %7.1f\n",
           k->isa_name, (long long)m, (long long)n, (long long)inner, gflops(&nn), (long long)n,
           (long long)inner, (long long)m, gflops(&tn));
    ck_free_all();
  }
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"gemm_nn", test_nn, bench},
      {"gemm_tn", test_tn, NULL},
      {"double precision", test_oracle, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
