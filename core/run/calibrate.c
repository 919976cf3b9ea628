/* run/calibrate.c: statistics of the inputs of linear layers (<mtk/calibrate.h>), gathered by an
 * observer of run/stages.c. Weights that share an input (q, k, v; gate, up) share its statistics.
 *
 * Sums run over tokens ascending, per column (double) or per element of the second moment (one f32
 * chain, by gemm_tn); the pool splits columns, so that threads change no bit. */
#include <mtk/calibrate.h>

#include <math.h>
#include <string.h>

#include "graph/exec_ops.h"
#include "run/calibrate.h"
#include "run/stages.h"

/* Magnitudes by exponent and four bits of mantissa. */
enum { BUCKETS = 4096, BUCKET_SHIFT = 19, COLUMN_BLOCK = 64 };

/* One input value of the running stage. */
typedef struct input {
  mtk_node_value value;
  int64_t step; /* sequence that was added last */
  mtk_input_stats stats;
  int64_t *rows;
  double *sum;      /* [max(n_expert, 1)][k] of squares */
  double *plain;    /* [max(n_expert, 1)][k] of values */
  float *moment;    /* [max(n_expert, 1)][k][k] sums, or NULL */
  float *largest;   /* [max(n_expert, 1)][k] magnitudes; in the arena */
  uint64_t *bucket; /* [BUCKETS] */
  struct input *next;
} input;

typedef struct entry {
  const char *name; /* the graph's; lives as long as the model's names */
  const mtk_input_stats *stats;
} entry;

struct mtk_calibration {
  mtk_stages *stages;
  mtk_pool *pool;
  mtk_arena *arena; /* names, finished statistics */
  entry *entries;
  size_t n_entries, cap_entries;
  /* the running stage */
  bool second_moments;
  input *inputs;
  float **moments; /* of the last stage; freed by the next */
  size_t n_moments;
  int64_t step;
  mtk_status status;
  mtk_error error;
  double percentile; /* of input_stats.clip */
  int stage;         /* the running one */
  float (*cache)[2]; /* [stages] largest magnitudes of the keys and values of each */
};

/* ---- adding --------------------------------------------------------------------------------- */

typedef struct add_job {
  const mtk_kernels *kernels;
  input *in;
  const float *x;
  int64_t rows, k, expert; /* the matrix that these rows belong to */
} add_job;

/* Columns of one block: their sums, and these rows of the second moment. */
static void add_columns(void *ctx, int64_t task, int worker) {
  (void)worker;
  const add_job *j = ctx;
  int64_t c0 = task * COLUMN_BLOCK, c1 = c0 + COLUMN_BLOCK < j->k ? c0 + COLUMN_BLOCK : j->k;
  double *sum = j->in->sum + j->expert * j->k, *plain = j->in->plain + j->expert * j->k;
  float *largest = j->in->largest + j->expert * j->k;
  for (int64_t r = 0; r < j->rows; r++)
    for (int64_t i = c0; i < c1; i++) {
      float x = j->x[r * j->k + i];
      double v = (double)x;
      sum[i] += v * v;
      plain[i] += v;
      if (fabsf(x) > largest[i]) largest[i] = fabsf(x);
    }
  if (j->in->moment)
    j->kernels->gemm_tn(j->in->moment + j->expert * j->k * j->k, j->k, j->x, j->k, j->x, j->k, c0,
                        c1, j->k, j->rows);
}

static void add_magnitudes(input *in, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float a = fabsf(x[i]);
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    in->bucket[bits >> BUCKET_SHIFT]++;
    if (a > in->stats.amax) in->stats.amax = a;
  }
}

static void add_rows(mtk_calibration *c, const mtk_exec *e, input *in, int64_t expert,
                     const float *x, int64_t rows) {
  if (rows == 0) return;
  int64_t k = in->stats.k;
  add_job j = {e->k, in, x, rows, k, expert};
  in->rows[expert] += rows;
  mtk_pool_run(c->pool, (k + COLUMN_BLOCK - 1) / COLUMN_BLOCK, add_columns, &j);
  add_magnitudes(in, x, rows * k);
}

