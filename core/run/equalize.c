/* run/equalize.c: factors for the channels of linear layers' inputs (<mtk/equalize.h>), from what a
 * calibration measures. What a factor would do is tried on some rows of each weight. One thread,
 * which uses the pool; tasks are candidates, so that threads change no bit. */
#include <mtk/equalize.h>

#include <math.h>
#include <string.h>

#include "graph/graph.h"
#include "model/fold.h"
#include "model/recode.h"
#include "model/weights.h"

enum { TRIAL_ROWS = 128, N_ALPHAS = 9 }; /* rows of a weight; exponents 0, 1/8, .. 1 */
static const float factor_max = 1e4f;

typedef struct chosen {
  mtk_fold_site site;
  float *factors; /* NULL: stays as it is */
} chosen;

typedef struct search {
  const mtk_model *model;
  mtk_calibration *calibration;
  const mtk_equalize_options *o;
  mtk_arena *arena;
  chosen *sites;
  size_t n_sites;
  mtk_equalize_report report;
} search;

/* ---- a weight's rows for trial -------------------------------------------------------------- */

/* Some rows of one matrix of a reader, and what is known of its input. */
typedef struct sample {
  const mtk_quant_target *target;
  float *w; /* [n][k] */
  int64_t n, k, matrix;
  double weight;       /* in the sum over readers and experts */
  const float *square; /* [k] */
  const float *moment; /* [k][k] */
} sample;

typedef struct samples {
  sample *items;
  size_t n;
} samples;

static mtk_status fetch_sample(sample *s, const mtk_tensor *t, int64_t matrix, int64_t rows,
                               mtk_error *err) {
  s->w = mtk_alloc((size_t)(s->n * s->k), sizeof *s->w);
  void *tmp = mtk_alloc(1, mtk_tensor_row_bytes(t));
  mtk_status st =
      s->w && tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t i = 0; i < s->n && st == MTK_OK; i++)
    st = mtk_tensor_fetch_f32(s->w + i * s->k, t, matrix * rows + i * rows / s->n, 1, tmp, err);
  mtk_free(tmp);
  return st;
}

/* Those of one reader; none if it will not be quantized or nothing is known of its input. */
static mtk_status add_samples(samples *out, const search *e, const char *name, mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(e->model, name);
  const mtk_input_stats *stats = mtk_calibration_find(e->calibration, name);
  const mtk_quantizer_v1 *quantizer;
  const mtk_quant_target *target;
  if (!t || !stats || !stats->mean_square) return MTK_OK;
  if (mtk_quantize_choice(&quantizer, &target, e->model, t, e->o->into) != MTK_QUANTIZED)
    return MTK_OK;
  int64_t matrices = mtk_tensor_matrices(t), rows = mtk_tensor_rows(t) / matrices, all = 0;
  int64_t n = (TRIAL_ROWS + matrices - 1) / matrices, k = stats->k;
  if (n < 8) n = 8;
  if (n > rows) n = rows;
  sample *grown = mtk_realloc(out->items, out->n, out->n + (size_t)matrices, sizeof *grown);
  if (!grown) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  out->items = grown;
  for (int64_t x = 0; x < matrices; x++) all += stats->rows[stats->n_expert > 0 ? x : 0];
  for (int64_t x = 0; x < matrices; x++) {
    int64_t at = stats->n_expert > 0 ? x : 0;
    sample *s = &out->items[out->n++];
    *s = (sample){target, NULL, n, k, x, 0, stats->mean_square + at * k, NULL};
    s->weight = all > 0 ? (double)stats->rows[at] / (double)all * (double)rows / (double)n : 0;
    if (stats->second_moment) s->moment = stats->second_moment + at * k * k;
    MTK_TRY(fetch_sample(s, t, x, rows, err));
  }
  return MTK_OK;
}

static void free_samples(samples *s) {
  for (size_t i = 0; i < s->n; i++) mtk_free(s->items[i].w);
  mtk_free(s->items);
}

/* ---- one trial ------------------------------------------------------------------------------ */

/* Memory of one trial of one sample: values and their codes, as tensors. */
typedef struct trial {
  float *x, *y; /* [n][k]: times the factors, later what rounding changed; product with H */
  float *importance, *scales;
  uint8_t *codes;
  size_t code_bytes;
} trial;

static void trial_finish(trial *t) {
  mtk_free(t->x);
  mtk_free(t->y);
  mtk_free(t->importance);
  mtk_free(t->scales);
  mtk_free(t->codes);
}

static int64_t steps(int64_t n, int64_t step) { return step > 0 ? (n + step - 1) / step : 1; }

