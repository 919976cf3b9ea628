/* quantize_budget.c: mtk quantize --target-bits: what every group of tensors loses in every type
 * that --candidates names. Main thread only.
 *
 * One type per group is measured by what matters: the divergence of the model's distributions when
 * only that group has it (mtk_sensitivity). The other types are scaled from there by the error of
 * the group's outputs, tr(dW H dW^T) / tr(W H W^T) with the diagonal of H, the second moment of the
 * inputs, over some of the rows: for small errors both grow with the square of dW. */
#include <string.h>

#include "quantize_plan.h"

/* Rows of a tensor that its error is taken from: so many, in runs. */
enum { SAMPLED_ROWS = 128, RUN_ROWS = 16 };

/* The whole model in one type. */
typedef struct candidate {
  const char *name;
  mtk_model *model;
  mtk_quantize_report rows;
  double *error; /* per row of the report: share of the output's energy */
} candidate;

typedef struct measurement {
  mtk_cmd_plan *plan;
  const mtk_model *model;
  mtk_calibration *stats;
  candidate *candidates;
  size_t n_candidates, n_tensors;
  size_t *group_of; /* [n_tensors] first tensor of its group; n_tensors: no candidate changes it */
  mtk_status *status; /* [n_candidates * n_tensors] */
  mtk_error *errors;
} measurement;

