/* quantize_verify.c: an artefact reopened beside its source: for mtk quantize, when it is done, and
 * mtk verify. Main thread only. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quantize.h"

mtk_status mtk_cmd_compare(mtk_compare_report *out, const char *artefact, mtk_model *source,
                           mtk_pool *pool, mtk_error *err) {
  mtk_model *copy = NULL;
  char *path = mtk_cmd_output_first(artefact);
  mtk_status st = path ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) {
    st = mtk_model_load(&copy, path, err);
    if (st == MTK_E_FORMAT || st == MTK_E_UNSUPPORTED)
      st = mtk_cmd_output_set_aside(artefact, st, err);
  }
  if (st == MTK_OK) st = mtk_model_compare(out, copy, source, pool, err);
  mtk_model_destroy(copy);
  mtk_free(path);
  return st;
}

/* ---- what is said of it ---------------------------------------------------------------------- */

static const char *const g_faults[] = {
    [MTK_COMPARE_OK] = "",
    [MTK_COMPARE_MISSING] = "the tensor is missing",
    [MTK_COMPARE_SHAPE] = "the tensor has another shape",
    [MTK_COMPARE_NOT_FINITE] = "a scale or value is NaN or infinite",
    [MTK_COMPARE_LOST_BLOCK] = "the scale of a block is zero, but the block was not",
    [MTK_COMPARE_FUSED] = "its scale is not that of its fused group (q/k/v or gate/up)",
    [MTK_COMPARE_UNREADABLE] = "the values cannot be read"};

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

double mtk_cmd_relative_error(double error2, double norm2) {
  if (norm2 > 0) return sqrt(error2 / norm2);
  return error2 > 0 ? 1 : 0;
}

static double relative_error(const mtk_compare_row *r) {
  return mtk_cmd_relative_error(r->error2, r->norm2);
}

static json_t *count_or_null(int64_t n) { return n < 0 ? json_null() : json_integer(n); }

void mtk_cmd_compare_row_json(json_t *out, const mtk_compare_row *r) {
  json_object_set_new(out, "relative_error", json_real(relative_error(r)));
  json_object_set_new(out, "max_error", json_real(r->max_error));
  json_object_set_new(out, "elements", json_integer((json_int_t)r->elements));
  json_object_set_new(out, "saturated", count_or_null(r->saturated));
  json_object_set_new(out, "flushed_to_zero", json_integer((json_int_t)r->flushed));
  json_object_set_new(out, "zeros", json_integer((json_int_t)r->zeros));
  json_object_set_new(out, "fault", json_string(g_faults[r->fault]));
}

/* Sums over the tensors of one type that the artefact has in another than the source. */
typedef struct type_sum {
  size_t n;
  mtk_compare_row sum;
  const mtk_compare_row *worst; /* by relative error */
} type_sum;

static type_sum sum_of(const mtk_compare_report *r, mtk_dtype type) {
  type_sum s = {0};
  s.sum.to = type;
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_compare_row *row = &r->rows[i];
    if (row->to != type || (row->from == type && row->error2 == 0)) continue;
    s.n++;
    s.sum.elements += row->elements;
    s.sum.error2 += row->error2;
    s.sum.norm2 += row->norm2;
    s.sum.max_error = fmax(s.sum.max_error, row->max_error);
    s.sum.saturated = row->saturated < 0 ? -1 : s.sum.saturated + row->saturated;
    s.sum.flushed += row->flushed;
    s.sum.zeros += row->zeros;
    if (!s.worst || relative_error(row) > relative_error(s.worst)) s.worst = row;
  }
  return s;
}

json_t *mtk_cmd_compare_json(const mtk_compare_report *r) {
  json_t *types = json_object();
  for (int i = 0; i < MTK_DTYPE_COUNT; i++) {
    type_sum s = sum_of(r, (mtk_dtype)i);
    if (!s.n) continue;
    json_t *o = json_object();
    json_object_set_new(o, "tensors", json_integer((json_int_t)s.n));
    mtk_cmd_compare_row_json(o, &s.sum);
    json_object_del(o, "fault");
    json_object_set_new(o, "worst", json_string(s.worst->name));
    json_object_set_new(o, "worst_relative_error", json_real(relative_error(s.worst)));
    json_object_set_new(types, mtk_dtype_get((mtk_dtype)i)->name, o);
  }
  return json_pack("{s:I,s:I,s:o}", "tensors", (json_int_t)r->n_rows, "faults",
                   (json_int_t)r->n_faults, "types", types);
}

void mtk_cmd_compare_print(const mtk_compare_report *r) {
  size_t same = r->n_rows;
  for (int i = 0; i < MTK_DTYPE_COUNT; i++) {
    type_sum s = sum_of(r, (mtk_dtype)i);
    double percent = ratio(100, (double)s.sum.elements);
    if (!s.n) continue;
    same -= s.n;
    mtk_cmd_print("  %-8s %4zu tensors, relative error %.4g (%s %.4g), largest %.4g, ",
                  mtk_dtype_get((mtk_dtype)i)->name, s.n, relative_error(&s.sum), s.worst->name,
                  relative_error(s.worst), s.sum.max_error);
    if (s.sum.saturated >= 0)
      mtk_cmd_print("%.3g %% saturated, ", percent * (double)s.sum.saturated);
    mtk_cmd_print("%.3g %% zero, %.3g %% flushed to zero\n", percent * (double)s.sum.zeros,
                  percent * (double)s.sum.flushed);
  }
  mtk_cmd_print("  compared with the source: %zu tensors, %zu of them unchanged, %zu faults\n",
                r->n_rows, same, r->n_faults);
}

mtk_status mtk_cmd_compare_verdict(const mtk_compare_report *r, mtk_status code,
                                   const char *artefact, mtk_error *err) {
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_compare_row *row = &r->rows[i];
    char where[32] = "", more[64] = "";
    if (row->fault == MTK_COMPARE_OK) continue;
    if (row->bad_row >= 0) snprintf(where, sizeof where, "row %lld: ", (long long)row->bad_row);
    if (r->n_faults > 1)
      snprintf(more, sizeof more, "; so have %zu other tensors faults", r->n_faults - 1);
    mtk_fail(err, code, row->name, "%s%s%s; do not use this file", where, g_faults[row->fault],
             more);
    return mtk_fail_in(err, code, artefact);
  }
  return MTK_OK;
}
