/* tests/kernels/test_linear_k.c: arithmetic a8 of the superblock types (q2_k .. q6_k, iq4_xs).
 * Equality with ref by memcmp for every number of rows and every tail, with extreme codes and
 * scales; ref against doubles of the decoded weights times the quantized activations. */
#include <math.h>
#include <string.h>

#include "kernels/checkker.h"

/* Where the f16 d and dmin of a superblock stand; dmin 0: none. */
typedef struct super_type {
  mtk_dtype type;
  int d, dmin;
} super_type;
static const super_type types[] = {{MTK_Q2_K, 80, 82}, {MTK_Q3_K, 108, 0}, {MTK_Q4_K, 0, 2},
                                   {MTK_Q5_K, 0, 2},   {MTK_Q6_K, 208, 0}, {MTK_IQ4_XS, 0, 0}};
enum { N_TYPES = sizeof types / sizeof *types, SUPER = 256 };

/* ---- weights and activations ---------------------------------------- */
enum { W_RANDOM, W_ONES, W_LOW, W_ZERO, W_DENORMAL, W_KINDS };

static void put_f16(uint8_t *p, uint16_t h) { memcpy(p, &h, sizeof h); }

static uint16_t any_scale(int kind) {
  if (kind == W_DENORMAL) return (uint16_t)(ck_range(0, 0x3ff) | ck_range(0, 1) << 15);
  return mtk_f32_to_f16(0.01f * ck_normal());
}

/* Random bytes, all ones (largest codes and, unsigned, scales), 0x80 (lowest signed scales), all
 * zero, or random with denormal d; d and dmin always finite. */
static uint8_t *make_weights(const super_type *t, int64_t n, int64_t k, int kind) {
  static const int fill[W_KINDS] = {[W_ONES] = 0xff, [W_LOW] = 0x80};
  size_t bytes = mtk_dtype_bytes(t->type, (uint64_t)(n * k));
  uint8_t *w = ck_buf(bytes, 1);
  if (kind == W_RANDOM || kind == W_DENORMAL)
    ck_fill_bytes(w, bytes);
  else
    memset(w, fill[kind], bytes);
  for (size_t i = 0; i < bytes; i += mtk_dtype_get(t->type)->block_bytes) {
    put_f16(w + i + t->d, any_scale(kind));
    if (t->dmin) put_f16(w + i + t->dmin, any_scale(kind));
  }
  return w;
}

/* What integer sums are largest with: every q is 127 or -127. */
enum { X_EXTREME = CK_ALL_KINDS };
static float *make_x(int64_t count, int kind) {
  float *x = ck_floats(count, (size_t)ck_range(0, 3));
  if (kind < CK_ALL_KINDS) {
    ck_fill(x, count, (ck_kind)kind);
    return x;
  }
  int sign = ck_range(0, 1) ? 1 : -1, mixed = (int)ck_range(0, 1);
  for (int64_t i = 0; i < count; i++) x[i] = (float)(mixed && ck_range(0, 1) ? -sign : sign);
  return x;
}

typedef struct super_case {
  const super_type *t;
  int64_t m, n, k, ldx, ldy;
  mtk_wview w;
  const float *x;
  char text[160];
} super_case;

static super_case make_case(const super_type *t, int64_t m, int64_t n, int64_t k, int x_kind,
                            int w_kind) {
  super_case c = {.t = t, .m = m, .n = n, .k = k};
  c.ldx = k + ck_range(0, 3);
  c.ldy = n + ck_range(0, 3);
  c.w = (mtk_wview){.type = t->type, .n = n, .k = k, .n_rows = n};
  c.w.data = make_weights(t, n, k, w_kind);
  c.x = make_x(m * c.ldx, x_kind);
  snprintf(c.text, sizeof c.text, "%s m=%lld n=%lld k=%lld x %s w %d", mtk_dtype_get(t->type)->name,
           (long long)m, (long long)n, (long long)k,
           x_kind < CK_ALL_KINDS ? ck_kind_name((ck_kind)x_kind) : "extreme", w_kind);
  return c;
}

