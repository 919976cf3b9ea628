/* chat.c: chat requests: messages and tools to a prompt, and the parser of the answer. Loop
 * thread. */
#include "server.h"

#include <string.h>
#include <sys/random.h>

/* Variables of a client for the template, but for token names (bos_token, ...): templates build
 * control tokens from those, so they are the model's alone. */
static void add_variables(json_t *context, json_t *variables) {
  const char *key;
  json_t *value;
  json_object_foreach(variables, key, value) {
    size_t n = strlen(key);
    bool token_name = n >= 6 && !strcmp(key + n - 6, "_token");
    if (!token_name && strcmp(key, "messages") != 0) json_object_set(context, key, value);
  }
}

/* Everything a template may look at; sampling fields do no harm but are left out. */
static json_t *template_context(const json_t *doc) {
  static const char *const keys[] = {"messages",
                                     "tools",
                                     "documents",
                                     "add_generation_prompt",
                                     "reasoning_effort",
                                     "response_format",
                                     "continue_final_message"};
  json_t *context = json_object();
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    json_t *v = json_object_get(doc, keys[i]);
    if (v && !json_is_null(v)) json_object_set(context, keys[i], v);
  }
  add_variables(context, json_object_get(doc, "chat_template_kwargs"));
  return context;
}

/* Parts lists [{"type":"text","text":..}] become one string; other parts are refused. */
static mtk_status flatten_content(json_t *message, size_t index, mtk_error *err) {
  json_t *content = json_object_get(message, "content");
  if (!json_is_array(content)) return MTK_OK;
  mtk_bytes text = {0};
  mtk_status st = MTK_OK;
  for (size_t i = 0; i < json_array_size(content) && st == MTK_OK; i++) {
    const json_t *part = json_array_get(content, i);
    const char *piece = json_string_value(json_object_get(part, "text"));
    if (piece)
      mtk_bytes_append(&text, piece, json_string_length(json_object_get(part, "text")));
    else
      st = mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "message %zu has a part that is not text", index);
  }
  if (st == MTK_OK) st = mtk_bytes_status(&text, err);
  if (st == MTK_OK)
    json_object_set_new(message, "content", json_stringn(text.data ? text.data : "", text.len));
  mtk_bytes_finish(&text);
  return st;
}

/* ---- tools ----------------------------------------------------------------------------------- */

static bool is_function(const json_t *item) {
  const json_t *name = json_object_get(json_object_get(item, "function"), "name");
  return json_string_length(name) > 0;
}

/* Without tools, or with "tool_choice": "none", the request has none from here on. */
static mtk_status check_tools(json_t *doc, const char **param, mtk_error *err) {
  const json_t *tools = json_object_get(doc, "tools"),
               *choice = json_object_get(doc, "tool_choice");
  const char *name = json_string_value(choice);
  bool given = choice && !json_is_null(choice), none = name && !strcmp(name, "none");
  *param = "tools";
  if (tools && !json_is_null(tools) && !json_is_array(tools))
    return mtk_fail(err, MTK_E_INVALID, NULL, "'tools' must be a list");
  for (size_t i = 0; i < json_array_size(tools); i++)
    if (!is_function(json_array_get(tools, i)))
      return mtk_fail(err, MTK_E_INVALID, NULL,
                      "tool %zu must be {\"type\": \"function\", \"function\": {\"name\": ...}}",
                      i);
  *param = "tool_choice";
  if (given && !none && (!name || strcmp(name, "auto") != 0))
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL,
                    "'tool_choice' is supported only as \"auto\" or \"none\": the model cannot be "
                    "made to call a tool, because decoding is not constrained");
  if (none || !json_array_size(tools)) json_object_del(doc, "tools");
  *param = "messages";
  return MTK_OK;
}

/* Calls that an assistant made. Templates want the arguments as an object, OpenAI's API has JSON
 * text. */
