/* bench.c: mtk bench: prompt and generation rates of a model, with a hash of its logits. */
#include "cmd.h"

#include <string.h>

static const mtk_option_def g_options[] = {
    {"prompt-tokens", 'p', MTK_OPT_INT, "N", "512", 1, 1e6, NULL, "prompt length"},
    {"generate", 'n', MTK_OPT_INT, "N", "64", 0, 1e6, NULL, "tokens to generate"},
    {"repeat", 'r', MTK_OPT_INT, "N", "3", 1, 1000, NULL, "runs; medians are reported"},
    {"threads", 't', MTK_OPT_STRING, "LIST", "0", 0, 0, NULL, "thread counts, separated by commas"},
    MTK_CMD_ENGINE_OPTIONS,
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

typedef struct rates {
  double prompt, generate;
} rates;

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* One prompt of pseudo-random ids and n greedy steps on a fresh sequence. */
static mtk_status one_run(rates *out, mtk_sha256 *hash, mtk_engine *engine, int adapter,
                          const int32_t *ids, int n_prompt, int n_generate, mtk_error *err) {
  int seq;
  MTK_TRY(mtk_engine_seq_open(&seq, engine, err));
  const float *logits = NULL;
  int64_t rows = 0, vocab = mtk_engine_vocab(engine);
  mtk_batch_item item = {seq, adapter, ids, n_prompt, MTK_LOGITS_LAST};
  double t0 = mtk_now_s();
  mtk_status st = mtk_engine_forward(&logits, &rows, engine, &item, 1, err);
  double t1 = mtk_now_s();
  for (int i = 0; i < n_generate && st == MTK_OK; i++) {
    if (mtk_cancelled()) st = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
    int32_t best = 0;
    for (int64_t v = 1; v < vocab; v++)
      if (logits[v] > logits[best]) best = (int32_t)v;
    item = (mtk_batch_item){seq, adapter, &best, 1, MTK_LOGITS_LAST};
    if (st == MTK_OK) st = mtk_engine_forward(&logits, &rows, engine, &item, 1, err);
  }
  double t2 = mtk_now_s();
  if (st == MTK_OK && hash) mtk_sha256_update(hash, logits, (size_t)vocab * sizeof *logits);
  mtk_engine_seq_close(engine, seq);
  *out = (rates){n_prompt / (t1 - t0), n_generate ? n_generate / (t2 - t1) : 0};
  return st;
}

static mtk_status bench_engine(json_t *rows, const mtk_cmd_line *line, mtk_cmd_engine *e,
                               int threads, mtk_error *err) {
  const mtk_option_values *o = line->options;
  int p = (int)mtk_options_int(o, "prompt-tokens"), n = (int)mtk_options_int(o, "generate");
  int repeat = (int)mtk_options_int(o, "repeat");
  if (p + n > mtk_engine_context(e->engine))
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "%d + %d tokens do not fit the context of %lld; use -p, -n, -c", p, n,
                    (long long)mtk_engine_context(e->engine));
  int32_t *ids = mtk_alloc((size_t)p, sizeof *ids);
  double *pp = mtk_alloc((size_t)repeat, sizeof *pp), *tg = mtk_alloc((size_t)repeat, sizeof *tg);
  mtk_sha256 *hash = mtk_sha256_create();
  mtk_status st =
      ids && pp && tg && hash ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int i = 0; st == MTK_OK && i < p; i++)
    ids[i] = (int32_t)(mtk_uniform(1, 0, (uint64_t)i) * (double)mtk_engine_vocab(e->engine));
  for (int i = 0; st == MTK_OK && i < repeat; i++) {
    rates r = {0, 0};
    st = one_run(&r, i == 0 ? hash : NULL, e->engine, e->adapter, ids, p, n, err);
    pp[i] = r.prompt;
    tg[i] = r.generate;
  }
  if (st == MTK_OK) {
    char hex[65];
    qsort(pp, (size_t)repeat, sizeof *pp, compare_double);
    qsort(tg, (size_t)repeat, sizeof *tg, compare_double);
    double gbs = tg[repeat / 2] * (double)mtk_engine_weight_bytes(e->engine) / 1e9;
    mtk_sha256_final_hex(hash, hex);
    json_array_append_new(rows,
                          json_pack("{s:i,s:s,s:i,s:i,s:f,s:f,s:f,s:s}", "threads", threads, "isa",
                                    mtk_engine_isa(e->engine), "prompt_tokens", p, "generated", n,
                                    "prompt_tokens_per_s", pp[repeat / 2], "generated_tokens_per_s",
                                    tg[repeat / 2], "weights_gb_per_s", gbs, "logits_sha256", hex));
    if (!line->json)
      mtk_cmd_print("%s, %d threads: prompt %d: %.1f tokens/s, generate %d: %.1f tokens/s "
                    "(weights %.2f GB/s), logits %.16s\n",
                    mtk_engine_isa(e->engine), threads, p, pp[repeat / 2], n, tg[repeat / 2], gbs,
                    hex);
  }
  mtk_sha256_destroy(hash);
  mtk_free(tg);
  mtk_free(pp);
  mtk_free(ids);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  json_t *rows = json_array();
  mtk_status st = MTK_OK;
  const char *list = mtk_options_string(line->options, "threads");
  for (const char *p = list; *p && st == MTK_OK;) {
    char *end;
    long n = strtol(p, &end, 10);
    if (end == p || n < 0 || n > 1024) {
      st = mtk_fail(err, MTK_E_INVALID, NULL,
                    "--threads wants numbers separated by commas, not '%s'", list);
      break;
    }
    p = *end == ',' ? end + 1 : end;
    mtk_cmd_engine e;
    st = mtk_cmd_engine_open_threads(&e, line, line->args[0], 1, (int)n, err);
    if (st != MTK_OK) break;
    st = bench_engine(rows, line, &e, mtk_pool_size(e.pool), err);
    mtk_cmd_engine_close(&e);
  }
  if (st == MTK_OK && line->json)
    return mtk_cmd_print_json(json_pack("{s:s,s:o}", "model", line->args[0], "runs", rows), false,
                              err);
  json_decref(rows);
  return st;
}

const mtk_cmd mtk_cmd_bench = {"bench",
                               "MODEL [-p 512] [-n 64] [-t 1,2]",
                               "measure prompt and generation speed",
                               g_options,
                               NULL,
                               1,
                               1,
                               run};
