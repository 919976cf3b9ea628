/* run/stages.c: see run/stages.h. */
#include "run/stages.h"

#include <mtk/limits.h>
#include <string.h>

/* Rows of logits that are computed at once for the result. */
enum { RESULT_ROWS = 32 };

/* A value that crosses stages: [n_tokens, width], sequences one after the other. */
typedef struct crossing {
  float **data; /* [n_lanes + 1], NULL: not written yet, not needed any more, or that of lane 0 */
  int last;     /* the last stage that reads it */
} crossing;

struct mtk_stages {
  const mtk_model *model;
  mtk_stages_options o;
  mtk_kernels kernels;
  mtk_graph *graph;
  size_t *first; /* [n_stages + 1] first node of each stage */
  int n_stages, next;
  int64_t n_tokens, longest;
  crossing *values; /* per value of the graph */
  float **lane_data; /* behind values[].data */
  bool *begun;       /* [n_lanes + 1]: is it apart from lane 0? */
  mtk_workspace workspace;
  int64_t *output_rows; /* 0, 1, ... */
};

/* ---- cutting -------------------------------------------------------------------------------- */

/* A stage begins at the first node whose weight belongs to it. */
static mtk_status cut(mtk_stages *s, mtk_error *err) {
  const mtk_graph *g = s->graph;
  s->first = mtk_alloc(g->n_nodes + 2, sizeof *s->first);
  if (!s->first) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  long block = -1;
  bool head = false;
  s->n_stages = 1;
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    long b = n->weight >= 0 ? mtk_tensor_block(g->weights[n->weight].name) : -1;
    bool begins = b > block || (n->weight >= 0 && b < 0 && block >= 0 && !head);
    if (n->weight < 0 || !begins) continue;
    head = b < 0;
    if (b >= 0) block = b;
    s->first[s->n_stages++] = i;
  }
  s->first[s->n_stages] = g->n_nodes;
  return MTK_OK;
}

static void find_last_readers(mtk_stages *s) {
  for (int stage = 0; stage < s->n_stages; stage++)
    for (size_t i = s->first[stage]; i < s->first[stage + 1]; i++)
      for (int j = 0; j < s->graph->nodes[i].n_in; j++)
        s->values[s->graph->nodes[i].in[j]].last = stage;
}

/* ---- life ----------------------------------------------------------------------------------- */

static mtk_status prepare(mtk_stages *s, mtk_error *err) {
  for (int64_t i = 0; i < s->o.n_seqs; i++) {
    s->n_tokens += s->o.lengths[i];
    if (s->o.lengths[i] > s->longest) s->longest = s->o.lengths[i];
  }
  if (s->longest <= 0 || s->longest > INT32_MAX)
    return mtk_fail(err, MTK_E_INVALID, NULL, "there are no sequences to run");
  MTK_TRY(mtk_kernels_choose(&s->kernels, NULL, s->o.isa, err));
  MTK_TRY(mtk_model_build_graph(&s->graph, s->model, s->o.build, NULL, err));
  MTK_TRY(cut(s, err));
  s->values = mtk_alloc(s->graph->n_values, sizeof *s->values);
  s->output_rows = mtk_alloc((size_t)s->longest, sizeof *s->output_rows);
  size_t lanes = (size_t)s->o.n_lanes + 1, n_data = 0;
  s->begun = mtk_alloc(lanes, sizeof *s->begun);
  if (mtk_mul_ok(s->graph->n_values, lanes, &n_data))
    s->lane_data = mtk_alloc(n_data, sizeof *s->lane_data);
  if (!s->values || !s->output_rows || !s->begun || !s->lane_data)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  s->begun[0] = true;
  for (size_t v = 0; v < s->graph->n_values; v++) s->values[v].data = s->lane_data + v * lanes;
  for (int64_t i = 0; i < s->longest; i++) s->output_rows[i] = i;
  find_last_readers(s);
  return MTK_OK;
}

mtk_status mtk_stages_create(mtk_stages **out, const mtk_model *model, const mtk_stages_options *o,
                             mtk_error *err) {
  *out = NULL;
  mtk_stages *s = mtk_alloc(1, sizeof *s);
  if (!s) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  s->model = model;
  s->o = *o;
  mtk_status st = prepare(s, err);
  if (st == MTK_OK) *out = s;
  else mtk_stages_destroy(s);
  return st;
}

static void drop_value(const mtk_stages *s, crossing *c) {
  for (int lane = 0; lane <= s->o.n_lanes; lane++) {
    mtk_free(c->data[lane]);
    c->data[lane] = NULL;
  }
}

void mtk_stages_destroy(mtk_stages *s) {
  if (!s) return;
  for (size_t v = 0; s->lane_data && v < s->graph->n_values; v++) drop_value(s, &s->values[v]);
  mtk_free(s->values);
  mtk_free((void *)s->lane_data);
  mtk_free(s->begun);
  mtk_free(s->output_rows);
  mtk_free(s->first);
  mtk_workspace_finish(&s->workspace);
  mtk_graph_destroy(s->graph);
  mtk_free(s);
}

