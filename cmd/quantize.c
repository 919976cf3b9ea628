/* quantize.c: mtk quantize: write a model with its linear weights in a smaller storage type. */
#include "quantize.h"

#include <string.h>

static const mtk_option_def g_options[] = {
    {"to", 0, MTK_OPT_STRING, "TYPE", NULL, 0, 0, NULL,
     "target: nvfp4, mxfp8, q4_k, q4_k_m, ... (--list shows all)"},
    {"method", 0, MTK_OPT_STRING, "M", "rtn", 0, 0, NULL, "quantizer"},
    {"layout", 0, MTK_OPT_STRING, "LAYOUT", NULL, 0, 0, NULL,
     "gguf, or of a folder: compressed-tensors, modelopt, deepseek; default: by DST's name"},
    {"keep", 0, MTK_OPT_LIST, "PART", NULL, 0, 0, NULL, "leave tensors whose name contains PART"},
    {"embeddings", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "also quantize embedding and output head"},
    {"requantize", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "also tensors that are quantized already (errors add up)"},
    MTK_CMD_CALIBRATION_OPTIONS,
    MTK_CMD_PLAN_OPTIONS,
    MTK_CMD_TRANSFORM_OPTIONS,
    MTK_CMD_ACT_OPTIONS,
    {"imatrix", 0, MTK_OPT_STRING, "FILE", NULL, 0, 0, NULL,
     "importances made by llama.cpp or --imatrix-out, instead of --calibration"},
    {"imatrix-out", 0, MTK_OPT_STRING, "FILE", NULL, 0, 0, NULL,
     "write the importances that --calibration gives, as GGUF for llama-quantize"},
    {"force", 'f', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "overwrite DST"},
    MTK_CMD_RESUME_OPTION,
    {"dry-run", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "print the types, sizes, estimates and what it will run as; write nothing but --plan-out"},
    {"no-verify", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "do not compare DST with SRC when it is written"},
    {"report", 0, MTK_OPT_PATH, "DIR", NULL, 0, 0, NULL,
     "write a report for reading: report.md, report.json and plots"},
    {"list", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "list methods and targets"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static const char *const g_reasons[] = {"",
                                        "not a linear weight",
                                        "embedding or head",
                                        "kept (--keep)",
                                        "row length no multiple of the block",
                                        "already quantized"};

static const mtk_option_def *extra_options(int argc, const char *const *argv) {
  const mtk_quantizer_v1 *q = mtk_quantizer_find(mtk_cmd_peek(argc, argv, "method", "rtn"));
  return mtk_cmd_format_options(q ? q->options : NULL);
}

static mtk_status list_targets(const mtk_cmd_line *line, mtk_error *err) {
  json_t *list = json_array();
  const mtk_quantizer_v1 *q;
  for (size_t i = 0; (q = mtk_feature_at(MTK_EXT_QUANTIZER, i, NULL)); i++) {
    for (const mtk_quant_target *t = q->targets; t->name; t++) {
      json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "method", q->method, "target", t->name,
                                            "help", t->help ? t->help : ""));
      if (!line->json) mtk_cmd_print("%-6s %-10s %s\n", q->method, t->name, t->help ? t->help : "");
    }
  }
  if (line->json) return mtk_cmd_print_json(list, false, err);
  json_decref(list);
  return MTK_OK;
}

static mtk_status pick_target(mtk_quantize_options *o, const mtk_cmd_line *line, mtk_error *err) {
  const char *method = mtk_options_string(line->options, "method");
  const char *to = mtk_options_string(line->options, "to");
  o->quantizer = mtk_quantizer_find(method);
  if (!o->quantizer)
    return mtk_fail(err, MTK_E_INVALID, NULL, "no method '%s'; 'mtk quantize --list' shows them",
                    method);
  if (o->quantizer->needs & MTK_QUANT_NEEDS_SECOND_MOMENT)
    o->lookup_quantizer = mtk_quantizer_find("rtn");
  if (mtk_cmd_plan_asked(line) && !to) return MTK_OK;
  if (!to)
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "give --to TYPE ('mtk quantize --list' shows them) or --target-bits BITS");
  if (mtk_cmd_plan_asked(line))
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "--to names one type for all; with a budget or a plan give --candidates");
  o->target = mtk_cmd_find_target(o->quantizer, to);
  if (!o->target)
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "method %s has no target '%s'; 'mtk quantize --list' shows them", method, to);
  return MTK_OK;
}

