/* graph/exec_ops.h: what the executor's files share: its state and the helpers that split work.
 * Internal to core/graph. Functions named run_* compute one node, called by the driving thread;
 * mtk_range_fn functions run on pool threads on disjoint ranges. */
#ifndef MTK_GRAPH_EXEC_OPS_H
#define MTK_GRAPH_EXEC_OPS_H

#include <stdatomic.h>

#include "graph/exec.h"

/* Queries of one sequence that one attention task computes. */
enum { MTK_QUERY_BLOCK = 32 };

/* A prepared activation that is still valid: whose, and made by which kernel. */
typedef struct mtk_prepared {
  mtk_node_value x;
  const mtk_linear_kernel *kernel;
  int32_t sorted_by; /* 1 + value of the expert ids that order its rows; 0 = rows as they are */
} mtk_prepared;

/* Nodes that rows are taken through in one run (exec_rows.c). */
typedef struct mtk_row_chain {
  size_t n_nodes;
  const mtk_graph_node *linear; /* the layer whose activations are prepared at the end, or NULL */
} mtk_row_chain;

struct mtk_exec {
  const mtk_graph *g;
  mtk_weight *const *weights;
  const mtk_kernels *k;
  mtk_pool *pool;
  mtk_workspace *ws;
  mtk_plan *plan;
  int64_t max_tokens, max_outputs;
  int64_t decode_floats;
  bool logits_outside;
  mtk_observe_fn *observe;
  void *observe_ctx;
  int max_group; /* query heads per KV head, largest over the layers */
  /* The running step. */
  const mtk_exec_step *step;
  int64_t strip_row0; /* first output row of the running strip (mtk_plan) */
  mtk_prepared prepared[MTK_ARITH_COUNT];
  mtk_row_chain chain; /* the running one */
  mtk_node_value ordered_by; /* the expert ids whose order lies in ws->expert_rows; -1 = none */
  atomic_flag failed; /* first failing task fills error */
  mtk_error error;
};

typedef void mtk_run_fn(mtk_exec *e, const mtk_graph_node *n);
typedef void (*mtk_range_fn)(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1,
                             int worker);

/* Tables of exec_forward.c, exec_moe.c and exec_backward.c: NULL where another one has the op. */
extern mtk_run_fn *const mtk_exec_forward_ops[MTK_OP_COUNT];
extern mtk_run_fn *const mtk_exec_moe_ops[MTK_OP_COUNT];
extern mtk_run_fn *const mtk_exec_backward_ops[MTK_OP_COUNT];

/* fn over the items 0..n_items-1 in ranges that are multiples of grain (but the last); on this
 * thread alone when flops_per_item * n_items is not worth waking the others. */
void mtk_exec_split(mtk_exec *e, const mtk_graph_node *n, int64_t n_items, int64_t grain,
                    double flops_per_item, mtk_range_fn fn);
/* The LINEAR node n, together with those of the n_nodes nodes from it on that follow directly and
 * have the same input (q, k, v; gate, up), and with SILU_MUL or GELU_MUL of gate and up where there
 * are many rows: one run of the pool. How many that were. */
size_t mtk_exec_run_linears(mtk_exec *e, const mtk_graph_node *n, size_t n_nodes);
/* `count` elements of a SILU_MUL, GELU_MUL or GELU node (up NULL). */
void mtk_exec_gate(const mtk_exec *e, const mtk_graph_node *n, float *y, const float *gate,
                   const float *up, int64_t count);
/* Floats of a worker's scratch that gated layers take. */
size_t mtk_exec_gated_floats(const mtk_exec *e);
/* Does the node work row by row, in this step? Such a node, together with those of the n_nodes
 * nodes from it on that chain to it, and with the preparation for a linear layer behind them: one
 * run of the pool. How many nodes that were. */
bool mtk_exec_is_by_rows(const mtk_exec *e, const mtk_graph_node *n);
size_t mtk_exec_run_rows(mtk_exec *e, const mtk_graph_node *n, size_t n_nodes);
/* Prepare rows of a LINEAR node's input; does the prepared activation hold them; note that it
 * does. */
enum { MTK_PREPARE_FLOPS = 4, MTK_PREPARE_GRAIN = 4 }; /* of a column, about; rows */
void mtk_exec_prepare_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                           int worker);
bool mtk_exec_is_prepared(const mtk_exec *e, const mtk_graph_node *n);
void mtk_exec_set_prepared(mtk_exec *e, const mtk_graph_node *n);
/* Rows of a frozen weight that LINEAR_DX decodes at a time. */
int64_t mtk_exec_decode_rows(const mtk_exec *e, const mtk_weight *w);
/* Make *buffer of *bytes hold at least `count` elements of `size` bytes; old contents are lost. In
 * huge pages that nobody touches before their first use, so that room for large batches costs
 * nothing until there is one. Given back by mtk_free_pages. */
mtk_status mtk_reserve(void **buffer, size_t *bytes, size_t count, size_t size, mtk_error *err);
/* Room for what a MOE_LINEAR node needs besides its values (exec_moe.c). */
mtk_status mtk_exec_reserve_moe(mtk_exec *e, const mtk_graph_node *n, mtk_error *err);
/* An ATTENTION node (exec_attention.c), and the floats of scores that threads share in the running
 * step. */
void mtk_exec_run_attention(mtk_exec *e, const mtk_graph_node *n);
double mtk_exec_attention_flops(const mtk_exec *e, const mtk_graph_node *n);
/* May its rows be computed one by one: does each sequence bring one, and are they enough and short
 * enough to go evenly into the threads? Then: store and attend rows r0..r1. */
bool mtk_exec_attends_by_rows(const mtk_exec *e, const mtk_graph_node *n);
void mtk_exec_attend_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker);
size_t mtk_exec_score_floats(const mtk_exec *e);
/* At a MOE_LINEAR node: the first sorted row of each expert ([n_expert + 1]), and the input of a
 * sorted row. */
const int32_t *mtk_exec_expert_rows(mtk_exec *e, const mtk_graph_node *n);
const float *mtk_exec_expert_input(const mtk_exec *e, const mtk_graph_node *n, int64_t row);
/* Note the first error of a task; the step ends after this node. */
void mtk_exec_fail(mtk_exec *e, const mtk_error *error);

static inline float *mtk_exec_data(const mtk_exec *e, mtk_node_value v) {
  if (e->logits_outside && v == e->g->logits) return e->step->logits;
  float *data = e->ws->arena + e->plan->offset[v];
  if (e->strip_row0 > 0 && !e->plan->in_strip[v]) data += e->strip_row0 * e->g->values[v].width;
  return data;
}
static inline int64_t mtk_exec_width(const mtk_exec *e, mtk_node_value v) {
  return e->g->values[v].width;
}
static inline int64_t mtk_exec_rows(const mtk_exec *e, mtk_node_value v) {
  return e->g->values[v].rows == MTK_ROWS_TOKENS ? e->step->n_tokens : e->step->n_outputs;
}
/* Sum of the sizes of the first n rope tables; the angles of table n for this step. */
static inline int64_t mtk_exec_rope_dims(const mtk_exec *e, int n) {
  int64_t dims = 0;
  for (int i = 0; i < n; i++) dims += e->g->ropes[i].dim;
  return dims;
}
static inline float *mtk_exec_cos_sin(const mtk_exec *e, int n) {
  return e->ws->cos_sin + e->max_tokens * mtk_exec_rope_dims(e, n);
}
static inline float *mtk_exec_scratch(const mtk_exec *e, int worker) {
  return e->ws->scratch + (size_t)worker * e->ws->scratch_floats;
}

#endif
