/* tensor/block_util.h: small steps that the block codecs share. Pure functions. */
#ifndef MTK_TENSOR_BLOCK_UTIL_H
#define MTK_TENSOR_BLOCK_UTIL_H

#include <mtk/dtype.h>

#include <math.h>

static inline float load_f16(const uint8_t *p) {
  return mtk_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Block scales saturate instead of becoming infinite. */
static inline void store_f16(uint8_t *p, float f) {
  uint16_t h = mtk_f32_to_f16(fminf(fmaxf(f, -65504.0f), 65504.0f));
  p[0] = (uint8_t)h;
  p[1] = (uint8_t)(h >> 8);
}

/* 1/d, and 0 where that does not exist: such a block decodes to zeros anyway. */
static inline float inverse(float d) {
  float id = d != 0.0f ? 1.0f / d : 0.0f;
  return isfinite(id) ? id : 0.0f;
}

/* (int)f limited to lo..hi, truncating; NaN gives lo. */
static inline int clamp_int(float f, int lo, int hi) {
  if (!(f > (float)lo)) return lo;
  return f < (float)hi ? (int)f : hi;
}

/* Nearest integer, ties to even, of |f| < 2^22; farther numbers give +-2^22, NaN -2^22. Adding
 * 1.5 * 2^23 leaves no bits for a fraction. */
static inline int nearest_int(float f) {
  const float limit = 0x1p22f, no_fraction = 0x1.8p23f;
  if (!(f > -limit)) return -(1 << 22);
  if (!(f < limit)) return 1 << 22;
  return (int)((f + no_fraction) - no_fraction);
}

/* Nearest integer, ties away from zero, limited to lo..hi, |lo|, |hi| < 2^22; NaN gives lo. */
static inline int nearest_away(float f, int lo, int hi) {
  if (!(f > (float)lo)) return lo;
  if (!(f < (float)hi)) return hi;
  int whole = (int)f;
  float rest = f - (float)whole; /* exact */
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* nearest_int limited to lo..hi */
static inline int nearest_code(float f, int lo, int hi) {
  int l = nearest_int(f);
  return l < lo ? lo : l > hi ? hi : l;
}

/* Largest magnitude; NaNs do not count. */
static inline float amax_of(const float *x, int n) {
  float amax = 0.0f;
  for (int i = 0; i < n; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
  return amax;
}

/* The value of largest magnitude, sign kept, the first of equals; 0 if there is none. */
static inline float peak_of(const float *x, int n) {
  float amax = 0.0f, peak = 0.0f;
  for (int i = 0; i < n; i++)
    if (fabsf(x[i]) > amax) amax = fabsf(x[i]), peak = x[i];
  return peak;
}

static inline float sum_of_squares(const float *x, size_t n) {
  float sum = 0.0f;
  for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sum;
}

#endif
