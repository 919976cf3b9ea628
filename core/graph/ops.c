/* ops.c: the op table: one row per op with its shapes, its cost and its derivative. What an op
 * computes, exactly, stands at its kernel in <mtk/kernel.h>; who calls the kernel: exec_forward.c
 * and exec_backward.c. Static data and pure functions; any thread. */
#include "graph/graph.h"

#include <mtk/kernel.h>

/* ---- conditions on shapes ------------------------------------------------------------------- */

static const char *check_rope(const mtk_graph *g, const mtk_graph_node *n) {
  const mtk_attrs *a = &n->attrs;
  if (a->rope_table < 0 || a->rope_table >= g->n_ropes ||
      a->rope_dim != g->ropes[a->rope_table].dim)
    return "rope_dim is not that of a rope table of the graph";
  if (a->head_dim < a->rope_dim || a->n_head <= 0 ||
      g->values[n->in[0]].width != (int64_t)a->n_head * a->head_dim)
    return "the input is not n_head heads of head_dim >= rope_dim";
  return NULL;
}

static const char *check_attention(const mtk_graph *g, const mtk_graph_node *n) {
  const mtk_attrs *a = &n->attrs;
  const mtk_node_value *qkv = n->in + (n->op == MTK_OP_ATTENTION_DX ? 1 : 0);
  if (a->n_head <= 0 || a->n_head_kv <= 0 || a->n_head % a->n_head_kv != 0)
    return "n_head must be a multiple of n_head_kv";
  if (a->n_head_kv != g->n_head_kv || a->head_dim != g->head_dim || a->v_dim != g->v_dim ||
      a->layer < 0 || a->layer >= g->n_layer)
    return "layer or heads do not fit the graph's KV cache";
  if (g->values[qkv[0]].width != (int64_t)a->n_head * a->head_dim ||
      g->values[qkv[1]].width != (int64_t)a->n_head_kv * a->head_dim ||
      g->values[qkv[2]].width != (int64_t)a->n_head_kv * a->v_dim)
    return "q, k or v has the wrong width";
  if (a->bidirectional && a->window > 0) return "a window needs causal attention";
  return NULL;
}

static const char *check_norm(const mtk_graph *g, const mtk_graph_node *n) {
  int32_t n_head = n->attrs.n_head;
  bool whole = n_head < 2 || g->values[n->in[0]].width % n_head == 0;
  return whole ? NULL : "the input is not n_head heads";
}

static const char *check_lookup(const mtk_graph *g, const mtk_graph_node *n) {
  (void)g;
  bool known = n->attrs.lookup >= MTK_LOOKUP_ID && n->attrs.lookup <= MTK_LOOKUP_FIRST;
  return known ? NULL : "what is looked up is not known";
}

static const char *check_slice(const mtk_graph *g, const mtk_graph_node *n) {
  const mtk_attrs *a = &n->attrs;
  int64_t width = g->values[n->in[n->op == MTK_OP_SLICE_DX ? 1 : 0]].width;
  if (a->n_head > 1 && width % a->n_head) return "the input is not n_head parts";
  if (a->n_head > 1) width /= a->n_head;
  bool inside = a->column >= 0 && a->n_column > 0 && a->column <= width - a->n_column;
  return inside ? NULL : "the columns are not the input's";
}

static const char *check_join(const mtk_graph *g, const mtk_graph_node *n) {
  const mtk_attrs *a = &n->attrs;
  int64_t left = g->values[n->in[0]].width, right = g->values[n->in[1]].width;
  if (a->n_head <= 0 || a->v_dim <= 0 || a->head_dim <= a->v_dim ||
      left != (int64_t)a->n_head * (a->head_dim - a->v_dim))
    return "the first input is not n_head heads";
  bool fits = right == a->v_dim || right == (int64_t)a->n_head * a->v_dim;
  return fits ? NULL : "the second input is neither one head nor n_head of them";
}

static const char *check_softcap(const mtk_graph *g, const mtk_graph_node *n) {
  (void)g;
  return n->attrs.softcap > 0.0f ? NULL : "the cap is not positive";
}

