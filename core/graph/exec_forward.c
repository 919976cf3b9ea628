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
enum { MAX_NEIGHBOURS = 16, MAX_GROUP = 4, PANEL_GRAIN = 4, ROW_GRAIN = 16, TASKS_A_THREAD = 4 };
enum { ROW_BLOCK = 256, LEAST_ROWS = 64 }; /* at most; at least, for many threads */
/* Where gate and up are multiplied in the cache: from so many rows on, so many panels at once. */
enum { GATED_ROWS = 64, GATED_PANELS = 8 };

typedef struct linear_job {
  const mtk_weight *w;
  float *y;
  int64_t n_panels;
  int64_t end; /* tasks of a row block up to this layer's last */
} linear_job;

/* The layers of a group on m rows, cut into blocks: as many for each thread where there are enough,
 * so that a thread has the same rows in every layer. */
typedef struct linear_group {
  mtk_exec *e;
  linear_job layers[MAX_GROUP];
  size_t count;
  const mtk_graph_node *gate; /* the node that multiplies both layers' results, or NULL */
  const void *act;
  int64_t m, block_rows, panel_block, block_tasks;
} linear_group;

/* Columns of panels p0 .. p0+panel_block of all rows of a block go to y, ld apart, which stands at
 * the block's first row and panel p0. */
static void run_panels(const linear_group *g, const linear_job *j, int64_t m0, int64_t p0, float *y,
                       int64_t ld) {
  int64_t m1 = m0 + g->block_rows < g->m ? m0 + g->block_rows : g->m;
  int64_t p1 = p0 + g->panel_block < j->n_panels ? p0 + g->panel_block : j->n_panels;
  j->w->kernel->run(y - m0 * ld - p0 * MTK_PANEL, ld, g->act, g->m, m0, m1, j->w->packed, j->w->n,
                    j->w->k, p0, p1);
}

static void run_linear_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  const linear_group *g = ctx;
  const linear_job *j = g->layers;
  int64_t m0 = task / g->block_tasks * g->block_rows, before = 0;
  for (task %= g->block_tasks; task >= j->end; j++) before = j->end;
  int64_t p0 = (task - before) * g->panel_block, ld = j->w->n;
  run_panels(g, j, m0, p0, j->y + m0 * ld + p0 * MTK_PANEL, ld);
}

/* Both layers' columns to the worker's scratch, and their product from there to the result: gate
 * and up themselves never leave the cache. */
static void run_gated_task(void *ctx, int64_t task, int worker) {
  const linear_group *g = ctx;
  int64_t m0 = task / g->block_tasks * g->block_rows, p0 = task % g->block_tasks * g->panel_block;
  int64_t rows = g->m - m0 < g->block_rows ? g->m - m0 : g->block_rows;
  int64_t n = g->layers[0].w->n, col0 = p0 * MTK_PANEL, ld = g->panel_block * MTK_PANEL;
  int64_t cols = n - col0 < ld ? n - col0 : ld;
  float *gate = mtk_exec_scratch(g->e, worker), *up = gate + rows * ld;
  float *y = mtk_exec_data(g->e, g->gate->out[0]) + m0 * n + col0;
  run_panels(g, &g->layers[0], m0, p0, gate, ld);
  run_panels(g, &g->layers[1], m0, p0, up, ld);
  for (int64_t r = 0; r < rows; r++)
    mtk_exec_gate(g->e, g->gate, y + r * n, gate + r * ld, up + r * ld, cols);
}

size_t mtk_exec_gated_floats(const mtk_exec *e) {
  int64_t rows = e->step->n_tokens < ROW_BLOCK ? e->step->n_tokens : ROW_BLOCK;
  return rows < GATED_ROWS ? 0 : (size_t)(2 * rows * GATED_PANELS * MTK_PANEL);
}

/* Cuts the rows into blocks, more of them where panels are too few for the threads, and the panels
 * of all layers (of one, if they are gated) into tasks; returns the number of row blocks. */