/* ---- the observer --------------------------------------------------------------------------- */

static mtk_status new_input(input **out, mtk_calibration *c, mtk_node_value value, int64_t k,
                            int64_t n_expert, mtk_error *err) {
  size_t n = n_expert > 0 ? (size_t)n_expert : 1, floats = n;
  input *in = mtk_arena_alloc(c->arena, 1, sizeof *in);
  int64_t *rows = mtk_arena_alloc(c->arena, n, sizeof *rows);
  float *largest = mtk_arena_alloc(c->arena, n * (size_t)k, sizeof *largest);
  double *sum = mtk_alloc(2 * n * (size_t)k, sizeof *sum);
  uint64_t *bucket = mtk_alloc(BUCKETS, sizeof *bucket);
  float *moment = NULL;
  bool ok = in && rows && largest && sum && bucket;
  if (ok && c->second_moments) {
    ok = mtk_mul_ok(floats, (size_t)k, &floats) && mtk_mul_ok(floats, (size_t)k, &floats);
    if (ok) moment = mtk_alloc(floats, sizeof *moment);
    ok = moment != NULL;
  }
  if (!ok) {
    mtk_free(sum);
    mtk_free(bucket);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for statistics of %lld columns",
                    (long long)k);
  }
  *in = (input){.value = value, .step = -1, .stats = {.k = k, .n_expert = n_expert, .rows = rows},
                .rows = rows, .sum = sum, .plain = sum + n * (size_t)k, .moment = moment,
                .largest = largest, .bucket = bucket, .next = c->inputs};
  *out = c->inputs = in;
  return MTK_OK;
}

static mtk_status enter(mtk_calibration *c, const char *name, const mtk_input_stats *stats,
                        mtk_error *err) {
  for (size_t i = 0; i < c->n_entries; i++)
    if (c->entries[i].stats == stats && strcmp(c->entries[i].name, name) == 0) return MTK_OK;
  if (c->n_entries == c->cap_entries) {
    size_t cap = c->cap_entries ? 2 * c->cap_entries : 64;
    entry *grown = mtk_realloc(c->entries, c->n_entries, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    c->entries = grown;
    c->cap_entries = cap;
  }
  const char *copy = mtk_arena_strndup(c->arena, name, strlen(name));
  if (!copy) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  c->entries[c->n_entries++] = (entry){copy, stats};
  return MTK_OK;
}

/* The rows that each expert got, gathered. */
static mtk_status add_experts(mtk_calibration *c, mtk_exec *e, const mtk_graph_node *n, input *in,
                              mtk_error *err) {
  const int32_t *first = mtk_exec_expert_rows(e, n);
  int64_t n_expert = in->stats.n_expert, k = in->stats.k;
  float *x = mtk_alloc((size_t)(first[n_expert] * k), sizeof *x);
  if (!x) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t r = 0; r < first[n_expert]; r++)
    memcpy(x + r * k, mtk_exec_expert_input(e, n, r), (size_t)k * sizeof *x);
  for (int64_t i = 0; i < n_expert; i++)
    add_rows(c, e, in, i, x + first[i] * k, first[i + 1] - first[i]);
  mtk_free(x);
  return MTK_OK;
}

static mtk_status see(mtk_calibration *c, mtk_exec *e, const mtk_graph_node *n,
                      mtk_error *err) {
  const mtk_weight *w = e->weights[n->weight];
  input *in = c->inputs;
  while (in && (in->value != n->in[0] || in->stats.n_expert != w->n_expert)) in = in->next;
  if (!in) MTK_TRY(new_input(&in, c, n->in[0], w->k, w->n_expert, err));
  MTK_TRY(enter(c, w->name, &in->stats, err));
  if (in->step == c->step) return MTK_OK; /* another weight on the same input */
  in->step = c->step;
  if (w->n_expert == 0) {
    add_rows(c, e, in, 0, mtk_exec_value(e, n->in[0]), mtk_exec_rows(e, n->in[0]));
    return MTK_OK;
  }
  return add_experts(c, e, n, in, err);
}

