/* chat/mistral.c: Mistral's own encoding of conversations, tokenizer versions 1 to 15, and its fill
 * in the middle. Ids are those of mistral-common 1.13 (tokens/tokenizers/instruct.py). Text and
 * control tokens are separate pieces, so no text can become a control token. Pure; any thread. */
#include "chat/mistral.h"

#include <string.h>

static const mistral_rules g_rules[] = {
    {.version = 1, .system = SYSTEM_IN_FIRST_USER, .chunk_join = "\n\n"},
    {.version = 2,
     .system = SYSTEM_IN_LAST_USER,
     .tools = TOOLS_LAST_USER,
     .call = CALL_LIST,
     .result = RESULT_LIST,
     .inst_tokens = true,
     .chunk_join = "\n\n"},
    {.version = 3,
     .system = SYSTEM_IN_LAST_USER,
     .tools = TOOLS_LAST_USER,
     .call = CALL_LIST_ID,
     .result = RESULT_OBJECT,
     .id = ID_NINE,
     .inst_tokens = true,
     .chunk_join = "\n\n"},
    {.version = 7,
     .system = SYSTEM_OWN,
     .tools = TOOLS_LAST_USER,
     .call = CALL_LIST_ID,
     .result = RESULT_ID,
     .id = ID_NINE,
     .inst_tokens = true,
     .content_and_calls = true,
     .chunk_join = "\n\n"},
    {.version = 11,
     .system = SYSTEM_OWN,
     .tools = TOOLS_LAST_USER,
     .call = CALL_NAME_ID,
     .result = RESULT_ID,
     .id = ID_NINE,
     .inst_tokens = true,
     .content_and_calls = true,
     .pair_by_id = true,
     .chunk_join = "\n\n"},
    {.version = 13,
     .system = SYSTEM_OWN,
     .tools = TOOLS_FIRST_USER,
     .call = CALL_NAME,
     .result = RESULT_PLAIN,
     .id = ID_NONEMPTY,
     .inst_tokens = true,
     .content_and_calls = true,
     .pair_by_id = true,
     .think = true,
     .think_in_system = true,
     .chunk_join = "\n\n"},
    {.version = 15,
     .system = SYSTEM_OWN,
     .tools = TOOLS_FIRST_USER,
     .call = CALL_NAME,
     .result = RESULT_PLAIN,
     .id = ID_NONEMPTY,
     .inst_tokens = true,
     .content_and_calls = true,
     .pair_by_id = true,
     .think = true,
     .settings = true,
     .chunk_join = ""}};

/* The rules of a version, or NULL. */
static const mistral_rules *rules_of(int32_t version) {
  for (size_t i = 0; i < sizeof g_rules / sizeof g_rules[0]; i++)
    if (g_rules[i].version == version) return &g_rules[i];
  return NULL;
}

/* One request being encoded. */
typedef struct encoding {
  chat_prompt *p;
  const mistral_rules *rules;
  const mistral_request *request;
  size_t first_user, last_user;
} encoding;

/* ---- pieces --------------------------------------------------------------------------------- */

static mtk_status put_string(chat_prompt *p, const json_t *text, mtk_error *err) {
  return mtk_prompt_text(p, json_string_value(text), json_string_length(text), err);
}

static mtk_status put_bytes(chat_prompt *p, mtk_bytes *text, mtk_error *err) {
  mtk_status st = mtk_bytes_status(text, err);
  if (st == MTK_OK && text->len) st = mtk_prompt_text(p, text->data, text->len, err);
  mtk_bytes_finish(text);
  return st;
}

/* open, the JSON of value, close */
static mtk_status put_json(chat_prompt *p, const char *open, const json_t *value, const char *close,
                           mtk_error *err) {
  mtk_bytes text = {0};
  mtk_json_value(&text, value, false);
  mtk_status st = mtk_prompt_control(p, open, err);
  if (st != MTK_OK) mtk_bytes_clear(&text);
  if (st == MTK_OK) st = put_bytes(p, &text, err);
  mtk_bytes_finish(&text);
  return st == MTK_OK ? mtk_prompt_control(p, close, err) : st;
}

