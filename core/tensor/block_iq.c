/* block_iq.c: decoders of ggml's codebook types: 256 elements a block, 4 or 8 elements an index
 * into a grid (iq_grids.h), a small scale per 16 or 32 elements. There are no encoders: they need
 * importance weights and a search of the grid. Source: ggml-quants.c, dequantize_row_iq*; the
 * order of operations is ggml's. d is the block's f16, all numbers little endian:
 *   iq2_xxs  66 B: d; per 32: 4 u8 indices, u32 = four 7-bit signs | scale << 28.
 *            d (s + 1/2) / 4 * grid * sign
 *   iq2_xs   74 B: d; u16[32] = index | signs << 9; u8[8] scales, 4 bits per 16.       same formula
 *   iq2_s    82 B: d; u8[32] indices; u8[32] signs; u8[8] index bits 8, 9; u8[8] scales.    same
 *   iq3_xxs  98 B: d; u8[64] indices; u32[8] = signs | scale << 28.  d (s + 1/2) / 2 * grid * sign
 *   iq3_s   110 B: d; u8[64] indices; u8[8] index bit 8; u8[32] signs; u8[4] scales, 4 bits per 32.
 *            d (2 s + 1) * grid * sign
 *   iq1_s    50 B: d; u8[32] indices; u16[8] = four times index bits 8..10 | s << 12 | delta << 15.
 *            d (2 s + 1) * (grid + delta), delta +-1/8
 *   iq1_m    56 B: u8[32] indices; u8[16] nibbles = index bits 8..10 | delta << 3; u16[4] = four
 *            3-bit s per 16 elements | a quarter of d's bits << 12.                   as iq1_s
 * The eighth of 7-bit signs makes their number even. Pure functions; any thread. */
#include "tensor/block.h"
#include "tensor/block_util.h"
#include "tensor/iq_grids.h"

enum { QK = 256, N_32 = QK / 32 };

static const uint8_t values_iq2[4] = {0x08, 0x19, 0x2b, 0};
static const uint8_t values_iq3_xxs[8] = {0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e};

static uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t load_u32(const uint8_t *p) {
  return (uint32_t)load_u16(p) | (uint32_t)load_u16(p + 2) << 16;
}

/* Signs of 8 elements from 7 bits: the top one is their parity. */
static unsigned even_signs(uint32_t bits) {
  bits &= 127;
  return bits | (unsigned)__builtin_parity(bits) << 7;
}

/* 8 elements of an iq2 grid. */
static void put_iq2(float *dst, uint16_t entry, unsigned signs, float scale) {
  for (int j = 0; j < 8; j++) {
    float v = scale * (float)values_iq2[entry >> (2 * j) & 3];
    dst[j] = signs >> j & 1 ? -v : v;
  }
}

/* 8 elements of two iq3 grid entries; xxs: digits are looked up, else they are 2 digit + 1. */
static void put_iq3(float *dst, uint16_t first, uint16_t second, unsigned signs, float scale,
                    int xxs) {
  for (int j = 0; j < 8; j++) {
    int digit = (j < 4 ? first : second) >> (j % 4 * 4) & 15;
    float v = scale * (float)(xxs ? values_iq3_xxs[digit & 7] : 2 * digit + 1);
    dst[j] = signs >> j & 1 ? -v : v;
  }
}

static void put_iq1(float *dst, int index, float scale, int minus) {
  float delta = minus ? -0.125f : 0.125f;
  for (int j = 0; j < 8; j++) {
    int digit = mtk_grid_iq1[index] >> (2 * j) & 3;
    dst[j] = scale * ((float)(digit - 1) + delta);
  }
}

void mtk_iq2_xxs_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 66) {
    float d = load_f16(src);
    for (const uint8_t *p = src + 2; p < src + 66; p += 8) {
      uint32_t signs = load_u32(p + 4);
      float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
      for (int l = 0; l < 4; l++, dst += 8)
        put_iq2(dst, mtk_grid_iq2_xxs[p[l]], even_signs(signs >> (7 * l)), scale);
    }
  }
}

void mtk_iq2_xs_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 74) {
    float d = load_f16(src);
    for (int i = 0; i < N_32 * 4; i++, dst += 8) {
      uint16_t q = load_u16(src + 2 + 2 * i);
      int s = src[66 + i / 4] >> (i % 4 / 2 * 4) & 15;
      float scale = d * (0.5f + (float)s) * 0.25f;
      put_iq2(dst, mtk_grid_iq2_xs[q & 511], even_signs(q >> 9), scale);
    }
  }
}

void mtk_iq2_s_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 82) {
    float d = load_f16(src);
    for (int i = 0; i < N_32 * 4; i++, dst += 8) {
      int high = src[66 + i / 4] >> (i % 4 * 2) & 3, s = src[74 + i / 4] >> (i % 4 / 2 * 4) & 15;
      float scale = d * (0.5f + (float)s) * 0.25f;
      put_iq2(dst, mtk_grid_iq2_s[src[2 + i] | high << 8], src[34 + i], scale);
    }
  }
}

void mtk_iq3_xxs_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 98) {
    float d = load_f16(src);
    for (int i = 0; i < N_32 * 4; i++, dst += 8) {
      const uint8_t *q = src + 2 + 2 * i;
      uint32_t signs = load_u32(src + 66 + i / 4 * 4);
      float scale = d * (0.5f + (float)(signs >> 28)) * 0.5f;
      put_iq3(dst, mtk_grid_iq3_xxs[q[0]], mtk_grid_iq3_xxs[q[1]],
              even_signs(signs >> (7 * (i % 4))), scale, 1);
    }
  }
}

void mtk_iq3_s_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 110) {
    float d = load_f16(src);
    for (int i = 0; i < N_32 * 4; i++, dst += 8) {
      const uint8_t *q = src + 2 + 2 * i;
      int high = src[66 + i / 4] >> (i % 4 * 2) & 3, s = src[106 + i / 8] >> (i % 8 / 4 * 4) & 15;
      float scale = d * (float)(1 + 2 * s);
      put_iq3(dst, mtk_grid_iq3_s[q[0] | (high & 1) << 8], mtk_grid_iq3_s[q[1] | (high >> 1) << 8],
              src[74 + i], scale, 0);
    }
  }
}

void mtk_iq1_s_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 50) {
    float d = load_f16(src);
    for (int i = 0; i < N_32 * 4; i++, dst += 8) {
      int high = load_u16(src + 34 + i / 4 * 2);
      int index = src[2 + i] | (high >> (i % 4 * 3) & 7) << 8;
      put_iq1(dst, index, d * (float)(2 * (high >> 12 & 7) + 1), high >> 15);
    }
  }
}

void mtk_iq1_m_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += 56) {
    const uint8_t *scales = src + 48;
    unsigned bits = 0;
    for (int i = 0; i < 4; i++) bits |= (unsigned)(load_u16(scales + 2 * i) >> 12) << (4 * i);
    float d = mtk_f16_to_f32((uint16_t)bits);
    for (int i = 0; i < N_32 * 4; i++, dst += 8) {
      int high = src[32 + i / 2] >> (i % 2 * 4) & 15;
      int s = load_u16(scales + i / 8 * 2) >> (i % 8 / 2 * 3) & 7;
      put_iq1(dst, src[i] | (high & 7) << 8, d * (float)(2 * s + 1), high >> 3);
    }
  }
}
