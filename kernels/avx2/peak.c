/* kernels/avx2/peak.c: the limits of the machine for AVX2; the code is in simd/peak.h. Pure
 * functions, any thread. */
#define MTK_LANES   8
#define MTK_K(name) mtk_k_##name##__avx2
#include "simd/peak.h"
