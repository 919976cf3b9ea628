/* chat/harmony.c: gpt-oss's encoding of conversations ("harmony"), as openai/harmony renders it
 * (src/encoding.rs). Text and control tokens are separate pieces, so no text can become a control
 * token. Pure; any thread.
 *
 * Two kinds of requests: conversations in harmony's own JSON (messages with "channel", "recipient",
 * "content_type", parts of type "system_content" and "developer_content"), and OpenAI's chat
 * requests, which are first turned into the former. */
#include "chat/harmony.h"

#include <string.h>
#include <time.h>

static const char g_identity[] = "You are ChatGPT, a large language model trained by OpenAI.";
static const char g_cutoff[] = "2024-06";

/* ---- contents ------------------------------------------------------------------------------- */

/* Sections of a text, with an empty line between. */
static void begin_section(mtk_bytes *out) {
  if (out->len) mtk_bytes_puts(out, "\n\n");
}

static void put_line(mtk_bytes *out, bool *first, const char *label, const json_t *value) {
  if (!json_is_string(value)) return;
  if (*first)
    begin_section(out);
  else
    mtk_bytes_puts(out, "\n");
  *first = false;
  mtk_bytes_puts(out, label);
  mtk_bytes_append(out, json_string_value(value), json_string_length(value));
}

static void put_effort(mtk_bytes *out, const json_t *effort) {
  const char *text = json_string_value(effort);
  if (!text) return;
  begin_section(out);
  mtk_bytes_puts(out, "Reasoning: ");
  for (; *text; text++) { /* harmony's JSON writes "High" */
    char c = *text >= 'A' && *text <= 'Z' ? (char)(*text + 32) : *text;
    mtk_bytes_append(out, &c, 1);
  }
}

static void put_channels(mtk_bytes *out, const json_t *config, bool functions) {
  const json_t *list = json_object_get(config, "valid_channels");
  if (!json_array_size(list)) return;
  begin_section(out);
  mtk_bytes_puts(out, "# Valid channels: ");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *name = json_array_get(list, i);
    if (i) mtk_bytes_puts(out, ", ");
    mtk_bytes_append(out, json_string_value(name) ? json_string_value(name) : "",
                     json_string_length(name));
  }
  mtk_bytes_puts(out, ".");
  if (json_is_true(json_object_get(config, "channel_required")))
    mtk_bytes_puts(out, " Channel must be included for every message.");
  if (functions)
    mtk_bytes_puts(out, "\nCalls to these tools must go to the commentary channel: 'functions'.");
}

static void put_tools(mtk_bytes *out, const json_t *tools) {
  if (!json_object_size(tools)) return;
  begin_section(out);
  mtk_harmony_tools(out, tools);
}

static void system_text(mtk_bytes *out, const json_t *part, bool functions) {
  bool first = true;
  put_line(out, &first, "", json_object_get(part, "model_identity"));
  put_line(out, &first, "Knowledge cutoff: ", json_object_get(part, "knowledge_cutoff"));
  put_line(out, &first, "Current date: ", json_object_get(part, "conversation_start_date"));
  put_effort(out, json_object_get(part, "reasoning_effort"));
  put_tools(out, json_object_get(part, "tools"));
  put_channels(out, json_object_get(part, "channel_config"), functions);
}

static void developer_text(mtk_bytes *out, const json_t *part) {
  const json_t *text = json_object_get(part, "instructions");
  if (json_is_string(text)) {
    mtk_bytes_puts(out, "# Instructions\n\n");
    mtk_bytes_append(out, json_string_value(text), json_string_length(text));
  }
  put_tools(out, json_object_get(part, "tools"));
}

static mtk_status put_part(chat_prompt *p, const json_t *part, bool functions, size_t at,
                           mtk_error *err) {
  const char *type = mtk_json_get(part, "type", NULL);
  const json_t *plain = json_object_get(part, "text");
  mtk_bytes text = {0};
  if (type && !strcmp(type, "system_content"))
    system_text(&text, part, functions);
  else if (type && !strcmp(type, "developer_content"))
    developer_text(&text, part);
  else if (json_is_string(plain))
    mtk_bytes_append(&text, json_string_value(plain), json_string_length(plain));
  else
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL,
                    "messages[%zu] has a part of type '%s'; only text is supported", at,
                    type ? type : "");
  mtk_status st = mtk_bytes_status(&text, err);
  if (st == MTK_OK && text.len) st = mtk_prompt_text(p, text.data, text.len, err);
  mtk_bytes_finish(&text);
  return st;
}

