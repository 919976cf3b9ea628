/* scheduler.c: continuous batching: many requests share the steps of one engine.
 *
 * Two threads meet here. Any thread submits and cancels: under the lock it appends to `inbox` or
 * sets a job's `cancelled`. One stepping thread owns `jobs` (arrival order): it changes the list
 * under the lock, reads it without, and alone touches the jobs' other fields and the engine;
 * callbacks run on it with no lock held.
 *
 * A step: take the inbox; end cancelled jobs; admit waiting jobs in arrival order while sequences
 * and KV pages last; build one batch (one token of every decoding job, the rest of max_batch shared
 * by the prompts); run it; sample, rows side by side on the engine's threads. When the cache is
 * full the youngest running job goes back to waiting and is computed again later, with the same
 * bits. */
#include <pthread.h>
#include <string.h>

#include "graph/exec.h"
#include "run/engine.h"
#include "run/job.h"
#include "run/sampler.h"

/* A row of logits and what was drawn from it. */
typedef struct draw {
  mtk_job *job;
  const float *logits;
  int32_t id;
  float logsumexp;
} draw;

struct mtk_scheduler {
  mtk_engine *engine;
  mtk_sampler *samplers; /* one a thread that may be busy */
  int n_samplers;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  mtk_job *inbox, **inbox_end; /* under the lock */
  mtk_job *jobs;
  uint64_t next_id;
  bool woken;
  mtk_scheduler_stats stats; /* under the lock */
  /* The batch being built. */
  mtk_batch_item *items;
  mtk_job **item_jobs;
  draw *draws; /* of the items whose logits are wanted */
  int n_items, n_draws;
};

/* ---- life ----------------------------------------------------------------------------------- */

static mtk_status create_samplers(mtk_scheduler *s, mtk_error *err) {
  int threads = mtk_pool_size(mtk_engine_pool(s->engine)), seqs = mtk_engine_max_seqs(s->engine);
  int n = threads < seqs ? threads : seqs;
  s->samplers = mtk_alloc((size_t)n, sizeof *s->samplers);
  if (!s->items || !s->item_jobs || !s->draws || !s->samplers)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a scheduler");
  for (; s->n_samplers < n; s->n_samplers++)
    MTK_TRY(mtk_sampler_init(&s->samplers[s->n_samplers], mtk_engine_kernels(s->engine),
                             mtk_engine_vocab(s->engine), err));
  return MTK_OK;
}

mtk_status mtk_scheduler_create(mtk_scheduler **out, mtk_engine *engine, mtk_error *err) {
  *out = NULL;
  mtk_scheduler *s = mtk_alloc(1, sizeof *s);
  if (!s) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a scheduler");
  size_t max_seqs = (size_t)mtk_engine_max_seqs(engine);
  s->engine = engine;
  s->inbox_end = &s->inbox;
  s->stats.struct_size = sizeof s->stats;
  s->items = mtk_alloc(max_seqs, sizeof *s->items);
  s->item_jobs = mtk_alloc(max_seqs, sizeof *s->item_jobs);
  s->draws = mtk_alloc(max_seqs, sizeof *s->draws);
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->changed, NULL);
  mtk_status status = create_samplers(s, err);
  if (status != MTK_OK) {
    mtk_scheduler_destroy(s);
    return status;
  }
  *out = s;
  return MTK_OK;
}

/* Jobs submitted since the last call go to the end of the list. */
static void take_inbox(mtk_scheduler *s) {
  pthread_mutex_lock(&s->lock);
  mtk_job **end = &s->jobs;
  while (*end) end = &(*end)->next;
  *end = s->inbox;
  s->inbox = NULL;
  s->inbox_end = &s->inbox;
  pthread_mutex_unlock(&s->lock);
}

static void release_seq(mtk_scheduler *s, mtk_job *j) {
  if (j->seq < 0) return;
  mtk_engine_seq_close(s->engine, j->seq);
  j->seq = -1;
  j->n_fed = 0;
}

