/* bench_report.c: what mtk bench measured as JSON and as text, and its comparison with an earlier
 * report. The text is printed from the JSON, so both say the same. */
#include "bench.h"

#include <math.h>
#include <string.h>

static const char *const g_phases[2] = {"prompt", "generate"};

/* 0 where there is none: numbers of another report may be anything. */
static double ratio(double a, double b) {
  double r = b > 0 ? a / b : 0;
  return isfinite(r) ? r : 0;
}

static json_t *share_or_null(double value, double peak) {
  return peak > 0 ? json_real(value / peak) : json_null();
}

/* Seconds that these operations take at the machine's peaks. */
static double least_seconds(const double *ops, const bench_peak *peak) {
  double s = 0;
  for (int a = 0; peak && a < MTK_ARITH_COUNT; a++) s += ratio(ops[a], peak->ops[a]);
  return s;
}

/* ---- ops ------------------------------------------------------------------------------------- */

/* What other ops read are values of this step, in the caches. */
static bool reads_memory(const mtk_op_stats *s) {
  return s->type != MTK_DTYPE_COUNT || strcmp(s->op, "attention") == 0;
}

static json_t *op_json(const mtk_op_stats *s, double total, const bench_peak *peak) {
  static const char *const ariths[MTK_ARITH_COUNT] = {"a32", "a16", "a8"};
  bool linear = s->type != MTK_DTYPE_COUNT;
  json_t *row = json_pack("{s:s,s:s?,s:s?}", "op", s->op, "type",
                          linear ? mtk_dtype_get(s->type)->name : NULL, "arith",
                          linear ? ariths[s->arith] : NULL);
  double gops = ratio(s->ops, s->seconds), rate = ratio(s->bytes, s->seconds);
  json_object_set_new(row, "n", json_integer((json_int_t)s->n));
  json_object_set_new(row, "k", json_integer((json_int_t)s->k));
  json_object_set_new(row, "calls", json_integer((json_int_t)s->calls));
  json_object_set_new(row, "ms", json_real(s->seconds * 1e3));
  json_object_set_new(row, "share", json_real(ratio(s->seconds, total)));
  json_object_set_new(row, "gops", json_real(gops * 1e-9));
  json_object_set_new(row, "gb_per_s", json_real(rate * 1e-9));
  json_object_set_new(row, "of_compute_peak", share_or_null(gops, peak ? peak->ops[s->arith] : 0));
  json_object_set_new(row, "of_read_peak",
                      share_or_null(rate, peak && reads_memory(s) ? peak->read : 0));
  return row;
}

void bench_count_ops(bench_phase *phase, const mtk_engine *engine, bool per_op,
                     const bench_peak *peak) {
  size_t n;
  const mtk_op_stats *rows = mtk_engine_op_stats(&n, engine);
  double total = 0;
  memset(phase->ops, 0, sizeof phase->ops);
  phase->bytes = 0;
  for (size_t i = 0; i < n; i++) {
    phase->ops[rows[i].arith] += rows[i].ops;
    if (reads_memory(&rows[i])) phase->bytes += rows[i].bytes;
    total += rows[i].seconds;
  }
  if (!per_op) return;
  phase->per_op = json_array();
  for (size_t i = 0; i < n; i++)
    json_array_append_new(phase->per_op, op_json(&rows[i], total, peak));
}

/* ---- JSON ------------------------------------------------------------------------------------ */

json_t *bench_peak_json(const bench_peak *p) {
  return json_pack("{s:i,s:f,s:f,s:f,s:f,s:f}", "threads", p->threads, "memory_gb_per_s",
                   p->memory * 1e-9, "read_gb_per_s", p->read * 1e-9, "a32_gops",
                   p->ops[MTK_A32] * 1e-9, "a16_gops", p->ops[MTK_A16] * 1e-9, "a8_gops",
                   p->ops[MTK_A8] * 1e-9);
}

