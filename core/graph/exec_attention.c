/* exec_attention.c: how storing keys and values, and attention, are split into tasks.
 *
 * Usually a task is one block of queries of one sequence for one KV head. Where there are too few
 * of those (one token of one sequence), the threads share each KV head instead: its scores by
 * ranges of keys, then the softmax by heads, then the values by columns, so that no chain is cut
 * and the bits stay. run_attention is called by the driving thread; the rest runs on the pool. */
#include "graph/exec_ops.h"

/* Below this much work per node, waiting three times and handing scores from cache to cache costs
 * more than an even split gives; and below as much per row, rows are not worth cutting. */
static const double FLOPS_WORTH_SHARING = 2e6;
enum { COLUMNS = 32 }; /* values are shared in multiples of this */

/* A pair is a sequence and a KV head: seqs[pair / n_head_kv], head pair % n_head_kv. */
static const mtk_step_seq *seq_of(const mtk_exec *e, const mtk_graph_node *n, int64_t pair) {
  return &e->step->seqs[pair / n->attrs.n_head_kv];
}

/* Where a pair's keys and values lie in the blocks of its pages. */
typedef struct kv_place {
  size_t k, v;
} kv_place;

static kv_place place_of(const mtk_exec *e, const mtk_graph_node *n, int64_t pair) {
  size_t k_bytes = mtk_kv_page_bytes(e->step->kv_type, n->attrs.head_dim);
  size_t v_bytes = mtk_kv_page_bytes(e->step->kv_type, n->attrs.v_dim);
  size_t head = (size_t)(pair % n->attrs.n_head_kv);
  size_t layer = e->step->kv_layers ? e->step->kv_layers[n->attrs.layer].at : 0;
  size_t at = layer + head * (k_bytes + v_bytes);
  return (kv_place){at, at + k_bytes};
}

/* The block of a sequence's page with positions 64 page .. 64 page + 63. */
static uint8_t *block_of(const mtk_exec_step *step, const mtk_graph_node *n, const mtk_step_seq *s,
                         int64_t page) {
  bool in_ring = step->kv_layers && step->kv_layers[n->attrs.layer].in_ring;
  return in_ring ? step->ring_pages[s->ring[page % step->kv_ring]] : step->kv_pages[s->pages[page]];
}

/* Pointers to pages p0 .. p1-1 of a pair at k[p] and, for V, k[p1 + p]; k lies in the worker's
 * scratch behind `floats` floats. */
static void **page_pointers(const mtk_exec *e, const mtk_graph_node *n, int64_t pair, int64_t p0,
                            int64_t p1, size_t floats, int worker) {
  const mtk_step_seq *s = seq_of(e, n, pair);
  const kv_place at = place_of(e, n, pair);
  void **k = (void **)(void *)(mtk_exec_scratch(e, worker) + (floats + 15) / 16 * 16);
  for (int64_t i = p0; i < p1; i++) {
    uint8_t *block = block_of(e->step, n, s, i);
    k[i] = block + at.k;
    k[i + p1] = block + at.v;
  }
  return k;
}

/* Items: pairs. */
static void store_kv(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1, int worker) {
  int64_t ld_k = mtk_exec_width(e, n->in[1]), ld_v = mtk_exec_width(e, n->in[2]);
  int hd = n->attrs.head_dim, vd = n->attrs.v_dim;
  for (int64_t i = i0; i < i1; i++) {
    const mtk_step_seq *s = seq_of(e, n, i);
    int64_t head = i % n->attrs.n_head_kv, n_pages = mtk_kv_pages_for(s->pos0 + s->n_rows);
    void **k = page_pointers(e, n, i, s->pos0 / MTK_KV_PAGE, n_pages, 0, worker);
    e->k->kv_store(e->step->kv_type, k, k + n_pages,
                   mtk_exec_data(e, n->in[1]) + s->row0 * ld_k + head * hd, ld_k,
                   mtk_exec_data(e, n->in[2]) + s->row0 * ld_v + head * vd, ld_v, s->n_rows,
                   s->pos0, hd, vd);
  }
}

