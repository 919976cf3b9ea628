/* tests/kernels/test_vector.c: norms, rope, gates, sums, softmax, losses and the optimizer.
 *
 * Every level against ref on all kinds of data, lengths around the vector sizes and odd alignment;
 * whole calls against split ones; values and derivatives against double precision (derivatives
 * against central differences of the forward formula). --bench prints GB/s. */
#include <math.h>
#include <string.h>

#include "checkker.h"

static const int64_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257, 576};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* n random floats at a random offset from 64-byte alignment. */
static float *random_floats(int64_t n, ck_kind kind) {
  float *x = ck_floats(n, (size_t)ck_range(0, 7));
  ck_fill(x, n, kind);
  return x;
}

static float *copy_of(const float *x, int64_t n) {
  float *y = ck_floats(n, (size_t)ck_range(0, 7));
  memcpy(y, x, (size_t)n * sizeof *y);
  return y;
}

static void check_guards(const char *what, int64_t n) {
  if (!ck_guards_ok()) ck_fail("%s n=%lld: wrote outside its output", what, (long long)n);
  ck_free_all();
}

/* |got - want| within tol * (|want| + scale) */
static void check_near(double got, double want, double tol, double scale, const char *what,
                       int64_t i) {
  if (!(fabs(got - want) <= tol * (fabs(want) + scale))) {
    ck_fail("%s [%lld]: got %.9g, double precision says %.9g", what, (long long)i, got, want);
  }
}

/* Call `one(k, n, kind)` for all lengths and kinds. */
static void each_case(const mtk_kernels *k,
                      void (*one)(const mtk_kernels *, int64_t n, ck_kind kind)) {
  for (int i = 0; i < N_LENGTHS; i++) {
    for (int kind = 0; kind < CK_ALL_KINDS; kind++) one(k, lengths[i], (ck_kind)kind);
  }
}

/* ---- equality with ref -------------------------------------------------------------------- */

static void same_norms(const mtk_kernels *k, int64_t d, ck_kind kind) {
  const mtk_kernels *ref = ck_ref();
  int64_t rows = 3, n = rows * d;
  float *x = random_floats(n, kind), *dy = random_floats(n, kind), *w = random_floats(d, kind);
  float *want = ck_floats(n, 0), *got = ck_floats(n, 3);
  ref->rmsnorm(want, x, w, 1e-5f, rows, d);
  k->rmsnorm(got, x, w, 1e-5f, rows, d);
  ck_same(want, got, n, "rmsnorm d=%lld %s", (long long)d, ck_kind_name(kind));
  for (int64_t t = 0; t < rows; t++) k->rmsnorm(got + t * d, x + t * d, w, 1e-5f, 1, d);
  ck_same(want, got, n, "rmsnorm by rows d=%lld %s", (long long)d, ck_kind_name(kind));
  ref->layernorm(want, x, w, 1e-5f, rows, d);
  k->layernorm(got, x, w, 1e-5f, rows, d);
  ck_same(want, got, n, "layernorm d=%lld %s", (long long)d, ck_kind_name(kind));
  for (int64_t t = 0; t < rows; t++) k->layernorm(got + t * d, x + t * d, w, 1e-5f, 1, d);
  ck_same(want, got, n, "layernorm by rows d=%lld %s", (long long)d, ck_kind_name(kind));
  ref->rmsnorm_dx(want, dy, x, w, 1e-5f, rows, d);
  k->rmsnorm_dx(got, dy, x, w, 1e-5f, rows, d);
  ck_same(want, got, n, "rmsnorm_dx d=%lld %s", (long long)d, ck_kind_name(kind));
  float *dw = random_floats(d, kind), *dw2 = copy_of(dw, d), *dw3 = copy_of(dw, d);
  ref->rmsnorm_dw(dw, dy, x, 1e-5f, rows, d, 0, d);
  k->rmsnorm_dw(dw2, dy, x, 1e-5f, rows, d, 0, d);
  ck_same(dw, dw2, d, "rmsnorm_dw d=%lld %s", (long long)d, ck_kind_name(kind));
  int64_t cut = ck_range(0, d);
  k->rmsnorm_dw(dw3, dy, x, 1e-5f, 1, d, 0, d);
  k->rmsnorm_dw(dw3, dy + d, x + d, 1e-5f, rows - 1, d, cut, d);
  k->rmsnorm_dw(dw3, dy + d, x + d, 1e-5f, rows - 1, d, 0, cut);
  ck_same(dw, dw3, d, "rmsnorm_dw split d=%lld %s", (long long)d, ck_kind_name(kind));
  check_guards("rmsnorm", d);
}

