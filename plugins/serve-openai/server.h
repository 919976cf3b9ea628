/* server.h: the inside of the OpenAI-compatible server.
 *
 * Threads: the loop thread (libevent) owns connections, jobs and everything JSON. One engine thread
 * per scheduler steps it; its token callback only copies the event into a message and wakes the
 * loop. A job lives from its request until the last byte of its reply has gone out or its client
 * has gone away, whichever comes first, but never ends before its last message. */
#ifndef MTK_SERVE_OPENAI_SERVER_H
#define MTK_SERVE_OPENAI_SERVER_H

#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <mtk/ext/server.h>
#include <mtk/plugin.h>
#include <pthread.h>

typedef enum job_kind { JOB_CHAT, JOB_COMPLETION, JOB_HEALTH, JOB_EMBEDDINGS } job_kind;

/* One copied token event. */
typedef struct token_message {
  struct token_message *next;
  struct job *job;
  int32_t id;
  char *text; /* n_text bytes; NULL when n_text is 0 */
  size_t n_text;
  float logprob;
  mtk_token_prob *top;
  int n_top;
  mtk_finish finish;
  char *error; /* when finish is ERROR */
  int64_t n_prompt, n_generated;
  float *embeddings; /* [n_texts, n_width] of the job */
} token_message;

typedef struct server server;

/* One tool call of an answer. */
typedef struct tool_call {
  char *id, *name;
  mtk_bytes arguments; /* whole (not streaming), or what was not sent yet */
  bool told;           /* its id and name were sent */
} tool_call;

/* One request on its way. */
typedef struct job {
  server *server;
  struct job *next, **prev; /* list of live jobs */
  struct evhttp_request *http;
  bool closed;  /* the client went away: nothing is sent any more */
  bool started; /* the streaming reply was begun */
  bool broken;  /* memory was short for a part of the reply: it ends as failed */
  bool ended;   /* the whole reply is with libevent, which owns the request from then on */
  job_kind kind;
  const mtk_served_model *model;
  uint64_t id;   /* of the scheduler; 0 before it was submitted */
  char name[40]; /* "chatcmpl-..." */
  int64_t created;
  bool stream, include_usage, logprobs;
  int64_t text_offset;  /* completions' logprobs: characters so far */
  mtk_scheduler_stats seen; /* health: when it was asked */
  mtk_chat_parser *parser; /* chat: of the answer's text */
  tool_call *calls;
  int n_calls, n_told;     /* told: calls begun in the stream */
  mtk_bytes reasoning, content; /* whole (not streaming), or of the message at hand */
  json_t *logprob_items;        /* array */
  int64_t n_prompt, n_generated;
  int n_texts;        /* embeddings: of so many texts, */
  int64_t n_width;    /* so many floats each, */
  bool base64;        /* as base64 of little-endian f32 */
  bool lost;         /* engine thread: an event could not be copied */
  token_message end; /* the last event needs no memory */
} job;

typedef struct engine_thread {
  server *server;
  mtk_scheduler *scheduler;
  pthread_t thread;
  bool running;
} engine_thread;

struct server {
  const mtk_server_args *args;
  struct event_base *base;
  struct evhttp *http;
  struct evconnlistener *listener;
  struct event *wake, *tick;
  int wake_fd;
  pthread_mutex_t lock; /* of the message queue and `stopping` */
  token_message *first, **last;
  bool stopping;
  engine_thread *engines;
  int n_engines;
  job *jobs;
  bool draining, cut; /* cut: the drain ended before its requests did */
  double drain_until_s;
  char **keys;
  size_t n_keys;
  uint64_t next_name;
};

/* What a request body asks for; borrowed pointers live as long as `doc`. */
typedef struct parsed {
  json_t *doc;
  mtk_request request; /* prompt = ids.data */
  mtk_ids ids;
  int64_t *lengths; /* embeddings: tokens of each text */
  const char *stops[16];
} parsed;

/* parse.c. Fill job and request from a body. On failure *param names the offending field
 * (static). */
mtk_status serve_parse(parsed *out, job *j, const char **param, const char *body, size_t n,
                       mtk_error *err);
void serve_parsed_finish(parsed *p);

/* embeddings.c. The texts of a request for embeddings; the reply. */
mtk_status serve_parse_embeddings(parsed *out, job *j, const char **param, mtk_error *err);
void serve_embeddings_reply(job *j, const token_message *m);

/* chat.c. The prompt of a chat request, and the parser of its answer. */
mtk_status serve_chat_prompt(parsed *out, job *j, const char **param, mtk_error *err);
/* --tool-parser is one that there is. */
mtk_status serve_check_tool_parser(const server *s, mtk_error *err);

/* answer.c. The next text of an answer; MTK_E_NOMEM is its only error. */
mtk_status serve_answer_text(job *j, const char *text, size_t n, bool end);
/* All tool calls, and what was not sent of them yet, as OpenAI's lists. */
json_t *serve_calls_json(const job *j);
json_t *serve_new_calls_json(job *j);

/* jobs.c */
mtk_status serve_jobs_start(server *s, mtk_error *err);
/* Ends the engine threads and every job; nothing more is sent. Before evhttp_free. */
void serve_jobs_stop(server *s);
job *serve_job_create(server *s, struct evhttp_request *http, job_kind kind);
/* Submit; on failure the caller still owns the job. */
mtk_status serve_job_submit(job *j, mtk_request *request, mtk_error *err);
/* From here on the job follows its connection: it is told when that closes, and freed when the
 * reply is out. */
void serve_job_attach(job *j);
void serve_job_destroy(job *j);

/* keys.c. Keys of --api-key and --api-key-file; none = open to all. */
mtk_status serve_keys_load(server *s, mtk_error *err);
void serve_keys_finish(server *s);
bool serve_authorized(const server *s, struct evhttp_request *http);

/* routes.c */
void serve_on_request(struct evhttp_request *http, void *server);
/* A health check that waits for the engine's next step; replies once that was seen. */
void serve_health_poll(job *j);

/* reply.c: all on the loop thread. */
void serve_error(struct evhttp_request *http, int status, const char *type, const char *param,
                 const char *code, const char *message);
void serve_json(struct evhttp_request *http, int status, json_t *doc); /* takes doc */
void serve_health_reply(job *j);
/* One token event of a job that is not closed: streams or collects it; ends the reply with the last
 * one, after which the job may be gone. */
void serve_message(job *j, const token_message *m);

#endif
