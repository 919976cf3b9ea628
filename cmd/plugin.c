/* plugin.c: mtk plugin list|info|check|new. */
#include "plugin_new.h"

#include <mtk/ext/recipe.h>
#include <mtk/ext/server.h>
#include <mtk/ext/verifier.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"kind", 0, MTK_OPT_ENUM, "K", "format", 0, 0, "format|verifier", "what `new` writes"},
    {"dir", 0, MTK_OPT_PATH, "DIR", NULL, 0, 0, NULL, "where `new` writes it (default: ./NAME)"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

/* Every feature struct starts with its size and an id string: enough to list them. */
typedef struct feature_head {
  size_t struct_size;
  const char *id;
} feature_head;

static const char *const g_features[] = {MTK_EXT_FORMAT, MTK_EXT_ARCH,   MTK_EXT_QUANTIZER,
                                         MTK_EXT_RECIPE, MTK_EXT_SERVER, MTK_EXT_VERIFIER};
enum { N_FEATURES = sizeof g_features / sizeof g_features[0] };

static json_t *features_json(const mtk_plugin_info *info) {
  json_t *list = json_array();
  for (size_t f = 0; info->entry && f < N_FEATURES; f++) {
    const feature_head *head;
    for (size_t i = 0; (head = info->entry->get(g_features[f], i)); i++)
      json_array_append_new(list, json_sprintf("%s %s", g_features[f], head->id));
  }
  return list;
}

static json_t *info_json(const mtk_plugin_info *p, bool digest) {
  json_t *o = json_pack("{s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:o}", "name", p->name, "version",
                        p->version, "description", p->description, "license", p->license, "path",
                        p->path, "refused", p->refused, "features", features_json(p));
  if (o && digest) json_object_set_new(o, "sha256", json_string(mtk_plugin_sha256(p)));
  return o;
}

static void print_info(const mtk_plugin_info *p) {
  mtk_cmd_print("%s %s (%s)\n  %s\n  %s\n", p->name, p->version ? p->version : "?",
                p->license ? p->license : "?", p->description ? p->description : "", p->path);
  if (p->refused) mtk_cmd_print("  refused: %s\n", p->refused);
  json_t *list = features_json(p);
  for (size_t i = 0; i < json_array_size(list); i++)
    mtk_cmd_print("  %s\n", json_string_value(json_array_get(list, i)));
  json_decref(list);
}

static mtk_status list(const mtk_cmd_line *line, mtk_error *err) {
  json_t *rows = json_array();
  for (size_t i = 0; i < mtk_plugin_count(); i++) {
    const mtk_plugin_info *p = mtk_plugin_at(i);
    json_array_append_new(rows, info_json(p, false));
    if (!line->json)
      mtk_cmd_print("%-14s %-8s %s\n", p->name, p->refused ? "REFUSED" : p->version,
                    p->refused ? p->refused : p->description);
  }
  if (line->json) return mtk_cmd_print_json(rows, false, err);
  json_decref(rows);
  return MTK_OK;
}

static mtk_status info(const mtk_cmd_line *line, mtk_error *err) {
  if (line->n_args < 2) return mtk_fail(err, MTK_E_INVALID, NULL, "usage: mtk plugin info NAME");
  for (size_t i = 0; i < mtk_plugin_count(); i++) {
    const mtk_plugin_info *p = mtk_plugin_at(i);
    if (!p->name || strcmp(p->name, line->args[1]) != 0) continue;
    if (line->json) return mtk_cmd_print_json(info_json(p, true), false, err);
    print_info(p);
    return MTK_OK;
  }
  return mtk_fail(err, MTK_E_NOT_FOUND, line->args[1],
                  "no such plugin; 'mtk plugin list' shows them");
}

static mtk_status check(const mtk_cmd_line *line, mtk_error *err) {
  if (line->n_args < 2)
    return mtk_fail(err, MTK_E_INVALID, NULL, "usage: mtk plugin check FILE.so");
  const mtk_plugin_info *p = NULL;
  MTK_TRY(mtk_plugin_load_file(&p, line->args[1], err));
  if (p->refused) return mtk_fail(err, MTK_E_CHECK, line->args[1], "refused: %s", p->refused);
  json_t *o = info_json(p, true);
  bool useful = json_array_size(json_object_get(o, "features")) > 0;
  if (line->json) {
    MTK_TRY(mtk_cmd_print_json(o, false, err));
  } else {
    print_info(p);
    json_decref(o);
  }
  if (!useful)
    return mtk_fail(err, MTK_E_CHECK, line->args[1], "offers no feature that this host knows");
  return MTK_OK;
}

static mtk_status new_plugin(const mtk_cmd_line *line, mtk_error *err) {
  if (line->n_args < 2)
    return mtk_fail(err, MTK_E_INVALID, NULL, "usage: mtk plugin new NAME [--kind K]");
  const char *dir = mtk_options_string(line->options, "dir");
  return mtk_cmd_plugin_new(line->args[1], mtk_options_string(line->options, "kind"),
                            dir ? dir : line->args[1], err);
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  static const struct {
    const char *name;
    mtk_status (*run)(const mtk_cmd_line *, mtk_error *);
  } verbs[] = {{"list", list}, {"info", info}, {"check", check}, {"new", new_plugin}};
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    if (!strcmp(line->args[0], verbs[i].name)) return verbs[i].run(line, err);
  return mtk_fail(err, MTK_E_INVALID, NULL, "unknown verb '%s': use list, info, check or new",
                  line->args[0]);
}

const mtk_cmd mtk_cmd_plugin = {"plugin",
                                "list | info NAME | check FILE.so | new NAME [--kind K]",
                                "show, check and start plugins",
                                g_options,
                                NULL,
                                1,
                                2,
                                run};
