/* test_options.c: typed option tables: defaults, types, ranges, choices, lists, errors. */
#include <mtk/option.h>

#include <check.h>
#include <string.h>

#include "run_suite.h"

static const mtk_option_def defs[] = {
    {"force", 'f', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "overwrite"},
    {"steps", 'n', MTK_OPT_INT, "N", "100", 1, 1000000, NULL, "steps"},
    {"offset", 0, MTK_OPT_INT, "N", NULL, 0, 0, NULL, "no range"},
    {"lr", 0, MTK_OPT_FLOAT, "F", "1e-4", 0, 1, NULL, "learning rate"},
    {"out", 0, MTK_OPT_PATH, "DIR", NULL, 0, 0, NULL, "folder"},
    {"dtype", 0, MTK_OPT_ENUM, "TYPE", "keep", 0, 0, "keep|f32|f16|bf16", "type"},
    {"stop", 0, MTK_OPT_LIST, "TEXT", NULL, 0, 0, NULL, "stop strings"},
    {"data", 0, MTK_OPT_LIST, "FILE", "a.txt", 0, 0, NULL, "files"},
    {0},
};

static mtk_option_values *v;
static mtk_error err;

static void setup(void) {
  v = mtk_options_create(defs);
  ck_assert_ptr_nonnull(v);
  memset(&err, 0, sizeof err);
}
static void teardown(void) { mtk_options_destroy(v); }

START_TEST(defaults) {
  ck_assert(!mtk_options_flag(v, "force"));
  ck_assert_int_eq(mtk_options_int(v, "steps"), 100);
  ck_assert_int_eq(mtk_options_int(v, "offset"), 0);
  ck_assert(!(mtk_options_float(v, "lr") < 1e-4) && !(mtk_options_float(v, "lr") > 1e-4));
  ck_assert_ptr_null(mtk_options_string(v, "out"));
  ck_assert_str_eq(mtk_options_string(v, "dtype"), "keep");
  const char *const *items = NULL;
  ck_assert_uint_eq(mtk_options_list(v, "stop", &items), 0);
  ck_assert_uint_eq(mtk_options_list(v, "data", &items), 1);
  ck_assert_str_eq(items[0], "a.txt");
  for (const mtk_option_def *d = defs; d->name; d++) ck_assert(!mtk_options_is_set(v, d->name));
  ck_assert_ptr_null(mtk_options_string(v, "no-such"));
  ck_assert_ptr_null(mtk_options_string(NULL, "dtype"));
}
END_TEST

START_TEST(values) {
  ck_assert_int_eq(mtk_options_set(v, "force", NULL, &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "steps", "7", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "steps", "1", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "steps", "1000000", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "steps", "8", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "offset", "-9223372036854775808", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "lr", "0.5", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "out", "/tmp/x", &err), MTK_OK);
  ck_assert_int_eq(mtk_options_set(v, "dtype", "bf16", &err), MTK_OK);
  ck_assert(mtk_options_flag(v, "force") && mtk_options_is_set(v, "force"));
  ck_assert_int_eq(mtk_options_int(v, "steps"), 8);
  ck_assert_int_eq(mtk_options_int(v, "offset"), INT64_MIN);
  ck_assert(mtk_options_float(v, "lr") > 0.49 && mtk_options_float(v, "lr") < 0.51);
  ck_assert_str_eq(mtk_options_string(v, "out"), "/tmp/x");
  ck_assert_str_eq(mtk_options_string(v, "dtype"), "bf16");
}
END_TEST

START_TEST(lists) {
  for (int i = 0; i < 20; i++)
    ck_assert_int_eq(mtk_options_set(v, "stop", i % 2 ? "b" : "a", &err), MTK_OK);
  const char *const *items = NULL;
  ck_assert_uint_eq(mtk_options_list(v, "stop", &items), 20);
  ck_assert_str_eq(items[19], "b");
  ck_assert_int_eq(mtk_options_set(v, "data", "b.txt", &err), MTK_OK); /* replaces the default */
  ck_assert_uint_eq(mtk_options_list(v, "data", &items), 1);
  ck_assert_str_eq(items[0], "b.txt");
}
END_TEST

static const struct {
  const char *name, *value, *says;
} wrong[] = {
    {"nonsense", "1", "unknown option"},    {"steps", NULL, "needs a value"},
    {"force", "yes", "takes no value"},     {"steps", "0", "outside 1 to 1e+06"},
    {"steps", "12x", "not a whole number"}, {"steps", "", "not a whole number"},
    {"steps", "99999999999999999999", "not a whole number"},
    {"lr", "2", "outside 0 to 1"},          {"lr", "fast", "not a number"},
    {"lr", "nan", "not a number"},          {"lr", "inf", "not a number"},
    {"dtype", "f3", "one of keep|f32|f16|bf16"}, {"dtype", "f32|f16", "one of"},
    {"dtype", "", "one of"},
};

START_TEST(errors) {
  const char *says = wrong[_i].says;
  ck_assert_int_eq(mtk_options_set(v, wrong[_i].name, wrong[_i].value, &err), MTK_E_INVALID);
  ck_assert_msg(strstr(err.message, says), "'%s' does not say '%s'", err.message, says);
  ck_assert_int_eq(mtk_options_int(v, "steps"), 100); /* nothing changed */
  ck_assert_str_eq(mtk_options_string(v, "dtype"), "keep");
}
END_TEST

START_TEST(no_memory) {
  for (int n = 0; n < 12; n++) {
    mtk_alloc_fail_after(n);
    mtk_option_values *w = mtk_options_create(defs);
    for (int i = 0; w && i < 9; i++) mtk_options_set(w, "stop", "text", NULL);
    mtk_alloc_fail_after(-1);
    mtk_options_destroy(w);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("options");
  TCase *c = tcase_create("options");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, defaults);
  tcase_add_test(c, values);
  tcase_add_test(c, lists);
  tcase_add_loop_test(c, errors, 0, (int)(sizeof wrong / sizeof wrong[0]));
  tcase_add_test(c, no_memory);
  suite_add_tcase(s, c);
  return run_suite(s);
}
