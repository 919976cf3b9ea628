/* kernels/avx2/encode.c: the 4-bit float encoder for AVX2; the code is in simd/encode.h.
 * Pure functions, any thread. */
#define MTK_LANES   8
#define MTK_K(name) mtk_k_##name##__avx2
#include "simd/encode.h"
