/* bench_peak.c: the machine's limits: how fast it reads memory, and how many multiply-adds it does,
 * with the thread count of the runs that are compared with them. Best of several passes. */
#include "bench.h"

#include <sys/mman.h>

enum { READ_PASSES = 5, OPS_PASSES = 25, CHUNK = 1 << 20 };

typedef struct peak_job {
  const mtk_kernels *kernels;
  mtk_arith arith;
  int64_t rounds;
  uint64_t *words;
  size_t n_words; /* per thread */
  int streams;
  double *done; /* [threads]: operations; also keeps the results alive */
} peak_job;

static void fill_task(void *ctx, int64_t task, int worker) {
  const peak_job *j = ctx;
  uint64_t *to = j->words + (size_t)task * j->n_words;
  for (size_t i = 0; i < j->n_words; i++) to[i] = i ^ (uint64_t)worker;
}

static void read_task(void *ctx, int64_t task, int worker) {
  const peak_job *j = ctx;
  (void)worker;
  const uint64_t *from = j->words + (size_t)task * j->n_words;
  j->done[task] = (double)j->kernels->read_words(from, j->n_words, j->streams);
}

static void ops_task(void *ctx, int64_t task, int worker) {
  const peak_job *j = ctx;
  (void)worker;
  float io[32];
  for (int i = 0; i < 32; i++) io[i] = 1e-3f * (float)i;
  j->done[task] = j->kernels->peak[j->arith](io, j->rounds);
}

static double timed(mtk_pool *pool, mtk_task_fn fn, peak_job *job) {
  double start = mtk_now_s();
  mtk_pool_run(pool, mtk_pool_size(pool), fn, job);
  return mtk_now_s() - start;
}

static void measure_ops(bench_peak *out, mtk_pool *pool, peak_job *job) {
  job->rounds = 1000;
  while (timed(pool, ops_task, job) < 2e-3 && job->rounds < INT64_MAX / 4) job->rounds *= 2;
  for (int i = 0; i < OPS_PASSES; i++) {
    double seconds = timed(pool, ops_task, job), ops = 0;
    for (int t = 0; t < out->threads; t++) ops += job->done[t];
    if (ops / seconds > out->ops[job->arith]) out->ops[job->arith] = ops / seconds;
  }
}

/* Far more than any cache, in huge pages where there are some: 512 MiB, or an eighth of what is
 * left. */
static mtk_status measure_read(bench_peak *out, mtk_pool *pool, peak_job *job, mtk_error *err) {
  size_t bytes = (size_t)512 << 20, room = (size_t)(bench_memory_available() / 8);
  if (bytes > room) bytes = room;
  bytes = bytes / (CHUNK * (size_t)out->threads) * CHUNK * (size_t)out->threads;
  if (bytes == 0) return mtk_fail(err, MTK_E_NOMEM, NULL, "no memory to measure reading with");
  void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "no memory to measure reading with");
  madvise(data, bytes, MADV_HUGEPAGE);
  job->words = data;
  job->n_words = bytes / sizeof *job->words / (size_t)out->threads;
  timed(pool, fill_task, job);
  for (job->streams = 1; job->streams <= 8; job->streams *= 2)
    for (int i = 0; i < READ_PASSES; i++) {
      double rate = (double)bytes / timed(pool, read_task, job);
      if (rate > out->read) out->read = rate;
    }
  munmap(data, bytes);
  return MTK_OK;
}

mtk_status bench_measure_peak(bench_peak *out, mtk_pool *pool, mtk_error *err) {
  *out = (bench_peak){.threads = mtk_pool_size(pool)};
  mtk_kernels best;
  mtk_kernels_init(&best, mtk_isa_best(NULL));
  peak_job job = {.kernels = &best, .done = mtk_alloc((size_t)out->threads, sizeof(double))};
  if (!job.done) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int a = 0; a < MTK_ARITH_COUNT; a++) {
    job.arith = (mtk_arith)a;
    if (a > 0 && best.peak[a] == best.peak[a - 1])
      out->ops[a] = out->ops[a - 1];
    else
      measure_ops(out, pool, &job);
  }
  mtk_status st = measure_read(out, pool, &job, err);
  mtk_free(job.done);
  return st;
}
