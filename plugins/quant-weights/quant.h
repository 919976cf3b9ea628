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
#define TARGET_Q8_0 \
  {"q8_0", MTK_Q8_0, -1, -1, "8.5 bits: int8, an f16 scale per 32", 0}
#define TARGET_Q6_K \
  {"q6_k", MTK_Q6_K, -1, -1, "6.56 bits: int6, 8-bit scales per 16 in superblocks of 256", 0}
#define TARGET_Q5_K \
  {"q5_k", MTK_Q5_K, -1, -1, "5.5 bits: int5, 6-bit scales and minimums per 32 in 256", 0}
#define TARGET_Q4_K \
  {"q4_k", MTK_Q4_K, -1, -1, "4.5 bits: int4, 6-bit scales and minimums per 32 in 256", 0}
#define TARGET_Q4_0 \
  {"q4_0", MTK_Q4_0, -1, -1, "4.5 bits: int4, an f16 scale per 32", 0}
#define TARGET_Q4_1 \
  {"q4_1", MTK_Q4_1, -1, -1, "5 bits: int4, an f16 scale and minimum per 32", 0}
#define TARGET_Q2_K \
  {"q2_k", MTK_Q2_K, -1, -1, "2.63 bits: int2, 4-bit scales and minimums per 16 in 256", 0}
/* clang-format on */

/* targets.c: what rtn can be asked for; ends with a row of name NULL. */
extern const mtk_quant_target quant_targets[];

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

/* encode.c: rows into the target's type by a method; squared errors are weighted with the tensor's
 * importance, where the type has an encoder that can. */
mtk_status quant_encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                        int64_t n_rows, const quant_method *method, mtk_error *err);

/* gptq.c */
extern const mtk_quant_target gptq_targets[];
extern const mtk_option_def gptq_options[];
mtk_status gptq_prepare(void **prepared, const mtk_quant_tensor *t, mtk_error *err);
void gptq_release(void *prepared);
mtk_status gptq_encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                       int64_t n_rows, mtk_error *err);

#endif
