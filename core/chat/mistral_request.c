/* chat/mistral_request.c: requests as Mistral's encoders want them: validated, messages of one role
 * merged, system prompts gathered, tool results in the order of their calls, JSON normalized. The
 * rules are those of mistral-common's normalizers. Pure; any thread. */
#include <string.h>

#include "chat/mistral.h"

static const char message_join[] = "\n\n";

/* ---- contents ------------------------------------------------------------------------------- */

typedef struct merger {
  json_t *chunks;
  mtk_bytes text;
  const char *chunk_join;
} merger;

static json_t *bytes_json(const mtk_bytes *b) {
  return json_stringn(b->data ? b->data : "", b->len);
}

static void flush_text(merger *m) {
  if (m->text.len)
    json_array_append_new(m->chunks, json_pack("{s:o}", "text", bytes_json(&m->text)));
  m->text.len = 0;
}

/* "thinking" is a text or, in Mistral's API, a list of text parts. */
static void add_thinking(merger *m, const json_t *chunk) {
  json_t *v = json_object_get(chunk, "thinking"), *closed = json_object_get(chunk, "closed");
  mtk_bytes text = {0};
  flush_text(m);
  if (json_is_string(v)) mtk_bytes_append(&text, json_string_value(v), json_string_length(v));
  for (size_t i = 0; i < json_array_size(v); i++) {
    size_t n;
    const char *part = mtk_json_get(json_array_get(v, i), "text", &n);
    if (part) mtk_bytes_append(&text, part, n);
  }
  json_array_append_new(m->chunks, json_pack("{s:o,s:b}", "thinking", bytes_json(&text), "closed",
                                             !closed || json_is_true(closed)));
  m->text.failed |= text.failed;
  mtk_bytes_finish(&text);
}

static void add_text(merger *m, const json_t *text, const char *join) {
  if (!json_string_length(text)) return;
  if (m->text.len) mtk_bytes_puts(&m->text, join);
  mtk_bytes_append(&m->text, json_string_value(text), json_string_length(text));
}

static void add_content(merger *m, const json_t *content) {
  const char *join = message_join; /* until text of this message is there */
  if (json_is_string(content)) add_text(m, content, join);
  for (size_t i = 0; i < json_array_size(content); i++) {
    const json_t *chunk = json_array_get(content, i), *text = json_object_get(chunk, "text");
    if (json_object_get(chunk, "thinking")) {
      add_thinking(m, chunk);
      continue;
    }
    add_text(m, text, join);
    if (json_string_length(text)) join = m->chunk_join;
  }
}

/* The contents of messages[from..to) as one string, or a list if there is more than text. */
static json_t *merge_contents(const json_t *messages, size_t from, size_t to,
                              const mistral_rules *rules) {
  merger m = {.chunks = json_array(), .chunk_join = rules->chunk_join};
  for (size_t i = from; i < to; i++)
    add_content(&m, json_object_get(json_array_get(messages, i), "content"));
  json_t *out = m.chunks;
  if (json_array_size(m.chunks)) {
    flush_text(&m);
  } else {
    out = bytes_json(&m.text);
    json_decref(m.chunks);
  }
  if (m.text.failed) {
    json_decref(out);
    out = NULL;
  }
  mtk_bytes_finish(&m.text);
  return out;
}

/* JSON text in Python's spelling; what is no JSON stays, and nothing is {}. */
static json_t *normalize_text(const char *text, size_t n) {
  mtk_bytes out = {0};
  if (!text || !n)
    mtk_bytes_puts(&out, "{}");
  else if (!mtk_json_normalize(&out, text, n, false))
    mtk_bytes_append(&out, text, n);
  json_t *v = out.failed ? NULL : bytes_json(&out);
  mtk_bytes_finish(&out);
  return v;
}

/* ---- messages of one role ------------------------------------------------------------------- */

static json_t *normalize_call(const json_t *call) {
  const json_t *function = json_object_get(call, "function");
  json_t *arguments = json_object_get(function, "arguments"), *id = json_object_get(call, "id");
  mtk_bytes text = {0};
  if (json_is_object(arguments)) mtk_json_value(&text, arguments, false);
  json_t *normal = json_is_object(arguments) ? bytes_json(&text)
                                             : normalize_text(json_string_value(arguments),
                                                              json_string_length(arguments));
  mtk_bytes_finish(&text);
  return json_pack("{s:O,s:o,s:O?}", "name", json_object_get(function, "name"), "arguments", normal,
                   "id", json_is_string(id) ? id : NULL);
}

