/* gptq.c: rounding with error propagation (Frantar et al., arXiv 2210.17323). The columns of a
 * weight are rounded one after the other, those that see the largest activations first; each error
 * is spread over the columns still to come, weighted by the inverse of H = mean x x^T from
 * calibration. Scales are fixed first ("static groups"), by the encoder of the storage type with
 * the diagonal of H as importance. Rows are independent. Functions may be entered by any thread. */
#include "gptq.h"

#include "quant.h"

enum { COLUMNS = 128, ROWS = 32 }; /* a block of columns; rows done together */

/* clang-format off */
const mtk_option_def gptq_options[] = {
  {"damp", 0, MTK_OPT_FLOAT, "X", "0.01", 0, 10, NULL,
   "share of the mean diagonal added to the second moments"},
  {"no-act-order", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
   "columns in their own order, not by activation"},
  {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL},
};
/* clang-format on */

mtk_status gptq_prepare(void **prepared, const mtk_quant_tensor *t, mtk_error *err) {
  gptq_factor *f = NULL;
  MTK_TRY(gptq_factor_create(&f, t->second_moment, mtk_tensor_row_elems(t->source),
                             mtk_options_float(t->options, "damp"),
                             !mtk_options_flag(t->options, "no-act-order"), t->pool, err));
  *prepared = f;
  return MTK_OK;
}

void gptq_release(void *prepared) { gptq_factor_destroy(prepared); }

/* ROWS rows at work. */
typedef struct gptq_rows {
  const gptq_factor *factor;
  const gptq_type *type;
  const mtk_quant_tensor *tensor;
  int64_t row0; /* the first of them */
  uint8_t *dst;
  size_t row_bytes;
  int64_t n;
  float *w;                   /* [n][k] what is left to round, columns in the factor's order */
  float error[ROWS][COLUMNS]; /* minus the error of each column over its diagonal */
} gptq_rows;

GPTQ_WIDE static void add_scaled(float *y, const float *x, float s, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += s * x[i];
}

/* Round columns c0..c1 of one row. */
static void round_block(gptq_rows *g, int64_t row, int64_t c0, int64_t c1) {
  int64_t k = g->factor->k;
  float *w = g->w + row * k;
  uint8_t *dst = g->dst + (size_t)row * g->row_bytes;
  const float *scales = quant_row_scales(g->tensor, g->row0 + row);
  for (int64_t j = c0; j < c1; j++) {
    const float *u = g->factor->u + j * k;
    int64_t column = g->factor->order[j];
    gptq_grid grid = g->type->grid(dst, column / g->type->group);
    float unit = scales ? scales[column / g->tensor->scale_k] : 1.0f;
    int code;
    float q = gptq_nearest(&code, g->type, (gptq_grid){grid.a * unit, grid.b * unit}, w[j]);
    g->type->put(dst, column, code);
    float error = (q - w[j]) / u[j];
    g->error[row][j - c0] = error;
    add_scaled(w + j + 1, u + j + 1, error, c1 - j - 1);
  }
}

static void round_rows(gptq_rows *g) {
  int64_t k = g->factor->k;
  for (int64_t c0 = 0; c0 < k; c0 += COLUMNS) {
    int64_t c1 = c0 + COLUMNS < k ? c0 + COLUMNS : k;
    for (int64_t r = 0; r < g->n; r++) round_block(g, r, c0, c1);
    if (c1 < k)
      mtk_kernels_default()->gemm_nn(g->w + c1, k, g->error[0], COLUMNS, g->factor->u + c0 * k + c1,
                                     k, 0, g->n, k - c1, c1 - c0);
  }
}

mtk_status gptq_encode(const mtk_quant_tensor *t, void *dst, const float *x, int64_t row0,
                       int64_t n_rows, mtk_error *err) {
  const gptq_factor *f = t->prepared;
  if (!f)
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->source->name,
                    "no calibration text runs through it: --keep it or choose another method");
  mtk_quant_tensor fixed = *t;
  fixed.importance = f->column_weight;
  MTK_TRY(quant_encode(&fixed, dst, x, row0, n_rows, &quant_sweep, err));
  gptq_rows g = {.factor = f,
                 .type = gptq_type_find(t->target->dtype),
                 .tensor = t,
                 .row_bytes = mtk_dtype_bytes(t->target->dtype, (uint64_t)f->k)};
  g.w = mtk_alloc((size_t)(ROWS * f->k), sizeof *g.w);
  if (!g.w) return mtk_fail(err, MTK_E_NOMEM, t->source->name, "out of memory");
  for (int64_t r0 = 0; r0 < n_rows; r0 += ROWS) {
    g.n = n_rows - r0 < ROWS ? n_rows - r0 : ROWS;
    g.row0 = row0 + r0;
    g.dst = (uint8_t *)dst + (size_t)r0 * g.row_bytes;
    for (int64_t r = 0; r < g.n; r++)
      for (int64_t j = 0; j < f->k; j++) g.w[r * f->k + j] = x[(r0 + r) * f->k + f->order[j]];
    round_rows(&g);
  }
  mtk_free(g.w);
  return MTK_OK;
}