static const mtk_input_stats *find_stats(void *ctx, const char *tensor) {
  return mtk_calibration_find(ctx, tensor);
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* Method and target that stand for a candidate in measurements: what needs second moments cannot be
 * encoded here, and loses less than rounding, but alike for all types. */
static mtk_status pick(mtk_quantize_options *o, const mtk_cmd_plan *plan, const char *name,
                       mtk_error *err) {
  mtk_cmd_plan as = *plan;
  if (plan->method->needs & MTK_QUANT_NEEDS_SECOND_MOMENT) as.method = plan->rtn;
  MTK_TRY(plan_check_type(&as, name, "--candidates", err));
  o->target = plan_target(&o->quantizer, &as, name);
  return MTK_OK;
}

static mtk_status open_candidate(candidate *c, const measurement *m, const char *source,
                                 const mtk_quantize_options *given, mtk_error *err) {
  mtk_quantize_options o = *given;
  o.stats = find_stats;
  o.stats_ctx = m->stats;
  o.lookup_quantizer = NULL;
  o.sizes_only = false;
  MTK_TRY(pick(&o, m->plan, c->name, err));
  c->error = mtk_alloc(m->n_tensors, sizeof *c->error);
  if (!c->error) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  MTK_TRY(mtk_model_load(&c->model, source, err));
  return mtk_model_quantize(c->model, &o, &c->rows, err);
}

/* "a,b,c" */
static mtk_status name_candidates(measurement *m, const char *names, mtk_error *err) {
  mtk_quantize_options unused;
  size_t cap = 1;
  for (const char *p = names; *p; p++) cap += *p == ',';
  m->candidates = mtk_alloc(cap, sizeof *m->candidates);
  if (!m->candidates) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (const char *p = names; *p;) {
    size_t n = strcspn(p, ",");
    candidate *c = &m->candidates[m->n_candidates++];
    c->name = mtk_arena_strndup(m->plan->arena, p, n);
    if (!c->name) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    MTK_TRY(pick(&unused, m->plan, c->name, err));
    p += n + (p[n] == ',');
  }
  return MTK_OK;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* Rows row0 .. row0+n-1 of source and copy. */
static mtk_status add_rows(double *error, double *energy, const mtk_tensor *source,
                           const mtk_tensor *copy, const mtk_input_stats *stats, int64_t row0,
                           int64_t n, mtk_error *err) {
  int64_t k = mtk_tensor_row_elems(source), rows = mtk_tensor_rows(source);
  size_t bytes = mtk_tensor_row_bytes(source), more = mtk_tensor_row_bytes(copy);
  float *x = mtk_alloc((size_t)(2 * n), (size_t)k * sizeof *x), *y = x ? x + n * k : NULL;
  void *tmp = mtk_alloc((size_t)n, bytes > more ? bytes : more);
  mtk_status st = x && tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, source->name, "out of memory");
  if (st == MTK_OK) st = mtk_tensor_fetch_f32(x, source, row0, n, tmp, err);
  if (st == MTK_OK) st = mtk_tensor_fetch_f32(y, copy, row0, n, tmp, err);
  for (int64_t r = 0; r < n && st == MTK_OK; r++) {
    const float *weight = stats && stats->k == k ? stats->mean_square : NULL;
    if (weight && stats->n_expert > 0) weight += (row0 + r) / (rows / stats->n_expert) * k;
    for (int64_t i = r * k; i < (r + 1) * k; i++) {
      double w = weight ? (double)weight[i - r * k] : 1, d = (double)x[i] - (double)y[i];
      *error += w * d * d;
      *energy += w * (double)x[i] * (double)x[i];
    }
  }
  mtk_free(x);
  mtk_free(tmp);
  return st;
}

/* One tensor of one candidate. */
static void measure_error(void *ctx, int64_t task, int worker) {
  (void)worker;
  measurement *m = ctx;
  candidate *c = &m->candidates[(size_t)task / m->n_tensors];
  size_t at = (size_t)task % m->n_tensors;
  if (c->rows.rows[at].reason != MTK_QUANTIZED) return;
  const mtk_tensor *source = mtk_model_tensor_at(m->model, at);
  const mtk_tensor *copy = mtk_model_tensor_at(c->model, at);
  const mtk_input_stats *stats = mtk_calibration_find(m->stats, source->name);
  int64_t rows = mtk_tensor_rows(source), runs = (rows + RUN_ROWS - 1) / RUN_ROWS;
  int64_t every = runs > SAMPLED_ROWS / RUN_ROWS ? runs / (SAMPLED_ROWS / RUN_ROWS) : 1;
  double error = 0, energy = 0;
  for (int64_t run = 0; run < runs && m->status[task] == MTK_OK; run += every) {
    int64_t row = run * RUN_ROWS, n = rows - row < RUN_ROWS ? rows - row : RUN_ROWS;
    m->status[task] = add_rows(&error, &energy, source, copy, stats, row, n, &m->errors[task]);
  }
  c->error[at] = energy > 0 ? error / energy : 0;
}

static mtk_status measure_errors(measurement *m, mtk_pool *pool, mtk_error *err) {
  size_t n = m->n_candidates * m->n_tensors;
  m->status = mtk_alloc(n, sizeof *m->status);
  m->errors = mtk_alloc(n, sizeof *m->errors);
  if (!m->status || !m->errors) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_pool_run(pool, (int64_t)n, measure_error, m);
  for (size_t i = 0; i < n; i++) {
    if (m->status[i] == MTK_OK) continue;
    if (err) *err = m->errors[i];
    return m->status[i];
  }
  return MTK_OK;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The option of a group that a candidate is; *n_types stays 0 if not all of its tensors can have
 * it. */
static mtk_status make_option(plan_option *o, size_t *n_types, const measurement *m,
                              const candidate *c, size_t first, size_t n, mtk_error *err) {
  *o = (plan_option){.candidate = c->name,
                     .types = mtk_arena_alloc(m->plan->arena, n, sizeof *o->types)};
  *n_types = 0;
  if (!o->types) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = first; i < m->n_tensors; i++) {
    const mtk_quantize_row *row = &c->rows.rows[i];
    if (m->group_of[i] != first) continue;
    if (row->reason != MTK_QUANTIZED) break;
    o->types[(*n_types)++] = row->target->name;
    o->bytes += row->bytes_after;
    o->error += c->error[i] / (double)n;
  }
  if (*n_types < n) *n_types = 0;
  return MTK_OK;
}

static mtk_status fill_group(plan_group *g, const measurement *m, size_t first, mtk_error *err) {
  mtk_arena *arena = m->plan->arena;
  for (size_t i = first; i < m->n_tensors; i++) g->n_tensors += m->group_of[i] == first;
  g->tensors = mtk_arena_alloc(arena, g->n_tensors, sizeof *g->tensors);
  g->options = mtk_arena_alloc(arena, m->n_candidates, sizeof *g->options);
  if (!g->tensors || !g->options) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = first, n = 0; i < m->n_tensors; i++)
    if (m->group_of[i] == first) g->tensors[n++] = mtk_model_tensor_at(m->model, i)->name;
  for (size_t i = 0; i < m->n_candidates; i++) {
    plan_option *o = &g->options[g->n_options];
    size_t n_types;
    MTK_TRY(make_option(o, &n_types, m, &m->candidates[i], first, g->n_tensors, err));
    g->n_options += n_types > 0;
  }
  return MTK_OK;
}

static mtk_status make_groups(measurement *m, mtk_error *err) {
  mtk_cmd_plan *p = m->plan;
  m->group_of = mtk_alloc(m->n_tensors, sizeof *m->group_of);
  p->groups = mtk_arena_alloc(p->arena, m->n_tensors, sizeof *p->groups);
  if (!m->group_of || !p->groups) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < m->n_tensors; i++) {
    m->group_of[i] = m->n_tensors;
    for (size_t c = 0; c < m->n_candidates && m->group_of[i] == m->n_tensors; c++)
      if (m->candidates[c].rows.rows[i].reason == MTK_QUANTIZED)
        m->group_of[i] = m->candidates[c].rows.rows[i].group;
  }
  for (size_t i = 0; i < m->n_tensors; i++) {
    if (m->group_of[i] == i) MTK_TRY(fill_group(&p->groups[p->n_groups++], m, i, err));
    if (m->group_of[i] == i && p->groups[p->n_groups - 1].n_options == 0)
      return mtk_fail(err, MTK_E_INVALID, mtk_model_tensor_at(m->model, i)->name,
                      "none of the --candidates fits it and what shares its type");
    if (m->group_of[i] == m->n_tensors)
      p->fixed_bytes += m->candidates[0].rows.rows[i].bytes_before;
  }
  if (p->n_groups == 0)
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "no tensor can be quantized to any of the --candidates: already quantized "
                    "(--requantize allows it) or no row length fits");
  return MTK_OK;
}

