/* kernels/simd/attention_bwd.h: the derivative of attention over vectors (see attention_rows.h).
 *
 * Query rows go in blocks of BWD_ROWS: scores and softmax as in the forward pass, then d_q by tile,
 * then the block's rows are the next BWD_ROWS steps of the chains of d_k and d_v, which live in the
 * caller's memory. Zeros stand for (query, key) pairs of a block that do not see each other: they
 * change a chain by no more than the sign of a zero, which the end makes +.
 * Pure; any thread on its own KV head. */
#ifndef MTK_KERNELS_SIMD_ATTENTION_BWD_H
#define MTK_KERNELS_SIMD_ATTENTION_BWD_H

#include "simd/attention_rows.h"

enum { BWD_ROWS = 4 * TILE_ROWS };

/* The scratch of one call, cut up. Each part starts on a 64-byte boundary. */
typedef struct bwd_scratch {
  float *k16, *v16;     /* keys and values as [16 keys][dim][16], zero-padded */
  float *q, *d_out;     /* the block's rows [BWD_ROWS][dim], q scaled */
  float *q_t, *d_out_t; /* one tile of them as [dim][TILE_ROWS] */
  float *p, *ds;        /* [BWD_ROWS][ld_s] */
  float *dc;            /* [ld_s]: derivative of the soft cap along one row */
  int64_t ld_s;
} bwd_scratch;

/* Cut `base` (NULL: only count) and return the floats needed. */
static int64_t bwd_cut(bwd_scratch *w, float *base, const mtk_attn_bwd_args *a) {
  float **const parts[] = {&w->k16, &w->v16,     &w->q, &w->d_out, &w->q_t,
                           &w->d_out_t, &w->p, &w->ds, &w->dc};
  w->ld_s = score_ld(a->n_tokens);
  const int64_t padded = (a->n_tokens + 15) / 16 * 16, hd = a->head_dim, vd = a->v_dim;
  const int64_t sizes[] = {padded * hd,    padded * vd,        BWD_ROWS * hd,
                           BWD_ROWS * vd,  TILE_ROWS * hd,     TILE_ROWS * vd,
                           BWD_ROWS * w->ld_s, BWD_ROWS * w->ld_s, w->ld_s};
  int64_t at = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    *parts[i] = base ? base + at : base;
    at += (sizes[i] + 15) / 16 * 16;
  }
  return at;
}

static size_t MTK_K(attn_bwd_scratch_floats)(const mtk_attn_bwd_args *a) {
  bwd_scratch w;
  return (size_t)bwd_cut(&w, NULL, a);
}

static void pack_keys(float *dst, const float *x, int64_t ld, int64_t n_tokens, int64_t dim) {
  memset(dst, 0, (size_t)((n_tokens + 15) / 16 * 16 * dim) * sizeof *dst);
  for (int64_t j = 0; j < n_tokens; j++) {
    float *to = dst + j / 16 * 16 * dim + j % 16;
    for (int64_t d = 0; d < dim; d++) to[d * 16] = x[j * ld + d];
  }
}

/* From scores and dP of a row that sees the keys of r: P into p, dS into ds, zeros in the other
 * columns of `some`. dc: a row of scratch. */
static void differentiate_row(float *p, float *ds, float *dc, key_range r, key_range some,
                              float softcap, float sink) {
  const int64_t from = r.lo / 16 * 16;
  if (softcap > 0.0f) cap_row(p, dc, r.lo, r.hi, softcap);
  vf den = vf_set1(exp_row(p, r.lo, r.hi, sink));
  for (int64_t j = from; j < r.lo; j++) ds[j] = 0.0f;
  for (int64_t j = r.hi; j % 16; j++) ds[j] = 0.0f;
  v16 sum = v16_set1(0.0f);
  for (int64_t j = from; j < r.hi; j += 16) {
    for (int h = 0; h < PARTS; h++) {
      vf pj = vf_div(vf_load(p + j + h * LANES), den);
      vf_store(p + j + h * LANES, pj);
      sum.p[h] = vf_add(sum.p[h], vf_mul(pj, vf_load(ds + j + h * LANES)));
    }
  }
  vf mean = vf_set1(v16_sum(sum));
  for (int64_t j = from; j < r.hi; j += LANES) {
    vf d = vf_mul(vf_load(p + j), vf_sub(vf_load(ds + j), mean));
    vf_store(ds + j, softcap > 0.0f ? vf_mul(d, vf_load(dc + j)) : d);
  }
  for (int64_t j = some.lo; j < r.lo; j++) p[j] = ds[j] = 0.0f;
  for (int64_t j = r.hi; j < some.hi; j++) p[j] = ds[j] = 0.0f;
}

