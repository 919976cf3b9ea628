/* tests/kernels/test_attention.c: KV store, attention and its derivative.
 *
 * Every level against ref over cache types, head sizes, groups, windows, soft caps, sinks,
 * positions and kinds of data; a prompt fed whole against the same prompt in chunks of 1, 7 and 64,
 * and against single tokens in shared steps; caches of small types against one of f32 that holds
 * the rounded values; positions beyond 32768; blocks of a step in one scratch; values against
 * double precision; derivatives against central differences of a double-precision forward pass.
 * --bench prints GFLOP/s (prefill, derivative) and GB/s of K and V (decode). */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "checkker.h"

/* What attention may do besides plain causal softmax. */
typedef struct variant {
  int64_t window;
  int bidirectional;
  float softcap;
  int with_sinks;
} variant;

static const char *variant_name(const variant *v) {
  static char text[96];
  snprintf(text, sizeof text, "window=%lld%s softcap=%g%s", (long long)v->window,
           v->bidirectional ? " bidirectional" : "", (double)v->softcap,
           v->with_sinks ? " sinks" : "");
  return text;
}

/* One KV head with its cache and the queries of its group for a whole sequence. */
typedef struct sequence {
  int64_t n_tokens, ld, ld_out;
  int head_dim, v_dim, group;
  float *k, *v, *q; /* plain rows: k [n_tokens][ld_k], v [n_tokens][ld_v], q [n_tokens][ld] */
  int64_t ld_k, ld_v;
  mtk_dtype type;
  void **k_pages, **v_pages;
  float *sinks; /* [group] */
} sequence;

/* Pages for a sequence; they start as NaN: a kernel that lets unwritten positions into a result
 * shows. */
static void make_pages(sequence *s, mtk_dtype type) {
  int64_t pages = (s->n_tokens + MTK_KV_PAGE - 1) / MTK_KV_PAGE;
  size_t k_bytes = mtk_kv_page_bytes(type, s->head_dim);
  size_t v_bytes = mtk_kv_page_bytes(type, s->v_dim);
  s->type = type;
  s->k_pages = ck_buf((size_t)pages * sizeof *s->k_pages, 0);
  s->v_pages = ck_buf((size_t)pages * sizeof *s->v_pages, 0);
  for (int64_t p = 0; p < pages; p++) {
    s->k_pages[p] = memset(ck_buf(k_bytes, 0), 0xff, k_bytes);
    s->v_pages[p] = memset(ck_buf(v_bytes, 0), 0xff, v_bytes);
  }
}

static sequence make(int64_t n_tokens, int head_dim, int v_dim, int group, mtk_dtype type,
                     ck_kind kind) {
  sequence s = {.n_tokens = n_tokens, .head_dim = head_dim, .v_dim = v_dim, .group = group};
  s.ld = (int64_t)head_dim * group + ck_range(0, 5);
  s.ld_out = (int64_t)v_dim * group + ck_range(0, 5);
  s.ld_k = head_dim + ck_range(0, 5);
  s.ld_v = v_dim + ck_range(0, 5);
  s.k = ck_floats(n_tokens * s.ld_k, (size_t)ck_range(0, 7));
  s.v = ck_floats(n_tokens * s.ld_v, (size_t)ck_range(0, 7));
  s.q = ck_floats(n_tokens * s.ld, (size_t)ck_range(0, 7));
  s.sinks = ck_floats(group, 0);
  ck_fill(s.k, n_tokens * s.ld_k, kind);
  ck_fill(s.v, n_tokens * s.ld_v, kind);
  ck_fill(s.q, n_tokens * s.ld, kind);
  ck_fill(s.sinks, group, CK_NORMAL);
  make_pages(&s, type);
  return s;
}

static void store(const mtk_kernels *k, const sequence *s, int64_t from, int64_t count) {
  k->kv_store(s->type, s->k_pages, s->v_pages, s->k + from * s->ld_k, s->ld_k,
              s->v + from * s->ld_v, s->ld_v, count, from, s->head_dim, s->v_dim);
}

static mtk_attn_args forward_args(const mtk_kernels *k, const sequence *s, float *out, int64_t from,
                                  int64_t count, const variant *v) {
  mtk_attn_args a = {.out = out + from * s->ld_out,
                     .ld_out = s->ld_out,
                     .q = s->q + from * s->ld,
                     .ld_q = s->ld,
                     .k_pages = (const void *const *)s->k_pages,
                     .v_pages = (const void *const *)s->v_pages,
                     .n_tokens = count,
                     .pos0 = from,
                     .window = v->window,
                     .n_keys = v->bidirectional ? s->n_tokens : from + count,
                     .head_dim = s->head_dim,
                     .v_dim = s->v_dim,
                     .group = s->group,
                     .bidirectional = v->bidirectional,
                     .scale = 1.0f / sqrtf((float)s->head_dim),
                     .softcap = v->softcap,
                     .sinks = v->with_sinks ? s->sinks : NULL,
                     .kv_type = s->type};
  a.scratch = ck_floats((int64_t)k->attn_scratch_floats(&a), 0);
  return a;
}