/* Keys and values as the cache gets them, of one layer: a stage has one. */
static void see_cache(mtk_calibration *c, const mtk_exec *e, const mtk_graph_node *n) {
  for (int i = 0; i < 2; i++) {
    mtk_node_value v = n->in[1 + i];
    float amax = e->k->amax(mtk_exec_value(e, v), mtk_exec_rows(e, v) * mtk_exec_width(e, v));
    if (amax > c->cache[c->stage][i]) c->cache[c->stage][i] = amax;
  }
}

static void observe(void *ctx, mtk_exec *e, const mtk_graph_node *n) {
  mtk_calibration *c = ctx;
  if (n->op == MTK_OP_ATTENTION) see_cache(c, e, n);
  if (n == e->g->nodes) c->step++; /* the next sequence */
  bool linear = n->op == MTK_OP_LINEAR || n->op == MTK_OP_MOE_LINEAR;
  if (linear && c->status == MTK_OK) c->status = see(c, e, n, &c->error);
}

/* ---- a stage -------------------------------------------------------------------------------- */

/* Upper edge of the bucket below which this share of the magnitudes lies. */
static float quantile(const uint64_t *bucket, double share) {
  uint64_t total = 0, sum = 0;
  for (int i = 0; i < BUCKETS; i++) total += bucket[i];
  for (uint32_t i = 0; i < BUCKETS; i++) {
    sum += bucket[i];
    if ((double)sum < share * (double)total) continue;
    uint32_t bits = (i + 1) << BUCKET_SHIFT;
    float edge;
    memcpy(&edge, &bits, sizeof edge);
    return edge;
  }
  return 0;
}

/* Sums of x x^T to means; those of experts lean on the sum over all, `total` ([k][k]). */
static void finish_moments(input *in, int64_t n, int64_t all, float *total) {
  size_t k2 = (size_t)(in->stats.k * in->stats.k);
  float prior = in->stats.n_expert > 0 ? MTK_EXPERT_PRIOR_ROWS : 0;
  for (int64_t x = 0; x < n && prior > 0; x++)
    for (size_t i = 0; i < k2; i++) total[i] += in->moment[(size_t)x * k2 + i];
  for (int64_t x = 0; x < n; x++) {
    float *m = in->moment + (size_t)x * k2, rows = (float)in->rows[x] + prior;
    for (size_t i = 0; i < k2; i++)
      m[i] = (m[i] + (prior > 0 ? prior * (total[i] / (float)all) : 0)) / rows;
  }
}

