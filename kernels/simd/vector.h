/* kernels/simd/vector.h: the kernels of ref/vector.c over vectors (see lanes.h). Included once by
 * avx2/vector.c and avx512/vector.c. Sums of a row are 16 partials as lanes; everything else is
 * elementwise, so lanes change no rounding. Pure functions, any thread. */
#include "families.h"
#include "simd/lanes.h"

/* 1 / rms of a row. */
MTK_INLINE float inv_rms(const float *x, float eps, int64_t d) {
  v16 s = v16_set1(0.0f);
  MTK_EACH_PART(h, i, left, d) {
    vf v = vf_load_n(x + i, left);
    s.p[h] = vf_fma(v, v, s.p[h]);
  }
  return 1.0f / sqrtf(v16_sum(s) / (float)d + eps);
}

static void MTK_K(rmsnorm)(float *y, const float *x, const float *w, float eps, int64_t rows,
                           int64_t d) {
  for (int64_t t = 0; t < rows; t++, x += d, y += d) {
    vf r = vf_set1(inv_rms(x, eps, d));
    MTK_EACH_VECTOR(i, left, d) {
      vf xh = vf_mul(vf_load_n(x + i, left), r);
      vf_store_n(y + i, vf_mul(xh, vf_load_n(w + i, left)), left);
    }
  }
}

static void MTK_K(layernorm)(float *y, const float *x, const float *w, float eps, int64_t rows,
                             int64_t d) {
  for (int64_t t = 0; t < rows; t++, x += d, y += d) {
    v16 sum = v16_set1(0.0f), squares = v16_set1(0.0f);
    MTK_EACH_PART(h, i, left, d) {
      sum.p[h] = vf_keep_n(sum.p[h], vf_add(sum.p[h], vf_load_n(x + i, left)), left);
    }
    vf mean = vf_set1(v16_sum(sum) / (float)d);
    MTK_EACH_PART(h, i, left, d) {
      vf c = vf_sub(vf_load_n(x + i, left), mean);
      squares.p[h] = vf_keep_n(squares.p[h], vf_fma(c, c, squares.p[h]), left);
    }
    vf r = vf_set1(1.0f / sqrtf(v16_sum(squares) / (float)d + eps));
    MTK_EACH_VECTOR(i, left, d) {
      vf ch = vf_mul(vf_sub(vf_load_n(x + i, left), mean), r);
      vf_store_n(y + i, vf_mul(ch, vf_load_n(w + i, left)), left);
    }
  }
}

static void MTK_K(rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *w, float eps,
                              int64_t rows, int64_t d) {
  for (int64_t t = 0; t < rows; t++, x += d, dy += d, dx += d) {
    vf r = vf_set1(inv_rms(x, eps, d));
    v16 s = v16_set1(0.0f);
    MTK_EACH_PART(h, i, left, d) {
      vf g = vf_mul(vf_load_n(dy + i, left), vf_load_n(w + i, left));
      vf xh = vf_mul(vf_load_n(x + i, left), r);
      s.p[h] = vf_keep_n(s.p[h], vf_fma(g, xh, s.p[h]), left);
    }
    vf c = vf_set1(v16_sum(s) / (float)d);
    MTK_EACH_VECTOR(i, left, d) {
      vf g = vf_mul(vf_load_n(dy + i, left), vf_load_n(w + i, left));
      vf xh = vf_mul(vf_load_n(x + i, left), r);
      vf_store_n(dx + i, vf_mul(r, vf_fma(vf_neg(xh), c, g)), left);
    }
  }
}

static void MTK_K(rmsnorm_dw)(float *dw, const float *dy, const float *x, float eps, int64_t rows,
                              int64_t d, int64_t c0, int64_t c1) {
  for (int64_t t = 0; t < rows; t++, x += d, dy += d) {
    vf r = vf_set1(inv_rms(x, eps, d));
    MTK_EACH_VECTOR(j, left, c1 - c0) {
      int64_t i = c0 + j;
      vf xh = vf_mul(vf_load_n(x + i, left), r);
      vf_store_n(dw + i, vf_fma(vf_load_n(dy + i, left), xh, vf_load_n(dw + i, left)), left);
    }
  }
}

/* Rotate pairs 0..LANES-1 from (a, b) to (a', b'); sign is -1 for the inverse. */
MTK_INLINE void rotate(vf *a, vf *b, const float *cos_sin, vf sign) {
  vf c, s;
  vf_unzip(vf_load(cos_sin), vf_load(cos_sin + LANES), &c, &s);
  s = vf_mul(s, sign);
  vf y = vf_fma(*a, c, vf_neg(vf_mul(*b, s)));
  *b = vf_fma(*b, c, vf_mul(*a, s));
  *a = y;
}

