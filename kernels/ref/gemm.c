/* kernels/ref/gemm.c: what gemm_nn and gemm_tn mean: each C element continues one fma chain over k
 * ascending. Plain C; any thread may call them on its own rows of C. */
#include <math.h>

#include "families.h"

static void mtk_k_f32_gemm_nn__ref(float *c, int64_t ldc, const float *a, int64_t lda,
                                   const float *b, int64_t ldb, int64_t m0, int64_t m1, int64_t n,
                                   int64_t k) {
  for (int64_t i = m0; i < m1; i++) {
    for (int64_t l = 0; l < k; l++) {
      for (int64_t j = 0; j < n; j++) {
        c[i * ldc + j] = fmaf(a[i * lda + l], b[l * ldb + j], c[i * ldc + j]);
      }
    }
  }
}

static void mtk_k_f32_gemm_tn__ref(float *c, int64_t ldc, const float *a, int64_t lda,
                                   const float *b, int64_t ldb, int64_t m0, int64_t m1, int64_t n,
                                   int64_t k) {
  for (int64_t i = m0; i < m1; i++) {
    for (int64_t l = 0; l < k; l++) {
      for (int64_t j = 0; j < n; j++) {
        c[i * ldc + j] = fmaf(a[l * lda + i], b[l * ldb + j], c[i * ldc + j]);
      }
    }
  }
}

void mtk_k_gemm_init__ref(mtk_kernels *table) {
  table->gemm_nn = mtk_k_f32_gemm_nn__ref;
  table->gemm_tn = mtk_k_f32_gemm_tn__ref;
}
