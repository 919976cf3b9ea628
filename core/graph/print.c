/* print.c: the cost of a graph and its printed form. Pure functions; any thread. */
#include "graph/graph.h"

#include <string.h>

mtk_cost mtk_node_cost(const mtk_graph *g, const mtk_graph_node *n, double tokens, double outputs,
                       double keys) {
  const mtk_op_info *op = mtk_op_get(n->op);
  const double rows[2] = {tokens, outputs};
  mtk_cost cost = {0};
  for (int i = 0; i < n->n_in; i++) {
    const mtk_graph_value *v = &g->values[n->in[i]];
    cost.value_bytes += 4.0 * rows[v->rows] * (double)v->width;
  }
  for (int i = 0; i < n->n_out; i++) {
    const mtk_graph_value *v = &g->values[n->out[i]];
    cost.value_bytes += 4.0 * rows[v->rows] * (double)v->width;
  }
  const mtk_graph_value *main = &g->values[n->n_in > 0 ? n->in[0] : n->out[0]];
  double r = rows[main->rows];
  const mtk_graph_weight *w = n->weight >= 0 ? &g->weights[n->weight] : NULL;
  if (w && op->use == MTK_USE_EMBED)
    cost.weight_elems = r * (double)w->k;
  else if (w)
    cost.weight_elems = (double)w->k * (double)(w->n > 0 ? w->n : 1);
  if (w && w->n_expert > 0) { /* each row meets n_slot experts; so many are read at most */
    double per_expert = cost.weight_elems / (double)w->n_expert, met = r * n->attrs.n_slot;
    cost.weight_elems = per_expert * (met < (double)w->n_expert ? met : (double)w->n_expert);
    cost.flops = op->flops * met * per_expert;
  } else if (op->cost == MTK_COST_MATMUL) {
    cost.flops = op->flops * r * cost.weight_elems;
  } else if (op->cost == MTK_COST_ATTENTION) {
    double both = (double)n->attrs.head_dim + n->attrs.v_dim;
    cost.flops = op->flops * r * keys * n->attrs.n_head * both / 2.0;
    cost.value_bytes += 4.0 * r * keys * n->attrs.n_head_kv * both;
  } else {
    cost.flops = op->flops * r * (double)main->width;
  }
  return cost;
}

mtk_cost mtk_graph_cost(const mtk_graph *g, double tokens, double outputs, double keys) {
  mtk_cost sum = {0};
  for (size_t i = 0; i < g->n_nodes; i++) {
    mtk_cost c = mtk_node_cost(g, &g->nodes[i], tokens, outputs, keys);
    sum.flops += c.flops;
    sum.value_bytes += c.value_bytes;
    sum.weight_elems += c.weight_elems;
  }
  return sum;
}

static void print_attrs(mtk_bytes *out, const mtk_graph_node *n) {
  const mtk_attrs *a = &n->attrs;
  if (n->op == MTK_OP_RMSNORM) {
    mtk_bytes_printf(out, " eps=%g", (double)a->eps);
    if (a->n_head > 1) mtk_bytes_printf(out, " heads=%d", a->n_head);
  }
  if (n->op == MTK_OP_SOFTCAP) mtk_bytes_printf(out, " softcap=%g", (double)a->softcap);
  if (n->op == MTK_OP_SLICE)
    mtk_bytes_printf(out, " columns=%d+%d", a->column, a->n_column);
  if ((n->op == MTK_OP_SLICE && a->n_head > 1) || n->op == MTK_OP_JOIN_HEADS)
    mtk_bytes_printf(out, " heads=%d", a->n_head);
  if (n->op == MTK_OP_ROPE)
    mtk_bytes_printf(out, " heads=%d head_dim=%d rope_dim=%d %s", a->n_head, a->head_dim,
                     a->rope_dim, a->interleaved ? "interleaved" : "half");
  if (n->op == MTK_OP_ROPE && a->rope_table > 0)
    mtk_bytes_printf(out, " table=%d", a->rope_table);
  if (n->op == MTK_OP_ATTENTION) {
    mtk_bytes_printf(out, " layer=%d heads=%d/%d head_dim=%d scale=%g", a->layer, a->n_head,
                     a->n_head_kv, a->head_dim, (double)a->scale);
    if (a->v_dim != a->head_dim) mtk_bytes_printf(out, " v_dim=%d", a->v_dim);
    if (a->window > 0) mtk_bytes_printf(out, " window=%d", a->window);
    if (a->softcap > 0.0f) mtk_bytes_printf(out, " softcap=%g", (double)a->softcap);
    if (a->bidirectional) mtk_bytes_puts(out, " bidirectional");
  }
  if (n->op == MTK_OP_MOE_ROUTE || n->op == MTK_OP_MOE_ROUTE_BIASED) {
    mtk_bytes_printf(out, " experts=%d/%d", a->n_slot, a->n_expert);
    if (a->n_group > 1) mtk_bytes_printf(out, " groups=%d/%d", a->n_group_used, a->n_group);
  }
  if (n->op == MTK_OP_SWIGLU_CLAMPED)
    mtk_bytes_printf(out, " alpha=%g limit=%g", (double)a->alpha, (double)a->limit);
  if (n->op == MTK_OP_ADD_SCALED || n->op == MTK_OP_SCALE)
    mtk_bytes_printf(out, " scale=%g", (double)a->scale);
}

