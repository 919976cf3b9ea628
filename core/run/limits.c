/* limits.c: see mtk/limits.h. Each thread of the pool works on registers of its own, or reads a
 * part of one buffer that it wrote first. */
#include <mtk/limits.h>
#include <time.h>

#include "base/internal.h"

enum { READ_PASSES = 5, OPS_PASSES = 25, MAX_STREAMS = 16, LINE = 64 };
static const double SHORTEST = 2e-3; /* seconds of a pass: long beside the steps of the clock */

/* What a thread did in a pass. */
typedef struct part {
  double work, seconds; /* operations or bytes */
  uint64_t sum;         /* keeps the reads alive */
} part;

typedef struct job {
  const mtk_kernels *kernels;
  mtk_arith arith;
  int64_t rounds;
  uint64_t *words;
  size_t n_words; /* of a thread */
  int streams;
  part *parts; /* [threads] */
} job;

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void multiply(void *ctx, int64_t task, int worker) {
  const job *j = ctx;
  part *p = &j->parts[task];
  (void)worker;
  float io[32];
  for (int i = 0; i < 32; i++) io[i] = 1e-3f * (float)i;
  double start = cpu_seconds();
  p->work = j->kernels->peak[j->arith](io, j->rounds);
  p->seconds = cpu_seconds() - start;
}

static void fill_part(void *ctx, int64_t task, int worker) {
  const job *j = ctx;
  uint64_t *to = j->words + (size_t)task * j->n_words;
  for (size_t i = 0; i < j->n_words; i++) to[i] = i ^ (uint64_t)worker;
}

static void read_part(void *ctx, int64_t task, int worker) {
  const job *j = ctx;
  part *p = &j->parts[task];
  const uint64_t *from = j->words + (size_t)task * j->n_words;
  (void)worker;
  double start = cpu_seconds();
  for (int64_t r = 0; r < j->rounds; r++)
    p->sum += j->kernels->read_words(from, j->n_words, j->streams);
  p->seconds = cpu_seconds() - start;
  p->work = (double)j->rounds * (double)(j->n_words * sizeof *from);
}

/* Work a second of all threads. */
static double rate(job *j, mtk_pool *pool, mtk_task_fn fn) {
  double sum = 0;
  mtk_pool_run(pool, mtk_pool_size(pool), fn, j);
  for (int t = 0; t < mtk_pool_size(pool); t++) sum += j->parts[t].work / j->parts[t].seconds;
  return sum;
}

static void choose_rounds(job *j, mtk_task_fn fn, int64_t first) {
  j->rounds = first;
  do {
    j->rounds *= 2;
    fn(j, 0, 0);
  } while (j->parts[0].seconds < SHORTEST && j->rounds < INT64_MAX / 4);
}

static mtk_status begin(job *j, mtk_pool *pool, mtk_error *err) {
  j->parts = mtk_alloc((size_t)mtk_pool_size(pool), sizeof *j->parts);
  return j->parts ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

mtk_status mtk_limits_ops(double out[MTK_ARITH_COUNT], const mtk_kernels *kernels, mtk_pool *pool,
                          mtk_error *err) {
  job j = {.kernels = kernels};
  MTK_TRY(begin(&j, pool, err));
  for (int a = 0; a < MTK_ARITH_COUNT; a++) {
    bool same = a > 0 && kernels->peak[a] == kernels->peak[a - 1];
    out[a] = same ? out[a - 1] : 0.0;
    if (same) continue;
    j.arith = (mtk_arith)a;
    choose_rounds(&j, multiply, 500);
    for (int i = 0; i < OPS_PASSES; i++) {
      double now = rate(&j, pool, multiply);
      if (now > out[a]) out[a] = now;
    }
  }
  mtk_free(j.parts);
  return MTK_OK;
}

static double best_read(job *j, mtk_pool *pool) {
  double best = 0.0;
  mtk_pool_run(pool, mtk_pool_size(pool), fill_part, j);
  j->streams = 1;
  choose_rounds(j, read_part, 1);
  for (int n = 1; n <= MAX_STREAMS; n *= 2)
    for (int i = 0; i < 2 * READ_PASSES; i++) {
      j->streams = i % 2 ? -n : n;
      double now = rate(j, pool, read_part);
      if (now > best) best = now;
    }
  return best;
}

mtk_status mtk_limits_read(double *out, const mtk_kernels *kernels, mtk_pool *pool, uint64_t bytes,
                           mtk_error *err) {
  const size_t threads = (size_t)mtk_pool_size(pool);
  const size_t bytes_each = (bytes / threads / LINE + 1) * LINE, all = bytes_each * threads;
  job j = {.kernels = kernels, .n_words = bytes_each / sizeof *j.words};
  j.words = mtk_alloc_pages(all);
  mtk_status st = j.words ? begin(&j, pool, err)
                          : mtk_fail(err, MTK_E_NOMEM, NULL, "no memory to measure reading with");
  if (st == MTK_OK) *out = best_read(&j, pool);
  mtk_free(j.parts);
  mtk_free_pages(j.words, all);
  return st;
}
