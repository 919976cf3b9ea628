/* kernels/avx512/linear.c: a32 and a16 linear layers for AVX-512; the code is simd/linear_float.h.
 * Pure, any thread. */
#define MTK_LANES    16
#define MTK_K(name)  mtk_k_##name##__avx512
#define MTK_ISA_TEXT "avx512"
#include "simd/linear_float.h"