static json_t *merge_assistant(const json_t *messages, size_t from, size_t to, json_t *content) {
  json_t *calls = json_array();
  bool prefix = false;
  for (size_t i = from; i < to; i++) {
    const json_t *m = json_array_get(messages, i), *list = json_object_get(m, "tool_calls");
    for (size_t k = 0; k < json_array_size(list); k++)
      json_array_append_new(calls, normalize_call(json_array_get(list, k)));
    prefix |= json_is_true(json_object_get(m, "prefix"));
  }
  json_t *weight = json_object_get(json_array_get(messages, from), "weight");
  return json_pack("{s:s,s:o,s:o,s:b,s:O?}", "role", "assistant", "content", content, "tool_calls",
                   calls, "prefix", prefix, "weight", weight);
}

static json_t *tool_message(const json_t *messages, size_t at, const mistral_rules *rules) {
  const json_t *m = json_array_get(messages, at);
  json_t *content = merge_contents(messages, at, at + 1, rules);
  if (rules->result == RESULT_LIST || rules->result == RESULT_OBJECT) {
    json_t *normal = normalize_text(json_string_value(content), json_string_length(content));
    json_decref(content);
    content = normal;
  }
  return json_pack("{s:s,s:o,s:O?,s:O?}", "role", "tool", "content", content, "tool_call_id",
                   json_object_get(m, "tool_call_id"), "name", json_object_get(m, "name"));
}

static size_t call_index(const json_t *ids, const json_t *message) {
  const json_t *at = json_object_get(ids, mtk_json_get(message, "tool_call_id", NULL));
  return at ? (size_t)json_integer_value(at) : SIZE_MAX;
}

/* Results in the order of their calls; ids: call id -> its number. Insertion sort would be
 * quadratic in a hostile request: results are put into slots instead. */
static void add_sorted(json_t *out, const json_t *results, const json_t *ids) {
  json_t *slots = json_array(), *rest = json_array();
  size_t n = json_object_size(ids);
  for (size_t i = 0; i < n; i++) json_array_append_new(slots, json_null());
  for (size_t i = 0; i < json_array_size(results); i++) {
    json_t *m = json_array_get(results, i);
    size_t slot = call_index(ids, m);
    if (slot < n && json_is_null(json_array_get(slots, slot)))
      json_array_set(slots, slot, m);
    else
      json_array_append(rest, m);
  }
  for (size_t i = 0; i < n; i++)
    if (!json_is_null(json_array_get(slots, i))) json_array_append(out, json_array_get(slots, i));
  json_array_extend(out, rest);
  json_decref(slots);
  json_decref(rest);
}

/* ---- the conversation ----------------------------------------------------------------------- */

static const char *role_of(const json_t *messages, size_t i) {
  return mtk_json_get(json_array_get(messages, i), "role", NULL);
}

/* Whether messages[i] continues the group that messages[i-1] belongs to. */
static bool same_group(const json_t *messages, size_t i) {
  const json_t *a = json_object_get(json_array_get(messages, i - 1), "weight");
  const json_t *b = json_object_get(json_array_get(messages, i), "weight");
  bool none_a = !json_is_number(a), none_b = !json_is_number(b);
  return !strcmp(role_of(messages, i - 1), role_of(messages, i)) && none_a == none_b &&
         json_number_value(a) == json_number_value(b);
}

typedef struct normalizer {
  const mistral_rules *rules;
  json_t *out;
  json_t *call_ids; /* of the calls since the last results: id -> number */
} normalizer;

static void add_group(normalizer *n, const json_t *messages, size_t from, size_t to) {
  const char *role = role_of(messages, from);
  bool is_user = !strcmp(role, "user"), is_assistant = !strcmp(role, "assistant");
  if (!strcmp(role, "tool")) {
    json_t *results = json_array();
    for (size_t i = from; i < to; i++)
      json_array_append_new(results, tool_message(messages, i, n->rules));
    if (n->rules->pair_by_id)
      add_sorted(n->out, results, n->call_ids);
    else
      json_array_extend(n->out, results);
    json_decref(results);
    json_object_clear(n->call_ids);
    return;
  }
  if (!is_user && !is_assistant) { /* system */
    for (size_t i = from; i < to && n->rules->system == SYSTEM_OWN; i++)
      json_array_append_new(n->out, json_pack("{s:s,s:o}", "role", "system", "content",
                                              merge_contents(messages, i, i + 1, n->rules)));
    return;
  }
  json_t *content = merge_contents(messages, from, to, n->rules), *message;
  message = is_assistant ? merge_assistant(messages, from, to, content)
                         : json_pack("{s:s,s:o}", "role", "user", "content", content);
  const json_t *calls = json_object_get(message, "tool_calls");
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const char *id = mtk_json_get(json_array_get(calls, i), "id", NULL);
    if (id && !json_object_get(n->call_ids, id))
      json_object_set_new(n->call_ids, id, json_integer((json_int_t)json_object_size(n->call_ids)));
  }
  json_array_append_new(n->out, message);
}