/* ---- messages ------------------------------------------------------------------------------- */

static bool is_role(const json_t *m, const char *role) {
  const char *own = mtk_json_get(m, "role", NULL);
  return own && !strcmp(own, role);
}

static bool in_channel(const json_t *m, const char *channel) {
  const char *own = mtk_json_get(m, "channel", NULL);
  return own && !strcmp(own, channel);
}

/* before + the member `key`, if there is one. */
static mtk_status put_member(chat_prompt *p, const char *before, const json_t *m, const char *key,
                             mtk_error *err) {
  const json_t *v = json_object_get(m, key);
  if (!json_is_string(v)) return MTK_OK;
  mtk_bytes text = {0};
  mtk_bytes_puts(&text, before);
  mtk_bytes_append(&text, json_string_value(v), json_string_length(v));
  mtk_status st = mtk_bytes_status(&text, err);
  if (st == MTK_OK && text.len) st = mtk_prompt_text(p, text.data, text.len, err);
  mtk_bytes_finish(&text);
  return st;
}

/* "<|constrain|>json": the marker stands for the control token. */
static mtk_status put_content_type(chat_prompt *p, const json_t *m, mtk_error *err) {
  static const char marker[] = "<|constrain|>";
  size_t n, skip = sizeof marker - 1;
  const char *type = mtk_json_get(m, "content_type", &n);
  if (!type) return MTK_OK;
  if (strncmp(type, marker, skip) != 0) return put_member(p, " ", m, "content_type", err);
  MTK_TRY(mtk_prompt_puts(p, " ", err));
  MTK_TRY(mtk_prompt_control(p, marker, err));
  return mtk_prompt_text(p, type + skip, n - skip, err);
}

static mtk_status put_author(chat_prompt *p, const json_t *m, size_t at, mtk_error *err) {
  bool tool = is_role(m, "tool");
  if (tool && !json_is_string(json_object_get(m, "name")))
    return mtk_chat_fail(err, at, "a tool's message needs the tool's 'name'");
  MTK_TRY(put_member(p, "", m, tool ? "name" : "role", err));
  return tool ? MTK_OK : put_member(p, ":", m, "name", err);
}

static mtk_status put_content(chat_prompt *p, const json_t *m, bool functions, size_t at,
                              mtk_error *err) {
  const json_t *content = json_object_get(m, "content");
  if (json_is_string(content))
    return mtk_prompt_text(p, json_string_value(content), json_string_length(content), err);
  if (!json_is_array(content))
    return mtk_chat_fail(err, at, "'content' must be a string or a list of parts");
  for (size_t i = 0; i < json_array_size(content); i++)
    MTK_TRY(put_part(p, json_array_get(content, i), functions, at, err));
  return MTK_OK;
}

typedef struct turn {
  bool functions; /* the conversation has function tools */
  bool answered;  /* the message before was the assistant's own, too: it writes this header */
  bool last;      /* of a conversation to train on */
} turn;

/* Of an assistant's message training learns what follows "<|start|>assistant", which a prompt ends
 * with, and that too where the assistant goes on after a message of its own. */
static mtk_status put_message(chat_prompt *p, const json_t *m, const turn *t, size_t at,
                              mtk_error *err) {
  const char *recipient = mtk_json_get(m, "recipient", NULL);
  bool assistant = is_role(m, "assistant");
  p->learn = assistant && t->answered;
  MTK_TRY(mtk_prompt_control(p, "<|start|>", err));
  MTK_TRY(put_author(p, m, at, err));
  p->learn = assistant;
  if (recipient && strcmp(recipient, "all") != 0)
    MTK_TRY(put_member(p, " to=", m, "recipient", err));
  if (json_is_string(json_object_get(m, "channel"))) {
    MTK_TRY(mtk_prompt_control(p, "<|channel|>", err));
    MTK_TRY(put_member(p, "", m, "channel", err));
  }
  MTK_TRY(put_content_type(p, m, err));
  MTK_TRY(mtk_prompt_control(p, "<|message|>", err));
  MTK_TRY(put_content(p, m, t->functions, at, err));
  const char *end = assistant && recipient                           ? "<|call|>"
                    : assistant && t->last && in_channel(m, "final") ? "<|return|>"
                                                                     : "<|end|>";
  MTK_TRY(mtk_prompt_control(p, end, err));
  p->learn = false;
  return MTK_OK;
}

