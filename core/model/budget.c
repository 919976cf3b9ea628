/* model/budget.c: which of its options every group takes, so that the sum of bytes stays within a
 * budget and the sum of losses is least (mtk/quantize.h): the multiple-choice knapsack problem.
 *
 * Exact: dynamic programming over the sums that no other one beats in both bytes and loss, group
 * after group. A sum is dropped early when even the linear relaxation of the groups behind it
 * (Dyer 1984, Zemel 1984: steps along each group's convex hull, best ratio first) cannot bring it
 * below a solution that is known. Losses are whole multiples of a small unit, so that sums are
 * exact in any order. No state; any thread. */
#include <mtk/quantize.h>

#include <math.h>
#include <stdlib.h>

typedef struct item {
  uint64_t bytes, loss;
  size_t option; /* index as the caller counts */
} item;

/* Options that no other one of the group beats: bytes ascending, losses descending. */
typedef struct group {
  item *items;
  size_t n;
} group;

/* From one corner of a group's convex hull to the next. */
typedef struct step {
  size_t group, to; /* item it leads to */
  uint64_t bytes, gain;
} step;

typedef struct problem {
  mtk_arena *arena;
  group *groups;
  size_t n;
  int exponent; /* losses are multiples of 2^-exponent */
  step *steps;  /* best ratio first */
  size_t n_steps;
} problem;

/* ---- reading --------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
  if (x->loss != y->loss) return x->loss < y->loss ? -1 : 1;
  return (x->option > y->option) - (x->option < y->option);
}

static int by_ratio(const void *a, const void *b) {
  const step *x = a, *y = b;
  double rx = (double)x->gain / (double)x->bytes, ry = (double)y->gain / (double)y->bytes;
  if (rx != ry) return rx > ry ? -1 : 1;
  if (x->group != y->group) return x->group < y->group ? -1 : 1;
  return (x->to > y->to) - (x->to < y->to);
}

/* The unit of losses: sums of all groups stay below 2^61. */
static mtk_status choose_unit(problem *p, const mtk_budget_group *groups, mtk_error *err) {
  double total = 0;
  for (size_t g = 0; g < p->n; g++) {
    double most = 0;
    if (groups[g].n_options == 0)
      return mtk_fail(err, MTK_E_INVALID, NULL, "group %zu has no options", g);
    for (size_t i = 0; i < groups[g].n_options; i++) {
      double loss = groups[g].options[i].loss;
      if (!isfinite(loss) || loss < 0)
        return mtk_fail(err, MTK_E_INVALID, NULL, "the loss of option %zu of group %zu is %g", i,
                        g, loss);
      most = fmax(most, loss);
    }
    total += most;
  }
  p->exponent = total > 0 ? 60 - ilogb(total) : 0;
  return MTK_OK;
}

