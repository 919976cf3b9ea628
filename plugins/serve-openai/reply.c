/* reply.c: replies: JSON documents, errors, server-sent events. Loop thread only. */
#include "server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <string.h>

/* A client that reads nothing while this much waits for it is given up. */
enum { MAX_BACKLOG_BYTES = 1 << 20 };

/* False when memory was short. */
static bool add_json(struct evbuffer *out, const json_t *doc) {
  char *text = doc ? json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  bool ok = text && evbuffer_add(out, text, strlen(text)) == 0;
  free(text);
  return ok;
}

static const char *reason_phrase(int status) {
  static const struct {
    int status;
    const char *phrase;
  } table[] = {{200, "OK"},
               {400, "Bad Request"},
               {401, "Unauthorized"},
               {404, "Not Found"},
               {405, "Method Not Allowed"},
               {500, "Internal Server Error"},
               {503, "Service Unavailable"}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (table[i].status == status) return table[i].phrase;
  return "Error";
}

void serve_json(struct evhttp_request *http, int status, json_t *doc) {
  struct evkeyvalq *headers = evhttp_request_get_output_headers(http);
  evhttp_add_header(headers, "Content-Type", "application/json");
  struct evbuffer *out = evbuffer_new();
  if (!out || !add_json(out, doc)) status = 500;
  json_decref(doc);
  evhttp_send_reply(http, status, reason_phrase(status), out);
  if (out) evbuffer_free(out);
}

static json_t *error_doc(const char *type, const char *param, const char *code,
                         const char *message) {
  bool incomplete;
  size_t n = mtk_utf8_prefix(message, strlen(message), &incomplete); /* it may have been cut */
  return json_pack("{s:{s:s%,s:s,s:s?,s:s?}}", "error", "message", message, n, "type", type,
                   "param", param, "code", code);
}

void serve_error(struct evhttp_request *http, int status, const char *type, const char *param,
                 const char *code, const char *message) {
  serve_json(http, status, error_doc(type, param, code, message));
}

/* ---- pieces of replies ----------------------------------------------------------------------- */

static const char *finish_name(const job *j, mtk_finish finish) {
  return finish == MTK_FINISH_LENGTH ? "length"
         : finish == MTK_FINISH_NONE ? NULL
         : j->n_calls                ? "tool_calls"
                                     : "stop";
}

static json_t *usage_doc(const job *j) {
  return json_pack("{s:I,s:I,s:I}", "prompt_tokens", (json_int_t)j->n_prompt, "completion_tokens",
                   (json_int_t)j->n_generated, "total_tokens",
                   (json_int_t)(j->n_prompt + j->n_generated));
}

/* Token text as JSON; bytes that are no UTF-8 by themselves become U+FFFD. NULL: no memory. */
static json_t *token_text(const char *data, size_t n) {
  mtk_bytes clean = {0};
  mtk_utf8_stream s = {0};
  mtk_utf8_stream_push(&s, &clean, data, n, true);
  json_t *text = clean.failed ? NULL : json_stringn(clean.data ? clean.data : "", clean.len);
  mtk_bytes_finish(&clean);
  return text;
}

static json_t *token_bytes(const char *data, size_t n) {
  json_t *a = json_array();
  for (size_t i = 0; i < n; i++) json_array_append_new(a, json_integer((uint8_t)data[i]));
  return a;
}

static json_t *token_doc(const job *j, int32_t id, float logprob) {
  size_t n = 0;
  const char *piece = mtk_tokenizer_piece(mtk_engine_tokenizer(j->model->engine), id, true, &n);
  if (!piece) piece = "";
  return json_pack("{s:o,s:f,s:o}", "token", token_text(piece, n), "logprob", (double)logprob,
                   "bytes", token_bytes(piece, n));
}

/* One entry of logprobs.content (chat); NULL: no memory. */
static json_t *chat_logprob(const job *j, const token_message *m) {
  json_t *entry = token_doc(j, m->id, m->logprob), *top = json_array();
  bool ok = true;
  for (int i = 0; i < m->n_top; i++)
    ok = ok && json_array_append_new(top, token_doc(j, m->top[i].id, m->top[i].logprob)) == 0;
  if (ok && json_object_set(entry, "top_logprobs", top) == 0) {
    json_decref(top);
    return entry;
  }
  json_decref(top);
  json_decref(entry);
  return NULL;
}

static int64_t count_characters(const json_t *text) {
  const char *s = json_string_value(text);
  int64_t n = 0;
  for (size_t i = 0; i < json_string_length(text); i++) n += ((uint8_t)s[i] & 0xC0) != 0x80;
  return n;
}

/* Collected chat entries in the older shape of /v1/completions. */
static json_t *completion_logprobs(job *j, const json_t *items) {
  json_t *tokens = json_array(), *values = json_array(), *tops = json_array();
  json_t *offsets = json_array();
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *e = json_array_get(items, i), *list = json_object_get(e, "top_logprobs");
    json_t *text = json_object_get(e, "token"), *top = json_object();
    for (size_t k = 0; k < json_array_size(list); k++) {
      const json_t *t = json_array_get(list, k);
      json_object_set(top, json_string_value(json_object_get(t, "token")),
                      json_object_get(t, "logprob"));
    }
    json_array_append(tokens, text);
    json_array_append(values, json_object_get(e, "logprob"));
    json_array_append_new(tops, top);
    json_array_append_new(offsets, json_integer(j->text_offset));
    j->text_offset += count_characters(text);
  }
  return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs",
                   tops, "text_offset", offsets);
}