static void same_elementwise(const mtk_kernels *k, int64_t n, ck_kind kind) {
  const mtk_kernels *ref = ck_ref();
  float *a = random_floats(n, kind), *b = random_floats(n, kind), *c = random_floats(n, kind);
  float *want = ck_floats(n, 0), *got = ck_floats(n, 5), *want2 = ck_floats(n, 0);
  float *got2 = ck_floats(n, 1), s = ck_normal();
  const char *kn = ck_kind_name(kind);
  ref->silu_mul(want, a, b, n);
  k->silu_mul(got, a, b, n);
  ck_same(want, got, n, "silu_mul n=%lld %s", (long long)n, kn);
  ref->silu_mul_bwd(want, want2, c, a, b, n);
  k->silu_mul_bwd(got, got2, c, a, b, n);
  ck_same(want, got, n, "silu_mul_bwd dg n=%lld %s", (long long)n, kn);
  ck_same(want2, got2, n, "silu_mul_bwd du n=%lld %s", (long long)n, kn);
  for (int exact = 0; exact < 2; exact++) {
    ref->gelu_mul(want, a, b, exact, n);
    k->gelu_mul(got, a, b, exact, n);
    ck_same(want, got, n, "gelu_mul exact=%d n=%lld %s", exact, (long long)n, kn);
    ref->gelu_mul(want, a, NULL, exact, n);
    k->gelu_mul(got, a, NULL, exact, n);
    ck_same(want, got, n, "gelu exact=%d n=%lld %s", exact, (long long)n, kn);
    ref->gelu_mul_bwd(want, want2, c, a, b, exact, n);
    k->gelu_mul_bwd(got, got2, c, a, b, exact, n);
    ck_same(want, got, n, "gelu_mul_bwd dg exact=%d n=%lld %s", exact, (long long)n, kn);
    ck_same(want2, got2, n, "gelu_mul_bwd du exact=%d n=%lld %s", exact, (long long)n, kn);
  }
  ref->softcap(want, a, 30.0f, n);
  k->softcap(got, a, 30.0f, n);
  ck_same(want, got, n, "softcap n=%lld %s", (long long)n, kn);
  ref->softcap_bwd(want, c, a, 30.0f, n);
  k->softcap_bwd(got, c, a, 30.0f, n);
  ck_same(want, got, n, "softcap_bwd n=%lld %s", (long long)n, kn);
  ref->add(want, a, b, n);
  k->add(got, a, b, n);
  ck_same(want, got, n, "add n=%lld %s", (long long)n, kn);
  ref->add_scaled(want, a, b, s, n);
  k->add_scaled(got, a, b, s, n);
  ck_same(want, got, n, "add_scaled n=%lld %s", (long long)n, kn);
  ref->scale(want, a, s, n);
  int64_t cut = ck_range(0, n);
  k->scale(got, a, s, cut);
  k->scale(got + cut, a + cut, s, n - cut);
  ck_same(want, got, n, "scale n=%lld %s", (long long)n, kn);
  check_guards("elementwise", n);
}