static mtk_status read_group(group *out, const problem *p, const mtk_budget_group *in,
                             mtk_error *err) {
  out->items = mtk_arena_alloc(p->arena, in->n_options, sizeof *out->items);
  if (!out->items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  for (size_t i = 0; i < in->n_options; i++)
    out->items[i] = (item){in->options[i].bytes,
                           (uint64_t)llround(ldexp(in->options[i].loss, p->exponent)), i};
  qsort(out->items, in->n_options, sizeof *out->items, by_bytes);
  for (size_t i = 0; i < in->n_options; i++)
    if (out->n == 0 || out->items[i].loss < out->items[out->n - 1].loss)
      out->items[out->n++] = out->items[i];
  return MTK_OK;
}

/* Append the steps of one group: from each corner to the item with the best ratio. */
static void add_steps(problem *p, size_t g) {
  const item *items = p->groups[g].items;
  for (size_t at = 0; at + 1 < p->groups[g].n;) {
    size_t best = at + 1;
    for (size_t i = at + 2; i < p->groups[g].n; i++) {
      double now = (double)(items[at].loss - items[i].loss) /
                   (double)(items[i].bytes - items[at].bytes);
      double old = (double)(items[at].loss - items[best].loss) /
                   (double)(items[best].bytes - items[at].bytes);
      if (now >= old) best = i;
    }
    p->steps[p->n_steps++] = (step){g, best, items[best].bytes - items[at].bytes,
                                    items[at].loss - items[best].loss};
    at = best;
  }
}

static mtk_status open_problem(problem *p, const mtk_budget_group *groups, size_t n,
                               mtk_error *err) {
  size_t n_options = 0;
  *p = (problem){.arena = mtk_arena_create(), .n = n};
  if (!p->arena) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  MTK_TRY(choose_unit(p, groups, err));
  for (size_t g = 0; g < n; g++) n_options += groups[g].n_options;
  p->groups = mtk_arena_alloc(p->arena, n, sizeof *p->groups);
  p->steps = mtk_arena_alloc(p->arena, n_options, sizeof *p->steps);
  if (!p->groups || !p->steps)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  for (size_t g = 0; g < n; g++) {
    MTK_TRY(read_group(&p->groups[g], p, &groups[g], err));
    add_steps(p, g);
  }
  qsort(p->steps, p->n_steps, sizeof *p->steps, by_ratio);
  return MTK_OK;
}

/* Of the smallest items of the groups from `first` on. */
static mtk_budget_point least(const problem *p, size_t first, uint64_t *loss) {
  uint64_t bytes = 0, sum = 0;
  for (size_t g = first; g < p->n; g++) {
    bytes += p->groups[g].items[0].bytes;
    sum += p->groups[g].items[0].loss;
  }
  if (loss) *loss = sum;
  return (mtk_budget_point){bytes, ldexp((double)sum, -p->exponent)};
}

/* ---- bounds ---------------------------------------------------------------------------------- */

/* The relaxation of the groups from some one on: what can be gained with so many bytes. */
typedef struct relaxation {
  uint64_t least_bytes, least_loss; /* of their smallest items */
  uint64_t *bytes, *gain;           /* [n + 1] sums over the first steps */
  size_t n;
} relaxation;

static void relax(relaxation *r, const problem *p, size_t first) {
  r->least_bytes = least(p, first, &r->least_loss).bytes;
  r->n = 0;
  for (size_t i = 0; i < p->n_steps; i++) {
    const step *s = &p->steps[i];
    if (s->group < first) continue;
    r->bytes[r->n + 1] = r->bytes[r->n] + s->bytes;
    r->gain[r->n + 1] = r->gain[r->n] + s->gain;
    r->n++;
  }
}

/* Not above the least loss of the groups with `room` bytes beyond their smallest items; below it by
 * more than what rounding can do. */
static uint64_t least_loss(const relaxation *r, uint64_t room) {
  size_t low = 0, high = r->n; /* the last sum of steps that fits */
  while (low < high) {
    size_t middle = high - (high - low) / 2;
    if (r->bytes[middle] <= room) low = middle;
    else high = middle - 1;
  }
  uint64_t gain = r->gain[low];
  if (low < r->n) {
    double part = (double)(room - r->bytes[low]) / (double)(r->bytes[low + 1] - r->bytes[low]);
    gain += (uint64_t)(part * (double)(r->gain[low + 1] - r->gain[low]));
  }
  gain += r->least_loss >> 40;
  return gain < r->least_loss ? r->least_loss - gain : 0;
}

/* The loss of a solution: steps by ratio as long as they fit. */
static mtk_status greedy_loss(uint64_t *out, const problem *p, uint64_t budget, mtk_error *err) {
  bool *stopped = mtk_alloc(p->n, sizeof *stopped);
  if (!stopped) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  uint64_t loss, bytes = least(p, 0, &loss).bytes;
  for (size_t i = 0; i < p->n_steps; i++) {
    const step *s = &p->steps[i];
    stopped[s->group] |= s->bytes > budget - bytes;
    if (stopped[s->group]) continue;
    bytes += s->bytes;
    loss -= s->gain;
  }
  mtk_free(stopped);
  *out = loss;
  return MTK_OK;
}

/* ---- dynamic programming --------------------------------------------------------------------- */

/* A sum over the first groups; `from` is the sum before the last of them, `item` what that took. */
typedef struct sum {
  uint64_t bytes, loss;
  uint32_t from, item;
} sum;

typedef struct front {
  sum *sums; /* bytes ascending, losses descending */
  size_t n;
} front;

/* The next sum in order of bytes, then loss, then item: at[i] counts those that took item i. */
static bool next_sum(sum *out, size_t *at, const front *in, const group *g) {
  bool found = false;
  for (size_t i = 0; i < g->n; i++) {
    if (at[i] == in->n) continue;
    sum s = {in->sums[at[i]].bytes + g->items[i].bytes, in->sums[at[i]].loss + g->items[i].loss,
             (uint32_t)at[i], (uint32_t)i};
    if (found && (s.bytes > out->bytes || (s.bytes == out->bytes && s.loss >= out->loss))) continue;
    *out = s;
    found = true;
  }
  if (found) at[out->item]++;
  return found;
}

/* All sums of `in` and one item of g that may still lead to a solution of at most `best`. */
static mtk_status extend(front *out, const front *in, const group *g, const relaxation *rest,
                         uint64_t budget, uint64_t best, mtk_error *err) {
  size_t cap = in->n + 64;
  size_t *at = mtk_alloc(g->n, sizeof *at);
  out->sums = mtk_alloc(cap, sizeof *out->sums);
  bool ok = at && out->sums;
  sum s;
  while (ok && next_sum(&s, at, in, g)) {
    if (out->n && s.loss >= out->sums[out->n - 1].loss) continue;
    if (s.bytes > budget || rest->least_bytes > budget - s.bytes) break;
    if (s.loss + least_loss(rest, budget - s.bytes - rest->least_bytes) > best) continue;
    if (out->n == cap && cap < UINT32_MAX / 2) {
      sum *grown = mtk_realloc(out->sums, cap, 2 * cap, sizeof *grown);
      if (grown) out->sums = grown, cap *= 2;
    }
    ok = out->n < cap;
    if (ok) out->sums[out->n++] = s;
  }
  mtk_free(at);
  return ok ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
}

static mtk_status fill_fronts(front *fronts, const problem *p, uint64_t budget, mtk_error *err) {
  uint64_t best = 0;
  MTK_TRY(greedy_loss(&best, p, budget, err));
  relaxation rest = {.bytes = mtk_arena_alloc(p->arena, p->n_steps + 1, sizeof *rest.bytes),
                     .gain = mtk_arena_alloc(p->arena, p->n_steps + 1, sizeof *rest.gain)};
  fronts[0].sums = mtk_alloc(1, sizeof *fronts[0].sums);
  fronts[0].n = 1;
  if (!rest.bytes || !rest.gain || !fronts[0].sums)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  for (size_t g = 0; g < p->n; g++) {
    relax(&rest, p, g + 1);
    MTK_TRY(extend(&fronts[g + 1], &fronts[g], &p->groups[g], &rest, budget, best, err));
  }
  return MTK_OK;
}

static mtk_status solve(size_t *choice, const problem *p, uint64_t budget, mtk_error *err) {
  uint64_t smallest = least(p, 0, NULL).bytes;
  if (smallest > budget)
    return mtk_fail(err, MTK_E_LIMIT, NULL, "the smallest options take %llu bytes of %llu",
                    (unsigned long long)smallest, (unsigned long long)budget);
  front *fronts = mtk_alloc(p->n + 1, sizeof *fronts);
  if (!fronts) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  mtk_status st = fill_fronts(fronts, p, budget, err);
  size_t at = fronts[p->n].n - 1; /* the most bytes, the least loss */
  for (size_t g = p->n; st == MTK_OK && g-- > 0;) {
    const sum *s = &fronts[g + 1].sums[at];
    choice[g] = p->groups[g].items[s->item].option;
    at = s->from;
  }
  for (size_t g = 0; g <= p->n; g++) mtk_free(fronts[g].sums);
  mtk_free(fronts);
  return st;
}

mtk_status mtk_budget_solve(size_t *choice, const mtk_budget_group *groups, size_t n,
                            uint64_t budget, mtk_error *err) {
  problem p;
  mtk_status st = open_problem(&p, groups, n, err);
  if (st == MTK_OK) st = solve(choice, &p, budget, err);
  mtk_arena_destroy(p.arena);
  return st;
}

mtk_status mtk_budget_curve(mtk_budget_point **points, size_t *n_points,
                            const mtk_budget_group *groups, size_t n, mtk_error *err) {
  problem p;
  *points = NULL;
  *n_points = 0;
  mtk_status st = open_problem(&p, groups, n, err);
  if (st == MTK_OK && !(*points = mtk_alloc(p.n_steps + 1, sizeof **points)))
    st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a budget");
  if (st == MTK_OK) {
    uint64_t loss;
    mtk_budget_point at = least(&p, 0, &loss);
    (*points)[(*n_points)++] = at;
    for (size_t i = 0; i < p.n_steps; i++) {
      at.bytes += p.steps[i].bytes;
      loss -= p.steps[i].gain;
      at.loss = ldexp((double)loss, -p.exponent);
      (*points)[(*n_points)++] = at;
    }
  }
  mtk_arena_destroy(p.arena);
  return st;
}
