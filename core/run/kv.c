/* kv.c: the page pool of the KV cache. Owns the page blocks; one thread. */
#include "run/kv.h"

#include "base/internal.h"

mtk_status mtk_kv_init(mtk_kv_pool *pool, int64_t n_pages, size_t page_bytes, mtk_error *err) {
  *pool = (mtk_kv_pool){.page_bytes = page_bytes};
  if (n_pages <= 0 || n_pages > INT32_MAX)
    return mtk_fail(err, MTK_E_INVALID, "kv", "a KV cache of %lld pages is not possible",
                    (long long)n_pages);
  pool->pages = mtk_alloc((size_t)n_pages, sizeof *pool->pages);
  pool->unused = mtk_alloc((size_t)n_pages, sizeof *pool->unused);
  if (!pool->pages || !pool->unused)
    return mtk_fail(err, MTK_E_NOMEM, "kv", "out of memory for the KV cache's page table");
  pool->n_pages = pool->n_unused = (int32_t)n_pages;
  for (int32_t i = 0; i < pool->n_pages; i++) pool->unused[i] = pool->n_pages - 1 - i;
  return MTK_OK;
}

void mtk_kv_finish(mtk_kv_pool *pool) {
  for (int32_t i = 0; i < pool->n_pages; i++) mtk_free_pages(pool->pages[i], pool->page_bytes);
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
    if (!pool->pages[page]) pool->pages[page] = mtk_alloc_pages(pool->page_bytes);
    if (!pool->pages[page])
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
