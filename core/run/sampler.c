/* sampler.c: penalties, temperature, top-k, top-p, min-p, and the draw. Candidates are ranked by
 * (scaled logit descending, id ascending); sums are in double, of candidates in that order, of
 * whole rows block by block. One thread a sampler. */
#include "run/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/internal.h"

/* A row is looked through in blocks, most of which hold nothing of interest, and a block in lanes
 * side by side. */
enum { BLOCK = 128, LANES = 32 };

mtk_status mtk_sampler_init(mtk_sampler *s, const mtk_kernels *kernels, int64_t vocab,
                            mtk_error *err) {
  const size_t n = (size_t)vocab, blocks = n / BLOCK + 1;
  *s = (mtk_sampler){.kernels = kernels, .vocab = vocab};
  s->bytes = blocks * (sizeof *s->block_sum + sizeof *s->block_most) +
             n * (sizeof *s->candidates + sizeof *s->x + sizeof *s->p);
  s->block_sum = mtk_alloc_pages(s->bytes);
  if (!s->block_sum) return mtk_fail(err, MTK_E_NOMEM, "sampler", "out of memory for a sampler");
  s->candidates = (mtk_candidate *)(void *)(s->block_sum + blocks);
  s->x = (float *)(void *)(s->candidates + n);
  s->p = s->x + n;
  s->block_most = s->p + n;
  return MTK_OK;
}

void mtk_sampler_finish(mtk_sampler *s) {
  mtk_free_pages(s->block_sum, s->bytes);
  *s = (mtk_sampler){0};
}

mtk_status mtk_sampling_check(const mtk_sampling *o, mtk_error *err) {
  const struct {
    const char *name;
    double value, min, max;
  } ranges[] = {{"temperature", (double)o->temperature, 0.0, 1e6},
                {"top_k", o->top_k, 0.0, INT32_MAX},
                {"top_p", (double)o->top_p, 0.0, 1.0},
                {"min_p", (double)o->min_p, 0.0, 1.0},
                {"repetition_penalty", (double)o->repetition_penalty, 1e-3, 1e3},
                {"frequency_penalty", (double)o->frequency_penalty, -1e3, 1e3},
                {"presence_penalty", (double)o->presence_penalty, -1e3, 1e3}};
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max))
      return mtk_fail(err, MTK_E_INVALID, ranges[i].name, "%g is outside %g to %g",
                      ranges[i].value, ranges[i].min, ranges[i].max);
  return MTK_OK;
}

static bool differs(float a, float b) { return a < b || a > b; }

bool mtk_sampling_needs_counts(const mtk_sampling *o) {
  return differs(o->repetition_penalty, 1.0f) || differs(o->frequency_penalty, 0.0f) ||
         differs(o->presence_penalty, 0.0f);
}

/* Repetition: Keskar et al. 2019, section 4.1; frequency and presence: OpenAI API reference. */
static void apply_penalties(float *x, const mtk_sampling *o, const uint32_t *counts, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (counts[i] == 0) continue;
    x[i] = x[i] > 0.0f ? x[i] / o->repetition_penalty : x[i] * o->repetition_penalty;
    uint32_t generated = counts[i] & ~MTK_IN_PROMPT;
    if (generated > 0) x[i] -= (float)generated * o->frequency_penalty + o->presence_penalty;
  }
}

static float largest(const float *x, int64_t n) {
  float lanes[LANES], most = -INFINITY;
  int64_t i = 0;
  for (int j = 0; j < LANES; j++) lanes[j] = -INFINITY;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (; i < n; i++) most = x[i] > most ? x[i] : most;
  for (int j = 0; j < LANES; j++) most = lanes[j] > most ? lanes[j] : most;
  return most;
}

static int64_t block_end(int64_t begin, int64_t n) { return begin + BLOCK < n ? begin + BLOCK : n; }

/* Of every block of a row, which is looked through from here on. */
static void find_block_most(mtk_sampler *s, const float *x) {
  for (int64_t i = 0; i < s->vocab; i += BLOCK)
    s->block_most[i / BLOCK] = largest(x + i, block_end(i, s->vocab) - i);
}

/* The first of the largest, by the block_most of x; 0 if there are but NaNs. */
static int32_t find_best(const mtk_sampler *s, const float *x) {
  float most = -INFINITY;
  int64_t at = 0;
  for (int64_t i = 0; i < s->vocab; i += BLOCK)
    if (s->block_most[i / BLOCK] > most) most = s->block_most[i / BLOCK], at = i;
  for (; at < s->vocab; at++)
    if (x[at] >= most) return (int32_t)at;
  return 0;
}

