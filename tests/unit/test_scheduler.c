/* test_scheduler.c: continuous batching gives every request what it would get alone: many at once,
 * small caches that force requests back into the queue, adapters, several submitting threads; stop
 * strings, UTF-8, cancelling, limits, errors. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/engine.h"
#include "run/job.h"
#include "run_suite.h"
#include "tiny_llama.h"

/* ---- a model with a vocabulary -------------------------------------------------------------- */

/* Ids 0..25 letters, 26..29 the bytes of "é" and "€" one by one, 30 a space, 31 end; the others are
 * pairs of letters. Tokens are spelled in the GPT-2 byte alphabet. */
static mtk_vocab *make_vocab(int n) {
  static const char *const bytes[] = {"\u00c3", "\u00a9", "\u00e2", "\u0124", "\u0120"};
  mtk_vocab *v = mtk_vocab_create();
  v->kind = MTK_VOCAB_BPE;
  v->tokens = mtk_arena_alloc(v->arena, (size_t)n, sizeof *v->tokens);
  v->n_tokens = (size_t)n;
  for (int i = 0; i < n; i++) {
    char text[16];
    if (i < 26)
      snprintf(text, sizeof text, "%c", 'a' + i);
    else if (i < 31)
      snprintf(text, sizeof text, "%s", bytes[i - 26]);
    else if (i == 31)
      snprintf(text, sizeof text, "<end>");
    else
      snprintf(text, sizeof text, "%c%c", 'a' + i % 26, 'A' + i / 26);
    v->tokens[i].len = (uint32_t)strlen(text);
    v->tokens[i].text = mtk_arena_strndup(v->arena, text, strlen(text));
    v->tokens[i].type = i == 31 ? MTK_TOKEN_CONTROL : MTK_TOKEN_NORMAL;
  }
  v->bos = v->unk = v->pad = v->eot = -1;
  v->eos = 31;
  return v;
}

typedef struct rig {
  mtk_model *model;
  mtk_engine *engine;
  mtk_scheduler *scheduler;
  mtk_pool *pool;
  int adapter;
} rig;

static void rig_init(rig *r, int max_seqs, int64_t kv_tokens, int max_batch) {
  mtk_error err = {0};
  r->model = tiny_model(&tiny_default);
  mtk_model_set_vocab(r->model, make_vocab((int)tiny_default.vocab));
  ck_assert_int_eq(mtk_pool_create(&r->pool, max_seqs > 1 ? 3 : 1, NULL), MTK_OK);
  mtk_engine_options o = {.struct_size = sizeof o, .context = 256, .max_seqs = max_seqs,
                          .kv_tokens = kv_tokens, .max_batch = max_batch, .arith = -1, .isa = -1,
                          .pool = r->pool};
  ck_assert_msg(mtk_engine_create_built(&r->engine, r->model, tiny_build, &o, &err) == MTK_OK,
                "%s: %s", err.place, err.message);
  ck_assert_ptr_nonnull(mtk_engine_tokenizer(r->engine));
  mtk_adapter *a = tiny_adapter(&tiny_default, 4, 3);
  ck_assert_int_eq(mtk_engine_add_adapter(&r->adapter, r->engine, a, NULL), MTK_OK);
  mtk_adapter_destroy(a);
  ck_assert_int_eq(mtk_scheduler_create(&r->scheduler, r->engine, NULL), MTK_OK);
}

static void rig_finish(rig *r) {
  mtk_scheduler_destroy(r->scheduler);
  mtk_engine_destroy(r->engine);
  mtk_model_destroy(r->model);
  mtk_pool_destroy(r->pool);
}

/* ---- what a request got --------------------------------------------------------------------- */

typedef struct result {
  int32_t ids[256];
  float logprobs[256];
  mtk_token_prob top[256][3];
  char text[1024];
  int n, ends, events;
  size_t n_text;
  int64_t n_generated;
  mtk_finish finish;
  /* Cancel this one from its own callback after so many tokens. */
  mtk_scheduler *cancel_in;
  uint64_t id;
  int cancel_after;
} result;

