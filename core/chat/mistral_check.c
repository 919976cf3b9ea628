/* chat/mistral_check.c: whether a conversation is one that Mistral's models know: the rules of
 * mistral-common's validator, in its mode "test" for prompts and "agnostic" for whole
 * conversations. Pure; any thread. */
#include <string.h>

#include "chat/mistral.h"

typedef enum role { SYSTEM, USER, ASSISTANT, TOOL, N_ROLES } role;
static const char *const g_roles[N_ROLES] = {"system", "user", "assistant", "tool"};

static const bool g_follows[N_ROLES][N_ROLES] = {
    [SYSTEM] = {[SYSTEM] = true, [USER] = true, [ASSISTANT] = true},
    [USER] = {[SYSTEM] = true, [USER] = true, [ASSISTANT] = true},
    [ASSISTANT] = {[USER] = true, [ASSISTANT] = true, [TOOL] = true},
    [TOOL] = {[USER] = true, [ASSISTANT] = true, [TOOL] = true}};

static role role_of(const json_t *message) {
  const char *name = mtk_json_get(message, "role", NULL);
  role r = 0;
  while (r < N_ROLES && (!name || strcmp(name, g_roles[r]) != 0)) r++;
  return r;
}

static bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool mtk_mistral_is_name(const char *name, size_t n) {
  bool ok = n >= 1 && n <= 64;
  for (size_t i = 0; i < n && ok; i++) ok = is_alnum(name[i]) || name[i] == '_' || name[i] == '-';
  return ok;
}

static mtk_status check_name(const json_t *name, size_t at, mtk_error *err) {
  if (json_is_string(name) &&
      mtk_mistral_is_name(json_string_value(name), json_string_length(name)))
    return MTK_OK;
  return mtk_chat_fail(err, at,
                       "the function name '%s' must be 1 to 64 letters, digits, '_' or '-'",
                       json_is_string(name) ? json_string_value(name) : "");
}

static mtk_status check_id(const char *id, size_t n, const mistral_rules *rules, bool may_lack,
                           size_t at, mtk_error *err) {
  bool lacks = !id || !strcmp(id, "null"), nine = n == 9;
  if (rules->id == ID_FREE || (rules->id == ID_NINE && lacks && may_lack)) return MTK_OK;
  if (rules->id == ID_NONEMPTY && (lacks || !n))
    return mtk_chat_fail(err, at, "a tool call id must be a non-empty string other than 'null'");
  for (size_t i = 0; i < n; i++) nine = nine && is_alnum(id[i]);
  if (rules->id == ID_NINE && (lacks || !nine))
    return mtk_chat_fail(err, at, "the tool call id '%s' must be 9 letters or digits",
                         id ? id : "");
  return MTK_OK;
}

/* ---- contents ------------------------------------------------------------------------------- */

static bool is_thinking(const json_t *chunk) {
  const char *type = mtk_json_get(chunk, "type", NULL);
  return type && !strcmp(type, "thinking");
}

static mtk_status check_chunk(const json_t *chunk, bool may_think, role r, size_t at,
                              mtk_error *err) {
  const char *type = mtk_json_get(chunk, "type", NULL);
  if (type && !strcmp(type, "text")) {
    if (json_is_string(json_object_get(chunk, "text"))) return MTK_OK;
    return mtk_chat_fail(err, at, "a text part has no 'text'");
  }
  if (!is_thinking(chunk))
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL,
                    "messages[%zu] has a part of type '%s'; only text is supported", at,
                    type ? type : "");
  const json_t *v = json_object_get(chunk, "thinking");
  if (!may_think)
    return mtk_chat_fail(err, at, "this model takes no thinking parts in %s messages", g_roles[r]);
  if (!json_is_string(v) && !json_is_array(v))
    return mtk_chat_fail(err, at, "a thinking part has no 'thinking'");
  return MTK_OK;
}

static mtk_status check_content(const json_t *m, role r, const mistral_rules *rules, size_t at,
                                mtk_error *err) {
  const json_t *content = json_object_get(m, "content");
  bool may_think = (r == ASSISTANT && rules->think) || (r == SYSTEM && rules->think_in_system);
  if (json_is_string(content) || (r == ASSISTANT && (!content || json_is_null(content))))
    return MTK_OK;
  if (!json_is_array(content))
    return mtk_chat_fail(err, at, "'content' must be a string or a list of parts");
  for (size_t i = 0; i < json_array_size(content); i++)
    MTK_TRY(check_chunk(json_array_get(content, i), may_think, r, at, err));
  return MTK_OK;
}

static bool has_content(const json_t *m) {
  const json_t *content = json_object_get(m, "content");
  return json_string_length(content) || json_array_size(content);
}

static mtk_status check_call(const json_t *call, const mistral_rules *rules, bool may_lack,
                             size_t at, mtk_error *err) {
  size_t n;
  const char *id = mtk_json_get(call, "id", &n);
  const json_t *function = json_object_get(call, "function");
  const json_t *arguments = json_object_get(function, "arguments");
  MTK_TRY(check_id(id, n, rules, may_lack, at, err));
  MTK_TRY(check_name(json_object_get(function, "name"), at, err));
  if (arguments && !json_is_null(arguments) && !json_is_object(arguments) &&
      !json_is_string(arguments))
    return mtk_chat_fail(err, at, "the arguments of a tool call must be an object or JSON text");
  return MTK_OK;
}

