/* convert.c: mtk convert: read any known format, write another; merge an adapter on the way. */
#include "cmd.h"

#include <mtk/quantize.h>
#include <stdio.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"to", 0, MTK_OPT_STRING, "FORMAT", NULL, 0, 0, NULL, "output format (default: by DST's name)"},
    {"recast", 0, MTK_OPT_ENUM, "TYPE", NULL, 0, 0, "nvfp4",
     "mxfp4 weights in this type, with the same values; refused where it is not exact"},
    {"dtype", 0, MTK_OPT_ENUM, "T", "keep", 0, 0, "keep|f32|f16|bf16", "storage type of matrices"},
    {"adapter", 0, MTK_OPT_PATH, "DIR", NULL, 0, 0, NULL,
     "merge this LoRA adapter into the weights"},
    {"tokenizer", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "the model's tokenizer is the one of FILE (tokenizer.bin, *.model, tekken.json, a model)"},
    {"base", 0, MTK_OPT_PATH, "MODEL", NULL, 0, 0, NULL, "SRC is an adapter of this model"},
    {"force", 'f', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "overwrite DST"},
    MTK_CMD_RESUME_OPTION,
    {"dry-run", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "say what would be written"},
    {"list", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "list the formats and what they can do"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

/* Static memory: `first` (may be NULL), then the options of all formats; a name's first row
 * counts. Which of them the output's format has is checked when it is known. */
const mtk_option_def *mtk_cmd_format_options(const mtk_option_def *first) {
  enum { ROOM = 64 };
  static mtk_option_def table[ROOM + 1];
  size_t n = 0;
  memset(table, 0, sizeof table);
  for (; first && first->name && n < ROOM; first++) table[n++] = *first;
  const mtk_format_v1 *f;
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, NULL)); i++)
    for (const mtk_option_def *o = f->options; o && o->name && n < ROOM; o++)
      if (!mtk_cmd_has_option(table, o->name)) table[n++] = *o;
  return table;
}

static const mtk_option_def *extra_options(int argc, const char *const *argv) {
  (void)argc, (void)argv;
  return mtk_cmd_format_options(NULL);
}

static json_t *format_json(const mtk_format_v1 *f, const char *plugin) {
  json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:b}", "id", f->id, "title", f->title,
                        "plugin", plugin, "extensions", f->extensions, "reads",
                        f->read_model != NULL, "writes", f->write_model != NULL, "reads_adapters",
                        f->read_adapter != NULL, "writes_adapters", f->write_adapter != NULL);
  json_t *options = json_array();
  for (const mtk_option_def *d = f->options; d && d->name; d++)
    json_array_append_new(options, json_string(d->name));
  if (o) json_object_set_new(o, "options", options);
  return o;
}

static const char *access_text(bool reads, bool writes) {
  return reads ? writes ? "read, write" : "read" : writes ? "write" : "-";
}

static mtk_status list_formats(const mtk_cmd_line *line, mtk_error *err) {
  json_t *list = json_array();
  const mtk_plugin_info *from;
  const mtk_format_v1 *f;
  if (!line->json)
    mtk_cmd_print("%-10s %-12s %-12s %-30s %s\n", "FORMAT", "MODELS", "ADAPTERS", "NAMES",
                  "WHAT IT IS");
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, &from)); i++) {
    json_array_append_new(list, format_json(f, from->name));
    if (line->json) continue;
    bool folder = f->flags & MTK_FORMAT_FOLDER;
    char names[32];
    snprintf(names, sizeof names, "%s%s%s", folder ? "folder" : "",
             folder && f->extensions[0] ? " " : "", f->extensions);
    mtk_cmd_print("%-10s %-12s %-12s %-30s %s\n", f->id, access_text(f->read_model, f->write_model),
                  access_text(f->read_adapter, f->write_adapter), names, f->title);
  }
  if (line->json) return mtk_cmd_print_json(list, false, err);
  json_decref(list);
  return MTK_OK;
}

/* "gguf, hf, npz" */
static void list_writable(mtk_bytes *out) {
  const mtk_format_v1 *f;
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, NULL)); i++)
    if (f->write_model) mtk_bytes_printf(out, "%s%s", out->len ? ", " : "", f->id);
}

mtk_status mtk_cmd_output_format(const mtk_format_v1 **out, const mtk_cmd_line *line,
                                 const char *dst, mtk_error *err) {
  const char *to = mtk_options_string(line->options, "to");
  *out = to ? mtk_format_find(to) : mtk_format_for_output(dst);
  if (*out) return MTK_OK;
  mtk_bytes formats = {.max = 300};
  list_writable(&formats);
  mtk_status st = to ? mtk_fail(err, MTK_E_INVALID, NULL, "no format '%s': --to takes one of %s",
                                to, formats.data ? formats.data : "")
                     : mtk_fail(err, MTK_E_INVALID, dst,
                                "the name does not tell the output format: give --to (one of %s)",
                                formats.data ? formats.data : "");
  mtk_bytes_finish(&formats);
  return st;
}