static void same_columns(const mtk_kernels *k, int64_t d, ck_kind kind) {
  const mtk_kernels *ref = ck_ref();
  int64_t rows = 5, ld = d + ck_range(0, 9);
  float *x = random_floats(rows * ld, kind), *db = random_floats(d, kind);
  float *want = copy_of(x, rows * ld), *got = copy_of(x, rows * ld), *db2 = copy_of(db, d);
  ref->add_row(want, db, rows, d, ld);
  k->add_row(got, db, rows, d, ld);
  ck_same(want, got, rows * ld, "add_row d=%lld %s", (long long)d, ck_kind_name(kind));
  int64_t cut = ck_range(0, d), first = ck_range(0, rows);
  ref->col_sum(db, x, rows, d, ld, 0, d);
  k->col_sum(db2, x, first, d, ld, 0, cut);
  k->col_sum(db2, x + first * ld, rows - first, d, ld, 0, cut);
  k->col_sum(db2, x, rows, d, ld, cut, d);
  ck_same(db, db2, d, "col_sum d=%lld %s", (long long)d, ck_kind_name(kind));
  check_guards("columns", d);
}

static void same_softmax(const mtk_kernels *k, int64_t n, ck_kind kind) {
  const mtk_kernels *ref = ck_ref();
  float *x = random_floats(n, kind), *want = ck_floats(n, 0), *got = ck_floats(n, 7);
  const char *kn = ck_kind_name(kind);
  float lse = ref->logsumexp(x, n), lse2 = k->logsumexp(x, n);
  ck_same(&lse, &lse2, 1, "logsumexp n=%lld %s", (long long)n, kn);
  ref->softmax(want, x, n);
  k->softmax(got, x, n);
  ck_same(want, got, n, "softmax n=%lld %s", (long long)n, kn);
  for (int64_t target = -1; target < n; target += 1 + n / 3) {
    ref->softmax_xent_dx(want, x, lse, target, 0.37f, n);
    k->softmax_xent_dx(got, x, lse, target, 0.37f, n);
    ck_same(want, got, n, "softmax_xent_dx n=%lld target=%lld %s", (long long)n, (long long)target,
            kn);
  }
  memcpy(got, x, (size_t)n * sizeof *got);
  k->softmax_xent_dx(got, got, lse, n - 1, 0.37f, n);
  ref->softmax_xent_dx(want, x, lse, n - 1, 0.37f, n);
  ck_same(want, got, n, "softmax_xent_dx in place n=%lld %s", (long long)n, kn);
  check_guards("softmax", n);
}

static void same_optimizer(const mtk_kernels *k, int64_t n, ck_kind kind) {
  const mtk_kernels *ref = ck_ref();
  const mtk_adamw_args a = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.7f, 1.5f, 3.25f};
  float *g = random_floats(n, kind), *p = random_floats(n, kind), *m = random_floats(n, kind);
  float *v = random_floats(n, kind);
  for (int64_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
  float *p2 = copy_of(p, n), *m2 = copy_of(m, n), *v2 = copy_of(v, n);
  ref->adamw(p, m, v, g, n, &a);
  int64_t cut = ck_range(0, n);
  k->adamw(p2 + cut, m2 + cut, v2 + cut, g + cut, n - cut, &a);
  k->adamw(p2, m2, v2, g, cut, &a);
  ck_same(p, p2, n, "adamw p n=%lld %s", (long long)n, ck_kind_name(kind));
  ck_same(m, m2, n, "adamw m n=%lld %s", (long long)n, ck_kind_name(kind));
  ck_same(v, v2, n, "adamw v n=%lld %s", (long long)n, ck_kind_name(kind));
  check_guards("adamw", n);
  int64_t big = 4096 + n * 16;
  float *x = random_floats(big, kind);
  for (int64_t count = n; count <= big; count += big - n) {
    double want = ref->sum_squares(x, count), got = k->sum_squares(x, count);
    if (isnan(want) && isnan(got)) continue;
    ck_same_bytes(&want, &got, sizeof want, "sum_squares n=%lld %s", (long long)count,
                  ck_kind_name(kind));
  }
  ck_free_all();
}

