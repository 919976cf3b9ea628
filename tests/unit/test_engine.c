/* test_engine.c: the engine's promise that logits depend on model, ids and arithmetic alone: any
 * threads, level, chunking and company give the same bytes; adapters, limits and sequences. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/engine.h"
#include "run_suite.h"
#include "tiny_llama.h"

enum { N_IDS = 150 };

static int32_t ids[8][N_IDS];

static void make_ids(const tiny_config *c) {
  for (int s = 0; s < 8; s++)
    for (int i = 0; i < N_IDS; i++)
      ids[s][i] = (int32_t)(mtk_uniform(7, (uint64_t)s, (uint64_t)i) * (double)c->vocab);
}

typedef struct setup {
  int threads, isa, max_batch, max_seqs, arith;
  int64_t kv_tokens;
  mtk_dtype kv_type;
} setup;

static mtk_engine *open_engine(const mtk_model *m, const setup *s, mtk_pool **pool) {
  *pool = NULL;
  if (s->threads > 1) ck_assert_int_eq(mtk_pool_create(pool, s->threads, NULL), MTK_OK);
  mtk_engine_options o = {.struct_size = sizeof o, .pool = *pool, .context = 200,
                          .max_seqs = s->max_seqs, .max_batch = s->max_batch,
                          .kv_tokens = s->kv_tokens, .arith = s->arith, .isa = s->isa,
                          .kv_type = s->kv_type};
  mtk_engine *e;
  mtk_error err = {0};
  ck_assert_msg(mtk_engine_create_built(&e, m, tiny_build, &o, &err) == MTK_OK, "%s: %s",
                err.place, err.message);
  return e;
}

/* Feed ids[s] in chunks and keep the logits of the last row; out: vocab floats. */
static void feed(float *out, mtk_engine *e, int seq, int s, int adapter, int chunk) {
  for (int at = 0; at < N_IDS; at += chunk) {
    int n = N_IDS - at < chunk ? N_IDS - at : chunk;
    mtk_batch_item it = {seq, adapter, ids[s] + at, n,
                         at + n == N_IDS ? MTK_LOGITS_LAST : MTK_LOGITS_NONE};
    const float *logits;
    int64_t rows;
    mtk_error err = {0};
    ck_assert_msg(mtk_engine_forward(&logits, &rows, e, &it, 1, &err) == MTK_OK, "%s", err.message);
    if (at + n < N_IDS) {
      ck_assert_int_eq(rows, 0);
    } else {
      ck_assert_int_eq(rows, 1);
      memcpy(out, logits, (size_t)mtk_engine_vocab(e) * sizeof *out);
    }
  }
}

static void run_alone(float *out, const mtk_model *m, const setup *s, int chunk, int which) {
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, s, &pool);
  int seq;
  ck_assert_int_eq(mtk_engine_seq_open(&seq, e, NULL), MTK_OK);
  feed(out, e, seq, which, 0, chunk);
  ck_assert_int_eq(mtk_engine_seq_length(e, seq), N_IDS);
  mtk_engine_destroy(e);
  mtk_pool_destroy(pool);
}

/* All 8 sequences in ragged batches, the last token of all in one step; out: row s = last logits of
 * sequence s. */
static void run_together(float *out, const mtk_model *m, const setup *s) {
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, s, &pool);
  mtk_batch_item items[8];
  int64_t vocab = mtk_engine_vocab(e), rows;
  const float *logits;
  for (int i = 0; i < 8; i++) {
    ck_assert_int_eq(mtk_engine_seq_open(&items[i].seq, e, NULL), MTK_OK);
    items[i] = (mtk_batch_item){items[i].seq, 0, ids[i], 5 + 11 * i, MTK_LOGITS_NONE};
  }
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, items, 8, NULL), MTK_OK);
  for (int i = 0; i < 8; i++)
    items[i] = (mtk_batch_item){items[i].seq, 0, ids[i] + 5 + 11 * i, N_IDS - 6 - 11 * i,
                                MTK_LOGITS_NONE};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, items, 8, NULL), MTK_OK);
  for (int i = 0; i < 8; i++)
    items[i] = (mtk_batch_item){items[i].seq, 0, ids[i] + N_IDS - 1, 1, MTK_LOGITS_LAST};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, items, 8, NULL), MTK_OK);
  ck_assert_int_eq(rows, 8);
  memcpy(out, logits, (size_t)(8 * vocab) * sizeof *out);
  mtk_engine_destroy(e);
  mtk_pool_destroy(pool);
}