static json_t *logprobs_doc(job *j, json_t *items) {
  if (!j->logprobs) return json_null();
  if (j->kind == JOB_COMPLETION) return completion_logprobs(j, items);
  return json_pack("{s:O}", "content", items);
}

static json_t *envelope(const job *j, const char *object, json_t *choices) {
  return json_pack("{s:s,s:s,s:I,s:s,s:o}", "id", j->name, "object", object, "created",
                   (json_int_t)j->created, "model", j->model->name, "choices", choices);
}

static const char *bytes_text(const mtk_bytes *b) { return b->data ? b->data : ""; }

/* ---- whole replies --------------------------------------------------------------------------- */

static json_t *whole_choice(job *j, mtk_finish finish) {
  json_t *choice = json_pack("{s:i,s:o,s:s?}", "index", 0, "logprobs",
                             logprobs_doc(j, j->logprob_items), "finish_reason",
                             finish_name(j, finish));
  json_t *content = json_stringn(bytes_text(&j->content), j->content.len);
  if (j->kind == JOB_COMPLETION) {
    json_object_set_new(choice, "text", content);
    return choice;
  }
  if (j->n_calls && !j->content.len) {
    json_decref(content);
    content = json_null();
  }
  json_t *message = json_pack("{s:s,s:o}", "role", "assistant", "content", content);
  if (j->n_calls) json_object_set_new(message, "tool_calls", serve_calls_json(j));
  if (j->reasoning.len)
    json_object_set_new(message, "reasoning_content",
                        json_stringn(j->reasoning.data, j->reasoning.len));
  json_object_set_new(choice, "message", message);
  return choice;
}

static void end_whole(job *j, const token_message *m) {
  const char *object = j->kind == JOB_CHAT ? "chat.completion" : "text_completion";
  json_t *doc = envelope(j, object, json_pack("[o]", whole_choice(j, m->finish)));
  json_object_set_new(doc, "usage", usage_doc(j));
  serve_json(j->http, 200, doc);
}

/* ---- streams --------------------------------------------------------------------------------- */

/* One server-sent event; a request whose event cannot be built ends. */
static void send_event(job *j, json_t *doc) {
  struct evbuffer *out = evbuffer_new();
  bool ok = out && evbuffer_add(out, "data: ", 6) == 0 && add_json(out, doc) &&
            evbuffer_add(out, "\n\n", 2) == 0;
  if (ok) evhttp_send_reply_chunk(j->http, out);
  else mtk_scheduler_cancel(j->model->scheduler, j->id);
  if (out) evbuffer_free(out);
  json_decref(doc);
}

static void send_done(job *j) {
  struct evbuffer *out = evbuffer_new();
  if (out && evbuffer_add_printf(out, "data: [DONE]\n\n") > 0)
    evhttp_send_reply_chunk(j->http, out);
  if (out) evbuffer_free(out);
}

static void begin_stream(job *j) {
  struct evkeyvalq *headers = evhttp_request_get_output_headers(j->http);
  evhttp_add_header(headers, "Content-Type", "text/event-stream");
  evhttp_add_header(headers, "Cache-Control", "no-cache");
  evhttp_send_reply_start(j->http, 200, "OK");
  j->started = true;
  if (j->kind != JOB_CHAT) return;
  json_t *choice = json_pack("{s:i,s:{s:s,s:s},s:n}", "index", 0, "delta", "role", "assistant",
                             "content", "", "finish_reason");
  send_event(j, envelope(j, "chat.completion.chunk", json_pack("[o]", choice)));
}

static const char *chunk_object(const job *j) {
  return j->kind == JOB_CHAT ? "chat.completion.chunk" : "text_completion";
}

