/* tests/emulation/avx512.h: the AVX-512 intrinsics that kernels/avx512 and kernels/amx use, by what
 * Intel's manual (SDM vol. 2) says of their instructions, on AVX2, FMA and F16C. A build with
 * MTK_EMULATE includes it before anything else in those files, so that their bits are checked on
 * machines without AVX-512. A vector is its two halves; where the instruction for 256 bits does to
 * each half what the one for 512 does, that one is taken: floats round, flush and propagate NaN as
 * they do there, under the same MXCSR.
 *
 * An intrinsic that is new to the kernels does not compile until it is here: its name in the list,
 * its meaning below. */
#ifndef MTK_TESTS_EMULATION_AVX512_H
#define MTK_TESTS_EMULATION_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct emulated_ps {
  __m256 lo, hi;
} emulated_ps;
typedef struct emulated_si {
  __m256i lo, hi;
} emulated_si;

/* The names that <immintrin.h> has already given, to macros and to functions. */
#undef _mm512_cmp_ps_mask
#undef _mm512_cmpeq_epi16_mask
#undef _mm512_cmpge_epu32_mask
#undef _mm512_cmpgt_epu16_mask
#undef _mm512_cvtps_ph
#undef _mm512_extractf32x4_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_extracti64x4_epi64
#undef _mm512_inserti32x4
#undef _mm512_setr_epi32
#undef _mm512_setzero_si512
#undef _mm512_shuffle_i32x4
#undef _mm512_shufflehi_epi16
#undef _mm512_shufflelo_epi16
#undef _mm512_ternarylogic_epi32
#define __m512                    emulated_ps
#define __m512i                   emulated_si
#define _mm512_add_epi16          emulated_add_epi16
#define _mm512_add_epi32          emulated_add_epi32
#define _mm512_add_ps             emulated_add_ps
#define _mm512_and_ps             emulated_and_ps
#define _mm512_and_si512          emulated_and_si512
#define _mm512_andnot_ps          emulated_andnot_ps
#define _mm512_broadcast_i32x4    emulated_broadcast_i32x4
#define _mm512_castps512_ps256    emulated_castps512_ps256
#define _mm512_castps_si512       emulated_castps_si512
#define _mm512_castsi128_si512    emulated_castsi128_si512
#define _mm512_castsi512_ps       emulated_castsi512_ps
#define _mm512_castsi512_si256    emulated_castsi512_si256
#define _mm512_cmpeq_epi16_mask   emulated_cmpeq_epi16_mask
#define _mm512_cmpge_epu32_mask   emulated_cmpge_epu32_mask
#define _mm512_cmpgt_epu16_mask   emulated_cmpgt_epu16_mask
#define _mm512_cvtepi32_epi16     emulated_cvtepi32_epi16
#define _mm512_cvtepi32_epi8      emulated_cvtepi32_epi8
#define _mm512_cvtepi32_ps        emulated_cvtepi32_ps
#define _mm512_cvtepi8_epi16      emulated_cvtepi8_epi16
#define _mm512_cvtepi8_epi32      emulated_cvtepi8_epi32
#define _mm512_cvtepu16_epi32     emulated_cvtepu16_epi32
#define _mm512_cvtepu8_epi32      emulated_cvtepu8_epi32
#define _mm512_cvtph_ps           emulated_cvtph_ps
#define _mm512_cvtps_epi32        emulated_cvtps_epi32
#define _mm512_cvttps_epi32       emulated_cvttps_epi32
#define _mm512_div_ps             emulated_div_ps
#define _mm512_dpbusd_epi32       emulated_dpbusd_epi32
#define _mm512_dpwssd_epi32       emulated_dpwssd_epi32
#define _mm512_extractf32x4_ps    emulated_extractf32x4_ps
#define _mm512_extractf32x8_ps    emulated_extractf32x8_ps
#define _mm512_extracti64x4_epi64 emulated_extracti64x4_epi64
#define _mm512_fmadd_ps           emulated_fmadd_ps
#define _mm512_inserti32x4        emulated_inserti32x4
#define _mm512_loadu_ps           emulated_loadu_ps
#define _mm512_loadu_si512        emulated_loadu_si512
#define _mm512_maddubs_epi16      emulated_maddubs_epi16
#define _mm512_mask_mov_epi16     emulated_mask_mov_epi16
#define _mm512_mask_mov_epi8      emulated_mask_mov_epi8
#define _mm512_mask_mov_ps        emulated_mask_mov_ps
#define _mm512_mask_storeu_ps     emulated_mask_storeu_ps
#define _mm512_mask_sub_epi16     emulated_mask_sub_epi16
#define _mm512_maskz_div_ps       emulated_maskz_div_ps
#define _mm512_maskz_loadu_ps     emulated_maskz_loadu_ps
#define _mm512_max_epu32          emulated_max_epu32
#define _mm512_max_ps             emulated_max_ps
#define _mm512_mul_ps             emulated_mul_ps
#define _mm512_mullo_epi16        emulated_mullo_epi16
#define _mm512_mullo_epi32        emulated_mullo_epi32
#define _mm512_or_ps              emulated_or_ps
#define _mm512_or_si512           emulated_or_si512
#define _mm512_permutex2var_ps    emulated_permutex2var_ps
#define _mm512_permutexvar_ps     emulated_permutexvar_ps
#define _mm512_reduce_max_epu32   emulated_reduce_max_epu32
#define _mm512_set1_epi16         emulated_set1_epi16
#define _mm512_set1_epi32         emulated_set1_epi32
#define _mm512_set1_epi8          emulated_set1_epi8
#define _mm512_set1_ps            emulated_set1_ps
#define _mm512_shuffle_epi8       emulated_shuffle_epi8
#define _mm512_shuffle_i32x4      emulated_shuffle_i32x4
#define _mm512_slli_epi16         emulated_slli_epi16
#define _mm512_slli_epi32         emulated_slli_epi32
#define _mm512_sqrt_ps            emulated_sqrt_ps
#define _mm512_srai_epi16         emulated_srai_epi16
#define _mm512_srai_epi32         emulated_srai_epi32
#define _mm512_srl_epi32          emulated_srl_epi32
#define _mm512_srli_epi32         emulated_srli_epi32
#define _mm512_storeu_ps          emulated_storeu_ps
#define _mm512_storeu_si512       emulated_storeu_si512
#define _mm512_sub_epi16          emulated_sub_epi16
#define _mm512_sub_epi32          emulated_sub_epi32
#define _mm512_sub_epi8           emulated_sub_epi8
#define _mm512_sub_ps             emulated_sub_ps
#define _mm512_ternarylogic_epi32 emulated_ternarylogic_epi32
#define _mm512_unpackhi_epi32     emulated_unpackhi_epi32
#define _mm512_unpackhi_epi64     emulated_unpackhi_epi64
#define _mm512_unpacklo_epi32     emulated_unpacklo_epi32
#define _mm512_unpacklo_epi64     emulated_unpacklo_epi64
#define _mm512_xor_ps             emulated_xor_ps
#define _mm512_xor_si512          emulated_xor_si512

