/* exec_moe.c: how the ops of mixtures of experts are computed. The pairs (token, slot) of a step
 * are sorted by expert, stably, so that each expert's matrix is read once and meets its tokens as
 * consecutive rows. Values of n_slot parts keep that order from MOE_LINEAR to MOE_SUM; a row's bits
 * depend on its own input alone, so who else is in the step cannot change them. run_* are called by
 * the driving thread; the range functions run on the pool. */
#include "graph/exec_ops.h"

#include <string.h>

/* Rows of one expert that a task computes. */
enum { ROW_BLOCK = 96 };

/* In the workspace, for the n_pairs = rows * n_slot pairs of the step. */
typedef struct expert_order {
  int64_t n_pairs;
  int32_t *pair_at; /* [n_pairs] pair (row * n_slot + slot) at a sorted row */
  int32_t *row_of;  /* [n_pairs] sorted row of a pair */
  int32_t *first;   /* [n_expert + 1] first sorted row of each expert */
  int32_t *task;    /* [n_expert + 1] first task of each expert (run_linear) */
} expert_order;

mtk_status mtk_exec_reserve_moe(mtk_exec *e, const mtk_graph_node *n, mtk_error *err) {
  mtk_workspace *ws = e->ws;
  const mtk_weight *w = e->weights[n->weight];
  bool tokens = e->g->values[n->in[0]].rows == MTK_ROWS_TOKENS;
  size_t pairs, ints, a = w->kernel->arith;
  if (!mtk_mul_ok((size_t)(tokens ? e->max_tokens : e->max_outputs), (size_t)n->attrs.n_slot,
                  &pairs) ||
      pairs > INT32_MAX || !mtk_mul_ok(pairs, 2, &ints))
    return mtk_fail(err, MTK_E_NOMEM, w->name, "too many rows for one step");
  ints += 2 * (size_t)(n->attrs.n_expert + 1);
  MTK_TRY(mtk_reserve((void **)&ws->expert_rows, &ws->expert_rows_bytes, ints, sizeof(int32_t),
                      err));
  return mtk_reserve(&ws->act[a], &ws->act_bytes[a], w->kernel->act_bytes((int64_t)pairs, w->k), 1,
                     err);
}

/* Sort the pairs of the step by the ids of the node's last input, unless they are. */
static expert_order order_of(mtk_exec *e, const mtk_graph_node *n) {
  mtk_node_value ids = n->in[n->n_in - 1];
  int64_t n_expert = n->attrs.n_expert;
  expert_order o = {.n_pairs = mtk_exec_rows(e, ids) * n->attrs.n_slot,
                    .pair_at = e->ws->expert_rows};
  o.row_of = o.pair_at + o.n_pairs;
  o.first = o.row_of + o.n_pairs;
  o.task = o.first + n_expert + 1;
  if (e->ordered_by == ids) return o;
  const float *id = mtk_exec_data(e, ids);
  memset(o.first, 0, (size_t)(n_expert + 1) * sizeof *o.first);
  for (int64_t p = 0; p < o.n_pairs; p++) o.first[(int64_t)id[p] + 1]++;
  for (int64_t x = 0; x < n_expert; x++) o.first[x + 1] += o.first[x];
  memcpy(o.task, o.first, (size_t)n_expert * sizeof *o.task); /* here: where the next one goes */
  for (int64_t p = 0; p < o.n_pairs; p++) {
    o.row_of[p] = o.task[(int64_t)id[p]]++;
    o.pair_at[o.row_of[p]] = (int32_t)p;
  }
  e->ordered_by = ids;
  return o;
}

/* ---- routing -------------------------------------------------------------------------------- */

static void route_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  const mtk_attrs *t = &n->attrs;
  mtk_route_args a = {t->n_expert, t->n_slot, t->n_group, t->n_group_used, t->route_flags,
                      t->route_scale, n->weight >= 0 ? e->weights[n->weight]->value : NULL};
  const float *logits = mtk_exec_data(e, n->in[0]);
  float *weights = mtk_exec_data(e, n->out[0]), *ids = mtk_exec_data(e, n->out[1]);
  for (int64_t r = r0; r < r1; r++)
    e->k->route(weights + r * a.n_slot, ids + r * a.n_slot, logits + r * a.n_expert, &a);
}

