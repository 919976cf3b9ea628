/* kernels/avx512/linear_k.c: a8 linear layers on superblocks for AVX-512; the code is
 * simd/linear_k.h. Pure, any thread. */
#define MTK_LANES    16
#define MTK_K(name)  mtk_k_##name##__avx512
#define MTK_ISA_TEXT "avx512"
#include "simd/linear_k.h"