/* Rows i0..i0+rows of the block that starts at query row r0: P, dS and d_q. */
static void bwd_tile(const mtk_attn_bwd_args *a, const bwd_scratch *w, int64_t r0, int64_t i0,
                     int64_t rows, key_range some) {
  int hd = a->head_dim, vd = a->v_dim;
  key_range r[TILE_ROWS];
  const void *const k_pages[] = {w->k16}, *const v_pages[] = {w->v16}, *const k_rows[] = {a->k};
  const int64_t per_page = (a->n_tokens + 15) / 16 * 16;
  const key_store k16 = {.pages = k_pages, .per_page = per_page};
  const key_store v16s = {.pages = v_pages, .per_page = per_page};
  const key_store k = {.pages = k_rows, .per_page = a->n_tokens, .ld = a->ld_k};
  float *p = w->p + i0 * w->ld_s, *ds = w->ds + i0 * w->ld_s;
  for (int64_t i = 0; i < rows; i++) {
    r[i] = seen((r0 + i0 + i) / a->group, a->n_tokens, a->window, a->bidirectional);
  }
  pack_queries(w->q_t, rows, w->q, i0, 1, hd, hd, 1.0f);
  pack_queries(w->d_out_t, rows, w->d_out, i0, 1, vd, vd, 1.0f);
  score_keys(p, w->ld_s, 0, w->q_t, rows, r, hd, &k16, 0, r[rows - 1].hi);
  score_keys(ds, w->ld_s, 0, w->d_out_t, rows, r, vd, &v16s, 0, r[rows - 1].hi);
  for (int64_t i = 0; i < rows; i++) {
    float sink = a->sinks ? a->sinks[(r0 + i0 + i) % a->group] : -INFINITY;
    differentiate_row(p + i * w->ld_s, ds + i * w->ld_s, w->dc, r[i], some, a->softcap, sink);
  }
  float *d_q = w->q_t; /* its queries are no longer needed: [rows][head_dim] fits */
  memset(d_q, 0, (size_t)(rows * hd) * sizeof *d_q);
  mix_keys(d_q, hd, ds, w->ld_s, 0, rows, 0, hd, &k, r);
  for (int64_t i = 0; i < rows; i++) {
    int64_t t = (r0 + i0 + i) / a->group, h = (r0 + i0 + i) % a->group;
    float *to = a->d_q + t * a->ld_q + h * hd;
    for (int64_t d = 0; d < hd; d++) to[d] = d_q[i * hd + d] * a->scale;
  }
}

/* d[j], for keys of `some`, continues its chain over the block's rows: fma(wts[row][j], x[row], .);
 * unless bidirectional, rows of tokens before the tile's first key are left out. */
static void add_to_keys(float *d, int64_t ld_d, const float *wts, int64_t ld_w, const float *x,
                        int64_t dim, int64_t r0, int64_t rows, const mtk_attn_bwd_args *a,
                        key_range some) {
  tile t = {.ld_c = ld_d, .ld_a = ld_w, .layout = A_COLUMNS, .ld_b = dim, .next_b = LANES};
  for (int64_t j = some.lo; j < some.hi; j += TILE_ROWS) {
    t.rows = some.hi - j < TILE_ROWS ? some.hi - j : TILE_ROWS;
    int64_t first = !a->bidirectional && j * a->group > r0 ? j * a->group - r0 : 0;
    t.k = rows - first;
    t.a = wts + first * ld_w + j;
    for (int64_t c = 0; c < dim; c += t.cols) {
      t.cols = tile_next_cols(dim - c);
      t.c = d + j * ld_d + c;
      t.b = x + first * dim + c;
      tile_run(&t);
    }
  }
}

/* Query rows r0..r0+rows. */
static void bwd_block(const mtk_attn_bwd_args *a, const bwd_scratch *w, int64_t r0, int64_t rows) {
  int hd = a->head_dim, vd = a->v_dim;
  /* Keys that some row of the block sees. */
  const key_range some = {
      seen(r0 / a->group, a->n_tokens, a->window, a->bidirectional).lo,
      seen((r0 + rows - 1) / a->group, a->n_tokens, a->window, a->bidirectional).hi};
  for (int64_t i = 0; i < rows; i++) {
    int64_t t = (r0 + i) / a->group, h = (r0 + i) % a->group;
    const float *q = a->q + t * a->ld_q + h * hd;
    for (int64_t d = 0; d < hd; d++) w->q[i * hd + d] = q[d] * a->scale;
    memcpy(w->d_out + i * vd, a->d_out + t * a->ld_out + h * vd, (size_t)vd * sizeof(float));
  }
  for (int64_t i = 0; i < rows; i += TILE_ROWS) {
    bwd_tile(a, w, r0, i, rows - i < TILE_ROWS ? rows - i : TILE_ROWS, some);
  }
  add_to_keys(a->d_k, a->ld_k, w->ds, w->ld_s, w->q, hd, r0, rows, a, some);
  add_to_keys(a->d_v, a->ld_v, w->p, w->ld_s, w->d_out, vd, r0, rows, a, some);
}

static void clear_signs_of_zeros(float *x, int64_t ld, int64_t rows, int64_t dim) {
  for (int64_t j = 0; j < rows; j++, x += ld)
    for (int64_t d = 0; d < dim; d++) x[d] += 0.0f;
}

static void MTK_K(attention_bwd)(const mtk_attn_bwd_args *a) {
  bwd_scratch w;
  bwd_cut(&w, a->scratch, a);
  pack_keys(w.k16, a->k, a->ld_k, a->n_tokens, a->head_dim);
  pack_keys(w.v16, a->v, a->ld_v, a->n_tokens, a->v_dim);
  for (int64_t j = 0; j < a->n_tokens; j++) {
    memset(a->d_k + j * a->ld_k, 0, (size_t)a->head_dim * sizeof(float));
    memset(a->d_v + j * a->ld_v, 0, (size_t)a->v_dim * sizeof(float));
  }
  int64_t n = a->n_tokens * a->group;
  for (int64_t r = 0; r < n; r += BWD_ROWS) {
    bwd_block(a, &w, r, n - r < BWD_ROWS ? n - r : BWD_ROWS);
  }
  clear_signs_of_zeros(a->d_k, a->ld_k, a->n_tokens, a->head_dim);
  clear_signs_of_zeros(a->d_v, a->ld_v, a->n_tokens, a->v_dim);
}

#endif
