/* block_iq4.c: ggml's 4-bit types with a fixed codebook of 16 uneven levels: decoders, and
 * quantizers byte for byte those of ggml (ggml-quants.c, quantize_iq4_nl and quantize_iq4_xs: what
 * llama-quantize writes, with and without importance weights). Values, v the codebook:
 *   iq4_nl  32 elements, 18 B: f16 d; u8 qs[16], low nibble j, high j + 16.       d v[q]
 *   iq4_xs  256 elements, 136 B: f16 d; u16 high 2 bits and u8[4] low 4 bits of 8 scales, s + 32;
 *           u8 qs[128], per 32 elements as iq4_nl.                                (d s) v[q]
 * Pure functions; any thread. */
#include "tensor/block.h"
#include "tensor/block_util.h"

#include <string.h>

enum { GROUP = 32, HALF = 16, QK = 256, N_GROUPS = QK / GROUP };
enum { NL_BYTES = 18, XS_HIGH = 2, XS_LOW = 4, XS_CODES = 8, XS_BYTES = 136 };
enum { N_TRIES = 7 };

static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

static void decode_group(float *dst, const uint8_t *codes, float d) {
  for (int j = 0; j < HALF; j++) {
    dst[j] = d * (float)levels[codes[j] & 15];
    dst[j + HALF] = d * (float)levels[codes[j] >> 4];
  }
}

void mtk_iq4_nl_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += NL_BYTES, dst += GROUP) decode_group(dst, src + 2, load_f16(src));
}

void mtk_iq4_xs_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += XS_BYTES) {
    float d = load_f16(src);
    int high = src[XS_HIGH] | src[XS_HIGH + 1] << 8;
    for (int g = 0; g < N_GROUPS; g++, dst += GROUP) {
      int s = (src[XS_LOW + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4;
      decode_group(dst, src + XS_CODES + HALF * g, d * (float)(s - 32));
    }
  }
}

/* Index of the nearest level; of two equally near the higher. */
static int nearest_level(float x) {
  if (x <= (float)levels[0]) return 0;
  if (x >= (float)levels[15]) return 15;
  int low = 0, high = 15;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (x < (float)levels[middle])
      high = middle;
    else
      low = middle;
  }
  return x - (float)levels[low] < (float)levels[high] - x ? low : high;
}

/* Least-squares scale of a group when x * inv are rounded to levels: xq / qq. */
static void level_sums(float *xq, float *qq, const float *x, const float *w, float inv) {
  *xq = *qq = 0;
  for (int j = 0; j < GROUP; j++) {
    float q = (float)levels[nearest_level(inv * x[j])];
    *xq += w[j] * q * x[j];
    *qq += w[j] * q * q;
  }
}

/* The scale of a group: rounded with the peak at -127, then at the levels beside it. */
static float fit_group(const float *x, const float *im, float sigma2) {
  float w[GROUP], xq, qq, peak = peak_of(x, GROUP);
  for (int j = 0; j < GROUP; j++) w[j] = im ? im[j] * sqrtf(sigma2 + x[j] * x[j]) : x[j] * x[j];
  if (fabsf(peak) < 1e-15f) return 0.0f;
  level_sums(&xq, &qq, x, w, 1 / (-peak / (float)levels[0]));
  float d = qq > 0 ? xq / qq : 0.0f, best = d * xq;
  for (int step = -N_TRIES; step <= N_TRIES; step++) {
    level_sums(&xq, &qq, x, w, (float)(step + levels[0]) / peak);
    if (!(qq > 0 && xq * xq > best * qq)) continue;
    d = xq / qq;
    best = d * xq;
  }
  return d;
}

static void put_group(uint8_t *codes, const float *x, float d) {
  float inv = d != 0.0f ? 1 / d : 0.0f;
  for (int j = 0; j < HALF; j++)
    codes[j] = (uint8_t)(nearest_level(inv * x[j]) | nearest_level(inv * x[j + HALF]) << 4);
}

void mtk_iq4_nl_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  for (size_t i = 0; i < k; i += GROUP, dst += NL_BYTES) {
    float sigma2 = sum_of_squares(x + i, GROUP) * (2.0f / GROUP);
    float d = fit_group(x + i, im ? im + i : NULL, sigma2);
    store_f16(dst, d);
    put_group(dst + 2, x + i, d);
  }
}

static void encode_iq4_xs(uint8_t *dst, const float *x, const float *im) {
  float scales[N_GROUPS], sigma2 = sum_of_squares(x, QK) * (2.0f / QK);
  for (int g = 0; g < N_GROUPS; g++)
    scales[g] = fit_group(x + GROUP * g, im ? im + GROUP * g : NULL, sigma2);
  float d = -peak_of(scales, N_GROUPS) / 32, inv = d != 0.0f ? 1 / d : 0.0f;
  int high = 0;
  memset(dst, 0, XS_CODES);
  store_f16(dst, d);
  for (int g = 0; g < N_GROUPS; g++) {
    int s = nearest_code(inv * scales[g], -32, 31);
    put_group(dst + XS_CODES + HALF * g, x + GROUP * g, d * (float)s);
    dst[XS_LOW + g / 2] = (uint8_t)(dst[XS_LOW + g / 2] | ((s + 32) & 15) << (g % 2 * 4));
    high |= (s + 32) >> 4 << (2 * g);
  }
  dst[XS_HIGH] = (uint8_t)high;
  dst[XS_HIGH + 1] = (uint8_t)(high >> 8);
}

void mtk_iq4_xs_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  for (size_t i = 0; i < k; i += QK, dst += XS_BYTES) encode_iq4_xs(dst, x + i, im ? im + i : NULL);
}