/* What JSON a text is; a text that is none, as a JSON string. */
static void append_parsed(mtk_bytes *out, const json_t *text) {
  const char *s = json_string_value(text);
  size_t n = json_string_length(text);
  if (!mtk_json_normalize(out, s, n, false)) mtk_json_string(out, s, n);
}

static mtk_status put_chunks(chat_prompt *p, const json_t *content, mtk_error *err) {
  if (json_is_string(content)) return put_string(p, content, err);
  for (size_t i = 0; i < json_array_size(content); i++) {
    const json_t *chunk = json_array_get(content, i),
                 *thinking = json_object_get(chunk, "thinking");
    if (thinking) MTK_TRY(mtk_prompt_control(p, "[THINK]", err));
    MTK_TRY(put_string(p, thinking ? thinking : json_object_get(chunk, "text"), err));
    if (thinking && json_is_true(json_object_get(chunk, "closed")))
      MTK_TRY(mtk_prompt_control(p, "[/THINK]", err));
  }
  return MTK_OK;
}

/* ---- users ---------------------------------------------------------------------------------- */

static mtk_status put_tools(const encoding *e, size_t at, mtk_error *err) {
  const mistral_rules *r = e->rules;
  size_t place = r->tools == TOOLS_FIRST_USER ? e->first_user : e->last_user;
  if (r->tools == TOOLS_NONE || at != place) return MTK_OK;
  if (e->request->tools)
    MTK_TRY(put_json(e->p, "[AVAILABLE_TOOLS]", e->request->tools, "[/AVAILABLE_TOOLS]", err));
  return e->request->settings
             ? put_json(e->p, "[MODEL_SETTINGS]", e->request->settings, "[/MODEL_SETTINGS]", err)
             : MTK_OK;
}

static mtk_status put_user(const encoding *e, const json_t *m, size_t at, mtk_error *err) {
  const json_t *content = json_object_get(m, "content"), *system = e->request->system;
  bool here = json_string_length(system) &&
              at == (e->rules->system == SYSTEM_IN_FIRST_USER ? e->first_user : e->last_user);
  const char *open = e->rules->inst_tokens ? "" : "[INST] ";
  const char *close = e->rules->inst_tokens ? "" : " [/INST]";
  mtk_bytes text = {0};
  MTK_TRY(put_tools(e, at, err));
  if (e->rules->inst_tokens) MTK_TRY(mtk_prompt_control(e->p, "[INST]", err));
  mtk_bytes_puts(&text, open);
  if (here) mtk_bytes_append(&text, json_string_value(system), json_string_length(system));
  if (here) mtk_bytes_puts(&text, "\n\n");
  mtk_bytes_append(&text, json_string_value(content), json_string_length(content));
  mtk_bytes_puts(&text, close);
  MTK_TRY(put_bytes(e->p, &text, err));
  return e->rules->inst_tokens ? mtk_prompt_control(e->p, "[/INST]", err) : MTK_OK;
}

/* ---- assistants ----------------------------------------------------------------------------- */

static bool has_id(const json_t *call) {
  const char *id = mtk_json_get(call, "id", NULL);
  return id && *id && strcmp(id, "null") != 0;
}

static mtk_status put_call_list(const encoding *e, const json_t *calls, mtk_error *err) {
  mtk_bytes text = {0};
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const json_t *call = json_array_get(calls, i);
    mtk_bytes_puts(&text, i ? ", {\"name\": " : "[{\"name\": ");
    mtk_json_value(&text, json_object_get(call, "name"), false);
    mtk_bytes_puts(&text, ", \"arguments\": ");
    append_parsed(&text, json_object_get(call, "arguments"));
    if (e->rules->call == CALL_LIST_ID && has_id(call)) {
      mtk_bytes_puts(&text, ", \"id\": ");
      mtk_json_value(&text, json_object_get(call, "id"), false);
    }
    mtk_bytes_puts(&text, "}");
  }
  mtk_bytes_puts(&text, "]");
  mtk_status st = mtk_prompt_control(e->p, "[TOOL_CALLS]", err);
  if (st == MTK_OK) return put_bytes(e->p, &text, err);
  mtk_bytes_finish(&text);
  return st;
}

