/* kernels/simd/tile.h: the one inner loop of gemm and attention (see lanes.h).
 *
 * A tile is C[rows, cols] += A[rows, k] B[k, cols] with all of C in registers: up to TILE_ROWS rows
 * and TILE_COLS columns, each element one fma chain over k ascending. Where C is loaded first the
 * chain continues, so cutting k into pieces changes no bits. Pure functions, any thread. */
#ifndef MTK_KERNELS_SIMD_TILE_H
#define MTK_KERNELS_SIMD_TILE_H

#include "simd/lanes.h"

/* Two vectors wide; as many rows as the registers hold beside two of B and one of A. */
enum { TILE_ROWS = MTK_LANES == 16 ? 12 : 6, TILE_COLS = 2 * LANES };

/* Element (row, step) of A is a[row + step * ld_a] ("columns": rows lie together) or
 * a[row * ld_a + step] ("rows": steps lie together). */
typedef enum a_layout { A_COLUMNS, A_ROWS } a_layout;

typedef struct tile {
  float *c;
  int64_t ld_c;
  const float *a;
  int64_t ld_a;
  a_layout layout;
  const float *b; /* vector v of step s is at b[s * ld_b + v * next_b] */
  int64_t ld_b, next_b;
  int64_t rows, cols, k;
  int from_zero; /* start the chains at +0 instead of at C */
  /* May be NULL. Step s prefetches as many bytes as it reads of B, at ahead + s * ld_ahead. */
  const uint8_t *ahead;
  int64_t ld_ahead;
} tile;

MTK_INLINE void tile_body(const tile *t, const int rows, const int vecs, const int layout) {
  vf acc[TILE_ROWS][2];
  float *const c0 = t->c;
  const int64_t ld_c = t->ld_c, ld_a = t->ld_a, ld_b = t->ld_b, next_b = t->next_b;
  const int64_t last = t->cols - (vecs - 1) * LANES; /* only a single vector may be partial */
  MTK_UNROLL
  for (int r = 0; r < rows; r++) {
    MTK_UNROLL
    for (int v = 0; v < vecs; v++) {
      const float *c = c0 + r * ld_c + v * LANES;
      acc[r][v] = t->from_zero ? vf_set1(0.0f) : vecs == 2 ? vf_load(c) : vf_load_n(c, last);
    }
  }
  const float *a = t->a, *b = t->b;
  const uint8_t *ahead = t->ahead ? t->ahead : (const uint8_t *)b;
  const int64_t ld_ahead = t->ahead ? t->ld_ahead : ld_b * (int64_t)sizeof *b;
  for (int64_t s = t->k; s > 0; s--, b += ld_b, a += layout == A_ROWS ? 1 : ld_a) {
    _mm_prefetch((const char *)ahead, _MM_HINT_T1);
    if (TILE_COLS * (int)sizeof *b > 64) _mm_prefetch((const char *)ahead + 64, _MM_HINT_T1);
    ahead += ld_ahead;
    vf bv[2];
    MTK_UNROLL
    for (int v = 0; v < vecs; v++) {
      bv[v] = vecs == 2 ? vf_load(b + v * next_b) : vf_load_n(b, last);
    }
    MTK_UNROLL
    for (int r = 0; r < rows; r++) {
      vf x = vf_set1(a[layout == A_ROWS ? r * ld_a : r]);
      MTK_UNROLL
      for (int v = 0; v < vecs; v++) acc[r][v] = vf_fma(x, bv[v], acc[r][v]);
    }
  }
  MTK_UNROLL
  for (int r = 0; r < rows; r++) {
    MTK_UNROLL
    for (int v = 0; v < vecs; v++) {
      float *c = c0 + r * ld_c + v * LANES;
      if (vecs == 2)
        vf_store(c, acc[r][v]);
      else
        vf_store_n(c, acc[r][v], last);
    }
  }
}

typedef void tile_fn(const tile *t);

#define TILES_OF(R)                                                                                \
  static void tile_##R##x2_columns(const tile *t) { tile_body(t, R, 2, A_COLUMNS); }               \
  static void tile_##R##x1_columns(const tile *t) { tile_body(t, R, 1, A_COLUMNS); }               \
  static void tile_##R##x2_rows(const tile *t) { tile_body(t, R, 2, A_ROWS); }                     \
  static void tile_##R##x1_rows(const tile *t) { tile_body(t, R, 1, A_ROWS); }
#define TILE_ENTRIES(R)                                                                            \
  { {tile_##R##x1_columns, tile_##R##x2_columns}, {tile_##R##x1_rows, tile_##R##x2_rows}, }

TILES_OF(1)
TILES_OF(2)
TILES_OF(3)
TILES_OF(4)
TILES_OF(5)
TILES_OF(6)
#if MTK_LANES == 16
TILES_OF(7)
TILES_OF(8)
TILES_OF(9)
TILES_OF(10)
TILES_OF(11)
TILES_OF(12)
#endif

/* [rows - 1][layout][vectors - 1] */
static tile_fn *const tile_table[TILE_ROWS][2][2] = {
    TILE_ENTRIES(1),  TILE_ENTRIES(2),  TILE_ENTRIES(3),
    TILE_ENTRIES(4),  TILE_ENTRIES(5),  TILE_ENTRIES(6),
#if MTK_LANES == 16
    TILE_ENTRIES(7),  TILE_ENTRIES(8),  TILE_ENTRIES(9),
    TILE_ENTRIES(10), TILE_ENTRIES(11), TILE_ENTRIES(12),
#endif
};

/* Run one tile: 1 <= rows <= TILE_ROWS, and cols either TILE_COLS or 1..LANES. */
MTK_INLINE void tile_run(const tile *t) {
  tile_table[t->rows - 1][t->layout][t->cols == TILE_COLS](t);
}

/* Columns of the next tile when `left` remain. */
MTK_INLINE int64_t tile_next_cols(int64_t left) {
  return left >= TILE_COLS ? TILE_COLS : left < LANES ? left : LANES;
}

#endif