static void merge_messages(json_t *out, const mistral_rules *rules, const json_t *messages) {
  normalizer n = {rules, out, json_object()};
  size_t from = 0;
  for (size_t i = 1; i <= json_array_size(messages); i++) {
    if (i < json_array_size(messages) && same_group(messages, i)) continue;
    add_group(&n, messages, from, i);
    from = i;
  }
  json_decref(n.call_ids);
  bool opens_with_user = json_array_size(out) && !strcmp(role_of(out, 0), "user");
  if (!json_array_size(out) || (rules->system != SYSTEM_OWN && !opens_with_user))
    json_array_insert_new(out, 0, json_pack("{s:s,s:s}", "role", "user", "content", ""));
}

/* All system prompts joined; NULL if there is none. */
static json_t *join_system(const json_t *messages, const mistral_rules *rules) {
  mtk_bytes text = {0};
  bool any = false;
  for (size_t i = 0; i < json_array_size(messages); i++) {
    const json_t *content = json_object_get(json_array_get(messages, i), "content");
    bool empty = !json_string_length(content) && !json_array_size(content);
    if (strcmp(role_of(messages, i), "system") != 0 || empty) continue;
    json_t *one = merge_contents(messages, i, i + 1, rules);
    if (any) mtk_bytes_puts(&text, message_join);
    mtk_bytes_append(&text, json_string_value(one) ? json_string_value(one) : "",
                     json_string_length(one));
    any = true;
    json_decref(one);
  }
  json_t *out = any ? bytes_json(&text) : NULL;
  mtk_bytes_finish(&text);
  return out;
}

/* ---- tools and settings --------------------------------------------------------------------- */

static mtk_status normalize_tools(json_t **out, const json_t *tools, mtk_error *err) {
  *out = NULL;
  if (!tools || json_is_null(tools)) return MTK_OK;
  if (!json_is_array(tools)) return mtk_fail(err, MTK_E_INVALID, "tools", "expected a list");
  json_t *list = json_array();
  for (size_t i = 0; i < json_array_size(tools); i++) {
    json_t *function = json_object_get(json_array_get(tools, i), "function");
    json_t *name = json_object_get(function, "name");
    json_t *text = json_object_get(function, "description");
    json_t *parameters = json_object_get(function, "parameters");
    bool described = text && !json_is_null(text), typed = parameters && !json_is_null(parameters);
    if (!json_is_string(name) || (described && !json_is_string(text)) ||
        (typed && !json_is_object(parameters)) ||
        !mtk_mistral_is_name(json_string_value(name), json_string_length(name))) {
      json_decref(list);
      return mtk_fail(err, MTK_E_INVALID, "tools",
                      "tool %zu must be {\"type\": \"function\", \"function\": {\"name\", "
                      "\"description\", \"parameters\"}} with a name of 1 to 64 letters, digits, "
                      "'_' or '-'",
                      i);
    }
    json_array_append_new(
        list, json_pack("{s:s,s:{s:O,s:o,s:o}}", "type", "function", "function", "name", name,
                        "description", described ? json_incref(text) : json_string(""),
                        "parameters", typed ? json_incref(parameters) : json_object()));
  }
  *out = list;
  if (!json_array_size(list)) {
    json_decref(list);
    *out = NULL;
  }
  return MTK_OK;
}

/* The schema that an answer shall follow, or NULL. Owned by the caller. */
static json_t *response_schema(const json_t *request) {
  json_t *format = json_object_get(request, "response_format");
  const char *type = mtk_json_get(format, "type", NULL);
  if (!type || !strcmp(type, "text")) return NULL;
  if (!strcmp(type, "json_object"))
    return json_pack("{s:[{s:s},{s:s}]}", "anyOf", "type", "object", "type", "array");
  return json_incref(json_object_get(json_object_get(format, "json_schema"), "schema"));
}

