/* test_sensitivity.c: divergences of variants measured block by block are those of engines on whole
 * models in which the weights were replaced. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "run/engine.h"
#include "run/sensitivity.h"
#include "run_suite.h"
#include "tiny_llama.h"

enum { N_SEQS = 3, N_IDS = 96, VOCAB = 67 };
static const int64_t lengths[N_SEQS] = {11, 1, 84}; /* the last one: logits in several parts */
static int32_t ids[N_IDS];

static void ok(mtk_status status, const mtk_error *err) {
  ck_assert_msg(status == MTK_OK, "%s: %s", err->place, err->message);
}

/* Logits of the second half of every sequence; returns the number of rows. */
static int logits_of(float *out, const mtk_model *model) {
  mtk_error err = {0};
  mtk_engine *e;
  mtk_engine_options o = {
      .struct_size = sizeof o, .context = 128, .max_seqs = 1, .arith = MTK_A16, .isa = -1};
  ok(mtk_engine_create_built(&e, model, tiny_build, &o, &err), &err);
  int n = 0, at = 0;
  for (int s = 0; s < N_SEQS; s++) {
    int seq;
    const float *logits;
    int64_t rows;
    ok(mtk_engine_seq_open(&seq, e, &err), &err);
    mtk_batch_item item = {seq, 0, ids + at, (int32_t)lengths[s], MTK_LOGITS_ALL};
    ok(mtk_engine_forward(&logits, &rows, e, &item, 1, &err), &err);
    for (int64_t i = lengths[s] / 2; i < lengths[s]; i++, n++)
      memcpy(out + n * VOCAB, logits + i * VOCAB, VOCAB * sizeof *out);
    mtk_engine_seq_close(e, seq);
    at += (int)lengths[s];
  }
  mtk_engine_destroy(e);
  return n;
}

static double log_sum(const float *x) {
  double sum = 0;
  for (int i = 0; i < VOCAB; i++) sum += exp((double)x[i]);
  return log(sum);
}

static double divergence(const float *p, const float *q, int n) {
  double sum = 0;
  for (int r = 0; r < n; r++, p += VOCAB, q += VOCAB) {
    double lp = log_sum(p), lq = log_sum(q);
    for (int i = 0; i < VOCAB; i++)
      sum += exp((double)p[i] - lp) * ((double)p[i] - lp - (double)q[i] + lq);
  }
  return sum / n;
}

static void check_config(tiny_config config) {
  static const char *const first[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight"};
  static const char *const second[] = {"blk.1.ffn_down.weight"};
  static const char *const embed[] = {"token_embd.weight"}, *const head[] = {"output.weight"};
  static const char *const other[] = {"no such weight"};
  static float base[N_IDS * VOCAB], changed[N_IDS * VOCAB];
  mtk_error err = {0};
  mtk_pool *pool;
  double got[5], again[5];
  for (int i = 0; i < N_IDS; i++) ids[i] = (i * 29 + 5) % VOCAB;
  mtk_model *model = tiny_model(&config);
  config.seed++;
  mtk_model *donor = tiny_model(&config);
  mtk_variant variants[] = {{donor, first, 2},
                            {donor, second, 1},
                            {donor, embed, 1},
                            {donor, config.tied ? embed : head, 1},
                            {donor, other, 1}};
  mtk_calibration_options o = {sizeof o, NULL, -1, -1, ids, lengths, N_SEQS, 0};
  ok(mtk_sensitivity_built(got, model, &o, variants, 5, tiny_build, &err), &err);
  ok(mtk_pool_create(&pool, 3, &err), &err);
  o.pool = pool;
  ok(mtk_sensitivity_built(again, model, &o, variants, 5, tiny_build, &err), &err);
  ck_assert_mem_eq(got, again, sizeof got);
  int n = logits_of(base, model);
  ck_assert_double_eq_tol(got[4], 0, 1e-6); /* nothing was replaced */
  for (int v = 0; v < 4; v++) {
    config.seed--;
    mtk_model *whole = tiny_model(&config); /* and the donor's weights in it */
    config.seed++;
    for (size_t i = 0; i < variants[v].n_names; i++)
      ok(mtk_model_replace_tensor(whole, mtk_model_tensor(donor, variants[v].names[i]), &err),
         &err);
    ck_assert_int_eq(logits_of(changed, whole), n);
    double want = divergence(base, changed, n);
    ck_assert_double_gt(want, 1e-4);
    ck_assert_double_eq_tol(got[v], want, 1e-4 * want + 1e-6);
    mtk_model_destroy(whole);
  }
  mtk_pool_destroy(pool);
  mtk_model_destroy(donor);
  mtk_model_destroy(model);
}

START_TEST(plain) { check_config(tiny_default); }
END_TEST

START_TEST(tied_embedding) {
  tiny_config config = tiny_default;
  config.tied = true;
  check_config(config);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sensitivity");
  TCase *tests = tcase_create("all");
  tcase_set_timeout(tests, 60);
  tcase_add_test(tests, plain);
  tcase_add_test(tests, tied_embedding);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
