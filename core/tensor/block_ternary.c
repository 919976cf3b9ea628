/* block_ternary.c: ggml's types of one or two bits without a codebook: decoders and quantizers.
 * Source: ggml-quants.c. Values, d the f16 scale of the block:
 *   tq1_0  256 elements, 54 B: u8 qs[48], u8 qh[4], d. t d, t in {-1, 0, 1}: five base-3 digits
 *          t + 1 a byte, first element most significant, as ceil(digits * 256 / 243)
 *   tq2_0  256 elements, 66 B: u8 qs[64], d. (q - 1) d, four 2-bit q a byte
 *   q1_0   128 elements, 18 B: d, u8 qs[16]. d where bit j % 8 of byte j / 8 is set, else -d
 *   q2_0   64 elements, 18 B: d, u8 qs[16]. (q - 1) d; element j at bits 2 (j % 4) of byte j / 4
 * In tq1_0, the elements of one byte lie 32 apart in bytes 0..31 (elements 0..159), 16 apart in
 * 32..47 (160..239), and 4 apart in qh, four a byte (240..255). In tq2_0, 32 apart.
 * Pure functions; any thread. */
#include "tensor/block.h"
#include "tensor/block_util.h"

#include <string.h>

enum { QK = 256, TQ1_D = 52, TQ1_BYTES = 54, TQ2_D = 64, TQ2_BYTES = 66 };
enum { Q1_K = 128, Q2_K = 64, Q_BYTES = 18 };

/* The three parts of a tq1_0 block. */
static const struct {
  int byte, n_bytes, digits, element;
} parts[3] = {{0, 32, 5, 0}, {32, 16, 5, 160}, {48, 4, 4, 240}};

void mtk_tq1_0_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
  for (; n_blocks--; src += TQ1_BYTES, dst += QK) {
    float d = load_f16(src + TQ1_D);
    for (int p = 0; p < 3; p++)
      for (int i = 0; i < parts[p].n_bytes; i++)
        for (int j = 0; j < parts[p].digits; j++) {
          uint8_t rest = (uint8_t)(src[parts[p].byte + i] * pow3[j]);
          dst[parts[p].element + j * parts[p].n_bytes + i] = (float)((rest * 3 >> 8) - 1) * d;
        }
  }
}

void mtk_tq1_0_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  (void)im;
  for (size_t block = 0; block < k; block += QK, dst += TQ1_BYTES, x += QK) {
    float d = amax_of(x, QK), id = inverse(d);
    store_f16(dst + TQ1_D, d);
    for (int p = 0; p < 3; p++)
      for (int i = 0; i < parts[p].n_bytes; i++) {
        int number = 0;
        for (int j = 0; j < 5; j++) {
          int element = parts[p].element + j * parts[p].n_bytes + i;
          int digit = j < parts[p].digits ? nearest_away(x[element] * id, -1, 1) + 1 : 0;
          number = number * 3 + digit;
        }
        dst[parts[p].byte + i] = (uint8_t)((number * 256 + 242) / 243);
      }
  }
}

void mtk_tq2_0_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += TQ2_BYTES, dst += QK) {
    float d = load_f16(src + TQ2_D);
    for (int e = 0; e < QK; e++)
      dst[e] = (float)((src[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3) - 1) * d;
  }
}

void mtk_tq2_0_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  (void)im;
  for (size_t block = 0; block < k; block += QK, dst += TQ2_BYTES, x += QK) {
    float d = amax_of(x, QK), id = inverse(d);
    memset(dst, 0, TQ2_D);
    store_f16(dst + TQ2_D, d);
    for (int e = 0; e < QK; e++) {
      uint8_t *byte = dst + e / 128 * 32 + e % 32;
      int q = nearest_away(x[e] * id, -1, 1) + 1;
      *byte = (uint8_t)(*byte | q << (e % 128 / 32 * 2));
    }
  }
}

void mtk_q1_0_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += Q_BYTES, dst += Q1_K) {
    float d = load_f16(src);
    for (int e = 0; e < Q1_K; e++) dst[e] = src[2 + e / 8] >> (e % 8) & 1 ? d : -d;
  }
}

/* d: the mean magnitude */
void mtk_q1_0_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  (void)im;
  for (size_t block = 0; block < k; block += Q1_K, dst += Q_BYTES, x += Q1_K) {
    float sum = 0;
    memset(dst, 0, Q_BYTES);
    for (int e = 0; e < Q1_K; e++) {
      sum += fabsf(x[e]);
      if (x[e] >= 0.0f) dst[2 + e / 8] = (uint8_t)(dst[2 + e / 8] | 1 << (e % 8));
    }
    store_f16(dst, sum / (float)Q1_K);
  }
}

void mtk_q2_0_decode(float *dst, const uint8_t *src, size_t n_blocks) {
  for (; n_blocks--; src += Q_BYTES, dst += Q2_K) {
    float d = load_f16(src);
    for (int e = 0; e < Q2_K; e++) dst[e] = (float)((src[2 + e / 4] >> (e % 4 * 2) & 3) - 1) * d;
  }
}

/* d: the largest magnitude; so no code is 3 */
void mtk_q2_0_encode_row(uint8_t *dst, const float *x, size_t k, const float *im) {
  (void)im;
  for (size_t block = 0; block < k; block += Q2_K, dst += Q_BYTES, x += Q2_K) {
    float d = amax_of(x, Q2_K), id = inverse(d);
    memset(dst, 0, Q_BYTES);
    store_f16(dst, d);
    for (int e = 0; e < Q2_K; e++) {
      int q = nearest_away(x[e] * id, -1, 2) + 1;
      dst[2 + e / 4] = (uint8_t)(dst[2 + e / 4] | q << (e % 4 * 2));
    }
  }
}
