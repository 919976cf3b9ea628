/* graph/graph.h: the inside of a graph, for core/graph, core/model, core/run and core/train.
 *
 * How the pieces fit, from a model to numbers:
 *   1. mtk_graph_create (with an adapter spec when low-rank updates shall be part of it), then the
 *      architecture's build function appends the forward nodes (<mtk/graph.h>).
 *   2. Training only: mtk_graph_backward appends the loss and the derivative nodes. It is a
 *      graph-to-graph step over the op table (ops.c); nothing is computed.
 *   3. Every weight the graph names (g->weights) is bound to a mtk_weight (graph/weight.h; loading
 *      and packing: model/weights.h).
 *   4. mtk_exec_create plans the memory of all values for the largest step; mtk_exec_run computes
 *      one step (graph/exec.h).
 *
 * Values are f32 matrices [rows, width], row-major without padding. `rows` is symbolic: T, all
 * tokens of the step, or O, the rows whose logits are wanted. Nodes stand in execution order.
 * A graph is built by one thread; once built it is read-only and may be shared. */
#ifndef MTK_GRAPH_GRAPH_H
#define MTK_GRAPH_GRAPH_H

#include <mtk/graph.h>

/* What the rows of a value are. */
typedef enum mtk_rows { MTK_ROWS_TOKENS = 0, MTK_ROWS_OUTPUTS = 1 } mtk_rows;

typedef struct mtk_graph_value {
  mtk_rows rows;
  int64_t width;
} mtk_graph_value;

/* How a weight is used; a tied embedding has two bits set. */
enum {
  MTK_USE_VECTOR = 1, /* [k]: norm weight or bias, n = 1 */
  MTK_USE_EMBED = 2,  /* rows of [n, k] looked up by token id */
  MTK_USE_LINEAR = 4, /* [n, k]: y = x W^T */
  MTK_USE_EXPERTS = 8 /* [n_expert, n / n_expert, k]: a linear layer per expert */
};

typedef struct mtk_graph_weight {
  const char *name; /* canonical tensor name; pairs: "<target>.lora_a", "<target>.lora_b" */
  int64_t n, k;     /* n = 0: not known from the graph (an embedding's vocabulary) */
  unsigned use;     /* MTK_USE_ bits */
  bool trainable;   /* set by mtk_graph_backward */
  int64_t n_expert; /* matrices of n / n_expert rows that are packed apart; 0 = one */
} mtk_graph_weight;

typedef struct mtk_graph_node {
  mtk_op op;
  int n_in, n_out;
  mtk_node_value in[MTK_OP_MAX_IN];
  mtk_node_value out[MTK_OP_MAX_OUT];
  int32_t weight; /* index into weights, or -1 */
  mtk_attrs attrs;
} mtk_graph_node;

/* Which projections get a low-rank update: find answers for a canonical tensor name
 * ("blk.0.attn_q.weight") and gives rank and scale. Called while the graph is built only. */
typedef struct mtk_adapter_spec {
  bool (*find)(void *ctx, const char *target, int64_t *rank, float *scale);
  void *ctx;
} mtk_adapter_spec;

/* A table of rotary angles. */
typedef struct mtk_graph_rope {
  const double *inv_freq; /* dim / 2 */
  int dim;
  double mscale;
  double temperature; /* by position: mscale * (1 + temperature * ln(1 + floor(pos / length))) */
  int64_t length;     /* 0 = no temperature */
} mtk_graph_rope;

struct mtk_graph {
  mtk_arena *arena; /* names, rope table */
  mtk_graph_node *nodes;
  size_t n_nodes, cap_nodes;
  mtk_graph_value *values;
  size_t n_values, cap_values;
  mtk_graph_weight *weights;
  size_t n_weights, cap_weights;
  const mtk_adapter_spec *adapter; /* borrowed; NULL = none */
  mtk_node_value logits;           /* [O, V]; -1 until set */
  mtk_node_value hidden;           /* [O, D] before the head; -1 until set */
  size_t body_nodes, body_values, body_weights; /* what there was when it was set */
  mtk_node_value loss;             /* [O, 1] nats per output row; -1 until mtk_graph_backward or
                                      mtk_graph_add_loss */
  size_t n_forward;                /* nodes before the first derivative node */
  int n_layer, n_head_kv, head_dim, v_dim; /* KV cache; 0 = none */
  mtk_graph_rope ropes[MTK_GRAPH_MAX_ROPE];
  int n_ropes;
  mtk_status status; /* of the builder, sticky */
  mtk_error error;
};

