/* kernels/simd/linear_k.h: linear layers in arithmetic a8 of weights in superblocks of 256 k
 * (formulas: linear_rules.h; panels: superblock.h).
 *
 * Lanes run over n, registers over m. Codes are unsigned bytes; an offset of theirs is taken off at
 * the end by `bias`, the sum of sub-scales times sums of q. Up to DIRECT_LIMIT activations multiply
 * codes as they are decoded, DIRECT_ROWS at a time; more work on one superblock of a tile's panels,
 * decoded once to bytes for ROWS activations. */
#include "simd/linear_super.h"

#if MTK_LANES == 16
enum { TILE = 6, DIRECT_ROWS = 8, DIRECT_LIMIT = 40 };
#else
enum { TILE = 4, DIRECT_ROWS = 4, DIRECT_LIMIT = 4 };
#endif
enum { ROWS = 192 };

/* ---- lanes: sums of a sub-block, and their product with its scale -------------------------- */
/* A sub-block's sum begins at zero and takes `steps` registers of codes and activations (4 k a
 * lane), then is multiplied by a factor and added to a running int32: AVX-512 has it in int32;
 * AVX2 in pairs of int16, which `steps` of the type never overflow, and vpmaddwd by the scale in
 * both halves does the rest. levels: the codes of iq4_xs, above their offset or signed. */
#if MTK_LANES == 16
enum { LEVELS_OFFSET = 128 };
MTK_INLINE int steps_of(const mtk_k_super *f) { return f->sub / 4; }
MTK_INLINE vi sum_step(vi sum, vi codes, vi q, int levels) {
  (void)levels;
  return _mm512_dpbusd_epi32(sum, codes, q);
}
MTK_INLINE vi sum_step_at(vi sum, vi codes, const int8_t *q, int levels) {
  (void)levels;
  return dot_step_at(sum, codes, q, 1);
}
MTK_INLINE vi add_scaled(vi total, vi sum, vi factor) {
  return _mm512_add_epi32(total, _mm512_mullo_epi32(sum, factor));
}
/* Either half of a pair as a factor. */
MTK_INLINE vi first_factor(vi pairs) { return _mm512_srai_epi32(vi_slli(pairs, 16), 16); }
MTK_INLINE vi second_factor(vi pairs) { return _mm512_srai_epi32(pairs, 16); }
#else
enum { LEVELS_OFFSET = 0 };
MTK_INLINE int steps_of(const mtk_k_super *f) {
  const int bits = f->low_bits + f->high_bits; /* 2 * 127 * (2^bits - 1) * steps < 2^15 */
  const int fit = f->levels ? 1 : bits == 6 ? 2 : bits == 5 ? 4 : 8;
  return fit < f->sub / 4 ? fit : f->sub / 4;
}
MTK_INLINE vi sum_step(vi sum, vi codes, vi q, int levels) {
  vi w = levels ? _mm256_abs_epi8(codes) : codes, x = levels ? _mm256_sign_epi8(q, codes) : q;
  return in_order(_mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x)));
}
MTK_INLINE vi sum_step_at(vi sum, vi codes, const int8_t *q, int levels) {
  return sum_step(sum, codes, vi_set1_bytes(q), levels);
}
MTK_INLINE vi add_scaled(vi total, vi sum, vi factor) {
  return _mm256_add_epi32(total, _mm256_madd_epi16(sum, factor));
}
MTK_INLINE vi first_factor(vi pairs) { return first_half(pairs); }
MTK_INLINE vi second_factor(vi pairs) { return second_half(pairs); }
#endif

/* acc + what a superblock adds, from its two sums. */
MTK_INLINE vf finish(const mtk_k_super *f, vf acc, vi sum, vi bias, vf d, vf dmin, float d_a) {
  const int offset = f->levels ? LEVELS_OFFSET : f->offset;
  if (offset) sum = vi_sub(sum, vi_slli(bias, __builtin_ctz((unsigned)offset)));
  vf t = vf_mul(d, vf_from_i32(sum));
  if (f->has_min) t = vf_fma(vf_neg(dmin), vf_from_i32(bias), t);
  return vf_fma(t, vf_set1(d_a), acc);
}

