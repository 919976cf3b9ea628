/* exec_forward.c: how each forward op is split into tasks and handed to the kernels. run_* are
 * called by the driving thread; the range functions below them run on the pool. */
#include "graph/exec_ops.h"

#include <string.h>

/* ---- embedding ------------------------------------------------------------------------------ */

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
    else if (w->fetch_row(y + r * d, w, id, mtk_exec_scratch(e, worker), &error) != MTK_OK)
      mtk_exec_fail(e, &error);
  }
}

static void run_embed(mtk_exec *e, const mtk_graph_node *n) {
  mtk_exec_split(e, n, e->step->n_tokens, 1, 4.0 * (double)e->weights[n->weight]->k, embed_rows);
}

/* ---- linear --------------------------------------------------------------------------------- */

static void prepare_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  int64_t m = mtk_exec_rows(e, n->in[0]);
  w->kernel->prepare(e->ws->act[w->kernel->arith], mtk_exec_data(e, n->in[0]), w->k, m, r0, r1,
                     w->k);
}

/* Neighbouring layers on the same input (q, k, v; gate, up) share one prepared activation. */
static void prepare(mtk_exec *e, const mtk_graph_node *n, const mtk_weight *w) {
  mtk_prepared *have = &e->prepared[w->kernel->arith];
  if (have->x == n->in[0] && !have->sorted_by && have->kernel->prepare == w->kernel->prepare)
    return;
  mtk_exec_split(e, n, mtk_exec_rows(e, n->in[0]), 4, 4.0 * (double)w->k, prepare_rows);
  *have = (mtk_prepared){n->in[0], w->kernel, 0};
}

/* Linear layers that are computed together: neighbours on one input. */
enum { MAX_GROUP = 4, PANEL_GRAIN = 4, ROW_BLOCK = 96, ROW_GRAIN = 16 };

typedef struct linear_job {
  const mtk_weight *w;
  float *y;
  int64_t n_panels;
  int64_t end; /* tasks of a part up to this layer's last */
} linear_job;

/* The layers of a group on m rows. Rows are cut into parts, one a thread where there are enough, so
 * that a thread has the same rows in every layer; in a part row blocks vary fastest, so that a
 * block of weights is read from memory once. */
typedef struct linear_group {
  linear_job layers[MAX_GROUP];
  const void *act;
  int64_t m, part_rows, row_blocks, panel_block; /* row_blocks: of a part */
  int64_t part_tasks;
} linear_group;

static void run_linear_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  const linear_group *g = ctx;
  const linear_job *j = g->layers;
  int64_t row = task / g->part_tasks * g->part_rows, before = 0;
  int64_t row_end = row + g->part_rows < g->m ? row + g->part_rows : g->m;
  for (task %= g->part_tasks; task >= j->end; j++) before = j->end;
  task -= before;
  int64_t m0 = row + task % g->row_blocks * ROW_BLOCK, p0 = task / g->row_blocks * g->panel_block;
  int64_t m1 = m0 + ROW_BLOCK < row_end ? m0 + ROW_BLOCK : row_end;
  int64_t p1 = p0 + g->panel_block < j->n_panels ? p0 + g->panel_block : j->n_panels;
  if (m0 >= m1) return;
  j->w->kernel->run(j->y, j->w->n, g->act, g->m, m0, m1, j->w->packed, j->w->n, j->w->k, p0, p1);
}

static bool joins(const mtk_exec *e, const mtk_graph_node *first, const mtk_graph_node *n) {
  if (n->op != MTK_OP_LINEAR || n->in[0] != first->in[0]) return false;
  const mtk_linear_kernel *a = e->weights[first->weight]->kernel;
  const mtk_linear_kernel *b = e->weights[n->weight]->kernel;
  return a->arith == b->arith && a->prepare == b->prepare;
}

