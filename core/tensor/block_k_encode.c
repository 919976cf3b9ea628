/* block_k_encode.c: quantizers of the superblock types, byte for byte those of ggml (ggml-quants.c,
 * quantize_row_*_ref and, with importance weights, quantize_row_*_impl). Each fits a scale (and
 * minimum) per group, quantizes those with one d (and dmin) per superblock, then rounds the
 * elements again with what was stored. Pure functions; any thread. */
#include "tensor/block.h"
#include "tensor/block_fit.h"
#include "tensor/block_k.h"
#include "tensor/block_util.h"

#include <string.h>

/* Weights of a group under importance `im`: im * sqrt(sigma2 + x^2). Returns their sum. */
static float weigh(float *w, const float *x, const float *im, int n, float sigma2) {
  float sum = 0;
  for (int i = 0; i < n; i++) {
    w[i] = im[i] * sqrtf(sigma2 + x[i] * x[i]);
    sum += w[i];
  }
  return sum;
}

/* Codes of one group for what its stored scale and minimum give; 0 leaves the fitted codes. */
static void round_group(uint8_t *L, const float *x, int n, float d, float min, int lo, int hi) {
  if (d == 0.0f || isnan(d)) return;
  for (int i = 0; i < n; i++) L[i] = (uint8_t)(nearest_code((x[i] + min) / d, lo, hi) - lo);
}

