/* alloc.c: the only place that asks the C library for memory, so that sizes are checked once and
 * tests can make any allocation fail. Blocks are 64-byte aligned without a header; any thread. */
#include "base/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

static _Atomic int64_t fail_after = -1; /* allocations that still succeed; -1 = never fail */
static pthread_once_t env_once = PTHREAD_ONCE_INIT;

static void read_env(void) {
  const char *text = getenv("MTK_ALLOC_FAIL");
  if (text && text[0]) atomic_store(&fail_after, strtoll(text, NULL, 10));
}

void mtk_alloc_fail_after(int64_t n) {
  pthread_once(&env_once, read_env);
  atomic_store(&fail_after, n);
}

/* True when this allocation is the one to fail. */
static bool must_fail(void) {
  pthread_once(&env_once, read_env);
  int64_t left = atomic_load_explicit(&fail_after, memory_order_relaxed);
  while (left >= 0)
    if (atomic_compare_exchange_weak(&fail_after, &left, left - 1)) return left == 0;
  return false;
}

/* Uninitialised block of count * size bytes; *bytes = that product. */
static void *alloc_raw(size_t count, size_t size, size_t *bytes) {
  size_t rounded;
  if (!mtk_mul_ok(count, size, bytes)) return NULL;
  if (!mtk_add_ok(*bytes ? *bytes : 1, ALIGNMENT - 1, &rounded) || rounded > PTRDIFF_MAX)
    return NULL;
  if (must_fail()) return NULL;
  return aligned_alloc(ALIGNMENT, rounded / ALIGNMENT * ALIGNMENT);
}

void *mtk_alloc(size_t count, size_t size) {
  size_t bytes;
  void *ptr = alloc_raw(count, size, &bytes);
  if (ptr) memset(ptr, 0, bytes);
  return ptr;
}

void *mtk_realloc(void *ptr, size_t old_count, size_t new_count, size_t size) {
  size_t bytes;
  void *grown = alloc_raw(new_count, size, &bytes);
  if (!grown) return NULL;
  size_t kept = old_count < new_count ? old_count : new_count;
  if (ptr && kept) memcpy(grown, ptr, kept * size);
  free(ptr);
  return grown;
}

void mtk_free(void *ptr) { free(ptr); }

void *mtk_alloc_pages(size_t bytes) {
  size_t room;
  if (bytes < HUGE_PAGE) return mtk_alloc(bytes, 1);
  if (!mtk_add_ok(bytes, HUGE_PAGE, &room) || room > PTRDIFF_MAX || must_fail()) return NULL;
  uint8_t *raw = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  size_t before = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), used = (bytes + page - 1) / page * page;
  if (before) munmap(raw, before);
  if (room > before + used) munmap(raw + before + used, room - before - used);
  madvise(raw + before, used, MADV_HUGEPAGE); /* a hint: kernels without huge pages refuse it */
  return raw + before;
}

void mtk_free_pages(void *ptr, size_t bytes) {
  if (bytes < HUGE_PAGE)
    mtk_free(ptr);
  else if (ptr)
    munmap(ptr, bytes);
}

char *mtk_strdup(const char *s) { return mtk_strndup(s, strlen(s)); }

char *mtk_strndup(const char *s, size_t n) {
  size_t len = strnlen(s, n);
  char *copy = mtk_alloc(len + 1, 1);
  if (copy) memcpy(copy, s, len);
  return copy;
}

char *mtk_asprintf(const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  char *text = n < 0 ? NULL : mtk_alloc((size_t)n + 1, 1);
  if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
  va_end(again);
  va_end(args);
  return text;
}
