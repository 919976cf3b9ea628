/* parse.c: request bodies of /v1/chat/completions and /v1/completions: one table of fields, then
 * the prompt (of chats: chat.c). Loop thread. */
#include "server.h"

#include <string.h>
#include <sys/random.h>

typedef enum field_type { F_FLOAT, F_INT, F_BOOL, F_JOB_BOOL, F_ONLY } field_type;

/* Where a plain field goes. F_ONLY: accepted only with the value `only` (JSON text). */
typedef struct field {
  const char *name;
  field_type type;
  size_t offset; /* in mtk_request; F_JOB_BOOL: in job */
  double min, max;
  const char *only;
} field;

#define IN_SAMPLING(f) (offsetof(mtk_request, sampling) + offsetof(mtk_sampling, f))

static const field g_fields[] = {
    {"temperature", F_FLOAT, IN_SAMPLING(temperature), 0, 2, NULL},
    {"top_p", F_FLOAT, IN_SAMPLING(top_p), 0, 1, NULL},
    {"min_p", F_FLOAT, IN_SAMPLING(min_p), 0, 1, NULL},
    {"repetition_penalty", F_FLOAT, IN_SAMPLING(repetition_penalty), 0.01, 10, NULL},
    {"frequency_penalty", F_FLOAT, IN_SAMPLING(frequency_penalty), -2, 2, NULL},
    {"presence_penalty", F_FLOAT, IN_SAMPLING(presence_penalty), -2, 2, NULL},
    {"top_k", F_INT, IN_SAMPLING(top_k), 0, 1e9, NULL},
    {"ignore_eos", F_BOOL, offsetof(mtk_request, ignore_eos), 0, 0, NULL},
    {"stream", F_JOB_BOOL, offsetof(job, stream), 0, 0, NULL},
    {"n", F_ONLY, 0, 0, 0, "1"},
    {"best_of", F_ONLY, 0, 0, 0, "1"},
    {"echo", F_ONLY, 0, 0, 0, "false"},
    {"logit_bias", F_ONLY, 0, 0, 0, "{}"},
    {"response_format", F_ONLY, 0, 0, 0, "{\"type\":\"text\"}"}};

static mtk_status check_only(const field *f, const json_t *v, mtk_error *err) {
  json_t *only = json_loads(f->only, JSON_DECODE_ANY, NULL);
  bool same = json_equal(only, v) != 0;
  json_decref(only);
  return same ? MTK_OK
              : mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "'%s' is supported only as %s", f->name,
                         f->only);
}

static mtk_status set_field(mtk_request *r, job *j, const field *f, const json_t *v,
                            mtk_error *err) {
  char *at = (f->type == F_JOB_BOOL ? (char *)j : (char *)r) + f->offset;
  if (f->type == F_ONLY) return check_only(f, v, err);
  if (f->type == F_BOOL || f->type == F_JOB_BOOL) {
    if (!json_is_boolean(v))
      return mtk_fail(err, MTK_E_INVALID, NULL, "'%s' must be true or false", f->name);
    *(bool *)at = json_is_true(v);
    return MTK_OK;
  }
  double x = json_number_value(v);
  bool type_ok = f->type == F_INT ? json_is_integer(v) : json_is_number(v);
  if (!type_ok || x < f->min || x > f->max)
    return mtk_fail(err, MTK_E_INVALID, NULL, "'%s' must be %s from %g to %g", f->name,
                    f->type == F_INT ? "an integer" : "a number", f->min, f->max);
  if (f->type == F_INT)
    *(int32_t *)(void *)at = (int32_t)x;
  else
    *(float *)(void *)at = (float)x;
  return MTK_OK;
}

static mtk_status set_fields(parsed *p, job *j, const char **param, mtk_error *err) {
  for (size_t i = 0; i < sizeof g_fields / sizeof g_fields[0]; i++) {
    const json_t *v = json_object_get(p->doc, g_fields[i].name);
    if (!v || json_is_null(v)) continue;
    *param = g_fields[i].name;
    MTK_TRY(set_field(&p->request, j, &g_fields[i], v, err));
  }
  *param = NULL;
  return MTK_OK;
}

