/* kernels/amx/linear.c: a16 linear layers on AMX-BF16 tiles: TDPBF16PS computes exactly the chains
 * of a16 (design, section 5). Decoding, small batches and the rest are simd/linear_float.h.
 *
 * A product of 32 rows of x and two panels keeps four tiles of sums over CHUNK_TILES k. Each run
 * loads the tile configuration and releases it, so no thread holds tile state between runs. The
 * process must have asked for permission (table.c). Pure, any thread. */
#define MTK_LANES 16
#define MTK_TILES
#ifndef MTK_K
#define MTK_K(name) mtk_k_##name##__amx
#endif
#define MTK_ISA_TEXT "amx"
#include "linear_rules.h"
#include "simd/lanes.h"

enum { TILE_SIDE = 16, TILES_WORTH_ROWS = 8, CHUNK_TILES = 512 };

/* ---- activations: a row of floats, then the same row in bf16 ------------------------------- */
static int64_t act_ld_a16(int64_t k) {
  int64_t padded = mtk_k_blocks(k) * MTK_K_BLOCK, ld = padded + padded / 2;
  return ld % 1024 ? ld : ld + 16;
}

/* Tiles are read whole: up to 15 rows past the last one. */
static size_t act_bytes_a16(int64_t m, int64_t k) {
  return (size_t)((m + TILE_SIDE - 1) * act_ld_a16(k)) * sizeof(float);
}

/* row holds floats that are exact in bf16: their upper halves follow them. */
static void tile_activations(float *row, int64_t padded) {
  for (int64_t j = 0; j < padded; j += MTK_LANES) {
    __m512i upper = _mm512_srli_epi32(_mm512_loadu_si512(row + j), 16);
    _mm256_storeu_si256((void *)((uint16_t *)(row + padded) + j), _mm512_cvtepi32_epi16(upper));
  }
}

typedef struct float_job float_job;
static void tile_rows(const float_job *job, int64_t m0, int64_t m1, int64_t p0, int64_t p1);

#include "simd/linear_float.h"

/* ---- tiles ---------------------------------------- */
typedef struct tile_config { /* Intel SDM vol. 1, 18.2 */
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_config;

static void tiles_begin(void) {
  _Alignas(64) tile_config config = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = 64;
    config.rows[i] = TILE_SIDE;
  }
  __asm__ volatile("" : "+m"(config)); /* gcc 12 takes the stores above for dead otherwise */
  _tile_loadconfig(&config);
}

/* Weights of a chunk as tiles of 32 k: dword n of row r = k 2r (low) and 2r + 1 of row n of W. */
static void pair_weights(uint32_t *tiles, const float *w, int64_t count) {
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
  for (int64_t j = 0; j < count; j += 2, tiles += MTK_PANEL) {
    __m512i even = _mm512_loadu_si512(w + j * MTK_PANEL);
    __m512i odd = _mm512_loadu_si512(w + (j + 1) * MTK_PANEL);
    even = _mm512_srli_epi32(even, 16);
    _mm512_storeu_si512(tiles, _mm512_or_si512(even, _mm512_and_si512(odd, upper)));
  }
}

/* acc[n_rows][COLS], n_rows a multiple of 16, += x * w over `blocks` tiles of k; ld in bytes. */
NOINLINE void tile_product(float *acc, const uint8_t *x, int64_t ld, const uint32_t *const *w,
                           int64_t n_rows, int64_t blocks) {
  enum { SUM_LD = COLS * sizeof(float), TILE_DWORDS = TILE_SIDE * TILE_SIDE };
  for (int64_t r = 0; r < n_rows; r += 2 * TILE_SIDE) {
    int both = n_rows - r > TILE_SIDE;
    float *c0 = acc + r * COLS, *c1 = c0 + TILE_SIDE * COLS;
    const uint8_t *x0 = x + r * ld, *x1 = x0 + TILE_SIDE * ld;
    _tile_loadd(0, c0, SUM_LD);
    _tile_loadd(1, c0 + TILE_SIDE, SUM_LD);
    if (both) {
      _tile_loadd(2, c1, SUM_LD);
      _tile_loadd(3, c1 + TILE_SIDE, SUM_LD);
    }
    for (int64_t b = 0; b < blocks; b++) {
      _tile_loadd(6, w[0] + b * TILE_DWORDS, 64);
      _tile_loadd(7, w[1] + b * TILE_DWORDS, 64);
      _tile_loadd(4, x0 + b * 64, ld);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (!both) continue;
      _tile_loadd(5, x1 + b * 64, ld);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c0, SUM_LD);
    _tile_stored(1, c0 + TILE_SIDE, SUM_LD);
    if (!both) continue;
    _tile_stored(2, c1, SUM_LD);
    _tile_stored(3, c1 + TILE_SIDE, SUM_LD);
  }
}

/* Panel p's weights k0 .. k0+count as tiles. */
static void load_weights(uint32_t *tiles, const float_job *job, int64_t p, int64_t k0,
                         int64_t count) {
  _Alignas(64) float scratch[CHUNK * MTK_PANEL];
  const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p);
  const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p);
  for (int64_t j = 0; j < count; j += CHUNK) {
    int64_t part = mtk_k_min(CHUNK, count - j);
    const float *w = job->decode(scratch, panel, grid, k0 + j, part);
    pair_weights(tiles + j / 2 * MTK_PANEL, w, part);
  }
}

static void tile_rows(const float_job *job, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
  _Alignas(64) uint32_t tiles[TILE_PANELS][CHUNK_TILES / 2 * MTK_PANEL];
  _Alignas(64) float acc[ROWS * COLS];
  int64_t padded = mtk_k_blocks(job->k) * MTK_K_BLOCK, ld = job->ldx * (int64_t)sizeof(float);
  tiles_begin();
  for (int64_t m = m0; m < m1; m += ROWS) {
    int64_t n_rows = mtk_k_min(ROWS, m1 - m);
    int64_t whole = (n_rows + TILE_SIDE - 1) / TILE_SIDE * TILE_SIDE;
    const uint8_t *x = (const uint8_t *)(job->x + m * job->ldx + padded);
    for (int64_t p = p0; p < p1; p += TILE_PANELS) {
      int64_t panels = mtk_k_min(TILE_PANELS, p1 - p);
      const uint32_t *const w[2] = {tiles[0], tiles[panels - 1]};
      memset(acc, 0, (size_t)(whole * COLS) * sizeof *acc);
      for (int64_t k0 = 0; k0 < padded; k0 += CHUNK_TILES) {
        int64_t count = mtk_k_min(CHUNK_TILES, padded - k0);
        for (int64_t i = 0; i < panels; i++) load_weights(tiles[i], job, p + i, k0, count);
        tile_product(acc, x + k0 * 2, ld, w, whole, count / MTK_K_BLOCK);
      }
      unsigned csr = flush_on(1);
      store_tile(job, acc, m, n_rows, p, panels);
      _mm_setcsr(csr);
    }
  }
  _tile_release();
}
