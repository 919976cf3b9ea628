/* test_rope.c: rotary frequencies and attention factors against transformers
 * (tests/oracle/make_rope_golden.py), from hyperparameters and from GGUF's tensors; refusals. */
#include <mtk/model.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"

enum { MAX_PAIRS = 64, LINE = 4096 };

static mtk_model *m;
static mtk_error err;

static void setup(void) { m = mtk_model_create(); }
static void teardown(void) { mtk_model_destroy(m); }
static mtk_meta *meta(void) { return mtk_model_meta(m); }

/* "a=yarn", "a=4", "a=1,1.5,2" */
static void set_word(char *word) {
  char *value = strchr(word, '=');
  ck_assert_ptr_nonnull(value);
  *value++ = 0;
  char *end;
  double number = strtod(value, &end);
  if (end == value) {
    ck_assert_int_eq(mtk_meta_set_string(meta(), word, value, &err), MTK_OK);
  } else if (*end == 0) {
    bool whole = strstr(word, "length") || strstr(word, "truncate");
    ck_assert_int_eq(whole ? mtk_meta_set_uint(meta(), word, (uint64_t)number, &err)
                           : mtk_meta_set_float(meta(), word, number, &err),
                     MTK_OK);
  } else {
    mtk_value items[MAX_PAIRS], v = {.type = MTK_META_ARRAY};
    size_t n = 0;
    for (char *at = value; *at && n < MAX_PAIRS; at = *end ? end + 1 : end) {
      items[n++] = (mtk_value){.type = MTK_META_F32, .as.f = (double)strtof(at, &end)};
      ck_assert_ptr_ne(at, end);
    }
    v.as.arr.type = MTK_META_F32;
    v.as.arr.n = n;
    v.as.arr.items = items;
    ck_assert_int_eq(mtk_meta_set(meta(), word, &v, &err), MTK_OK);
  }
}

/* Both as transformers has them, which computes in f32. */
static void check_line(char *line, int number) {
  char *rest = NULL, *word = strtok_r(line, " \n", &rest);
  for (; strcmp(word, "=>") != 0; word = strtok_r(NULL, " \n", &rest)) set_word(word);
  double want[MAX_PAIRS + 1], inv_freq[MAX_PAIRS], factor[MAX_PAIRS], scale;
  int n = 0;
  for (; (word = strtok_r(NULL, " \n", &rest)); n++) want[n] = strtod(word, NULL);
  n--;
  ck_assert_int_eq(mtk_model_rope_scale(&scale, m, &err), MTK_OK);
  ck_assert_msg(fabs(scale / want[0] - 1) < 1e-7, "line %d: %.9g, not %.9g", number, scale,
                want[0]);
  ck_assert_msg(mtk_model_rope(inv_freq, factor, n, m, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  for (int j = 0; j < n; j++)
    ck_assert_msg(fabs(inv_freq[j] / want[j + 1] - 1) < 4e-6, "line %d, %d: %.9g, not %.9g",
                  number, j, inv_freq[j], want[j + 1]);
}

START_TEST(golden) {
  FILE *f = fopen(MTK_SOURCE_DIR "/tests/golden/rope.txt", "r");
  ck_assert_ptr_nonnull(f);
  char line[LINE];
  int lines = 0;
  while (fgets(line, sizeof line, f)) {
    teardown();
    setup();
    check_line(line, ++lines);
  }
  fclose(f);
  ck_assert_int_eq(lines, 22);
}
END_TEST

static float pool[MAX_PAIRS];

static void add_factors(const char *name, int n, const double *values) {
  for (int j = 0; j < n; j++) pool[j] = (float)values[j];
  mtk_tensor t = {.name = name, .dtype = MTK_F32, .n_dims = 1, .shape = {n}, .data = pool,
                  .size_bytes = (uint64_t)n * 4};
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
}

static void set_words(const char *words) {
  char copy[512], *rest = NULL;
  snprintf(copy, sizeof copy, "%s", words);
  for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) set_word(w);
}

#define LLAMA3                                                                                     \
  "rope.freq_base=500000 rope.scaling.type=llama3 rope.scaling.factor=8 "                          \
  "rope.scaling.low_freq_factor=1 rope.scaling.high_freq_factor=4 "                                \
  "rope.scaling.original_context_length=8192"

/* GGUF's rope_freqs.weight says the same as the llama3 parameters. */
START_TEST(llama3_as_tensor) {
  double inv_freq[32], factor[32], again[32];
  set_words(LLAMA3);
  ck_assert_int_eq(mtk_model_rope(inv_freq, factor, 32, m, &err), MTK_OK);
  mtk_meta_remove(meta(), "rope.scaling.type");
  add_factors("rope_freqs.weight", 32, factor);
  ck_assert_int_eq(mtk_model_rope(again, NULL, 32, m, &err), MTK_OK);
  for (int j = 0; j < 32; j++) ck_assert(fabs(again[j] / inv_freq[j] - 1) < 1e-6);
  ck_assert_int_eq(mtk_model_rope(again, NULL, 16, m, &err), MTK_E_FORMAT);
  pool[3] = 0;
  ck_assert_int_eq(mtk_model_rope(again, NULL, 32, m, &err), MTK_E_FORMAT);
}
END_TEST

/* The long set only where the context is longer than that of pretraining. */
START_TEST(longrope_as_tensor) {
  double inv_freq[2], scale;
  set_words("rope.freq_base=100 rope.scaling.type=longrope context_length=64 "
            "rope.scaling.original_context_length=16");
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 2, m, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "rope.scaling.long_factor");
  add_factors("rope_factors_long.weight", 2, (double[]){2, 4});
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 2, m, &err), MTK_OK);
  ck_assert(fabs(inv_freq[0] - 0.5) < 1e-12 && fabs(inv_freq[1] - 0.025) < 1e-12);
  ck_assert_int_eq(mtk_model_rope_scale(&scale, m, &err), MTK_OK);
  ck_assert(fabs(scale - sqrt(1.5)) < 1e-7); /* an f32 */
  mtk_meta_set_uint(meta(), "context_length", 16, &err);
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 2, m, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "rope.scaling.short_factor");
}
END_TEST