/* Attention of one token in shared steps: ranges of random pages, heads and columns, in any order
 * within a step. */
static void attend_shared(const mtk_kernels *k, const sequence *s, float *out, int64_t t,
                          const variant *v) {
  mtk_attn_args a = forward_args(k, s, out, t, 1, v);
  a.ld_scores = (a.n_keys + 63) / 64 * 64 + 16;
  a.scores = ck_floats(a.ld_scores * a.group, 0);
  int64_t lo = !v->bidirectional && v->window > 0 && t + 1 > v->window ? t + 1 - v->window : 0;
  int64_t n_pages = (a.n_keys + 63) / 64, middle = ck_range(lo / 64 + 1, n_pages) * 64;
  if (middle < a.n_keys) k->attention_step(&a, MTK_ATTN_SCORES, middle, a.n_keys);
  k->attention_step(&a, MTK_ATTN_SCORES, lo, middle < a.n_keys ? middle : a.n_keys);
  middle = ck_range(0, a.group);
  k->attention_step(&a, MTK_ATTN_SOFTMAX, middle, a.group);
  k->attention_step(&a, MTK_ATTN_SOFTMAX, 0, middle);
  middle = ck_range(0, a.v_dim / 32) * 32;
  k->attention_step(&a, MTK_ATTN_VALUES, middle, a.v_dim);
  k->attention_step(&a, MTK_ATTN_VALUES, 0, middle);
}

/* Attention of tokens from..from+count into out rows of the whole sequence. */
static void attend(const mtk_kernels *k, const sequence *s, float *out, int64_t from, int64_t count,
                   const variant *v) {
  mtk_attn_args a = forward_args(k, s, out, from, count, v);
  k->attention(&a);
}

static const mtk_dtype types[] = {MTK_F32, MTK_F16, MTK_BF16, MTK_Q8_0, MTK_F8_E4M3};
enum { N_TYPES = sizeof types / sizeof *types };

/* Some would be infinite in f16, and so their scores NaN. */
static ck_kind finite_kind(mtk_dtype type, ck_kind kind) {
  bool too_large = kind == CK_WIDE || kind == CK_HUGE || kind == CK_MIXED;
  return too_large && type == MTK_F16 ? CK_OUTLIER : kind;
}

static void check_case(const mtk_kernels *k, int64_t n_tokens, int head_dim, int v_dim, int group,
                       mtk_dtype type, variant v, ck_kind kind) {
  static const int64_t chunks[] = {1, 7, 64};
  kind = finite_kind(type, kind);
  sequence s = make(n_tokens, head_dim, v_dim, group, type, kind);
  int64_t n = n_tokens * s.ld_out;
  float *want = ck_floats(n, 0), *got = ck_floats(n, 0);
  store(ck_ref(), &s, 0, n_tokens);
  attend(ck_ref(), &s, want, 0, n_tokens, &v);
  attend(k, &s, got, 0, n_tokens, &v);
  const char *name = mtk_dtype_get(type)->name;
  ck_same(want, got, n, "attention %s T=%lld head_dim=%d/%d group=%d %s %s", name,
          (long long)n_tokens, head_dim, v_dim, group, variant_name(&v), ck_kind_name(kind));
  for (int c = 0; c < 3; c++) {
    float *split = ck_floats(n, 0);
    for (int64_t t = 0; t < n_tokens; t += chunks[c]) {
      int64_t count = n_tokens - t < chunks[c] ? n_tokens - t : chunks[c];
      attend(k, &s, split, t, count, &v);
    }
    ck_same(want, split, n, "attention %s in chunks of %lld T=%lld head_dim=%d/%d group=%d %s",
            name, (long long)chunks[c], (long long)n_tokens, head_dim, v_dim, group,
            variant_name(&v));
  }
  float *shared = ck_floats(n, 0);
  memcpy(shared, want, (size_t)n * sizeof *want);
  for (int64_t t = n_tokens - 1; t >= 0; t -= 7) {
    memset(shared + t * s.ld_out, 0xff, (size_t)(group * v_dim) * sizeof *shared);
    attend_shared(k, &s, shared, t, &v);
  }
  ck_same(want, shared, n, "attention_step %s T=%lld head_dim=%d/%d group=%d %s", name,
          (long long)n_tokens, head_dim, v_dim, group, variant_name(&v));
  if (!ck_guards_ok()) ck_fail("attention head_dim=%d: wrote outside its output", head_dim);
  ck_free_all();
}

