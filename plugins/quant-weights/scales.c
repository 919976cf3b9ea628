/* scales.c: outside scales: a grid of f32 over a tensor, from the largest magnitudes (amax) of its
 * blocks. Pure functions; any thread.
 *
 *   nvfp4      s2 = amax(tensor or fused group) / (6 * M), M the largest block scale the method
 * uses:
 *              448 (NVIDIA ModelOpt, nvfp4_tensor.py), 256 where block scales are searched upwards.
 *   fp8        s = amax(tensor or fused group) / 448; fp8-channel per row.
 *   fp8-block  the same per block of 128 x 128 (DeepSeek-V3, inference/kernel.py).
 *   mxfp8      s = 2^ceil(log2(amax / 448)) per 32 values (cuBLAS, ModelOpt). */
#include "quant.h"

#include <math.h>
#include <string.h>

enum { MX_BLOCK = 32 };

static int64_t scales_per_row(const mtk_quant_tensor *t) {
  return (mtk_tensor_row_elems(t->source) + t->scale_k - 1) / t->scale_k;
}

static int64_t scale_count(const mtk_quant_tensor *t) {
  if (!t->scales) return 0;
  return (mtk_tensor_rows(t->source) + t->scale_n - 1) / t->scale_n * scales_per_row(t);
}

/* Integers have one more than scales, since their spread is not the amax that may be known. */
size_t quant_state_floats(const mtk_quant_tensor *t) {
  return (size_t)scale_count(t) + (size_t)quant_is_integer(t->target);
}

const float *quant_row_scales(const mtk_quant_tensor *t, int64_t row) {
  return t->scales ? t->scales + row / t->scale_n * scales_per_row(t) : NULL;
}

/* state: amax or spread of each block of the grid. */
void quant_update(const mtk_quant_tensor *t, float *state, const float *x, int64_t row0,
                  int64_t n_rows) {
  if (!t->scales) return;
  int64_t k = mtk_tensor_row_elems(t->source), per_row = scales_per_row(t);
  bool ints = quant_is_integer(t->target);
  for (int64_t r = 0; r < n_rows; r++, x += k) {
    float *most = state + (row0 + r) / t->scale_n * per_row;
    for (int64_t i = 0; i < k; i += t->scale_k, most++) {
      int64_t n = k - i < t->scale_k ? k - i : t->scale_k;
      float a =
          ints ? quant_integer_spread(t->target, x + i, n) : mtk_kernels_default()->amax(x + i, n);
      if (a > *most) *most = a;
    }
  }
}

/* The smallest power of two, 2^-127 at least, that is not below s. */
static float power_above(float s) {
  int exponent;
  float fraction = frexpf(s, &exponent); /* s = fraction * 2^exponent, fraction in [1/2, 1) */
  return fmaxf(ldexpf(1.0f, fraction > 0.5f ? exponent : exponent - 1), 0x1p-127f);
}

bool quant_fp8_inputs(const mtk_quant_tensor *t) {
  const char *act = t->options ? mtk_options_string(t->options, "act") : NULL;
  return act && strcmp(act, "fp8") == 0;
}

/* With fp8 activations a value times its block scale must be an E4M3 value too: the range shrinks
 * by 6 (ModelOpt's W4A8_NVFP4_FP8: s2 = amax / 448). */
static float codes_max(const mtk_quant_tensor *t, const quant_method *method) {
  return quant_fp8_inputs(t) ? 448.0f / 6.0f : method->codes_max;
}

/* A scale of 1 where all values are zero. */
void quant_finish(const mtk_quant_tensor *t, float *state, const quant_method *method) {
  float largest = t->target->dtype == MTK_NVFP4 ? 6.0f * codes_max(t, method) : 448.0f;
  bool ints = quant_is_integer(t->target), powers = !ints && t->target->scale_k == MX_BLOCK;
  int64_t n = scale_count(t);
  if (n == 1 && !powers && !ints && t->group_amax > 0) state[0] = t->group_amax;
  for (int64_t i = 0; i < n; i++) {
    float s = ints ? quant_integer_scale(t->target, state[i]) : state[i] / largest;
    t->scales[i] = !(s > 0) ? 1.0f : powers ? power_above(s) : s;
  }
}