static const char *check_linear(const mtk_graph *g, const mtk_graph_node *n) {
  const mtk_graph_weight *w = &g->weights[n->weight];
  bool dx = n->op == MTK_OP_LINEAR_DX, dw = n->op == MTK_OP_LINEAR_DW;
  if ((dx || dw) && g->values[n->in[0]].width != w->n) return "dy does not fit the weight";
  if (dw && g->values[n->in[1]].width != w->k) return "x does not fit the weight";
  return NULL;
}

static const char *check_experts(const mtk_graph *g, const mtk_graph_node *n) {
  const mtk_attrs *a = &n->attrs;
  bool route = n->op == MTK_OP_MOE_ROUTE || n->op == MTK_OP_MOE_ROUTE_BIASED;
  bool slots = n->op != MTK_OP_MOE_LINEAR || a->slot_input;
  if (a->n_expert <= 0 || a->n_expert > MTK_MAX_EXPERT) return "the number of experts is wrong";
  if (a->n_slot <= 0 || a->n_slot > a->n_expert) return "more experts per token than there are";
  int64_t width = g->values[n->in[0]].width;
  if (!route) {
    if (g->values[n->in[n->n_in - 1]].width != a->n_slot) return "the ids are not n_slot wide";
    if (n->op == MTK_OP_MOE_SUM && g->values[n->in[1]].width != a->n_slot)
      return "the weights are not n_slot wide";
    return slots && width % a->n_slot ? "the input has not n_slot parts" : NULL;
  }
  if (width != a->n_expert) return "there is not one logit per expert";
  if (a->n_group <= 1) return NULL;
  if (a->n_expert % a->n_group || a->n_group_used <= 0 || a->n_group_used > a->n_group)
    return "the groups do not divide the experts";
  if (a->n_expert / a->n_group * a->n_group_used < a->n_slot)
    return "the used groups hold fewer experts than a token needs";
  return NULL;
}

static const char *check_gate(const mtk_graph *g, const mtk_graph_node *n) {
  return g->values[n->in[1]].width != 1 ? "the gate is not one number per row" : NULL;
}

/* ---- derivatives ---------------------------------------------------------------------------- */

static void derive_embed(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  if (!mtk_backward_trains(b, n->weight)) return;
  if (n->attrs.lookup != MTK_LOOKUP_ID)
    mtk_backward_refuse(b, n->op, "embeddings of positions and token types cannot be trained");
  else
    mtk_backward_add(b, MTK_OP_EMBED_DW, dy, 1, n->weight, NULL);
}

static void derive_rmsnorm(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_node_value in[] = {dy[0], n->in[0]};
  if (mtk_backward_trains(b, n->weight))
    mtk_backward_add(b, MTK_OP_RMSNORM_DW, in, 2, n->weight, &n->attrs);
  if (mtk_backward_wants(b, n->in[0]))
    mtk_backward_give(b, n->in[0],
                      mtk_backward_add(b, MTK_OP_RMSNORM_DX, in, 2, n->weight, &n->attrs));
}

static void derive_linear(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_node_value in[] = {dy[0], n->in[0]};
  if (mtk_backward_trains(b, n->weight))
    mtk_backward_add(b, MTK_OP_LINEAR_DW, in, 2, n->weight, NULL);
  if (mtk_backward_wants(b, n->in[0]))
    mtk_backward_give(b, n->in[0], mtk_backward_add(b, MTK_OP_LINEAR_DX, dy, 1, n->weight, NULL));
}

static void derive_add_row(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  if (mtk_backward_trains(b, n->weight))
    mtk_backward_add(b, MTK_OP_ADD_ROW_DW, dy, 1, n->weight, NULL);
  mtk_backward_give(b, n->in[0], dy[0]);
}

static void derive_rope(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_backward_give(b, n->in[0], mtk_backward_add(b, MTK_OP_ROPE_DX, dy, 1, -1, &n->attrs));
}

static void derive_attention(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_node_value in[] = {dy[0], n->in[0], n->in[1], n->in[2]};
  if (n->weight >= 0 && mtk_backward_trains(b, n->weight))
    mtk_backward_refuse(b, n->op, "attention sinks cannot be trained");
  mtk_node_value dq = mtk_backward_add(b, MTK_OP_ATTENTION_DX, in, 4, n->weight, &n->attrs);
  for (int i = 0; i < 3; i++) mtk_backward_give(b, n->in[i], dq + i);
}

