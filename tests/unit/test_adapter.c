/* test_adapter.c: LoRA adapters of PEFT, Mistral and GGUF on a tiny model: applied, merged and
 * turned into each other they give transformers' logits (tests/oracle/make_adapter_golden.py). */
#include "format_util.h"
#include "run_suite.h"

#include <mtk/engine.h>
#include <mtk/quantize.h>

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ADAPTERS GOLDEN "adapter/"
#define BASE     GOLDEN "mistral/"

enum { N_VOCAB = 64, MAX_IDS = 32 };

static mtk_error err;

static void copy(const char *from, const char *folder, const char *name) {
  char path[512];
  size_t n;
  uint8_t *bytes = read_bytes(from, &n);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  write_bytes(path, bytes, n);
  mtk_free(bytes);
}

/* The base model in f32: what merging changes is not rounded away. */
static mtk_model *load_base(void) {
  const char *folder = scratch("base");
  mkdir(folder, 0777);
  copy(BASE "small.params.json", folder, "params.json");
  copy(BASE "text.safetensors", folder, "consolidated.safetensors");
  mtk_model *m = load("mistral", folder);
  ck_assert_int_eq(mtk_model_cast(m, MTK_F32, &err), MTK_OK);
  return m;
}

static mtk_adapter *load_adapter(const char *path) {
  mtk_adapter *a = NULL;
  ck_assert_msg(mtk_adapter_load(&a, path, &err) == MTK_OK, "%s: %s", err.place, err.message);
  return a;
}

/* A PEFT folder of a golden. */
static mtk_adapter *load_peft(const char *name) {
  char path[512];
  const char *folder = scratch(name);
  mkdir(folder, 0777);
  snprintf(path, sizeof path, ADAPTERS "%s.safetensors", name);
  copy(path, folder, "adapter_model.safetensors");
  snprintf(path, sizeof path, ADAPTERS "%s.config.json", name);
  copy(path, folder, "adapter_config.json");
  return load_adapter(folder);
}

/* Largest difference of the model's logits (with the adapter, if any) from those of a golden. */
static double distance(const mtk_model *m, const mtk_adapter *a, const char *golden) {
  char path[512];
  int32_t ids[MAX_IDS];
  snprintf(path, sizeof path, ADAPTERS "%s.json", golden);
  json_t *want = json_load_file(path, 0, NULL);
  const json_t *list = json_object_get(want, "ids"), *rows = json_object_get(want, "logits");
  size_t n = json_array_size(list);
  for (size_t i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
  mtk_engine_options o = {.struct_size = sizeof o, .context = MAX_IDS, .max_seqs = 1,
                          .arith = MTK_A32, .isa = -1};
  mtk_engine *e;
  ck_assert_msg(mtk_engine_create(&e, m, &o, &err) == MTK_OK, "%s: %s", err.place, err.message);
  mtk_batch_item it = {0, 0, ids, (int32_t)n, MTK_LOGITS_ALL};
  if (a) ck_assert_int_eq(mtk_engine_add_adapter(&it.adapter, e, a, &err), MTK_OK);
  const float *got;
  int64_t n_rows;
  double most = 0;
  ck_assert_int_eq(mtk_engine_seq_open(&it.seq, e, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_forward(&got, &n_rows, e, &it, 1, &err), MTK_OK);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < N_VOCAB; j++) {
      double w = json_number_value(json_array_get(json_array_get(rows, i), j));
      most = fmax(most, fabs(w - (double)got[i * N_VOCAB + j]));
    }
  mtk_engine_destroy(e);
  json_decref(want);
  return most;
}

static void convert(const mtk_adapter *a, const mtk_model *base, const char *format,
                    const char *path) {
  const mtk_format_v1 *f = mtk_format_find(format);
  mtk_write_options o = {.struct_size = sizeof o, .force = true};
  ck_assert_msg(f->write_adapter(a, base, path, &o, &err) == MTK_OK, "%s: %s: %s", format,
                err.place, err.message);
}

static const char *const goldens[] = {"plain", "rslora"};

/* Beside the base and merged into it: transformers' logits. */
START_TEST(applied_and_merged) {
  mtk_model *m = load_base();
  mtk_adapter *a = load_peft(goldens[_i]);
  ck_assert_uint_eq(a->n_pairs, 14);
  ck_assert(distance(m, NULL, goldens[_i]) > 0.01); /* the adapter does something */
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_OK);
  double d = distance(m, a, goldens[_i]);
  ck_assert_msg(d < 2e-5, "applied: %g", d);
  ck_assert_int_eq(mtk_model_merge(m, a, &err), MTK_OK);
  d = distance(m, NULL, goldens[_i]);
  ck_assert_msg(d < 2e-5, "merged: %g", d);
  mtk_model_destroy(m);
  mtk_adapter_destroy(a);
}
END_TEST

/* The file that a trainer of Mistral's writes: interleaved rows, a scale of 2. */
START_TEST(mistral_file) {
  mtk_model *m = load_base();
  mtk_adapter *a = load_adapter(ADAPTERS "plain.lora.safetensors");
  ck_assert_str_eq(a->pairing, "interleaved");
  ck_assert_uint_eq(a->n_pairs, 14);
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_OK);
  double d = distance(m, a, "plain");
  ck_assert_msg(d < 2e-5, "%g", d);
  mtk_model_destroy(m);
  mtk_adapter_destroy(a);
}
END_TEST

