/* run.c: mtk run: generate from one prompt. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"prompt", 'p', MTK_OPT_STRING, "TEXT", NULL, 0, 0, NULL,
     "a user message, through the chat template"},
    {"messages", 'm', MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "JSON chat (list, or object with messages)"},
    {"raw", 0, MTK_OPT_STRING, "TEXT", NULL, 0, 0, NULL, "continue this text, no template"},
    {"ids", 0, MTK_OPT_STRING, "LIST", NULL, 0, 0, NULL,
     "continue these token ids (needs no tokenizer)"},
    {"special", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "parse control tokens in --raw text"},
    {"max-tokens", 'n', MTK_OPT_INT, "N", "0", 0, 1e9, NULL,
     "most tokens to generate (0 = to the context)"},
    {"temperature", 0, MTK_OPT_FLOAT, "T", "0", 0, 100, NULL, "0 = greedy"},
    {"top-k", 0, MTK_OPT_INT, "K", "0", 0, 1e9, NULL, "sample among the K best (0 = off)"},
    {"top-p", 0, MTK_OPT_FLOAT, "P", "1", 0, 1, NULL, "nucleus: smallest set with probability P"},
    {"min-p", 0, MTK_OPT_FLOAT, "P", "0", 0, 1, NULL, "drop tokens below P times the best"},
    {"repetition-penalty", 0, MTK_OPT_FLOAT, "R", "1", 0.01, 100, NULL, "1 = off"},
    {"seed", 's', MTK_OPT_INT, "S", "0", 0, 9e15, NULL, "of the random draws"},
    {"stop", 0, MTK_OPT_LIST, "TEXT", NULL, 0, 0, NULL, "stop before this text"},
    {"template", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,
     "Jinja file instead of the model's template"},
    {"tool-parser", 0, MTK_OPT_STRING, "NAME", NULL, 0, 0, NULL,
     "how the answer marks tool calls (default: what the model shows; 'mtk serve --help' lists)"},
    {"ignore-eos", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "go on after the end of the answer"},
    MTK_CMD_ENGINE_OPTIONS,
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

typedef struct generation {
  bool stream;
  mtk_chat_parser *parser; /* of an answer to a chat, or NULL */
  mtk_bytes text;
  mtk_ids ids;
  mtk_finish finish;
  mtk_error error;
  double first_s;
  mtk_status st;
} generation;

static void on_token(void *ctx, const mtk_token_event *ev) {
  generation *g = ctx;
  if (g->first_s == 0) g->first_s = mtk_now_s();
  if (ev->id >= 0 && g->st == MTK_OK) g->st = mtk_ids_push(&g->ids, ev->id, &g->error);
  mtk_bytes_append(&g->text, ev->text, ev->n_text);
  if (g->stream && ev->n_text && g->st == MTK_OK) {
    fwrite(ev->text, 1, ev->n_text, stdout);
    g->st = mtk_cmd_flush(&g->error);
  }
  if (ev->finish != MTK_FINISH_NONE) g->finish = ev->finish;
  if (ev->error) g->error = *ev->error;
}

