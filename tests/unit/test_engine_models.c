/* test_engine_models.c: batches with real models, as they are and quantized in memory: the last
 * logits of a sequence are the same bytes alone at the reference level and among 7 other sequences
 * at every level with two threads. stories260K comes from MTK_TEST_DATA, SmolLM2 from the user's
 * cache. */
#include <check.h>
#include <mtk/engine.h>
#include <mtk/quantize.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format_util.h"
#include "run_suite.h"

enum { N_SEQ = 8, N_IDS = 24 };

static int32_t ids[N_SEQ][N_IDS];

static const char *stories_path(char *out, size_t n) {
  const char *data = getenv("MTK_TEST_DATA");
  snprintf(out, n, "%s/models/stories260K-hf", data ? data : "");
  return out;
}

static const char *smollm2_path(char *out, size_t n) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  snprintf(out, n, "%s%s/mtk/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
           cache && *cache ? cache : (home ? home : ""), cache && *cache ? "" : "/.cache");
  return out;
}

static const struct {
  const char *name, *(*path)(char *out, size_t n);
} models[] = {{"stories260K", stories_path}, {"SmolLM2", smollm2_path}};
enum { N_MODELS = sizeof models / sizeof *models };

static const char *const targets[] = {NULL, "nvfp4", "q8_0", "fp8"};
enum { N_TARGETS = sizeof targets / sizeof *targets };

static mtk_engine *open_engine(const mtk_model *m, mtk_pool *pool, int isa, int max_batch) {
  mtk_engine_options o = {.struct_size = sizeof o,
                          .pool = pool,
                          .context = 64,
                          .max_seqs = N_SEQ,
                          .max_batch = max_batch,
                          .arith = -1,
                          .isa = isa};
  mtk_engine *e;
  mtk_error err = {0};
  ck_assert_msg(mtk_engine_create(&e, m, &o, &err) == MTK_OK, "%s: %s", err.place, err.message);
  return e;
}

static void quantize(mtk_model *m, const char *target, mtk_pool *pool) {
  mtk_quantize_options o = {.struct_size = sizeof o,
                            .quantizer = mtk_quantizer_find("rtn"),
                            .pool = pool,
                            .requantize = true};
  ck_assert_ptr_nonnull(o.quantizer);
  for (const mtk_quant_target *t = o.quantizer->targets; t->name; t++)
    if (!strcmp(t->name, target)) o.target = t;
  mtk_error err = {0};
  ck_assert_msg(mtk_model_quantize(m, &o, NULL, &err) == MTK_OK, "%s", err.message);
}

/* Sequence s alone, whole. */
static void run_alone(float *out, mtk_engine *e, int s) {
  mtk_batch_item it = {0, 0, ids[s], N_IDS - s, MTK_LOGITS_LAST};
  const float *logits;
  int64_t rows;
  ck_assert_int_eq(mtk_engine_seq_open(&it.seq, e, NULL), MTK_OK);
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  ck_assert_int_eq(rows, 1);
  memcpy(out, logits, (size_t)mtk_engine_vocab(e) * sizeof *out);
  mtk_engine_seq_close(e, it.seq);
}

/* All sequences in three ragged batches: a first part of each, the rest but one, the last id. */
static const float *run_together(mtk_engine *e) {
  mtk_batch_item items[N_SEQ] = {{0}};
  const float *logits = NULL;
  int64_t rows = 0;
  for (int s = 0; s < N_SEQ; s++)
    ck_assert_int_eq(mtk_engine_seq_open(&items[s].seq, e, NULL), MTK_OK);
  for (int part = 0; part < 3; part++) {
    for (int s = 0; s < N_SEQ; s++) {
      int n = N_IDS - s, ends[] = {0, 1 + 2 * s, n - 1, n};
      items[s].ids = ids[s] + ends[part];
      items[s].n_ids = ends[part + 1] - ends[part];
      items[s].logits = part == 2 ? MTK_LOGITS_LAST : MTK_LOGITS_NONE;
    }
    ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, items, N_SEQ, NULL), MTK_OK);
  }
  ck_assert_int_eq(rows, N_SEQ);
  return logits;
}

static void check_company(const mtk_model *m, const char *what, mtk_pool *pool) {
  mtk_engine *e = open_engine(m, pool, MTK_ISA_REF, 512);
  size_t vocab = (size_t)mtk_engine_vocab(e);
  for (int s = 0; s < N_SEQ; s++)
    for (int i = 0; i < N_IDS; i++)
      ids[s][i] = (int32_t)(mtk_uniform(5, (uint64_t)s, (uint64_t)i) * (double)vocab);
  float *want = malloc(vocab * sizeof *want);
  run_alone(want, e, 0);
  mtk_engine_destroy(e);
  int best = (int)mtk_isa_best(NULL);
  for (int isa = best > MTK_ISA_REF ? MTK_ISA_REF + 1 : MTK_ISA_REF; isa <= best; isa++) {
    e = open_engine(m, pool, isa, 50); /* chunked inside the engine as well */
    const float *got = run_together(e);
    ck_assert_msg(memcmp(want, got, vocab * sizeof *want) == 0, "%s, level %d: other logits", what,
                  isa);
    float *all = malloc(N_SEQ * vocab * sizeof *all), *alone = malloc(vocab * sizeof *alone);
    memcpy(all, got, N_SEQ * vocab * sizeof *all);
    mtk_engine_destroy(e);
    e = open_engine(m, NULL, isa, 512);
    for (int s = 1; s < N_SEQ; s++) {
      run_alone(alone, e, s);
      ck_assert_msg(memcmp(alone, all + (size_t)s * vocab, vocab * sizeof *alone) == 0,
                    "%s, level %d, sequence %d: other logits", what, isa, s);
    }
    free(alone);
    free(all);
    mtk_engine_destroy(e);
  }
  free(want);
}

START_TEST(company_changes_nothing) {
  const char *target = targets[_i % N_TARGETS];
  char path[4096], what[100];
  const char *name = models[_i / N_TARGETS].name;
  models[_i / N_TARGETS].path(path, sizeof path);
  if (!mtk_path_exists(path)) {
    printf("SKIP %s: no %s\n", name, path);
    return;
  }
  snprintf(what, sizeof what, "%s %s", name, target ? target : "as it is");
  mtk_pool *pool;
  mtk_model *m;
  mtk_error err = {0};
  ck_assert_int_eq(mtk_pool_create(&pool, 2, NULL), MTK_OK);
  ck_assert_msg(mtk_model_load(&m, path, &err) == MTK_OK, "%s", err.message);
  if (target) quantize(m, target, pool);
  check_company(m, what, pool);
  mtk_model_destroy(m);
  mtk_pool_destroy(pool);
}
END_TEST

int main(void) {
  char path[4096];
  bool any = false;
  for (size_t i = 0; i < N_MODELS; i++)
    any = any || mtk_path_exists(models[i].path(path, sizeof path));
  if (!any) {
    printf("SKIP: neither MTK_TEST_DATA/models/stories260K-hf nor %s\n", path);
    return 77;
  }
  Suite *suite = suite_create("engine_models");
  TCase *t = tcase_create("engine_models");
  tcase_set_timeout(t, 300);
  tcase_add_checked_fixture(t, format_setup, format_teardown);
  tcase_add_loop_test(t, company_changes_nothing, 0, (int)(N_MODELS * N_TARGETS));
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
