/* exec_forward.c: which function runs each forward op, and how linear layers are split into tasks
 * and handed to the kernels. run_* are called by the driving thread. */
#include "graph/exec_ops.h"

/* ---- linear --------------------------------------------------------------------------------- */

void mtk_exec_prepare_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                           int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  int64_t m = mtk_exec_rows(e, n->in[0]);
  w->kernel->prepare(e->ws->act[w->kernel->arith], mtk_exec_data(e, n->in[0]), w->k, m, r0, r1,
                     w->k);
}

/* Neighbouring layers on the same input (q, k, v; gate, up) share one prepared activation. */
bool mtk_exec_is_prepared(const mtk_exec *e, const mtk_graph_node *n) {
  const mtk_linear_kernel *kernel = e->weights[n->weight]->kernel;
  const mtk_prepared *have = &e->prepared[kernel->arith];
  return have->x == n->in[0] && !have->sorted_by && have->kernel->prepare == kernel->prepare;
}

void mtk_exec_set_prepared(mtk_exec *e, const mtk_graph_node *n) {
  const mtk_linear_kernel *kernel = e->weights[n->weight]->kernel;
  e->prepared[kernel->arith] = (mtk_prepared){n->in[0], kernel, 0};
}

static void prepare(mtk_exec *e, const mtk_graph_node *n) {
  if (mtk_exec_is_prepared(e, n)) return;
  mtk_exec_split(e, n, mtk_exec_rows(e, n->in[0]), MTK_PREPARE_GRAIN,
                 MTK_PREPARE_FLOPS * (double)e->weights[n->weight]->k, mtk_exec_prepare_rows);
  mtk_exec_set_prepared(e, n);
}

/* Linear layers that are computed together: neighbours on one input. Rows of a block are multiplied
 * by many panels one after the other, while their activations stay in the L2 cache. */
enum { MAX_GROUP = 4, PANEL_GRAIN = 4, ROW_BLOCK = 256, ROW_GRAIN = 16, TASKS_A_THREAD = 4 };

typedef struct linear_job {
  const mtk_weight *w;
  float *y;
  int64_t n_panels;
  int64_t end; /* tasks of a row block up to this layer's last */
} linear_job;

/* The layers of a group on m rows, cut into blocks: as many for each thread where there are enough,
 * so that a thread has the same rows in every layer. */
typedef struct linear_group {
  linear_job layers[MAX_GROUP];
  const void *act;
  int64_t m, block_rows, panel_block, block_tasks;
} linear_group;

static void run_linear_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  const linear_group *g = ctx;
  const linear_job *j = g->layers;
  int64_t m0 = task / g->block_tasks * g->block_rows, before = 0;
  int64_t m1 = m0 + g->block_rows < g->m ? m0 + g->block_rows : g->m;
  for (task %= g->block_tasks; task >= j->end; j++) before = j->end;
  int64_t p0 = (task - before) * g->panel_block;
  int64_t p1 = p0 + g->panel_block < j->n_panels ? p0 + g->panel_block : j->n_panels;
  j->w->kernel->run(j->y, j->w->n, g->act, g->m, m0, m1, j->w->packed, j->w->n, j->w->k, p0, p1);
}

/* Cuts the rows into blocks and `panels` panels into tasks; returns the number of row blocks. */
static int64_t cut_group(linear_group *g, int64_t panels, int64_t threads) {
  int64_t blocks = (g->m + ROW_BLOCK - 1) / ROW_BLOCK;
  if (blocks > threads) blocks = (blocks + threads - 1) / threads * threads;
  g->block_rows = ((g->m + blocks - 1) / blocks + ROW_GRAIN - 1) / ROW_GRAIN * ROW_GRAIN;
  blocks = (g->m + g->block_rows - 1) / g->block_rows;
  g->panel_block = panels * blocks / (TASKS_A_THREAD * threads) / PANEL_GRAIN * PANEL_GRAIN;
  if (threads == 1 || g->panel_block > panels) g->panel_block = panels;
  if (g->panel_block < PANEL_GRAIN) g->panel_block = PANEL_GRAIN;
  return blocks;
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
  prepare(e, n);
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
  int64_t blocks = cut_group(&g, panels, alone ? 1 : threads);
  for (size_t i = 0; i < count; i++) {
    g.block_tasks += (g.layers[i].n_panels + g.panel_block - 1) / g.panel_block;
    g.layers[i].end = g.block_tasks;
  }
  mtk_pool_run(alone ? NULL : e->pool, blocks * g.block_tasks, run_linear_task, &g);
  return count;
}

static void run_linear(mtk_exec *e, const mtk_graph_node *n) { mtk_exec_run_linears(e, n, 1); }

static void run_rows(mtk_exec *e, const mtk_graph_node *n) { mtk_exec_run_rows(e, n, 1); }

mtk_run_fn *const mtk_exec_forward_ops[MTK_OP_COUNT] = {
    [MTK_OP_EMBED] = run_rows,       [MTK_OP_RMSNORM] = run_rows,
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
