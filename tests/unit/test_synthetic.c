/* test_synthetic.c: models without weights on disk: the same values however they are read, of the
 * spread that is promised, and usable in every storage type. */
#include <check.h>
#include <math.h>
#include <mtk/engine.h>
#include <mtk/registry.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run_suite.h"

static char g_config[] = "/tmp/mtk-synthetic-XXXXXX";

static const char config_text[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":256,\"intermediate_size\":512,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":2,"
    "\"vocab_size\":100,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
    "\"tie_word_embeddings\":false}";

static mtk_model *make(mtk_dtype type, int64_t n_block, uint64_t seed) {
  mtk_error err;
  mtk_model *model = NULL;
  const mtk_synthetic_options o = {
      .struct_size = sizeof o, .dtype = type, .n_block = n_block, .seed = seed};
  mtk_status st = mtk_model_synthetic(&model, g_config, &o, &err);
  ck_assert_msg(st == MTK_OK, "%s: %s", err.place, err.message);
  return model;
}

START_TEST(rows_are_the_same_in_any_order) {
  static const mtk_dtype types[] = {MTK_F32, MTK_Q4_0, MTK_Q4_K, MTK_NVFP4};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    mtk_model *a = make(types[i], 0, 7), *b = make(types[i], 0, 7), *c = make(types[i], 0, 8);
    const mtk_tensor *t = mtk_model_tensor(a, "blk.1.ffn_down.weight");
    size_t row = mtk_tensor_row_bytes(t);
    uint8_t *all = mtk_alloc(256, row), *one = mtk_alloc(1, row), *other = mtk_alloc(256, row);
    ck_assert_int_eq(t->read(t, all, 0, 256, NULL), MTK_OK);
    t = mtk_model_tensor(b, "blk.1.ffn_down.weight");
    for (int64_t r = 255; r >= 0; r--) {
      ck_assert_int_eq(t->read(t, one, r, 1, NULL), MTK_OK);
      ck_assert_mem_eq(one, all + (size_t)r * row, row);
    }
    t = mtk_model_tensor(c, "blk.1.ffn_down.weight");
    ck_assert_int_eq(t->read(t, other, 0, 256, NULL), MTK_OK);
    ck_assert_mem_ne(all, other, 256 * row);
    t = mtk_model_tensor(b, "blk.0.ffn_down.weight");
    ck_assert_int_eq(t->read(t, other, 0, 256, NULL), MTK_OK);
    ck_assert_mem_ne(all, other, 256 * row);
    mtk_free(all);
    mtk_free(one);
    mtk_free(other);
    mtk_model_destroy(a);
    mtk_model_destroy(b);
    mtk_model_destroy(c);
  }
}
END_TEST

/* Root mean square of a tensor's values. */
static double spread(const mtk_model *model, const char *name) {
  const mtk_tensor *t = mtk_model_tensor(model, name);
  int64_t rows = mtk_tensor_rows(t), k = mtk_tensor_row_elems(t);
  float *x = mtk_alloc((size_t)k, sizeof *x);
  void *tmp = mtk_alloc(1, mtk_tensor_row_bytes(t));
  double sum = 0;
  for (int64_t r = 0; r < rows; r++) {
    ck_assert_int_eq(mtk_tensor_fetch_f32(x, t, r, 1, tmp, NULL), MTK_OK);
    for (int64_t i = 0; i < k; i++) sum += (double)x[i] * x[i];
  }
  mtk_free(x);
  mtk_free(tmp);
  return sqrt(sum / (double)(rows * k));
}

START_TEST(spread_is_that_of_training_from_scratch) {
  static const mtk_dtype types[] = {MTK_F32, MTK_Q8_0, MTK_Q4_K, MTK_NVFP4, MTK_F8_E4M3};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    mtk_model *m = make(types[i], 2, 1);
    ck_assert_double_eq_tol(spread(m, "blk.0.attn_q.weight") * 16, 1, 0.03);
    ck_assert_double_eq_tol(spread(m, "blk.0.ffn_down.weight") * sqrt(512) * 2, 1, 0.03);
    ck_assert_double_eq_tol(spread(m, "token_embd.weight") / 0.02, 1, 0.03);
    ck_assert_double_eq_tol(spread(m, "blk.0.attn_norm.weight"), 1, 1e-12);
    mtk_model_destroy(m);
  }
}
END_TEST

