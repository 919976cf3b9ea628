/* serve.c: mtk serve: engines and schedulers under a server plugin. */
#include "cmd.h"

#include <mtk/ext/server.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"server", 0, MTK_OPT_STRING, "ID", "openai", 0, 0, NULL, "front end"},
    {"name", 0, MTK_OPT_STRING, "NAME", NULL, 0, 0, NULL,
     "model name for clients (default: the file's)"},
    {"parallel", 0, MTK_OPT_INT, "N", "32", 1, 4096, NULL, "sequences computed at once"},
    {"kv-tokens", 0, MTK_OPT_INT, "N", "0", 0, 1e12, NULL,
     "positions in the KV cache for all sequences (0 = context x parallel, bounded at 65536)"},
    {"embeddings", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "serve embeddings of a model that generates text (encoders always do)"},
    MTK_CMD_ENGINE_OPTIONS,
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static const mtk_option_def *extra_options(int argc, const char *const *argv) {
  const mtk_server_v1 *s =
      mtk_feature_find(MTK_EXT_SERVER, mtk_cmd_peek(argc, argv, "server", "openai"));
  return s ? s->options : NULL;
}

static void on_ready(void *ctx, const char *address) {
  const mtk_cmd_line *line = ctx;
  if (line->json)
    mtk_cmd_print_json(json_pack("{s:s,s:s}", "event", "ready", "address", address), true, NULL);
  else
    mtk_cmd_print("listening on http://%s\n", address);
  mtk_cmd_flush(NULL);
}

/* Defaults of OpenAI, then what the model's generation_config.json says. */
static mtk_sampling default_sampling(const mtk_model *model) {
  mtk_sampling s = MTK_SAMPLING_DEFAULT;
  s.temperature = 1.0f;
  const struct {
    const char *name;
    float *at;
  } fields[] = {{"temperature", &s.temperature},
                {"top_p", &s.top_p},
                {"min_p", &s.min_p},
                {"repetition_penalty", &s.repetition_penalty}};
  size_t n = 0;
  const char *text = mtk_model_attachment(model, "generation_config.json", &n);
  json_t *doc = text ? json_loadb(text, n, 0, NULL) : NULL;
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    const json_t *v = json_object_get(doc, fields[i].name);
    if (json_is_number(v)) *fields[i].at = (float)json_number_value(v);
  }
  json_int_t top_k = json_integer_value(json_object_get(doc, "top_k"));
  if (top_k > 0 && top_k < INT32_MAX) s.top_k = (int32_t)top_k;
  if (json_is_false(json_object_get(doc, "do_sample"))) s.temperature = 0;
  json_decref(doc);
  return s;
}

/* --name, or the last part of the path; heap. */
static char *model_name(const mtk_cmd_line *line) {
  const char *name = mtk_options_string(line->options, "name"), *path = line->args[0];
  if (name) return mtk_strdup(name);
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/') begin--;
  return mtk_strndup(path + begin, end - begin);
}

/* The base model and one more name per adapter. */
static mtk_status serve(const mtk_cmd_line *line, const mtk_server_v1 *server, mtk_cmd_engine *e,
                        mtk_error *err) {
  char *name = model_name(line);
  mtk_chat *chat = NULL;
  mtk_scheduler *scheduler = NULL;
  const mtk_sampling sampling = default_sampling(e->model);
  size_t n = (size_t)e->n_adapters + 1;
  mtk_served_model *models = mtk_alloc(n, sizeof *models);
  mtk_status st = MTK_OK;
  if (!models || !name) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = mtk_chat_create(&chat, e->model, NULL, err);
  if (st == MTK_E_NOT_FOUND) st = MTK_OK; /* no template: completions only */
  if (st == MTK_OK) st = mtk_scheduler_create(&scheduler, e->engine, err);
  for (size_t i = 0; i < n && st == MTK_OK; i++)
    models[i] = (mtk_served_model){
        i ? e->adapter_names[i - 1] : name, scheduler, chat, e->engine, (int)i, sampling};
  mtk_server_args args = {.struct_size = sizeof args,
                          .models = models,
                          .n_models = (int)n,
                          .options = line->options,
                          .on_ready = on_ready,
                          .ctx = (void *)(uintptr_t)line};
  if (st == MTK_OK) st = server->run(&args, err);
  mtk_scheduler_destroy(scheduler);
  mtk_chat_destroy(chat);
  mtk_free(models);
  mtk_free(name);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  const char *id = mtk_options_string(line->options, "server");
  const mtk_server_v1 *server = mtk_feature_find(MTK_EXT_SERVER, id);
  if (!server)
    return mtk_fail(err, MTK_E_INVALID, NULL, "no server '%s'; 'mtk plugin list' shows them", id);
  mtk_cmd_engine e;
  int parallel = (int)mtk_options_int(line->options, "parallel");
  if (mtk_options_flag(line->options, "embeddings"))
    MTK_TRY(mtk_cmd_embedder_open(&e, line, line->args[0], parallel, err));
  else
    MTK_TRY(mtk_cmd_engine_open(&e, line, line->args[0], parallel, err));
  if (!mtk_engine_tokenizer(e.engine)) {
    mtk_cmd_engine_close(&e);
    return mtk_fail(err, MTK_E_NOT_FOUND, line->args[0],
                    "the model has no tokenizer that mtk can use");
  }
  mtk_status st = serve(line, server, &e, err);
  mtk_cmd_engine_close(&e);
  return st;
}

const mtk_cmd mtk_cmd_serve = {"serve",
                               "MODEL [--listen HOST:PORT] [--adapter NAME=DIR]",
                               "serve a model over HTTP (OpenAI API)",
                               g_options,
                               extra_options,
                               1,
                               1,
                               run};
