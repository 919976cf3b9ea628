/* kernels/ref/vector.c: what norms, rope, gates, sums, softmax, losses and the optimizer mean.
 *
 * Plain C to be read beside <mtk/kernel.h>: every other level must give the same bytes. fmaf rounds
 * once; everything else rounds per operation. Pure functions: any thread may call them on its own
 * rows or columns. */
#include <math.h>
#include <string.h>

#include "exp_poly.h"
#include "families.h"
#include "ref/sum16.h"

/* 1 / rms of a row. */
static float inv_rms(const float *x, float eps, int64_t d) {
  float p[16] = {0};
  for (int64_t i = 0; i < d; i++) p[i % 16] = fmaf(x[i], x[i], p[i % 16]);
  return 1.0f / sqrtf(mtk_ref_tree16(p) / (float)d + eps);
}

static void mtk_k_rmsnorm__ref(float *y, const float *x, const float *w, float eps, int64_t rows,
                               int64_t d) {
  for (int64_t t = 0; t < rows; t++, x += d, y += d) {
    float r = inv_rms(x, eps, d);
    for (int64_t i = 0; i < d; i++) y[i] = x[i] * r * w[i];
  }
}

static void mtk_k_layernorm__ref(float *y, const float *x, const float *w, float eps, int64_t rows,
                                 int64_t d) {
  for (int64_t t = 0; t < rows; t++, x += d, y += d) {
    float sum[16] = {0}, squares[16] = {0};
    for (int64_t i = 0; i < d; i++) sum[i % 16] += x[i];
    float mean = mtk_ref_tree16(sum) / (float)d;
    for (int64_t i = 0; i < d; i++)
      squares[i % 16] = fmaf(x[i] - mean, x[i] - mean, squares[i % 16]);
    float r = 1.0f / sqrtf(mtk_ref_tree16(squares) / (float)d + eps);
    for (int64_t i = 0; i < d; i++) y[i] = (x[i] - mean) * r * w[i];
  }
}

static void mtk_k_rmsnorm_dx__ref(float *dx, const float *dy, const float *x, const float *w,
                                  float eps, int64_t rows, int64_t d) {
  for (int64_t t = 0; t < rows; t++, x += d, dy += d, dx += d) {
    float r = inv_rms(x, eps, d);
    float p[16] = {0};
    for (int64_t i = 0; i < d; i++) p[i % 16] = fmaf(dy[i] * w[i], x[i] * r, p[i % 16]);
    float c = mtk_ref_tree16(p) / (float)d;
    for (int64_t i = 0; i < d; i++) dx[i] = r * fmaf(-(x[i] * r), c, dy[i] * w[i]);
  }
}

static void mtk_k_rmsnorm_dw__ref(float *dw, const float *dy, const float *x, float eps,
                                  int64_t rows, int64_t d, int64_t c0, int64_t c1) {
  for (int64_t t = 0; t < rows; t++, x += d, dy += d) {
    float r = inv_rms(x, eps, d);
    for (int64_t i = c0; i < c1; i++) dw[i] = fmaf(dy[i], x[i] * r, dw[i]);
  }
}

static void mtk_k_rope__ref(float *y, int64_t ldy, const float *x, int64_t ldx,
                            const float *cos_sin, int64_t rows, int n_head, int head_dim,
                            int rope_dim, int interleaved, int inverse) {
  int half = rope_dim / 2;
  /* Where a pair (a, b) stands: p, p + half or 2p, 2p + 1. */
  int in_pairs = interleaved && !inverse, out_pairs = interleaved && inverse;
  for (int64_t t = 0; t < rows; t++, cos_sin += rope_dim) {
    for (int h = 0; h < n_head; h++) {
      const float *xh = x + t * ldx + (int64_t)h * head_dim;
      float *yh = y + t * ldy + (int64_t)h * head_dim;
      for (int i = 0; i < half; i++) {
        float a = in_pairs ? xh[2 * i] : xh[i];
        float b = in_pairs ? xh[2 * i + 1] : xh[i + half];
        float c = cos_sin[2 * i];
        float s = inverse ? -cos_sin[2 * i + 1] : cos_sin[2 * i + 1];
        yh[out_pairs ? 2 * i : i] = fmaf(a, c, -(b * s));
        yh[out_pairs ? 2 * i + 1 : i + half] = fmaf(b, c, a * s);
      }
      for (int i = rope_dim; i < head_dim; i++) yh[i] = xh[i];
    }
  }
}

