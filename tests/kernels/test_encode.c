/* tests/kernels/test_encode.c: the 4-bit float encoder.
 *
 * Every level against ref for both types, all scale rules, candidate windows, with and without
 * importance, on all kinds of data and lengths around a group of lanes; plain rounding against the
 * reference codecs of the storage types; a wider window never has a larger error; the error table
 * of known schemes on Gaussian data (relative L2 over 2^20 values). --bench prints input bytes
 * (bf16) per second, and values widened. */
#include <math.h>
#include <string.h>

#include "checkker.h"

enum { MAX_K = 64 * 40 };

typedef struct scheme {
  const char *name;
  mtk_fp4_rule rule;
  float codes_max; /* nvfp4: s2 = amax / (6 * codes_max) */
  double rel_l2;   /* on N(0,1); 0 = not in the table */
} scheme;

static const scheme schemes[] = {
    {"nvfp4 rtn", {.type = MTK_NVFP4}, 448, 0.0951},
    {"nvfp4 four-over-six", {.type = MTK_NVFP4, .four = 1}, 256, 0.0869},
    {"nvfp4 +-2 codes", {.type = MTK_NVFP4, .first = -2, .last = 2}, 448, 0.0859},
    {"nvfp4 9 codes", {.type = MTK_NVFP4, .first = -2, .last = 6}, 256, 0.0812},
    {"nvfp4 all codes", {.type = MTK_NVFP4, .first = -126, .last = 126}, 448, 0.0812},
    {"mxfp4 floor", {.type = MTK_MXFP4}, 0, 0.1150},
    {"mxfp4 rceil", {.type = MTK_MXFP4, .mx = MTK_MX_RCEIL}, 0, 0.1154},
    {"mxfp4 even", {.type = MTK_MXFP4, .mx = MTK_MX_EVEN}, 0, 0.1119},
    {"mxfp4 rne-log2", {.type = MTK_MXFP4, .mx = MTK_MX_RNE_LOG2}, 0, 0},
    {"mxfp4 best", {.type = MTK_MXFP4, .first = -2, .last = 2}, 0, 0.1116},
};
enum { N_SCHEMES = sizeof schemes / sizeof *schemes };

static float row_amax(const float *x, int64_t k) {
  float amax = 0;
  for (int64_t i = 0; i < k; i++) amax = fmaxf(amax, fabsf(x[i]));
  return amax;
}

static mtk_fp4_rule rule_for(const scheme *s, const float *x, int64_t k) {
  mtk_fp4_rule rule = s->rule;
  float amax = row_amax(x, k);
  if (s->codes_max > 0) rule.s2 = amax > 0 ? amax / (6.0f * s->codes_max) : 1.0f;
  return rule;
}

static void check_one(const mtk_kernels *k, const scheme *s, int64_t n, ck_kind kind,
                      int weighted) {
  size_t bytes = mtk_dtype_bytes(s->rule.type, (uint64_t)n);
  float *x = ck_floats(n, (size_t)ck_range(0, 7)), *w = ck_floats(n, (size_t)ck_range(0, 7));
  uint8_t *want = ck_buf(bytes, (size_t)ck_range(0, 63)),
          *got = ck_buf(bytes, (size_t)ck_range(0, 63));
  ck_fill(x, n, kind);
  ck_fill(w, n, CK_NORMAL);
  for (int64_t i = 0; i < n; i++) w[i] = fabsf(w[i]);
  mtk_fp4_rule rule = rule_for(s, x, n);
  if (weighted) rule.importance = w;
  ck_ref()->fp4_encode(want, x, n, &rule);
  k->fp4_encode(got, x, n, &rule);
  ck_same_bytes(want, got, bytes, "%s k=%lld %s%s", s->name, (long long)n, ck_kind_name(kind),
                weighted ? " weighted" : "");
}

static void levels(const mtk_kernels *k) {
  for (int s = 0; s < N_SCHEMES; s++) {
    for (int kind = 0; kind < CK_KINDS; kind++) {
      for (int64_t n = 64; n <= 64 * 9; n += 64)
        check_one(k, &schemes[s], n, (ck_kind)kind, (int)(n / 64) & 1);
      check_one(k, &schemes[s], MAX_K, (ck_kind)kind, 0);
    }
  }
}

