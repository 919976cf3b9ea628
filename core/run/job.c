/* job.c: lifetime of a request, stop strings, and the events its owner gets. Events go out on the
 * stepping thread, with no lock held. */
#include "run/job.h"

#include <string.h>

#include "run/sampler.h"

static mtk_status copy_stop(mtk_job *j, const mtk_request *r) {
  const char **stop = mtk_alloc((size_t)r->n_stop, sizeof *stop);
  if (!stop) return MTK_E_NOMEM;
  j->request.stop = stop;
  j->request.n_stop = 0;
  for (int i = 0; i < r->n_stop; i++) {
    if (!r->stop[i][0]) continue; /* an empty string would stop everything */
    stop[j->request.n_stop] = mtk_strdup(r->stop[i]);
    if (!stop[j->request.n_stop]) return MTK_E_NOMEM;
    j->request.n_stop++;
  }
  return MTK_OK;
}

/* A request for embeddings: the lengths of its texts, and room for the vectors. */
static mtk_status copy_texts(mtk_job *j, const mtk_request *r, int64_t width) {
  if (r->n_texts <= 0) return MTK_OK;
  int64_t *lengths = mtk_alloc((size_t)r->n_texts, sizeof *lengths);
  j->request.text_lengths = lengths;
  j->embeddings = mtk_alloc((size_t)r->n_texts * (size_t)width, sizeof *j->embeddings);
  if (!lengths || !j->embeddings) return MTK_E_NOMEM;
  memcpy(lengths, r->text_lengths, (size_t)r->n_texts * sizeof *lengths);
  return MTK_OK;
}

static mtk_status fill(mtk_job *j, const mtk_request *r, int64_t vocab, int64_t context) {
  j->cap_ids = r->n_prompt + 64;
  j->ids = mtk_alloc((size_t)j->cap_ids, sizeof *j->ids);
  if (!j->ids) return MTK_E_NOMEM;
  memcpy(j->ids, r->prompt, (size_t)r->n_prompt * sizeof *j->ids);
  j->n_ids = j->n_prompt = r->n_prompt;
  j->request.prompt = NULL;
  j->limit = context;
  if (r->max_tokens > 0 && r->max_tokens < context - r->n_prompt)
    j->limit = r->n_prompt + r->max_tokens;
  if (r->top_logprobs > 0) {
    j->top = mtk_alloc((size_t)r->top_logprobs, sizeof *j->top);
    if (!j->top) return MTK_E_NOMEM;
  }
  if (!mtk_sampling_needs_counts(&r->sampling)) return MTK_OK;
  j->counts = mtk_alloc((size_t)vocab, sizeof *j->counts);
  if (!j->counts) return MTK_E_NOMEM;
  for (int64_t i = 0; i < r->n_prompt; i++)
    if (r->prompt[i] < vocab) j->counts[r->prompt[i]] = MTK_IN_PROMPT;
  return MTK_OK;
}

mtk_status mtk_job_create(mtk_job **out, const mtk_request *request, int64_t vocab,
                          int64_t context, mtk_error *err) {
  *out = NULL;
  mtk_job *j = mtk_alloc(1, sizeof *j);
  if (!j) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a request");
  j->request = *request;
  j->request.stop = NULL;
  j->request.n_stop = 0;
  j->request.text_lengths = NULL;
  j->seq = -1;
  if (copy_stop(j, request) != MTK_OK || copy_texts(j, request, vocab) != MTK_OK ||
      fill(j, request, vocab, context) != MTK_OK) {
    mtk_job_destroy(j);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a request");
  }
  *out = j;
  return MTK_OK;
}

void mtk_job_destroy(mtk_job *j) {
  if (!j) return;
  for (int i = 0; i < j->request.n_stop; i++) mtk_free((void *)(uintptr_t)j->request.stop[i]);
  mtk_free((void *)(uintptr_t)j->request.stop);
  mtk_free(j->ids);
  mtk_free(j->counts);
  mtk_free(j->top);
  mtk_token_stream_destroy(j->stream);
  mtk_free((void *)(uintptr_t)j->request.text_lengths);
  mtk_free(j->embeddings);
  mtk_bytes_finish(&j->text);
  mtk_free(j);
}