static void on_token(void *ctx, const mtk_token_event *event) {
  result *r = ctx;
  ck_assert_int_eq(r->ends, 0); /* nothing after the last event */
  r->events++;
  if (event->id >= 0) {
    r->ids[r->n] = event->id;
    r->logprobs[r->n] = event->logprob;
    if (event->n_top == 3) memcpy(r->top[r->n], event->top, sizeof r->top[0]);
    r->n++;
  }
  memcpy(r->text + r->n_text, event->text, event->n_text);
  r->n_text += event->n_text;
  bool incomplete;
  ck_assert_uint_eq(mtk_utf8_prefix(event->text, event->n_text, &incomplete), event->n_text);
  r->n_generated = event->n_generated;
  ck_assert_int_eq(event->n_generated, r->n);
  if (event->finish != MTK_FINISH_NONE) {
    r->ends++;
    r->finish = event->finish;
  }
  if (r->cancel_in && r->n == r->cancel_after) mtk_scheduler_cancel(r->cancel_in, r->id);
}

static void drain(mtk_scheduler *s) {
  int active = 1;
  for (int steps = 0; active > 0; steps++) {
    ck_assert_int_eq(mtk_scheduler_step(&active, s, NULL), MTK_OK);
    ck_assert_int_lt(steps, 100000);
  }
}

enum { N_REQUESTS = 32 };
static int32_t prompts[N_REQUESTS][160];

static mtk_request make_request(int i, const rig *r, result *out) {
  int n = 1 + (i * 37) % 150;
  for (int j = 0; j < n; j++)
    prompts[i][j] = (int32_t)(mtk_uniform(21, (uint64_t)i, (uint64_t)j) * 67.0);
  mtk_request q = {.struct_size = sizeof q, .prompt = prompts[i], .n_prompt = n,
                   .max_tokens = 5 + i % 40, .sampling = MTK_SAMPLING_DEFAULT, .top_logprobs = 3,
                   .ignore_eos = true, .adapter = i % 4 == 3 ? r->adapter : 0,
                   .on_token = on_token, .ctx = out};
  if (i % 3 > 0) {
    q.sampling.temperature = 0.9f;
    q.sampling.seed = (uint64_t)i;
    q.sampling.top_p = i % 3 == 1 ? 0.9f : 1.0f;
  }
  if (i % 5 == 0) q.sampling.repetition_penalty = 1.3f;
  return q;
}

static void run_one_by_one(result *out) {
  rig r;
  rig_init(&r, 1, 0, 512);
  for (int i = 0; i < N_REQUESTS; i++) {
    mtk_request q = make_request(i, &r, &out[i]);
    ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, NULL), MTK_OK);
    drain(r.scheduler);
    ck_assert_int_eq(out[i].finish, MTK_FINISH_LENGTH);
    ck_assert_int_eq(out[i].n, 5 + i % 40);
  }
  rig_finish(&r);
}

static void check_equal(const result *want, const result *got) {
  for (int i = 0; i < N_REQUESTS; i++)
    ck_assert_msg(memcmp(&want[i], &got[i], sizeof *want) == 0, "request %d differs", i);
}

