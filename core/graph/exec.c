/* exec.c: the executor: plans memory at creation, then drives the nodes of a step one after the
 * other over the kernels and the pool.
 *
 * The executor owns its plan; values and scratch lie in the workspace, which grows when a larger
 * executor is created or a longer sequence is met, never per step. One thread drives. */
#include "graph/exec_ops.h"

#include <string.h>

#include "base/internal.h"

/* Below this much work a second thread costs more than it gives (measured: about 10 us per
 * wake). */
static const double FLOPS_WORTH_A_THREAD = 60e3;

enum { DECODE_FLOATS = 1 << 20 };

/* ---- splitting ------------------------------------------------------------------------------ */

typedef struct range_job {
  mtk_exec *e;
  const mtk_graph_node *n;
  mtk_range_fn fn;
  int64_t n_items, chunk;
} range_job;

static void run_range(void *ctx, int64_t task, int worker) {
  const range_job *j = ctx;
  int64_t i0 = task * j->chunk, i1 = i0 + j->chunk;
  j->fn(j->e, j->n, i0, i1 < j->n_items ? i1 : j->n_items, worker);
}

void mtk_exec_split(mtk_exec *e, const mtk_graph_node *n, int64_t n_items, int64_t grain,
                    double flops_per_item, mtk_range_fn fn) {
  if (n_items <= 0) return;
  int threads = mtk_pool_size(e->pool);
  if (threads == 1 || flops_per_item * (double)n_items < FLOPS_WORTH_A_THREAD) {
    fn(e, n, 0, n_items, 0);
    return;
  }
  range_job job = {e, n, fn, n_items, (n_items + 4 * threads - 1) / (4 * threads)};
  job.chunk = (job.chunk + grain - 1) / grain * grain;
  mtk_pool_run(e->pool, (n_items + job.chunk - 1) / job.chunk, run_range, &job);
}

void mtk_exec_fail(mtk_exec *e, const mtk_error *error) {
  if (!atomic_flag_test_and_set(&e->failed)) e->error = *error;
}

/* ---- memory --------------------------------------------------------------------------------- */

mtk_status mtk_reserve(void **buffer, size_t *bytes, size_t count, size_t size, mtk_error *err) {
  size_t want;
  bool fits = mtk_mul_ok(count, size, &want);
  if (fits && want <= *bytes) return MTK_OK;
  mtk_free_pages(*buffer, *bytes);
  *bytes = 0;
  *buffer = fits ? mtk_alloc_pages(want) : NULL;
  if (!*buffer)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory: %zu elements of %zu bytes", count,
                    size);
  *bytes = want;
  return MTK_OK;
}

void mtk_workspace_finish(mtk_workspace *ws) {
  mtk_free_pages(ws->arena, ws->arena_bytes);
  for (int a = 0; a < MTK_ARITH_COUNT; a++) mtk_free_pages(ws->act[a], ws->act_bytes[a]);
  mtk_free_pages(ws->scratch, ws->scratch_bytes);
  mtk_free_pages(ws->decoded, ws->decoded_bytes);
  mtk_free_pages(ws->cos_sin, ws->cos_sin_bytes);
  mtk_free_pages(ws->pos, ws->pos_bytes);
  mtk_free_pages(ws->scores, ws->score_bytes);
  mtk_free_pages(ws->kv, ws->kv_bytes);
  mtk_free_pages((void *)ws->kv_pages, ws->kv_pages_bytes);
  mtk_free_pages(ws->kv_table, ws->kv_table_bytes);
  mtk_free_pages(ws->expert_rows, ws->expert_rows_bytes);
  *ws = (mtk_workspace){0};
}

size_t mtk_kv_layer_bytes(const mtk_graph *g, mtk_dtype type) {
  size_t head = mtk_kv_page_bytes(type, g->head_dim) + mtk_kv_page_bytes(type, g->v_dim);
  return (size_t)g->n_head_kv * head;
}