int mtk_stages_count(const mtk_stages *s) { return s->n_stages; }

int64_t mtk_stages_vocab(const mtk_stages *s) {
  return s->graph->logits >= 0 ? s->graph->values[s->graph->logits].width : 0;
}

const mtk_kernels *mtk_stages_kernels(const mtk_stages *s) { return &s->kernels; }

int mtk_stages_of(const mtk_stages *s, const char *weight) {
  for (int stage = 0; stage < s->n_stages; stage++)
    for (size_t i = s->first[stage]; i < s->first[stage + 1]; i++) {
      int32_t w = s->graph->nodes[i].weight;
      if (w >= 0 && strcmp(s->graph->weights[w].name, weight) == 0) return stage;
    }
  return -1;
}

/* ---- one stage ------------------------------------------------------------------------------ */

/* The executor of a lane in a stage: that of lane 0, unless it has weights of its own there. */
typedef struct lane_exec {
  mtk_weights *own; /* NULL: none */
  mtk_weight **bound;
  mtk_exec *exec;
} lane_exec;

typedef struct stage {
  mtk_stages *s;
  mtk_graph_slice *part;
  mtk_weights *store;
  lane_exec *lanes; /* [n_lanes + 1] */
  mtk_observe_fn *observe;
  void *observe_ctx;
} stage;

/* The head, when somebody wants its logits. */
static bool has_result(const stage *t) { return t->s->o.result && t->part->graph->logits >= 0; }

static mtk_status make_exec(lane_exec *l, const stage *t, int lane, mtk_error *err) {
  const mtk_stages *s = t->s;
  mtk_exec_options o = {.graph = t->part->graph, .weights = l->bound, .kernels = &s->kernels,
                        .pool = s->o.pool, .workspace = &t->s->workspace,
                        .max_tokens = s->longest,
                        .max_outputs = has_result(t) ? RESULT_ROWS : s->longest,
                        .keep = t->part->out_inner, .n_keep = t->part->n_out,
                        .observe = lane == 0 ? t->observe : NULL, .observe_ctx = t->observe_ctx};
  return mtk_exec_create(&l->exec, &o, err);
}

/* The lane's own weights of this stage, if any, take the place of those that lane 0 has. */
static mtk_status open_lane(stage *t, int lane, mtk_error *err) {
  const mtk_variant *v = &t->s->o.lanes[lane - 1];
  const mtk_graph *g = t->part->graph;
  lane_exec *l = &t->lanes[lane];
  mtk_graph_weight *own = mtk_alloc(g->n_weights, sizeof *own);
  mtk_graph only = {.weights = own};
  if (!own) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < g->n_weights; i++)
    for (size_t j = 0; j < v->n_names; j++)
      if (strcmp(g->weights[i].name, v->names[j]) == 0) own[only.n_weights++] = g->weights[i];
  mtk_weights_options o = {&t->s->kernels, t->s->o.pool, t->s->o.arith};
  mtk_status st = MTK_OK;
  if (only.n_weights > 0) st = mtk_weights_create(&l->own, NULL, &o, err);
  if (st == MTK_OK && l->own) st = mtk_weights_load(l->own, &only, v->model, err);
  mtk_free(own);
  if (st != MTK_OK || !l->own) return st;
  t->s->begun[lane] = true;
  MTK_TRY(mtk_weights_bind(&l->bound, t->store, g, err));
  for (size_t i = 0; i < g->n_weights; i++) {
    mtk_weight *w = mtk_weights_find(l->own, g->weights[i].name);
    if (w) l->bound[i] = w;
  }
  return make_exec(l, t, lane, err);
}

/* Rows that lanes apart from lane 0 write, for the stages behind this one. */
static mtk_status make_room(const stage *t, mtk_error *err) {
  const mtk_stages *s = t->s;
  for (int i = 0; i < t->part->n_out; i++) {
    mtk_node_value v = t->part->out_outer[i];
    size_t floats;
    if (v == s->graph->logits) continue; /* never kept */
    bool fits = mtk_mul_ok((size_t)s->n_tokens, (size_t)s->graph->values[v].width, &floats);
    for (int lane = 0; lane <= s->o.n_lanes; lane++) {
      if (!s->begun[lane]) continue;
      if (!fits || !(s->values[v].data[lane] = mtk_alloc(floats, sizeof(float))))
        return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for the activations of %lld tokens",
                        (long long)s->n_tokens);
    }
  }
  return MTK_OK;
}

static mtk_status open_stage(stage *t, mtk_error *err) {
  mtk_stages *s = t->s;
  mtk_weights_options o = {&s->kernels, s->o.pool, s->o.arith};
  t->lanes = mtk_alloc((size_t)s->o.n_lanes + 1, sizeof *t->lanes);
  if (!t->lanes) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  MTK_TRY(mtk_graph_slice_create(&t->part, s->graph, s->first[s->next], s->first[s->next + 1],
                                 err));
  MTK_TRY(mtk_weights_create(&t->store, NULL, &o, err));
  MTK_TRY(mtk_weights_load(t->store, t->part->graph, s->model, err));
  MTK_TRY(mtk_weights_bind(&t->lanes[0].bound, t->store, t->part->graph, err));
  MTK_TRY(make_exec(&t->lanes[0], t, 0, err));
  for (int lane = 1; lane <= s->o.n_lanes; lane++) MTK_TRY(open_lane(t, lane, err));
  return make_room(t, err);
}