START_TEST(together_as_one_by_one) {
  static const struct {
    int max_seqs, max_batch;
    int64_t kv_tokens;
  } cases[] = {{32, 512, 0}, {5, 16, 0}, {6, 64, 320}, {32, 40, 256}};
  result *want = calloc(N_REQUESTS, sizeof *want), *got = calloc(N_REQUESTS, sizeof *got);
  run_one_by_one(want);
  rig r;
  rig_init(&r, cases[_i].max_seqs, cases[_i].kv_tokens, cases[_i].max_batch);
  uint64_t prompt_tokens = 0, generated = 0;
  for (int i = 0; i < N_REQUESTS; i++) {
    mtk_request q = make_request(i, &r, &got[i]);
    prompt_tokens += (uint64_t)q.n_prompt;
    generated += (uint64_t)q.max_tokens;
    ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, NULL), MTK_OK);
    int active;
    if (i % 3 == 0) mtk_scheduler_step(&active, r.scheduler, NULL); /* they arrive over time */
  }
  drain(r.scheduler);
  check_equal(want, got);
  mtk_scheduler_stats stats = {.struct_size = sizeof stats};
  mtk_scheduler_get_stats(r.scheduler, &stats);
  ck_assert_uint_eq(stats.prompt_tokens, prompt_tokens);
  ck_assert_uint_eq(stats.generated_tokens, generated);
  ck_assert_int_eq(stats.running + stats.queued, 0);
  int64_t free_now = mtk_engine_kv_free(r.engine), all = 64 * mtk_engine_kv_pages(r.engine);
  ck_assert_int_eq(free_now, all);
  rig_finish(&r);
  free(want);
  free(got);
}
END_TEST

typedef struct submitter {
  rig *r;
  result *out;
  int first;
} submitter;

static void *submit_some(void *ctx) {
  submitter *s = ctx;
  for (int i = s->first; i < N_REQUESTS; i += 4) {
    mtk_request q = make_request(i, s->r, &s->out[i]);
    if (mtk_scheduler_submit(NULL, s->r->scheduler, &q, NULL) != MTK_OK) return ctx;
  }
  return NULL;
}

START_TEST(submitted_by_threads) {
  result *want = calloc(N_REQUESTS, sizeof *want), *got = calloc(N_REQUESTS, sizeof *got);
  run_one_by_one(want);
  rig r;
  rig_init(&r, 8, 0, 128);
  pthread_t threads[4];
  submitter args[4];
  for (int i = 0; i < 4; i++) {
    args[i] = (submitter){&r, got, i};
    ck_assert_int_eq(pthread_create(&threads[i], NULL, submit_some, &args[i]), 0);
  }
  for (int ended = 0; ended < N_REQUESTS;) {
    int active;
    mtk_scheduler_wait(r.scheduler);
    ck_assert_int_eq(mtk_scheduler_step(&active, r.scheduler, NULL), MTK_OK);
    ended = 0;
    for (int i = 0; i < N_REQUESTS; i++) ended += got[i].ends;
  }
  for (int i = 0; i < 4; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    ck_assert_ptr_null(failed);
  }
  check_equal(want, got);
  mtk_scheduler_wake(r.scheduler);
  mtk_scheduler_wait(r.scheduler); /* returns: it was woken */
  rig_finish(&r);
  free(want);
  free(got);
}
END_TEST

/* ---- stop strings and text ------------------------------------------------------------------ */

START_TEST(finds_stop_strings) {
  static const struct {
    const char *text, *stop[2];
    bool found;
    size_t at;
  } cases[] = {{"", {"x", "y"}, false, 0},
               {"abc", {"x", "y"}, false, 3},
               {"abc", {"b", "y"}, true, 1},
               {"abc", {"cd", "y"}, false, 2},
               {"aaab", {"aab", "y"}, true, 1},
               {"aaa", {"aab", "y"}, false, 1},
               {"hello wo", {"hello world", "wo"}, true, 6},
               {"hello w", {"hello world", "wo"}, false, 0},
               {"xxend", {"end of", "nd"}, true, 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t at = 99;
    bool found = mtk_find_stop(&at, cases[i].text, strlen(cases[i].text), cases[i].stop, 2);
    ck_assert_msg(found == cases[i].found && at == cases[i].at, "'%s': %d at %zu", cases[i].text,
                  found, at);
  }
}
END_TEST

/* Generate with these stop strings; sampling is such that texts are long and varied. */
static void generate(rig *r, result *out, const char *const *stop, int n_stop) {
  static const int32_t prompt[] = {1, 2, 3};
  memset(out, 0, sizeof *out);
  mtk_request q = {.struct_size = sizeof q, .prompt = prompt, .n_prompt = 3, .max_tokens = 120,
                   .sampling = {1.2f, 0, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f, 4}, .stop = stop,
                   .n_stop = n_stop, .ignore_eos = true, .on_token = on_token, .ctx = out};
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r->scheduler, &q, NULL), MTK_OK);
  drain(r->scheduler);
}

