/* verify.c: mtk verify: does an artefact hold what its source holds, and is that the source it was
 * made from? */
#include <string.h>

#include "quantize.h"

static const mtk_option_def g_options[] = {
    {"source", 's', MTK_OPT_LIST, "SRC", NULL, 0, 0, NULL,
     "what it was made from: the model first, then other files (adapters)"},
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

/* *out: {name: whether a source has its digest}, or null where the artefact names no sources.
 * *missing is the first that none has (in *out). */
static mtk_status check_sources(json_t **out, const char **missing, const mtk_model *artefact,
                                const char *const *sources, int n, mtk_error *err) {
  size_t len = 0, i;
  json_t *item, *given = NULL, *made = NULL;
  const char *text = mtk_model_attachment(artefact, "provenance.json", &len);
  *out = json_null();
  if (!text) return MTK_OK;
  if (!(made = json_loadb(text, len, 0, NULL)))
    return mtk_fail(err, MTK_E_FORMAT, "provenance", "is not JSON");
  mtk_status st = digest(&given, sources, n, err);
  json_t *files = json_object_get(made, "sources"), *list = json_object_get(given, "sources");
  if (st == MTK_OK) *out = json_object();
  json_array_foreach(st == MTK_OK ? files : NULL, i, item) {
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *sha256 = json_string_value(json_object_get(item, "sha256"));
    if (!name || !sha256) continue;
    bool found = has_digest(list, sha256);
    json_object_set_new(*out, name, json_boolean(found));
    if (!found && !*missing) *missing = json_object_iter_key(json_object_iter_at(*out, name));
  }
  json_decref(given);
  json_decref(made);
  return st;
}

static mtk_status report(const mtk_cmd_line *line, const char *source, json_t *digests,
                         const mtk_compare_report *r, mtk_error *err) {
  if (line->json) {
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n_rows; i++) {
      json_t *o = json_pack("{s:s,s:s,s:s}", "name", r->rows[i].name, "from",
                            mtk_dtype_get(r->rows[i].from)->name, "to",
                            mtk_dtype_get(r->rows[i].to)->name);
      mtk_cmd_compare_row_json(o, &r->rows[i]);
      json_array_append_new(rows, o);
    }
    json_t *doc = json_pack("{s:s,s:s,s:O,s:o,s:o}", "artefact", line->args[0], "source", source,
                            "source_files", digests, "verification", mtk_cmd_compare_json(r),
                            "tensors", rows);
    return mtk_cmd_print_json(doc, false, err);
  }
  mtk_cmd_print("%s beside %s\n", line->args[0], source);
  if (json_is_null(digests))
    mtk_cmd_print("  it does not say what it was made from: digests not checked\n");
  else
    mtk_cmd_print("  made from %zu files, digests compared\n", json_object_size(digests));
  mtk_cmd_compare_print(r);
  return MTK_OK;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  const char *const *sources = NULL, *missing = NULL;
  int n = (int)mtk_options_list(line->options, "source", &sources);
  if (n == 0) return mtk_fail(err, MTK_E_INVALID, NULL, "give --source SRC");
  mtk_pool *pool = NULL;
  mtk_model *artefact = NULL;
  json_t *digests = NULL;
  mtk_compare_report r = {0};
  mtk_status st = mtk_cmd_pool(&pool, line, err);
  if (st == MTK_OK) st = mtk_model_load(&artefact, line->args[0], err);
  if (st == MTK_OK) st = check_sources(&digests, &missing, artefact, sources, n, err);
  if (st == MTK_OK) st = mtk_cmd_compare(&r, line->args[0], sources[0], pool, err);
  if (st == MTK_OK) st = report(line, sources[0], digests, &r, err);
  if (st == MTK_OK && missing)
    st = mtk_fail(err, MTK_E_CHECK, line->args[0],
                  "was made from another %s than those in %s (its SHA-256 differs)", missing,
                  sources[0]);
  if (st == MTK_OK) st = mtk_cmd_compare_verdict(&r, MTK_E_CHECK, line->args[0], err);
  mtk_compare_report_finish(&r);
  json_decref(digests);
  mtk_model_destroy(artefact);
  mtk_pool_destroy(pool);
  return st;
}

const mtk_cmd mtk_cmd_verify = {"verify",
                                "ARTEFACT --source SRC",
                                "compare a model with what it was made from",
                                g_options,
                                NULL,
                                1,
                                1,
                                run};