static void mtk_k_silu_mul__ref(float *y, const float *g, const float *u, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = g[i] / (1.0f + mtk_math_expf(-g[i])) * u[i];
}

static void mtk_k_silu_mul_bwd__ref(float *dg, float *du, const float *dy, const float *g,
                                    const float *u, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float gi = g[i], dyi = dy[i], dyu = dyi * u[i];
    float e1 = 1.0f + mtk_math_expf(-gi);
    float sg = 1.0f / e1;
    du[i] = dyi * (gi / e1);
    dg[i] = dyu * (sg * fmaf(gi, 1.0f - sg, 1.0f));
  }
}

/* gelu(g) and its slope. */
static float gelu_tanh(float g, float *slope) {
  float z = g * g;
  float e = mtk_math_expf(g * fmaf(z, -MTK_GELU_C1, -MTK_GELU_C0));
  float e1 = 1.0f + e, sg = 1.0f / e1;
  *slope = fmaf(g * fmaf(z, MTK_GELU_C1X3, MTK_GELU_C0), sg * (1.0f - sg), sg);
  return g / e1;
}

static float gelu_exact(float g, float *slope) {
  static const float c[] = MTK_GELU_Q;
  float u = 1.0f / fmaf(MTK_GELU_U, fabsf(g), 1.0f);
  float e = mtk_math_expf(-0.5f * g * g), q = c[8];
  for (int i = 7; i >= 0; i--) q = fmaf(q, u, c[i]);
  float tail = e * q, p = g < 0.0f ? tail : 1.0f - tail;
  *slope = fmaf(g, e * MTK_GELU_PDF, p);
  return g * p;
}

static void mtk_k_gelu_mul__ref(float *y, const float *g, const float *u, int exact, int64_t n) {
  float slope;
  for (int64_t i = 0; i < n; i++) {
    float v = exact ? gelu_exact(g[i], &slope) : gelu_tanh(g[i], &slope);
    y[i] = u ? v * u[i] : v;
  }
}

static void mtk_k_gelu_mul_bwd__ref(float *dg, float *du, const float *dy, const float *g,
                                    const float *u, int exact, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float slope, dyi = dy[i], dyu = dyi * u[i];
    du[i] = dyi * (exact ? gelu_exact(g[i], &slope) : gelu_tanh(g[i], &slope));
    dg[i] = dyu * slope;
  }
}

static void mtk_k_softcap__ref(float *y, const float *x, float cap, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = cap * mtk_math_tanhf(x[i] / cap);
}

static void mtk_k_softcap_bwd__ref(float *dx, const float *dy, const float *x, float cap,
                                   int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float h = mtk_math_tanhf(x[i] / cap);
    dx[i] = dy[i] * fmaf(-h, h, 1.0f);
  }
}

