/* kernels/avx2/attention.c: the attention kernels for AVX2; the code is in simd/attention.h.
 * Pure functions, any thread. */
#define MTK_LANES   8
#define MTK_K(name) mtk_k_##name##__avx2
#include "simd/attention.h"
