/* tests/kernels/checkker.c: see checkker.h. Single-threaded. */
#include "checkker.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/internal.h"

/* ---- random data ---------------------------------------- */
static uint64_t rng_state = 1;

uint64_t ck_rand(void) { /* splitmix64 */
  uint64_t z = (rng_state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t ck_range(int64_t lo, int64_t hi) {
  return lo + (int64_t)(ck_rand() % (uint64_t)(hi - lo + 1));
}

static float uniform(void) { /* (-1, 1) */
  return (float)(int32_t)(ck_rand() >> 32) * 0x1p-31f;
}

float ck_normal(void) {
  float s = 0;
  for (int i = 0; i < 4; i++) s += uniform();
  return s * 0.8660254f;
}

static float any_sign(float v) { return ck_rand() & 1 ? -v : v; }

static float tiny(void) {
  switch (ck_rand() % 4) {
  case 0: return any_sign(0.0f);
  case 1: return any_sign(ldexpf((float)ck_range(1, (1 << 23) - 1), -149)); /* denormal */
  case 2: return any_sign(ldexpf(1.0f + 0.5f * uniform(), (int)ck_range(-126, -120)));
  default: return ldexpf(uniform(), (int)ck_range(-70, -55)); /* products are denormal */
  }
}

/* The greatest of f32, bf16, f16, e5m2, e4m3 and e4m3fnuz, and what rounds up from there. */
static float limit(void) {
  static const float limits[] = {0x1.fffffep127f, 0x1.fep127f, 0x1.ffp127f, 65504.0f, 65520.0f,
                                 57344.0f,        61440.0f,    448.0f,      464.0f,   240.0f};
  return any_sign(limits[ck_rand() % (sizeof limits / sizeof *limits)]);
}

static float special(void) {
  if (ck_rand() % 400) return ck_rand() % 50 ? ck_normal() : limit();
  return any_sign(ck_rand() & 1 ? INFINITY : NAN);
}

static float one_of(ck_kind kind) {
  switch (kind) {
  case CK_NORMAL: return ck_normal();
  case CK_WIDE: return ldexpf(uniform(), (int)ck_range(-30, 30));
  case CK_TINY: return tiny();
  case CK_HUGE: return 1e18f * uniform();
  case CK_MIXED: return one_of((ck_kind)ck_range(CK_NORMAL, CK_HUGE));
  case CK_OUTLIER: return ck_normal() * (ck_rand() % 50 ? 1.0f : 100.0f);
  case CK_LIMITS: return ck_rand() % 50 ? ck_normal() : limit();
  case CK_SPECIAL: return special();
  default: return 0.0f;
  }
}

const char *ck_kind_name(ck_kind kind) {
  static const char *const names[CK_ALL_KINDS] = {"normal", "wide",    "tiny",   "zero",   "huge",
                                                  "mixed",  "outlier", "limits", "special"};
  return names[kind];
}

void ck_fill(float *x, int64_t n, ck_kind kind) {
  for (int64_t i = 0; i < n; i++) x[i] = one_of(kind);
}

void ck_fill_bytes(void *p, size_t n) {
  unsigned char *b = p;
  for (size_t i = 0; i < n; i++) b[i] = (unsigned char)ck_rand();
}

/* ---- guarded buffers ---------------------------------------- */
enum { GUARD = 256, PATTERN = 0xA5 };
typedef struct buffer {
  unsigned char *base, *user;
  size_t base_bytes, bytes;
} buffer;
static buffer *buffers;
static int n_buffers, cap_buffers;

static void *must(void *p) {
  if (p) return p;
  fprintf(stderr, "checkker: out of memory\n");
  exit(1);
}

void *ck_buf(size_t bytes, size_t skew) {
  if (n_buffers == cap_buffers) {
    cap_buffers = 2 * cap_buffers + 16;
    buffers = must(realloc(buffers, (size_t)cap_buffers * sizeof *buffers));
  }
  buffer *b = &buffers[n_buffers++];
  b->base_bytes = (bytes + skew + 2 * GUARD + 63) / 64 * 64;
  b->base = must(mtk_alloc_pages(b->base_bytes));
  b->user = b->base + GUARD + skew;
  b->bytes = bytes;
  memset(b->base, PATTERN, b->base_bytes);
  return b->user;
}

int ck_guards_ok(void) {
  for (int i = 0; i < n_buffers; i++) {
    const buffer *b = &buffers[i];
    for (const unsigned char *p = b->base; p < b->base + b->base_bytes; p++) {
      if (p == b->user) p += b->bytes;
      if (p < b->base + b->base_bytes && *p != PATTERN) return 0;
    }
  }
  return 1;
}

void ck_free_all(void) {
  for (int i = 0; i < n_buffers; i++) mtk_free_pages(buffers[i].base, buffers[i].base_bytes);
  n_buffers = 0;
}

/* ---- reporting ---------------------------------------- */
static int n_fails;
static long n_compared;

void ck_fail(const char *fmt, ...) {
  if (++n_fails > 20) return;
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "  FAIL ");
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "\n");
  va_end(ap);
}