bool mtk_find_stop(size_t *at, const char *text, size_t n, const char *const *stop, int n_stop) {
  for (size_t i = 0; i < n; i++)
    for (int s = 0; s < n_stop; s++) {
      size_t len = strlen(stop[s]);
      *at = i;
      if (len <= n - i && memcmp(text + i, stop[s], len) == 0) return true;
    }
  for (size_t i = 0; i < n; i++)
    for (int s = 0; s < n_stop; s++) {
      *at = i;
      if (strlen(stop[s]) > n - i && memcmp(text + i, stop[s], n - i) == 0) return false;
    }
  *at = n;
  return false;
}

/* Hand out the first n_text bytes of the held text. */
static void send(mtk_job *j, mtk_token_event *event, size_t n_text) {
  event->text = n_text > 0 ? j->text.data : "";
  event->n_text = n_text;
  event->n_prompt = j->n_prompt;
  event->n_generated = mtk_job_generated(j);
  j->finished = event->finish != MTK_FINISH_NONE;
  if (j->request.on_token) j->request.on_token(j->request.ctx, event);
  if (n_text == 0) return;
  memmove(j->text.data, j->text.data + n_text, j->text.len - n_text);
  j->text.len -= n_text;
}

void mtk_job_finish(mtk_job *j, mtk_finish reason, const mtk_error *error) {
  mtk_token_event event = {.id = -1, .finish = reason, .error = error,
                           .embeddings = reason == MTK_FINISH_STOP ? j->embeddings : NULL};
  send(j, &event, reason == MTK_FINISH_LENGTH ? j->text.len : 0);
}

static mtk_status append_id(mtk_job *j, int32_t id, int64_t vocab) {
  if (j->n_ids == j->cap_ids) {
    int32_t *grown = mtk_realloc(j->ids, (size_t)j->n_ids, (size_t)j->cap_ids * 2, sizeof *grown);
    if (!grown) return MTK_E_NOMEM;
    j->ids = grown;
    j->cap_ids *= 2;
  }
  j->ids[j->n_ids++] = id;
  if (j->counts && id < vocab) j->counts[id]++;
  return MTK_OK;
}

/* The text of a token, or (with last) what is still held back. The prompt's last token tells
 * decoders that the text has begun; its own text is not part of the answer. */
static mtk_status decode(mtk_job *j, const mtk_tokenizer *tok, int32_t id, bool last,
                         mtk_error *err) {
  size_t n = mtk_tokenizer_size(tok);
  if (!j->stream) {
    int32_t before = j->n_prompt > 0 ? j->ids[j->n_prompt - 1] : -1;
    MTK_TRY(mtk_token_stream_create(&j->stream, tok, j->request.echo_special, err));
    if (before >= 0 && (size_t)before < n)
      MTK_TRY(mtk_token_stream_push(j->stream, &j->text, before, err));
    mtk_bytes_clear(&j->text);
  }
  if (id >= 0 && (size_t)id < n) MTK_TRY(mtk_token_stream_push(j->stream, &j->text, id, err));
  return last ? mtk_token_stream_finish(j->stream, &j->text, err) : MTK_OK;
}

void mtk_job_push(mtk_job *j, const mtk_tokenizer *tok, int32_t id, const float *logits,
                  int64_t vocab, float lse) {
  const mtk_request *r = &j->request;
  mtk_token_event event = {.id = id, .logprob = logits[id] - lse, .top = j->top,
                           .n_top = r->top_logprobs};
  mtk_top_logprobs(j->top, r->top_logprobs, logits, vocab, lse);
  bool end = tok && !r->ignore_eos && mtk_tokenizer_is_eog(tok, id);
  bool failed = append_id(j, id, vocab) != MTK_OK;
  if (end)
    event.finish = MTK_FINISH_STOP;
  else if (j->n_ids >= j->limit)
    event.finish = MTK_FINISH_LENGTH;
  bool last = event.finish != MTK_FINISH_NONE;
  mtk_error error;
  if (tok && decode(j, tok, end ? -1 : id, last, &error) != MTK_OK) failed = true;
  if (failed || j->text.failed) {
    mtk_fail(&error, MTK_E_NOMEM, NULL, "out of memory for a request");
    mtk_job_finish(j, MTK_FINISH_ERROR, &error);
    return;
  }
  size_t ready;
  if (mtk_find_stop(&ready, j->text.data, j->text.len, r->stop, r->n_stop))
    event.finish = MTK_FINISH_STOP;
  else if (last)
    ready = j->text.len;
  send(j, &event, ready);
}
