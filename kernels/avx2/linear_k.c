/* kernels/avx2/linear_k.c: a8 linear layers on superblocks for AVX2; the code is simd/linear_k.h.
 * Pure, any thread. */
#define MTK_LANES    8
#define MTK_K(name)  mtk_k_##name##__avx2
#define MTK_ISA_TEXT "avx2"
#include "simd/linear_k.h"
