/* test_train.c: training against PyTorch (golden/train.txt, made by oracle/make_train_golden.py),
 * the same forward as serving, micro-batches, threads, checkpoints. Needs stories260K from
 * MTK_TEST_DATA. */
#include <mtk/registry.h>
#include <mtk/train.h>

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"

enum { STEPS = 20, SEQS = 3, SEQ = 64 };

static mtk_error err;
static mtk_model *model;
static mtk_pool *pool;
static mtk_ids ids;

#define OK(call)                                                                                   \
  do {                                                                                             \
    mtk_status s_ = (call);                                                                        \
    ck_assert_msg(s_ == MTK_OK, "%s: %s: %s", #call, err.place, err.message);                      \
  } while (0)

static char *data_path(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/models/%s", getenv("MTK_TEST_DATA"), name);
  return path;
}

static void set_up(void) {
  OK(mtk_plugins_load(&err));
  OK(mtk_model_load(&model, data_path("stories260K-hf"), &err));
  OK(mtk_pool_create(&pool, 2, &err));
  json_t *doc = json_load_file(data_path("stories260K.nll.json"), 0, NULL);
  json_t *cases = json_object_get(doc, "cases"), *c, *id;
  size_t i, k;
  json_array_foreach(cases, i, c) {
    json_array_foreach(json_object_get(c, "token_ids"), k, id)
        OK(mtk_ids_push(&ids, (int32_t)json_integer_value(id), &err));
  }
  json_decref(doc);
}

static void tear_down(void) {
  mtk_ids_finish(&ids);
  ids = (mtk_ids){0};
  mtk_pool_destroy(pool);
  mtk_model_destroy(model);
}

static void batch(mtk_train_seq seqs[SEQS], int step) {
  for (int j = 0; j < SEQS; j++)
    seqs[j] = (mtk_train_seq){ids.data + (step * 37 + 11 * j) % 500, NULL, SEQ - 16 * j};
}

static mtk_train_options base_options(bool lora) {
  return (mtk_train_options){.struct_size = sizeof(mtk_train_options),
                             .pool = pool,
                             .isa = -1,
                             .lora_rank = lora ? 4 : 0,
                             .lora_alpha = 8,
                             .lr = 1e-3f,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .eps = 1e-8f,
                             .weight_decay = 0.1f,
                             .grad_clip = 1.0f,
                             .schedule = MTK_LR_COSINE,
                             .warmup_steps = 4,
                             .total_steps = STEPS,
                             .seed = 7};
}

static void run_steps(mtk_trainer *t, int from, int to, double *losses) {
  for (int s = from; s < to; s++) {
    mtk_train_seq seqs[SEQS];
    mtk_train_stats stats;
    batch(seqs, s);
    OK(mtk_trainer_step(&stats, t, seqs, SEQS, &err));
    losses[s] = stats.loss;
  }
}

static void read_golden(double *out, const char *mode) {
  FILE *f = fopen(MTK_SOURCE_DIR "/tests/golden/train.txt", "r");
  ck_assert_ptr_nonnull(f);
  char line[64];
  int n = 0;
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, mode, 4) && n < STEPS) out[n++] = strtod(line + 4, NULL);
  fclose(f);
  ck_assert_int_eq(n, STEPS);
}

static void compare_with_torch(bool lora) {
  mtk_train_options o = base_options(lora);
  mtk_trainer *t = NULL;
  OK(mtk_trainer_create(&t, model, &o, &err));
  double losses[STEPS], golden[STEPS], worst = 0;
  run_steps(t, 0, STEPS, losses);
  read_golden(golden, lora ? "lora" : "full");
  for (int s = 0; s < STEPS; s++) {
    double rel = fabs(losses[s] - golden[s]) / golden[s];
    if (rel > worst) worst = rel;
    ck_assert_msg(rel < 1e-4, "step %d: loss %.9f, PyTorch %.9f", s, losses[s], golden[s]);
  }
  printf("%s: 20 losses, worst relative difference to PyTorch %.2e\n", lora ? "LoRA" : "full",
         worst);
  mtk_trainer_destroy(t);
}

START_TEST(full_training_matches_pytorch) { compare_with_torch(false); }
END_TEST
START_TEST(lora_training_matches_pytorch) { compare_with_torch(true); }
END_TEST

/* Weights after 3 steps, hashed. */
static void digest(char hex[65], const mtk_train_options *o) {
  mtk_trainer *t = NULL;
  OK(mtk_trainer_create(&t, model, o, &err));
  double losses[STEPS];
  run_steps(t, 0, 3, losses);
  mtk_sha256 *h = mtk_sha256_create();
  static const char *const names[] = {"token_embd.weight", "blk.0.attn_q.weight",
                                      "blk.4.ffn_down.weight", "blk.2.attn_norm.weight",
                                      "output_norm.weight"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const float *value, *grad;
    int64_t n;
    ck_assert(mtk_trainer_tensor(&value, &grad, &n, t, names[i]));
    mtk_sha256_update(h, value, (size_t)n * sizeof *value);
    mtk_sha256_update(h, grad, (size_t)n * sizeof *grad);
  }
  mtk_sha256_final_hex(h, hex);
  mtk_sha256_destroy(h);
  mtk_trainer_destroy(t);
}

START_TEST(bits_do_not_depend_on_threads_micro_batches_or_isa) {
  mtk_train_options o = base_options(false);
  char want[65], got[65];
  digest(want, &o);
  o.pool = NULL;
  digest(got, &o);
  ck_assert_str_eq(got, want);
  o.micro_tokens = SEQ; /* one sequence at a time */
  digest(got, &o);
  ck_assert_str_eq(got, want);
  o.micro_tokens = 0;
  for (int isa = MTK_ISA_REF; isa <= (int)mtk_isa_best(NULL); isa++) {
    o.isa = isa;
    digest(got, &o);
    ck_assert_str_eq(got, want);
  }
}
END_TEST