void mtk_cmd_print_warnings(const mtk_model *model) {
  for (size_t i = 0; i < mtk_model_warning_count(model); i++)
    mtk_log(MTK_LOG_WARN, "%s", mtk_model_warning(model, i));
}

static mtk_status copy_option(mtk_option_values *to, const mtk_option_values *from,
                              const mtk_option_def *o, mtk_error *err) {
  const char *const *items = NULL;
  if (o->type == MTK_OPT_FLAG) return mtk_options_set(to, o->name, NULL, err);
  if (o->type != MTK_OPT_LIST)
    return mtk_options_set(to, o->name, mtk_options_string(from, o->name), err);
  size_t n = mtk_options_list(from, o->name, &items);
  for (size_t i = 0; i < n; i++) MTK_TRY(mtk_options_set(to, o->name, items[i], err));
  return MTK_OK;
}

/* The values of the command line for a format's own table; *out may be NULL. */
static mtk_status format_options(mtk_option_values **out, const mtk_format_v1 *format,
                                 const mtk_cmd_line *line, mtk_error *err) {
  *out = format->options ? mtk_options_create(format->options) : NULL;
  if (format->options && !*out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (const mtk_option_def *o = mtk_cmd_format_options(NULL); o->name; o++) {
    if (!mtk_options_is_set(line->options, o->name)) continue;
    /* --layout gguf names the format itself */
    const char *text = mtk_options_string(line->options, o->name);
    if (!strcmp(o->name, "layout") && text && !strcmp(text, format->id)) continue;
    if (!mtk_cmd_has_option(format->options, o->name))
      return mtk_fail(err, MTK_E_INVALID, NULL, "format %s has no --%s", format->id, o->name);
    MTK_TRY(copy_option(*out, line->options, o, err));
  }
  return MTK_OK;
}

json_t *mtk_cmd_warnings_json(const mtk_model *model) {
  json_t *list = json_array();
  for (size_t i = 0; i < mtk_model_warning_count(model); i++)
    json_array_append_new(list, json_string(mtk_model_warning(model, i)));
  return list;
}

mtk_status mtk_cmd_write_outputs(mtk_model *model, const mtk_cmd_line *line,
                                 const mtk_format_v1 *format, const char *dst,
                                 const mtk_cmd_outputs *outputs, mtk_error *err) {
  if (!format->write_model)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "format %s cannot be written", format->id);
  mtk_write_options opt = {.struct_size = sizeof opt,
                           .force = mtk_options_flag(line->options, "force"),
                           .provenance = outputs->provenance,
                           .outputs = outputs->outputs};
  mtk_option_values *values = NULL;
  mtk_status st = format_options(&values, format, line, err);
  opt.options = values;
  if (st == MTK_OK) st = format->write_model(model, dst, &opt, err);
  mtk_options_destroy(values);
  if (!outputs->repeats) mtk_cmd_print_warnings(model);
  return st;
}

/* Stored tensor bytes, and what the model would take in the output. */
uint64_t mtk_cmd_model_bytes(const mtk_model *m) {
  uint64_t n = 0;
  for (size_t i = 0; i < mtk_model_tensor_count(m); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(m, i);
    n += t->size_bytes + 4u * (uint64_t)mtk_tensor_scale_count(t);
  }
  return n;
}

static mtk_status convert_adapter(const mtk_cmd_line *line, mtk_error *err) {
  const mtk_format_v1 *format = NULL;
  MTK_TRY(mtk_cmd_output_format(&format, line, line->args[1], err));
  if (!format->write_adapter)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "format %s cannot hold adapters", format->id);
  mtk_model *base = NULL;
  mtk_adapter *adapter = NULL;
  mtk_bytes provenance = {0};
  mtk_status st = mtk_model_load(&base, mtk_options_string(line->options, "base"), err);
  if (st == MTK_OK) st = mtk_adapter_load(&adapter, line->args[0], err);
  if (st == MTK_OK) st = mtk_adapter_fit(adapter, base, err);
  const char *sources[] = {line->args[0], mtk_options_string(line->options, "base")};
  if (st == MTK_OK) st = mtk_cmd_provenance(&provenance, line, sources, 2, err);
  mtk_write_options opt = {.struct_size = sizeof opt,
                           .force = mtk_options_flag(line->options, "force"),
                           .provenance = provenance.data};
  if (st == MTK_OK) st = format->write_adapter(adapter, base, line->args[1], &opt, err);
  mtk_bytes_finish(&provenance);
  mtk_adapter_destroy(adapter);
  mtk_model_destroy(base);
  return st;
}

static mtk_status set_tokenizer(mtk_model *model, const char *path, mtk_error *err) {
  mtk_model *source = NULL;
  MTK_TRY(mtk_model_load(&source, path, err));
  mtk_vocab *vocab = mtk_model_take_vocab(source);
  mtk_model_destroy(source);
  if (!vocab) return mtk_fail(err, MTK_E_FORMAT, path, "holds no tokenizer");
  mtk_model_set_vocab(model, vocab);
  return MTK_OK;
}

