/* kernels/simd/linear_lanes.h: what the linear kernels need beyond simd/lanes.h: vectors of
 * integers (vi, LANES dwords), half-width vectors of LANES u16 (vh), exact conversions of storage
 * types to floats, and the integer dot product of 4 bytes a lane. */
#ifndef MTK_KERNELS_SIMD_LINEAR_LANES_H
#define MTK_KERNELS_SIMD_LINEAR_LANES_H

#include <string.h>

#include "simd/lanes.h"

#if MTK_LANES == 16

typedef __m512i vi;
typedef __m256i vh;
MTK_INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
MTK_INLINE void vi_store(void *p, vi v) { _mm512_storeu_si512(p, v); }
MTK_INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
MTK_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
MTK_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
/* Bits of a where mask has ones, of b elsewhere. */
MTK_INLINE vi vi_select(vi mask, vi a, vi b) { return _mm512_ternarylogic_epi32(mask, a, b, 0xca); }
MTK_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
MTK_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
MTK_INLINE vi vi_max(vi a, vi b) { return _mm512_max_epu32(a, b); }
#define vi_slli(a, bits) _mm512_slli_epi32(a, (unsigned)(bits))
#define vi_srli(a, bits) _mm512_srli_epi32(a, (unsigned)(bits))
MTK_INLINE vf vi_as_vf(vi a) { return _mm512_castsi512_ps(a); }
MTK_INLINE vi vf_as_vi(vf a) { return _mm512_castps_si512(a); }
MTK_INLINE vf vf_from_i32(vi a) { return _mm512_cvtepi32_ps(a); }
MTK_INLINE vi vi_from_vf(vf a) { return _mm512_cvtps_epi32(a); } /* nearest even */
MTK_INLINE vi vi_from_i8(const void *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(p)); }
MTK_INLINE vi vi_from_u8(const void *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(p)); }
MTK_INLINE vi vi_shift_right(vi a, int bits) {
  return _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits));
}
MTK_INLINE vf vf_lookup16(const float *table, vi index) { /* by the lowest 4 bits */
  return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table));
}
MTK_INLINE vi vi_lookup16(__m128i table, vi index) { /* bytes; index < 16 */
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index);
}
MTK_INLINE vf vf_if_nan(vf a, vf x, vf y) { /* a is NaN ? x : y */
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), x);
}
MTK_INLINE vh vh_load(const void *p) { return _mm256_loadu_si256(p); }
MTK_INLINE vh vh_from_i8(const void *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(p)); }
MTK_INLINE vh vh_set1(int x) { return _mm256_set1_epi16((short)x); }
MTK_INLINE vh vh_and(vh a, vh b) { return _mm256_and_si256(a, b); }
MTK_INLINE vh vh_or(vh a, vh b) { return _mm256_or_si256(a, b); }
MTK_INLINE vh vh_equal(vh a, vh b) { return _mm256_cmpeq_epi16(a, b); }
#define vh_slli _mm256_slli_epi16
MTK_INLINE vf vf_from_f16(vh a) { return _mm512_cvtph_ps(a); }
MTK_INLINE vi vi_from_u16(vh a) { return _mm512_cvtepu16_epi32(a); }

