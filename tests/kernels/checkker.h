/* tests/kernels/checkker.h: equality and timing of kernels, after dav1d's checkasm. A test of a
 * family runs every entry of every level's table against `ref` on adversarial data inside guarded
 * buffers and compares with memcmp; with --bench the same program times the entries instead.
 *
 * A test file brings a list of ck_check and `int main(int c, char **v) { return ck_main(...); }`.
 * Single-threaded; the random stream is fixed (--seed N changes it), so a failure repeats. */
#ifndef MTK_TESTS_CHECKKER_H
#define MTK_TESTS_CHECKKER_H

#include <mtk/kernel.h>
#include <stdio.h>

/* ---- random data ---------------------------------------- */
uint64_t ck_rand(void);                   /* 64 random bits */
int64_t ck_range(int64_t lo, int64_t hi); /* lo <= r <= hi */
float ck_normal(void);                    /* about N(0,1) */

/* Kinds of float data. CK_KINDS of them, for loops, without NaN and Inf; the two behind them are
 * for kernels that give every number its meaning. */
typedef enum ck_kind {
  CK_NORMAL,  /* N(0,1) */
  CK_WIDE,    /* any sign, exponents -30..30 */
  CK_TINY,    /* denormals, zeros of both signs and numbers around the smallest normal */
  CK_ZERO,    /* +0 */
  CK_HUGE,    /* around 1e18, so that products stay finite and sums of them may round much */
  CK_MIXED,   /* each element of a random kind of the above */
  CK_OUTLIER, /* N(0,1) with 1 in 50 times 100 */
  CK_KINDS,
  CK_LIMITS = CK_KINDS, /* N(0,1), among them the greatest numbers of f32 and of storage types */
  CK_SPECIAL,           /* the same with some Inf and NaN of both signs */
  CK_ALL_KINDS
} ck_kind;
const char *ck_kind_name(ck_kind kind);
void ck_fill(float *x, int64_t n, ck_kind kind);
void ck_fill_bytes(void *p, size_t n);

/* ---- guarded buffers ---------------------------------------- */
/* `bytes` bytes between guard bytes, 64-byte aligned plus `skew`, in huge pages as weights and KV
 * pages where there are some; all starts as a fixed pattern.
 * Released all together by ck_free_all (done after every check). Ends the program when memory runs
 * out: tests only. */
void *ck_buf(size_t bytes, size_t skew);
static inline float *ck_floats(int64_t n, size_t skew_floats) {
  return (float *)ck_buf((size_t)n * sizeof(float), skew_floats * sizeof(float));
}
/* 1 if no guard byte of any buffer was touched since it was made. */
int ck_guards_ok(void);
void ck_free_all(void);

/* ---- reporting ---------------------------------------- */
/* Fails the running check: counted, printed to stderr, the first 20 of a check only. */
void ck_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Compare n floats by their bytes, but for which NaN one is; on a difference fail with the first
 * index and both values, and the context text. Returns 1 if equal. */
int ck_same(const float *want, const float *got, int64_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Same for raw bytes. */
int ck_same_bytes(const void *want, const void *got, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- levels and programs ---------------------------------------- */
/* The reference table, and the tables of all levels above it that this machine runs (MTK_CPU lowers
 * the highest). */
const mtk_kernels *ck_ref(void);
int ck_level_count(void); /* without ref; 0 on a machine that has only ref */
const mtk_kernels *ck_level(int i);

/* One named check. test: compares one level's table with ck_ref() by ck_same and ck_fail; it is
 * also called for ref itself (compare that with another oracle, or with itself on split ranges).
 * bench: prints its own lines for one level's table. Either may be NULL. */
typedef struct ck_check {
  const char *name;
  void (*test)(const mtk_kernels *k);
  void (*bench)(const mtk_kernels *k);
} ck_check;

/* CPU seconds of one call of fn(arg): best of several runs of at least a few milliseconds each. */
double ck_seconds(void (*fn)(void *arg), void *arg);

/* Options: --bench [--csv] [--shapes FILE], --check TEXT (checks whose name contains TEXT), --only
 * TEXT (linear kernels, bench rows), --isa NAME (that level alone), --seed N. Exit status 0 all
 * equal, 1 not, or no check ran, 2 usage. */
int ck_main(int argc, char **argv, const ck_check *checks, int n_checks);
/* Does --only let this name through? For benches with rows of their own. */
int ck_wanted(const char *name);
/* Does --csv ask for machine-readable lines? */
int ck_csv(void);

/* ---- shapes ---------------------------------------- */
/* Shapes of tests/bench/shapes/NAME.txt: lines "label m n k", # comments; m may be several, as in
 * 1,8,64, and makes a shape of each. */
typedef struct ck_shape {
  char model[32], label[32];
  int64_t m, n, k;
} ck_shape;
/* All files' shapes, or those of files named like --shapes; returns the count (at most max). */
int ck_shapes(ck_shape *out, int max);

#endif