/* The block of queries of a pair that begins with token t0, but for its pages. */
static mtk_attn_args block_args(const mtk_exec *e, const mtk_graph_node *n, int64_t pair,
                                int64_t t0, int worker) {
  const mtk_attrs *at = &n->attrs;
  const mtk_step_seq *s = seq_of(e, n, pair);
  int group = at->n_head / at->n_head_kv;
  int64_t head = pair % at->n_head_kv, left = s->n_rows - t0;
  int64_t block = left < MTK_QUERY_BLOCK ? left : MTK_QUERY_BLOCK;
  mtk_attn_args a = {.ld_out = mtk_exec_width(e, n->out[0]), .ld_q = mtk_exec_width(e, n->in[0]),
                     .n_tokens = block, .pos0 = s->pos0 + t0, .window = at->window,
                     .head_dim = at->head_dim, .v_dim = at->v_dim, .group = group,
                     .bidirectional = at->bidirectional, .scale = at->scale,
                     .softcap = at->softcap, .scratch = mtk_exec_scratch(e, worker),
                     .kv_type = e->step->kv_type};
  a.n_keys = at->bidirectional ? s->pos0 + s->n_rows : a.pos0 + block;
  if (n->weight >= 0) a.sinks = e->weights[n->weight]->value + head * group;
  a.out = mtk_exec_data(e, n->out[0]) + (s->row0 + t0) * a.ld_out + head * group * a.v_dim;
  a.q = mtk_exec_data(e, n->in[0]) + (s->row0 + t0) * a.ld_q + head * group * a.head_dim;
  return a;
}

/* The first key that any query of the block sees. */
static int64_t first_key(const mtk_attn_args *a) {
  bool cuts = a->window > 0 && a->pos0 + 1 > a->window && !a->bidirectional;
  return cuts ? a->pos0 + 1 - a->window : 0;
}

/* The pages of keys from .. to-1, by absolute page. */
static void set_pages(mtk_attn_args *a, const mtk_exec *e, const mtk_graph_node *n, int64_t pair,
                      int64_t from, int64_t to, int worker) {
  int64_t n_pages = mtk_kv_pages_for(to);
  void **k = page_pointers(e, n, pair, from / MTK_KV_PAGE, n_pages, e->k->attn_scratch_floats(a),
                           worker);
  a->k_pages = (const void *const *)k;
  a->v_pages = (const void *const *)(k + n_pages);
}

/* The page that the next pair begins with, if it sees the same keys of its sequence. */
static void set_after(mtk_attn_args *a, const mtk_exec *e, const mtk_graph_node *n, int64_t pair) {
  if (++pair == e->step->n_seqs * (int64_t)n->attrs.n_head_kv) return;
  const mtk_step_seq *s = seq_of(e, n, pair);
  int64_t page = first_key(a) / MTK_KV_PAGE;
  if (page >= mtk_kv_pages_for(s->pos0 + s->n_rows)) return;
  const uint8_t *block = block_of(e->step, n, s, page);
  const kv_place at = place_of(e, n, pair);
  a->k_after = block + at.k;
  a->v_after = block + at.v;
}

/* The block of queries of a pair from token t0 on. */
static void attend(mtk_exec *e, const mtk_graph_node *n, int64_t pair, int64_t t0, int worker) {
  mtk_attn_args a = block_args(e, n, pair, t0, worker);
  set_pages(&a, e, n, pair, first_key(&a), a.n_keys, worker);
  set_after(&a, e, n, pair);
  e->k->attention(&a);
}

/* Items: (query block of all sequences, KV head). */
static void attend_items(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1, int worker) {
  int64_t heads = n->attrs.n_head_kv, block = 0;
  for (int s = 0; s < e->step->n_seqs; s++) {
    const mtk_step_seq *seq = &e->step->seqs[s];
    for (int64_t t0 = 0; t0 < seq->n_rows; t0 += MTK_QUERY_BLOCK, block++) {
      for (int64_t h = 0; h < heads; h++) {
        int64_t item = block * heads + h;
        if (item >= i0 && item < i1) attend(e, n, s * heads + h, t0, worker);
      }
    }
  }
}

/* ---- one token of each of many sequences ---------------------------------------------------- */

double mtk_exec_attention_flops(const mtk_exec *e, const mtk_graph_node *n) {
  double dots = 0.0;
  for (int s = 0; s < e->step->n_seqs; s++) {
    const mtk_step_seq *q = &e->step->seqs[s];
    dots += (double)q->n_rows * ((double)q->pos0 + 0.5 * (double)q->n_rows);
  }
  return 4.0 * dots * (double)mtk_exec_width(e, n->in[0]);
}

bool mtk_exec_attends_by_rows(const mtk_exec *e, const mtk_graph_node *n) {
  const mtk_exec_step *step = e->step;
  if (step->n_tokens != step->n_seqs || step->n_seqs < 4 * mtk_pool_size(e->pool)) return false;
  for (int s = 0; s < step->n_seqs; s++)
    if (step->seqs[s].row0 != s) return false;
  return mtk_exec_attention_flops(e, n) < FLOPS_WORTH_SHARING * (double)step->n_seqs;
}

void mtk_exec_attend_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                          int worker) {
  int64_t heads = n->attrs.n_head_kv;
  for (int64_t pair = r0 * heads; pair < r1 * heads; pair++) {
    store_kv(e, n, pair, pair + 1, worker);
    attend(e, n, pair, 0, worker);
  }
}

/* ---- one token, shared by all threads -------------------------------------------------------- */

