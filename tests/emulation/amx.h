/* tests/emulation/amx.h: the tile instructions that kernels/amx uses as calls of amx.c, and what
 * avx512.h has beside them. A build with MTK_EMULATE includes it first in those files. */
#ifndef MTK_TESTS_EMULATION_AMX_H
#define MTK_TESTS_EMULATION_AMX_H

#include "emulation/avx512.h"

/* Tiles are a thread's own. What the processor would refuse (no configuration, shapes that do not
 * fit together) ends the program with a word about it. */
void mtk_emulated_loadconfig(const void *config);
void mtk_emulated_release(void);
void mtk_emulated_zero(int t);
void mtk_emulated_loadd(int t, const void *base, int64_t stride);
void mtk_emulated_stored(int t, void *base, int64_t stride);
void mtk_emulated_dpbf16ps(int c, int a, int b);
void mtk_emulated_dpbssd(int c, int a, int b);

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig mtk_emulated_loadconfig
#define _tile_release    mtk_emulated_release
#define _tile_zero       mtk_emulated_zero
#define _tile_loadd      mtk_emulated_loadd
#define _tile_stored     mtk_emulated_stored
#define _tile_dpbf16ps   mtk_emulated_dpbf16ps
#define _tile_dpbssd     mtk_emulated_dpbssd

#endif
