/* kernels/ref/moe.c: what the kernels of mixtures of experts mean: the choice of experts and the
 * gates. Plain C to be read beside <mtk/kernel.h>. Pure functions, any thread. */
#include <math.h>

#include "families.h"
#include "ref/sum16.h"

static float sigmoid(float x) { return 1.0f / (1.0f + mtk_math_expf(-x)); }

static void mtk_k_sigmoid__ref(float *y, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = sigmoid(x[i]);
}

static void mtk_k_swiglu_clamped__ref(float *y, const float *g, const float *u, float alpha,
                                      float limit, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float gi = g[i] > limit ? limit : g[i];
    float ui = u[i] > limit ? limit : u[i] < -limit ? -limit : u[i];
    y[i] = gi / (1.0f + mtk_math_expf(-(alpha * gi))) * (ui + 1.0f);
  }
}

/* ---- routing -------------------------------------------------------------------------------- */

static void softmax(float *p, int64_t n) {
  float mx = -INFINITY, part[16] = {0};
  for (int64_t i = 0; i < n; i++) mx = p[i] > mx ? p[i] : mx;
  for (int64_t i = 0; i < n; i++) {
    p[i] = mtk_math_expf(p[i] - mx);
    part[i % 16] += p[i];
  }
  float inv = 1.0f / mtk_ref_tree16(part);
  for (int64_t i = 0; i < n; i++) p[i] *= inv;
}

/* The largest of the items not yet taken, the lowest index among equals; NaN loses to all. */
static int64_t take_largest(const float *score, unsigned char *taken, int64_t n) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; i++) {
    if (taken[i]) continue;
    if (best < 0 || score[i] > score[best] || (isnan(score[best]) && !isnan(score[i]))) best = i;
  }
  taken[best] = 1;
  return best;
}

/* What a group of experts is ranked by: its best choice, or the sum of its two best. */
static float group_score(const float *choice, int64_t n, int sum_of_two) {
  float first = -INFINITY, second = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    if (choice[i] > first) {
      second = first;
      first = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return sum_of_two && n > 1 ? first + second : first;
}

/* Experts of all but the best groups count as taken. */
static void close_groups(unsigned char *taken, const float *choice, const mtk_route_args *a) {
  int64_t size = a->n_expert / a->n_group;
  float score[MTK_MAX_EXPERT];
  unsigned char open[MTK_MAX_EXPERT] = {0};
  for (int64_t g = 0; g < a->n_group; g++)
    score[g] = group_score(choice + g * size, size, a->flags & MTK_ROUTE_GROUP_TOP2);
  for (int64_t i = 0; i < a->n_group_used; i++) take_largest(score, open, a->n_group);
  for (int64_t e = 0; e < a->n_expert; e++) taken[e] = !open[e / size];
}

static void mtk_k_route__ref(float *weights, float *ids, const float *logits,
                             const mtk_route_args *a) {
  float score[MTK_MAX_EXPERT], choice[MTK_MAX_EXPERT], sum = 0.0f;
  unsigned char taken[MTK_MAX_EXPERT] = {0};
  for (int64_t e = 0; e < a->n_expert; e++)
    score[e] = a->flags & MTK_ROUTE_SIGMOID ? sigmoid(logits[e]) : logits[e];
  if (!(a->flags & (MTK_ROUTE_SIGMOID | MTK_ROUTE_SOFTMAX_CHOSEN))) softmax(score, a->n_expert);
  for (int64_t e = 0; e < a->n_expert; e++) choice[e] = a->bias ? score[e] + a->bias[e] : score[e];
  if (a->n_group > 1) close_groups(taken, choice, a);
  for (int64_t s = 0; s < a->n_slot; s++) {
    int64_t e = take_largest(choice, taken, a->n_expert);
    ids[s] = (float)e;
    weights[s] = score[e];
  }
  if (a->flags & MTK_ROUTE_SOFTMAX_CHOSEN) softmax(weights, a->n_slot);
  for (int64_t s = 0; s < a->n_slot; s++) sum += weights[s];
  for (int64_t s = 0; s < a->n_slot; s++) {
    if (a->flags & MTK_ROUTE_NORM) weights[s] /= sum + 1e-20f;
    weights[s] *= a->scale;
  }
}

void mtk_k_moe_init__ref(mtk_kernels *table) {
  table->sigmoid = mtk_k_sigmoid__ref;
  table->swiglu_clamped = mtk_k_swiglu_clamped__ref;
  table->route = mtk_k_route__ref;
}