static void same_rope_case(const mtk_kernels *k, int head_dim, int rope_dim, int inter, int inv,
                           ck_kind kind) {
  int64_t rows = 3, n_head = 2, ldx = n_head * head_dim + ck_range(0, 5), ldy = ldx + 3;
  float *x = random_floats(rows * ldx, kind), *cs = random_floats(rows * rope_dim, kind);
  float *want = random_floats(rows * ldy, CK_NORMAL), *got = copy_of(want, rows * ldy);
  ck_ref()->rope(want, ldy, x, ldx, cs, rows, (int)n_head, head_dim, rope_dim, inter, inv);
  k->rope(got, ldy, x, ldx, cs, rows, (int)n_head, head_dim, rope_dim, inter, inv);
  ck_same(want, got, rows * ldy, "rope head_dim=%d rope_dim=%d interleaved=%d inverse=%d %s",
          head_dim, rope_dim, inter, inv, ck_kind_name(kind));
  if (!inter) {
    float *in_place = copy_of(x, rows * ldx);
    k->rope(in_place, ldx, in_place, ldx, cs, rows, (int)n_head, head_dim, rope_dim, 0, inv);
    for (int64_t t = 0; t < rows; t++) {
      ck_same(want + t * ldy, in_place + t * ldx, n_head * head_dim, "rope in place head_dim=%d",
              head_dim);
    }
  }
  check_guards("rope", head_dim);
}

static void same_rope(const mtk_kernels *k) {
  static const int dims[][2] = {{2, 2},   {8, 8},   {8, 4},   {12, 10},  {32, 32}, {48, 48},
                                {64, 64}, {64, 20}, {80, 80}, {128, 96}, {34, 0}};
  for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
    for (int mode = 0; mode < 4 * CK_ALL_KINDS; mode++) {
      same_rope_case(k, dims[i][0], dims[i][1], mode & 1, mode >> 1 & 1, (ck_kind)(mode / 4));
    }
  }
}

static void test_norms(const mtk_kernels *k) { each_case(k, same_norms); }
static void test_elementwise(const mtk_kernels *k) { each_case(k, same_elementwise); }
static void test_columns(const mtk_kernels *k) { each_case(k, same_columns); }
static void test_softmax(const mtk_kernels *k) { each_case(k, same_softmax); }
static void test_optimizer(const mtk_kernels *k) { each_case(k, same_optimizer); }

static void test_vocab_rows(const mtk_kernels *k) {
  for (int64_t n = 511; n < 160000; n = n * 3 + 7) same_softmax(k, n, CK_NORMAL);
}

/* A sum that is -0 in all 16 partials: a tail that adds +0 to the unused ones would turn it. */
static void test_negative_zero(const mtk_kernels *k) {
  enum { N = 17 };
  float x[N], dy[N], w[N], want[N], got[N];
  for (int i = 0; i < N; i++) {
    x[i] = 1e-22f;
    w[i] = 1.0f;
    dy[i] = i == N - 1 ? -0.0f : -1e-26f; /* dy * w * x * r underflows to -0 */
  }
  ck_ref()->rmsnorm_dx(want, dy, x, w, 1e-5f, 1, N);
  k->rmsnorm_dx(got, dy, x, w, 1e-5f, 1, N);
  ck_same(want, got, N, "rmsnorm_dx with a sum of -0");
  if (signbit(want[N - 1])) ck_fail("the case does not make a sum of -0");
}

/* ---- values and derivatives in double precision ------------------------------------------- */

enum { D = 37 };

/* Loss sum_i c_i f_i(v) as a function of v: the derivative along v_i by central differences. */
typedef double loss_fn(const double *v, const void *ctx);
static double slope(loss_fn *loss, double *v, int64_t i, const void *ctx) {
  double keep = v[i], h = 1e-5;
  v[i] = keep + h;
  double up = loss(v, ctx);
  v[i] = keep - h;
  double down = loss(v, ctx);
  v[i] = keep;
  return (up - down) / (2 * h);
}

static void widen(double *to, const float *from, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] = (double)from[i];
}

typedef struct norm_case {
  const float *c; /* weights of the loss */
  double x[D], w[D];
} norm_case;

