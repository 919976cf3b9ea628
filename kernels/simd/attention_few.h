/* kernels/simd/attention_few.h: scores and sums of values for the heads of one token.
 *
 * One token reads every key and value once for a handful of rows. Tiles of two vectors would leave
 * the multipliers waiting for their own results, and decoding to scratch would take as long as the
 * products. So pages are decoded in registers, up to FEW_WIDTH groups of 16 keys or columns side by
 * side for up to FEW_ROWS rows; more rows read a page again, from the cache. The chains are those
 * of attention_rows.h. Pure, any thread. */
#ifndef MTK_KERNELS_SIMD_ATTENTION_FEW_H
#define MTK_KERNELS_SIMD_ATTENTION_FEW_H

#include "simd/attention_rows.h"

enum { FEW_ROWS = 4, FEW_WIDTH = MTK_LANES == 16 ? 4 : 1, FEW_VECS = FEW_WIDTH * PARTS };

/* Fetches `bytes` behind p. */
MTK_INLINE void few_fetch(const uint8_t *p, const int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/* s[row][key] = q_row . key for `width` groups of 16 keys at `keys`; q: [head_dim][TILE_ROWS].
 * scales: of the first group's first elements. Fetches as much at `ahead`. */
MTK_INLINE void few_scores(load_fn *load, const int64_t bytes, const int scaled, const int rows,
                           const int width, float *s, int64_t ld_s, const float *q,
                           const uint8_t *keys, const uint8_t *scales, int64_t head_dim,
                           const uint8_t *ahead) {
  const int vecs = width * PARTS;
  const int64_t group = head_dim * 16 * bytes;
  vf acc[FEW_ROWS][FEW_VECS], scale[FEW_VECS];
  MTK_UNROLL for (int v = 0; v < vecs; v++) scale[v] = vf_set1(1.0f);
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < vecs; v++) acc[r][v] = vf_set1(0.0f);
  }
  for (int64_t d = 0; d < head_dim; d++, keys += 16 * bytes, q += TILE_ROWS) {
    few_fetch(ahead, width * 16 * bytes);
    ahead += width * 16 * bytes;
    if (scaled && d % KV_BLOCK == 0) {
      MTK_UNROLL for (int v = 0; v < vecs; v++) scale[v] = load_f16(scales + v * LANES * 2);
      scales += MTK_KV_PAGE * 2;
    }
    vf k[FEW_VECS];
    MTK_UNROLL for (int v = 0; v < vecs; v++) {
      k[v] = load(keys + v / PARTS * group + v % PARTS * LANES * bytes);
      if (scaled) k[v] = vf_mul(k[v], scale[v]);
    }
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      const vf x = vf_set1(q[r]);
      MTK_UNROLL for (int v = 0; v < vecs; v++) acc[r][v] = vf_fma(x, k[v], acc[r][v]);
    }
  }
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < vecs; v++) vf_store(s + r * ld_s + v * LANES, acc[r][v]);
  }
}

/* Values of a page: n positions from `at` on, column d0 and up. */
typedef struct few_values_of {
  const uint8_t *page, *ahead;
  int64_t at, n, d0, v_dim;
} few_values_of;

