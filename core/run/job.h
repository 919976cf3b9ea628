/* run/job.h: one request inside the scheduler: its ids so far, its sampling history, and the text
 * that goes out token by token. A job belongs to the scheduler's stepping thread once queued,
 * except `cancelled` and `next` (see scheduler.c). */
#ifndef MTK_RUN_JOB_H
#define MTK_RUN_JOB_H

#include <mtk/engine.h>

typedef struct mtk_job mtk_job;
struct mtk_job {
  mtk_job *next; /* in arrival order */
  uint64_t id;
  bool cancelled;
  mtk_request request; /* prompt and stop point to copies owned by the job */
  int32_t *ids;        /* prompt, then generated */
  int64_t n_ids, cap_ids, n_prompt;
  int64_t limit; /* n_ids at which generation ends with LENGTH */
  int64_t counted; /* prompt tokens already in the statistics (a preempted prompt counts once) */
  int seq;       /* -1 while queued */
  int64_t n_fed; /* ids in the KV cache */
  uint32_t *counts; /* per id, for penalties; NULL if not needed */
  mtk_token_prob *top;
  mtk_token_stream *stream; /* from the first token on */
  mtk_bytes text; /* complete UTF-8 not yet handed out */
  bool finished;
  float *embeddings; /* [n_texts, length] of a request for them */
};

/* Copy a checked request. */
mtk_status mtk_job_create(mtk_job **out, const mtk_request *request, int64_t vocab,
                          int64_t context, mtk_error *err);
void mtk_job_destroy(mtk_job *job);
static inline int64_t mtk_job_generated(const mtk_job *j) { return j->n_ids - j->n_prompt; }

/* A token was chosen: append it and send its event; sets job->finished (and sends the reason) on
 * end-of-generation tokens, stop strings and limits. logits: the row it came from; lse its
 * logsumexp. tok may be NULL: no text. */
void mtk_job_push(mtk_job *job, const mtk_tokenizer *tok, int32_t id, const float *logits,
                  int64_t vocab, float lse);
/* Send the last event without a token. error only for MTK_FINISH_ERROR. */
void mtk_job_finish(mtk_job *job, mtk_finish reason, const mtk_error *error);

/* Search `text` for the earliest of the stop strings. Returns true with *at = where it begins;
 * else false with *at = length of the head that can be handed out: what follows is the beginning
 * of a stop string. */
bool mtk_find_stop(size_t *at, const char *text, size_t n, const char *const *stop, int n_stop);

#endif