static void mtk_k_add__ref(float *y, const float *a, const float *b, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void mtk_k_add_scaled__ref(float *y, const float *a, const float *b, float s, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = fmaf(s, b[i], a[i]);
}

static void mtk_k_add_row__ref(float *y, const float *bias, int64_t rows, int64_t d, int64_t ldy) {
  for (int64_t t = 0; t < rows; t++, y += ldy) {
    for (int64_t i = 0; i < d; i++) y[i] += bias[i];
  }
}

static void mtk_k_col_sum__ref(float *db, const float *dy, int64_t rows, int64_t d, int64_t ld,
                               int64_t c0, int64_t c1) {
  (void)d;
  for (int64_t t = 0; t < rows; t++, dy += ld) {
    for (int64_t c = c0; c < c1; c++) db[c] += dy[c];
  }
}

static void mtk_k_scale__ref(float *y, const float *x, float s, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * s;
}

static float row_max(const float *x, int64_t n) {
  float mx = -INFINITY;
  for (int64_t i = 0; i < n; i++) mx = x[i] > mx ? x[i] : mx;
  return mx;
}

static float mtk_k_logsumexp__ref(const float *x, int64_t n) {
  float mx = row_max(x, n);
  float p[16] = {0};
  for (int64_t i = 0; i < n; i++) p[i % 16] += mtk_math_expf(x[i] - mx);
  return mx + mtk_math_logf(mtk_ref_tree16(p));
}

static void mtk_k_softmax_xent_dx__ref(float *d, const float *x, float lse, int64_t target, float g,
                                       int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float p = mtk_math_expf(x[i] - lse);
    d[i] = (i == target ? p - 1.0f : p) * g;
  }
}

static void mtk_k_softmax__ref(float *out, const float *x, int64_t n) {
  float mx = row_max(x, n);
  float p[16] = {0};
  for (int64_t i = 0; i < n; i++) {
    out[i] = mtk_math_expf(x[i] - mx);
    p[i % 16] += out[i];
  }
  float inv = 1.0f / mtk_ref_tree16(p);
  for (int64_t i = 0; i < n; i++) out[i] *= inv;
}

static void mtk_k_adamw__ref(float *p, float *m, float *v, const float *grad, int64_t n,
                             const mtk_adamw_args *a) {
  float keep1 = 1.0f - a->beta1, keep2 = 1.0f - a->beta2;
  float decay = -a->lr * a->weight_decay;
  for (int64_t i = 0; i < n; i++) {
    float g = grad[i] * a->grad_scale;
    m[i] = fmaf(a->beta1, m[i], keep1 * g);
    v[i] = fmaf(a->beta2, v[i], keep2 * (g * g));
    float decayed = fmaf(decay, p[i], p[i]);
    p[i] = decayed - a->lr * (m[i] * a->corr1 / (sqrtf(v[i] * a->corr2) + a->eps));
  }
}

static double mtk_k_sum_squares__ref(const float *x, int64_t n) {
  double sum = 0.0;
  for (int64_t b = 0; b < n; b += 4096) {
    float p[16] = {0};
    for (int64_t i = b; i < n && i < b + 4096; i++) p[i % 16] = fmaf(x[i], x[i], p[i % 16]);
    sum += (double)mtk_ref_tree16(p);
  }
  return sum;
}

void mtk_k_vector_init__ref(mtk_kernels *table) {
  table->rmsnorm = mtk_k_rmsnorm__ref;
  table->layernorm = mtk_k_layernorm__ref;
  table->rmsnorm_dx = mtk_k_rmsnorm_dx__ref;
  table->rmsnorm_dw = mtk_k_rmsnorm_dw__ref;
  table->rope = mtk_k_rope__ref;
  table->silu_mul = mtk_k_silu_mul__ref;
  table->silu_mul_bwd = mtk_k_silu_mul_bwd__ref;
  table->gelu_mul = mtk_k_gelu_mul__ref;
  table->gelu_mul_bwd = mtk_k_gelu_mul_bwd__ref;
  table->softcap = mtk_k_softcap__ref;
  table->softcap_bwd = mtk_k_softcap_bwd__ref;
  table->add = mtk_k_add__ref;
  table->add_scaled = mtk_k_add_scaled__ref;
  table->add_row = mtk_k_add_row__ref;
  table->col_sum = mtk_k_col_sum__ref;
  table->scale = mtk_k_scale__ref;
  table->logsumexp = mtk_k_logsumexp__ref;
  table->softmax_xent_dx = mtk_k_softmax_xent_dx__ref;
  table->softmax = mtk_k_softmax__ref;
  table->adamw = mtk_k_adamw__ref;
  table->sum_squares = mtk_k_sum_squares__ref;
}
