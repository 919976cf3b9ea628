/* mtk/quantize.h: change the storage type of a model's tensors, lazily. Nothing is computed here
 * but statistics; the rows are encoded when a writer (or an engine) fetches them, so memory stays
 * bounded by a few rows per thread whatever the model's size. Host side (commands). */
#ifndef MTK_QUANTIZE_H
#define MTK_QUANTIZE_H

#include <mtk/ext/quantizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Give every plain float tensor (and with `dequantize` every quantized one) of two or more
 * dimensions the type f32, f16 or bf16; outside scales are multiplied in. Vectors keep their
 * type. */
mtk_status mtk_model_cast(mtk_model *model, mtk_dtype dtype, mtk_error *err);

typedef struct mtk_quantize_options {
  size_t struct_size;
  const mtk_quantizer_v1 *quantizer;
  const mtk_quant_target *target;
  const mtk_option_values *options; /* the quantizer's own; may be NULL */
  mtk_pool *pool;
  const char *const *keep; /* tensors whose canonical name contains one of these stay as they are */
  int n_keep;
  bool embeddings; /* also token_embd and output (they stay by default) */
  bool requantize; /* also tensors that are quantized already, from their decoded values */
} mtk_quantize_options;

/* Why a tensor stayed. */
typedef enum mtk_quantize_reason {
  MTK_QUANTIZED = 0,
  MTK_KEPT_NOT_LINEAR, /* norms, biases, tensors the architecture does not call linear */
  MTK_KEPT_EMBEDDING,
  MTK_KEPT_BY_USER,
  MTK_KEPT_SHAPE,    /* row length is no multiple of the block */
  MTK_KEPT_QUANTIZED /* already in a quantized type */
} mtk_quantize_reason;
typedef struct mtk_quantize_row {
  const char *name; /* borrowed from the model */
  mtk_quantize_reason reason;
  mtk_dtype from, to;
  uint64_t bytes_before, bytes_after;
} mtk_quantize_row;
typedef struct mtk_quantize_report {
  mtk_quantize_row *rows; /* one per tensor, model order; mtk_free */
  size_t n_rows, n_quantized;
} mtk_quantize_report;

/* Replaces eligible tensors of the model by lazily encoded ones: linear weights of the
 * architecture's table (for bare tensors: every float matrix). Members of a fused group (q/k/v,
 * gate/up of one block) share the amax behind global scales. MTK_E_FORMAT when a weight is NaN or
 * infinite, naming tensor and row. report may be NULL. */
mtk_status mtk_model_quantize(mtk_model *model, const mtk_quantize_options *options,
                              mtk_quantize_report *report, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