static mtk_status set_seed(parsed *p, const char **param, mtk_error *err) {
  const json_t *v = json_object_get(p->doc, "seed");
  *param = "seed";
  if (json_is_integer(v)) {
    p->request.sampling.seed = (uint64_t)json_integer_value(v);
  } else if (v && !json_is_null(v)) {
    return mtk_fail(err, MTK_E_INVALID, NULL, "'seed' must be an integer");
  } else if (getrandom(&p->request.sampling.seed, sizeof p->request.sampling.seed, 0) < 0) {
    return mtk_fail(err, MTK_E_IO, NULL, "no random seed could be drawn");
  }
  return MTK_OK;
}

static mtk_status set_max_tokens(parsed *p, const char **param, mtk_error *err) {
  static const char *const names[] = {"max_completion_tokens", "max_tokens"};
  for (size_t i = 0; i < 2; i++) {
    const json_t *v = json_object_get(p->doc, names[i]);
    if (!v || json_is_null(v)) continue;
    *param = names[i];
    if (!json_is_integer(v) || json_integer_value(v) < 1)
      return mtk_fail(err, MTK_E_INVALID, NULL, "'%s' must be a positive integer", names[i]);
    p->request.max_tokens = json_integer_value(v);
    return MTK_OK;
  }
  return MTK_OK;
}

static mtk_status add_stop(parsed *p, const json_t *v, mtk_error *err) {
  const char *text = json_string_value(v);
  if (!text || !*text || strlen(text) != json_string_length(v))
    return mtk_fail(err, MTK_E_INVALID, NULL, "'stop' must hold non-empty strings without NUL");
  p->stops[p->request.n_stop++] = text;
  return MTK_OK;
}

static mtk_status set_stop(parsed *p, const char **param, mtk_error *err) {
  const json_t *v = json_object_get(p->doc, "stop");
  size_t n = json_array_size(v), room = sizeof p->stops / sizeof p->stops[0];
  p->request.stop = p->stops;
  *param = "stop";
  if (!v || json_is_null(v)) return MTK_OK;
  if (json_is_string(v)) return add_stop(p, v, err);
  if (!json_is_array(v) || n > room)
    return mtk_fail(err, MTK_E_INVALID, NULL, "'stop' must be a string or a list of at most %zu",
                    room);
  for (size_t i = 0; i < n; i++) MTK_TRY(add_stop(p, json_array_get(v, i), err));
  return MTK_OK;
}

/* logprobs: a bool with top_logprobs for chat, a number for completions. */
static mtk_status set_logprobs(parsed *p, job *j, const char **param, mtk_error *err) {
  const json_t *v = json_object_get(p->doc, "logprobs");
  const json_t *top = json_object_get(p->doc, "top_logprobs");
  bool is_chat = j->kind == JOB_CHAT;
  const json_t *number = is_chat ? top : v;
  *param = "logprobs";
  if (is_chat && v && !json_is_null(v) && !json_is_boolean(v))
    return mtk_fail(err, MTK_E_INVALID, NULL, "'logprobs' must be true or false");
  j->logprobs = is_chat ? json_is_true(v) : json_is_integer(v);
  if (!number || json_is_null(number)) return MTK_OK;
  *param = is_chat ? "top_logprobs" : "logprobs";
  json_int_t n = json_integer_value(number);
  if (!json_is_integer(number) || n < 0 || n > 20)
    return mtk_fail(err, MTK_E_INVALID, NULL, "'%s' must be an integer from 0 to 20", *param);
  if (n && !j->logprobs)
    return mtk_fail(err, MTK_E_INVALID, NULL, "'top_logprobs' needs 'logprobs': true");
  p->request.top_logprobs = (int)n;
  return MTK_OK;
}

static mtk_status find_model(parsed *p, job *j, const char **param, mtk_error *err) {
  const mtk_server_args *a = j->server->args;
  const json_t *v = json_object_get(p->doc, "model");
  *param = "model";
  j->model = &a->models[0];
  if (!v || json_is_null(v)) return MTK_OK;
  const char *name = json_string_value(v);
  for (int i = 0; name && i < a->n_models; i++) {
    if (strcmp(a->models[i].name, name) != 0) continue;
    j->model = &a->models[i];
    return MTK_OK;
  }
  return mtk_fail(err, MTK_E_NOT_FOUND, NULL,
                  "the model '%.200s' does not exist; /v1/models lists them", name ? name : "");
}

