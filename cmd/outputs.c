/* outputs.c: the outputs of the commands that write models: their provenance, --resume, the
 * repetition of a command for mtk verify, and their files. Main thread only. */
#include <dirent.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
  int n_threads = mtk_pool_size(pool);
  return mtk_digests_start(&o->digests, sources, n_sources, n_threads > 1 ? n_threads : 0, err);
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

/* After the message of err, if all of it fits. */
static void say_more(mtk_error *err, const char *text, const char *path) {
  size_t n = err ? strlen(err->message) : 0;
  if (err && n + strlen(text) + strlen(path) < sizeof err->message)
    snprintf(err->message + n, sizeof err->message - n, "%s%s", text, path);
}

mtk_status mtk_cmd_outputs_close(mtk_cmd_outputs *o, mtk_status st, mtk_error *err) {
  bool keep = is_worth_keeping(st) && mtk_outputs_hold(o->outputs);
  if (keep)
    say_more(err, "; --resume goes on from here: the part lies in ",
             mtk_outputs_folder(o->outputs));
  mtk_outputs_close(o->outputs, keep);
  mtk_bytes_finish(&o->text);
  mtk_digests_destroy(o->digests);
  *o = (mtk_cmd_outputs){0};
  return st;
}

/* ---- what was written ------------------------------------------------------------------------ */

/* "DIR/NAME.gguf" was written as "DIR/NAME-00001-of-00002.gguf" and so on; not other models whose
 * names begin the same. Finish with globfree. */
static bool find_parts(glob_t *out, const char *path) {
#define FIVE_DIGITS "[0-9][0-9][0-9][0-9][0-9]"
  const char *dot = strrchr(path, '.');
  size_t stem = dot ? (size_t)(dot - path) : strlen(path);
  char *pattern = mtk_asprintf("%.*s-" FIVE_DIGITS "-of-" FIVE_DIGITS "%s", (int)stem, path,
                               path + stem);
#undef FIVE_DIGITS
  bool found = pattern && glob(pattern, 0, NULL, out) == 0;
  mtk_free(pattern);
  return found;
}

char *mtk_cmd_output_first(const char *path) {
  glob_t parts;
  if (mtk_path_exists(path) || !find_parts(&parts, path)) return mtk_strdup(path);
  char *first = mtk_strdup(parts.gl_pathv[0]);
  globfree(&parts);
  return first;
}

uint64_t mtk_cmd_output_bytes(const char *path) {
  struct stat st;
  glob_t parts;
  uint64_t n = 0;
  if (stat(path, &st) != 0 && find_parts(&parts, path)) {
    for (size_t i = 0; i < parts.gl_pathc; i++) n += mtk_cmd_output_bytes(parts.gl_pathv[i]);
    globfree(&parts);
    return n;
  }
  if (stat(path, &st) != 0) return 0;
  if (!S_ISDIR(st.st_mode)) return (uint64_t)st.st_size;
  DIR *dir = opendir(path);
  for (struct dirent *d; dir && (d = readdir(dir));)
    if (fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
      n += (uint64_t)st.st_size;
  if (dir) closedir(dir);
  return n;
}

/* "PATH.bad-1", or the next number that is free; heap, NULL: it could not be renamed. */
static char *rename_bad(const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  char *name = NULL;
  for (int i = 1; !name || mtk_path_exists(name); i++) {
    mtk_free(name);
    if (!(name = mtk_asprintf("%.*s.bad-%d", (int)n, path, i))) return NULL;
  }
  if (rename(path, name) == 0) return name;
  mtk_free(name);
  return NULL;
}

mtk_status mtk_cmd_output_set_aside(const char *path, mtk_status st, mtk_error *err) {
  glob_t parts;
  char *name = NULL;
  if (mtk_path_exists(path))
    name = rename_bad(path);
  else if (find_parts(&parts, path)) {
    for (size_t i = parts.gl_pathc; i-- > 0;) {
      mtk_free(name);
      name = rename_bad(parts.gl_pathv[i]);
    }
    globfree(&parts);
  }
  if (name) say_more(err, "; it is kept as ", name);
  mtk_free(name);
  return st;
}