static float largest(const float *x, int n) {
  float max = 0;
  for (int i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
  return max;
}

/* ---- scales and minimums: q2_k, q4_k, q5_k ------------------------------------------------- */

/* What the three types differ in. */
typedef struct affine_type {
  int n, nmax;   /* group size, largest code */
  int scale_max; /* largest code of scales and minimums */
  float spread;  /* sigma^2 of importance weights in mean squares */
  fit_range plain, weighted;
} affine_type;

static const affine_type q2 = {16, 3, 15, 1, {-0.5f, 0.1f, 15, 1}, {-0.9f, 0.05f, 36, 0}};
static const affine_type q4 = {32, 15, 63, 2, {-1.0f, 0.1f, 20, 0}, {-0.9f, 0.05f, 36, 0}};
static const affine_type q5 = {32, 31, 63, 2, {-0.5f, 0.1f, 15, 0}, {-0.9f, 0.05f, 36, 0}};

/* A superblock before packing. */
typedef struct affine_block {
  uint8_t L[QK], scales[N_16], mins[N_16];
  uint8_t d[2], dmin[2]; /* f16 */
} affine_block;

/* Weights without importance: q2_k |x|; q4_k and q5_k the group's rms plus |x|. */
static void plain_weights(float *w, const float *x, int n) {
  float rms = n == 16 ? 0.0f : sqrtf(sum_of_squares(x, (size_t)n) / (float)n);
  for (int i = 0; i < n; i++) w[i] = rms + fabsf(x[i]);
}

/* Scales (or minimums) as multiples of the largest / scale_max, stored f16 in d. */
static void plain_scales(uint8_t *codes, uint8_t *d, const float *values, const affine_type *t) {
  int groups = QK / t->n;
  float max = largest(values, groups), inv = max > 0 ? (float)t->scale_max / max : 0.0f;
  for (int j = 0; j < groups; j++) {
    uint8_t code = (uint8_t)nearest_int(inv * values[j]);
    codes[j] = code < t->scale_max ? code : (uint8_t)t->scale_max;
  }
  store_f16(d, max / (float)t->scale_max);
}

static void encode_affine(affine_block *out, const float *x, const float *im,
                          const affine_type *t) {
  float scales[N_16], mins[N_16], sums[N_16], w[QK];
  int n = t->n, groups = QK / n;
  float sigma2 = im ? t->spread * sum_of_squares(x, QK) / (float)QK : 0.0f;
  for (int j = 0; j < groups; j++) {
    if (im)
      sums[j] = weigh(w + n * j, x + n * j, im + n * j, n, sigma2);
    else
      plain_weights(w + n * j, x + n * j, n);
  }
  mtk_fit_affine(scales, mins, groups, n, t->nmax, x, w, im ? &t->weighted : &t->plain, out->L);
  if (im) {
    store_f16(out->d, mtk_fit_positive(groups, t->scale_max, scales, sums, out->scales));
    store_f16(out->dmin, mtk_fit_positive(groups, t->scale_max, mins, sums, out->mins));
  } else {
    plain_scales(out->scales, out->d, scales, t);
    plain_scales(out->mins, out->dmin, mins, t);
  }
  float d = load_f16(out->d), dmin = load_f16(out->dmin);
  for (int j = 0; j < groups; j++)
    round_group(out->L + n * j, x + n * j, n, d * (float)out->scales[j], dmin * (float)out->mins[j],
                0, t->nmax);
}

static void encode_q2_k(uint8_t *dst, const float *x, const float *im) {
  affine_block b;
  encode_affine(&b, x, im, &q2);
  for (int j = 0; j < N_16; j++) dst[Q2_SCALES + j] = (uint8_t)(b.scales[j] | b.mins[j] << 4);
  put_2_bits(dst + Q2_CODES, b.L);
  memcpy(dst + Q2_D, b.d, 2);
  memcpy(dst + Q2_MIN, b.dmin, 2);
}

static void put_q45_head(uint8_t *dst, const affine_block *b) {
  memcpy(dst + Q45_D, b->d, 2);
  memcpy(dst + Q45_MIN, b->dmin, 2);
  put_scales_mins(dst + Q45_SCALES, b->scales, b->mins);
}

static void encode_q4_k(uint8_t *dst, const float *x, const float *im) {
  affine_block b;
  encode_affine(&b, x, im, &q4);
  put_q45_head(dst, &b);
  put_4_bits(dst + Q4_CODES, b.L);
}

static void encode_q5_k(uint8_t *dst, const float *x, const float *im) {
  affine_block b;
  encode_affine(&b, x, im, &q5);
  put_q45_head(dst, &b);
  put_4_bits(dst + Q5_CODES, b.L);
  put_high_bit(dst + Q5_HIGH, b.L, 16);
}

/* ---- scales alone: q3_k, q6_k -------------------------------------------------------------- */

static void encode_q3_k(uint8_t *dst, const float *x, const float *im) {
  float scales[N_16], sums[N_16], w[QK], d;
  uint8_t L[QK], codes[N_16];
  float sigma2 = im ? 2 * sum_of_squares(x, QK) / (float)QK : 0.0f;
  for (int j = 0; j < N_16; j++) {
    if (im)
      sums[j] = weigh(w + 16 * j, x + 16 * j, im + 16 * j, 16, sigma2);
    else
      scales[j] = mtk_fit_descent(16, 4, x + 16 * j, L + 16 * j);
  }
  if (im) {
    mtk_fit_symmetric(scales, N_16, 16, 4, x, w, L);
    mtk_fit_symmetric(&d, 1, N_16, 32, scales, sums, codes);
    store_f16(dst + Q3_D, d);
  } else {
    float peak = peak_of(scales, N_16), inv = peak != 0.0f ? -32.0f / peak : 0.0f;
    for (int j = 0; j < N_16; j++)
      codes[j] = (uint8_t)(nearest_code(inv * scales[j], -32, 31) + 32);
    if (peak == 0.0f) memset(codes, 0, sizeof codes);
    store_f16(dst + Q3_D, peak != 0.0f ? 1 / inv : 0.0f);
  }
  put_q3_scales(dst + Q3_SCALES, codes);
  d = load_f16(dst + Q3_D);
  for (int j = 0; j < N_16; j++)
    round_group(L + 16 * j, x + 16 * j, 16, d * (float)get_q3_scale(dst + Q3_SCALES, j), 0, -4, 3);
  put_2_bits(dst + Q3_CODES, L);
  put_high_bit(dst + Q3_HIGH, L, 4);
}

static void encode_q6_k(uint8_t *dst, const float *x, const float *im) {
  float scales[N_16];
  uint8_t L[QK];
  mtk_fit_symmetric(scales, N_16, 16, 32, x, im, L);
  float peak = peak_of(scales, N_16);
  memset(dst, 0, Q6_BYTES);
  if (fabsf(peak) < 1e-15f) return;
  float inv = -128.0f / peak;
  store_f16(dst + Q6_D, 1 / inv);
  float d = load_f16(dst + Q6_D);
  for (int j = 0; j < N_16; j++) {
    int8_t s = (int8_t)nearest_code(inv * scales[j], -128, 127);
    dst[Q6_SCALES + j] = (uint8_t)s;
    round_group(L + 16 * j, x + 16 * j, 16, d * (float)s, 0, -32, 31);
  }
  put_6_bits(dst + Q6_LOW, dst + Q6_HIGH, L);
}

/* ---- rows ---------------------------------------------------------------------------------- */

#define ENCODE(name, bytes)                                                                        \
  void mtk_##name##_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {          \
    for (size_t i = 0; i < k / QK; i++)                                                            \
      encode_##name(dst + i * (bytes), x + i * QK, im ? im + i * QK : NULL);                       \
  }
ENCODE(q2_k, Q2_BYTES)
ENCODE(q3_k, Q3_BYTES)
ENCODE(q4_k, Q4_BYTES)
ENCODE(q5_k, Q5_BYTES)
ENCODE(q6_k, Q6_BYTES)

/* d = -peak / 127, f32; the sums of each 16 codes follow them (for dot products with minimums). */
void mtk_q8_k_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  (void)im;
  for (size_t i = 0; i < k / QK; i++, dst += Q8_BYTES, x += QK) {
    float peak = peak_of(x, QK), inv = peak != 0.0f ? -127.0f / peak : 0.0f;
    float d = peak != 0.0f ? 1 / inv : 0.0f;
    memcpy(dst + Q8_D, &d, sizeof d);
    for (int j = 0; j < N_16; j++) {
      int16_t sum = 0;
      for (int e = 16 * j; e < 16 * j + 16; e++) {
        int8_t code = (int8_t)nearest_code(inv * x[e], -128, 127);
        dst[Q8_CODES + e] = (uint8_t)code;
        sum = (int16_t)(sum + code);
      }
      memcpy(dst + Q8_SUMS + 2 * j, &sum, sizeof sum);
    }
  }
}