static void run_route(mtk_exec *e, const mtk_graph_node *n) {
  double flops = mtk_op_get(n->op)->flops * n->attrs.n_expert * n->attrs.n_slot;
  mtk_exec_split(e, n, mtk_exec_rows(e, n->in[0]), 1, flops, route_rows);
}

/* ---- linear layers -------------------------------------------------------------------------- */

const int32_t *mtk_exec_expert_rows(mtk_exec *e, const mtk_graph_node *n) {
  return order_of(e, n).first;
}

/* Without slot_input the row of x is that of the pair's token. */
const float *mtk_exec_expert_input(const mtk_exec *e, const mtk_graph_node *n, int64_t row) {
  const mtk_weight *w = e->weights[n->weight];
  int64_t at = n->attrs.slot_input ? row : e->ws->expert_rows[row] / n->attrs.n_slot;
  return mtk_exec_data(e, n->in[0]) + at * w->k;
}

/* Items: sorted rows. */
static void prepare_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  const float *x = mtk_exec_data(e, n->in[0]);
  void *act = e->ws->act[w->kernel->arith];
  int64_t m = mtk_exec_rows(e, n->in[0]) * n->attrs.n_slot;
  if (n->attrs.slot_input) {
    w->kernel->prepare(act, x, w->k, m, r0, r1, w->k);
    return;
  }
  for (int64_t r = r0; r < r1; r++)
    w->kernel->prepare(act, mtk_exec_expert_input(e, n, r), 0, m, r, r + 1, w->k);
}

typedef struct experts_job {
  const mtk_weight *w;
  expert_order order;
  float *y;
  const void *act;
  int64_t n, n_panels, panel_block; /* of one expert */
} experts_job;

static int64_t row_blocks(const expert_order *o, int64_t expert) {
  return (o->first[expert + 1] - o->first[expert] + ROW_BLOCK - 1) / ROW_BLOCK;
}

/* A block of rows and panels of one expert; row blocks vary fastest. */
static void run_linear_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  const experts_job *j = ctx;
  const expert_order *o = &j->order;
  int64_t expert = 0, above = j->w->n_expert;
  while (above - expert > 1) { /* the last expert whose first task is not behind this one */
    int64_t middle = (expert + above) / 2;
    if (o->task[middle] <= task) expert = middle;
    else above = middle;
  }
  task -= o->task[expert];
  int64_t blocks = row_blocks(o, expert), end = o->first[expert + 1];
  int64_t m0 = o->first[expert] + task % blocks * ROW_BLOCK, p0 = task / blocks * j->panel_block;
  int64_t m1 = m0 + ROW_BLOCK < end ? m0 + ROW_BLOCK : end;
  int64_t p1 = p0 + j->panel_block < j->n_panels ? p0 + j->panel_block : j->n_panels;
  const uint8_t *packed = (const uint8_t *)j->w->packed + (size_t)expert * j->w->expert_bytes;
  j->w->kernel->run(j->y, j->n, j->act, o->n_pairs, m0, m1, packed, j->n, j->w->k, p0, p1);
}

static void run_linear(mtk_exec *e, const mtk_graph_node *n) {
  const mtk_weight *w = e->weights[n->weight];
  experts_job j = {.w = w, .order = order_of(e, n), .y = mtk_exec_data(e, n->out[0]),
                   .act = e->ws->act[w->kernel->arith], .n = w->n / w->n_expert};
  if (j.order.n_pairs == 0) return;
  mtk_prepared *have = &e->prepared[w->kernel->arith], want = {n->in[0], w->kernel,
                                                                n->in[1] + 1};
  if (have->x != want.x || have->sorted_by != want.sorted_by ||
      have->kernel->prepare != w->kernel->prepare) {
    mtk_exec_split(e, n, j.order.n_pairs, 4, 4.0 * (double)w->k, prepare_rows);
    *have = want;
  }
  int64_t threads = mtk_pool_size(e->pool);
  double flops = 2.0 * (double)j.order.n_pairs * (double)j.n * (double)w->k;
  bool alone = threads == 1 || flops < 100e3;
  j.n_panels = (j.n + MTK_PANEL - 1) / MTK_PANEL;
  j.panel_block = alone || j.n_panels < 16 ? j.n_panels : 16;
  int64_t panel_blocks = (j.n_panels + j.panel_block - 1) / j.panel_block, n_tasks = 0;
  for (int64_t x = 0; x < w->n_expert; x++) {
    j.order.task[x] = (int32_t)n_tasks;
    n_tasks += row_blocks(&j.order, x) * panel_blocks;
  }
  mtk_pool_run(alone ? NULL : e->pool, n_tasks, run_linear_task, &j);
}