/* ---- conversations -------------------------------------------------------------------------- */

static bool has_functions(const json_t *messages) {
  for (size_t i = 0; i < json_array_size(messages); i++) {
    const json_t *parts = json_object_get(json_array_get(messages, i), "content");
    for (size_t k = 0; k < json_array_size(parts); k++) {
      const json_t *tools = json_object_get(json_array_get(parts, k), "tools");
      const json_t *functions = json_object_get(tools, "functions");
      const char *type = mtk_json_get(json_array_get(parts, k), "type", NULL);
      if (type && !strcmp(type, "developer_content") &&
          json_array_size(json_object_get(functions, "tools")))
        return true;
    }
  }
  return false;
}

/* Once the assistant has answered, its reasoning before the first final message is left out. The
 * number of messages before that one; 0 = nothing is left out. */
static size_t reasoning_end(const json_t *messages, const json_t *request) {
  size_t n = json_array_size(messages), first = 0, last = n;
  if (json_is_false(json_object_get(request, "auto_drop_analysis"))) return 0;
  while (last > 0 && !is_role(json_array_get(messages, last - 1), "assistant")) last--;
  if (!last || !in_channel(json_array_get(messages, last - 1), "final")) return 0;
  while (first < n && !in_channel(json_array_get(messages, first), "final")) first++;
  return first;
}

static mtk_status put_conversation(chat_prompt *p, const json_t *messages, const json_t *request,
                                   const chat_ask *ask, mtk_error *err) {
  size_t n = json_array_size(messages), drop = reasoning_end(messages, request);
  turn t = {.functions = has_functions(messages)};
  for (size_t i = 0; i < n; i++) {
    const json_t *m = json_array_get(messages, i);
    if (!json_is_object(m) || !mtk_json_get(m, "role", NULL))
      return mtk_chat_fail(err, i, "a message must be an object with a 'role'");
    if (i < drop && in_channel(m, "analysis")) continue;
    t.last = ask->training && i + 1 == n;
    MTK_TRY(put_message(p, m, &t, i, err));
    t.answered = is_role(m, "assistant") && !mtk_json_get(m, "recipient", NULL);
  }
  if (!ask->generation_prompt) return MTK_OK;
  MTK_TRY(mtk_prompt_control(p, "<|start|>", err));
  return mtk_prompt_puts(p, "assistant", err);
}

/* ---- OpenAI's requests ---------------------------------------------------------------------- */

static bool is_native(const json_t *messages) {
  static const char *const keys[] = {"channel", "recipient", "content_type"};
  for (size_t i = 0; i < json_array_size(messages); i++) {
    const json_t *m = json_array_get(messages, i), *parts = json_object_get(m, "content");
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
      if (json_object_get(m, keys[k])) return true;
    for (size_t k = 0; k < json_array_size(parts); k++) {
      const char *type = mtk_json_get(json_array_get(parts, k), "type", NULL);
      if (type && (!strcmp(type, "system_content") || !strcmp(type, "developer_content")))
        return true;
    }
  }
  return false;
}

/* "2025-06-28" of the time given, or of the clock. */
static void format_date(char *out, size_t room, const char *now) {
  time_t t = time(NULL);
  struct tm local;
  if (now && strlen(now) >= 10)
    snprintf(out, room, "%.10s", now);
  else if (!localtime_r(&t, &local) || !strftime(out, room, "%Y-%m-%d", &local))
    out[0] = 0;
}

