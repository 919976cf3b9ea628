/* routes.c: from a request to what answers it: paths, keys, errors of whole requests. Loop
 * thread. */
#include "server.h"

#include <event2/buffer.h>
#include <string.h>

static void out_of_memory(struct evhttp_request *http) {
  serve_error(http, 500, "server_error", NULL, NULL, "out of memory");
}

static void list_models(server *s, struct evhttp_request *http) {
  json_t *data = json_array();
  for (int i = 0; i < s->args->n_models; i++) {
    const mtk_served_model *m = &s->args->models[i];
    json_array_append_new(
        data, json_pack("{s:s,s:s,s:I,s:s,s:I}", "id", m->name, "object", "model", "created",
                        (json_int_t)0, "owned_by", "mtk", "max_model_len",
                        (json_int_t)mtk_engine_context(m->engine)));
  }
  serve_json(http, 200, json_pack("{s:s,s:o}", "object", "list", "data", data));
}

/* How an error of parsing or submitting looks to a client; the last row is for all others. */
static const struct {
  mtk_status code;
  int http;
  const char *type, *name;
} g_errors[] = {{MTK_E_NOT_FOUND, 404, "invalid_request_error", "model_not_found"},
                {MTK_E_LIMIT, 400, "invalid_request_error", "context_length_exceeded"},
                {MTK_E_NOMEM, 500, "server_error", NULL},
                {MTK_E_INTERNAL, 500, "server_error", NULL},
                {MTK_E_IO, 500, "server_error", NULL},
                {MTK_OK, 400, "invalid_request_error", NULL}};

static void reject(struct evhttp_request *http, const mtk_error *err, const char *param) {
  size_t i = 0;
  while (g_errors[i].code != MTK_OK && g_errors[i].code != err->code) i++;
  serve_error(http, g_errors[i].http, g_errors[i].type, param, g_errors[i].name, err->message);
}

/* Parse a body and submit it, or reply with the error. */
static void generate(server *s, struct evhttp_request *http, job_kind kind) {
  job *j = serve_job_create(s, http, kind);
  if (!j) {
    out_of_memory(http);
    return;
  }
  struct evbuffer *in = evhttp_request_get_input_buffer(http);
  size_t n = evbuffer_get_length(in);
  const char *body = n ? (const char *)evbuffer_pullup(in, -1) : NULL;
  parsed p;
  const char *param = NULL;
  mtk_error err = {0};
  mtk_status st = serve_parse(&p, j, &param, body ? body : "", body ? n : 0, &err);
  if (st == MTK_OK) st = serve_job_submit(j, &p.request, &err);
  serve_parsed_finish(&p);
  if (st == MTK_OK) {
    serve_job_attach(j);
    return;
  }
  serve_job_destroy(j);
  reject(http, &err, param);
}

static void chat(server *s, struct evhttp_request *http) { generate(s, http, JOB_CHAT); }
static void completion(server *s, struct evhttp_request *http) {
  generate(s, http, JOB_COMPLETION);
}
static void embeddings(server *s, struct evhttp_request *http) {
  generate(s, http, JOB_EMBEDDINGS);
}

/* ---- health: proof of one real step of the first model's engine ------------------------------ */

static mtk_status submit_step(job *j, mtk_error *err) {
  int32_t bos = mtk_tokenizer_bos(mtk_engine_tokenizer(j->model->engine)), id = bos > 0 ? bos : 0;
  mtk_request r = {.prompt = &id, .n_prompt = 1, .max_tokens = 1, .ignore_eos = true,
                   .sampling = MTK_SAMPLING_DEFAULT, .adapter = j->model->adapter};
  const int64_t one = 1;
  mtk_embedding embedding;
  if (mtk_engine_embedding(&embedding, j->model->engine, NULL) == MTK_OK) {
    r.text_lengths = &one;
    r.n_texts = 1;
    r.pooling = embedding.pooling;
  }
  return serve_job_submit(j, &r, err);
}

/* A busy engine shows its health by its next step, without taking a place from a request; an idle
 * one is given a token to compute. */
void serve_health_poll(job *j) {
  mtk_scheduler_stats stats = {.struct_size = sizeof stats};
  mtk_scheduler_get_stats(j->model->scheduler, &stats);
  mtk_error err = {0};
  if (stats.steps > j->seen.steps) {
    j->ended = true;
    serve_health_reply(j);
  } else if (!stats.running && !stats.queued && submit_step(j, &err) != MTK_OK) {
    j->ended = true;
    serve_error(j->http, 503, "server_error", NULL, NULL, err.message);
  }
}

static void health(server *s, struct evhttp_request *http) {
  job *j = serve_job_create(s, http, JOB_HEALTH);
  if (!j) {
    out_of_memory(http);
    return;
  }
  j->seen.struct_size = sizeof j->seen;
  mtk_scheduler_get_stats(j->model->scheduler, &j->seen);
  serve_job_attach(j);
  serve_health_poll(j);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

static const struct {
  const char *path;
  enum evhttp_cmd_type method;
  bool open; /* no key needed */
  void (*handle)(server *s, struct evhttp_request *http);
} g_routes[] = {{"/v1/chat/completions", EVHTTP_REQ_POST, false, chat},
                {"/v1/completions", EVHTTP_REQ_POST, false, completion},
                {"/v1/embeddings", EVHTTP_REQ_POST, false, embeddings},
               {"/v1/models", EVHTTP_REQ_GET, false, list_models},
                {"/health", EVHTTP_REQ_GET, true, health}};

void serve_on_request(struct evhttp_request *http, void *ctx) {
  server *s = ctx;
  const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
  const char *path = uri ? evhttp_uri_get_path(uri) : NULL, *type = "invalid_request_error";
  for (size_t i = 0; path && i < sizeof g_routes / sizeof g_routes[0]; i++) {
    if (strcmp(path, g_routes[i].path) != 0) continue;
    if (evhttp_request_get_command(http) != g_routes[i].method)
      serve_error(http, 405, type, NULL, NULL, "wrong method for this path");
    else if (!g_routes[i].open && !serve_authorized(s, http))
      serve_error(http, 401, type, NULL, "invalid_api_key", "missing or wrong API key");
    else if (s->draining)
      serve_error(http, 503, "server_error", NULL, NULL, "the server is shutting down");
    else
      g_routes[i].handle(s, http);
    return;
  }
  serve_error(http, 404, type, NULL, NULL, "no such path");
}
