/* test_model.c: the canonical model: metadata, tensors, attachments, adapters, and what hostile
 * sizes and failing allocations do. */
#include <mtk/model.h>

#include <check.h>
#include <math.h>
#include <string.h>

#include "run_suite.h"

static mtk_model *m;
static mtk_error err;

static void setup(void) {
  m = mtk_model_create();
  ck_assert_ptr_nonnull(m);
  memset(&err, 0, sizeof err);
}
static void teardown(void) { mtk_model_destroy(m); }

static bool same(double a, double b) { return !(a < b) && !(a > b); }

/* ---- metadata ------------------------------------------------------------------------------ */

START_TEST(meta_types) {
  mtk_meta *meta = mtk_model_meta(m);
  ck_assert_int_eq(mtk_meta_set_uint(meta, "small", UINT32_MAX, &err), MTK_OK);
  ck_assert_int_eq(mtk_meta_set_uint(meta, "large", UINT32_MAX + 1ull, &err), MTK_OK);
  ck_assert_int_eq(mtk_meta_set_float(meta, "eps", 1e-5, &err), MTK_OK);
  ck_assert_int_eq(mtk_meta_set_bool(meta, "tied", true, &err), MTK_OK);
  ck_assert_int_eq(mtk_meta_set_string(meta, "general.name", "tiny", &err), MTK_OK);
  mtk_value negative = {.type = MTK_META_I32, .as.i = -3};
  ck_assert_int_eq(mtk_meta_set(meta, "below", &negative, &err), MTK_OK);
  ck_assert_int_eq(mtk_meta_get(meta, "small")->type, MTK_META_U32);
  ck_assert_int_eq(mtk_meta_get(meta, "large")->type, MTK_META_U64);
  uint64_t u;
  double f;
  ck_assert_int_eq(mtk_meta_uint(&u, meta, "large", 0, &err), MTK_OK);
  ck_assert_uint_eq(u, UINT32_MAX + 1ull);
  ck_assert_int_eq(mtk_meta_uint(&u, meta, "absent", 9, &err), MTK_OK);
  ck_assert_uint_eq(u, 9);
  ck_assert_int_eq(mtk_meta_float(&f, meta, "eps", 0, &err), MTK_OK);
  ck_assert(same(f, (double)1e-5f));
  ck_assert_int_eq(mtk_meta_float(&f, meta, "below", 0, &err), MTK_OK);
  ck_assert(same(f, -3));
  ck_assert_int_eq(mtk_meta_uint(&u, meta, "below", 0, &err), MTK_E_FORMAT);
  ck_assert_int_eq(mtk_meta_uint(&u, meta, "general.name", 0, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "general.name");
  ck_assert_int_eq(mtk_meta_float(&f, meta, "general.name", 0, &err), MTK_E_FORMAT);
  ck_assert_str_eq(mtk_meta_str(meta, "general.name", "none"), "tiny");
  ck_assert_str_eq(mtk_meta_str(meta, "eps", "none"), "none");
}
END_TEST

START_TEST(meta_order) {
  mtk_meta *meta = mtk_model_meta(m);
  static const char *const keys[] = {"a", "b", "c", "d"};
  for (uint64_t i = 0; i < 4; i++) mtk_meta_set_uint(meta, keys[i], i, &err);
  mtk_meta_remove(meta, "b");
  mtk_meta_remove(meta, "b");
  mtk_meta_remove(meta, "none");
  mtk_meta_set_uint(meta, "c", 20, &err); /* keeps its place */
  mtk_meta_set_uint(meta, "b", 10, &err); /* comes back at the end */
  static const char *const want[] = {"a", "c", "d", "b"};
  ck_assert_uint_eq(mtk_meta_count(meta), 4);
  for (size_t i = 0; i < 4; i++) ck_assert_str_eq(mtk_meta_key(meta, i), want[i]);
  ck_assert_uint_eq(mtk_meta_at(meta, 1)->as.u, 20);
  ck_assert_uint_eq(mtk_meta_get(meta, "d")->as.u, 3);
  ck_assert_uint_eq(mtk_meta_get(meta, "c")->as.u, 20);
  ck_assert_uint_eq(mtk_meta_at(meta, 3)->as.u, 10);
  ck_assert_ptr_null(mtk_meta_at(meta, 4));
}
END_TEST

START_TEST(meta_arrays_are_copied) {
  mtk_meta *meta = mtk_model_meta(m);
  char text[] = "ab\0c";
  mtk_value inner[2] = {{.type = MTK_META_STRING, .as.str = {text, 4}},
                        {.type = MTK_META_STRING, .as.str = {text, 0}}};
  mtk_value list = {.type = MTK_META_ARRAY, .as.arr = {MTK_META_STRING, 2, inner}};
  mtk_value outer = {.type = MTK_META_ARRAY, .as.arr = {MTK_META_ARRAY, 1, &list}};
  ck_assert_int_eq(mtk_meta_set(meta, "k", &outer, &err), MTK_OK);
  memset(text, 'x', sizeof text);
  memset(inner, 0, sizeof inner);
  const mtk_value *v = &mtk_meta_get(meta, "k")->as.arr.items[0].as.arr.items[0];
  ck_assert_uint_eq(v->as.str.len, 4);
  ck_assert_mem_eq(v->as.str.s, "ab\0c", 5);
  mtk_value deep[20];
  memset(deep, 0, sizeof deep);
  for (int i = 0; i < 20; i++)
    deep[i] = (mtk_value){.type = MTK_META_ARRAY,
                          .as.arr = {MTK_META_ARRAY, i < 19, i < 19 ? &deep[i + 1] : NULL}};
  ck_assert_int_eq(mtk_meta_set(meta, "deep", &deep[0], &err), MTK_E_LIMIT);
  ck_assert_str_eq(err.place, "deep");
}
END_TEST

/* ---- tensors ------------------------------------------------------------------------------- */

static const float values[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static mtk_tensor matrix(const char *name, int64_t n, int64_t k) {
  mtk_tensor t = {.name = name, .dtype = MTK_F32, .n_dims = 2, .data = values};
  t.shape[0] = n;
  t.shape[1] = k;
  t.size_bytes = (uint64_t)(n * k) * 4;
  return t;
}

START_TEST(tensor_rows) {
  mtk_tensor t = matrix("w", 3, 4);
  char name[] = "w";
  t.name = name;
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  name[0] = 'x';
  const mtk_tensor *kept = mtk_model_tensor(m, "w");
  ck_assert(kept && kept == mtk_model_tensor_at(m, 0));
  ck_assert_int_eq(mtk_tensor_rows(kept), 3);
  ck_assert_int_eq(mtk_tensor_row_elems(kept), 4);
  ck_assert_uint_eq(mtk_tensor_row_bytes(kept), 16);
  ck_assert_uint_eq(mtk_model_param_count(m), 12);
  const void *rows;
  ck_assert_int_eq(mtk_tensor_fetch(&rows, kept, 1, 2, NULL, &err), MTK_OK);
  ck_assert_ptr_eq(rows, values + 4);
  ck_assert_int_eq(mtk_tensor_fetch(&rows, kept, 2, 2, NULL, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_tensor_fetch(&rows, kept, -1, 1, NULL, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_tensor_fetch(&rows, kept, 1, INT64_MAX, NULL, &err), MTK_E_INVALID);
  mtk_tensor scalar = {.name = "s", .dtype = MTK_F32, .data = values, .size_bytes = 4};
  ck_assert_int_eq(mtk_model_add_tensor(m, &scalar, &err), MTK_OK);
  mtk_tensor none = {.name = "e", .dtype = MTK_F32, .n_dims = 2, .shape = {0, 5}};
  ck_assert_int_eq(mtk_model_add_tensor(m, &none, &err), MTK_OK);
}
END_TEST

/* A grid of 2 x 2 scales over 3 x 4 values: steps of 2 rows and 3 columns. */
START_TEST(tensor_scales) {
  static const float grid[] = {2, 10, 3, 100};
  mtk_tensor t = matrix("w", 3, 4);
  t.scales = grid;
  t.scale_n = 2;
  t.scale_k = 3;
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  const mtk_tensor *kept = mtk_model_tensor(m, "w");
  ck_assert_int_eq(mtk_tensor_scale_count(kept), 4);
  float out[8];
  static const float want[8] = {10, 12, 14, 80, 27, 30, 33, 1200};
  ck_assert_int_eq(mtk_tensor_fetch_f32(out, kept, 1, 2, NULL, &err), MTK_OK);
  ck_assert_mem_eq(out, want, sizeof want);
  t.name = "bad";
  t.scale_k = 0;
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_E_FORMAT);
}
END_TEST

static const struct {
  const char *name;
  int dtype, n_dims;
  int64_t shape[3];
  uint64_t size_bytes;
  bool data;
  const char *says;
} bad[] = {
    {"w", MTK_F32, 2, {3, 4}, 48, true, "two tensors have this name"},
    {"", MTK_F32, 1, {1}, 4, true, "has no name"},
    {"x", 99, 1, {1}, 4, true, "unknown storage type 99"},
    {"x", MTK_F32, 7, {1}, 4, true, "7 dimensions"},
    {"x", MTK_F32, -1, {1}, 4, true, "-1 dimensions"},
    {"x", MTK_F32, 2, {-3, -4}, 48, true, "dimension 0 is negative"},
    {"x", MTK_F32, 2, {INT64_MAX, 4}, 48, true, "too many elements"},
    {"x", MTK_F32, 2, {1ll << 32, 1ll << 32}, 0, true, "too many elements"},
    {"x", MTK_F64, 2, {1ll << 31, 1ll << 31}, 48, true, "too large"},
    {"x", MTK_F32, 2, {3, 4}, 44, true, "44 bytes are given"},
    {"x", MTK_Q8_0, 2, {3, 33}, 102, true, "blocks of 32"},
    {"x", MTK_F32, 2, {3, 4}, 48, false, "no values"},
};

START_TEST(tensors_that_are_refused) {
  mtk_tensor good = matrix("w", 3, 4);
  ck_assert_int_eq(mtk_model_add_tensor(m, &good, &err), MTK_OK);
  mtk_tensor t = {.name = bad[_i].name, .dtype = (mtk_dtype)bad[_i].dtype,
                  .n_dims = bad[_i].n_dims, .size_bytes = bad[_i].size_bytes,
                  .data = bad[_i].data ? values : NULL};
  for (int d = 0; d < 3; d++) t.shape[d] = bad[_i].shape[d];
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_E_FORMAT);
  ck_assert_msg(strstr(err.message, bad[_i].says), "%s", err.message);
  ck_assert_uint_eq(mtk_model_tensor_count(m), 1);
}
END_TEST

START_TEST(replaced_tensor) {
  mtk_tensor t = matrix("w", 3, 4);
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  const mtk_tensor *old = mtk_model_tensor(m, "w");
  t = matrix("w", 2, 2);
  ck_assert_int_eq(mtk_model_replace_tensor(m, &t, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_tensor(m, "w")->shape[0], 2);
  ck_assert_int_eq(old->shape[0], 3); /* still valid: a lazy tensor may read from it */
  ck_assert_uint_eq(mtk_model_tensor_count(m), 1);
  t.name = "other";
  ck_assert_int_eq(mtk_model_replace_tensor(m, &t, &err), MTK_E_NOT_FOUND);
}
END_TEST

START_TEST(attachments_and_warnings) {
  ck_assert_int_eq(mtk_model_attach(m, "LICENSE", "a\0b", 3, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_attach(m, "empty", NULL, 0, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_attach(m, "LICENSE", "cd", 2, &err), MTK_OK);
  size_t n;
  ck_assert_str_eq(mtk_model_attachment(m, "LICENSE", &n), "cd");
  ck_assert_uint_eq(n, 2);
  ck_assert_ptr_null(mtk_model_attachment(m, "none", &n));
  ck_assert_uint_eq(mtk_model_attachment_count(m), 2);
  ck_assert_str_eq(mtk_model_attachment_name(m, 1), "empty");
  mtk_model_warn(m, "lost %d things", 3);
  ck_assert_uint_eq(mtk_model_warning_count(m), 1);
  ck_assert_str_eq(mtk_model_warning(m, 0), "lost 3 things");
}
END_TEST

/* ---- adapters ------------------------------------------------------------------------------ */

static const float lora_a[2 * 4] = {1, 0, 2, -1, 0.5f, 3, 0, 1};
static const float lora_b[3 * 2] = {1, 2, -1, 0, 0.25f, 4};

static mtk_adapter *small_adapter(mtk_lora_pair *pair) {
  mtk_adapter *a = mtk_adapter_create();
  *pair = (mtk_lora_pair){"w", 2, 0.5f, lora_a, lora_b, 3, 4};
  a->pairs = pair;
  a->n_pairs = 1;
  return a;
}

START_TEST(merge) {
  mtk_tensor t = matrix("w", 3, 4);
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  mtk_lora_pair pair;
  mtk_adapter *a = small_adapter(&pair);
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_OK);
  ck_assert_ptr_eq(mtk_adapter_find(a, "w"), &pair);
  ck_assert_ptr_null(mtk_adapter_find(a, "v"));
  ck_assert_int_eq(mtk_model_merge(m, a, &err), MTK_OK);
  float got[8], want[8];
  for (int r = 1; r < 3; r++)
    for (int k = 0; k < 4; k++) /* exact in f32 */
      want[(r - 1) * 4 + k] = values[r * 4 + k] + 0.5f * (lora_b[r * 2] * lora_a[k] +
                                                          lora_b[r * 2 + 1] * lora_a[4 + k]);
  float tmp[8];
  const mtk_tensor *w = mtk_model_tensor(m, "w");
  ck_assert_int_eq(w->dtype, MTK_F32);
  ck_assert_int_eq(mtk_tensor_fetch_f32(got, w, 1, 2, tmp, &err), MTK_OK);
  ck_assert_mem_eq(got, want, sizeof want);
  ck_assert_uint_eq(mtk_model_warning_count(m), 0);
  mtk_adapter_destroy(a);
}
END_TEST

START_TEST(merge_into_quantized) {
  static const float scale = 2;
  uint8_t q[3 * 4];
  for (int i = 0; i < 12; i++) q[i] = mtk_f32_to_e4m3(values[i]);
  mtk_tensor t = matrix("w", 3, 4);
  t.dtype = MTK_F8_E4M3;
  t.data = q;
  t.size_bytes = 12;
  t.scales = &scale;
  t.scale_n = 3;
  t.scale_k = 4;
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  mtk_lora_pair pair;
  mtk_adapter *a = small_adapter(&pair);
  ck_assert_int_eq(mtk_model_merge(m, a, &err), MTK_OK);
  const mtk_tensor *w = mtk_model_tensor(m, "w");
  ck_assert_int_eq(w->dtype, MTK_BF16);
  ck_assert_ptr_null(w->scales);
  ck_assert_uint_eq(mtk_model_warning_count(m), 1);
  ck_assert_msg(strstr(mtk_model_warning(m, 0), "bf16"), "%s", mtk_model_warning(m, 0));
  float got[4];
  uint16_t tmp[4];
  ck_assert_int_eq(mtk_tensor_fetch_f32(got, w, 0, 1, tmp, &err), MTK_OK);
  static const float want[4] = {3, 7, 7, 8.5f}; /* 2 w + 0.5 (a0 + 2 a1) */
  ck_assert_mem_eq(got, want, sizeof want);
  mtk_adapter_destroy(a);
}
END_TEST

START_TEST(adapters_that_do_not_fit) {
  mtk_tensor t = matrix("w", 3, 4);
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  mtk_lora_pair pair;
  mtk_adapter *a = small_adapter(&pair);
  pair.target = "v";
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_E_NOT_FOUND);
  pair.target = "w";
  pair.k = 5;
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_E_FORMAT);
  ck_assert_msg(strstr(err.message, "3 x 5, the model's has 3 x 4"), "%s", err.message);
  pair.k = 4;
  pair.n = 0;
  ck_assert_int_eq(mtk_model_merge(m, a, &err), MTK_E_FORMAT);
  pair.n = 3;
  pair.rank = 0;
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_E_FORMAT);
  pair.rank = 2;
  pair.scale = INFINITY;
  ck_assert_int_eq(mtk_adapter_fit(a, m, &err), MTK_E_FORMAT);
  mtk_adapter_destroy(a);
}
END_TEST

/* ---- failing allocations ------------------------------------------------------------------- */

static mtk_status build_model(mtk_model *model) {
  mtk_tensor t = matrix("w", 3, 4);
  for (uint64_t i = 0; i < 40; i++) {
    char name[16] = {'t', (char)('a' + i / 8), (char)('a' + i % 8)};
    t.name = name;
    MTK_TRY(mtk_meta_set_uint(mtk_model_meta(model), name, i, NULL));
    MTK_TRY(mtk_model_add_tensor(model, &t, NULL));
    MTK_TRY(mtk_model_attach(model, name, "x", 1, NULL));
    MTK_TRY(mtk_model_warn(model, "%s", name));
  }
  return mtk_model_set_arch(model, "llama", NULL);
}

START_TEST(no_memory) {
  int failures = 0;
  for (int n = 0; n < 60; n++) {
    mtk_alloc_fail_after(n);
    mtk_model *model = mtk_model_create();
    if (model) failures += build_model(model) == MTK_E_NOMEM;
    mtk_alloc_fail_after(-1);
    mtk_model_destroy(model);
  }
  ck_assert_int_gt(failures, 5);
}
END_TEST

int main(void) {
  Suite *s = suite_create("model");
  TCase *c = tcase_create("model");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, meta_types);
  tcase_add_test(c, meta_order);
  tcase_add_test(c, meta_arrays_are_copied);
  tcase_add_test(c, tensor_rows);
  tcase_add_test(c, tensor_scales);
  tcase_add_loop_test(c, tensors_that_are_refused, 0, (int)(sizeof bad / sizeof bad[0]));
  tcase_add_test(c, replaced_tensor);
  tcase_add_test(c, attachments_and_warnings);
  tcase_add_test(c, merge);
  tcase_add_test(c, merge_into_quantized);
  tcase_add_test(c, adapters_that_do_not_fit);
  tcase_add_test(c, no_memory);
  suite_add_tcase(s, c);
  return run_suite(s);
}