static int64_t panels_of(int64_t n) { return (n + MTK_PANEL - 1) / MTK_PANEL; }

/* y of the case; the rows of x prepared and multiplied, and the panels, cut at m_cut and p_cut. */
static float *run_case(const mtk_kernels *k, const super_case *c, int64_t m_cut, int64_t p_cut) {
  const mtk_linear_kernel *l = k->linear[c->t->type][MTK_A8];
  int64_t panels = panels_of(c->n);
  const int64_t ms[] = {0, m_cut, c->m}, ps[] = {0, p_cut, panels};
  void *packed = ck_buf(l->packed_bytes(c->n, c->k) - l->grid_bytes(c->n, c->k), 0);
  void *act = ck_buf(l->act_bytes(c->m, c->k), 0);
  float *y = ck_floats(c->m * c->ldy, 1);
  for (int i = 1; i >= 0; i--) {
    l->pack(packed, &c->w, ps[i], ps[i + 1]);
    l->prepare(act, c->x, c->ldx, c->m, ms[i], ms[i + 1], c->k);
  }
  for (int i = 1; i >= 0; i--) {
    for (int j = 1; j >= 0; j--) {
      l->run(y, c->ldy, act, c->m, ms[i], ms[i + 1], packed, c->n, c->k, ps[j], ps[j + 1]);
    }
  }
  return y;
}

static void compare(const mtk_kernels *k, const super_case *c) {
  const float *want = run_case(ck_ref(), c, 0, 0);
  if (k != ck_ref()) ck_same(want, run_case(k, c, 0, 0), c->m * c->ldy, "%s", c->text);
  int64_t m_cut = ck_range(0, c->m), p_cut = ck_range(0, panels_of(c->n));
  ck_same(want, run_case(k, c, m_cut, p_cut), c->m * c->ldy, "%s cut at %lld, panel %lld", c->text,
          (long long)m_cut, (long long)p_cut);
  if (!ck_guards_ok()) ck_fail("%s: wrote outside its buffers", c->text);
  ck_free_all();
}

/* ---- equality ---------------------------------------- */
static void test_rows(const mtk_kernels *k) {
  for (int t = 0; t < N_TYPES; t++) {
    for (int64_t m = 1; m <= 40; m++) {
      super_case c =
          make_case(&types[t], m, ck_range(1, 70), SUPER * ck_range(1, 3), CK_NORMAL, W_RANDOM);
      compare(k, &c);
    }
    static const int64_t many[] = {97, 192, 195};
    for (int i = 0; i < 3; i++) {
      super_case c = make_case(&types[t], many[i], 33, 2 * SUPER, CK_OUTLIER, W_RANDOM);
      compare(k, &c);
    }
  }
}

static void test_columns(const mtk_kernels *k) {
  for (int t = 0; t < N_TYPES; t++) {
    for (int64_t n = 1; n <= 33; n++) {
      super_case c =
          make_case(&types[t], ck_range(1, 9), n, SUPER * ck_range(1, 3), CK_NORMAL, W_RANDOM);
      compare(k, &c);
    }
    for (int64_t blocks = 1; blocks <= 9; blocks++) {
      super_case c = make_case(&types[t], ck_range(1, 9), ck_range(60, 140), SUPER * blocks,
                               CK_NORMAL, W_RANDOM);
      compare(k, &c);
    }
  }
}

static void test_extremes(const mtk_kernels *k) {
  for (int t = 0; t < N_TYPES; t++) {
    for (int x = 0; x <= X_EXTREME; x++) {
      for (int w = 0; w < W_KINDS; w++) {
        for (int64_t m = 1; m <= 22; m += 7) {
          super_case c = make_case(&types[t], m, ck_range(1, 50), SUPER * ck_range(1, 2), x, w);
          compare(k, &c);
        }
      }
    }
  }
}

