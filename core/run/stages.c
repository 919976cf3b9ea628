/* run/stages.c: see run/stages.h. */
#include "run/stages.h"

#include <stdlib.h>
#include <string.h>

/* A value that crosses stages: [n_tokens, width], sequences one after the other. */
typedef struct crossing {
  float *data; /* NULL: not written yet, or not needed any more */
  int last;    /* the last stage that reads it */
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
  mtk_workspace workspace;
  int64_t *output_rows; /* 0, 1, ... */
};

/* ---- cutting -------------------------------------------------------------------------------- */

/* Stage of a weight by its name: -1 = of what comes before or behind the blocks. */
static long block_of(const char *name) {
  return strncmp(name, "blk.", 4) == 0 ? strtol(name + 4, NULL, 10) : -1;
}

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
    long b = n->weight >= 0 ? block_of(g->weights[n->weight].name) : -1;
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
  char why[192];
  MTK_TRY(mtk_kernels_choose(&s->kernels, why, sizeof why, s->o.isa, err));
  MTK_TRY(mtk_model_build_graph(&s->graph, s->model, s->o.build, NULL, err));
  MTK_TRY(cut(s, err));
  s->values = mtk_alloc(s->graph->n_values, sizeof *s->values);
  s->output_rows = mtk_alloc((size_t)s->longest, sizeof *s->output_rows);
  if (!s->values || !s->output_rows) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
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

void mtk_stages_destroy(mtk_stages *s) {
  if (!s) return;
  for (size_t v = 0; s->values && v < s->graph->n_values; v++) mtk_free(s->values[v].data);
  mtk_free(s->values);
  mtk_free(s->output_rows);
  mtk_free(s->first);
  mtk_workspace_finish(&s->workspace);
  mtk_graph_destroy(s->graph);
  mtk_free(s);
}

int mtk_stages_count(const mtk_stages *s) { return s->n_stages; }

int mtk_stages_of(const mtk_stages *s, const char *weight) {
  for (int stage = 0; stage < s->n_stages; stage++)
    for (size_t i = s->first[stage]; i < s->first[stage + 1]; i++) {
      int32_t w = s->graph->nodes[i].weight;
      if (w >= 0 && strcmp(s->graph->weights[w].name, weight) == 0) return stage;
    }
  return -1;
}

/* ---- one stage ------------------------------------------------------------------------------ */

/* Copy rows of one sequence between the stage's values and what is kept. */
static void load_inputs(const mtk_stages *s, const mtk_graph_slice *part, mtk_exec *exec,
                        int64_t row0, int64_t n) {
  for (int i = 0; i < part->n_in; i++) {
    int64_t d = s->graph->values[part->in_outer[i]].width;
    memcpy(mtk_exec_input(exec, part->in_inner[i]), s->values[part->in_outer[i]].data + row0 * d,
           (size_t)(n * d) * sizeof(float));
  }
}

static void store_outputs(const mtk_stages *s, const mtk_graph_slice *part, const mtk_exec *exec,
                          int64_t row0, int64_t n) {
  for (int i = 0; i < part->n_out; i++) {
    crossing *c = &s->values[part->out_outer[i]];
    int64_t d = s->graph->values[part->out_outer[i]].width;
    if (c->data)
      memcpy(c->data + row0 * d, mtk_exec_value(exec, part->out_inner[i]),
             (size_t)(n * d) * sizeof(float));
  }
}

static mtk_status run_sequences(mtk_stages *s, const mtk_graph_slice *part, mtk_exec *exec,
                                mtk_error *err) {
  int64_t row0 = 0;
  for (int64_t i = 0; i < s->o.n_seqs; i++) {
    int64_t n = s->o.lengths[i];
    mtk_step_seq seq = {.n_rows = n};
    mtk_exec_step step = {.ids = s->o.ids + row0, .n_tokens = n, .seqs = &seq, .n_seqs = 1,
                          .output_rows = s->output_rows, .n_outputs = n};
    if (mtk_cancelled()) return mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
    load_inputs(s, part, exec, row0, n);
    MTK_TRY(mtk_exec_run(exec, &step, true, err));
    store_outputs(s, part, exec, row0, n);
    row0 += n;
    mtk_progress("calibrate", (uint64_t)(s->next * s->o.n_seqs + i + 1),
                 (uint64_t)(s->n_stages * s->o.n_seqs), "sequences");
  }
  return MTK_OK;
}

static mtk_status run_part(mtk_stages *s, const mtk_graph_slice *part, mtk_weights *store,
                           mtk_observe_fn *observe, void *ctx, mtk_error *err) {
  mtk_weight **bound = NULL;
  mtk_exec *exec = NULL;
  MTK_TRY(mtk_weights_load(store, part->graph, s->model, err));
  mtk_status st = mtk_weights_bind(&bound, store, part->graph, err);
  mtk_exec_options o = {.graph = part->graph, .weights = bound, .kernels = &s->kernels,
                        .pool = s->o.pool, .workspace = &s->workspace, .max_tokens = s->longest,
                        .max_outputs = s->longest, .keep = part->out_inner,
                        .n_keep = part->n_out, .observe = observe, .observe_ctx = ctx};
  if (st == MTK_OK) st = mtk_exec_create(&exec, &o, err);
  for (int i = 0; i < part->n_out && st == MTK_OK; i++) {
    mtk_node_value v = part->out_outer[i];
    size_t floats;
    if (v == s->graph->logits) continue; /* only observed, never kept */
    if (!mtk_mul_ok((size_t)s->n_tokens, (size_t)s->graph->values[v].width, &floats) ||
        !(s->values[v].data = mtk_alloc(floats, sizeof(float))))
      st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for the activations of %lld tokens",
                    (long long)s->n_tokens);
  }
  if (st == MTK_OK) st = run_sequences(s, part, exec, err);
  mtk_exec_destroy(exec);
  mtk_free((void *)bound);
  return st;
}

mtk_status mtk_stages_next(mtk_stages *s, mtk_observe_fn *observe, void *ctx, mtk_error *err) {
  if (s->next >= s->n_stages) return mtk_fail(err, MTK_E_INTERNAL, NULL, "no stage is left");
  mtk_graph_slice *part = NULL;
  mtk_weights *store = NULL;
  mtk_weights_options o = {&s->kernels, s->o.pool, s->o.arith};
  mtk_status st = mtk_graph_slice_create(&part, s->graph, s->first[s->next],
                                         s->first[s->next + 1], err);
  if (st == MTK_OK) st = mtk_weights_create(&store, NULL, &o, err);
  if (st == MTK_OK) st = run_part(s, part, store, observe, ctx, err);
  mtk_weights_destroy(store);
  mtk_graph_slice_destroy(part);
  for (size_t v = 0; v < s->graph->n_values; v++) {
    if (s->values[v].last > s->next) continue;
    mtk_free(s->values[v].data);
    s->values[v].data = NULL;
  }
  s->next++;
  return st;
}