static void amax(const mtk_kernels *k) {
  for (int kind = 0; kind < CK_KINDS; kind++) {
    for (int64_t n = 0; n < 300; n++) {
      float *x = ck_floats(n, (size_t)ck_range(0, 7));
      ck_fill(x, n, (ck_kind)kind);
      if (n && ck_range(0, 9) == 0) x[ck_range(0, n - 1)] = ck_range(0, 1) ? NAN : -INFINITY;
      float want = ck_ref()->amax(x, n), got = k->amax(x, n);
      ck_same(&want, &got, 1, "amax n=%lld %s", (long long)n, ck_kind_name((ck_kind)kind));
      float plain = row_amax(x, n);
      if (isfinite(want) && want != plain)
        ck_fail("amax of %lld is %g, not %g", (long long)n, want, plain);
    }
  }
}

/* Every f32 around every code, and what lies between. */
static void e4m3(const mtk_kernels *k) {
  enum { N = 128 * 24 };
  float *x = ck_floats(N, 3);
  uint8_t *want = ck_buf(N, 1), *got = ck_buf(N, 5);
  for (int i = 0; i < N; i++) {
    float a = mtk_e4m3_to_f32((uint8_t)(i / 24 % 127)), b = mtk_e4m3_to_f32((uint8_t)(i / 24 + 1));
    float at = i % 12 < 4 || !(b > a) ? a : i % 12 < 8 ? (a + b) / 2 : a + (b - a) * 0.7f;
    uint32_t bits;
    memcpy(&bits, &at, 4);
    bits += (uint32_t)(i % 4 % 3) - (i % 4 == 3 && bits ? 1u : 0u);
    memcpy(&x[i], &bits, 4);
    if (i / 12 % 2) x[i] = -x[i];
  }
  for (int64_t n = 0; n < 70; n++)
    for (int s = 0; s < 4; s++) {
      static const float scales[] = {1.0f, 0.001f, 3.7f, 0x1p-100f};
      int64_t from = n * (N - 80) / 70;
      ck_ref()->e4m3_encode(want, x + from, scales[s], n);
      k->e4m3_encode(got, x + from, scales[s], n);
      ck_same_bytes(want, got, (size_t)n, "e4m3 n=%lld scale %g", (long long)n, scales[s]);
    }
  k->e4m3_encode(got, x, 1.0f, N);
  for (int i = 0; i < N; i++)
    if (got[i] != mtk_f32_to_e4m3(x[i])) ck_fail("e4m3 of %a is %02x", x[i], got[i]);
}

/* Random bytes of every type, all codes of the 16-bit ones. NaNs may differ in their bits. */
static void widen(const mtk_kernels *k) {
  enum { N = 65536 + 256 * 3 };
  static uint8_t bytes[8 * N];
  static float want[N], got[N];
  for (size_t i = 0; i < sizeof bytes / 2; i++)
    memcpy(bytes + 2 * i, &(uint16_t){(uint16_t)(i < 65536 ? i : (size_t)ck_range(0, 65535))}, 2);
  for (int t = 0; t < MTK_DTYPE_COUNT; t++) {
    const mtk_dtype_info *info = mtk_dtype_get((mtk_dtype)t);
    if (!info || !info->is_float || t == MTK_C64) continue;
    for (int64_t n = N; n >= 0; n = n > 2048 ? 2048 : n - (int64_t)info->block_elems * 3) {
      n -= n % info->block_elems;
      mtk_dtype_decode((mtk_dtype)t, want, bytes, (size_t)n);
      k->widen(got, bytes, (mtk_dtype)t, n);
      for (int64_t i = 0; i < n; i++)
        if (isnan(want[i]) && isnan(got[i])) got[i] = want[i];
      ck_same(want, got, n, "widen %s n=%lld", info->name, (long long)n);
    }
  }
}

/* Plain rounding is what the storage types' reference codecs do (nvfp4: with s2 = 1). */
static void codecs(const mtk_kernels *k) {
  for (int kind = 0; kind < CK_KINDS; kind++) {
    float *x = ck_floats(MAX_K, 0);
    ck_fill(x, MAX_K, (ck_kind)kind);
    for (int t = 0; t < 2; t++) {
      mtk_fp4_rule rule = {.type = t ? MTK_NVFP4 : MTK_MXFP4, .s2 = 1.0f};
      size_t bytes = mtk_dtype_bytes(rule.type, MAX_K);
      uint8_t *want = ck_buf(bytes, 0), *got = ck_buf(bytes, 0);
      mtk_dtype_encode(rule.type, want, x, MAX_K);
      k->fp4_encode(got, x, MAX_K, &rule);
      ck_same_bytes(want, got, bytes, "codec %s %s", mtk_dtype_get(rule.type)->name,
                    ck_kind_name((ck_kind)kind));
    }
  }
}