/* NaN and Inf among the activations give NaN in their row only. */
static void test_not_finite(const mtk_kernels *k) {
  static const float specials[] = {NAN, -NAN, INFINITY, -INFINITY};
  for (int t = 0; t < N_TYPES; t++) {
    for (int i = 0; i < 4; i++) {
      for (int64_t m = 2; m <= 8; m += 6) {
        super_case c = make_case(&types[t], m, 20, 2 * SUPER, CK_NORMAL, W_RANDOM);
        const float *want = run_case(ck_ref(), &c, 0, 0);
        ((float *)(uintptr_t)c.x)[c.ldx + ck_range(0, 2 * SUPER - 1)] = specials[i];
        const float *got = run_case(k, &c, 0, 0);
        for (int64_t r = 0; r < m; r++) {
          for (int64_t n = 0; n < c.n; n++) {
            int64_t at = r * c.ldy + n;
            int right = r == 1 ? isnan(got[at]) : memcmp(&want[at], &got[at], sizeof *got) == 0;
            if (!right)
              ck_fail("%s: special %d, y[%lld,%lld]", c.text, i, (long long)r, (long long)n);
          }
        }
        ck_free_all();
      }
    }
  }
}

/* ---- meaning ---------------------------------------- */
/* x as a8 sees it: per 256 d_a = amax / 127, q = nearest of x * (127 / amax). */
static void quantized(double *xq, const float *x) {
  float amax = 0;
  for (int i = 0; i < SUPER; i++) amax = fmaxf(amax, fabsf(x[i]));
  float inverse = 127.0f / amax, d = amax / 127.0f;
  for (int i = 0; i < SUPER; i++) xq[i] = (double)rintf(x[i] * inverse) * (double)d;
}

/* Every superblock adds at most six roundings of its own terms (two conversions, d * isum, fma of
 * the minimums, d_a, acc), and decoding rounds d * scale and the minimum's product once more. */
static void meaning(const mtk_kernels *k, const super_type *t, int w_kind) {
  enum { M = 3, N = 21, BLOCKS = 3, K = BLOCKS * SUPER };
  super_case c = make_case(t, M, N, K, CK_NORMAL, w_kind);
  const float *y = run_case(k, &c, 0, 0);
  for (int64_t n = 0; n < N; n++) {
    float w[K];
    const uint8_t *row = (const uint8_t *)c.w.data + mtk_dtype_bytes(t->type, (uint64_t)(n * K));
    mtk_dtype_decode(t->type, w, row, K);
    for (int64_t m = 0; m < M; m++) {
      double sum = 0, size = 0;
      for (int b = 0; b < BLOCKS; b++) {
        double x[SUPER];
        uint8_t min_only[512];
        float v[SUPER];
        /* The size of the parts: d * isum and dmin * msum may nearly cancel. */
        memcpy(min_only, row + mtk_dtype_bytes(t->type, (uint64_t)(b * SUPER)),
               mtk_dtype_get(t->type)->block_bytes);
        put_f16(min_only + t->d, 0);
        mtk_dtype_decode(t->type, v, min_only, SUPER);
        quantized(x, c.x + m * c.ldx + b * SUPER);
        for (int i = 0; i < SUPER; i++) {
          double term = x[i] * (double)w[b * SUPER + i];
          sum += term;
          size += fabs(term) + (t->dmin ? 2 * fabs(x[i] * (double)v[i]) : 0);
        }
      }
      double error = fabs((double)y[m * c.ldy + n] - sum);
      if (!(error <= 8 * 0x1p-24 * size)) {
        ck_fail("%s: y[%lld,%lld] is %.9g, want %.9g +- %.2g", c.text, (long long)m, (long long)n,
                (double)y[m * c.ldy + n], sum, 8 * 0x1p-24 * size);
      }
    }
  }
  ck_free_all();
}

static void test_meaning(const mtk_kernels *k) {
  for (int t = 0; t < N_TYPES; t++) {
    for (int rep = 0; rep < 4; rep++) meaning(k, &types[t], W_RANDOM);
    meaning(k, &types[t], W_ONES);
    meaning(k, &types[t], W_LOW);
  }
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"linear_k_meaning", test_meaning, NULL},
      {"linear_k_rows", test_rows, NULL},
      {"linear_k_columns", test_columns, NULL},
      {"linear_k_extremes", test_extremes, NULL},
      {"linear_k_not_finite", test_not_finite, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
