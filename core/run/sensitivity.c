/* run/sensitivity.c: how far a model's distributions move when some of its weights are taken from
 * another model (mtk_sensitivity, mtk/calibrate.h): lanes of run/stages.c, compared with lane 0.
 *
 * Per position, with p the model's distribution and x the logits of a variant:
 * KLD = sum p log p - sum p x + log sum exp x, sums in double, vocabulary order. One thread drives;
 * the pool splits positions, so that threads change no bit. */
#include <mtk/calibrate.h>

#include <math.h>
#include <string.h>

#include "run/sensitivity.h"
#include "run/stages.h"

enum { MAX_ACTIVATION_BYTES = 1 << 30 };

typedef struct comparison {
  const mtk_kernels *kernels;
  mtk_pool *pool;
  int64_t vocab, rows, cap_rows;
  float *p;      /* [cap_rows, vocab] of lane 0 */
  double *p_log; /* [cap_rows] sum p log p */
  double *row;   /* [cap_rows] of the lane in work */
  double *kld;   /* per variant: sums */
  int64_t n;     /* positions of lane 0 so far */
  const float *logits;
  mtk_status status;
} comparison;

static void take_base(void *ctx, int64_t row, int worker) {
  (void)worker;
  comparison *c = ctx;
  const float *x = c->logits + row * c->vocab;
  float *p = c->p + row * c->vocab, lse = c->kernels->logsumexp(x, c->vocab);
  double sum = 0;
  for (int64_t i = 0; i < c->vocab; i++) {
    p[i] = mtk_math_expf(x[i] - lse);
    sum += (double)p[i] * ((double)x[i] - (double)lse);
  }
  c->p_log[row] = sum;
}

static void compare(void *ctx, int64_t row, int worker) {
  (void)worker;
  comparison *c = ctx;
  const float *x = c->logits + row * c->vocab, *p = c->p + row * c->vocab;
  double lse = (double)c->kernels->logsumexp(x, c->vocab), sum = 0;
  for (int64_t i = 0; i < c->vocab; i++) sum += (double)p[i] * ((double)x[i] - lse);
  c->row[row] = fmax(c->p_log[row] - sum, 0);
}

static void on_logits(void *ctx, int lane, int64_t n_rows, const float *logits) {
  comparison *c = ctx;
  if (lane == 0 && n_rows > c->cap_rows) {
    mtk_free(c->p);
    mtk_free(c->p_log);
    c->p = mtk_alloc((size_t)n_rows, (size_t)c->vocab * sizeof *c->p);
    c->p_log = mtk_alloc((size_t)n_rows, 2 * sizeof *c->p_log);
    c->cap_rows = c->p && c->p_log ? n_rows : 0;
  }
  if (c->cap_rows < n_rows) c->status = MTK_E_NOMEM;
  if (c->status != MTK_OK) return;
  c->row = c->p_log + c->cap_rows;
  c->logits = logits;
  mtk_pool_run(c->pool, n_rows, lane == 0 ? take_base : compare, c);
  if (lane == 0) c->n += n_rows;
  for (int64_t i = 0; i < n_rows && lane > 0; i++) c->kld[lane - 1] += c->row[i];
}

/* Some of the variants, together. */
static mtk_status measure(double *kld, const mtk_model *model, const mtk_calibration_options *o,
                          const mtk_variant *variants, size_t n, mtk_build_fn *build,
                          mtk_error *err) {
  comparison c = {.pool = o->pool, .kld = kld};
  mtk_stages *stages = NULL;
  mtk_stages_options so = {.build = build, .pool = o->pool, .arith = MTK_A16, .isa = o->isa,
                           .ids = o->ids, .lengths = o->lengths, .n_seqs = o->n_seqs,
                           .lanes = variants, .n_lanes = (int)n, .result = on_logits,
                           .result_ctx = &c};
  MTK_TRY(mtk_stages_create(&stages, model, &so, err));
  mtk_status st = MTK_OK;
  c.kernels = mtk_stages_kernels(stages);
  c.vocab = mtk_stages_vocab(stages);
  if (c.vocab <= 0)
    st = mtk_fail(err, MTK_E_UNSUPPORTED, mtk_model_path(model), "the model gives no logits");
  for (int i = 0; st == MTK_OK && i < mtk_stages_count(stages); i++)
    st = mtk_stages_next(stages, NULL, NULL, err);
  if (st == MTK_OK && c.status != MTK_OK)
    st = mtk_fail(err, c.status, NULL, "out of memory for %lld logits", (long long)c.vocab);
  for (size_t i = 0; i < n; i++) kld[i] /= (double)(c.n > 0 ? c.n : 1);
  mtk_free(c.p);
  mtk_free(c.p_log);
  mtk_stages_destroy(stages);
  return st;
}

mtk_status mtk_sensitivity_built(double *kld, const mtk_model *model,
                                 const mtk_calibration_options *o, const mtk_variant *variants,
                                 size_t n, mtk_build_fn *build, mtk_error *err) {
  uint64_t width = 0, tokens = 0;
  MTK_TRY(mtk_meta_uint(&width, mtk_model_meta(model), "embedding_length", 0, err));
  for (int64_t i = 0; i < o->n_seqs; i++) tokens += (uint64_t)o->lengths[i];
  double lane_bytes = 4.0 * (double)tokens * (double)(width ? width : 1);
  double fit = floor(MAX_ACTIVATION_BYTES / lane_bytes);
  size_t step = fit < 1 ? 1 : fit < (double)n ? (size_t)fit : n;
  memset(kld, 0, n * sizeof *kld);
  for (size_t i = 0; i < n; i += step)
    MTK_TRY(measure(kld + i, model, o, variants + i, n - i < step ? n - i : step, build, err));
  return MTK_OK;
}

mtk_status mtk_sensitivity(double *kld, const mtk_model *model, const mtk_calibration_options *o,
                           const mtk_variant *variants, size_t n, mtk_error *err) {
  return mtk_sensitivity_built(kld, model, o, variants, n, NULL, err);
}