/* Items: sorted rows. */
static void add_row_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]) / n->attrs.n_slot;
  float *y = mtk_exec_data(e, n->out[0]) + r0 * d;
  const float *x = mtk_exec_data(e, n->in[0]) + r0 * d, *ids = mtk_exec_data(e, n->in[1]);
  const float *bias = e->weights[n->weight]->value;
  for (int64_t r = r0; r < r1; r++, x += d, y += d)
    e->k->add(y, x, bias + (int64_t)ids[e->ws->expert_rows[r]] * d, d);
}

static void run_add_row(mtk_exec *e, const mtk_graph_node *n) {
  expert_order o = order_of(e, n);
  mtk_exec_split(e, n, o.n_pairs, 1,
                 (double)(mtk_exec_width(e, n->in[0]) / n->attrs.n_slot), add_row_rows);
}

/* Items: rows of the result. */
static void sum_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->out[0]), n_slot = n->attrs.n_slot;
  const float *x = mtk_exec_data(e, n->in[0]), *weight = mtk_exec_data(e, n->in[1]);
  const int32_t *row_of = e->ws->expert_rows + mtk_exec_rows(e, n->in[0]) * n_slot;
  float *y = mtk_exec_data(e, n->out[0]) + r0 * d;
  for (int64_t r = r0; r < r1; r++, y += d) {
    memset(y, 0, (size_t)d * sizeof *y);
    for (int64_t p = r * n_slot; p < (r + 1) * n_slot; p++)
      e->k->add_scaled(y, y, x + row_of[p] * d, weight[p], d);
  }
}

static void run_sum(mtk_exec *e, const mtk_graph_node *n) {
  (void)order_of(e, n);
  mtk_exec_split(e, n, mtk_exec_rows(e, n->out[0]), 1, 2.0 * (double)mtk_exec_width(e, n->in[0]),
                 sum_rows);
}

/* ---- gates ---------------------------------------------------------------------------------- */

static void swiglu_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->swiglu_clamped(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                       mtk_exec_data(e, n->in[1]) + r0 * d, n->attrs.alpha, n->attrs.limit,
                       (r1 - r0) * d);
}

static void mul_sigmoid_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                             int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  const float *x = mtk_exec_data(e, n->in[0]), *gate = mtk_exec_data(e, n->in[1]);
  float *y = mtk_exec_data(e, n->out[0]);
  for (int64_t r = r0; r < r1; r++) {
    float s;
    e->k->sigmoid(&s, gate + r, 1);
    e->k->scale(y + r * d, x + r * d, s, d);
  }
}

static void run_gate(mtk_exec *e, const mtk_graph_node *n) {
  double flops = mtk_op_get(n->op)->flops * (double)mtk_exec_width(e, n->in[0]);
  mtk_exec_split(e, n, mtk_exec_rows(e, n->in[0]), 1, flops,
                 n->op == MTK_OP_MUL_SIGMOID ? mul_sigmoid_rows : swiglu_rows);
}

mtk_run_fn *const mtk_exec_moe_ops[MTK_OP_COUNT] = {
    [MTK_OP_MOE_ROUTE] = run_route,       [MTK_OP_MOE_ROUTE_BIASED] = run_route,
    [MTK_OP_MOE_LINEAR] = run_linear,     [MTK_OP_MOE_ADD_ROW] = run_add_row,
    [MTK_OP_MOE_SUM] = run_sum,           [MTK_OP_SWIGLU_CLAMPED] = run_gate,
    [MTK_OP_MUL_SIGMOID] = run_gate,
};
