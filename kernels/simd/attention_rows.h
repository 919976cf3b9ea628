/* kernels/simd/attention_rows.h: the three steps of attention for a block of query rows, shared by
 * attention.h and attention_bwd.h (see lanes.h, tile.h).
 *
 * A query row is one (token, head of the group); rows are ordered by token, then head. Score rows
 * hold one float per key: column j - base for key j, base a multiple of 16. Pure, any thread. */
#ifndef MTK_KERNELS_SIMD_ATTENTION_ROWS_H
#define MTK_KERNELS_SIMD_ATTENTION_ROWS_H

#include <string.h>

#include "simd/kv_decode.h"
#include "simd/tile.h"

/* Keys or values in pages of per_page positions (a multiple of 16 where keys are interleaved). ld:
 * distance of two positions where they are plain rows. decode: NULL for pages of f32; else tiles go
 * through `scratch`, tile_floats long. after: fetched while the last page is read; or NULL. */
typedef struct key_store {
  const void *const *pages;
  int64_t per_page, ld;
  const kv_decoder *decode;
  float *scratch;
  const void *after;
} key_store;

static inline int64_t element_bytes(const key_store *s) {
  return s->decode ? s->decode->bytes : (int64_t)sizeof(float);
}

/* Floats of a tile of keys, or of values. */
static inline int64_t tile_floats(int64_t head_dim) {
  return TILE_COLS * (head_dim > MTK_KV_PAGE ? head_dim : MTK_KV_PAGE);
}

/* Distance of score rows: whole vectors, and never a multiple of the L1 cache's 4 KiB way. */
static inline int64_t score_ld(int64_t n_keys) { return (n_keys + 31) / 32 * 32 + 16; }

/* Floats of the queries of so many rows, packed: tiles of [head_dim][TILE_ROWS]. */
static inline int64_t query_floats(int64_t rows, int64_t head_dim) {
  return (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS * head_dim;
}

/* Rows 0 .. rows-1 of packed queries = scale * rows r0 .. of x: row r is head r % group of token
 * r / group, tokens ld apart. */
static void pack_queries(float *dst, int64_t rows, const float *x, int64_t r0, int64_t group,
                         int64_t ld, int head_dim, float scale) {
  for (int64_t i = 0, n; i < rows; i += n) {
    const int64_t left =
        TILE_ROWS - i % TILE_ROWS < rows - i ? TILE_ROWS - i % TILE_ROWS : rows - i;
    float *to = dst + i / TILE_ROWS * TILE_ROWS * head_dim + i % TILE_ROWS;
    const float *from[4];
    n = left < 4 ? left : 4;
    for (int64_t r = 0; r < n; r++) {
      from[r] = x + (r0 + i + r) / group * ld + (r0 + i + r) % group * head_dim;
    }
    const int64_t whole = n == 4 ? head_dim / 4 * 4 : 0;
    for (int64_t d = 0; d < whole; d += 4) {
      __m128 v[4];
      MTK_UNROLL for (int r = 0; r < 4; r++) {
        v[r] = _mm_mul_ps(_mm_loadu_ps(from[r] + d), _mm_set1_ps(scale));
      }
      _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);
      MTK_UNROLL for (int c = 0; c < 4; c++) _mm_storeu_ps(to + (d + c) * TILE_ROWS, v[c]);
    }
    for (int64_t r = 0; r < n; r++) {
      for (int64_t d = whole; d < head_dim; d++) to[d * TILE_ROWS + r] = from[r][d] * scale;
    }
  }
}

/* Keys [lo, hi) that the query at position pos sees. */
typedef struct key_range {
  int64_t lo, hi;
} key_range;

static inline key_range seen(int64_t pos, int64_t n_keys, int64_t window, int bidirectional) {
  if (bidirectional) return (key_range){0, n_keys};
  return (key_range){window > 0 && pos + 1 > window ? pos + 1 - window : 0, pos + 1};
}