static const int head_dims[] = {1, 8, 20, 32, 33, 40, 64, 80, 128, 256};
enum { N_HEAD_DIMS = sizeof head_dims / sizeof *head_dims };

static const variant variants[] = {
    {0},
    {.window = 1},
    {.window = 5},
    {.window = 16, .softcap = 5},
    {.softcap = 50},
    {.with_sinks = 1},
    {.window = 50, .with_sinks = 1},
    {.bidirectional = 1},
    {.bidirectional = 1, .softcap = 1, .with_sinks = 1},
    {.window = 64},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

static void test_attention(const mtk_kernels *k) {
  static const int64_t tokens[] = {1, 2, 13, 64, 65, 97, 150};
  static const int v_dims[] = {16, 33, 8};
  int turn = 0;
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++, turn++) {
      check_case(k, tokens[t], head_dims[i], head_dims[i], 1 + turn % 8, types[turn % N_TYPES],
                 variants[0], (ck_kind)(turn % CK_KINDS));
      check_case(k, tokens[t], head_dims[i], turn % 2 ? head_dims[i] : v_dims[turn % 3],
                 1 + turn % 3, types[turn / 2 % N_TYPES], variants[turn % N_VARIANTS],
                 (ck_kind)(turn / 2 % CK_KINDS));
    }
  }
  for (int y = 0; y < N_TYPES; y++) {
    for (int v = 0; v < N_VARIANTS; v++)
      check_case(k, 70, 16 + 20 * (v % 2), 24 + 40 * (v % 3), 13, types[y], variants[v], CK_NORMAL);
    check_case(k, 300, 64, 64, 3, types[y], variants[0], CK_NORMAL);
    check_case(k, 300, 32, 32, 2, types[y], (variant){.window = 100}, CK_WIDE);
  }
}

/* The last tokens of a sequence longer than 32768. */
static void test_long(const mtk_kernels *k) {
  enum { N = 33000, LAST = 5, HD = 32, GROUP = 3 };
  for (int y = 0; y < N_TYPES; y++) {
    sequence s = make(N, HD, HD, GROUP, types[y], CK_NORMAL);
    const int64_t n = LAST * s.ld_out;
    float *out = ck_floats(N * s.ld_out, 0), *want = ck_floats(n, 0);
    float *got = out + (N - LAST) * s.ld_out;
    store(k, &s, 0, N);
    attend(ck_ref(), &s, out, N - LAST, LAST, &variants[0]);
    memcpy(want, got, (size_t)n * sizeof *want);
    attend(k, &s, out, N - LAST, LAST, &variants[0]);
    ck_same(want, got, n, "attention %s at %d", mtk_dtype_get(types[y])->name, N);
    for (int64_t t = N - LAST; t < N; t++) attend_shared(k, &s, out, t, &variants[0]);
    ck_same(want, got, n, "attention_step %s at %d", mtk_dtype_get(types[y])->name, N);
    if (!ck_guards_ok()) ck_fail("attention at %d: wrote outside its output", N);
    ck_free_all();
  }
}

/* Blocks of queries as a step has them, around the number of keys from which on fewer rows share a
 * tile, all in the scratch of the last one. */
static void check_blocks(const mtk_kernels *k, mtk_dtype type, variant v) {
  enum { N = 16416, FROM = 16320, BLOCK = 32, HD = 8, GROUP = 2 };
  sequence s = make(N, HD, HD, GROUP, type, CK_NORMAL);
  const int64_t n = (N - FROM) * s.ld_out;
  float *out = ck_floats(N * s.ld_out, 0), *got = out + FROM * s.ld_out, *want = ck_floats(n, 0);
  store(ck_ref(), &s, 0, N);
  attend(ck_ref(), &s, out, FROM, N - FROM, &v);
  memcpy(want, got, (size_t)n * sizeof *want);
  memset(got, 0xff, (size_t)n * sizeof *got);
  for (int64_t i = 0; i < n; i++) /* between the rows is nothing to compare */
    if (i % s.ld_out >= GROUP * HD) got[i] = want[i];
  mtk_attn_args last = forward_args(k, &s, out, N - BLOCK, BLOCK, &v);
  for (int64_t t = FROM; t < N; t += BLOCK) {
    mtk_attn_args a = last;
    a.out = out + t * s.ld_out;
    a.q = s.q + t * s.ld;
    a.pos0 = t;
    a.n_keys = t + BLOCK;
    k->attention(&a);
  }
  ck_same(want, got, n, "attention %s in blocks around 16384 keys, %s", mtk_dtype_get(type)->name,
          variant_name(&v));
  if (!ck_guards_ok()) ck_fail("attention in blocks: wrote outside the last block's scratch");
  ck_free_all();
}

