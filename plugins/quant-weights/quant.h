/* quant.h: inside of the plugin quant-weights. */
#ifndef QUANT_WEIGHTS_H
#define QUANT_WEIGHTS_H

#include <mtk/plugin.h>

#include <mtk/ext/quantizer.h>

/* clang-format off */
/* Targets that several methods have. */
#define TARGET_NVFP4 \
  {"nvfp4", MTK_NVFP4, 0, 0, "4.5 bits: E2M1, an E4M3 scale per 16, an f32 scale per tensor", 0}
#define TARGET_MXFP4 \
  {"mxfp4", MTK_MXFP4, -1, -1, "4.25 bits: E2M1, a power of two per 32", 0}
/* clang-format on */

/* targets.c: what rtn and gptq can be asked for; each ends with a row of name NULL. */
extern const mtk_quant_target quant_targets[], gptq_targets[];

/* mixtures.c: which of them a tensor gets (mtk_quantizer_v1.choose). */
const mtk_quant_target *quant_choose(const mtk_quant_target *asked, const mtk_quant_place *place);

/* How a method chooses the block scales of 4-bit floats; the other types have one way each. */
typedef struct quant_method {
  float codes_max; /* nvfp4: the largest block scale is this, so s2 = amax / (6 * codes_max) */
  int four;        /* see mtk_fp4_rule */
  bool search;     /* candidates around the plain scale, by the options of `sweep` */
} quant_method;
extern const quant_method quant_rtn, quant_sweep, quant_four_over_six;

/* scales.c: outside scales from amax (state_floats, update, finish of mtk_quantizer_v1). */
size_t quant_state_floats(const mtk_quant_tensor *t);
void quant_update(const mtk_quant_tensor *t, float *state, const float *x, int64_t row0,
                  int64_t n_rows);
void quant_finish(const mtk_quant_tensor *t, float *state, const quant_method *method);
/* The scales of a row's grid; NULL if the target has none. */
const float *quant_row_scales(const mtk_quant_tensor *t, int64_t row);

bool quant_fp8_inputs(const mtk_quant_tensor *t); /* --act fp8 */

/* integer.c: integers under a grid of scales, which are made of each group's spread. */
bool quant_is_integer(const mtk_quant_target *t);
float quant_integer_spread(const mtk_quant_target *t, const float *x, int64_t n);
float quant_integer_scale(const mtk_quant_target *t, float spread); /* 0: all are zero */
/* scales: those of the row's groups. */
void quant_integer_row(uint8_t *dst, const mtk_quant_tensor *t, const float *x, int64_t k,
                       const float *scales);

/* encode.c: rows into the target's type by a method; squared errors are weighted with the tensor's
 * importance, where the type has an encoder that can. */
mtk_status quant_encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                        int64_t n_rows, const quant_method *method, mtk_error *err);

/* gptq.c */
extern const mtk_option_def gptq_options[];
mtk_status gptq_prepare(void **prepared, const mtk_quant_tensor *t, mtk_error *err);
void gptq_release(void *prepared);
mtk_status gptq_encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                       int64_t n_rows, mtk_error *err);

#endif
