/* kernels/simd/kv_decode.h: pieces of pages of the KV cache as f32 (see kv_page.h, lanes.h).
 *
 * A tile of keys or values is decoded into scratch that stays in the L1 cache, and attention goes
 * on as if the cache held f32. Pure functions, any thread. */
#ifndef MTK_KERNELS_SIMD_KV_DECODE_H
#define MTK_KERNELS_SIMD_KV_DECODE_H

#include "kv_page.h"
#include "simd/linear_lanes.h"

/* keys: positions at..at+n of a page, multiples of 16, to dst [n/16][head_dim][16].
 * values: positions at..at+n, columns d..d+cols to dst [n][ld]; the columns share a block, and what
 * stands behind a last partial vector is not meant to be read. */
typedef struct kv_decoder {
  int64_t bytes; /* of an element */
  void (*keys)(float *dst, const void *page, int64_t at, int64_t n, int64_t head_dim);
  void (*values)(float *dst, int64_t ld, const void *page, int64_t at, int64_t n, int64_t v_dim,
                 int64_t d, int64_t cols);
} kv_decoder;

/* Halves of a vector, and toward zero. */
#if MTK_LANES == 16
MTK_INLINE vh vh_from_vf(vf a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT); }
MTK_INLINE void vh_store(void *p, vh a) { _mm256_storeu_si256(p, a); }
MTK_INLINE vi vi_truncated(vf a) { return _mm512_cvttps_epi32(a); }
#else
MTK_INLINE vh vh_from_vf(vf a) { return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT); }
MTK_INLINE void vh_store(void *p, vh a) { _mm_storeu_si128(p, a); }
MTK_INLINE vi vi_truncated(vf a) { return _mm256_cvttps_epi32(a); }
#endif

typedef vf load_fn(const uint8_t *p);
MTK_INLINE vf load_i8(const uint8_t *p) { return vf_from_i32(vi_from_i8(p)); }
MTK_INLINE vf load_scale(const uint8_t *p) { /* one f16 in every lane */
  uint16_t scale;
  memcpy(&scale, p, sizeof scale);
  return vf_set1(_cvtsh_ss(scale));
}

MTK_INLINE void decode_keys(float *dst, const uint8_t *page, int64_t at, int64_t n,
                            int64_t head_dim, load_fn *load, const int64_t bytes,
                            const int scaled) {
  const uint8_t *src = page + at * head_dim * bytes;
  for (int64_t j = at; j < at + n; j += 16) {
    for (int64_t d = 0; d < head_dim; d += KV_BLOCK) {
      int64_t end = head_dim - d < KV_BLOCK ? head_dim : d + KV_BLOCK;
      vf scale[PARTS];
      MTK_UNROLL for (int h = 0; h < PARTS && scaled; h++) {
        scale[h] = load_f16(page + kv_scale_offset(j + h * LANES, d, head_dim));
      }
      for (int64_t i = d; i < end; i++, src += 16 * bytes, dst += 16) {
        MTK_UNROLL for (int h = 0; h < PARTS; h++) {
          vf v = load(src + h * LANES * bytes);
          vf_store(dst + h * LANES, scaled ? vf_mul(v, scale[h]) : v);
        }
      }
    }
  }
}

MTK_INLINE void decode_values(float *dst, int64_t ld, const uint8_t *page, int64_t at, int64_t n,
                              int64_t v_dim, int64_t d, int64_t cols, load_fn *load,
                              const int64_t bytes, const int scaled) {
  const uint8_t *src = page + (at * v_dim + d) * bytes;
  const int64_t whole = cols / LANES * LANES;
  for (int64_t j = at; j < at + n; j++, src += v_dim * bytes, dst += ld) {
    vf scale = scaled ? load_scale(page + kv_scale_offset(j, d, v_dim)) : vf_set1(1.0f);
    for (int64_t c = 0; c < whole; c += LANES) {
      vf v = load(src + c * bytes);
      vf_store(dst + c, scaled ? vf_mul(v, scale) : v);
    }
    if (whole < cols) {
      uint8_t tail[LANES * 4] = {0};
      vf v = load(memcpy(tail, src + whole * bytes, (size_t)((cols - whole) * bytes)));
      vf_store(dst + whole, scaled ? vf_mul(v, scale) : v);
    }
  }
}

#define KV_DECODER(name, bytes, scaled)                                                            \
  static void name##_keys(float *dst, const void *page, int64_t at, int64_t n, int64_t head_dim) { \
    decode_keys(dst, page, at, n, head_dim, load_##name, bytes, scaled);                           \
  }                                                                                                \
  static void name##_values(float *dst, int64_t ld, const void *page, int64_t at, int64_t n,       \
                            int64_t v_dim, int64_t d, int64_t cols) {                              \
    decode_values(dst, ld, page, at, n, v_dim, d, cols, load_##name, bytes, scaled);               \
  }
KV_DECODER(f16, 2, 0)
KV_DECODER(bf16, 2, 0)
KV_DECODER(f8_e4m3, 1, 0)
KV_DECODER(i8, 1, 1)

/* Without functions: pages that are read as they are. */
static const kv_decoder kv_decoders[MTK_DTYPE_COUNT] = {
    [MTK_F16] = {2, f16_keys, f16_values},
    [MTK_BF16] = {2, bf16_keys, bf16_values},
    [MTK_F8_E4M3] = {1, f8_e4m3_keys, f8_e4m3_values},
    [MTK_Q8_0] = {1, i8_keys, i8_values},
};

#endif