/* Room for prepared activations and decoded weight rows of every linear layer. */
static mtk_status reserve_linear(mtk_exec *e, mtk_error *err) {
  mtk_workspace *ws = e->ws;
  for (size_t i = 0; i < e->g->n_nodes; i++) {
    const mtk_graph_node *n = &e->g->nodes[i];
    if (n->op == MTK_OP_MOE_LINEAR) MTK_TRY(mtk_exec_reserve_moe(e, n, err));
    if (n->op != MTK_OP_LINEAR && n->op != MTK_OP_LINEAR_DX) continue;
    const mtk_weight *w = e->weights[n->weight];
    bool tokens = e->g->values[n->in[0]].rows == MTK_ROWS_TOKENS;
    int a = (int)w->kernel->arith;
    if (n->op == MTK_OP_LINEAR)
      MTK_TRY(mtk_reserve(&ws->act[a], &ws->act_bytes[a],
                      w->kernel->act_bytes(tokens ? e->max_tokens : e->max_outputs, w->k), 1, err));
    else if (!w->value)
      MTK_TRY(mtk_reserve((void **)&ws->decoded, &ws->decoded_bytes,
                      (size_t)(mtk_exec_decode_rows(e, w) * w->k), sizeof(float), err));
  }
  return MTK_OK;
}

mtk_status mtk_exec_create(mtk_exec **out, const mtk_exec_options *o, mtk_error *err) {
  *out = NULL;
  mtk_exec *e = mtk_alloc(1, sizeof *e);
  if (!e) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for an executor");
  e->g = o->graph;
  e->weights = o->weights;
  e->k = o->kernels;
  e->pool = o->pool;
  e->ws = o->workspace;
  e->max_tokens = o->max_tokens;
  e->max_outputs = o->max_outputs;
  e->decode_floats = o->decode_floats > 0 ? o->decode_floats : DECODE_FLOATS;
  e->logits_outside = o->logits_outside;
  e->observe = o->observe;
  e->observe_ctx = o->observe_ctx;
  e->max_group = 1;
  for (size_t i = 0; i < e->g->n_nodes; i++) {
    const mtk_graph_node *n = &e->g->nodes[i];
    if (n->op == MTK_OP_ATTENTION && n->attrs.n_head / n->attrs.n_head_kv > e->max_group)
      e->max_group = n->attrs.n_head / n->attrs.n_head_kv;
  }
  mtk_workspace *ws = e->ws;
  const mtk_plan_options po = {.max_tokens = e->max_tokens, .max_outputs = e->max_outputs,
                               .outside = e->logits_outside ? e->g->logits : -1, .keep = o->keep,
                               .n_keep = o->n_keep, .strip_floats = o->strip_floats};
  mtk_status status;
  MTK_TRY_GOTO(status, fail, mtk_plan_create(&e->plan, e->g, &po, err));
  MTK_TRY_GOTO(status, fail, mtk_reserve((void **)&ws->arena, &ws->arena_bytes, e->plan->floats,
                                         sizeof(float), err));
  MTK_TRY_GOTO(status, fail, reserve_linear(e, err));
  MTK_TRY_GOTO(status, fail, mtk_reserve((void **)&ws->pos, &ws->pos_bytes, (size_t)e->max_tokens,
                                         sizeof(int32_t), err));
  size_t angles = (size_t)(e->max_tokens * mtk_exec_rope_dims(e, e->g->n_ropes));
  MTK_TRY_GOTO(status, fail, mtk_reserve((void **)&ws->cos_sin, &ws->cos_sin_bytes, angles,
                                         sizeof(float), err));
  *out = e;
  return MTK_OK;
fail:
  mtk_exec_destroy(e);
  return status;
}

void mtk_exec_destroy(mtk_exec *e) {
  if (!e) return;
  mtk_plan_destroy(e->plan);
  mtk_free(e);
}

void mtk_exec_set_observer(mtk_exec *e, mtk_observe_fn *observe, void *ctx) {
  e->observe = observe;
  e->observe_ctx = ctx;
}

/* ---- one step ------------------------------------------------------------------------------- */

/* Scratch floats of one worker for the longest sequence of the step. */
static size_t scratch_needed(const mtk_exec *e, bool backward) {
  size_t most = 0;
  for (int s = 0; s < e->step->n_seqs; s++) {
    const mtk_step_seq *q = &e->step->seqs[s];
    int64_t end = q->pos0 + q->n_rows;
    int64_t block = q->n_rows < MTK_QUERY_BLOCK ? q->n_rows : MTK_QUERY_BLOCK;
    const mtk_attn_args forward = {.n_tokens = block, .n_keys = end, .head_dim = e->g->head_dim,
                                   .v_dim = e->g->v_dim, .group = e->max_group,
                                   .kv_type = e->step->kv_type};
    const mtk_attn_bwd_args derivative = {.n_tokens = q->n_rows, .head_dim = e->g->head_dim,
                                          .v_dim = e->g->v_dim, .group = e->max_group};
    size_t n = e->k->attn_scratch_floats(&forward);
    size_t b = backward ? e->k->attn_bwd_scratch_floats(&derivative) : 0;
    if (b > n) n = b;
    size_t pages = (size_t)mtk_kv_pages_for(end);
    n = (n + 15) / 16 * 16 + pages * (2 * sizeof(void *)) / sizeof(float);
    if (n > most) most = n;
  }
  size_t gated = mtk_exec_gated_floats(e);
  if (gated > most) most = gated;
  for (size_t i = 0; i < e->g->n_weights; i++) {
    size_t row = (e->weights[i]->row_bytes + sizeof(float) - 1) / sizeof(float);
    if (row > most) most = row;
  }
  return (most + 15) / 16 * 16;
}

