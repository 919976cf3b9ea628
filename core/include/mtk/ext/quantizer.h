/* mtk/ext/quantizer.h: "mtk.quantizer/1": turn f32 rows into a storage type. */
#ifndef MTK_EXT_QUANTIZER_H
#define MTK_EXT_QUANTIZER_H

#include <mtk/model.h>
#include <mtk/option.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_EXT_QUANTIZER "mtk.quantizer/1"

/* A target of `mtk quantize --to`: storage type plus outside scales. */
typedef struct mtk_quant_target {
  const char *name; /* "nvfp4"; NULL ends the table */
  mtk_dtype dtype;
  int64_t scale_n, scale_k; /* block of one outside scale; 0 = whole dimension; both -1 = none */
  const char *help;
  uint32_t file_type; /* general.file_type of a GGUF (llama_ftype); 0 = that of most tensors */
} mtk_quant_target;

/* Where a tensor stands, for mtk_quantizer_v1.choose. */
typedef struct mtk_quant_place {
  size_t struct_size;
  const char *name; /* canonical */
  int64_t row_elems;
  int64_t block, n_block; /* block of the model it is in (-1 = none), number of them */
  int64_t n_head, n_head_kv, n_expert; /* of the model; 0 = unknown or none */
  bool is_embedding;                   /* token_embd or output */
  bool is_tied;                        /* the model has no output matrix of its own */
  bool embeddings;                     /* the user wants embeddings quantized too */
  const mtk_option_values *options;    /* the quantizer's own; may be NULL */
} mtk_quant_place;

/* What a tensor needs before its rows can be encoded. */
typedef struct mtk_quant_tensor {
  size_t struct_size;
  const mtk_tensor *source; /* f32/f16/bf16/... */
  const mtk_quant_target *target;
  float *scales;            /* the grid that `finish` fills (borrowed; NULL if none) */
  int64_t scale_n, scale_k; /* resolved: elements per scale */
  /* > 0: amax over a fused group (q/k/v, gate/up): use for global scales */
  float group_amax;
  const mtk_option_values *options;
  /* From calibration; NULL without. k = the row length. */
  const float *importance;    /* [k] mean of x^2 of each column's input */
  const float *second_moment; /* [k][k] mean of x x^T; only if the method needs it */
  void *prepared;             /* what prepare returned */
  mtk_pool *pool;             /* for the work of prepare; may be NULL */
} mtk_quant_tensor;

/* What a method must be given: calibration makes it. */
enum {
  MTK_QUANT_NEEDS_IMPORTANCE = 1,
  MTK_QUANT_NEEDS_SECOND_MOMENT = 2
};

/* Functions may be called from any thread, for different tensors or rows at the same time. */
typedef struct mtk_quantizer_v1 {
  size_t struct_size;
  const char *method; /* "rtn" */
  const char *title;
  const mtk_quant_target *targets;
  const mtk_option_def *options; /* may be NULL */
  /* Fill t->scales from the statistics of the source (rows as f32: x[n_rows, k] is given in
   * ascending chunks through `update`; then `finish`). `state` is one float array of
   * state_floats(t) zeros. Targets without scales may leave these NULL. */
  size_t (*state_floats)(const mtk_quant_tensor *t);
  void (*update)(const mtk_quant_tensor *t, float *state, const float *x, int64_t row0,
                 int64_t n_rows);
  void (*finish)(const mtk_quant_tensor *t, float *state);
  /* Encode rows (k a multiple of the block) into dst in storage type. */
  mtk_status (*encode)(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                       int64_t n_rows, mtk_error *err);
  /* The row of `targets` that one tensor gets when the user asked for `asked`: mixtures give some
   * tensors more bits, and rows that do not fill the blocks of a type need another. NULL: it stays
   * as it is. A NULL function: always `asked`, and embeddings only if the user wants them. */
  const mtk_quant_target *(*choose)(const mtk_quant_target *asked, const mtk_quant_place *place);
  uint32_t needs; /* MTK_QUANT_NEEDS_ bits */
  /* Work once for all weights on one input, before their rows are encoded: from importance,
   * second_moment and options of t alone. release frees it (NULL is fine). Both may be NULL. */
  mtk_status (*prepare)(void **prepared, const mtk_quant_tensor *t, mtk_error *err);
  void (*release)(void *prepared);
} mtk_quantizer_v1;

#ifdef __cplusplus
}
#endif
#endif
