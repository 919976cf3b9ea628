/* kernels/avx2/gemm.c: the gemm kernels for AVX2; the code is in simd/gemm.h.
 * Pure functions, any thread. */
#define MTK_LANES   8
#define MTK_K(name) mtk_k_##name##__avx2
#include "simd/gemm.h"