/* ---- few rows ---------------------------------------- */
/* One vector of a unit for rows x[r * ldx]. */
MTK_INLINE void unit_rows(const mtk_k_super *f, const int rows, vf *acc, unit u, int h,
                          const act_block *x, int64_t ldx) {
  const int subs = 64 / f->sub, steps = steps_of(f);
  const __m128i levels = load_levels(LEVELS_OFFSET);
  vi total[DIRECT_ROWS], bias[DIRECT_ROWS];
  MTK_UNROLL for (int r = 0; r < rows; r++) total[r] = vi_set1(0);
  for (int quarter = 0; quarter < MTK_K_QUARTERS; quarter++) {
    const uint8_t *all = u.at + mtk_k_super_head(f) + quarter * mtk_k_super_quarter(f);
    const uint8_t *codes = all + 4 * LANES * h;
    const int lines = mtk_k_super_quarter(f) / PARTS / 64; /* prefetched evenly, as is the head */
    vi factors[4];
    MTK_UNROLL for (int pair = 0; pair < subs / 2; pair++) {
      vi scales = unit_scales(f, u, quarter * subs / 2 + pair, h);
      factors[2 * pair] = first_factor(scales);
      factors[2 * pair + 1] = second_factor(scales);
    }
    MTK_UNROLL for (int t = 0; t < 16; t += steps) {
      vi sum[DIRECT_ROWS];
      MTK_UNROLL for (int r = 0; r < rows; r++) sum[r] = vi_set1(0);
      MTK_UNROLL for (int i = t; i < t + steps; i++) {
        vi c = group_codes(f, codes, i, levels);
        if (i * lines / 16 != (i + 1) * lines / 16)
          prefetch_bytes(all + (h * lines + i * lines / 16) * 64, 64);
        if (h == 0 && i % 8 == 5 && 32 * (i - 5) < mtk_k_super_head(f))
          prefetch_bytes(u.at + 64 * quarter + 32 * (i - 5), 64);
        MTK_UNROLL for (int r = 0; r < rows; r++) {
          sum[r] = sum_step_at(sum[r], c, x[r * ldx].q + 64 * quarter + 4 * i, f->levels);
        }
      }
      MTK_UNROLL for (int r = 0; r < rows; r++) {
        total[r] = add_scaled(total[r], sum[r], factors[4 * t / f->sub]);
      }
    }
  }
  MTK_UNROLL for (int r = 0; r < rows; r++) bias[r] = vi_set1(0);
  for (int pair = 0; pair < 2 * subs; pair++) {
    vi factor = unit_bias(f, u, pair, h);
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      bias[r] = add_pairs(bias[r], factor, vi_set1_bytes(act_sums(f, x + r * ldx) + 2 * pair));
    }
  }
  vf d = unit_d(u, 0, h), dmin = f->has_min ? unit_d(u, 1, h) : d;
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    acc[r] = finish(f, acc[r], total[r], bias[r], d, dmin, x[r * ldx].d);
  }
}

/* Panel p for rows row .. row+rows. */
MTK_INLINE void direct(const mtk_k_super *f, const int rows, const job *j, int64_t row, int64_t p) {
  vf acc[PARTS][DIRECT_ROWS];
  for (int h = 0; h < PARTS; h++) {
    MTK_UNROLL for (int r = 0; r < rows; r++) acc[h][r] = vf_set1(0.0f);
  }
  for (int64_t b = 0; b < j->blocks; b++) {
    unit u = unit_at(f, j, p, b);
    for (int h = 0; h < PARTS; h++) {
      unit_rows(f, rows, acc[h], u, h, j->x + row * j->blocks + b, j->blocks);
    }
  }
  for (int h = 0; h < PARTS; h++) {
    for (int r = 0; r < rows; r++) {
      const int64_t col = p * MTK_PANEL + h * LANES, left = j->n - col;
      float *y = j->y + (row + r) * j->ldy + col;
      if (left > 0) vf_store_n(y, vf_mul(acc[h][r], vf_set1(j->scale)), left);
    }
  }
}

typedef void direct_fn(const job *j, int64_t row, int64_t p);

/* ---- many rows ---------------------------------------- */
/* A decoded superblock of a panel. */
typedef struct weight_block {
  uint8_t codes[64][64];         /* registers of 4 k x 16 rows */
  int32_t factor[16][MTK_PANEL]; /* of a sub-block */
  int16_t bias[8][MTK_PANEL][2];
  float d[MTK_PANEL], dmin[MTK_PANEL];
} weight_block;