static int64_t cut_group(linear_group *g, int64_t threads) {
  int64_t blocks = (g->m + ROW_BLOCK - 1) / ROW_BLOCK, panels = 0;
  for (size_t i = 0; i < g->count; i++) panels += g->layers[i].n_panels;
  int64_t finest = panels / PANEL_GRAIN + 1; /* tasks of a block, at most */
  while (blocks * finest < TASKS_A_THREAD * threads && (blocks + 1) * LEAST_ROWS <= g->m) blocks++;
  if (blocks > threads) blocks = (blocks + threads - 1) / threads * threads;
  g->block_rows = ((g->m + blocks - 1) / blocks + ROW_GRAIN - 1) / ROW_GRAIN * ROW_GRAIN;
  blocks = (g->m + g->block_rows - 1) / g->block_rows;
  g->panel_block = panels * blocks / (TASKS_A_THREAD * threads) / PANEL_GRAIN * PANEL_GRAIN;
  if (threads == 1 || g->panel_block > panels) g->panel_block = panels;
  if (g->panel_block < PANEL_GRAIN) g->panel_block = PANEL_GRAIN;
  if (g->gate && g->panel_block > GATED_PANELS) g->panel_block = GATED_PANELS;
  for (size_t i = 0; i < g->count; i++) {
    if (i == 0 || !g->gate)
      g->block_tasks += (g->layers[i].n_panels + g->panel_block - 1) / g->panel_block;
    g->layers[i].end = g->block_tasks;
  }
  return blocks;
}

static bool joins(const mtk_exec *e, const mtk_graph_node *first, const mtk_graph_node *n) {
  const mtk_linear_kernel *a = e->weights[first->weight]->kernel;
  const mtk_linear_kernel *b = e->weights[n->weight]->kernel;
  return a->arith == b->arith && a->prepare == b->prepare;
}

/* Does node n multiply the results of the two layers before it, which nobody else reads? */
static bool gates(const mtk_exec *e, const mtk_graph_node *first, const mtk_graph_node *n) {
  if (n->op != MTK_OP_SILU_MUL && n->op != MTK_OP_GELU_MUL) return false;
  mtk_node_value a = first->out[0], b = first[1].out[0];
  bool both = (n->in[0] == a && n->in[1] == b) || (n->in[0] == b && n->in[1] == a);
  int32_t at = (int32_t)(n - e->g->nodes);
  return both && e->plan->last[a] == at && e->plan->last[b] == at;
}

/* Multiplies the layers of a group; `first` is one of them. */
static void run_group(linear_group *g, const mtk_graph_node *first) {
  mtk_exec *e = g->e;
  double flops = 0.0;
  prepare(e, first);
  g->act = e->ws->act[e->weights[first->weight]->kernel->arith];
  for (size_t i = 0; i < g->count; i++)
    flops += 2.0 * (double)g->m * (double)g->layers[i].w->n * (double)g->layers[i].w->k;
  int64_t threads = flops < 100e3 ? 1 : mtk_pool_size(e->pool);
  int64_t blocks = cut_group(g, threads);
  mtk_pool_run(threads == 1 ? NULL : e->pool, blocks * g->block_tasks,
               g->gate ? run_gated_task : run_linear_task, g);
}

/* Neighbours on one input whose activations differ (those of low-rank terms are floats) are groups
 * of their own, in any order: their results are not read before the last. */
size_t mtk_exec_run_linears(mtk_exec *e, const mtk_graph_node *n, size_t n_nodes) {
  size_t count = 1;
  bool done[MAX_NEIGHBOURS] = {false};
  while (count < n_nodes && count < MAX_NEIGHBOURS && n[count].op == MTK_OP_LINEAR &&
         n[count].in[0] == n->in[0])
    count++;
  int64_t m = mtk_exec_rows(e, n->in[0]);
  if (m == 0) return count;
  bool gated = count == 2 && n_nodes > 2 && m >= GATED_ROWS && joins(e, n, n + 1) &&
               gates(e, n, n + 2);
  for (size_t i = 0; i < count; i++) {
    linear_group g = {.e = e, .m = m, .gate = gated ? n + 2 : NULL};
    for (size_t j = i; j < count && g.count < MAX_GROUP; j++) {
      if (done[j] || !joins(e, n + i, n + j)) continue;
      const mtk_weight *w = e->weights[n[j].weight];
      bool second = gated && n[2].in[0] != n->out[0]; /* gate comes first */
      g.layers[second ? 1 - j : g.count] =
          (linear_job){.w = w, .y = mtk_exec_data(e, n[j].out[0]),
                       .n_panels = (w->n + MTK_PANEL - 1) / MTK_PANEL};
      g.count++;
      done[j] = true;
    }
    if (g.count > 0) run_group(&g, n + i);
  }
  return count + gated;
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
