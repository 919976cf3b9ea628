/* kernels/amx/linear_a8.c: a8 linear layers of block types on AMX-INT8 tiles.
 *
 * A tile sums one block of 32 k of 16 activations and a panel; meanwhile vectors multiply the sums
 * of earlier blocks by their scales. While tiles are at work a core has one 512-bit multiplier
 * instead of two, so multiplications are what counts, conversions among them: sums get BIAS, which
 * makes their bits the float FLOAT_BIAS + sum, and fma(d, that, -FLOAT_BIAS * d) is d * sum rounded
 * once, wherever FLOAT_BIAS * d is exact. Few activations run as in avx512, as does nvfp4: sums of
 * 16 k make tiles no faster. Pure, any thread. */
#define MTK_LANES 16
#ifndef MTK_K
#define MTK_K(name) mtk_k_##name##__amx
#endif
#include "amx/config.h"
#include "families.h"
#include "simd/linear_act.h"

/* Blocks decoded at once, rows at once, rows that tiles are worth. */
enum { CHUNK = 18, ROWS = 128, TILES_WORTH_ROWS = 12 };
/* 1.5 * 2^23 and its bits: around it neighbouring floats are 1 apart. */
static const float FLOAT_BIAS = 0x1.8p23f;
enum { BIAS = 0x4b400000 };

/* ---- activations: those of avx512, then blocks of 16 rows [tile of rows][block] -------------- */
typedef struct act_unit {
  float d[TILE_SIDE], sum[TILE_SIDE];
  int8_t q[TILE_SIDE][MTK_K_BLOCK];
} act_unit;

static int64_t tiles_of(int64_t rows) { return (rows + TILE_SIDE - 1) / TILE_SIDE; }

static size_t act_bytes(int64_t m, int64_t k) {
  const int64_t blocks = mtk_k_blocks(k);
  return (size_t)(m * act_ld(blocks) + tiles_of(m) * blocks * (int64_t)sizeof(act_unit));
}

/* The units that row i is in. */
MTK_INLINE act_unit *act_units(const void *act, int64_t m, int64_t blocks, int64_t i) {
  return (act_unit *)(void *)act_row(act, m, act_ld(blocks)) + i / TILE_SIDE * blocks;
}

/* Row `row` of units; a NULL: zeros. */
MTK_INLINE void put_row(act_unit *units, int64_t row, const act_block *a, int64_t blocks) {
  for (int64_t b = 0; b < blocks; b++) {
    _mm256_storeu_si256((void *)units[b].q[row], a ? vh_load(a[b].q) : vh_set1(0));
    units[b].d[row] = a ? a[b].d : 0.0f;
    units[b].sum[row] = a ? a[b].sum : 0.0f;
  }
}

