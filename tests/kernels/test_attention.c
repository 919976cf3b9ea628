/* tests/kernels/test_attention.c: KV store, attention and its derivative.
 *
 * Every level against ref over head sizes, groups, windows, positions and kinds of data; a prompt
 * fed whole against the same prompt in chunks of 1, 7 and 64; values against double precision;
 * derivatives against central differences of a double-precision forward pass. --bench prints
 * GFLOP/s (prefill, derivative) and GB/s of K and V (decode). */
#include <math.h>
#include <string.h>

#include "checkker.h"

/* One KV head with its cache and the queries of its group for a whole sequence. */
typedef struct sequence {
  int64_t n_tokens, ld;
  int head_dim, group;
  float *k, *v, *q; /* plain rows: k, v [n_tokens][ld_kv], q [n_tokens][ld] */
  int64_t ld_kv;
  float **k_pages, **v_pages;
} sequence;

/* Pages start as NaN: a kernel that lets unwritten positions into a result shows. */
static sequence make(int64_t n_tokens, int head_dim, int group, ck_kind kind) {
  sequence s = {.n_tokens = n_tokens, .head_dim = head_dim, .group = group};
  s.ld = (int64_t)head_dim * group + ck_range(0, 5);
  s.ld_kv = head_dim + ck_range(0, 5);
  s.k = ck_floats(n_tokens * s.ld_kv, (size_t)ck_range(0, 7));
  s.v = ck_floats(n_tokens * s.ld_kv, (size_t)ck_range(0, 7));
  s.q = ck_floats(n_tokens * s.ld, (size_t)ck_range(0, 7));
  ck_fill(s.k, n_tokens * s.ld_kv, kind);
  ck_fill(s.v, n_tokens * s.ld_kv, kind);
  ck_fill(s.q, n_tokens * s.ld, kind);
  int64_t pages = (n_tokens + MTK_KV_PAGE - 1) / MTK_KV_PAGE;
  s.k_pages = ck_buf((size_t)pages * sizeof *s.k_pages, 0);
  s.v_pages = ck_buf((size_t)pages * sizeof *s.v_pages, 0);
  for (int64_t p = 0; p < pages; p++) {
    s.k_pages[p] = ck_floats((int64_t)MTK_KV_PAGE * head_dim, 0);
    s.v_pages[p] = ck_floats((int64_t)MTK_KV_PAGE * head_dim, 0);
    memset(s.k_pages[p], 0xff, (size_t)(MTK_KV_PAGE * head_dim) * sizeof(float));
    memset(s.v_pages[p], 0xff, (size_t)(MTK_KV_PAGE * head_dim) * sizeof(float));
  }
  return s;
}

static void store(const mtk_kernels *k, const sequence *s, int64_t from, int64_t count) {
  k->kv_store(s->k_pages, s->v_pages, s->k + from * s->ld_kv, s->v + from * s->ld_kv, s->ld_kv,
              count, from, s->head_dim);
}

/* Attention of tokens from..from+count into out rows of the whole sequence. */
static void attend(const mtk_kernels *k, const sequence *s, float *out, int64_t from, int64_t count,
                   int64_t window) {
  size_t floats = k->attn_scratch_floats(s->head_dim, s->group, count, from);
  mtk_attn_args a = {.out = out + from * s->ld,
                     .ld_out = s->ld,
                     .q = s->q + from * s->ld,
                     .ld_q = s->ld,
                     .k_pages = (const float *const *)s->k_pages,
                     .v_pages = (const float *const *)s->v_pages,
                     .n_tokens = count,
                     .pos0 = from,
                     .window = window,
                     .head_dim = s->head_dim,
                     .group = s->group,
                     .scale = 1.0f / sqrtf((float)s->head_dim),
                     .scratch = ck_floats((int64_t)floats, 0)};
  k->attention(&a);
}

static void check_case(const mtk_kernels *k, int64_t n_tokens, int head_dim, int group,
                       int64_t window, ck_kind kind) {
  static const int64_t chunks[] = {1, 7, 64};
  sequence s = make(n_tokens, head_dim, group, kind);
  int64_t n = n_tokens * s.ld;
  float *want = ck_floats(n, 0), *got = ck_floats(n, 0);
  store(ck_ref(), &s, 0, n_tokens);
  attend(ck_ref(), &s, want, 0, n_tokens, window);
  attend(k, &s, got, 0, n_tokens, window);
  ck_same(want, got, n, "attention T=%lld head_dim=%d group=%d window=%lld %s", (long long)n_tokens,
          head_dim, group, (long long)window, ck_kind_name(kind));
  for (int c = 0; c < 3; c++) {
    float *split = ck_floats(n, 0);
    for (int64_t t = 0; t < n_tokens; t += chunks[c]) {
      int64_t count = n_tokens - t < chunks[c] ? n_tokens - t : chunks[c];
      attend(k, &s, split, t, count, window);
    }
    ck_same(want, split, n, "attention in chunks of %lld T=%lld head_dim=%d group=%d window=%lld",
            (long long)chunks[c], (long long)n_tokens, head_dim, group, (long long)window);
  }
  if (!ck_guards_ok()) ck_fail("attention head_dim=%d: wrote outside its output", head_dim);
  ck_free_all();
}