static void print_node(mtk_bytes *out, const mtk_graph *g, const mtk_graph_node *n) {
  static const char rows[2] = {'T', 'O'};
  for (int i = 0; i < n->n_out; i++) {
    const mtk_graph_value *v = &g->values[n->out[i]];
    mtk_bytes_printf(out, "%s%%%d[%c,%lld]", i > 0 ? ", " : "", (int)n->out[i], rows[v->rows],
                     (long long)v->width);
  }
  mtk_bytes_printf(out, "%s%s", n->n_out > 0 ? " = " : "", mtk_op_get(n->op)->name);
  for (int i = 0; i < n->n_in; i++) mtk_bytes_printf(out, " %%%d", (int)n->in[i]);
  if (n->weight >= 0) {
    const mtk_graph_weight *w = &g->weights[n->weight];
    mtk_bytes_printf(out, " @%s", w->name);
    if (w->n > 0 && !(w->use & MTK_USE_VECTOR))
      mtk_bytes_printf(out, "[%lld,%lld]", (long long)w->n, (long long)w->k);
    else
      mtk_bytes_printf(out, "[%s%lld]", w->use & MTK_USE_EMBED ? "V," : "", (long long)w->k);
  }
  print_attrs(out, n);
  mtk_cost c = mtk_node_cost(g, n, 1.0, 1.0, 1.0);
  mtk_bytes_printf(out, "  ; %.4g FLOPs, %.4g B", c.flops, c.value_bytes);
  if (c.weight_elems > 0.0) mtk_bytes_printf(out, ", %.4g weights", c.weight_elems);
  mtk_bytes_puts(out, "\n");
}

void mtk_graph_print(mtk_bytes *out, const mtk_graph *g) {
  for (size_t i = 0; i < g->n_nodes; i++) print_node(out, g, &g->nodes[i]);
  mtk_bytes_printf(out, "nodes %zu, values %zu, weights %zu", g->n_nodes, g->n_values,
                   g->n_weights);
  if (g->hidden >= 0) mtk_bytes_printf(out, ", hidden %%%d", (int)g->hidden);
  if (g->logits >= 0) mtk_bytes_printf(out, ", logits %%%d", (int)g->logits);
  if (g->loss >= 0) mtk_bytes_printf(out, ", loss %%%d", (int)g->loss);
  mtk_cost c = mtk_graph_cost(g, 1.0, 1.0, 1.0);
  mtk_bytes_printf(out,
                   "\nper token with one key and one row of logits: %.4g FLOPs, %.4g B of values, "
                   "%.4g weights; KV cache %lld B per position\n",
                   c.flops, c.value_bytes, c.weight_elems,
                   4LL * g->n_layer * g->n_head_kv * (g->head_dim + g->v_dim));
}
