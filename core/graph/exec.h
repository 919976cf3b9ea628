/* graph/exec.h: run a graph: one step of a ragged batch on the CPU kernels.
 *
 * A step is a list of sequences; each brings n_rows consecutive tokens from absolute position pos0.
 * Every op is split into tasks over the pool by rows, panels, columns or (sequence, KV head); by
 * the kernel contract (<mtk/kernel.h>) the bits never depend on the split, nor on what else is in
 * the step. One thread drives an executor; several executors may share one workspace if they are
 * driven by the same thread. */
#ifndef MTK_GRAPH_EXEC_H
#define MTK_GRAPH_EXEC_H

#include "graph/graph.h"
#include "graph/weight.h"

/* Buffers of the executors of one thread, each with its size: {0} to start; grows, never shrinks
 * (mtk_reserve). */
typedef struct mtk_workspace {
  float *arena; /* values, by the plan */
  size_t arena_bytes;
  void *act[MTK_ARITH_COUNT]; /* prepared activations, one per arithmetic */
  size_t act_bytes[MTK_ARITH_COUNT];
  float *scratch; /* per worker, scratch_floats each: attention, fetched rows, page pointers */
  size_t scratch_bytes, scratch_floats;
  float *decoded; /* rows of a frozen weight as f32 (LINEAR_DX) */
  size_t decoded_bytes;
  float *cos_sin; /* of this step: [T, dim] of each rope table, one after the other */
  size_t cos_sin_bytes;
  int32_t *pos; /* [T] */
  size_t pos_bytes;
  float *scores; /* of attention that threads share */
  size_t score_bytes;
  void *kv; /* temporary KV pages (training) */
  size_t kv_bytes;
  void **kv_pages;
  size_t kv_pages_bytes;
  int32_t *kv_table; /* page numbers of the temporary pages */
  size_t kv_table_bytes;
  int32_t *expert_rows; /* the order of chosen experts (exec_moe.c) */
  size_t expert_rows_bytes;
} mtk_workspace;
void mtk_workspace_finish(mtk_workspace *ws);

typedef struct mtk_exec mtk_exec;
/* Called before every node of a step, on the driving thread: the node's inputs are there. */
typedef void mtk_observe_fn(void *ctx, mtk_exec *e, const mtk_graph_node *node);

typedef struct mtk_exec_options {
  const mtk_graph *graph;           /* borrowed */
  mtk_weight *const *weights;       /* borrowed; one per graph->weights, in that order */
  const mtk_kernels *kernels;       /* borrowed */
  mtk_pool *pool;                   /* borrowed; may be NULL */
  mtk_workspace *workspace;         /* borrowed */
  int64_t max_tokens, max_outputs;  /* largest step */
  bool logits_outside;              /* each step brings memory for the logits (step.logits) */
  const mtk_node_value *keep;       /* [n_keep] values that stay readable after a step */
  int n_keep;
  int64_t strip_floats;             /* what the logits of a training graph may take (mtk_plan) */
  int64_t decode_floats;            /* rows of a frozen weight decoded at a time; 0 = 4 MiB */
  mtk_observe_fn *observe;          /* may be NULL */
  void *observe_ctx;
} mtk_exec_options;

typedef struct mtk_step_seq {
  int64_t row0, n_rows;  /* its rows in the step */
  int64_t pos0;          /* absolute position of the first one; keys before it are in the pages */
  const int32_t *pages;  /* page numbers; page i holds positions 64 i .. 64 i + 63 */
  const int32_t *ring;   /* [kv_ring] of the layers in the ring: page i is ring[i % kv_ring] */
} mtk_step_seq;

/* Where a page block has a layer. Layers with a sliding window may go round in a ring of pages of
 * their own, which hold the last positions only. */
typedef struct mtk_kv_layer {
  size_t at; /* bytes */
  bool in_ring;
} mtk_kv_layer;

typedef struct mtk_exec_step {
  const int32_t *ids; /* [n_tokens], checked against the vocabulary by the caller */
  int64_t n_tokens;
  const mtk_step_seq *seqs;
  int n_seqs;
  const int64_t *output_rows; /* [n_outputs]: token row of each output row, ascending */
  int64_t n_outputs;
  /* Loss and backward: next token per output row, and what its loss is multiplied with before
   * differentiation (usually 1 / number of targets of the whole optimizer step). */
  const int32_t *targets;
  const float *target_weights;
  /* KV cache: block of each page; layer l, head h has its page of K (mtk_kv_page_bytes) at
   * kv_layers[l].at + h*(bytes of K and V), and V right behind it. kv_layers NULL: pages of this
   * step only, of f32 (all sequences start at position 0; what seqs and this say of pages and their
   * type is not read): training and evaluation. */
  const mtk_kv_layer *kv_layers; /* [n_layer] */
  void *const *kv_pages, *const *ring_pages;
  int64_t kv_ring; /* pages of a sequence's ring: all that its rows of this step see */
  mtk_dtype kv_type;
  float *logits; /* [n_outputs, V] if logits_outside */
} mtk_exec_step;

/* Bytes of one layer's part of a page block of a KV cache of this type. */
size_t mtk_kv_layer_bytes(const mtk_graph *g, mtk_dtype type);
static inline int64_t mtk_kv_pages_for(int64_t positions) {
  return (positions + MTK_KV_PAGE - 1) / MTK_KV_PAGE;
}

mtk_status mtk_exec_create(mtk_exec **out, const mtk_exec_options *options, mtk_error *err);
void mtk_exec_destroy(mtk_exec *e);
/* Another observer (NULL = none) for the following steps. */
void mtk_exec_set_observer(mtk_exec *e, mtk_observe_fn *observe, void *ctx);
/* Compute one step: all nodes, derivatives included; their gradients are added to the weights'
 * grad. forward_only: stop before the first derivative node (evaluation with a training graph). */
mtk_status mtk_exec_run(mtk_exec *e, const mtk_exec_step *step, bool forward_only, mtk_error *err);
/* A value after a run: graph->loss ([n_outputs] losses in nats; the log-probability of target i is
 * 0.0f - loss[i], with the bits of serving's x[target] - logsumexp(x)) or graph->logits (only when
 * no derivative node ran, or outside). */
const float *mtk_exec_value(const mtk_exec *e, mtk_node_value v);
/* Memory of a value that no node writes (the input of a slice): to be filled before each run. */
float *mtk_exec_input(mtk_exec *e, mtk_node_value v);

#endif