size_t mtk_exec_run_linears(mtk_exec *e, const mtk_graph_node *n, size_t n_nodes) {
  linear_group g = {.m = mtk_exec_rows(e, n->in[0])};
  size_t count = 1;
  while (count < n_nodes && count < MAX_GROUP && joins(e, n, n + count)) count++;
  int64_t threads = mtk_pool_size(e->pool), panels = 0;
  if (g.m == 0) return count;
  prepare(e, n, e->weights[n->weight]);
  g.act = e->ws->act[e->weights[n->weight]->kernel->arith];
  double flops = 0.0;
  for (size_t i = 0; i < count; i++) {
    const mtk_weight *w = e->weights[n[i].weight];
    g.layers[i] = (linear_job){.w = w, .y = mtk_exec_data(e, n[i].out[0]),
                               .n_panels = (w->n + MTK_PANEL - 1) / MTK_PANEL};
    panels += g.layers[i].n_panels;
    flops += 2.0 * (double)g.m * (double)w->n * (double)w->k;
  }
  bool alone = threads == 1 || flops < 100e3;
  int64_t parts = g.m < threads * ROW_BLOCK ? (g.m + ROW_BLOCK - 1) / ROW_BLOCK : threads;
  g.part_rows = ((g.m + parts - 1) / parts + ROW_GRAIN - 1) / ROW_GRAIN * ROW_GRAIN;
  g.row_blocks = (g.part_rows + ROW_BLOCK - 1) / ROW_BLOCK;
  g.panel_block = alone ? panels : panels / (4 * threads) / PANEL_GRAIN * PANEL_GRAIN;
  if (g.panel_block < PANEL_GRAIN) g.panel_block = PANEL_GRAIN;
  if (g.m > ROW_BLOCK && g.panel_block > 2 * PANEL_GRAIN) g.panel_block = 2 * PANEL_GRAIN;
  for (size_t i = 0; i < count; i++) {
    int64_t blocks = (g.layers[i].n_panels + g.panel_block - 1) / g.panel_block;
    g.layers[i].end = g.part_tasks += g.row_blocks * blocks;
  }
  mtk_pool_run(alone ? NULL : e->pool, parts * g.part_tasks, run_linear_task, &g);
  return count;
}

static void run_linear(mtk_exec *e, const mtk_graph_node *n) { mtk_exec_run_linears(e, n, 1); }

/* ---- rows ----------------------------------------------------------------------------------- */

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

static void silu_mul_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                          int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->silu_mul(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                 mtk_exec_data(e, n->in[1]) + r0 * d, (r1 - r0) * d);
}

static void gelu_mul_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                          int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->gelu_mul(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                 n->n_in > 1 ? mtk_exec_data(e, n->in[1]) + r0 * d : NULL,
                 n->attrs.activation == MTK_GELU_ERF, (r1 - r0) * d);
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
    [MTK_OP_RMSNORM] = rmsnorm_rows,       [MTK_OP_ADD_ROW] = add_row_rows,
    [MTK_OP_ROPE] = rope_rows,             [MTK_OP_ROPE_DX] = rope_rows,
    [MTK_OP_SILU_MUL] = silu_mul_rows,     [MTK_OP_ADD] = add_rows,
    [MTK_OP_ADD_SCALED] = add_scaled_rows, [MTK_OP_SCALE] = scale_rows,
    [MTK_OP_SELECT] = select_rows,         [MTK_OP_CROSS_ENTROPY] = cross_entropy_rows,
    [MTK_OP_GELU_MUL] = gelu_mul_rows,     [MTK_OP_SOFTCAP] = softcap_rows,
    [MTK_OP_SLICE] = slice_rows,           [MTK_OP_GELU] = gelu_mul_rows,
    [MTK_OP_LAYERNORM] = layernorm_rows,   [MTK_OP_JOIN_HEADS] = join_rows,
};

static void run_rows(mtk_exec *e, const mtk_graph_node *n) {
  double flops = (mtk_op_get(n->op)->flops + 1.0) * (double)mtk_exec_width(e, n->in[0]);
  mtk_exec_split(e, n, mtk_exec_rows(e, n->out[0]), 1, flops, row_ops[n->op]);
}

mtk_run_fn *const mtk_exec_forward_ops[MTK_OP_COUNT] = {
    [MTK_OP_EMBED] = run_embed,      [MTK_OP_RMSNORM] = run_rows,
    [MTK_OP_LINEAR] = run_linear,    [MTK_OP_ADD_ROW] = run_rows,
    [MTK_OP_ROPE] = run_rows,        [MTK_OP_ROPE_DX] = run_rows,
    [MTK_OP_ATTENTION] = mtk_exec_run_attention, [MTK_OP_SILU_MUL] = run_rows,
    [MTK_OP_ADD] = run_rows,         [MTK_OP_ADD_SCALED] = run_rows,
    [MTK_OP_SCALE] = run_rows,       [MTK_OP_SELECT] = run_rows,
    [MTK_OP_CROSS_ENTROPY] = run_rows, [MTK_OP_GELU_MUL] = run_rows,
    [MTK_OP_SOFTCAP] = run_rows,     [MTK_OP_SLICE] = run_rows,
    [MTK_OP_GELU] = run_rows,        [MTK_OP_LAYERNORM] = run_rows,
    [MTK_OP_JOIN_HEADS] = run_rows,
};
