/* block_float.c: block types whose elements are small floats, and packed runs of them. Sources: OCP
 * Microscaling Formats v1.0 section 6.3 for mxfp4 (shared exponent floor(log2 amax) - 2); cuBLAS,
 * Transformer Engine and NVIDIA ModelOpt for mxfp8 (ceil(log2(amax / 448)), so that nothing
 * saturates); ModelOpt for nvfp4 (block scale e4m3(amax/6), at least 2^-9, 1 for a zero block).
 * Pure functions; any thread. Source bytes need no alignment. */
#include "tensor/block.h"
#include "tensor/block_util.h"

#include <float.h>

enum { BLOCK = 32, HALF = 16, SUB = 16, N_SUB = 4 };

static int any_nan(const float *x, int n) {
  int found = 0;
  for (int i = 0; i < n; i++) found |= isnan(x[i]) != 0;
  return found;
}

/* ---- blocks with a scale ------------------------------------------------------------------- */

/* Twice the values of E2M1, so that they are integers. */
static const int8_t e2m1_twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* e2m1(code) * scale with the sign of zero kept. */
static float e2m1_times(uint8_t code, float scale) {
  float value = (float)e2m1_twice[code & 0xF] * 0.5f;
  return (code & 0xF) == 8 ? -0.0f * scale : value * scale;
}

void mtk_mxfp4_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 17, dst += BLOCK) {
    float scale = mtk_e8m0_to_f32(src[0]);
    for (int j = 0; j < HALF; j++) {
      dst[j] = e2m1_times(src[1 + j], scale);
      dst[j + HALF] = e2m1_times(src[1 + j] >> 4, scale);
    }
  }
}

/* E8M0 of floor(log2 amax) - 2, E2M1's largest exponent. */
static uint8_t mx_scale(const float *x) {
  if (any_nan(x, BLOCK)) return 0xFF;
  float amax = fminf(amax_of(x, BLOCK), FLT_MAX);
  if (amax == 0.0f) return 0;
  int e = ilogbf(amax) - 2 + 127;
  return (uint8_t)(e < 0 ? 0 : e);
}

void mtk_mxfp4_encode_row(uint8_t *dst, const float *src, size_t k, const float *im) {
  (void)im;
  for (size_t i = 0; i < k; i += BLOCK, dst += 17, src += BLOCK) {
    uint8_t scale = mx_scale(src);
    /* 2^(127 - scale): dividing by a power of two is exact where it does not round to 0 anyway */
    float factor = mtk_e8m0_to_f32(scale == 0xFF ? 127 : (uint8_t)(254 - scale));
    dst[0] = scale;
    for (int j = 0; j < HALF; j++) {
      uint8_t low = mtk_f32_to_e2m1(src[j] * factor);
      uint8_t high = mtk_f32_to_e2m1(src[j + HALF] * factor);
      dst[1 + j] = (uint8_t)(low | high << 4);
    }
  }
}

void mtk_nvfp4_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 36)
    for (int s = 0; s < N_SUB; s++, dst += SUB) {
      float scale = mtk_e4m3_to_f32(src[s]);
      const uint8_t *qs = src + N_SUB + s * SUB / 2;
      for (int j = 0; j < SUB / 2; j++) {
        dst[j] = e2m1_times(qs[j], scale);
        dst[j + SUB / 2] = e2m1_times(qs[j] >> 4, scale);
      }
    }
}

static uint8_t nv_scale(const float *x) {
  if (any_nan(x, SUB)) return 0x7F;
  float amax = amax_of(x, SUB);
  if (amax == 0.0f) return 0x38; /* 1.0 */
  return mtk_f32_to_e4m3(fmaxf(amax / 6.0f, 0x1p-9f));
}