START_TEST(stop_strings_end_the_text) {
  rig r;
  result whole, part;
  rig_init(&r, 1, 0, 64);
  generate(&r, &whole, NULL, 0);
  ck_assert_uint_gt(whole.n_text, 100);
  mtk_bytes decoded = {0};
  mtk_utf8_stream stream = {0};
  for (int i = 0; i < whole.n; i++) {
    size_t len;
    const mtk_tokenizer *tok = mtk_engine_tokenizer(r.engine);
    const char *piece = mtk_tokenizer_piece(tok, whole.ids[i], false, &len);
    mtk_utf8_stream_push(&stream, &decoded, piece, len, i + 1 == whole.n);
  }
  ck_assert_uint_eq(decoded.len, whole.n_text);
  ck_assert_mem_eq(decoded.data, whole.text, whole.n_text);
  mtk_bytes_finish(&decoded);
  for (size_t at = 5; at + 9 < whole.n_text; at += 3) {
    for (size_t len = 1; len <= 9; len += 4) {
      /* Stop strings are whole characters. */
      if ((whole.text[at] & 0xC0) == 0x80 || (whole.text[at + len] & 0xC0) == 0x80) continue;
      char stop[16];
      snprintf(stop, sizeof stop, "%.*s", (int)len, whole.text + at);
      const char *list[] = {"never in it", stop};
      char *first = strstr(whole.text, stop);
      generate(&r, &part, list, 2);
      ck_assert_int_eq(part.finish, MTK_FINISH_STOP);
      ck_assert_uint_eq(part.n_text, (size_t)(first - whole.text));
      ck_assert_mem_eq(part.text, whole.text, part.n_text);
      ck_assert_mem_eq(part.ids, whole.ids, (size_t)part.n * sizeof *part.ids);
    }
  }
  /* Text that is held back at the end because a stop string might come is not lost. */
  char tail[3] = {whole.text[whole.n_text - 1], '\x01', 0};
  const char *list[] = {tail};
  generate(&r, &part, list, 1);
  ck_assert_int_eq(part.finish, MTK_FINISH_LENGTH);
  ck_assert_uint_eq(part.n_text, whole.n_text);
  rig_finish(&r);
}
END_TEST

START_TEST(end_of_generation_stops) {
  rig r;
  result out = {0};
  rig_init(&r, 1, 0, 64);
  bool seen = false;
  for (uint64_t seed = 0; seed < 50 && !seen; seed++) {
    int32_t prompt[] = {5};
    memset(&out, 0, sizeof out);
    mtk_request q = {.struct_size = sizeof q, .prompt = prompt, .n_prompt = 1,
                     .sampling = {3.0f, 0, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f, seed},
                     .on_token = on_token, .ctx = &out};
    ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, NULL), MTK_OK);
    drain(r.scheduler);
    for (int i = 0; i + 1 < out.n; i++) ck_assert_int_ne(out.ids[i], 31);
    if (out.finish == MTK_FINISH_STOP) {
      seen = true;
      ck_assert_int_eq(out.ids[out.n - 1], 31);
    } else {
      ck_assert_int_eq(out.finish, MTK_FINISH_LENGTH); /* the context is full */
      ck_assert_int_eq(out.n, 255);
    }
  }
  ck_assert(seen);
  rig_finish(&r);
}
END_TEST

/* ---- ends ----------------------------------------------------------------------------------- */