/* Lane r: the greatest lane of v[r]. */
MTK_INLINE vi greatest_lanes(const vi *v) {
  vi two[8], four[4], eight[2];
  MTK_UNROLL for (int i = 0; i < 8; i++) {
    two[i] = vi_max(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                    _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
  MTK_UNROLL for (int i = 0; i < 4; i++) {
    four[i] = vi_max(_mm512_unpacklo_epi64(two[2 * i], two[2 * i + 1]),
                     _mm512_unpackhi_epi64(two[2 * i], two[2 * i + 1]));
  }
#define FOLD(a, b) vi_max(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd))
  MTK_UNROLL for (int i = 0; i < 2; i++) eight[i] = FOLD(four[2 * i], four[2 * i + 1]);
  return FOLD(eight[0], eight[1]);
#undef FOLD
}

/* act_scale of 16 rows. */
MTK_INLINE void tile_scales(vf *d, vf *inverse, const float *x, int64_t ldx) {
  vi top[TILE_SIDE];
  const vi magnitude = vi_set1(0x7fffffff);
  MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) {
    top[r] = vi_max(vi_and(vi_load(x + r * ldx), magnitude),
                    vi_and(vi_load(x + r * ldx + LANES), magnitude));
  }
  const vi bits = greatest_lanes(top);
  const vf amax = vi_as_vf(bits);
  const __mmask16 wild = _mm512_cmpge_epu32_mask(bits, vi_set1(0x7f800000));
  const __mmask16 some = _mm512_cmp_ps_mask(amax, vf_set1(0x1p-100f), _CMP_GE_OQ) & ~wild;
  *d = _mm512_maskz_div_ps(some, amax, vf_set1(127.0f));
  *d = _mm512_mask_mov_ps(*d, wild, vf_set1(NAN));
  *inverse = _mm512_maskz_div_ps(some, vf_set1(127.0f), amax);
}

/* Lane r: the sum of the lanes of v[r]. */
MTK_INLINE vi sums_of_lanes(const __m256i *v) {
  __m128i four[4];
  MTK_UNROLL for (int i = 0; i < 4; i++) {
    __m256i h = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4 * i], v[4 * i + 1]),
                                  _mm256_hadd_epi32(v[4 * i + 2], v[4 * i + 3]));
    four[i] = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
  }
  vi all = _mm512_castsi128_si512(four[0]);
  all = _mm512_inserti32x4(all, four[1], 1);
  all = _mm512_inserti32x4(all, four[2], 2);
  return _mm512_inserti32x4(all, four[3], 3);
}

/* What stands behind the codes of an act_block: d, start and sum of 16 rows. */
MTK_INLINE void put_tails(act_block *const *rows, int64_t b, vf d, vi sum, int offset) {
  const vf start = vi_as_vf(_mm512_mullo_epi32(sum, vi_set1(-offset))), total = vf_from_i32(sum);
#define PART(i)                                                                                    \
  {                                                                                                \
    __m128 v[4] = {_mm512_extractf32x4_ps(d, i), _mm512_extractf32x4_ps(start, i),                 \
                   _mm_setzero_ps(), _mm512_extractf32x4_ps(total, i)};                            \
    _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);                                                     \
    MTK_UNROLL for (int r = 0; r < 4; r++) _mm_storeu_ps(&rows[4 * (i) + r][b].d, v[r]);           \
  }
  PART(0)
  PART(1)
  PART(2)
  PART(3)
#undef PART
}

/* Block b of the 16 rows of a unit, in the unit and in the rows: what quantize() makes of each. */
MTK_INLINE void quantize_tile(act_unit *unit, act_block *const *rows, int64_t b, const float *x,
                              int64_t ldx, int offset) {
  __m256i fours[TILE_SIDE];
  _Alignas(64) float factor[TILE_SIDE];
  vf d, inverse;
  tile_scales(&d, &inverse, x, ldx);
  vf_store(factor, inverse);
  MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) {
    /* Of factor 0 all codes are 0: NaN becomes 0x80000000, whose last byte is 0. */
    fours[r] = act_fours(unit->q[r], x + r * ldx, factor[r]);
    _mm256_storeu_si256((void *)rows[r][b].q, vh_load(unit->q[r]));
  }
  const vi sum = sums_of_lanes(fours);
  vf_store(unit->d, d);
  vf_store(unit->sum, vf_from_i32(sum));
  put_tails(rows, b, d, sum, offset);
}

/* Rows i .. i+16, a whole tile. */
NOINLINE void prepare_tile(int offset, void *act, const float *x, int64_t ldx, int64_t m, int64_t i,
                           int64_t blocks) {
  act_block *rows[TILE_SIDE];
  act_unit *units = act_units(act, m, blocks, i);
  for (int64_t r = 0; r < TILE_SIDE; r++) rows[r] = act_row(act, i + r, act_ld(blocks));
  for (int64_t b = 0; b < blocks; b++) {
    quantize_tile(units + b, rows, b, x + i * ldx + b * MTK_K_BLOCK, ldx, offset);
  }
}