static double norm_loss(const double *x, const double *w, const float *c) {
  double ss = 0, sum = 0;
  for (int i = 0; i < D; i++) ss += x[i] * x[i];
  for (int i = 0; i < D; i++) sum += (double)c[i] * x[i] / sqrt(ss / D + 1e-5) * w[i];
  return sum;
}
static double norm_loss_x(const double *x, const void *ctx) {
  const norm_case *n = ctx;
  return norm_loss(x, n->w, n->c);
}
static double norm_loss_w(const double *w, const void *ctx) {
  const norm_case *n = ctx;
  return norm_loss(n->x, w, n->c);
}

static void oracle_norms(const mtk_kernels *k) {
  float *x = random_floats(D, CK_NORMAL), *w = random_floats(D, CK_NORMAL);
  float *c = random_floats(D, CK_NORMAL), *dx = ck_floats(D, 0), *dw = ck_floats(D, 0);
  float *y = ck_floats(D, 0);
  norm_case n = {.c = c};
  widen(n.x, x, D);
  widen(n.w, w, D);
  memset(dw, 0, D * sizeof *dw);
  k->rmsnorm(y, x, w, 1e-5f, 1, D);
  k->rmsnorm_dx(dx, c, x, w, 1e-5f, 1, D);
  k->rmsnorm_dw(dw, c, x, 1e-5f, 1, D, 0, D);
  double value = 0;
  for (int i = 0; i < D; i++) {
    value += (double)c[i] * (double)y[i];
    check_near((double)dx[i], slope(norm_loss_x, n.x, i, &n), 1e-5, 0.1, "rmsnorm_dx", i);
    check_near((double)dw[i], slope(norm_loss_w, n.w, i, &n), 1e-5, 0.1, "rmsnorm_dw", i);
  }
  check_near(value, norm_loss(n.x, n.w, c), 1e-5, 0.1, "rmsnorm", 0);
}

static void oracle_layernorm(const mtk_kernels *k) {
  float *x = random_floats(D, CK_NORMAL), *w = random_floats(D, CK_NORMAL), *y = ck_floats(D, 0);
  double mean = 0, variance = 0;
  for (int i = 0; i < D; i++) mean += (double)x[i] / D;
  for (int i = 0; i < D; i++) variance += ((double)x[i] - mean) * ((double)x[i] - mean) / D;
  k->layernorm(y, x, w, 1e-5f, 1, D);
  for (int i = 0; i < D; i++)
    check_near((double)y[i], ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)w[i], 1e-5,
               0.1, "layernorm", i);
}

static double silu_mul_value(double g, double u) { return g / (1 + exp(-g)) * u; }

static void oracle_gate(const mtk_kernels *k) {
  enum { N = 400 };
  float *g = random_floats(N, CK_OUTLIER), *u = random_floats(N, CK_NORMAL);
  float *dy = random_floats(N, CK_NORMAL), *y = ck_floats(N, 0), *dg = ck_floats(N, 0);
  float *du = ck_floats(N, 0);
  k->silu_mul(y, g, u, N);
  k->silu_mul_bwd(dg, du, dy, g, u, N);
  for (int i = 0; i < N; i++) {
    double gi = (double)g[i], ui = (double)u[i], dyi = (double)dy[i], h = 1e-5;
    double sg = (silu_mul_value(gi + h, ui) - silu_mul_value(gi - h, ui)) / (2 * h);
    double su = (silu_mul_value(gi, ui + h) - silu_mul_value(gi, ui - h)) / (2 * h);
    check_near((double)y[i], silu_mul_value(gi, ui), 1e-6, 1e-9, "silu_mul", i);
    check_near((double)dg[i], dyi * sg, 2e-6, 0.1, "silu_mul_bwd dg", i);
    check_near((double)du[i], dyi * su, 2e-6, 0.1, "silu_mul_bwd du", i);
  }
}

static double gelu_value(double g, int exact) {
  double c = sqrt(2 / acos(-1)), inner = c * (g + 0.044715 * g * g * g);
  return exact ? g * erfc(-g / sqrt(2)) / 2 : g * (1 + tanh(inner)) / 2;
}