/* Take finished jobs off the list and count the rest. */
static void sweep(mtk_scheduler *s, int *running, int *queued) {
  mtk_job *gone = NULL;
  *running = *queued = 0;
  pthread_mutex_lock(&s->lock);
  for (mtk_job **at = &s->jobs; *at;) {
    mtk_job *j = *at;
    if (j->finished) {
      *at = j->next;
      j->next = gone;
      gone = j;
      continue;
    }
    *(j->seq >= 0 ? running : queued) += 1;
    at = &j->next;
  }
  pthread_mutex_unlock(&s->lock);
  while (gone) {
    mtk_job *next = gone->next;
    release_seq(s, gone);
    mtk_job_destroy(gone);
    gone = next;
  }
}

void mtk_scheduler_destroy(mtk_scheduler *s) {
  if (!s) return;
  take_inbox(s);
  for (mtk_job *j = s->jobs; j; j = j->next) mtk_job_finish(j, MTK_FINISH_CANCELLED, NULL);
  int running, queued;
  sweep(s, &running, &queued);
  for (int i = 0; i < s->n_samplers; i++) mtk_sampler_finish(&s->samplers[i]);
  mtk_free(s->samplers);
  mtk_free(s->draws);
  mtk_free(s->items);
  mtk_free((void *)s->item_jobs);
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->lock);
  mtk_free(s);
}

/* ---- any thread ----------------------------------------------------------------------------- */

/* Embeddings: the texts are the whole prompt, each fits into the context. */
static mtk_status check_texts(const mtk_engine *e, const mtk_request *r, mtk_error *err) {
  int64_t sum = 0;
  if (!mtk_engine_has_embeddings(e))
    return mtk_fail(err, MTK_E_UNSUPPORTED, "request", "this model is served for text generation; "
                                                       "it gives no embeddings");
  for (int i = 0; i < r->n_texts; i++) {
    if (r->text_lengths[i] <= 0 || r->text_lengths[i] > r->n_prompt - sum)
      return mtk_fail(err, MTK_E_INVALID, "prompt", "text %d has no tokens", i);
    if (r->text_lengths[i] > mtk_engine_context(e))
      return mtk_fail(err, MTK_E_LIMIT, "prompt", "text %d has %lld tokens, the context holds %lld",
                      i, (long long)r->text_lengths[i], (long long)mtk_engine_context(e));
    sum += r->text_lengths[i];
  }
  if (sum == r->n_prompt) return MTK_OK;
  return mtk_fail(err, MTK_E_INVALID, "prompt", "the texts are not the whole prompt");
}

static mtk_status check_room(const mtk_engine *e, const mtk_request *r, mtk_error *err) {
  if (r->n_texts > 0) return check_texts(e, r, err);
  if (mtk_engine_has_embeddings(e))
    return mtk_fail(err, MTK_E_UNSUPPORTED, "request", "this model gives embeddings, not text");
  if (r->n_prompt >= mtk_engine_context(e))
    return mtk_fail(err, MTK_E_LIMIT, "prompt",
                    "the prompt has %lld tokens, but the context holds %lld with the answer",
                    (long long)r->n_prompt, (long long)mtk_engine_context(e));
  if (mtk_kv_pages_for(r->n_prompt + 1) <= mtk_engine_kv_pages(e)) return MTK_OK;
  return mtk_fail(err, MTK_E_LIMIT, "kv", "the KV cache is too small for a prompt of %lld tokens",
                  (long long)r->n_prompt);
}