/* The first i from `from` on with x[i] >= least, or vocab. */
static int64_t find_from(const mtk_sampler *s, const float *x, int64_t from, float least) {
  while (from < s->vocab) {
    int64_t end = block_end(from - from % BLOCK, s->vocab);
    if (s->block_most[from / BLOCK] >= least) {
      for (; from < end; from++)
        if (x[from] >= least) return from;
    }
    from = end;
  }
  return from;
}

/* Sum of up to BLOCK probabilities, in lanes: an order of its own, the same everywhere. */
static double block_sum(const float *p, int64_t n) {
  double lanes[8] = {0.0};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; j++) lanes[j] += (double)p[i + j];
  for (; i < n; i++) lanes[i % 8] += (double)p[i];
  for (int width = 4; width > 0; width /= 2)
    for (int j = 0; j < width; j++) lanes[j] += lanes[j + width];
  return lanes[0];
}

/* Of p: of every block; returns that of all. */
static double find_block_sums(mtk_sampler *s) {
  double sum = 0.0;
  for (int64_t i = 0; i < s->vocab; i += BLOCK)
    sum += s->block_sum[i / BLOCK] = block_sum(s->p + i, block_end(i, s->vocab) - i);
  return sum;
}

static bool ranks_before(const mtk_candidate *a, const mtk_candidate *b) {
  return a->x > b->x || (a->x >= b->x && a->id < b->id);
}

static int compare_rank(const void *a, const void *b) { return ranks_before(a, b) ? -1 : 1; }

/* Restore the heap (worst rank on top) downwards from `at`. */
static void sink(mtk_candidate *heap, int64_t n, int64_t at) {
  for (;;) {
    int64_t worst = at, child = 2 * at + 1;
    for (int64_t c = child; c < child + 2 && c < n; c++)
      if (ranks_before(&heap[worst], &heap[c])) worst = c;
    if (worst == at) return;
    mtk_candidate swap = heap[at];
    heap[at] = heap[worst];
    heap[worst] = swap;
    at = worst;
  }
}

/* The k best candidates of the row, sorted, by the block_most of x; k in 1..vocab. */
static int64_t gather_top_k(mtk_sampler *s, int64_t k) {
  mtk_candidate *heap = s->candidates;
  for (int64_t i = 0; i < k; i++) heap[i] = (mtk_candidate){(int32_t)i, s->x[i], s->p[i]};
  for (int64_t j = k / 2; j-- > 0;) sink(heap, k, j);
  for (int64_t i = k; (i = find_from(s, s->x, i, heap[0].x)) < s->vocab; i++) {
    if (!(s->x[i] > heap[0].x)) continue; /* equal ones with lower ids stay */
    heap[0] = (mtk_candidate){(int32_t)i, s->x[i], s->p[i]};
    sink(heap, k, 0);
  }
  qsort(heap, (size_t)k, sizeof *heap, compare_rank);
  return k;
}

/* Candidates whose probability is at least `least`, in id order, by the block_most of p. */
static int64_t gather_likely(mtk_sampler *s, float least) {
  int64_t n = 0;
  for (int64_t i = 0; (i = find_from(s, s->p, i, least)) < s->vocab; i++)
    s->candidates[n++] = (mtk_candidate){(int32_t)i, s->x[i], s->p[i]};
  return n;
}

static double sum_of(const mtk_candidate *c, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) sum += (double)c[i].p;
  return sum;
}

/* The smallest head of the sorted candidates that holds top_p of `sum` (Holtzman et al. 2020). */
static int64_t cut_top_p(const mtk_candidate *c, int64_t n, double top_p, double sum) {
  double head = 0.0;
  for (int64_t i = 0; i < n; i++) {
    head += (double)c[i].p;
    if (head >= top_p * sum) return i + 1;
  }
  return n;
}

/* The nucleus lies among the likely ids, usually few: those alone are sorted, once a bound that
 * falls lets enough of them through. */
static int64_t gather_nucleus(mtk_sampler *s, double top_p, float most) {
  double sum = find_block_sums(s);
  find_block_most(s, s->p);
  for (float least = most / 8.0f;; least = least > 1e-30f ? least / 8.0f : 0.0f) {
    int64_t n = gather_likely(s, least);
    if (least > 0.0f && sum_of(s->candidates, n) < top_p * sum) continue;
    qsort(s->candidates, (size_t)n, sizeof *s->candidates, compare_rank);
    int64_t cut = cut_top_p(s->candidates, n, top_p, sum);
    if (cut > 0 && (least <= 0.0f || sum_of(s->candidates, cut) >= top_p * sum)) return cut;
    if (least <= 0.0f) break;
  }
  find_block_most(s, s->x); /* there are but NaNs */
  return gather_top_k(s, 1);
}

