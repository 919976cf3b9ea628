/* template.c: mtk template: render a chat template; nothing but the prompt goes to stdout. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"messages", 'm', MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "JSON: a list of messages, or an object with \"messages\""},
    {"context", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "JSON object with all template variables"},
    {"tools", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL, "JSON list of tools"},
    {"template", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "Jinja file instead of the model's template"},
    {"now", 0, MTK_OPT_STRING, "ISO8601", NULL, 0, 0, NULL, "the time that strftime_now() sees"},
    {"no-generation-prompt", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "do not open the assistant's turn"},
    {"ids", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "print token ids instead of text"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

/* All variables as one JSON object. */
static mtk_status build_context(json_t **out, const mtk_cmd_line *line, mtk_error *err) {
  const char *context = mtk_options_string(line->options, "context");
  const char *messages = mtk_options_string(line->options, "messages");
  const char *tools = mtk_options_string(line->options, "tools");
  if (!context == !messages)
    return mtk_fail(err, MTK_E_INVALID, NULL, "give --messages FILE or --context FILE");
  json_t *doc = NULL;
  MTK_TRY(mtk_cmd_read_json(&doc, context ? context : messages, JSON_ALLOW_NUL, err));
  if (json_is_array(doc)) {
    json_t *object = json_object();
    json_object_set_new(object, "messages", doc);
    doc = object;
  }
  if (!json_is_object(doc)) {
    json_decref(doc);
    return mtk_fail(err, MTK_E_FORMAT, context ? context : messages,
                    "expected a JSON object or list");
  }
  if (tools) {
    json_t *list = NULL;
    mtk_status st = mtk_cmd_read_json(&list, tools, JSON_ALLOW_NUL, err);
    if (st != MTK_OK) {
      json_decref(doc);
      return st;
    }
    json_object_set_new(doc, "tools", list);
  }
  *out = doc;
  return MTK_OK;
}

/* With MODEL "-": the template alone, no tokenizer. */
static mtk_status render_alone(mtk_bytes *text, const char *template_text, size_t n,
                               const char *json, const char *now, bool context_only,
                               bool generation_prompt, mtk_error *err) {
  mtk_template *t = NULL;
  MTK_TRY(mtk_template_create(&t, template_text, n, err));
  mtk_template_options opt = {.struct_size = sizeof opt, .now = now};
  mtk_rendered r = {0};
  json_t *doc = json_loads(json, JSON_ALLOW_NUL, NULL);
  if (!context_only && !json_object_get(doc, "add_generation_prompt"))
    json_object_set_new(doc, "add_generation_prompt", json_boolean(generation_prompt));
  char *full = json_dumps(doc, JSON_REAL_PRECISION(17));
  json_decref(doc);
  mtk_status st = full ? mtk_template_render(&r, t, full, strlen(full), &opt, err)
                       : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) mtk_bytes_append(text, r.text.data ? r.text.data : "", r.text.len);
  free(full);
  mtk_rendered_finish(&r);
  mtk_template_destroy(t);
  return st;
}

static mtk_status render(const mtk_cmd_line *line, const char *json, const char *template_text,
                         size_t template_n, mtk_error *err) {
  const mtk_option_values *o = line->options;
  bool prompt = !mtk_options_flag(o, "no-generation-prompt"), want_ids = mtk_options_flag(o, "ids");
  const char *now = mtk_options_string(o, "now");
  mtk_bytes text = {0};
  mtk_ids ids = {0};
  mtk_status st;
  if (!strcmp(line->args[0], "-")) {
    st = !template_text ? mtk_fail(err, MTK_E_INVALID, NULL, "MODEL '-' needs --template FILE")
         : want_ids     ? mtk_fail(err, MTK_E_INVALID, NULL, "--ids needs a model")
                        : render_alone(&text, template_text, template_n, json, now,
                                       mtk_options_is_set(o, "context"), prompt, err);
  } else {
    mtk_model *model = NULL;
    mtk_chat *chat = NULL;
    st = mtk_model_load(&model, line->args[0], err);
    if (st == MTK_OK) st = mtk_chat_create(&chat, model, template_text, err);
    if (st == MTK_OK)
      st = mtk_chat_render(&text, want_ids ? &ids : NULL, NULL, chat, json, strlen(json), prompt,
                           now, err);
    mtk_chat_destroy(chat);
    mtk_model_destroy(model);
  }
  if (st == MTK_OK && want_ids) {
    for (size_t i = 0; i < ids.len; i++) mtk_cmd_print(i ? " %d" : "%d", ids.data[i]);
    mtk_cmd_print("\n");
  } else if (st == MTK_OK && text.len) {
    fwrite(text.data, 1, text.len, stdout);
  }
  mtk_ids_finish(&ids);
  mtk_bytes_finish(&text);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  json_t *context = NULL;
  MTK_TRY(build_context(&context, line, err));
  char *json = json_dumps(context, JSON_REAL_PRECISION(17));
  json_decref(context);
  mtk_bytes source = {0};
  const char *path = mtk_options_string(line->options, "template");
  mtk_status st = json ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK && path) st = mtk_cmd_read_all(&source, path, err);
  if (st == MTK_OK) st = render(line, json, source.data, source.len, err);
  free(json);
  mtk_bytes_finish(&source);
  return st;
}

const mtk_cmd mtk_cmd_template = {
    "template",
    "MODEL|- --messages FILE [--tools FILE] [--template FILE] [--ids]",
    "render a chat template",
    g_options,
    NULL,
    1,
    1,
    run};