/* Pages for this step alone: all layers take turns in the same ones. */
static mtk_status make_pages(mtk_exec *e, mtk_exec_step *step, mtk_step_seq *seqs, mtk_error *err) {
  mtk_workspace *ws = e->ws;
  size_t n_pages = 0, page = mtk_kv_layer_bytes(e->g, MTK_F32);
  for (int s = 0; s < step->n_seqs; s++)
    n_pages += (size_t)mtk_kv_pages_for(step->seqs[s].n_rows);
  MTK_TRY(mtk_reserve(&ws->kv, &ws->kv_bytes, n_pages * page, 1, err));
  MTK_TRY(mtk_reserve((void **)&ws->kv_pages, &ws->kv_pages_bytes, n_pages, sizeof(void *), err));
  MTK_TRY(mtk_reserve((void **)&ws->kv_table, &ws->kv_table_bytes, n_pages, sizeof(int32_t), err));
  for (size_t i = 0; i < n_pages; i++) {
    ws->kv_pages[i] = (uint8_t *)ws->kv + i * page;
    ws->kv_table[i] = (int32_t)i;
  }
  size_t at = 0;
  for (int s = 0; s < step->n_seqs; s++) {
    seqs[s] = step->seqs[s];
    seqs[s].pages = ws->kv_table + at;
    at += (size_t)mtk_kv_pages_for(seqs[s].n_rows);
  }
  step->seqs = seqs;
  step->kv_pages = ws->kv_pages;
  step->kv_type = MTK_F32;
  return MTK_OK;
}

/* A table whose factor depends on the position: row by row. */
static void fill_rows(const mtk_graph_rope *rope, float *cos_sin, const int32_t *pos, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    double turns = (double)(pos[i] / rope->length);
    double mscale = rope->mscale * (1.0 + rope->temperature * mtk_math_log(1.0 + turns));
    mtk_rope_table(cos_sin + i * rope->dim, pos + i, 1, rope->inv_freq, rope->dim, mscale);
  }
}

static void fill_cos_sin(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1, int worker) {
  (void)n;
  (void)worker;
  for (int i = 0; i < e->g->n_ropes; i++) {
    const mtk_graph_rope *rope = &e->g->ropes[i];
    float *to = mtk_exec_cos_sin(e, i) + r0 * rope->dim;
    if (rope->length > 0)
      fill_rows(rope, to, e->ws->pos + r0, r1 - r0);
    else
      mtk_rope_table(to, e->ws->pos + r0, r1 - r0, rope->inv_freq, rope->dim, rope->mscale);
  }
}

static void fill_positions(mtk_exec *e) {
  for (int s = 0; s < e->step->n_seqs; s++) {
    const mtk_step_seq *q = &e->step->seqs[s];
    for (int64_t t = 0; t < q->n_rows; t++) e->ws->pos[q->row0 + t] = (int32_t)(q->pos0 + t);
  }
  int64_t dims = mtk_exec_rope_dims(e, e->g->n_ropes);
  if (dims > 0) mtk_exec_split(e, NULL, e->step->n_tokens, 8, 60.0 * (double)dims, fill_cos_sin);
}

static void forget_prepared(mtk_exec *e) {
  for (int a = 0; a < MTK_ARITH_COUNT; a++) e->prepared[a] = (mtk_prepared){-1, NULL, 0};
}

