/* kernels/avx512/moe.c: the kernels of mixtures of experts for AVX-512; the code is in simd/moe.h.
 * Pure functions, any thread. */
#define MTK_LANES   16
#define MTK_K(name) mtk_k_##name##__avx512
#include "simd/moe.h"