/* Row i alone. */
MTK_INLINE void prepare_one(block_type t, void *act, const float *x, int64_t ldx, int64_t m,
                            int64_t i, int64_t blocks) {
  act_block *a = act_row(act, i, act_ld(blocks));
  prepare_row(t, a, x + i * ldx, blocks);
  if (m < TILES_WORTH_ROWS) return;
  const int64_t row = i % TILE_SIDE, end = i + 1 < m ? row + 1 : TILE_SIDE;
  for (int64_t r = row; r < end; r++, a = NULL) { /* tiles are read whole */
    put_row(act_units(act, m, blocks, i), r, a, blocks);
  }
}

MTK_INLINE void prepare(block_type t, void *act, const float *x, int64_t ldx, int64_t m, int64_t m0,
                        int64_t m1, int64_t k) {
  const int64_t blocks = mtk_k_blocks(k);
  for (int64_t i = m0; i < m1;) {
    if (i % TILE_SIDE == 0 && i + TILE_SIDE <= m1) {
      prepare_tile(t.offset, act, x, ldx, m, i, blocks);
      i += TILE_SIDE;
    } else {
      prepare_one(t, act, x, ldx, m, i++, blocks);
    }
  }
}

/* ---- weights ---------------------------------------- */
/* A decoded block of a panel. */
typedef struct weight_block {
  int8_t codes[8][TILE_ROW]; /* rows of 4 k */
  float d[MTK_PANEL], lift[MTK_PANEL], min[MTK_PANEL];
} weight_block;

/* Returns whether sums may be biased: lift = -FLOAT_BIAS * d is exact. It may not be with a grid,
 * is not for Inf and NaN; and of a tiny d products could leave a zero whose sign matters. */
MTK_INLINE int decode_blocks(block_type t, weight_block *w, const a8_job *job, int64_t p,
                             int64_t b0, int64_t count) {
  const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p);
  const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p);
  const __m128i table = code_table(t);
  __mmask16 inexact = grid ? 1 : 0;
  for (int64_t b = 0; b < count; b++) {
    panel_block at = block_at(t, panel, grid, b0 + b);
    vi codes[8];
    block_registers(codes, t, at, 0, table);
    MTK_UNROLL for (int g = 0; g < 8; g++) {
      vi_store(w[b].codes[g], _mm512_sub_epi8(codes[g], _mm512_set1_epi8((char)t.offset)));
    }
    const vf d = block_scale(t, at, 0, 0);
    vf_store(w[b].d, d);
    vf_store(w[b].lift, vf_mul(d, vf_set1(-FLOAT_BIAS)));
    inexact |= _mm512_cmp_ps_mask(vf_abs(d), vf_set1(0x1p100f), _CMP_NLT_UQ);
    if (t.scale == SCALE_E8M0) inexact |= _mm512_cmp_ps_mask(d, vf_set1(0x1p-40f), _CMP_LT_OQ);
    if (t.has_min) vf_store(w[b].min, block_scale(t, at, 1, 0));
  }
  return !inexact;
}

/* ---- products of units and a panel ---------------------------------------- */
/* acc += a block. */
MTK_INLINE void finish_block(const int has_min, const int biased, vf *acc, const sum_tile *sums,
                             const act_unit *x, const weight_block *w) {
  const vf d = vf_load(w->d), lift = vf_load(w->lift);
  const vf min = has_min ? vf_load(w->min) : d;
  MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) {
    const vi sum = vi_load(sums->row[r]);
    vf p = biased ? vf_fma(vi_as_vf(vi_add(sum, vi_set1(BIAS))), d, lift)
                  : vf_mul(d, vf_from_i32(sum));
    if (has_min) p = vf_fma(min, vf_set1(x->sum[r]), p);
    acc[r] = vf_fma(p, vf_set1(x->d[r]), acc[r]);
  }
}

/* `groups` runs of units of the blocks at work, `jump` units between one's end and the next. */
typedef struct unit_runs {
  const act_unit *units;
  int64_t groups, jump;
} unit_runs;

