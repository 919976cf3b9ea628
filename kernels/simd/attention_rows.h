/* kernels/simd/attention_rows.h: the three steps of attention for a block of up to TILE_ROWS query
 * rows, shared by attention.h and attention_bwd.h (see lanes.h, tile.h).
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
 * through `scratch`, tile_floats long. */
typedef struct key_store {
  const void *const *pages;
  int64_t per_page, ld;
  const kv_decoder *decode;
  float *scratch;
} key_store;

/* Floats of a tile of keys, or of values. */
static inline int64_t element_bytes(const key_store *s) {
  return s->decode ? s->decode->bytes : (int64_t)sizeof(float);
}

static inline int64_t tile_floats(int64_t head_dim) {
  return TILE_COLS * (head_dim > MTK_KV_PAGE ? head_dim : MTK_KV_PAGE);
}

/* Distance of score rows: whole vectors, and never a multiple of the L1 cache's 4 KiB way. */
static inline int64_t score_ld(int64_t n_keys) { return (n_keys + 31) / 32 * 32 + 16; }

/* dst[d][TILE_ROWS], column i = x * scale. */
static void pack_query(float *dst, int64_t i, const float *x, int head_dim, float scale) {
  for (int64_t d = 0; d < head_dim; d++) dst[d * TILE_ROWS + i] = x[d] * scale;
}

/* s[row][j - base] = q_row . k_j for keys j0..j1 rounded up to a multiple of 16; j0 is one. k:
 * [16 keys][head_dim][16] groups. */
static void score_keys(float *s, int64_t ld_s, int64_t base, const float *q, int64_t rows,
                       int head_dim, const key_store *k, int64_t j0, int64_t j1) {
  tile t = {.ld_c = ld_s,
            .a = q,
            .ld_a = TILE_ROWS,
            .layout = A_COLUMNS,
            .ld_b = 16,
            .next_b = LANES == 16 ? (int64_t)head_dim * 16 : LANES,
            .rows = rows,
            .k = head_dim,
            .from_zero = 1};
  while (j0 < j1) {
    int64_t at = j0 % k->per_page, left = k->per_page - at < j1 - j0 ? k->per_page - at : j1 - j0;
    const void *page = k->pages[j0 / k->per_page];
    t.c = s + j0 - base;
    t.cols = LANES == 16 && left <= 16 ? 16 : TILE_COLS;
    int64_t bytes = element_bytes(k);
    t.ld_ahead = t.cols * bytes;
    if (left > t.cols)
      t.ahead = (const uint8_t *)page + (at + t.cols) * head_dim * bytes;
    else if (left < j1 - j0)
      t.ahead = k->pages[j0 / k->per_page + 1];
    else
      t.ahead = NULL;
    if (k->decode) k->decode->keys(k->scratch, page, at, t.cols, head_dim);
    t.b = k->decode ? k->scratch : (const float *)page + at * head_dim;
    tile_run(&t);
    j0 += t.cols;
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

/* s_j = exp(s_j - max s) in place for columns lo..hi, +0 in the rest of their groups of 16; returns
 * den. sink: one more score, whose column is not kept; -INFINITY = none. */
static float exp_row(float *s, int64_t lo, int64_t hi, float sink) {
  for (int64_t j = lo / 16 * 16; j < lo; j++) s[j] = -INFINITY;
  for (int64_t j = hi; j % 16; j++) s[j] = -INFINITY;
  v16 mx = v16_set1(-INFINITY), den = v16_set1(0.0f);
  for (int64_t j = lo / 16 * 16; j < hi; j += 16) {
    for (int h = 0; h < PARTS; h++) mx.p[h] = vf_max(vf_load(s + j + h * LANES), mx.p[h]);
  }
  float greatest = v16_max(mx);
  greatest = sink > greatest ? sink : greatest;
  vf top = vf_set1(greatest);
  for (int64_t j = lo / 16 * 16; j < hi; j += 16) {
    for (int h = 0; h < PARTS; h++) {
      vf p = vf_exp(vf_sub(vf_load(s + j + h * LANES), top));
      vf_store(s + j + h * LANES, p);
      den.p[h] = vf_add(den.p[h], p);
    }
  }
  return v16_sum(den) + mtk_math_expf(sink - greatest);
}

/* o[row][d] continues its chain over keys j0..j1 for columns d0..d1: fma(p[row][j - base], v_j[d],
 * .). */
static void mix_keys(float *o, int64_t ld_o, const float *p, int64_t ld_p, int64_t base,
                     int64_t rows, int64_t d0, int64_t d1, const key_store *v, int64_t j0,
                     int64_t j1) {
  tile t = {.ld_c = ld_o, .ld_a = ld_p, .layout = A_ROWS, .next_b = LANES, .rows = rows};
  t.ld_b = v->decode ? TILE_COLS : v->ld;
  for (; j0 < j1; j0 += t.k) {
    int64_t at = j0 % v->per_page, left = v->per_page - at;
    t.k = left < j1 - j0 ? left : j1 - j0;
    t.a = p + j0 - base;
    const void *page = v->pages[j0 / v->per_page];
    int64_t bytes = element_bytes(v);
    const uint8_t *next = left < j1 - j0 ? v->pages[j0 / v->per_page + 1] : NULL;
    t.ld_ahead = v->ld * bytes;
    for (int64_t d = d0; d < d1; d += t.cols) {
      t.cols = tile_next_cols(d1 - d);
      t.c = o + d;
      t.ahead = next ? next + d * bytes : NULL;
      if (v->decode) v->decode->values(v->scratch, TILE_COLS, page, at, t.k, v->ld, d, t.cols);
      t.b = v->decode ? v->scratch : (const float *)page + at * v->ld + d;
      tile_run(&t);
    }
  }
}

/* mix_keys where row i takes the keys of r[i], both ends ascending: the keys that all rows share go
 * through one tile, the ragged ends row by row. A key that a row does not see must not enter its
 * chain, not even times zero: that would turn -0 into +0. */
static void mix_ragged(float *o, int64_t ld_o, const float *p, int64_t ld_p, int64_t base,
                       int64_t rows, int64_t d0, int64_t d1, const key_store *v,
                       const key_range *r) {
  int64_t from = r[rows - 1].lo, to = r[0].hi > from ? r[0].hi : from;
  for (int64_t i = 0; i < rows; i++) {
    int64_t end = r[i].hi < from ? r[i].hi : from;
    mix_keys(o + i * ld_o, ld_o, p + i * ld_p, ld_p, base, 1, d0, d1, v, r[i].lo, end);
  }
  mix_keys(o, ld_o, p, ld_p, base, rows, d0, d1, v, from, to);
  for (int64_t i = 0; i < rows; i++) {
    mix_keys(o + i * ld_o, ld_o, p + i * ld_p, ld_p, base, 1, d0, d1, v, to, r[i].hi);
  }
}

#endif
