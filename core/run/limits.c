/* limits.c: see mtk/limits.h. Each thread of the pool works on registers of its own, or reads a
 * part of one buffer. A pool may run two parts one after the other on one thread; parts therefore
 * wait for each other, and a pass whose parts did not meet does not count. */
#include <mtk/limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "base/internal.h"

enum { READ_PASSES = 25, OPS_PASSES = 25, MAX_STREAMS = 16, LINE = 64 };
/* Of bytes that fit no cache a pass reads some pieces: a short one is less often interrupted. */
enum { PIECES = 16, MUCH = 256 << 20 };
enum { MOST_ALONE = 10 };            /* passes whose parts do not meet, before it is given up */
static const double SHORTEST = 2e-3; /* seconds of a pass: long beside the steps of the clock */
static const double PATIENCE = 2e-2; /* seconds that a part waits for the others */

/* What a thread did in a pass. */
typedef struct part {
  double work, start, end; /* operations or bytes; seconds of its CPU time or of the clock */
  uint64_t sum;            /* keeps the reads alive */
} part;

typedef struct job {
  const mtk_kernels *kernels;
  mtk_arith arith;
  int64_t rounds;
  uint64_t *words;
  size_t n_words; /* of a thread's piece */
  int64_t pieces, first; /* of each part; the first that this pass reads */
  int streams;
  int n_parts;
  part *parts;      /* [n_parts] */
  _Atomic int here; /* parts that have begun this pass */
  _Atomic bool alone;
  int n_alone; /* passes so far */
} job;

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* False: the others do not come. */
static bool meet(job *j) {
  const double until = mtk_now_s() + PATIENCE;
  atomic_fetch_add(&j->here, 1);
  while (atomic_load(&j->here) < j->n_parts) {
    if (mtk_now_s() > until) atomic_store(&j->alone, true);
    if (atomic_load(&j->alone)) return false;
    sched_yield();
  }
  return true;
}

static void multiply(void *ctx, int64_t task, int worker) {
  job *j = ctx;
  part *p = &j->parts[task];
  (void)worker;
  float io[32];
  for (int i = 0; i < 32; i++) io[i] = 1e-3f * (float)i;
  if (!meet(j)) return;
  p->start = cpu_seconds();
  p->work = j->kernels->peak[j->arith](io, j->rounds);
  p->end = cpu_seconds();
}

static void fill_part(void *ctx, int64_t task, int worker) {
  const job *j = ctx;
  const size_t n = j->n_words * (size_t)j->pieces;
  uint64_t *to = j->words + (size_t)task * n;
  for (size_t i = 0; i < n; i++) to[i] = i ^ (uint64_t)worker;
}

static void read_part(void *ctx, int64_t task, int worker) {
  job *j = ctx;
  part *p = &j->parts[task];
  const uint64_t *from = j->words + (size_t)(task * j->pieces) * j->n_words;
  (void)worker;
  if (!meet(j)) return;
  p->start = mtk_now_s();
  for (int64_t r = 0; r < j->rounds; r++) {
    const size_t piece = (size_t)((j->first + r) % j->pieces);
    p->sum += j->kernels->read_words(from + piece * j->n_words, j->n_words, j->streams);
  }
  p->end = mtk_now_s();
  p->work = (double)j->rounds * (double)(j->n_words * sizeof *from);
}

/* A pass; false: it does not count. */
static bool run_pass(job *j, mtk_pool *pool, mtk_task_fn fn) {
  atomic_store(&j->here, 0);
  atomic_store(&j->alone, false);
  mtk_pool_run(pool, j->n_parts, fn, j);
  j->first += j->rounds;
  bool together = !atomic_load(&j->alone);
  j->n_alone += !together;
  return together;
}

/* Work a second of all threads, each by its own time. */
static double summed_rate(const job *j) {
  double sum = 0;
  for (const part *p = j->parts; p < j->parts + j->n_parts; p++)
    sum += p->work / (p->end - p->start);
  return sum;
}

/* The same from the first start to the last end: a thread that still reads when others are done has
 * their share of the memory. */
static double joint_rate(const job *j) {
  double work = 0, start = j->parts[0].start, end = j->parts[0].end;
  for (int t = 0; t < j->n_parts; t++) {
    const part *p = &j->parts[t];
    work += p->work;
    if (p->start < start) start = p->start;
    if (p->end > end) end = p->end;
  }
  return work / (end - start);
}

/* By one part alone. */
static void choose_rounds(job *j, mtk_task_fn fn, int64_t first) {
  const int n_parts = j->n_parts;
  j->rounds = first;
  j->n_parts = 1;
  do {
    j->rounds *= 2;
    fn(j, 0, 0);
  } while (j->parts[0].end - j->parts[0].start < SHORTEST && j->rounds < INT64_MAX / 4);
  j->n_parts = n_parts;
}

/* As many parts as threads that run at the same time. */
static int part_count(const mtk_pool *pool) {
  const int threads = mtk_pool_size(pool), cpus = threads > 1 ? mtk_cpu_count() : 1;
  return threads < cpus ? threads : cpus;
}

static mtk_status begin(job *j, const mtk_pool *pool, mtk_error *err) {
  j->n_parts = part_count(pool);
  j->parts = mtk_alloc((size_t)j->n_parts, sizeof *j->parts);
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
    for (int i = 0; i < OPS_PASSES && j.n_alone < MOST_ALONE; i++) {
      double now = run_pass(&j, pool, multiply) ? summed_rate(&j) : 0.0;
      if (now > out[a]) out[a] = now;
    }
  }
  mtk_free(j.parts);
  return MTK_OK;
}

static double best_read(job *j, mtk_pool *pool) {
  double best = 0.0;
  mtk_pool_run(pool, j->n_parts, fill_part, j);
  j->streams = 1;
  choose_rounds(j, read_part, 1);
  for (int n = 1; n <= MAX_STREAMS; n *= 2)
    for (int i = 0; i < 2 * READ_PASSES && j->n_alone < MOST_ALONE; i++) {
      j->streams = i % 2 ? -n : n;
      double now = run_pass(j, pool, read_part) ? joint_rate(j) : 0.0;
      if (now > best) best = now;
    }
  return best;
}

mtk_status mtk_limits_read(double *out, const mtk_kernels *kernels, mtk_pool *pool, uint64_t bytes,
                           mtk_error *err) {
  job j = {.kernels = kernels};
  MTK_TRY(begin(&j, pool, err));
  j.pieces = bytes >= MUCH ? PIECES : 1;
  const size_t n = (size_t)(j.n_parts * j.pieces), bytes_each = (bytes / n / LINE + 1) * LINE;
  const size_t all = bytes_each * n;
  j.n_words = bytes_each / sizeof *j.words;
  j.words = mtk_alloc_pages(all);
  mtk_status st = MTK_OK;
  if (j.words)
    *out = best_read(&j, pool);
  else
    st = mtk_fail(err, MTK_E_NOMEM, NULL, "no memory to measure reading with");
  mtk_free(j.parts);
  mtk_free_pages(j.words, all);
  return st;
}

uint64_t mtk_memory_available(void) { return mtk_memory_left(""); }
