/* quantize_report.c: mtk quantize --report DIR: report.json (the document of --json), report.md,
 * error.svg and bits.svg with one bar per block of the model, scales.svg, tradeoff.svg of a choice
 * under a budget. Main thread only. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot.h"
#include "quantize.h"

/* Sums over the tensors of one block; the last item is what belongs to none. */
typedef struct block_sum {
  double error2, norm2, elements, bytes;
} block_sum;

/* *out: one item per block and one for the rest (heap); returns their number, 0 = out of memory. */
static size_t sum_blocks(block_sum **out, const mtk_quantize_report *r,
                         const mtk_compare_report *v) {
  long last = -1;
  for (size_t i = 0; i < r->n_rows; i++) {
    long b = mtk_tensor_block(r->rows[i].name);
    last = b > last && b < 100000 ? b : last;
  }
  size_t n = (size_t)(last + 2);
  *out = mtk_alloc(n, sizeof **out);
  for (size_t i = 0; *out && i < r->n_rows; i++) {
    long b = mtk_tensor_block(r->rows[i].name);
    block_sum *s = &(*out)[b >= 0 && b <= last ? (size_t)b : n - 1];
    s->bytes += (double)r->rows[i].bytes_after;
    if (i >= v->n_rows) continue;
    s->elements += (double)v->rows[i].elements;
    s->error2 += v->rows[i].error2;
    s->norm2 += v->rows[i].norm2;
  }
  return *out ? n : 0;
}

static double error_of(const block_sum *s) { return mtk_cmd_relative_error(s->error2, s->norm2); }
static double bits_of(const block_sum *s) {
  return s->elements > 0 ? 8 * s->bytes / s->elements : 0;
}

static mtk_status put_file(const char *dir, const char *name, mtk_bytes *text, mtk_error *err) {
  char *path = mtk_path_join(dir, name);
  mtk_status st = path ? mtk_bytes_status(text, err)
                       : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = mtk_write_file(path, text->data, text->len, true, err);
  mtk_free(path);
  mtk_bytes_clear(text);
  return st;
}

/* ---- plots ----------------------------------------------------------------------------------- */

static mtk_status put_plot(const char *dir, const char *name, const char *title,
                           const char *y_axis, const block_sum *blocks, size_t n,
                           double (*value)(const block_sum *), mtk_error *err) {
  mtk_bytes text = {0};
  double *values = mtk_alloc(n, sizeof *values);
  if (!values) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n; i++) values[i] = value(&blocks[i]);
  mtk_cmd_bars bars = {.title = title,
                       .x_axis = "block (rest: embedding, head, last norm)",
                       .y_axis = y_axis,
                       .values = values,
                       .n = n,
                       .last = "rest"};
  mtk_cmd_plot_bars(&text, &bars);
  mtk_free(values);
  mtk_status st = put_file(dir, name, &text, err);
  mtk_bytes_finish(&text);
  return st;
}

/* Percent of the scales at each power of two. */
static mtk_status put_scales(const char *dir, const mtk_compare_report *v, mtk_error *err) {
  double share[MTK_COMPARE_SCALES] = {0}, all = 0;
  size_t first = MTK_COMPARE_SCALES - 1, last = 0;
  mtk_bytes text = {0};
  for (size_t r = 0; r < v->n_rows; r++)
    for (size_t i = 0; i < MTK_COMPARE_SCALES; i++) {
      if (!v->rows[r].scales[i]) continue;
      share[i] += (double)v->rows[r].scales[i];
      all += (double)v->rows[r].scales[i];
      first = i < first ? i : first;
      last = i > last ? i : last;
    }
  for (size_t i = 0; i < MTK_COMPARE_SCALES && all > 0; i++) share[i] *= 100 / all;
  if (last < first) last = first;
  mtk_cmd_bars bars = {.title = "Scales of the blocks of all quantized tensors",
                       .x_axis = "log2 of the scale, rounded down",
                       .y_axis = "percent of blocks",
                       .values = share + first,
                       .n = last - first + 1,
                       .first = (long)first - MTK_COMPARE_SCALE_ONE};
  mtk_cmd_plot_bars(&text, &bars);
  mtk_status st = put_file(dir, "scales.svg", &text, err);
  mtk_bytes_finish(&text);
  return st;
}

static double number(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

/* What can be had for how many bits, by the plan; points without any loss are left out. */
static mtk_status put_tradeoff(const char *dir, const json_t *plan, mtk_error *err) {
  const json_t *curve = json_object_get(plan, "curve"), *uniform = json_object_get(plan, "uniform");
  size_t n = 0, cap = json_array_size(curve) + json_object_size(uniform) + 1;
  mtk_cmd_point *points = mtk_alloc(cap, sizeof *points);
  if (!points) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < json_array_size(curve); i++) {
    const json_t *p = json_array_get(curve, i);
    points[n++] = (mtk_cmd_point){number(p, "bits_per_weight"), number(p, "kld"), NULL, false};
  }
  const char *name;
  json_t *p;
  json_object_foreach((json_t *)(uintptr_t)uniform, name, p) {
    mtk_cmd_point at = {number(p, "bits_per_weight"), number(p, "kld"), name, false};
    points[n++] = at;
  }
  points[n++] = (mtk_cmd_point){number(plan, "bits_per_weight"), number(plan, "predicted_kld"),
                                "chosen", true};
  size_t used = 0;
  for (size_t i = 0; i < n; i++)
    if (points[i].y > 0) points[used++] = points[i];
  mtk_bytes text = {0};
  mtk_cmd_curve c = {"What mixtures of types cost, and one type for all",
                     "bits per weight of the whole model", "predicted KL divergence, nats", points,
                     used};
  if (used) mtk_cmd_plot_curve(&text, &c);
  mtk_status st = used ? put_file(dir, "tradeoff.svg", &text, err) : MTK_OK;
  mtk_bytes_finish(&text);
  mtk_free(points);
  return st;
}