/* The tile of keys j0.. for all rows that see some of them, TILE_ROWS at a time. */
static void score_tile(tile *t, const float *q, int64_t rows, const key_range *r, int64_t j0) {
  float *c = t->c;
  for (int64_t i = 0; i < rows; i += TILE_ROWS) {
    t->rows = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
    if (r[i + t->rows - 1].hi <= j0 || r[i].lo >= j0 + t->cols) continue;
    t->a = q + i * t->k;
    t->c = c + i * t->ld_c;
    tile_run(t);
  }
}

/* s[row][j - base] = q_row . k_j for the keys of j0..j1 that row's tile sees, rounded up to a
 * multiple of 16; j0 is one. k: [16 keys][head_dim][16] groups. */
static void score_keys(float *s, int64_t ld_s, int64_t base, const float *q, int64_t rows,
                       const key_range *r, int head_dim, const key_store *k, int64_t j0,
                       int64_t j1) {
  const int64_t bytes = element_bytes(k);
  tile t = {.ld_c = ld_s,
            .ld_a = TILE_ROWS,
            .layout = A_COLUMNS,
            .ld_b = 16,
            .next_b = LANES == 16 ? (int64_t)head_dim * 16 : LANES,
            .k = head_dim,
            .from_zero = 1};
  while (j0 < j1) {
    int64_t at = j0 % k->per_page, left = k->per_page - at < j1 - j0 ? k->per_page - at : j1 - j0;
    const uint8_t *page = k->pages[j0 / k->per_page];
    const uint8_t *next = left < j1 - j0 ? k->pages[j0 / k->per_page + 1] : k->after;
    t.c = s + j0 - base;
    t.cols = LANES == 16 && left <= 16 ? 16 : TILE_COLS;
    t.ahead = next ? next + at * head_dim * bytes : NULL;
    t.ld_ahead = t.cols * bytes;
    if (k->decode) k->decode->keys(k->scratch, page, at, t.cols, head_dim);
    t.b = k->decode ? k->scratch : (const float *)(const void *)page + at * head_dim;
    score_tile(&t, q, rows, r, j0);
    j0 += t.cols;
  }
}

/* s_j = softcap * tanh(s_j / softcap) in place for the groups of 16 that hold columns lo..hi; dc
 * (may be NULL) gets the derivative. */
static void cap_row(float *s, float *dc, int64_t lo, int64_t hi, float softcap) {
  const vf cap = vf_set1(softcap), one = vf_set1(1.0f);
  for (int64_t j = lo / 16 * 16; j < (hi + 15) / 16 * 16; j += LANES) {
    vf h = vf_tanh(vf_div(vf_load(s + j), cap));
    vf_store(s + j, vf_mul(cap, h));
    if (dc) vf_store(dc + j, vf_fma(vf_neg(h), h, one));
  }
}

/* Greatest of the columns lo..hi, both multiples of 16; -INFINITY if there are none. NaNs do not
 * count. */
static float row_top(const float *s, int64_t lo, int64_t hi) {
  enum { CHAINS = 4 };
  vf top[CHAINS];
  MTK_UNROLL for (int i = 0; i < CHAINS; i++) top[i] = vf_set1(-INFINITY);
  for (; lo + CHAINS * LANES <= hi; lo += CHAINS * LANES) {
    MTK_UNROLL for (int i = 0; i < CHAINS; i++) {
      top[i] = vf_max(vf_load(s + lo + i * LANES), top[i]);
    }
  }
  for (; lo < hi; lo += LANES) top[0] = vf_max(vf_load(s + lo), top[0]);
  top[0] = vf_max(vf_max(top[0], top[1]), vf_max(top[2], top[3]));
  v16 all = v16_set1(-INFINITY);
  all.p[0] = top[0];
  return v16_max(all);
}

/* Greatest of columns lo..hi and of sink, one more score, whose column is not kept (-INFINITY:
 * none). The rest of their groups of 16 becomes -INFINITY. */
static float begin_exp(float *s, int64_t lo, int64_t hi, float sink) {
  const int64_t from = lo / 16 * 16, to = (hi + 15) / 16 * 16;
  for (int64_t j = from; j < lo; j++) s[j] = -INFINITY;
  for (int64_t j = to > hi ? to - 16 : to; j < to; j += LANES) {
    vf_store(s + j, vf_keep_n(vf_set1(-INFINITY), vf_load(s + j), hi - j));
  }
  float greatest = row_top(s, from, to);
  return sink > greatest ? sink : greatest;
}