static json_t *phase_json(bench_phase *p, const bench_peak *peak) {
  double ops = 0;
  for (int a = 0; a < MTK_ARITH_COUNT; a++) ops += p->ops[a];
  json_t *doc = json_pack("{s:f,s:f,s:f}", "seconds", p->seconds, "gops",
                          ratio(ops, p->seconds) * 1e-9, "gb_per_s",
                          ratio(p->bytes, p->seconds) * 1e-9);
  json_object_set_new(doc, "of_compute_peak",
                      peak ? share_or_null(least_seconds(p->ops, peak), p->seconds) : json_null());
  json_object_set_new(doc, "of_read_peak",
                      share_or_null(ratio(p->bytes, p->seconds), peak ? peak->read : 0));
  if (p->per_op) json_object_set_new(doc, "per_op", p->per_op);
  return doc;
}

json_t *bench_run_json(bench_run *r, const bench_peak *peak) {
  const bench_phase *p = r->phases;
  double generate = ratio(p[1].tokens, p[1].seconds), steps = generate / r->sequences;
  json_t *doc =
      json_pack("{s:i,s:s,s:i,s:i,s:i,s:i,s:f,s:f,s:f,s:s}", "threads", r->threads, "isa", r->isa,
                "sequences", r->sequences, "depth", r->depth, "prompt_tokens", r->prompt_tokens,
                "generated", r->generated, "prompt_tokens_per_s", ratio(p[0].tokens, p[0].seconds),
                "generated_tokens_per_s", generate, "weights_gb_per_s",
                steps * (double)r->weight_bytes * 1e-9, "logits_sha256", r->hash);
  for (int i = 0; i < 2; i++)
    json_object_set_new(doc, g_phases[i], phase_json(&r->phases[i], peak));
  return doc;
}

/* ---- text ------------------------------------------------------------------------------------ */

static double number(const json_t *o, const char *key) {
  return json_number_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "";
}

/* "34 %", or "-" if the peaks were not measured. Static ring. */
static const char *percent(const json_t *o, const char *key) {
  static char ring[4][16];
  static int at;
  char *buf = ring[at++ & 3];
  const json_t *v = json_object_get(o, key);
  snprintf(buf, sizeof ring[0], json_is_number(v) ? "%.0f %%" : "-", 100 * json_number_value(v));
  return buf;
}

void bench_print_peak(const json_t *p) {
  mtk_cmd_print("limits of %d threads: %.1f GB/s read (%.1f from memory); %.1f GFLOP/s (a32), "
                "%.1f (a16), %.1f GOP/s (a8)\n",
                (int)number(p, "threads"), number(p, "read_gb_per_s"),
                number(p, "memory_gb_per_s"), number(p, "a32_gops"),
                number(p, "a16_gops"), number(p, "a8_gops"));
}

static void print_ops(const json_t *phase, const char *name) {
  const json_t *rows = json_object_get(phase, "per_op"), *r;
  size_t i;
  if (!rows) return;
  mtk_cmd_print("  %-44s %8s %10s %6s %8s %6s %8s %6s\n", name, "calls", "ms", "share", "GOP/s",
                "limit", "GB/s", "limit");
  json_array_foreach(rows, i, r) {
    char what[96];
    bool linear = json_is_string(json_object_get(r, "type"));
    snprintf(what, sizeof what, linear ? "%s %.0f x %.0f, %s in %s" : "%s", text(r, "op"),
             number(r, "n"), number(r, "k"), text(r, "type"), text(r, "arith"));
    mtk_cmd_print("  %-44s %8.0f %10.2f %6.1f %8.1f %6s %8.2f %6s\n", what, number(r, "calls"),
                  number(r, "ms"), 100 * number(r, "share"), number(r, "gops"),
                  percent(r, "of_compute_peak"), number(r, "gb_per_s"),
                  percent(r, "of_read_peak"));
  }
}

