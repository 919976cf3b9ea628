/* test_compare.c: mtk_model_compare on tensors whose numbers are known, and one of every fault. */
#include <mtk/quantize.h>
#include <mtk/registry.h>

#include <check.h>
#include <math.h>
#include <string.h>

#include "run_suite.h"

enum { N = 4, K = 64 };

static mtk_error err;

static void ok(mtk_status st) { ck_assert_msg(st == MTK_OK, "%s: %s", err.place, err.message); }

static mtk_model *new_model(const char *arch) {
  mtk_model *m = mtk_model_create();
  ck_assert_ptr_nonnull(m);
  if (arch) ok(mtk_model_set_arch(m, arch, &err));
  return m;
}

/* Copies the values, so that tests can change them afterwards. */
static uint8_t *add(mtk_model *m, const char *name, mtk_dtype type, const void *bytes,
                    const float *scale) {
  size_t n = N * mtk_dtype_bytes(type, K);
  uint8_t *data = mtk_arena_alloc(mtk_model_arena(m), n, 1);
  mtk_tensor t = {.name = name, .dtype = type, .n_dims = 2, .shape = {N, K}, .data = data,
                  .size_bytes = n, .scales = scale, .scale_n = N, .scale_k = K};
  memcpy(data, bytes, n);
  ok(mtk_model_add_tensor(m, &t, &err));
  return data;
}

static void fill(float *x, float step) {
  for (int i = 0; i < N * K; i++) x[i] = step * (float)(i % 15 - 7);
}

static mtk_compare_report compare(const mtk_model *copy, mtk_model *source, mtk_pool *pool) {
  mtk_compare_report r;
  ok(mtk_model_compare(&r, copy, source, pool, &err));
  return r;
}

/* q4_0 with d = -0.5 holds -3.5 to 4 in steps of a half: every code is known. */
START_TEST(numbers) {
  float x[N * K];
  uint8_t q[N * K / 32 * 18];
  for (int b = 0; b < N * K / 32; b++) {
    uint8_t *block = q + b * 18;
    uint16_t half = mtk_f32_to_f16(0.5f);
    memcpy(block, &half, 2);
    for (int j = 0; j < 16; j++) block[2 + j] = (uint8_t)(j | (15 - j) << 4);
    for (int j = 0; j < 16; j++) {
      x[b * 32 + j] = 0.5f * (float)(j - 8);
      x[b * 32 + 16 + j] = 0.5f * (float)(7 - j);
    }
  }
  x[5] += 0.25f;
  x[8] = 0.125f; /* its code is 0 */
  mtk_model *source = new_model(NULL), *copy = new_model(NULL);
  add(source, "w", MTK_F32, x, NULL);
  add(copy, "w", MTK_Q4_0, q, NULL);
  mtk_compare_report r = compare(copy, source, NULL);
  const mtk_compare_row *row = &r.rows[0];
  ck_assert_uint_eq(r.n_rows, 1);
  ck_assert_uint_eq(r.n_faults, 0);
  ck_assert_str_eq(row->name, "w");
  ck_assert_int_eq(row->to, MTK_Q4_0);
  ck_assert_double_eq(row->error2, 0.25 * 0.25 + 0.125 * 0.125);
  ck_assert_double_eq(row->max_error, 0.25);
  double norm2 = 0;
  for (int i = 0; i < N * K; i++) norm2 += (double)x[i] * x[i];
  ck_assert_double_eq_tol(row->norm2, norm2, 1e-9);
  ck_assert_int_eq(row->saturated, 4 * N * K / 32);
  ck_assert_uint_eq(row->zeros, 2 * N * K / 32);
  ck_assert_uint_eq(row->flushed, 1);
  for (int i = 0; i < MTK_COMPARE_SCALES; i++) /* all are 0.5 */
    ck_assert_uint_eq(row->scales[i], i == MTK_COMPARE_SCALE_ONE - 1 ? N * K / 32 : 0);
  mtk_compare_report_finish(&r);
  mtk_model_destroy(source);
  mtk_model_destroy(copy);
}
END_TEST

