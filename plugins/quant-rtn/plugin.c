/* plugin.c: method "rtn": round to nearest, every value by itself, no calibration data. Static
 * tables; functions may be entered by any thread.
 *
 * Formulas (amax: largest magnitude of a block or tensor; all in f32):
 *   nvfp4      s2 = amax(tensor or fused group)/(6*448); per 16 values sb = e4m3(amax/(6*s2))
 *              within [2^-9, 448], 1 for a zero block; q = e2m1(w/(sb*s2)). NVIDIA ModelOpt,
 *              modelopt/torch/quantization/qtensor/nvfp4_tensor.py.
 *   mxfp4      e = floor(log2(amax)) - 2 per 32 values (OCP MX v1.0); q = e2m1(w/2^e).
 *   mxfp8      s = 2^ceil(log2(amax/448)) per 32 values; q = e4m3(w/s). cuBLAS, ModelOpt.
 *   fp8        s = amax(tensor or fused group)/448; q = e4m3(w/s).
 *   fp8-block  the same per block of 128 x 128 (DeepSeek-V3, inference/kernel.py).
 *   the rest   the reference encoders of the storage types (mtk/dtype.h). */
#include "rtn.h"

#include <math.h>
#include <string.h>

enum { NVFP4_SUB = 16, MX_BLOCK = 32 };
static const float e4m3_max = 448.0f, e2m1_max = 6.0f;

/* clang-format off */
const mtk_quant_target rtn_targets[] = {
  {"nvfp4", MTK_NVFP4, 0, 0, "4.5 bits: E2M1, an E4M3 scale per 16, an f32 scale per tensor", 0},
  {"mxfp4", MTK_MXFP4, -1, -1, "4.25 bits: E2M1, a power of two per 32", 0},
  {"fp8", MTK_F8_E4M3, 0, 0, "8 bits: E4M3, an f32 scale per tensor", 0},
  {"fp8-block", MTK_F8_E4M3, 128, 128, "8 bits: E4M3, an f32 scale per 128 x 128 block", 0},
  {"mxfp8", MTK_F8_E4M3, 1, 32, "8.25 bits: E4M3, a power of two per 32", 0},
  {"q8_0", MTK_Q8_0, -1, -1, "8.5 bits: int8, an f16 scale per 32", 0},
  {"q6_k", MTK_Q6_K, -1, -1, "6.56 bits: int6, 8-bit scales per 16 in superblocks of 256", 0},
  {"q5_k", MTK_Q5_K, -1, -1, "5.5 bits: int5, 6-bit scales and minimums per 32 in 256", 0},
  {"q5_1", MTK_Q5_1, -1, -1, "6 bits: int5, an f16 scale and minimum per 32", 0},
  {"q5_0", MTK_Q5_0, -1, -1, "5.5 bits: int5, an f16 scale per 32", 0},
  {"q4_k", MTK_Q4_K, -1, -1, "4.5 bits: int4, 6-bit scales and minimums per 32 in 256", 0},
  {"q4_0", MTK_Q4_0, -1, -1, "4.5 bits: int4, an f16 scale per 32", 0},
  {"q4_1", MTK_Q4_1, -1, -1, "5 bits: int4, an f16 scale and minimum per 32", 0},
  {"iq4_nl", MTK_IQ4_NL, -1, -1, "4.5 bits: 16 uneven levels, an f16 scale per 32", 0},
  {"iq4_xs", MTK_IQ4_XS, -1, -1, "4.25 bits: 16 uneven levels, 6-bit scales per 32 in 256", 0},
  {"q3_k", MTK_Q3_K, -1, -1, "3.44 bits: int3, 6-bit scales per 16 in 256", 0},
  {"q2_k", MTK_Q2_K, -1, -1, "2.63 bits: int2, 4-bit scales and minimums per 16 in 256", 0},
  {"q2_0", MTK_Q2_0, -1, -1, "2.25 bits: -1, 0, 1, an f16 scale per 64 (ternary models)", 0},
  {"tq2_0", MTK_TQ2_0, -1, -1, "2.06 bits: -1, 0, 1, an f16 scale per 256 (ternary models)", 0},
  {"tq1_0", MTK_TQ1_0, -1, -1, "1.69 bits: -1, 0, 1, an f16 scale per 256 (ternary models)", 0},
  {"q1_0", MTK_Q1_0, -1, -1, "1.13 bits: -1, 1, an f16 scale per 128 (binary models)", 0},
  {"q5_k_m", MTK_Q5_K, -1, -1, "llama.cpp's Q5_K_M: q5_k, some matrices q6_k, embedding too", 17},
  {"q5_k_s", MTK_Q5_K, -1, -1, "llama.cpp's Q5_K_S: q5_k, head q6_k, embedding too", 16},
  {"q4_k_m", MTK_Q4_K, -1, -1, "llama.cpp's Q4_K_M: q4_k, some matrices q6_k, embedding too", 15},
  {"q4_k_s", MTK_Q4_K, -1, -1, "llama.cpp's Q4_K_S: q4_k, a few matrices q5_k, embedding too", 14},
  {"q3_k_l", MTK_Q3_K, -1, -1, "llama.cpp's Q3_K_L: q3_k, some matrices q5_k, embedding too", 13},
  {"q3_k_m", MTK_Q3_K, -1, -1, "llama.cpp's Q3_K_M: q3_k, some q4_k and q5_k, embedding too", 12},
  {"q3_k_s", MTK_Q3_K, -1, -1, "llama.cpp's Q3_K_S: q3_k, head q6_k, embedding too", 11},
  {"q2_k_m", MTK_Q2_K, -1, -1, "llama.cpp's Q2_K: q2_k, some q3_k and q4_k, embedding too", 10},
  {"q2_k_s", MTK_Q2_K, -1, -1, "llama.cpp's Q2_K_S: q2_k, a few matrices q4_k, embedding too", 21},
  {"bf16", MTK_BF16, -1, -1, "16 bits: bfloat16", 0},
  {"f16", MTK_F16, -1, -1, "16 bits: IEEE half", 0},
  {"f32", MTK_F32, -1, -1, "32 bits", 0},
  {0},
};
/* clang-format on */

