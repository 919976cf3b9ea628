/* tensor/block_fit.h: the searches for scales that ggml's quantizers are made of: given numbers x
 * and weights w, codes L and a scale (and minimum) with a small weighted squared error. The order
 * of operations is ggml's (ggml-quants.c), so that files come out byte for byte the same. */
#ifndef MTK_TENSOR_BLOCK_FIT_H
#define MTK_TENSOR_BLOCK_FIT_H

#include <stdint.h>

enum { FIT_MAX = 32 }; /* largest n */

/* x ~ scale * (L - nmax), L in [0, 2 nmax): 19 trial scales around -nmax / peak. w NULL = x^2.
 * (ggml: make_qx_quants.) */
float mtk_fit_symmetric(int n, int nmax, const float *x, const float *w, uint8_t *codes);
/* The same by coordinate descent from the plain rounding, weights x^2. (make_q3_quants) */
float mtk_fit_descent(int n, int nmax, const float *x, uint8_t *codes);

/* x ~ scale * L - *min_out, L in [0, nmax], *min_out >= 0: n_steps + 1 trial ranges (nmax + first +
 * step * i) / (max - min), each solved by least squares; the error compared is that of absolute
 * differences if mad is set, else of squares. (make_qkx2_quants, make_qkx3_quants) */
typedef struct fit_range {
  float first, step;
  int n_steps, mad;
} fit_range;
float mtk_fit_affine(float *min_out, int n, int nmax, const float *x, const float *w,
                     const fit_range *range, uint8_t *codes);

/* x >= 0: x ~ scale * L, L in [0, nmax]; trials, then coordinate descent. (make_qp_quants) */
float mtk_fit_positive(int n, int nmax, const float *x, const float *w, uint8_t *codes);

#endif