static mtk_status check_calls(const json_t *message, size_t index, bool parse, mtk_error *err) {
  const json_t *calls = json_object_get(message, "tool_calls");
  if (calls && !json_is_null(calls) && !json_is_array(calls))
    return mtk_fail(err, MTK_E_INVALID, NULL, "'tool_calls' of message %zu must be a list", index);
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const json_t *call = json_array_get(calls, i);
    json_t *function = json_object_get(call, "function");
    const json_t *text = json_object_get(function, "arguments");
    if (!is_function(call))
      return mtk_fail(err, MTK_E_INVALID, NULL, "tool call %zu of message %zu has no function name",
                      i, index);
    json_t *arguments = parse && json_is_string(text)
                            ? json_loadb(json_string_value(text), json_string_length(text), 0, NULL)
                            : NULL;
    if (json_is_object(arguments)) json_object_set(function, "arguments", arguments);
    json_decref(arguments);
  }
  return MTK_OK;
}

/* ---- the prompt ------------------------------------------------------------------------------ */

static mtk_status check_messages(json_t *messages, const mtk_chat *chat, mtk_error *err) {
  if (!json_is_array(messages) || !json_array_size(messages))
    return mtk_fail(err, MTK_E_INVALID, NULL, "'messages' must be a non-empty list");
  bool template = !strcmp(mtk_chat_encoding(chat), "jinja");
  for (size_t i = 0; i < json_array_size(messages); i++) {
    json_t *m = json_array_get(messages, i);
    if (!json_is_object(m) || !json_is_string(json_object_get(m, "role")))
      return mtk_fail(err, MTK_E_INVALID, NULL, "message %zu must be an object with a 'role'", i);
    if (template) MTK_TRY(flatten_content(m, i, err));
    MTK_TRY(check_calls(m, i, template, err));
  }
  return MTK_OK;
}

static mtk_status make_parser(parsed *p, job *j, const mtk_bytes *prompt, mtk_error *err) {
  const json_t *tools = json_object_get(p->doc, "tools");
  char *json = tools ? json_dumps(tools, JSON_REAL_PRECISION(17)) : NULL;
  mtk_chat_parser_options o = {.struct_size = sizeof o,
                               .name = mtk_options_string(j->server->args->options, "tool-parser"),
                               .prompt = prompt->data,
                               .n_prompt = prompt->len,
                               .tools_json = json,
                               .n_tools_json = json ? strlen(json) : 0};
  mtk_status st = MTK_OK;
  if (tools && !json) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK && getrandom(&o.seed, sizeof o.seed, 0) < 0)
    st = mtk_fail(err, MTK_E_IO, NULL, "no random ids could be drawn");
  if (st == MTK_OK) st = mtk_chat_parser_create(&j->parser, j->model->chat, &o, err);
  if (st == MTK_OK) p->request.echo_special = mtk_chat_parser_is_active(j->parser);
  free(json);
  return st;
}

mtk_status serve_chat_prompt(parsed *p, job *j, const char **param, mtk_error *err) {
  if (!j->model->chat)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL,
                    "this model has no chat template; use /v1/completions");
  MTK_TRY(check_messages(json_object_get(p->doc, "messages"), j->model->chat, err));
  MTK_TRY(check_tools(p->doc, param, err));
  json_t *context = template_context(p->doc);
  char *json = json_dumps(context, JSON_REAL_PRECISION(17));
  json_decref(context);
  if (!json) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_bytes text = {0};
  mtk_status st =
      mtk_chat_render(&text, &p->ids, NULL, j->model->chat, json, strlen(json), true, NULL, err);
  if (st == MTK_OK) st = make_parser(p, j, &text, err);
  mtk_bytes_finish(&text);
  free(json);
  return st;
}

mtk_status serve_check_tool_parser(const server *s, mtk_error *err) {
  mtk_chat_parser_options o = {.struct_size = sizeof o,
                               .name = mtk_options_string(s->args->options, "tool-parser")};
  for (int i = 0; i < s->args->n_models; i++) {
    mtk_chat_parser *parser = NULL;
    if (s->args->models[i].chat)
      MTK_TRY(mtk_chat_parser_create(&parser, s->args->models[i].chat, &o, err));
    mtk_chat_parser_destroy(parser);
  }
  return MTK_OK;
}
