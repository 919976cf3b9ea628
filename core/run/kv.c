/* kv.c: the KV cache: its pages, and which of them a sequence has. Owns the page blocks; one
 * thread. */
#include "run/kv.h"

#include "base/internal.h"

/* What a slab should have: enough huge pages for little of it to lie outside of them. */
enum { SLAB_BYTES = 16 << 20 };

static mtk_status pool_init(mtk_kv_pool *pool, int64_t n_pages, size_t page_bytes, mtk_error *err) {
  *pool = (mtk_kv_pool){.page_bytes = page_bytes};
  if (n_pages <= 0 || n_pages > INT32_MAX)
    return mtk_fail(err, MTK_E_INVALID, "kv", "a KV cache of %lld pages is not possible",
                    (long long)n_pages);
  pool->pages = mtk_alloc((size_t)n_pages, sizeof *pool->pages);
  pool->unused = mtk_alloc((size_t)n_pages, sizeof *pool->unused);
  if (!pool->pages || !pool->unused)
    return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for the KV cache's page table");
  size_t slab_pages = page_bytes > 0 && page_bytes < SLAB_BYTES ? SLAB_BYTES / page_bytes : 1;
  pool->slab_pages = (int32_t)(slab_pages < (size_t)n_pages ? slab_pages : (size_t)n_pages);
  pool->n_pages = pool->n_unused = (int32_t)n_pages;
  for (int32_t i = 0; i < pool->n_pages; i++) pool->unused[i] = pool->n_pages - 1 - i;
  return MTK_OK;
}

static int32_t slab_end(const mtk_kv_pool *pool, int32_t first) {
  int32_t left = pool->n_pages - first;
  return first + (left < pool->slab_pages ? left : pool->slab_pages);
}

/* Memory for the slab of a page. */
static bool make_slab(mtk_kv_pool *pool, int32_t page) {
  int32_t first = page / pool->slab_pages * pool->slab_pages, end = slab_end(pool, first);
  uint8_t *slab = mtk_alloc_pages((size_t)(end - first) * pool->page_bytes);
  for (int32_t i = first; slab && i < end; i++, slab += pool->page_bytes) pool->pages[i] = slab;
  return slab != NULL;
}

static void pool_finish(mtk_kv_pool *pool) {
  for (int32_t i = 0, end; i < pool->n_pages; i = end) {
    end = slab_end(pool, i);
    mtk_free_pages(pool->pages[i], (size_t)(end - i) * pool->page_bytes);
  }
  mtk_free((void *)pool->pages);
  mtk_free(pool->unused);
  *pool = (mtk_kv_pool){0};
}

/* Put n page numbers into `out`, or none: MTK_E_LIMIT when the cache is full, MTK_E_NOMEM. */
static mtk_status pool_take(mtk_kv_pool *pool, int32_t *out, int64_t n, mtk_error *err) {
  if (n > pool->n_unused)
    return mtk_fail(err, MTK_E_LIMIT, "kv", "the KV cache is full: %lld pages wanted, %d free",
                    (long long)n, (int)pool->n_unused);
  for (int64_t i = 0; i < n; i++) {
    int32_t page = pool->unused[pool->n_unused - 1 - i];
    if (pool->page_bytes > 0 && !pool->pages[page] && !make_slab(pool, page))
      return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for a KV page of %zu bytes",
                      pool->page_bytes);
    out[i] = page;
  }
  pool->n_unused -= (int32_t)n;
  return MTK_OK;
}

static void pool_give(mtk_kv_pool *pool, const int32_t *pages, int64_t n) {
  while (n > 0) pool->unused[pool->n_unused++] = pages[--n];
}

/* ---- layers and sequences -------------------------------------------------------------------- */

/* The window of each layer; 0 = it sees everything. */
static void find_windows(int64_t *window, const mtk_graph *g) {
  for (int l = 0; l < g->n_layer; l++) window[l] = -1;
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    if (n->op != MTK_OP_ATTENTION) continue;
    int64_t *w = &window[n->attrs.layer], sees = n->attrs.bidirectional ? 0 : n->attrs.window;
    if (*w < 0 || sees == 0 || (*w > 0 && sees > *w)) *w = sees;
  }
  for (int l = 0; l < g->n_layer; l++)
    if (window[l] < 0) window[l] = 0;
}

/* Room for what the first of `tokens` tokens sees before it, and for them. A position is lost when
 * the one a whole ring further is stored. */
static int64_t ring_pages(int64_t window, int64_t tokens) {
  return mtk_kv_pages_for(window - 1 + tokens);
}