static void test_blocks(const mtk_kernels *k) {
  if (k == ck_ref()) return;
  check_blocks(k, MTK_F32, variants[0]);
  check_blocks(k, MTK_Q8_0, variants[0]);
  check_blocks(k, MTK_F16, (variant){.window = 100});
  check_blocks(k, MTK_BF16, (variant){.window = 5000, .with_sinks = 1});
}

/* What the greatest sizes of a step need is enough for all its blocks. */
static void test_scratch(const mtk_kernels *k) {
  static const int64_t tokens[] = {1, 2, 5, 6, 16, 31, 32};
  static const int groups[] = {1, 2, 3, 4, 8, 13};
  static const struct {
    int head_dim, v_dim;
  } dims[] = {{1, 1}, {33, 16}, {64, 64}, {128, 128}, {192, 128}, {256, 256}};
  for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
    for (int g = 0; g < 6 * N_TYPES; g++) {
      size_t before[sizeof tokens / sizeof *tokens] = {0}, derivative = 0;
      for (int64_t n = 1; n <= 40000; n += g % N_TYPES ? 7 : 1) {
        size_t fewer = 0;
        for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
          mtk_attn_args a = {.n_tokens = tokens[t], .n_keys = n, .head_dim = dims[d].head_dim,
                             .v_dim = dims[d].v_dim, .group = groups[g / N_TYPES],
                             .kv_type = types[g % N_TYPES]};
          size_t floats = k->attn_scratch_floats(&a);
          if (floats < before[t] || floats < fewer)
            ck_fail("less scratch for more: %lld tokens, %lld keys, head_dim=%d/%d group=%d",
                    (long long)tokens[t], (long long)n, a.head_dim, a.v_dim, a.group);
          before[t] = fewer = floats;
        }
        mtk_attn_bwd_args b = {.n_tokens = n, .head_dim = dims[d].head_dim,
                               .v_dim = dims[d].v_dim, .group = groups[g / N_TYPES]};
        size_t floats = k->attn_bwd_scratch_floats(&b);
        if (floats < derivative) ck_fail("less scratch for a derivative of %lld", (long long)n);
        derivative = floats;
      }
    }
  }
}

/* Rows of x rounded as a cache of this type rounds them: whole blocks of 32, the last one filled
 * with zeros. */
static void round_rows(mtk_dtype type, float *x, int64_t ld, int64_t rows, int dim) {
  for (int64_t r = 0; r < rows; r++) {
    for (int d = 0; d < dim; d += 32) {
      size_t n = (size_t)(dim - d < 32 ? dim - d : 32);
      float block[32] = {0};
      uint8_t coded[32 * sizeof(float)];
      memcpy(block, x + r * ld + d, n * sizeof *x);
      mtk_dtype_encode(type, coded, block, 32);
      mtk_dtype_decode(type, block, coded, 32);
      memcpy(x + r * ld + d, block, n * sizeof *x);
    }
  }
}

/* A cache of a small type gives what a cache of f32 gives that holds the rounded values. */
static void test_types(const mtk_kernels *k) {
  for (int y = 0; y < N_TYPES; y++) {
    for (int i = 0; i < N_HEAD_DIMS; i++) {
      int vd = head_dims[N_HEAD_DIMS - 1 - i];
      sequence s = make(70, head_dims[i], vd, 2, types[y], CK_OUTLIER), plain = s;
      int64_t n = s.n_tokens * s.ld_out;
      float *want = ck_floats(n, 0), *got = ck_floats(n, 0);
      store(k, &s, 0, s.n_tokens);
      attend(k, &s, got, 0, s.n_tokens, &variants[0]);
      round_rows(types[y], s.k, s.ld_k, s.n_tokens, s.head_dim);
      round_rows(types[y], s.v, s.ld_v, s.n_tokens, s.v_dim);
      make_pages(&plain, MTK_F32);
      store(k, &plain, 0, s.n_tokens);
      attend(k, &plain, want, 0, s.n_tokens, &variants[0]);
      ck_same(want, got, n, "rounded to %s, head_dim=%d/%d", mtk_dtype_get(types[y])->name,
              head_dims[i], vd);
      ck_free_all();
    }
  }
  if (mtk_kv_page_bytes(MTK_Q8_0, 64) != 64 * 64 + 2 * 64 * 2 ||
      mtk_kv_page_bytes(MTK_Q8_0, 33) != 64 * 33 + 2 * 64 * 2 ||
      mtk_kv_page_bytes(MTK_F16, 64) * 2 != mtk_kv_page_bytes(MTK_F32, 64) ||
      mtk_kv_page_bytes(MTK_F8_E4M3, 40) != 64 * 40 || mtk_kv_page_bytes(MTK_Q4_0, 64) != 0)
    ck_fail("mtk_kv_page_bytes");
}