/* Score rows of a step that is shared lie one after the other: pair, head of the group. */
static int64_t score_ld(const mtk_exec_step *step) {
  int64_t longest = 0;
  for (int s = 0; s < step->n_seqs; s++) {
    int64_t end = step->seqs[s].pos0 + step->seqs[s].n_rows;
    longest = end > longest ? end : longest;
  }
  return mtk_kv_pages_for(longest) * MTK_KV_PAGE + 16;
}

/* Does every sequence bring one token, and do the pairs not go evenly into the threads? */
static bool is_uneven(const mtk_exec *e, int64_t pairs) {
  int threads = mtk_pool_size(e->pool);
  return e->step->n_tokens == e->step->n_seqs && pairs < 4 * threads && pairs % threads != 0;
}

size_t mtk_exec_score_floats(const mtk_exec *e) {
  int64_t pairs = (int64_t)e->step->n_seqs * e->g->n_head_kv;
  return is_uneven(e, pairs) ? (size_t)(pairs * e->max_group * score_ld(e->step)) : 0;
}

static mtk_attn_args shared_args(const mtk_exec *e, const mtk_graph_node *n, int64_t pair,
                                 int worker) {
  mtk_attn_args a = block_args(e, n, pair, 0, worker);
  a.ld_scores = score_ld(e->step);
  a.scores = e->ws->scores + pair * a.group * a.ld_scores;
  return a;
}

/* Cut lo..hi into n ranges of whole multiples of unit; the bounds of range i. */
static void cut(int64_t *from, int64_t *to, int64_t lo, int64_t hi, int64_t unit, int64_t i,
                int64_t n) {
  int64_t first = lo / unit, units = (hi + unit - 1) / unit - first;
  *from = (first + units * i / n) * unit;
  *to = (first + units * (i + 1) / n) * unit;
  if (*to > hi) *to = hi;
}

/* Items: (pair, part), one part per thread. */
static void score_items(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1, int worker) {
  int64_t parts = mtk_pool_size(e->pool), from, to;
  for (int64_t i = i0; i < i1; i++) {
    mtk_attn_args a = shared_args(e, n, i / parts, worker);
    cut(&from, &to, first_key(&a), a.n_keys, MTK_KV_PAGE, i % parts, parts);
    if (from >= to) continue;
    set_pages(&a, e, n, i / parts, from, to, worker);
    e->k->attention_step(&a, MTK_ATTN_SCORES, from, to);
  }
}

/* Items: (pair, head of the group). */
static void softmax_items(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1,
                          int worker) {
  int64_t group = n->attrs.n_head / n->attrs.n_head_kv;
  for (int64_t i = i0; i < i1; i++) {
    mtk_attn_args a = shared_args(e, n, i / group, worker);
    e->k->attention_step(&a, MTK_ATTN_SOFTMAX, i % group, i % group + 1);
  }
}

static void value_items(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1, int worker) {
  int64_t parts = mtk_pool_size(e->pool), from, to;
  for (int64_t i = i0; i < i1; i++) {
    mtk_attn_args a = shared_args(e, n, i / parts, worker);
    cut(&from, &to, 0, a.v_dim, COLUMNS, i % parts, parts);
    if (from >= to) continue;
    set_pages(&a, e, n, i / parts, first_key(&a), a.n_keys, worker);
    e->k->attention_step(&a, MTK_ATTN_VALUES, from, to);
  }
}

static void run_shared(mtk_exec *e, const mtk_graph_node *n, int64_t pairs, double flops) {
  int64_t parts = pairs * mtk_pool_size(e->pool), group = n->attrs.n_head / n->attrs.n_head_kv;
  mtk_exec_split(e, n, parts, 1, flops / 2.0 / (double)parts, score_items);
  mtk_exec_split(e, n, pairs * group, 1, flops / (double)(pairs * group), softmax_items);
  mtk_exec_split(e, n, parts, 1, flops / 2.0 / (double)parts, value_items);
}

void mtk_exec_run_attention(mtk_exec *e, const mtk_graph_node *n) {
  const mtk_exec_step *step = e->step;
  int64_t blocks = 0;
  for (int s = 0; s < step->n_seqs; s++)
    blocks += (step->seqs[s].n_rows + MTK_QUERY_BLOCK - 1) / MTK_QUERY_BLOCK;
  if (blocks == 0) return;
  int64_t heads = n->attrs.n_head_kv, pairs = step->n_seqs * heads;
  double flops = mtk_exec_attention_flops(e, n);
  mtk_exec_split(e, n, pairs, 1,
                 2.0 * (double)step->n_tokens * n->attrs.head_dim / step->n_seqs, store_kv);
  if (is_uneven(e, pairs) && flops >= FLOPS_WORTH_SHARING)
    run_shared(e, n, pairs, flops);
  else
    mtk_exec_split(e, n, blocks * heads, 1, flops / (double)(blocks * heads), attend_items);
}