static void derive_gate(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_op dx = n->op == MTK_OP_SILU_MUL ? MTK_OP_SILU_MUL_DX : MTK_OP_GELU_MUL_DX;
  mtk_node_value in[] = {dy[0], n->in[0], n->in[1]};
  mtk_node_value d_gate = mtk_backward_add(b, dx, in, 3, -1, &n->attrs);
  for (int i = 0; i < 2; i++) mtk_backward_give(b, n->in[i], d_gate + i);
}

static void derive_scale(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_backward_give(b, n->in[0], mtk_backward_add(b, MTK_OP_SCALE, dy, 1, -1, &n->attrs));
}

static void derive_softcap(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_node_value in[] = {dy[0], n->in[0]};
  mtk_backward_give(b, n->in[0],
                    mtk_backward_add(b, MTK_OP_SOFTCAP_DX, in, 2, -1, &n->attrs));
}

static void derive_slice(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_node_value in[] = {dy[0], n->in[0]};
  mtk_backward_give(b, n->in[0], mtk_backward_add(b, MTK_OP_SLICE_DX, in, 2, -1, &n->attrs));
}

static void derive_add(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  for (int i = 0; i < 2; i++) mtk_backward_give(b, n->in[i], dy[0]);
}

static void derive_add_scaled(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_backward_give(b, n->in[0], dy[0]);
  if (mtk_backward_wants(b, n->in[1]))
    mtk_backward_give(b, n->in[1], mtk_backward_add(b, MTK_OP_SCALE, dy, 1, -1, &n->attrs));
}

static void derive_select(mtk_backward *b, const mtk_graph_node *n, const mtk_node_value *dy) {
  mtk_backward_give(b, n->in[0], mtk_backward_add(b, MTK_OP_SELECT_DX, dy, 1, -1, NULL));
}

/* The end of the chain: dy is not a value but the batch's target weights. */
static void derive_cross_entropy(mtk_backward *b, const mtk_graph_node *n,
                                 const mtk_node_value *dy) {
  (void)dy;
  mtk_backward_give(b, n->in[0],
                    mtk_backward_add(b, MTK_OP_CROSS_ENTROPY_DX, n->in, 1, -1, NULL));
}

/* ---- the table ------------------------------------------------------------------------------ */

#define IN0 MTK_WIDTH_IN0
#define IN1 MTK_WIDTH_IN1
#define IN2 MTK_WIDTH_IN2
#define IN3 MTK_WIDTH_IN3
enum { VECTOR = MTK_USE_VECTOR, EMBED = MTK_USE_EMBED, LINEAR = MTK_USE_LINEAR };
enum { EXPERTS = MTK_USE_EXPERTS };