/* acc[groups * 16][COLS] begun, or continued, over `count` blocks of a panel. Two tiles of sums are
 * at work, from one group to the next, while vectors finish the two before. */
MTK_INLINE void multiply(const int has_min, const int biased, float *acc, unit_runs runs,
                         const weight_block *weights, int64_t count, int begin, upcoming next) {
  _Alignas(64) sum_tile sums[2];
  const act_unit *x = runs.units;
  const weight_block *w = weights;
#define SUM(i, a, b, x, w)                                                                         \
  {                                                                                                \
    _tile_loadd(a, (x)[i].q, MTK_K_BLOCK);                                                         \
    _tile_loadd(b, (w)[i].codes, TILE_ROW);                                                        \
    _tile_zero(i);                                                                                 \
    _tile_dpbssd(i, a, b);                                                                         \
  }
#define STORE(i)  _tile_stored(i, sums[i].row, TILE_ROW);
#define FINISH(i) finish_block(has_min, biased, c, &sums[i], x + i, w + i);
  for (int64_t g = 0, begun = 0; g < runs.groups; g++) {
    const act_unit *then = x + count + runs.jump;
    const int more = g + 1 < runs.groups && count % 2 == 0;
    vf c[TILE_SIDE];
    MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) {
      c[r] = begin ? vf_set1(0.0f) : vf_load(acc + r * COLS);
    }
    if (count > 1) {
      if (!begun) {
        SUM(0, 4, 6, x, w)
        SUM(1, 5, 7, x, w)
        STORE(0)
      }
      for (int64_t left = count; left >= 4; left -= 2, x += 2, w += 2) {
        SUM(0, 4, 6, x + 2, w + 2)
        STORE(1)
        FINISH(0)
        fetch_step(&next);
        SUM(1, 5, 7, x + 2, w + 2)
        STORE(0)
        FINISH(1)
        fetch_step(&next);
      }
      if (more) SUM(0, 4, 6, then, weights)
      STORE(1)
      FINISH(0)
      fetch_step(&next);
      if (more) {
        SUM(1, 5, 7, then, weights)
        STORE(0)
      }
      FINISH(1)
      fetch_step(&next);
      x += 2, w += 2;
      begun = more;
    }
    if (count % 2) {
      SUM(0, 4, 6, x, w)
      STORE(0)
      FINISH(0)
    }
    MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) vf_store(acc + r * COLS, c[r]);
    acc += TILE_SIDE * COLS;
    x = then;
    w = weights;
  }
#undef SUM
#undef STORE
#undef FINISH
}

typedef void multiply_fn(float *acc, unit_runs x, const weight_block *w, int64_t count, int begin,
                         upcoming next);
#define MULTIPLY(min, biased)                                                                      \
  NOINLINE void multiply_##min##biased(float *acc, unit_runs x, const weight_block *w,             \
                                       int64_t count, int begin, upcoming next) {                  \
    multiply(min, biased, acc, x, w, count, begin, next);                                          \
  }
MULTIPLY(0, 0)
MULTIPLY(0, 1)
MULTIPLY(1, 0)
MULTIPLY(1, 1)
/* [has_min][biased] */
static multiply_fn *const multiplies[2][2] = {{multiply_00, multiply_01},
                                              {multiply_10, multiply_11}};

typedef int decode_fn(weight_block *w, const a8_job *job, int64_t p, int64_t b0, int64_t count);