/* ---- outside scales -------------------------------------------------------------------------- */

static int64_t scales_per_row(const mtk_quant_tensor *t) {
  return (mtk_tensor_row_elems(t->source) + t->scale_k - 1) / t->scale_k;
}

static int64_t scale_count(const mtk_quant_tensor *t) {
  if (!t->scales) return 0;
  return (mtk_tensor_rows(t->source) + t->scale_n - 1) / t->scale_n * scales_per_row(t);
}

static size_t state_floats(const mtk_quant_tensor *t) { return (size_t)scale_count(t); }

/* state: amax of each block of the grid */
static void update(const mtk_quant_tensor *t, float *state, const float *x, int64_t row0,
                   int64_t n_rows) {
  if (!t->scales) return;
  int64_t k = mtk_tensor_row_elems(t->source), per_row = scales_per_row(t);
  for (int64_t r = 0; r < n_rows; r++) {
    float *amax = state + (row0 + r) / t->scale_n * per_row;
    for (int64_t i = 0; i < k; i++) {
      float a = fabsf(x[r * k + i]);
      if (a > amax[i / t->scale_k]) amax[i / t->scale_k] = a;
    }
  }
}

/* The smallest power of two, 2^-127 at least, that is not below s. */
static float power_above(float s) {
  int exponent;
  float fraction = frexpf(s, &exponent); /* s = fraction * 2^exponent, fraction in [1/2, 1) */
  return fmaxf(ldexpf(1.0f, fraction > 0.5f ? exponent : exponent - 1), 0x1p-127f);
}