/* n_seqs: whose logits the reference computes, at least 2; if not all 8, nothing else at its level,
 * which is slow. */
static void check_same_bits(const tiny_config *c, int arith, mtk_dtype kv_type, int n_seqs) {
  make_ids(c);
  mtk_model *m = tiny_model(c);
  ck_assert_ptr_nonnull(m);
  float want[8][80], got[8][80];
  size_t bytes = (size_t)c->vocab * sizeof(float);
  setup s = {1, MTK_ISA_REF, 512, 8, arith, 0, kv_type};
  for (int i = 0; i < n_seqs; i++) run_alone(want[i], m, &s, N_IDS, i);
  ck_assert(memcmp(want[0], want[1], bytes) != 0);
  for (int64_t i = 0; i < c->vocab; i++) ck_assert(isfinite(want[0][i]));
  int best = (int)mtk_isa_best(NULL);
  const int chunks[] = {7, 1, 64, N_IDS};
  for (int isa = n_seqs < 8 ? MTK_ISA_REF + 1 : MTK_ISA_REF; isa <= best; isa++) {
    for (int threads = 1; threads <= 2; threads++) {
      s = (setup){threads, isa, 512, 8, arith, 0, kv_type};
      for (int k = 0; k < (isa == MTK_ISA_REF ? 1 : 4); k++) { /* the reference is slow */
        run_alone(got[0], m, &s, chunks[k], 0);
        ck_assert_msg(memcmp(want[0], got[0], bytes) == 0, "isa %d threads %d chunk %d", isa,
                      threads, chunks[k]);
      }
      if (isa == MTK_ISA_REF && threads == 1) continue;
      s.max_batch = 100; /* chunked inside the engine as well */
      float flat[8 * 80];
      run_together(flat, m, &s);
      for (int i = 0; i < n_seqs; i++)
        ck_assert_msg(memcmp(want[i], flat + i * c->vocab, bytes) == 0, "isa %d batch row %d",
                      isa, i);
    }
  }
  mtk_model_destroy(m);
}

static const mtk_dtype types[] = {
    MTK_F32,   MTK_F16,   MTK_BF16,   MTK_F8_E4M3, MTK_F8_E5M2, MTK_Q8_0, MTK_Q4_0,
    MTK_Q4_1,  MTK_Q5_0,  MTK_Q5_1,   MTK_IQ4_NL,  MTK_MXFP4,   MTK_NVFP4, MTK_MXFP8,
    MTK_Q2_K,  MTK_Q3_K,  MTK_Q4_K,   MTK_Q5_K,    MTK_Q6_K,    MTK_IQ4_XS};
enum { N_TYPES = sizeof types / sizeof *types };

/* Rows are whole superblocks where the type has such. */
static tiny_config config_of(mtk_dtype type) {
  tiny_config c = tiny_default;
  c.type = type;
  if (mtk_dtype_get(type)->block_elems < 256) return c;
  c.dim = c.ff = 256;
  c.head_dim = 64;
  c.n_layer = 1;
  return c;
}

START_TEST(same_bits_in_every_type) {
  const tiny_config c = config_of(types[_i]);
  check_same_bits(&c, -1, MTK_F32, 8);
}
END_TEST

/* In the arithmetics that are not the type's default. */
START_TEST(same_bits_in_other_arithmetics) {
  const mtk_dtype_info *t = mtk_dtype_get(types[_i / MTK_ARITH_COUNT]);
  const mtk_arith arith = (mtk_arith)(_i % MTK_ARITH_COUNT);
  if (arith == t->arith || (arith == MTK_A8 && t->act_block == 0)) return;
  const tiny_config c = config_of(types[_i / MTK_ARITH_COUNT]);
  check_same_bits(&c, (int)arith, MTK_F32, 2);
}
END_TEST

