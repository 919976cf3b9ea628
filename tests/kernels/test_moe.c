/* tests/kernels/test_moe.c: the kernels of mixtures of experts. Gates: every level against ref on
 * all kinds of data, and against double precision. Routing: against choices made by sorting in
 * double precision, ties, NaN, groups, and the weights' formulas. */
#include <math.h>
#include <string.h>

#include "checkker.h"

static const int64_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 100, 257};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* ---- gates ---------------------------------------------------------------------------------- */

static void same_gates(const mtk_kernels *k, int64_t n, ck_kind kind) {
  const mtk_kernels *ref = ck_ref();
  float *g = ck_floats(n, 1), *u = ck_floats(n, 3), *want = ck_floats(n, 0), *got = ck_floats(n, 5);
  ck_fill(g, n, kind);
  ck_fill(u, n, kind);
  ref->sigmoid(want, g, n);
  k->sigmoid(got, g, n);
  ck_same(want, got, n, "sigmoid n=%lld %s", (long long)n, ck_kind_name(kind));
  ref->swiglu_clamped(want, g, u, 1.702f, 7.0f, n);
  k->swiglu_clamped(got, g, u, 1.702f, 7.0f, n);
  ck_same(want, got, n, "swiglu_clamped n=%lld %s", (long long)n, ck_kind_name(kind));
  if (!ck_guards_ok()) ck_fail("gates n=%lld: wrote outside", (long long)n);
  ck_free_all();
}

static void test_same_gates(const mtk_kernels *k) {
  for (int i = 0; i < N_LENGTHS; i++)
    for (int kind = 0; kind < CK_ALL_KINDS; kind++) same_gates(k, lengths[i], (ck_kind)kind);
}

/* Values on both sides of the clamps. */
static void test_gate_formulas(const mtk_kernels *k) {
  enum { N = 401 };
  float g[N], u[N], y[N], s[N];
  for (int i = 0; i < N; i++) {
    g[i] = (float)(i - 200) / 10.0f;
    u[i] = (float)((i * 37) % N - 200) / 10.0f;
  }
  k->swiglu_clamped(y, g, u, 1.702f, 7.0f, N);
  k->sigmoid(s, g, N);
  for (int i = 0; i < N; i++) {
    double gi = fmin(g[i], 7.0), ui = fmin(fmax(u[i], -7.0), 7.0);
    double want = gi / (1.0 + exp(-(double)1.702f * gi)) * (ui + 1.0);
    if (fabs(y[i] - want) > 2e-6 * (fabs(want) + 0.01))
      ck_fail("swiglu_clamped(%g, %g) = %.9g, not %.9g", g[i], u[i], y[i], want);
    want = 1.0 / (1.0 + exp(-(double)g[i]));
    if (fabs(s[i] - want) > 1e-6 * want) ck_fail("sigmoid(%g) = %.9g, not %.9g", g[i], s[i], want);
  }
}

/* ---- routing -------------------------------------------------------------------------------- */

static double score_of(const float *logits, int64_t e, const mtk_route_args *a) {
  if (a->flags & MTK_ROUTE_SIGMOID) return 1.0 / (1.0 + exp(-(double)logits[e]));
  if (a->flags & MTK_ROUTE_SOFTMAX_CHOSEN) return logits[e];
  double sum = 0.0, mx = -INFINITY;
  for (int64_t i = 0; i < a->n_expert; i++) mx = fmax(mx, logits[i]);
  for (int64_t i = 0; i < a->n_expert; i++) sum += exp((double)logits[i] - mx);
  return exp((double)logits[e] - mx) / sum;
}

/* Is the group of expert e among the used ones? */
static int group_open(const double *choice, int64_t e, const mtk_route_args *a) {
  if (a->n_group <= 1) return 1;
  int64_t size = a->n_expert / a->n_group, better = 0;
  double rank[64];
  for (int64_t g = 0; g < a->n_group; g++) {
    double first = -INFINITY, second = -INFINITY;
    for (int64_t i = g * size; i < (g + 1) * size; i++) {
      double v = choice[i];
      if (v > first) second = first, first = v;
      else if (v > second) second = v;
    }
    rank[g] = a->flags & MTK_ROUTE_GROUP_TOP2 ? first + second : first;
  }
  for (int64_t g = 0; g < a->n_group; g++) better += rank[g] > rank[e / size];
  return better < a->n_group_used;
}

