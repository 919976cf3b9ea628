/* kernels/simd/linear_sums.h: sums of a product of many rows: two vectors a row, of one panel (8
 * lanes) or two, until they are whole. */
#ifndef MTK_KERNELS_SIMD_LINEAR_SUMS_H
#define MTK_KERNELS_SIMD_LINEAR_SUMS_H

#include <mtk/kernel.h>

#include "simd/lanes.h"

/* Keeps float work between changes of MXCSR, and tile loads, which do not tell what they read. */
#define NOINLINE static __attribute__((noinline))

enum { COLS = 2 * LANES, TILE_PANELS = COLS / MTK_PANEL };

/* acc[rows][COLS] times scale to y. */
NOINLINE void store_sums(float *y, int64_t ldy, const float *acc, int64_t rows, int64_t cols,
                         float scale) {
  for (int64_t r = 0; r < rows; r++, y += ldy, acc += COLS) {
    for (int64_t c = 0; c < cols; c += LANES) {
      vf_store_n(y + c, vf_mul(vf_load(acc + c), vf_set1(scale)), cols - c);
    }
  }
}

#endif