static mtk_status check_request(const mtk_engine *e, const mtk_request *r, mtk_error *err) {
  if (r->n_prompt <= 0)
    return mtk_fail(err, MTK_E_INVALID, "prompt", "the prompt has no tokens");
  MTK_TRY(check_room(e, r, err));
  for (int64_t i = 0; i < r->n_prompt; i++)
    if (r->prompt[i] < 0 || r->prompt[i] >= mtk_engine_id_count(e))
      return mtk_fail(err, MTK_E_INVALID, "prompt", "id %d at %lld is outside the vocabulary",
                      r->prompt[i], (long long)i);
  if (!mtk_engine_has_adapter(e, r->adapter))
    return mtk_fail(err, MTK_E_INVALID, "adapter", "there is no adapter %d", r->adapter);
  if (r->max_tokens < 0 || r->n_stop < 0 || r->top_logprobs < 0 ||
      r->top_logprobs > mtk_engine_vocab(e))
    return mtk_fail(err, MTK_E_INVALID, "request", "max_tokens, n_stop or top_logprobs is negative "
                                                   "or too large");
  return mtk_sampling_check(&r->sampling, err);
}

mtk_status mtk_scheduler_submit(uint64_t *id, mtk_scheduler *s, const mtk_request *request,
                                mtk_error *err) {
  mtk_request r = {0};
  memcpy(&r, request, request->struct_size < sizeof r ? request->struct_size : sizeof r);
  MTK_TRY(check_request(s->engine, &r, err));
  mtk_job *j;
  MTK_TRY(mtk_job_create(&j, &r, mtk_engine_vocab(s->engine), mtk_engine_context(s->engine), err));
  pthread_mutex_lock(&s->lock);
  j->id = ++s->next_id;
  if (id) *id = j->id;
  *s->inbox_end = j;
  s->inbox_end = &j->next;
  s->stats.queued++;
  pthread_cond_signal(&s->changed);
  pthread_mutex_unlock(&s->lock);
  return MTK_OK;
}