/* {"messages":[...]} for -p or --messages, as JSON text (free with free()). */
static mtk_status chat_json(char **out, const mtk_cmd_line *line, mtk_error *err) {
  const char *prompt = mtk_options_string(line->options, "prompt");
  const char *path = mtk_options_string(line->options, "messages");
  json_t *doc = NULL;
  if (prompt) {
    doc = json_pack("{s:[{s:s,s:s}]}", "messages", "role", "user", "content", prompt);
    if (!doc) return mtk_fail(err, MTK_E_INVALID, NULL, "the prompt is not UTF-8");
  } else {
    MTK_TRY(mtk_cmd_read_json(&doc, path, 0, err));
    if (json_is_array(doc)) doc = json_pack("{s:o}", "messages", doc);
  }
  *out = json_dumps(doc, JSON_REAL_PRECISION(17));
  json_decref(doc);
  return *out ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

/* The parser of the answer to a rendered request. */
static mtk_status make_parser(generation *g, const mtk_cmd_line *line, const mtk_chat *chat,
                              const char *request, const mtk_bytes *prompt, mtk_error *err) {
  json_t *doc = json_loads(request, JSON_ALLOW_NUL, NULL);
  char *tools = json_dumps(json_object_get(doc, "tools"), JSON_ENCODE_ANY);
  mtk_chat_parser_options o = {.struct_size = sizeof o,
                               .name = mtk_options_string(line->options, "tool-parser"),
                               .prompt = prompt->data,
                               .n_prompt = prompt->len,
                               .tools_json = tools,
                               .n_tools_json = tools ? strlen(tools) : 0,
                               .seed = (uint64_t)mtk_options_int(line->options, "seed")};
  mtk_status st = mtk_chat_parser_create(&g->parser, chat, &o, err);
  free(tools);
  json_decref(doc);
  return st;
}

static mtk_status chat_prompt(mtk_ids *out, generation *g, const mtk_cmd_line *line,
                              const mtk_model *model, mtk_error *err) {
  mtk_bytes source = {0}, text = {0};
  const char *path = mtk_options_string(line->options, "template");
  mtk_chat *chat = NULL;
  char *json = NULL;
  mtk_status st = path ? mtk_cmd_read_all(&source, path, err) : MTK_OK;
  if (st == MTK_OK) st = mtk_chat_create(&chat, model, path ? source.data : NULL, err);
  if (st == MTK_OK) st = chat_json(&json, line, err);
  if (st == MTK_OK)
    st = mtk_chat_render(&text, out, NULL, chat, json, strlen(json), true, NULL, err);
  if (st == MTK_OK) st = make_parser(g, line, chat, json, &text, err);
  free(json);
  mtk_chat_destroy(chat);
  mtk_bytes_finish(&source);
  mtk_bytes_finish(&text);
  return st;
}

static mtk_status prompt_ids(mtk_ids *out, generation *g, const mtk_cmd_line *line,
                             const mtk_cmd_engine *e, mtk_error *err) {
  const mtk_option_values *o = line->options;
  const char *raw = mtk_options_string(o, "raw"), *ids = mtk_options_string(o, "ids");
  int given =
      !!raw + !!ids + !!mtk_options_string(o, "prompt") + !!mtk_options_string(o, "messages");
  if (given != 1)
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "give one of -p TEXT, --messages FILE, --raw TEXT, --ids LIST");
  if (ids) return mtk_cmd_parse_ids(out, ids, err);
  if (!raw) return chat_prompt(out, g, line, e->model, err);
  const mtk_tokenizer *tok = mtk_engine_tokenizer(e->engine);
  if (!tok)
    return mtk_fail(err, MTK_E_NOT_FOUND, line->args[0],
                    "the model has no tokenizer that mtk can use");
  unsigned flags = MTK_ENCODE_BOS | (mtk_options_flag(o, "special") ? MTK_ENCODE_SPECIAL : 0u);
  return mtk_tokenizer_encode(out, tok, raw, strlen(raw), flags, err);
}

static mtk_status generate(generation *g, const mtk_cmd_line *line, const mtk_cmd_engine *e,
                           const mtk_ids *prompt, mtk_error *err) {
  const mtk_option_values *o = line->options;
  mtk_request r = {.struct_size = sizeof r,
                   .prompt = prompt->data,
                   .n_prompt = (int64_t)prompt->len,
                   .max_tokens = mtk_options_int(o, "max-tokens"),
                   .echo_special = true,
                   .ignore_eos = mtk_options_flag(o, "ignore-eos"),
                   .adapter = e->adapter,
                   .on_token = on_token,
                   .ctx = g};
  r.sampling = (mtk_sampling){(float)mtk_options_float(o, "temperature"),
                              (int32_t)mtk_options_int(o, "top-k"),
                              (float)mtk_options_float(o, "top-p"),
                              (float)mtk_options_float(o, "min-p"),
                              (float)mtk_options_float(o, "repetition-penalty"),
                              0,
                              0,
                              (uint64_t)mtk_options_int(o, "seed")};
  r.n_stop = (int)mtk_options_list(o, "stop", &r.stop);
  mtk_scheduler *s = NULL;
  uint64_t id;
  int active = 1;
  mtk_status st = mtk_scheduler_create(&s, e->engine, err);
  if (st == MTK_OK) st = mtk_scheduler_submit(&id, s, &r, err);
  while (st == MTK_OK && active) {
    if (mtk_cancelled() || g->st != MTK_OK) mtk_scheduler_cancel(s, id);
    st = mtk_scheduler_step(&active, s, err);
  }
  mtk_scheduler_destroy(s);
  if (st == MTK_OK && (g->st != MTK_OK || g->finish == MTK_FINISH_ERROR)) {
    *err = g->error;
    st = g->error.code;
  }
  return st;
}

static json_t *ids_json(const mtk_ids *ids) {
  json_t *a = json_array();
  for (size_t i = 0; i < ids->len; i++) json_array_append_new(a, json_integer(ids->data[i]));
  return a;
}

