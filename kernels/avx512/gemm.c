/* kernels/avx512/gemm.c: the gemm kernels for AVX-512; the code is in simd/gemm.h.
 * Pure functions, any thread. */
#define MTK_LANES   16
#define MTK_K(name) mtk_k_##name##__avx512
#include "simd/gemm.h"