START_TEST(same_bits_tied_and_interleaved) {
  tiny_config c = tiny_default;
  c.tied = true;
  c.interleaved = true;
  c.biases = false;
  check_same_bits(&c, -1, MTK_F32, 8);
}
END_TEST

static const mtk_dtype kv_types[] = {MTK_F16, MTK_BF16, MTK_Q8_0, MTK_F8_E4M3};

START_TEST(same_bits_with_every_cache) {
  tiny_config c = tiny_default;
  c.head_dim = 40; /* a block and a part of one */
  check_same_bits(&c, -1, kv_types[_i], 8);
}
END_TEST

/* Each type of cache gives other logits than f32, near to them; a type that none can have is
 * refused. */
START_TEST(caches_round) {
  static const float near[] = {2e-3f, 2e-2f, 2e-2f, 0.3f};
  make_ids(&tiny_default);
  mtk_model *m = tiny_model(&tiny_default);
  float exact[80], got[80];
  setup s = {1, -1, 512, 1, -1, 0, MTK_F32};
  run_alone(exact, m, &s, N_IDS, 0);
  for (size_t y = 0; y < sizeof kv_types / sizeof *kv_types; y++) {
    s.kv_type = kv_types[y];
    run_alone(got, m, &s, N_IDS, 0);
    float most = 0, range = 0;
    for (int64_t i = 0; i < tiny_default.vocab; i++) {
      most = fmaxf(most, fabsf(got[i] - exact[i]));
      range = fmaxf(range, fabsf(exact[i]));
    }
    ck_assert_msg(most > 0 && most < near[y] * range, "%s: %g of %g",
                  mtk_dtype_get(s.kv_type)->name, (double)most, (double)range);
  }
  mtk_engine_options o = {.struct_size = sizeof o, .arith = -1, .isa = -1, .kv_type = MTK_Q4_0};
  mtk_engine *e;
  ck_assert_int_eq(mtk_engine_create_built(&e, m, tiny_build, &o, NULL), MTK_E_INVALID);
  mtk_model_destroy(m);
}
END_TEST

/* Pages are taken as they are needed, beyond 32768 positions too, and tokens that come one by one
 * get the bits of the same tokens in one step; in the second case threads share their attention. */
START_TEST(long_context) {
  enum { MOST = 32800, MORE = 3, CONTEXT = 70000 };
  static const struct {
    int prompt, n_head, head_dim;
  } cases[] = {{MOST, 1, 8}, {1100, 8, 64}};
  const int prompt = cases[_i].prompt;
  tiny_config c = tiny_default;
  c.n_layer = 1;
  c.n_head = cases[_i].n_head;
  c.n_head_kv = 1; /* one pair of heads for two threads */
  c.head_dim = cases[_i].head_dim;
  mtk_model *m = tiny_model(&c);
  mtk_pool *pool;
  ck_assert_int_eq(mtk_pool_create(&pool, 2, NULL), MTK_OK);
  mtk_engine_options o = {.struct_size = sizeof o, .pool = pool, .context = CONTEXT, .arith = -1,
                          .isa = -1, .kv_type = MTK_Q8_0};
  mtk_engine *e;
  ck_assert_int_eq(mtk_engine_create_built(&e, m, tiny_build, &o, NULL), MTK_OK);
  static int32_t many[MOST + MORE];
  for (int i = 0; i < prompt + MORE; i++)
    many[i] = (int32_t)(mtk_uniform(8, 0, (uint64_t)i) * (double)c.vocab);
  int seq;
  int64_t rows, all = mtk_engine_kv_free(e);
  const float *logits;
  float one_by_one[MORE][80];
  ck_assert_int_eq(mtk_engine_seq_open(&seq, e, NULL), MTK_OK);
  mtk_batch_item it = {seq, 0, many, prompt, MTK_LOGITS_NONE};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  for (int i = 0; i < MORE; i++) {
    it = (mtk_batch_item){seq, 0, many + prompt + i, 1, MTK_LOGITS_LAST};
    ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
    memcpy(one_by_one[i], logits, (size_t)c.vocab * sizeof *logits);
  }
  ck_assert_int_eq(all - mtk_engine_kv_free(e), (prompt + MORE + 63) / 64 * 64);
  mtk_engine_seq_truncate(e, seq, prompt);
  it = (mtk_batch_item){seq, 0, many + prompt, MORE, MTK_LOGITS_ALL};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  for (int i = 0; i < MORE; i++)
    ck_assert_mem_eq(one_by_one[i], logits + i * c.vocab, (size_t)c.vocab * sizeof *logits);
  mtk_engine_destroy(e);
  mtk_pool_destroy(pool);
  mtk_model_destroy(m);
}
END_TEST

