/* kernels/simd/lanes.h: one vocabulary for AVX2 and AVX-512, so that each kernel is written once.
 *
 * The including file defines MTK_LANES (8 or 16) and MTK_K(name), which appends the ISA to a kernel
 * name. vf is a vector of MTK_LANES floats; every operation rounds as its scalar counterpart in C.
 * v16 holds the 16 partials of a reduction as one or two vf. "_n" forms touch lanes 0..n-1 only
 * (n >= MTK_LANES: all; n < 1: none), and never read or write memory beyond them. */
#ifndef MTK_KERNELS_SIMD_LANES_H
#define MTK_KERNELS_SIMD_LANES_H

#include <immintrin.h>
#include <math.h>
#include <mtk/kernel.h>
#include <stdint.h>

#include "exp_poly.h"

#define MTK_INLINE static inline __attribute__((always_inline))
/* Loops whose bound inlining makes constant must be unrolled for arrays to stay in registers. */
#ifdef __clang__
#define MTK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MTK_UNROLL _Pragma("GCC unroll 16")
#endif

enum { LANES = MTK_LANES, PARTS = 16 / MTK_LANES };

#if MTK_LANES == 16

typedef __m512 vf;

MTK_INLINE __mmask16 mask_n(int64_t n) {
  return n >= 16 ? (__mmask16)0xffff : n <= 0 ? (__mmask16)0 : (__mmask16)((1u << n) - 1u);
}
MTK_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
MTK_INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
MTK_INLINE vf vf_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(mask_n(n), p); }
MTK_INLINE void vf_store_n(float *p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, mask_n(n), v); }
/* Lanes below n from b, the others from a. */
MTK_INLINE vf vf_keep_n(vf a, vf b, int64_t n) { return _mm512_mask_mov_ps(a, mask_n(n), b); }
MTK_INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
MTK_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
MTK_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
MTK_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
MTK_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
MTK_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
MTK_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
MTK_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
MTK_INLINE vf vf_neg(vf a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
MTK_INLINE vf vf_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
/* The size of a with the sign of b; a >= 0. */
MTK_INLINE vf vf_with_sign(vf a, vf b) {
  return _mm512_or_ps(a, _mm512_and_ps(b, _mm512_set1_ps(-0.0f)));
}
/* a < b ? x : y */
MTK_INLINE vf vf_if_less(vf a, vf b, vf x, vf y) {
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
}
/* The bits of p plus those of t shifted to the exponent field. */
MTK_INLINE vf vf_add_exponent(vf p, vf t) {
  __m512i e = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), e));
}
/* a0 b0 a1 b1 ... in two vectors to a and b, and back. */
MTK_INLINE void vf_unzip(vf lo, vf hi, vf *a, vf *b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  *a = _mm512_permutex2var_ps(lo, even, hi);
  *b = _mm512_permutex2var_ps(lo, odd, hi);
}
MTK_INLINE void vf_zip(vf a, vf b, vf *lo, vf *hi) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  *lo = _mm512_permutex2var_ps(a, first, b);
  *hi = _mm512_permutex2var_ps(a, second, b);
}

#else

typedef __m256 vf;