static mtk_status transform(mtk_model *model, mtk_adapter **adapter, const mtk_cmd_line *line,
                            mtk_error *err) {
  const char *path = mtk_options_string(line->options, "adapter");
  const char *tokenizer = mtk_options_string(line->options, "tokenizer");
  if (tokenizer) MTK_TRY(set_tokenizer(model, tokenizer, err));
  if (path) {
    MTK_TRY(mtk_adapter_load(adapter, path, err));
    MTK_TRY(mtk_adapter_fit(*adapter, model, err));
    MTK_TRY(mtk_model_merge(model, *adapter, err));
  }
  size_t n_recast = 0;
  if (mtk_options_is_set(line->options, "recast")) {
    MTK_TRY(mtk_model_recast_nvfp4(model, &n_recast, err));
    if (!n_recast)
      return mtk_fail(err, MTK_E_INVALID, "--recast", "the model has no mxfp4 weights");
  }
  const char *dtype = mtk_options_string(line->options, "dtype");
  return strcmp(dtype, "keep") != 0 ? mtk_model_cast(model, mtk_dtype_by_name(dtype), err) : MTK_OK;
}

static mtk_status report_result(const mtk_cmd_line *line, const mtk_model *model, uint64_t before,
                                const mtk_format_v1 *format, double seconds, mtk_error *err) {
  uint64_t after = mtk_cmd_model_bytes(model);
  uint64_t written =
      mtk_options_flag(line->options, "dry-run") ? 0 : mtk_cmd_output_bytes(line->args[1]);
  if (line->json)
    return mtk_cmd_print_json(
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:f,s:I,s:o}", "source", line->args[0], "output",
                  line->args[1], "format", format->id, "tensors",
                  (json_int_t)mtk_model_tensor_count(model), "bytes_before", (json_int_t)before,
                  "bytes_after", (json_int_t)after, "output_bytes", (json_int_t)written, "seconds",
                  seconds, "peak_rss_bytes", (json_int_t)mtk_peak_rss_bytes(), "warnings",
                  mtk_cmd_warnings_json(model)),
        false, err);
  mtk_cmd_print("%s -> %s (%s): %zu tensors, %s -> %s in %.1f s\n", line->args[0], line->args[1],
                format->id, mtk_model_tensor_count(model), mtk_cmd_bytes(before),
                mtk_cmd_bytes(after), seconds);
  return MTK_OK;
}

mtk_status mtk_cmd_convert_run(const mtk_cmd_line *line, const char *repeats, mtk_error *err) {
  const mtk_format_v1 *format = NULL;
  mtk_cmd_outputs outputs = {.repeats = repeats};
  double start = mtk_now_s();
  mtk_model *model = NULL;
  mtk_adapter *adapter = NULL;
  mtk_status st = mtk_cmd_output_format(&format, line, line->args[1], err);
  if (st == MTK_OK) st = mtk_model_load(&model, line->args[0], err);
  if (st == MTK_OK) st = mtk_cmd_outputs_rename(&outputs, model, err);
  uint64_t before = st == MTK_OK ? mtk_cmd_model_bytes(model) : 0;
  if (st == MTK_OK) st = transform(model, &adapter, line, err);
  static const char *const files[] = {"adapter", "tokenizer"};
  const char *sources[3] = {line->args[0]};
  int n_sources = 1;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (mtk_options_is_set(line->options, files[i]))
      sources[n_sources++] = mtk_options_string(line->options, files[i]);
  if (st == MTK_OK && !mtk_options_flag(line->options, "dry-run")) {
    st = mtk_cmd_outputs_begin(&outputs, sources, n_sources, NULL, err);
    if (st == MTK_OK) st = mtk_cmd_outputs_open(&outputs, line, format, line->args[1], err);
    if (st == MTK_OK)
      st = mtk_cmd_write_outputs(model, line, format, line->args[1], &outputs, err);
    st = mtk_cmd_outputs_close(&outputs, st, err);
  }
  if (st == MTK_OK && !repeats)
    st = report_result(line, model, before, format, mtk_now_s() - start, err);
  mtk_model_destroy(model);
  mtk_adapter_destroy(adapter);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  if (mtk_options_flag(line->options, "list")) return list_formats(line, err);
  if (line->n_args < 2)
    return mtk_fail(err, MTK_E_INVALID, NULL, "needs SRC and DST; 'mtk convert --help' explains");
  if (!mtk_path_exists(line->args[0]))
    return mtk_fail(err, MTK_E_NOT_FOUND, line->args[0], "no such file or folder");
  if (mtk_options_is_set(line->options, "base")) return convert_adapter(line, err);
  return mtk_cmd_convert_run(line, NULL, err);
}

const mtk_cmd mtk_cmd_convert = {"convert",
                                 "SRC DST [--to FORMAT] [--dtype T] [--adapter DIR | --base MODEL]",
                                 "convert between model formats",
                                 g_options,
                                 extra_options,
                                 0,
                                 2,
                                 run};
