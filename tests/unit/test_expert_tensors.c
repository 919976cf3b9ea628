/* test_expert_tensors.c: experts of files as stacked tensors and back: one tensor per expert, gate
 * and up in one (halves, or rows that take turns in transposed matrices), scales and input scales,
 * and what is wrong with incomplete models. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model_impl.h"
#include "run_suite.h"

enum { E = 3, N = 4, K = 6 };

#define PER_EXPERT (MTK_TENSOR_LINEAR | MTK_TENSOR_BLOCK | MTK_TENSOR_EXPERTS)

static const mtk_arch_tensor apart_tensors[] = {
    {"blk.%d.ffn_gate_exps", "l.%d.experts.%d.w1", "ff", "dim", PER_EXPERT, "gate_up"},
    {"blk.%d.ffn_up_exps", "l.%d.experts.%d.w3", "ff", "dim", PER_EXPERT, "gate_up"},
    {"blk.%d.ffn_gate_up_exps.weight", "l.%d.experts.gate_up", "ff", "dim",
     MTK_TENSOR_BLOCK | MTK_TENSOR_GATE_UP, NULL},
    {0},
};
static const mtk_arch_tensor turns_tensors[] = {
    {"blk.%d.ffn_gate_exps", NULL, "ff", "dim", PER_EXPERT, "gate_up"},
    {"blk.%d.ffn_up_exps", NULL, "ff", "dim", PER_EXPERT, "gate_up"},
    {"blk.%d.ffn_gate_up_exps.weight", "l.%d.experts.gate_up", "ff", "dim",
     MTK_TENSOR_BLOCK | MTK_TENSOR_GATE_UP | MTK_TENSOR_EVEN_ODD | MTK_TENSOR_HF_TRANSPOSED, NULL},
    {"blk.%d.ffn_gate_up_exps.bias", "l.%d.experts.gate_up_bias", "ff", NULL,
     MTK_TENSOR_BLOCK | MTK_TENSOR_GATE_UP | MTK_TENSOR_EVEN_ODD, NULL},
    {"blk.%d.ffn_down_exps.weight", "l.%d.experts.down", "dim", "ff",
     PER_EXPERT | MTK_TENSOR_HF_TRANSPOSED, NULL},
    {0},
};
static const mtk_arch_hparam hparams[] = {{0}};
static const mtk_arch_v1 apart = {.struct_size = sizeof apart, .id = "apart", .hparams = hparams,
                                  .tensors = apart_tensors};
static const mtk_arch_v1 turns = {.struct_size = sizeof turns, .id = "turns", .hparams = hparams,
                                  .tensors = turns_tensors};

static mtk_model *new_model(void) {
  mtk_model *m = mtk_model_create();
  ck_assert_int_eq(mtk_meta_set_uint(mtk_model_meta(m), "expert_count", E, NULL), MTK_OK);
  return m;
}

/* A tensor of f32 whose element i is base + i. */
static mtk_tensor numbers(mtk_model *m, const char *name, const int64_t *shape, int n_dims,
                          float base) {
  int64_t n = 1;
  mtk_tensor t = {.name = name, .dtype = MTK_F32, .n_dims = n_dims};
  for (int i = 0; i < n_dims; i++) n *= t.shape[i] = shape[i];
  float *x = mtk_arena_alloc(mtk_model_arena(m), (size_t)n, sizeof *x);
  for (int64_t i = 0; i < n; i++) x[i] = base + (float)i;
  t.data = x;
  t.size_bytes = 4 * (uint64_t)n;
  return t;
}

static void add(mtk_model *m, const mtk_tensor *t) {
  mtk_error err = {0};
  ck_assert_msg(mtk_model_add_tensor(m, t, &err) == MTK_OK, "%s: %s", err.place, err.message);
}

/* All values, read in two unequal parts. */
static const float *values_of(const mtk_model *m, const char *name) {
  static float x[1024];
  const mtk_tensor *t = mtk_model_tensor(m, name);
  ck_assert_msg(t != NULL, "%s is missing", name);
  int64_t rows = mtk_tensor_rows(t), k = mtk_tensor_row_elems(t), cut = rows / 3;
  char tmp[4096];
  ck_assert_int_eq(mtk_tensor_fetch_f32(x, t, 0, cut, tmp, NULL), MTK_OK);
  ck_assert_int_eq(mtk_tensor_fetch_f32(x + cut * k, t, cut, rows - cut, tmp, NULL), MTK_OK);
  return x;
}

