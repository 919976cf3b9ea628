/* kernels/ref/linear_ref.h: packed weights of the reference linear kernels, for both its files:
 * header, the plain rows as stored, then (for finer grids) f32 [n][blocks of 32 k] scales. */
#ifndef MTK_KERNELS_REF_LINEAR_REF_H
#define MTK_KERNELS_REF_LINEAR_REF_H

#include "linear_rules.h"

size_t mtk_k_ref_packed_bytes(mtk_dtype type, int64_t n, int64_t k);
size_t mtk_k_ref_grid_bytes(int64_t n, int64_t k);
void mtk_k_ref_pack(void *packed, const mtk_wview *w, int64_t p0, int64_t p1);

static inline const uint8_t *mtk_k_ref_row(const void *packed, mtk_dtype type, int64_t row,
                                           int64_t k) {
  return (const uint8_t *)packed + sizeof(mtk_k_header) + row * mtk_k_row_bytes(type, k);
}
/* Scales of one row by block, NULL without a grid. */
const float *mtk_k_ref_grid(const void *packed, mtk_dtype type, int64_t row, int64_t n, int64_t k);

/* Activations of a8 (linear_a8.c): q[0..count) of one block, returns d_a. */
float mtk_k_ref_quantize(int8_t *q, const float *x, int64_t count);

/* Lay the a8 rows into the table: all (linear_a8.c), those of superblocks (linear_k.c). */
void mtk_k_linear_a8_init__ref(mtk_kernels *table);
void mtk_k_linear_k_init__ref(mtk_kernels *table);

#endif