static void test_store(const mtk_kernels *k) {
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    sequence s = make(150, head_dims[i], head_dims[N_HEAD_DIMS - 1 - i], 1, MTK_F32, CK_NORMAL);
    for (int64_t t = 0, count; t < s.n_tokens; t += count) {
      count = ck_range(1, 40);
      if (count > s.n_tokens - t) count = s.n_tokens - t;
      store(k, &s, t, count);
    }
    for (int64_t t = 0; t < s.n_tokens; t++) {
      int64_t at = t % MTK_KV_PAGE, hd = s.head_dim;
      const float *kp = s.k_pages[t / MTK_KV_PAGE], *vp = s.v_pages[t / MTK_KV_PAGE];
      for (int64_t d = 0; d < hd; d++) {
        if (kp[at / 16 * hd * 16 + d * 16 + at % 16] != s.k[t * s.ld_k + d])
          ck_fail("kv_store: K of position %lld", (long long)t);
      }
      ck_same(s.v + t * s.ld_v, vp + at * s.v_dim, s.v_dim, "kv_store: V of position %lld",
              (long long)t);
    }
    if (!ck_guards_ok()) ck_fail("kv_store: wrote outside the pages");
    ck_free_all();
  }
}

/* Every level rounds the same way: whole pages, in every type, for every kind of data. */
static void test_encode(const mtk_kernels *k) {
  for (int y = 0; y < N_TYPES; y++) {
    for (int turn = 0; turn < 4 * CK_KINDS; turn++) {
      int hd = head_dims[turn % N_HEAD_DIMS], vd = head_dims[(turn + 3) % N_HEAD_DIMS];
      sequence s = make(64, hd, vd, 1, types[y], (ck_kind)(turn % CK_KINDS));
      for (int64_t i = 0; i < 64 * s.ld_k; i++) /* halves: ties */
        if (turn % 2) s.k[i] = (float)ck_range(-254, 254) / 2.0f;
      store(ck_ref(), &s, 0, 64);
      sequence other = s;
      make_pages(&other, types[y]);
      store(k, &other, 0, 64);
      const char *name = mtk_dtype_get(types[y])->name;
      ck_same_bytes(s.k_pages[0], other.k_pages[0], mtk_kv_page_bytes(types[y], hd),
                    "kv_store %s: K, head_dim=%d", name, hd);
      ck_same_bytes(s.v_pages[0], other.v_pages[0], mtk_kv_page_bytes(types[y], vd),
                    "kv_store %s: V, v_dim=%d", name, vd);
      if (!ck_guards_ok()) ck_fail("kv_store %s: wrote outside the pages", name);
      ck_free_all();
    }
  }
}

/* ---- double precision -------------------------------------------------------------------- */

enum { T = 9, HD = 6, VD = 5, GROUP = 2 };

/* q [T][GROUP][HD], then k [T][HD], v [T][VD]: one vector of variables. */
enum { N_Q = T * GROUP * HD, N_OUT = T * GROUP * VD, N_VARS = N_Q + T * HD + T * VD };

static void forward(double *out, const double *vars, const variant *v, const float *sinks) {
  const double *q = vars, *k = vars + N_Q, *val = k + T * HD, scale = 1 / sqrt(HD);
  for (int r = 0; r < T * GROUP; r++) {
    int t = r / GROUP, hi = v->bidirectional ? T : t + 1;
    int lo = v->window > 0 && t + 1 > v->window ? t + 1 - (int)v->window : 0;
    double p[T], den = v->with_sinks ? exp((double)sinks[r % GROUP]) : 0, cap = (double)v->softcap;
    for (int j = lo; j < hi; j++) {
      double s = 0;
      for (int d = 0; d < HD; d++) s += q[r * HD + d] * k[j * HD + d];
      s *= scale;
      den += p[j] = exp(cap > 0 ? cap * tanh(s / cap) : s);
    }
    for (int d = 0; d < VD; d++) {
      out[r * VD + d] = 0;
      for (int j = lo; j < hi; j++) out[r * VD + d] += p[j] / den * val[j * VD + d];
    }
  }
}

static double loss(const double *vars, const float *weights, const variant *v, const float *sinks) {
  double out[N_OUT], sum = 0;
  forward(out, vars, v, sinks);
  for (int i = 0; i < N_OUT; i++) sum += out[i] * (double)weights[i];
  return sum;
}