/* Largest u32. */
MTK_INLINE uint32_t vi_max_lane(vi a) { return _mm512_reduce_max_epu32(a); }
/* 32 dwords of v, each within int8, as bytes. */
MTK_INLINE __m256i vi_pack_bytes(const vi *v) {
  __m128i low = _mm512_cvtepi32_epi8(v[0]), high = _mm512_cvtepi32_epi8(v[1]);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* The same for dwords within uint8. */
MTK_INLINE __m256i vi_pack_unsigned(const vi *v) { return vi_pack_bytes(v); } /* truncates */

/* Sum over a lane's 4 bytes of w (unsigned) * x (signed, not -128), added to a running value, and
 * its int32 at the end. wide: w uses all 8 bits, otherwise w <= 31. */
MTK_INLINE vi dot_step(vi a, vi w, vi x, int wide) {
  (void)wide;
  return _mm512_dpbusd_epi32(a, w, x);
}
MTK_INLINE vi dot_end(vi a, int wide) {
  (void)wide;
  return a;
}

#else

typedef __m256i vi;
typedef __m128i vh;
MTK_INLINE vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
MTK_INLINE void vi_store(void *p, vi v) { _mm256_storeu_si256(p, v); }
MTK_INLINE vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
MTK_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
MTK_INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
MTK_INLINE vi vi_select(vi mask, vi a, vi b) {
  return _mm256_or_si256(_mm256_and_si256(mask, a), _mm256_andnot_si256(mask, b));
}
MTK_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
MTK_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
MTK_INLINE vi vi_max(vi a, vi b) { return _mm256_max_epu32(a, b); }
#define vi_slli(a, bits) _mm256_slli_epi32(a, bits)
#define vi_srli(a, bits) _mm256_srli_epi32(a, bits)
MTK_INLINE vf vi_as_vf(vi a) { return _mm256_castsi256_ps(a); }
MTK_INLINE vi vf_as_vi(vf a) { return _mm256_castps_si256(a); }
MTK_INLINE vf vf_from_i32(vi a) { return _mm256_cvtepi32_ps(a); }
MTK_INLINE vi vi_from_vf(vf a) { return _mm256_cvtps_epi32(a); } /* nearest even */
MTK_INLINE vi vi_from_i8(const void *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(p)); }
MTK_INLINE vi vi_from_u8(const void *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p)); }
MTK_INLINE vi vi_shift_right(vi a, int bits) {
  return _mm256_srl_epi32(a, _mm_cvtsi32_si128(bits));
}
MTK_INLINE vf vf_lookup16(const float *table, vi index) { /* by the lowest 4 bits */
  vf low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
  vf high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
MTK_INLINE vi vi_lookup16(__m128i table, vi index) { /* bytes; index < 16 */
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
}
MTK_INLINE vf vf_if_nan(vf a, vf x, vf y) { /* a is NaN ? x : y */
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
MTK_INLINE vh vh_load(const void *p) { return _mm_loadu_si128(p); }
MTK_INLINE vh vh_from_i8(const void *p) { return _mm_cvtepi8_epi16(_mm_loadl_epi64(p)); }
MTK_INLINE vh vh_set1(int x) { return _mm_set1_epi16((short)x); }
MTK_INLINE vh vh_and(vh a, vh b) { return _mm_and_si128(a, b); }
MTK_INLINE vh vh_or(vh a, vh b) { return _mm_or_si128(a, b); }
MTK_INLINE vh vh_equal(vh a, vh b) { return _mm_cmpeq_epi16(a, b); }
#define vh_slli          _mm_slli_epi16
MTK_INLINE vf vf_from_f16(vh a) { return _mm256_cvtph_ps(a); }
MTK_INLINE vi vi_from_u16(vh a) { return _mm256_cvtepu16_epi32(a); }

MTK_INLINE uint32_t vi_max_lane(vi a) {
  vi b = _mm256_max_epu32(a, _mm256_permute2x128_si256(a, a, 1));
  b = _mm256_max_epu32(b, _mm256_shuffle_epi32(b, 0x4e));
  return (uint32_t)_mm256_cvtsi256_si32(_mm256_max_epu32(b, _mm256_shuffle_epi32(b, 0xb1)));
}
MTK_INLINE __m256i vi_pack_bytes(const vi *v) {
  vi low = _mm256_packs_epi32(v[0], v[1]), high = _mm256_packs_epi32(v[2], v[3]);
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

MTK_INLINE __m256i vi_pack_unsigned(const vi *v) {
  vi low = _mm256_packus_epi32(v[0], v[1]), high = _mm256_packus_epi32(v[2], v[3]);
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* A sum of integers as it stands: the compiler would make all products first, for which there are
 * no registers, and add them in another order. */
MTK_INLINE vi in_order(vi sum) {
  __asm__("" : "+x"(sum));
  return sum;
}

/* As above. Narrow: pairs of int16, of k 0, 1 and 2, 3 of each four, in which sums may wrap: they
 * must fit at the end. Wide: w - 128 as magnitude (at most 128) and sign, so that the pairs of a
 * step reach only 128 * 127 * 2 = 32512. */
MTK_INLINE vi dot_step(vi a, vi w, vi x, int wide) {
  if (!wide) return in_order(_mm256_add_epi16(a, _mm256_maddubs_epi16(w, x)));
  vi c = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
  vi pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(c), _mm256_sign_epi8(x, c));
  return in_order(_mm256_add_epi32(a, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
}
MTK_INLINE vi dot_end(vi a, int wide) {
  return wide ? a : _mm256_madd_epi16(a, _mm256_set1_epi16(1));
}

#endif

/* ---- LANES stored elements at p as floats ---------------------------------------- */
MTK_INLINE vf load_f32(const uint8_t *p) { return vf_load((const float *)(const void *)p); }
MTK_INLINE vf load_f16(const uint8_t *p) { return vf_from_f16(vh_load(p)); }
MTK_INLINE vf load_bf16(const uint8_t *p) { return vi_as_vf(vi_slli(vi_from_u16(vh_load(p)), 16)); }
/* s eeee mmm moved to f16's places is the value * 2^-8, subnormals included; code 0x7f is NaN. */
MTK_INLINE vf load_f8_e4m3(const uint8_t *p) {
  vh h = vh_and(vh_slli(vh_from_i8(p), 7), vh_set1(0xbfff));
  vh is_nan = vh_equal(vh_and(h, vh_set1(0x7fff)), vh_set1(0x3f80));
  return vf_mul(vf_from_f16(vh_or(h, vh_and(is_nan, vh_set1(0x7e00)))), vf_set1(256.0f));
}
MTK_INLINE vf load_f8_e5m2(const uint8_t *p) { return vf_from_f16(vh_slli(vh_from_i8(p), 8)); }
/* 2^(e-127): e = 0 is the denormal 2^-127, e = 255 is NaN. */
MTK_INLINE vf load_e8m0(const uint8_t *p) {
  vf v = vi_as_vf(vi_max(vi_slli(vi_from_u8(p), 23), vi_set1(0x00400000)));
  return vf_if_less(vf_set1(0x1p127f), v, vf_set1(NAN), v);
}

/* Nearest even to bf16, as a float. */
MTK_INLINE vf vf_round_bf16(vf v) {
  vi u = vf_as_vi(v), odd = vi_and(vi_srli(u, 16), vi_set1(1));
  vi r = vi_and(vi_add(u, vi_add(odd, vi_set1(0x7fff))), vi_set1((int32_t)0xffff0000));
  return vf_if_nan(v, vi_as_vf(vi_and(vi_or(u, vi_set1(0x00400000)), vi_set1(-65536))),
                   vi_as_vf(r));
}

/* NaN as the one that products keep, and the rounding of numbers whose NaNs are that one. */
MTK_INLINE vf vf_quiet(vf v) { return vf_if_nan(v, vf_set1(NAN), v); }
MTK_INLINE vf vf_round_quiet_bf16(vf v) {
  vi u = vf_as_vi(v), odd = vi_and(vi_srli(u, 16), vi_set1(1));
  vi r = vi_and(vi_add(u, vi_add(odd, vi_set1(0x7fff))), vi_set1((int32_t)0xffff0000));
  return vi_as_vf(r);
}

/* Four bytes at p in every lane. */
MTK_INLINE vi vi_set1_bytes(const void *p) {
  int32_t x;
  memcpy(&x, p, sizeof x);
  return vi_set1(x);
}

/* dot_step with the four bytes at x. AVX-512 has them as an operand in memory, by assembly: the
 * compiler loads them apart, and where other panels want them too it keeps more of them than there
 * are registers. */
#if MTK_LANES == 16 && defined __AVX512VNNI__ /* not where it is emulated */
typedef int32_t __attribute__((may_alias)) four_bytes;
MTK_INLINE vi dot_step_at(vi a, vi w, const int8_t *x, int wide) {
  (void)wide;
  __asm__("vpdpbusd %2%{1to16%}, %1, %0"
          : "+v"(a)
          : "v"(w), "m"(*(const four_bytes *)(const void *)x));
  return a;
}
#else
MTK_INLINE vi dot_step_at(vi a, vi w, const int8_t *x, int wide) {
  return dot_step(a, w, vi_set1_bytes(x), wide);
}
#endif

/* ---- activations of a8 ---------------------------------------- */
/* d_a of `count` elements, and in *inverse what makes them q: 0 where all q are 0. */
MTK_INLINE float act_scale(const float *x, int count, float *inverse) {
  enum { INFINITY_BITS = 0x7f800000 };
  vi all = vi_set1(0);
  MTK_UNROLL for (int v = 0; v < count; v += LANES) { /* as bits, NaN > Inf > finite */
    all = vi_max(all, vi_and(vf_as_vi(vf_load(x + v)), vi_set1(0x7fffffff)));
  }
  uint32_t bits = vi_max_lane(all);
  float amax;
  memcpy(&amax, &bits, sizeof amax);
  *inverse = 0.0f;
  if (bits >= INFINITY_BITS) return NAN;
  if (amax < 0x1p-100f) return 0.0f;
  *inverse = 127.0f / amax;
  return amax / 127.0f;
}

/* q[0..32) of x; returns their sums, four by four. */
MTK_INLINE __m256i act_fours(int8_t *q, const float *x, float inverse) {
  vi v[32 / LANES];
  MTK_UNROLL for (int i = 0; i < 32 / LANES; i++) {
    v[i] = vi_from_vf(vf_mul(vf_load(x + i * LANES), vf_set1(inverse)));
  }
  __m256i bytes = vi_pack_bytes(v), pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  _mm256_storeu_si256((void *)q, bytes);
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* q[0..32) of x, and the sums of both halves. */
MTK_INLINE void act_codes(int8_t *q, int32_t sum[2], const float *x, float inverse) {
  __m256i fours = act_fours(q, x, inverse);
  fours = _mm256_hadd_epi32(fours, fours);
  fours = _mm256_hadd_epi32(fours, fours);
  sum[0] = _mm256_cvtsi256_si32(fours);
  sum[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(fours, 1));
}

#if MTK_LANES == 8
/* factor times the sum of q[0..32), or the sums of both halves, as narrow dot products keep it: in
 * a pair of int16, of k 0, 1 and 2, 3 of each four. */
MTK_INLINE void act_pairs(int32_t pairs[2], const int8_t *q, int factor, int halves) {
  vi sum = _mm256_maddubs_epi16(_mm256_set1_epi8(1), vi_load(q));
  sum = _mm256_add_epi16(sum, _mm256_shuffle_epi32(sum, 0x4e));
  sum = _mm256_add_epi16(sum, _mm256_shuffle_epi32(sum, 0xb1));
  if (!halves) sum = _mm256_add_epi16(sum, _mm256_permute2x128_si256(sum, sum, 1));
  sum = _mm256_mullo_epi16(sum, _mm256_set1_epi16((short)factor));
  pairs[0] = _mm256_cvtsi256_si32(sum);
  pairs[1] = halves ? _mm_cvtsi128_si32(_mm256_extracti128_si256(sum, 1)) : 0;
}
#endif

#endif
