/* kernels/superblock.h: weights in superblocks of 256 k with integer sub-scales (q2_k .. q6_k,
 * iq4_xs), for arithmetic a8 (formulas: linear_rules.h): their fields, and panels of them for the
 * vector levels. No state, any thread.
 *
 * A panel (16 rows, one a lane) is a sequence of units, one per superblock:
 *   f16 d[16]; f16 dmin[16] if has_min;
 *   scales [pair of sub-blocks][16][2] bytes, then minimums alike if has_min; with `nibbles` both
 *   in one byte, the scale low;
 *   4 quarters of 64 k: the low bits of the codes, then the high bits if any.
 * The 64 k of a quarter are 16 groups of 4 k (a dword a lane). A plane of b bits a code is 2b
 * registers of 64 bytes: group t in register t % 2b, b bits from bit t / 2b * b of each byte. */
#ifndef MTK_KERNELS_SUPERBLOCK_H
#define MTK_KERNELS_SUPERBLOCK_H

#include "linear_rules.h"

enum { MTK_K_SUPER = 256, MTK_K_QUARTERS = 4 };

typedef struct mtk_k_super {
  int sub; /* k of a sub-block: 16 or 32 */
  int has_min, nibbles;
  int low_bits, high_bits;
  int offset; /* of the codes: value = c - offset; or, */
  int levels; /* with levels, value = mtk_k_iq4_levels[c] */
} mtk_k_super;

static const mtk_k_super mtk_k_super_q2_k = {16, 1, 1, 2, 0, 0, 0};
static const mtk_k_super mtk_k_super_q3_k = {16, 0, 0, 2, 1, 4, 0};
static const mtk_k_super mtk_k_super_q4_k = {32, 1, 0, 4, 0, 0, 0};
static const mtk_k_super mtk_k_super_q5_k = {32, 1, 0, 4, 1, 0, 0};
static const mtk_k_super mtk_k_super_q6_k = {16, 0, 0, 4, 2, 32, 0};
static const mtk_k_super mtk_k_super_iq4_xs = {32, 0, 0, 4, 0, 0, 1};

/* MTK_K_SUPERS(X) gives X(TYPE, name) for each. */
#define MTK_K_SUPERS(X)                                                                            \
  X(MTK_Q2_K, q2_k)                                                                                \
  X(MTK_Q3_K, q3_k)                                                                                \
  X(MTK_Q4_K, q4_k)                                                                                \
  X(MTK_Q5_K, q5_k)                                                                                \
  X(MTK_Q6_K, q6_k)                                                                                \
  X(MTK_IQ4_XS, iq4_xs)

/* A superblock of one row. */
typedef struct mtk_k_superblock {
  uint8_t c[MTK_K_SUPER];
  int8_t scale[16], min[16]; /* of 256 / sub sub-blocks */
  uint16_t d, dmin;          /* f16 */
} mtk_k_superblock;

/* Scale and minimum j of 8 of q4_k or q5_k, 6 bits each, from their 12 bytes. */
static inline void mtk_k_super_scale_min(int8_t *scale, int8_t *min, const uint8_t *s, int j) {
  *scale = (int8_t)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
  *min = (int8_t)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
}

/* NULL if the type has no superblocks of this kind. */
const mtk_k_super *mtk_k_super_of(mtk_dtype type);
/* Superblock of a type that has them, as the file stores it. */
void mtk_k_superblock_load(mtk_k_superblock *b, mtk_dtype type, const uint8_t *src);

/* Bytes of a unit: before its codes, of a quarter, in all. */
static inline int mtk_k_super_head(const mtk_k_super *f) {
  int scales = MTK_K_SUPER / f->sub * MTK_PANEL;
  return (1 + f->has_min) * 2 * MTK_PANEL + scales * (f->has_min && !f->nibbles ? 2 : 1);
}
static inline int mtk_k_super_quarter(const mtk_k_super *f) {
  return 128 * (f->low_bits + f->high_bits);
}
static inline int mtk_k_super_unit(const mtk_k_super *f) {
  return mtk_k_super_head(f) + MTK_K_QUARTERS * mtk_k_super_quarter(f);
}
/* Units of panel p of w, which is zero bytes so far. */
void mtk_k_super_pack(uint8_t *panel, const mtk_wview *w, int64_t p);

#endif
