/* kernels/amx/config.h: the tile state of a thread. Tiles 0 to 3 hold sums: `rows` rows of 16
 * dwords; 4 and 5 activations: `rows` rows of `depth` bytes; 6 and 7 weights: depth / 4 rows of 16
 * dwords. A thread holds it only while it multiplies: _tile_release at the end. */
#ifndef MTK_KERNELS_AMX_CONFIG_H
#define MTK_KERNELS_AMX_CONFIG_H

#include <immintrin.h>
#include <stdint.h>

enum { TILE_SIDE = 16, TILE_ROW = 64 };

typedef struct tile_config { /* Intel SDM vol. 1, 18.2 */
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_config;

/* A tile of sums of AMX-INT8 in memory. */
typedef struct sum_tile {
  int32_t row[TILE_SIDE][TILE_SIDE];
} sum_tile;

static void tiles_begin(int64_t rows, int depth) {
  _Alignas(64) tile_config config = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = (uint16_t)(i / 2 == 2 ? depth : TILE_ROW);
    config.rows[i] = (uint8_t)(i < 6 ? rows : depth / 4);
  }
  __asm__ volatile("" : "+m"(config)); /* gcc 12 takes the stores above for dead otherwise */
  _tile_loadconfig(&config);
}

#endif
