/* test_base.c: errors, memory, logging, thread pool, randomness, hashes, UTF-8. */
#include <mtk/base.h>

#include "base/hashmap.h"
#include "base/internal.h"
#include "run_suite.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static bool all_bytes(const unsigned char *p, size_t n, unsigned char value) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != value) return false;
  return true;
}

/* ---- errors ------------------------------------------------------------------------------ */

START_TEST(errors_carry_code_place_message) {
  mtk_error err;
  ck_assert_int_eq(mtk_fail(&err, MTK_E_FORMAT, "a.json: x", "bad %d", 7), MTK_E_FORMAT);
  ck_assert_int_eq(err.code, MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "a.json: x");
  ck_assert_str_eq(err.message, "bad 7");
  mtk_fail_at(&err, MTK_E_FORMAT, "m.gguf", 24, "short");
  ck_assert_str_eq(err.place, "m.gguf: byte 24");
  ck_assert_int_eq(mtk_fail_in(&err, MTK_E_FORMAT, "dir"), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "dir: m.gguf: byte 24");
  mtk_fail(&err, MTK_E_IO, err.place, "again: %s", err.message); /* arguments inside err */
  ck_assert_str_eq(err.place, "dir: m.gguf: byte 24");
  ck_assert_str_eq(err.message, "again: short");
  ck_assert_int_eq(mtk_fail(NULL, MTK_E_LIMIT, NULL, "x"), MTK_E_LIMIT);
  mtk_fail(&err, MTK_E_IO, NULL, "y");
  ck_assert_str_eq(err.place, "");
  ck_assert_str_eq(mtk_status_name(MTK_E_NOT_FOUND), "not-found");
  ck_assert_str_eq(mtk_status_name((mtk_status)99), "unknown");
}
END_TEST

