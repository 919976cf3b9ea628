/* kernels/amx/linear_k.c: a8 linear layers of weights in superblocks on AMX-INT8 tiles.
 *
 * Codes are multiplied by their sub-scales when they are decoded: at most 14 bits, as two planes of
 * int8, value = 128 * high + low. Then tiles sum 256 k of each plane without a break, and 128 * sum
 * + sum is the exact int32 of a8. While the tiles of 16 activations are summed, vectors finish the
 * 16 before them. Few activations run as in avx512. Pure, any thread. */
#define MTK_LANES 16
#ifndef MTK_K
#define MTK_K(name) mtk_k_##name##__amx
#endif
#include "amx/config.h"
#include "families.h"
#include "simd/linear_super.h"

enum { ROWS = 256, TILES_WORTH_ROWS = 12 };
enum { PLANES = 2, SUM_TILES = TILE_PANELS * PLANES, LEVELS_OFFSET = 128 };

/* Tiles are read whole: up to 15 rows past the last one. */
static size_t act_bytes(int64_t m, int64_t k) {
  return (size_t)((m + TILE_SIDE - 1) * (k / MTK_K_SUPER)) * sizeof(act_block);
}

/* ---- weights ---------------------------------------- */
/* A decoded superblock of a panel. */
typedef struct weight_block {
  int8_t plane[PLANES][MTK_K_QUARTERS][TILE_SIDE][TILE_ROW]; /* low, high; rows of 4 k */
  int16_t min[8][MTK_PANEL][2];
  float d[MTK_PANEL], dmin[MTK_PANEL];
} weight_block;

/* Codes (unsigned bytes) times the lane's factor, less `bias`, as two planes. */
MTK_INLINE void split(int8_t *low, int8_t *high, vi codes, vi factor, vi bias) {
  const __mmask64 odd = 0xaaaaaaaaaaaaaaaau;
  vi a = _mm512_maddubs_epi16(vi_and(codes, vi_set1(0x00ff00ff)), factor);
  vi b = _mm512_maddubs_epi16(vi_and(codes, vi_set1((int)0xff00ff00)), factor);
  a = _mm512_sub_epi16(a, bias);
  b = _mm512_sub_epi16(b, bias);
  vi l = _mm512_mask_mov_epi8(a, odd, _mm512_slli_epi16(b, 8));
  vi_store(low, vi_and(l, vi_set1(0x7f7f7f7f)));
  vi_store(high, _mm512_mask_mov_epi8(_mm512_srai_epi16(a, 7), odd, _mm512_add_epi16(b, b)));
}

MTK_INLINE void decode(const mtk_k_super *f, weight_block *w, unit u) {
  const __m128i levels = load_levels(LEVELS_OFFSET);
  const int offset = f->levels ? LEVELS_OFFSET : f->offset;
  for (int quarter = 0; quarter < MTK_K_QUARTERS; quarter++) {
    const uint8_t *codes = u.at + mtk_k_super_head(f) + quarter * mtk_k_super_quarter(f);
    vi factor = vi_set1(0), bias = factor;
    MTK_UNROLL for (int t = 0; t < 16; t++) {
      const int k = 64 * quarter + 4 * t;
      if (k % f->sub == 0) {
        vi scales = unit_scales(f, u, k / f->sub / 2, 0);
        factor = k / f->sub % 2 ? second_half(scales) : first_half(scales);
        if (offset) bias = _mm512_mullo_epi16(factor, _mm512_set1_epi16((short)offset));
        factor = _mm512_or_si512(_mm512_slli_epi16(factor, 8), vi_and(factor, vi_set1(0x00ff00ff)));
      }
      vi c = group_codes(f, codes, t, levels);
      split(w->plane[0][quarter][t], w->plane[1][quarter][t], c, factor, bias);
    }
  }
  vf_store(w->d, unit_d(u, 0, 0));
  if (!f->has_min) return;
  vf_store(w->dmin, vf_neg(unit_d(u, 1, 0)));
  for (int pair = 0; pair < MTK_K_SUPER / f->sub / 2; pair++) {
    vi_store(w->min[pair], unit_bias(f, u, pair, 0));
  }
}

