/* kernels/avx512/vector.c: the vector kernels for AVX-512; the code is in simd/vector.h.
 * Pure functions, any thread. */
#define MTK_LANES   16
#define MTK_K(name) mtk_k_##name##__avx512
#include "simd/vector.h"
