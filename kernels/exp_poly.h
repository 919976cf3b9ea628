/* kernels/exp_poly.h: the constants of mtk_math_expf, mtk_math_tanhf and GELU, shared by the scalar
 * (math.c, ref/) and the vector forms (simd/), so that both compute the same bits:
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

/* mtk_math_tanhf: with a = |x| and then the sign of x: a < SMALL: z = a*a, a + (a*z) * (C3 + ... +
 * C11 z^4) by Horner, one fma a step; else 1 - 2 / (exp(a + a) + 1). */
#define MTK_TANHF_SMALL  0.6f
#define MTK_TANHF_C3     -0x1.55553ep-2f
#define MTK_TANHF_C5     0x1.1109aep-3f
#define MTK_TANHF_C7     -0x1.b898dep-5f
#define MTK_TANHF_C9     0x1.54b8a4p-6f
#define MTK_TANHF_C11    -0x1.825868p-8f

/* Both forms of GELU (<mtk/kernel.h>, gelu_mul). Q(u) = exp(t^2/2) erfc(t/sqrt 2)/2 at t =
 * (1/u - 1)/0.3, 0 <= t <= 13, is a polynomial of degree 8 in u: one fma a step. */
#define MTK_GELU_C0      0x1.988454p+0f /* sqrt(8/pi) */
#define MTK_GELU_C1      0x1.2444f2p-4f /* 0.044715 sqrt(8/pi) */
#define MTK_GELU_C1X3    0x1.b6676cp-3f
#define MTK_GELU_PDF     0x1.988454p-2f /* 1/sqrt(2 pi) */
#define MTK_GELU_U       0.3f
#define MTK_GELU_Q                                                                                 \
  { 0x1.ac5942p-18f,  0x1.e979e2p-4f, 0x1.f2ffaap-4f,  0x1.855474p-4f, 0x1.2226b8p-3f,             \
    -0x1.344932p-4f, 0x1.d2143cp-3f, -0x1.5961b2p-3f, 0x1.39840ap-5f }

#endif