/* ---- products of 16 activations and two panels ---------------------------------------- */
MTK_INLINE void sum_quarter(const int8_t *q, int64_t ld, const weight_block *const *w,
                            int quarter) {
  _tile_loadd(4, q + 64 * quarter, ld);
  _tile_loadd(6, w[0]->plane[0][quarter], TILE_ROW);
  _tile_dpbssd(0, 4, 6);
  _tile_loadd(7, w[0]->plane[1][quarter], TILE_ROW);
  _tile_dpbssd(1, 4, 7);
  _tile_loadd(6, w[1]->plane[0][quarter], TILE_ROW);
  _tile_dpbssd(2, 4, 6);
  _tile_loadd(7, w[1]->plane[1][quarter], TILE_ROW);
  _tile_dpbssd(3, 4, 7);
}

/* acc[..][COLS] of 4 activations from row on. */
MTK_INLINE void finish_rows(const mtk_k_super *f, float *acc, const act_block *x, int64_t ldx,
                            const weight_block *const *w, const sum_tile *sums, int row) {
  MTK_UNROLL for (int i = 0; i < TILE_PANELS; i++) {
    const vf d = vf_load(w[i]->d), dmin = f->has_min ? vf_load(w[i]->dmin) : d;
    const int pairs = f->has_min ? MTK_K_SUPER / f->sub / 2 : 0;
    vi msum[4];
    MTK_UNROLL for (int r = 0; r < 4; r++) msum[r] = vi_set1(0);
    MTK_UNROLL for (int pair = 0; pair < pairs; pair++) {
      vi min = vi_load(w[i]->min[pair]);
      MTK_UNROLL for (int r = 0; r < 4; r++) {
        const act_block *a = &x[(row + r) * ldx];
        msum[r] = add_pairs(msum[r], min, vi_set1_bytes(act_sums(f, a) + 2 * pair));
      }
    }
    MTK_UNROLL for (int r = 0; r < 4; r++) {
      float *at = acc + (row + r) * COLS + i * MTK_PANEL;
      vi sum = vi_load(sums[2 * i + 1].row[row + r]);
      sum = vi_add(vi_slli(sum, 7), vi_load(sums[2 * i].row[row + r]));
      vf t = vf_mul(d, vf_from_i32(sum));
      if (f->has_min) t = vf_fma(dmin, vf_from_i32(msum[r]), t);
      vf_store(at, vf_fma(t, vf_set1(x[(row + r) * ldx].d), vf_load(at)));
    }
  }
}

/* acc[rows][COLS] continued over a superblock, `height` rows at a time. */
MTK_INLINE void multiply(const mtk_k_super *f, float *acc, const act_block *x, int64_t ldx,
                         const weight_block *const *w, int64_t rows, int64_t height,
                         upcoming next) {
  _Alignas(64) sum_tile sums[2][SUM_TILES];
  int at = 0;
  for (int64_t r = 0; r < rows + height; r += height, at ^= 1) {
    sum_tile *now = sums[at], *before = sums[at ^ 1];
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    MTK_UNROLL for (int quarter = 0; quarter < MTK_K_QUARTERS; quarter++) {
      if (r < rows) sum_quarter(x[r * ldx].q, ldx * (int64_t)sizeof *x, w, quarter);
      fetch_step(&next);
      if (r > 0 && 4 * quarter < height) {
        const int64_t from = r - height;
        finish_rows(f, acc + from * COLS, x + from * ldx, ldx, w, before, 4 * quarter);
      }
    }
    _tile_stored(0, now[0].row, TILE_ROW);
    _tile_stored(1, now[1].row, TILE_ROW);
    _tile_stored(2, now[2].row, TILE_ROW);
    _tile_stored(3, now[3].row, TILE_ROW);
  }
}

typedef struct kernels {
  const mtk_k_super *format;
  void (*decode)(weight_block *w, unit u);
  void (*multiply)(float *acc, const act_block *x, int64_t ldx, const weight_block *const *w,
                   int64_t rows, int64_t height, upcoming next);
} kernels;

/* What comes after superblock b of panels p and up, and its part of `rows` rows of y from m0 on, to
 * be fetched in `steps` steps. */