static void oracle_gelu(const mtk_kernels *k, int exact) {
  enum { N = 400 };
  float *g = random_floats(N, CK_OUTLIER), *u = random_floats(N, CK_NORMAL);
  float *dy = random_floats(N, CK_NORMAL), *y = ck_floats(N, 0), *dg = ck_floats(N, 0);
  float *du = ck_floats(N, 0);
  k->gelu_mul(y, g, u, exact, N);
  k->gelu_mul_bwd(dg, du, dy, g, u, exact, N);
  for (int i = 0; i < N; i++) {
    double gi = (double)g[i], ui = (double)u[i], dyi = (double)dy[i], h = 1e-5;
    double value = gelu_value(gi, exact);
    double slope_g = (gelu_value(gi + h, exact) - gelu_value(gi - h, exact)) / (2 * h);
    check_near((double)y[i], value * ui, 1e-6, 1e-7, exact ? "gelu exact" : "gelu tanh", i);
    check_near((double)dg[i], dyi * ui * slope_g, 2e-6, 0.1, "gelu_mul_bwd dg", i);
    check_near((double)du[i], dyi * value, 1e-6, 1e-7, "gelu_mul_bwd du", i);
  }
}

static void oracle_softcap(const mtk_kernels *k) {
  enum { N = 300 };
  float *x = random_floats(N, CK_OUTLIER), *dy = random_floats(N, CK_NORMAL);
  float *y = ck_floats(N, 0), *dx = ck_floats(N, 0), cap = 3.0f;
  k->softcap(y, x, cap, N);
  k->softcap_bwd(dx, dy, x, cap, N);
  for (int i = 0; i < N; i++) {
    double h = tanh((double)x[i] / 3);
    check_near((double)y[i], 3 * h, 3e-7, 1e-9, "softcap", i);
    check_near((double)dx[i], (double)dy[i] * (1 - h * h), 1e-6, 0.1, "softcap_bwd", i);
  }
}

static double xent(const double *x, const void *ctx) {
  double sum = 0;
  for (int i = 0; i < D; i++) sum += exp(x[i]);
  return log(sum) - x[*(const int *)ctx];
}

static void oracle_loss(const mtk_kernels *k) {
  float *x = random_floats(D, CK_NORMAL), *d = ck_floats(D, 0), *p = ck_floats(D, 0);
  double xd[D];
  int target = 11;
  widen(xd, x, D);
  float lse = k->logsumexp(x, D);
  check_near((double)(lse - x[target]), xent(xd, &target), 1e-6, 0.1, "logsumexp", 0);
  k->softmax_xent_dx(d, x, lse, target, 2.5f, D);
  k->softmax(p, x, D);
  for (int i = 0; i < D; i++) {
    double want = slope(xent, xd, i, &target);
    check_near((double)d[i], 2.5 * want, 1e-6, 0.1, "softmax_xent_dx", i);
    check_near((double)p[i], want + (i == target), 1e-6, 0.01, "softmax", i);
  }
}

static double dot(const float *a, const float *b, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
  return s;
}

/* The inverse undoes a rotation, and is its transpose: <R x, z> = <x, R' z>. A known angle turns
 * the right way. */
static void oracle_rope(const mtk_kernels *k) {
  enum { HEAD = 40, ROPE = 36 };
  const int32_t pos = 1234567;
  double inv_freq[ROPE / 2];
  for (int j = 0; j < ROPE / 2; j++) inv_freq[j] = pow(10000.0, -2.0 * j / ROPE);
  float *cs = ck_floats(ROPE, 0), *x = random_floats(HEAD, CK_NORMAL), *y = ck_floats(HEAD, 1);
  float *z = random_floats(HEAD, CK_NORMAL), *back = ck_floats(HEAD, 0);
  mtk_rope_table(cs, &pos, 1, inv_freq, ROPE, 1.0);
  for (int inter = 0; inter < 2; inter++) {
    k->rope(y, HEAD, x, HEAD, cs, 1, 1, HEAD, ROPE, inter, 0);
    k->rope(back, HEAD, y, HEAD, cs, 1, 1, HEAD, ROPE, inter, 1);
    for (int i = 0; i < HEAD; i++) check_near(back[i], x[i], 1e-6, 1, "rope there and back", i);
    k->rope(back, HEAD, z, HEAD, cs, 1, 1, HEAD, ROPE, inter, 1);
    check_near(dot(y, z, HEAD), dot(x, back, HEAD), 1e-6, 10, "rope transpose", inter);
    for (int j = 0; j < ROPE / 2; j++) {
      double a = x[inter ? 2 * j : j], b = x[inter ? 2 * j + 1 : j + ROPE / 2];
      double angle = pos * inv_freq[j];
      check_near(y[j], a * cos(angle) - b * sin(angle), 1e-6, 1, "rope a", j);
      check_near(y[j + ROPE / 2], a * sin(angle) + b * cos(angle), 1e-6, 1, "rope b", j);
    }
  }
}

