/* jobs.c: jobs, engine threads and the queue of messages between them. */
#include "server.h"

#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- engine side ------------------------------------------------------------------------------ */

static void wake_loop(server *s) {
  uint64_t one = 1;
  ssize_t n = write(s->wake_fd, &one, sizeof one); /* full counter = already awake */
  (void)n;
}

/* Engine thread: copy the event and hand it over. A token that cannot be copied ends the request. */
static void on_token(void *ctx, const mtk_token_event *ev) {
  job *j = ctx;
  server *s = j->server;
  token_message *m = ev->finish != MTK_FINISH_NONE ? &j->end : mtk_alloc(1, sizeof *m);
  if (!m) {
    mtk_scheduler_cancel(j->model->scheduler, j->id);
    return;
  }
  *m = (token_message){.job = j,
                 .id = ev->id,
                 .text = mtk_strndup(ev->text ? ev->text : "", ev->n_text),
                 .n_text = ev->n_text,
                 .logprob = ev->logprob,
                 .finish = ev->finish,
                 .n_prompt = ev->n_prompt,
                 .n_generated = ev->n_generated};
  if (ev->n_top && (m->top = mtk_alloc((size_t)ev->n_top, sizeof *m->top))) {
    memcpy(m->top, ev->top, (size_t)ev->n_top * sizeof *m->top);
    m->n_top = ev->n_top;
  }
  if (ev->error) m->error = mtk_strdup(ev->error->message);
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

/* ---- loop side -------------------------------------------------------------------------------- */

static void free_message(token_message *m) {
  mtk_free(m->text);
  mtk_free(m->top);
  mtk_free(m->error);
  if (m != &m->job->end) mtk_free(m);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx) {
  (void)what;
  server *s = ctx;
  uint64_t count;
  ssize_t n = read(fd, &count, sizeof count);
  (void)n;
  pthread_mutex_lock(&s->lock);
  token_message *list = s->first;
  s->first = NULL;
  s->last = &s->first;
  pthread_mutex_unlock(&s->lock);
  while (list) {
    token_message *m = list;
    list = m->next;
    job *j = m->job;
    bool end = m->finish != MTK_FINISH_NONE;
    serve_message(j, m);
    free_message(m);
    if (end) serve_job_destroy(j);
  }
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

mtk_status serve_jobs_start(server *s, mtk_error *err) {
  s->last = &s->first;
  s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (s->wake_fd < 0) return mtk_fail(err, MTK_E_IO, NULL, "cannot make an eventfd");
  s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
  if (!s->wake || event_add(s->wake, NULL) != 0) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  return start_engines(s, err);
}

void serve_jobs_stop(server *s) {
  pthread_mutex_lock(&s->lock);
  s->stopping = true;
  pthread_mutex_unlock(&s->lock);
  for (int i = 0; i < s->n_engines; i++) {
    mtk_scheduler_wake(s->engines[i].scheduler);
    if (s->engines[i].running) pthread_join(s->engines[i].thread, NULL);
  }
  mtk_free(s->engines);
  if (s->wake) event_free(s->wake);
  if (s->wake_fd >= 0) close(s->wake_fd);
}

/* The client went away: stop computing for it. */
static void on_close(struct evhttp_connection *connection, void *ctx) {
  (void)connection;
  job *j = ctx;
  j->closed = true;
  if (j->id) mtk_scheduler_cancel(j->model->scheduler, j->id);
}

job *serve_job_create(server *s, struct evhttp_request *http, job_kind kind) {
  job *j = mtk_alloc(1, sizeof *j);
  if (!j) return NULL;
  *j = (job){.server = s, .http = http, .kind = kind, .created = (int64_t)time(NULL)};
  j->logprob_items = json_array();
  static const char *const prefix[] = {"chatcmpl", "cmpl", "health"};
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
  MTK_TRY(mtk_scheduler_submit(&j->id, j->model->scheduler, request, err));
  struct evhttp_connection *c = evhttp_request_get_connection(j->http);
  evhttp_connection_set_closecb(c, on_close, j);
  return MTK_OK;
}

void serve_job_destroy(job *j) {
  *j->prev = j->next;
  if (j->next) j->next->prev = j->prev;
  mtk_bytes_finish(&j->reasoning);
  mtk_bytes_finish(&j->content);
  json_decref(j->logprob_items);
  mtk_free(j);
}