/* Means from the sums, in the steps of a reader of an importance matrix file, which holds f32. */
static mtk_status finish_input(mtk_calibration *c, input *in, mtk_error *err) {
  int64_t n = in->stats.n_expert > 0 ? in->stats.n_expert : 1, k = in->stats.k, all = 0;
  float *square = mtk_arena_alloc(c->arena, (size_t)(n * k), sizeof *square);
  float *sums = mtk_arena_alloc(c->arena, (size_t)(n * k), sizeof *sums);
  float *mean = mtk_arena_alloc(c->arena, (size_t)(n * k), sizeof *mean);
  bool sums_up = in->moment && in->stats.n_expert > 0;
  float *total = mtk_alloc(sums_up ? (size_t)(k * k) : 1, sizeof *total);
  if (!square || !sums || !mean || !total) {
    mtk_free(total);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  for (int64_t i = 0; i < n * k; i++) sums[i] = (float)in->sum[i];
  for (int64_t i = 0; i < n * k; i++)
    mean[i] = in->rows[i / k] > 0 ? (float)(in->plain[i] / (double)in->rows[i / k]) : 0;
  mtk_mean_squares(square, sums, in->rows, in->stats.n_expert, k);
  for (int64_t x = 0; x < n; x++) all += in->rows[x];
  if (in->moment && all > 0) finish_moments(in, n, all, total);
  mtk_free(total);
  in->stats.mean = mean;
  in->stats.mean_square = square;
  in->stats.column_amax = in->largest;
  in->stats.sum_square = sums;
  in->stats.second_moment = in->moment;
  in->stats.p9999 = fminf(quantile(in->bucket, 0.9999), in->stats.amax);
  in->stats.clip = fminf(quantile(in->bucket, c->percentile / 100), in->stats.amax);
  return MTK_OK;
}

/* Forget the second moments of the stage before. */
static void drop_moments(mtk_calibration *c) {
  for (input *in = c->inputs; in; in = in->next) {
    mtk_free(in->moment);
    in->moment = NULL;
    in->stats.second_moment = NULL;
  }
  c->inputs = NULL;
}

mtk_status mtk_calibration_next(mtk_calibration *c, bool second_moments, mtk_error *err) {
  drop_moments(c);
  c->second_moments = second_moments;
  mtk_status st = mtk_stages_next(c->stages, observe, c, err);
  c->stage++;
  if (st == MTK_OK && c->status != MTK_OK) {
    st = c->status;
    if (err) *err = c->error;
  }
  for (input *in = c->inputs; in; in = in->next) {
    if (st == MTK_OK) st = finish_input(c, in, err);
    mtk_free(in->sum);
    mtk_free(in->bucket);
    in->sum = NULL;
    in->bucket = NULL;
  }
  return st;
}

/* ---- life ----------------------------------------------------------------------------------- */

mtk_status mtk_calibration_create_built(mtk_calibration **out, const mtk_model *model,
                                        mtk_build_fn *build, const mtk_calibration_options *o,
                                        mtk_error *err) {
  *out = NULL;
  mtk_calibration *c = mtk_alloc(1, sizeof *c);
  if (c) c->arena = mtk_arena_create();
  mtk_status st = c && c->arena ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) {
    c->pool = o->pool;
    mtk_stages_options s = {.build = build, .pool = o->pool, .arith = o->arith, .isa = o->isa,
                            .ids = o->ids, .lengths = o->lengths, .n_seqs = o->n_seqs};
    st = mtk_stages_create(&c->stages, model, &s, err);
  }
  if (st == MTK_OK) {
    c->percentile = o->percentile > 0 ? o->percentile : 100;
    c->cache = mtk_arena_alloc(c->arena, (size_t)mtk_stages_count(c->stages), sizeof *c->cache);
    if (!c->cache) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  if (st == MTK_OK) *out = c;
  else mtk_calibration_destroy(c);
  return st;
}

mtk_status mtk_calibration_create(mtk_calibration **out, const mtk_model *model,
                                  const mtk_calibration_options *o, mtk_error *err) {
  return mtk_calibration_create_built(out, model, NULL, o, err);
}

void mtk_calibration_destroy(mtk_calibration *c) {
  if (!c) return;
  drop_moments(c);
  mtk_stages_destroy(c->stages);
  mtk_free(c->entries);
  mtk_arena_destroy(c->arena);
  mtk_free(c);
}

int mtk_calibration_stages(const mtk_calibration *c) { return mtk_stages_count(c->stages); }

int mtk_calibration_stage_of(const mtk_calibration *c, const char *tensor) {
  return mtk_stages_of(c->stages, tensor);
}

const mtk_input_stats *mtk_calibration_find(const mtk_calibration *c, const char *tensor) {
  for (size_t i = 0; i < c->n_entries; i++)
    if (strcmp(c->entries[i].name, tensor) == 0) return c->entries[i].stats;
  return NULL;
}

const float *mtk_calibration_cache(const mtk_calibration *c, const char *tensor) {
  int stage = mtk_stages_of(c->stages, tensor);
  return stage >= 0 && stage < c->stage && c->cache[stage][0] > 0 ? c->cache[stage] : NULL;
}
