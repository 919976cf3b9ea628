/* kv.c: the page pool of the KV cache. Owns the page blocks; one thread. */
#include "run/kv.h"

#include "base/internal.h"

/* What a slab should have: enough huge pages for little of it to lie outside of them. */
enum { SLAB_BYTES = 16 << 20 };

mtk_status mtk_kv_init(mtk_kv_pool *pool, int64_t n_pages, size_t page_bytes, mtk_error *err) {
  *pool = (mtk_kv_pool){.page_bytes = page_bytes};
  if (n_pages <= 0 || n_pages > INT32_MAX)
    return mtk_fail(err, MTK_E_INVALID, "kv", "a KV cache of %lld pages is not possible",
                    (long long)n_pages);
  pool->pages = mtk_alloc((size_t)n_pages, sizeof *pool->pages);
  pool->unused = mtk_alloc((size_t)n_pages, sizeof *pool->unused);
  if (!pool->pages || !pool->unused)
    return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for the KV cache's page table");
  size_t slab_pages = page_bytes < SLAB_BYTES ? SLAB_BYTES / page_bytes : 1;
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

void mtk_kv_finish(mtk_kv_pool *pool) {
  for (int32_t i = 0, end; i < pool->n_pages; i = end) {
    end = slab_end(pool, i);
    mtk_free_pages(pool->pages[i], (size_t)(end - i) * pool->page_bytes);
  }
  mtk_free((void *)pool->pages);
  mtk_free(pool->unused);
  *pool = (mtk_kv_pool){0};
}

mtk_status mtk_kv_take(mtk_kv_pool *pool, int32_t *out, int64_t n, mtk_error *err) {
  if (n > pool->n_unused)
    return mtk_fail(err, MTK_E_LIMIT, "kv", "the KV cache is full: %lld pages wanted, %d free",
                    (long long)n, (int)pool->n_unused);
  for (int64_t i = 0; i < n; i++) {
    int32_t page = pool->unused[pool->n_unused - 1 - i];
    if (!pool->pages[page] && !make_slab(pool, page))
      return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for a KV page of %zu bytes",
                      pool->page_bytes);
    out[i] = page;
  }
  pool->n_unused -= (int32_t)n;
  return MTK_OK;
}

void mtk_kv_give(mtk_kv_pool *pool, const int32_t *pages, int64_t n) {
  while (n > 0) pool->unused[pool->n_unused++] = pages[--n];
}