/* What top-k, top-p and min-p leave, as candidates. `most` is the largest probability. */
static int64_t gather(mtk_sampler *s, const mtk_sampling *o, float most) {
  bool top_p = o->top_p < 1.0f;
  if (o->top_k > 0 && o->top_k < s->vocab) {
    int64_t n = gather_top_k(s, o->top_k);
    return top_p ? cut_top_p(s->candidates, n, (double)o->top_p, sum_of(s->candidates, n)) : n;
  }
  if (top_p) return gather_nucleus(s, (double)o->top_p, most);
  find_block_most(s, s->p);
  return gather_likely(s, o->min_p * most);
}

static int64_t cut_min_p(mtk_candidate *c, int64_t n, float min_p) {
  float most = 0.0f;
  for (int64_t i = 0; i < n; i++)
    if (c[i].p > most) most = c[i].p;
  int64_t kept = 0;
  for (int64_t i = 0; i < n; i++)
    if (c[i].p >= min_p * most) c[kept++] = c[i];
  return kept;
}

static int32_t draw(const mtk_candidate *c, int64_t n, double u) {
  double at = u * sum_of(c, n), sum = 0.0;
  for (int64_t i = 0; i < n; i++) {
    sum += (double)c[i].p;
    if (sum > at) return c[i].id;
  }
  return c[n - 1].id;
}

/* The same from the whole row. */
static int32_t draw_any(mtk_sampler *s, double u) {
  double at = u * find_block_sums(s), sum = 0.0;
  int32_t last = 0;
  for (int64_t i = 0, end; i < s->vocab; i = end) {
    end = block_end(i, s->vocab);
    if (sum + s->block_sum[i / BLOCK] <= at) {
      sum += s->block_sum[i / BLOCK];
      continue;
    }
    for (; i < end; i++) { /* an end that rounding misses is that of the block */
      if (s->p[i] > 0.0f) last = (int32_t)i;
      sum += (double)s->p[i];
      if (sum > at) return last;
    }
    return last;
  }
  return last;
}

static void scale(float *x, const float *logits, float most, float temperature, int64_t n) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) x[i + j] = (logits[i + j] - most) / temperature;
  for (; i < n; i++) x[i] = (logits[i] - most) / temperature;
}

int32_t mtk_sampler_pick(mtk_sampler *s, const mtk_sampling *o, const float *logits,
                         const uint32_t *counts, uint64_t position) {
  if (counts) {
    memcpy(s->x, logits, (size_t)s->vocab * sizeof *s->x);
    apply_penalties(s->x, o, counts, s->vocab);
    logits = s->x;
  }
  find_block_most(s, logits);
  int32_t best = find_best(s, logits);
  if (o->temperature <= 0.0f) return best;
  /* Only differences matter: the largest becomes 0, so that tiny temperatures do not overflow. */
  float most = logits[best];
  scale(s->x, logits, most, o->temperature, s->vocab);
  scale(s->block_most, s->block_most, most, o->temperature, (s->vocab + BLOCK - 1) / BLOCK);
  s->kernels->softmax(s->p, s->x, s->vocab);
  double u = mtk_uniform(o->seed, 0, position);
  bool all = o->top_p >= 1.0f && o->min_p <= 0.0f && (o->top_k <= 0 || o->top_k >= s->vocab);
  if (all) return s->p[best] > 0.0f ? draw_any(s, u) : best;
  int64_t n = gather(s, o, s->p[best]);
  if (o->min_p > 0.0f) n = cut_min_p(s->candidates, n, o->min_p);
  return n > 0 ? draw(s->candidates, n, u) : best;
}

void mtk_top_logprobs(mtk_token_prob *out, int n, const float *logits, int64_t vocab, float lse) {
  int have = 0;
  for (int64_t i = 0; i < vocab && n > 0; i++) {
    float lp = logits[i] - lse;
    if (have == n && !(lp > out[n - 1].logprob)) continue;
    int at = have < n ? have++ : n - 1;
    for (; at > 0 && lp > out[at - 1].logprob; at--) out[at] = out[at - 1];
    out[at] = (mtk_token_prob){(int32_t)i, lp};
  }
}
