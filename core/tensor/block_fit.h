/* tensor/block_fit.h: the searches for scales that ggml's quantizers are made of: given numbers x
 * and weights w, codes L and a scale (and minimum) with a small weighted squared error. The order
 * of operations is ggml's (ggml-quants.c), so that files come out byte for byte the same. */
#ifndef MTK_TENSOR_BLOCK_FIT_H
#define MTK_TENSOR_BLOCK_FIT_H

#include <stdint.h>

enum { FIT_MAX = 32 }; /* largest n */

/* Of each of n_groups groups of n numbers: x ~ scale * (L - nmax), L in [0, 2 nmax): 19 trial
 * scales around -nmax / peak. w NULL = x^2. (ggml: make_qx_quants.) */
void mtk_fit_symmetric(float *scales, int n_groups, int n, int nmax, const float *x, const float *w,
                       uint8_t *codes);
/* One group, by coordinate descent from the plain rounding, weights x^2. (make_q3_quants) */
float mtk_fit_descent(int n, int nmax, const float *x, uint8_t *codes);

/* Of each group x ~ scale * L - min, L in [0, nmax], min >= 0: n_steps + 1 trial ranges (nmax +
 * first + step * i) / (max - min), each solved by least squares; the error compared is that of
 * absolute differences if mad is set, else of squares. (make_qkx2_quants, make_qkx3_quants) */
typedef struct fit_range {
  float first, step;
  int n_steps, mad;
} fit_range;
void mtk_fit_affine(float *scales, float *mins, int n_groups, int n, int nmax, const float *x,
                    const float *w, const fit_range *range, uint8_t *codes);

/* One group of x >= 0: x ~ scale * L, L in [0, nmax]; trials, then coordinate descent.
 * (make_qp_quants) */
float mtk_fit_positive(int n, int nmax, const float *x, const float *w, uint8_t *codes);

#endif