START_TEST(cancel) {
  rig r;
  result *out = calloc(4, sizeof *out);
  rig_init(&r, 2, 0, 64);
  for (int i = 0; i < 4; i++) {
    mtk_request q = make_request(i, &r, &out[i]);
    q.max_tokens = 50;
    uint64_t id;
    ck_assert_int_eq(mtk_scheduler_submit(&id, r.scheduler, &q, NULL), MTK_OK);
    out[i].id = id;
  }
  out[0].cancel_in = r.scheduler;
  out[0].cancel_after = 10;
  mtk_scheduler_cancel(r.scheduler, out[3].id); /* still in the queue */
  mtk_scheduler_cancel(r.scheduler, 12345);     /* unknown: nothing happens */
  drain(r.scheduler);
  ck_assert_int_eq(out[0].finish, MTK_FINISH_CANCELLED);
  ck_assert_int_eq(out[0].n, 10);
  ck_assert_int_eq(out[1].finish, MTK_FINISH_LENGTH);
  ck_assert_int_eq(out[1].n, 50);
  ck_assert_int_eq(out[3].finish, MTK_FINISH_CANCELLED);
  ck_assert_int_eq(out[3].events, 1);
  ck_assert_int_eq(mtk_engine_kv_free(r.engine), 64 * mtk_engine_kv_pages(r.engine));
  for (int i = 0; i < 4; i++) ck_assert_int_eq(out[i].ends, 1);
  rig_finish(&r);
  free(out);
}
END_TEST

START_TEST(destroy_ends_the_rest) {
  rig r;
  result *out = calloc(3, sizeof *out);
  rig_init(&r, 1, 0, 64);
  for (int i = 0; i < 3; i++) {
    mtk_request q = make_request(i, &r, &out[i]);
    ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, NULL), MTK_OK);
    int active;
    if (i == 1) mtk_scheduler_step(&active, r.scheduler, NULL);
  }
  rig_finish(&r);
  for (int i = 0; i < 3; i++) {
    ck_assert_int_eq(out[i].ends, 1);
    ck_assert_int_eq(out[i].finish, MTK_FINISH_CANCELLED);
  }
  free(out);
}
END_TEST

START_TEST(cache_smaller_than_the_answer) {
  rig r;
  result out = {0};
  rig_init(&r, 2, 128, 64); /* two pages */
  mtk_request q = make_request(0, &r, &out);
  q.max_tokens = 0;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, NULL), MTK_OK);
  drain(r.scheduler);
  ck_assert_int_eq(out.finish, MTK_FINISH_LENGTH);
  ck_assert_int_ge(out.n, 126);
  rig_finish(&r);
}
END_TEST

START_TEST(bad_requests_are_refused) {
  rig r;
  result out = {0};
  mtk_error err;
  rig_init(&r, 1, 128, 64);
  mtk_request good = make_request(0, &r, &out), q = good;
  static int32_t many[300];
  q.n_prompt = 0;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, &err), MTK_E_INVALID);
  q = good;
  q.prompt = many;
  q.n_prompt = 256;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, &err), MTK_E_LIMIT);
  q.n_prompt = 130;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, &err), MTK_E_LIMIT);
  q.n_prompt = 3;
  many[1] = 67;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, &err), MTK_E_INVALID);
  many[1] = 0;
  q = good;
  q.adapter = 7;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, &err), MTK_E_INVALID);
  q = good;
  q.sampling.top_p = 2.0f;
  ck_assert_int_eq(mtk_scheduler_submit(NULL, r.scheduler, &q, &err), MTK_E_INVALID);
  ck_assert_int_eq(out.events, 0);
  rig_finish(&r);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("scheduler");
  TCase *t = tcase_create("scheduler");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, together_as_one_by_one, 0, 4);
  tcase_add_test(t, submitted_by_threads);
  tcase_add_test(t, finds_stop_strings);
  tcase_add_test(t, stop_strings_end_the_text);
  tcase_add_test(t, end_of_generation_stops);
  tcase_add_test(t, cancel);
  tcase_add_test(t, destroy_ends_the_rest);
  tcase_add_test(t, cache_smaller_than_the_answer);
  tcase_add_test(t, bad_requests_are_refused);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
