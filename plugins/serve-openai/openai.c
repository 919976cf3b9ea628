/* openai.c: the server "openai": routes, keys, start and drain. See server.h for the threads. */
#include "server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/thread.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"listen", 'l', MTK_OPT_STRING, "HOST:PORT", "127.0.0.1:8080", 0, 0, NULL, "port 0 = any free one"},
    {"api-key", 0, MTK_OPT_LIST, "KEY", NULL, 0, 0, NULL, "accept only these bearer tokens"},
    {"max-body", 0, MTK_OPT_INT, "BYTES", "16777216", 1024, 1e9, NULL, "largest request"},
    {"drain-s", 0, MTK_OPT_INT, "S", "30", 0, 86400, NULL, "seconds for running requests after SIGTERM"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

/* ---- requests ---------------------------------------------------------------------------------- */

/* Compares whole strings in a time that does not tell where they differ. */
static bool same_secret(const char *a, const char *b) {
  size_t na = strlen(a), nb = strlen(b);
  unsigned diff = na != nb;
  for (size_t i = 0; i < na; i++) diff |= (unsigned)(a[i] ^ b[nb ? i % nb : 0]);
  return diff == 0 && nb > 0;
}

static bool authorized(const server *s, struct evhttp_request *http) {
  if (!s->n_keys) return true;
  const char *value = evhttp_find_header(evhttp_request_get_input_headers(http), "Authorization");
  bool ok = false;
  if (!value || strncmp(value, "Bearer ", 7) != 0) return false;
  for (size_t i = 0; i < s->n_keys; i++) ok |= same_secret(value + 7, s->keys[i]);
  return ok;
}

static void list_models(server *s, struct evhttp_request *http) {
  json_t *data = json_array();
  for (int i = 0; i < s->args->n_models; i++)
    json_array_append_new(data, json_pack("{s:s,s:s,s:I,s:s,s:I}", "id", s->args->models[i].name, "object",
                                          "model", "created", (json_int_t)0, "owned_by", "mtk",
                                          "max_model_len",
                                          (json_int_t)mtk_engine_context(s->args->models[i].engine)));
  serve_json(http, 200, json_pack("{s:s,s:o}", "object", "list", "data", data));
}

/* libevent stops reading after the request, and with it would not see the client leave: keep reading for
 * the close event alone. */
static void watch_close(struct evhttp_request *http) {
  struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(http));
  bufferevent_data_cb read_cb, write_cb;
  bufferevent_event_cb event_cb;
  void *ctx;
  bufferevent_getcb(bev, &read_cb, &write_cb, &event_cb, &ctx);
  bufferevent_setcb(bev, NULL, write_cb, event_cb, ctx);
  bufferevent_enable(bev, EV_READ);
}

static void reject(struct evhttp_request *http, const mtk_error *err, const char *param) {
  switch (err->code) {
    case MTK_E_NOT_FOUND:
      serve_error(http, 404, "invalid_request_error", param, "model_not_found", err->message);
      break;
    case MTK_E_LIMIT:
      serve_error(http, 400, "invalid_request_error", param, "context_length_exceeded", err->message);
      break;
    case MTK_E_NOMEM:
    case MTK_E_INTERNAL:
    case MTK_E_IO:
      serve_error(http, 500, "server_error", param, NULL, err->message);
      break;
    default:
      serve_error(http, 400, "invalid_request_error", param, NULL, err->message);
  }
}

/* Parse a body and submit it; replies with an error itself. */
static void generate(server *s, struct evhttp_request *http, job_kind kind) {
  job *j = serve_job_create(s, http, kind);
  if (!j) {
    serve_error(http, 500, "server_error", NULL, NULL, "out of memory");
    return;
  }
  struct evbuffer *in = evhttp_request_get_input_buffer(http);
  size_t n = evbuffer_get_length(in);
  const char *body = n ? (const char *)evbuffer_pullup(in, -1) : "";
  parsed p;
  const char *param = NULL;
  mtk_error err = {0};
  mtk_status st = serve_parse(&p, j, &param, body ? body : "", body ? n : 0, &err);
  if (st == MTK_OK) st = serve_job_submit(j, &p.request, &err);
  if (st == MTK_OK) {
    watch_close(http);
  } else {
    reject(http, &err, param);
    serve_job_destroy(j);
  }
  serve_parsed_finish(&p);
}

/* Health is one real decode step of the first model. */
static void health(server *s, struct evhttp_request *http) {
  job *j = serve_job_create(s, http, JOB_HEALTH);
  if (!j) {
    serve_error(http, 500, "server_error", NULL, NULL, "out of memory");
    return;
  }
  j->model = &s->args->models[0];
  int32_t bos = mtk_tokenizer_bos(mtk_engine_tokenizer(j->model->engine)), id = bos >= 0 ? bos : 0;
  mtk_request r = {.prompt = &id, .n_prompt = 1, .max_tokens = 1, .sampling = MTK_SAMPLING_DEFAULT,
                   .ignore_eos = true};
  mtk_error err = {0};
  if (serve_job_submit(j, &r, &err) == MTK_OK) {
    watch_close(http);
    return;
  }
  serve_error(http, 503, "server_error", NULL, NULL, err.message);
  serve_job_destroy(j);
}

static void chat_route(server *s, struct evhttp_request *http) { generate(s, http, JOB_CHAT); }
static void completion_route(server *s, struct evhttp_request *http) { generate(s, http, JOB_COMPLETION); }