/* llama.cpp's readers take a factor without a type for linear scaling. */
START_TEST(factor_alone) {
  double inv_freq[2];
  set_words("rope.freq_base=100 rope.scaling.factor=4");
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 2, m, &err), MTK_OK);
  ck_assert(fabs(inv_freq[1] - 0.025) < 1e-12);
}
END_TEST

START_TEST(refused) {
  double inv_freq[4], scale;
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 4, m, &err), MTK_E_FORMAT); /* no base */
  set_words(LLAMA3);
  mtk_meta_set_string(meta(), "rope.scaling.type", "dynamic", &err);
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 4, m, &err), MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, "'dynamic'"), "%s", err.message);
  ck_assert_int_eq(mtk_model_rope_scale(&scale, m, &err), MTK_E_UNSUPPORTED);
  mtk_meta_set_string(meta(), "rope.scaling.type", "llama3", &err);
  mtk_meta_remove(meta(), "rope.scaling.factor");
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 4, m, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "rope.scaling.factor");
  set_words("rope.scaling.type=yarn rope.scaling.factor=4 rope.scaling.yarn_beta_fast=-1");
  ck_assert_int_eq(mtk_model_rope(inv_freq, NULL, 4, m, &err), MTK_E_FORMAT);
  set_words("rope.scaling.yarn_beta_fast=32 rope.scaling.attn_factor=inf");
  ck_assert_int_eq(mtk_model_rope_scale(&scale, m, &err), MTK_E_FORMAT);
}
END_TEST

int main(void) {
  Suite *s = suite_create("rope");
  TCase *tc = tcase_create("rope");
  tcase_add_checked_fixture(tc, setup, teardown);
  tcase_add_test(tc, golden);
  tcase_add_test(tc, llama3_as_tensor);
  tcase_add_test(tc, longrope_as_tensor);
  tcase_add_test(tc, factor_alone);
  tcase_add_test(tc, refused);
  suite_add_tcase(s, tc);
  return run_suite(s);
}
