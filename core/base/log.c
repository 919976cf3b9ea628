/* log.c: process-wide sinks for messages and progress, and the cancel flag. Any thread; the sinks
 * are called without a lock held, so they must be thread-safe and may log themselves. */
#include "base/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MESSAGE_BYTES = 4096 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the four below */
static mtk_log_fn log_fn;
static void *log_ctx;
static mtk_progress_fn progress_fn;
static void *progress_ctx;

static _Atomic int log_max = -1; /* levels above are dropped; -1 without a sink */
static _Atomic int cancelled;

void mtk_log_set(mtk_log_fn fn, void *ctx, mtk_log_level max_level) {
  pthread_mutex_lock(&mutex);
  log_fn = fn;
  log_ctx = ctx;
  atomic_store(&log_max, fn ? (int)max_level : -1);
  pthread_mutex_unlock(&mutex);
}

void mtk_log(mtk_log_level level, const char *fmt, ...) {
  if ((int)level > atomic_load_explicit(&log_max, memory_order_relaxed)) return;
  pthread_mutex_lock(&mutex);
  mtk_log_fn fn = log_fn;
  void *ctx = log_ctx;
  pthread_mutex_unlock(&mutex);
  if (!fn) return;
  char message[MESSAGE_BYTES];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  if (n >= 0) fn(ctx, level, message);
}

void mtk_progress_set(mtk_progress_fn fn, void *ctx) {
  pthread_mutex_lock(&mutex);
  progress_fn = fn;
  progress_ctx = ctx;
  pthread_mutex_unlock(&mutex);
}

void mtk_progress(const char *what, uint64_t done, uint64_t total, const char *unit) {
  pthread_mutex_lock(&mutex);
  mtk_progress_fn fn = progress_fn;
  void *ctx = progress_ctx;
  pthread_mutex_unlock(&mutex);
  if (fn) fn(ctx, what, done, total, unit);
}

void mtk_cancel(void) { atomic_store(&cancelled, 1); }

bool mtk_cancelled(void) { return atomic_load_explicit(&cancelled, memory_order_relaxed) != 0; }