static const struct {
  const char *path;
  enum evhttp_cmd_type method;
  bool open; /* no key needed */
  void (*handle)(server *s, struct evhttp_request *http);
} g_routes[] = {{"/v1/chat/completions", EVHTTP_REQ_POST, false, chat_route},
                {"/v1/completions", EVHTTP_REQ_POST, false, completion_route},
                {"/v1/models", EVHTTP_REQ_GET, false, list_models},
                {"/health", EVHTTP_REQ_GET, true, health}};

static void on_request(struct evhttp_request *http, void *ctx) {
  server *s = ctx;
  const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
  const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
  for (size_t i = 0; path && i < sizeof g_routes / sizeof g_routes[0]; i++) {
    if (strcmp(path, g_routes[i].path) != 0) continue;
    if (evhttp_request_get_command(http) != g_routes[i].method)
      serve_error(http, 405, "invalid_request_error", NULL, NULL, "wrong method for this path");
    else if (!g_routes[i].open && !authorized(s, http))
      serve_error(http, 401, "invalid_request_error", NULL, "invalid_api_key", "missing or wrong API key");
    else if (s->draining)
      serve_error(http, 503, "server_error", NULL, NULL, "the server is shutting down");
    else
      g_routes[i].handle(s, http);
    return;
  }
  serve_error(http, 404, "invalid_request_error", NULL, NULL, "no such path");
}

/* ---- life ------------------------------------------------------------------------------------- */

/* Twenty times a second: has the program been asked to stop? */
static void on_tick(evutil_socket_t fd, short what, void *ctx) {
  (void)fd;
  (void)what;
  server *s = ctx;
  if (!mtk_cancelled()) return;
  if (!s->draining) {
    s->draining = true;
    s->drain_until_s = mtk_now_s() + (double)mtk_options_int(s->args->options, "drain-s");
    mtk_log(MTK_LOG_INFO, "shutting down: waiting for running requests");
  }
  if (s->jobs && mtk_now_s() > s->drain_until_s)
    for (job *j = s->jobs; j; j = j->next) mtk_scheduler_cancel(j->model->scheduler, j->id);
  if (!s->jobs) event_base_loopexit(s->base, NULL);
}

/* "host:port", "[v6]:port" -> parts; host is a heap copy. */
static mtk_status split_address(char **host, uint16_t *port, const char *text, mtk_error *err) {
  const char *colon = strrchr(text, ':');
  char *end = NULL;
  unsigned long p = colon ? strtoul(colon + 1, &end, 10) : 0;
  if (!colon || end == colon + 1 || *end || p > 65535)
    return mtk_fail(err, MTK_E_INVALID, NULL, "--listen wants HOST:PORT, not '%s'", text);
  bool bracket = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
  *host = mtk_strndup(text + bracket, (size_t)(colon - text) - 2u * bracket);
  *port = (uint16_t)p;
  return *host ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

static mtk_status bind_socket(server *s, char *address, size_t size, mtk_error *err) {
  const char *text = mtk_options_string(s->args->options, "listen");
  char *host = NULL;
  uint16_t port = 0;
  MTK_TRY(split_address(&host, &port, text, err));
  struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(s->http, host, port);
  if (!bound) {
    mtk_free(host);
    return mtk_fail(err, MTK_E_IO, text, "cannot listen there: is the port in use? choose another with --listen");
  }
  struct sockaddr_storage ss;
  socklen_t len = sizeof ss;
  if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&ss, &len) == 0)
    port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)&ss)->sin_port);
  snprintf(address, size, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
  mtk_free(host);
  return MTK_OK;
}

static mtk_status start(server *s, mtk_error *err) {
  const mtk_option_values *o = s->args->options;
  evthread_use_pthreads();
  s->base = event_base_new();
  s->http = s->base ? evhttp_new(s->base) : NULL;
  if (!s->http) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  evhttp_set_max_body_size(s->http, (ev_ssize_t)mtk_options_int(o, "max-body"));
  evhttp_set_max_headers_size(s->http, 64 << 10);
  evhttp_set_timeout(s->http, 600);
  evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
  evhttp_set_gencb(s->http, on_request, s);
  s->n_keys = mtk_options_list(o, "api-key", &s->keys);
  char address[300];
  MTK_TRY(bind_socket(s, address, sizeof address, err));
  MTK_TRY(serve_jobs_start(s, err));
  s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
  const struct timeval period = {0, 50000};
  if (!s->tick || event_add(s->tick, &period) != 0) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (s->args->on_ready) s->args->on_ready(s->args->ctx, address);
  return MTK_OK;
}

static mtk_status run(const mtk_server_args *args, mtk_error *err) {
  server s = {.args = args, .wake_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
  mtk_status st = start(&s, err);
  if (st == MTK_OK && event_base_dispatch(s.base) < 0)
    st = mtk_fail(err, MTK_E_IO, NULL, "the event loop failed");
  serve_jobs_stop(&s);
  if (s.http) evhttp_free(s.http);
  if (s.tick) event_free(s.tick);
  if (s.base) event_base_free(s.base);
  return st;
}

static const mtk_server_v1 g_server = {sizeof g_server, "openai", "OpenAI-compatible HTTP server", g_options,
                                       run};

MTK_PLUGIN_DEFINE("serve-openai", "1.0.0", "OpenAI-compatible HTTP server", "Apache-2.0",
                  {MTK_EXT_SERVER, &g_server});