static mtk_status put_named_call(const encoding *e, const json_t *call, mtk_error *err) {
  mtk_bytes text = {0};
  MTK_TRY(mtk_prompt_control(e->p, "[TOOL_CALLS]", err));
  MTK_TRY(put_string(e->p, json_object_get(call, "name"), err));
  if (e->rules->call == CALL_NAME_ID && has_id(call)) {
    MTK_TRY(mtk_prompt_control(e->p, "[CALL_ID]", err));
    MTK_TRY(put_string(e->p, json_object_get(call, "id"), err));
  }
  MTK_TRY(mtk_prompt_control(e->p, "[ARGS]", err));
  append_parsed(&text, json_object_get(call, "arguments"));
  return put_bytes(e->p, &text, err);
}

static mtk_status put_calls(const encoding *e, const json_t *calls, mtk_error *err) {
  if (!json_array_size(calls)) return MTK_OK;
  if (e->rules->call == CALL_LIST || e->rules->call == CALL_LIST_ID)
    return put_call_list(e, calls, err);
  for (size_t i = 0; i < json_array_size(calls); i++)
    MTK_TRY(put_named_call(e, json_array_get(calls, i), err));
  return MTK_OK;
}

/* Before [THINK] existed, plain text lost the spaces at its end. */
static mtk_status put_answer(const encoding *e, const json_t *content, mtk_error *err) {
  const char *s = json_string_value(content);
  size_t n = json_string_length(content);
  if (!s) return put_chunks(e->p, content, err);
  while (e->rules->inst_tokens && n && s[n - 1] == ' ') n--;
  return mtk_prompt_text(e->p, s, n, err);
}

static mtk_status put_assistant(const encoding *e, const json_t *m, size_t at, mtk_error *err) {
  const json_t *content = json_object_get(m, "content"), *calls = json_object_get(m, "tool_calls");
  const json_t *weight = json_object_get(m, "weight");
  bool has_content = json_string_length(content) || json_array_size(content);
  bool has_calls = json_array_size(calls);
  if (!has_content && !has_calls)
    return mtk_fail(err, MTK_E_INVALID, "messages", "an assistant message is empty");
  if (has_calls && e->rules->call == CALL_NONE)
    return mtk_fail(err, MTK_E_INVALID, "messages", "this model's tokenizer has no tool calls");
  if (has_calls && has_content && !e->rules->content_and_calls)
    return mtk_fail(err, MTK_E_INVALID, "messages",
                    "content and tool calls of one assistant turn cannot both be encoded");
  if (has_calls && e->rules->result == RESULT_LIST && at < e->last_user) return MTK_OK;
  e->p->learn = !json_is_number(weight) || json_number_value(weight) != 0;
  mtk_status st = put_answer(e, content, err);
  if (st == MTK_OK) st = put_calls(e, calls, err);
  if (st == MTK_OK && !json_is_true(json_object_get(m, "prefix")))
    st = mtk_prompt_control_id(e->p, mtk_tokenizer_eos(e->p->tok), "</s>", err);
  e->p->learn = false;
  return st;
}

/* ---- tools ---------------------------------------------------------------------------------- */

