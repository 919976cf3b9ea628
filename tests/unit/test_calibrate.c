/* test_calibrate.c: a model computed stage by stage sees the very inputs that the whole graph sees,
 * and the statistics of them are those of a plain computation in double. */
#include <check.h>
#include <math.h>
#include <mtk/limits.h>
#include <stdio.h>
#include <string.h>

#include "graph/exec_ops.h"
#include "run/calibrate.h"
#include "run/stages.h"
#include "run_suite.h"
#include "tiny_llama.h"

enum { N_SEQS = 3, N_IDS = 29 };
static const int64_t lengths[N_SEQS] = {11, 1, 17};
static int32_t ids[N_IDS];

static void ok(mtk_status status, const mtk_error *err) {
  ck_assert_msg(status == MTK_OK, "%s: %s", err->place, err->message);
}

static void make_ids(void) {
  for (int i = 0; i < N_IDS; i++) ids[i] = (i * 29 + 5) % 67;
}

/* ---- what is seen ---------------------------------------------------------------------------- */

/* Per linear weight, the rows of its input in the order of the sequences. */
typedef struct seen {
  char name[64];
  int64_t k, rows;
  float x[N_IDS * 256];
} seen;
typedef struct record {
  seen items[32];
  int n;
} record;

static void observe(void *ctx, mtk_exec *e, const mtk_graph_node *n) {
  record *r = ctx;
  if (n->op != MTK_OP_LINEAR) return;
  const mtk_weight *w = e->weights[n->weight];
  int i = 0;
  while (i < r->n && strcmp(r->items[i].name, w->name) != 0) i++;
  if (i == r->n) {
    ck_assert_int_lt(r->n, 32);
    snprintf(r->items[r->n].name, sizeof r->items[0].name, "%s", w->name);
    r->items[r->n++].k = w->k;
  }
  seen *s = &r->items[i];
  int64_t rows = mtk_exec_rows(e, n->in[0]);
  ck_assert_int_le((s->rows + rows) * w->k, N_IDS * 256);
  memcpy(s->x + s->rows * w->k, mtk_exec_value(e, n->in[0]), (size_t)(rows * w->k) * sizeof *s->x);
  s->rows += rows;
}