static upcoming upcoming_of(const mtk_k_super *f, const job *j, int64_t m0, int64_t rows, int64_t p,
                            int64_t b, int64_t steps) {
  const int64_t to_panel = b + 1 < j->blocks ? p : p + TILE_PANELS;
  upcoming next = {.n_panels = TILE_PANELS, .lines = (mtk_k_super_unit(f) + 63) / 64};
  for (int i = 0; i < TILE_PANELS; i++) {
    next.panels[i] = unit_at(f, j, to_panel + i, to_panel == p ? b + 1 : 0).at;
  }
  upcoming_rows(&next, j->y + m0 * j->ldy + p * MTK_PANEL, j->ldy, rows, b, j->blocks);
  fetch_in_steps(&next, steps);
  return next;
}

static void run_rows(const kernels *f, const job *j, int64_t m0, int64_t rows, int64_t p0,
                     int64_t p1) {
  _Alignas(64) weight_block scratch[TILE_PANELS];
  _Alignas(64) float acc[ROWS * COLS];
  int64_t tiles = (rows + TILE_SIDE - 1) / TILE_SIDE;
  int64_t height = ((rows + tiles - 1) / tiles + 3) / 4 * 4; /* few rows take little time */
  tiles_begin(height, TILE_ROW);
  for (int64_t p = p0; p < p1; p += TILE_PANELS) {
    int64_t panels = mtk_k_min(TILE_PANELS, p1 - p);
    const weight_block *const w[TILE_PANELS] = {&scratch[0], &scratch[panels - 1]};
    memset(acc, 0, (size_t)(rows * COLS) * sizeof *acc);
    for (int64_t b = 0; b < j->blocks; b++) {
      for (int64_t i = 0; i < panels; i++) f->decode(&scratch[i], unit_at(f->format, j, p + i, b));
      f->multiply(acc, j->x + m0 * j->blocks + b, j->blocks, w, rows, height,
                  upcoming_of(f->format, j, m0, rows, p, b, (tiles + 1) * MTK_K_QUARTERS));
    }
    store_tile(j, acc, m0, rows, p, panels);
  }
}

/* ---- per type ---------------------------------------- */
#define NAME(t, a) "mtk_k_" #t "_" #a "_linear__amx"
#define SUPER_ROW(TYPE, t)                                                                         \
  NOINLINE void decode_##t(weight_block *w, unit u) { decode(&mtk_k_super_##t, w, u); }            \
  NOINLINE void multiply_##t(float *acc, const act_block *x, int64_t ldx,                          \
                             const weight_block *const *w, int64_t rows, int64_t height,           \
                             upcoming next) {                                                      \
    multiply(&mtk_k_super_##t, acc, x, ldx, w, rows, height, next);                                \
  }                                                                                                \
  MTK_K_PACKED_BYTES(TYPE, t)                                                                      \
  MTK_K_RUN(mtk_k_linear_##t##__avx512); /* simd/linear_k.h */                                     \
  static MTK_K_RUN(run_##t) {                                                                      \
    static const kernels f = {&mtk_k_super_##t, decode_##t, multiply_##t};                         \
    if (m1 - m0 < TILES_WORTH_ROWS) {                                                              \
      mtk_k_linear_##t##__avx512(y, ldy, act, m, m0, m1, packed, n, k, p0, p1);                    \
      return;                                                                                      \
    }                                                                                              \
    job j = job_of(TYPE, y, ldy, act, packed, n, k);                                               \
    for (int64_t i = m0; i < m1; i += ROWS) {                                                      \
      run_rows(&f, &j, i, mtk_k_min(ROWS, m1 - i), p0, p1);                                        \
    }                                                                                              \
    _tile_release();                                                                               \
  }                                                                                                \
  static const mtk_linear_kernel row_##t = {                                                       \
      NAME(t, a8), TYPE,    MTK_A8,  packed_bytes_##t,      mtk_k_panel_pack,                      \
      act_bytes,   prepare, run_##t, mtk_k_panel_grid_bytes};
MTK_K_SUPERS(SUPER_ROW)

void MTK_K(linear_k_init)(mtk_kernels *table) {
#define LAY(TYPE, t) table->linear[TYPE][MTK_A8] = &row_##t;
  MTK_K_SUPERS(LAY)
}