START_TEST(log_probabilities_equal_those_of_serving) {
  mtk_train_options o = base_options(false);
  mtk_trainer *t = NULL;
  OK(mtk_trainer_create(&t, model, &o, &err));
  mtk_train_seq seqs[SEQS];
  batch(seqs, 5);
  float lp[SEQS * SEQ];
  double nll, weight;
  OK(mtk_trainer_eval(&nll, &weight, lp, t, seqs, SEQS, &err));
  mtk_engine_options eo = {.struct_size = sizeof eo, .arith = -1, .isa = -1};
  mtk_engine *engine = NULL;
  OK(mtk_engine_create(&engine, model, &eo, &err));
  const mtk_kernels *k = mtk_engine_kernels(engine);
  int at = 0;
  for (int s = 0; s < SEQS; s++) {
    int seq;
    const float *logits;
    int64_t rows, vocab = mtk_engine_vocab(engine);
    OK(mtk_engine_seq_open(&seq, engine, &err));
    mtk_batch_item item = {seq, 0, seqs[s].ids, seqs[s].n_ids, MTK_LOGITS_ALL};
    OK(mtk_engine_forward(&logits, &rows, engine, &item, 1, &err));
    for (int i = 0; i + 1 < seqs[s].n_ids; i++, at++) {
      const float *row = logits + i * vocab;
      float want = row[seqs[s].ids[i + 1]] - k->logsumexp(row, vocab);
      ck_assert_msg(!memcmp(&want, &lp[at], sizeof want), "sequence %d, position %d: %.9g, %.9g", s,
                    i, (double)lp[at], (double)want);
    }
    mtk_engine_seq_close(engine, seq);
  }
  mtk_engine_destroy(engine);
  mtk_trainer_destroy(t);
}
END_TEST

START_TEST(a_checkpoint_goes_on_exactly) {
  char dir[] = "/tmp/mtk-train-XXXXXX", path[64], command[80];
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/c", dir);
  for (int lora = 0; lora < 2; lora++) {
    mtk_train_options o = base_options(lora);
    mtk_trainer *a = NULL, *b = NULL;
    mtk_bytes state = {0};
    double whole[STEPS], parts[STEPS];
    OK(mtk_trainer_create(&a, model, &o, &err));
    run_steps(a, 0, 3, whole);
    OK(mtk_trainer_save(a, path, "{\"cursor\":9}", &err));
    run_steps(a, 3, 6, whole);
    OK(mtk_trainer_create(&b, model, &o, &err));
    OK(mtk_trainer_load(&state, b, path, &err));
    ck_assert_str_eq(state.data, "{\"cursor\":9}");
    ck_assert_int_eq(mtk_trainer_step_count(b), 3);
    run_steps(b, 3, 6, parts);
    for (int s = 3; s < 6; s++) ck_assert(whole[s] == parts[s]);
    mtk_bytes_finish(&state);
    mtk_trainer_destroy(b);
    o.lora_rank = 2; /* another shape is refused by name */
    OK(mtk_trainer_create(&b, model, &o, &err));
    state = (mtk_bytes){0};
    ck_assert_int_eq(mtk_trainer_load(&state, b, path, &err), MTK_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "checkpoint"));
    mtk_bytes_finish(&state);
    mtk_trainer_destroy(b);
    mtk_trainer_destroy(a);
  }
  snprintf(command, sizeof command, "rm -rf %s", dir);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(bad_sequences_are_named) {
  mtk_train_options o = base_options(false);
  o.micro_tokens = 32;
  mtk_trainer *t = NULL;
  OK(mtk_trainer_create(&t, model, &o, &err));
  int32_t bad[] = {1, 512, 3};
  float none[] = {0, 0, 0};
  mtk_train_stats stats;
  mtk_train_seq seqs[] = {{ids.data, NULL, 8}, {bad, NULL, 3}};
  ck_assert_int_eq(mtk_trainer_step(&stats, t, seqs, 2, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "sequence 1");
  seqs[0].n_ids = 40;
  ck_assert_int_eq(mtk_trainer_step(&stats, t, seqs, 1, &err), MTK_E_LIMIT);
  ck_assert_ptr_nonnull(strstr(err.message, "--micro-tokens"));
  bad[1] = 2;
  seqs[1].weight = none;
  ck_assert_int_eq(mtk_trainer_step(&stats, t, &seqs[1], 1, &err), MTK_E_INVALID);
  mtk_trainer_destroy(t);
}
END_TEST

int main(void) {
  if (!getenv("MTK_TEST_DATA")) {
    printf("SKIP: needs stories260K: set MTK_TEST_DATA\n");
    return 77;
  }
  Suite *s = suite_create("train");
  TCase *c = tcase_create("train");
  tcase_add_checked_fixture(c, set_up, tear_down);
  tcase_set_timeout(c, 300);
  tcase_add_test(c, full_training_matches_pytorch);
  tcase_add_test(c, lora_training_matches_pytorch);
  tcase_add_test(c, bits_do_not_depend_on_threads_micro_batches_or_isa);
  tcase_add_test(c, log_probabilities_equal_those_of_serving);
  tcase_add_test(c, a_checkpoint_goes_on_exactly);
  tcase_add_test(c, bad_sequences_are_named);
  suite_add_tcase(s, c);
  return run_suite(s);
}
