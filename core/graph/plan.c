/* plan.c: the memory plan: where each value of a graph lies in one arena, by liveness.
 *
 * A value lives from the node that writes it to the last node that reads it. A result whose op may
 * work in place takes the memory of an input that dies there. The rest is placed largest first at
 * the lowest offset free during its whole life (greedy by size; Pisarchyk & Lee 2020, section 5.2).
 * One thread; the plan is read-only afterwards. */
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN_FLOATS = 16, STRIP_FLOATS = 16 << 20 };

/* Rope may only turn in place when input and output pair the same way (<mtk/kernel.h>). */
static bool may_work_in_place(const mtk_graph_node *n, int input) {
  bool rope = n->op == MTK_OP_ROPE || n->op == MTK_OP_ROPE_DX;
  return ((mtk_op_get(n->op)->in_place >> input) & 1) && !(rope && n->attrs.interleaved);
}

static void find_lives(mtk_plan *p, const mtk_graph *g, const mtk_node_value *keep, int n_keep) {
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    for (int j = 0; j < n->n_in; j++) p->last[n->in[j]] = (int32_t)i;
    for (int j = 0; j < n->n_out; j++) p->first[n->out[j]] = p->last[n->out[j]] = (int32_t)i;
  }
  for (int i = 0; i < n_keep; i++) p->last[keep[i]] = (int32_t)g->n_nodes;
  if (g->loss >= 0) p->last[g->loss] = (int32_t)g->n_nodes;
}

/* Marks the values as wide as the logits and finds the nodes that touch them; false unless all
 * these may run strip by strip: nothing of it is kept, and they touch nothing but output rows. */
static bool find_strip(mtk_plan *p, const mtk_graph *g) {
  p->strip_first = g->n_nodes;
  for (size_t v = 0; v < g->n_values; v++) {
    if (g->values[v].rows != MTK_ROWS_OUTPUTS) continue;
    if (g->values[v].width != g->values[g->logits].width) continue;
    p->in_strip[v] = true;
    if ((size_t)p->first[v] < p->strip_first) p->strip_first = (size_t)p->first[v];
    if ((size_t)p->last[v] >= p->strip_end) p->strip_end = (size_t)p->last[v] + 1;
  }
  bool alone = p->strip_end <= g->n_nodes;
  for (size_t i = p->strip_first; i < p->strip_end && alone; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    for (int j = 0; j < n->n_in; j++) alone &= g->values[n->in[j]].rows == MTK_ROWS_OUTPUTS;
    for (int j = 0; j < n->n_out; j++) alone &= g->values[n->out[j]].rows == MTK_ROWS_OUTPUTS;
  }
  return alone;
}

/* Values of all output rows that the strips touch live through all of them. */
static void outlive_strips(mtk_plan *p, mtk_node_value v) {
  if (p->in_strip[v]) return;
  if ((size_t)p->last[v] < p->strip_end) p->last[v] = (int32_t)p->strip_end - 1;
  if ((size_t)p->first[v] > p->strip_first) p->first[v] = (int32_t)p->strip_first;
}

static void plan_strips(mtk_plan *p, const mtk_graph *g, const mtk_plan_options *o) {
  if (g->loss < 0 || g->logits == o->outside) return;
  int64_t floats = o->strip_floats > 0 ? o->strip_floats : STRIP_FLOATS;
  p->strip_rows = floats / g->values[g->logits].width / ALIGN_FLOATS * ALIGN_FLOATS;
  if (p->strip_rows < ALIGN_FLOATS) p->strip_rows = ALIGN_FLOATS;
  if (p->strip_rows >= o->max_outputs || !find_strip(p, g)) {
    p->strip_first = p->strip_end = 0;
    memset(p->in_strip, 0, g->n_values * sizeof *p->in_strip);
    return;
  }
  for (size_t i = p->strip_first; i < p->strip_end; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    for (int j = 0; j < n->n_in; j++) outlive_strips(p, n->in[j]);
    for (int j = 0; j < n->n_out; j++) outlive_strips(p, n->out[j]);
  }
}

/* Let results take over dying inputs. owner_last: last use of the memory of each owner. */
static void share_in_place(mtk_plan *p, const mtk_graph *g, mtk_node_value outside,
                           int32_t *owner_last) {
  for (size_t v = 0; v < g->n_values; v++) {
    p->owner[v] = (int32_t)v;
    owner_last[v] = p->last[v];
  }
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    for (int j = 0; j < n->n_in && n->n_out > 0; j++) {
      mtk_node_value in = n->in[j], out = n->out[0];
      bool dies = p->last[in] == (int32_t)i && in != outside && out != outside;
      dies = dies && p->in_strip[in] == p->in_strip[out];
      if (!dies || !may_work_in_place(n, j)) continue;
      p->owner[out] = p->owner[in];
      owner_last[p->owner[in]] = p->last[out];
      break;
    }
  }
}

bool mtk_graph_chains(const mtk_graph *g, const mtk_graph_node *first,
                      const mtk_graph_node *second) {
  return mtk_op_get(first->op)->by_rows && mtk_op_get(second->op)->by_rows &&
         g->values[first->out[0]].rows == g->values[second->out[0]].rows;
}