/* Rows m0 .. m1, at most ROWS with those before them in m0's tile; panels p .. p+panels. */
static void run_chunks(int has_min, decode_fn *decode, const a8_job *job, int64_t m, int64_t m0,
                       int64_t m1, int64_t p, int64_t panels) {
  _Alignas(64) weight_block w[CHUNK];
  _Alignas(64) float acc[ROWS * COLS];
  const int64_t base = m0 / TILE_SIDE * TILE_SIDE;
  const int64_t chunks = (job->blocks + CHUNK - 1) / CHUNK;
  unit_runs x = {act_units(job->x, m, job->blocks, base), tiles_of(m1 - base), 0};
  for (int64_t i = 0, b = 0, count; i < chunks; i++, b += count) {
    count = (job->blocks - b) / (chunks - i); /* chunks of nearly the same length */
    const int64_t lines = job->stride * count / job->blocks / 64 + 1;
    x.jump = job->blocks - count;
    for (int64_t j = 0; j < panels; j++) {
      const int biased = decode(w, job, p + j, b, count);
      upcoming next = {
          {mtk_k_panel(job->packed, job->stride, p + j)}, .n_panels = 1, .lines = lines};
      next.panels[0] +=
          i + 1 < chunks ? job->stride * (b + count) / job->blocks : panels * job->stride;
      if (i + 1 == chunks) {
        upcoming_rows(&next, job->y + m0 * job->ldy + p * MTK_PANEL, job->ldy, m1 - m0, j, panels);
      }
      fetch_in_steps(&next, count * x.groups);
      multiplies[has_min][biased](acc + j * MTK_PANEL, x, w, count, i == 0, next);
    }
    x.units += count;
  }
  store_tile(job, acc + (m0 - base) * COLS, m0, m1 - m0, p, panels);
}

static void run_tiles(int has_min, decode_fn *decode, const a8_job *job, int64_t m, int64_t m0,
                      int64_t m1, int64_t p0, int64_t p1) {
  tiles_begin(TILE_SIDE, MTK_K_BLOCK);
  for (int64_t i = m0, end; i < m1; i = end) {
    end = mtk_k_min(m1, (i / TILE_SIDE + ROWS / TILE_SIDE) * TILE_SIDE);
    for (int64_t p = p0; p < p1; p += TILE_PANELS) {
      run_chunks(has_min, decode, job, m, i, end, p, mtk_k_min(TILE_PANELS, p1 - p));
    }
  }
  _tile_release();
}

/* ---- per type ---------------------------------------- */
#define NAME(t, a) "mtk_k_" #t "_" #a "_linear__amx"
#define A8_ROW(TYPE, t)                                                                            \
  MTK_K_PACKED_BYTES(TYPE, t)                                                                      \
  static void prepare_##t(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0,           \
                          int64_t m1, int64_t k) {                                                 \
    prepare(block_##t, act, x, ldx, m, m0, m1, k);                                                 \
  }                                                                                                \
  NOINLINE int decode_##t(weight_block *w, const a8_job *job, int64_t p, int64_t b0,               \
                          int64_t count) {                                                         \
    return decode_blocks(block_##t, w, job, p, b0, count);                                         \
  }                                                                                                \
  MTK_K_RUN(mtk_k_linear_##t##__avx512); /* simd/linear_a8.h */                                    \
  static MTK_K_RUN(run_##t) {                                                                      \
    if (m1 - m0 < TILES_WORTH_ROWS) {                                                              \
      mtk_k_linear_##t##__avx512(y, ldy, act, m, m0, m1, packed, n, k, p0, p1);                    \
      return;                                                                                      \
    }                                                                                              \
    a8_job job = job_of(block_##t, TYPE, y, ldy, act, packed, n, k);                               \
    run_tiles(block_##t.has_min, decode_##t, &job, m, m0, m1, p0, p1);                             \
  }                                                                                                \
  static const mtk_linear_kernel row_##t = {                                                       \
      NAME(t, a8), TYPE,        MTK_A8,  packed_bytes_##t,      mtk_k_panel_pack,                  \
      act_bytes,   prepare_##t, run_##t, mtk_k_panel_grid_bytes};
MTK_K_A8_WHOLE(A8_ROW)

void MTK_K(linear_a8_init)(mtk_kernels *table) {
#define LAY(TYPE, t) table->linear[TYPE][MTK_A8] = &row_##t;
  MTK_K_A8_WHOLE(LAY)
}
