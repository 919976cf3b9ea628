/* bench.c: mtk bench: prompt and generation rates of a model or of random weights in the shape of
 * one, for thread counts, depths, prompt lengths and numbers of sequences, beside the machine's
 * limits and with a hash of the logits. */
#include "bench.h"

#include <string.h>

static const mtk_option_def g_options[] = {
    {"prompt-tokens", 'p', MTK_OPT_STRING, "LIST", "512", 0, 0, NULL, "prompt lengths"},
    {"generate", 'n', MTK_OPT_INT, "N", "64", 0, 1e6, NULL, "tokens to generate"},
    {"depth", 'd', MTK_OPT_STRING, "LIST", "0", 0, 0, NULL,
     "tokens that each sequence has before the prompt"},
    {"sequences", 's', MTK_OPT_STRING, "LIST", "1", 0, 0, NULL, "sequences computed together"},
    {"threads", 't', MTK_OPT_STRING, "LIST", "0", 0, 0, NULL, "thread counts, separated by commas"},
    {"repeat", 'r', MTK_OPT_INT, "N", "3", 1, 1000, NULL,
     "runs after one to warm up; medians are reported"},
    {"shape", 0, MTK_OPT_PATH, "CONFIG", NULL, 0, 0, NULL,
     "instead of MODEL: random weights in the shape of a Hugging Face config.json"},
    {"dtype", 0, MTK_OPT_STRING, "TYPE", "bf16", 0, 0, NULL, "storage type of --shape's weights"},
    {"layers", 0, MTK_OPT_INT, "N", NULL, 1, 100000, NULL,
     "layers of --shape (else as many as fit into memory)"},
    {"seed", 0, MTK_OPT_INT, "N", "1", 0, 1e15, NULL, "of --shape's weights"},
    {"per-op", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "also time by op and shape of linear layer, from one more run"},
    {"no-limits", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "do not measure what the machine could do at best"},
    {"compare", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "an earlier --json report: print ratios; exit code 3 if logits differ for equal settings"},
    {"tolerance", 0, MTK_OPT_FLOAT, "PERCENT", NULL, 0, 100, NULL,
     "with --compare: exit code 3 if a rate fell by more"},
    MTK_CMD_ENGINE_OPTIONS,
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

enum { BENCH_LIST_MAX = 32 };

/* Numbers of an option like "1,2,4". */
typedef struct bench_list {
  int64_t items[BENCH_LIST_MAX];
  int n;
} bench_list;

typedef struct bench {
  const mtk_cmd_line *line;
  bench_list threads, depths, prompts, sequences;
  int generate, repeat;
  int64_t positions; /* of a sequence, at most */
  int max_sequences;
  bench_model source;
  mtk_cmd_engine e;
  const bench_peak *peak; /* of the running thread count; NULL = not measured */
  int32_t *ids;           /* [max_sequences][positions] */
  mtk_batch_item *items;  /* [max_sequences] */
  double *times;          /* [2][repeat] */
  json_t *runs, *peaks, *loads;
  json_t *other; /* of --compare; may be NULL */
} bench;

/* ---- options --------------------------------------------------------------------------------- */

static mtk_status parse_list(bench_list *out, const mtk_cmd_line *line, const char *option,
                             int64_t min, int64_t max, mtk_error *err) {
  const char *list = mtk_options_string(line->options, option);
  out->n = 0;
  for (const char *p = list;; p++) {
    char *end;
    long long v = strtoll(p, &end, 10);
    if (end == p || v < min || v > max || (*end && *end != ',') || out->n == BENCH_LIST_MAX)
      return mtk_fail(err, MTK_E_INVALID, NULL,
                      "--%s wants up to %d numbers from %lld to %lld separated by commas, not "
                      "'%.80s'",
                      option, BENCH_LIST_MAX, (long long)min, (long long)max, list);
    out->items[out->n++] = v;
    p = end;
    if (!*p) return MTK_OK;
  }
}

static int64_t largest(const bench_list *list) {
  int64_t most = list->items[0];
  for (int i = 1; i < list->n; i++)
    if (list->items[i] > most) most = list->items[i];
  return most;
}

/* 0 becomes the number of CPUs; each number stays once. */
static mtk_status resolve_threads(bench_list *list, mtk_error *err) {
  int n = 0;
  for (int i = 0, at; i < list->n; i++) {
    int64_t threads = list->items[i];
    if (threads == 0) {
      mtk_pool *all;
      MTK_TRY(mtk_pool_create(&all, 0, err));
      threads = mtk_pool_size(all);
      mtk_pool_destroy(all);
    }
    list->items[n] = threads;
    for (at = 0; list->items[at] != threads;) at++;
    n += at == n;
  }
  list->n = n;
  return MTK_OK;
}

/* Settings that every thread count runs: depths x prompts x sequences. */
static int setting_count(const bench *b) { return b->depths.n * b->prompts.n * b->sequences.n; }

static bench_run setting(const bench *b, int i) {
  int s = i % b->sequences.n, p = i / b->sequences.n % b->prompts.n;
  return (bench_run){.sequences = (int)b->sequences.items[s],
                     .depth = (int)b->depths.items[i / b->sequences.n / b->prompts.n],
                     .prompt_tokens = (int)b->prompts.items[p],
                     .generated = b->generate};
}

/* Nothing is measured for a comparison that has nothing to compare. */
static mtk_status read_other(bench *b, const char *path, mtk_error *err) {
  MTK_TRY(bench_read_report(&b->other, path, err));
  for (int t = 0; t < b->threads.n; t++)
    for (int i = 0; i < setting_count(b); i++) {
      bench_run r = setting(b, i);
      r.threads = (int)b->threads.items[t];
      if (bench_report_has(b->other, &r)) return MTK_OK;
    }
  return mtk_fail(err, MTK_E_INVALID, path, "has no run with these settings");
}

static mtk_status read_options(bench *b, mtk_error *err) {
  const mtk_cmd_line *line = b->line;
  MTK_TRY(parse_list(&b->threads, line, "threads", 0, 1024, err));
  MTK_TRY(resolve_threads(&b->threads, err));
  MTK_TRY(parse_list(&b->depths, line, "depth", 0, 10000000, err));
  MTK_TRY(parse_list(&b->prompts, line, "prompt-tokens", 1, 1000000, err));
  MTK_TRY(parse_list(&b->sequences, line, "sequences", 1, 4096, err));
  const char *compare = mtk_options_string(line->options, "compare");
  if (mtk_options_is_set(line->options, "tolerance") && !compare)
    return mtk_fail(err, MTK_E_INVALID, "--tolerance", "only goes with --compare");
  b->generate = (int)mtk_options_int(line->options, "generate");
  b->repeat = (int)mtk_options_int(line->options, "repeat");
  b->positions = largest(&b->depths) + largest(&b->prompts) + b->generate;
  b->max_sequences = (int)largest(&b->sequences);
  return compare ? read_other(b, compare, err) : MTK_OK;
}

/* The longest setting: `context` positions of a sequence must do (0 = not known yet). */
static mtk_status check_context(const bench *b, int64_t context, mtk_error *err) {
  if (context <= 0 || b->positions <= context) return MTK_OK;
  return mtk_fail(err, MTK_E_INVALID, NULL,
                  "%lld + %d tokens do not fit the context of %lld; use -d, -p, -n, -c",
                  (long long)(b->positions - b->generate), b->generate, (long long)context);
}

/* What the engine will have; 0 = the model does not say. */
static int64_t context_ahead(const bench *b) {
  int64_t asked = mtk_options_int(b->line->options, "context");
  uint64_t trained = 0;
  const mtk_meta *meta = mtk_model_meta(b->source.model);
  if (!asked && mtk_meta_uint(&trained, meta, "context_length", 0, NULL) != MTK_OK) trained = 0;
  return asked ? asked : trained < INT32_MAX ? (int64_t)trained : 0;
}

static mtk_status alloc_buffers(bench *b, mtk_error *err) {
  size_t n_ids;
  bool fits = mtk_mul_ok((size_t)b->max_sequences, (size_t)b->positions, &n_ids);
  b->ids = fits ? mtk_alloc(n_ids, sizeof *b->ids) : NULL;
  b->items = mtk_alloc((size_t)b->max_sequences, sizeof *b->items);
  b->times = mtk_alloc((size_t)b->repeat, 2 * sizeof *b->times);
  b->runs = json_array();
  b->peaks = json_array();
  b->loads = json_array();
  if (b->ids && b->items && b->times && b->runs && b->peaks && b->loads) return MTK_OK;
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

/* ---- one setting ----------------------------------------------------------------------------- */

/* Feed every sequence its next n ids; the last logits of each. */
static mtk_status feed(const float **logits, bench *b, int n_seqs, int64_t at, int n,
                       mtk_error *err) {
  int64_t rows;
  if (mtk_cancelled()) return mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
  for (int s = 0; s < n_seqs; s++) {
    b->items[s].ids = b->ids + s * b->positions + at;
    b->items[s].n_ids = n;
  }
  return mtk_engine_forward(logits, &rows, b->e.engine, b->items, n_seqs, err);
}

/* Hashes the logits of the first pass; those of every other must be the same: passes that count ops
 * compute node by node, timed ones what is run otherwise, layers together and rows in chains. */
static mtk_status check_logits(bench_run *r, const float *logits, size_t vocab, mtk_error *err) {
  char hex[65];
  mtk_sha256 *hash = mtk_sha256_create();
  if (!hash) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_sha256_update(hash, logits, (size_t)r->sequences * vocab * sizeof *logits);
  mtk_sha256_final_hex(hash, hex);
  mtk_sha256_destroy(hash);
  if (!r->hash[0]) memcpy(r->hash, hex, sizeof hex);
  if (!strcmp(r->hash, hex)) return MTK_OK;
  return mtk_fail(err, MTK_E_INTERNAL, NULL,
                  "logits differ between runs of one prompt of %d tokens (%.16s, %.16s): a bug, "
                  "please report it",
                  r->prompt_tokens, r->hash, hex);
}

static mtk_status both_phases(double seconds[2], bench *b, bench_run *r, bool count, bool per_op,
                              mtk_error *err) {
  const float *logits = NULL;
  mtk_engine_profile(b->e.engine, count);
  double t0 = mtk_now_s();
  MTK_TRY(feed(&logits, b, r->sequences, r->depth, r->prompt_tokens, err));
  double t1 = mtk_now_s();
  if (count) {
    bench_count_ops(&r->phases[0], b->e.engine, per_op, b->peak);
    mtk_engine_profile(b->e.engine, true);
  }
  double t2 = mtk_now_s();
  for (int i = 0; i < r->generated; i++)
    MTK_TRY(feed(&logits, b, r->sequences, r->depth + r->prompt_tokens + i, 1, err));
  double t3 = mtk_now_s();
  if (count) bench_count_ops(&r->phases[1], b->e.engine, per_op && r->generated, b->peak);
  seconds[0] = t1 - t0;
  seconds[1] = t3 - t2;
  return check_logits(r, logits, (size_t)mtk_engine_vocab(b->e.engine), err);
}

/* Prompt and generation behind the first `depth` tokens, which are computed again where windows
 * have gone too far to come back to them. */
static mtk_status one_pass(double seconds[2], bench *b, bench_run *r, bool count, bool per_op,
                           mtk_error *err) {
  for (int s = 0; s < r->sequences; s++)
    mtk_engine_seq_truncate(b->e.engine, b->items[s].seq, r->depth);
  const float *logits;
  if (mtk_engine_seq_length(b->e.engine, b->items[0].seq) < r->depth)
    MTK_TRY(feed(&logits, b, r->sequences, 0, r->depth, err));
  mtk_status st = both_phases(seconds, b, r, count, per_op, err);
  mtk_engine_profile(b->e.engine, false);
  return st;
}

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static mtk_status measure(bench_run *r, bench *b, mtk_error *err) {
  double seconds[2];
  mtk_status st = one_pass(seconds, b, r, true, false, err);
  for (int i = 0; i < b->repeat && st == MTK_OK; i++) {
    st = one_pass(seconds, b, r, false, false, err);
    b->times[i] = seconds[0];
    b->times[b->repeat + i] = seconds[1];
  }
  if (st == MTK_OK && mtk_options_flag(b->line->options, "per-op"))
    st = one_pass(seconds, b, r, true, true, err);
  for (int i = 0; i < 2; i++) {
    double *times = b->times + i * b->repeat;
    qsort(times, (size_t)b->repeat, sizeof *times, compare_double);
    r->phases[i].seconds = times[b->repeat / 2];
    r->phases[i].tokens = (double)r->sequences * (i ? r->generated : r->prompt_tokens);
  }
  return st;
}

/* The ids are drawn, not sampled: sampling is not what is measured, and every sequence gets
 * others. */
static mtk_status measure_sequences(bench_run *r, bench *b, mtk_error *err) {
  const float *logits;
  mtk_status st = MTK_OK;
  int opened = 0;
  for (; opened < r->sequences && st == MTK_OK; opened++) {
    b->items[opened] = (mtk_batch_item){.adapter = b->e.adapter, .logits = MTK_LOGITS_LAST};
    st = mtk_engine_seq_open(&b->items[opened].seq, b->e.engine, err);
  }
  if (st == MTK_OK && r->depth > 0) st = feed(&logits, b, r->sequences, 0, r->depth, err);
  if (st == MTK_OK) st = measure(r, b, err);
  for (int s = 0; s < opened; s++) mtk_engine_seq_close(b->e.engine, b->items[s].seq);
  return st;
}

static mtk_status run_setting(bench *b, bench_run r, mtk_error *err) {
  r.isa = mtk_engine_isa(b->e.engine);
  r.threads = mtk_pool_size(b->e.pool);
  r.weight_bytes = mtk_engine_weight_bytes(b->e.engine);
  mtk_status st = measure_sequences(&r, b, err);
  json_t *doc = bench_run_json(&r, b->peak);
  if (st != MTK_OK) {
    json_decref(doc);
    return st;
  }
  if (!b->line->json) bench_print_run(doc);
  json_array_append_new(b->runs, doc);
  return MTK_OK;
}

/* ---- all settings ---------------------------------------------------------------------------- */

static mtk_status run_settings(bench *b, mtk_error *err) {
  bench_peak peak;
  b->peak = NULL;
  if (!mtk_options_flag(b->line->options, "no-limits")) {
    MTK_TRY(bench_measure_peak(&peak, mtk_engine_weight_bytes(b->e.engine), b->e.pool, err));
    b->peak = &peak;
    json_t *doc = bench_peak_json(&peak);
    if (!b->line->json) bench_print_peak(doc);
    json_array_append_new(b->peaks, doc);
  }
  int64_t vocab = mtk_engine_vocab(b->e.engine);
  for (int64_t s = 0; s < b->max_sequences; s++)
    for (int64_t i = 0; i < b->positions; i++)
      b->ids[s * b->positions + i] =
          (int32_t)(mtk_uniform(1, (uint64_t)s, (uint64_t)i) * (double)vocab);
  for (int i = 0; i < setting_count(b); i++) MTK_TRY(run_setting(b, setting(b, i), err));
  return MTK_OK;
}

/* Engine of one thread count; what it says of itself, and how long it took from the model's file
 * to here. */
static mtk_status open_engine(bench *b, int64_t positions, int threads, mtk_error *err) {
  double start = mtk_now_s();
  MTK_TRY(mtk_cmd_engine_open_model(&b->e, b->line, b->source.model, b->max_sequences, positions,
                                    threads, err));
  double s = b->source.seconds + mtk_now_s() - start;
  double rate = (double)mtk_cmd_model_bytes(b->source.model) / s * 1e-9;
  json_array_append_new(b->loads, json_pack("{s:i,s:f,s:f,s:f}", "threads",
                                            mtk_pool_size(b->e.pool), "seconds", s, "open_seconds",
                                            b->source.seconds, "gb_per_s", rate));
  if (!b->line->json)
    mtk_cmd_print("engine: %s; ready in %.3f s (%.2f GB/s)\n", mtk_engine_description(b->e.engine),
                  s, rate);
  return check_context(b, mtk_engine_context(b->e.engine), err);
}

/* The adapters by the base names of their folders; NULL = none. */
static json_t *adapters_json(const mtk_option_values *o) {
  const char *const *items = NULL;
  size_t n = mtk_options_list(o, "adapter", &items);
  json_t *names = n ? json_array() : NULL;
  for (size_t i = 0; i < n; i++) {
    const char *eq = strchr(items[i], '=');
    json_array_append_new(names, mtk_cmd_json_text(mtk_path_base(eq ? eq + 1 : items[i])));
  }
  return names;
}

/* What the logits depend on. */
static json_t *settings_json(const bench *b) {
  const bench_model *m = &b->source;
  const mtk_option_values *o = b->line->options;
  json_t *doc = json_pack("{s:o,s:s,s:s,s:s,s:o*}", "model", mtk_cmd_json_text(m->name), "arch",
                          mtk_model_arch(m->model), "activations",
                          mtk_options_string(o, "activations"), "kv_cache",
                          mtk_options_string(o, "kv-cache"), "adapters", adapters_json(o));
  if (m->shape)
    json_object_update_new(
        doc, json_pack("{s:s,s:I,s:I,s:I}", "dtype", mtk_options_string(o, "dtype"), "seed",
                       (json_int_t)mtk_options_int(o, "seed"), "layers", (json_int_t)m->blocks,
                       "layers_of_shape", (json_int_t)m->whole));
  return doc;
}

static mtk_status report(bench *b, const char *engine, uint64_t weight_bytes, mtk_error *err) {
  const char *why = "";
  mtk_isa_best(&why);
  json_t *doc = json_pack(
      "{s:s,s:s,s:O,s:O,s:o,s:I,s:s,s:s,s:I,s:I,s:O}", "report", "mtk bench 1", "version",
      mtk_version(), "limits", b->peaks, "loads", b->loads, "settings", settings_json(b), "batch",
      (json_int_t)mtk_options_int(b->line->options, "batch"), "engine", engine, "machine", why,
      "weight_bytes", (json_int_t)weight_bytes, "file_bytes",
      (json_int_t)mtk_cmd_model_bytes(b->source.model), "runs", b->runs);
  mtk_status st = b->other ? bench_compare(doc, b->other, b->line, err) : MTK_OK;
  mtk_status printed = MTK_OK;
  if (b->line->json && (st == MTK_OK || st == MTK_E_CHECK))
    printed = mtk_cmd_print_json(doc, false, st == MTK_OK ? err : NULL);
  else
    json_decref(doc);
  return st == MTK_OK ? printed : st;
}

static mtk_status run_all(bench *b, mtk_error *err) {
  MTK_TRY(read_options(b, err));
  int64_t positions = (int64_t)b->max_sequences * ((b->positions + MTK_KV_PAGE - 1) / MTK_KV_PAGE) *
                      MTK_KV_PAGE;
  MTK_TRY(bench_model_open(&b->source, b->line, positions, err));
  MTK_TRY(check_context(b, context_ahead(b), err));
  MTK_TRY(alloc_buffers(b, err));
  if (!b->line->json && b->source.shape)
    mtk_cmd_print("%s, random %s weights, %lld of %lld layers, %s\n", b->source.name,
                  mtk_options_string(b->line->options, "dtype"), (long long)b->source.blocks,
                  (long long)b->source.whole, mtk_cmd_bytes(mtk_cmd_model_bytes(b->source.model)));
  mtk_status st = MTK_OK;
  char *engine = NULL;
  uint64_t weight_bytes = 0;
  for (int i = 0; i < b->threads.n && st == MTK_OK; i++) {
    st = open_engine(b, positions, (int)b->threads.items[i], err);
    if (st == MTK_OK) st = run_settings(b, err);
    if (st == MTK_OK) {
      mtk_free(engine);
      engine = mtk_strdup(mtk_engine_description(b->e.engine));
      weight_bytes = mtk_engine_weight_bytes(b->e.engine);
    }
    mtk_cmd_engine_close(&b->e);
  }
  if (st == MTK_OK && !engine) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = report(b, engine, weight_bytes, err);
  mtk_free(engine);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  bench b = {.line = line};
  mtk_status st = run_all(&b, err);
  mtk_model_destroy(b.source.model);
  mtk_free(b.ids);
  mtk_free(b.items);
  mtk_free(b.times);
  json_decref(b.runs);
  json_decref(b.peaks);
  json_decref(b.loads);
  json_decref(b.other);
  return st;
}

const mtk_cmd mtk_cmd_bench = {
    "bench",
    "MODEL | --shape CONFIG.json [-d 0,4096] [-p 128,512] [-n 64] [-s 1,8] [-t 1,2] [--per-op]",
    "measure prompt and generation speed",
    g_options,
    NULL,
    0,
    1,
    run};