/* In a chain some rows are at its last node while others are at the first: what is read in it lives
 * to its end. */
static void outlive_chains(const mtk_graph *g, int32_t *owner_last) {
  for (size_t v = 0; v < g->n_values; v++) {
    size_t i = (size_t)owner_last[v];
    while (i + 1 < g->n_nodes && mtk_graph_chains(g, &g->nodes[i], &g->nodes[i + 1])) i++;
    owner_last[v] = (int32_t)i;
  }
}

/* One block of memory to place. */
typedef struct block {
  size_t size, offset;
  int32_t value, first, last;
} block;

static int larger_first(const void *a, const void *b) {
  const block *x = a, *y = b;
  if (x->size != y->size) return x->size > y->size ? -1 : 1;
  return x->value < y->value ? -1 : 1;
}

static int lower_first(const void *a, const void *b) {
  const block *x = *(const block *const *)a, *y = *(const block *const *)b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return x->value < y->value ? -1 : 1;
}

/* Lowest offset at which `b` fits between the placed blocks that live at the same time. */
static size_t find_gap(const block *b, const block *placed, size_t n_placed, const block **near) {
  size_t n_near = 0;
  for (size_t i = 0; i < n_placed; i++)
    if (placed[i].first <= b->last && b->first <= placed[i].last) near[n_near++] = &placed[i];
  qsort(near, n_near, sizeof *near, lower_first);
  size_t at = 0;
  for (size_t i = 0; i < n_near; i++) {
    if (near[i]->offset >= at && near[i]->offset - at >= b->size) break;
    size_t end = near[i]->offset + near[i]->size;
    if (end > at) at = end;
  }
  return at;
}

static mtk_status place_all(mtk_plan *p, const mtk_graph *g, const int64_t rows[2],
                            mtk_node_value outside, const int32_t *owner_last, block *blocks,
                            const block **near, mtk_error *err) {
  size_t n = 0;
  for (size_t v = 0; v < g->n_values; v++) {
    if (p->owner[v] != (int32_t)v || (mtk_node_value)v == outside) continue;
    size_t floats, n_rows = (size_t)(p->in_strip[v] ? p->strip_rows : rows[g->values[v].rows]);
    if (!mtk_mul_ok(n_rows, (size_t)g->values[v].width, &floats) ||
        floats > SIZE_MAX / 64)
      return mtk_fail(err, MTK_E_NOMEM, NULL, "a value of the graph is too large");
    floats = (floats + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    blocks[n++] = (block){floats, 0, (int32_t)v, p->first[v], owner_last[v]};
  }
  qsort(blocks, n, sizeof *blocks, larger_first);
  for (size_t i = 0; i < n; i++) {
    blocks[i].offset = find_gap(&blocks[i], blocks, i, near);
    p->offset[blocks[i].value] = blocks[i].offset;
    size_t end = blocks[i].offset + blocks[i].size;
    if (end > p->floats) p->floats = end;
  }
  for (size_t v = 0; v < g->n_values; v++) p->offset[v] = p->offset[p->owner[v]];
  return MTK_OK;
}

mtk_status mtk_plan_create(mtk_plan **out, const mtk_graph *g, const mtk_plan_options *o,
                           mtk_error *err) {
  *out = NULL;
  size_t n = g->n_values;
  mtk_plan *p = mtk_alloc(1, sizeof *p);
  int32_t *owner_last = mtk_alloc(n, sizeof *owner_last);
  block *blocks = mtk_alloc(n, sizeof *blocks);
  const block **near = mtk_alloc(n, sizeof *near);
  mtk_status status = MTK_E_NOMEM;
  if (p) {
    p->offset = mtk_alloc(n, sizeof *p->offset);
    p->first = mtk_alloc(n, sizeof *p->first);
    p->last = mtk_alloc(n, sizeof *p->last);
    p->owner = mtk_alloc(n, sizeof *p->owner);
    p->in_strip = mtk_alloc(n, sizeof *p->in_strip);
  }
  if (!p || !owner_last || !blocks || !near || !p->offset || !p->first || !p->last || !p->owner ||
      !p->in_strip) {
    mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a plan of %zu values", n);
  } else {
    find_lives(p, g, o->keep, o->n_keep);
    plan_strips(p, g, o);
    share_in_place(p, g, o->outside, owner_last);
    outlive_chains(g, owner_last);
    const int64_t rows[2] = {o->max_tokens, o->max_outputs};
    status = place_all(p, g, rows, o->outside, owner_last, blocks, near, err);
  }
  mtk_free(owner_last);
  mtk_free(blocks);
  mtk_free((void *)near);
  if (status != MTK_OK) {
    mtk_plan_destroy(p);
    return status;
  }
  *out = p;
  return MTK_OK;
}

void mtk_plan_destroy(mtk_plan *p) {
  if (!p) return;
  mtk_free(p->offset);
  mtk_free(p->first);
  mtk_free(p->last);
  mtk_free(p->owner);
  mtk_free(p->in_strip);
  mtk_free(p);
}