/* The numbers do not depend on the threads. */
START_TEST(threads) {
  enum { ROWS = 5000 };
  mtk_pool *pool;
  ok(mtk_pool_create(&pool, 3, &err));
  mtk_model *source = new_model(NULL), *copy = new_model(NULL);
  float *x = mtk_arena_alloc(mtk_model_arena(source), ROWS * K, sizeof *x);
  for (uint64_t i = 0; i < ROWS * K; i++) x[i] = (float)mtk_normal(1, 2, i);
  mtk_tensor t = {.name = "w", .dtype = MTK_F32, .n_dims = 2, .shape = {ROWS, K}, .data = x,
                  .size_bytes = ROWS * K * sizeof *x};
  ok(mtk_model_add_tensor(source, &t, &err));
  t.dtype = MTK_MXFP4;
  t.size_bytes = ROWS * mtk_dtype_bytes(MTK_MXFP4, K);
  uint8_t *q = mtk_arena_alloc(mtk_model_arena(copy), t.size_bytes, 1);
  t.data = q;
  ck_assert_int_eq(mtk_dtype_encode(MTK_MXFP4, q, x, ROWS * K), 1);
  ok(mtk_model_add_tensor(copy, &t, &err));
  mtk_compare_report a = compare(copy, source, NULL), b = compare(copy, source, pool);
  ck_assert_int_eq(a.rows[0].fault, MTK_COMPARE_OK);
  ck_assert(a.rows[0].error2 > 0 && a.rows[0].error2 == b.rows[0].error2);
  ck_assert(a.rows[0].norm2 == b.rows[0].norm2 && a.rows[0].saturated == b.rows[0].saturated);
  ck_assert(a.rows[0].saturated > 0 && a.rows[0].zeros == b.rows[0].zeros);
  mtk_compare_report_finish(&a);
  mtk_compare_report_finish(&b);
  mtk_model_destroy(source);
  mtk_model_destroy(copy);
  mtk_pool_destroy(pool);
}
END_TEST

static mtk_compare_fault fault_of(const mtk_model *copy, mtk_model *source, size_t i,
                                  int64_t bad_row) {
  mtk_compare_report r = compare(copy, source, NULL);
  mtk_compare_fault fault = r.rows[i].fault;
  ck_assert_uint_eq(r.n_faults, fault != MTK_COMPARE_OK ? 1 : 0);
  ck_assert_int_eq(r.rows[i].bad_row, bad_row);
  mtk_compare_report_finish(&r);
  return fault;
}

/* A scale of NaN and one of zero in row 2 of an nvfp4 tensor, an infinite outside scale. */
START_TEST(scales) {
  float x[N * K], scale = 1;
  uint8_t q[N * K / 64 * 36];
  fill(x, 0.25f);
  for (int i = 0; i < 16; i++) x[3 * K + i] = i ? 0 : 0x1p-12f; /* too small for any scale */
  ck_assert_int_eq(mtk_dtype_encode(MTK_NVFP4, q, x, N * K), 1);
  mtk_model *source = new_model(NULL), *copy = new_model(NULL);
  add(source, "w", MTK_F32, x, NULL);
  uint8_t *bytes = add(copy, "w", MTK_NVFP4, q, &scale);
  ck_assert_int_eq(fault_of(copy, source, 0, -1), MTK_COMPARE_OK);
  uint8_t was = bytes[2 * 36 + 1];
  bytes[2 * 36 + 1] = 0x7F;
  ck_assert_int_eq(fault_of(copy, source, 0, 2), MTK_COMPARE_NOT_FINITE);
  bytes[2 * 36 + 1] = 0;
  ck_assert_int_eq(fault_of(copy, source, 0, 2), MTK_COMPARE_LOST_BLOCK);
  bytes[2 * 36 + 1] = was;
  scale = INFINITY;
  ck_assert_int_eq(fault_of(copy, source, 0, -1), MTK_COMPARE_NOT_FINITE);
  scale = 0;
  ck_assert_int_eq(fault_of(copy, source, 0, 0), MTK_COMPARE_LOST_BLOCK);
  mtk_model_destroy(source);
  mtk_model_destroy(copy);
}
END_TEST

