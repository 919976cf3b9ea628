/* server.h: the inside of the OpenAI-compatible server.
 *
 * Threads: the loop thread (libevent) owns connections, jobs and everything JSON. One engine thread per
 * scheduler steps it; its token callback only copies the event into a message and wakes the loop. A
 * job is freed by the loop thread once its last message (finish) was handled. */
#ifndef MTK_SERVE_OPENAI_SERVER_H
#define MTK_SERVE_OPENAI_SERVER_H

#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <mtk/ext/server.h>
#include <mtk/plugin.h>
#include <pthread.h>

typedef enum job_kind { JOB_CHAT, JOB_COMPLETION, JOB_HEALTH } job_kind;

/* One copied token event. */
typedef struct token_message {
  struct token_message *next;
  struct job *job;
  int32_t id;
  char *text; /* NUL-terminated copy */
  size_t n_text;
  float logprob;
  mtk_token_prob *top;
  int n_top;
  mtk_finish finish;
  char *error; /* when finish is ERROR */
  int64_t n_prompt, n_generated;
} token_message;

typedef struct server server;

/* One request on its way. `end` is the message of the last event, so that it needs no memory. */
typedef struct job {
  server *server;
  struct job *next, **prev; /* list of live jobs */
  struct evhttp_request *http;
  bool closed;    /* the client went away: nothing is sent any more */
  bool started;   /* the streaming reply was begun */
  job_kind kind;
  const mtk_served_model *model;
  uint64_t id; /* of the scheduler */
  char name[40]; /* "chatcmpl-..." */
  int64_t created;
  bool stream, include_usage, logprobs;
  int top_logprobs;
  int64_t text_offset; /* completions' logprobs */
  mtk_reasoning_split split;
  mtk_bytes reasoning, content; /* whole (not streaming), or of the message at hand */
  json_t *logprob_items;        /* array */
  int64_t n_prompt, n_generated;
  token_message end;
} job;

typedef struct engine_thread {
  server *server;
  mtk_scheduler *scheduler;
  pthread_t thread;
  bool running, failed;
} engine_thread;

struct server {
  const mtk_server_args *args;
  struct event_base *base;
  struct evhttp *http;
  struct event *wake, *tick;
  int wake_fd;
  pthread_mutex_t lock; /* of the message queue and `stopping` */
  token_message *first, **last;
  bool stopping;
  engine_thread *engines;
  int n_engines;
  job *jobs;
  bool draining;
  double drain_until_s;
  const char *const *keys;
  size_t n_keys;
  uint64_t next_name;
};

/* What a request body asks for; borrowed pointers live as long as `doc`. */
typedef struct parsed {
  json_t *doc;
  mtk_request request; /* prompt = ids.data */
  mtk_ids ids;
  const char *stops[16];
  mtk_reasoning_split split;
} parsed;

/* parse.c. Fill job and request from a body. On failure *param names the offending field (static). */
mtk_status serve_parse(parsed *out, job *j, const char **param, const char *body, size_t n,
                       mtk_error *err);
void serve_parsed_finish(parsed *p);

/* jobs.c */
mtk_status serve_jobs_start(server *s, mtk_error *err);
void serve_jobs_stop(server *s);
job *serve_job_create(server *s, struct evhttp_request *http, job_kind kind);
/* Submit; on failure the caller still owns the job. */
mtk_status serve_job_submit(job *j, mtk_request *request, mtk_error *err);
void serve_job_destroy(job *j);

/* reply.c: all on the loop thread. */
void serve_error(struct evhttp_request *http, int status, const char *type, const char *param,
                 const char *code, const char *message);
void serve_json(struct evhttp_request *http, int status, json_t *doc); /* takes doc */
/* One token event of a job: streams it or collects it; ends the reply with the last one. */
void serve_message(job *j, const token_message *m);

#endif
