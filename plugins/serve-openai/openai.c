/* openai.c: the server "openai": options, start, drain, stop. See server.h for the threads. */
#include "server.h"

#include <errno.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"listen", 'l', MTK_OPT_STRING, "HOST:PORT", "127.0.0.1:8080", 0, 0, NULL,
     "port 0 = any free one"},
    {"api-key", 0, MTK_OPT_LIST, "KEY", NULL, 0, 0, NULL, "accept only these bearer tokens"},
    {"api-key-file", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL, "the same, one a line"},
    {"tool-parser", 0, MTK_OPT_STRING, "NAME", NULL, 0, 0, NULL,
     "how answers mark tool calls: harmony, mistral, deepseek, kimi, gemma4, functiongemma, "
     "hermes, llama3, gemma3 (default: what the model shows)"},
    {"max-body", 0, MTK_OPT_INT, "BYTES", "16777216", 1024, 1e9, NULL, "largest request"},
    {"drain-s", 0, MTK_OPT_INT, "S", "30", 0, 86400, NULL,
     "seconds for running requests after SIGTERM"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

enum { MAX_HEADER_BYTES = 64 << 10, TIMEOUT_S = 120, TICK_US = 50000 };
static const double CUT_S = 2; /* for the last bytes of requests that the drain cut off */

/* ---- stopping -------------------------------------------------------------------------------- */

static void begin_drain(server *s) {
  s->draining = true;
  s->drain_until_s = mtk_now_s() + (double)mtk_options_int(s->args->options, "drain-s");
  mtk_log(MTK_LOG_INFO, "shutting down: waiting for running requests");
}

static void drain(server *s) {
  double late_s = mtk_now_s() - s->drain_until_s;
  const struct timeval soon = {0, TICK_US}; /* for replies that are no jobs */
  if (s->jobs && late_s > 0) {
    s->cut = true;
    for (job *j = s->jobs; j; j = j->next)
      if (j->id && !j->ended) mtk_scheduler_cancel(j->model->scheduler, j->id);
  }
  if (!s->jobs || late_s > CUT_S) event_base_loopexit(s->base, &soon);
}

/* Twenty times a second: has the program been asked to stop? Can it accept again? Health checks. */
static void on_tick(evutil_socket_t fd, short what, void *ctx) {
  (void)fd;
  (void)what;
  server *s = ctx;
  evconnlistener_enable(s->listener);
  for (job *j = s->jobs, *next; j; j = next) {
    next = j->next;
    if (j->kind == JOB_HEALTH && !j->id && !j->ended) serve_health_poll(j);
  }
  if (!mtk_cancelled()) return;
  if (!s->draining) begin_drain(s);
  drain(s);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* "host:port", "[v6]:port" -> parts; host is a heap copy. */
static mtk_status split_address(char **host, uint16_t *port, const char *text, mtk_error *err) {
  const char *colon = strrchr(text, ':');
  char *end = NULL;
  unsigned long p = colon ? strtoul(colon + 1, &end, 10) : 0;
  if (!colon || colon == text || end == colon + 1 || *end || p > 65535)
    return mtk_fail(err, MTK_E_INVALID, NULL, "--listen wants HOST:PORT, not '%s'", text);
  bool bracket = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
  *host = mtk_strndup(text + bracket, (size_t)(colon - text) - 2u * bracket);
  *port = (uint16_t)p;
  return *host ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

/* accept failed, mostly for want of file descriptors: pause until the next tick. */
static void on_accept_error(struct evconnlistener *listener, void *ctx) {
  (void)ctx;
  evconnlistener_disable(listener);
}

static mtk_status bind_socket(server *s, char *address, size_t size, mtk_error *err) {
  const char *text = mtk_options_string(s->args->options, "listen");
  char *host = NULL;
  uint16_t port = 0;
  MTK_TRY(split_address(&host, &port, text, err));
  errno = 0;
  struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(s->http, host, port);
  if (!bound) {
    int why = errno;
    mtk_free(host);
    return mtk_fail(err, MTK_E_IO, text, "cannot listen there: %s; choose another with --listen",
                    why ? strerror(why) : "no such address");
  }
  s->listener = evhttp_bound_socket_get_listener(bound);
  evconnlistener_set_error_cb(s->listener, on_accept_error);
  struct sockaddr_storage ss;
  socklen_t len = sizeof ss;
  if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&ss, &len) == 0)
    port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)&ss)->sin_port);
  snprintf(address, size, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
  mtk_free(host);
  return MTK_OK;
}

/* Names come from paths and the command line; JSON takes only UTF-8. */
static mtk_status check_names(const server *s, mtk_error *err) {
  for (int i = 0; i < s->args->n_models; i++) {
    const char *name = s->args->models[i].name;
    bool incomplete;
    if (!name[0] || mtk_utf8_prefix(name, strlen(name), &incomplete) != strlen(name))
      return mtk_fail(err, MTK_E_INVALID, NULL,
                      "a model's name is empty or not UTF-8; give --name");
  }
  return MTK_OK;
}

static mtk_status start(server *s, mtk_error *err) {
  const mtk_option_values *o = s->args->options;
  char address[300];
  MTK_TRY(check_names(s, err));
  MTK_TRY(serve_check_tool_parser(s, err));
  MTK_TRY(serve_keys_load(s, err));
  s->base = event_base_new();
  s->http = s->base ? evhttp_new(s->base) : NULL;
  if (!s->http) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  evhttp_set_max_body_size(s->http, (ev_ssize_t)mtk_options_int(o, "max-body"));
  evhttp_set_max_headers_size(s->http, MAX_HEADER_BYTES);
  evhttp_set_timeout(s->http, TIMEOUT_S);
  evhttp_set_allowed_methods(s->http, (ev_uint16_t)~0u); /* refused in routes.c */
  evhttp_set_gencb(s->http, serve_on_request, s);
  MTK_TRY(bind_socket(s, address, sizeof address, err));
  MTK_TRY(serve_jobs_start(s, err));
  s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
  const struct timeval period = {0, TICK_US};
  if (!s->tick || event_add(s->tick, &period) != 0)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (s->args->on_ready) s->args->on_ready(s->args->ctx, address);
  return MTK_OK;
}

/* What libevent has to say goes the way of all messages. */
static void on_libevent_log(int severity, const char *message) {
  mtk_log(severity == EVENT_LOG_ERR ? MTK_LOG_ERROR : MTK_LOG_DEBUG, "libevent: %s", message);
}

static mtk_status run(const mtk_server_args *args, mtk_error *err) {
  server s = {.args = args, .wake_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .last = &s.first};
  event_set_log_callback(on_libevent_log);
  mtk_status st = start(&s, err);
  if (st == MTK_OK && event_base_dispatch(s.base) < 0)
    st = mtk_fail(err, MTK_E_IO, NULL, "the event loop failed");
  serve_jobs_stop(&s);
  if (s.http) evhttp_free(s.http);
  if (s.tick) event_free(s.tick);
  if (s.base) event_base_free(s.base);
  serve_keys_finish(&s);
  if (st == MTK_OK && s.cut)
    st = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped before all requests were finished");
  return st;
}

static const mtk_server_v1 g_server = {sizeof g_server, "openai", "OpenAI-compatible HTTP server",
                                       g_options, run};

MTK_PLUGIN_DEFINE("serve-openai", "1.0.0", "OpenAI-compatible HTTP server", "Apache-2.0",
                  {MTK_EXT_SERVER, &g_server});
