/* test_kv.c: layers with a window keep their last positions in a ring of pages: the logits are
 * those of a cache that keeps everything, whatever is fed and cut; no page has two owners; what the
 * ring has lost is not read. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "run/engine.h"
#include "run/kv.h"
#include "run_suite.h"
#include "tiny_llama.h"

/* The window's 4 earlier positions and a step's 60 tokens fill a page; 61 take another one. */
enum { CONTEXT = 1000, WINDOW = 5, BATCH = 60, RING = 1 };

static tiny_config windowed(int n_layer) {
  tiny_config c = tiny_default;
  c.rich = true; /* layer 0 has the window, the others see everything */
  c.n_layer = n_layer;
  return c;
}

/* max_batch = CONTEXT: a ring would be as long as the context, so there is none. */
static mtk_engine *open_engine(const mtk_model *m, int max_batch, mtk_dtype type) {
  mtk_engine_options o = {.struct_size = sizeof o, .context = CONTEXT, .max_seqs = 3,
                          .max_batch = max_batch, .arith = -1, .isa = -1, .kv_type = type};
  mtk_engine *e;
  ck_assert_int_eq(mtk_engine_create_built(&e, m, tiny_build, &o, NULL), MTK_OK);
  return e;
}

static int32_t ids[3][CONTEXT];
static void make_ids(int64_t vocab) {
  for (int s = 0; s < 3; s++)
    for (int i = 0; i < CONTEXT; i++)
      ids[s][i] = (int32_t)(mtk_uniform(5, (uint64_t)s, (uint64_t)i) * (double)vocab);
}

/* The last logits after ids from..to-1 of text s. */
static void feed(float *out, mtk_engine *e, int seq, int s, int from, int to) {
  const float *logits;
  int64_t rows;
  mtk_batch_item it = {seq, 0, ids[s] + from, to - from, MTK_LOGITS_LAST};
  ck_assert_int_eq(mtk_engine_seq_length(e, seq), from);
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  memcpy(out, logits, (size_t)mtk_engine_vocab(e) * sizeof *out);
}

/* Texts go on in turns, by parts of any length, and are cut back: by little, so that the ring has
 * what is needed, by much, or to nothing. */
static void walk(const mtk_model *m, mtk_dtype type, int max_batch, uint64_t seed) {
  mtk_engine *ring = open_engine(m, max_batch, type), *whole = open_engine(m, CONTEXT, type);
  int64_t vocab = mtk_engine_vocab(ring);
  int at[3] = {0}, seq[3], kept = 0, lost = 0;
  float got[80], want[80];
  for (int s = 0; s < 3; s++) {
    ck_assert_int_eq(mtk_engine_seq_open(&seq[s], ring, NULL), MTK_OK);
    ck_assert_int_eq(mtk_engine_seq_open(&seq[s], whole, NULL), MTK_OK);
  }
  for (uint64_t step = 0; step < 200; step++) {
    double what = mtk_uniform(seed, step, 0), size = mtk_uniform(seed, step, 1);
    int s = (int)(mtk_uniform(seed, step, 2) * 3.0), n = 1 + (int)(size * (what < 0.5 ? 15 : 150));
    if (at[s] + n > CONTEXT || (what > 0.8 && at[s] > 0)) {
      int back = what > 0.9 ? (int)(size * at[s]) : at[s] - (int)(size * (at[s] < 70 ? at[s] : 70));
      mtk_engine_seq_truncate(ring, seq[s], back);
      mtk_engine_seq_truncate(whole, seq[s], back);
      ck_assert_int_eq(mtk_engine_seq_length(whole, seq[s]), back);
      at[s] = back;
      int64_t left = mtk_engine_seq_length(ring, seq[s]);
      ck_assert(left == back || left == 0);
      kept += left == back;
      lost += left != back;
      if (left != back) feed(got, ring, seq[s], s, 0, back);
    }
    if (at[s] + n > CONTEXT) continue;
    feed(got, ring, seq[s], s, at[s], at[s] + n);
    feed(want, whole, seq[s], s, at[s], at[s] + n);
    ck_assert_mem_eq(got, want, (size_t)vocab * sizeof *got);
    ck_assert_int_eq(mtk_engine_kv_free(ring), mtk_engine_kv_free(whole));
    at[s] += n;
  }
  ck_assert_int_gt(kept, 0);
  ck_assert_int_gt(lost, 0);
  mtk_engine_destroy(ring);
  mtk_engine_destroy(whole);
}

START_TEST(same_logits) {
  static const mtk_dtype types[] = {MTK_F32, MTK_BF16, MTK_Q8_0, MTK_F8_E4M3};
  tiny_config c = windowed(1 + _i % 2); /* alone, and beside a layer that sees everything */
  make_ids(c.vocab);
  mtk_model *m = tiny_model(&c);
  for (uint64_t seed = 0; seed < 3; seed++) walk(m, types[_i / 2], BATCH + (int)(seed & 1), seed);
  mtk_model_destroy(m);
}
END_TEST

