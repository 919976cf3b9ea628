/* encode.c: rows into storage types, every block by itself. Functions may be entered by any thread.
 *
 *   nvfp4, mxfp4  kernels/encode_rules.h says how a block scale is chosen and values are rounded
 *   int4, int8    integer.c
 *   fp8, mxfp8    q = e4m3(w / s), s the outside scale
 *   the rest      the reference encoders of the storage types (mtk/dtype.h), weighted by importance
 *                 where they can be */
#include "quant.h"

#include <math.h>
#include <string.h>

const quant_method quant_rtn = {.codes_max = 448.0f};
const quant_method quant_sweep = {.codes_max = 256.0f, .search = true};
const quant_method quant_four_over_six = {.codes_max = 256.0f, .four = 1};

/* An option, or what it is without one (programs may call without options). */
static const char *option(const mtk_quant_tensor *t, const char *name, const char *otherwise) {
  const char *value = t->options ? mtk_options_string(t->options, name) : NULL;
  return value ? value : otherwise;
}

static mtk_mx_scale mx_scale(const mtk_quant_tensor *t) {
  static const char *const names[] = {"floor", "rceil", "even", "rne-log2"};
  const char *name = option(t, "mx-scale", "floor");
  int i = 0;
  while (i < 3 && strcmp(names[i], name) != 0) i++;
  return (mtk_mx_scale)i;
}

/* With M = 256 the best code is nearly always within two below and six above the plain one. */
static mtk_fp4_rule rule_of(const mtk_quant_tensor *t, const quant_method *m) {
  mtk_fp4_rule rule = {.type = t->target->dtype, .mx = mx_scale(t), .four = m->four,
                       .importance = t->importance};
  bool all = m->search && strcmp(option(t, "sweep", "window"), "full") == 0;
  if (m->search && rule.type == MTK_NVFP4) rule.first = all ? -126 : -2, rule.last = all ? 126 : 6;
  if (m->search && rule.type == MTK_MXFP4) rule.first = all ? -8 : -1, rule.last = all ? 8 : 1;
  return rule;
}

static void encode_fp8_row(uint8_t *dst, const float *x, int64_t k, const float *scales,
                           int64_t scale_k) {
  for (int64_t i = 0; i < k; i += scale_k)
    mtk_kernels_default()->e4m3_encode(dst + i, x + i, scales[i / scale_k],
                                       k - i < scale_k ? k - i : scale_k);
}

/* With fp8 activations 32 values of nvfp4 share a scale (ModelOpt's W4A8_NVFP4_FP8): that of the
 * larger block of 16, by the rule of rtn. */
static void encode_pairs_row(uint8_t *dst, const float *x, int64_t k, float s2) {
  for (int64_t at = 0; at < k; at += 64, x += 64, dst += 36)
    for (int s = 0; s < 4; s++) {
      float amax = mtk_kernels_default()->amax(x + s / 2 * 32, 32), scale = amax / (6.0f * s2);
      if (!(scale > 0)) scale = 1.0f;
      dst[s] = mtk_f32_to_e4m3(fminf(fmaxf(scale, 0x1p-9f), 448.0f));
      float d = mtk_e4m3_to_f32(dst[s]) * s2;
      for (int j = 0; j < 8; j++)
        dst[4 + 8 * s + j] = (uint8_t)(mtk_f32_to_e2m1(x[16 * s + j] / d) |
                                       mtk_f32_to_e2m1(x[16 * s + j + 8] / d) << 4);
    }
}

mtk_status quant_encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                        int64_t n_rows, const quant_method *method, mtk_error *err) {
  int64_t k = mtk_tensor_row_elems(t->source);
  mtk_dtype type = t->target->dtype;
  size_t row_bytes = mtk_dtype_bytes(type, (uint64_t)k);
  if (k == 0 || row_bytes == 0)
    return mtk_fail(err, MTK_E_INVALID, t->source->name,
                    "rows of %lld values do not fill blocks of %s", (long long)k, t->target->name);
  bool fp4 = type == MTK_NVFP4 || type == MTK_MXFP4;
  mtk_fp4_rule rule = rule_of(t, method);
  for (int64_t r = 0; r < n_rows; r++, x += k) {
    uint8_t *row = (uint8_t *)dst + (size_t)r * row_bytes;
    const float *scales = quant_row_scales(t, row0 + r);
    rule.s2 = scales ? scales[0] : 1.0f;
    if (type == MTK_NVFP4 && quant_fp8_inputs(t))
      encode_pairs_row(row, x, k, rule.s2);
    else if (quant_is_integer(t->target))
      quant_integer_row(row, t, x, k, scales);
    else if (fp4)
      mtk_kernels_default()->fp4_encode(row, x, k, &rule);
    else if (scales)
      encode_fp8_row(row, x, k, scales, t->scale_k);
    else
      mtk_dtype_encode_weighted(type, row, x, 1, (size_t)k, t->importance);
  }
  return MTK_OK;
}
