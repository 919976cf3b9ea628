/* jobs.c: jobs, engine threads and the queue of messages between them. See server.h for the
 * threads. */
#include "server.h"

#include <event2/bufferevent.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Bytes a client may send ahead while its request is computed; then reading pauses. */
enum { MAX_AHEAD_BYTES = 64 << 10 };
enum { TIMEOUT_S = 120 }; /* of a client that neither reads nor writes */

/* ---- engine side ----------------------------------------------------------------------------- */

static void wake_loop(server *s) {
  uint64_t one = 1;
  ssize_t n = write(s->wake_fd, &one, sizeof one); /* full counter = already awake */
  (void)n;
}

static void *copy_bytes(const void *data, size_t n) {
  void *copy = mtk_alloc(n, 1);
  if (copy) memcpy(copy, data, n);
  return copy;
}

/* False when memory was short: then the message holds nothing to free. */
static bool fill_message(token_message *m, job *j, const mtk_token_event *ev) {
  *m = (token_message){.job = j,
                       .id = ev->id,
                       .logprob = ev->logprob,
                       .finish = ev->finish,
                       .n_prompt = ev->n_prompt,
                       .n_generated = ev->n_generated};
  if (ev->error) m->error = mtk_strdup(ev->error->message); /* NULL: a general sentence is sent */
  if (ev->n_text) m->text = copy_bytes(ev->text, ev->n_text);
  if (ev->n_top) m->top = copy_bytes(ev->top, (size_t)ev->n_top * sizeof *m->top);
  size_t n_floats = (size_t)j->n_texts * (size_t)j->n_width;
  if (ev->embeddings && n_floats)
    m->embeddings = copy_bytes(ev->embeddings, n_floats * sizeof *m->embeddings);
  if (ev->embeddings && n_floats && !m->embeddings) return false;
  m->n_text = m->text ? ev->n_text : 0;
  m->n_top = m->top ? ev->n_top : 0;
  return m->n_text == ev->n_text && m->n_top == ev->n_top;
}

static void free_copies(const token_message *m) {
  mtk_free(m->text);
  mtk_free(m->top);
  mtk_free(m->error);
  mtk_free(m->embeddings);
}

/* Engine thread: copy the event and hand it over. A request with an event that could not be copied
 * ends as failed: text is never lost silently. */
static void on_token(void *ctx, const mtk_token_event *ev) {
  job *j = ctx;
  server *s = j->server;
  bool end = ev->finish != MTK_FINISH_NONE;
  token_message *m = end ? &j->end : mtk_alloc(1, sizeof *m);
  if (!m || !fill_message(m, j, ev)) j->lost = true;
  if (end && j->lost) m->finish = MTK_FINISH_ERROR;
  if (!m) return;
  pthread_mutex_lock(&s->lock);
  *s->last = m;
  s->last = &m->next;
  pthread_mutex_unlock(&s->lock);
  wake_loop(s);
}

static bool is_stopping(server *s) {
  pthread_mutex_lock(&s->lock);
  bool stopping = s->stopping;
  pthread_mutex_unlock(&s->lock);
  return stopping;
}

static void *engine_main(void *ctx) {
  engine_thread *e = ctx;
  while (!is_stopping(e->server)) {
    int active = 0;
    mtk_error err = {0};
    if (mtk_scheduler_step(&active, e->scheduler, &err) != MTK_OK)
      mtk_log(MTK_LOG_ERROR, "engine: %s%s%s", err.place, err.place[0] ? ": " : "", err.message);
    if (!active) mtk_scheduler_wait(e->scheduler);
  }
  return NULL;
}

static mtk_status start_engines(server *s, mtk_error *err) {
  s->engines = mtk_alloc((size_t)s->args->n_models, sizeof *s->engines);
  if (!s->engines) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int i = 0; i < s->args->n_models; i++) {
    mtk_scheduler *scheduler = s->args->models[i].scheduler;
    bool known = false;
    for (int k = 0; k < s->n_engines; k++) known = known || s->engines[k].scheduler == scheduler;
    if (known) continue;
    engine_thread *e = &s->engines[s->n_engines++];
    *e = (engine_thread){.server = s, .scheduler = scheduler};
    if (pthread_create(&e->thread, NULL, engine_main, e) != 0)
      return mtk_fail(err, MTK_E_IO, NULL, "cannot start the engine thread");
    e->running = true;
  }
  return MTK_OK;
}

/* ---- loop side ------------------------------------------------------------------------------- */

static token_message *take_messages(server *s) {
  pthread_mutex_lock(&s->lock);
  token_message *list = s->first;
  s->first = NULL;
  s->last = &s->first;
  pthread_mutex_unlock(&s->lock);
  return list;
}

/* The message moves out of its job (`end` lives there), which may be gone afterwards. */
static void handle_message(token_message *at) {
  token_message m = *at;
  job *j = m.job;
  if (at != &j->end) mtk_free(at);
  if (!j->closed) {
    serve_message(j, &m);
  } else if (m.finish != MTK_FINISH_NONE) {
    evhttp_request_free(j->http); /* its connection let go of it */
    serve_job_destroy(j);
  }
  free_copies(&m);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx) {
  (void)what;
  uint64_t count;
  ssize_t n = read(fd, &count, sizeof count);
  (void)n;
  for (token_message *m = take_messages(ctx), *next; m; m = next) {
    next = m->next;
    handle_message(m);
  }
}

