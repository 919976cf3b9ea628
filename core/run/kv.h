/* run/kv.h: the KV cache of an engine. A page holds 64 positions of some layers and all their KV
 * heads. Pages get their memory several at a time (a slab, in huge pages), when the first of them
 * is taken, and keep it for reuse.
 *
 * Layers that see all earlier positions share pages for the whole length of a sequence. Layers with
 * a sliding window, where that saves memory, share other pages: a ring per sequence that is just
 * long enough for the window and the tokens of one step. A sequence never has more pages in its
 * ring than of the other kind, so whoever counts the latter need not count the former.
 *
 * One thread. */
#ifndef MTK_RUN_KV_H
#define MTK_RUN_KV_H

#include <mtk/base.h>
#include <mtk/kernel.h>

#include "graph/exec.h"

typedef struct mtk_kv_pool {
  void **pages;    /* per page its block, NULL until first taken */
  int32_t *unused; /* stack of free page numbers */
  int32_t n_pages, n_unused;
  int32_t slab_pages;
  size_t page_bytes;
} mtk_kv_pool;

typedef struct mtk_kv_cache {
  mtk_kv_pool pool, ring_pool;
  mtk_kv_layer *layers; /* [n_layer] */
  int64_t context;      /* positions of a sequence */
  int64_t window;       /* the widest of the layers in the ring */
  int64_t ring;         /* pages of a ring; 0 = no layer is in one */
  int n_in_ring;
} mtk_kv_cache;

typedef struct mtk_kv_seq {
  int32_t *pages, *ring;
  int64_t n_pages, n_ring; /* taken */
  int64_t reached;         /* positions that were ever stored since it was empty */
} mtk_kv_seq;

typedef struct mtk_kv_sizes {
  int64_t context;   /* positions of a sequence */
  int64_t positions; /* of all sequences; whole pages are made of it */
  int max_seqs, max_batch;
  mtk_dtype type;
} mtk_kv_sizes;

mtk_status mtk_kv_cache_init(mtk_kv_cache *cache, const mtk_graph *g, const mtk_kv_sizes *sizes,
                             mtk_error *err);
void mtk_kv_cache_finish(mtk_kv_cache *cache);

mtk_status mtk_kv_seq_init(mtk_kv_seq *seq, const mtk_kv_cache *cache, mtk_error *err);
void mtk_kv_seq_finish(mtk_kv_seq *seq); /* its pages are the cache's */
/* Pages for `length` positions. On failure some may have been taken: cut. */
mtk_status mtk_kv_seq_grow(mtk_kv_seq *seq, mtk_kv_cache *cache, int64_t length, mtk_error *err);
/* Gives back the pages beyond `length` positions. Returns how many positions are kept: 0 instead
 * of length where the ring has lost what the next token sees. */
int64_t mtk_kv_seq_cut(mtk_kv_seq *seq, mtk_kv_cache *cache, int64_t length);

#endif
