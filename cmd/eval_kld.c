/* eval_kld.c: mtk eval --kld BASE: how far a model's distributions are from those of another one
 * over the same text: Kullback-Leibler divergence, agreement of the most probable token, ratio of
 * perplexities.
 *
 * Both engines see the same windows; positions ctx/2 .. ctx-2 of each are compared, as perplexity
 * scores them. Per position, with e = exp(x - max x), den = sum e (double, vocabulary order):
 * log p_i = x_i - max x - log den; KLD = sum_i p_i (log p_i - log q_i), p of the base. Errors are
 * standard errors of the mean over positions. */
#include "eval.h"

#include <math.h>
#include <mtk/kernel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is kept of one position. */
typedef struct position {
  double kld, base_nll, nll; /* nats */
  double dp;                 /* probability of the text's token: model minus base */
  int same_top;
} position;

typedef struct kld_job {
  mtk_cmd_engine *model, *base;
  int64_t vocab, n;
  position *positions; /* n of them so far */
  /* one chunk of a window */
  const float *p, *q;     /* logits of base and model */
  const int32_t *targets; /* next ids */
  position *out;
} kld_job;

typedef struct softmax {
  float max;
  double log_den; /* log sum exp(x - max) */
  int64_t top;
} softmax;

static softmax softmax_of(const float *x, int64_t n) {
  softmax s = {.max = x[0]};
  for (int64_t i = 1; i < n; i++)
    if (x[i] > s.max) s.max = x[i], s.top = i;
  double den = 0;
  for (int64_t i = 0; i < n; i++) den += (double)mtk_math_expf(x[i] - s.max);
  s.log_den = log(den);
  return s;
}

static void compare_row(void *ctx, int64_t row, int worker) {
  (void)worker;
  kld_job *j = ctx;
  const float *p = j->p + row * j->vocab, *q = j->q + row * j->vocab;
  softmax sp = softmax_of(p, j->vocab), sq = softmax_of(q, j->vocab);
  double shift = (double)sp.max - (double)sq.max + sp.log_den - sq.log_den;
  double scale = exp(-sp.log_den), sum = 0;
  for (int64_t i = 0; i < j->vocab; i++) {
    double weight = (double)mtk_math_expf(p[i] - sp.max);
    sum += weight * ((double)p[i] - (double)q[i] - shift);
  }
  int32_t target = j->targets[row];
  double lp = (double)p[target] - (double)sp.max - sp.log_den;
  double lq = (double)q[target] - (double)sq.max - sq.log_den;
  j->out[row] = (position){fmax(sum * scale, 0), -lp, -lq, exp(lq) - exp(lp), sp.top == sq.top};
}

/* Logits of one window, a batch at a time; the scored half is compared. */
static mtk_status compare_window(kld_job *j, const int32_t *ids, int64_t ctx, mtk_error *err) {
  int base_seq = -1, seq = -1;
  MTK_TRY(mtk_engine_seq_open(&base_seq, j->base->engine, err));
  mtk_status st = mtk_engine_seq_open(&seq, j->model->engine, err);
  for (int64_t at = 0; at < ctx - 1 && st == MTK_OK; at += j->base->max_batch) {
    int64_t count = ctx - 1 - at < j->base->max_batch ? ctx - 1 - at : j->base->max_batch, rows;
    mtk_batch_item base = {base_seq, j->base->adapter, ids + at, (int32_t)count,
                           MTK_LOGITS_ALL};
    mtk_batch_item item = {seq, j->model->adapter, ids + at, (int32_t)count, MTK_LOGITS_ALL};
    if (mtk_cancelled()) st = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
    if (st == MTK_OK) st = mtk_engine_forward(&j->p, &rows, j->base->engine, &base, 1, err);
    if (st == MTK_OK) st = mtk_engine_forward(&j->q, &rows, j->model->engine, &item, 1, err);
    int64_t skip = ctx / 2 > at ? ctx / 2 - at : 0; /* rows before the scored half */
    if (st != MTK_OK || skip >= count) continue;
    j->p += skip * j->vocab;
    j->q += skip * j->vocab;
    j->targets = ids + at + skip + 1;
    j->out = j->positions + j->n;
    mtk_pool_run(j->base->pool, count - skip, compare_row, j);
    j->n += count - skip;
  }
  mtk_engine_seq_close(j->base->engine, base_seq);
  if (seq >= 0) mtk_engine_seq_close(j->model->engine, seq);
  return st;
}

/* ---- statistics ------------------------------------------------------------------------------ */

typedef struct moments {
  double mean, error; /* of the mean */
} moments;

static moments moments_of(const kld_job *j, double (*value)(const position *)) {
  double sum = 0, sum2 = 0, n = (double)j->n;
  for (int64_t i = 0; i < j->n; i++) {
    double v = value(&j->positions[i]);
    sum += v;
    sum2 += v * v;
  }
  double mean = sum / n, var = sum2 / n - mean * mean;
  return (moments){mean, n > 1 && var > 0 ? sqrt(var / (n - 1)) : 0};
}

static double kld_of(const position *p) { return p->kld; }
static double nll_of(const position *p) { return p->nll; }
static double base_nll_of(const position *p) { return p->base_nll; }
static double log_ratio_of(const position *p) { return p->nll - p->base_nll; }
static double same_top_of(const position *p) { return p->same_top; }
static double dp_of(const position *p) { return p->dp; }
static double dp2_of(const position *p) { return p->dp * p->dp; }

static int by_kld(const void *a, const void *b) {
  double x = ((const position *)a)->kld, y = ((const position *)b)->kld;
  return (x > y) - (x < y);
}

