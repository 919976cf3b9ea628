/* run/kv.h: the pages of a KV cache. A page holds 64 positions of all layers and KV heads. Pages
 * get their memory several at a time (a slab, in huge pages), when the first of them is taken, and
 * keep it for reuse. One thread. */
#ifndef MTK_RUN_KV_H
#define MTK_RUN_KV_H

#include <mtk/base.h>
#include <mtk/kernel.h>

typedef struct mtk_kv_pool {
  void **pages;    /* per page its block, NULL until first taken */
  int32_t *unused; /* stack of free page numbers */
  int32_t n_pages, n_unused;
  int32_t slab_pages;
  size_t page_bytes;
} mtk_kv_pool;

mtk_status mtk_kv_init(mtk_kv_pool *pool, int64_t n_pages, size_t page_bytes, mtk_error *err);
void mtk_kv_finish(mtk_kv_pool *pool);
/* Put n page numbers into `out`, or none: MTK_E_LIMIT when the cache is full, MTK_E_NOMEM. */
mtk_status mtk_kv_take(mtk_kv_pool *pool, int32_t *out, int64_t n, mtk_error *err);
void mtk_kv_give(mtk_kv_pool *pool, const int32_t *pages, int64_t n);

#endif