#define EMULATED static inline __attribute__((always_inline, unused))

/* Of both halves, by the instruction for 256 bits. */
#define UNARY(type, name, from, with)                                                              \
  EMULATED type name(from a) { return (type){with(a.lo), with(a.hi)}; }
#define BINARY(type, name, with)                                                                   \
  EMULATED type name(type a, type b) { return (type){with(a.lo, b.lo), with(a.hi, b.hi)}; }
#define BROADCAST(type, name, element, with)                                                       \
  EMULATED type name(element x) { return (type){with(x), with(x)}; }
#define WITH_NUMBER(name, with)                                                                    \
  EMULATED __m512i name(__m512i a, const unsigned n) {                                             \
    return (__m512i){with(a.lo, (int)n), with(a.hi, (int)n)};                                      \
  }
/* Of one half as wide, element by element. */
#define WIDENING(type, name, from, low, high, with)                                                \
  EMULATED type name(from a) { return (type){with(low(a)), with(high(a, 1))}; }

/* ---- memory and names of types ---------------------------------------- */
EMULATED __m512 _mm512_loadu_ps(const void *p) {
  return (__m512){_mm256_loadu_ps(p), _mm256_loadu_ps((const float *)p + 8)};
}
EMULATED void _mm512_storeu_ps(void *p, __m512 v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps((float *)p + 8, v.hi);
}
EMULATED __m512i _mm512_loadu_si512(const void *p) {
  return (__m512i){_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
EMULATED void _mm512_storeu_si512(void *p, __m512i v) {
  _mm256_storeu_si256(p, v.lo);
  _mm256_storeu_si256((__m256i *)p + 1, v.hi);
}
UNARY(__m512, _mm512_castsi512_ps, __m512i, _mm256_castsi256_ps)
UNARY(__m512i, _mm512_castps_si512, __m512, _mm256_castps_si256)
EMULATED __m256 _mm512_castps512_ps256(__m512 a) { return a.lo; }
EMULATED __m256i _mm512_castsi512_si256(__m512i a) { return a.lo; }
EMULATED __m512i _mm512_castsi128_si512(__m128i a) { /* upper bits: anything */
  return (__m512i){_mm256_castsi128_si256(a), _mm256_set1_epi8(0x5a)};
}

/* ---- masks ---------------------------------------- */
/* All ones in the dwords, words or bytes whose bit is set; and the bits of such ones. */
EMULATED __m256i emulated_ones8(unsigned mask) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)mask), bit), bit);
}
EMULATED __m512i emulated_dwords(__mmask16 mask) {
  return (__m512i){emulated_ones8(mask & 0xffu), emulated_ones8((unsigned)mask >> 8)};
}
EMULATED __mmask16 emulated_dword_mask(__m512i ones) {
  unsigned lo = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(ones.lo));
  return (__mmask16)(lo | (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(ones.hi)) << 8);
}
EMULATED __m512i emulated_words(__mmask32 mask) {
  uint16_t ones[32];
  for (int i = 0; i < 32; i++) ones[i] = mask >> i & 1 ? 0xffff : 0;
  return _mm512_loadu_si512(ones);
}
EMULATED __mmask32 emulated_word_mask(__m512i v) {
  uint16_t ones[32];
  __mmask32 mask = 0;
  _mm512_storeu_si512(ones, v);
  for (int i = 0; i < 32; i++) mask |= (__mmask32)(ones[i] & 1) << i;
  return mask;
}
EMULATED __m512i emulated_bytes(__mmask64 mask) {
  uint8_t ones[64];
  for (int i = 0; i < 64; i++) ones[i] = mask >> i & 1 ? 0xff : 0;
  return _mm512_loadu_si512(ones);
}
EMULATED __m512i emulated_choose(__m512i ones, __m512i a, __m512i b) {
  return (__m512i){_mm256_blendv_epi8(b.lo, a.lo, ones.lo),
                   _mm256_blendv_epi8(b.hi, a.hi, ones.hi)};
}
#define _mm512_cmp_ps_mask(a, b, predicate)                                                        \
  emulated_dword_mask(_mm512_castps_si512((__m512){_mm256_cmp_ps((a).lo, (b).lo, predicate),       \
                                                   _mm256_cmp_ps((a).hi, (b).hi, predicate)}))