static void oracle_adamw(const mtk_kernels *k) {
  enum { N = 50 };
  const mtk_adamw_args a = {1e-2f, 0.9f, 0.99f, 1e-8f, 0.1f, 0.5f, 10.0f, 100.0f};
  float *p = random_floats(N, CK_NORMAL), *m = random_floats(N, CK_NORMAL);
  float *v = random_floats(N, CK_NORMAL), *g = random_floats(N, CK_NORMAL);
  for (int i = 0; i < N; i++) v[i] = fabsf(v[i]);
  float *p2 = copy_of(p, N), *m2 = copy_of(m, N), *v2 = copy_of(v, N);
  k->adamw(p2, m2, v2, g, N, &a);
  for (int i = 0; i < N; i++) {
    double gi = 0.5 * (double)g[i], mi = 0.9 * (double)m[i] + 0.1 * gi;
    double vi = 0.99 * (double)v[i] + 0.01 * gi * gi;
    double pi = (double)p[i] * (1 - 1e-2 * 0.1);
    check_near((double)p2[i], pi - 1e-2 * (mi * 10) / (sqrt(vi * 100) + 1e-8), 1e-5, 1, "adamw", i);
    check_near((double)m2[i], mi, 1e-6, 1, "adamw m", i);
    check_near((double)v2[i], vi, 1e-6, 1, "adamw v", i);
  }
  enum { BIG = 10000 };
  float *x = random_floats(BIG, CK_NORMAL);
  check_near(k->sum_squares(x, BIG), dot(x, x, BIG), 1e-6, 0, "sum_squares", 0);
}

static void test_oracle(const mtk_kernels *k) {
  for (int i = 0; i < 10; i++) {
    oracle_layernorm(k);
    oracle_norms(k);
    oracle_gate(k);
    oracle_gelu(k, 0);
    oracle_gelu(k, 1);
    oracle_softcap(k);
    oracle_loss(k);
    oracle_rope(k);
    oracle_adamw(k);
    check_guards("oracle", 0);
  }
}

/* ---- bench ------------------------------------------------------------------------------- */

typedef struct bench_case {
  const mtk_kernels *k;
  int64_t rows, d;
  float *x, *y, *z, *u;
} bench_case;

#define BENCH(NAME, CALL)                                                                          \
  static void run_##NAME(void *arg) {                                                              \
    bench_case *b = arg;                                                                           \
    CALL;                                                                                          \
  }