START_TEST(long_errors_are_cut_not_overrun) {
  char text[2000];
  memset(text, 'a', sizeof text - 1);
  text[sizeof text - 1] = 0;
  mtk_error err;
  mtk_fail_at(&err, MTK_E_FORMAT, text, 123456, "%s", text);
  ck_assert_uint_eq(strlen(err.place), sizeof err.place - 1);
  ck_assert_ptr_nonnull(strstr(err.place, ": byte 123456")); /* the offset survives */
  ck_assert_uint_eq(strlen(err.message), sizeof err.message - 1);
  mtk_fail_in(&err, MTK_E_FORMAT, text);
  ck_assert_uint_eq(strlen(err.place), sizeof err.place - 1);
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------ */

START_TEST(alloc_checks_overflow_and_aligns) {
  ck_assert_ptr_null(mtk_alloc(SIZE_MAX, 2));
  ck_assert_ptr_null(mtk_alloc(SIZE_MAX, 1));
  ck_assert_ptr_null(mtk_alloc((size_t)PTRDIFF_MAX, 1));
  char *zero = mtk_alloc(0, 8), *also = mtk_alloc(0, 8);
  ck_assert(zero && also && zero != also);
  mtk_free(zero);
  mtk_free(also);
  unsigned char *p = mtk_alloc(100, 3);
  ck_assert_uint_eq((uintptr_t)p % 64, 0);
  ck_assert(all_bytes(p, 300, 0));
  memset(p, 7, 300);
  ck_assert_ptr_null(mtk_realloc(p, 100, SIZE_MAX / 2, 3)); /* and p is still ours */
  p = mtk_realloc(p, 100, 1000, 3);
  ck_assert_uint_eq((uintptr_t)p % 64, 0);
  ck_assert(all_bytes(p, 300, 7));
  p = mtk_realloc(p, 1000, 1, 3);
  ck_assert_uint_eq(p[2], 7);
  mtk_free(p);
  mtk_free(NULL);
  char *s = mtk_strndup("hello", 3);
  ck_assert_str_eq(s, "hel");
  mtk_free(s);
  s = mtk_asprintf("%s-%d", "x", 12);
  ck_assert_str_eq(s, "x-12");
  mtk_free(s);
}
END_TEST

START_TEST(alloc_failure_hits_exactly_the_nth) {
  mtk_alloc_fail_after(1);
  void *a = mtk_alloc(1, 1), *b = mtk_alloc(1, 1), *c = mtk_alloc(1, 1);
  ck_assert(a && !b && c);
  mtk_alloc_fail_after(0);
  ck_assert_ptr_null(mtk_realloc(a, 1, 2, 1));
  mtk_alloc_fail_after(0);
  mtk_alloc_fail_after(-1);
  b = mtk_alloc(1, 1);
  ck_assert_ptr_nonnull(b);
  mtk_free(a);
  mtk_free(b);
  mtk_free(c);
}
END_TEST

START_TEST(alloc_failure_from_the_environment) {
  setenv("MTK_ALLOC_FAIL", "2", 1); /* read at the first allocation of this (forked) process */
  void *a = mtk_alloc(1, 1), *b = mtk_alloc(1, 1), *c = mtk_alloc(1, 1), *d = mtk_alloc(1, 1);
  ck_assert(a && b && !c && d);
  mtk_free(a);
  mtk_free(b);
  mtk_free(d);
}
END_TEST

START_TEST(arena_blocks_are_zeroed_aligned_and_apart) {
  mtk_arena *arena = mtk_arena_create();
  unsigned char *seen[500];
  for (size_t i = 0; i < 500; i++) {
    size_t n = i * i % 40000;
    seen[i] = mtk_arena_alloc(arena, n, 1);
    ck_assert_uint_eq((uintptr_t)seen[i] % 16, 0);
    ck_assert(all_bytes(seen[i], n, 0));
    memset(seen[i], (int)(i & 0xFF) | 1, n);
  }
  for (size_t i = 0; i < 500; i++)
    ck_assert(all_bytes(seen[i], i * i % 40000, (unsigned char)((i & 0xFF) | 1)));
  ck_assert_ptr_null(mtk_arena_alloc(arena, SIZE_MAX, 1));
  ck_assert_ptr_null(mtk_arena_alloc(arena, SIZE_MAX / 2, 3));
  ck_assert_str_eq(mtk_arena_strndup(arena, "abc", 2), "ab");
  mtk_arena_destroy(arena);
  mtk_arena_destroy(NULL);
}
END_TEST

START_TEST(bytes_grow_up_to_their_limit) {
  mtk_bytes b = {.max = 10};
  mtk_error err;
  mtk_bytes_puts(&b, "12345");
  mtk_bytes_printf(&b, "%d", 67890);
  ck_assert_int_eq(mtk_bytes_status(&b, &err), MTK_OK);
  ck_assert_str_eq(b.data, "1234567890");
  mtk_bytes_puts(&b, "x");
  mtk_bytes_clear(&b);
  mtk_bytes_append(&b, "12345678901", 11);
  mtk_bytes_puts(&b, "y"); /* sticky */
  ck_assert_uint_eq(b.len, 0);
  ck_assert_int_eq(mtk_bytes_status(&b, &err), MTK_E_LIMIT);
  mtk_bytes_clear(&b);
  ck_assert_int_eq(mtk_bytes_status(&b, &err), MTK_OK);
  mtk_bytes_finish(&b);
  mtk_alloc_fail_after(0);
  mtk_bytes_puts(&b, "z");
  ck_assert_int_eq(mtk_bytes_status(&b, &err), MTK_E_NOMEM);
  mtk_bytes_finish(&b);
  mtk_bytes big = {0};
  for (int i = 0; i < 100000; i++) mtk_bytes_printf(&big, "%05d,", i);
  ck_assert_uint_eq(big.len, 600000);
  ck_assert_int_eq(memcmp(big.data + 599994, "99999,", 7), 0); /* and the NUL */
  mtk_bytes_finish(&big);
}
END_TEST

/* ---- hash map ---------------------------------------------------------------------------- */

START_TEST(map_keeps_order_and_finds_every_key) {
  mtk_map *map = mtk_map_create();
  char key[32];
  bool found;
  for (int i = 0; i < 20000; i++) {
    int n = snprintf(key, sizeof key, "key-%d", i * 7919);
    mtk_map_put(map, key, (size_t)n, &found)->i = i;
    ck_assert(!found);
  }
  mtk_map_put(map, "a\0b", 3, NULL)->i = -1;
  mtk_map_put(map, "a\0c", 3, NULL)->i = -2;
  mtk_map_put(map, "", 0, NULL)->i = -3;
  ck_assert_uint_eq(mtk_map_count(map), 20003);
  for (int i = 0; i < 20000; i++) {
    int n = snprintf(key, sizeof key, "key-%d", i * 7919);
    ck_assert_int_eq(mtk_map_get(map, key, (size_t)n)->i, i);
    ck_assert_str_eq(mtk_map_at(map, (size_t)i)->key, key);
  }
  ck_assert_int_eq(mtk_map_get(map, "a\0c", 3)->i, -2);
  ck_assert_int_eq(mtk_map_get(map, "", 0)->i, -3);
  ck_assert_ptr_null(mtk_map_get(map, "a", 1));
  ck_assert_int_eq(mtk_map_put(map, "a\0b", 3, &found)->i, -1);
  ck_assert(found);
  mtk_map_destroy(map);
}
END_TEST

START_TEST(map_with_room_moves_nothing_and_finds_keys_together) {
  enum { N = 3000, ASKED = 2 * N + 1 };
  static char texts[ASKED][16];
  static mtk_map_key keys[ASKED];
  static const mtk_map_value *values[ASKED];
  mtk_map *map = mtk_map_create();
  mtk_map_put(map, "first", 5, NULL)->i = -1;
  ck_assert(mtk_map_reserve(map, N + 1));
  const mtk_map_entry *first = mtk_map_at(map, 0);
  for (int i = 0; i < ASKED - 1; i++) { /* the odd ones are not there */
    keys[i] = (mtk_map_key){texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "%d", i * 31)};
    if (i % 2 == 0) mtk_map_put(map, keys[i].s, keys[i].n, NULL)->i = i;
  }
  keys[ASKED - 1] = (mtk_map_key){"first", 5};
  ck_assert_ptr_eq(mtk_map_at(map, 0), first);
  mtk_map_get_all(map, keys, ASKED, values);
  for (int i = 0; i < ASKED - 1; i++) {
    ck_assert_int_eq(values[i] != NULL, i % 2 == 0);
    if (values[i]) ck_assert_int_eq(values[i]->i, i);
  }
  ck_assert_int_eq(values[ASKED - 1]->i, -1);
  mtk_map_get_all(map, keys, 0, NULL);
  ck_assert(mtk_map_reserve(map, 2)); /* less than it has */
  mtk_alloc_fail_after(0);
  ck_assert(!mtk_map_reserve(map, 100000));
  mtk_alloc_fail_after(-1);
  ck_assert(!mtk_map_reserve(map, SIZE_MAX));
  ck_assert_uint_eq(mtk_map_count(map), N + 1);
  ck_assert(mtk_map_reserve(map, 100000));
  ck_assert_int_eq(mtk_map_get(map, keys[2].s, keys[2].n)->i, 2);
  mtk_map_destroy(map);
}
END_TEST