static void check_route(const mtk_kernels *k, const mtk_route_args *a) {
  float logits[64], weights[16], ids[16];
  double choice[64], chosen[16], sum = 0.0;
  unsigned char used[64] = {0};
  for (int64_t e = 0; e < a->n_expert; e++) logits[e] = 2.0f * ck_normal();
  k->route(weights, ids, logits, a);
  for (int64_t e = 0; e < a->n_expert; e++)
    choice[e] = score_of(logits, e, a) + (a->bias ? (double)a->bias[e] : 0.0);
  for (int64_t s = 0; s < a->n_slot; s++) {
    int64_t best = -1;
    for (int64_t e = 0; e < a->n_expert; e++)
      if (!used[e] && group_open(choice, e, a) && (best < 0 || choice[e] > choice[best])) best = e;
    used[best] = 1;
    if ((int64_t)ids[s] != best)
      ck_fail("route flags=%u groups=%d slot %d: expert %g, not %d", a->flags, (int)a->n_group,
              (int)s, (double)ids[s], (int)best);
    chosen[s] = score_of(logits, best, a);
    if (a->flags & MTK_ROUTE_SOFTMAX_CHOSEN) chosen[s] = exp(chosen[s]);
    sum += chosen[s];
  }
  int divide = a->flags & (MTK_ROUTE_NORM | MTK_ROUTE_SOFTMAX_CHOSEN);
  for (int64_t s = 0; s < a->n_slot; s++) {
    double want = chosen[s] / (divide ? sum : 1.0) * (double)a->scale;
    if (fabs(weights[s] - want) > 2e-6 * fabs(want))
      ck_fail("route flags=%u slot %d: weight %.9g, not %.9g", a->flags, (int)s, weights[s], want);
  }
}

static void test_route(const mtk_kernels *k) {
  float bias[64];
  static const unsigned flags[] = {0, MTK_ROUTE_NORM, MTK_ROUTE_SOFTMAX_CHOSEN,
                                   MTK_ROUTE_SIGMOID | MTK_ROUTE_NORM | MTK_ROUTE_GROUP_TOP2};
  for (int round = 0; round < 200; round++) {
    for (int i = 0; i < 64; i++) bias[i] = 0.3f * ck_normal();
    mtk_route_args a = {.n_expert = 8 * ck_range(1, 8), .flags = flags[round % 4], .scale = 1.0f};
    a.n_slot = ck_range(1, a.n_expert < 8 ? a.n_expert : 8);
    if (round % 3 == 0) a.bias = bias;
    if (round % 5 == 0) a.scale = 2.5f;
    if (round % 4 == 3 && a.n_expert >= 16) {
      a.n_group = 8;
      a.n_group_used = 4;
    }
    check_route(k, &a);
  }
}

/* Of equal scores the lowest id, and numbers before NaN. */
static void test_route_ties(const mtk_kernels *k) {
  float weights[4], ids[4];
  const float equal[6] = {1, 3, 3, 0, 3, 2};
  mtk_route_args a = {.n_expert = 6, .n_slot = 4, .flags = MTK_ROUTE_NORM, .scale = 1.0f};
  k->route(weights, ids, equal, &a);
  const float want[4] = {1, 2, 4, 5};
  if (memcmp(ids, want, sizeof want) != 0)
    ck_fail("ties: %g %g %g %g", ids[0], ids[1], ids[2], ids[3]);
  const float broken[6] = {NAN, 1, NAN, 2, 0, NAN};
  a.flags = MTK_ROUTE_SIGMOID;
  k->route(weights, ids, broken, &a);
  const float last[4] = {3, 1, 4, 0};
  if (memcmp(ids, last, sizeof last) != 0)
    ck_fail("NaN: %g %g %g %g", ids[0], ids[1], ids[2], ids[3]);
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"gates_same", test_same_gates, NULL},
      {"gates_formulas", test_gate_formulas, NULL},
      {"route", test_route, NULL},
      {"route_ties", test_route_ties, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
