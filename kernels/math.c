/* kernels/math.c: scalar exp, tanh, log, pow, sin and cos with the same bits on every machine.
 *
 * Only correctly rounded operations (+ - * / fma), no libm approximations, no tables. Double
 * functions work in double-double where one rounding would not do. Minimax coefficients come from
 * tests/oracle/math_polynomials.py; tests/kernels/test_math.c states and checks the error bounds.
 * Pure functions: any thread may call them. */
#include <math.h>
#include <mtk/kernel.h>
#include <string.h>

#include "exp_poly.h"

/* An unevaluated sum hi + lo, |lo| <= ulp(hi)/2. */
typedef struct dd {
  double hi, lo;
} dd;

static uint32_t bits_f32(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static uint64_t bits_f64(double x) {
  uint64_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static double f64_bits(uint64_t u) {
  double x;
  memcpy(&x, &u, sizeof x);
  return x;
}

/* 2^n for a normal result. */
static double pow2(int n) { return f64_bits((uint64_t)(1023 + n) << 52); }

/* a + b exactly, |a| >= |b| or a = 0 (Dekker 1971). */
static dd fast_two_sum(double a, double b) {
  double s = a + b;
  return (dd){s, b - (s - a)};
}

/* a + b exactly, any order (Knuth). */
static dd two_sum(double a, double b) {
  double s = a + b;
  double t = s - a;
  return (dd){s, (a - (s - t)) + (b - t)};
}

float mtk_math_expf(float x) {
  if (x < MTK_EXPF_LOWEST) return 0.0f;
  if (x > MTK_EXPF_HIGHEST) return INFINITY;
  float t = fmaf(x, MTK_EXPF_LOG2E, MTK_EXPF_MAGIC);
  float n = t - MTK_EXPF_MAGIC;
  float r = fmaf(n, -MTK_EXPF_LN2_HI, x);
  r = fmaf(n, -MTK_EXPF_LN2_LO, r);
  float p = fmaf(MTK_EXPF_C6, r, MTK_EXPF_C5);
  p = fmaf(p, r, MTK_EXPF_C4);
  p = fmaf(p, r, MTK_EXPF_C3);
  p = fmaf(p, r, MTK_EXPF_C2);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  uint32_t u = bits_f32(p) + (bits_f32(t) << 23);
  memcpy(&p, &u, sizeof p);
  return p;
}

float mtk_math_tanhf(float x) {
  float a = fabsf(x);
  if (!(a < MTK_TANHF_SMALL))
    return copysignf(1.0f - 2.0f / (mtk_math_expf(a + a) + 1.0f), x);
  float z = a * a;
  float p = fmaf(MTK_TANHF_C11, z, MTK_TANHF_C9);
  p = fmaf(p, z, MTK_TANHF_C7);
  p = fmaf(p, z, MTK_TANHF_C5);
  p = fmaf(p, z, MTK_TANHF_C3);
  return copysignf(fmaf(a * z, p, a), x);
}

/* exp(hi + lo), |lo| small: n = rint(hi / ln 2), r = the rest, degree 11. */
static double exp_dd(double hi, double lo) {
  if (hi != hi) return hi;
  if (hi > 709.79) return INFINITY;
  if (hi < -745.2) return 0.0;
  static const double c[] = {0x1.0000000000009p-1,  0x1.5555555555558p-3,  0x1.55555555503e3p-5,
                             0x1.111111110f803p-7,  0x1.6c16c18601e8cp-10, 0x1.a01a01b00c2c6p-13,
                             0x1.a01993b37a9cap-16, 0x1.71ddf6b3f10d1p-19, 0x1.28b410d73d492p-22,
                             0x1.af632ad6abee8p-26};
  double n = rint(hi * 0x1.71547652b82fep+0);
  double a = fma(n, -0x1.62e42fefa4p-1, hi); /* exact: 40 + 11 bits */
  double b = fma(n, 0x1.8432a1b0e2634p-43, lo);
  dd r = two_sum(a, b);
  double q = c[9];
  for (int i = 8; i >= 0; i--) q = fma(q, r.hi, c[i]);
  double tail = fma(q, r.hi * r.hi, r.lo);
  dd one_r = fast_two_sum(1.0, r.hi);
  double y = one_r.hi + (one_r.lo + tail);
  int e = (int)n;
  return y * pow2(e / 2) * pow2(e - e / 2);
}

double mtk_math_exp(double x) { return exp_dd(x, 0.0); }

/* log(x) for finite x > 0 as hi + lo, relative error about 2^-62: x = 2^k m, sqrt(1/2) <= m <
 * sqrt(2), f = m - 1, s = f / (2 + f), log m = 2 atanh(s) = 2s + 2/3 s^3 + s^5 (c0 + c1 s^2 ...),
 * the first two terms in double-double. */
static dd log_dd(double x) {
  static const double c[] = {0x1.9999999999996p-2, 0x1.2492492493030p-2, 0x1.c71c71c580df9p-3,
                             0x1.745d183220d16p-3, 0x1.3b1362c1b4e59p-3, 0x1.1120b417a2de3p-3,
                             0x1.de33a77b4ebeap-4, 0x1.eb0f91be99158p-4};
  int k = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    k = -54;
  }
  uint64_t u = bits_f64(x);
  k += (int)(u >> 52) - 1023;
  double m = f64_bits((u & 0xfffffffffffffu) | 0x3ff0000000000000u);
  if (m > 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    k++;
  }
  double f = m - 1.0;
  dd d = fast_two_sum(2.0, f);
  double s = f / d.hi;
  double s_lo = (fma(-s, d.hi, f) - s * d.lo) / d.hi;
  double z = s * s;
  double z_lo = fma(s, s, -z) + 2.0 * s * s_lo;
  double cube = z * s;
  double cube_lo = fma(z, s, -cube) + (z * s_lo + z_lo * s);
  double third = cube * 0x1.5555555555555p-1; /* 2/3 and what it lacks */
  double third_lo = fma(cube, 0x1.5555555555555p-1, -third) +
                    (cube_lo * 0x1.5555555555555p-1 + cube * 0x1.5555555555555p-55);
  double q = c[7];
  for (int i = 6; i >= 0; i--) q = fma(q, z, c[i]);
  /* k*ln2 and the terms, large ones first. */
  dd y = two_sum(k * 0x1.62e42fefa4p-1, 2.0 * s);
  dd w = two_sum(y.hi, third);
  double low = fma(q, cube * z, third_lo + 2.0 * s_lo);
  low = fma(k, -0x1.8432a1b0e2634p-43, low);
  return fast_two_sum(w.hi, w.lo + (y.lo + low));
}

double mtk_math_log(double x) {
  if (x != x || x < 0.0) return NAN;
  if (x == 0.0) return -INFINITY;
  if (x > 0x1.fffffffffffffp+1023) return x;
  return log_dd(x).hi;
}

float mtk_math_logf(float x) { return (float)mtk_math_log((double)x); }

/* base^exponent for base >= 0; NaN for a negative base. */
double mtk_math_pow(double base, double exponent) {
  if (exponent == 0.0 || base == 1.0) return 1.0;
  if (base != base || exponent != exponent || base < 0.0) return NAN;
  if (base == 0.0) return exponent > 0.0 ? 0.0 : INFINITY;
  if (isinf(base)) return exponent > 0.0 ? INFINITY : 0.0;
  dd l = log_dd(base);
  double hi = l.hi * exponent;
  if (!(fabs(hi) < 800.0)) return hi > 0.0 ? INFINITY : 0.0;
  double lo = fma(l.hi, exponent, -hi) + l.lo * exponent;
  return exp_dd(hi, lo);
}

/* sin(r + lo) and cos(r + lo) for |r| <= pi/4. */
static double sin_poly(double r, double lo) {
  static const double c[] = {-0x1.5555555555548p-3, 0x1.111111110f7cap-7,   -0x1.a01a019bfd176p-13,
                             0x1.71de356711963p-19, -0x1.ae5e59f4ebe05p-26, 0x1.5d8fa2ec6cdc2p-33};
  double z = r * r;
  double q = c[5];
  for (int i = 4; i >= 0; i--) q = fma(q, z, c[i]);
  /* sin(r + lo) = sin r + lo cos r */
  double corr = fma(lo, fma(-0.5, z, 1.0), z * r * q);
  return r + corr;
}

static double cos_poly(double r, double lo) {
  static const double c[] = {0x1.555555555554bp-5,  -0x1.6c16c16c14f8ap-10,
                             0x1.a01a019c8393ep-16, -0x1.27e4f7ea3963fp-22,
                             0x1.1ee9d753a15c8p-29, -0x1.8fa4666901b4cp-37};
  double z = r * r;
  double q = c[5];
  for (int i = 4; i >= 0; i--) q = fma(q, z, c[i]);
  double half = 0.5 * z;
  double w = 1.0 - half;
  /* (1 - w) - z/2 is what w lost; cos(r + lo) = cos r - lo sin r */
  double tail = ((1.0 - w) - half) + fma(z * z, q, -(r * lo));
  return w + tail;
}

void mtk_math_sincos(double x, double *sin_out, double *cos_out) {
  /* Cody and Waite: pi/2 in three parts of 53 bits; x - n*P1 is exact for |x| < 2^31. */
  double n = rint(x * 0x1.45f306dc9c883p-1);
  double a = fma(n, -0x1.921fb54442d18p+0, x);
  double p = n * 0x1.1a62633145c07p-54;
  double p_lo = fma(n, 0x1.1a62633145c07p-54, -p);
  dd r = two_sum(a, -p);
  r = fast_two_sum(r.hi, r.lo - fma(n, -0x1.f1976b7ed8fbcp-110, p_lo));
  double s = sin_poly(r.hi, r.lo);
  double c = cos_poly(r.hi, r.lo);
  switch ((int64_t)n & 3) {
  case 0: *sin_out = s, *cos_out = c; break;
  case 1: *sin_out = c, *cos_out = -s; break;
  case 2: *sin_out = -s, *cos_out = -c; break;
  default: *sin_out = -c, *cos_out = s; break;
  }
}

void mtk_rope_table(float *cos_sin, const int32_t *pos, int64_t rows, const double *inv_freq,
                    int rope_dim, double mscale) {
  for (int64_t t = 0; t < rows; t++) {
    float *row = cos_sin + t * rope_dim;
    for (int j = 0; j < rope_dim / 2; j++) {
      double s, c;
      mtk_math_sincos(pos[t] * inv_freq[j], &s, &c);
      row[2 * j] = (float)(c * mscale);
      row[2 * j + 1] = (float)(s * mscale);
    }
  }
}
