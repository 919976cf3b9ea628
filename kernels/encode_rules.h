/* kernels/encode_rules.h: how 4-bit float blocks get their scale; shared by all levels of the
 * encode family. Internal; no state.
 *
 * One block is 16 values (nvfp4, scale E4M3) or 32 (mxfp4, scale E8M0); amax its largest magnitude.
 *   nvfp4   c0 = e4m3(clamp(amax / (6 * s2), 2^-9, 448)), 1.0 for a zero block; a scale code c
 *           means d = e4m3(c) * s2. `four`: also the code of amax / (4 * s2).
 *   mxfp4   c0 by the rule of mtk_mx_scale, clamped to 0..254; 0 for a zero block; d = 2^(c-127).
 * Candidates are tried in this order: c0, `four`'s, then c0+first .. c0+last ascending, clamped to
 * the valid codes. The error of a candidate: with r = 1/d, y = |x| * r, e = y - e2m1(y):
 *   acc = fma(e, e, acc), or with importance w: acc = fma(e * e, w, acc), elements ascending;
 *   error = acc * (u * u), u = d / s2 (nvfp4), d / 2^(c0-127) (mxfp4).
 * A candidate replaces the best one only if its error is smaller. Codes: e2m1(x / d), nearest even,
 * sign kept (also of zero). */
#ifndef MTK_KERNELS_ENCODE_RULES_H
#define MTK_KERNELS_ENCODE_RULES_H

#include <math.h>
#include <mtk/kernel.h>
#include <string.h>

enum {
  MTK_ENCODE_SUB = 16,      /* values of an nvfp4 block */
  MTK_ENCODE_MX = 32,       /* values of an mxfp4 block */
  MTK_ENCODE_MAX_E4M3 = 126 /* code of 448 */
};

/* E8M0 code of a scale for elements of at most 6, before clamping. amax > 0, finite. */
static inline int mtk_k_mx_code(float amax, mtk_mx_scale rule) {
  float v = rule == MTK_MX_RCEIL ? amax / 6.0f : amax;
  uint32_t bits;
  int extra = 0;
  if (v < 0x1p-126f) return 0; /* denormal: below what E8M0 can say once divided */
  memcpy(&bits, &v, sizeof bits);
  uint32_t fraction = bits & 0x7fffff;
  if (rule == MTK_MX_RCEIL) return (int)(bits >> 23) + (fraction != 0);
  if (rule == MTK_MX_EVEN) extra = fraction >= 0x600000;     /* 1.75 */
  if (rule == MTK_MX_RNE_LOG2) extra = fraction >= 0x3504f4; /* above sqrt 2 */
  return (int)(bits >> 23) + extra - 2;
}

static inline int mtk_k_clamp_code(const mtk_fp4_rule *rule, int code) {
  int lowest = rule->type == MTK_NVFP4, highest = rule->type == MTK_NVFP4 ? 126 : 254;
  return code < lowest ? lowest : code > highest ? highest : code;
}

/* Code of `amax / largest` in nvfp4. */
static inline int mtk_k_nv_code(float amax, float largest, float s2) {
  float scale = amax / (largest * s2);
  if (!(scale > 0)) scale = 1.0f;
  return mtk_f32_to_e4m3(fminf(fmaxf(scale, 0x1p-9f), 448.0f));
}

static inline int mtk_k_first_code(const mtk_fp4_rule *rule, float amax) {
  if (rule->type == MTK_NVFP4) return mtk_k_nv_code(amax, 6.0f, rule->s2);
  return amax > 0 ? mtk_k_clamp_code(rule, mtk_k_mx_code(amax, rule->mx)) : 0;
}

/* d of a code, and u = d over its block's unit (see above). */
static inline float mtk_k_scale_of(const mtk_fp4_rule *rule, int code, int first_code, float *u) {
  if (rule->type == MTK_NVFP4) {
    *u = mtk_e4m3_to_f32((uint8_t)code);
    return *u * rule->s2;
  }
  *u = ldexpf(1.0f, code - first_code);
  return mtk_e8m0_to_f32((uint8_t)code);
}

/* The largest magnitude of n floats that is above `largest`, as bits: magnitudes compare like their
 * bits, NaN is above Inf. */
static inline uint32_t mtk_k_amax_bits(uint32_t largest, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

static inline float mtk_k_float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

#endif
