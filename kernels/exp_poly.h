/* kernels/exp_poly.h: the constants of mtk_math_expf, shared by the scalar (math.c) and the vector
 * forms (simd/lanes.h), so that both compute the same bits:
 *   t = fma(x, log2e, MAGIC), n = t - MAGIC (rint, kept in t's low mantissa bits);
 *   r = fma(n, -ln2_hi, x), r = fma(n, -ln2_lo, r), |r| <= ln2/2;
 *   p = 1 + r + r^2 (C2 + ... + C6 r^4) by Horner, one fma a step; result = p with n added to its
 *   exponent. x < LOWEST gives 0 (results stay normal), x > HIGHEST gives +inf.
 * Minimax coefficients: tests/oracle/math_polynomials.py (2^-28 relative before rounding). */
#ifndef MTK_KERNELS_EXP_POLY_H
#define MTK_KERNELS_EXP_POLY_H

#define MTK_EXPF_LOG2E   0x1.715476p+0f
#define MTK_EXPF_MAGIC   0x1.8p+23f
#define MTK_EXPF_LN2_HI  0x1.62e4p-1f
#define MTK_EXPF_LN2_LO  0x1.7f7d1cp-20f
#define MTK_EXPF_C2      0x1.fffffcp-2f
#define MTK_EXPF_C3      0x1.555492p-3f
#define MTK_EXPF_C4      0x1.5558f2p-5f
#define MTK_EXPF_C5      0x1.1239e2p-7f
#define MTK_EXPF_C6      0x1.6a2438p-10f
#define MTK_EXPF_LOWEST  (-87.3f)
#define MTK_EXPF_HIGHEST 0x1.62e42ep+6f /* 88.72283: the last float below log(FLT_MAX) */

#endif