void bench_print_run(const json_t *r) {
  const json_t *prompt = json_object_get(r, "prompt"), *generate = json_object_get(r, "generate");
  mtk_cmd_print("%s, %d threads, %d x: ", text(r, "isa"), (int)number(r, "threads"),
                (int)number(r, "sequences"));
  if (number(r, "depth") > 0) mtk_cmd_print("behind %d tokens, ", (int)number(r, "depth"));
  mtk_cmd_print("prompt %d: %.1f tokens/s (%.1f GOP/s, %s of the limit), ",
                (int)number(r, "prompt_tokens"), number(r, "prompt_tokens_per_s"),
                number(prompt, "gops"), percent(prompt, "of_compute_peak"));
  mtk_cmd_print("generate %d: %.1f tokens/s (%.2f GB/s, %s of the limit), logits %.16s\n",
                (int)number(r, "generated"), number(r, "generated_tokens_per_s"),
                number(generate, "gb_per_s"), percent(generate, "of_read_peak"),
                text(r, "logits_sha256"));
  print_ops(prompt, g_phases[0]);
  print_ops(generate, g_phases[1]);
}

/* ---- comparison ------------------------------------------------------------------------------ */

enum { KEYS = 5 };
static const char *const g_keys[KEYS] = {"threads", "sequences", "depth", "prompt_tokens",
                                         "generated"};

/* What makes two runs comparable, as numbers that may come from anywhere. */
typedef struct run_key {
  double of[KEYS];
} run_key;

static run_key key_of(const json_t *run) {
  run_key key;
  for (int i = 0; i < KEYS; i++) key.of[i] = number(run, g_keys[i]); /* older: no depth, 0 */
  return key;
}

static const json_t *find_run(const json_t *report, run_key key) {
  const json_t *r;
  size_t i;
  json_array_foreach(json_object_get(report, "runs"), i, r) {
    run_key other = key_of(r);
    int same = 0;
    while (same < KEYS && other.of[same] <= key.of[same] && other.of[same] >= key.of[same]) same++;
    if (same == KEYS) return r;
  }
  return NULL;
}

bool bench_report_has(const json_t *report, const bench_run *r) {
  return find_run(report, (run_key){{r->threads, r->sequences, r->depth, r->prompt_tokens,
                                     r->generated}}) != NULL;
}

/* The keys of the runs of `report` that `other` lacks. */
static json_t *runs_without(const json_t *report, const json_t *other) {
  json_t *rows = json_array(), *row;
  const json_t *r;
  size_t i;
  json_array_foreach(json_object_get(report, "runs"), i, r) {
    run_key key = key_of(r);
    if (find_run(other, key)) continue;
    json_array_append_new(rows, row = json_object());
    for (int k = 0; k < KEYS; k++) json_object_set(row, g_keys[k], json_object_get(r, g_keys[k]));
  }
  return rows;
}

mtk_status bench_read_report(json_t **out, const char *path, mtk_error *err) {
  MTK_TRY(mtk_cmd_read_json(out, path, 0, err));
  if (json_is_array(json_object_get(*out, "runs"))) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, path, "is no report of mtk bench --json");
}

/* Ratios of one run to the same one of the other report; text is printed unless --json. */
static json_t *compare_run(const json_t *run, const json_t *was, bool settings_equal, bool print) {
  double p = ratio(number(run, "prompt_tokens_per_s"), number(was, "prompt_tokens_per_s"));
  double g = ratio(number(run, "generated_tokens_per_s"), number(was, "generated_tokens_per_s"));
  bool same = !strcmp(text(run, "logits_sha256"), text(was, "logits_sha256"));
  const char *isa = text(run, "isa"), *isa_then = text(was, "isa");
  json_t *row = json_pack("{s:f,s:f,s:b,s:s,s:s}", "prompt_ratio", p, "generate_ratio", g,
                          "same_logits", same, "isa", isa, "isa_then", isa_then);
  for (int k = 0; k < KEYS; k++) json_object_set(row, g_keys[k], json_object_get(run, g_keys[k]));
  if (!print) return row;
  mtk_cmd_print("%7d %9d %8d %8d %9d %12.3f %12.3f   %s", (int)number(run, "threads"),
                (int)number(run, "sequences"), (int)number(run, "depth"),
                (int)number(run, "prompt_tokens"), (int)number(run, "generated"), p, g,
                same             ? "same"
                : settings_equal ? "DIFFERENT"
                                 : "different, and so are the settings");
  if (strcmp(isa, isa_then)) mtk_cmd_print(" (%s, was %s)", isa, isa_then);
  mtk_cmd_print("\n");
  return row;
}