static mtk_status output_format(const mtk_format_v1 **out, const mtk_cmd_line *line,
                                mtk_error *err) {
  const char *layout = mtk_options_string(line->options, "layout");
  static const char *const of_folders[] = {"compressed-tensors", "modelopt", "deepseek"};
  *out = layout ? mtk_format_find(layout) : mtk_format_for_output(line->args[1]);
  for (size_t i = 0; layout && i < sizeof of_folders / sizeof of_folders[0]; i++)
    if (!strcmp(layout, of_folders[i])) *out = mtk_format_find("hf");
  if (*out) return MTK_OK;
  return mtk_fail(err, MTK_E_INVALID, NULL,
                  "no layout '%s': use gguf, compressed-tensors, modelopt or deepseek",
                  layout ? layout : line->args[1]);
}

static json_t *rows_json(const mtk_quantize_report *r, const mtk_compare_report *verified) {
  json_t *rows = json_array();
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_quantize_row *q = &r->rows[i];
    json_t *row = json_pack("{s:s,s:s,s:s,s:I,s:I,s:s}", "name", q->name, "from",
                            mtk_dtype_get(q->from)->name, "to", mtk_dtype_get(q->to)->name,
                            "bytes_before", (json_int_t)q->bytes_before, "bytes_after",
                            (json_int_t)q->bytes_after, "kept", g_reasons[q->reason]);
    if (i < verified->n_rows) mtk_cmd_compare_row_json(row, &verified->rows[i]);
    json_array_append_new(rows, row);
  }
  return rows;
}

/* All that is known when it is done. */
typedef struct outcome {
  const mtk_quantize_report *rows;
  const mtk_compare_report *verified; /* without rows if nothing was compared */
  const mtk_format_v1 *format;
  const mtk_cmd_plan *plan; /* may be NULL */
  const mtk_cmd_estimate *estimate; /* of a dry run, else NULL */
  uint64_t before, after, written; /* bytes of tensors, of the output */
  double bits, seconds;            /* bits per weight */
} outcome;

static outcome sum_up(const mtk_cmd_line *line, const mtk_quantize_report *r,
                      const mtk_model *model) {
  outcome o = {.rows = r};
  uint64_t params = mtk_model_param_count(model);
  for (size_t i = 0; i < r->n_rows; i++) {
    o.before += r->rows[i].bytes_before;
    o.after += r->rows[i].bytes_after;
  }
  o.bits = params ? 8.0 * (double)o.after / (double)params : 0;
  if (!mtk_options_flag(line->options, "dry-run"))
    o.written = mtk_cmd_output_bytes(line->args[1]);
  return o;
}

static json_t *outcome_json(const mtk_cmd_line *line, const outcome *o, const mtk_model *model) {
  bool dry = mtk_options_flag(line->options, "dry-run");
  return json_pack("{s:s,s:s,s:s,s:b,s:I,s:I,s:I,s:f,s:I,s:f,s:I,s:o,s:o,s:o,s:o,s:o}", "source",
                   line->args[0], "output", line->args[1], "format", o->format->id, "dry_run", dry,
                   "bytes_before", (json_int_t)o->before, "bytes_after", (json_int_t)o->after,
                   "output_bytes", (json_int_t)o->written, "bits_per_weight", o->bits, "quantized",
                   (json_int_t)o->rows->n_quantized, "seconds", o->seconds, "peak_rss_bytes",
                   (json_int_t)mtk_peak_rss_bytes(), "warnings", mtk_cmd_warnings_json(model),
                   "estimate", o->estimate ? mtk_cmd_estimate_json(o->estimate) : json_null(),
                   "plan", o->plan ? mtk_cmd_plan_json(o->plan) : json_null(), "verification",
                   o->verified->rows ? mtk_cmd_compare_json(o->verified) : json_null(), "tensors",
                   rows_json(o->rows, o->verified));
}

