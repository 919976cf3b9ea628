/* kernels/avx2/vector.c: the vector kernels for AVX2; the code is simd/vector.h. Pure, any thread. */
#define MTK_LANES 8
#define MTK_K(name) mtk_k_##name##__avx2
#include "../simd/vector.h"
