/* quantize_report.c: mtk quantize --report DIR: report.json (the document of --json), report.md,
 * error.svg and bits.svg with one bar per block of the model, scales.svg. Main thread only. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantize.h"

/* Sums over the tensors of one block; the last item is what belongs to none. */
typedef struct block_sum {
  double error2, norm2, elements, bytes;
} block_sum;

static long block_of(const char *name) {
  return strncmp(name, "blk.", 4) == 0 ? strtol(name + 4, NULL, 10) : -1;
}

/* *out: one item per block and one for the rest (heap); returns their number, 0 = out of memory. */
static size_t sum_blocks(block_sum **out, const mtk_quantize_report *r,
                         const mtk_compare_report *v) {
  long last = -1;
  for (size_t i = 0; i < r->n_rows; i++) {
    long b = block_of(r->rows[i].name);
    last = b > last && b < 100000 ? b : last;
  }
  size_t n = (size_t)(last + 2);
  *out = mtk_alloc(n, sizeof **out);
  for (size_t i = 0; *out && i < r->n_rows; i++) {
    long b = block_of(r->rows[i].name);
    block_sum *s = &(*out)[b >= 0 && b <= last ? (size_t)b : n - 1];
    s->bytes += (double)r->rows[i].bytes_after;
    if (i >= v->n_rows) continue;
    s->elements += (double)v->rows[i].elements;
    s->error2 += v->rows[i].error2;
    s->norm2 += v->rows[i].norm2;
  }
  return *out ? n : 0;
}

static double error_of(const block_sum *s) { return s->norm2 > 0 ? sqrt(s->error2 / s->norm2) : 0; }
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

/* 1, 2 or 5 times a power of ten, so that four or more of them reach `top`. */
static double grid_step(double top) {
  double power = pow(10, floor(log10(top / 4)));
  double left = top / 4 / power;
  return power * (left >= 5 ? 5 : left >= 2 ? 2 : 1);
}

/* One bar per value, labelled first, first + 1, ... on the axis; with `rest` the last one so. */
static void put_bars(mtk_bytes *out, const char *title, const char *axis, const double *values,
                     size_t n, long first, bool rest) {
  enum { LEFT = 60, TOP = 40, WIDTH = 720, HEIGHT = 260 };
  double top = 1e-6, slot = (double)WIDTH / (double)n;
  for (size_t i = 0; i < n; i++) top = fmax(top, values[i]);
  double step = grid_step(top), full = ceil(top / step) * step;
  mtk_bytes_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 350\" "
                   "width=\"800\" height=\"350\" font-family=\"sans-serif\" font-size=\"12\">\n"
                   "<rect width=\"800\" height=\"350\" fill=\"white\"/>\n"
                   "<text x=\"%d\" y=\"24\" font-size=\"15\">%s</text>\n",
                   LEFT, title);
  for (double y = 0; y <= full * 1.0001; y += step) {
    double at = TOP + HEIGHT * (1 - y / full);
    mtk_bytes_printf(out,
                     "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ccc\"/>"
                     "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                     LEFT, LEFT + WIDTH, at, at, LEFT - 6, at + 4, y);
  }
  for (size_t i = 0; i < n; i++) {
    double h = HEIGHT * values[i] / full, x = LEFT + slot * (double)i;
    mtk_bytes_printf(out,
                     "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                     "fill=\"#3b6ea5\"/>\n",
                     x + slot * 0.1, TOP + HEIGHT - h, slot * 0.8, h);
    if (n > 24 && i % (n / 12) != 0 && i + 1 < n) continue;
    if (n > 24 && i + 1 < n && n - 1 - i < n / 24 + 1) continue; /* room for the last label */
    mtk_bytes_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", x + slot / 2,
                     TOP + HEIGHT + 18);
    if (i + 1 < n || !rest) mtk_bytes_printf(out, "%ld</text>\n", first + (long)i);
    else mtk_bytes_puts(out, "rest</text>\n");
  }
  mtk_bytes_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n</svg>\n",
                   LEFT + WIDTH / 2, TOP + HEIGHT + 40, axis);
}

static mtk_status put_plot(const char *dir, const char *name, const char *title,
                           const block_sum *blocks, size_t n, double (*value)(const block_sum *),
                           mtk_error *err) {
  mtk_bytes text = {0};
  double *values = mtk_alloc(n, sizeof *values);
  if (!values) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n; i++) values[i] = value(&blocks[i]);
  put_bars(&text, title, "block", values, n, 0, true);
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
  put_bars(&text, "scales of blocks, percent", "log2 of the scale, rounded down", share + first,
           last - first + 1, (long)first - MTK_COMPARE_SCALE_ONE, false);
  mtk_status st = put_file(dir, "scales.svg", &text, err);
  mtk_bytes_finish(&text);
  return st;
}

/* ---- Markdown -------------------------------------------------------------------------------- */

static void put_tables(mtk_bytes *out, const mtk_cmd_line *line, const mtk_quantize_report *r,
                       const mtk_compare_report *v, const block_sum *blocks, size_t n) {
  mtk_bytes_printf(out, "# %s\n\nFrom %s by `mtk quantize --to %s --method %s`; %zu of %zu tensors "
                   "quantized, %zu faults.\n\n![error](error.svg)\n\n"
                   "![bits](bits.svg)\n\n![scales](scales.svg)\n\n",
                   mtk_path_base(line->args[1]), mtk_path_base(line->args[0]),
                   mtk_options_string(line->options, "to"),
                   mtk_options_string(line->options, "method"), r->n_quantized, r->n_rows,
                   v->n_faults);
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
                     c->norm2 > 0 ? sqrt(c->error2 / c->norm2) : 0, c->max_error,
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
  if (st == MTK_OK) put_tables(&text, line, r, v, blocks, n);
  if (st == MTK_OK) st = put_file(dir, "report.md", &text, err);
  if (st == MTK_OK) st = put_plot(dir, "error.svg", "relative error", blocks, n, error_of, err);
  if (st == MTK_OK) st = put_plot(dir, "bits.svg", "bits per weight", blocks, n, bits_of, err);
  if (st == MTK_OK) st = put_scales(dir, v, err);
  if (st == MTK_OK) st = mtk_outdir_commit(out, err);
  else mtk_outdir_abort(out);
  mtk_bytes_finish(&text);
  mtk_free(blocks);
  free(json);
  return st;
}
