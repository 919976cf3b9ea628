/* kernels/avx2/moe.c: the kernels of mixtures of experts for AVX2; the code is in simd/moe.h.
 * Pure functions, any thread. */
#define MTK_LANES   8
#define MTK_K(name) mtk_k_##name##__avx2
#include "simd/moe.h"
