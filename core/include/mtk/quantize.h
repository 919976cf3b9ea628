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

/* The input x [rows, k] of one linear weight over a calibration text. Experts: statistics per
 * expert; one that no token chose has the mean over all of them. */
typedef struct mtk_input_stats {
  int64_t k, n_expert;        /* 0 = a plain weight */
  const int64_t *rows;        /* [max(n_expert, 1)] rows seen */
  const float *mean_square;   /* [max(n_expert, 1)][k] mean of x^2 per column */
  const float *second_moment; /* [k][k] mean of x x^T; NULL when not asked for, or for experts */
  float amax;                 /* largest magnitude */
  float p9999;                /* 99.99 % of the magnitudes are at most this (to 1/16) */
  /* [max(n_expert, 1)][k] sum of x^2: mean_square is this over rows, in f32; NULL = not kept */
  const float *sum_square;
} mtk_input_stats;

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
  /* Statistics of the input of a weight (NULL for one that has none), or NULL: no calibration.
   * mean_square must live as long as the model. */
  const mtk_input_stats *(*stats)(void *ctx, const char *tensor);
  void *stats_ctx;
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

/* Encode tensors that mtk_model_quantize replaced with `quantizer` now, rows on the pool: weights
 * that share one input, with its statistics (NULL = none), so that the method prepares once for all
 * of them. For methods that need second moments, which are there for a short time only;
 * MTK_E_UNSUPPORTED when they are missing. The bytes lie in a scratch file until the model is
 * destroyed. */
mtk_status mtk_model_quantize_now(mtk_model *model, const mtk_quantizer_v1 *quantizer,
                                  const char *const *names, size_t n, const mtk_input_stats *stats,
                                  mtk_error *err);

/* ---- verification --------------------------------------------------------------------------- */

/* What must not be in a quantized copy of a tensor. */
typedef enum mtk_compare_fault {
  MTK_COMPARE_OK = 0,
  MTK_COMPARE_MISSING,    /* the copy has no tensor of this name */
  MTK_COMPARE_SHAPE,      /* it has another shape */
  MTK_COMPARE_NOT_FINITE, /* a scale or value is NaN or infinite where the source is finite */
  MTK_COMPARE_LOST_BLOCK, /* zeros where the source is above smallest scale times largest level */
  MTK_COMPARE_FUSED /* another per-tensor scale than another member of its fused group */
} mtk_compare_fault;

/* Scales of blocks are counted by their power of two: item i has 2^(i-48) to 2^(i-47), the first
 * and the last also what lies beyond. */
enum { MTK_COMPARE_SCALES = 64, MTK_COMPARE_SCALE_ONE = 48 };

typedef struct mtk_compare_row {
  const char *name; /* canonical; in the report's arena */
  mtk_dtype from, to;
  mtk_compare_fault fault;
  int64_t bad_row; /* first row with the fault; -1 = it has none */
  uint64_t elements;
  double error2, norm2; /* sums of (copy - source)^2 and source^2 */
  double max_error;     /* largest |copy - source| */
  int64_t saturated;    /* codes at the largest level of either sign; -1: the type has none */
  uint64_t flushed;     /* values that became zero */
  uint64_t zeros;       /* values that are zero in the copy */
  uint64_t scales[MTK_COMPARE_SCALES]; /* times the outside scale; of the copy, if it has any */
} mtk_compare_row;

typedef struct mtk_compare_report {
  mtk_arena *arena;
  mtk_compare_row *rows; /* one per tensor of the source, its order; in the arena */
  size_t n_rows, n_faults;
} mtk_compare_report;

/* Compare every tensor of a model with the one it was made from, value by value, in chunks of rows
 * on the pool (may be NULL); the numbers do not depend on its size. The source's rows of q and k
 * get the copy's pairing. Faults are in the report, not errors. Finish the report in any case. */
mtk_status mtk_model_compare(mtk_compare_report *report, const mtk_model *copy, mtk_model *source,
                             mtk_pool *pool, mtk_error *err);
void mtk_compare_report_finish(mtk_compare_report *report);

#ifdef __cplusplus
}
#endif
#endif