static mtk_status trial_init(trial *t, const sample *s, mtk_error *err) {
  size_t count = (size_t)(s->n * s->k);
  const mtk_quant_target *to = s->target;
  size_t grid = to->scale_n < 0 ? 1 : (size_t)(steps(s->n, to->scale_n) * steps(s->k, to->scale_k));
  t->code_bytes = mtk_dtype_bytes(to->dtype, (uint64_t)s->k) * (size_t)s->n;
  t->x = mtk_alloc(count, sizeof *t->x);
  t->y = mtk_alloc(count, sizeof *t->y);
  t->importance = mtk_alloc((size_t)s->k, sizeof *t->importance);
  t->scales = mtk_alloc(grid, sizeof *t->scales);
  t->codes = mtk_alloc(t->code_bytes + 1, 1);
  if (t->x && t->y && t->importance && t->scales && t->codes) return MTK_OK;
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

/* y = rounded x. */
static mtk_status round_trial(trial *t, const sample *s, const mtk_equalize_options *o,
                              mtk_error *err) {
  const mtk_quantizer_v1 *q = o->trial ? o->trial : o->into->quantizer;
  const mtk_quant_target *to = s->target;
  mtk_tensor source = {.name = "trial", .dtype = MTK_F32, .n_dims = 2, .shape = {s->n, s->k},
                       .data = t->x, .size_bytes = (uint64_t)(s->n * s->k) * sizeof *t->x};
  mtk_quant_tensor quant = {.struct_size = sizeof quant, .source = &source, .target = to,
                            .options = o->trial ? NULL : o->into->options,
                            .importance = t->importance};
  mtk_tensor coded = source;
  coded.dtype = to->dtype;
  coded.data = t->codes;
  coded.size_bytes = t->code_bytes;
  if (to->scale_n >= 0) {
    quant.scales = t->scales;
    quant.scale_n = to->scale_n ? to->scale_n : s->n;
    quant.scale_k = to->scale_k ? to->scale_k : s->k;
    MTK_TRY(mtk_recode_gather(q, &quant, err));
    coded.scales = t->scales;
    coded.scale_n = quant.scale_n;
    coded.scale_k = quant.scale_k;
  }
  MTK_TRY(q->encode(&quant, t->codes, t->x, 0, s->n, err));
  return mtk_tensor_fetch_f32(t->y, &coded, 0, s->n, NULL, err);
}

/* tr(D H D^T) of D = Q(W s) / s - W; without H its diagonal is taken for it. */
static mtk_status measure(double *error, const sample *s, const float *factors,
                          const mtk_equalize_options *o, mtk_error *err) {
  trial t = {0};
  mtk_status st = trial_init(&t, s, err);
  for (int64_t i = 0; st == MTK_OK && i < s->n * s->k; i++) t.x[i] = s->w[i] * factors[i % s->k];
  for (int64_t j = 0; st == MTK_OK && j < s->k; j++)
    t.importance[j] = s->square[j] / (factors[j] * factors[j]);
  if (st == MTK_OK) st = round_trial(&t, s, o, err);
  double sum = 0;
  if (st == MTK_OK) {
    for (int64_t i = 0; i < s->n * s->k; i++) t.x[i] = t.y[i] / factors[i % s->k] - s->w[i];
    memset(t.y, 0, (size_t)(s->n * s->k) * sizeof *t.y);
    if (s->moment)
      mtk_kernels_default()->gemm_nn(t.y, s->k, t.x, s->k, s->moment, s->k, 0, s->n, s->k, s->k);
    for (int64_t i = 0; i < s->n * s->k; i++)
      sum += (double)t.x[i] * (double)(s->moment ? t.y[i] : t.x[i] * s->square[i % s->k]);
  }
  *error = sum * s->weight;
  trial_finish(&t);
  return st;
}

/* ---- candidates ----------------------------------------------------------------------------- */

/* Factors of one matrix's channels, tried as tasks of the pool. */
typedef struct candidates {
  const mtk_fold_site *site;
  const mtk_equalize_options *o;
  const samples *samples;
  int64_t matrix;  /* only samples of this one; -1 = all */
  float *factors;  /* [N_ALPHAS][n_channel] */
  int64_t n_channel;
  double error[N_ALPHAS];
  mtk_status status[N_ALPHAS];
  mtk_error errors[N_ALPHAS];
} candidates;

static void try_candidate(void *ctx, int64_t task, int worker) {
  (void)worker;
  candidates *c = ctx;
  int64_t k = c->site->k;
  float *columns = mtk_alloc((size_t)k, sizeof *columns);
  mtk_error *err = &c->errors[task];
  c->status[task] = columns ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t j = 0; columns && j < k; j++)
    columns[j] = c->factors[task * c->n_channel + mtk_fold_channel(c->site, j)];
  for (size_t i = 0; i < c->samples->n && c->status[task] == MTK_OK; i++) {
    const sample *s = &c->samples->items[i];
    double error;
    if (c->matrix >= 0 && s->matrix != c->matrix) continue;
    c->status[task] = measure(&error, s, columns, c->o, err);
    if (c->status[task] == MTK_OK) c->error[task] += error;
  }
  mtk_free(columns);
}