static mtk_status put_result(const encoding *e, const json_t *m, size_t at, mtk_error *err) {
  const json_t *content = json_object_get(m, "content");
  const mistral_rules *r = e->rules;
  mtk_bytes text = {0};
  if (r->result == RESULT_NONE)
    return mtk_fail(err, MTK_E_INVALID, "messages", "this model's tokenizer has no tool results");
  if (r->result == RESULT_LIST && at < e->last_user) return MTK_OK;
  MTK_TRY(mtk_prompt_control(e->p, "[TOOL_RESULTS]", err));
  if (r->result == RESULT_ID) {
    MTK_TRY(put_string(e->p, json_object_get(m, "tool_call_id"), err));
    MTK_TRY(mtk_prompt_control(e->p, "[TOOL_CONTENT]", err));
  }
  if (r->result == RESULT_LIST) {
    mtk_bytes_puts(&text, "[{\"name\": ");
    mtk_json_value(&text, json_object_get(m, "name"), false);
    mtk_bytes_puts(&text, ", \"content\": ");
    append_parsed(&text, content);
    mtk_bytes_puts(&text, "}]");
  } else if (r->result == RESULT_OBJECT) {
    mtk_bytes_puts(&text, "{\"content\": ");
    append_parsed(&text, content);
    mtk_bytes_puts(&text, ", \"call_id\": ");
    mtk_json_value(&text, json_object_get(m, "tool_call_id"), false);
    mtk_bytes_puts(&text, "}");
  } else {
    mtk_bytes_append(&text, json_string_value(content), json_string_length(content));
  }
  MTK_TRY(put_bytes(e->p, &text, err));
  return mtk_prompt_control(e->p, "[/TOOL_RESULTS]", err);
}

/* Version 2 has one result block for a turn's calls. */
static mtk_status check_results(const encoding *e, mtk_error *err) {
  size_t n = json_array_size(e->request->messages), count = 0;
  bool after_calls = false;
  for (size_t i = e->last_user; i < n && e->rules->result == RESULT_LIST; i++) {
    const json_t *m = json_array_get(e->request->messages, i);
    bool is_tool = !strcmp(mtk_json_get(m, "role", NULL), "tool");
    if (!is_tool) {
      after_calls = json_array_size(json_object_get(m, "tool_calls")) > 0;
      count = 0;
    } else if (after_calls && ++count > 1) {
      return mtk_fail(err, MTK_E_INVALID, "messages",
                      "this model's tokenizer has only one tool result for an assistant turn");
    }
  }
  return MTK_OK;
}

/* ---- requests ------------------------------------------------------------------------------- */

static mtk_status put_system(const encoding *e, const json_t *m, size_t at, mtk_error *err) {
  (void)at;
  MTK_TRY(mtk_prompt_control(e->p, "[SYSTEM_PROMPT]", err));
  MTK_TRY(put_chunks(e->p, json_object_get(m, "content"), err));
  return mtk_prompt_control(e->p, "[/SYSTEM_PROMPT]", err);
}

static const struct {
  const char *role;
  mtk_status (*put)(const encoding *e, const json_t *message, size_t at, mtk_error *err);
} g_roles[] = {
    {"user", put_user}, {"assistant", put_assistant}, {"tool", put_result}, {"system", put_system}};

static mtk_status put_message(const encoding *e, size_t at, mtk_error *err) {
  const json_t *m = json_array_get(e->request->messages, at);
  const char *role = mtk_json_get(m, "role", NULL);
  for (size_t i = 0; i < sizeof g_roles / sizeof g_roles[0]; i++)
    if (role && !strcmp(role, g_roles[i].role)) return g_roles[i].put(e, m, at, err);
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a conversation");
}

static mtk_status put_bos(chat_prompt *p, mtk_error *err) {
  return mtk_prompt_control_id(p, mtk_tokenizer_bos(p->tok), "<s>", err);
}

