/* kernels/amx/tiles.h: products of many rows of x in a16 for simd/linear_float.h: two tiles of rows
 * times two panels keep four tiles of sums over DEPTH k. Tiles of one product have the same
 * height, so that few rows cost little: TDPBF16PS takes as long as its tile is high.
 *
 * Activations: rows of floats for few rows, then the same rows in bf16. */
#ifndef MTK_KERNELS_AMX_TILES_H
#define MTK_KERNELS_AMX_TILES_H

#include "amx/config.h"

/* Tiles of equal height cover up to SPARE_ROWS more rows than there are. */
enum { PANELS = TILE_PANELS, ROWS = 256, DEPTH = 2048 };
enum { SPARE_ROWS = (ROWS + TILE_SIDE - 1) / TILE_SIDE };
enum { TILE_BYTES = TILE_SIDE * TILE_ROW };
typedef uint16_t tile_weight;
static int64_t depth_of(const float_job *job, int64_t rows) {
  (void)job;
  (void)rows;
  return DEPTH;
}

/* DEPTH columns of all rows in bf16, then the next ones. */
static int64_t act_ld(int64_t k) { return mtk_k_blocks(k) * MTK_K_BLOCK; }
/* Bytes of a row of those at k0: rows of a tile lie apart from each other in the cache. */
static int64_t depth_ld(int64_t k0, int64_t k) {
  return (mtk_k_min(DEPTH, act_ld(k) - k0) + MTK_K_BLOCK) * 2;
}
static int64_t in_depth(int64_t m, int64_t i, int64_t k0, int64_t k) {
  int64_t before = m * act_ld(k) * 4 + (m + SPARE_ROWS) * (k0 / DEPTH) * (DEPTH + MTK_K_BLOCK) * 2;
  return before + i * depth_ld(k0, k);
}
static size_t act_bytes(mtk_arith arith, int64_t m, int64_t k) {
  (void)arith;
  int64_t last = (act_ld(k) - 1) / DEPTH * DEPTH;
  return (size_t)in_depth(m, m + SPARE_ROWS, last, k);
}

static void tile_rows(float *act, mtk_arith arith, int64_t m, int64_t m0, int64_t m1, int64_t k) {
  (void)arith;
  for (int64_t i = m0; i < m1; i++) {
    const float *row = act + i * act_ld(k);
    for (int64_t j = 0; j < act_ld(k); j += LANES) {
      uint8_t *to = (uint8_t *)act + in_depth(m, i, j / DEPTH * DEPTH, k) + j % DEPTH * 2;
      vi upper = vi_srli(vf_as_vi(vf_load(row + j)), 16);
      _mm256_storeu_si256((void *)to, _mm512_cvtepi32_epi16(upper));
    }
  }
}

/* acc[2 or 1 tiles of `height` rows][COLS] = (first) or += x * w over `blocks` tiles of k; ld in
 * bytes. Fetches as many rows of sums ahead at y. */
MTK_INLINE void tile_product(float *acc, int64_t first, const uint8_t *x, int64_t ld,
                             int64_t height, const int both, const uint8_t *w0, const uint8_t *w1,
                             int64_t blocks, const float *y, int64_t ldy, upcoming *next) {
  enum { SUM_LD = COLS * sizeof(float) };
  float *c0 = acc, *c1 = acc + height * COLS;
  const uint8_t *x1 = x + height * ld;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (!first) {
    _tile_loadd(0, c0, SUM_LD);
    _tile_loadd(1, c0 + TILE_SIDE, SUM_LD);
    if (both) {
      _tile_loadd(2, c1, SUM_LD);
      _tile_loadd(3, c1 + TILE_SIDE, SUM_LD);
    }
  }
  for (int64_t b = 0, row = 0; b < blocks; b++) {
    _tile_loadd(6, w0 + b * TILE_BYTES, 64);
    _tile_loadd(4, x + b * 64, ld);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w1 + b * TILE_BYTES, 64);
    _tile_dpbf16ps(1, 4, 7);
    if (both) {
      _tile_loadd(5, x1 + b * 64, ld);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    fetch_step(next);
    for (; row < (b + 1) * 2 * TILE_SIDE / blocks; row++) fetch_rows(y + row * ldy, ldy, 1);
  }
  _tile_stored(0, c0, SUM_LD);
  _tile_stored(1, c0 + TILE_SIDE, SUM_LD);
  if (both) {
    _tile_stored(2, c1, SUM_LD);
    _tile_stored(3, c1 + TILE_SIDE, SUM_LD);
  }
}

/* Tiles of k at a time: of few k so many that those of both panels stay in L1 for all rows; of more
 * all, since they come from beyond L2 and sums would be loaded and stored for nothing. */
static int64_t chunk_of(int64_t blocks, int64_t k) {
  enum { IN_L1 = 10, FEW_K = 1024 };
  int64_t chunks = k <= FEW_K ? (blocks + IN_L1 - 1) / IN_L1 : 1;
  return (blocks + chunks - 1) / chunks;
}

/* Sums of rows m0 .. of x, columns k0 .. k0+count, times w. */
NOINLINE void products(const float_job *job, const sums_at *to, int64_t m0, int64_t rows,
                       int64_t k0, int64_t count, const void *const *w, upcoming *next) {
  _Alignas(64) float sums[(ROWS + 2 * TILE_SIDE) * COLS];
  int64_t ld = depth_ld(k0, job->k), blocks = count / MTK_K_BLOCK;
  int64_t n_tiles = (rows + TILE_SIDE - 1) / TILE_SIDE, height = (rows + n_tiles - 1) / n_tiles;
  const uint8_t *x = (const uint8_t *)job->act + in_depth(job->m, m0, k0, job->k);
  int64_t chunk = n_tiles > 2 ? chunk_of(blocks, job->k) : blocks;
  fetch_in_steps(next, blocks * ((n_tiles + 1) / 2));
  tiles_begin(height, TILE_ROW);
  for (int64_t b = 0; b < blocks; b += chunk) {
    int64_t todo = mtk_k_min(chunk, blocks - b), first = b == 0 && to->first, n;
    const uint8_t *w0 = (const uint8_t *)w[0] + b * TILE_BYTES;
    const uint8_t *w1 = (const uint8_t *)w[1] + b * TILE_BYTES;
    for (int64_t r = 0; r < rows; r += n) {
      n = mtk_k_min(2 * height, rows - r);
      float *acc = sums + r * COLS, *y = to->y + r * to->ldy;
      const float *after = y + (b + todo < blocks ? 0 : n * to->ldy);
      const uint8_t *at = x + r * ld + b * TILE_ROW;
      if (b == 0 && !first) load_sums(acc, y, to->ldy, n, to->cols);
      if (n > height)
        tile_product(acc, first, at, ld, height, 1, w0, w1, todo, after, to->ldy, next);
      else
        tile_product(acc, first, at, ld, height, 0, w0, w1, todo, after, to->ldy, next);
      if (b + todo >= blocks) store_sums(y, to->ldy, acc, n, to->cols, to->scale);
    }
  }
  _tile_release();
}

MTK_INLINE void put_weights(uint16_t *dst, int64_t j, int h, const vf *w, int round) {
  vi_store(dst + j * MTK_PANEL + 2 * h * LANES, pack2(w, !round));
}

#endif