static mtk_status report(const mtk_cmd_line *line, const outcome *o, const mtk_model *model,
                         mtk_error *err) {
  const char *dir = mtk_options_string(line->options, "report");
  const mtk_quantize_report *r = o->rows;
  bool dry = mtk_options_flag(line->options, "dry-run");
  json_t *doc = dir || line->json ? outcome_json(line, o, model) : NULL;
  mtk_status st = dir ? mtk_cmd_quantize_report(dir, line, doc, r, o->verified, err) : MTK_OK;
  if (line->json && st == MTK_OK) return mtk_cmd_print_json(doc, false, err);
  json_decref(doc);
  if (st != MTK_OK) return st;
  for (size_t i = 0; i < r->n_rows && (dry || line->verbose); i++) {
    const mtk_quantize_row *q = &r->rows[i];
    mtk_cmd_print("  %-34s %s -> %-8s %10s -> %-10s %s\n", q->name, mtk_dtype_get(q->from)->name,
                  mtk_dtype_get(q->to)->name, mtk_cmd_bytes(q->bytes_before),
                  mtk_cmd_bytes(q->bytes_after), g_reasons[q->reason]);
  }
  mtk_cmd_print(
      "%s -> %s (%s%s): %zu of %zu tensors to %s, %s -> %s, %.3f bits per weight, %s%s, %.1f s\n",
      line->args[0], line->args[1], o->format->id, dry ? ", dry run" : "", r->n_quantized,
      r->n_rows, mtk_cmd_target_name(line), mtk_cmd_bytes(o->before),
      mtk_cmd_bytes(o->after), o->bits, dry ? "nothing" : mtk_cmd_bytes(o->written), " written",
      o->seconds);
  if (o->verified->rows) mtk_cmd_compare_print(o->verified);
  if (o->estimate) mtk_cmd_estimate_print(o->estimate);
  return MTK_OK;
}

/* What is known of the inputs of the weights; lives until the model is written. */
typedef struct inputs {
  mtk_cmd_calibration *calibration;
  mtk_cmd_imatrix *imatrix;
  mtk_cmd_plan *plan; /* NULL: one type for all */
  mtk_model *changed; /* the source as it is after --equalize and --rotate; NULL: as it was */
  mtk_model *loaded;  /* the source again: that one, or to be compared with */
  const mtk_format_v1 *format;
  mtk_cmd_outputs outputs;
} inputs;

/* What the digests in the provenance are of: the model, importances, calibration texts. */
static mtk_status begin_outputs(inputs *in, const mtk_cmd_line *line, const mtk_pool *pool,
                                mtk_error *err) {
  const char *const *texts = NULL, *imatrix = mtk_options_string(line->options, "imatrix");
  size_t n_texts = mtk_options_list(line->options, "calibration", &texts);
  const char *plan = mtk_options_string(line->options, "plan");
  const char **sources = mtk_alloc(n_texts + 3, sizeof *sources);
  int n = 0;
  if (!sources) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  sources[n++] = line->args[0];
  if (imatrix) sources[n++] = imatrix;
  if (plan) sources[n++] = plan;
  for (size_t i = 0; i < n_texts; i++) sources[n++] = texts[i];
  mtk_status st = mtk_cmd_outputs_begin(&in->outputs, sources, n, pool, err);
  mtk_free((void *)sources);
  return st;
}

static mtk_status open_inputs(inputs *in, const mtk_model *model, mtk_quantize_options *o,
                              const mtk_cmd_line *line, mtk_error *err) {
  const char *imatrix = mtk_options_string(line->options, "imatrix");
  unsigned needs = o->quantizer->needs;
  const char *moments = needs & MTK_QUANT_NEEDS_SECOND_MOMENT ? "" : " or --imatrix FILE";
  bool dry = mtk_options_flag(line->options, "dry-run");
  MTK_TRY(mtk_cmd_act_check(line, o, imatrix, err));
  MTK_TRY(mtk_cmd_calibration_open(&in->calibration, line, line->args[0], o->pool, err));
  if (imatrix && in->calibration)
    return mtk_fail(err, MTK_E_INVALID, NULL, "give --calibration or --imatrix, not both");
  if (needs && !in->calibration && !dry && !(imatrix && *moments))
    return mtk_fail(err, MTK_E_INVALID, NULL, "method %s needs --calibration FILE%s",
                    o->quantizer->method, moments);
  if (mtk_options_is_set(line->options, "imatrix-out") && !in->calibration)
    return mtk_fail(err, MTK_E_INVALID, NULL, "--imatrix-out needs --calibration FILE");
  if (imatrix && mtk_cmd_transforms(line))
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "--equalize and --rotate change what --imatrix was made from: give "
                    "--calibration");
  if (!imatrix) return MTK_OK;
  o->stats = mtk_cmd_imatrix_stats;
  MTK_TRY(mtk_cmd_imatrix_open(&in->imatrix, imatrix, model, err));
  o->stats_ctx = in->imatrix;
  return MTK_OK;
}