/* A scale of 1 where all values are zero. */
static void finish(const mtk_quant_tensor *t, float *state) {
  float largest = t->target->dtype == MTK_NVFP4 ? e2m1_max * e4m3_max : e4m3_max;
  bool powers = t->target->scale_k == MX_BLOCK;
  int64_t n = scale_count(t);
  if (n == 1 && !powers && t->group_amax > 0) state[0] = t->group_amax;
  for (int64_t i = 0; i < n; i++) {
    float s = state[i] / largest;
    t->scales[i] = !(s > 0) ? 1.0f : powers ? power_above(s) : s;
  }
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* 16 values -> the block scale in *sb and 8 bytes of codes: byte j = value j | value 8+j << 4. */
static void encode_nvfp4_sub(uint8_t *sb, uint8_t *codes, const float *x, float s2) {
  float amax = 0;
  for (int i = 0; i < NVFP4_SUB; i++) amax = fmaxf(amax, fabsf(x[i]));
  float scale = amax / (e2m1_max * s2);
  if (!(scale > 0)) scale = 1.0f;
  *sb = mtk_f32_to_e4m3(fminf(fmaxf(scale, 0x1p-9f), e4m3_max));
  float d = mtk_e4m3_to_f32(*sb) * s2;
  for (int j = 0; j < NVFP4_SUB / 2; j++) {
    int low = mtk_f32_to_e2m1(x[j] / d), high = mtk_f32_to_e2m1(x[NVFP4_SUB / 2 + j] / d);
    codes[j] = (uint8_t)(low | high << 4);
  }
}

/* Blocks of 64: four scale bytes, then four times eight bytes of codes (mtk/dtype.h). */
static void encode_nvfp4_row(uint8_t *dst, const float *x, int64_t k, float s2) {
  const mtk_dtype_info *info = mtk_dtype_get(MTK_NVFP4);
  int n_sub = (int)info->block_elems / NVFP4_SUB;
  for (int64_t i = 0; i < k; i += info->block_elems, dst += info->block_bytes)
    for (int s = 0; s < n_sub; s++)
      encode_nvfp4_sub(dst + s, dst + n_sub + s * NVFP4_SUB / 2, x + i + s * NVFP4_SUB, s2);
}

static void encode_fp8_row(uint8_t *dst, const float *x, int64_t k, const float *scales,
                           int64_t scale_k) {
  for (int64_t i = 0; i < k; i++) dst[i] = mtk_f32_to_e4m3(x[i] / scales[i / scale_k]);
}

static mtk_status encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                         int64_t n_rows, mtk_error *err) {
  int64_t k = mtk_tensor_row_elems(t->source);
  mtk_dtype type = t->target->dtype;
  size_t row_bytes = mtk_dtype_bytes(type, (uint64_t)k);
  if (k == 0 || row_bytes == 0)
    return mtk_fail(err, MTK_E_INVALID, t->source->name,
                    "rows of %lld values do not fill blocks of %s",
                    (long long)k, t->target->name);
  for (int64_t r = 0; r < n_rows; r++, x += k) {
    uint8_t *row = (uint8_t *)dst + (size_t)r * row_bytes;
    if (!t->scales) {
      mtk_dtype_encode(type, row, x, (size_t)k);
      continue;
    }
    const float *scales = t->scales + (row0 + r) / t->scale_n * scales_per_row(t);
    if (type == MTK_NVFP4) encode_nvfp4_row(row, x, k, scales[0]);
    else encode_fp8_row(row, x, k, scales, t->scale_k);
  }
  return MTK_OK;
}

static const mtk_quantizer_v1 rtn = {
    .struct_size = sizeof rtn,
    .method = "rtn",
    .title = "round to nearest",
    .targets = rtn_targets,
    .state_floats = state_floats,
    .update = update,
    .finish = finish,
    .encode = encode,
    .choose = rtn_choose,
};

MTK_PLUGIN_DEFINE("quant-rtn", MTK_PLUGIN_VERSION, "quantizer rtn: round to nearest", "Apache-2.0",
                  {MTK_EXT_QUANTIZER, &rtn});