/* Calls and arguments as OpenAI's list; content and reasoning into out[part]. */
static void sort_deltas(mtk_bytes *out, json_t *calls, const mtk_chat_delta *deltas, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const mtk_chat_delta *d = &deltas[i];
    if (d->part == MTK_CHAT_CALL)
      json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", d->id, "type",
                                             "function", "function", "name", d->name, "arguments",
                                             ""));
    else if (d->part == MTK_CHAT_ARGUMENTS)
      json_object_set_new(json_object_get(json_array_get(calls, (size_t)d->index), "function"),
                          "arguments", json_stringn(d->text, d->n_text));
    else
      mtk_bytes_append(&out[d->part], d->text, d->n_text);
  }
}

/* What the answer's markup says: "content", "reasoning", "tool_calls" beside the raw text. */
static mtk_status report_parts(json_t *doc, const generation *g, mtk_error *err) {
  const mtk_chat_delta *deltas;
  size_t n;
  if (!g->parser || !mtk_chat_parser_is_active(g->parser)) return MTK_OK;
  MTK_TRY(mtk_chat_parser_push(&deltas, &n, g->parser, g->text.data ? g->text.data : "",
                               g->text.len, true, err));
  static const char *const names[] = {"content", "reasoning"};
  mtk_bytes parts[2] = {{0}, {0}};
  json_t *calls = json_array();
  sort_deltas(parts, calls, deltas, n);
  for (int i = 0; i < 2; i++) {
    json_object_set_new(doc, names[i],
                        json_stringn(parts[i].data ? parts[i].data : "", parts[i].len));
    mtk_bytes_finish(&parts[i]);
  }
  json_object_set_new(doc, "tool_calls", calls);
  return MTK_OK;
}

static mtk_status report(const mtk_cmd_line *line, const generation *g, const mtk_ids *prompt,
                         double start_s, double end_s, mtk_error *err) {
  static const char *const names[] = {"none", "stop", "length", "cancelled", "error"};
  double prompt_s = g->first_s - start_s, decode_s = end_s - g->first_s;
  double rate = g->ids.len > 1 && decode_s > 0 ? (double)(g->ids.len - 1) / decode_s : 0;
  if (line->json) {
    json_t *doc = json_pack("{s:o,s:o,s:s%,s:s,s:{s:f,s:f,s:f,s:f}}", "prompt_ids",
                            ids_json(prompt), "generated_ids", ids_json(&g->ids), "text",
                            g->text.data ? g->text.data : "", g->text.len, "finish_reason",
                            names[g->finish], "timings", "prompt_s", prompt_s, "generation_s",
                            decode_s, "prompt_tokens_per_s",
                            prompt_s > 0 ? (double)prompt->len / prompt_s : 0,
                            "generated_tokens_per_s", rate);
    mtk_status st = report_parts(doc, g, err);
    if (st == MTK_OK) return mtk_cmd_print_json(doc, false, err);
    json_decref(doc);
    return st;
  }
  mtk_cmd_print("\n");
  mtk_log(MTK_LOG_INFO, "%zu prompt tokens in %.3f s, %zu generated, %.1f tokens/s, finish: %s",
          prompt->len, prompt_s, g->ids.len, rate, names[g->finish]);
  return MTK_OK;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  mtk_cmd_engine e;
  MTK_TRY(mtk_cmd_engine_open(&e, line, line->args[0], 1, err));
  mtk_ids prompt = {0};
  generation g = {.stream = !line->json};
  double start = mtk_now_s();
  mtk_status st = prompt_ids(&prompt, &g, line, &e, err);
  if (st == MTK_OK) {
    start = mtk_now_s();
    st = generate(&g, line, &e, &prompt, err);
  }
  if (st == MTK_OK) st = report(line, &g, &prompt, start, mtk_now_s(), err);
  if (st == MTK_OK && g.finish == MTK_FINISH_CANCELLED)
    st = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
  mtk_chat_parser_destroy(g.parser);
  mtk_bytes_finish(&g.text);
  mtk_ids_finish(&g.ids);
  mtk_ids_finish(&prompt);
  mtk_cmd_engine_close(&e);
  return st;
}

const mtk_cmd mtk_cmd_run = {"run",
                             "MODEL [-p TEXT | --messages FILE | --raw TEXT | --ids LIST] [-n N]",
                             "generate text from a prompt",
                             g_options,
                             NULL,
                             1,
                             1,
                             run};