/* Pairs from..half-1 of one head, one at a time. */
static void rope_tail(float *y, const float *x, const float *cos_sin, int from, int half,
                      int in_pairs, int out_pairs, float sign) {
  for (int i = from; i < half; i++) {
    float a = in_pairs ? x[2 * i] : x[i];
    float b = in_pairs ? x[2 * i + 1] : x[i + half];
    float c = cos_sin[2 * i], s = cos_sin[2 * i + 1] * sign;
    y[out_pairs ? 2 * i : i] = fmaf(a, c, -(b * s));
    y[out_pairs ? 2 * i + 1 : i + half] = fmaf(b, c, a * s);
  }
}

static void rope_head(float *y, const float *x, const float *cos_sin, int half, int in_pairs,
                      int out_pairs, float sign) {
  int i = 0;
  for (; i + LANES <= half; i += LANES) {
    vf a, b;
    if (in_pairs) {
      vf_unzip(vf_load(x + 2 * i), vf_load(x + 2 * i + LANES), &a, &b);
    } else {
      a = vf_load(x + i);
      b = vf_load(x + i + half);
    }
    rotate(&a, &b, cos_sin + 2 * i, vf_set1(sign));
    if (out_pairs) vf_zip(a, b, &a, &b);
    vf_store(out_pairs ? y + 2 * i : y + i, a);
    vf_store(out_pairs ? y + 2 * i + LANES : y + i + half, b);
  }
  rope_tail(y, x, cos_sin, i, half, in_pairs, out_pairs, sign);
}

static void MTK_K(rope)(float *y, int64_t ldy, const float *x, int64_t ldx, const float *cos_sin,
                        int64_t rows, int n_head, int head_dim, int rope_dim, int interleaved,
                        int inverse) {
  int in_pairs = interleaved && !inverse, out_pairs = interleaved && inverse;
  float sign = inverse ? -1.0f : 1.0f;
  for (int64_t t = 0; t < rows; t++, cos_sin += rope_dim) {
    for (int h = 0; h < n_head; h++) {
      const float *xh = x + t * ldx + (int64_t)h * head_dim;
      float *yh = y + t * ldy + (int64_t)h * head_dim;
      rope_head(yh, xh, cos_sin, rope_dim / 2, in_pairs, out_pairs, sign);
      for (int i = rope_dim; i < head_dim; i++) yh[i] = xh[i];
    }
  }
}

static void MTK_K(silu_mul)(float *y, const float *g, const float *u, int64_t n) {
  const vf one = vf_set1(1.0f);
  MTK_EACH_VECTOR(i, left, n) {
    vf gi = vf_load_n(g + i, left);
    vf silu = vf_div(gi, vf_add(one, vf_exp(vf_neg(gi))));
    vf_store_n(y + i, vf_mul(silu, vf_load_n(u + i, left)), left);
  }
}

static void MTK_K(silu_mul_bwd)(float *dg, float *du, const float *dy, const float *g,
                                const float *u, int64_t n) {
  const vf one = vf_set1(1.0f);
  MTK_EACH_VECTOR(i, left, n) {
    vf gi = vf_load_n(g + i, left), dyi = vf_load_n(dy + i, left);
    vf dyu = vf_mul(dyi, vf_load_n(u + i, left));
    vf e1 = vf_add(one, vf_exp(vf_neg(gi)));
    vf sg = vf_div(one, e1);
    vf slope = vf_mul(sg, vf_fma(gi, vf_sub(one, sg), one));
    vf_store_n(du + i, vf_mul(dyi, vf_div(gi, e1)), left);
    vf_store_n(dg + i, vf_mul(dyu, slope), left);
  }
}

/* gelu(g) and its slope. */
MTK_INLINE vf gelu_tanh(vf g, vf *slope) {
  const vf one = vf_set1(1.0f);
  vf z = vf_mul(g, g);
  vf e = vf_exp(vf_mul(g, vf_fma(z, vf_set1(-MTK_GELU_C1), vf_set1(-MTK_GELU_C0))));
  vf e1 = vf_add(one, e), sg = vf_div(one, e1);
  vf inner = vf_mul(g, vf_fma(z, vf_set1(MTK_GELU_C1X3), vf_set1(MTK_GELU_C0)));
  *slope = vf_fma(inner, vf_mul(sg, vf_sub(one, sg)), sg);
  return vf_div(g, e1);
}

