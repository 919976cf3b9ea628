/* eval.c: mtk eval: perplexity, scores of given texts, and tasks with checkable answers. */
#include "eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"ppl", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "perplexity of a text, as llama.cpp computes it"},
    {"ctx", 0, MTK_OPT_INT, "N", "512", 2, 1e7, NULL,
     "window of --ppl and --kld; its second half is scored"},
    {"chunks", 0, MTK_OPT_INT, "N", "0", 0, 1e9, NULL, "only the first N windows (0 = all)"},
    {"kld", 0, MTK_OPT_PATH, "BASE", NULL, 0, 0, NULL, "divergence of MODEL from BASE over --text"},
    {"text", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL, "the text of --kld"},
    {"refusals", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "JSONL of {\"prompt\":..} or {\"messages\":[..]}: share of refusing answers (and of BASE's)"},
    {"refusal-phrases", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "what refusals say, one phrase a line, instead of the built-in list"},
    {"gate", 0, MTK_OPT_LIST, "COND", NULL, 0, 0, NULL,
     "e.g. 'kld<0.05' or 'refusal-change<=0.02', on any number of the JSON report, any number of "
     "times: exit code 3 if one does not hold"},
    {"score", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "JSONL of {\"text\":..} or {\"ids\":[..]}: NLL of each"},
    {"task", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "JSONL of {\"messages\":[..],\"answer\":..}: exact answers"},
    {"verifier", 0, MTK_OPT_STRING, "ID", "boxed", 0, 0, NULL, "what grades --task answers"},
    {"outputs", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "write what --task or --refusals generated, one JSON a line"},
    {"max-tokens", 'n', MTK_OPT_INT, "N", "512", 1, 1e9, NULL,
     "most tokens of a --task answer (of a --refusals answer: 64, if not given)"},
    {"parallel", 0, MTK_OPT_INT, "N", "16", 1, 1024, NULL, "answers generated at once"},
    MTK_CMD_ENGINE_OPTIONS,
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

mtk_status mtk_eval_rows(double *logprobs, mtk_sha256 *hash, mtk_cmd_engine *e, const int32_t *ids,
                         int64_t n, mtk_error *err) {
  int seq;
  MTK_TRY(mtk_engine_seq_open(&seq, e->engine, err));
  const mtk_kernels *k = mtk_engine_kernels(e->engine);
  int64_t vocab = mtk_engine_vocab(e->engine), step = e->max_batch;
  mtk_status st = MTK_OK;
  for (int64_t at = 0; at < n && st == MTK_OK; at += step) {
    int64_t count = n - at < step ? n - at : step, rows = 0;
    const float *logits = NULL;
    mtk_batch_item item = {seq, e->adapter, ids + at, (int32_t)count, MTK_LOGITS_ALL};
    st = mtk_cancelled() ? mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped")
                         : mtk_engine_forward(&logits, &rows, e->engine, &item, 1, err);
    for (int64_t i = 0; i < rows && st == MTK_OK; i++) {
      const float *row = logits + i * vocab;
      if (at + i + 1 < n)
        logprobs[at + i] = (double)row[ids[at + i + 1]] - (double)k->logsumexp(row, vocab);
    }
    if (st == MTK_OK && hash)
      mtk_sha256_update(hash, logits, (size_t)(rows * vocab) * sizeof *logits);
  }
  mtk_engine_seq_close(e->engine, seq);
  return st;
}

/* ---- perplexity ------------------------------------------------------------------------------ */

mtk_status mtk_eval_tokenize_file(mtk_ids *out, const mtk_cmd_engine *e, const char *path,
                                  mtk_error *err) {
  const mtk_tokenizer *tok = mtk_engine_tokenizer(e->engine);
  if (!tok)
    return mtk_fail(err, MTK_E_NOT_FOUND, mtk_model_path(e->model),
                    "the model has no tokenizer that mtk can use");
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  mtk_status st = mtk_tokenizer_encode(out, tok, file->data ? (const char *)file->data : "",
                                       file->size, MTK_ENCODE_BOS, err);
  mtk_file_close(file);
  return st;
}

