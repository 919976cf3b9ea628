/* kernels/simd/widen.h: stored elements as floats, of the types whose rows are read often, with the
 * bits of the decoders of core/tensor (layouts: block_legacy.c, block_k.h, block_float.c there).
 * What compilers make of q8_0's is as fast. Included by simd/encode.h. Pure; any thread. */
#ifndef MTK_KERNELS_SIMD_WIDEN_H
#define MTK_KERNELS_SIMD_WIDEN_H

#include "simd/linear_lanes.h"
#include "superblock.h"

/* Stored elements as floats. */
#define WIDEN(name, bytes)                                                                         \
  static void widen_##name(float *dst, const uint8_t *src, int64_t n) {                            \
    int64_t i = 0;                                                                                 \
    for (; i + LANES <= n; i += LANES) vf_store(dst + i, load_##name(src + i * (bytes)));          \
    mtk_dtype_decode(WIDEN_TYPE_##name, dst + i, src + i * (bytes), (size_t)(n - i));              \
  }
#define WIDEN_TYPE_f16 MTK_F16
#define WIDEN_TYPE_bf16 MTK_BF16
#define WIDEN_TYPE_f8_e4m3 MTK_F8_E4M3
WIDEN(f16, 2)
WIDEN(bf16, 2)
WIDEN(f8_e4m3, 1)

/* 16 values of E2M1 times a scale: nibbles low first, then high. */
MTK_INLINE void widen_e2m1(float *dst, const uint8_t *codes, float scale) {
  const __m128i twice = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0);
  _Alignas(16) uint8_t nibbles[16];
  uint64_t w;
  memcpy(&w, codes, 8);
  const uint64_t low = w & 0x0f0f0f0f0f0f0f0fu, high = w >> 4 & 0x0f0f0f0f0f0f0f0fu;
  memcpy(nibbles, &low, 8);
  memcpy(nibbles + 8, &high, 8);
  for (int i = 0; i < 16; i += LANES) {
    vi code = vi_from_u8(nibbles + i);
    vf size = vf_mul(vf_from_i32(vi_lookup16(twice, vi_and(code, vi_set1(7)))), vf_set1(0.5f));
    vf signs = vi_as_vf(vi_slli(vi_srli(code, 3), 31));
    vf_store(dst + i, vf_mul(vf_with_sign(size, signs), vf_set1(scale)));
  }
}

static void widen_nvfp4(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 64, src += 36)
    for (int s = 0; s < 4; s++, dst += 16) {
      float scale = mtk_e4m3_to_f32(src[s]);
      widen_e2m1(dst, src + 4 + 8 * s, scale);
    }
}

/* Byte j has the values j (low) and 16 + j. */
static void widen_mxfp4(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 32, src += 17, dst += 32) {
    float scale = mtk_e8m0_to_f32(src[0]);
    for (int half = 0; half < 2; half++) {
      float both[16];
      widen_e2m1(both, src + 1 + 8 * half, scale);
      memcpy(dst + 8 * half, both, 32);
      memcpy(dst + 16 + 8 * half, both + 8, 32);
    }
  }
}

/* Codes of 4 bits in 16 bytes: element j low, 16 + j high; (q - zero) d. */
static void widen_q4_0(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 32, src += 18, dst += 32) {
    vf d = vf_set1(mtk_k_f16_at(src));
    for (int j = 0; j < 16; j += LANES) {
      vi codes = vi_from_u8(src + 2 + j), zero = vi_set1(8);
      vi low = vi_sub(vi_and(codes, vi_set1(15)), zero), high = vi_sub(vi_srli(codes, 4), zero);
      vf_store(dst + j, vf_mul(vf_from_i32(low), d));
      vf_store(dst + 16 + j, vf_mul(vf_from_i32(high), d));
    }
  }
}