/* Geometric middle of the extremes becomes 1; channels that are never active stay. */
static void normalize(float *s, int64_t n) {
  float low = INFINITY, high = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!(s[i] > 0) || !isfinite(s[i])) s[i] = 0;
    if (s[i] > 0 && s[i] < low) low = s[i];
    if (s[i] > high) high = s[i];
  }
  float middle = high > 0 ? sqrtf(low) * sqrtf(high) : 1.0f;
  for (int64_t i = 0; i < n; i++)
    s[i] = s[i] > 0 ? fminf(fmaxf(s[i] / middle, 1.0f / factor_max), factor_max) : 1.0f;
}

/* The candidate with the least error, in place of the first; index 0 changes nothing. */
static mtk_status pick(candidates *c, search *e, mtk_error *err) {
  mtk_pool_run(e->o->pool, N_ALPHAS, try_candidate, c);
  int best = 0;
  for (int i = 0; i < N_ALPHAS; i++) {
    if (c->status[i] != MTK_OK) {
      if (err) *err = c->errors[i];
      return c->status[i];
    }
    if (c->error[i] < c->error[best]) best = i;
  }
  memmove(c->factors, c->factors + best * c->n_channel, (size_t)c->n_channel * sizeof(float));
  e->report.error_before += c->error[0];
  e->report.error_after += c->error[best];
  return MTK_OK;
}

/* x^alpha from square roots, which are the same on all machines; alpha in steps of 1/256. */
static float power(float x, double alpha) {
  float y = alpha >= 1 ? x : 1.0f, root = x;
  for (double bit = 0.5, left = alpha >= 1 ? 0 : alpha; bit >= 0x1p-8; bit /= 2) {
    root = sqrtf(root);
    if (left < bit) continue;
    y *= root;
    left -= bit;
  }
  return y;
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* Per channel of one matrix: the size of the inputs, the largest over the columns that read it.
 * Experts share a norm: then the rows of all count. */
static void input_sizes(float *out, const search *e, const mtk_fold_site *site, int64_t matrix) {
  bool smooth = e->o->rule == MTK_EQUALIZE_SMOOTH;
  for (int64_t i = 0; i < mtk_fold_channels(site); i++) out[i] = 0;
  for (int r = 0; r < site->n_readers; r++) {
    const mtk_input_stats *s = mtk_calibration_find(e->calibration, site->readers[r]);
    int64_t n = s ? (s->n_expert > 0 ? s->n_expert : 1) : 0;
    for (int64_t x = 0; x < n; x++) {
      if (site->n_expert > 0 && x != matrix) continue;
      const float *from = (smooth ? s->column_amax : s->mean_square) + x * s->k;
      for (int64_t j = 0; j < s->k; j++) {
        float size = smooth ? from[j] : sqrtf(from[j]), *to = &out[mtk_fold_channel(site, j)];
        if (size > *to) *to = size;
      }
    }
  }
}

static void weight_sizes(float *out, const candidates *c) {
  for (int64_t i = 0; i < c->n_channel; i++) out[i] = 0;
  for (size_t i = 0; i < c->samples->n; i++) {
    const sample *s = &c->samples->items[i];
    if (c->matrix >= 0 && s->matrix != c->matrix) continue;
    for (int64_t j = 0; j < s->n * s->k; j++) {
      float *to = &out[mtk_fold_channel(c->site, j % s->k)];
      if (fabsf(s->w[j]) > *to) *to = fabsf(s->w[j]);
    }
  }
}

/* Fills the first row of c->factors with what the rule gives. */
static mtk_status apply_rule(candidates *c, search *e, mtk_error *err) {
  int64_t n = c->n_channel;
  double alpha = e->o->alpha;
  float *x = mtk_alloc((size_t)n, sizeof *x), *w = mtk_alloc((size_t)n, sizeof *w);
  mtk_status st = x && w ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) input_sizes(x, e, c->site, c->matrix);
  if (st == MTK_OK && e->o->rule == MTK_EQUALIZE_SMOOTH) {
    double a = alpha < 0 ? 0.5 : alpha;
    weight_sizes(w, c);
    for (int64_t i = 0; i < n; i++) c->factors[i] = power(x[i], a) / power(w[i], 1 - a);
    normalize(c->factors, n);
  } else if (st == MTK_OK) {
    int count = alpha < 0 ? N_ALPHAS : 1;
    for (int k = 0; k < count; k++) {
      double a = alpha < 0 ? (double)k / (N_ALPHAS - 1) : alpha;
      for (int64_t i = 0; i < n; i++) c->factors[k * n + i] = power(x[i], a);
      normalize(c->factors + k * n, n);
    }
    if (count > 1) st = pick(c, e, err);
  }
  mtk_free(w);
  mtk_free(x);
  return st;
}