MTK_INLINE vf gelu_exact(vf g, vf *slope) {
  static const float c[] = MTK_GELU_Q;
  const vf one = vf_set1(1.0f);
  vf u = vf_div(one, vf_fma(vf_set1(MTK_GELU_U), vf_abs(g), one));
  vf e = vf_exp(vf_mul(vf_mul(vf_set1(-0.5f), g), g)), q = vf_set1(c[8]);
  for (int i = 7; i >= 0; i--) q = vf_fma(q, u, vf_set1(c[i]));
  vf tail = vf_mul(e, q);
  vf p = vf_if_less(g, vf_set1(0.0f), tail, vf_sub(one, tail));
  *slope = vf_fma(g, vf_mul(e, vf_set1(MTK_GELU_PDF)), p);
  return vf_mul(g, p);
}

static void MTK_K(gelu_mul)(float *y, const float *g, const float *u, int exact, int64_t n) {
  MTK_EACH_VECTOR(i, left, n) {
    vf slope, gi = vf_load_n(g + i, left);
    vf v = exact ? gelu_exact(gi, &slope) : gelu_tanh(gi, &slope);
    vf_store_n(y + i, u ? vf_mul(v, vf_load_n(u + i, left)) : v, left);
  }
}

static void MTK_K(gelu_mul_bwd)(float *dg, float *du, const float *dy, const float *g,
                                const float *u, int exact, int64_t n) {
  MTK_EACH_VECTOR(i, left, n) {
    vf slope, gi = vf_load_n(g + i, left), dyi = vf_load_n(dy + i, left);
    vf dyu = vf_mul(dyi, vf_load_n(u + i, left));
    vf v = exact ? gelu_exact(gi, &slope) : gelu_tanh(gi, &slope);
    vf_store_n(du + i, vf_mul(dyi, v), left);
    vf_store_n(dg + i, vf_mul(dyu, slope), left);
  }
}

static void MTK_K(softcap)(float *y, const float *x, float cap, int64_t n) {
  const vf c = vf_set1(cap);
  MTK_EACH_VECTOR(i, left, n) {
    vf_store_n(y + i, vf_mul(c, vf_tanh(vf_div(vf_load_n(x + i, left), c))), left);
  }
}

static void MTK_K(softcap_bwd)(float *dx, const float *dy, const float *x, float cap, int64_t n) {
  const vf c = vf_set1(cap), one = vf_set1(1.0f);
  MTK_EACH_VECTOR(i, left, n) {
    vf h = vf_tanh(vf_div(vf_load_n(x + i, left), c));
    vf slope = vf_fma(vf_neg(h), h, one);
    vf_store_n(dx + i, vf_mul(vf_load_n(dy + i, left), slope), left);
  }
}

static void MTK_K(add)(float *y, const float *a, const float *b, int64_t n) {
  MTK_EACH_VECTOR(i, left, n) {
    vf_store_n(y + i, vf_add(vf_load_n(a + i, left), vf_load_n(b + i, left)), left);
  }
}

static void MTK_K(add_scaled)(float *y, const float *a, const float *b, float s, int64_t n) {
  MTK_EACH_VECTOR(i, left, n) {
    vf sum = vf_fma(vf_set1(s), vf_load_n(b + i, left), vf_load_n(a + i, left));
    vf_store_n(y + i, sum, left);
  }
}

static void MTK_K(add_row)(float *y, const float *bias, int64_t rows, int64_t d, int64_t ldy) {
  for (int64_t t = 0; t < rows; t++, y += ldy) MTK_K(add)(y, y, bias, d);
}

static void MTK_K(col_sum)(float *db, const float *dy, int64_t rows, int64_t d, int64_t ld,
                           int64_t c0, int64_t c1) {
  (void)d;
  for (int64_t t = 0; t < rows; t++, dy += ld) MTK_K(add)(db + c0, db + c0, dy + c0, c1 - c0);
}

static void MTK_K(scale)(float *y, const float *x, float s, int64_t n) {
  MTK_EACH_VECTOR(i, left, n) {
    vf_store_n(y + i, vf_mul(vf_load_n(x + i, left), vf_set1(s)), left);
  }
}

static float MTK_K(logsumexp)(const float *x, int64_t n) {
  float mx = row_max(x, n);
  v16 s = v16_set1(0.0f);
  MTK_EACH_PART(h, i, left, n) {
    vf e = vf_exp(vf_sub(vf_load_n(x + i, left), vf_set1(mx)));
    s.p[h] = vf_keep_n(s.p[h], vf_add(s.p[h], e), left);
  }
  return mx + mtk_math_logf(v16_sum(s));
}

