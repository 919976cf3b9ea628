/* exec_rows.c: the ops that work row by row, and chains of them.
 *
 * Nodes that follow one another, and whose result rows need nothing but the same rows of values
 * before, run as a chain: a thread takes some rows through all of them, and through the preparation
 * of activations for the linear layer behind. The threads need not wait for each other after every
 * node, and the rows stay in a thread's cache. The plan keeps apart what a chain touches.
 * *_rows functions run on the pool, on disjoint rows. */
#include "graph/exec_ops.h"

#include <string.h>

static void embed_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  const mtk_weight *w = e->weights[n->weight];
  int64_t d = w->k;
  float *y = mtk_exec_data(e, n->out[0]);
  for (int64_t r = r0; r < r1; r++) {
    int64_t id = 0;
    if (n->attrs.lookup == MTK_LOOKUP_ID) id = e->step->ids[r];
    if (n->attrs.lookup == MTK_LOOKUP_POSITION) id = e->ws->pos[r];
    mtk_error error;
    if (id >= w->n)
      mtk_exec_fail(e, (mtk_fail(&error, MTK_E_LIMIT, w->name, "has no row %lld", (long long)id),
                        &error));
    else if (w->value)
      memcpy(y + r * d, w->value + id * d, (size_t)d * sizeof *y);
    else if (w->fetch_row(y + r * d, e->k, w, id, mtk_exec_scratch(e, worker), &error) != MTK_OK)
      mtk_exec_fail(e, &error);
  }
}

static void rmsnorm_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->rmsnorm(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                w->value, n->attrs.eps, (r1 - r0) * (d / w->k), w->k);
}

static void layernorm_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                           int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->layernorm(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                  e->weights[n->weight]->value, n->attrs.eps, r1 - r0, d);
}

static void add_row_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  float *y = mtk_exec_data(e, n->out[0]) + r0 * d;
  const float *x = mtk_exec_data(e, n->in[0]) + r0 * d;
  if (y != x) memcpy(y, x, (size_t)((r1 - r0) * d) * sizeof *y);
  e->k->add_row(y, e->weights[n->weight]->value, r1 - r0, d, d);
}

static void rope_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  const mtk_attrs *a = &n->attrs;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->rope(mtk_exec_data(e, n->out[0]) + r0 * d, d, mtk_exec_data(e, n->in[0]) + r0 * d, d,
             mtk_exec_cos_sin(e, a->rope_table) + r0 * a->rope_dim, r1 - r0, a->n_head,
             a->head_dim, a->rope_dim, a->interleaved, n->op == MTK_OP_ROPE_DX);
}

void mtk_exec_gate(const mtk_exec *e, const mtk_graph_node *n, float *y, const float *gate,
                   const float *up, int64_t count) {
  if (n->op == MTK_OP_SILU_MUL)
    e->k->silu_mul(y, gate, up, count);
  else
    e->k->gelu_mul(y, gate, up, n->attrs.activation == MTK_GELU_ERF, count);
}

static void gate_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  mtk_exec_gate(e, n, mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                n->n_in > 1 ? mtk_exec_data(e, n->in[1]) + r0 * d : NULL, (r1 - r0) * d);
}

static void softcap_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                         int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->softcap(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                n->attrs.softcap, (r1 - r0) * d);
}

static void slice_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t heads = n->attrs.n_head > 1 ? n->attrs.n_head : 1, d = n->attrs.n_column;
  int64_t from = mtk_exec_width(e, n->in[0]) / heads;
  const float *x = mtk_exec_data(e, n->in[0]) + n->attrs.column;
  float *y = mtk_exec_data(e, n->out[0]);
  r0 *= heads;
  r1 *= heads;
  for (int64_t r = r0; r < r1; r++) memcpy(y + r * d, x + r * from, (size_t)d * sizeof *y);
}

static void join_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  const mtk_attrs *at = &n->attrs;
  int64_t heads = at->n_head, left = at->head_dim - at->v_dim, right = at->v_dim;
  bool shared = mtk_exec_width(e, n->in[1]) == right;
  const float *a = mtk_exec_data(e, n->in[0]), *b = mtk_exec_data(e, n->in[1]);
  float *y = mtk_exec_data(e, n->out[0]) + r0 * heads * at->head_dim;
  for (int64_t i = r0 * heads; i < r1 * heads; i++, y += left + right) {
    memcpy(y, a + i * left, (size_t)left * sizeof *y);
    memcpy(y + left, b + (shared ? i / heads : i) * right, (size_t)right * sizeof *y);
  }
}

static void add_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->add(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
            mtk_exec_data(e, n->in[1]) + r0 * d, (r1 - r0) * d);
}

