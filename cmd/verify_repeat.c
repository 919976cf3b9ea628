/* verify_repeat.c: does the command that an artefact records still give the artefact's bytes? It is
 * run again, and what it would write is compared with what lies there (mtk_outputs_compare). Main
 * thread only. */
#include <stdio.h>
#include <string.h>

#include "quantize.h"

/* The commands that can be repeated. */
static const struct {
  const mtk_cmd *cmd;
  mtk_status (*run)(const mtk_cmd_line *line, const char *repeats, mtk_error *err);
} g_commands[] = {{&mtk_cmd_quantize, mtk_cmd_quantize_run},
                  {&mtk_cmd_convert, mtk_cmd_convert_run}};
enum { N_COMMANDS = sizeof g_commands / sizeof *g_commands };

/* "--calibration=text.jsonl": files are recorded without their folders; the caller named them. */
static const char *with_path(mtk_arena *arena, const char *arg, const char *const *sources, int n) {
  const char *value = strchr(arg, '=');
  for (int i = 1; value && i < n; i++) {
    if (strcmp(mtk_path_base(sources[i]), value + 1) != 0) continue;
    char *text = mtk_asprintf("%.*s=%s", (int)(value - arg), arg, sources[i]);
    const char *kept = text ? mtk_arena_strndup(arena, text, strlen(text)) : NULL;
    mtk_free(text);
    return kept;
  }
  return arg;
}

/* A first part of a split file has the name of the whole: "m-00001-of-00003.gguf" -> "m.gguf". */
static const char *whole_name(mtk_arena *arena, const char *path) {
  const char *dot = strrchr(path, '.');
  size_t stem = dot ? (size_t)(dot - path) : strlen(path), tail = strlen("-00001-of-00001");
  if (stem <= tail || strncmp(path + stem - tail, "-00001-of-", 10) != 0) return path;
  char *text = mtk_asprintf("%.*s%s", (int)(stem - tail), path, path + stem);
  const char *kept = text ? mtk_arena_strndup(arena, text, strlen(text)) : NULL;
  mtk_free(text);
  return kept;
}

/* argv of the recorded command, for the files that the caller named. */
static const char **recorded_argv(int *argc, mtk_arena *arena, const json_t *made,
                                  const mtk_cmd_repeat *r) {
  const json_t *args = json_object_get(made, "args");
  const char **argv = mtk_arena_alloc(arena, json_array_size(args) + 5, sizeof *argv);
  if (!argv) return NULL;
  int at = 0;
  argv[at++] = json_string_value(json_object_get(made, "command"));
  argv[at++] = r->sources[0];
  argv[at++] = whole_name(arena, r->artefact);
  argv[at++] = "--threads";
  argv[at++] = r->threads;
  for (size_t i = 0; i < json_array_size(args); i++) {
    const char *arg = json_string_value(json_array_get(args, i));
    argv[at++] = arg ? with_path(arena, arg, r->sources, r->n_sources) : NULL;
  }
  for (int i = 0; i < at; i++)
    if (!argv[i]) return NULL;
  *argc = at;
  return argv;
}

/* Says so if another version made it: that explains a difference. */
static void name_versions(const json_t *made, mtk_error *err) {
  const char *version = json_string_value(json_object_get(made, "mtk"));
  size_t n = err ? strlen(err->message) : 0;
  if (err && version && strcmp(version, mtk_version()) != 0)
    snprintf(err->message + n, sizeof err->message - n, " (made by mtk %.40s, this is %s)", version,
             mtk_version());
}

mtk_status mtk_cmd_verify_repeat(const char **why_not, const mtk_cmd_repeat *r, mtk_error *err) {
  mtk_arena *arena = mtk_arena_create();
  json_t *made = json_loads(r->provenance, 0, NULL);
  const char *name = json_string_value(json_object_get(made, "command"));
  size_t which = 0;
  while (which < N_COMMANDS && !(name && strcmp(g_commands[which].cmd->name, name) == 0)) which++;
  *why_not = which < N_COMMANDS ? NULL : "it was made by a command that is not repeated";
  mtk_status st = MTK_OK;
  if (!*why_not) {
    int argc = 0;
    mtk_cmd_line again = {0};
    bool help = false;
    const char **argv = arena ? recorded_argv(&argc, arena, made, r) : NULL;
    st = argv ? mtk_cmd_parse(&again, &help, g_commands[which].cmd, argc, argv, err)
              : mtk_fail(err, MTK_E_FORMAT, r->artefact, "its provenance cannot be read");
    if (st == MTK_OK && again.n_args != 2)
      st = mtk_fail(err, MTK_E_FORMAT, r->artefact, "its provenance names no command that mtk has");
    if (st == MTK_OK) st = g_commands[which].run(&again, r->provenance, err);
    if (st == MTK_E_CHECK) name_versions(made, err);
    mtk_cmd_line_finish(&again);
  }
  json_decref(made);
  mtk_arena_destroy(arena);
  return st;
}