mtk_status mtk_eval_windows(int64_t *n, const mtk_cmd_engine *e, const mtk_cmd_line *line,
                            const mtk_ids *ids, const char *path, mtk_error *err) {
  int64_t ctx = mtk_options_int(line->options, "ctx"),
          want = mtk_options_int(line->options, "chunks");
  if (ctx > mtk_engine_context(e->engine))
    return mtk_fail(err, MTK_E_INVALID, NULL, "--ctx %lld is longer than the model's context %lld",
                    (long long)ctx, (long long)mtk_engine_context(e->engine));
  *n = (int64_t)ids->len / ctx;
  if (want && want < *n) *n = want;
  if (*n == 0)
    return mtk_fail(err, MTK_E_INVALID, path,
                    "%zu tokens do not fill one window of %lld; use a smaller --ctx", ids->len,
                    (long long)ctx);
  return MTK_OK;
}

typedef struct ppl_sum {
  double nll, nll2;
  int64_t count, chunks;
} ppl_sum;

/* Each window starts with BOS if the model wants one; positions ctx/2 .. ctx-2 are scored. */
static mtk_status sum_windows(ppl_sum *sum, mtk_sha256 *hash, mtk_cmd_engine *e, mtk_ids *ids,
                              int64_t ctx, int64_t n_chunks, mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(e->model);
  double *lp = mtk_alloc((size_t)ctx, sizeof *lp);
  if (!lp) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = MTK_OK;
  for (int64_t c = 0; c < n_chunks && st == MTK_OK; c++) {
    int32_t *window = ids->data + c * ctx, saved = window[0];
    if (vocab->add_bos == 1 && vocab->bos >= 0) window[0] = vocab->bos;
    st = mtk_eval_rows(lp, hash, e, window, ctx, err);
    window[0] = saved;
    for (int64_t i = ctx / 2; i < ctx - 1 && st == MTK_OK; i++) {
      sum->nll -= lp[i];
      sum->nll2 += lp[i] * lp[i];
      sum->count++;
    }
    sum->chunks++;
    mtk_progress("perplexity", (uint64_t)(c + 1), (uint64_t)n_chunks, "windows");
  }
  mtk_free(lp);
  return st;
}

static double number(const json_t *report, const char *key) {
  return json_number_value(json_object_get(report, key));
}

static void print_ppl(const json_t *r) {
  mtk_cmd_print("perplexity %.4f +- %.4f (nll %.6f, %.0f tokens in %.0f windows of %.0f, %.1f s)\n",
                number(r, "ppl"), number(r, "ppl_error"), number(r, "nll"), number(r, "tokens"),
                number(r, "chunks"), number(r, "ctx"), number(r, "seconds"));
}

static mtk_status report_ppl(const ppl_sum *sum, mtk_sha256 *hash, const mtk_cmd_engine *e,
                             const mtk_cmd_line *line, double seconds, mtk_error *err) {
  char hex[65];
  mtk_sha256_final_hex(hash, hex);
  int64_t ctx = mtk_options_int(line->options, "ctx");
  double n = (double)sum->count, nll = sum->nll / n, var = sum->nll2 / n - nll * nll;
  double error = n > 1 && var > 0 ? exp(nll) * sqrt(var / (n - 1)) : 0;
  json_t *doc =
      json_pack("{s:s,s:f,s:f,s:f,s:I,s:I,s:I,s:s,s:s,s:f}", "model", line->args[0], "ppl",
                exp(nll), "ppl_error", error, "nll", nll, "tokens", (json_int_t)sum->count,
                "chunks", (json_int_t)sum->chunks, "ctx", (json_int_t)ctx, "logits_sha256", hex,
                "isa", mtk_engine_isa(e->engine), "seconds", seconds);
  return mtk_eval_report(doc, print_ppl, line, err);
}