/* adapter (may be NULL) is borrowed until the graph is built. */
mtk_status mtk_graph_create(mtk_graph **out, const mtk_adapter_spec *adapter, mtk_error *err);
void mtk_graph_destroy(mtk_graph *g);
/* Record a builder error (the first one stays). */
void mtk_graph_fail(mtk_graph *g, mtk_status code, const char *place, const char *message);
/* Index of a weight by name, or -1. */
int32_t mtk_graph_find_weight(const mtk_graph *g, const char *name);
/* Drop what stands behind the hidden states, and make them the result in place of the logits.
 * MTK_E_UNSUPPORTED if the architecture did not mark them. */
mtk_status mtk_graph_cut_head(mtk_graph *g, mtk_error *err);
/* Compute on output rows all that is only read through a SELECT (select.c): the same logits with
 * less work when few rows are wanted. Renumbers nodes and values, forgets which are the hidden
 * states. For graphs without a loss, of which no value but the logits is read. */
mtk_status mtk_graph_select_early(mtk_graph *g, mtk_error *err);
/* Move linear layers that read one value next to the first of them, so that they are computed
 * together (q, k and v with biases or low-rank terms between them). Values keep their numbers; not
 * across attention, nor for graphs with derivatives. */
void mtk_graph_group_linears(mtk_graph *g);
/* Does attention see all positions of a sequence? Then a sequence must not be computed in parts. */
bool mtk_graph_is_bidirectional(const mtk_graph *g);
/* Append CROSS_ENTROPY on the logits (forward-only evaluation). No-op when there already. */
mtk_status mtk_graph_add_loss(mtk_graph *g, mtk_error *err);

/* Append loss and derivatives of every weight for which trainable() says yes: reverse mode over the
 * forward nodes. Where a value is used several times its gradients are joined by ADD in reverse
 * node order. Derivatives that reach no trainable weight are not built. Gradients are accumulated
 * into mtk_weight.grad (.grad_embed for token embeddings), never overwritten: zero them before a
 * step. MTK_E_INVALID when nothing is trainable, MTK_E_UNSUPPORTED for an op without a
 * derivative. */
mtk_status mtk_graph_backward(mtk_graph *g, bool (*trainable)(void *ctx, const char *name),
                              void *ctx, mtk_error *err);

/* ---- parts (slice.c) ------------------------------------------------------------------------ */

/* Nodes first .. end-1 of a graph as a graph of their own. Values that cross its borders are listed
 * by their numbers outside and inside; inputs are written by no node of it. Names and rope tables
 * stay those of g, which must outlive it. */
typedef struct mtk_graph_slice {
  mtk_graph *graph;
  mtk_node_value *in_outer, *in_inner, *out_outer, *out_inner;
  int n_in, n_out;
} mtk_graph_slice;
mtk_status mtk_graph_slice_create(mtk_graph_slice **out, const mtk_graph *g, size_t first,
                                  size_t end, mtk_error *err);
void mtk_graph_slice_destroy(mtk_graph_slice *slice);

/* ---- the op table (ops.c) ------------------------------------------------------------------- */

/* Width of a result. */
typedef enum mtk_width_rule {
  MTK_WIDTH_NONE = 0,
  MTK_WIDTH_IN0, /* as that input's */
  MTK_WIDTH_IN1,
  MTK_WIDTH_IN2,
  MTK_WIDTH_IN3,
  MTK_WIDTH_GIVEN,    /* the caller of mtk_graph_add says (EMBED, LINEAR) */
  MTK_WIDTH_WEIGHT_K, /* columns of the weight */
  MTK_WIDTH_ONE,
  MTK_WIDTH_V_HEADS,   /* n_head * v_dim */
  MTK_WIDTH_HEADS,     /* n_head * head_dim */
  MTK_WIDTH_COLUMNS,   /* n_column, of each head */
  MTK_WIDTH_PER_SLOT /* of the first input, divided by n_slot */
} mtk_width_rule;

/* Size of a vector weight. */
typedef enum mtk_vector_rule {
  MTK_VECTOR_IN0 = 0,  /* width of the first input */
  MTK_VECTOR_PER_HEAD, /* that over n_head (0 = 1) */
  MTK_VECTOR_HEADS     /* n_head */
} mtk_vector_rule;

/* Rows: which rows the inputs must have, and those of the results. */
typedef enum mtk_rows_rule {
  MTK_ROWS_SAME = 0,    /* any, the same for all inputs and results */
  MTK_ROWS_T_TO_T,      /* token rows in, token rows out */
  MTK_ROWS_T_TO_O,
  MTK_ROWS_O_TO_T,
  MTK_ROWS_O_TO_O
} mtk_rows_rule;

typedef enum mtk_cost_rule {
  MTK_COST_ELEMENT = 0, /* flops per element of the first result (or input, if none) */
  MTK_COST_MATMUL,      /* flops per row and weight element */
  MTK_COST_ATTENTION    /* flops per row, key and element of q */
} mtk_cost_rule;

