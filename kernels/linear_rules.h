/* kernels/linear_rules.h: what all levels of the linear family share. Internal; no state.
 *
 * The arithmetic of y = x W^T beyond <mtk/kernel.h>, where every choice that decides bits is fixed:
 *  - scales: a 1x1 grid s is applied last, y = acc * s (a16: flushed like the rest). A finer grid
 *    has steps along k that are multiples of 32, or one step for the whole row. With grid[kb] that
 *    of a row's 32-wide block kb: a32 and a16 take w = decode(W) * grid[kb], a8 takes d * grid[kb]
 *    and m * grid[kb] for d and m, each rounded once.
 *  - a16: K is padded with zeros to a multiple of 32. Flushing is that of SSE (MXCSR FTZ and DAZ):
 *    a result below 2^-126 after rounding to 24 bits becomes zero of its sign.
 *  - a8, activation block of 32: amax = max |x|; amax NaN or Inf: d_a = NaN, q = 0; amax < 2^-100:
 *    d_a = 0, q = 0; otherwise d_a = amax / 127, q = nearest even of x * (127 / amax). Sums and
 *    products of codes are exact int32. With c the codes of a weight block:
 *      q4_0 (c-8), q5_0 (c-16), q8_0, mxfp4 (twice e2m1), iq4_nl (its levels):  t = d * isum
 *      q4_1, q5_1:                            t = fma(m, sum q, d * isum)
 *      nvfp4 (twice e2m1, halves 0 and 1):    t = fma(d1, isum1, d0 * isum0)
 *    acc = fma(t, d_a, acc); the last step of mxfp4 and nvfp4 is y = acc * (0.5 * s).
 *  - a8, activation block of 256 (superblocks): the same with amax, d_a and q of 256 x. A grid's
 *    steps along k are multiples of 256, or the whole row. Sub-block j of 16 k (q2_k, q3_k, q6_k)
 *    or 32 k has an integer scale s_j and, where the type has one, an integer minimum m_j; codes c:
 *      isum = sum_j s_j * sum c * q      q3_k c-4, s-32; q6_k c-32; iq4_xs levels[c], s-32
 *      msum = sum_j m_j * sum q
 *      q3_k, q6_k, iq4_xs:  t = d * isum
 *      q2_k, q4_k, q5_k:    t = fma(-dmin, msum, d * isum)
 *    acc = fma(t, d_a, acc). isum and msum are exact int32 (also before an offset of c is taken
 *    off: at most 256 * 127 * 128 * 63 in q6_k, 256 * 127 * 32 * 255 in iq4_xs) and become floats
 *    by rounding to nearest even. */
#ifndef MTK_KERNELS_LINEAR_RULES_H
#define MTK_KERNELS_LINEAR_RULES_H

#include <mtk/kernel.h>

/* Storage types that a32 and a16 have no panels of their own for: packed as the values they decode
 * to (f32 for a32, bf16 for a16). MTK_K_DECODED(X) gives X(TYPE, name) for each. */
#define MTK_K_DECODED(X)                                                                           \
  X(MTK_Q8_1, q8_1)                                                                                \
  X(MTK_Q2_K, q2_k)                                                                                \
  X(MTK_Q3_K, q3_k)                                                                                \
  X(MTK_Q4_K, q4_k)                                                                                \
  X(MTK_Q5_K, q5_k)                                                                                \
  X(MTK_Q6_K, q6_k)                                                                                \
  X(MTK_Q8_K, q8_k)                                                                                \
  X(MTK_IQ2_XXS, iq2_xxs)                                                                          \
  X(MTK_IQ2_XS, iq2_xs)                                                                            \
  X(MTK_IQ2_S, iq2_s)                                                                              \
  X(MTK_IQ3_XXS, iq3_xxs)                                                                          \
  X(MTK_IQ3_S, iq3_s)                                                                              \
  X(MTK_IQ1_S, iq1_s)                                                                              \
  X(MTK_IQ1_M, iq1_m)                                                                              \
  X(MTK_IQ4_XS, iq4_xs)                                                                            \
  X(MTK_TQ1_0, tq1_0)                                                                              \
  X(MTK_TQ2_0, tq2_0)                                                                              \
  X(MTK_Q1_0, q1_0)                                                                                \
  X(MTK_Q2_0, q2_0)                                                                                \
  X(MTK_F4_E2M1, f4_e2m1)                                                                          \
  X(MTK_F6_E2M3, f6_e2m3)                                                                          \
  X(MTK_F6_E3M2, f6_e3m2)                                                                          \
  X(MTK_F8_E4M3FNUZ, f8_e4m3fnuz)                                                                  \
  X(MTK_F8_E5M2FNUZ, f8_e5m2fnuz)

/* What the codes of iq4_nl and iq4_xs stand for (ggml's kvalues_iq4nl). */
static const int8_t mtk_k_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

enum { MTK_K_BLOCK = 32 }; /* k of an a16 block, an a8 block and a grid step */

/* First 64 bytes of every packed weight. */
typedef struct mtk_k_header {
  float scale;      /* the 1x1 grid, or 1 */
  int32_t has_grid; /* the grid region at the end of `packed` is filled */
  char pad[56];
} mtk_k_header;

static inline int64_t mtk_k_blocks(int64_t k) { return (k + MTK_K_BLOCK - 1) / MTK_K_BLOCK; }
static inline int64_t mtk_k_min(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int mtk_k_has_grid(const mtk_wview *w) {
  return w->scales && (w->scale_n < w->n || w->scale_k < w->k);
}

static inline void mtk_k_header_init(mtk_k_header *h, const mtk_wview *w) {
  h->has_grid = mtk_k_has_grid(w);
  h->scale = w->scales && !h->has_grid ? w->scales[0] : 1.0f;
}

/* Grid scale of row `row` of the whole tensor, block kb. */
static inline float mtk_k_grid(const mtk_wview *w, int64_t row, int64_t kb) {
  int64_t cols = (w->k + w->scale_k - 1) / w->scale_k;
  return w->scales[row / w->scale_n * cols + kb * MTK_K_BLOCK / w->scale_k];
}

/* Numbers of 16 bits as files store them. */
static inline uint16_t mtk_k_u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline float mtk_k_f16_at(const uint8_t *p) { return mtk_f16_to_f32(mtk_k_u16_at(p)); }

/* Bytes of one row of W in storage type (k a multiple of the type's block). */
static inline int64_t mtk_k_row_bytes(mtk_dtype type, int64_t k) {
  const mtk_dtype_info *t = mtk_dtype_get(type);
  return k / t->block_elems * t->block_bytes;
}

#endif