/* ---- Markdown -------------------------------------------------------------------------------- */

static void put_plan(mtk_bytes *out, const json_t *plan) {
  const json_t *uniform = json_object_get(plan, "uniform");
  const char *name;
  json_t *p;
  if (!uniform) return;
  mtk_bytes_printf(out,
                   "## Mixed types\n\nThe types were chosen for the least divergence within %.0f "
                   "bytes of tensors. Divergences are sums over groups of tensors, each measured "
                   "while only that group was quantized (in one type; others follow the error of "
                   "its outputs). The line in the plot joins mixtures that are the best for their "
                   "size.\n\n![trade-off](tradeoff.svg)\n\n"
                   "| types | bits per weight | bytes | predicted KL divergence |\n"
                   "| --- | ---: | ---: | ---: |\n| chosen | %.4f | %.0f | %.5f |\n",
                   number(plan, "budget_bytes"), number(plan, "bits_per_weight"),
                   number(plan, "bytes"), number(plan, "predicted_kld"));
  json_object_foreach((json_t *)(uintptr_t)uniform, name, p)
    mtk_bytes_printf(out, "| all %s | %.4f | %.0f | %.5f |\n", name, number(p, "bits_per_weight"),
                     number(p, "bytes"), number(p, "kld"));
  mtk_bytes_puts(out, "\n## Blocks and tensors\n\n");
}

static void put_tables(mtk_bytes *out, const mtk_cmd_line *line, const mtk_quantize_report *r,
                       const mtk_compare_report *v, const json_t *plan, const block_sum *blocks,
                       size_t n) {
  mtk_bytes_printf(out, "# %s\n\n%s, quantized to %s by method %s; %zu of %zu tensors "
                   "quantized, %zu faults.\n\n![error](error.svg)\n\n"
                   "![bits](bits.svg)\n\n![scales](scales.svg)\n\n",
                   mtk_path_base(line->args[1]), mtk_path_base(line->args[0]),
                   mtk_cmd_target_name(line), mtk_options_string(line->options, "method"),
                   r->n_quantized, r->n_rows, v->n_faults);
  put_plan(out, plan);
  mtk_bytes_puts(out, "| block | relative error | bits per weight |\n| --- | ---: | ---: |\n");
  for (size_t i = 0; i < n; i++) {
    if (i + 1 < n) mtk_bytes_printf(out, "| %zu ", i);
    else mtk_bytes_puts(out, "| rest ");
    mtk_bytes_printf(out, "| %.5f | %.3f |\n", error_of(&blocks[i]), bits_of(&blocks[i]));
  }
  mtk_bytes_puts(out, "\n| tensor | from | to | relative error | largest error | zero | "
                      "saturated |\n| --- | --- | --- | ---: | ---: | ---: | ---: |\n");
  for (size_t i = 0; i < v->n_rows; i++) {
    const mtk_compare_row *c = &v->rows[i];
    double share = c->elements ? 100.0 / (double)c->elements : 0;
    mtk_bytes_printf(out, "| %s | %s | %s | %.5f | %.4g | %.2f %% | ", c->name,
                     mtk_dtype_get(c->from)->name, mtk_dtype_get(c->to)->name,
                     mtk_cmd_relative_error(c->error2, c->norm2), c->max_error,
                     share * (double)c->zeros);
    if (c->saturated < 0) mtk_bytes_puts(out, "- |\n");
    else mtk_bytes_printf(out, "%.2f %% |\n", share * (double)c->saturated);
  }
}

mtk_status mtk_cmd_quantize_report(const char *path, const mtk_cmd_line *line, const json_t *doc,
                                   const mtk_quantize_report *r, const mtk_compare_report *v,
                                   mtk_error *err) {
  block_sum *blocks = NULL;
  mtk_outdir *out = NULL;
  mtk_bytes text = {0};
  size_t n = sum_blocks(&blocks, r, v);
  char *json = json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
  mtk_status st = n && json ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK)
    st = mtk_outdir_create(&out, path, mtk_options_flag(line->options, "force"), err);
  const char *dir = st == MTK_OK ? mtk_outdir_path(out) : NULL;
  if (st == MTK_OK) {
    mtk_bytes_puts(&text, json);
    st = put_file(dir, "report.json", &text, err);
  }
  const json_t *plan = json_object_get(doc, "plan");
  if (st == MTK_OK) put_tables(&text, line, r, v, plan, blocks, n);
  if (st == MTK_OK) st = put_file(dir, "report.md", &text, err);
  if (st == MTK_OK)
    st = put_plot(dir, "error.svg", "Error of the weights by block",
                  "root of squared error / energy", blocks, n, error_of, err);
  if (st == MTK_OK)
    st = put_plot(dir, "bits.svg", "Size of the weights by block", "bits per weight", blocks, n,
                  bits_of, err);
  if (st == MTK_OK && json_object_get(plan, "curve")) st = put_tradeoff(dir, plan, err);
  if (st == MTK_OK) st = put_scales(dir, v, err);
  if (st == MTK_OK) st = mtk_outdir_commit(out, err);
  else mtk_outdir_abort(out);
  mtk_bytes_finish(&text);
  mtk_free(blocks);
  free(json);
  return st;
}
