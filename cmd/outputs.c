/* outputs.c: the outputs of the commands that write models: their provenance, --resume, and the
 * repetition of a command for mtk verify. Main thread only. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* Says what differs; both are provenances. */
static mtk_status refuse_key(const char *old_text, const char *new_text, mtk_error *err) {
  static const struct {
    const char *field, *what;
  } fields[] = {{"sources", "the source has changed since that run"},
                {"args", "that run had other options"},
                {"command", "that run was another command"},
                {"mtk", "that run was made by another version of mtk"},
                {"plugins", "that run was made by other plugins"}};
  json_t *old = json_loads(old_text, 0, NULL), *new = json_loads(new_text, 0, NULL);
  const char *what = "that run was another one";
  char *args = NULL;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    json_t *a = json_object_get(old, fields[i].field);
    if (!a || json_equal(a, json_object_get(new, fields[i].field))) continue;
    what = fields[i].what;
    if (i == 1) args = json_dumps(a, JSON_COMPACT);
    break;
  }
  mtk_fail(err, MTK_E_INVALID, "--resume",
           "cannot go on with an interrupted run: %s%s%.300s; without --resume it starts over",
           what, args ? ": " : "", args ? args : "");
  free(args);
  json_decref(old);
  json_decref(new);
  return MTK_E_INVALID;
}

static mtk_status open_resumable(mtk_cmd_outputs *o, const char *dst, const char *key, bool resume,
                                 mtk_error *err) {
  char *old = mtk_outputs_key(dst);
  mtk_status st = MTK_OK;
  if (resume && old && strcmp(old, key) != 0) st = refuse_key(old, key, err);
  if (resume && !old) mtk_log(MTK_LOG_INFO, "no interrupted run of %s: from the beginning", dst);
  if (!resume && old)
    mtk_log(MTK_LOG_WARN, "what an interrupted run left of %s is removed (--resume goes on)", dst);
  mtk_free(old);
  if (st == MTK_OK) st = mtk_outputs_resume(&o->outputs, dst, key, resume, err);
  if (st == MTK_OK && resume && mtk_outputs_hold(o->outputs))
    mtk_log(MTK_LOG_INFO, "going on with what lies in %s", mtk_outputs_folder(o->outputs));
  return st;
}

mtk_status mtk_cmd_outputs_begin(mtk_cmd_outputs *o, const char *const *sources, int n_sources,
                                 const mtk_pool *pool, mtk_error *err) {
  if (o->repeats) return MTK_OK;
  return mtk_digests_start(&o->digests, sources, n_sources, mtk_pool_size(pool) > 1, err);
}

mtk_status mtk_cmd_outputs_open(mtk_cmd_outputs *o, const mtk_cmd_line *line,
                                const mtk_format_v1 *format, const char *dst, mtk_error *err) {
  bool resume = mtk_options_flag(line->options, "resume");
  bool can = format->flags & MTK_FORMAT_OUTPUTS;
  if (o->repeats) {
    o->provenance = o->repeats;
    return mtk_outputs_compare(&o->outputs, err);
  }
  if (!mtk_options_flag(line->options, "force") && mtk_path_exists(dst))
    return mtk_fail(err, MTK_E_EXISTS, dst, "exists; --force overwrites it");
  if (resume && !can)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "--resume", "format %s cannot go on with a part",
                    format->id);
  MTK_TRY(mtk_cmd_provenance_with(&o->text, line, o->digests, err));
  o->provenance = o->text.data;
  return can ? open_resumable(o, dst, o->provenance, resume, err) : MTK_OK;
}

mtk_status mtk_cmd_outputs_rename(const mtk_cmd_outputs *o, mtk_model *model, mtk_error *err) {
  if (!o->repeats) return MTK_OK;
  json_t *made = json_loads(o->repeats, 0, NULL);
  const json_t *source = json_array_get(json_object_get(made, "sources"), 0);
  const char *name = json_string_value(json_object_get(source, "name"));
  char *first = name ? mtk_strndup(name, strcspn(name, "/")) : NULL;
  mtk_status st =
      first ? mtk_model_set_source(model, mtk_model_format(model), first, err) : MTK_OK;
  mtk_free(first);
  json_decref(made);
  return st;
}

/* What can be gone on with: stopped, no room, no memory, another output in the way. */
static bool is_worth_keeping(mtk_status st) {
  return st == MTK_E_CANCELLED || st == MTK_E_IO || st == MTK_E_NOMEM || st == MTK_E_EXISTS;
}

mtk_status mtk_cmd_outputs_close(mtk_cmd_outputs *o, mtk_status st, mtk_error *err) {
  bool keep = is_worth_keeping(st) && mtk_outputs_hold(o->outputs);
  if (keep && err) {
    size_t n = strlen(err->message);
    char *more = mtk_asprintf("; --resume goes on from here (the part lies in %s)",
                              mtk_outputs_folder(o->outputs));
    if (more && n + strlen(more) < sizeof err->message)
      memcpy(err->message + n, more, strlen(more) + 1);
    mtk_free(more);
  }
  mtk_outputs_close(o->outputs, keep);
  mtk_bytes_finish(&o->text);
  mtk_digests_destroy(o->digests);
  *o = (mtk_cmd_outputs){0};
  return st;
}
