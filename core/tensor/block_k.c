/* block_k.c: decoders of ggml's superblocks of 256 elements (q2_k .. q6_k, q8_k): small scales per
 * 16 or 32 elements, themselves quantized with one f16 d (and dmin) per superblock. Packing in
 * block_k.h. Values, L the code of an element, s and m those of its group:
 *   q2_k  d s L - dmin m     s, m 4 bits per 16         q5_k  as q4_k with 5 bits
 *   q3_k  d s (L - 4)        s signed 6 bits per 16     q6_k  d s (L - 32)    s int8 per 16
 *   q4_k  d s L - dmin m     s, m 6 bits per 32         q8_k  d L             d is f32
 * The order of operations is ggml's, so values are its bits. Pure functions; any thread. */
#include "tensor/block.h"
#include "tensor/block_k.h"
#include "tensor/block_util.h"

#include <string.h>

void mtk_q2_k_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  uint8_t L[QK];
  for (; n_blocks--; src += Q2_BYTES, dst += QK) {
    float d = load_f16(src + Q2_D), dmin = load_f16(src + Q2_MIN);
    get_2_bits(L, src + Q2_CODES);
    for (int j = 0; j < N_16; j++) {
      float scale = d * (float)(src[j] & 15), min = dmin * (float)(src[j] >> 4);
      for (int e = 16 * j; e < 16 * j + 16; e++) dst[e] = scale * (float)L[e] - min;
    }
  }
}

void mtk_q3_k_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  uint8_t L[QK];
  for (; n_blocks--; src += Q3_BYTES, dst += QK) {
    float d = load_f16(src + Q3_D);
    get_2_bits(L, src + Q3_CODES);
    get_high_bit(L, src + Q3_HIGH, 4);
    for (int j = 0; j < N_16; j++) {
      float scale = d * (float)get_q3_scale(src + Q3_SCALES, j);
      for (int e = 16 * j; e < 16 * j + 16; e++) dst[e] = scale * (float)(L[e] - 4);
    }
  }
}

/* One superblock of q4_k or q5_k whose codes are known. */
static void decode_scales_mins(float *dst, const uint8_t *src, const uint8_t *L) {
  float d = load_f16(src + Q45_D), dmin = load_f16(src + Q45_MIN);
  for (int j = 0; j < N_32; j++) {
    int s, m;
    get_scale_min(&s, &m, src + Q45_SCALES, j);
    float scale = d * (float)s, min = dmin * (float)m;
    for (int e = 32 * j; e < 32 * j + 32; e++) dst[e] = scale * (float)L[e] - min;
  }
}

void mtk_q4_k_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  uint8_t L[QK];
  for (; n_blocks--; src += Q4_BYTES, dst += QK) {
    get_4_bits(L, src + Q4_CODES);
    decode_scales_mins(dst, src, L);
  }
}

void mtk_q5_k_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  uint8_t L[QK];
  for (; n_blocks--; src += Q5_BYTES, dst += QK) {
    get_4_bits(L, src + Q5_CODES);
    get_high_bit(L, src + Q5_HIGH, 16);
    decode_scales_mins(dst, src, L);
  }
}

void mtk_q6_k_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  uint8_t L[QK];
  for (; n_blocks--; src += Q6_BYTES, dst += QK) {
    float d = load_f16(src + Q6_D);
    get_6_bits(L, src + Q6_LOW, src + Q6_HIGH);
    for (int j = 0; j < N_16; j++) {
      float scale = d * (float)(int8_t)src[Q6_SCALES + j];
      for (int e = 16 * j; e < 16 * j + 16; e++) dst[e] = scale * (float)(L[e] - 32);
    }
  }
}

void mtk_q8_k_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += Q8_BYTES, dst += QK) {
    float d;
    memcpy(&d, src + Q8_D, sizeof d);
    for (int e = 0; e < QK; e++) dst[e] = d * (float)(int8_t)src[Q8_CODES + e];
  }
}