static void MTK_K(softmax_xent_dx)(float *d, const float *x, float lse, int64_t target, float g,
                                   int64_t n) {
  float xt = target >= 0 && target < n ? x[target] : 0.0f;
  MTK_EACH_VECTOR(i, left, n) {
    vf p = vf_exp(vf_sub(vf_load_n(x + i, left), vf_set1(lse)));
    vf_store_n(d + i, vf_mul(p, vf_set1(g)), left);
  }
  if (target >= 0 && target < n) d[target] = (mtk_math_expf(xt - lse) - 1.0f) * g;
}

static void MTK_K(softmax)(float *out, const float *x, int64_t n) {
  float mx = row_max(x, n);
  v16 s = v16_set1(0.0f);
  MTK_EACH_PART(h, i, left, n) {
    vf e = vf_exp(vf_sub(vf_load_n(x + i, left), vf_set1(mx)));
    vf_store_n(out + i, e, left);
    s.p[h] = vf_keep_n(s.p[h], vf_add(s.p[h], e), left);
  }
  MTK_K(scale)(out, out, 1.0f / v16_sum(s), n);
}

static void MTK_K(adamw)(float *p, float *m, float *v, const float *grad, int64_t n,
                         const mtk_adamw_args *a) {
  const vf keep1 = vf_set1(1.0f - a->beta1), keep2 = vf_set1(1.0f - a->beta2);
  const vf beta1 = vf_set1(a->beta1), beta2 = vf_set1(a->beta2), lr = vf_set1(a->lr);
  const vf decay = vf_set1(-a->lr * a->weight_decay), eps = vf_set1(a->eps);
  const vf corr1 = vf_set1(a->corr1), corr2 = vf_set1(a->corr2), gs = vf_set1(a->grad_scale);
  MTK_EACH_VECTOR(i, left, n) {
    vf g = vf_mul(vf_load_n(grad + i, left), gs);
    vf mi = vf_fma(beta1, vf_load_n(m + i, left), vf_mul(keep1, g));
    vf vi = vf_fma(beta2, vf_load_n(v + i, left), vf_mul(keep2, vf_mul(g, g)));
    vf pi = vf_load_n(p + i, left);
    vf root = vf_add(vf_sqrt(vf_mul(vi, corr2)), eps);
    vf step = vf_mul(lr, vf_div(vf_mul(mi, corr1), root));
    vf_store_n(m + i, mi, left);
    vf_store_n(v + i, vi, left);
    vf_store_n(p + i, vf_sub(vf_fma(decay, pi, pi), step), left);
  }
}

static double MTK_K(sum_squares)(const float *x, int64_t n) {
  double sum = 0.0;
  for (int64_t b = 0; b < n; b += 4096) {
    int64_t count = n - b < 4096 ? n - b : 4096;
    v16 s = v16_set1(0.0f);
    MTK_EACH_PART(h, i, left, count) {
      vf v = vf_load_n(x + b + i, left);
      s.p[h] = vf_fma(v, v, s.p[h]);
    }
    sum += (double)v16_sum(s);
  }
  return sum;
}

void MTK_K(vector_init)(mtk_kernels *table) {
  table->rmsnorm = MTK_K(rmsnorm);
  table->layernorm = MTK_K(layernorm);
  table->rmsnorm_dx = MTK_K(rmsnorm_dx);
  table->rmsnorm_dw = MTK_K(rmsnorm_dw);
  table->rope = MTK_K(rope);
  table->silu_mul = MTK_K(silu_mul);
  table->silu_mul_bwd = MTK_K(silu_mul_bwd);
  table->gelu_mul = MTK_K(gelu_mul);
  table->gelu_mul_bwd = MTK_K(gelu_mul_bwd);
  table->softcap = MTK_K(softcap);
  table->softcap_bwd = MTK_K(softcap_bwd);
  table->add = MTK_K(add);
  table->add_scaled = MTK_K(add_scaled);
  table->add_row = MTK_K(add_row);
  table->col_sum = MTK_K(col_sum);
  table->scale = MTK_K(scale);
  table->logsumexp = MTK_K(logsumexp);
  table->softmax_xent_dx = MTK_K(softmax_xent_dx);
  table->softmax = MTK_K(softmax);
  table->adamw = MTK_K(adamw);
  table->sum_squares = MTK_K(sum_squares);
}
