/* backward.c: reverse-mode differentiation as a graph-to-graph step: walks the forward nodes from
 * the loss back to the weights and lets each op's derivative rule (ops.c) append nodes.
 *
 * A value's gradient is needed when a trainable weight lies above it; everything else is skipped.
 * State lives only during mtk_graph_backward; one thread. */
#include "graph/graph.h"

struct mtk_backward {
  mtk_graph *g;
  bool *wants;          /* per forward value */
  mtk_node_value *grad; /* per forward value: its gradient so far, or -1 */
};

mtk_node_value mtk_backward_add(mtk_backward *b, mtk_op op, const mtk_node_value *in, int n_in,
                                int32_t weight, const mtk_attrs *attrs) {
  return mtk_graph_append(b->g, op, in, n_in, weight, 0, attrs);
}

bool mtk_backward_wants(const mtk_backward *b, mtk_node_value v) { return b->wants[v]; }

bool mtk_backward_trains(const mtk_backward *b, int32_t weight) {
  return b->g->weights[weight].trainable;
}

void mtk_backward_refuse(mtk_backward *b, mtk_op op, const char *message) {
  mtk_graph_fail(b->g, MTK_E_UNSUPPORTED, mtk_op_get(op)->name, message);
}

void mtk_backward_give(mtk_backward *b, mtk_node_value v, mtk_node_value grad) {
  if (b->g->status != MTK_OK || !b->wants[v]) return;
  if (b->grad[v] >= 0) {
    mtk_node_value in[] = {b->grad[v], grad};
    grad = mtk_graph_append(b->g, MTK_OP_ADD, in, 2, -1, 0, NULL);
  }
  b->grad[v] = grad;
}

mtk_status mtk_graph_add_loss(mtk_graph *g, mtk_error *err) {
  if (g->status == MTK_OK && g->logits < 0)
    mtk_graph_fail(g, MTK_E_INVALID, "graph", "the graph has no logits to train on");
  if (g->status == MTK_OK && g->loss < 0) {
    g->loss = mtk_graph_append(g, MTK_OP_CROSS_ENTROPY, &g->logits, 1, -1, 0, NULL);
    g->n_forward = g->n_nodes;
  }
  return mtk_graph_status(g, err);
}

/* Which values lie below a trainable weight. */
static void mark_wanted(mtk_backward *b, size_t n_forward) {
  for (size_t i = 0; i < n_forward; i++) {
    const mtk_graph_node *n = &b->g->nodes[i];
    bool wanted = n->weight >= 0 && b->g->weights[n->weight].trainable;
    for (int j = 0; j < n->n_in; j++) wanted |= b->wants[n->in[j]];
    for (int j = 0; j < n->n_out; j++) b->wants[n->out[j]] = wanted;
  }
}

/* Append the derivative of one forward node if a gradient reaches it. Forward ops have one
 * result. */
static void derive_node(mtk_backward *b, size_t index) {
  mtk_graph_node node = b->g->nodes[index]; /* a copy: appending may move the array */
  const mtk_op_info *op = mtk_op_get(node.op);
  mtk_node_value d_out = b->grad[node.out[0]];
  bool is_loss = node.out[0] == b->g->loss;
  if (!b->wants[node.out[0]] || (d_out < 0 && !is_loss)) return;
  if (op->derive)
    op->derive(b, &node, &d_out);
  else
    mtk_graph_fail(b->g, MTK_E_UNSUPPORTED, op->name, "the op has no derivative");
}

mtk_status mtk_graph_backward(mtk_graph *g, bool (*trainable)(void *ctx, const char *name),
                              void *ctx, mtk_error *err) {
  MTK_TRY(mtk_graph_add_loss(g, err));
  size_t n_forward = g->n_forward, n_values = g->n_values, n_trained = 0;
  for (size_t i = 0; i < g->n_weights; i++) {
    g->weights[i].trainable = trainable(ctx, g->weights[i].name);
    n_trained += g->weights[i].trainable;
  }
  if (n_trained == 0)
    return mtk_fail(err, MTK_E_INVALID, "graph", "no weight of the model is to be trained");
  mtk_backward b = {.g = g,
                    .wants = mtk_alloc(n_values, sizeof *b.wants),
                    .grad = mtk_alloc(n_values, sizeof *b.grad)};
  if (b.wants && b.grad) {
    for (size_t i = 0; i < n_values; i++) b.grad[i] = -1;
    mark_wanted(&b, n_forward);
    for (size_t i = n_forward; i-- > 0 && g->status == MTK_OK;) derive_node(&b, i);
  } else {
    mtk_graph_fail(g, MTK_E_NOMEM, NULL, "out of memory for the derivative of a graph");
  }
  mtk_free(b.wants);
  mtk_free(b.grad);
  return mtk_graph_status(g, err);
}