/* The same; q d + m. */
static void widen_q4_1(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 32, src += 20, dst += 32) {
    vf d = vf_set1(mtk_k_f16_at(src)), m = vf_set1(mtk_k_f16_at(src + 2));
    for (int j = 0; j < 16; j += LANES) {
      vi codes = vi_from_u8(src + 4 + j);
      vf low = vf_from_i32(vi_and(codes, vi_set1(15))), high = vf_from_i32(vi_srli(codes, 4));
      vf_store(dst + j, vf_add(vf_mul(low, d), m));
      vf_store(dst + 16 + j, vf_add(vf_mul(high, d), m));
    }
  }
}

/* Part j of 8: 4 bits a code, low or high in 32 bytes for two parts; q5_k (high not NULL): the
 * fifth is bit j of the same bytes for all parts. */
MTK_INLINE void widen_k_part(float *dst, const uint8_t *src, const uint8_t *codes,
                             const uint8_t *high, int j) {
  int8_t scale, min;
  mtk_k_super_scale_min(&scale, &min, src + 4, j);
  vf d = vf_set1(mtk_k_f16_at(src) * (float)scale), m = vf_set1(mtk_k_f16_at(src + 2) * (float)min);
  for (int i = 0; i < 32; i += LANES) {
    vi q = vi_and(vi_shift_right(vi_from_u8(codes + j / 2 * 32 + i), j % 2 * 4), vi_set1(15));
    if (high) {
      vi bit = vi_and(vi_shift_right(vi_from_u8(high + i), j), vi_set1(1));
      q = vi_or(q, vi_slli(bit, 4));
    }
    vf_store(dst + 32 * j + i, vf_sub(vf_mul(d, vf_from_i32(q)), m));
  }
}

static void widen_q4_k(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 256, src += 144, dst += 256)
    for (int j = 0; j < 8; j++) widen_k_part(dst, src, src + 16, NULL, j);
}

static void widen_q5_k(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 256, src += 176, dst += 256)
    for (int j = 0; j < 8; j++) widen_k_part(dst, src, src + 48, src + 16, j);
}

/* Quarter p of a half superblock: low 4 bits in 32 bytes p % 2, half p / 2, of low; 2 bits above
 * them at 2 p of high; a scale for 16. */
static void widen_q6_k(float *dst, const uint8_t *src, int64_t n) {
  for (; n > 0; n -= 256, src += 210) {
    float d = mtk_k_f16_at(src + 208);
    for (int part = 0; part < 8; part++)
      for (int i = 0; i < 32; i += LANES, dst += LANES) {
        const int half = part / 4, p = part % 4;
        vi low = vi_from_u8(src + 64 * half + p % 2 * 32 + i);
        vi high = vi_from_u8(src + 128 + 32 * half + i);
        low = vi_and(vi_shift_right(low, p / 2 * 4), vi_set1(15));
        high = vi_slli(vi_and(vi_shift_right(high, 2 * p), vi_set1(3)), 4);
        float scale = d * (float)(int8_t)src[192 + 2 * part + i / 16];
        vf q = vf_from_i32(vi_sub(vi_or(low, high), vi_set1(32)));
        vf_store(dst, vf_mul(vf_set1(scale), q));
      }
  }
}

static void MTK_K(widen)(float *dst, const void *src, mtk_dtype type, int64_t n) {
  static const struct {
    mtk_dtype type;
    void (*run)(float *dst, const uint8_t *src, int64_t n);
  } rows[] = {{MTK_BF16, widen_bf16},         {MTK_F16, widen_f16},
              {MTK_F8_E4M3, widen_f8_e4m3},   {MTK_NVFP4, widen_nvfp4},
              {MTK_MXFP4, widen_mxfp4},
              {MTK_Q4_0, widen_q4_0},         {MTK_Q4_1, widen_q4_1},
              {MTK_Q4_K, widen_q4_k},         {MTK_Q5_K, widen_q5_k},
              {MTK_Q6_K, widen_q6_k}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].type != type) continue;
    rows[i].run(dst, src, n);
    return;
  }
  mtk_dtype_decode(type, dst, src, (size_t)n);
}

#endif