/* o[row][0..16 * width] continues its chain over the values: fma(p[row][j], v_j, .). */
MTK_INLINE void few_values(load_fn *load, const int64_t bytes, const int scaled, const int rows,
                           const int width, float *o, int64_t ld_o, const float *p, int64_t ld_p,
                           const few_values_of *values) {
  const int vecs = width * PARTS;
  const int64_t ld = values->v_dim * bytes, from = values->at * ld + values->d0 * bytes;
  const uint8_t *at = values->page + from, *ahead = values->ahead + from;
  vf acc[FEW_ROWS][FEW_VECS];
  const uint8_t *scales[FEW_VECS];
  MTK_UNROLL for (int v = 0; v < vecs; v++) {
    MTK_UNROLL for (int r = 0; r < rows; r++) acc[r][v] = vf_load(o + r * ld_o + v * LANES);
    scales[v] = values->page + kv_scale_offset(values->at, values->d0 + v * LANES, values->v_dim);
  }
  for (int64_t j = 0; j < values->n; j++, at += ld, ahead += ld) {
    few_fetch(ahead, width * 16 * bytes);
    vf x[FEW_VECS];
    MTK_UNROLL for (int v = 0; v < vecs; v++) {
      x[v] = load(at + v * LANES * bytes);
      if (scaled) x[v] = vf_mul(x[v], load_scale(scales[v] + j * 2));
    }
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      const vf w = vf_set1(p[r * ld_p + j]);
      MTK_UNROLL for (int v = 0; v < vecs; v++) acc[r][v] = vf_fma(w, x[v], acc[r][v]);
    }
  }
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < vecs; v++) vf_store(o + r * ld_o + v * LANES, acc[r][v]);
  }
}

/* ---- by type, rows and width ---------------------------------------- */
typedef void few_scores_fn(float *s, int64_t ld_s, const float *q, const uint8_t *keys,
                           const uint8_t *scales, int64_t head_dim, const uint8_t *ahead);
typedef void few_values_fn(float *o, int64_t ld_o, const float *p, int64_t ld_p,
                           const few_values_of *values);

typedef struct few_kernels {
  int64_t bytes;                                  /* of an element */
  few_scores_fn *scores[FEW_ROWS][FEW_WIDTH + 1]; /* [rows - 1][width] */
  few_values_fn *values[FEW_ROWS][FEW_WIDTH + 1];
} few_kernels;

