/* tensor/block_util.h: small steps that the block codecs share. Pure functions. */
#ifndef MTK_TENSOR_BLOCK_UTIL_H
#define MTK_TENSOR_BLOCK_UTIL_H

#include <mtk/dtype.h>

#include <math.h>
#include <string.h>

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
  f = f > (float)lo ? f : (float)lo;
  return (int)(f < (float)hi ? f : (float)hi);
}

/* Nearest integer, ties to even, limited to lo..hi, |lo|, |hi| < 2^22; NaN gives lo. Adding
 * 1.5 * 2^23 leaves no bits for a fraction. */
static inline int nearest_code(float f, int lo, int hi) {
  f = f > (float)lo ? f : (float)lo;
  f = f < (float)hi ? f : (float)hi;
  return (int)((f + 0x1.8p23f) - 0x1.8p23f);
}

/* Nearest integer, ties to even, of |f| < 2^22; farther numbers give +-2^22, NaN -2^22. */
static inline int nearest_int(float f) { return nearest_code(f, -(1 << 22), 1 << 22); }

/* Nearest integer, ties away from zero, limited to lo..hi, |lo|, |hi| < 2^22; NaN gives lo. */
static inline int nearest_away(float f, int lo, int hi) {
  if (!(f > (float)lo)) return lo;
  if (!(f < (float)hi)) return hi;
  int whole = (int)f;
  float rest = f - (float)whole; /* exact */
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* Largest magnitude; NaNs do not count. As integers, whose maxima
 * compilers take side by side. */
static inline float amax_of(const float *x, int n) {
  int32_t max = 0;
  float amax;
  for (int i = 0; i < n; i++) {
    int32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7FFFFFFF;
    bits = bits > 0x7F800000 ? 0 : bits;
    max = bits > max ? bits : max;
  }
  memcpy(&amax, &max, sizeof amax);
  return amax;
}

/* The value of largest magnitude, sign kept, the first of equals; 0 if there is none. */
static inline float peak_of(const float *x, int n) {
  float amax = amax_of(x, n);
  int plus = 0, minus = 0, i = 0;
  for (int j = 0; j < n; j++) {
    plus |= x[j] == amax;
    minus |= x[j] == -amax;
  }
  if (!(plus && minus)) return minus ? -amax : amax;
  while (fabsf(x[i]) != amax) i++;
  return amax > 0 ? x[i] : 0.0f;
}

static inline float sum_of_squares(const float *x, size_t n) {
  float sum = 0.0f;
  for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sum;
}

#endif
