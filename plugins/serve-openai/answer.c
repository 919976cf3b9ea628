/* answer.c: the text of an answer as it comes, sorted into content, reasoning and tool calls, and
 * the calls as JSON. Loop thread. */
#include "server.h"

static mtk_status begin_call(job *j, const mtk_chat_delta *d) {
  size_t n = (size_t)j->n_calls;
  tool_call *grown = mtk_realloc(j->calls, n, n + 1, sizeof *grown);
  if (!grown) return MTK_E_NOMEM;
  j->calls = grown;
  grown[n] = (tool_call){.id = mtk_strdup(d->id), .name = mtk_strdup(d->name)};
  j->n_calls++;
  return grown[n].id && grown[n].name ? MTK_OK : MTK_E_NOMEM;
}

static mtk_status add_delta(job *j, const mtk_chat_delta *d) {
  if (d->part == MTK_CHAT_CALL) return begin_call(j, d);
  mtk_bytes *to = d->part == MTK_CHAT_CONTENT     ? &j->content
                  : d->part == MTK_CHAT_REASONING ? &j->reasoning
                                                  : &j->calls[d->index].arguments;
  mtk_bytes_append(to, d->text, d->n_text);
  return mtk_bytes_status(to, NULL);
}

mtk_status serve_answer_text(job *j, const char *text, size_t n, bool end) {
  const mtk_chat_delta *deltas;
  size_t n_deltas;
  if (j->kind != JOB_CHAT) {
    mtk_bytes_append(&j->content, text, n);
    return mtk_bytes_status(&j->content, NULL);
  }
  MTK_TRY(mtk_chat_parser_push(&deltas, &n_deltas, j->parser, text, n, end, NULL));
  for (size_t i = 0; i < n_deltas; i++) MTK_TRY(add_delta(j, &deltas[i]));
  return MTK_OK;
}

static json_t *arguments_json(const tool_call *c) {
  return json_stringn(c->arguments.data ? c->arguments.data : "", c->arguments.len);
}

json_t *serve_calls_json(const job *j) {
  json_t *list = json_array();
  for (int i = 0; i < j->n_calls; i++) {
    const tool_call *c = &j->calls[i];
    json_array_append_new(list,
                          json_pack("{s:s,s:s,s:{s:s,s:o}}", "id", c->id, "type", "function",
                                    "function", "name", c->name, "arguments", arguments_json(c)));
  }
  return list;
}

json_t *serve_new_calls_json(job *j) {
  json_t *list = json_array();
  for (int i = j->n_told ? j->n_told - 1 : 0; i < j->n_calls; i++) {
    tool_call *c = &j->calls[i];
    if (c->told && !c->arguments.len) continue;
    json_t *item =
        json_pack("{s:i,s:{s:o}}", "index", i, "function", "arguments", arguments_json(c));
    if (!c->told) {
      json_object_set_new(item, "id", json_string(c->id));
      json_object_set_new(item, "type", json_string("function"));
      json_object_set_new(json_object_get(item, "function"), "name", json_string(c->name));
    }
    json_array_append_new(list, item);
    c->told = true;
    mtk_bytes_clear(&c->arguments);
  }
  j->n_told = j->n_calls;
  return list;
}
