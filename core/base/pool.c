/* pool.c: the process's worker threads. mtk_pool_run opens a run, works on it together with the
 * workers that are awake soon enough, closes it, and waits only for workers that entered; a worker
 * that sleeps through a short run costs nothing. Tasks are claimed in chunks from one atomic
 * counter, so which worker runs a task is chance, and results must not depend on it.
 *
 * Entering: `epoch` is odd while a run is open. A worker adds itself to `inside`, then looks
 * whether the epoch it saw is still open; the caller closes the epoch, then waits for inside == 0.
 * Both are sequentially consistent, so either the worker sees the run closed or the caller sees the
 * worker. Sleeping (`sleepers`, `waiting`) uses the same store-then-look pattern around a condition
 * variable. Where there are more threads than CPUs, nobody waits by spinning, and a run wakes no
 * more workers than can be on a CPU beside its caller (but one).
 *
 * A second caller, or a task that calls mtk_pool_run itself, runs its tasks inline. */
#include "base/internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { MAX_THREADS = 4096, SPINS = 2000, CHUNKS_PER_WORKER = 8 };

typedef struct worker {
  mtk_pool *pool;
  int index; /* 1..size-1; the caller is 0 */
  pthread_t thread;
} worker;

/* Tasks next .. end-1 are not claimed yet; as long as a cache line. */
typedef struct share {
  _Atomic int64_t next;
  int64_t end, unused[6];
} share;

struct mtk_pool {
  int size;
  int started;      /* workers whose thread runs */
  int spins, wakes; /* looks before a thread sleeps; sleepers that a run wakes */
  worker *workers;
  pthread_mutex_t run_mutex; /* held by the caller of the open run */
  pthread_mutex_t sleep_mutex;
  pthread_cond_t wake, done;
  _Atomic uint64_t epoch;
  _Atomic int inside, sleepers, waiting, stop;
  /* the open run: written before the epoch opens, read only by those inside */
  mtk_task_fn fn;
  void *ctx;
  int64_t chunk;
  share *shares; /* one a worker */
};

static inline void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void work_on(mtk_pool *pool, share *s, int index) {
  while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->end) {
    int64_t first = atomic_fetch_add_explicit(&s->next, pool->chunk, memory_order_relaxed);
    int64_t end = first + pool->chunk < s->end ? first + pool->chunk : s->end;
    for (int64_t task = first; task < end; task++) pool->fn(pool->ctx, task, index);
  }
}

static void work(mtk_pool *pool, int index) {
  for (int i = 0; i < pool->size; i++)
    work_on(pool, &pool->shares[(index + i) % pool->size], index);
}

/* Waits for an epoch that is open and not `last`; returns it, or 0 to stop. */
static uint64_t await_run(mtk_pool *pool, uint64_t last) {
  for (int i = 0; i < pool->spins; i++) {
    uint64_t epoch = atomic_load(&pool->epoch);
    if ((epoch & 1) && epoch != last) return epoch;
    if (atomic_load_explicit(&pool->stop, memory_order_relaxed)) return 0;
    cpu_relax();
  }
  uint64_t epoch;
  pthread_mutex_lock(&pool->sleep_mutex);
  atomic_fetch_add(&pool->sleepers, 1);
  for (;;) {
    bool stop = atomic_load(&pool->stop) != 0;
    epoch = stop ? 0 : atomic_load(&pool->epoch);
    if (stop || ((epoch & 1) && epoch != last)) break;
    pthread_cond_wait(&pool->wake, &pool->sleep_mutex);
  }
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->sleep_mutex);
  return epoch;
}

static void leave(mtk_pool *pool) {
  if (atomic_fetch_sub(&pool->inside, 1) != 1 || !atomic_load(&pool->waiting)) return;
  pthread_mutex_lock(&pool->sleep_mutex);
  pthread_cond_signal(&pool->done);
  pthread_mutex_unlock(&pool->sleep_mutex);
}

static void *worker_main(void *arg) {
  worker *w = arg;
  mtk_pool *pool = w->pool;
  uint64_t last = 0, epoch;
  while ((epoch = await_run(pool, last)) != 0) {
    atomic_fetch_add(&pool->inside, 1);
    if (atomic_load(&pool->epoch) == epoch) work(pool, w->index);
    leave(pool);
    last = epoch;
  }
  return NULL;
}

int mtk_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int bad = pthread_create(thread, NULL, run, arg);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return bad;
}

