/* verify.c: mtk verify: does an artefact hold what its source holds, is that the source it was made
 * from, and does the command that made it still give the same bytes? */
#include <string.h>

#include "quantize.h"

static const mtk_option_def g_options[] = {
    {"source", 's', MTK_OPT_LIST, "SRC", NULL, 0, 0, NULL,
     "what it was made from: the model first, then other files (adapters, calibration texts)"},
    {"calibration", 0, MTK_OPT_LIST, "FILE", NULL, 0, 0, NULL, "the same as a further --source"},
    {"no-repeat", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "compare values only; do not run the recorded command again to compare bytes"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static bool has_digest(json_t *sources, const char *sha256) {
  size_t i;
  json_t *item;
  json_array_foreach(sources, i, item) {
    const char *other = json_string_value(json_object_get(item, "sha256"));
    if (other && !strcmp(other, sha256)) return true;
  }
  return false;
}

/* The digests of the files that the caller named, in the form of the provenance. */
static mtk_status digest(json_t **out, const char *const *sources, int n, mtk_error *err) {
  mtk_bytes text = {0};
  mtk_status st = mtk_provenance_json(&text, "verify", 0, NULL, sources, n, err);
  if (st == MTK_OK) {
    *out = json_loadb(text.data, text.len, 0, NULL);
    if (!*out) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  mtk_bytes_finish(&text);
  return st;
}

/* Was the model changed before it was quantized? */
static bool is_changed(const json_t *args) {
  size_t i;
  json_t *arg;
  json_array_foreach(args, i, arg) {
    const char *text = json_string_value(arg), *value = text ? strchr(text, '=') : NULL;
    bool changes = value && (!strncmp(text, "--equalize=", 11) || !strncmp(text, "--rotate=", 9));
    if (changes && strcmp(value, "=none") != 0) return true;
  }
  return false;
}

/* All that is known at the end. */
typedef struct outcome {
  /* {name: whether a source has its digest}, or null where the artefact names no sources */
  json_t *digests;
  const char *missing; /* the first that none has, in digests */
  mtk_compare_report values;
  bool changed;        /* the source was, before it was quantized: values are not comparable */
  const char *why_not; /* static: the command was not repeated */
  mtk_status repeated; /* MTK_OK: it gives the same bytes; MTK_E_CHECK: see difference */
  mtk_error difference;
} outcome;

/* What its provenance tells of the artefact, beside the sources given. */
static mtk_status check_sources(outcome *o, const mtk_model *artefact, const char *const *sources,
                                int n, mtk_error *err) {
  size_t len = 0, i;
  json_t *item, *given = NULL, *made = NULL;
  const char *text = mtk_model_attachment(artefact, "provenance.json", &len);
  o->digests = json_null();
  if (!text) return MTK_OK;
  if (!(made = json_loadb(text, len, 0, NULL)))
    return mtk_fail(err, MTK_E_FORMAT, "provenance", "is not JSON");
  mtk_status st = digest(&given, sources, n, err);
  json_t *files = json_object_get(made, "sources"), *list = json_object_get(given, "sources");
  if (st == MTK_OK) o->digests = json_object();
  o->changed = is_changed(json_object_get(made, "args"));
  json_array_foreach(st == MTK_OK ? files : NULL, i, item) {
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *sha256 = json_string_value(json_object_get(item, "sha256"));
    if (!name || !sha256) continue;
    bool found = has_digest(list, sha256);
    json_object_set_new(o->digests, name, json_boolean(found));
    if (!found && !o->missing)
      o->missing = json_object_iter_key(json_object_iter_at(o->digests, name));
  }
  json_decref(given);
  json_decref(made);
  return st;
}

static mtk_status report_json(const mtk_cmd_line *line, const char *source, const outcome *o,
                              mtk_error *err) {
  json_t *rows = json_array();
  for (size_t i = 0; i < o->values.n_rows; i++) {
    const mtk_compare_row *r = &o->values.rows[i];
    json_t *row = json_pack("{s:s,s:s,s:s}", "name", r->name, "from", mtk_dtype_get(r->from)->name,
                            "to", mtk_dtype_get(r->to)->name);
    mtk_cmd_compare_row_json(row, r);
    json_array_append_new(rows, row);
  }
  json_t *verification = mtk_cmd_compare_json(&o->values);
  json_object_set_new(verification, "comparable", json_boolean(!o->changed));
  json_t *same = o->why_not ? json_null() : json_boolean(o->repeated == MTK_OK);
  json_t *doc =
      json_pack("{s:s,s:s,s:O,s:o,s:o,s:s,s:o}", "artefact", line->args[0], "source", source,
                "source_files", o->digests, "verification", verification, "same_bytes", same,
                "difference", o->repeated == MTK_OK ? "" : o->difference.message, "tensors", rows);
  return mtk_cmd_print_json(doc, false, err);
}

static mtk_status report(const mtk_cmd_line *line, const char *source, const outcome *o,
                         mtk_error *err) {
  if (line->json) return report_json(line, source, o, err);
  mtk_cmd_print("%s beside %s\n", line->args[0], source);
  if (json_is_null(o->digests))
    mtk_cmd_print("  it does not say what it was made from: digests not checked\n");
  else
    mtk_cmd_print("  made from %zu files, digests compared\n", json_object_size(o->digests));
  if (o->changed)
    mtk_cmd_print(
        "  --equalize or --rotate changed the weights first: their values are not those of "
        "the source\n  looked at for missing, damaged and lost parts: %zu tensors, %zu "
        "faults\n",
        o->values.n_rows, o->values.n_faults);
  else
    mtk_cmd_compare_print(&o->values);
  if (o->why_not) mtk_cmd_print("  bytes not compared: %s\n", o->why_not);
  else if (o->repeated == MTK_OK)
    mtk_cmd_print("  the recorded command, run again, gives the same bytes\n");
  return MTK_OK;
}

/* Run the recorded command again, unless there is something wrong already. */
static mtk_status repeat(outcome *o, const mtk_cmd_line *line, const mtk_model *artefact,
                         const char *const *sources, int n, mtk_error *err) {
  size_t len = 0;
  mtk_cmd_repeat r = {.artefact = line->args[0],
                      .provenance = mtk_model_attachment(artefact, "provenance.json", &len),
                      .threads = mtk_options_string(line->options, "threads"),
                      .sources = sources,
                      .n_sources = n};
  o->why_not = !r.provenance                                   ? "it does not say how it was made"
               : mtk_options_flag(line->options, "no-repeat") ? "--no-repeat"
               : o->missing                                    ? "it was made from another source"
               : o->values.n_faults                            ? "its values are wrong"
                                                               : NULL;
  if (o->why_not) return MTK_OK;
  char *text = mtk_strndup(r.provenance, len);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  r.provenance = text;
  o->repeated = mtk_cmd_verify_repeat(&o->why_not, &r, &o->difference);
  mtk_free(text);
  if (o->repeated == MTK_OK || o->repeated == MTK_E_CHECK) return MTK_OK;
  if (err) *err = o->difference;
  return o->repeated;
}

static mtk_status judge(const outcome *o, const mtk_cmd_line *line, const char *source,
                        mtk_error *err) {
  if (o->missing)
    return mtk_fail(err, MTK_E_CHECK, line->args[0],
                    "was made from another %s than those in %s (its SHA-256 differs)", o->missing,
                    source);
  MTK_TRY(mtk_cmd_compare_verdict(&o->values, MTK_E_CHECK, line->args[0], err));
  if (o->repeated != MTK_OK && err) *err = o->difference;
  return o->repeated;
}

static mtk_status verify(const mtk_cmd_line *line, const char *const *sources, int n,
                         mtk_error *err) {
  mtk_pool *pool = NULL;
  mtk_model *artefact = NULL, *source = NULL;
  outcome o = {0};
  mtk_status st = mtk_cmd_pool(&pool, line, err);
  if (st == MTK_OK) st = mtk_model_load(&artefact, line->args[0], err);
  if (st == MTK_OK) st = mtk_model_load(&source, sources[0], err);
  if (st == MTK_OK) st = check_sources(&o, artefact, sources, n, err);
  if (st == MTK_OK) st = mtk_model_compare(&o.values, artefact, source, pool, err);
  mtk_model_destroy(source);
  if (st == MTK_OK) st = repeat(&o, line, artefact, sources, n, err);
  if (st == MTK_OK) st = report(line, sources[0], &o, err);
  if (st == MTK_OK) st = judge(&o, line, sources[0], err);
  mtk_compare_report_finish(&o.values);
  json_decref(o.digests);
  mtk_model_destroy(artefact);
  mtk_pool_destroy(pool);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  const char *const *given = NULL, *const *texts = NULL;
  size_t n = mtk_options_list(line->options, "source", &given);
  size_t n_texts = mtk_options_list(line->options, "calibration", &texts);
  if (n == 0) return mtk_fail(err, MTK_E_INVALID, NULL, "give --source SRC");
  const char **sources = mtk_alloc(n + n_texts, sizeof *sources);
  if (!sources) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n + n_texts; i++) sources[i] = i < n ? given[i] : texts[i - n];
  mtk_status st = verify(line, sources, (int)(n + n_texts), err);
  mtk_free((void *)sources);
  return st;
}

const mtk_cmd mtk_cmd_verify = {"verify",
                                "ARTEFACT --source SRC",
                                "compare a model with what it was made from, and make it again",
                                g_options,
                                NULL,
                                1,
                                1,
                                run};