static mtk_status judge(const json_t *rows, size_t n_missing, bool settings_equal,
                        const mtk_cmd_line *line, mtk_error *err) {
  const char *other = mtk_options_string(line->options, "compare");
  bool gate = mtk_options_is_set(line->options, "tolerance");
  double least = 1 - mtk_options_float(line->options, "tolerance") / 100, worst = 1e300;
  const json_t *r;
  size_t i;
  json_array_foreach(rows, i, r) {
    if (settings_equal && !json_is_true(json_object_get(r, "same_logits")))
      return mtk_fail(err, MTK_E_CHECK, other, "its logits differ for equal settings");
    double p = number(r, "prompt_ratio"), g = number(r, "generate_ratio");
    if (p < worst) worst = p;
    if (number(r, "generated") > 0 && g < worst) worst = g;
  }
  if (gate && n_missing)
    return mtk_fail(err, MTK_E_CHECK, other, "lacks %zu of these runs, --tolerance wants them all",
                    n_missing);
  if (gate && worst < least)
    return mtk_fail(err, MTK_E_CHECK, other, "a rate fell to %.3f of it, --tolerance allows %.3f",
                    worst, least);
  return MTK_OK;
}

static void print_missing(const json_t *runs, const char *where) {
  const json_t *r;
  size_t i;
  json_array_foreach(runs, i, r) {
    for (int k = 0; k < KEYS; k++)
      mtk_cmd_print("%*.0f%s", (const int[KEYS]){7, 9, 8, 8, 9}[k], number(r, g_keys[k]),
                    k < KEYS - 1 ? " " : "");
    mtk_cmd_print(" %12s %12s   only %s\n", "-", "-", where);
  }
}

mtk_status bench_compare(json_t *doc, const json_t *other, const mtk_cmd_line *line,
                         mtk_error *err) {
  const char *path = mtk_options_string(line->options, "compare");
  json_t *rows = json_array(), *here = runs_without(doc, other), *there = runs_without(other, doc);
  const json_t *run, *batch = json_object_get(other, "batch");
  size_t i;
  bool same_batch = !batch || json_equal(batch, json_object_get(doc, "batch"));
  bool settings_equal =
      json_equal(json_object_get(doc, "settings"), json_object_get(other, "settings"));
  if (!line->json)
    mtk_cmd_print("ratios to %s (above 1: faster now)%s\n%7s %9s %8s %8s %9s %12s %12s   logits\n",
                  path, same_batch ? "" : "; --batch differs", "threads", "sequences", "depth",
                  "prompt", "generated", "prompt", "generate");
  json_array_foreach(json_object_get(doc, "runs"), i, run) {
    const json_t *was = find_run(other, key_of(run));
    if (was) json_array_append_new(rows, compare_run(run, was, settings_equal, !line->json));
  }
  if (!line->json) {
    print_missing(here, "here");
    print_missing(there, "there");
  }
  mtk_status st = judge(rows, json_array_size(here), settings_equal, line, err);
  json_object_set_new(doc, "compare",
                      json_pack("{s:o,s:b,s:o,s:o,s:o}", "with",
                                mtk_cmd_json_text(mtk_path_base(path)), "same_settings",
                                settings_equal && same_batch, "runs", rows, "only_here", here,
                                "only_there", there));
  return st;
}