static mtk_attn_bwd_args backward_args(const mtk_kernels *k, const sequence *s, const variant *v) {
  mtk_attn_bwd_args a = {.q = s->q,
                         .k = s->k,
                         .v = s->v,
                         .ld_q = s->ld,
                         .ld_k = s->ld_k,
                         .ld_v = s->ld_v,
                         .ld_out = s->ld_out,
                         .n_tokens = s->n_tokens,
                         .window = v->window,
                         .head_dim = s->head_dim,
                         .v_dim = s->v_dim,
                         .group = s->group,
                         .bidirectional = v->bidirectional,
                         .scale = 1.0f / sqrtf((float)s->head_dim),
                         .softcap = v->softcap,
                         .sinks = v->with_sinks ? s->sinks : NULL};
  a.scratch = ck_floats((int64_t)k->attn_bwd_scratch_floats(&a), 0);
  return a;
}

static void backward(const mtk_kernels *k, const sequence *s, const variant *v, const float *d_out,
                     float *d_q, float *d_k, float *d_v) {
  mtk_attn_bwd_args a = backward_args(k, s, v);
  a.d_out = d_out, a.d_q = d_q, a.d_k = d_k, a.d_v = d_v;
  k->attention_bwd(&a);
}

static void check_oracle(const mtk_kernels *k, const variant *v) {
  sequence s = make(T, HD, VD, GROUP, MTK_F32, CK_NORMAL);
  s.ld = HD * GROUP, s.ld_out = VD * GROUP; /* plain layout, so that vars and floats match */
  s.ld_k = HD, s.ld_v = VD;
  float weights[N_OUT], out[N_OUT], d_vars[N_VARS];
  double vars[N_VARS], exact[N_OUT];
  ck_fill(weights, N_OUT, CK_NORMAL);
  for (int i = 0; i < N_Q; i++) vars[i] = (double)s.q[i];
  for (int i = 0; i < T * HD; i++) vars[N_Q + i] = (double)s.k[i];
  for (int i = 0; i < T * VD; i++) vars[N_Q + T * HD + i] = (double)s.v[i];
  store(k, &s, 0, T);
  attend(k, &s, out, 0, T, v);
  forward(exact, vars, v, s.sinks);
  for (int i = 0; i < N_OUT; i++) {
    if (!(fabs((double)out[i] - exact[i]) < 1e-6))
      ck_fail("attention %s [%d]: %g", variant_name(v), i, (double)out[i]);
  }
  backward(k, &s, v, weights, d_vars, d_vars + N_Q, d_vars + N_Q + T * HD);
  for (int i = 0; i < N_VARS; i++) {
    double keep = vars[i], h = 1e-5;
    vars[i] = keep + h;
    double up = loss(vars, weights, v, s.sinks);
    vars[i] = keep - h;
    double want = (up - loss(vars, weights, v, s.sinks)) / (2 * h);
    vars[i] = keep;
    if (!(fabs((double)d_vars[i] - want) < 1e-5)) {
      ck_fail("attention_bwd %s variable %d (q, k, v): got %.9g, central difference %.9g",
              variant_name(v), i, (double)d_vars[i], want);
    }
  }
  ck_free_all();
}

static void test_oracle(const mtk_kernels *k) {
  for (int v = 0; v < N_VARIANTS; v++) check_oracle(k, &variants[v]);
}

static void check_bwd(const mtk_kernels *k, int64_t n_tokens, int head_dim, int v_dim, int group,
                      const variant *v, ck_kind kind) {
  sequence s = make(n_tokens, head_dim, v_dim, group, MTK_F32, kind);
  const int64_t n_out = n_tokens * s.ld_out;
  const int64_t sizes[3] = {n_tokens * s.ld, n_tokens * s.ld_k, n_tokens * s.ld_v};
  static const char *const names[3] = {"d_q", "d_k", "d_v"};
  float *d_out = ck_floats(n_out, 3), *want[3], *got[3];
  ck_fill(d_out, n_out, kind == CK_HUGE ? CK_NORMAL : kind);
  for (int i = 0; i < 3; i++) {
    want[i] = ck_floats(sizes[i], 0);
    got[i] = ck_floats(sizes[i], (size_t)ck_range(0, 7));
  }
  backward(ck_ref(), &s, v, d_out, want[0], want[1], want[2]);
  backward(k, &s, v, d_out, got[0], got[1], got[2]);
  for (int i = 0; i < 3; i++) {
    ck_same(want[i], got[i], sizes[i], "attention_bwd %s T=%lld head_dim=%d/%d group=%d %s %s",
            names[i], (long long)n_tokens, head_dim, v_dim, group, variant_name(v),
            ck_kind_name(kind));
  }
  if (!ck_guards_ok()) ck_fail("attention_bwd: wrote outside its output");
  ck_free_all();
}