static const int head_dims[] = {1, 8, 20, 32, 33, 40, 64, 80, 128};
enum { N_HEAD_DIMS = sizeof head_dims / sizeof *head_dims };

static void test_attention(const mtk_kernels *k) {
  static const int64_t tokens[] = {1, 2, 13, 64, 65, 97, 150};
  static const int64_t windows[] = {0, 1, 5, 16, 50, 64};
  int turn = 0;
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++, turn++) {
      check_case(k, tokens[t], head_dims[i], 1 + turn % 4, 0, (ck_kind)(turn % CK_KINDS));
      check_case(k, tokens[t], head_dims[i], 1 + turn % 3, windows[turn % 6],
                 (ck_kind)(turn / 2 % CK_KINDS));
    }
  }
  check_case(k, 70, 16, 13, 0, CK_NORMAL);
  check_case(k, 300, 64, 3, 0, CK_NORMAL);
  check_case(k, 300, 32, 2, 100, CK_WIDE);
}

static void test_store(const mtk_kernels *k) {
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    sequence s = make(150, head_dims[i], 1, CK_NORMAL);
    for (int64_t t = 0, count; t < s.n_tokens; t += count) {
      count = ck_range(1, 40);
      if (count > s.n_tokens - t) count = s.n_tokens - t;
      store(k, &s, t, count);
    }
    for (int64_t t = 0; t < s.n_tokens; t++) {
      int64_t at = t % MTK_KV_PAGE, hd = s.head_dim;
      const float *kp = s.k_pages[t / MTK_KV_PAGE], *vp = s.v_pages[t / MTK_KV_PAGE];
      for (int64_t d = 0; d < hd; d++) {
        if (kp[at / 16 * hd * 16 + d * 16 + at % 16] != s.k[t * s.ld_kv + d])
          ck_fail("kv_store: K of position %lld", (long long)t);
      }
      ck_same(s.v + t * s.ld_kv, vp + at * hd, hd, "kv_store: V of position %lld", (long long)t);
    }
    if (!ck_guards_ok()) ck_fail("kv_store: wrote outside the pages");
    ck_free_all();
  }
}

/* ---- double precision -------------------------------------------------------------------- */

enum { T = 9, HD = 6, GROUP = 2 };

/* q [T][GROUP][HD], then k, v [T][HD]: one vector of variables. */
enum { N_Q = T * GROUP * HD, N_KV = T * HD, N_VARS = N_Q + 2 * N_KV };

static void forward(double *out, const double *vars) {
  const double *q = vars, *k = vars + N_Q, *v = k + N_KV, scale = 1 / sqrt(HD);
  for (int r = 0; r < T * GROUP; r++) {
    double p[T], den = 0;
    for (int j = 0; j <= r / GROUP; j++) {
      double s = 0;
      for (int d = 0; d < HD; d++) s += q[r * HD + d] * k[j * HD + d];
      den += p[j] = exp(s * scale);
    }
    for (int d = 0; d < HD; d++) {
      out[r * HD + d] = 0;
      for (int j = 0; j <= r / GROUP; j++) out[r * HD + d] += p[j] / den * v[j * HD + d];
    }
  }
}

static double loss(const double *vars, const float *weights) {
  double out[N_Q], sum = 0;
  forward(out, vars);
  for (int i = 0; i < N_Q; i++) sum += out[i] * (double)weights[i];
  return sum;
}

static void backward(const mtk_kernels *k, const sequence *s, const float *d_out, float *d_q,
                     float *d_k, float *d_v) {
  size_t floats = k->attn_bwd_scratch_floats(s->head_dim, s->group, s->n_tokens);
  mtk_attn_bwd_args a = {.d_q = d_q,
                         .d_k = d_k,
                         .d_v = d_v,
                         .d_out = d_out,
                         .q = s->q,
                         .k = s->k,
                         .v = s->v,
                         .ld_q = s->ld,
                         .ld_kv = s->ld_kv,
                         .ld_out = s->ld,
                         .n_tokens = s->n_tokens,
                         .head_dim = s->head_dim,
                         .group = s->group,
                         .scale = 1.0f / sqrtf((float)s->head_dim),
                         .scratch = ck_floats((int64_t)floats, 0)};
  k->attention_bwd(&a);
}

