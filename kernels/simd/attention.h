/* kernels/simd/attention.h: attention over vectors (see attention_rows.h). Included once by
 * avx2/attention.c and avx512/attention.c.
 *
 * A block of BLOCK_ROWS query rows shares every tile of K and V. Scratch: packed q, o[rows][v_dim],
 * a decoded tile, then whole score rows of the block. Pure functions; any thread
 * may call on its own tokens, KV heads or ranges with its own scratch. */
#include "families.h"
#include "simd/attention_bwd.h"
#include "simd/attention_few.h"

/* f16, and ggml's q8_0: d = amax/127, codes x * (1/d) rounded half away from zero. */
static void encode_block(mtk_dtype type, void *coded, const float *block) {
  uint8_t *to = coded;
  if (type == MTK_F16) {
    for (int i = 0; i < KV_BLOCK; i += LANES)
      vh_store(to + 2 * i, vh_from_vf(vf_load(block + i)));
  } else if (type == MTK_Q8_0) {
    v16 most = v16_set1(0.0f);
    for (int i = 0; i < KV_BLOCK; i += LANES)
      most.p[i / LANES % PARTS] = vf_max(vf_abs(vf_load(block + i)), most.p[i / LANES % PARTS]);
    float d = v16_max(most) / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    if (!(inverse < INFINITY)) inverse = 0.0f;
    uint16_t scale = mtk_f32_to_f16(d > 65504.0f ? 65504.0f : d);
    vi codes[KV_BLOCK / LANES];
    for (int i = 0; i < KV_BLOCK / LANES; i++) {
      vf x = vf_mul(vf_load(block + i * LANES), vf_set1(inverse));
      x = vf_max(x, vf_set1(-127.0f)); /* NaN too */
      codes[i] = vi_truncated(vf_add(x, vf_with_sign(vf_set1(0x1.fffffep-2f), x)));
    }
    memcpy(to, &scale, sizeof scale);
    _mm256_storeu_si256((__m256i *)(void *)(to + sizeof scale), vi_pack_bytes(codes));
  } else {
    mtk_dtype_encode(type, coded, block, KV_BLOCK);
  }
}

static void MTK_K(kv_store)(mtk_dtype type, void *const *k_pages, void *const *v_pages,
                            const float *k, int64_t ld_k, const float *v, int64_t ld_v,
                            int64_t n_tokens, int64_t pos0, int head_dim, int v_dim) {
  kv_store_tokens(encode_block, type, k_pages, v_pages, k, ld_k, v, ld_v, n_tokens, pos0, head_dim,
                  v_dim);
}

/* Query rows that share every tile of keys and values once it is in the L1 cache, and decoded; half
 * as many where their scores are more floats than SCORES and would leave the L2 cache. */
enum { BLOCK_ROWS = 48, SCORES = 3 << 18 };

/* Up to BLOCK_ROWS query rows on their way through the three steps. */
typedef struct query_block {
  const mtk_attn_args *a;
  int64_t r0, rows;
  key_range r[BLOCK_ROWS];
  key_store k, v;
  float *q, *o; /* packed, [rows][v_dim] */
  float *s;     /* [rows][ld_s]: column j - base for key j */
  int64_t ld_s, base;
} query_block;

static int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }

static int64_t block_rows(const mtk_attn_args *a, int64_t r0) {
  int64_t most = BLOCK_ROWS * score_ld(a->n_keys) > SCORES ? BLOCK_ROWS / 2 : BLOCK_ROWS;
  return at_most(a->n_tokens * a->group - r0, most);
}

/* More keys may mean fewer rows, but never less scratch: it holds whole blocks of fewer keys. */
static size_t MTK_K(attn_scratch_floats)(const mtk_attn_args *a) {
  const int64_t rows = at_most(a->n_tokens * a->group, BLOCK_ROWS), ld = score_ld(a->n_keys);
  const int64_t whole = rows * at_most(ld, SCORES / BLOCK_ROWS);
  const int64_t half = at_most(rows, BLOCK_ROWS / 2) * ld;
  return (size_t)(query_floats(rows, a->head_dim) + a->v_dim * rows + 16 +
                  tile_floats(a->head_dim) + (whole > half ? whole : half));
}

/* The rows from r0. */
static query_block begin_block(const mtk_attn_args *a, int64_t r0) {
  query_block b = {.a = a, .r0 = r0, .rows = block_rows(a, r0), .ld_s = score_ld(a->n_keys)};
  const kv_decoder *decode = a->kv_type == MTK_F32 ? NULL : &kv_decoders[a->kv_type];
  b.q = a->scratch;
  b.o = b.q + query_floats(b.rows, a->head_dim);
  float *decoded = b.o + (b.rows * a->v_dim + 15) / 16 * 16;
  b.s = decoded + tile_floats(a->head_dim);
  b.k = (key_store){a->k_pages, MTK_KV_PAGE, 0, decode, decoded, a->k_after};
  b.v = (key_store){a->v_pages, MTK_KV_PAGE, a->v_dim, decode, decoded, a->v_after};
  for (int64_t i = 0; i < b.rows; i++)
    b.r[i] = seen(a->pos0 + (r0 + i) / a->group, a->n_keys, a->window, a->bidirectional);
  b.base = b.r[0].lo / MTK_KV_PAGE * MTK_KV_PAGE;
  return b;
}