/* Which layers are in the ring, and where each lies in its page blocks. */
static void place_layers(mtk_kv_cache *c, size_t page_bytes[2], const mtk_graph *g,
                         const int64_t *window, const mtk_kv_sizes *sizes) {
  size_t layer_bytes = mtk_kv_layer_bytes(g, sizes->type);
  for (int l = 0; l < g->n_layer; l++) {
    bool in_ring = window[l] > 0 &&
                   ring_pages(window[l], sizes->max_batch) < mtk_kv_pages_for(sizes->context);
    if (in_ring && window[l] > c->window) c->window = window[l];
    c->layers[l] = (mtk_kv_layer){page_bytes[in_ring], in_ring};
    c->n_in_ring += in_ring;
    page_bytes[in_ring] += layer_bytes;
  }
  if (c->window > 0) c->ring = ring_pages(c->window, sizes->max_batch);
}

mtk_status mtk_kv_cache_init(mtk_kv_cache *c, const mtk_graph *g, const mtk_kv_sizes *sizes,
                             mtk_error *err) {
  *c = (mtk_kv_cache){.context = sizes->context};
  size_t page_bytes[2] = {0}, n_layer = (size_t)g->n_layer;
  int64_t *window = mtk_alloc(n_layer + 1, sizeof *window);
  c->layers = mtk_alloc(n_layer + 1, sizeof *c->layers);
  if (!window || !c->layers) {
    mtk_free(window);
    return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for the layers of a KV cache");
  }
  find_windows(window, g);
  place_layers(c, page_bytes, g, window, sizes);
  mtk_free(window);
  int64_t n_pages = mtk_kv_pages_for(sizes->positions), n_ring = c->ring * sizes->max_seqs;
  MTK_TRY(pool_init(&c->pool, n_pages, page_bytes[0], err));
  if (c->ring == 0) return MTK_OK;
  return pool_init(&c->ring_pool, n_ring < n_pages ? n_ring : n_pages, page_bytes[1], err);
}

void mtk_kv_cache_finish(mtk_kv_cache *c) {
  pool_finish(&c->pool);
  pool_finish(&c->ring_pool);
  mtk_free(c->layers);
  *c = (mtk_kv_cache){0};
}

mtk_status mtk_kv_seq_init(mtk_kv_seq *s, const mtk_kv_cache *c, mtk_error *err) {
  *s = (mtk_kv_seq){.pages = mtk_alloc((size_t)mtk_kv_pages_for(c->context), sizeof *s->pages),
                    .ring = mtk_alloc((size_t)c->ring + 1, sizeof *s->ring)};
  if (s->pages && s->ring) return MTK_OK;
  return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for the pages of a sequence");
}

void mtk_kv_seq_finish(mtk_kv_seq *s) {
  mtk_free(s->pages);
  mtk_free(s->ring);
  *s = (mtk_kv_seq){0};
}

mtk_status mtk_kv_seq_grow(mtk_kv_seq *s, mtk_kv_cache *c, int64_t length, mtk_error *err) {
  int64_t want = mtk_kv_pages_for(length) - s->n_pages;
  MTK_TRY(pool_take(&c->pool, s->pages + s->n_pages, want, err));
  s->n_pages += want;
  int64_t ring = (s->n_pages < c->ring ? s->n_pages : c->ring) - s->n_ring;
  MTK_TRY(pool_take(&c->ring_pool, s->ring + s->n_ring, ring, err));
  s->n_ring += ring;
  if (length > s->reached) s->reached = length;
  return MTK_OK;
}

/* Has the ring the positions that the token after `length` ones sees? */
static bool ring_holds(const mtk_kv_seq *s, const mtk_kv_cache *c, int64_t length) {
  int64_t first = length + 1 > c->window ? length + 1 - c->window : 0;
  return c->ring == 0 || s->reached <= first + c->ring * MTK_KV_PAGE;
}

int64_t mtk_kv_seq_cut(mtk_kv_seq *s, mtk_kv_cache *c, int64_t length) {
  if (!ring_holds(s, c, length)) length = 0;
  int64_t keep = mtk_kv_pages_for(length);
  if (keep < s->n_pages) {
    pool_give(&c->pool, s->pages + keep, s->n_pages - keep);
    s->n_pages = keep;
  }
  if (keep < s->n_ring) {
    pool_give(&c->ring_pool, s->ring + keep, s->n_ring - keep);
    s->n_ring = keep;
  }
  if (length == 0) s->reached = 0;
  return length;
}