static void close_stage(stage *t) {
  for (int lane = 0; t->lanes && lane <= t->s->o.n_lanes; lane++) {
    mtk_exec_destroy(t->lanes[lane].exec);
    mtk_free((void *)t->lanes[lane].bound);
    mtk_weights_destroy(t->lanes[lane].own);
  }
  mtk_free(t->lanes);
  mtk_weights_destroy(t->store);
  mtk_graph_slice_destroy(t->part);
}

/* Rows of one sequence from what is kept; of values that have output rows only, those asked for. */
static void load_inputs(const stage *t, mtk_exec *exec, int lane, const mtk_exec_step *step,
                        int64_t row0) {
  const mtk_graph_slice *part = t->part;
  for (int i = 0; i < part->n_in; i++) {
    const mtk_graph_value *v = &t->s->graph->values[part->in_outer[i]];
    float *const *data = t->s->values[part->in_outer[i]].data, *from = data[lane];
    bool outputs = v->rows == MTK_ROWS_OUTPUTS;
    int64_t first = row0 + (outputs ? step->output_rows[0] : 0);
    int64_t n = outputs ? step->n_outputs : step->n_tokens;
    if (!from) from = data[0];
    memcpy(mtk_exec_input(exec, part->in_inner[i]), from + first * v->width,
           (size_t)(n * v->width) * sizeof(float));
  }
}

static void store_outputs(const stage *t, const mtk_exec *exec, int lane, int64_t row0, int64_t n) {
  const mtk_graph_slice *part = t->part;
  for (int i = 0; i < part->n_out; i++) {
    float *data = t->s->values[part->out_outer[i]].data[lane];
    int64_t d = t->s->graph->values[part->out_outer[i]].width;
    if (data)
      memcpy(data + row0 * d, mtk_exec_value(exec, part->out_inner[i]),
             (size_t)(n * d) * sizeof(float));
  }
}

/* One sequence in one lane; of the head some rows. */
static mtk_status run_lane(const stage *t, int lane, int64_t seq, int64_t row0, int64_t output0,
                           int64_t n_outputs, mtk_error *err) {
  const mtk_stages *s = t->s;
  mtk_exec *exec = t->lanes[t->lanes[lane].own ? lane : 0].exec;
  int64_t n = s->o.lengths[seq];
  mtk_step_seq whole = {.n_rows = n};
  mtk_exec_step step = {.ids = s->o.ids + row0, .n_tokens = n, .seqs = &whole, .n_seqs = 1,
                        .output_rows = s->output_rows + output0, .n_outputs = n_outputs};
  if (mtk_cancelled()) return mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
  load_inputs(t, exec, lane, &step, row0);
  MTK_TRY(mtk_exec_run(exec, &step, true, err));
  store_outputs(t, exec, lane, row0, n);
  if (has_result(t))
    s->o.result(s->o.result_ctx, lane, n_outputs,
                mtk_exec_value(exec, t->part->graph->logits));
  return MTK_OK;
}

/* One sequence in all lanes that are apart from lane 0; the head in parts of its second half. */
static mtk_status run_sequence(const stage *t, int64_t seq, int64_t row0, mtk_error *err) {
  const mtk_stages *s = t->s;
  int64_t n = s->o.lengths[seq], most = has_result(t) ? RESULT_ROWS : n;
  for (int64_t at = has_result(t) ? n / 2 : 0; at < n; at += most)
    for (int lane = 0; lane <= s->o.n_lanes; lane++)
      if (s->begun[lane])
        MTK_TRY(run_lane(t, lane, seq, row0, at, n - at < most ? n - at : most, err));
  return MTK_OK;
}

static mtk_status run_stage(const stage *t, mtk_error *err) {
  const mtk_stages *s = t->s;
  int64_t row0 = 0;
  for (int64_t i = 0; i < s->o.n_seqs; i++) {
    MTK_TRY(run_sequence(t, i, row0, err));
    row0 += s->o.lengths[i];
    mtk_progress("calibrate", (uint64_t)(s->next * s->o.n_seqs + i + 1),
                 (uint64_t)(s->n_stages * s->o.n_seqs), "sequences");
  }
  return MTK_OK;
}

mtk_status mtk_stages_next(mtk_stages *s, mtk_observe_fn *observe, void *ctx, mtk_error *err) {
  if (s->next >= s->n_stages) return mtk_fail(err, MTK_E_INTERNAL, NULL, "no stage is left");
  stage t = {.s = s, .observe = observe, .observe_ctx = ctx};
  mtk_status st = open_stage(&t, err);
  if (st == MTK_OK) st = run_stage(&t, err);
  close_stage(&t);
  for (size_t v = 0; v < s->graph->n_values; v++)
    if (s->values[v].last <= s->next) drop_value(s, &s->values[v]);
  s->next++;
  return st;
}