START_TEST(map_survives_allocation_failures) {
  for (int64_t n = 0;; n++) {
    mtk_alloc_fail_after(n);
    mtk_map *map = mtk_map_create();
    int put = 0;
    for (int i = 0; map && i < 40; i++) {
      char key[4] = {(char)i, 1, 2, 0};
      mtk_map_value *v = mtk_map_put(map, key, 3, NULL);
      if (!v) v = mtk_map_put(map, key, 3, NULL); /* the failure happens once */
      ck_assert_ptr_nonnull(v);
      v->i = i, put++;
    }
    for (int i = 0; i < put; i++) {
      char key[4] = {(char)i, 1, 2, 0};
      ck_assert_int_eq(mtk_map_get(map, key, 3)->i, i);
    }
    mtk_map_destroy(map);
    if (n > 20) break;
  }
  mtk_alloc_fail_after(-1);
}
END_TEST

/* ---- logging ----------------------------------------------------------------------------- */

static int logged;
static char last_message[128];

static void sink(void *ctx, mtk_log_level level, const char *message) {
  ck_assert_ptr_eq(ctx, &logged);
  ck_assert_int_le(level, MTK_LOG_INFO);
  logged++;
  snprintf(last_message, sizeof last_message, "%s", message);
}

static void count_progress(void *ctx, const char *what, uint64_t done, uint64_t total,
                           const char *unit) {
  ck_assert_str_eq(what, "quantize");
  ck_assert_str_eq(unit, "tensors");
  *(uint64_t *)ctx += done + total;
}

