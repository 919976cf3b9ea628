/* block.c: the block-quantized storage types: decoding, and the quantizer each type is defined
 * with. Layouts stand in mtk/dtype.h. Sources: ggml's reference quantizers for q4_0, q4_1, q8_0
 * (absmax or min/max, ties away from zero); OCP Microscaling Formats v1.0 section 6.3 for mxfp4
 * (shared exponent floor(log2 amax) - 2); NVIDIA ModelOpt for nvfp4 (block scale e4m3(amax/6), at
 * least 2^-9, 1 for a zero block). Pure functions; any thread. Source bytes need no alignment. */
#include "tensor/block.h"

#include <mtk/dtype.h>

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 32, HALF = 16, SUB = 16, N_SUB = 4 };

static float load_f16(const uint8_t *p) { return mtk_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

/* Block scales saturate instead of becoming infinite. */
static void store_f16(uint8_t *p, float f) {
  uint16_t h = mtk_f32_to_f16(fminf(fmaxf(f, -65504.0f), 65504.0f));
  p[0] = (uint8_t)h;
  p[1] = (uint8_t)(h >> 8);
}

/* 1/d, and 0 where that does not exist: such a block decodes to zeros anyway. */
static float inverse(float d) {
  float id = d != 0.0f ? 1.0f / d : 0.0f;
  return isfinite(id) ? id : 0.0f;
}

/* (int)f limited to lo..hi, truncating; NaN gives lo. */
static int clamp_int(float f, int lo, int hi) {
  if (!(f > (float)lo)) return lo;
  return f < (float)hi ? (int)f : hi;
}

/* Largest magnitude; NaNs do not count. */
static float amax_of(const float *x, int n) {
  float amax = 0.0f;
  for (int i = 0; i < n; i++) amax = fmaxf(amax, fabsf(x[i]));
  return amax;
}

static int any_nan(const float *x, int n) {
  int found = 0;
  for (int i = 0; i < n; i++) found |= isnan(x[i]) != 0;
  return found;
}

/* ---- ggml's types ------------------------------------------------------------------------ */

void mtk_q4_0_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 18, dst += BLOCK) {
    float d = load_f16(src);
    for (int j = 0; j < HALF; j++) {
      dst[j] = (float)((src[2 + j] & 0xF) - 8) * d;
      dst[j + HALF] = (float)((src[2 + j] >> 4) - 8) * d;
    }
  }
}

void mtk_q4_0_encode(uint8_t *dst, const float *src, size_t n_blocks) {
  for (; n_blocks--; dst += 18, src += BLOCK) {
    float amax = 0.0f, max = 0.0f; /* max: the value of largest magnitude, sign kept */
    for (int j = 0; j < BLOCK; j++)
      if (fabsf(src[j]) > amax) amax = fabsf(src[j]), max = src[j];
    float d = max / -8.0f, id = inverse(d);
    store_f16(dst, d);
    for (int j = 0; j < HALF; j++) {
      int low = clamp_int(src[j] * id + 8.5f, 0, 15);
      int high = clamp_int(src[j + HALF] * id + 8.5f, 0, 15);
      dst[2 + j] = (uint8_t)(low | high << 4);
    }
  }
}

void mtk_q4_1_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 20, dst += BLOCK) {
    float d = load_f16(src), m = load_f16(src + 2);
    for (int j = 0; j < HALF; j++) {
      dst[j] = (float)(src[4 + j] & 0xF) * d + m;
      dst[j + HALF] = (float)(src[4 + j] >> 4) * d + m;
    }
  }
}

void mtk_q4_1_encode(uint8_t *dst, const float *src, size_t n_blocks) {
  for (; n_blocks--; dst += 20, src += BLOCK) {
    float min = FLT_MAX, max = -FLT_MAX; /* of zeros of both signs the first, unlike fminf */
    for (int j = 0; j < BLOCK; j++) {
      if (src[j] < min) min = src[j];
      if (src[j] > max) max = src[j];
    }
    float d = (max - min) / 15.0f, id = inverse(d);
    store_f16(dst, d);
    store_f16(dst + 2, min);
    for (int j = 0; j < HALF; j++) {
      int low = clamp_int((src[j] - min) * id + 0.5f, 0, 15);
      int high = clamp_int((src[j + HALF] - min) * id + 0.5f, 0, 15);
      dst[4 + j] = (uint8_t)(low | high << 4);
    }
  }
}

void mtk_q8_0_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 34, dst += BLOCK) {
    float d = load_f16(src);
    for (int j = 0; j < BLOCK; j++) dst[j] = (float)(int8_t)src[2 + j] * d;
  }
}

void mtk_q8_0_encode(uint8_t *dst, const float *src, size_t n_blocks) {
  for (; n_blocks--; dst += 34, src += BLOCK) {
    float d = amax_of(src, BLOCK) / 127.0f, id = inverse(d);
    store_f16(dst, d);
    for (int j = 0; j < BLOCK; j++)
      dst[2 + j] = (uint8_t)(int8_t)clamp_int(roundf(src[j] * id), -127, 127);
  }
}

/* ---- 4-bit floats ------------------------------------------------------------------------ */

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

void mtk_mxfp4_encode(uint8_t *dst, const float *src, size_t n_blocks) {
  for (; n_blocks--; dst += 17, src += BLOCK) {
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

void mtk_nvfp4_encode(uint8_t *dst, const float *src, size_t n_blocks) {
  for (; n_blocks--; dst += 36)
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