/* A long prompt in one step gives the logits of the same prompt in many: the blocks of queries of a
 * step share what scratch its workers have, whatever number of keys they see. */
START_TEST(long_prompt_at_once) {
  enum { PROMPT = 16448, CHUNK = 512 };
  tiny_config c = tiny_default;
  c.n_layer = 1;
  c.n_head = 4;
  c.n_head_kv = 1;
  c.head_dim = 8;
  mtk_model *m = tiny_model(&c);
  mtk_pool *pool;
  ck_assert_int_eq(mtk_pool_create(&pool, 2, NULL), MTK_OK);
  static int32_t many[PROMPT];
  for (int i = 0; i < PROMPT; i++)
    many[i] = (int32_t)(mtk_uniform(9, 0, (uint64_t)i) * (double)c.vocab);
  const size_t row = (size_t)c.vocab * sizeof(float);
  char *all = malloc(PROMPT * row);
  for (int turn = 0; turn < 2; turn++) {
    const int batch = turn ? PROMPT : CHUNK;
    mtk_engine_options o = {.struct_size = sizeof o, .pool = pool, .context = PROMPT,
                            .max_seqs = 1, .max_batch = batch, .arith = -1, .isa = -1};
    mtk_engine *e;
    const float *logits;
    int64_t rows;
    int seq;
    ck_assert_int_eq(mtk_engine_create_built(&e, m, tiny_build, &o, NULL), MTK_OK);
    ck_assert_int_eq(mtk_engine_seq_open(&seq, e, NULL), MTK_OK);
    for (int at = 0; at < PROMPT; at += batch) {
      int n = PROMPT - at < batch ? PROMPT - at : batch;
      mtk_batch_item it = {seq, 0, many + at, n, MTK_LOGITS_ALL};
      ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
      if (!turn) memcpy(all + (size_t)at * row, logits, (size_t)n * row);
    }
    if (turn) ck_assert_mem_eq(all, logits, PROMPT * row);
    mtk_engine_destroy(e);
  }
  free(all);
  mtk_pool_destroy(pool);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(arithmetic_override_falls_back) {
  make_ids(&tiny_default);
  mtk_model *m = tiny_model(&tiny_default);
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, &(setup){1, -1, 64, 1, MTK_A8, 0, MTK_F32}, &pool);
  ck_assert_ptr_nonnull(strstr(mtk_engine_description(e), "f32 weights in a32"));
  mtk_engine_destroy(e);
  e = open_engine(m, &(setup){1, -1, 64, 1, MTK_A16, 0, MTK_F32}, &pool);
  ck_assert_ptr_nonnull(strstr(mtk_engine_description(e), "f32 weights in a16"));
  mtk_engine_destroy(e);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(all_rows_equal_last_rows) {
  make_ids(&tiny_default);
  mtk_model *m = tiny_model(&tiny_default);
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, &(setup){1, -1, 160, 2, -1, 0, MTK_F32}, &pool);
  int a, b;
  const float *logits;
  int64_t rows, vocab = mtk_engine_vocab(e);
  mtk_engine_seq_open(&a, e, NULL);
  mtk_engine_seq_open(&b, e, NULL);
  mtk_batch_item it = {a, 0, ids[0], 40, MTK_LOGITS_ALL};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  ck_assert_int_eq(rows, 40);
  float *all = malloc((size_t)(40 * vocab) * sizeof *all);
  memcpy(all, logits, (size_t)(40 * vocab) * sizeof *all);
  for (int i = 0; i < 40; i++) {
    it = (mtk_batch_item){b, 0, ids[0] + i, 1, MTK_LOGITS_LAST};
    ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
    ck_assert_mem_eq(logits, all + i * vocab, (size_t)vocab * sizeof *all);
  }
  /* Going back and feeding again gives the same. */
  mtk_engine_seq_truncate(e, b, 20);
  ck_assert_int_eq(mtk_engine_seq_length(e, b), 20);
  it = (mtk_batch_item){b, 0, ids[0] + 20, 20, MTK_LOGITS_LAST};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  ck_assert_mem_eq(logits, all + 39 * vocab, (size_t)vocab * sizeof *all);
  free(all);
  mtk_engine_destroy(e);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(adapters_share_the_base) {
  make_ids(&tiny_default);
  mtk_model *m = tiny_model(&tiny_default);
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, &(setup){2, -1, 64, 8, -1, 0, MTK_F32}, &pool);
  mtk_adapter *one = tiny_adapter(&tiny_default, 4, 11), *two = tiny_adapter(&tiny_default, 8, 12);
  int id_one, id_two, seq;
  ck_assert_int_eq(mtk_engine_add_adapter(&id_one, e, one, NULL), MTK_OK);
  ck_assert_int_eq(mtk_engine_add_adapter(&id_two, e, two, NULL), MTK_OK);
  mtk_adapter_destroy(one); /* it was copied */
  mtk_adapter_destroy(two);
  const int adapters[4] = {0, id_one, id_two, id_one};
  float want[4][80];
  for (int i = 0; i < 4; i++) {
    mtk_engine_seq_open(&seq, e, NULL);
    feed(want[i], e, seq, i % 2, adapters[i], 64);
    mtk_engine_seq_close(e, seq);
  }
  size_t bytes = (size_t)mtk_engine_vocab(e) * sizeof(float);
  ck_assert(memcmp(want[0], want[2], bytes) != 0);
  mtk_batch_item items[4];
  for (int i = 0; i < 4; i++) {
    mtk_engine_seq_open(&items[i].seq, e, NULL);
    items[i] = (mtk_batch_item){items[i].seq, adapters[i], ids[i % 2], N_IDS, MTK_LOGITS_LAST};
  }
  const float *logits;
  int64_t rows;
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, items, 4, NULL), MTK_OK);
  for (int i = 0; i < 4; i++)
    ck_assert_mem_eq(want[i], logits + i * mtk_engine_vocab(e), bytes);
  mtk_engine_destroy(e);
  mtk_pool_destroy(pool);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(limits_change_nothing) {
  make_ids(&tiny_default);
  mtk_model *m = tiny_model(&tiny_default);
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, &(setup){1, -1, 64, 3, -1, 192, MTK_F32}, &pool);
  int a, b, c, d;
  const float *logits;
  int64_t rows;
  mtk_error err;
  ck_assert_int_eq(mtk_engine_seq_open(&a, e, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_seq_open(&b, e, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_seq_open(&c, e, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_seq_open(&d, e, &err), MTK_E_LIMIT);
  ck_assert_int_eq(mtk_engine_kv_free(e), 192);
  mtk_batch_item two[] = {{a, 0, ids[0], 65, MTK_LOGITS_LAST}, {b, 0, ids[1], 65, MTK_LOGITS_LAST}};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, two, 2, &err), MTK_E_LIMIT);
  ck_assert_int_eq(mtk_engine_kv_free(e), 192);
  ck_assert_int_eq(mtk_engine_seq_length(e, a), 0);
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, two, 1, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_kv_free(e), 64);
  mtk_batch_item bad = {b, 0, (int32_t[]){1, 67}, 2, MTK_LOGITS_LAST};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &bad, 1, &err), MTK_E_INVALID);
  ck_assert_ptr_nonnull(strstr(err.message, "67"));
  bad = (mtk_batch_item){b, 1, ids[0], 2, MTK_LOGITS_LAST};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &bad, 1, &err), MTK_E_INVALID);
  mtk_batch_item twice[] = {{b, 0, ids[0], 1, MTK_LOGITS_LAST}, {b, 0, ids[0], 1, MTK_LOGITS_LAST}};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, twice, 2, &err), MTK_E_INVALID);
  mtk_batch_item all = {a, 0, ids[0], 65, MTK_LOGITS_ALL};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &all, 1, &err), MTK_E_INVALID);
  mtk_batch_item far = {a, 0, ids[0], 136, MTK_LOGITS_LAST};
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &far, 1, &err), MTK_E_LIMIT);
  mtk_engine_seq_close(e, a);
  ck_assert_int_eq(mtk_engine_kv_free(e), 192);
  mtk_engine_destroy(e);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(decoding_allocates_nothing) {
  make_ids(&tiny_default);
  mtk_model *m = tiny_model(&tiny_default);
  mtk_pool *pool;
  mtk_engine *e = open_engine(m, &(setup){2, -1, 512, 1, -1, 0, MTK_F32}, &pool);
  int seq;
  const float *logits;
  int64_t rows;
  mtk_engine_seq_open(&seq, e, NULL);
  mtk_batch_item it = {seq, 0, ids[0], 70, MTK_LOGITS_LAST};
  mtk_alloc_fail_after(0); /* memory for pages is asked for first; nothing has changed */
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_E_NOMEM);
  ck_assert_int_eq(mtk_engine_seq_length(e, seq), 0);
  ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  mtk_alloc_fail_after(0);
  for (int i = 70; i < 130; i++) { /* into the third page */
    it = (mtk_batch_item){seq, 0, ids[0] + i, 1, MTK_LOGITS_LAST};
    ck_assert_int_eq(mtk_engine_forward(&logits, &rows, e, &it, 1, NULL), MTK_OK);
  }
  ck_assert_ptr_null(mtk_alloc(1, 1)); /* the one to fail is still to come */
  mtk_engine_destroy(e);
  mtk_pool_destroy(pool);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(no_memory_is_an_error) {
  mtk_model *m = tiny_model(&tiny_default);
  mtk_engine_options o = {.struct_size = sizeof o, .arith = -1, .isa = -1};
  mtk_status status = MTK_E_NOMEM;
  int n = 0;
  for (; n < 10000 && status != MTK_OK; n++) {
    mtk_engine *e = NULL;
    mtk_error err;
    mtk_alloc_fail_after(n);
    status = mtk_engine_create_built(&e, m, tiny_build, &o, &err);
    mtk_alloc_fail_after(-1);
    ck_assert_msg(status == MTK_OK || status == MTK_E_NOMEM, "allocation %d: status %d", n, status);
    mtk_engine_destroy(e);
  }
  ck_assert_int_gt(n, 50);
  ck_assert_int_eq(status, MTK_OK);
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("engine");
  TCase *t = tcase_create("engine");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, same_bits_in_every_type, 0, N_TYPES);
  tcase_add_test(t, same_bits_tied_and_interleaved);
  tcase_add_loop_test(t, same_bits_with_every_cache, 0, (int)(sizeof kv_types / sizeof *kv_types));
  tcase_add_test(t, caches_round);
  tcase_add_loop_test(t, long_context, 0, 2);
  tcase_add_test(t, long_prompt_at_once);
  tcase_add_loop_test(t, same_bits_in_other_arithmetics, 0, N_TYPES * MTK_ARITH_COUNT);
  tcase_add_test(t, arithmetic_override_falls_back);
  tcase_add_test(t, all_rows_equal_last_rows);
  tcase_add_test(t, adapters_share_the_base);
  tcase_add_test(t, limits_change_nothing);
  tcase_add_test(t, decoding_allocates_nothing);
  tcase_add_test(t, no_memory_is_an_error);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