/* What the last event added, as one chunk; finish NONE = not the last. */
static void send_chunk(job *j, mtk_finish finish) {
  json_t *choice = json_pack("{s:i,s:o,s:s?}", "index", 0, "logprobs",
                             logprobs_doc(j, j->logprob_items), "finish_reason",
                             finish_name(j, finish));
  json_t *content = json_stringn(bytes_text(&j->content), j->content.len);
  if (j->kind == JOB_COMPLETION) {
    json_object_set_new(choice, "text", content);
  } else {
    json_t *delta = json_object();
    if (j->content.len) json_object_set(delta, "content", content);
    json_decref(content);
    if (j->reasoning.len)
      json_object_set_new(delta, "reasoning_content",
                          json_stringn(j->reasoning.data, j->reasoning.len));
    json_t *calls = serve_new_calls_json(j);
    if (json_array_size(calls)) json_object_set(delta, "tool_calls", calls);
    json_decref(calls);
    json_object_set_new(choice, "delta", delta);
  }
  json_t *doc = envelope(j, chunk_object(j), json_pack("[o]", choice));
  if (j->include_usage) json_object_set_new(doc, "usage", json_null());
  send_event(j, doc);
  json_array_clear(j->logprob_items);
  mtk_bytes_clear(&j->content);
  mtk_bytes_clear(&j->reasoning);
}

static void end_stream(job *j) {
  if (j->include_usage) {
    json_t *doc = envelope(j, chunk_object(j), json_array());
    json_object_set_new(doc, "usage", usage_doc(j));
    send_event(j, doc);
  }
  send_done(j);
  evhttp_send_reply_end(j->http);
}

static bool has_new_calls(const job *j) {
  const tool_call *last = j->n_calls ? &j->calls[j->n_calls - 1] : NULL;
  return last && (!last->told || last->arguments.len);
}

static void stream_message(job *j, const token_message *m) {
  bool end = m->finish != MTK_FINISH_NONE;
  if (!j->started) begin_stream(j);
  if (j->content.len || j->reasoning.len || has_new_calls(j) ||
      json_array_size(j->logprob_items) || end)
    send_chunk(j, m->finish);
  struct evhttp_connection *c = evhttp_request_get_connection(j->http);
  struct evbuffer *out = bufferevent_get_output(evhttp_connection_get_bufferevent(c));
  if (end) end_stream(j);
  else if (evbuffer_get_length(out) > MAX_BACKLOG_BYTES)
    mtk_scheduler_cancel(j->model->scheduler, j->id);
}

/* ---- one message ----------------------------------------------------------------------------- */

static void collect(job *j, const token_message *m) {
  bool end = m->finish != MTK_FINISH_NONE;
  const char *text = m->text ? m->text : "";
  j->n_prompt = m->n_prompt;
  j->n_generated = m->n_generated;
  if (serve_answer_text(j, text, m->n_text, end) != MTK_OK) j->broken = true;
  if (j->logprobs && m->id >= 0 &&
      json_array_append_new(j->logprob_items, chat_logprob(j, m)) != 0)
    j->broken = true;
}

static void end_failed(job *j, int status, const char *message) {
  if (!message) message = "the server stopped this request";
  if (!j->started) {
    serve_error(j->http, status, "server_error", NULL, NULL, message);
    return;
  }
  send_event(j, error_doc("server_error", NULL, NULL, message));
  send_done(j);
  evhttp_send_reply_end(j->http);
}

void serve_health_reply(job *j) {
  const mtk_scheduler_stats *st = &j->seen;
  serve_json(j->http, 200,
             json_pack("{s:s,s:s,s:i,s:i,s:I,s:I,s:I}", "status", "ok", "model", j->model->name,
                       "running", st->running, "queued", st->queued, "steps", (json_int_t)st->steps,
                       "prompt_tokens", (json_int_t)st->prompt_tokens, "generated_tokens",
                       (json_int_t)st->generated_tokens));
}

void serve_message(job *j, const token_message *m) {
  bool end = j->ended = m->finish != MTK_FINISH_NONE;
  if (m->finish == MTK_FINISH_ERROR || m->finish == MTK_FINISH_CANCELLED) {
    end_failed(j, m->finish == MTK_FINISH_ERROR || j->broken ? 500 : 503,
               j->broken ? "out of memory" : m->error);
    return;
  }
  if (j->kind == JOB_HEALTH) {
    if (end) serve_health_reply(j);
    return;
  }
  if (j->kind == JOB_EMBEDDINGS) {
    serve_embeddings_reply(j, m);
    return;
  }
  collect(j, m);
  if (j->broken && end)
    end_failed(j, 500, "out of memory");
  else if (j->broken)
    mtk_scheduler_cancel(j->model->scheduler, j->id);
  else if (j->stream)
    stream_message(j, m);
  else if (end)
    end_whole(j, m);
}