/* The whole graph, a sequence at a time. */
static void run_whole(record *r, const mtk_model *model) {
  mtk_error err = {0};
  mtk_kernels kernels;
  mtk_graph *graph;
  mtk_weights *store;
  mtk_weight **bound;
  mtk_workspace workspace = {0};
  mtk_exec *exec;
  int64_t rows[N_IDS];
  for (int64_t i = 0; i < N_IDS; i++) rows[i] = i;
  ok(mtk_kernels_choose(&kernels, NULL, -1, &err), &err);
  ok(mtk_model_build_graph(&graph, model, tiny_build, NULL, &err), &err);
  mtk_weights_options wo = {&kernels, NULL, -1};
  ok(mtk_weights_create(&store, NULL, &wo, &err), &err);
  ok(mtk_weights_load(store, graph, model, &err), &err);
  ok(mtk_weights_bind(&bound, store, graph, &err), &err);
  mtk_exec_options o = {.graph = graph,
                        .weights = bound,
                        .kernels = &kernels,
                        .workspace = &workspace,
                        .max_tokens = 32,
                        .max_outputs = 32,
                        .observe = observe,
                        .observe_ctx = r};
  ok(mtk_exec_create(&exec, &o, &err), &err);
  int64_t at = 0;
  for (int s = 0; s < N_SEQS; s++) {
    mtk_step_seq seq = {.n_rows = lengths[s]};
    mtk_exec_step step = {.ids = ids + at,
                          .n_tokens = lengths[s],
                          .seqs = &seq,
                          .n_seqs = 1,
                          .output_rows = rows,
                          .n_outputs = lengths[s]};
    ok(mtk_exec_run(exec, &step, true, &err), &err);
    at += lengths[s];
  }
  mtk_exec_destroy(exec);
  mtk_workspace_finish(&workspace);
  mtk_free((void *)bound);
  mtk_weights_destroy(store);
  mtk_graph_destroy(graph);
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(stages_see_what_the_whole_graph_sees) {
  static record whole, staged;
  mtk_error err = {0};
  mtk_pool *pool;
  mtk_model *model = tiny_model(&tiny_default);
  make_ids();
  run_whole(&whole, model);
  ok(mtk_pool_create(&pool, 2, &err), &err);
  mtk_stages *s;
  mtk_stages_options o = {.build = tiny_build, .pool = pool, .arith = -1, .isa = -1, .ids = ids,
                          .lengths = lengths, .n_seqs = N_SEQS};
  ok(mtk_stages_create(&s, model, &o, &err), &err);
  ck_assert_int_eq(mtk_stages_count(s), tiny_default.n_layer + 2);
  ck_assert_int_eq(mtk_stages_of(s, "token_embd.weight"), 0);
  ck_assert_int_eq(mtk_stages_of(s, "blk.1.ffn_down.weight"), 2);
  ck_assert_int_eq(mtk_stages_of(s, "output.weight"), 3);
  ck_assert_int_eq(mtk_stages_of(s, "nothing"), -1);
  for (int i = 0; i < mtk_stages_count(s); i++)
    ok(mtk_stages_next(s, observe, &staged, &err), &err);
  ck_assert_int_eq(mtk_stages_next(s, NULL, NULL, &err), MTK_E_INTERNAL);
  mtk_stages_destroy(s);
  ck_assert_int_eq(whole.n, 7 * tiny_default.n_layer + 1);
  ck_assert_int_eq(staged.n, whole.n);
  for (int i = 0; i < whole.n; i++) {
    const seen *a = &whole.items[i], *b = &staged.items[i];
    ck_assert_str_eq(a->name, b->name);
    ck_assert_int_eq(a->rows, N_IDS);
    ck_assert_int_eq(b->rows, N_IDS);
    ck_assert_msg(!memcmp(a->x, b->x, (size_t)(N_IDS * a->k) * sizeof *a->x), "%s", a->name);
  }
  mtk_pool_destroy(pool);
  mtk_model_destroy(model);
}
END_TEST

static void check_stats(const seen *s, const mtk_input_stats *stats) {
  float amax = 0;
  ck_assert_msg(stats != NULL, "%s", s->name);
  ck_assert_int_eq(stats->k, s->k);
  ck_assert_int_eq(stats->n_expert, 0);
  ck_assert_int_eq(stats->rows[0], N_IDS);
  ck_assert_ptr_nonnull(stats->second_moment);
  for (int64_t i = 0; i < s->k; i++) {
    double sum = 0;
    for (int64_t r = 0; r < N_IDS; r++) {
      double v = (double)s->x[r * s->k + i];
      sum += v * v;
      amax = fmaxf(amax, fabsf(s->x[r * s->k + i]));
    }
    ck_assert_double_eq_tol((double)stats->mean_square[i], sum / N_IDS, 1e-6 * sum / N_IDS);
    for (int64_t j = 0; j < s->k; j += 7) {
      double cross = 0, size = 0;
      for (int64_t r = 0; r < N_IDS; r++) {
        double v = (double)s->x[r * s->k + i] * (double)s->x[r * s->k + j];
        cross += v;
        size += fabs(v);
      }
      ck_assert_double_eq_tol((double)stats->second_moment[i * s->k + j], cross / N_IDS,
                              1e-6 * size + 1e-12);
    }
  }
  ck_assert_float_eq(stats->amax, amax);
  ck_assert(stats->p9999 <= amax && stats->p9999 > 0.5f * amax); /* 29 rows: the largest itself */
}

START_TEST(statistics_match) {
  static record whole;
  mtk_error err = {0};
  mtk_pool *pool;
  mtk_model *model = tiny_model(&tiny_default);
  make_ids();
  run_whole(&whole, model);
  ok(mtk_pool_create(&pool, 2, &err), &err);
  mtk_calibration *c;
  mtk_calibration_options o = {sizeof o, pool, -1, -1, ids, lengths, N_SEQS, 0};
  ok(mtk_calibration_create_built(&c, model, tiny_build, &o, &err), &err);
  int checked = 0;
  for (int stage = 0; stage < mtk_calibration_stages(c); stage++) {
    ok(mtk_calibration_next(c, true, &err), &err);
    for (int i = 0; i < whole.n; i++)
      if (mtk_calibration_stage_of(c, whole.items[i].name) == stage) {
        check_stats(&whole.items[i], mtk_calibration_find(c, whole.items[i].name));
        checked++;
      }
  }
  ck_assert_int_eq(checked, whole.n);
  /* q, k and v share one input; its second moment is gone after the next stage */
  const mtk_input_stats *q = mtk_calibration_find(c, "blk.0.attn_q.weight");
  ck_assert_ptr_eq(q, mtk_calibration_find(c, "blk.0.attn_v.weight"));
  ck_assert_ptr_null(q->second_moment);
  ck_assert_ptr_null(mtk_calibration_find(c, "token_embd.weight"));
  mtk_calibration_destroy(c);
  mtk_pool_destroy(pool);
  mtk_model_destroy(model);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("calibrate");
  TCase *tc = tcase_create("calibrate");
  tcase_add_test(tc, stages_see_what_the_whole_graph_sees);
  tcase_add_test(tc, statistics_match);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