static json_t *system_message(const json_t *request, const char *now) {
  char date[16];
  format_date(date, sizeof date, now);
  json_t *identity = json_object_get(request, "model_identity");
  json_t *effort = json_object_get(request, "reasoning_effort");
  json_t *names = json_object_get(request, "builtin_tools"), *tools = json_object();
  for (size_t i = 0; i < json_array_size(names); i++) {
    const char *name = json_string_value(json_array_get(names, i));
    json_t *builtin = name ? mtk_harmony_builtin(name) : NULL;
    if (builtin) json_object_set_new(tools, name, builtin);
  }
  return json_pack(
      "{s:s,s:[{s:s,s:o,s:s,s:s,s:o,s:o,s:{s:[sss],s:b}}]}", "role", "system", "content", "type",
      "system_content", "model_identity",
      json_is_string(identity) ? json_incref(identity) : json_string(g_identity),
      "knowledge_cutoff", g_cutoff, "conversation_start_date", date, "reasoning_effort",
      json_is_string(effort) ? json_incref(effort) : json_string("medium"), "tools", tools,
      "channel_config", "valid_channels", "analysis", "commentary", "final", "channel_required", 1);
}

/* A message's text; parts are joined. NULL: there is none. Owned by the caller. */
static json_t *text_content(const json_t *m) {
  const json_t *content = json_object_get(m, "content");
  mtk_bytes text = {0};
  if (json_is_string(content))
    mtk_bytes_append(&text, json_string_value(content), json_string_length(content));
  for (size_t i = 0; i < json_array_size(content); i++) {
    const json_t *part = json_object_get(json_array_get(content, i), "text");
    if (part) mtk_bytes_append(&text, json_string_value(part), json_string_length(part));
  }
  json_t *out = text.len ? json_stringn(text.data, text.len) : NULL;
  mtk_bytes_finish(&text);
  return out;
}

static void add_developer(json_t *out, json_t *instructions, json_t *tools) {
  json_t *part = json_pack("{s:s,s:o*,s:o*}", "type", "developer_content", "instructions",
                           instructions, "tools", tools);
  json_array_append_new(out, json_pack("{s:s,s:[o]}", "role", "developer", "content", part));
}

static void add_assistant_text(json_t *out, json_t *text, const char *channel) {
  if (text)
    json_array_append_new(
        out, json_pack("{s:s,s:s,s:o}", "role", "assistant", "channel", channel, "content", text));
}

static void add_call(json_t *out, const json_t *call) {
  const json_t *function = json_object_get(call, "function");
  if (!function) function = call;
  json_t *arguments = json_object_get(function, "arguments");
  const char *name = mtk_json_get(function, "name", NULL);
  mtk_bytes text = {0}, recipient = {0};
  if (json_is_string(arguments))
    mtk_bytes_append(&text, json_string_value(arguments), json_string_length(arguments));
  else if (arguments && !json_is_null(arguments))
    mtk_json_value(&text, arguments, false);
  mtk_bytes_puts(&recipient, "functions.");
  mtk_bytes_puts(&recipient, name ? name : "");
  json_array_append_new(out, json_pack("{s:s,s:s,s:s,s:s,s:o}", "role", "assistant", "recipient",
                                       recipient.data ? recipient.data : "", "channel",
                                       "commentary", "content_type", "json", "content",
                                       json_stringn(text.data ? text.data : "", text.len)));
  mtk_bytes_finish(&text);
  mtk_bytes_finish(&recipient);
}

static void add_assistant(json_t *out, const json_t *m, json_t *names) {
  static const char *const keys[] = {"reasoning_content", "reasoning", "thinking"};
  const json_t *calls = json_object_get(m, "tool_calls");
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    json_t *text = json_object_get(m, keys[i]);
    if (!json_string_length(text)) continue;
    add_assistant_text(out, json_incref(text), "analysis");
    break;
  }
  bool has_calls = json_array_size(calls) > 0;
  add_assistant_text(out, text_content(m), has_calls ? "commentary" : "final");
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const json_t *call = json_array_get(calls, i);
    const char *id = mtk_json_get(call, "id", NULL);
    if (id) json_object_set(names, id, json_object_get(json_object_get(call, "function"), "name"));
    add_call(out, call);
  }
}