static const mtk_adamw_args bench_adamw = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f, 1.5f, 3.0f};
BENCH(rmsnorm, b->k->rmsnorm(b->y, b->x, b->z, 1e-5f, b->rows, b->d))
BENCH(layernorm, b->k->layernorm(b->y, b->x, b->z, 1e-5f, b->rows, b->d))
BENCH(rmsnorm_dx, b->k->rmsnorm_dx(b->y, b->u, b->x, b->z, 1e-5f, b->rows, b->d))
BENCH(rmsnorm_dw, b->k->rmsnorm_dw(b->y, b->u, b->x, 1e-5f, b->rows, b->d, 0, b->d))
BENCH(rope, b->k->rope(b->y, b->d, b->x, b->d, b->z, b->rows, 9, 64, 64, 0, 0))
BENCH(rope_inter, b->k->rope(b->y, b->d, b->x, b->d, b->z, b->rows, 9, 64, 64, 1, 0))
BENCH(silu_mul, b->k->silu_mul(b->y, b->x, b->z, b->rows * b->d))
BENCH(silu_mul_bwd, b->k->silu_mul_bwd(b->y, b->u, b->z, b->x, b->x, b->rows * b->d))
BENCH(gelu_mul, b->k->gelu_mul(b->y, b->x, b->z, 0, b->rows * b->d))
BENCH(gelu_exact, b->k->gelu_mul(b->y, b->x, NULL, 1, b->rows * b->d))
BENCH(softcap, b->k->softcap(b->y, b->x, 30.0f, b->rows * b->d))
BENCH(add, b->k->add(b->y, b->x, b->z, b->rows * b->d))
BENCH(add_row, b->k->add_row(b->y, b->x, b->rows, b->d, b->d))
BENCH(col_sum, b->k->col_sum(b->y, b->x, b->rows, b->d, b->d, 0, b->d))
BENCH(logsumexp, b->y[0] = b->k->logsumexp(b->x, b->rows * b->d))
BENCH(softmax, b->k->softmax(b->y, b->x, b->rows * b->d))
BENCH(xent_dx, b->k->softmax_xent_dx(b->y, b->x, 9.0f, 5, 1.0f, b->rows * b->d))
BENCH(adamw, b->k->adamw(b->x, b->y, b->u, b->z, b->rows * b->d, &bench_adamw))
BENCH(sum_squares, b->y[0] = (float)b->k->sum_squares(b->x, b->rows * b->d))

static const struct {
  const char *name;
  void (*run)(void *);
  double bytes; /* per element */
} benches[] = {
    {"rmsnorm", run_rmsnorm, 12},
    {"layernorm", run_layernorm, 16},
    {"rmsnorm_dx", run_rmsnorm_dx, 16},
    {"rmsnorm_dw", run_rmsnorm_dw, 12},
    {"rope", run_rope, 8},
    {"rope interleaved", run_rope_inter, 8},
    {"silu_mul", run_silu_mul, 12},
    {"silu_mul_bwd", run_silu_mul_bwd, 20},
    {"gelu_mul", run_gelu_mul, 12},
    {"gelu exact", run_gelu_exact, 8},
    {"softcap", run_softcap, 8},
    {"add", run_add, 12},
    {"add_row", run_add_row, 12},
    {"col_sum", run_col_sum, 12},
    {"logsumexp", run_logsumexp, 4},
    {"softmax", run_softmax, 8},
    {"softmax_xent_dx", run_xent_dx, 8},
    {"adamw", run_adamw, 28},
    {"sum_squares", run_sum_squares, 4},
};

static void bench(const mtk_kernels *k) {
  bench_case b = {.k = k, .rows = 85, .d = 576}; /* 49k elements: one row of SmolLM2's logits */
  int64_t n = b.rows * b.d;
  b.x = ck_floats(n, 0), b.y = ck_floats(n, 0), b.z = ck_floats(n, 0), b.u = ck_floats(n, 0);
  for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
    if (!ck_wanted(benches[i].name)) continue;
    ck_fill(b.x, n, CK_NORMAL);
    ck_fill(b.z, n, CK_NORMAL);
    memset(b.y, 0, (size_t)n * sizeof *b.y);
    memset(b.u, 0, (size_t)n * sizeof *b.u);
    double s = ck_seconds(benches[i].run, &b);
    printf("%-7s %-18s 85x576  %7.2f Gelem/s %7.1f GB/s\n", k->isa_name, benches[i].name,
           (double)n / s * 1e-9, (double)n * benches[i].bytes / s * 1e-9);
  }
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"norms", test_norms, bench},
      {"negative zero", test_negative_zero, NULL},
      {"elementwise", test_elementwise, NULL},
      {"columns", test_columns, NULL},
      {"softmax", test_softmax, NULL},
      {"optimizer", test_optimizer, NULL},
      {"rope", same_rope, NULL},
      {"vocabulary rows", test_vocab_rows, NULL},
      {"double precision", test_oracle, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