static double relative_error(const mtk_kernels *k, const scheme *s, const float *x, int64_t n) {
  enum { ROW = 1 << 16 };
  static float y[ROW];
  static uint8_t bytes[ROW];
  double error = 0, norm = 0;
  mtk_fp4_rule rule = rule_for(s, x, n);
  float unit = rule.type == MTK_NVFP4 ? rule.s2 : 1.0f;
  for (int64_t r = 0; r < n; r += ROW) {
    k->fp4_encode(bytes, x + r, ROW, &rule);
    mtk_dtype_decode(rule.type, y, bytes, ROW);
    for (int64_t i = 0; i < ROW; i++) {
      double v = x[r + i], e = v - (double)y[i] * (double)unit;
      error += e * e;
      norm += v * v;
    }
  }
  return sqrt(error / norm);
}

/* N(0,1) with its whole tail (Box and Muller 1958); ck_normal's is short. */
static void fill_gaussian(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += 2) {
    double u = ((double)(ck_rand() >> 11) + 0.5) * 0x1p-53, v = (double)(ck_rand() >> 11) * 0x1p-53;
    double radius = sqrt(-2.0 * log(u)), angle = 6.283185307179586 * v;
    x[i] = (float)(radius * cos(angle));
    x[i + 1] = (float)(radius * sin(angle));
  }
}

static void gaussian(const mtk_kernels *k) {
  enum { N = 1 << 20 };
  if (k == ck_ref() && ck_level_count() > 0) return; /* minutes in plain C; same bytes anyway */
  float *x = ck_floats(N, 0);
  fill_gaussian(x, N);
  for (int s = 0; s < N_SCHEMES; s++) {
    if (schemes[s].rel_l2 == 0) continue;
    double got = relative_error(k, &schemes[s], x, N);
    if (fabs(got - schemes[s].rel_l2) > 0.0005)
      ck_fail("%s: relative error %.5f, expected %.4f", schemes[s].name, got, schemes[s].rel_l2);
  }
}

typedef struct bench_job {
  const mtk_kernels *k;
  mtk_fp4_rule rule;
  const float *x;
  uint8_t *dst;
} bench_job;

static void bench_call(void *arg) {
  bench_job *j = arg;
  j->k->fp4_encode(j->dst, j->x, MAX_K, &j->rule);
}

static void bench(const mtk_kernels *k) {
  bench_job j = {.k = k, .x = ck_floats(MAX_K, 0), .dst = ck_buf(MAX_K, 0)};
  ck_fill((float *)(uintptr_t)j.x, MAX_K, CK_NORMAL);
  for (int s = 0; s < N_SCHEMES; s++) {
    if (!ck_wanted(schemes[s].name)) continue;
    j.rule = rule_for(&schemes[s], j.x, MAX_K);
    double seconds = ck_seconds(bench_call, &j);
    printf("%-8s %-22s %8.0f MB/s of bf16\n", k->isa_name, schemes[s].name, 2e-6 * MAX_K / seconds);
  }
}

typedef struct widen_job {
  const mtk_kernels *k;
  float *dst;
  const uint8_t *src;
  mtk_dtype type;
} widen_job;

static void widen_call(void *arg) {
  widen_job *j = arg;
  j->k->widen(j->dst, j->src, j->type, MAX_K);
}

static void widen_bench(const mtk_kernels *k) {
  widen_job j = {.k = k, .dst = ck_floats(MAX_K, 0)};
  uint8_t *bytes = ck_buf(sizeof(float) * MAX_K, 0);
  memset(bytes, 0x35, sizeof(float) * MAX_K); /* ordinary numbers in every type */
  j.src = bytes;
  for (int t = 0; t < MTK_DTYPE_COUNT; t++) {
    const mtk_dtype_info *info = mtk_dtype_get(j.type = (mtk_dtype)t);
    if (!info || !info->is_float || t == MTK_C64 || !ck_wanted(info->name)) continue;
    printf("%-8s widen %-16s %8.0f million values/s\n", k->isa_name, info->name,
           1e-6 * MAX_K / ck_seconds(widen_call, &j));
  }
}

int main(int argc, char **argv) {
  const ck_check checks[] = {{"levels", levels, bench},
                             {"codecs", codecs, NULL},
                             {"amax", amax, NULL},
                             {"e4m3", e4m3, NULL},
                             {"widen", widen, widen_bench},
                             {"gaussian", gaussian, NULL}};
  return ck_main(argc, argv, checks, 6);
}