static void test_bwd(const mtk_kernels *k) {
  static const int64_t tokens[] = {1, 2, 11, 16, 24, 25, 64, 101};
  int turn = 0;
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++, turn++) {
      check_bwd(k, tokens[t], head_dims[i], head_dims[i], 1 + turn % 4, &variants[0],
                (ck_kind)(turn % CK_KINDS));
      check_bwd(k, tokens[t], head_dims[i], head_dims[turn % N_HEAD_DIMS], 1 + turn % 3,
                &variants[turn % N_VARIANTS], (ck_kind)(turn / 3 % CK_KINDS));
    }
  }
  for (int kind = 0; kind < CK_KINDS; kind++) {
    for (int v = 0; v < N_VARIANTS; v++) check_bwd(k, 77, 32, 24, 3, &variants[v], (ck_kind)kind);
    for (int v = 0; v < N_VARIANTS; v++)
      check_bwd(k, 259, 8, 16, 1 + (v + kind) % 3, &variants[v], (ck_kind)kind);
    check_bwd(k, 450, 16, 8, 2, &(variant){.window = 100 + kind}, (ck_kind)kind);
  }
}

/* An infinite value of the last token belongs to no earlier query. */
static void test_future(const mtk_kernels *k) {
  enum { N = 21, DIM = 8 };
  sequence s = make(N, DIM, DIM, 1, MTK_F32, CK_NORMAL);
  int64_t n_out = N * s.ld_out, n_q = N * s.ld;
  float *d_out = ck_floats(n_out, 0), *want = ck_floats(n_q, 0), *got = ck_floats(n_q, 0);
  float *d_k = ck_floats(N * s.ld_k, 0), *d_v = ck_floats(N * s.ld_v, 0);
  ck_fill(d_out, n_out, CK_NORMAL);
  s.v[(N - 1) * s.ld_v] = INFINITY;
  backward(ck_ref(), &s, &variants[0], d_out, want, d_k, d_v);
  backward(k, &s, &variants[0], d_out, got, d_k, d_v);
  ck_same(want, got, (N - 1) * s.ld, "d_q before an infinite value");
  want = ck_floats(n_out, 0), got = ck_floats(n_out, 0);
  store(k, &s, 0, N);
  attend(ck_ref(), &s, want, 0, N, &variants[0]);
  attend(k, &s, got, 0, N, &variants[0]);
  ck_same(want, got, (N - 1) * s.ld_out, "attention before an infinite value");
  for (int64_t t = 0; t < N - 1; t++) {
    for (int d = 0; d < DIM; d++) {
      if (!isfinite(got[t * s.ld_out + d]))
        ck_fail("a later value shows in token %lld", (long long)t);
    }
  }
  ck_free_all();
}

/* ---- bench ------------------------------------------------------------------------------- */

/* Decoding goes through as many KV heads as make MANY_BYTES of f32, one a call: pages come from
 * memory, as those of a model's many layers do. */
enum { MANY_BYTES = 192 << 20, MAX_HEADS = 256 };

typedef struct bench_case {
  const mtk_kernels *k;
  mtk_attn_args a[MAX_HEADS];
  int n_heads, next;
  mtk_attn_bwd_args b;
} bench_case;

static void run_forward(void *arg) {
  bench_case *b = arg;
  b->k->attention(&b->a[b->next]);
  b->next = (b->next + 1) % b->n_heads;
}
static void run_backward(void *arg) {
  bench_case *b = arg;
  b->k->attention_bwd(&b->b);
}

/* The pages of n heads as in an engine: all heads of MTK_KV_PAGE positions, then those of the next;
 * a head's keys before its values. */
static void make_heads(sequence *heads, int n, const sequence *first) {
  int64_t pages = (first->n_tokens + MTK_KV_PAGE - 1) / MTK_KV_PAGE;
  size_t k_bytes = mtk_kv_page_bytes(first->type, first->head_dim);
  size_t v_bytes = mtk_kv_page_bytes(first->type, first->v_dim);
  for (int i = 0; i < n; i++) {
    heads[i] = *first;
    heads[i].k_pages = ck_buf((size_t)pages * sizeof *heads->k_pages, 0);
    heads[i].v_pages = ck_buf((size_t)pages * sizeof *heads->v_pages, 0);
  }
  uint8_t *at = ck_buf((size_t)(pages * n) * (k_bytes + v_bytes), 0);
  for (int64_t p = 0; p < pages; p++) {
    for (int i = 0; i < n; i++, at += k_bytes + v_bytes) {
      heads[i].k_pages[p] = at;
      heads[i].v_pages[p] = at + k_bytes;
    }
  }
}