static void join(mtk_model *m, const mtk_arch_v1 *arch) {
  mtk_error err = {0};
  ck_assert_msg(mtk_model_join_experts(m, arch, true, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
}

static void split(mtk_model *m, const mtk_arch_v1 *arch) {
  mtk_error err = {0};
  ck_assert_msg(mtk_model_split_experts(m, arch, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
}

START_TEST(names_go_both_ways) {
  char buf[128];
  ck_assert_str_eq(mtk_arch_name_from_hf(buf, sizeof buf, &apart, "l.4.experts.11.w3.weight"),
                   "blk.4.ffn_up_exps.11.weight");
  ck_assert_str_eq(mtk_arch_name_to_hf(buf, sizeof buf, &apart, "blk.4.ffn_up_exps.11.weight"),
                   "l.4.experts.11.w3.weight");
  ck_assert_str_eq(mtk_arch_name_from_hf(buf, sizeof buf, &apart, "l.4.experts.gate_up"),
                   "blk.4.ffn_gate_up_exps.weight");
  ck_assert_ptr_null(mtk_arch_name_from_hf(buf, sizeof buf, &apart, "l.4.experts.01.w3.weight"));
  ck_assert_ptr_null(mtk_arch_name_from_hf(buf, sizeof buf, &apart, "l.4.experts.w3.weight"));
}
END_TEST

static mtk_status read_plain(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  size_t row = mtk_tensor_row_bytes(t);
  (void)err;
  memcpy(dst, (const char *)t->read_ctx + (size_t)row0 * row, (size_t)n_rows * row);
  return MTK_OK;
}

/* Scales of each expert and their input scales, through the stack and (without its memory of the
 * parts) back. */
START_TEST(experts_apart) {
  mtk_model *m = new_model();
  float scales[E] = {2, 3, 5};
  for (int e = 0; e < E; e++) {
    char name[64];
    snprintf(name, sizeof name, "blk.0.ffn_up_exps.%d.weight", e);
    mtk_tensor t = numbers(m, name, (int64_t[]){N, K}, 2, (float)(100 * e));
    t.scales = &scales[e];
    t.scale_n = N;
    t.scale_k = K;
    t.input_scale = 0.5f * (float)(e + 1);
    add(m, &t);
  }
  join(m, &apart);
  ck_assert_uint_eq(mtk_model_tensor_count(m), 2);
  const mtk_tensor *t = mtk_model_tensor(m, "blk.0.ffn_up_exps.weight");
  ck_assert_int_eq(t->n_dims, 3);
  ck_assert_int_eq(t->shape[0], E);
  ck_assert_int_eq(t->scale_n, N);
  const float *x = values_of(m, t->name);
  for (int e = 0; e < E; e++)
    for (int i = 0; i < N * K; i++)
      ck_assert_float_eq(x[e * N * K + i], (float)(100 * e + i) * scales[e]);
  x = values_of(m, "blk.0.ffn_up_exps.input_scale");
  for (int e = 0; e < E; e++) ck_assert_float_eq(x[e], 0.5f * (float)(e + 1));
  float *plain = mtk_arena_alloc(mtk_model_arena(m), E * N * K, sizeof *plain);
  mtk_tensor copy = *t; /* as another format gives it */
  copy.scales = NULL;
  for (int i = 0; i < E * N * K; i++) plain[i] = (float)i;
  copy.data = _i ? NULL : plain; /* in memory, or produced row by row */
  copy.read = _i ? read_plain : NULL;
  copy.read_ctx = plain;
  copy.scales = scales;
  ck_assert_int_eq(mtk_model_replace_tensor(m, &copy, NULL), MTK_OK);
  split(m, &apart);
  ck_assert_uint_eq(mtk_model_tensor_count(m), E);
  t = mtk_model_tensor(m, "blk.0.ffn_up_exps.2.weight");
  ck_assert_float_eq(t->input_scale, 1.5f);
  x = values_of(m, t->name);
  for (int i = 0; i < N * K; i++) ck_assert_float_eq(x[i], (float)(2 * N * K + i) * scales[2]);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(gate_above_up) {
  mtk_model *m = new_model();
  mtk_tensor t = numbers(m, "blk.7.ffn_gate_up_exps.weight", (int64_t[]){E, 2 * N, K}, 3, 0);
  add(m, &t);
  join(m, &apart);
  const float *x = values_of(m, "blk.7.ffn_up_exps.weight");
  for (int i = 0; i < E * N * K; i++)
    ck_assert_float_eq(x[i], (float)(i / (N * K) * 2 * N * K + N * K + i % (N * K)));
  mtk_model_destroy(m);
}
END_TEST

/* gpt-oss: [E, K, 2N], columns take turns. from_copy: fused again from plain tensors. */
START_TEST(columns_take_turns) {
  bool from_copy = _i;
  mtk_model *m = new_model();
  mtk_tensor t = numbers(m, "blk.0.ffn_gate_up_exps.weight", (int64_t[]){E, K, 2 * N}, 3, 0);
  mtk_tensor bias = numbers(m, "blk.0.ffn_gate_up_exps.bias", (int64_t[]){E, 2 * N}, 2, 500);
  mtk_tensor down = numbers(m, "blk.0.ffn_down_exps.weight", (int64_t[]){E, N, K}, 3, 1000);
  add(m, &t);
  add(m, &bias);
  add(m, &down);
  join(m, &turns);
  ck_assert_uint_eq(mtk_model_tensor_count(m), 5);
  const float *x = values_of(m, "blk.0.ffn_up_exps.weight");
  for (int e = 0; e < E; e++)
    for (int n = 0; n < N; n++)
      for (int k = 0; k < K; k++)
        ck_assert_float_eq(x[(e * N + n) * K + k], (float)((e * K + k) * 2 * N + 2 * n + 1));
  x = values_of(m, "blk.0.ffn_gate_exps.bias");
  for (int i = 0; i < E * N; i++) ck_assert_float_eq(x[i], (float)(500 + 2 * i));
  x = values_of(m, "blk.0.ffn_down_exps.weight");
  ck_assert_float_eq(x[1], (float)(1000 + K)); /* expert 0, row 0, column 1 */
  for (size_t i = 0; from_copy && i < mtk_model_tensor_count(m); i++) {
    mtk_tensor plain = *mtk_model_tensor_at(m, i);
    float *data = mtk_arena_alloc(mtk_model_arena(m), plain.size_bytes, 1);
    memcpy(data, values_of(m, plain.name), plain.size_bytes);
    plain.data = data;
    plain.read = NULL;
    ck_assert_int_eq(mtk_model_replace_tensor(m, &plain, NULL), MTK_OK);
  }
  split(m, &turns);
  ck_assert_uint_eq(mtk_model_tensor_count(m), 3);
  const mtk_tensor *const want[] = {&t, &bias, &down};
  for (int i = 0; i < 3; i++) {
    const mtk_tensor *got = mtk_model_tensor(m, want[i]->name);
    ck_assert_int_eq(got->shape[1], want[i]->shape[1]);
    ck_assert_msg(memcmp(values_of(m, want[i]->name), want[i]->data, want[i]->size_bytes) == 0,
                  "%s", want[i]->name);
  }
  mtk_model_destroy(m);
}
END_TEST

START_TEST(incomplete_models_are_refused) {
  static const struct {
    const char *names[2];
    int64_t rows[2];
    const char *place;
  } cases[] = {
      {{"blk.0.ffn_up_exps.0.weight", "blk.0.ffn_up_exps.2.weight"}, {N, N},
       "blk.0.ffn_up_exps.1.weight"},
      {{"blk.0.ffn_up_exps.1.weight", "blk.0.ffn_up_exps.2.weight"}, {N, N},
       "blk.0.ffn_up_exps.0.weight"},
      {{"blk.0.ffn_up_exps.0.weight", "blk.0.ffn_up_exps.1.weight"}, {N, N + 1},
       "blk.0.ffn_up_exps.1.weight"},
      {{"blk.0.ffn_up_exps.0.weight", "blk.0.ffn_up_exps.3.weight"}, {N, N},
       "blk.0.ffn_up_exps.1.weight"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mtk_model *m = new_model();
    mtk_error err = {0};
    for (int j = 0; j < 2; j++) {
      mtk_tensor t = numbers(m, cases[i].names[j], (int64_t[]){cases[i].rows[j], K}, 2, 0);
      add(m, &t);
    }
    ck_assert_int_eq(mtk_model_join_experts(m, &apart, true, &err), MTK_E_FORMAT);
    ck_assert_str_eq(err.place, cases[i].place);
    mtk_model_destroy(m);
  }
  mtk_model *m = new_model();
  mtk_error err = {0};
  mtk_tensor odd = numbers(m, "blk.0.ffn_gate_up_exps.weight", (int64_t[]){E, 2 * N + 1, K}, 3, 0);
  add(m, &odd);
  ck_assert_int_eq(mtk_model_join_experts(m, &apart, true, &err), MTK_E_FORMAT);
  mtk_model_destroy(m);
}
END_TEST

/* What GGUF files can hold and folders cannot: gate and up of different shapes. */
START_TEST(unequal_halves_are_refused) {
  mtk_model *m = new_model();
  mtk_error err = {0};
  mtk_tensor gate = numbers(m, "blk.0.ffn_gate_exps.weight", (int64_t[]){E, N, K}, 3, 0);
  mtk_tensor up = numbers(m, "blk.0.ffn_up_exps.weight", (int64_t[]){E, N, K + 2}, 3, 0);
  add(m, &gate);
  add(m, &up);
  ck_assert_int_eq(mtk_model_split_experts(m, &turns, &err), MTK_E_UNSUPPORTED);
  ck_assert_str_eq(err.place, "blk.0.ffn_up_exps.weight");
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("expert_tensors");
  TCase *t = tcase_create("expert_tensors");
  tcase_add_test(t, names_go_both_ways);
  tcase_add_loop_test(t, experts_apart, 0, 2);
  tcase_add_test(t, gate_above_up);
  tcase_add_loop_test(t, columns_take_turns, 0, 2);
  tcase_add_test(t, incomplete_models_are_refused);
  tcase_add_test(t, unequal_halves_are_refused);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
