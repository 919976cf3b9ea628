/* block_legacy.c: ggml's types of 32 elements with one f16 scale d (and minimum m) a block:
 * decoders and quantizers. Sources: ggml-quants.c, quantize_row_*_ref (absmax or min/max, ties away
 * from zero) and, with importance weights, quantize_*_impl. Values, q the code of an element:
 *   q4_0  (q - 8) d         18 B: d; u8 qs[16], low nibble element j, high element j + 16
 *   q4_1  q d + m           20 B: d; m; qs
 *   q5_0  (q - 16) d        22 B: d; u32 fifth bits, bit j of element j; qs
 *   q5_1  q d + m           24 B: d; m; fifth bits; qs
 *   q8_0  q d               34 B: d; i8 q[32]
 *   q8_1  q d               36 B: d; f16 d * sum q; i8 q[32]
 * Pure functions; any thread. Source bytes need no alignment. */
#include "tensor/block.h"
#include "tensor/block_fit.h"
#include "tensor/block_util.h"

#include <float.h>
#include <string.h>

enum { BLOCK = 32, HALF = 16 };

/* ---- 4 and 5 bits -------------------------------------------------------------------------- */

/* Of the four types: where the parts begin. */
typedef struct nibbles {
  int bytes, min, high, codes; /* 0 = has no such part */
  int nmax;                    /* codes are 0..nmax; without a minimum, (nmax + 1) / 2 is zero */
} nibbles;

static const nibbles q4_0 = {18, 0, 0, 2, 15}, q4_1 = {20, 2, 0, 4, 15};
static const nibbles q5_0 = {22, 0, 2, 6, 31}, q5_1 = {24, 2, 4, 8, 31};

static void decode_nibbles(float *dst, const uint8_t *src, size_t n_blocks, const nibbles *t) {
  int zero = t->min ? 0 : (t->nmax + 1) / 2;
  for (; n_blocks--; src += t->bytes, dst += BLOCK) {
    float d = load_f16(src), m = t->min ? load_f16(src + t->min) : 0.0f;
    uint32_t high = 0;
    if (t->high) memcpy(&high, src + t->high, sizeof high);
    for (int j = 0; j < BLOCK; j++) {
      int q = src[t->codes + j % HALF] >> (j / HALF * 4) & 15;
      q = (q | (int)(high >> j & 1) << 4) - zero;
      dst[j] = t->min ? (float)q * d + m : (float)q * d;
    }
  }
}

/* The product moves bit 0 of byte j to bit 56 + j. */
static uint8_t fifth_bits(const uint8_t codes[8]) {
  uint64_t eight;
  memcpy(&eight, codes, sizeof eight);
  return (uint8_t)((eight >> 4 & 0x0101010101010101u) * 0x0102040810204080u >> 56);
}

static void put_codes(uint8_t *dst, const uint8_t *codes, const nibbles *t) {
  for (int j = 0; j < HALF; j++)
    dst[t->codes + j] = (uint8_t)((codes[j] & 15) | (codes[j + HALF] & 15) << 4);
  for (int j = 0; j < BLOCK / 8 && t->high; j++) dst[t->high + j] = fifth_bits(codes + 8 * j);
}

static void encode_symmetric(uint8_t *dst, const float *x, const nibbles *t) {
  uint8_t codes[BLOCK];
  float zero = (float)((t->nmax + 1) / 2), d = peak_of(x, BLOCK) / -zero, id = inverse(d);
  store_f16(dst, d);
  for (int j = 0; j < BLOCK; j++)
    codes[j] = (uint8_t)clamp_int(x[j] * id + (zero + 0.5f), 0, t->nmax);
  put_codes(dst, codes, t);
}

/* Of zeros of both signs the first counts. */
static void range_of(float *min, float *max, const float *x) {
  enum { LANES = 8 };
  float low[LANES], high[LANES];
  for (int l = 0; l < LANES; l++) low[l] = FLT_MAX, high[l] = -FLT_MAX;
  for (int j = 0; j < BLOCK; j += LANES)
    for (int l = 0; l < LANES; l++) {
      low[l] = x[j + l] < low[l] ? x[j + l] : low[l];
      high[l] = x[j + l] > high[l] ? x[j + l] : high[l];
    }
  *min = low[0];
  *max = high[0];
  for (int l = 1; l < LANES; l++) {
    *min = low[l] < *min ? low[l] : *min;
    *max = high[l] > *max ? high[l] : *max;
  }
  for (int j = BLOCK - 1; j >= 0 && (*min == 0 || *max == 0); j--) {
    if (x[j] == 0 && *min == 0) *min = x[j];
    if (x[j] == 0 && *max == 0) *max = x[j];
  }
}

