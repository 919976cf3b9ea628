/* mtk/quantize.h: change the storage type of a model's tensors, lazily. Nothing is computed here
 * but statistics; the rows are encoded when a writer (or an engine) fetches them, so memory stays
 * bounded by a few rows per thread whatever the model's size. Host side (commands). */
#ifndef MTK_QUANTIZE_H
#define MTK_QUANTIZE_H

#include <mtk/ext/quantizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The N of "blk.N.attn_q.weight"; -1: of what comes before or behind the blocks. */
long mtk_tensor_block(const char *name);

/* Give every plain float tensor (and with `dequantize` every quantized one) of two or more
 * dimensions the type f32, f16 or bf16; outside scales are multiplied in. Vectors keep their
 * type. */
mtk_status mtk_model_cast(mtk_model *model, mtk_dtype dtype, mtk_error *err);

/* Means of squares and second moments of an expert are taken as if it had also seen so many rows
 * of the average over all experts' rows: (n_e M_e + n0 M_all) / (n_e + n0). Those that the router
 * seldom or never chose lean on the layer's. */
#define MTK_EXPERT_PRIOR_ROWS 32.0f

/* The input x [rows, k] of one linear weight over a calibration text. Experts: per expert. */
typedef struct mtk_input_stats {
  int64_t k, n_expert;        /* 0 = a plain weight */
  const int64_t *rows;        /* [max(n_expert, 1)] rows seen */
  const float *mean_square;   /* [max(n_expert, 1)][k] mean of x^2 per column */
  const float *second_moment; /* [max(n_expert, 1)][k][k] mean of x x^T; NULL: not asked for */
  float amax;                 /* largest magnitude */
  float p9999;                /* 99.99 % of the magnitudes are at most this (to 1/16) */
  /* [max(n_expert, 1)][k] sum of x^2 in f32, which mean_square comes from; NULL = not kept */
  const float *sum_square;
  const float *mean;        /* [max(n_expert, 1)][k] of x per column; NULL = not known */
  const float *column_amax; /* [max(n_expert, 1)][k] of |x| per column; NULL = not known */
  float clip; /* a percentile of the magnitudes (mtk_calibration_options), to 1/16 of it */
} mtk_input_stats;

/* mean[max(n_expert, 1)][k] of squares from their sums over rows[max(n_expert, 1)]. */
void mtk_mean_squares(float *mean, const float *sum, const int64_t *rows, int64_t n_expert,
                      int64_t k);

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
  /* For the embedding, which is looked up, not multiplied, so that nothing can be measured of its
   * input; it knows the types of `target`. NULL = quantizer. */
  const mtk_quantizer_v1 *lookup_quantizer;
  /* What every tensor gets and which method encodes it (*target NULL: it stays); quantizer is set
   * to the one above before. NULL: the quantizer chooses for `target`, which may else be NULL. */
  void (*plan)(void *ctx, const char *tensor, const mtk_quantizer_v1 **quantizer,
               const mtk_quant_target **target);
  void *plan_ctx;
  /* Only what each tensor becomes: nothing is measured, outside scales are 1. */
  bool sizes_only;
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
  const mtk_quant_target *target; /* NULL: it stayed */
  size_t group; /* rows that must have one type (fused, experts of a block): the first of them */
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

/* Encode tensors that mtk_model_quantize replaced now, rows on the pool: weights that share one
 * input, with its statistics (NULL = none), so that a method prepares once for all neighbours that
 * it encodes (expert by expert). For methods that need second moments, which are there for a short
 * time only; MTK_E_UNSUPPORTED when they are missing. The bytes lie in a scratch file until the
 * model is destroyed; those that an interrupted run left need no statistics. */
mtk_status mtk_model_quantize_now(mtk_model *model, const char *const *names, size_t n,
                                  const mtk_input_stats *stats, mtk_error *err);

/* Make every MXFP4 tensor NVFP4 with the very same values; their number is returned. Matrices of a
 * fused group share a scale. MTK_E_UNSUPPORTED, naming the first, and nothing is changed, where
 * that is not exact (exponents that lie more than 17 apart). */
mtk_status mtk_model_recast_nvfp4(mtk_model *model, size_t *n_recast, mtk_error *err);

/* ---- activations ---------------------------------------------------------------------------- */

/* In which type activations are to be multiplied. */
typedef struct mtk_activation_options {
  size_t struct_size;
  const char *type; /* "none", "nvfp4", "mxfp4", "mxfp8", "fp8", "int8"; NULL: nothing is said */
  double headroom;  /* scales are this many times larger than what was seen; 0 = 1 */
  const mtk_input_stats *(*stats)(void *ctx, const char *tensor);
  void *stats_ctx;
} mtk_activation_options;

/* Do weights of this type and grid with such activations need scales from calibration?
 * MTK_E_INVALID names a pair that no layout has. */
