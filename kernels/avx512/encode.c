/* kernels/avx512/encode.c: the 4-bit float encoder for AVX-512; the code is in simd/encode.h.
 * Pure functions, any thread. */
#define MTK_LANES   16
#define MTK_K(name) mtk_k_##name##__avx512
#include "simd/encode.h"
