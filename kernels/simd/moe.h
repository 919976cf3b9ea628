/* kernels/simd/moe.h: the elementwise kernels of ref/moe.c over vectors (see lanes.h). Included
 * once by avx2/moe.c and avx512/moe.c. The choice of experts stays the reference's: it is a
 * thousandth of the work behind it. Pure functions, any thread. */
#include "families.h"
#include "simd/lanes.h"

static void MTK_K(sigmoid)(float *y, const float *x, int64_t n) {
  const vf one = vf_set1(1.0f);
  MTK_EACH_VECTOR(i, left, n) {
    vf e = vf_exp(vf_neg(vf_load_n(x + i, left)));
    vf_store_n(y + i, vf_div(one, vf_add(one, e)), left);
  }
}

static void MTK_K(swiglu_clamped)(float *y, const float *g, const float *u, float alpha,
                                  float limit, int64_t n) {
  const vf one = vf_set1(1.0f), top = vf_set1(limit), bottom = vf_set1(-limit);
  MTK_EACH_VECTOR(i, left, n) {
    vf gi = vf_load_n(g + i, left), ui = vf_load_n(u + i, left);
    gi = vf_if_less(top, gi, top, gi);
    ui = vf_if_less(top, ui, top, vf_if_less(ui, bottom, bottom, ui));
    vf e = vf_exp(vf_neg(vf_mul(vf_set1(alpha), gi)));
    vf_store_n(y + i, vf_mul(vf_div(gi, vf_add(one, e)), vf_add(ui, one)), left);
  }
}

void MTK_K(moe_init)(mtk_kernels *table) {
  table->sigmoid = MTK_K(sigmoid);
  table->swiglu_clamped = MTK_K(swiglu_clamped);
}