EMULATED __m512 _mm512_mask_mov_ps(__m512 no, __mmask16 mask, __m512 yes) {
  __m512i chosen =
      emulated_choose(emulated_dwords(mask), _mm512_castps_si512(yes), _mm512_castps_si512(no));
  return _mm512_castsi512_ps(chosen);
}
EMULATED __m512i _mm512_mask_mov_epi8(__m512i no, __mmask64 mask, __m512i yes) {
  return emulated_choose(emulated_bytes(mask), yes, no);
}
EMULATED __m512i _mm512_mask_mov_epi16(__m512i no, __mmask32 mask, __m512i yes) {
  return emulated_choose(emulated_words(mask), yes, no);
}
EMULATED __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const float *p) {
  __m512i ones = emulated_dwords(mask);
  return (__m512){_mm256_maskload_ps(p, ones.lo), _mm256_maskload_ps(p + 8, ones.hi)};
}
EMULATED void _mm512_mask_storeu_ps(float *p, __mmask16 mask, __m512 v) {
  __m512i ones = emulated_dwords(mask);
  _mm256_maskstore_ps(p, ones.lo, v.lo);
  _mm256_maskstore_ps(p + 8, ones.hi, v.hi);
}

/* ---- floats ---------------------------------------- */
BROADCAST(__m512, _mm512_set1_ps, float, _mm256_set1_ps)
BINARY(__m512, _mm512_add_ps, _mm256_add_ps)
BINARY(__m512, _mm512_sub_ps, _mm256_sub_ps)
BINARY(__m512, _mm512_mul_ps, _mm256_mul_ps)
BINARY(__m512, _mm512_div_ps, _mm256_div_ps)
BINARY(__m512, _mm512_max_ps, _mm256_max_ps)
BINARY(__m512, _mm512_and_ps, _mm256_and_ps)
BINARY(__m512, _mm512_andnot_ps, _mm256_andnot_ps)
BINARY(__m512, _mm512_or_ps, _mm256_or_ps)
BINARY(__m512, _mm512_xor_ps, _mm256_xor_ps)
UNARY(__m512, _mm512_sqrt_ps, __m512, _mm256_sqrt_ps)
EMULATED __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return (__m512){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
EMULATED __m512 _mm512_maskz_div_ps(__mmask16 mask, __m512 a, __m512 b) {
  return _mm512_mask_mov_ps(_mm512_set1_ps(0.0f), mask, _mm512_div_ps(a, b));
}
EMULATED __m256 _mm512_extractf32x8_ps(__m512 a, const int half) { return half ? a.hi : a.lo; }
EMULATED __m128 _mm512_extractf32x4_ps(__m512 a, const int quarter) {
  __m256 half = quarter & 2 ? a.hi : a.lo;
  return quarter & 1 ? _mm256_extractf128_ps(half, 1) : _mm256_castps256_ps128(half);
}
/* Lane `index` of the 16 of a, or the 32 of a and b: each by as many low bits as it takes. */
EMULATED __m256 emulated_lane_of_16(__m512 a, __m256i index) {
  __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)); /* bit 3 as the sign */
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a.lo, index),
                          _mm256_permutevar8x32_ps(a.hi, index), upper);
}
EMULATED __m256 emulated_lane_of_32(__m512 a, __m512 b, __m256i index) {
  __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27)); /* bit 4 */
  return _mm256_blendv_ps(emulated_lane_of_16(a, index), emulated_lane_of_16(b, index), second);
}
EMULATED __m512 _mm512_permutexvar_ps(__m512i index, __m512 a) {
  return (__m512){emulated_lane_of_16(a, index.lo), emulated_lane_of_16(a, index.hi)};
}
EMULATED __m512 _mm512_permutex2var_ps(__m512 a, __m512i index, __m512 b) {
  return (__m512){emulated_lane_of_32(a, b, index.lo), emulated_lane_of_32(a, b, index.hi)};
}