static const char *const formats[][2] = {
    {"hf", "peft"}, {"mistral", "lora"}, {"mistral", "x.safetensors"}, {"gguf", "lora.gguf"}};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

/* Every format into every other, and the same logits. */
START_TEST(into_each_other) {
  const char *const *from = formats[_i / N_FORMATS], *const *to = formats[_i % N_FORMATS];
  mtk_model *m = load_base();
  mtk_adapter *a = load_peft("plain"), *b, *c;
  convert(a, m, from[0], scratch(from[1]));
  b = load_adapter(scratch(from[1]));
  char path[300];
  snprintf(path, sizeof path, "%s-%s", scratch("to"), to[1]);
  convert(b, m, to[0], path);
  c = load_adapter(path);
  ck_assert_int_eq(mtk_adapter_fit(c, m, &err), MTK_OK);
  double d = distance(m, c, "plain");
  ck_assert_msg(d < 2e-5, "%s to %s: %g", from[1], to[1], d);
  mtk_model_destroy(m);
  mtk_adapter *all[] = {a, b, c};
  for (int i = 0; i < 3; i++) mtk_adapter_destroy(all[i]);
}
END_TEST

/* Embeddings and whole modules: merged, kept by PEFT, refused by name elsewhere. */
START_TEST(more_than_linear_layers) {
  mtk_model *m = load_base();
  mtk_adapter *a = load_peft("extra"), *b;
  ck_assert_uint_eq(a->n_pairs, 2);
  ck_assert_uint_eq(a->n_whole, 2);
  convert(a, m, "hf", scratch("again"));
  b = load_adapter(scratch("again"));
  ck_assert_int_eq(mtk_adapter_fit(b, m, &err), MTK_OK);
  mtk_engine_options o = {.struct_size = sizeof o, .context = MAX_IDS, .arith = -1, .isa = -1};
  mtk_engine *e;
  int id;
  ck_assert_int_eq(mtk_engine_create(&e, m, &o, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_add_adapter(&id, e, b, &err), MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, "merge it"), "%s", err.message);
  mtk_engine_destroy(e);
  static const char *const others[] = {"gguf", "mistral"};
  mtk_write_options w = {.struct_size = sizeof w};
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(mtk_format_find(others[i])->write_adapter(b, m, scratch("no"), &w, &err),
                     MTK_E_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "whole"), "%s", err.message);
  }
  ck_assert_int_eq(mtk_model_merge(m, b, &err), MTK_OK);
  double d = distance(m, NULL, "extra");
  ck_assert_msg(d < 2e-5, "%g", d);
  mtk_model_destroy(m);
  mtk_adapter_destroy(a);
  mtk_adapter_destroy(b);
}
END_TEST

/* GGUF keeps an embedding's pair the other way round. */
START_TEST(embedding_through_gguf) {
  mtk_model *m = load_base();
  mtk_adapter *a = load_peft("extra"), *b;
  a->n_whole = 0;
  convert(a, m, "gguf", scratch("e.gguf"));
  mtk_format_find("gguf");
  b = load_adapter(scratch("e.gguf"));
  const mtk_lora_pair *p = mtk_adapter_find(a, "token_embd.weight"),
                      *q = mtk_adapter_find(b, "token_embd.weight");
  ck_assert(p && q && p->n == q->n && p->k == q->k && p->rank == q->rank);
  ck_assert_mem_eq(p->a, q->a, (size_t)(p->rank * p->k) * 4);
  ck_assert_mem_eq(p->b, q->b, (size_t)(p->rank * p->n) * 4);
  mtk_model_destroy(m);
  mtk_adapter_destroy(a);
  mtk_adapter_destroy(b);
}
END_TEST

/* What is not low rank, or of no known rule, is refused by the name of the option. */
static const char *const refused[][2] = {{"use_dora", "true"},
                                         {"layer_replication", "[[0, 1]]"},
                                         {"lora_bias", "true"},
                                         {"fan_in_fan_out", "true"},
                                         {"init_lora_weights", "\"pissa\""},
                                         {"bias", "\"all\""},
                                         {"modules_to_save", "null"}};
enum { N_REFUSED = sizeof refused / sizeof refused[0] };

START_TEST(refused_by_name) {
  char path[512];
  mtk_adapter_destroy(load_peft("extra"));
  snprintf(path, sizeof path, "%s/adapter_config.json", scratch("extra"));
  json_t *config = json_load_file(path, 0, NULL);
  json_object_set_new(config, refused[_i][0], json_loads(refused[_i][1], JSON_DECODE_ANY, NULL));
  ck_assert_int_eq(json_dump_file(config, path, 0), 0);
  json_decref(config);
  mtk_adapter *a = NULL;
  ck_assert_int_eq(mtk_adapter_load(&a, scratch("extra"), &err), MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, refused[_i][0]), "%s", err.message);
}
END_TEST

int main(void) {
  Suite *s = suite_create("adapter");
  TCase *c = tcase_create("adapter");
  tcase_add_checked_fixture(c, format_setup, format_teardown);
  tcase_add_loop_test(c, applied_and_merged, 0, 2);
  tcase_add_test(c, mistral_file);
  tcase_add_loop_test(c, into_each_other, 0, N_FORMATS * N_FORMATS);
  tcase_add_test(c, more_than_linear_layers);
  tcase_add_test(c, embedding_through_gguf);
  tcase_add_loop_test(c, refused_by_name, 0, N_REFUSED);
  suite_add_tcase(s, c);
  return run_suite(s);
}