mtk_status mtk_activation_needs_scales(bool *out, const char *type, const mtk_quant_target *target,
                                       mtk_error *err);
/* After mtk_model_quantize: state the type in the model ("hf.activations") and give the weights
 * that were quantized the static scale of their inputs: clip * headroom over the largest value,
 * 2688 = 6 * 448 for nvfp4 on nvfp4 weights, 448 for fp8 on nvfp4 weights or on fp8 weights with
 * one scale. Weights on one input get one scale. MTK_E_UNSUPPORTED: an input was never seen. */
mtk_status mtk_model_set_activations(mtk_model *model, const mtk_quantize_report *rows,
                                     const mtk_activation_options *options, mtk_error *err);
/* Scales of an fp8 cache of keys and values, amax / 448 per layer: the tensors
 * "blk.N.attn_k.cache_scale" and "blk.N.attn_v.cache_scale". amax(ctx, "blk.N.attn_k.weight") gives
 * the largest magnitudes of both, or NULL. MTK_E_UNSUPPORTED: a layer has none. */
mtk_status mtk_model_set_cache_scales(mtk_model *model,
                                      const float *(*amax)(void *ctx, const char *tensor),
                                      void *ctx, mtk_error *err);

/* ---- changes that help --------------------------------------------------------------------- */

/* What is rotated by Hadamard matrices, in blocks of neighbouring channels. */
enum {
  MTK_ROTATE_VALUES = 1,  /* attention's values: rows of v, columns of the output projection */
  MTK_ROTATE_RESIDUAL = 2 /* the residual stream: all that reads or writes it (Ashkboos et al. 2024,
                             QuaRot); norms' weights move into what reads them; a head that shares
                             the embedding gets a matrix of its own */
};
/* size: of a block, a power of two. MTK_E_UNSUPPORTED names what cannot be rotated: widths that are
 * no multiple of size, a norm behind a projection, ... */
mtk_status mtk_model_rotate(mtk_model *model, unsigned what, int64_t size, mtk_error *err);

/* When all is quantized: the biases of quantized layers lose what rounding added to the mean of the
 * outputs, dW mean(x); layers without a bias stay. source: the model before (changed like it);
 * stats: of the inputs, with means. */
mtk_status mtk_model_correct_biases(size_t *n_corrected, mtk_model *model, const mtk_model *source,
                                    const mtk_quantize_report *rows,
                                    const mtk_input_stats *(*stats)(void *ctx, const char *tensor),
                                    void *ctx, mtk_error *err);

/* ---- verification --------------------------------------------------------------------------- */

/* What must not be in a quantized copy of a tensor. */
typedef enum mtk_compare_fault {
  MTK_COMPARE_OK = 0,
  MTK_COMPARE_MISSING,    /* the copy has no tensor of this name */
  MTK_COMPARE_SHAPE,      /* it has another shape */
  MTK_COMPARE_NOT_FINITE, /* a scale or value is NaN or infinite where the source is finite */
  MTK_COMPARE_LOST_BLOCK, /* zeros where the source is above smallest scale times largest level */
  MTK_COMPARE_FUSED,      /* another scale, of it or its input, than a member of its fused group */
  MTK_COMPARE_UNREADABLE  /* its values cannot be read */
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
 * get the copy's pairing. Faults of the copy are in the report; errors say nothing of it. Finish
 * the report in any case. */
mtk_status mtk_model_compare(mtk_compare_report *report, const mtk_model *copy, mtk_model *source,
                             mtk_pool *pool, mtk_error *err);
void mtk_compare_report_finish(mtk_compare_report *report);

/* ---- a budget of bytes ---------------------------------------------------------------------- */

/* What a group of tensors takes and loses in one of the types it can have. */
typedef struct mtk_budget_option {
  uint64_t bytes;
  double loss; /* >= 0 */
} mtk_budget_option;
typedef struct mtk_budget_group {
  const mtk_budget_option *options; /* at least one */
  size_t n_options;
} mtk_budget_group;
typedef struct mtk_budget_point {
  uint64_t bytes;
  double loss;
} mtk_budget_point;

/* choice[n]: one option per group, so that the bytes are at most `budget` and the sum of losses is
 * least (among equals: the fewest bytes). Exact but for losses being rounded to 2^-60 of the sum of
 * the groups' largest. MTK_E_LIMIT when even the smallest options take more. */
mtk_status mtk_budget_solve(size_t *choice, const mtk_budget_group *groups, size_t n,
                            uint64_t budget, mtk_error *err);
/* What can be had: the corners of the lower convex hull of (bytes, loss) over all choices, each the
 * best one for its bytes; ascending bytes. *points: mtk_free by the caller. */
mtk_status mtk_budget_curve(mtk_budget_point **points, size_t *n_points,
                            const mtk_budget_group *groups, size_t n, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