/* --equalize and --rotate. */
static mtk_status transform(inputs *in, mtk_model *model, mtk_quantize_options *o,
                            const mtk_cmd_line *line, mtk_error *err) {
  if (!mtk_cmd_transforms(line) || mtk_options_flag(line->options, "dry-run")) return MTK_OK;
  if (in->calibration) in->changed = mtk_cmd_calibration_model(in->calibration);
  else MTK_TRY(mtk_model_load(&in->loaded, line->args[0], err));
  if (in->loaded) in->changed = in->loaded;
  return mtk_cmd_transform(model, in->changed, in->calibration, o, line, err);
}

/* Quantize by what the method needs: nothing, importances, or second moments stage by stage. */
static mtk_status quantize(mtk_quantize_report *r, inputs *in, mtk_model *model,
                           mtk_quantize_options *o, const mtk_cmd_line *line, mtk_error *err) {
  bool dry = mtk_options_flag(line->options, "dry-run");
  bool moments = o->quantizer->needs & MTK_QUANT_NEEDS_SECOND_MOMENT;
  const char *out = mtk_options_string(line->options, "imatrix-out");
  MTK_TRY(open_inputs(in, model, o, line, err));
  MTK_TRY(mtk_cmd_plan_open(&in->plan, model, o, line, in->format, in->calibration, err));
  MTK_TRY(transform(in, model, o, line, err));
  mtk_cmd_calibration *c = dry ? NULL : in->calibration;
  if (c && !moments) {
    MTK_TRY(mtk_cmd_calibration_run(c, err));
    o->stats = mtk_cmd_calibration_stats;
    o->stats_ctx = c;
  }
  MTK_TRY(mtk_model_quantize(model, o, r, err));
  MTK_TRY(mtk_cmd_plan_check(in->plan, r, err));
  if (!r->n_quantized)
    return mtk_fail(err, MTK_E_INVALID, line->args[0],
                    "no tensor can be quantized to %s: already quantized (--requantize allows it) "
                    "or no row length fits",
                    o->target ? o->target->name : "the types of the plan");
  MTK_TRY(mtk_cmd_keeps_tensors(in->format, model, r, err));
  if (!dry) MTK_TRY(mtk_cmd_outputs_open(&in->outputs, line, in->format, line->args[1], err));
  mtk_model_set_outputs(model, in->outputs.outputs);
  if (c && moments) MTK_TRY(mtk_cmd_calibration_encode(c, model, r, err));
  if (!dry) MTK_TRY(mtk_cmd_correct_biases(model, c, r, line, err));
  if (!dry) MTK_TRY(mtk_cmd_act_apply(model, r, c, line, err));
  return c && out ? mtk_cmd_imatrix_write(out, line, c, r, err) : MTK_OK;
}

static mtk_status refuse_existing(const char *path, bool unless, mtk_error *err) {
  if (!path || unless || !mtk_path_exists(path)) return MTK_OK;
  return mtk_fail(err, MTK_E_EXISTS, path, "exists; --force overwrites it");
}

bool mtk_cmd_replaces(const mtk_cmd_line *line) {
  return mtk_options_flag(line->options, "force") || mtk_options_flag(line->options, "resume");
}

/* What can be refused before anything is read. */
static mtk_status check_outputs(const mtk_cmd_line *line, mtk_error *err) {
  const mtk_option_values *o = line->options;
  bool dry = mtk_options_flag(o, "dry-run"), force = mtk_options_flag(o, "force");
  bool verify = !dry && !mtk_options_flag(o, "no-verify");
  bool replace = mtk_cmd_replaces(line);
  const char *dir = mtk_options_string(o, "report");
  if (dir && !verify)
    return mtk_fail(err, MTK_E_INVALID, NULL, "--report needs the comparison that --%s leaves out",
                    dry ? "dry-run" : "no-verify");
  MTK_TRY(refuse_existing(dir, force, err));
  MTK_TRY(refuse_existing(line->args[1], force || dry, err));
  MTK_TRY(refuse_existing(mtk_options_string(o, "plan-out"), replace, err));
  return refuse_existing(mtk_options_string(o, "imatrix-out"), replace || dry, err);
}

