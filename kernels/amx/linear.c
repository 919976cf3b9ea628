/* kernels/amx/linear.c: a16 linear layers on AMX-BF16 tiles: TDPBF16PS computes exactly the chains
 * of a16 (design, section 5). The code is simd/linear_float.h with amx/tiles.h. The process must
 * have asked for permission (table.c). Pure, any thread. */
#define MTK_LANES 16
#define MTK_TILES
#ifndef MTK_K
#define MTK_K(name) mtk_k_##name##__amx
#endif
#define MTK_ISA_TEXT "amx"
#include "simd/linear_float.h"