static void test_oracle(const mtk_kernels *k) {
  sequence s = make(T, HD, GROUP, CK_NORMAL);
  s.ld = HD * GROUP; /* plain layout, so that vars and floats match */
  s.ld_kv = HD;
  float weights[N_Q], out[N_Q], d_vars[N_VARS];
  double vars[N_VARS], exact[N_Q];
  ck_fill(weights, N_Q, CK_NORMAL);
  for (int i = 0; i < N_Q; i++) vars[i] = (double)s.q[i];
  for (int i = 0; i < N_KV; i++) {
    vars[N_Q + i] = (double)s.k[i];
    vars[N_Q + N_KV + i] = (double)s.v[i];
  }
  store(k, &s, 0, T);
  attend(k, &s, out, 0, T, 0);
  forward(exact, vars);
  for (int i = 0; i < N_Q; i++) {
    if (!(fabs((double)out[i] - exact[i]) < 1e-6)) ck_fail("attention [%d]: %g", i, (double)out[i]);
  }
  backward(k, &s, weights, d_vars, d_vars + N_Q, d_vars + N_Q + N_KV);
  for (int i = 0; i < N_VARS; i++) {
    double keep = vars[i], h = 1e-5;
    vars[i] = keep + h;
    double up = loss(vars, weights);
    vars[i] = keep - h;
    double want = (up - loss(vars, weights)) / (2 * h);
    vars[i] = keep;
    if (!(fabs((double)d_vars[i] - want) < 1e-5)) {
      ck_fail("attention_bwd variable %d (q, k, v): got %.9g, central difference %.9g", i,
              (double)d_vars[i], want);
    }
  }
  ck_free_all();
}

static void check_bwd(const mtk_kernels *k, int64_t n_tokens, int head_dim, int group,
                      ck_kind kind) {
  sequence s = make(n_tokens, head_dim, group, kind);
  int64_t n_q = n_tokens * s.ld, n_kv = n_tokens * s.ld_kv;
  float *d_out = ck_floats(n_q, 3), *want[3], *got[3];
  const int64_t sizes[3] = {n_q, n_kv, n_kv};
  static const char *const names[3] = {"d_q", "d_k", "d_v"};
  ck_fill(d_out, n_q, kind == CK_HUGE ? CK_NORMAL : kind);
  for (int i = 0; i < 3; i++) {
    want[i] = ck_floats(sizes[i], 0);
    got[i] = ck_floats(sizes[i], (size_t)ck_range(0, 7));
  }
  backward(ck_ref(), &s, d_out, want[0], want[1], want[2]);
  backward(k, &s, d_out, got[0], got[1], got[2]);
  for (int i = 0; i < 3; i++) {
    ck_same(want[i], got[i], sizes[i], "attention_bwd %s T=%lld head_dim=%d group=%d %s", names[i],
            (long long)n_tokens, head_dim, group, ck_kind_name(kind));
  }
  if (!ck_guards_ok()) ck_fail("attention_bwd: wrote outside its output");
  ck_free_all();
}

static void test_bwd(const mtk_kernels *k) {
  static const int64_t tokens[] = {1, 2, 11, 16, 24, 25, 64, 101};
  int turn = 0;
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++, turn++) {
      check_bwd(k, tokens[t], head_dims[i], 1 + turn % 4, (ck_kind)(turn % CK_KINDS));
    }
  }
  for (int kind = 0; kind < CK_KINDS; kind++) check_bwd(k, 77, 32, 3, (ck_kind)kind);
}

/* An infinite value of the last token belongs to no earlier query. */
static void test_future(const mtk_kernels *k) {
  enum { N = 21, DIM = 8 };
  sequence s = make(N, DIM, 1, CK_NORMAL);
  int64_t n_q = N * s.ld, n_kv = N * s.ld_kv;
  float *d_out = ck_floats(n_q, 0), *want = ck_floats(n_q, 0), *got = ck_floats(n_q, 0);
  float *d_k = ck_floats(n_kv, 0), *d_v = ck_floats(n_kv, 0);
  ck_fill(d_out, n_q, CK_NORMAL);
  s.v[(N - 1) * s.ld_kv] = INFINITY;
  backward(ck_ref(), &s, d_out, want, d_k, d_v);
  backward(k, &s, d_out, got, d_k, d_v);
  ck_same(want, got, (N - 1) * s.ld, "d_q before an infinite value");
  store(k, &s, 0, N);
  attend(ck_ref(), &s, want, 0, N, 0);
  attend(k, &s, got, 0, N, 0);
  ck_same(want, got, (N - 1) * s.ld, "attention before an infinite value");
  for (int64_t t = 0; t < N - 1; t++) {
    for (int d = 0; d < DIM; d++) {
      if (!isfinite(got[t * s.ld + d])) ck_fail("a later value shows in token %lld", (long long)t);
    }
  }
  ck_free_all();
}