void mtk_nvfp4_encode_row(uint8_t *dst, const float *src, size_t k, const float *im) {
  (void)im;
  for (size_t i = 0; i < k; i += SUB * N_SUB, dst += 36)
    for (int s = 0; s < N_SUB; s++, src += SUB) {
      dst[s] = nv_scale(src);
      float scale = mtk_e4m3_to_f32(dst[s]);
      uint8_t *qs = dst + N_SUB + s * SUB / 2;
      for (int j = 0; j < SUB / 2; j++) {
        uint8_t low = mtk_f32_to_e2m1(src[j] / scale);
        uint8_t high = mtk_f32_to_e2m1(src[j + SUB / 2] / scale);
        qs[j] = (uint8_t)(low | high << 4);
      }
    }
}

void mtk_mxfp8_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 1 + BLOCK, dst += BLOCK) {
    float scale = mtk_e8m0_to_f32(src[0]);
    for (int j = 0; j < BLOCK; j++) dst[j] = mtk_e4m3_to_f32(src[1 + j]) * scale;
  }
}

/* E8M0 of the smallest power of two that is at least amax / 448. */
static uint8_t mxfp8_scale(const float *x) {
  if (any_nan(x, BLOCK)) return 0xFF;
  float amax = fminf(amax_of(x, BLOCK), FLT_MAX);
  if (amax == 0.0f) return 0;
  int exponent;
  float fraction = frexpf(amax, &exponent); /* amax = fraction * 2^exponent, 0.5 <= fraction < 1 */
  int e = exponent - 9 + (fraction > 0.875f) + 127; /* 448 = 0.875 * 2^9 */
  return (uint8_t)(e < 0 ? 0 : e);
}

void mtk_mxfp8_encode_row(uint8_t *dst, const float *src, size_t k, const float *im) {
  (void)im;
  for (size_t i = 0; i < k; i += BLOCK, dst += 1 + BLOCK, src += BLOCK) {
    uint8_t scale = mxfp8_scale(src);
    float factor = mtk_e8m0_to_f32(scale == 0xFF ? 127 : (uint8_t)(254 - scale));
    dst[0] = scale;
    for (int j = 0; j < BLOCK; j++) dst[1 + j] = mtk_f32_to_e4m3(src[j] * factor);
  }
}

/* ---- packed runs without a scale: element 0 in the lowest bits ----------------------------- */

void mtk_f4_e2m1_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src++, dst += 2) {
    dst[0] = mtk_e2m1_to_f32(*src & 15);
    dst[1] = mtk_e2m1_to_f32(*src >> 4);
  }
}

void mtk_f4_e2m1_encode_row(uint8_t *dst, const float *src, size_t k, const float *im) {
  (void)im;
  for (size_t i = 0; i < k; i += 2)
    *dst++ = (uint8_t)(mtk_f32_to_e2m1(src[i]) | mtk_f32_to_e2m1(src[i + 1]) << 4);
}

static void decode_6_bits(float *dst, const uint8_t *src, size_t n_blocks,
                          float (*value)(uint8_t)) {
  for (; n_blocks--; src += 3, dst += 4) {
    uint32_t bits = (uint32_t)src[0] | (uint32_t)src[1] << 8 | (uint32_t)src[2] << 16;
    for (int j = 0; j < 4; j++) dst[j] = value((uint8_t)(bits >> (6 * j) & 63));
  }
}

static void encode_6_bits(uint8_t *dst, const float *src, size_t k, uint8_t (*code)(float)) {
  for (size_t i = 0; i < k; i += 4, dst += 3) {
    uint32_t bits = 0;
    for (int j = 0; j < 4; j++) bits |= (uint32_t)code(src[i + (size_t)j]) << (6 * j);
    for (int j = 0; j < 3; j++) dst[j] = (uint8_t)(bits >> (8 * j));
  }
}

#define SIX_BITS(name)                                                                             \
  void mtk_f6_##name##_decode(float *dst, const uint8_t *src, size_t n_blocks) {                   \
    decode_6_bits(dst, src, n_blocks, mtk_##name##_to_f32);                                        \
  }                                                                                                \
  void mtk_f6_##name##_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {       \
    (void)im;                                                                                      \
    encode_6_bits(dst, x, k, mtk_f32_to_##name);                                                   \
  }
SIX_BITS(e2m3)
SIX_BITS(e3m2)