/* ---- integers ---------------------------------------- */
BROADCAST(__m512i, _mm512_set1_epi8, char, _mm256_set1_epi8)
BROADCAST(__m512i, _mm512_set1_epi16, short, _mm256_set1_epi16)
BROADCAST(__m512i, _mm512_set1_epi32, int, _mm256_set1_epi32)
BROADCAST(__m512i, _mm512_broadcast_i32x4, __m128i, _mm256_broadcastsi128_si256)
#define _mm512_setzero_si512() _mm512_set1_epi32(0)
#define _mm512_setr_epi32(a, b, c, d, e, f, g, h, ...)                                             \
  ((__m512i){_mm256_setr_epi32(a, b, c, d, e, f, g, h), _mm256_setr_epi32(__VA_ARGS__)})
BINARY(__m512i, _mm512_add_epi16, _mm256_add_epi16)
BINARY(__m512i, _mm512_add_epi32, _mm256_add_epi32)
BINARY(__m512i, _mm512_sub_epi8, _mm256_sub_epi8)
BINARY(__m512i, _mm512_sub_epi16, _mm256_sub_epi16)
BINARY(__m512i, _mm512_sub_epi32, _mm256_sub_epi32)
BINARY(__m512i, _mm512_mullo_epi16, _mm256_mullo_epi16)
BINARY(__m512i, _mm512_mullo_epi32, _mm256_mullo_epi32)
BINARY(__m512i, _mm512_max_epu32, _mm256_max_epu32)
BINARY(__m512i, _mm512_and_si512, _mm256_and_si256)
BINARY(__m512i, _mm512_or_si512, _mm256_or_si256)
BINARY(__m512i, _mm512_xor_si512, _mm256_xor_si256)
BINARY(__m512i, _mm512_maddubs_epi16, _mm256_maddubs_epi16)
BINARY(__m512i, _mm512_shuffle_epi8, _mm256_shuffle_epi8)
BINARY(__m512i, _mm512_unpacklo_epi32, _mm256_unpacklo_epi32)
BINARY(__m512i, _mm512_unpackhi_epi32, _mm256_unpackhi_epi32)
BINARY(__m512i, _mm512_unpacklo_epi64, _mm256_unpacklo_epi64)
BINARY(__m512i, _mm512_unpackhi_epi64, _mm256_unpackhi_epi64)
WITH_NUMBER(_mm512_slli_epi16, _mm256_slli_epi16)
WITH_NUMBER(_mm512_srai_epi16, _mm256_srai_epi16)
WITH_NUMBER(_mm512_slli_epi32, _mm256_slli_epi32)
WITH_NUMBER(_mm512_srli_epi32, _mm256_srli_epi32)
WITH_NUMBER(_mm512_srai_epi32, _mm256_srai_epi32)
EMULATED __m512i _mm512_srl_epi32(__m512i a, __m128i n) {
  return (__m512i){_mm256_srl_epi32(a.lo, n), _mm256_srl_epi32(a.hi, n)};
}
/* Macros where the instruction wants a constant. */
#define _mm512_shufflelo_epi16(a, order)                                                           \
  ((__m512i){_mm256_shufflelo_epi16((a).lo, order), _mm256_shufflelo_epi16((a).hi, order)})