void mtk_scheduler_cancel(mtk_scheduler *s, uint64_t id) {
  pthread_mutex_lock(&s->lock);
  for (int list = 0; list < 2; list++)
    for (mtk_job *j = list ? s->inbox : s->jobs; j; j = j->next)
      if (j->id == id) j->cancelled = true;
  pthread_cond_signal(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

void mtk_scheduler_wait(mtk_scheduler *s) {
  pthread_mutex_lock(&s->lock);
  while (!s->inbox && !s->jobs && !s->woken) pthread_cond_wait(&s->changed, &s->lock);
  s->woken = false;
  pthread_mutex_unlock(&s->lock);
}

void mtk_scheduler_wake(mtk_scheduler *s) {
  pthread_mutex_lock(&s->lock);
  s->woken = true;
  pthread_cond_signal(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

void mtk_scheduler_get_stats(const mtk_scheduler *s, mtk_scheduler_stats *out) {
  pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&s->lock;
  size_t size = out->struct_size < sizeof *out ? out->struct_size : sizeof *out;
  pthread_mutex_lock(lock);
  memcpy(out, &s->stats, size);
  pthread_mutex_unlock(lock);
  out->struct_size = size;
}

/* ---- a step: who takes part ----------------------------------------------------------------- */

static void end_cancelled(mtk_scheduler *s) {
  for (mtk_job *j = s->jobs; j; j = j->next) {
    pthread_mutex_lock(&s->lock);
    bool cancelled = j->cancelled;
    pthread_mutex_unlock(&s->lock);
    if (cancelled && !j->finished) mtk_job_finish(j, MTK_FINISH_CANCELLED, NULL);
  }
}

/* Pages a running job will take to hold all its ids and one more. */
static int64_t pages_promised(const mtk_job *j) {
  return mtk_kv_pages_for(j->n_ids + 1) - mtk_kv_pages_for(j->n_fed);
}

/* Waiting jobs start in arrival order, as long as what the running ones were promised stays
 * free. */
static void admit(mtk_scheduler *s) {
  int64_t left = mtk_engine_kv_free(s->engine) / MTK_KV_PAGE;
  for (mtk_job *j = s->jobs; j; j = j->next)
    if (j->seq >= 0) left -= pages_promised(j);
  for (mtk_job *j = s->jobs; j; j = j->next) {
    if (j->seq >= 0) continue;
    left -= pages_promised(j);
    if (left < 0 || mtk_engine_seq_open(&j->seq, s->engine, NULL) != MTK_OK) {
      j->seq = -1;
      return;
    }
  }
}

static void add_item(mtk_scheduler *s, mtk_job *j, int64_t n) {
  bool last = j->n_fed + n == j->n_ids;
  int at = s->n_items++;
  for (; at > 0 && s->items[at - 1].adapter > j->request.adapter; at--) {
    s->items[at] = s->items[at - 1];
    s->item_jobs[at] = s->item_jobs[at - 1];
  }
  s->items[at] = (mtk_batch_item){j->seq, j->request.adapter, j->ids + j->n_fed, (int32_t)n,
                                  last ? MTK_LOGITS_LAST : MTK_LOGITS_NONE};
  s->item_jobs[at] = j;
}

/* One id of each decoding job; the rest of max_batch in equal shares for the prompts, what a short
 * prompt leaves over to the later ones. Returns the KV pages the batch takes. */
static int64_t build_batch(mtk_scheduler *s) {
  int64_t room = mtk_engine_max_batch(s->engine), pages = 0, prompts = 0;
  s->n_items = 0;
  for (mtk_job *j = s->jobs; j; j = j->next) {
    if (j->seq < 0) continue;
    if (j->n_ids - j->n_fed > 1)
      prompts++;
    else
      room--;
  }
  for (mtk_job *j = s->jobs; j; j = j->next) {
    if (j->seq < 0) continue;
    int64_t n = j->n_ids - j->n_fed;
    if (n > 1) {
      int64_t share = (room + prompts - 1) / prompts;
      prompts--;
      n = n < share ? n : share;
      room -= n;
    }
    if (n <= 0) continue;
    pages += mtk_kv_pages_for(j->n_fed + n) - mtk_kv_pages_for(j->n_fed);
    add_item(s, j, n);
  }
  return pages;
}

/* Build a batch that fits into the cache: the youngest running jobs wait again if it must be so. A
 * job that is alone and has no room left ends with LENGTH. */
static void build_fitting_batch(mtk_scheduler *s) {
  while (build_batch(s) > mtk_engine_kv_free(s->engine) / MTK_KV_PAGE) {
    mtk_job *youngest = NULL;
    for (mtk_job *j = s->jobs; j; j = j->next)
      if (j->seq >= 0) youngest = j;
    if (s->n_items == 1) mtk_job_finish(youngest, MTK_FINISH_LENGTH, NULL);
    mtk_log(MTK_LOG_DEBUG, "scheduler: request %llu gives up its KV pages",
            (unsigned long long)youngest->id);
    release_seq(s, youngest);
  }
}

/* A job that was sent back and has outgrown the whole cache can never run again. */
static void end_outgrown(mtk_scheduler *s) {
  for (mtk_job *j = s->jobs; j; j = j->next)
    if (!j->finished && j->seq < 0 &&
        mtk_kv_pages_for(j->n_ids + 1) > mtk_engine_kv_pages(s->engine) &&
        mtk_job_generated(j) > 0)
      mtk_job_finish(j, MTK_FINISH_LENGTH, NULL);
}

/* ---- a step: what it gives ------------------------------------------------------------------ */

/* Every n_samplers-th row, by a sampler of its own. */
static void sample(void *ctx, int64_t task, int worker) {
  (void)worker;
  mtk_scheduler *s = ctx;
  for (int64_t i = task; i < s->n_draws; i += s->n_samplers) {
    draw *d = &s->draws[i];
    const mtk_job *j = d->job;
    d->id = mtk_sampler_pick(&s->samplers[task], &j->request.sampling, d->logits, j->counts,
                             (uint64_t)j->n_ids);
    d->logsumexp = mtk_engine_kernels(s->engine)->logsumexp(d->logits, mtk_engine_vocab(s->engine));
  }
}

static void sample_all(mtk_scheduler *s) {
  int n = s->n_draws < s->n_samplers ? s->n_draws : s->n_samplers;
  mtk_pool_run(mtk_engine_pool(s->engine), n, sample, s);
  for (const draw *d = s->draws; d < s->draws + s->n_draws; d++)
    mtk_job_push(d->job, mtk_engine_tokenizer(s->engine), d->id, d->logits,
                 mtk_engine_vocab(s->engine), d->logsumexp);
}

static void run_batch(mtk_scheduler *s) {
  const float *logits;
  int64_t n_rows;
  uint64_t prompt_tokens = 0;
  mtk_error error;
  mtk_status status = mtk_engine_forward(&logits, &n_rows, s->engine, s->items, s->n_items, &error);
  if (status != MTK_OK)
    mtk_log(MTK_LOG_ERROR, "scheduler: a step failed: %s: %s", error.place, error.message);
  s->n_draws = 0;
  for (int i = 0; i < s->n_items; i++) {
    mtk_job *j = s->item_jobs[i];
    if (status != MTK_OK) {
      mtk_job_finish(j, MTK_FINISH_ERROR, &error);
      continue;
    }
    j->n_fed += s->items[i].n_ids;
    int64_t seen = j->n_fed < j->n_prompt ? j->n_fed : j->n_prompt;
    if (seen > j->counted) {
      prompt_tokens += (uint64_t)(seen - j->counted);
      j->counted = seen;
    }
    if (s->items[i].logits != MTK_LOGITS_LAST) continue;
    s->draws[s->n_draws] = (draw){.job = j,
                                  .logits = logits + s->n_draws * mtk_engine_vocab(s->engine)};
    s->n_draws++;
  }
  sample_all(s);
  pthread_mutex_lock(&s->lock);
  s->stats.steps++;
  s->stats.prompt_tokens += prompt_tokens;
  s->stats.generated_tokens += (uint64_t)s->n_draws;
  pthread_mutex_unlock(&s->lock);
}

/* The oldest request for embeddings, whole. */
static void run_embedding(mtk_scheduler *s) {
  mtk_job *j = s->jobs;
  while (j && j->finished) j = j->next;
  if (!j) return;
  mtk_error error;
  const mtk_request *r = &j->request;
  mtk_status status = mtk_engine_embed(j->embeddings, s->engine, j->ids, r->text_lengths,
                                       r->n_texts, r->pooling, r->normalized, &error);
  pthread_mutex_lock(&s->lock);
  s->stats.steps++;
  if (status == MTK_OK) s->stats.prompt_tokens += (uint64_t)j->n_prompt;
  pthread_mutex_unlock(&s->lock);
  mtk_job_finish(j, status == MTK_OK ? MTK_FINISH_STOP : MTK_FINISH_ERROR,
                 status == MTK_OK ? NULL : &error);
}

static void run_generation(mtk_scheduler *s) {
  admit(s);
  build_fitting_batch(s);
  if (s->n_items > 0) run_batch(s);
  end_outgrown(s);
}

mtk_status mtk_scheduler_step(int *active, mtk_scheduler *s, mtk_error *err) {
  (void)err;
  double start = mtk_now_s();
  int running, queued;
  take_inbox(s);
  end_cancelled(s);
  sweep(s, &running, &queued);
  if (mtk_engine_has_embeddings(s->engine))
    run_embedding(s);
  else
    run_generation(s);
  sweep(s, &running, &queued);
  pthread_mutex_lock(&s->lock);
  for (const mtk_job *j = s->inbox; j; j = j->next) queued++;
  s->stats.running = running;
  s->stats.queued = queued;
  s->stats.busy_s += mtk_now_s() - start;
  pthread_mutex_unlock(&s->lock);
  *active = running + queued;
  return MTK_OK;
}