static mtk_status encode_messages(chat_prompt *out, const mistral_rules *rules,
                                  const mistral_request *request, mtk_error *err) {
  encoding e = {out, rules, request, SIZE_MAX, 0};
  size_t n = json_array_size(request->messages);
  for (size_t i = 0; i < n; i++) {
    const char *role = mtk_json_get(json_array_get(request->messages, i), "role", NULL);
    if (!role || strcmp(role, "user") != 0) continue;
    if (e.first_user == SIZE_MAX) e.first_user = i;
    e.last_user = i;
  }
  MTK_TRY(check_results(&e, err));
  MTK_TRY(put_bos(out, err));
  for (size_t i = 0; i < n; i++) MTK_TRY(put_message(&e, i, err));
  return MTK_OK;
}

/* <s>[SUFFIX]suffix[PREFIX]prompt: the answer is the middle. The suffix is encoded behind a
 * character of its own, so that a SentencePiece model puts no space before it. */
static mtk_status encode_fim(chat_prompt *p, const mistral_rules *rules, const json_t *request,
                             mtk_error *err) {
  static const char mark[] = "\xE2\x98\xBA"; /* U+263A */
  const json_t *prompt = json_object_get(request, "prompt");
  const json_t *suffix = json_object_get(request, "suffix");
  bool no_suffix = !suffix || json_is_null(suffix);
  mtk_bytes text = {0};
  if (!rules->inst_tokens)
    return mtk_fail(err, MTK_E_INVALID, "prompt",
                    "this model's tokenizer has no fill in the middle");
  if (!json_is_string(prompt) || (!no_suffix && !json_is_string(suffix)))
    return mtk_fail(err, MTK_E_INVALID, "prompt", "'prompt' and 'suffix' must be strings");
  MTK_TRY(put_bos(p, err));
  MTK_TRY(mtk_prompt_control(p, "[SUFFIX]", err));
  if (json_string_length(suffix)) {
    mtk_bytes_puts(&text, mark);
    mtk_bytes_append(&text, json_string_value(suffix), json_string_length(suffix));
    mtk_status st = mtk_bytes_status(&text, err);
    if (st == MTK_OK) st = mtk_prompt_text_from(p, text.data, text.len, sizeof mark - 1, 2, err);
    mtk_bytes_finish(&text);
    MTK_TRY(st);
  }
  MTK_TRY(mtk_prompt_control(p, "[PREFIX]", err));
  return put_string(p, prompt, err);
}

static mtk_status encode(chat_prompt *out, const mtk_chat *chat, json_t *request,
                         const chat_ask *ask, mtk_error *err) {
  const mistral_rules *rules = rules_of(chat->version);
  mistral_request r;
  if (json_object_get(request, "prompt") && !json_object_get(request, "messages"))
    return encode_fim(out, rules, request, err);
  MTK_TRY(
      mtk_mistral_request_init(&r, rules, chat->settings, request, ask->generation_prompt, err));
  if (r.tools && rules->tools == TOOLS_NONE)
    mtk_log(MTK_LOG_WARN, "this model's tokenizer has no tools: they are left out");
  mtk_status st = encode_messages(out, rules, &r, err);
  mtk_mistral_request_finish(&r);
  return st;
}

/* ---- the model ------------------------------------------------------------------------------ */

static bool matches(const mtk_vocab *vocab, const mtk_tokenizer *tok) {
  (void)tok;
  return vocab->mistral_version > 0;
}

static mtk_status open_model(mtk_chat *chat, const mtk_vocab *vocab, mtk_error *err) {
  chat->version = vocab->mistral_version;
  const mistral_rules *rules = rules_of(chat->version);
  if (!rules)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL,
                    "Mistral's tokenizer version %d is not known; give a template with --template",
                    chat->version);
  if (!rules->settings || !vocab->tekken_json) return MTK_OK;
  json_t *doc = json_loadb(vocab->tekken_json, vocab->tekken_json_len, 0, NULL);
  chat->settings = json_incref(json_object_get(doc, "model_settings_builder"));
  json_decref(doc);
  return MTK_OK;
}

const chat_encoder mtk_chat_mistral = {"mistral", matches, open_model, encode};