MTK_INLINE void decode_unit(const mtk_k_super *f, weight_block *w, unit u) {
  const __m128i levels = load_levels(LEVELS_OFFSET);
  const int subs = 64 / f->sub;
  prefetch_bytes(u.at, mtk_k_super_unit(f));
  for (int h = 0; h < PARTS; h++) {
    const int at = h * LANES;
    for (int quarter = 0; quarter < MTK_K_QUARTERS; quarter++) {
      const uint8_t *codes = u.at + mtk_k_super_head(f) + quarter * mtk_k_super_quarter(f) + 4 * at;
      MTK_UNROLL for (int t = 0; t < 16; t++) {
        vi_store(w->codes[16 * quarter + t] + 4 * at, group_codes(f, codes, t, levels));
      }
      MTK_UNROLL for (int i = 0; i < subs / 2; i++) {
        const int pair = quarter * subs / 2 + i;
        vi scales = unit_scales(f, u, pair, h);
        vi_store(w->factor[2 * pair] + at, first_factor(scales));
        vi_store(w->factor[2 * pair + 1] + at, second_factor(scales));
        vi_store(w->bias[pair] + at, unit_bias(f, u, pair, h));
      }
    }
    vf_store(w->d + at, unit_d(u, 0, h));
    if (f->has_min) vf_store(w->dmin + at, unit_d(u, 1, h));
  }
}

/* acc[rows][COLS] continued over a superblock. Vector v of the tile is w[v], lane[v] and up. */
MTK_INLINE void tile(const mtk_k_super *f, const int rows, float *acc, const act_block *x,
                     int64_t ldx, const weight_block *const *w) {
  const int lane[2] = {0, MTK_LANES == 8 ? LANES : 0}, steps = steps_of(f);
  vi total[TILE][2], bias[TILE][2];
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < 2; v++) total[r][v] = bias[r][v] = vi_set1(0);
  }
  for (int t = 0; t < 64; t += steps) {
    vi sum[TILE][2];
    MTK_UNROLL for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = vi_set1(0);
    MTK_UNROLL for (int i = 0; i < steps; i++) {
      vi c0 = vi_load(w[0]->codes[t + i] + 4 * lane[0]);
      vi c1 = vi_load(w[1]->codes[t + i] + 4 * lane[1]);
      MTK_UNROLL for (int r = 0; r < rows; r++) {
        vi q = vi_set1_bytes(x[r * ldx].q + 4 * (t + i));
        sum[r][0] = sum_step(sum[r][0], c0, q, f->levels);
        sum[r][1] = sum_step(sum[r][1], c1, q, f->levels);
      }
    }
    MTK_UNROLL for (int v = 0; v < 2; v++) {
      vi factor = vi_load(w[v]->factor[4 * t / f->sub] + lane[v]);
      MTK_UNROLL for (int r = 0; r < rows; r++) {
        total[r][v] = add_scaled(total[r][v], sum[r][v], factor);
      }
    }
  }
  for (int pair = 0; pair < MTK_K_SUPER / f->sub / 2; pair++) {
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      vi q = vi_set1_bytes(act_sums(f, x + r * ldx) + 2 * pair);
      MTK_UNROLL for (int v = 0; v < 2; v++) {
        bias[r][v] = add_pairs(bias[r][v], vi_load(w[v]->bias[pair] + lane[v]), q);
      }
    }
  }
  MTK_UNROLL for (int v = 0; v < 2; v++) {
    vf d = vf_load(w[v]->d + lane[v]), dmin = f->has_min ? vf_load(w[v]->dmin + lane[v]) : d;
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      float *at = acc + r * COLS + v * LANES;
      vf_store(at, finish(f, vf_load(at), total[r][v], bias[r][v], d, dmin, x[r * ldx].d));
    }
  }
}

typedef void tile_fn(float *acc, const act_block *x, int64_t ldx, const weight_block *const *w);
typedef void decode_fn(weight_block *w, unit u);

/* Kernels of a type; the first of each is NULL. */
typedef struct kernels {
  const mtk_k_super *format;
  direct_fn *direct[DIRECT_ROWS + 1];
  tile_fn *tile[TILE + 1];
  decode_fn *decode;
} kernels;

static void run_tiles(const kernels *f, const job *j, int64_t m0, int64_t rows, int64_t p0,
                      int64_t p1) {
  _Alignas(64) weight_block scratch[TILE_PANELS];
  _Alignas(64) float acc[ROWS * COLS];
  for (int64_t p = p0; p < p1; p += TILE_PANELS) {
    int64_t panels = mtk_k_min(TILE_PANELS, p1 - p), height;
    const weight_block *const w[2] = {&scratch[0], &scratch[panels - 1]};
    const float *y = j->y + m0 * j->ldy + p * MTK_PANEL;
    memset(acc, 0, (size_t)(rows * COLS) * sizeof *acc);
    for (int64_t b = 0; b < j->blocks; b++) {
      for (int64_t i = 0; i < panels; i++) f->decode(&scratch[i], unit_at(f->format, j, p + i, b));
      int64_t left = (rows + TILE - 1) / TILE; /* tiles of nearly the same height */
      for (int64_t r = 0; left > 0; r += height, left--) {
        height = (rows - r + left - 1) / left;
        if (b + 1 == j->blocks) fetch_rows(y + r * j->ldy, j->ldy, height);
        f->tile[height](acc + r * COLS, j->x + (m0 + r) * j->blocks + b, j->blocks, w);
      }
    }
    store_tile(j, acc, m0, rows, p, panels);
  }
}