/* ---- losses ---------------------------------------------------------------------------------- */

/* The option to be measured: of those with an error the one next below the budget's share. */
static size_t reference_of(const plan_group *g, double bits, const mtk_model *model) {
  double elements = 0;
  size_t best = g->n_options;
  for (size_t i = 0; i < g->n_tensors; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, g->tensors[i]);
    elements += (double)(mtk_tensor_rows(t) * mtk_tensor_row_elems(t));
  }
  for (size_t i = 0; i < g->n_options; i++) {
    const plan_option *o = &g->options[i], *b = best < g->n_options ? &g->options[best] : o;
    double share = bits * elements / 8;
    bool fits = (double)o->bytes <= share, best_fits = (double)b->bytes <= share;
    bool better = fits == best_fits ? (o->bytes > b->bytes) == fits : fits;
    if (o->error > 0 && (better || b == o)) best = i;
  }
  return best;
}

static const candidate *candidate_of(const measurement *m, const char *name) {
  size_t i = 0;
  while (strcmp(m->candidates[i].name, name) != 0) i++;
  return &m->candidates[i];
}

static mtk_status measure_losses(measurement *m, const mtk_calibration_options *text,
                                 const mtk_model *base, double bits, mtk_error *err) {
  mtk_cmd_plan *p = m->plan;
  mtk_variant *variants = mtk_alloc(p->n_groups, sizeof *variants);
  double *kld = mtk_alloc(p->n_groups, sizeof *kld);
  size_t *reference = mtk_alloc(p->n_groups, sizeof *reference);
  size_t n = 0;
  mtk_status st =
      variants && kld && reference ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < p->n_groups && st == MTK_OK; i++) {
    plan_group *g = &p->groups[i];
    size_t at = reference[i] = reference_of(g, bits, m->model);
    if (at == g->n_options) continue; /* nothing is lost in any type */
    const candidate *c = candidate_of(m, g->options[at].candidate);
    variants[n++] = (mtk_variant){c->model, g->tensors, g->n_tensors};
  }
  if (st == MTK_OK) st = mtk_sensitivity(kld, base, text, variants, n, err);
  n = 0;
  for (size_t i = 0; i < p->n_groups && st == MTK_OK; i++) {
    plan_group *g = &p->groups[i];
    size_t at = reference[i];
    if (at == g->n_options) continue;
    for (size_t j = 0; j < g->n_options; j++)
      g->options[j].kld = kld[n] * g->options[j].error / g->options[at].error;
    n++;
  }
  mtk_free(variants);
  mtk_free(kld);
  mtk_free(reference);
  return st;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static mtk_status run_calibration(measurement *m, const mtk_model *base,
                                  const mtk_calibration_options *text, mtk_error *err) {
  MTK_TRY(mtk_calibration_create(&m->stats, base, text, err));
  for (int i = 0; i < mtk_calibration_stages(m->stats); i++)
    MTK_TRY(mtk_calibration_next(m->stats, false, err));
  return MTK_OK;
}

mtk_status plan_measure(mtk_cmd_plan *plan, const char *source, const mtk_model *model,
                        const mtk_quantize_options *o, const mtk_cmd_line *line,
                        const mtk_cmd_calibration *c, uint64_t budget_bytes, mtk_error *err) {
  measurement m = {.plan = plan, .model = model, .n_tensors = mtk_model_tensor_count(model)};
  double bits = 8.0 * (double)budget_bytes / (double)(plan->params ? plan->params : 1);
  int64_t tokens = mtk_options_int(line->options, "sensitivity-tokens");
  mtk_calibration_options text;
  const mtk_model *base = mtk_cmd_calibration_part(&text, c, tokens, o->pool);
  mtk_status st = name_candidates(&m, plan->candidates, err);
  if (st == MTK_OK) st = run_calibration(&m, base, &text, err);
  for (size_t i = 0; i < m.n_candidates && st == MTK_OK; i++)
    st = open_candidate(&m.candidates[i], &m, source, o, err);
  if (st == MTK_OK) st = measure_errors(&m, o->pool, err);
  if (st == MTK_OK) st = make_groups(&m, err);
  if (st == MTK_OK) st = measure_losses(&m, &text, base, bits, err);
  for (size_t i = 0; i < m.n_candidates; i++) {
    mtk_free(m.candidates[i].rows.rows);
    mtk_free(m.candidates[i].error);
    mtk_model_destroy(m.candidates[i].model);
  }
  mtk_free(m.candidates);
  mtk_free(m.group_of);
  mtk_free(m.status);
  mtk_free(m.errors);
  mtk_calibration_destroy(m.stats);
  return st;
}