static mtk_status choose_factors(chosen *site, search *e, const samples *all, mtk_error *err) {
  int64_t n = mtk_fold_channels(&site->site);
  int64_t matrices = site->site.n_expert > 0 ? site->site.n_expert : 1;
  site->factors = mtk_arena_alloc(e->arena, (size_t)(matrices * n), sizeof *site->factors);
  candidates c = {.site = &site->site, .o = e->o, .samples = all, .n_channel = n};
  c.factors = mtk_alloc((size_t)(N_ALPHAS * n), sizeof *c.factors);
  mtk_status st = site->factors && c.factors
                      ? MTK_OK
                      : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t x = 0; x < matrices && st == MTK_OK; x++) {
    c.matrix = site->site.n_expert > 0 ? x : -1;
    memset(c.error, 0, sizeof c.error);
    st = apply_rule(&c, e, err);
    if (st == MTK_OK) memcpy(site->factors + x * n, c.factors, (size_t)n * sizeof(float));
  }
  mtk_free(c.factors);
  return st;
}

static mtk_status equalize_site(chosen *site, search *e, mtk_error *err) {
  samples all = {0};
  mtk_status st = MTK_OK;
  for (int i = 0; i < site->site.n_readers && st == MTK_OK; i++)
    st = add_samples(&all, e, site->site.readers[i], err);
  if (st == MTK_OK && all.n > 0) st = choose_factors(site, e, &all, err);
  free_samples(&all);
  if (st != MTK_OK || !site->factors) return st;
  int64_t count = mtk_fold_channels(&site->site);
  if (site->site.n_expert > 0) count *= site->site.n_expert;
  bool changes = false;
  for (int64_t i = 0; i < count; i++) changes |= site->factors[i] < 1 || site->factors[i] > 1;
  if (!changes) site->factors = NULL;
  e->report.n_changed += changes;
  return MTK_OK;
}

/* ---- the whole model ------------------------------------------------------------------------ */

static mtk_status find_sites(search *e, mtk_error *err) {
  mtk_graph *graph = NULL;
  mtk_fold_site *list = NULL;
  mtk_status st = mtk_model_build_graph(&graph, e->model, NULL, NULL, err);
  if (st == MTK_OK) st = mtk_fold_sites(&list, &e->n_sites, e->arena, graph, err);
  mtk_graph_destroy(graph);
  if (st != MTK_OK) return st;
  e->sites = mtk_arena_alloc(e->arena, e->n_sites + 1, sizeof *e->sites);
  if (!e->sites) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < e->n_sites; i++) e->sites[i].site = list[i];
  e->report.n_sites = e->n_sites;
  return MTK_OK;
}

static mtk_status run_stages(search *e, mtk_error *err) {
  bool moments = e->o->rule == MTK_EQUALIZE_AWQ && e->o->alpha < 0;
  for (int stage = 0; stage < mtk_calibration_stages(e->calibration); stage++) {
    MTK_TRY(mtk_calibration_next(e->calibration, moments, err));
    for (size_t i = 0; i < e->n_sites; i++)
      if (mtk_calibration_stage_of(e->calibration, e->sites[i].site.readers[0]) == stage)
        MTK_TRY(equalize_site(&e->sites[i], e, err));
  }
  return MTK_OK;
}

mtk_status mtk_model_equalize(mtk_model *const *models, int n_models, mtk_calibration *c,
                              const mtk_equalize_options *o, mtk_equalize_report *report,
                              mtk_error *err) {
  search e = {.model = models[0], .calibration = c, .o = o, .arena = mtk_arena_create()};
  mtk_status st = e.arena ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = find_sites(&e, err);
  if (st == MTK_OK) st = run_stages(&e, err);
  for (size_t i = 0; i < e.n_sites && st == MTK_OK; i++)
    for (int m = 0; m < n_models && st == MTK_OK && e.sites[i].factors; m++)
      st = mtk_model_fold_site(models[m], &e.sites[i].site, e.sites[i].factors, err);
  mtk_arena_destroy(e.arena);
  *report = e.report;
  return st;
}