#define FEW(t, bytes, scaled, rows, width)                                                         \
  static void few_scores_##t##_##rows##x##width(float *s, int64_t ld_s, const float *q,            \
                                                const uint8_t *keys, const uint8_t *scales,        \
                                                int64_t head_dim, const uint8_t *ahead) {          \
    few_scores(load_##t, bytes, scaled, rows, width, s, ld_s, q, keys, scales, head_dim, ahead);   \
  }                                                                                                \
  static void few_values_##t##_##rows##x##width(float *o, int64_t ld_o, const float *p,            \
                                                int64_t ld_p, const few_values_of *values) {       \
    few_values(load_##t, bytes, scaled, rows, width, o, ld_o, p, ld_p, values);                    \
  }
#if MTK_LANES == 16
#define FEW_OF(t, bytes, scaled, rows)                                                             \
  FEW(t, bytes, scaled, rows, 1) FEW(t, bytes, scaled, rows, 2) FEW(t, bytes, scaled, rows, 4)
#define FEW_LIST(fn, t, rows)                                                                      \
  { [1] = fn##_##t##_##rows##x1, [2] = fn##_##t##_##rows##x2, [4] = fn##_##t##_##rows##x4 }
#else
#define FEW_OF(t, bytes, scaled, rows) FEW(t, bytes, scaled, rows, 1)
#define FEW_LIST(fn, t, rows)                                                                      \
  { [1] = fn##_##t##_##rows##x1 }
#endif
#define FEW_LISTS(fn, t)                                                                           \
  { FEW_LIST(fn, t, 1), FEW_LIST(fn, t, 2), FEW_LIST(fn, t, 3), FEW_LIST(fn, t, 4) }
#define FEW_TYPE(t, bytes, scaled)                                                                 \
  FEW_OF(t, bytes, scaled, 1)                                                                      \
  FEW_OF(t, bytes, scaled, 2)                                                                      \
  FEW_OF(t, bytes, scaled, 3)                                                                      \
  FEW_OF(t, bytes, scaled, 4)                                                                      \
  static const few_kernels few_##t = {bytes, FEW_LISTS(few_scores, t), FEW_LISTS(few_values, t)};

FEW_TYPE(f32, 4, 0)
FEW_TYPE(f16, 2, 0)
FEW_TYPE(bf16, 2, 0)
FEW_TYPE(f8_e4m3, 1, 0)
FEW_TYPE(i8, 1, 1)

static const few_kernels *const few_types[MTK_DTYPE_COUNT] = {
    [MTK_F32] = &few_f32,         [MTK_F16] = &few_f16, [MTK_BF16] = &few_bf16,
    [MTK_F8_E4M3] = &few_f8_e4m3, [MTK_Q8_0] = &few_i8,
};

/* How many of `left` groups to take at once. */
MTK_INLINE int64_t few_width(int64_t left) {
  const int64_t most = left >= 4 ? 4 : left >= 2 ? 2 : 1;
  return most < FEW_WIDTH ? most : FEW_WIDTH;
}

/* The rows of the next pass where `left` remain: passes of nearly the same height. */
MTK_INLINE int64_t few_rows(int64_t left) { return left / ((left + FEW_ROWS - 1) / FEW_ROWS); }

/* score_keys for rows of one token; j0 a multiple of MTK_KV_PAGE. */
static void few_score_keys(mtk_dtype type, float *s, int64_t ld_s, int64_t base, const float *q,
                           int64_t rows, int64_t head_dim, const key_store *k, int64_t j0,
                           int64_t j1) {
  const few_kernels *kernels = few_types[type];
  const int64_t group = head_dim * 16 * kernels->bytes;
  for (; j0 < j1; j0 += MTK_KV_PAGE) {
    const int64_t left = (j1 - j0 + 15) / 16, groups = left < 4 ? left : 4;
    const uint8_t *page = k->pages[j0 / MTK_KV_PAGE];
    const uint8_t *next = j0 + MTK_KV_PAGE < j1 ? k->pages[j0 / MTK_KV_PAGE + 1] : k->after;
    for (int64_t i = 0, height; i < rows; i += height, next = NULL) {
      height = few_rows(rows - i);
      if (height > TILE_ROWS - i % TILE_ROWS) height = TILE_ROWS - i % TILE_ROWS; /* as q lies */
      const float *row = q + i / TILE_ROWS * TILE_ROWS * head_dim + i % TILE_ROWS;
      for (int64_t g = 0, width; g < groups; g += width) {
        const uint8_t *scales = page + kv_scale_offset(16 * g, 0, head_dim);
        const uint8_t *ahead = (next ? next : page) + g * group;
        width = few_width(groups - g);
        kernels->scores[height - 1][width](s + i * ld_s + j0 - base + 16 * g, ld_s, row,
                                           page + g * group, scales, head_dim, ahead);
      }
    }
  }
}

/* mix_keys for rows of one token, which all see r. */
static void few_mix_keys(mtk_dtype type, float *o, int64_t ld_o, const float *p, int64_t ld_p,
                         int64_t base, int64_t rows, int64_t d0, int64_t d1, const key_store *v,
                         key_range r) {
  const few_kernels *kernels = few_types[type];
  few_values_of values = {.v_dim = v->ld};
  for (int64_t j0 = r.lo; j0 < r.hi; j0 += values.n) {
    values.at = j0 % MTK_KV_PAGE;
    values.n = MTK_KV_PAGE - values.at < r.hi - j0 ? MTK_KV_PAGE - values.at : r.hi - j0;
    values.page = v->pages[j0 / MTK_KV_PAGE];
    const uint8_t *next = j0 + values.n < r.hi ? v->pages[j0 / MTK_KV_PAGE + 1] : v->after;
    for (int64_t d = d0, width; d < d1; d += 16 * width) {
      width = few_width((d1 - d) / 16);
      values.d0 = d;
      values.ahead = next ? next : values.page;
      for (int64_t i = 0, height; i < rows; i += height, values.ahead = values.page) {
        height = few_rows(rows - i);
        kernels->values[height - 1][width](o + i * ld_o + d, ld_o, p + i * ld_p + j0 - base, ld_p,
                                           &values);
      }
    }
  }
}

#endif