/* s_j = exp(s_j - greatest) in place for columns lo..hi, +0 in the rest of their groups of 16;
 * returns den. */
static float end_exp(float *s, int64_t lo, int64_t hi, float sink, float greatest) {
  const int64_t from = lo / 16 * 16, to = (hi + 15) / 16 * 16;
  v16 den = v16_set1(0.0f);
  vf top = vf_set1(greatest);
  for (int64_t j = from; j < to; j += 16) {
    for (int h = 0; h < PARTS; h++) {
      vf p = vf_exp_low(vf_sub(vf_load(s + j + h * LANES), top));
      vf_store(s + j + h * LANES, p);
      den.p[h] = vf_add(den.p[h], p);
    }
  }
  if (sink == -INFINITY) return v16_sum(den);
  return v16_sum(den) + mtk_math_expf(sink - greatest);
}

static float exp_row(float *s, int64_t lo, int64_t hi, float sink) {
  return end_exp(s, lo, hi, sink, begin_exp(s, lo, hi, sink));
}

/* Adds keys j0..j1 to the chains of rows: all->b holds their values, all->a and all->c stand at key
 * j0 and row 0. Rows see ranges with both ends ascending, so those that see one key lie together. A
 * key that a row does not see must not enter its chain, not even times zero: that would turn -0
 * into +0. */
static void mix_tile(const tile *all, int64_t rows, const key_range *r, int64_t j0, int64_t j1) {
  int64_t first = 0, end = 0; /* rows first..end-1 see key j */
  for (int64_t j = j0, to; j < j1; j = to) {
    while (first < rows && r[first].hi <= j) first++;
    while (end < rows && r[end].lo <= j) end++;
    to = end < rows && r[end].lo < j1 ? r[end].lo : j1;
    if (first == rows) return;
    if (first >= end) continue;
    if (r[first].hi < to) to = r[first].hi;
    tile t = *all;
    t.a += first * t.ld_a + j - j0;
    t.b += (j - j0) * t.ld_b;
    t.c += first * t.ld_c;
    t.rows = end - first;
    t.k = to - j;
    tile_run(&t);
  }
}

/* o[row][d] continues its chain over the keys of r[row] for columns d0..d1: fma(p[row][j - base],
 * v_j[d], .). Both ends of the ranges ascend. */
static void mix_keys(float *o, int64_t ld_o, const float *p, int64_t ld_p, int64_t base,
                     int64_t rows, int64_t d0, int64_t d1, const key_store *v,
                     const key_range *r) {
  const int64_t bytes = element_bytes(v), end = r[rows - 1].hi;
  tile t = {.ld_c = ld_o, .ld_a = ld_p, .layout = A_ROWS, .next_b = LANES};
  t.ld_b = v->decode ? TILE_COLS : v->ld;
  t.ld_ahead = v->ld * bytes;
  for (int64_t j0 = r[0].lo, j1; j0 < end; j0 = j1) {
    int64_t at = j0 % v->per_page, left = v->per_page - at;
    j1 = left < end - j0 ? j0 + left : end;
    const void *page = v->pages[j0 / v->per_page];
    const uint8_t *next = j1 < end ? v->pages[j1 / v->per_page] : v->after;
    for (int64_t d = d0; d < d1; d += t.cols) {
      t.cols = tile_next_cols(d1 - d);
      t.ahead = next ? next + d * bytes : NULL;
      if (v->decode) v->decode->values(v->scratch, TILE_COLS, page, at, j1 - j0, v->ld, d, t.cols);
      t.b = v->decode ? v->scratch : (const float *)page + at * v->ld + d;
      for (int64_t i = 0; i < rows; i += TILE_ROWS) {
        t.a = p + i * ld_p + j0 - base;
        t.c = o + i * ld_o + d;
        mix_tile(&t, rows - i < TILE_ROWS ? rows - i : TILE_ROWS, r + i, j0, j1);
      }
    }
  }
}

#endif
