/* select.c: steps from graph to graph before it runs; one thread.
 * 1. Rows that nobody reads are not computed. An architecture selects the rows whose logits are
 *    wanted where it likes, usually before the head; here everything whose result is only read
 *    through a SELECT is computed on selected rows instead: in a decoder all behind the last
 *    layer's attention.
 * 2. Linear layers on one input become neighbours. */
#include "graph/graph.h"

#include <string.h>

typedef struct mover {
  mtk_graph *g;               /* in the making */
  const mtk_graph_value *was; /* the values of the graph as it was; the rest is by their numbers */
  bool *whole;                /* read by a node that needs all tokens */
  mtk_node_value *now;        /* the same value in the making, of whichever rows */
  mtk_node_value *selected;   /* its output rows, -1 until they are needed */
} mover;

/* Row by row, so that the wanted rows need nothing but the wanted rows of the inputs. */
static bool is_moved(const mover *m, const mtk_graph_node *n) {
  bool moved = mtk_op_get(n->op)->rows == MTK_ROWS_SAME && n->n_in > 0 &&
               m->was[n->in[0]].rows == MTK_ROWS_TOKENS;
  for (int i = 0; i < n->n_out; i++) moved = moved && !m->whole[n->out[i]];
  return moved;
}

static void find_whole(mover *m, const mtk_graph_node *nodes, size_t n_nodes) {
  for (size_t i = n_nodes; i-- > 0;) {
    const mtk_graph_node *n = &nodes[i];
    if (n->op == MTK_OP_SELECT || is_moved(m, n)) continue;
    for (int j = 0; j < n->n_in; j++) m->whole[n->in[j]] = true;
  }
}

/* The output rows of a value. */
static mtk_node_value select_rows(mover *m, mtk_node_value v) {
  mtk_node_value now = m->now[v];
  if (m->g->status != MTK_OK || m->g->values[now].rows == MTK_ROWS_OUTPUTS) return now;
  if (m->selected[v] < 0)
    m->selected[v] = mtk_graph_append(m->g, MTK_OP_SELECT, &now, 1, -1, 0, NULL);
  return m->selected[v];
}

static void add_again(mover *m, const mtk_graph_node *n) {
  if (n->op == MTK_OP_SELECT) {
    m->now[n->out[0]] = select_rows(m, n->in[0]);
    return;
  }
  mtk_node_value in[MTK_OP_MAX_IN];
  bool moved = is_moved(m, n);
  for (int i = 0; i < n->n_in; i++) in[i] = moved ? select_rows(m, n->in[i]) : m->now[n->in[i]];
  int64_t width = n->n_out > 0 ? m->was[n->out[0]].width : 0;
  mtk_node_value out = mtk_graph_append(m->g, n->op, in, n->n_in, n->weight, width, &n->attrs);
  for (int i = 0; i < n->n_out; i++) m->now[n->out[i]] = out + i;
}

static void build_again(mover *m, const mtk_graph_node *nodes, size_t n_nodes) {
  mtk_graph *g = m->g;
  find_whole(m, nodes, n_nodes);
  for (size_t i = 0; i < n_nodes && g->status == MTK_OK; i++) add_again(m, &nodes[i]);
  if (g->logits >= 0) g->logits = m->now[g->logits];
  g->hidden = -1;
}

mtk_status mtk_graph_select_early(mtk_graph *g, mtk_error *err) {
  mtk_graph_node *nodes = g->nodes;
  mtk_graph_value *values = g->values;
  size_t n_nodes = g->n_nodes, n_values = g->n_values;
  mover m = {.g = g,
             .was = values,
             .whole = mtk_alloc(n_values, sizeof *m.whole),
             .now = mtk_alloc(n_values, sizeof *m.now),
             .selected = mtk_alloc(n_values, sizeof *m.selected)};
  if (m.whole && m.now && m.selected) {
    g->nodes = NULL;
    g->values = NULL;
    g->n_nodes = g->cap_nodes = g->n_values = g->cap_values = 0;
    for (size_t i = 0; i < n_values; i++) m.selected[i] = -1;
    build_again(&m, nodes, n_nodes);
    mtk_free(nodes);
    mtk_free(values);
  } else {
    mtk_graph_fail(g, MTK_E_NOMEM, NULL, "out of memory for a graph");
  }
  mtk_free(m.whole);
  mtk_free(m.now);
  mtk_free(m.selected);
  return mtk_graph_status(g, err);
}

void mtk_graph_group_linears(mtk_graph *g) {
  for (size_t i = 0, end; i < g->n_nodes; i = end) {
    end = i + 1;
    if (g->nodes[i].op != MTK_OP_LINEAR) continue;
    for (size_t j = end; j < g->n_nodes && g->nodes[j].op != MTK_OP_ATTENTION; j++) {
      mtk_graph_node n = g->nodes[j];
      if (n.op != MTK_OP_LINEAR || n.in[0] != g->nodes[i].in[0]) continue;
      memmove(&g->nodes[end + 1], &g->nodes[end], (j - end) * sizeof n);
      g->nodes[end++] = n;
    }
  }
}
