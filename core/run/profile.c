/* profile.c: where the time of a step goes. The executor calls before every node; what passed since
 * the call before belongs to the node before. Costs a clock reading per node, and
 * neighbouring linear layers are computed one by one. One thread. */
#include "run/profile.h"

#include <string.h>

#include "graph/exec_ops.h"

void mtk_profile_start(mtk_profile *p, bool on) {
  p->on = on;
  p->n_rows = 0;
}

static bool same_op(const mtk_op_stats *a, const mtk_op_stats *b) {
  return a->type == b->type && a->arith == b->arith && a->n == b->n && a->k == b->k &&
         strcmp(a->op, b->op) == 0;
}

static size_t find_row(mtk_profile *p, const mtk_op_stats *kind) {
  for (size_t i = 0; i < p->n_rows; i++)
    if (same_op(&p->rows[i], kind)) return i;
  if (p->n_rows == MTK_PROFILE_ROWS) return MTK_PROFILE_ROWS - 1;
  p->rows[p->n_rows] = *kind;
  if (p->n_rows == MTK_PROFILE_ROWS - 1)
    p->rows[p->n_rows] = (mtk_op_stats){.op = "other", .type = MTK_DTYPE_COUNT};
  return p->n_rows++;
}

static void step_to(mtk_profile *p, size_t row, double ops, double bytes) {
  double now = mtk_now_s();
  p->rows[p->current].seconds += now - p->since;
  p->rows[row].calls++;
  p->rows[row].ops += ops;
  p->rows[row].bytes += bytes;
  p->current = row;
  p->since = now;
}

void mtk_profile_begin(mtk_profile *p, const mtk_exec_step *step) {
  if (!p->on) return;
  double seen = 0;
  p->cached = 0;
  for (int s = 0; s < step->n_seqs; s++) {
    double rows = (double)step->seqs[s].n_rows, before = (double)step->seqs[s].pos0;
    seen += rows * (before + (rows + 1) / 2);
    p->cached += before + rows;
  }
  p->keys = seen / (double)step->n_tokens;
  const mtk_op_stats setup = {.op = "positions", .type = MTK_DTYPE_COUNT};
  p->current = find_row(p, &setup);
  p->rows[p->current].calls++;
  p->since = mtk_now_s();
}

void mtk_profile_end(mtk_profile *p) {
  if (p->on) p->rows[p->current].seconds += mtk_now_s() - p->since;
}

/* Bytes of the weight that a node reads, given how many of its elements. */
static double weight_bytes(const mtk_weight *w, unsigned use, double elems) {
  if (!(use & (MTK_USE_LINEAR | MTK_USE_EXPERTS)))
    return use & MTK_USE_EMBED ? elems / (double)w->k * (double)w->row_bytes : 4.0 * elems;
  return elems / ((double)w->n * (double)w->k) * (double)w->packed_bytes;
}

void mtk_profile_observe(void *ctx, mtk_exec *e, const mtk_graph_node *node) {
  mtk_profile *p = ctx;
  double tokens = (double)e->step->n_tokens, outputs = (double)e->step->n_outputs;
  const mtk_op_info *op = mtk_op_get(node->op);
  mtk_op_stats kind = {.op = op->name, .type = MTK_DTYPE_COUNT};
  mtk_cost cost = mtk_node_cost(e->g, node, tokens, outputs, p->keys);
  double bytes = cost.value_bytes;
  if (op->cost == MTK_COST_ATTENTION) { /* a cached key is read once for all rows of a step */
    int hd = node->attrs.head_dim, vd = node->attrs.v_dim, heads = node->attrs.n_head_kv;
    mtk_dtype type = e->step->kv_type;
    double page = (double)(mtk_kv_page_bytes(type, hd) + mtk_kv_page_bytes(type, vd));
    bytes += heads * (page / MTK_KV_PAGE * p->cached - 4.0 * (hd + vd) * tokens * p->keys);
  }
  if (node->weight >= 0) {
    const mtk_weight *w = e->weights[node->weight];
    bytes += weight_bytes(w, op->use, cost.weight_elems);
    if (w->kernel && op->use & (MTK_USE_LINEAR | MTK_USE_EXPERTS)) {
      kind.type = w->kernel->type;
      kind.arith = w->kernel->arith;
      kind.n = w->n;
      kind.k = w->k;
    }
  }
  step_to(p, find_row(p, &kind), cost.flops, bytes);
}
