/* model/recode.h: tensors whose rows are encoded when somebody reads them: casts and quantization.
 *
 * A replaced tensor keeps a copy of its source's description in a record in the model's arena; its
 * read function fetches source rows as f32 and encodes them, on the pool where the reader is not a
 * task of it already. Any thread may read. */
#ifndef MTK_MODEL_RECODE_H
#define MTK_MODEL_RECODE_H

#include <mtk/quantize.h>

#include "model/model_impl.h"

typedef struct mtk_recode {
  mtk_tensor source;
  const mtk_quantizer_v1 *quantizer; /* NULL = plain dtype conversion */
  mtk_quant_tensor *quants; /* one per matrix: stacked experts are quantized one by one */
  int64_t n_quants;
  mtk_pool *pool; /* borrowed; may be NULL */
} mtk_recode;

/* NULL when memory is out. */
mtk_recode *mtk_recode_create(mtk_model *model, const mtk_tensor *source);
/* Replace the source in the model by a tensor of `dtype` read through `r`. */
mtk_status mtk_recode_install(mtk_model *model, mtk_recode *r, mtk_dtype dtype, mtk_error *err);

/* What mtk_model_quantize does with a tensor; on MTK_QUANTIZED, *target is what it gets from
 * *quantizer. */
mtk_quantize_reason mtk_quantize_choice(const mtk_quantizer_v1 **quantizer,
                                        const mtk_quant_target **target, const mtk_model *model,
                                        const mtk_tensor *t, const mtk_quantize_options *o);
/* Largest magnitude of a tensor. MTK_E_FORMAT names the row with a NaN or an infinity. */
mtk_status mtk_tensor_amax(float *out, const mtk_tensor *t, mtk_pool *pool, mtk_error *err);
/* Feed all rows of a matrix through the quantizer's statistics, ascending, on this thread. */
mtk_status mtk_recode_gather(const mtk_quantizer_v1 *q, const mtk_quant_tensor *quant,
                             mtk_error *err);

#endif