START_TEST(shapes) {
  float x[N * K];
  fill(x, 1);
  mtk_model *source = new_model(NULL), *copy = new_model(NULL);
  add(source, "w", MTK_F32, x, NULL);
  ck_assert_int_eq(fault_of(copy, source, 0, -1), MTK_COMPARE_MISSING);
  mtk_tensor t = {.name = "w", .dtype = MTK_F32, .n_dims = 2, .shape = {K, N}, .data = x,
                  .size_bytes = sizeof x};
  ok(mtk_model_add_tensor(copy, &t, &err));
  ck_assert_int_eq(fault_of(copy, source, 0, -1), MTK_COMPARE_SHAPE);
  mtk_model_destroy(source);
  mtk_model_destroy(copy);
}
END_TEST

static mtk_status fail_to_read(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                               mtk_error *e) {
  (void)dst, (void)row0, (void)n_rows;
  return mtk_fail(e, *(const mtk_status *)t->read_ctx, t->name, "cannot be read");
}

/* Of the copy that is a fault, unless memory is short; of the source no comparison was made. */
START_TEST(unreadable) {
  float x[N * K];
  fill(x, 1);
  mtk_status why = MTK_E_FORMAT;
  mtk_compare_report r;
  mtk_model *good = new_model(NULL), *bad = new_model(NULL);
  add(good, "w", MTK_F32, x, NULL);
  mtk_tensor t = {.name = "w",
                  .dtype = MTK_F32,
                  .n_dims = 2,
                  .shape = {N, K},
                  .size_bytes = sizeof x,
                  .read = fail_to_read,
                  .read_ctx = &why};
  ok(mtk_model_add_tensor(bad, &t, &err));
  ck_assert_int_eq(fault_of(bad, good, 0, 0), MTK_COMPARE_UNREADABLE);
  ck_assert_int_eq(mtk_model_compare(&r, good, bad, NULL, &err), MTK_E_FORMAT);
  mtk_compare_report_finish(&r);
  why = MTK_E_NOMEM;
  ck_assert_int_eq(mtk_model_compare(&r, bad, good, NULL, &err), MTK_E_NOMEM);
  mtk_compare_report_finish(&r);
  mtk_model_destroy(good);
  mtk_model_destroy(bad);
}
END_TEST

/* q and k of a block share their scale; another block, and tensors that were kept, need not. */
START_TEST(fused) {
  float x[N * K], one = 1, two = 2, three = 3;
  uint8_t q[N * K];
  ok(mtk_plugins_load(&err));
  fill(x, 1);
  ck_assert_int_eq(mtk_dtype_encode(MTK_F8_E4M3, q, x, N * K), 1);
  mtk_model *source = new_model("llama"), *copy = new_model("llama");
  static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight",
                                      "blk.1.attn_q.weight", "blk.1.attn_output.weight"};
  const float *grids[] = {&one, &one, &two, &three};
  for (int i = 0; i < 4; i++) {
    add(source, names[i], MTK_F32, x, NULL);
    add(copy, names[i], MTK_F8_E4M3, q, grids[i]);
  }
  add(source, "blk.1.attn_k.weight", MTK_F8_E4M3, q, &three);
  add(copy, "blk.1.attn_k.weight", MTK_F8_E4M3, q, &three);
  ck_assert_int_eq(fault_of(copy, source, 1, -1), MTK_COMPARE_OK);
  mtk_tensor t = *mtk_model_tensor(copy, names[1]);
  t.scales = &two;
  ok(mtk_model_replace_tensor(copy, &t, &err));
  ck_assert_int_eq(fault_of(copy, source, 1, -1), MTK_COMPARE_FUSED);
  mtk_model_destroy(source);
  mtk_model_destroy(copy);
}
END_TEST

int main(void) {
  Suite *s = suite_create("compare");
  TCase *c = tcase_create("compare");
  tcase_add_test(c, numbers);
  tcase_add_test(c, threads);
  tcase_add_test(c, scales);
  tcase_add_test(c, shapes);
  tcase_add_test(c, unreadable);
  tcase_add_test(c, fused);
  suite_add_tcase(s, c);
  return run_suite(s);
}