/* ---- prompts --------------------------------------------------------------------------------- */

/* Fill in the middle, for models whose encoding knows it. */
static mtk_status middle_prompt(parsed *p, const job *j, mtk_error *err) {
  const mtk_chat *chat = j->model->chat;
  if (!chat || strcmp(mtk_chat_encoding(chat), "mistral") != 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "this model takes no 'suffix'");
  json_t *request = json_pack("{s:O?,s:O}", "prompt", json_object_get(p->doc, "prompt"), "suffix",
                              json_object_get(p->doc, "suffix"));
  char *json = request ? json_dumps(request, 0) : NULL;
  json_decref(request);
  if (!json) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = mtk_chat_render(NULL, &p->ids, NULL, chat, json, strlen(json), true, NULL, err);
  free(json);
  return st;
}

static mtk_status completion_prompt(parsed *p, const job *j, mtk_error *err) {
  const json_t *v = json_object_get(p->doc, "prompt"), *suffix = json_object_get(p->doc, "suffix");
  if (suffix && !json_is_null(suffix) && (!json_is_string(suffix) || json_string_length(suffix)))
    return middle_prompt(p, j, err);
  if (json_is_array(v) && json_array_size(v) == 1 && json_is_string(json_array_get(v, 0)))
    v = json_array_get(v, 0);
  if (json_is_string(v))
    return mtk_tokenizer_encode(&p->ids, mtk_engine_tokenizer(j->model->engine),
                                json_string_value(v), json_string_length(v), MTK_ENCODE_BOS, err);
  if (!json_is_array(v) || !json_array_size(v))
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "'prompt' must be one string or one list of token ids");
  for (size_t i = 0; i < json_array_size(v); i++) {
    const json_t *item = json_array_get(v, i);
    if (!json_is_integer(item) || json_integer_value(item) < 0 ||
        json_integer_value(item) >= mtk_engine_vocab(j->model->engine))
      return mtk_fail(err, MTK_E_INVALID, NULL, "item %zu of 'prompt' is not a token id", i);
    MTK_TRY(mtk_ids_push(&p->ids, (int32_t)json_integer_value(item), err));
  }
  return MTK_OK;
}

static mtk_status parse_doc(parsed *p, job *j, const char **param, mtk_error *err) {
  MTK_TRY(find_model(p, j, param, err));
  if (j->kind == JOB_EMBEDDINGS) return serve_parse_embeddings(p, j, param, err);
  p->request.sampling = j->model->sampling;
  p->request.adapter = j->model->adapter;
  MTK_TRY(set_fields(p, j, param, err));
  MTK_TRY(set_seed(p, param, err));
  MTK_TRY(set_max_tokens(p, param, err));
  MTK_TRY(set_stop(p, param, err));
  MTK_TRY(set_logprobs(p, j, param, err));
  j->include_usage =
      json_is_true(json_object_get(json_object_get(p->doc, "stream_options"), "include_usage"));
  *param = j->kind == JOB_CHAT ? "messages" : "prompt";
  MTK_TRY(j->kind == JOB_CHAT ? serve_chat_prompt(p, j, param, err) : completion_prompt(p, j, err));
  p->request.prompt = p->ids.data;
  p->request.n_prompt = (int64_t)p->ids.len;
  if (j->kind == JOB_COMPLETION && !p->request.max_tokens) /* as OpenAI */
    p->request.max_tokens = 16;
  return MTK_OK;
}

mtk_status serve_parse(parsed *out, job *j, const char **param, const char *body, size_t n,
                       mtk_error *err) {
  *out = (parsed){0};
  *param = NULL;
  json_error_t je = {0};
  out->doc = json_loadb(body, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
  if (!out->doc)
    return mtk_fail(err, MTK_E_INVALID, NULL, "the body is not JSON: line %d: %s", je.line,
                    je.text);
  if (!json_is_object(out->doc))
    return mtk_fail(err, MTK_E_INVALID, NULL, "the body is not a JSON object");
  return parse_doc(out, j, param, err);
}

void serve_parsed_finish(parsed *p) {
  json_decref(p->doc);
  mtk_ids_finish(&p->ids);
  mtk_free(p->lengths);
}