/* ---- bench ------------------------------------------------------------------------------- */

typedef struct bench_case {
  const mtk_kernels *k;
  mtk_attn_args a;
  mtk_attn_bwd_args b;
} bench_case;

static void run_forward(void *arg) {
  bench_case *b = arg;
  b->k->attention(&b->a);
}
static void run_backward(void *arg) {
  bench_case *b = arg;
  b->k->attention_bwd(&b->b);
}

static bench_case bench_setup(const mtk_kernels *k, sequence *s, int64_t count) {
  int64_t pos0 = s->n_tokens - count, n = s->n_tokens * s->ld;
  bench_case b = {.k = k};
  store(k, s, 0, s->n_tokens);
  b.a = (mtk_attn_args){.out = ck_floats(n, 0),
                        .ld_out = s->ld,
                        .q = s->q,
                        .ld_q = s->ld,
                        .k_pages = (const float *const *)s->k_pages,
                        .v_pages = (const float *const *)s->v_pages,
                        .n_tokens = count,
                        .pos0 = pos0,
                        .head_dim = s->head_dim,
                        .group = s->group,
                        .scale = 0.125f};
  b.a.scratch = ck_floats((int64_t)k->attn_scratch_floats(s->head_dim, s->group, count, pos0), 0);
  return b;
}

static void bench_forward(const mtk_kernels *k, int64_t ctx, int64_t count, int head_dim,
                          int group) {
  sequence s = make(ctx, head_dim, group, CK_NORMAL);
  bench_case b = bench_setup(k, &s, count);
  double keys = 0;
  for (int64_t t = ctx - count; t < ctx; t++) keys += (double)t + 1;
  double seconds = ck_seconds(run_forward, &b);
  printf("%-7s attention %4lld queries at ctx %5lld, head_dim %3d group %d: %7.1f GFLOP/s",
         k->isa_name, (long long)count, (long long)ctx, head_dim, group,
         keys * group * head_dim * 4 / seconds * 1e-9);
  if (count == 1) printf(" %6.1f GB/s", (double)ctx * head_dim * 8 / seconds * 1e-9);
  printf("\n");
  ck_free_all();
}

static void bench_backward(const mtk_kernels *k, int64_t n_tokens, int head_dim, int group) {
  sequence s = make(n_tokens, head_dim, group, CK_NORMAL);
  bench_case b = {.k = k};
  int64_t n_q = n_tokens * s.ld, n_kv = n_tokens * s.ld_kv;
  b.b = (mtk_attn_bwd_args){.d_q = ck_floats(n_q, 0),
                            .d_k = ck_floats(n_kv, 0),
                            .d_v = ck_floats(n_kv, 0),
                            .d_out = s.q,
                            .q = s.q,
                            .k = s.k,
                            .v = s.v,
                            .ld_q = s.ld,
                            .ld_kv = s.ld_kv,
                            .ld_out = s.ld,
                            .n_tokens = n_tokens,
                            .head_dim = head_dim,
                            .group = group,
                            .scale = 0.125f};
  b.b.scratch = ck_floats((int64_t)k->attn_bwd_scratch_floats(head_dim, group, n_tokens), 0);
  double pairs = (double)n_tokens * (double)(n_tokens + 1) / 2 * group;
  double seconds = ck_seconds(run_backward, &b);
  printf("%-7s attention_bwd %4lld tokens, head_dim %3d group %d: %7.1f GFLOP/s\n", k->isa_name,
         (long long)n_tokens, head_dim, group, pairs * head_dim * 10 / seconds * 1e-9);
  ck_free_all();
}

static void bench(const mtk_kernels *k) {
  static const int shapes[][4] = {{512, 512, 64, 3},   {512, 512, 128, 4}, {4096, 512, 64, 3},
                                  {4096, 512, 128, 4}, {60, 60, 32, 1},    {200, 200, 32, 1},
                                  {4096, 1, 64, 3},    {4096, 1, 128, 4},  {4096, 1, 32, 1}};
  if (k == ck_ref()) return;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    bench_forward(k, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]);
  }
  bench_backward(k, 60, 32, 1);
  bench_backward(k, 200, 32, 1);
  bench_backward(k, 512, 64, 3);
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"kv_store", test_store, bench},         {"attention", test_attention, NULL},
      {"attention_bwd", test_bwd, NULL},       {"future values", test_future, NULL},
      {"double precision", test_oracle, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