static void run_rows(const kernels *f, const job *j, int64_t m0, int64_t rows, int64_t p0,
                     int64_t p1) {
  if (rows > DIRECT_LIMIT) {
    run_tiles(f, j, m0, rows, p0, p1);
    return;
  }
  for (int64_t p = p0; p < p1; p++) { /* read again by further rows, from the cache */
    int64_t left = (rows + DIRECT_ROWS - 1) / DIRECT_ROWS, height;
    for (int64_t r = 0; left > 0; r += height, left--) {
      height = (rows - r + left - 1) / left;
      f->direct[height](j, m0 + r, p);
    }
  }
}

/* ---- per type ---------------------------------------- */
#define DIRECT_FN(t, r)                                                                            \
  static void direct_##t##_##r(const job *j, int64_t row, int64_t p) {                             \
    direct(&mtk_k_super_##t, r, j, row, p);                                                        \
  }
#define TILE_FN(t, r)                                                                              \
  static void tile_##t##_##r(float *acc, const act_block *x, int64_t ldx,                          \
                             const weight_block *const *w) {                                       \
    tile(&mtk_k_super_##t, r, acc, x, ldx, w);                                                     \
  }
#define FOUR_FNS(FN, t)  FN(t, 1) FN(t, 2) FN(t, 3) FN(t, 4)
#define FOUR_OF(name, t) name##_##t##_1, name##_##t##_2, name##_##t##_3, name##_##t##_4
#if MTK_LANES == 16
#define FUNCTIONS(t)                                                                               \
  FOUR_FNS(DIRECT_FN, t)                                                                           \
  DIRECT_FN(t, 5)                                                                                  \
  DIRECT_FN(t, 6) DIRECT_FN(t, 7) DIRECT_FN(t, 8) FOUR_FNS(TILE_FN, t) TILE_FN(t, 5) TILE_FN(t, 6)
#define DIRECT_LIST(t)                                                                             \
  FOUR_OF(direct, t), direct_##t##_5, direct_##t##_6, direct_##t##_7, direct_##t##_8
#define TILE_LIST(t) FOUR_OF(tile, t), tile_##t##_5, tile_##t##_6
#else
#define FUNCTIONS(t)   FOUR_FNS(DIRECT_FN, t) FOUR_FNS(TILE_FN, t)
#define DIRECT_LIST(t) FOUR_OF(direct, t)
#define TILE_LIST(t)   FOUR_OF(tile, t)
#endif

static size_t act_bytes(int64_t m, int64_t k) {
  return (size_t)(m * (k / MTK_K_SUPER)) * sizeof(act_block);
}

#define NAME(t, a) "mtk_k_" #t "_" #a "_linear__" MTK_ISA_TEXT
#define SUPER_ROW(TYPE, t)                                                                         \
  FUNCTIONS(t)                                                                                     \
  static void decode_##t(weight_block *w, unit u) { decode_unit(&mtk_k_super_##t, w, u); }         \
  static const kernels kernels_##t = {                                                             \
      &mtk_k_super_##t, {NULL, DIRECT_LIST(t)}, {NULL, TILE_LIST(t)}, decode_##t};                 \
  MTK_K_PACKED_BYTES(TYPE, t)                                                                      \
  MTK_K_RUN(MTK_K(linear_##t));                                                                    \
  MTK_K_RUN(MTK_K(linear_##t)) {                                                                   \
    (void)m;                                                                                       \
    job j = job_of(TYPE, y, ldy, act, packed, n, k);                                               \
    for (int64_t i = m0; i < m1; i += ROWS) {                                                      \
      run_rows(&kernels_##t, &j, i, mtk_k_min(ROWS, m1 - i), p0, p1);                              \
    }                                                                                              \
  }                                                                                                \
  static const mtk_linear_kernel row_##t = {                                                       \
      NAME(t, a8),           TYPE,      MTK_A8,  packed_bytes_##t,                                 \
      mtk_k_panel_pack,      act_bytes, prepare, MTK_K(linear_##t),                                \
      mtk_k_panel_grid_bytes};
MTK_K_SUPERS(SUPER_ROW)

void MTK_K(linear_k_init)(mtk_kernels *table);
void MTK_K(linear_k_init)(mtk_kernels *table) {
#define LAY(TYPE, t) table->linear[TYPE][MTK_A8] = &row_##t;
  MTK_K_SUPERS(LAY)
}