static void encode_affine(uint8_t *dst, const float *x, const nibbles *t) {
  uint8_t codes[BLOCK];
  float min, max;
  range_of(&min, &max, x);
  float d = (max - min) / (float)t->nmax, id = inverse(d);
  store_f16(dst, d);
  store_f16(dst + t->min, min);
  for (int j = 0; j < BLOCK; j++)
    codes[j] = (uint8_t)clamp_int((x[j] - min) * id + 0.5f, 0, t->nmax);
  put_codes(dst, codes, t);
}

enum { TOGETHER = 4 };

/* n blocks, at most TOGETHER. im: importance; weights: im * sqrt(mean square of the row + x^2) */
static void encode_weighted(uint8_t *dst, const float *x, const float *im, int n, float sigma2,
                            const nibbles *t) {
  static const fit_range range = {-0.9f, 0.05f, 36, 0};
  uint8_t codes[TOGETHER * BLOCK];
  float w[TOGETHER * BLOCK], scales[TOGETHER], mins[TOGETHER];
  for (int j = 0; j < n * BLOCK; j++) w[j] = im[j] * sqrtf(sigma2 + x[j] * x[j]);
  if (t->min)
    mtk_fit_affine(scales, mins, n, BLOCK, t->nmax, x, w, &range, codes);
  else
    mtk_fit_symmetric(scales, n, BLOCK, (t->nmax + 1) / 2, x, w, codes);
  for (int i = 0; i < n; i++, dst += t->bytes) {
    store_f16(dst, scales[i]);
    if (t->min) store_f16(dst + t->min, -mins[i]);
    put_codes(dst, codes + i * BLOCK, t);
  }
}

static void encode_nibbles(uint8_t *dst, const float *x, size_t k, const float *im,
                           const nibbles *t) {
  float sigma2 = im ? sum_of_squares(x, k) / (float)k : 0.0f;
  for (size_t n = k / BLOCK, b = 0; b < n; b += im ? TOGETHER : 1) {
    uint8_t *block = dst + b * (size_t)t->bytes;
    int left = n - b < TOGETHER ? (int)(n - b) : TOGETHER;
    if (im)
      encode_weighted(block, x + b * BLOCK, im + b * BLOCK, left, sigma2, t);
    else if (t->min)
      encode_affine(block, x + b * BLOCK, t);
    else
      encode_symmetric(block, x + b * BLOCK, t);
  }
}

#define NIBBLES(name)                                                                              \
  void mtk_##name##_decode(float *dst, const uint8_t *src, size_t n_blocks) {                      \
    decode_nibbles(dst, src, n_blocks, &name);                                                     \
  }                                                                                                \
  void mtk_##name##_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {          \
    encode_nibbles(dst, x, k, im, &name);                                                          \
  }
NIBBLES(q4_0)
NIBBLES(q4_1)
NIBBLES(q5_0)
NIBBLES(q5_1)

/* ---- 8 bits -------------------------------------------------------------------------------- */

static void decode_bytes(float *dst, const uint8_t *src, size_t n_blocks, int head) {
  for (; n_blocks--; src += head + BLOCK, dst += BLOCK) {
    float d = load_f16(src);
    for (int j = 0; j < BLOCK; j++) dst[j] = (float)(int8_t)src[head + j] * d;
  }
}

static void encode_bytes(uint8_t *dst, const float *x, size_t k, int head) {
  for (size_t i = 0; i < k; i += BLOCK, dst += head + BLOCK, x += BLOCK) {
    float d = amax_of(x, BLOCK) / 127.0f, id = inverse(d);
    int sum = 0;
    for (int j = 0; j < BLOCK; j++) {
      int8_t q = (int8_t)nearest_away(x[j] * id, -127, 127);
      dst[head + j] = (uint8_t)q;
      sum += q;
    }
    store_f16(dst, d);
    if (head == 4) store_f16(dst + 2, (float)sum * d);
  }
}

#define BYTES(name, head)                                                                          \
  void mtk_##name##_decode(float *dst, const uint8_t *src, size_t n_blocks) {                      \
    decode_bytes(dst, src, n_blocks, head);                                                        \
  }                                                                                                \
  void mtk_##name##_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {          \
    (void)im;                                                                                      \
    encode_bytes(dst, x, k, head);                                                                 \
  }
BYTES(q8_0, 2)
BYTES(q8_1, 4)