/* names: call id -> function. A result names its function by the id, or itself. */
static mtk_status add_result(json_t *out, const json_t *m, const json_t *names, size_t at,
                             mtk_error *err) {
  const char *id = mtk_json_get(m, "tool_call_id", NULL);
  const char *name = id ? mtk_json_get(names, id, NULL) : NULL;
  json_t *text = text_content(m);
  if (!name) name = mtk_json_get(m, "name", NULL);
  if (!name) {
    json_decref(text);
    return mtk_chat_fail(err, at, "a tool's message answers no tool call before it");
  }
  mtk_bytes author = {0};
  mtk_bytes_puts(&author, "functions.");
  mtk_bytes_puts(&author, name);
  json_array_append_new(out, json_pack("{s:s,s:s,s:s,s:s,s:o}", "role", "tool", "name",
                                       author.data ? author.data : "", "recipient", "assistant",
                                       "channel", "commentary", "content",
                                       text ? text : json_string("")));
  mtk_bytes_finish(&author);
  return MTK_OK;
}

static mtk_status check_parts(const json_t *m, size_t at, mtk_error *err) {
  const json_t *content = json_object_get(m, "content");
  for (size_t i = 0; i < json_array_size(content); i++)
    if (!json_is_string(json_object_get(json_array_get(content, i), "text")))
      return mtk_fail(err, MTK_E_UNSUPPORTED, NULL,
                      "messages[%zu] has a part that is not text; only text is supported", at);
  return MTK_OK;
}

static mtk_status add_message(json_t *out, json_t *m, json_t *names, size_t at, mtk_error *err) {
  MTK_TRY(check_parts(m, at, err));
  if (is_role(m, "assistant"))
    add_assistant(out, m, names);
  else if (is_role(m, "tool"))
    return add_result(out, m, names, at, err);
  else if (is_role(m, "system") || is_role(m, "developer"))
    add_developer(out, text_content(m), NULL);
  else if (is_role(m, "user"))
    json_array_append(out, m);
  else
    return mtk_chat_fail(err, at, "'role' must be system, developer, user, assistant or tool");
  return MTK_OK;
}

/* The conversation in harmony's own messages. */
static mtk_status convert(json_t *out, const json_t *request, const chat_ask *ask, mtk_error *err) {
  const json_t *messages = json_object_get(request, "messages");
  const json_t *first = json_array_get(messages, 0);
  json_t *tools = mtk_harmony_functions(json_object_get(request, "tools")), *text = NULL;
  json_t *names = json_object();
  bool instructed = is_role(first, "system") || is_role(first, "developer");
  json_array_append_new(out, system_message(request, ask->now));
  if (instructed) text = text_content(first);
  if (text || tools) add_developer(out, text, tools);
  mtk_status st = MTK_OK;
  for (size_t i = instructed; i < json_array_size(messages) && st == MTK_OK; i++)
    st = add_message(out, json_array_get(messages, i), names, i, err);
  json_decref(names);
  return st;
}

static mtk_status encode(chat_prompt *out, const mtk_chat *chat, json_t *request,
                         const chat_ask *ask, mtk_error *err) {
  (void)chat;
  json_t *messages = json_object_get(request, "messages"), *own = NULL;
  mtk_status st = MTK_OK;
  if (!json_array_size(messages))
    return mtk_fail(err, MTK_E_INVALID, "messages", "a conversation needs a message");
  if (json_is_true(json_object_get(request, "continue_final_message")))
    return mtk_fail(err, MTK_E_INVALID, "continue_final_message",
                    "this model's encoding cannot continue a message");
  if (!is_native(messages)) {
    own = json_array();
    st = convert(own, request, ask, err);
  }
  if (st == MTK_OK) st = put_conversation(out, own ? own : messages, request, ask, err);
  json_decref(own);
  return st;
}

static bool matches(const mtk_vocab *vocab, const mtk_tokenizer *tok) {
  static const char *const tokens[] = {"<|start|>", "<|message|>", "<|channel|>", "<|constrain|>",
                                       "<|end|>",   "<|return|>",  "<|call|>"};
  (void)vocab;
  for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
    int32_t id = mtk_tokenizer_find(tok, tokens[i]);
    if (id < 0 || !mtk_tokenizer_is_control(tok, id)) return false;
  }
  return true;
}

const chat_encoder mtk_chat_harmony = {"harmony", matches, NULL, encode};
