/* format_util.c: see format_util.h. Single-threaded. */
#include "format_util.h"
#include "run_suite.h"

#include <check.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void format_setup(void) {
  mtk_error err = {0};
  ck_assert_msg(mtk_plugins_load(&err) == MTK_OK, "%s: %s", err.place, err.message);
  const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* many small fsyncs */
  snprintf(folder, sizeof folder, "%s/mtk-formats-XXXXXX", base);
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)type, (void)ftw;
  return remove(path);
}

void format_teardown(void) { nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

const char *scratch(const char *name) {
  static char paths[4][256];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static const mtk_format_v1 *find(const char *id) {
  const mtk_format_v1 *f = mtk_format_find(id);
  ck_assert_msg(f != NULL, "format %s is not loaded", id);
  return f;
}

mtk_model *load(const char *format, const char *path) {
  mtk_error err = {0};
  mtk_model *model = mtk_model_create();
  mtk_status status = find(format)->read_model(model, path, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s: %s", path, err.place, err.message);
  return model;
}

mtk_error load_fails(const char *format, const char *path) {
  mtk_error err = {0};
  mtk_model *model = mtk_model_create();
  mtk_status status = find(format)->read_model(model, path, &err);
  mtk_model_destroy(model);
  ck_assert_msg(status != MTK_OK, "%s was read, but is wrong", path);
  ck_assert_int_eq(status, err.code);
  ck_assert_msg(err.message[0] != 0 && !strchr(err.message, '\n'), "%s: no one-line message", path);
  return err;
}

void save(const char *format, mtk_model *model, const char *path, const char *option) {
  mtk_error err = {0};
  const mtk_format_v1 *f = find(format);
  mtk_write_options options = {.struct_size = sizeof options, .force = true};
  mtk_option_values *values = NULL;
  if (option) {
    char name[64];
    size_t n = strcspn(option, "=");
    snprintf(name, sizeof name, "%.*s", (int)n, option);
    values = mtk_options_create(f->options);
    ck_assert_int_eq(mtk_options_set(values, name, option + n + 1, &err), MTK_OK);
    options.options = values;
  }
  mtk_status status = f->write_model(model, path, &options, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s: %s", path, err.place, err.message);
  mtk_options_destroy(values);
}

/* ---- values -------------------------------------------------------------------------------- */

static void dims_text(char *buf, size_t size, const mtk_tensor *t) {
  size_t len = 0;
  snprintf(buf, size, "scalar");
  for (int i = 0; i < t->n_dims; i++) {
    len += (size_t)snprintf(buf + len, size - len, "%s%lld", i ? "x" : "", (long long)t->shape[i]);
  }
}

static void values_sum(char out[65], const mtk_tensor *t) {
  mtk_error err = {0};
  int64_t rows = mtk_tensor_rows(t);
  size_t n = (size_t)(rows * mtk_tensor_row_elems(t));
  float *values = mtk_alloc(n + 1, sizeof *values);
  void *tmp = mtk_alloc((size_t)rows * mtk_tensor_row_bytes(t) + 1, 1);
  if (n) {
    mtk_status status = mtk_tensor_fetch_f32(values, t, 0, rows, tmp, &err);
    ck_assert_msg(status == MTK_OK, "%s: %s", t->name, err.message);
  }
  mtk_sha256_hex(out, values, n * sizeof *values);
  mtk_free(values);
  mtk_free(tmp);
}

void check_sums(const mtk_model *model, const char *sums_path) {
  FILE *f = fopen(sums_path, "r");
  ck_assert_msg(f != NULL, "%s is missing", sums_path);
  char name[256], dims[64], sum[80];
  int n = 0;
  while (fscanf(f, "%255s %63s %79s", name, dims, sum) == 3) {
    char have_dims[64], have_sum[65];
    const mtk_tensor *t = mtk_model_tensor(model, name);
    ck_assert_msg(t != NULL, "tensor %s is missing", name);
    dims_text(have_dims, sizeof have_dims, t);
    ck_assert_str_eq(have_dims, dims);
    values_sum(have_sum, t);
    ck_assert_msg(strcmp(have_sum, sum) == 0, "tensor %s: values differ", name);
    n++;
  }
  fclose(f);
  ck_assert_int_gt(n, 0);
}

uint8_t *tensor_bytes(const mtk_tensor *t) {
  mtk_error err = {0};
  const void *rows = NULL;
  uint8_t *copy = mtk_alloc(t->size_bytes + 1, 1);
  if (t->size_bytes == 0) return copy;
  mtk_status status = mtk_tensor_fetch(&rows, t, 0, mtk_tensor_rows(t), copy, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", t->name, err.message);
  if (rows != copy) memcpy(copy, rows, t->size_bytes);
  return copy;
}

void check_same_tensors(const mtk_model *a, const mtk_model *b, bool ordered) {
  ck_assert_uint_eq(mtk_model_tensor_count(a), mtk_model_tensor_count(b));
  for (size_t i = 0; i < mtk_model_tensor_count(a); i++) {
    const mtk_tensor *x = mtk_model_tensor_at(a, i);
    const mtk_tensor *y = ordered ? mtk_model_tensor_at(b, i) : mtk_model_tensor(b, x->name);
    ck_assert_msg(y != NULL, "tensor %s is missing", x->name);
    ck_assert_str_eq(x->name, y->name);
    ck_assert_msg(x->dtype == y->dtype, "%s: type %d became %d", x->name, x->dtype, y->dtype);
    ck_assert_int_eq(x->n_dims, y->n_dims);
    ck_assert_mem_eq(x->shape, y->shape, (size_t)x->n_dims * sizeof x->shape[0]);
    uint8_t *xs = tensor_bytes(x), *ys = tensor_bytes(y);
    ck_assert_msg(memcmp(xs, ys, x->size_bytes) == 0, "%s: bytes differ", x->name);
    mtk_free(xs);
    mtk_free(ys);
    ck_assert_int_eq(mtk_tensor_scale_count(x), mtk_tensor_scale_count(y));
    if (x->scales) {
      ck_assert_mem_eq(x->scales, y->scales, (size_t)mtk_tensor_scale_count(x) * sizeof(float));
    }
    ck_assert_mem_eq(&x->input_scale, &y->input_scale, sizeof(float));
  }
}

void check_reads(const char *format, const char *path) {
  char sums[256];
  snprintf(sums, sizeof sums, "%s.sha256", path);
  mtk_model *m = load(format, path);
  check_sums(m, sums);
  mtk_model_destroy(m);
}

void check_rewrites(const char *format, const char *path, const char *name, bool ordered) {
  char first[128], second[128];
  snprintf(first, sizeof first, "first-%s", name);
  snprintf(second, sizeof second, "second-%s", name);
  mtk_model *a = load(format, path);
  save(format, a, scratch(first), NULL);
  mtk_model *b = load(format, scratch(first));
  check_same_tensors(a, b, ordered);
  save(format, b, scratch(second), NULL);
  ck_assert(same_files(scratch(first), scratch(second)));
  mtk_model_destroy(a);
  mtk_model_destroy(b);
}

bool has_warning(const mtk_model *model, const char *part) {
  for (size_t i = 0; i < mtk_model_warning_count(model); i++)
    if (strstr(mtk_model_warning(model, i), part)) return true;
  return false;
}

/* ---- files --------------------------------------------------------------------------------- */

uint8_t *read_bytes(const char *path, size_t *n) {
  mtk_error err = {0};
  mtk_file *f = NULL;
  ck_assert_msg(mtk_file_open(&f, path, &err) == MTK_OK, "%s: %s", path, err.message);
  uint8_t *copy = mtk_alloc(f->size + 1, 1);
  if (f->size) memcpy(copy, f->data, f->size);
  *n = f->size;
  mtk_file_close(f);
  return copy;
}

void write_bytes(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(data, 1, n, f), n);
  ck_assert_int_eq(fclose(f), 0);
}

bool same_files(const char *a, const char *b) {
  size_t na, nb;
  uint8_t *xa = read_bytes(a, &na), *xb = read_bytes(b, &nb);
  bool same = na == nb && memcmp(xa, xb, na) == 0;
  mtk_free(xa);
  mtk_free(xb);
  return same;
}

/* ---- hostile input ------------------------------------------------------------------------- */

static void try_load(const mtk_format_v1 *f, const char *path) {
  mtk_error err = {0};
  mtk_model *model = mtk_model_create();
  mtk_status status = f->read_model(model, path, &err);
  ck_assert_msg(status == MTK_OK || err.message[0], "%s: failed without a message", path);
  for (size_t i = 0; status == MTK_OK && i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    void *buf = mtk_alloc(t->size_bytes + 1, 1);
    const void *rows;
    (void)mtk_tensor_fetch(&rows, t, 0, t->size_bytes ? mtk_tensor_rows(t) : 0, buf, &err);
    mtk_free(buf);
  }
  mtk_model_destroy(model);
}

void check_cut_and_spoiled(const char *format, const char *path, const char *suffix) {
  const mtk_format_v1 *f = find(format);
  char name[32];
  size_t n;
  snprintf(name, sizeof name, "spoiled%s", suffix);
  uint8_t *data = read_bytes(path, &n);
  for (size_t cut = 0; cut < n; cut += cut < 2000 ? 1 : 97) {
    write_bytes(scratch(name), data, cut);
    (void)load_fails(format, scratch(name));
  }
  for (size_t at = 0; at < n && at < 2000; at++) {
    static const uint8_t masks[] = {0xFF, 0x01, 0x80};
    for (size_t m = 0; m < sizeof masks; m++) {
      data[at] ^= masks[m];
      write_bytes(scratch(name), data, n);
      try_load(f, scratch(name));
      data[at] ^= masks[m];
    }
  }
  mtk_free(data);
}

void check_alloc_failures(const char *format, const char *path) {
  const mtk_format_v1 *f = find(format);
  for (int64_t n = 0;; n++) {
    mtk_error err = {0};
    mtk_model *model = mtk_model_create();
    mtk_alloc_fail_after(n);
    mtk_status status = f->read_model(model, path, &err);
    mtk_alloc_fail_after(-1);
    mtk_model_destroy(model);
    if (status == MTK_OK && n > 0) return;
    ck_assert_msg(status == MTK_E_NOMEM, "allocation %lld failed: got %s (%s)", (long long)n,
                  mtk_status_name(status), err.message);
  }
}

void check_write_alloc_failures(const char *format, const char *source, const char *path) {
  const mtk_format_v1 *f = find(format);
  mtk_write_options options = {.struct_size = sizeof options, .provenance = "{}"};
  for (int64_t n = 0;; n++) {
    mtk_error err = {0};
    mtk_model *model = load("hf", source);
    mtk_alloc_fail_after(n);
    mtk_status status = f->write_model(model, path, &options, &err);
    mtk_alloc_fail_after(-1);
    mtk_model_destroy(model);
    if (status == MTK_OK) break;
    ck_assert_msg(status == MTK_E_NOMEM, "allocation %lld failed: got %s (%s: %s)", (long long)n,
                  mtk_status_name(status), err.place, err.message);
    ck_assert_msg(!mtk_path_exists(path), "a half-written output was left");
  }
}

void check_malformed(const char *format, const char *name) {
  const char *data = getenv("MTK_TEST_DATA");
  char path[512];
  if (!data) {
    fprintf(stderr, "SKIP: malformed/%s: MTK_TEST_DATA is not set\n", name);
    return;
  }
  snprintf(path, sizeof path, "%s/malformed/cases.json", data);
  json_t *cases = json_load_file(path, 0, NULL);
  ck_assert_msg(cases != NULL, "%s is missing", path);
  size_t n = 0;
  for (size_t i = 0; i < json_array_size(cases); i++) {
    const json_t *c = json_array_get(cases, i);
    const char *file = json_string_value(json_object_get(c, "file"));
    const char *expect = json_string_value(json_object_get(c, "expect"));
    if (strncmp(file, name, strlen(name)) != 0) continue;
    snprintf(path, sizeof path, "%s/malformed/%s", data, file);
    if (strcmp(expect, "accept") == 0)
      mtk_model_destroy(load(format, path));
    else
      (void)load_fails(format, path);
    n++;
  }
  json_decref(cases);
  ck_assert_uint_gt(n, 10);
}

/* ---- the program --------------------------------------------------------------------------- */

int run_format_tests(const char *name, const TTest *const *tests, size_t n) {
  Suite *suite = suite_create(name);
  TCase *tc = tcase_create(name);
  tcase_add_checked_fixture(tc, format_setup, format_teardown);
  for (size_t i = 0; i < n; i++) tcase_add_test(tc, tests[i]);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