static mtk_status eval_ppl(mtk_cmd_engine *e, const mtk_cmd_line *line, const char *path,
                           mtk_error *err) {
  int64_t ctx = mtk_options_int(line->options, "ctx"), n_chunks = 0;
  mtk_ids ids = {0};
  ppl_sum sum = {0};
  mtk_sha256 *hash = mtk_sha256_create();
  double start = mtk_now_s();
  mtk_status st = hash ? mtk_eval_tokenize_file(&ids, e, path, err)
                       : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = mtk_eval_windows(&n_chunks, e, line, &ids, path, err);
  if (st == MTK_OK) st = sum_windows(&sum, hash, e, &ids, ctx, n_chunks, err);
  if (st == MTK_OK) st = report_ppl(&sum, hash, e, line, mtk_now_s() - start, err);
  mtk_sha256_destroy(hash);
  mtk_ids_finish(&ids);
  return st;
}

/* ---- scores -----------------------------------------------------------------------------------
 */

static mtk_status ids_of_line(mtk_ids *ids, const mtk_cmd_engine *e, const json_t *doc,
                              mtk_error *err) {
  const json_t *text = json_object_get(doc, "text"), *list = json_object_get(doc, "ids");
  const mtk_tokenizer *tok = mtk_engine_tokenizer(e->engine);
  if (json_is_string(text)) {
    if (!tok)
      return mtk_fail(err, MTK_E_NOT_FOUND, NULL, "the model has no tokenizer: give \"ids\"");
    return mtk_tokenizer_encode(ids, tok, json_string_value(text), json_string_length(text),
                                MTK_ENCODE_BOS, err);
  }
  if (!json_is_array(list)) return mtk_fail(err, MTK_E_FORMAT, NULL, "needs \"text\" or \"ids\"");
  for (size_t i = 0; i < json_array_size(list); i++) {
    json_int_t v =
        json_is_integer(json_array_get(list, i)) ? json_integer_value(json_array_get(list, i)) : -1;
    if (v < 0 || v >= mtk_engine_vocab(e->engine))
      return mtk_fail(err, MTK_E_FORMAT, NULL,
                      "item %zu of \"ids\" is not a token id of this model", i);
    MTK_TRY(mtk_ids_push(ids, (int32_t)v, err));
  }
  return MTK_OK;
}

static mtk_status score_line(mtk_cmd_engine *e, const json_t *doc, void *ctx, mtk_error *err) {
  const mtk_cmd_line *line = ctx;
  mtk_ids ids = {0};
  mtk_status st = ids_of_line(&ids, e, doc, err);
  double *lp = mtk_alloc(ids.len + 1, sizeof *lp), nll = 0;
  mtk_sha256 *hash = mtk_sha256_create();
  if (st == MTK_OK && ids.len < 2)
    st = mtk_fail(err, MTK_E_FORMAT, NULL, "needs at least two tokens");
  if (st == MTK_OK && (!lp || !hash)) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = mtk_eval_rows(lp, hash, e, ids.data, (int64_t)ids.len, err);
  if (st == MTK_OK) {
    json_t *each = json_array();
    for (size_t i = 0; i + 1 < ids.len; i++) {
      nll -= lp[i];
      json_array_append_new(each, json_real(-lp[i]));
    }
    size_t n = ids.len - 1;
    if (line->json) {
      char hex[65];
      mtk_sha256_final_hex(hash, hex);
      st = mtk_cmd_print_json(json_pack("{s:f,s:f,s:I,s:o,s:s}", "nll", nll, "nll_per_token",
                                        nll / (double)n, "n_tokens", (json_int_t)n, "token_nll",
                                        each, "logits_sha256", hex),
                              true, err);
    } else {
      mtk_cmd_print("nll %.6f, %zu tokens, %.6f per token\n", nll, n, nll / (double)n);
      json_decref(each);
    }
  }
  mtk_sha256_destroy(hash);
  mtk_free(lp);
  mtk_ids_finish(&ids);
  return st;
}

