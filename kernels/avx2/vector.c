/* kernels/avx2/vector.c: the vector kernels for AVX2; the code is in simd/vector.h.
 * Pure functions, any thread. */
#define MTK_LANES   8
#define MTK_K(name) mtk_k_##name##__avx2
#include "simd/vector.h"
