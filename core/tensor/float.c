/* float.c: single-value conversions between f32 and the 16-, 8- and 4-bit float formats. Pure
 * functions on bits; any thread. Formats: IEEE 754 binary16; bfloat16; OCP 8-bit Floating Point
 * Specification rev. 1.0 (E4M3 without infinities, E5M2); OCP Microscaling Formats v1.0 (E2M1,
 * E8M0). Relies on the default rounding mode, nearest even. */
#include "tensor/block.h"

#include <mtk/dtype.h>

#include <math.h>
#include <string.h>

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static float of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

/* ---- 16 bits ----------------------------------------------------------------------------- */

float mtk_f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7FFFu;
  if (rest >= 0x7C00u) return of_bits(sign | 0x7F800000u | (rest & 0x3FFu) << 13 |
                                      (rest > 0x7C00u ? 0x400000u : 0)); /* NaNs become quiet */
  if (rest >= 0x400u) return of_bits(sign | ((rest << 13) + (112u << 23)));
  float magnitude = (float)rest * 0x1p-24f;
  return of_bits(sign | bits_of(magnitude));
}

uint16_t mtk_f32_to_f16(float f) {
  uint32_t u = bits_of(f), magnitude = u & 0x7FFFFFFFu;
  uint32_t sign = u >> 16 & 0x8000u, code;
  if (magnitude > 0x7F800000u) {
    code = 0x7E00u | (magnitude >> 13 & 0x3FFu);
  } else if (magnitude >= 0x47800000u) { /* 65536 and above */
    code = 0x7C00u;
  } else if (magnitude >= 0x38800000u) { /* 2^-14: normal; rounding may carry up to infinity */
    code = (magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1)) >> 13;
  } else {
    code = (uint32_t)rintf(of_bits(magnitude) * 0x1p24f);
  }
  return (uint16_t)(sign | code);
}

float mtk_bf16_to_f32(uint16_t h) { return of_bits((uint32_t)h << 16); }

uint16_t mtk_f32_to_bf16(float f) {
  uint32_t u = bits_of(f);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u);
  return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

/* ---- 8 and 4 bits ------------------------------------------------------------------------ */

/* Shape of a small float: codes above max_code (sign removed) are not finite; unit is the smallest
 * subnormal, 2^(1 - bias - man_bits), and per_unit its inverse. */
typedef struct small_float {
  int man_bits, bias;
  uint32_t sign_bit, max_code;
  float unit, per_unit;
} small_float;

static const small_float e4m3 = {3, 7, 0x80, 0x7E, 0x1p-9f, 0x1p9f};
static const small_float e5m2 = {2, 15, 0x80, 0x7B, 0x1p-16f, 0x1p16f};
static const small_float e2m1 = {1, 1, 0x8, 0x7, 0x1p-1f, 0x1p1f};
static const small_float e2m3 = {3, 1, 0x20, 0x1F, 0x1p-3f, 0x1p3f};
static const small_float e3m2 = {2, 3, 0x20, 0x1F, 0x1p-4f, 0x1p4f};
/* Without negative zero: its code is the NaN, and every other code is finite. */
static const small_float e4m3fnuz = {3, 8, 0x80, 0x7F, 0x1p-10f, 0x1p10f};
static const small_float e5m2fnuz = {2, 16, 0x80, 0x7F, 0x1p-17f, 0x1p17f};

/* Nearest even; beyond the largest finite value, that value. f is not NaN. */
static uint8_t encode_small(const small_float *t, float f) {
  uint32_t u = bits_of(f), magnitude = u & 0x7FFFFFFFu, code;
  uint32_t min_normal = (uint32_t)(128 - t->bias) << 23;
  if (magnitude >= min_normal) {
    int drop = 23 - t->man_bits;
    uint32_t half = (1u << (drop - 1)) - 1;
    code = (magnitude + half + (magnitude >> drop & 1)) >> drop;
    code -= (uint32_t)(127 - t->bias) << t->man_bits;
    if (code > t->max_code) code = t->max_code;
  } else {
    code = (uint32_t)rintf(of_bits(magnitude) * t->per_unit);
  }
  return (uint8_t)(code | (u >> 31 ? t->sign_bit : 0));
}

/* Value of a finite code. */
static float decode_small(const small_float *t, uint32_t code) {
  uint32_t sign = code & t->sign_bit ? 0x80000000u : 0, rest = code & (t->sign_bit - 1);
  if (rest >> t->man_bits)
    return of_bits(sign | ((rest << (23 - t->man_bits)) + ((uint32_t)(127 - t->bias) << 23)));
  return of_bits(sign | bits_of((float)rest * t->unit));
}

static const float nan_value = NAN;

float mtk_e4m3_to_f32(uint8_t b) {
  return (b & 0x7F) > e4m3.max_code ? nan_value : decode_small(&e4m3, b);
}

uint8_t mtk_f32_to_e4m3(float f) { return isnan(f) ? 0x7F : encode_small(&e4m3, f); }

float mtk_e5m2_to_f32(uint8_t b) { return mtk_f16_to_f32((uint16_t)(b << 8)); }

uint8_t mtk_f32_to_e5m2(float f) { return isnan(f) ? 0x7F : encode_small(&e5m2, f); }

float mtk_e8m0_to_f32(uint8_t b) {
  if (b == 0xFF) return nan_value;
  return of_bits(b ? (uint32_t)b << 23 : 0x400000u);
}

float mtk_e2m1_to_f32(uint8_t code) { return decode_small(&e2m1, code & 0xFu); }

uint8_t mtk_f32_to_e2m1(float f) { return isnan(f) ? 0x7 : encode_small(&e2m1, f); }

/* ---- 6 bits, and 8 without negative zero ------------------------------------------------- */

float mtk_e2m3_to_f32(uint8_t code) { return decode_small(&e2m3, code); }

uint8_t mtk_f32_to_e2m3(float f) { return isnan(f) ? 0x1F : encode_small(&e2m3, f); }

float mtk_e3m2_to_f32(uint8_t code) { return decode_small(&e3m2, code); }

uint8_t mtk_f32_to_e3m2(float f) { return isnan(f) ? 0x1F : encode_small(&e3m2, f); }

static uint8_t encode_fnuz(const small_float *t, float f) {
  if (isnan(f)) return 0x80;
  uint8_t code = encode_small(t, f);
  return code == 0x80 ? 0 : code;
}

float mtk_e4m3fnuz_to_f32(uint8_t b) { return b == 0x80 ? nan_value : decode_small(&e4m3fnuz, b); }

uint8_t mtk_f32_to_e4m3fnuz(float f) { return encode_fnuz(&e4m3fnuz, f); }

float mtk_e5m2fnuz_to_f32(uint8_t b) { return b == 0x80 ? nan_value : decode_small(&e5m2fnuz, b); }

uint8_t mtk_f32_to_e5m2fnuz(float f) { return encode_fnuz(&e5m2fnuz, f); }