/* Are the rows the heads of one token, and so few that pages are best decoded for them? */
static int is_few(const query_block *b) {
  return b->a->n_tokens == 1 && b->rows <= 2 * FEW_ROWS && b->a->v_dim % 16 == 0;
}

/* Keys from..to, `from` a multiple of 16. */
static void score_block(const query_block *b, int64_t from, int64_t to) {
  const mtk_attn_args *a = b->a;
  pack_queries(b->q, b->rows, a->q, b->r0, a->group, a->ld_q, a->head_dim, a->scale);
  if (is_few(b))
    few_score_keys(a->kv_type, b->s, b->ld_s, b->base, b->q, b->rows, a->head_dim, &b->k, from, to);
  else
    score_keys(b->s, b->ld_s, b->base, b->q, b->rows, b->r, a->head_dim, &b->k, from, to);
}

/* Scores of rows i .. i+n, at most EXP_ROWS, to p in place; inv[row] = 1/den. */
enum { EXP_ROWS = 4 }; /* their exponentials need not wait for one greatest score after the other */
static void weigh_rows(const query_block *b, int64_t i, int64_t n, float *inv) {
  const mtk_attn_args *a = b->a;
  float sink[EXP_ROWS], top[EXP_ROWS];
  for (int64_t r = 0; r < n; r++) {
    int64_t lo = b->r[i + r].lo - b->base, hi = b->r[i + r].hi - b->base;
    float *s = b->s + (i + r) * b->ld_s;
    sink[r] = a->sinks ? a->sinks[(b->r0 + i + r) % a->group] : -INFINITY;
    if (a->softcap > 0.0f) cap_row(s, NULL, lo, hi, a->softcap);
    top[r] = begin_exp(s, lo, hi, sink[r]);
  }
  for (int64_t r = 0; r < n; r++) {
    int64_t lo = b->r[i + r].lo - b->base, hi = b->r[i + r].hi - b->base;
    inv[r] = 1.0f / end_exp(b->s + (i + r) * b->ld_s, lo, hi, sink[r], top[r]);
  }
}

/* The chains of columns d0..d1. */
static void mix_rows(const query_block *b, int64_t d0, int64_t d1) {
  const mtk_attn_args *a = b->a;
  if (is_few(b))
    few_mix_keys(a->kv_type, b->o, a->v_dim, b->s, b->ld_s, b->base, b->rows, d0, d1, &b->v,
                 b->r[0]);
  else
    mix_keys(b->o, a->v_dim, b->s, b->ld_s, b->base, b->rows, d0, d1, &b->v, b->r);
}

/* Columns d0..d1 of the output, inv: 1/den of each row, ld_inv apart. */
static void mix_block(const query_block *b, const float *inv, int64_t ld_inv, int64_t d0,
                      int64_t d1) {
  const mtk_attn_args *a = b->a;
  const int64_t vd = a->v_dim;
  memset(b->o, 0, (size_t)(b->rows * vd) * sizeof *b->o);
  mix_rows(b, d0, d1);
  for (int64_t i = 0; i < b->rows; i++) {
    int64_t t = (b->r0 + i) / a->group, h = (b->r0 + i) % a->group;
    float *out = a->out + t * a->ld_out + h * vd;
    for (int64_t d = d0; d < d1; d++) out[d] = b->o[i * vd + d] * inv[i * ld_inv];
  }
}

static void MTK_K(attention)(const mtk_attn_args *a) {
  for (int64_t r0 = 0, rows = 0; r0 < a->n_tokens * a->group; r0 += rows) {
    query_block b = begin_block(a, r0);
    rows = b.rows;
    float inv[BLOCK_ROWS];
    score_block(&b, b.base, b.r[b.rows - 1].hi);
    for (int64_t i = 0; i < b.rows; i += EXP_ROWS) {
      weigh_rows(&b, i, b.rows - i < EXP_ROWS ? b.rows - i : EXP_ROWS, inv + i);
    }
    mix_block(&b, inv, 1, 0, a->v_dim);
  }
}

/* The last column of a row of scores keeps 1/den. */
static void MTK_K(attention_step)(const mtk_attn_args *a, mtk_attn_step step, int64_t i0,
                                  int64_t i1) {
  for (int64_t r0 = 0, rows = 0; r0 < a->group; r0 += rows) {
    query_block b = begin_block(a, r0);
    rows = b.rows;
    b.s = a->scores + r0 * a->ld_scores;
    b.ld_s = a->ld_scores;
    float *inv = b.s + b.ld_s - 1;
    if (step == MTK_ATTN_SCORES)
      score_block(&b, i0 / MTK_KV_PAGE * MTK_KV_PAGE, i1);
    else if (step == MTK_ATTN_VALUES)
      mix_block(&b, inv, b.ld_s, i0, i1);
    for (int64_t i = 0; step == MTK_ATTN_SOFTMAX && i < b.rows; i++)
      if (r0 + i >= i0 && r0 + i < i1) weigh_rows(&b, i, 1, &inv[i * b.ld_s]);
  }
}

void MTK_K(attention_init)(mtk_kernels *table) {
  table->kv_store = MTK_K(kv_store);
  table->attn_scratch_floats = MTK_K(attn_scratch_floats);
  table->attention = MTK_K(attention);
  table->attention_step = MTK_K(attention_step);
  table->attn_bwd_scratch_floats = MTK_K(attn_bwd_scratch_floats);
  table->attention_bwd = MTK_K(attention_bwd);
}