static void bench_forward(const mtk_kernels *k, int64_t ctx, int64_t count, int head_dim, int group,
                          mtk_dtype type) {
  sequence s = make(ctx, head_dim, head_dim, group, type, CK_NORMAL);
  float *out = ck_floats(ctx * s.ld_out, 0);
  bench_case b = {.k = k, .n_heads = 1};
  if (count == 1) b.n_heads = (int)(MANY_BYTES / (ctx * head_dim * 8));
  if (b.n_heads > MAX_HEADS) b.n_heads = MAX_HEADS;
  sequence heads[MAX_HEADS];
  make_heads(heads, b.n_heads, &s);
  for (int i = 0; i < b.n_heads; i++) {
    store(k, &heads[i], 0, ctx);
    b.a[i] = forward_args(k, &heads[i], out, ctx - count, count, &variants[0]);
  }
  double keys = 0;
  for (int64_t t = ctx - count; t < ctx; t++) keys += (double)t + 1;
  double seconds = ck_seconds(run_forward, &b);
  printf("%-7s attention %-7s %4lld queries at ctx %5lld, head_dim %3d group %d: %7.1f GFLOP/s",
         k->isa_name, mtk_dtype_get(type)->name, (long long)count, (long long)ctx, head_dim, group,
         keys * group * head_dim * 4 / seconds * 1e-9);
  double bytes = 2.0 / 64 * (double)ctx * (double)mtk_kv_page_bytes(type, head_dim);
  if (count == 1) printf(" %6.1f GB/s, %.1f us", bytes / seconds * 1e-9, seconds * 1e6);
  printf("\n");
  ck_free_all();
}

typedef struct store_case {
  const mtk_kernels *k;
  const sequence *s;
} store_case;

static void run_store(void *arg) {
  const store_case *c = arg;
  store(c->k, c->s, 0, c->s->n_tokens);
}

static void bench_store(const mtk_kernels *k, mtk_dtype type) {
  sequence s = make(512, 64, 64, 1, type, CK_NORMAL);
  store_case c = {k, &s};
  printf("%-7s kv_store %-7s 512 tokens, head_dim 64: %.2f ns a value\n", k->isa_name,
         mtk_dtype_get(type)->name, ck_seconds(run_store, &c) / (512 * 2 * 64) * 1e9);
  ck_free_all();
}

static void bench_backward(const mtk_kernels *k, int64_t n_tokens, int head_dim, int group,
                           variant v) {
  sequence s = make(n_tokens, head_dim, head_dim, group, MTK_F32, CK_NORMAL);
  bench_case b = {.k = k, .b = backward_args(k, &s, &v)};
  float *d_out = ck_floats(n_tokens * s.ld_out, 0);
  ck_fill(d_out, n_tokens * s.ld_out, CK_NORMAL);
  b.b.d_out = d_out;
  b.b.d_q = ck_floats(n_tokens * s.ld, 0);
  b.b.d_k = ck_floats(n_tokens * s.ld_k, 0);
  b.b.d_v = ck_floats(n_tokens * s.ld_v, 0);
  double pairs = 0;
  for (int64_t t = 1; t <= n_tokens; t++)
    pairs += (double)group * (double)(v.window > 0 && t > v.window ? v.window : t);
  double seconds = ck_seconds(run_backward, &b);
  printf("%-7s attention_bwd %4lld tokens, head_dim %3d group %d %s: %7.1f GFLOP/s\n", k->isa_name,
         (long long)n_tokens, head_dim, group, variant_name(&v),
         pairs * head_dim * 10 / seconds * 1e-9);
  ck_free_all();
}

static void bench(const mtk_kernels *k) {
  static const int shapes[][4] = {{512, 512, 64, 3},   {512, 512, 128, 4},  {4096, 512, 64, 3},
                                  {4096, 512, 128, 4}, {32768, 512, 64, 3}, {60, 60, 32, 1},
                                  {200, 200, 32, 1},   {1024, 1, 64, 3},    {4096, 1, 64, 3},
                                  {8192, 1, 64, 3},    {16384, 1, 64, 3},   {32768, 1, 64, 3},
                                  {4096, 1, 128, 4},   {4096, 1, 32, 1}};
  if (k == ck_ref()) return;
  for (int y = 0; y < N_TYPES; y++) bench_store(k, types[y]);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (int y = 0; y < N_TYPES; y++)
      bench_forward(k, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], types[y]);
  }
  bench_backward(k, 60, 32, 1, variants[0]);
  bench_backward(k, 200, 32, 1, variants[0]);
  bench_backward(k, 512, 64, 3, variants[0]);
  bench_backward(k, 2048, 64, 3, (variant){.window = 512});
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"kv_store", test_store, bench},         {"attention", test_attention, NULL},
      {"cache types", test_types, NULL},       {"long context", test_long, NULL},
      {"blocks of a step", test_blocks, NULL}, {"scratch", test_scratch, NULL},
      {"kv_store rounds", test_encode, NULL},
      {"attention_bwd", test_bwd, NULL},       {"future values", test_future, NULL},
      {"double precision", test_oracle, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
