/* tensor/block_k.h: how the superblocks of 256 (k types) pack codes and scales; shared by their
 * decoders and encoders. Element e of a superblock has its code in L[e]. */
#ifndef MTK_TENSOR_BLOCK_K_H
#define MTK_TENSOR_BLOCK_K_H

#include <stdint.h>

enum { QK = 256, N_16 = QK / 16, N_32 = QK / 32 };

/* Where the parts of a block begin. */
enum { Q2_SCALES = 0, Q2_CODES = 16, Q2_D = 80, Q2_MIN = 82, Q2_BYTES = 84 };
enum { Q3_HIGH = 0, Q3_CODES = 32, Q3_SCALES = 96, Q3_D = 108, Q3_BYTES = 110 };
enum { Q45_D = 0, Q45_MIN = 2, Q45_SCALES = 4, Q4_CODES = 16, Q4_BYTES = 144 };
enum { Q5_HIGH = 16, Q5_CODES = 48, Q5_BYTES = 176 };
enum { Q6_LOW = 0, Q6_HIGH = 128, Q6_SCALES = 192, Q6_D = 208, Q6_BYTES = 210 };
enum { Q8_D = 0, Q8_CODES = 4, Q8_SUMS = 260, Q8_BYTES = 292 };

/* L[e] = / |= 2 bits: element 128 h + 32 p + l in byte 32 h + l, bits 2p and 2p + 1. */
static inline void get_2_bits(uint8_t *L, const uint8_t *src) {
  for (int e = 0; e < QK; e++) L[e] = src[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
}
static inline void put_2_bits(uint8_t *dst, const uint8_t *L) {
  for (int i = 0; i < QK / 4; i++) {
    const uint8_t *l = L + i / 32 * 128 + i % 32;
    dst[i] = (uint8_t)((l[0] & 3) | (l[32] & 3) << 2 | (l[64] & 3) << 4 | (l[96] & 3) << 6);
  }
}

/* 4 bits: element 64 g + 32 p + l in byte 32 g + l, low half for p = 0. */
static inline void get_4_bits(uint8_t *L, const uint8_t *src) {
  for (int e = 0; e < QK; e++) L[e] = src[e / 64 * 32 + e % 32] >> (e % 64 / 32 * 4) & 15;
}
static inline void put_4_bits(uint8_t *dst, const uint8_t *L) {
  for (int i = 0; i < QK / 2; i++) {
    const uint8_t *l = L + i / 32 * 64 + i % 32;
    dst[i] = (uint8_t)((l[0] & 15) | (l[32] & 15) << 4);
  }
}

/* One bit more, worth `value`: element e in byte e % 32, bit e / 32. */
static inline void get_high_bit(uint8_t *L, const uint8_t *src, int value) {
  for (int e = 0; e < QK; e++) L[e] = (uint8_t)(L[e] + (src[e % 32] >> (e / 32) & 1) * value);
}
static inline void put_high_bit(uint8_t *dst, const uint8_t *L, int value) {
  for (int i = 0; i < 32; i++) dst[i] = 0;
  for (int e = 0; e < QK; e++)
    if (L[e] & value) dst[e % 32] = (uint8_t)(dst[e % 32] | 1 << (e / 32));
}

/* q6_k: in each half of 128, the low 4 bits of quarter p are in 32 bytes p % 2, half p / 2; the
 * high 2 bits lie as in get_2_bits. */
static inline void get_6_bits(uint8_t *L, const uint8_t *low, const uint8_t *high) {
  get_2_bits(L, high);
  for (int e = 0; e < QK; e++) {
    int part = e % 128 / 32, byte = e / 128 * 64 + part % 2 * 32 + e % 32;
    L[e] = (uint8_t)(L[e] << 4 | (low[byte] >> (part / 2 * 4) & 15));
  }
}
static inline void put_6_bits(uint8_t *low, uint8_t *high, const uint8_t *L) {
  uint8_t top[QK];
  for (int e = 0; e < QK; e++) top[e] = L[e] >> 4;
  put_2_bits(high, top);
  for (int i = 0; i < QK / 2; i++) {
    const uint8_t *l = L + i / 64 * 128 + i % 64;
    low[i] = (uint8_t)((l[0] & 15) | (l[64] & 15) << 4);
  }
}

/* q4_k, q5_k: 8 scales and 8 minimums of 6 bits in 12 bytes. 0..3: bytes 0..3 and 4..7. 4..7: low 4
 * bits in the halves of bytes 8..11, high 2 bits at the top of bytes 0..3 and 4..7. */
static inline void get_scale_min(int *scale, int *min, const uint8_t *src, int j) {
  if (j < 4) {
    *scale = src[j] & 63;
    *min = src[j + 4] & 63;
  } else {
    *scale = (src[j + 4] & 15) | src[j - 4] >> 6 << 4;
    *min = src[j + 4] >> 4 | src[j] >> 6 << 4;
  }
}
static inline void put_scales_mins(uint8_t *dst, const uint8_t *scale, const uint8_t *min) {
  for (int j = 0; j < 4; j++) {
    dst[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
    dst[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
    dst[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

/* q3_k: 16 scales of 6 bits in 12 bytes: low 4 bits in the halves of bytes 0..7, high 2 bits of
 * scale j in byte 8 + j % 4 at 2 (j / 4). Stored + 32. */
static inline int get_q3_scale(const uint8_t *src, int j) {
  int low = j < 8 ? src[j] & 15 : src[j - 8] >> 4;
  return (low | (src[8 + j % 4] >> (2 * (j / 4)) & 3) << 4) - 32;
}
static inline void put_q3_scales(uint8_t *dst, const uint8_t *plus32) {
  for (int j = 0; j < 8; j++) dst[j] = (uint8_t)((plus32[j] & 15) | (plus32[j + 8] & 15) << 4);
  for (int j = 0; j < 4; j++)
    dst[8 + j] = (uint8_t)(plus32[j] >> 4 | plus32[j + 4] >> 4 << 2 | plus32[j + 8] >> 4 << 4 |
                           plus32[j + 12] >> 4 << 6);
}

#endif