typedef struct mtk_backward mtk_backward; /* backward.c */

typedef struct mtk_op_info {
  const char *name;
  int n_in, n_out;
  unsigned use; /* MTK_USE_ bit of its weight, 0 = takes none */
  bool optional_weight;
  mtk_vector_rule vector; /* size of its weight where that is a vector */
  mtk_rows_rule rows;
  mtk_width_rule width[MTK_OP_MAX_OUT];
  bool same_width;   /* all inputs have one width */
  /* A result row needs no values but the same row of the inputs; of attention, where every sequence
   * of a step brings one row. */
  bool by_rows;
  unsigned in_place; /* bit i: the first result may take the memory of input i */
  mtk_cost_rule cost;
  double flops;
  /* More conditions on the shapes: NULL if they hold, else what is wrong. May be NULL. */
  const char *(*check)(const mtk_graph *g, const mtk_graph_node *node);
  /* Append the derivative given the gradients of the results. NULL: has none. */
  void (*derive)(mtk_backward *b, const mtk_graph_node *node, const mtk_node_value *d_out);
} mtk_op_info;

const mtk_op_info *mtk_op_get(mtk_op op);
/* May one run of the threads take rows through both nodes, the second right behind the first? */
bool mtk_graph_chains(const mtk_graph *g, const mtk_graph_node *first,
                      const mtk_graph_node *second);

/* For derivative rules. Append a node; its first result. */
mtk_node_value mtk_backward_add(mtk_backward *b, mtk_op op, const mtk_node_value *in, int n_in,
                                int32_t weight, const mtk_attrs *attrs);
/* Is the gradient of this value needed? Of this weight? */
bool mtk_backward_wants(const mtk_backward *b, mtk_node_value v);
bool mtk_backward_trains(const mtk_backward *b, int32_t weight);
/* Refuse: the op has no derivative for what is asked. */
void mtk_backward_refuse(mtk_backward *b, mtk_op op, const char *message);
/* Add `grad` to the gradient of value v. */
void mtk_backward_give(mtk_backward *b, mtk_node_value v, mtk_node_value grad);
/* Append without the checks of mtk_graph_add on the weight: it is known already. */
mtk_node_value mtk_graph_append(mtk_graph *g, mtk_op op, const mtk_node_value *in, int n_in,
                                int32_t weight, int64_t width, const mtk_attrs *attrs);

/* ---- cost and printing (print.c) ------------------------------------------------------------ */

typedef struct mtk_cost {
  double flops;
  double value_bytes;   /* of values read and written */
  double weight_elems;  /* weight elements read */
} mtk_cost;

/* Cost of a node for a step of `tokens` rows, `outputs` output rows, and `keys` visible keys on
 * average per token. */
mtk_cost mtk_node_cost(const mtk_graph *g, const mtk_graph_node *node, double tokens,
                       double outputs, double keys);
mtk_cost mtk_graph_cost(const mtk_graph *g, double tokens, double outputs, double keys);
/* One line per node: results with shapes, op, inputs, weight, attributes, cost per token; then the
 * totals. */
void mtk_graph_print(mtk_bytes *out, const mtk_graph *g);

/* ---- memory plan (plan.c) ------------------------------------------------------------------- */

/* Where each value lies in one arena of `floats` f32, for up to max_tokens and max_outputs rows.
 * Values whose lives overlap never share memory, but for a result that takes the place of an input
 * which dies at that node (mtk_op_info.in_place).
 *
 * A loss over many rows and a large vocabulary is computed in strips: the nodes strip_first ..
 * strip_end - 1 (head, loss and their derivatives) run for strip_rows output rows at a time, and
 * the values as wide as the logits have memory for one strip only. */
typedef struct mtk_plan {
  size_t *offset;         /* per value, in floats, multiples of 16 */
  int32_t *first, *last;  /* per value: node that writes it, last node that reads it */
  int32_t *owner;         /* per value: the value whose memory it uses (itself if not in place) */
  size_t floats;          /* size of the arena */
  size_t strip_first, strip_end; /* equal: no strips */
  int64_t strip_rows;
  bool *in_strip; /* per value: holds the rows of one strip */
} mtk_plan;

typedef struct mtk_plan_options {
  int64_t max_tokens, max_outputs;
  mtk_node_value outside;     /* no memory in the arena, its rows are the caller's; -1 = none */
  const mtk_node_value *keep; /* [n_keep] stay readable after the last node, as the loss does */
  int n_keep;
  int64_t strip_floats; /* what the logits of a training graph may take; 0 = 64 MiB */
} mtk_plan_options;
mtk_status mtk_plan_create(mtk_plan **out, const mtk_graph *g, const mtk_plan_options *options,
                           mtk_error *err);
void mtk_plan_destroy(mtk_plan *plan);

#endif