START_TEST(log_progress_and_cancel_reach_the_program) {
  uint64_t sum = 0;
  mtk_log(MTK_LOG_ERROR, "dropped");
  mtk_progress("quantize", 1, 2, "tensors");
  mtk_log_set(sink, &logged, MTK_LOG_INFO);
  mtk_log(MTK_LOG_WARN, "n=%d", 5);
  mtk_log(MTK_LOG_DEBUG, "too detailed");
  ck_assert_int_eq(logged, 1);
  ck_assert_str_eq(last_message, "n=5");
  mtk_log_set(NULL, NULL, MTK_LOG_DEBUG);
  mtk_log(MTK_LOG_ERROR, "dropped");
  ck_assert_int_eq(logged, 1);
  mtk_progress_set(count_progress, &sum);
  mtk_progress("quantize", 3, 4, "tensors");
  mtk_progress_set(NULL, NULL);
  ck_assert_uint_eq(sum, 7);
  ck_assert(!mtk_cancelled());
  mtk_cancel();
  ck_assert(mtk_cancelled());
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------- */

enum { MAX_TASKS = 20000 };
typedef struct tally {
  mtk_pool *pool;
  int size;
  unsigned char done[MAX_TASKS]; /* not atomic: each task must run once */
  unsigned long per_worker[8];   /* not atomic: one thread per worker number */
} tally;

static void tally_task(void *ctx, int64_t task, int worker) {
  tally *t = ctx;
  if (worker < 0 || worker >= t->size) return; /* then per_worker does not add up */
  t->done[task]++;
  t->per_worker[worker]++;
}

static void run_tally(mtk_pool *pool, int64_t n_tasks) {
  static tally t;
  t = (tally){.pool = pool, .size = mtk_pool_size(pool)};
  mtk_pool_run(pool, n_tasks, tally_task, &t);
  unsigned long sum = 0;
  for (int i = 0; i < 8; i++) sum += t.per_worker[i];
  ck_assert_int_eq((int64_t)sum, n_tasks);
  ck_assert(all_bytes(t.done, (size_t)n_tasks, 1));
}

START_TEST(pool_runs_every_task_once) {
  static const int64_t counts[] = {0, 1, 2, 3, 7, 100, MAX_TASKS};
  mtk_error err;
  for (int size = 1; size <= 4; size++) {
    mtk_pool *pool;
    ck_assert_int_eq(mtk_pool_create(&pool, size, &err), MTK_OK);
    ck_assert_int_eq(mtk_pool_size(pool), size);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) run_tally(pool, counts[i]);
    for (int64_t i = 0; i < 2000; i++) run_tally(pool, i % 37);
    mtk_pool_destroy(pool);
  }
  run_tally(NULL, 50);
  mtk_pool_destroy(NULL);
}
END_TEST