/* Of 1000 positions the windowed layers have one page, others sixteen. */
START_TEST(memory_is_saved) {
  tiny_config c = windowed(3);
  mtk_model *m = tiny_model(&c);
  mtk_graph *g;
  ck_assert_int_eq(mtk_model_build_graph(&g, m, tiny_build, NULL, NULL), MTK_OK);
  size_t layer = mtk_kv_layer_bytes(g, MTK_F32);
  mtk_kv_sizes sizes = {CONTEXT, 4 * CONTEXT, 4, BATCH, MTK_F32};
  mtk_kv_cache cache;
  ck_assert_int_eq(mtk_kv_cache_init(&cache, g, &sizes, NULL), MTK_OK);
  ck_assert_int_eq(cache.ring, RING);
  ck_assert_int_eq(cache.window, WINDOW);
  ck_assert_uint_eq(cache.pool.page_bytes, 2 * layer);
  ck_assert_uint_eq(cache.ring_pool.page_bytes, layer);
  ck_assert_int_eq(cache.ring_pool.n_pages, 4 * RING);
  mtk_kv_cache_finish(&cache);
  sizes.max_batch = BATCH + 1;
  ck_assert_int_eq(mtk_kv_cache_init(&cache, g, &sizes, NULL), MTK_OK);
  ck_assert_int_eq(cache.ring, RING + 1);
  mtk_kv_cache_finish(&cache);
  sizes.max_batch = CONTEXT; /* a ring would save nothing */
  ck_assert_int_eq(mtk_kv_cache_init(&cache, g, &sizes, NULL), MTK_OK);
  ck_assert_int_eq(cache.ring, 0);
  ck_assert_uint_eq(cache.pool.page_bytes, 3 * layer);
  mtk_kv_cache_finish(&cache);
  mtk_graph_destroy(g);
  mtk_model_destroy(m);
}
END_TEST

static void own(bool *owned, const int32_t *pages, int64_t n, const mtk_kv_pool *pool) {
  for (int64_t i = 0; i < n; i++) {
    ck_assert_int_ge(pages[i], 0);
    ck_assert_int_lt(pages[i], pool->n_pages);
    ck_assert(!owned[pages[i]]);
    owned[pages[i]] = true;
  }
}

/* Sequences that grow and are cut at random: whenever there are pages of the one kind there are
 * pages of the other, each has one owner, and all come back. */
START_TEST(pages_have_one_owner) {
  enum { SEQS = 4, POSITIONS = 1600, PAGES = POSITIONS / MTK_KV_PAGE };
  tiny_config c = windowed(2);
  mtk_model *m = tiny_model(&c);
  mtk_graph *g;
  ck_assert_int_eq(mtk_model_build_graph(&g, m, tiny_build, NULL, NULL), MTK_OK);
  mtk_kv_sizes sizes = {CONTEXT, POSITIONS, SEQS, 400, MTK_F32};
  mtk_kv_cache cache;
  ck_assert_int_eq(mtk_kv_cache_init(&cache, g, &sizes, NULL), MTK_OK);
  ck_assert_int_gt(cache.ring * SEQS, PAGES); /* so that sequences compete for rings, too */
  mtk_kv_seq seqs[SEQS];
  int64_t length[SEQS] = {0};
  for (int s = 0; s < SEQS; s++)
    ck_assert_int_eq(mtk_kv_seq_init(&seqs[s], &cache, NULL), MTK_OK);
  for (uint64_t step = 0; step < 3000; step++) {
    int s = (int)(mtk_uniform(9, step, 0) * SEQS);
    int64_t to = (int64_t)(mtk_uniform(9, step, 1) * CONTEXT);
    if (to < length[s])
      length[s] = mtk_kv_seq_cut(&seqs[s], &cache, to);
    else if (mtk_kv_pages_for(to) - seqs[s].n_pages <= cache.pool.n_unused) {
      ck_assert_int_eq(mtk_kv_seq_grow(&seqs[s], &cache, to, NULL), MTK_OK);
      length[s] = to;
    }
    bool pages[PAGES] = {false}, rings[PAGES] = {false};
    for (int i = 0; i < SEQS; i++) {
      ck_assert_int_eq(seqs[i].n_pages, mtk_kv_pages_for(length[i]));
      own(pages, seqs[i].pages, seqs[i].n_pages, &cache.pool);
      own(rings, seqs[i].ring, seqs[i].n_ring, &cache.ring_pool);
    }
  }
  for (int s = 0; s < SEQS; s++) {
    ck_assert_int_eq(mtk_kv_seq_cut(&seqs[s], &cache, 0), 0);
    mtk_kv_seq_finish(&seqs[s]);
  }
  ck_assert_int_eq(cache.pool.n_unused, cache.pool.n_pages);
  ck_assert_int_eq(cache.ring_pool.n_unused, cache.ring_pool.n_pages);
  mtk_kv_cache_finish(&cache);
  mtk_graph_destroy(g);
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("kv");
  TCase *t = tcase_create("kv");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, same_logits, 0, 8);
  tcase_add_test(t, memory_is_saved);
  tcase_add_test(t, pages_have_one_owner);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