/* The numerics contract leaves open which NaN a NaN is. */
static int same_number(float a, float b) {
  return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

int ck_same(const float *want, const float *got, int64_t n, const char *fmt, ...) {
  n_compared++;
  if (n == 0 || memcmp(want, got, (size_t)n * sizeof *want) == 0) return 1;
  int64_t i = 0;
  while (i < n && same_number(want[i], got[i])) i++;
  if (i == n) return 1;
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  ck_fail("%s: element %lld of %lld: want %.9g (%a), got %.9g (%a)", text, (long long)i,
          (long long)n, (double)want[i], (double)want[i], (double)got[i], (double)got[i]);
  return 0;
}

int ck_same_bytes(const void *want, const void *got, size_t n, const char *fmt, ...) {
  n_compared++;
  if (n == 0 || memcmp(want, got, n) == 0) return 1;
  const unsigned char *w = want, *g = got;
  size_t i = 0;
  while (w[i] == g[i]) i++;
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  ck_fail("%s: byte %zu of %zu: want 0x%02x, got 0x%02x", text, i, n, w[i], g[i]);
  return 0;
}

/* ---- levels ---------------------------------------- */
static mtk_kernels tables[MTK_ISA_COUNT];
static int n_tables;
static int csv; /* --csv */

static void load_tables(void) {
  const char *why, *lower = getenv("MTK_CPU");
  mtk_isa best = mtk_isa_best(&why);
  if (lower && mtk_isa_by_name(lower) < best) best = mtk_isa_by_name(lower);
  for (n_tables = 0; n_tables <= (int)best; n_tables++) {
    mtk_kernels_init(&tables[n_tables], (mtk_isa)n_tables);
  }
  if (!csv) printf("levels up to %s (%s)\n", tables[best].isa_name, why);
}

const mtk_kernels *ck_ref(void) { return &tables[0]; }
int ck_level_count(void) { return n_tables - 1; }
const mtk_kernels *ck_level(int i) { return &tables[i + 1]; }

/* ---- programs ---------------------------------------- */
static double now(void) { /* CPU time: other programs on a shared machine do not count */
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double ck_seconds(void (*fn)(void *arg), void *arg) {
  enum { RUNS = 7 };
  double best = 1e30;
  int64_t calls = 1;
  for (int run = 0; run < RUNS;) {
    double t0 = now();
    for (int64_t i = 0; i < calls; i++) fn(arg);
    double dt = now() - t0;
    if (dt < 0.005 && calls < (int64_t)1 << 30) {
      calls *= 2;
      continue;
    }
    if (dt / (double)calls < best) best = dt / (double)calls;
    run += dt > 0.5 ? 3 : 1; /* slow kernels: fewer runs */
  }
  return best;
}

static const char *check_name, *only, *shapes_of;
int ck_csv(void) { return csv; }
int ck_wanted(const char *name) { return !only || strstr(name, only) != NULL; }

static int run_tests(const ck_check *checks, int n_checks, const char *isa, uint64_t seed) {
  int failed = 0, ran = 0;
  for (int c = 0; c < n_checks; c++) {
    if (!checks[c].test || (check_name && !strstr(checks[c].name, check_name))) continue;
    for (int l = 0; l < n_tables; l++) {
      if (isa && strcmp(isa, tables[l].isa_name) != 0) continue;
      rng_state = seed; /* each level sees the same data */
      n_fails = 0;
      n_compared = 0;
      checks[c].test(&tables[l]);
      ck_free_all();
      printf("%-28s %-7s %s (%ld comparisons)\n", checks[c].name, tables[l].isa_name,
             n_fails ? "FAILED" : "ok", n_compared);
      fflush(stdout);
      failed += n_fails > 0;
      ran++;
    }
  }
  if (ran == 0) fprintf(stderr, "no such check, or not at this level\n");
  return failed > 0 || ran == 0;
}

static int run_benches(const ck_check *checks, int n_checks, const char *isa) {
  for (int l = n_tables - 1; l >= 0; l--) {
    if (isa && strcmp(isa, tables[l].isa_name) != 0) continue;
    for (int c = 0; c < n_checks; c++) {
      rng_state = 1;
      if (checks[c].bench) checks[c].bench(&tables[l]);
      ck_free_all();
    }
  }
  return 0;
}

int ck_main(int argc, char **argv, const ck_check *checks, int n_checks) {
  int bench = 0;
  const char *isa = NULL;
  uint64_t seed = 1;
  for (int i = 1; i < argc; i++) {
    const char *next = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--bench") == 0) {
      bench = 1;
    } else if (strcmp(argv[i], "--csv") == 0) {
      csv = 1;
    } else if (strcmp(argv[i], "--isa") == 0 && next) {
      isa = argv[++i];
    } else if (strcmp(argv[i], "--check") == 0 && next) {
      check_name = argv[++i];
    } else if (strcmp(argv[i], "--only") == 0 && next) {
      only = argv[++i];
    } else if (strcmp(argv[i], "--shapes") == 0 && next) {
      shapes_of = argv[++i];
    } else if (strcmp(argv[i], "--seed") == 0 && next) {
      seed = strtoull(argv[++i], NULL, 10);
    } else {
      fprintf(stderr,
              "usage: %s [--bench [--csv] [--shapes FILE]] [--check TEXT] [--only TEXT] "
              "[--isa NAME] [--seed N]\n",
              argv[0]);
      return 2;
    }
  }
  load_tables();
  if (bench) return run_benches(checks, n_checks, isa);
  if (ck_level_count() == 0) printf("SKIP equality: this machine or MTK_CPU allows only ref\n");
  return run_tests(checks, n_checks, isa, seed);
}

/* ---- shapes ---------------------------------------- */
static int read_shapes(const char *folder, const char *file, ck_shape *out, int max) {
  char path[1024], line[256];
  snprintf(path, sizeof path, "%s/%s", folder, file);
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  int n = 0;
  while (n < max && fgets(line, sizeof line, f)) {
    char *rest = line, *field = strsep(&rest, " \t\n");
    if (field[0] == '#' || field[0] == '\0') continue;
    ck_shape s;
    snprintf(s.model, sizeof s.model, "%.*s", (int)strcspn(file, "."), file);
    snprintf(s.label, sizeof s.label, "%s", field);
    char *batches = strsep(&rest, " \t\n"), *one;
    int64_t *dims[2] = {&s.n, &s.k};
    for (int d = 0; d < 2; d++) {
      field = strsep(&rest, " \t\n");
      *dims[d] = field ? strtoll(field, NULL, 10) : 1;
    }
    while (n < max && (one = strsep(&batches, ",")) != NULL) {
      s.m = strtoll(one, NULL, 10);
      out[n++] = s;
    }
  }
  fclose(f);
  return n;
}

int ck_shapes(ck_shape *out, int max) {
#ifdef MTK_SOURCE_DIR
  const char *folder = MTK_SOURCE_DIR "/tests/bench/shapes";
#else
  const char *folder = "tests/bench/shapes";
#endif
  struct dirent **names;
  int n_files = scandir(folder, &names, NULL, alphasort), n = 0;
  for (int i = 0; i < n_files; i++) {
    const char *file = names[i]->d_name;
    int wanted = strstr(file, shapes_of ? shapes_of : "") && strstr(file, ".txt");
    if (wanted) n += read_shapes(folder, file, out + n, max - n);
    free(names[i]);
  }
  if (n_files >= 0) free(names);
  return n;
}