mtk_status mtk_eval_jsonl(mtk_cmd_engine *e, const char *path, mtk_eval_line_fn fn, void *ctx,
                          mtk_error *err) {
  mtk_bytes in = {0};
  mtk_status st = mtk_cmd_read_all(&in, path, err);
  size_t line_no = 0;
  for (size_t at = 0; at < in.len && st == MTK_OK;) {
    const char *nl = memchr(in.data + at, '\n', in.len - at);
    size_t n = nl ? (size_t)(nl - (in.data + at)) : in.len - at;
    line_no++;
    if (n) {
      json_error_t je = {0};
      json_t *doc = json_loadb(in.data + at, n, 0, &je);
      st = json_is_object(doc)
               ? fn(e, doc, ctx, err)
               : mtk_fail(err, MTK_E_FORMAT, NULL, "not a JSON object: %s", je.text);
      json_decref(doc);
      if (st != MTK_OK) {
        char place[300];
        snprintf(place, sizeof place, "%.200s: line %zu", path, line_no);
        mtk_fail_in(err, st, place);
      }
    }
    at += n + 1;
  }
  mtk_bytes_finish(&in);
  return st;
}

/* ---- beside a base --------------------------------------------------------------------------- */

static void print_comparison(const json_t *r) {
  if (json_object_get(r, "kld")) mtk_eval_kld_print(r);
  if (json_object_get(r, "refusals")) mtk_eval_refusals_print(r);
}

/* --kld and --refusals: one report. */
static mtk_status compare(mtk_cmd_engine *e, const mtk_cmd_line *line, int seqs, mtk_error *err) {
  const char *path = mtk_options_string(line->options, "kld");
  const char *text = mtk_options_string(line->options, "text");
  json_t *report = json_pack("{s:s,s:s*}", "model", line->args[0], "base", path);
  mtk_cmd_engine base = {0};
  mtk_status st = path ? mtk_cmd_base_engine_open(&base, line, path, seqs, err) : MTK_OK;
  if (st == MTK_OK && path && text) st = mtk_eval_kld(report, e, &base, line, text, err);
  if (st == MTK_OK && mtk_options_is_set(line->options, "refusals"))
    st = mtk_eval_refusals(report, e, path ? &base : NULL, line, err);
  if (path) mtk_cmd_engine_close(&base);
  if (st == MTK_OK) return mtk_eval_report(report, print_comparison, line, err);
  json_decref(report);
  return st;
}

/* ---- the command ----------------------------------------------------------------------------- */

static mtk_status check_file(const mtk_cmd_line *line, const char *option, mtk_error *err) {
  const char *path = mtk_options_string(line->options, option);
  if (!path || strcmp(path, "-") == 0 || mtk_path_exists(path)) return MTK_OK;
  return mtk_fail(err, MTK_E_NOT_FOUND, path, "no such file");
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  static const char *const files[] = {"ppl", "text", "score", "task", "refusals",
                                      "refusal-phrases"};
  const mtk_option_values *o = line->options;
  const char *ppl = mtk_options_string(o, "ppl"), *score = mtk_options_string(o, "score");
  const char *task = mtk_options_string(o, "task"), *kld = mtk_options_string(o, "kld");
  bool refusals = mtk_options_is_set(o, "refusals");
  if (!!ppl + !!score + !!task + (kld || refusals) != 1)
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "give one of --ppl FILE, --kld BASE, --score FILE, --task FILE; --refusals "
                    "FILE alone or with --kld");
  if (kld && !refusals && !mtk_options_is_set(o, "text"))
    return mtk_fail(err, MTK_E_INVALID, NULL, "--kld needs --text FILE");
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    MTK_TRY(check_file(line, files[i], err));
  MTK_TRY(mtk_eval_parse_gates(line, err));
  mtk_cmd_engine e;
  int seqs = task || refusals ? (int)mtk_options_int(o, "parallel") : 1;
  MTK_TRY(mtk_cmd_engine_open(&e, line, line->args[0], seqs, err));
  mtk_status st = ppl     ? eval_ppl(&e, line, ppl, err)
                  : score ? mtk_eval_jsonl(&e, score, score_line, (void *)(uintptr_t)line, err)
                  : task  ? mtk_eval_task(&e, line, task, err)
                          : compare(&e, line, seqs, err);
  mtk_cmd_engine_close(&e);
  return st;
}

const mtk_cmd mtk_cmd_eval = {
    "eval",
    "MODEL --ppl FILE | --kld BASE --text FILE | --refusals FILE | --score FILE | --task FILE",
    "perplexity, divergence, refusals, scores, exact answers",
    g_options,
    NULL,
    1,
    1,
    run};