static mtk_status check_assistant(const json_t *m, const mistral_rules *rules, bool last,
                                  bool generation, size_t at, mtk_error *err) {
  const json_t *calls = json_object_get(m, "tool_calls");
  const json_t *weight = json_object_get(m, "weight");
  if (calls && !json_is_null(calls) && !json_is_array(calls))
    return mtk_chat_fail(err, at, "'tool_calls' must be a list");
  if (!rules->content_and_calls && has_content(m) == (json_array_size(calls) > 0))
    return mtk_chat_fail(err, at,
                         "an assistant message must have either content or tool calls, not both");
  for (size_t i = 0; i < json_array_size(calls); i++)
    MTK_TRY(check_call(json_array_get(calls, i), rules, last && !generation, at, err));
  if (weight && !json_is_null(weight) && json_number_value(weight) != 0 &&
      json_number_value(weight) != 1)
    return mtk_chat_fail(err, at, "'weight' must be 0 or 1");
  if (json_is_true(json_object_get(m, "prefix")) && !last)
    return mtk_chat_fail(err, at, "an assistant message with 'prefix' must be the last");
  return MTK_OK;
}

static mtk_status check_message(const json_t *m, const mistral_rules *rules, bool last,
                                bool generation, size_t at, mtk_error *err) {
  role r = role_of(m);
  MTK_TRY(check_content(m, r, rules, at, err));
  if (r == ASSISTANT) return check_assistant(m, rules, last, generation, at, err);
  if (r != TOOL) return MTK_OK;
  const json_t *name = json_object_get(m, "name");
  size_t n;
  const char *id = mtk_json_get(m, "tool_call_id", &n);
  if (name && !json_is_null(name)) MTK_TRY(check_name(name, at, err));
  return check_id(id, n, rules, false, at, err);
}

/* ---- order ---------------------------------------------------------------------------------- */

/* Results answer calls one to one before the assistant speaks again. */
static mtk_status check_counts(const json_t *messages, mtk_error *err) {
  size_t open = 0;
  bool too_many = false;
  for (size_t i = 1; i < json_array_size(messages); i++) {
    const json_t *m = json_array_get(messages, i);
    role r = role_of(m);
    too_many |= r == TOOL && open == 0;
    open -= r == TOOL && open > 0;
    if (r != ASSISTANT) continue;
    if (open || too_many)
      return mtk_chat_fail(err, i, "not the same number of tool calls and tool results before it");
    open = json_array_size(json_object_get(m, "tool_calls"));
  }
  return MTK_OK;
}

/* Results name the calls they answer. `open` and `seen` are sets of ids. */
static mtk_status pair_message(json_t *open, json_t *seen, const json_t *m, size_t at,
                               mtk_error *err) {
  role r = role_of(m);
  if (r == TOOL) {
    const char *id = mtk_json_get(m, "tool_call_id", NULL);
    if (!id || json_object_get(seen, id))
      return mtk_chat_fail(err, at, "a second result for the tool call id '%s'", id ? id : "");
    if (!json_object_get(open, id))
      return mtk_chat_fail(err, at, "a result for the tool call id '%s', which was not made", id);
    json_object_set_new(seen, id, json_true());
  }
  if (r != ASSISTANT) return MTK_OK;
  if (json_object_size(open) != json_object_size(seen))
    return mtk_chat_fail(err, at, "not the same number of tool calls and tool results before it");
  json_object_clear(open);
  json_object_clear(seen);
  const json_t *calls = json_object_get(m, "tool_calls");
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const char *id = mtk_json_get(json_array_get(calls, i), "id", NULL);
    if (!id) id = "null";
    if (json_object_get(open, id))
      return mtk_chat_fail(err, at, "two calls with the tool call id '%s'", id);
    json_object_set_new(open, id, json_true());
  }
  return MTK_OK;
}

static mtk_status check_pairs(const json_t *messages, mtk_error *err) {
  json_t *open = json_object(), *seen = json_object();
  mtk_status st = MTK_OK;
  for (size_t i = 1; i < json_array_size(messages) && st == MTK_OK; i++)
    st = pair_message(open, seen, json_array_get(messages, i), i, err);
  json_decref(open);
  json_decref(seen);
  return st;
}

static mtk_status check_order(const json_t *messages, bool generation, mtk_error *err) {
  size_t n = json_array_size(messages);
  for (size_t i = 0; i < n; i++) {
    const json_t *m = json_array_get(messages, i);
    role r = role_of(m), before = i ? role_of(json_array_get(messages, i - 1)) : r;
    if (r == N_ROLES)
      return mtk_chat_fail(err, i, "'role' must be system, user, assistant or tool");
    if (i && !g_follows[before][r])
      return mtk_chat_fail(err, i, "unexpected role '%s' after role '%s'", g_roles[r],
                           g_roles[before]);
  }
  const json_t *last = json_array_get(messages, n - 1);
  if (n == 1 && role_of(last) != USER && role_of(last) != SYSTEM)
    return mtk_chat_fail(err, 0, "a conversation must start with a user or system message");
  if (generation && role_of(last) == ASSISTANT && !json_is_true(json_object_get(last, "prefix")))
    return mtk_chat_fail(err, n - 1,
                         "the last message must be a user's or a tool's, or an assistant's with "
                         "'prefix': true");
  return MTK_OK;
}

mtk_status mtk_mistral_check(const json_t *messages, const mistral_rules *rules, bool generation,
                             mtk_error *err) {
  size_t n = json_array_size(messages);
  if (!n) return mtk_fail(err, MTK_E_INVALID, "messages", "a conversation needs a message");
  MTK_TRY(check_order(messages, generation, err));
  MTK_TRY(rules->pair_by_id ? check_pairs(messages, err) : check_counts(messages, err));
  for (size_t i = 0; i < n; i++)
    MTK_TRY(check_message(json_array_get(messages, i), rules, i + 1 == n, generation, i, err));
  return MTK_OK;
}