static void inner_task(void *ctx, int64_t task, int worker) {
  int *cell = ctx;
  (void)worker;
  cell[task]++;
}

typedef struct nest {
  mtk_pool *pool;
  int cells[16][4];
} nest;

static void outer_task(void *ctx, int64_t task, int worker) {
  nest *n = ctx;
  (void)worker;
  mtk_pool_run(n->pool, 4, inner_task, n->cells[task]);
}

static void *run_many(void *pool) {
  nest n = {.pool = pool};
  for (int i = 0; i < 200; i++) mtk_pool_run(pool, 16, outer_task, &n);
  for (int i = 0; i < 64; i++)
    if (n.cells[i / 4][i % 4] != 200) return NULL;
  return pool;
}

/* Two tasks that each wait for the other: they meet only on two workers. */
typedef struct meeting {
  _Atomic int present, alone;
} meeting;

static void meet_task(void *ctx, int64_t task, int worker_index) {
  (void)task;
  (void)worker_index;
  meeting *m = ctx;
  atomic_fetch_add(&m->present, 1);
  double limit = mtk_now_s() + 20;
  while (atomic_load(&m->present) < 2 && mtk_now_s() < limit) sched_yield();
  if (atomic_load(&m->present) < 2) atomic_store(&m->alone, 1);
}

START_TEST(pool_works_in_parallel_after_a_long_rest) {
  mtk_pool *pool;
  mtk_error err = {0};
  ck_assert_int_eq(mtk_pool_create(&pool, 2, &err), MTK_OK);
  for (int round = 0; round < 3; round++) {
    nanosleep(&(struct timespec){0, 20000000}, NULL); /* long enough that workers fall asleep */
    meeting m = {0};
    mtk_pool_run(pool, 2, meet_task, &m);
    ck_assert_int_eq(atomic_load(&m.alone), 0);
  }
  mtk_pool_destroy(pool);
}
END_TEST

START_TEST(pool_bears_nested_and_concurrent_callers) {
  mtk_pool *pool;
  mtk_error err;
  pthread_t threads[3];
  ck_assert_int_eq(mtk_pool_create(&pool, 3, &err), MTK_OK);
  for (int i = 0; i < 3; i++)
    ck_assert_int_eq(pthread_create(&threads[i], NULL, run_many, pool), 0);
  for (int i = 0; i < 3; i++) {
    void *result;
    ck_assert_int_eq(pthread_join(threads[i], &result), 0);
    ck_assert_ptr_eq(result, pool);
  }
  mtk_pool_destroy(pool);
}
END_TEST

static void count_warnings(void *ctx, mtk_log_level level, const char *message) {
  (void)message;
  *(int *)ctx += level == MTK_LOG_WARN;
}

/* More threads than CPUs: a warning, and the same results. */
START_TEST(pool_bears_more_threads_than_cpus) {
  mtk_pool *pool;
  mtk_error err;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((size_t)sched_getcpu(), &one);
  ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
  int warnings = 0;
  mtk_log_set(count_warnings, &warnings, MTK_LOG_WARN);
  ck_assert_int_eq(mtk_pool_create(&pool, 5, &err), MTK_OK);
  ck_assert_int_eq(warnings, 1);
  for (int64_t i = 0; i < 500; i++) run_tally(pool, i % 37);
  mtk_pool_destroy(pool);
  ck_assert_int_eq(mtk_pool_create(&pool, 1, &err), MTK_OK);
  mtk_pool_destroy(pool);
  ck_assert_int_eq(warnings, 1);
  mtk_log_set(NULL, NULL, MTK_LOG_DEBUG);
}
END_TEST

