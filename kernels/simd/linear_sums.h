/* kernels/simd/linear_sums.h: what products of many rows share: their sums, two vectors a row, of
 * one panel (8 lanes) or two, until they are whole; and what is fetched meanwhile. */
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

/* Rows of y that sums are stored to soon, into L2. */
MTK_INLINE void fetch_rows(const float *y, int64_t ldy, int64_t rows) {
  for (int64_t r = 0; r < rows; r++, y += ldy) {
    for (int c = 0; c < COLS; c += 16) _mm_prefetch((const char *)(y + c), _MM_HINT_T1);
  }
}

/* Weights that are wanted next and rows of y that are, fetched into L2 a little at each step of the
 * work before: a core has few fill buffers, and would wait for them if all were asked for at once.
 */
typedef struct upcoming {
  const uint8_t *panels[3];
  int n_panels; /* at most 3 */
  int64_t line, lines, lines_a_step; /* of each panel */
  const float *y;
  int64_t ldy, rows, rows_a_step;
} upcoming;
/* Of rows of y the `part`th of `parts`. */
MTK_INLINE void upcoming_rows(upcoming *next, const float *y, int64_t ldy, int64_t rows,
                              int64_t part, int64_t parts) {
  int64_t first = rows * part / parts;
  next->y = y + first * ldy;
  next->ldy = ldy;
  next->rows = rows * (part + 1) / parts - first;
}
MTK_INLINE void fetch_in_steps(upcoming *next, int64_t steps) {
  next->lines_a_step = (next->lines + steps - 1) / steps;
  next->rows_a_step = (next->rows + steps - 1) / steps;
}
MTK_INLINE void fetch_step(upcoming *next) {
  int64_t end = next->line + next->lines_a_step;
  if (end > next->lines) end = next->lines;
  for (; next->line < end; next->line++) {
    for (int i = 0; i < next->n_panels; i++) {
      _mm_prefetch((const char *)next->panels[i] + 64 * next->line, _MM_HINT_T1);
    }
  }
  for (int64_t r = 0; r < next->rows_a_step && next->rows > 0; r++, next->rows--) {
    fetch_rows(next->y, next->ldy, 1);
    next->y += next->ldy;
  }
}

#endif