static const mtk_op_info ops[MTK_OP_COUNT] = {
    [MTK_OP_EMBED] = {.name = "embed", .n_out = 1, .by_rows = true,
                      .use = EMBED, .rows = MTK_ROWS_T_TO_T,
                      .width = {MTK_WIDTH_GIVEN}, .flops = 1, .check = check_lookup,
                      .derive = derive_embed},
    [MTK_OP_RMSNORM] = {.name = "rmsnorm", .n_in = 1, .n_out = 1, .by_rows = true,
                        .use = VECTOR, .width = {IN0},
                        .vector = MTK_VECTOR_PER_HEAD, .flops = 4, .check = check_norm,
                        .derive = derive_rmsnorm},
    [MTK_OP_LAYERNORM] = {.name = "layernorm", .n_in = 1, .n_out = 1, .by_rows = true,
                          .use = VECTOR,
                          .width = {IN0}, .flops = 7},
    [MTK_OP_JOIN_HEADS] = {.name = "join_heads", .n_in = 2, .n_out = 1, .by_rows = true,
                           .width = {MTK_WIDTH_HEADS}, .check = check_join},
    [MTK_OP_LINEAR] = {.name = "linear", .n_in = 1, .n_out = 1, .use = LINEAR,
                       .width = {MTK_WIDTH_GIVEN}, .cost = MTK_COST_MATMUL, .flops = 2,
                       .check = check_linear, .derive = derive_linear},
    [MTK_OP_ADD_ROW] = {.name = "add_row", .n_in = 1, .n_out = 1, .by_rows = true,
                        .use = VECTOR, .width = {IN0},
                        .in_place = 1, .flops = 1, .derive = derive_add_row},
    [MTK_OP_ROPE] = {.name = "rope", .n_in = 1, .n_out = 1, .by_rows = true,
                     .rows = MTK_ROWS_T_TO_T,
                     .width = {IN0}, .in_place = 1, .flops = 3, .check = check_rope,
                     .derive = derive_rope},
    [MTK_OP_ATTENTION] = {.name = "attention", .n_in = 3, .n_out = 1, .by_rows = true,
                          .use = VECTOR,
                          .optional_weight = true, .vector = MTK_VECTOR_HEADS,
                          .rows = MTK_ROWS_T_TO_T, .width = {MTK_WIDTH_V_HEADS},
                          .cost = MTK_COST_ATTENTION, .flops = 4, .check = check_attention,
                          .derive = derive_attention},
    [MTK_OP_SILU_MUL] = {.name = "silu_mul", .n_in = 2, .n_out = 1, .by_rows = true, .width = {IN0},
                         .same_width = true, .in_place = 3, .flops = 12,
                         .derive = derive_gate},
    [MTK_OP_ADD] = {.name = "add", .n_in = 2, .n_out = 1, .by_rows = true,
                    .width = {IN0}, .same_width = true,
                    .in_place = 3, .flops = 1, .derive = derive_add},
    [MTK_OP_ADD_SCALED] = {.name = "add_scaled", .n_in = 2, .n_out = 1, .by_rows = true,
                           .width = {IN0},
                           .same_width = true, .in_place = 3, .flops = 2,
                           .derive = derive_add_scaled},
    [MTK_OP_SELECT] = {.name = "select", .n_in = 1, .n_out = 1, .rows = MTK_ROWS_T_TO_O,
                       .width = {IN0}, .derive = derive_select},
    [MTK_OP_CROSS_ENTROPY] = {.name = "cross_entropy", .n_in = 1, .n_out = 1, .by_rows = true,
                              .rows = MTK_ROWS_O_TO_O, .width = {MTK_WIDTH_ONE}, .flops = 10,
                              .derive = derive_cross_entropy},
    [MTK_OP_EMBED_DW] = {.name = "embed_dw", .n_in = 1, .use = EMBED, .rows = MTK_ROWS_T_TO_T,
                         .flops = 1},
    [MTK_OP_RMSNORM_DX] = {.name = "rmsnorm_dx", .n_in = 2, .n_out = 1, .use = VECTOR,
                           .width = {IN0}, .same_width = true, .flops = 10},
    [MTK_OP_RMSNORM_DW] = {.name = "rmsnorm_dw", .n_in = 2, .use = VECTOR, .same_width = true,
                           .flops = 5},
    [MTK_OP_LINEAR_DX] = {.name = "linear_dx", .n_in = 1, .n_out = 1, .use = LINEAR,
                          .width = {MTK_WIDTH_WEIGHT_K}, .cost = MTK_COST_MATMUL, .flops = 2,
                          .check = check_linear},
    [MTK_OP_LINEAR_DW] = {.name = "linear_dw", .n_in = 2, .use = LINEAR, .cost = MTK_COST_MATMUL,
                          .flops = 2, .check = check_linear},
    [MTK_OP_ADD_ROW_DW] = {.name = "add_row_dw", .n_in = 1, .use = VECTOR, .flops = 1},
    [MTK_OP_ROPE_DX] = {.name = "rope_dx", .n_in = 1, .n_out = 1, .by_rows = true,
                        .rows = MTK_ROWS_T_TO_T,
                        .width = {IN0}, .in_place = 1, .flops = 3, .check = check_rope},
    [MTK_OP_ATTENTION_DX] = {.name = "attention_dx", .n_in = 4, .n_out = 3, .use = VECTOR,
                             .optional_weight = true,
                             .rows = MTK_ROWS_T_TO_T, .width = {IN1, IN2, IN3},
                             .cost = MTK_COST_ATTENTION, .flops = 10, .check = check_attention},
    [MTK_OP_SILU_MUL_DX] = {.name = "silu_mul_dx", .n_in = 3, .n_out = 2, .width = {IN1, IN2},
                            .same_width = true, .flops = 20},
    [MTK_OP_SCALE] = {.name = "scale", .n_in = 1, .n_out = 1, .by_rows = true,
                      .width = {IN0}, .in_place = 1,
                      .flops = 1, .derive = derive_scale},
    [MTK_OP_SELECT_DX] = {.name = "select_dx", .n_in = 1, .n_out = 1, .rows = MTK_ROWS_O_TO_T,
                          .width = {IN0}},
    [MTK_OP_CROSS_ENTROPY_DX] = {.name = "cross_entropy_dx", .n_in = 1, .n_out = 1,
                                 .rows = MTK_ROWS_O_TO_O, .width = {IN0}, .in_place = 1,
                                 .flops = 20},
    [MTK_OP_GELU_MUL] = {.name = "gelu_mul", .n_in = 2, .n_out = 1, .by_rows = true, .width = {IN0},
                         .same_width = true, .in_place = 3, .flops = 14,
                         .derive = derive_gate},
    [MTK_OP_GELU_MUL_DX] = {.name = "gelu_mul_dx", .n_in = 3, .n_out = 2, .width = {IN1, IN2},
                            .same_width = true, .flops = 24},
    [MTK_OP_GELU] = {.name = "gelu", .n_in = 1, .n_out = 1, .by_rows = true,
                     .width = {IN0}, .in_place = 1,
                     .flops = 13},
    [MTK_OP_SOFTCAP] = {.name = "softcap", .n_in = 1, .n_out = 1, .by_rows = true,
                        .width = {IN0}, .in_place = 1,
                        .flops = 20, .check = check_softcap, .derive = derive_softcap},
    [MTK_OP_SOFTCAP_DX] = {.name = "softcap_dx", .n_in = 2, .n_out = 1, .width = {IN1},
                           .same_width = true, .flops = 20, .check = check_softcap},
    [MTK_OP_SLICE] = {.name = "slice", .n_in = 1, .n_out = 1, .by_rows = true,
                      .width = {MTK_WIDTH_COLUMNS},
                      .check = check_slice, .derive = derive_slice},
    [MTK_OP_SLICE_DX] = {.name = "slice_dx", .n_in = 2, .n_out = 1, .width = {IN1},
                         .check = check_slice},
    [MTK_OP_MOE_ROUTE] = {.name = "moe_route", .n_in = 1, .n_out = 2,
                          .width = {MTK_WIDTH_GIVEN, MTK_WIDTH_GIVEN}, .flops = 20,
                          .check = check_experts},
    [MTK_OP_MOE_ROUTE_BIASED] = {.name = "moe_route_biased", .n_in = 1, .n_out = 2, .use = VECTOR,
                                 .width = {MTK_WIDTH_GIVEN, MTK_WIDTH_GIVEN}, .flops = 20,
                                 .check = check_experts},
    [MTK_OP_MOE_LINEAR] = {.name = "moe_linear", .n_in = 2, .n_out = 1, .use = EXPERTS,
                           .width = {MTK_WIDTH_GIVEN}, .cost = MTK_COST_MATMUL, .flops = 2,
                           .check = check_experts},
    [MTK_OP_MOE_ADD_ROW] = {.name = "moe_add_row", .n_in = 2, .n_out = 1, .use = VECTOR,
                            .width = {IN0}, .in_place = 1, .flops = 1, .check = check_experts},
    [MTK_OP_MOE_SUM] = {.name = "moe_sum", .n_in = 3, .n_out = 1, .width = {MTK_WIDTH_PER_SLOT},
                        .flops = 2, .check = check_experts},
    [MTK_OP_SWIGLU_CLAMPED] = {.name = "swiglu_clamped", .n_in = 2, .n_out = 1, .width = {IN0},
                               .same_width = true, .in_place = 3, .flops = 15},
    [MTK_OP_MUL_SIGMOID] = {.name = "mul_sigmoid", .n_in = 2, .n_out = 1, .width = {IN0},
                            .in_place = 1, .flops = 1, .check = check_gate},
};

const mtk_op_info *mtk_op_get(mtk_op op) {
  return (int)op >= 0 && op < MTK_OP_COUNT ? &ops[op] : NULL;
}
