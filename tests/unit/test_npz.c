/* test_npz.c: NumPy files against values of numpy (tests/oracle/make_npz_golden.py), what is
 * written read again, and hostile input. tests/cli/npz_oracle.sh has numpy read what mtk writes. */
#include "format_util.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS MTK_SOURCE_DIR "/formats/npz/corpus/"

START_TEST(reads_what_numpy_wrote) {
  static const char *const files[] = {GOLDEN "arrays.npz", GOLDEN "arrays_deflated.npz"};
  for (int i = 0; i < 2; i++) {
    mtk_model *m = load("npz", files[i]);
    check_sums(m, GOLDEN "arrays.sha256");
    ck_assert_uint_eq(mtk_model_tensor_count(m), 18);
    ck_assert_int_eq(mtk_model_tensor(m, "u2")->dtype, MTK_U16);
    ck_assert_int_eq(mtk_model_tensor(m, "big")->dtype, MTK_I32);
    ck_assert(has_warning(m, "text (an array of type <U2"));
    ck_assert(has_warning(m, "wide (an array of type <c16"));
    mtk_model_destroy(m);
  }
  mtk_model *m = load("npz", GOLDEN "array.npy");
  const mtk_tensor *t = mtk_model_tensor(m, "array");
  ck_assert(t && t->n_dims == 3 && t->shape[0] == 3 && t->shape[1] == 4 && t->shape[2] == 2);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(writes_what_it_read) {
  mtk_model *a = load("npz", GOLDEN "arrays.npz");
  save("npz", a, scratch("a.npz"), NULL);
  mtk_model *b = load("npz", scratch("a.npz"));
  check_same_tensors(a, b, true);
  check_sums(b, GOLDEN "arrays.sha256");
  save("npz", b, scratch("b.npz"), NULL);
  ck_assert(same_files(scratch("a.npz"), scratch("b.npz")));
  for (size_t i = 0; i < mtk_model_tensor_count(b); i++) /* in place, for every type */
    ck_assert(mtk_model_tensor_at(b, i)->data || !mtk_model_tensor_at(b, i)->size_bytes);
  mtk_model_destroy(a);
  mtk_model_destroy(b);
}
END_TEST

/* Types that NumPy does not have become f32, and the user is told. */
START_TEST(widens_other_types) {
  mtk_model *a = load("hf", GOLDEN "tiny");
  save("npz", a, scratch("a.npz"), NULL);
  ck_assert(has_warning(a, "were written as f32"));
  ck_assert(has_warning(a, "arrays hold the tensors only"));
  mtk_model *b = load("npz", scratch("a.npz"));
  ck_assert_uint_eq(mtk_model_tensor_count(a), mtk_model_tensor_count(b));
  for (size_t i = 0; i < mtk_model_tensor_count(a); i++) {
    const mtk_tensor *x = mtk_model_tensor_at(a, i), *y = mtk_model_tensor_at(b, i);
    size_t n = (size_t)(mtk_tensor_rows(x) * mtk_tensor_row_elems(x));
    float *want = mtk_alloc(n, sizeof *want);
    ck_assert_int_eq(mtk_tensor_fetch_f32(want, x, 0, mtk_tensor_rows(x), NULL, NULL), MTK_OK);
    ck_assert_str_eq(x->name, y->name);
    ck_assert_mem_eq(want, y->data, n * sizeof *want);
    mtk_free(want);
  }
  mtk_model_destroy(a);
  mtk_model_destroy(b);
}
END_TEST

START_TEST(one_tensor) {
  mtk_model *a = load("npz", GOLDEN "arrays.npz");
  save("npz", a, scratch("f8.npy"), "tensor=f8");
  mtk_model *b = load("npz", scratch("f8.npy"));
  ck_assert_uint_eq(mtk_model_tensor_count(b), 1);
  ck_assert_int_eq(mtk_model_tensor(b, "f8")->dtype, MTK_F64);
  mtk_model_destroy(b);
  mtk_error err = {0};
  const mtk_write_options options = {.struct_size = sizeof options, .force = true};
  ck_assert_int_eq(mtk_format_find("npz")->write_model(a, scratch("x.npy"), &options, &err),
                   MTK_E_INVALID);
  ck_assert(strstr(err.message, "--tensor") != NULL);
  ck_assert(!mtk_path_exists(scratch("x.npy")));
  mtk_model_destroy(a);
}
END_TEST

START_TEST(refusals) {
  ck_assert(strstr(load_fails("npz", CORPUS "objects.npy").message, "Python objects"));
  ck_assert(strstr(load_fails("npz", CORPUS "records.npy").message, "records"));
  size_t n;
  uint8_t *data = read_bytes(GOLDEN "arrays_deflated.npz", &n);
  setenv("MTK_EXPAND_LIMIT", "100", 1);
  mtk_error err = load_fails("npz", GOLDEN "arrays_deflated.npz");
  ck_assert(strstr(err.message, "MTK_EXPAND_LIMIT"));
  unsetenv("MTK_EXPAND_LIMIT");
  data[n - 22] ^= 1; /* the end record */
  write_bytes(scratch("x.npz"), data, n);
  ck_assert(strstr(load_fails("npz", scratch("x.npz")).message, "end record"));
  mtk_free(data);
}
END_TEST

START_TEST(hostile_bytes) {
  check_cut_and_spoiled("npz", CORPUS "stored.npz", ".npz");
  check_cut_and_spoiled("npz", CORPUS "deflated.npz", ".npz");
  check_cut_and_spoiled("npz", CORPUS "f4.npy", ".npy");
}
END_TEST

START_TEST(allocations_fail) {
  check_alloc_failures("npz", CORPUS "stored.npz");
  check_alloc_failures("npz", CORPUS "deflated.npz");
  check_write_alloc_failures("npz", GOLDEN "tiny", scratch("w.npz"));
}
END_TEST

int main(void) {
  const TTest *const tests[] = {
      reads_what_numpy_wrote,
      writes_what_it_read,
      widens_other_types,
      one_tensor,
      refusals,
      hostile_bytes,
      allocations_fail,
  };
  return run_format_tests("npz", tests, sizeof tests / sizeof tests[0]);
}
