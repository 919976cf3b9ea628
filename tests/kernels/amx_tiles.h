/* tests/kernels/amx_tiles.h: the tile instructions as calls of amx_emulated.c, for a file that then
 * includes one of kernels/amx. */
#ifndef MTK_TESTS_AMX_TILES_H
#define MTK_TESTS_AMX_TILES_H

#include <immintrin.h>
#include <mtk/kernel.h>
#include <stdint.h>

void ck_emulate_config(const void *config);
void ck_emulate_release(void);
void ck_emulate_zero(int t);
void ck_emulate_load(int t, const void *base, int64_t stride);
void ck_emulate_store(int t, void *base, int64_t stride);
void ck_emulate_dpbf16ps(int c, int a, int b);
void ck_emulate_dpbssd(int c, int a, int b);

/* amx_emulated_a8.c, amx_emulated_k.c */
void mtk_k_linear_a8_init__amx_emulated(mtk_kernels *table);
void mtk_k_linear_k_init__amx_emulated(mtk_kernels *table);

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig ck_emulate_config
#define _tile_release    ck_emulate_release
#define _tile_zero       ck_emulate_zero
#define _tile_loadd      ck_emulate_load
#define _tile_stored     ck_emulate_store
#define _tile_dpbf16ps   ck_emulate_dpbf16ps
#define _tile_dpbssd     ck_emulate_dpbssd
#define MTK_K(name)      mtk_k_##name##__amx_emulated

#endif