MTK_INLINE __m256i mask_n(int64_t n) {
  int count = n >= 8 ? 8 : n <= 0 ? 0 : (int)n;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
MTK_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
MTK_INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
MTK_INLINE vf vf_load_n(const float *p, int64_t n) {
  return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask_n(n));
}
MTK_INLINE void vf_store_n(float *p, vf v, int64_t n) {
  if (n >= 8)
    _mm256_storeu_ps(p, v);
  else
    _mm256_maskstore_ps(p, mask_n(n), v);
}
/* Lanes below n from b, the others from a. */
MTK_INLINE vf vf_keep_n(vf a, vf b, int64_t n) {
  return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(mask_n(n)));
}
MTK_INLINE vf vf_set1(float x) { return _mm256_set1_ps(x); }
MTK_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
MTK_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
MTK_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
MTK_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
MTK_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
MTK_INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
MTK_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
MTK_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
MTK_INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
/* The size of a with the sign of b; a >= 0. */
MTK_INLINE vf vf_with_sign(vf a, vf b) {
  return _mm256_or_ps(a, _mm256_and_ps(b, _mm256_set1_ps(-0.0f)));
}
/* a < b ? x : y */
MTK_INLINE vf vf_if_less(vf a, vf b, vf x, vf y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
/* The bits of p plus those of t shifted to the exponent field. */
MTK_INLINE vf vf_add_exponent(vf p, vf t) {
  __m256i e = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), e));
}
/* a0 b0 a1 b1 ... in two vectors to a and b, and back. */
MTK_INLINE vf vf_swap_middle(vf v) {
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
MTK_INLINE void vf_unzip(vf lo, vf hi, vf *a, vf *b) {
  *a = vf_swap_middle(_mm256_shuffle_ps(lo, hi, 0x88));
  *b = vf_swap_middle(_mm256_shuffle_ps(lo, hi, 0xdd));
}
MTK_INLINE void vf_zip(vf a, vf b, vf *lo, vf *hi) {
  vf l = _mm256_unpacklo_ps(a, b), h = _mm256_unpackhi_ps(a, b);
  *lo = _mm256_permute2f128_ps(l, h, 0x20);
  *hi = _mm256_permute2f128_ps(l, h, 0x31);
}

#endif

/* mtk_math_expf in every lane; x <= MTK_EXPF_HIGHEST or NaN. */
MTK_INLINE vf vf_exp_low(vf x) {
  const vf magic = vf_set1(MTK_EXPF_MAGIC);
  vf t = vf_fma(x, vf_set1(MTK_EXPF_LOG2E), magic);
  vf n = vf_sub(t, magic);
  vf r = vf_fma(n, vf_set1(-MTK_EXPF_LN2_HI), x);
  r = vf_fma(n, vf_set1(-MTK_EXPF_LN2_LO), r);
  vf p = vf_fma(vf_set1(MTK_EXPF_C6), r, vf_set1(MTK_EXPF_C5));
  p = vf_fma(p, r, vf_set1(MTK_EXPF_C4));
  p = vf_fma(p, r, vf_set1(MTK_EXPF_C3));
  p = vf_fma(p, r, vf_set1(MTK_EXPF_C2));
  p = vf_fma(p, r, vf_set1(1.0f));
  p = vf_fma(p, r, vf_set1(1.0f));
  p = vf_add_exponent(p, t);
  return vf_if_less(x, vf_set1(MTK_EXPF_LOWEST), vf_set1(0.0f), p);
}

/* mtk_math_expf in every lane. */
MTK_INLINE vf vf_exp(vf x) {
  return vf_if_less(vf_set1(MTK_EXPF_HIGHEST), x, vf_set1(INFINITY), vf_exp_low(x));
}

/* mtk_math_tanhf in every lane. */
MTK_INLINE vf vf_tanh(vf x) {
  const vf one = vf_set1(1.0f);
  vf a = vf_abs(x), z = vf_mul(a, a);
  vf p = vf_fma(vf_set1(MTK_TANHF_C11), z, vf_set1(MTK_TANHF_C9));
  p = vf_fma(p, z, vf_set1(MTK_TANHF_C7));
  p = vf_fma(p, z, vf_set1(MTK_TANHF_C5));
  p = vf_fma(p, z, vf_set1(MTK_TANHF_C3));
  p = vf_fma(vf_mul(a, z), p, a);
  vf large = vf_sub(one, vf_div(vf_set1(2.0f), vf_add(vf_exp(vf_add(a, a)), one)));
  return vf_with_sign(vf_if_less(a, vf_set1(MTK_TANHF_SMALL), p, large), x);
}

/* The 16 partials of a reduction: partial i is lane i % LANES of p[i / LANES]. */
typedef struct v16 {
  vf p[PARTS];
} v16;

MTK_INLINE v16 v16_set1(float x) {
  v16 s;
  for (int h = 0; h < PARTS; h++) s.p[h] = vf_set1(x);
  return s;
}

/* The tree 8-4-2-1 with ADD for the sum, or with maximum. */
MTK_INLINE __m256 v16_fold8(v16 s, int maximum) {
#if MTK_LANES == 16
  __m256 lo = _mm512_castps512_ps256(s.p[0]), hi = _mm512_extractf32x8_ps(s.p[0], 1);
#else
  __m256 lo = s.p[0], hi = s.p[1];
#endif
  return maximum ? _mm256_max_ps(hi, lo) : _mm256_add_ps(lo, hi);
}
MTK_INLINE float v16_sum(v16 s) {
  __m256 a = v16_fold8(s, 0);
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
MTK_INLINE float v16_max(v16 s) {
  __m256 a = v16_fold8(s, 1);
  __m128 b = _mm_max_ps(_mm256_extractf128_ps(a, 1), _mm256_castps256_ps128(a));
  b = _mm_max_ps(_mm_movehl_ps(b, b), b);
  return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(b), b));
}

/* Loops over i = 0, LANES, ... < n with `left` = n - i elements to go; and over blocks of 16 with
 * lane part h, where `left` may be below 1 in the last block ("_n" forms then do nothing). */
#define MTK_EACH_VECTOR(i, left, n)                                                                \
  for (int64_t i = 0, left = (n); left > 0; i += LANES, left -= LANES)
#define MTK_EACH_PART(h, i, left, n)                                                               \
  for (int64_t h##16 = 0; h##16 < (n); h##16 += 16)                                                \
  MTK_UNROLL for (int64_t h = 0, i = h##16, left = (n)-h##16; h < PARTS;                           \
                  h++, i += LANES, left -= LANES)

/* Greatest of n > 0 floats. */
MTK_INLINE float row_max(const float *x, int64_t n) {
  const vf lowest = vf_set1(-INFINITY);
  v16 mx = v16_set1(-INFINITY);
  MTK_EACH_PART(h, i, left, n) {
    mx.p[h] = vf_max(vf_keep_n(lowest, vf_load_n(x + i, left), left), mx.p[h]);
  }
  return v16_max(mx);
}

#endif