/* positions sorted by KLD */
static double quantile(const kld_job *j, double q) {
  double at = q * (double)(j->n - 1);
  int64_t i = (int64_t)at, next = i + 1 < j->n ? i + 1 : i;
  double low = j->positions[i].kld, high = j->positions[next].kld;
  return low + (at - (double)i) * (high - low);
}

static void put_statistics(json_t *report, kld_job *j, int64_t chunks, int64_t ctx) {
  moments kld = moments_of(j, kld_of), top = moments_of(j, same_top_of);
  moments nll = moments_of(j, nll_of), base = moments_of(j, base_nll_of);
  moments ratio = moments_of(j, log_ratio_of), dp = moments_of(j, dp_of);
  double rms = sqrt(moments_of(j, dp2_of).mean);
  qsort(j->positions, (size_t)j->n, sizeof *j->positions, by_kld);
  json_t *doc =
      json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "kld", kld.mean, "kld_error", kld.error,
                "kld_median", quantile(j, 0.5), "kld_p90", quantile(j, 0.9), "kld_p99",
                quantile(j, 0.99), "kld_p999", quantile(j, 0.999), "kld_max",
                j->positions[j->n - 1].kld);
  json_t *more = json_pack(
      "{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:I}", "top1", top.mean, "top1_error", top.error,
      "ppl", exp(nll.mean), "base_ppl", exp(base.mean), "ppl_ratio", exp(ratio.mean),
      "ppl_ratio_error", exp(ratio.mean) * ratio.error, "dp_mean", dp.mean, "dp_rms", rms, "tokens",
      (json_int_t)j->n, "chunks", (json_int_t)chunks, "ctx", (json_int_t)ctx);
  json_object_update(report, doc);
  json_object_update(report, more);
  json_decref(doc);
  json_decref(more);
}

void mtk_eval_kld_print(const json_t *d) {
  const char *const rows[][2] = {
      {"kld", "mean KLD"},        {"kld_median", "median"}, {"kld_p90", "90 %"},
      {"kld_p99", "99 %"},        {"kld_p999", "99.9 %"},   {"kld_max", "largest"},
      {"top1", "same top token"}, {"ppl", "perplexity"},    {"base_ppl", "of the base"},
      {"ppl_ratio", "ratio"},     {"dp_mean", "mean dp"},   {"dp_rms", "rms dp"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char key[32];
    snprintf(key, sizeof key, "%s_error", rows[i][0]);
    const json_t *error = json_object_get(d, key);
    mtk_cmd_print("%-16s %10.6f", rows[i][1], json_real_value(json_object_get(d, rows[i][0])));
    if (error) mtk_cmd_print(" +- %.6f", json_real_value(error));
    mtk_cmd_print("\n");
  }
  mtk_cmd_print("%lld tokens in %lld windows of %lld; KLD in nats, model against base\n",
                (long long)json_integer_value(json_object_get(d, "tokens")),
                (long long)json_integer_value(json_object_get(d, "chunks")),
                (long long)json_integer_value(json_object_get(d, "ctx")));
}

/* ---- the command ----------------------------------------------------------------------------- */

static mtk_status check_pair(const mtk_cmd_engine *model, const mtk_cmd_engine *base,
                             const mtk_ids *ids, const char *text, mtk_error *err) {
  if (mtk_engine_vocab(model->engine) != mtk_engine_vocab(base->engine))
    return mtk_fail(err, MTK_E_INVALID, "--kld", "the vocabularies have %lld and %lld tokens",
                    (long long)mtk_engine_vocab(model->engine),
                    (long long)mtk_engine_vocab(base->engine));
  if (!mtk_engine_tokenizer(model->engine)) return MTK_OK;
  mtk_ids own = {0};
  mtk_status st = mtk_eval_tokenize_file(&own, model, text, err);
  if (st == MTK_OK &&
      (own.len != ids->len || memcmp(own.data, ids->data, own.len * sizeof *own.data) != 0))
    st = mtk_fail(err, MTK_E_INVALID, "--kld",
                  "the models give different token ids for the text: not comparable");
  mtk_ids_finish(&own);
  return st;
}

static mtk_status compare_text(kld_job *j, mtk_ids *ids, int64_t ctx, int64_t chunks,
                               mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(j->base->model);
  j->vocab = mtk_engine_vocab(j->base->engine);
  j->positions = mtk_alloc((size_t)(chunks * ctx), sizeof *j->positions);
  if (!j->positions) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t c = 0; c < chunks; c++) {
    int32_t *window = ids->data + c * ctx;
    if (vocab->add_bos == 1 && vocab->bos >= 0) window[0] = vocab->bos;
    MTK_TRY(compare_window(j, window, ctx, err));
    mtk_progress("compare", (uint64_t)(c + 1), (uint64_t)chunks, "windows");
  }
  return MTK_OK;
}

mtk_status mtk_eval_kld(json_t *report, mtk_cmd_engine *e, mtk_cmd_engine *base,
                        const mtk_cmd_line *line, const char *text, mtk_error *err) {
  int64_t ctx = mtk_options_int(line->options, "ctx"), chunks = 0;
  mtk_ids ids = {0};
  kld_job j = {.model = e, .base = base};
  mtk_status st = mtk_eval_tokenize_file(&ids, base, text, err);
  if (st == MTK_OK) st = check_pair(e, base, &ids, text, err);
  if (st == MTK_OK) st = mtk_eval_windows(&chunks, e, line, &ids, text, err);
  if (st == MTK_OK) st = compare_text(&j, &ids, ctx, chunks, err);
  if (st == MTK_OK) put_statistics(report, &j, chunks, ctx);
  mtk_free(j.positions);
  mtk_ids_finish(&ids);
  return st;
}