#define _mm512_shufflehi_epi16(a, order)                                                           \
  ((__m512i){_mm256_shufflehi_epi16((a).lo, order), _mm256_shufflehi_epi16((a).hi, order)})
EMULATED __m512i _mm512_mask_sub_epi16(__m512i no, __mmask32 mask, __m512i a, __m512i b) {
  return _mm512_mask_mov_epi16(no, mask, _mm512_sub_epi16(a, b));
}
EMULATED __mmask32 _mm512_cmpeq_epi16_mask(__m512i a, __m512i b) {
  __m512i equal = {_mm256_cmpeq_epi16(a.lo, b.lo), _mm256_cmpeq_epi16(a.hi, b.hi)};
  return emulated_word_mask(equal);
}
EMULATED __mmask32 _mm512_cmpgt_epu16_mask(__m512i a, __m512i b) {
  __m256i lo = _mm256_cmpeq_epi16(_mm256_max_epu16(a.lo, b.lo), b.lo); /* a <= b */
  __m256i hi = _mm256_cmpeq_epi16(_mm256_max_epu16(a.hi, b.hi), b.hi);
  return ~emulated_word_mask((__m512i){lo, hi});
}
EMULATED __mmask16 _mm512_cmpge_epu32_mask(__m512i a, __m512i b) {
  __m512i most = _mm512_max_epu32(a, b);
  __m512i is_a = {_mm256_cmpeq_epi32(most.lo, a.lo), _mm256_cmpeq_epi32(most.hi, a.hi)};
  return emulated_dword_mask(is_a);
}
EMULATED unsigned _mm512_reduce_max_epu32(__m512i a) {
  uint32_t lane[16], most = 0;
  _mm512_storeu_si512(lane, a);
  for (int i = 0; i < 16; i++) most = lane[i] > most ? lane[i] : most;
  return most;
}
/* Bit i of `table` is the result for the bits i = a b c. */
EMULATED __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, const int table) {
  uint64_t x[8], y[8], z[8], r[8] = {0};
  _mm512_storeu_si512(x, a);
  _mm512_storeu_si512(y, b);
  _mm512_storeu_si512(z, c);
  for (int i = 0; i < 8; i++) {
    for (int bits = 0; bits < 8; bits++) {
      if (!(table >> bits & 1)) continue;
      r[i] |= (bits & 4 ? x[i] : ~x[i]) & (bits & 2 ? y[i] : ~y[i]) & (bits & 1 ? z[i] : ~z[i]);
    }
  }
  return _mm512_loadu_si512(r);
}
/* Quarters of a, a, b, b by two bits each. */
EMULATED __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, const int order) {
  uint8_t from[2][64], to[64];
  _mm512_storeu_si512(from[0], a);
  _mm512_storeu_si512(from[1], b);
  for (int i = 0; i < 4; i++) memcpy(to + 16 * i, from[i / 2] + 16 * (order >> 2 * i & 3), 16);
  return _mm512_loadu_si512(to);
}
EMULATED __m512i _mm512_inserti32x4(__m512i a, __m128i b, const int quarter) {
  uint8_t to[64];
  _mm512_storeu_si512(to, a);
  _mm_storeu_si128((__m128i *)(void *)(to + 16 * quarter), b);
  return _mm512_loadu_si512(to);
}
EMULATED __m256i _mm512_extracti64x4_epi64(__m512i a, const int half) { return half ? a.hi : a.lo; }