mtk_status mtk_pool_create(mtk_pool **out, int n_threads, mtk_error *err) {
  *out = NULL;
  if (n_threads < 0 || n_threads > MAX_THREADS)
    return mtk_fail(err, MTK_E_INVALID, NULL, "number of threads %d is not in 0..%d", n_threads,
                    MAX_THREADS);
  mtk_pool *pool = mtk_alloc(1, sizeof *pool);
  if (!pool) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for the thread pool");
  int cpus = mtk_cpu_count();
  pool->size = n_threads ? n_threads : cpus;
  pool->spins = pool->size > cpus ? 0 : SPINS;
  pool->wakes = pool->size > cpus ? (cpus > 1 ? cpus - 1 : 1) : pool->size - 1;
  if (pool->size > cpus)
    mtk_log(MTK_LOG_WARN, "more threads (%d) than CPUs (%d): they take turns", pool->size, cpus);
  pthread_mutex_init(&pool->run_mutex, NULL);
  pthread_mutex_init(&pool->sleep_mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->done, NULL);
  pool->workers = mtk_alloc((size_t)pool->size, sizeof *pool->workers);
  pool->shares = mtk_alloc((size_t)pool->size, sizeof *pool->shares);
  if (!pool->workers || !pool->shares) {
    mtk_pool_destroy(pool);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for the thread pool");
  }
  for (int i = 1; i < pool->size; i++) {
    worker *w = &pool->workers[i];
    *w = (worker){.pool = pool, .index = i};
    if (mtk_thread_start(&w->thread, worker_main, w)) { /* workers look at the size in runs only */
      mtk_log(MTK_LOG_WARN, "%d threads instead of %d: the system starts no more", i, pool->size);
      pool->size = i;
      break;
    }
    pool->started = i;
  }
  *out = pool;
  return MTK_OK;
}

void mtk_pool_destroy(mtk_pool *pool) {
  if (!pool) return;
  pthread_mutex_lock(&pool->sleep_mutex);
  atomic_store(&pool->stop, 1);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->sleep_mutex);
  for (int i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->done);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->sleep_mutex);
  pthread_mutex_destroy(&pool->run_mutex);
  mtk_free(pool->workers);
  mtk_free(pool->shares);
  mtk_free(pool);
}

int mtk_pool_size(const mtk_pool *pool) { return pool ? pool->size : 1; }

static void open_run(mtk_pool *pool) {
  atomic_fetch_add(&pool->epoch, 1);
  if (!atomic_load(&pool->sleepers)) return;
  pthread_mutex_lock(&pool->sleep_mutex);
  for (int i = 0; i < pool->wakes; i++) pthread_cond_signal(&pool->wake);
  pthread_mutex_unlock(&pool->sleep_mutex);
}

static void close_run(mtk_pool *pool) {
  atomic_fetch_add(&pool->epoch, 1);
  for (int i = 0; i < pool->spins; i++) {
    if (atomic_load(&pool->inside) == 0) return;
    cpu_relax();
  }
  pthread_mutex_lock(&pool->sleep_mutex);
  atomic_store(&pool->waiting, 1);
  while (atomic_load(&pool->inside) != 0) pthread_cond_wait(&pool->done, &pool->sleep_mutex);
  atomic_store(&pool->waiting, 0);
  pthread_mutex_unlock(&pool->sleep_mutex);
}

void mtk_pool_run(mtk_pool *pool, int64_t n_tasks, mtk_task_fn fn, void *ctx) {
  bool shared = pool && pool->size > 1 && n_tasks > 1;
  if (!shared || pthread_mutex_trylock(&pool->run_mutex) != 0) {
    for (int64_t task = 0; task < n_tasks; task++) fn(ctx, task, 0);
    return;
  }
  int64_t chunk = n_tasks / ((int64_t)pool->size * CHUNKS_PER_WORKER);
  pool->fn = fn;
  pool->ctx = ctx;
  pool->chunk = chunk > 1 ? chunk : 1;
  for (int64_t i = 0, end = 0; i < pool->size; i++) { /* the caller's is never empty */
    atomic_store_explicit(&pool->shares[i].next, end, memory_order_relaxed);
    end = (n_tasks * (i + 1) + pool->size - 1) / pool->size;
    pool->shares[i].end = end;
  }
  open_run(pool);
  work(pool, 0);
  close_run(pool);
  pthread_mutex_unlock(&pool->run_mutex);
}
