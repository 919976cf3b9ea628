/* integer.c: integers under a grid of outside scales (int4, int4-asym, int8; compressed-tensors,
 * quantization/utils/helpers.py). Blocks of q4_0, q4_1 and q8_0 whose own scale is 1 hold the
 * codes. Pure functions; any thread.
 *
 *   symmetric  s = bf16(amax / ((2^bits - 1) / 2)), code = round(x / s)
 *   int4-asym  s = bf16((max - min) / 15), zero = round(-min / s), code = round(x / s) + zero
 *
 * min <= 0 <= max, so that 0 is a value. Scales are bf16, as loaders keep them. */
#include "quant.h"

#include <math.h>

enum { BLOCK = 32 };

bool quant_is_integer(const mtk_quant_target *t) {
  return t->scale_n == 1 && (t->dtype == MTK_Q4_0 || t->dtype == MTK_Q4_1 || t->dtype == MTK_Q8_0);
}

typedef struct range {
  float low, high;
} range;

static range range_of(const float *x, int64_t n) {
  range r = {0, 0};
  for (int64_t i = 0; i < n; i++) {
    r.low = fminf(r.low, x[i]);
    r.high = fmaxf(r.high, x[i]);
  }
  return r;
}

float quant_integer_spread(const mtk_quant_target *t, const float *x, int64_t n) {
  range r = range_of(x, n);
  return t->dtype == MTK_Q4_1 ? r.high - r.low : fmaxf(-r.low, r.high);
}

float quant_integer_scale(const mtk_quant_target *t, float spread) {
  float levels = t->dtype == MTK_Q4_1 ? 15.0f : t->dtype == MTK_Q4_0 ? 7.5f : 127.5f;
  return mtk_bf16_to_f32(mtk_f32_to_bf16(spread / levels));
}

static int clamp(float v, int low, int high) {
  float r = rintf(v);
  return r < (float)low ? low : r > (float)high ? high : (int)r;
}

static uint8_t *put_f16(uint8_t *p, float v) {
  uint16_t h = mtk_f32_to_f16(v);
  p[0] = (uint8_t)h;
  p[1] = (uint8_t)(h >> 8);
  return p + 2;
}

/* A block of 32 under scale s; zero: code of 0 (q4_1). Returns the end of the block. */
static uint8_t *put_block(uint8_t *p, mtk_dtype dtype, const float *x, float s, int zero) {
  p = put_f16(p, 1.0f);
  if (dtype == MTK_Q8_0) {
    for (int i = 0; i < BLOCK; i++) *p++ = (uint8_t)clamp(x[i] / s, -128, 127);
    return p;
  }
  if (dtype == MTK_Q4_1) p = put_f16(p, (float)-zero);
  else zero = 8;
  for (int i = 0; i < BLOCK / 2; i++) {
    int low = clamp(x[i] / s + (float)zero, 0, 15);
    int high = clamp(x[i + BLOCK / 2] / s + (float)zero, 0, 15);
    *p++ = (uint8_t)(low | high << 4);
  }
  return p;
}

void quant_integer_row(uint8_t *dst, const mtk_quant_tensor *t, const float *x, int64_t k,
                       const float *scales) {
  for (int64_t at = 0; at < k; at += t->scale_k) {
    int64_t end = at + t->scale_k < k ? at + t->scale_k : k;
    float s = scales[at / t->scale_k];
    int zero = clamp(-range_of(x + at, end - at).low / s, 0, 15);
    for (int64_t i = at; i < end; i += BLOCK)
      dst = put_block(dst, t->target->dtype, x + i, s, zero);
  }
}