/* The nodes first .. end-1, until one fails. */
static void run_nodes(mtk_exec *e, size_t first, size_t end) {
  for (size_t i = first; i < end && e->error.code == MTK_OK; i++) {
    const mtk_graph_node *n = &e->g->nodes[i];
    mtk_run_fn *run = mtk_exec_forward_ops[n->op];
    if (!run) run = mtk_exec_moe_ops[n->op];
    if (!run) run = mtk_exec_backward_ops[n->op];
    if (e->observe) e->observe(e->observe_ctx, e, n);
    if (n->op == MTK_OP_LINEAR && !e->observe)
      i += mtk_exec_run_linears(e, n, end - i) - 1;
    else if (mtk_exec_is_by_rows(e, n) && !e->observe)
      i += mtk_exec_run_rows(e, n, end - i) - 1;
    else
      run(e, n);
  }
}

/* The same, strip by strip of the output rows. */
static void run_strips(mtk_exec *e, size_t first, size_t end) {
  const mtk_exec_step *whole = e->step;
  mtk_exec_step strip = *whole;
  e->step = &strip;
  for (int64_t row = 0; row < whole->n_outputs; row += strip.n_outputs) {
    int64_t left = whole->n_outputs - row;
    strip.n_outputs = left < e->plan->strip_rows ? left : e->plan->strip_rows;
    strip.targets = whole->targets + row;
    if (whole->target_weights) strip.target_weights = whole->target_weights + row;
    e->strip_row0 = row;
    forget_prepared(e);
    run_nodes(e, first, end);
  }
  e->strip_row0 = 0;
  e->step = whole;
  forget_prepared(e);
}

static mtk_status run_all(mtk_exec *e, size_t n_nodes, mtk_error *err) {
  size_t first = e->plan->strip_first, end = e->plan->strip_end;
  if (e->step->n_outputs <= e->plan->strip_rows || first > n_nodes) first = end = 0;
  if (end > n_nodes) end = n_nodes;
  forget_prepared(e);
  e->ordered_by = -1;
  atomic_flag_clear(&e->failed);
  e->error.code = MTK_OK;
  fill_positions(e);
  run_nodes(e, 0, first);
  if (end > first) run_strips(e, first, end);
  run_nodes(e, end, n_nodes);
  if (e->error.code != MTK_OK && err) *err = e->error;
  return e->error.code;
}

/* Scratch of all workers, and scores to share. Grown by half more than needed, so that a decoding
 * sequence does not grow them each step. */
static mtk_status grow_scratch(mtk_exec *e, bool backward, mtk_error *err) {
  mtk_workspace *ws = e->ws;
  size_t need = scratch_needed(e, backward), workers = (size_t)mtk_pool_size(e->pool);
  if (need > ws->scratch_floats || !ws->scratch) {
    need = (need + need / 2 + 15) / 16 * 16;
    ws->scratch_floats = 0;
    MTK_TRY(mtk_reserve((void **)&ws->scratch, &ws->scratch_bytes, need * workers, sizeof(float),
                        err));
    ws->scratch_floats = need;
  }
  need = mtk_exec_score_floats(e);
  if (need * sizeof(float) <= ws->score_bytes) return MTK_OK;
  return mtk_reserve((void **)&ws->scores, &ws->score_bytes, need + need / 2, sizeof(float), err);
}

mtk_status mtk_exec_run(mtk_exec *e, const mtk_exec_step *given, bool forward_only,
                        mtk_error *err) {
  if (given->n_tokens > e->max_tokens || given->n_outputs > e->max_outputs)
    return mtk_fail(err, MTK_E_INTERNAL, NULL, "a step is larger than the executor's plan");
  mtk_exec_step step = *given;
  mtk_step_seq *seqs = NULL;
  mtk_status status = MTK_OK;
  if (!step.kv_layers && step.n_seqs > 0) {
    seqs = mtk_alloc((size_t)step.n_seqs, sizeof *seqs);
    if (!seqs) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a step");
    status = make_pages(e, &step, seqs, err);
  }
  e->step = &step;
  bool trains = e->g->loss >= 0 && e->g->n_nodes > e->g->n_forward && !forward_only;
  size_t n_nodes = e->g->loss < 0 || trains ? e->g->n_nodes : e->g->n_forward;
  if (status == MTK_OK) status = grow_scratch(e, trains, err);
  if (status == MTK_OK) status = run_all(e, n_nodes, err);
  mtk_free(seqs);
  e->step = NULL;
  return status;
}

float *mtk_exec_input(mtk_exec *e, mtk_node_value v) { return e->ws->arena + e->plan->offset[v]; }

const float *mtk_exec_value(const mtk_exec *e, mtk_node_value v) {
  return e->ws->arena + e->plan->offset[v];
}