mtk_status serve_jobs_start(server *s, mtk_error *err) {
  s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (s->wake_fd < 0) return mtk_fail(err, MTK_E_IO, NULL, "cannot make an eventfd");
  s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
  if (!s->wake || event_add(s->wake, NULL) != 0)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  return start_engines(s, err);
}

/* Every job leaves its scheduler, so that no callback finds it freed. */
static void cancel_all(server *s) {
  for (job *j = s->jobs; j; j = j->next)
    if (j->id) mtk_scheduler_cancel(j->model->scheduler, j->id);
  for (int i = 0; i < s->n_engines; i++)
    for (int active = 1; active > 0;)
      if (mtk_scheduler_step(&active, s->engines[i].scheduler, NULL) != MTK_OK) break;
}

void serve_jobs_stop(server *s) {
  pthread_mutex_lock(&s->lock);
  s->stopping = true;
  pthread_mutex_unlock(&s->lock);
  for (int i = 0; i < s->n_engines; i++) {
    mtk_scheduler_wake(s->engines[i].scheduler);
    if (s->engines[i].running) pthread_join(s->engines[i].thread, NULL);
  }
  cancel_all(s);
  for (token_message *m = take_messages(s), *next; m; m = next) {
    next = m->next;
    free_copies(m);
    if (m != &m->job->end) mtk_free(m);
  }
  while (s->jobs) {
    job *j = s->jobs;
    if (!j->closed)
      evhttp_connection_set_closecb(evhttp_request_get_connection(j->http), NULL, NULL);
    else
      evhttp_request_free(j->http);
    serve_job_destroy(j);
  }
  mtk_free(s->engines);
  if (s->wake) event_free(s->wake);
  if (s->wake_fd >= 0) close(s->wake_fd);
}

/* ---- one job --------------------------------------------------------------------------------- */

/* The client went away: stop computing for it. A request whose reply is with libevent is freed
 * with its connection; any other was let go of and is ours. */
static void on_close(struct evhttp_connection *connection, void *ctx) {
  (void)connection;
  job *j = ctx;
  j->closed = true;
  if (!j->ended && j->id) {
    mtk_scheduler_cancel(j->model->scheduler, j->id);
    return;
  }
  if (!j->ended) evhttp_request_free(j->http);
  serve_job_destroy(j);
}

/* The reply is out: the connection goes on to the next request. */
static void on_complete(struct evhttp_request *http, void *ctx) {
  struct evhttp_connection *c = evhttp_request_get_connection(http);
  evhttp_connection_set_closecb(c, NULL, NULL);
  evhttp_connection_set_timeout(c, TIMEOUT_S);
  bufferevent_setwatermark(evhttp_connection_get_bufferevent(c), EV_READ, 0, 0);
  serve_job_destroy(ctx);
}

/* libevent stops reading after a request, and with it would not see the client leave: keep reading
 * for the close event alone, with a bound on what piles up meanwhile. (evhttp's own read callback
 * must not run now: it ends the process in this state.) */
void serve_job_attach(job *j) {
  struct evhttp_connection *c = evhttp_request_get_connection(j->http);
  struct bufferevent *bev = evhttp_connection_get_bufferevent(c);
  const struct timeval write_timeout = {TIMEOUT_S, 0};
  bufferevent_data_cb read_cb, write_cb;
  bufferevent_event_cb event_cb;
  void *ctx;
  evhttp_connection_set_closecb(c, on_close, j);
  evhttp_request_set_on_complete_cb(j->http, on_complete, j);
  bufferevent_getcb(bev, &read_cb, &write_cb, &event_cb, &ctx);
  bufferevent_setcb(bev, NULL, write_cb, event_cb, ctx);
  bufferevent_set_timeouts(bev, NULL, &write_timeout); /* thinking may take long */
  bufferevent_setwatermark(bev, EV_READ, 0, MAX_AHEAD_BYTES);
  bufferevent_enable(bev, EV_READ);
}

job *serve_job_create(server *s, struct evhttp_request *http, job_kind kind) {
  job *j = mtk_alloc(1, sizeof *j);
  json_t *items = json_array();
  if (!j || !items) {
    mtk_free(j);
    json_decref(items);
    return NULL;
  }
  *j = (job){.server = s, .http = http, .kind = kind, .created = (int64_t)time(NULL)};
  j->logprob_items = items;
  j->model = &s->args->models[0];
  static const char *const prefix[] = {"chatcmpl", "cmpl", "health", "embd"};
  snprintf(j->name, sizeof j->name, "%s-%08llx%08llx", prefix[kind], (unsigned long long)j->created,
           (unsigned long long)++s->next_name);
  j->next = s->jobs;
  j->prev = &s->jobs;
  if (s->jobs) s->jobs->prev = &j->next;
  s->jobs = j;
  return j;
}

mtk_status serve_job_submit(job *j, mtk_request *request, mtk_error *err) {
  request->struct_size = sizeof *request;
  request->on_token = on_token;
  request->ctx = j;
  return mtk_scheduler_submit(&j->id, j->model->scheduler, request, err);
}

void serve_job_destroy(job *j) {
  *j->prev = j->next;
  if (j->next) j->next->prev = j->prev;
  for (int i = 0; i < j->n_calls; i++) {
    mtk_free(j->calls[i].id);
    mtk_free(j->calls[i].name);
    mtk_bytes_finish(&j->calls[i].arguments);
  }
  mtk_free(j->calls);
  mtk_chat_parser_destroy(j->parser);
  mtk_bytes_finish(&j->reasoning);
  mtk_bytes_finish(&j->content);
  json_decref(j->logprob_items);
  mtk_free(j);
}
