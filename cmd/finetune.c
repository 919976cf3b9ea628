/* finetune.c: mtk finetune: hand a model and data to a recipe plugin. */
#include "cmd.h"

#include <mtk/ext/recipe.h>
#include <string.h>
#include <unistd.h>

static const mtk_option_def g_options[] = {
    {"data", 'd', MTK_OPT_LIST, "FILE", NULL, 0, 0, NULL,
     "training data (may be given several times)"},
    {"out", 'o', MTK_OPT_PATH, "DIR", NULL, 0, 0, NULL, "result folder"},
    {"method", 0, MTK_OPT_STRING, "M", "sft", 0, 0, NULL, "recipe"},
    {"init", 0, MTK_OPT_PATH, "CONFIG", NULL, 0, 0, NULL,
     "train from scratch: config.json; MODEL is the folder with the tokenizer"},
    {"init-seed", 0, MTK_OPT_INT, "S", "0", 0, 9e15, NULL, "of the initial weights with --init"},
    {"resume", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "go on from the last checkpoint of --out"},
    {"force", 'f', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "overwrite --out and old checkpoints"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static const mtk_option_def *extra_options(int argc, const char *const *argv) {
  const mtk_recipe_v1 *r =
      mtk_feature_find(MTK_EXT_RECIPE, mtk_cmd_peek(argc, argv, "method", "sft"));
  return r ? r->options : NULL;
}

/* What the recipe's callbacks need. */
typedef struct job {
  const mtk_cmd_line *line;
  const char *out, *provenance; /* provenance: borrowed from the recipe's arguments */
  const mtk_format_v1 *format;
  const mtk_model *model;
} job;

/* One JSON line on stdout with --json, else a readable line on stderr through the log. */
static void on_event(void *ctx, const char *json) {
  const mtk_cmd_line *line = ((const job *)ctx)->line;
  if (line->json) {
    mtk_cmd_print("%s\n", json);
    mtk_cmd_flush(NULL);
    return;
  }
  json_t *doc = json_loads(json, 0, NULL);
  const char *event = json_string_value(json_object_get(doc, "event"));
  if (event && !strcmp(event, "step") && !line->quiet)
    mtk_cmd_print("step %lld  loss %.4f  grad %.3f  lr %.3g  %.0f tokens/s\n",
                  (long long)json_integer_value(json_object_get(doc, "step")),
                  json_number_value(json_object_get(doc, "loss")),
                  json_number_value(json_object_get(doc, "grad_norm")),
                  json_number_value(json_object_get(doc, "lr")),
                  json_number_value(json_object_get(doc, "tokens_per_s")));
  else if (!line->quiet && event && strcmp(event, "step") != 0)
    mtk_cmd_print("%s\n", json);
  mtk_cmd_flush(NULL);
  json_decref(doc);
}

/* What the recipe made goes to --out. */
static mtk_status save(void *ctx, mtk_model *model, const mtk_adapter *adapter, mtk_error *err) {
  const job *j = ctx;
  const mtk_cmd_outputs outputs = {.provenance = j->provenance};
  if (model) return mtk_cmd_write_outputs(model, j->line, j->format, j->out, &outputs, err);
  mtk_write_options opt = {.struct_size = sizeof opt,
                           .force = mtk_options_flag(j->line->options, "force"),
                           .provenance = j->provenance};
  return j->format->write_adapter(adapter, j->model, j->out, &opt, err);
}

static mtk_status open_model(mtk_model **model, const mtk_cmd_line *line, mtk_error *err) {
  const char *init = mtk_options_string(line->options, "init");
  if (!init) return mtk_model_load(model, line->args[0], err);
  return mtk_model_init_from_config(model, init, line->args[0],
                                    (uint64_t)mtk_options_int(line->options, "init-seed"), err);
}

/* --out without trailing slashes, found to be writable before anything is trained; heap. */
static mtk_status check_output(char **out, const mtk_cmd_line *line, mtk_error *err) {
  const char *given = mtk_options_string(line->options, "out");
  size_t n = given ? strlen(given) : 0;
  if (!n) return mtk_fail(err, MTK_E_INVALID, NULL, "give --out DIR");
  if (mtk_path_exists(given) && !mtk_options_flag(line->options, "force"))
    return mtk_fail(err, MTK_E_EXISTS, given, "exists; --force overwrites it");
  while (n > 1 && given[n - 1] == '/') n--;
  *out = mtk_strndup(given, n);
  size_t n_dir = *out ? (size_t)(mtk_path_base(*out) - *out) : 0;
  char *dir = n_dir ? mtk_strndup(*out, n_dir) : mtk_strdup(".");
  mtk_status st = MTK_OK;
  if (!*out || !dir)
    st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  else if (!mtk_path_is_dir(dir))
    st = mtk_fail(err, MTK_E_NOT_FOUND, dir, "folder for the output does not exist");
  else if (access(dir, W_OK) != 0)
    st = mtk_fail(err, MTK_E_IO, dir, "folder for the output cannot be written");
  mtk_free(dir);
  return st;
}

/* Of the model and the data. */
static mtk_status provenance_of(mtk_bytes *out, const mtk_cmd_line *line,
                                const mtk_recipe_args *args, mtk_error *err) {
  const char *init = mtk_options_string(args->options, "init");
  const char **sources = mtk_alloc((size_t)args->n_data + 2, sizeof *sources);
  int n = 0;
  if (!sources) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  sources[n++] = args->model_path;
  if (init) sources[n++] = init;
  for (int i = 0; i < args->n_data; i++) sources[n++] = args->data[i];
  mtk_status st = mtk_cmd_provenance(out, line, sources, n, err);
  mtk_free((void *)sources);
  return st;
}

static mtk_status train(const mtk_cmd_line *line, const mtk_recipe_v1 *recipe, const char *out,
                        mtk_error *err) {
  const mtk_option_values *o = line->options;
  job j = {.line = line, .out = out, .format = mtk_format_find("hf")};
  mtk_recipe_args args = {.struct_size = sizeof args,
                          .model_path = line->args[0],
                          .out = out,
                          .resume = mtk_options_flag(o, "resume"),
                          .force = mtk_options_flag(o, "force"),
                          .options = o,
                          .on_event = on_event,
                          .save = save,
                          .ctx = &j};
  args.n_data = (int)mtk_options_list(o, "data", &args.data);
  mtk_bytes provenance = {0};
  if (!j.format)
    return mtk_fail(err, MTK_E_NOT_FOUND, NULL,
                    "the plugin 'hf' is not loaded: cannot write the result");
  mtk_status st = mtk_cmd_pool(&args.pool, line, err);
  if (st == MTK_OK) st = open_model(&args.model, line, err);
  if (st == MTK_OK) st = provenance_of(&provenance, line, &args, err);
  j.provenance = args.provenance = provenance.data;
  j.model = args.model;
  if (st == MTK_OK) st = recipe->run(&args, err);
  mtk_bytes_finish(&provenance);
  mtk_model_destroy(args.model);
  mtk_pool_destroy(args.pool);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  const mtk_option_values *o = line->options;
  const char *method = mtk_options_string(o, "method");
  const mtk_recipe_v1 *recipe = mtk_feature_find(MTK_EXT_RECIPE, method);
  if (!recipe)
    return mtk_fail(err, MTK_E_INVALID, NULL, "no recipe '%s'; 'mtk plugin list' shows them",
                    method);
  if (!mtk_options_list(o, "data", NULL))
    return mtk_fail(err, MTK_E_INVALID, NULL, "give --data FILE");
  char *out = NULL;
  mtk_status st = check_output(&out, line, err);
  if (st == MTK_OK) st = train(line, recipe, out, err);
  mtk_free(out);
  return st;
}

const mtk_cmd mtk_cmd_finetune = {"finetune",
                                  "MODEL --data FILE... --out DIR [--method sft] [--init CONFIG]",
                                  "train an adapter or a whole model",
                                  g_options,
                                  extra_options,
                                  1,
                                  1,
                                  run};