/* No room for more stacks: as many threads as there are, and a warning. */
START_TEST(pool_bears_a_lack_of_threads) {
  mtk_pool *pool;
  mtk_error err;
  struct rlimit all, few;
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  ck_assert(f && fscanf(f, "%ld", &pages) == 1);
  fclose(f);
  if (pages > 1L << 28) return; /* sanitizers need room of their own */
  ck_assert_int_eq(getrlimit(RLIMIT_AS, &all), 0);
  few = all;
  few.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
  int warnings = 0;
  mtk_log_set(count_warnings, &warnings, MTK_LOG_WARN);
  ck_assert_int_eq(setrlimit(RLIMIT_AS, &few), 0);
  ck_assert_int_eq(mtk_pool_create(&pool, 500, &err), MTK_OK);
  ck_assert_int_eq(setrlimit(RLIMIT_AS, &all), 0);
  ck_assert_int_ge(mtk_pool_size(pool), 1);
  ck_assert_int_lt(mtk_pool_size(pool), 500);
  ck_assert_int_eq(warnings, 2); /* and one for more than there are CPUs */
  for (int64_t i = 0; i < 100; i++) run_tally(pool, i % 37);
  mtk_pool_destroy(pool);
  mtk_log_set(NULL, NULL, MTK_LOG_DEBUG);
}
END_TEST

START_TEST(pool_size_follows_the_machine_and_errors) {
  mtk_pool *pool;
  mtk_error err;
  ck_assert_int_eq(mtk_pool_create(&pool, -1, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_pool_create(&pool, 1 << 20, &err), MTK_E_INVALID);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((size_t)sched_getcpu(), &one);
  ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
  ck_assert_int_eq(mtk_cpu_count(), 1);
  ck_assert_int_eq(mtk_pool_create(&pool, 0, &err), MTK_OK);
  ck_assert_int_eq(mtk_pool_size(pool), 1);
  mtk_pool_destroy(pool);
  for (int64_t n = 0; n < 3; n += 2) { /* without what is between, the CPUs are not counted */
    mtk_alloc_fail_after(n);
    ck_assert_int_eq(mtk_pool_create(&pool, 2, &err), MTK_E_NOMEM);
  }
}
END_TEST

/* ---- randomness, hashes, text ------------------------------------------------------------ */

/* Known answers of philox4x32-10 from the Random123 distribution (kat_vectors). */
START_TEST(philox_known_answers) {
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } kat[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof kat / sizeof kat[0]; i++) {
    uint32_t out[4];
    mtk_philox(out, kat[i].key, kat[i].counter);
    ck_assert_mem_eq(out, kat[i].out, sizeof out);
  }
}
END_TEST

START_TEST(uniform_and_normal_have_their_moments) {
  enum { N = 200000 };
  double sum = 0, normal = 0, square = 0, fourth = 0;
  for (uint64_t i = 0; i < N; i++) {
    double u = mtk_uniform(1, 2, i), z = mtk_normal(1, 2, i);
    ck_assert(u >= 0 && u < 1);
    sum += u, normal += z, square += z * z, fourth += z * z * z * z;
  }
  ck_assert_double_eq_tol(sum / N, 0.5, 0.003); /* 4.6 standard errors each */
  ck_assert_double_eq_tol(normal / N, 0, 0.0103);
  ck_assert_double_eq_tol(square / N, 1, 0.0146);
  ck_assert_double_eq_tol(fourth / N, 3, 0.101);
  ck_assert(mtk_uniform(1, 2, 3) == mtk_uniform(1, 2, 3));
  ck_assert(mtk_uniform(1, 2, 3) != mtk_uniform(1, 3, 3));
  ck_assert(mtk_uniform(1, 2, 3) != mtk_uniform(2, 2, 3));
}
END_TEST