START_TEST(every_type_runs_and_stays_finite) {
  int ran = 0;
  for (int type = 0; type < MTK_DTYPE_COUNT; type++) {
    const mtk_dtype_info *info = mtk_dtype_get((mtk_dtype)type);
    const mtk_synthetic_options o = {.struct_size = sizeof o, .dtype = (mtk_dtype)type, .seed = 1};
    mtk_model *model = NULL;
    mtk_error err = {0};
    mtk_status st = mtk_model_synthetic(&model, g_config, &o, &err);
    if (type == MTK_F64) { /* is read, but no kernel computes with it */
      mtk_model_destroy(model);
      continue;
    }
    if (st != MTK_OK) { /* only types that cannot be encoded */
      ck_assert_ptr_null(model);
      ck_assert_int_eq(st, info->is_float ? MTK_E_UNSUPPORTED : MTK_E_INVALID);
      continue;
    }
    mtk_engine *engine = NULL;
    mtk_engine_options eo = {.struct_size = sizeof eo, .arith = -1, .isa = -1};
    st = mtk_engine_create(&engine, model, &eo, &err);
    ck_assert_msg(st == MTK_OK, "%s: %s: %s", info->name, err.place, err.message);
    const int32_t ids[] = {1, 50, 99};
    int seq;
    const float *logits;
    int64_t rows;
    ck_assert_int_eq(mtk_engine_seq_open(&seq, engine, NULL), MTK_OK);
    const mtk_batch_item item = {seq, 0, ids, 3, MTK_LOGITS_LAST};
    ck_assert_int_eq(mtk_engine_forward(&logits, &rows, engine, &item, 1, NULL), MTK_OK);
    double sum = 0;
    for (int i = 0; i < 100; i++) sum += (double)logits[i] * logits[i];
    ck_assert_msg(sum > 1 && sum < 1e4, "%s: squares of the logits add up to %g", info->name, sum);
    mtk_engine_destroy(engine);
    mtk_model_destroy(model);
    ran++;
  }
  ck_assert_int_ge(ran, 25);
}
END_TEST

/* Counted: operations by hand, each op once per layer, and nothing after it was switched off. */
START_TEST(ops_of_an_engine_are_counted) {
  mtk_model *model = make(MTK_Q8_0, 2, 1);
  mtk_engine *engine = NULL;
  const mtk_engine_options eo = {.struct_size = sizeof eo, .arith = -1, .isa = -1};
  ck_assert_int_eq(mtk_engine_create(&engine, model, &eo, NULL), MTK_OK);
  const int32_t ids[] = {1, 2, 3, 4, 5};
  int seq;
  const float *logits;
  int64_t n_logits;
  ck_assert_int_eq(mtk_engine_seq_open(&seq, engine, NULL), MTK_OK);
  const mtk_batch_item item = {seq, 0, ids, 5, MTK_LOGITS_LAST};
  mtk_engine_profile(engine, true);
  ck_assert_int_eq(mtk_engine_forward(&logits, &n_logits, engine, &item, 1, NULL), MTK_OK);
  size_t n;
  const mtk_op_stats *rows = mtk_engine_op_stats(&n, engine);
  double linear = 0;
  uint64_t attention = 0;
  for (size_t i = 0; i < n; i++) {
    if (!strcmp(rows[i].op, "linear")) linear += rows[i].ops;
    if (!strcmp(rows[i].op, "attention")) attention += rows[i].calls;
    ck_assert(rows[i].seconds >= 0 && rows[i].calls > 0);
  }
  /* Behind the last attention there is one row: that of the logits. */
  double qkv = 256.0 * 256 + 128.0 * 256 * 2, rest = 256.0 * 256 + 3 * 256.0 * 512;
  ck_assert_double_eq_tol(linear, 2 * (5 * (2 * qkv + rest) + rest + 256.0 * 100), 0.5);
  ck_assert_uint_eq(attention, 2);
  mtk_engine_profile(engine, false);
  ck_assert_int_eq(mtk_engine_forward(&logits, &n_logits, engine, &item, 1, NULL), MTK_OK);
  mtk_engine_op_stats(&n, engine);
  ck_assert_uint_eq(n, 0);
  mtk_engine_destroy(engine);
  mtk_model_destroy(model);
}
END_TEST

int main(void) {
  int fd = mkstemp(g_config);
  if (fd < 0 || write(fd, config_text, sizeof config_text - 1) < 0) return 1;
  close(fd);
  if (mtk_plugins_load(NULL) != MTK_OK) return 1;
  Suite *s = suite_create("synthetic");
  TCase *tc = tcase_create("synthetic");
  tcase_set_timeout(tc, 600);
  tcase_add_test(tc, rows_are_the_same_in_any_order);
  tcase_add_test(tc, spread_is_that_of_training_from_scratch);
  tcase_add_test(tc, every_type_runs_and_stays_finite);
  tcase_add_test(tc, ops_of_an_engine_are_counted);
  suite_add_tcase(s, tc);
  int failed = run_suite(s);
  unlink(g_config);
  return failed;
}
