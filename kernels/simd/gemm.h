/* kernels/simd/gemm.h: gemm_nn and gemm_tn over vectors (see tile.h). Included once by avx2/gemm.c
 * and avx512/gemm.c.
 *
 * C is cut into blocks of BLOCK_ROWS rows (kept in the L2 cache) and their chains into pieces of
 * BLOCK_K steps: every piece continues the chains in C. The piece's A is packed as tiles
 * [step][TILE_ROWS] (L2; read in place when it serves one strip only), a strip of B as
 * [step][TILE_COLS] (L1). Both buffers are on the stack (about 170 KiB). Any
 * thread may call on its own rows of C. */
#include <string.h>

#include "families.h"
#include "simd/tile.h"

enum { BLOCK_ROWS = 192, BLOCK_K = 192 };

/* A as a matrix of any strides: element (row, step) at a[row * by_row + step * by_step]. */
typedef struct a_view {
  const float *a;
  int64_t by_row, by_step;
} a_view;

MTK_INLINE void pack_rows4(float *dst, const float *a, int64_t ld, int64_t steps) {
  int64_t s = 0;
  for (; s + 4 <= steps; s += 4) {
    __m128 r0 = _mm_loadu_ps(a + s), r1 = _mm_loadu_ps(a + ld + s);
    __m128 r2 = _mm_loadu_ps(a + 2 * ld + s), r3 = _mm_loadu_ps(a + 3 * ld + s);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(dst + s * TILE_ROWS, r0);
    _mm_storeu_ps(dst + (s + 1) * TILE_ROWS, r1);
    _mm_storeu_ps(dst + (s + 2) * TILE_ROWS, r2);
    _mm_storeu_ps(dst + (s + 3) * TILE_ROWS, r3);
  }
  for (; s < steps; s++) {
    for (int r = 0; r < 4; r++) dst[s * TILE_ROWS + r] = a[r * ld + s];
  }
}

/* One tile of A as [step][TILE_ROWS]; rows beyond `rows` stay unwritten and unused. */
static void pack_a(float *dst, const a_view *v, int64_t row0, int64_t rows, int64_t step0,
                   int64_t steps) {
  const float *a = v->a + row0 * v->by_row + step0 * v->by_step;
  if (v->by_row == 1) {
    size_t bytes = (size_t)rows * sizeof *dst;
    for (int64_t s = 0; s < steps; s++, dst += TILE_ROWS, a += v->by_step) {
      if (rows == TILE_ROWS)
        memcpy(dst, a, TILE_ROWS * sizeof *dst); /* constant size: a few vector moves */
      else
        memcpy(dst, a, bytes);
    }
    return;
  }
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) pack_rows4(dst + r, a + r * v->by_row, v->by_row, steps);
  for (; r < rows; r++) {
    for (int64_t s = 0; s < steps; s++) dst[s * TILE_ROWS + r] = a[r * v->by_row + s];
  }
}

/* Columns j0..j0+cols of B as [step][TILE_COLS]. */
static void pack_b(float *dst, const float *b, int64_t ldb, int64_t cols, int64_t steps) {
  for (int64_t s = 0; s < steps; s++, dst += TILE_COLS, b += ldb) {
    vf_store(dst, vf_load_n(b, cols));
    if (cols == TILE_COLS) vf_store(dst + LANES, vf_load(b + LANES));
  }
}

/* One piece of the chains of a block of C: rows i0..i0+rows, steps k0..k0+steps. */
static void run_piece(float *c, int64_t ldc, const a_view *a, const float *b, int64_t ldb,
                      int64_t i0, int64_t rows, int64_t n, int64_t k0, int64_t steps) {
  _Alignas(64) float a_pack[BLOCK_ROWS * BLOCK_K];
  _Alignas(64) float b_pack[BLOCK_K * TILE_COLS];
  int in_place = n <= TILE_COLS;
  tile t = {.ld_c = ldc,
            .ld_a = TILE_ROWS,
            .layout = A_COLUMNS,
            .b = b_pack,
            .ld_b = TILE_COLS,
            .next_b = LANES,
            .k = steps};
  if (in_place) {
    t.layout = a->by_row == 1 ? A_COLUMNS : A_ROWS;
    t.ld_a = a->by_row == 1 ? a->by_step : a->by_row;
  }
  for (int64_t i = 0; i < rows && !in_place; i += TILE_ROWS) {
    int64_t r = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
    pack_a(a_pack + i * steps, a, i0 + i, r, k0, steps);
  }
  for (int64_t j = 0; j < n; j += t.cols) {
    t.cols = tile_next_cols(n - j);
    pack_b(b_pack, b + k0 * ldb + j, ldb, t.cols, steps);
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
      t.rows = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
      t.c = c + (i0 + i) * ldc + j;
      t.a = in_place ? a->a + (i0 + i) * a->by_row + k0 * a->by_step : a_pack + i * steps;
      tile_run(&t);
    }
  }
}

static void gemm(float *c, int64_t ldc, const a_view *a, const float *b, int64_t ldb, int64_t m0,
                 int64_t m1, int64_t n, int64_t k) {
  for (int64_t i0 = m0; i0 < m1; i0 += BLOCK_ROWS) {
    int64_t rows = m1 - i0 < BLOCK_ROWS ? m1 - i0 : BLOCK_ROWS;
    for (int64_t k0 = 0; k0 < k; k0 += BLOCK_K) {
      run_piece(c, ldc, a, b, ldb, i0, rows, n, k0, k - k0 < BLOCK_K ? k - k0 : BLOCK_K);
    }
  }
}

static void MTK_K(f32_gemm_nn)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                               int64_t ldb, int64_t m0, int64_t m1, int64_t n, int64_t k) {
  gemm(c, ldc, &(a_view){a, lda, 1}, b, ldb, m0, m1, n, k);
}

static void MTK_K(f32_gemm_tn)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                               int64_t ldb, int64_t m0, int64_t m1, int64_t n, int64_t k) {
  gemm(c, ldc, &(a_view){a, 1, lda}, b, ldb, m0, m1, n, k);
}

void MTK_K(gemm_init)(mtk_kernels *table) {
  table->gemm_nn = MTK_K(f32_gemm_nn);
  table->gemm_tn = MTK_K(f32_gemm_tn);
}