/* FIPS 180-4 examples. */
START_TEST(sha256_known_answers) {
  char hex[65];
  mtk_sha256_hex(hex, "abc", 3);
  ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  mtk_sha256_hex(hex, NULL, 0);
  ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  mtk_sha256 *h = mtk_sha256_create();
  char a[1000];
  memset(a, 'a', sizeof a);
  for (int i = 0; i < 1000; i++) mtk_sha256_update(h, a, sizeof a);
  mtk_sha256_final_hex(h, hex);
  mtk_sha256_destroy(h);
  mtk_sha256_destroy(NULL);
  ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

START_TEST(utf8_prefix_splits_where_it_must) {
  static const struct {
    const char *s;
    size_t n, prefix;
    bool incomplete;
  } cases[] = {
      {"", 0, 0, false},
      {"abc", 3, 3, false},
      {"a\0b", 3, 3, false},
      {"\xC3\xA9x", 3, 3, false},
      {"x\xC3", 2, 1, true},
      {"\xE2\x82", 2, 0, true},
      {"\xE2\x82\xAC", 3, 3, false},
      {"\xF0\x9F\x98", 3, 0, true},
      {"\xF0\x9F\x98\x80!", 5, 5, false},
      {"ok\x80", 3, 2, false},         /* continuation alone */
      {"\xC0\xAF", 2, 0, false},       /* overlong */
      {"\xE0\x80", 2, 0, false},       /* overlong, seen at the second byte */
      {"\xED\xA0", 2, 0, false},       /* surrogate */
      {"\xED\x9F\xBF", 3, 3, false},   /* U+D7FF */
      {"\xF4\x8F\xBF\xBF", 4, 4, false}, /* U+10FFFF */
      {"\xF4\x90", 2, 0, false},       /* above */
      {"\xF5", 1, 0, false},
      {"\xE2(\xA1", 3, 0, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    bool incomplete;
    ck_assert_uint_eq(mtk_utf8_prefix(cases[i].s, cases[i].n, &incomplete), cases[i].prefix);
    ck_assert_int_eq(incomplete, cases[i].incomplete);
  }
}
END_TEST

START_TEST(clock_memory_and_version_answer) {
  double before = mtk_now_s();
  ck_assert(mtk_now_s() >= before);
  ck_assert_uint_gt(mtk_peak_rss_bytes(), 100 * 1024);
  ck_assert_uint_gt(strlen(mtk_version()), 2);
}
END_TEST

/* One test case per area. */
static void add(Suite *suite, const char *name, const TTest *const *tests, size_t n) {
  TCase *tc = tcase_create(name);
  for (size_t i = 0; i < n; i++) tcase_add_test(tc, tests[i]);
  suite_add_tcase(suite, tc);
}

#define ADD(name, ...)                                                            \
  do {                                                                            \
    const TTest *const tests_[] = {__VA_ARGS__};                                  \
    add(suite, name, tests_, sizeof tests_ / sizeof tests_[0]);                   \
  } while (0)

int main(void) {
  Suite *suite = suite_create("base");
  ADD("errors", errors_carry_code_place_message, long_errors_are_cut_not_overrun);
  ADD("memory", alloc_checks_overflow_and_aligns, alloc_failure_hits_exactly_the_nth,
      alloc_failure_from_the_environment, arena_blocks_are_zeroed_aligned_and_apart,
      bytes_grow_up_to_their_limit);
  ADD("map", map_keeps_order_and_finds_every_key,
      map_with_room_moves_nothing_and_finds_keys_together, map_survives_allocation_failures);
  ADD("log", log_progress_and_cancel_reach_the_program);
  ADD("pool", pool_runs_every_task_once, pool_bears_nested_and_concurrent_callers,
      pool_works_in_parallel_after_a_long_rest, pool_bears_more_threads_than_cpus,
      pool_bears_a_lack_of_threads,
      pool_size_follows_the_machine_and_errors);
  ADD("values", philox_known_answers, uniform_and_normal_have_their_moments,
      sha256_known_answers, utf8_prefix_splits_where_it_must, clock_memory_and_version_answer);
  return run_suite(suite);
}