static void add_scaled_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                            int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->add_scaled(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                   mtk_exec_data(e, n->in[1]) + r0 * d, n->attrs.scale, (r1 - r0) * d);
}

static void scale_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->scale(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
              n->attrs.scale, (r1 - r0) * d);
}

static void select_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  const float *x = mtk_exec_data(e, n->in[0]);
  float *y = mtk_exec_data(e, n->out[0]);
  for (int64_t r = r0; r < r1; r++)
    memcpy(y + r * d, x + e->step->output_rows[r] * d, (size_t)d * sizeof *y);
}

static void cross_entropy_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                               int worker) {
  (void)worker;
  int64_t v = mtk_exec_width(e, n->in[0]);
  const float *x = mtk_exec_data(e, n->in[0]);
  float *loss = mtk_exec_data(e, n->out[0]);
  for (int64_t r = r0; r < r1; r++)
    loss[r] = e->k->logsumexp(x + r * v, v) - x[r * v + e->step->targets[r]];
}

/* The range function of each op that works row by row. */
static const mtk_range_fn row_ops[MTK_OP_COUNT] = {
    [MTK_OP_EMBED] = embed_rows,           [MTK_OP_ATTENTION] = mtk_exec_attend_rows,
    [MTK_OP_RMSNORM] = rmsnorm_rows,       [MTK_OP_ADD_ROW] = add_row_rows,
    [MTK_OP_ROPE] = rope_rows,             [MTK_OP_ROPE_DX] = rope_rows,
    [MTK_OP_SILU_MUL] = gate_rows,         [MTK_OP_ADD] = add_rows,
    [MTK_OP_ADD_SCALED] = add_scaled_rows, [MTK_OP_SCALE] = scale_rows,
    [MTK_OP_SELECT] = select_rows,         [MTK_OP_CROSS_ENTROPY] = cross_entropy_rows,
    [MTK_OP_GELU_MUL] = gate_rows,         [MTK_OP_SOFTCAP] = softcap_rows,
    [MTK_OP_SLICE] = slice_rows,           [MTK_OP_GELU] = gate_rows,
    [MTK_OP_LAYERNORM] = layernorm_rows,   [MTK_OP_JOIN_HEADS] = join_rows,
};

/* ---- chains --------------------------------------------------------------------------------- */

/* Rows that go through a chain together: what they touch should stay in the L2 cache. */
enum { CHAIN_ROWS = 64 };

/* Rows of e->chain, which begins with node n. */
static void chain_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  for (int64_t end; r0 < r1; r0 = end) {
    end = r0 + CHAIN_ROWS < r1 ? r0 + CHAIN_ROWS : r1;
    for (size_t i = 0; i < e->chain.n_nodes; i++) row_ops[n[i].op](e, n + i, r0, end, worker);
    if (e->chain.linear) mtk_exec_prepare_rows(e, e->chain.linear, r0, end, worker);
  }
}

/* By the columns that are read: cross entropy makes one number of a row of logits. */
static double row_flops(const mtk_exec *e, const mtk_graph_node *n) {
  if (n->op == MTK_OP_ATTENTION) return mtk_exec_attention_flops(e, n) / (double)e->step->n_tokens;
  mtk_node_value v = n->n_in > 0 ? n->in[0] : n->out[0];
  return (mtk_op_get(n->op)->flops + 1.0) * (double)mtk_exec_width(e, v);
}

bool mtk_exec_is_by_rows(const mtk_exec *e, const mtk_graph_node *n) {
  return mtk_op_get(n->op)->by_rows &&
         (n->op != MTK_OP_ATTENTION || mtk_exec_attends_by_rows(e, n));
}

static bool follows(const mtk_exec *e, const mtk_graph_node *n) {
  return mtk_graph_chains(e->g, n - 1, n) && mtk_exec_is_by_rows(e, n);
}

size_t mtk_exec_run_rows(mtk_exec *e, const mtk_graph_node *n, size_t n_nodes) {
  double flops = row_flops(e, n);
  size_t count = 1;
  for (; count < n_nodes && follows(e, n + count); count++) flops += row_flops(e, n + count);
  const mtk_graph_node *next = n + count, *linear = NULL;
  if (count < n_nodes && next->op == MTK_OP_LINEAR && !mtk_exec_is_prepared(e, next) &&
      e->g->values[next->in[0]].rows == e->g->values[n->out[0]].rows) {
    linear = next;
    flops += MTK_PREPARE_FLOPS * (double)mtk_exec_width(e, next->in[0]);
    mtk_exec_set_prepared(e, next);
  }
  e->chain = (mtk_row_chain){count, linear};
  mtk_exec_split(e, n, mtk_exec_rows(e, n->out[0]), linear ? MTK_PREPARE_GRAIN : 1, flops,
                 chain_rows);
  return count;
}
