/* kernels/amx/peak.c: the fastest stream of bf16 multiply-adds on tiles: as many sums as hide the
 * latency, nothing else in the loop. Pure, any thread; the process must have asked for permission
 * (table.c). */
#include <mtk/kernel.h>

#include "amx/config.h"
#include "families.h"

static double mtk_k_peak_bf16__amx(float *io, int64_t rounds) {
  _Alignas(64) float block[TILE_SIDE * TILE_SIDE];
  for (int i = 0; i < TILE_SIDE * TILE_SIDE; i++) block[i] = io[i % 32];
  tiles_begin(TILE_SIDE, TILE_ROW);
  _tile_loadd(0, block, 64);
  _tile_loadd(1, block, 64);
  _tile_loadd(2, block, 64);
  _tile_loadd(3, block, 64);
  _tile_loadd(4, block, 64);
  _tile_loadd(6, block, 64);
  for (int64_t r = 0; r < rounds; r++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  _tile_stored(0, block, 64);
  _tile_release();
  for (int i = 0; i < TILE_SIDE; i++) io[i] = block[i];
  return 4.0 * 2 * TILE_SIDE * TILE_SIDE * 2 * TILE_SIDE * (double)rounds;
}

void mtk_k_peak_init__amx(mtk_kernels *table) { table->peak[MTK_A16] = mtk_k_peak_bf16__amx; }