static mtk_status reasoning_setting(json_t *settings, const json_t *rule, json_t *effort,
                                    mtk_error *err) {
  const json_t *values = json_object_get(rule, "values");
  if (!effort || json_is_null(effort)) effort = json_object_get(rule, "default");
  for (size_t i = 0; i < json_array_size(values); i++)
    if (json_equal(json_array_get(values, i), effort)) {
      json_object_set(settings, "reasoning_effort", effort);
      return MTK_OK;
    }
  if (!effort || json_is_null(effort)) return MTK_OK;
  char *known = json_dumps(values, JSON_ENCODE_ANY);
  mtk_status st = mtk_fail(err, MTK_E_INVALID, "reasoning_effort",
                           "this model knows only the values %s", known ? known : "[]");
  free(known);
  return st;
}

static mtk_status build_settings(json_t **out, const mistral_rules *rules, const json_t *builder,
                                 const json_t *request, mtk_error *err) {
  json_t *effort = json_object_get(request, "reasoning_effort");
  *out = NULL;
  if (!rules->settings && effort && !json_is_null(effort))
    return mtk_fail(err, MTK_E_INVALID, "reasoning_effort", "this model has no such setting");
  if (!rules->settings) return MTK_OK;
  json_t *settings = json_object();
  json_t *rule = json_object_get(builder, "json_schema");
  json_t *schema = rule && !json_is_null(rule) ? response_schema(request) : NULL;
  if (schema) json_object_set_new(settings, "json_schema", schema);
  rule = json_object_get(builder, "reasoning_effort");
  mtk_status st =
      rule && !json_is_null(rule) ? reasoning_setting(settings, rule, effort, err) : MTK_OK;
  if (st == MTK_OK && json_object_size(settings))
    *out = settings;
  else
    json_decref(settings);
  return st;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* A copy of the messages in which an assistant's "reasoning_content" or "reasoning" (OpenAI's
 * dialects) is a thinking part, and the last is a prefix if the request says so. */
static mtk_status import_messages(json_t **out, const json_t *request, mtk_error *err) {
  const json_t *messages = json_object_get(request, "messages");
  size_t n = json_array_size(messages);
  *out = json_array();
  for (size_t i = 0; i < n; i++) {
    json_t *m = json_copy(json_array_get(messages, i)), *content;
    if (!json_is_object(m)) {
      json_decref(m);
      return mtk_chat_fail(err, i, "a message must be an object");
    }
    json_array_append_new(*out, m);
    json_t *reasoning = json_object_get(m, "reasoning_content");
    if (!json_string_length(reasoning)) reasoning = json_object_get(m, "reasoning");
    if (!json_string_length(reasoning)) continue;
    json_t *list = json_pack("[{s:s,s:O}]", "type", "thinking", "thinking", reasoning);
    content = json_object_get(m, "content");
    if (json_is_string(content))
      json_array_append_new(list, json_pack("{s:s,s:O}", "type", "text", "text", content));
    else
      json_array_extend(list, content);
    json_object_set_new(m, "content", list);
  }
  if (!json_is_true(json_object_get(request, "continue_final_message"))) return MTK_OK;
  const char *role = n ? role_of(*out, n - 1) : NULL;
  if (!role || strcmp(role, "assistant") != 0)
    return mtk_fail(err, MTK_E_INVALID, "continue_final_message",
                    "the last message is not an assistant's");
  json_object_set_new(json_array_get(*out, n - 1), "prefix", json_true());
  return MTK_OK;
}

mtk_status mtk_mistral_request_init(mistral_request *out, const mistral_rules *rules,
                                    const json_t *builder, const json_t *request, bool generation,
                                    mtk_error *err) {
  *out = (mistral_request){0};
  json_t *messages = NULL;
  mtk_status st = import_messages(&messages, request, err);
  if (st == MTK_OK) st = mtk_mistral_check(messages, rules, generation, err);
  if (st == MTK_OK) st = normalize_tools(&out->tools, json_object_get(request, "tools"), err);
  if (st == MTK_OK) st = build_settings(&out->settings, rules, builder, request, err);
  if (st == MTK_OK) {
    out->messages = json_array();
    merge_messages(out->messages, rules, messages);
    if (rules->system != SYSTEM_OWN) out->system = join_system(messages, rules);
  }
  json_decref(messages);
  if (st != MTK_OK) mtk_mistral_request_finish(out);
  return st;
}

void mtk_mistral_request_finish(mistral_request *r) {
  json_decref(r->messages);
  json_decref(r->system);
  json_decref(r->tools);
  json_decref(r->settings);
  *r = (mistral_request){0};
}