/* Four products of an unsigned and a signed byte, added to a dword; nothing saturates. */
EMULATED __m256i emulated_dot_of_bytes(__m256i sum, __m256i u, __m256i s) {
  __m256i even = _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(0xff)),
                                   _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
  __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
EMULATED __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i u, __m512i s) {
  return (__m512i){emulated_dot_of_bytes(sum.lo, u.lo, s.lo),
                   emulated_dot_of_bytes(sum.hi, u.hi, s.hi)};
}
/* Two products of words, added to a dword. */
EMULATED __m512i _mm512_dpwssd_epi32(__m512i sum, __m512i a, __m512i b) {
  return (__m512i){_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.lo, b.lo)),
                   _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.hi, b.hi))};
}

/* ---- conversions ---------------------------------------- */
WIDENING(__m512, _mm512_cvtph_ps, __m256i, _mm256_castsi256_si128, _mm256_extracti128_si256,
         _mm256_cvtph_ps)
WIDENING(__m512i, _mm512_cvtepi8_epi16, __m256i, _mm256_castsi256_si128, _mm256_extracti128_si256,
         _mm256_cvtepi8_epi16)
WIDENING(__m512i, _mm512_cvtepu16_epi32, __m256i, _mm256_castsi256_si128, _mm256_extracti128_si256,
         _mm256_cvtepu16_epi32)
EMULATED __m128i emulated_upper_bytes(__m128i a, const int half) {
  return half ? _mm_unpackhi_epi64(a, a) : a;
}
WIDENING(__m512i, _mm512_cvtepi8_epi32, __m128i, , emulated_upper_bytes, _mm256_cvtepi8_epi32)
WIDENING(__m512i, _mm512_cvtepu8_epi32, __m128i, , emulated_upper_bytes, _mm256_cvtepu8_epi32)
UNARY(__m512, _mm512_cvtepi32_ps, __m512i, _mm256_cvtepi32_ps)
UNARY(__m512i, _mm512_cvtps_epi32, __m512, _mm256_cvtps_epi32)
UNARY(__m512i, _mm512_cvttps_epi32, __m512, _mm256_cvttps_epi32)
#define _mm512_cvtps_ph(a, rounding)                                                               \
  _mm256_set_m128i(_mm256_cvtps_ph((a).hi, rounding), _mm256_cvtps_ph((a).lo, rounding))
/* The lowest bytes, or words, of dwords. */
EMULATED __m128i _mm512_cvtepi32_epi8(__m512i a) {
  uint32_t lane[16];
  uint8_t low[16];
  _mm512_storeu_si512(lane, a);
  for (int i = 0; i < 16; i++) low[i] = (uint8_t)lane[i];
  return _mm_loadu_si128((const __m128i *)(const void *)low);
}
EMULATED __m256i _mm512_cvtepi32_epi16(__m512i a) {
  uint32_t lane[16];
  uint16_t low[16];
  _mm512_storeu_si512(lane, a);
  for (int i = 0; i < 16; i++) low[i] = (uint16_t)lane[i];
  return _mm256_loadu_si256((const __m256i *)(const void *)low);
}

#undef EMULATED
#undef UNARY
#undef BINARY
#undef BROADCAST
#undef WITH_NUMBER
#undef WIDENING

#endif