/* DST beside the source as it was quantized. */
static mtk_status compare(mtk_compare_report *out, const mtk_cmd_line *line, inputs *in,
                          mtk_pool *pool, mtk_error *err) {
  if (!in->changed) MTK_TRY(mtk_model_load(&in->loaded, line->args[0], err));
  mtk_model *source = in->changed ? in->changed : in->loaded;
  return mtk_cmd_compare(out, line->args[1], source, pool, err);
}

static mtk_status verify_and_report(const mtk_cmd_line *line, const mtk_quantize_report *r,
                                    const mtk_model *model, inputs *in, double start,
                                    const mtk_quantize_options *q, mtk_error *err) {
  mtk_compare_report verified = {0};
  mtk_cmd_estimate estimate = {0};
  mtk_status st = MTK_OK;
  if (q->sizes_only)
    st = mtk_cmd_estimate_make(&estimate, model, r, q, line, in->format->id, err);
  else if (!mtk_options_flag(line->options, "no-verify"))
    st = compare(&verified, line, in, q->pool, err);
  if (st == MTK_OK) {
    outcome result = sum_up(line, r, model);
    result.verified = &verified;
    result.format = in->format;
    result.plan = in->plan;
    result.estimate = q->sizes_only ? &estimate : NULL;
    result.seconds = mtk_now_s() - start;
    st = report(line, &result, model, err);
  }
  if (verified.n_faults) {
    st = mtk_cmd_compare_verdict(&verified, MTK_E_FORMAT, line->args[1], err);
    st = mtk_cmd_output_set_aside(line->args[1], st, err);
  }
  mtk_compare_report_finish(&verified);
  return st;
}

mtk_status mtk_cmd_quantize_run(const mtk_cmd_line *line, const char *repeats, mtk_error *err) {
  double start = mtk_now_s();
  mtk_quantize_options o = {.struct_size = sizeof o,
                            .options = line->options,
                            .embeddings = mtk_options_flag(line->options, "embeddings"),
                            .requantize = mtk_options_flag(line->options, "requantize")};
  o.n_keep = (int)mtk_options_list(line->options, "keep", &o.keep);
  inputs in = {.outputs.repeats = repeats};
  MTK_TRY(pick_target(&o, line, err));
  MTK_TRY(output_format(&in.format, line, err));
  if (o.target) MTK_TRY(mtk_cmd_keeps_target(in.format, o.quantizer, o.target, line, err));
  mtk_model *model = NULL;
  mtk_quantize_report r = {0};
  bool dry = o.sizes_only = mtk_options_flag(line->options, "dry-run");
  mtk_status st = mtk_cmd_pool(&o.pool, line, err);
  if (st == MTK_OK) st = mtk_model_load(&model, line->args[0], err);
  if (st == MTK_OK) st = mtk_cmd_outputs_rename(&in.outputs, model, err);
  if (st == MTK_OK && !dry) st = begin_outputs(&in, line, o.pool, err);
  if (st == MTK_OK) st = quantize(&r, &in, model, &o, line, err);
  if (st == MTK_OK && !dry)
    st = mtk_cmd_write_outputs(model, line, in.format, line->args[1], &in.outputs, err);
  st = mtk_cmd_outputs_close(&in.outputs, st, err);
  if (st == MTK_OK && !repeats)
    st = verify_and_report(line, &r, model, &in, start, &o, err);
  if (st == MTK_OK && !repeats && !dry) st = mtk_cmd_plan_fits(line, err);
  mtk_free(r.rows);
  mtk_model_destroy(model);
  mtk_model_destroy(in.loaded);
  mtk_cmd_calibration_close(in.calibration);
  mtk_cmd_imatrix_close(in.imatrix);
  mtk_cmd_plan_close(in.plan);
  mtk_pool_destroy(o.pool);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  if (mtk_options_flag(line->options, "list")) return list_targets(line, err);
  if (line->n_args < 2)
    return mtk_fail(err, MTK_E_INVALID, NULL, "needs SRC and DST; 'mtk quantize --help' explains");
  MTK_TRY(check_outputs(line, err));
  return mtk_cmd_quantize_run(line, NULL, err);
}

const mtk_cmd mtk_cmd_quantize = {"quantize",
                                  "SRC DST --to TYPE | --target-bits B [--method M] [--layout L]",
                                  "quantize a model's weights",
                                  g_options,
                                  extra_options,
                                  0,
                                  2,
                                  run};
