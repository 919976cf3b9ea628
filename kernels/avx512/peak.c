/* kernels/avx512/peak.c: the limits of the machine for AVX-512; the code is in simd/peak.h. Pure
 * functions, any thread. */
#define MTK_LANES   16
#define MTK_K(name) mtk_k_##name##__avx512
#include "simd/peak.h"
