/* kernels/amx/linear_a8.c: a8 linear layers of block types on AMX-INT8 tiles.
 *
 * A tile sums one block of 32 k of 16 activations and a panel; meanwhile vectors multiply the sums
 * of the block before the last by its scales. Activations that fill no tile run as in avx512, as
 * does nvfp4: sums of 16 k make tiles no faster. Pure, any thread. */
#define MTK_LANES 16
#ifndef MTK_K
#define MTK_K(name) mtk_k_##name##__amx
#endif
#include "amx/config.h"
#include "families.h"
#include "simd/linear_act.h"

enum { CHUNK = 16, ROWS = 128, TILE_WORTH_ROWS = 13 };

/* ---- activations: those of avx512, then d_a [block][rows], then the sums alike -------------- */
/* Tiles are read whole: up to 15 rows past the last one. */
static int64_t padded(int64_t m) { return m + TILE_SIDE - 1; }

static size_t act_bytes(int64_t m, int64_t k) {
  int64_t blocks = mtk_k_blocks(k);
  return (size_t)(padded(m) * (act_ld(blocks) + blocks * 2 * (int64_t)sizeof(float)));
}

MTK_INLINE float *act_factors(const void *act, int64_t m, int64_t blocks) {
  return (float *)(void *)act_row(act, padded(m), act_ld(blocks));
}

MTK_INLINE void prepare(block_type t, void *act, const float *x, int64_t ldx, int64_t m, int64_t m0,
                        int64_t m1, int64_t k) {
  const int64_t blocks = mtk_k_blocks(k), ld = padded(m);
  float *d = act_factors(act, m, blocks), *sum = d + blocks * ld;
  for (int64_t i = m0; i < m1; i++) {
    act_block *a = act_row(act, i, act_ld(blocks));
    prepare_row(t, a, x + i * ldx, blocks);
    for (int64_t b = 0; b < blocks; b++) {
      d[b * ld + i] = a[b].d;
      if (t.has_min) sum[b * ld + i] = a[b].sum;
    }
  }
}

/* ---- weights ---------------------------------------- */
/* A decoded block of a panel. */
typedef struct weight_block {
  int8_t codes[8][TILE_ROW]; /* rows of 4 k */
  float scale[MTK_PANEL], min[MTK_PANEL];
} weight_block;

MTK_INLINE void decode(block_type t, weight_block *dst, const a8_job *job, int64_t p, int64_t b0,
                       int64_t count) {
  const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p);
  const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p);
  const __m128i table = code_table(t);
  for (int64_t b = 0; b < count; b++) {
    panel_block at = block_at(t, panel, grid, b0 + b);
    vi codes[8];
    MTK_UNROLL for (int line = 0; line <= t.code_bytes / 64; line++) {
      prefetch(at.codes + 64 * line, AHEAD);
    }
    block_registers(codes, t, at, 0, table);
    MTK_UNROLL for (int g = 0; g < 8; g++) {
      vi_store(dst[b].codes[g], _mm512_sub_epi8(codes[g], _mm512_set1_epi8((char)t.offset)));
    }
    vf_store(dst[b].scale, block_scale(t, at, 0, 0));
    if (t.has_min) vf_store(dst[b].min, block_scale(t, at, 1, 0));
  }
}

/* ---- products of 16 activations and a panel ---------------------------------------- */
MTK_INLINE void sum_block(sum_tile *sum, const act_block *x, int64_t ldx, const weight_block *w) {
  _tile_zero(0);
  _tile_loadd(4, x->q, ldx);
  _tile_loadd(6, w->codes, TILE_ROW);
  _tile_dpbssd(0, 4, 6);
  _tile_stored(0, sum->row, TILE_ROW);
}

MTK_INLINE void finish_block(block_type t, vf *acc, const sum_tile *sums, const float *d,
                             const float *sum, const weight_block *w) {
  const vf scale = vf_load(w->scale), min = t.has_min ? vf_load(w->min) : scale;
  MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) {
    vf p = vf_mul(scale, vf_from_i32(vi_load(sums->row[r])));
    if (t.has_min) p = vf_fma(min, vf_set1(sum[r]), p);
    acc[r] = vf_fma(p, vf_set1(d[r]), acc[r]);
  }
}

/* acc[16][COLS] continued over `count` blocks of one panel; ldx in bytes. */
MTK_INLINE void multiply(block_type t, float *acc, const act_block *x, int64_t ldx, const float *d,
                         const float *sum, int64_t ld, const weight_block *w, int64_t count) {
  enum { AT_ONCE = 4, LAG = 2 };
  _Alignas(64) sum_tile sums[AT_ONCE];
  vf c[TILE_SIDE];
  MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) c[r] = vf_load(acc + r * COLS);
  for (int64_t b = 0; b < count + LAG; b++) {
    if (b < count) sum_block(&sums[b % AT_ONCE], x + b, ldx, w + b);
    if (b < LAG) continue;
    const int64_t at = b - LAG;
    finish_block(t, c, &sums[at % AT_ONCE], d + at * ld, sum + at * ld, w + at);
  }
  MTK_UNROLL for (int r = 0; r < TILE_SIDE; r++) vf_store(acc + r * COLS, c[r]);
}

typedef struct kernels {
  void (*decode)(weight_block *dst, const a8_job *job, int64_t p, int64_t b0, int64_t count);
  void (*multiply)(float *acc, const act_block *x, int64_t ldx, const float *d, const float *sum,
                   int64_t ld, const weight_block *w, int64_t count);
} kernels;

static void run_chunks(const kernels *f, const a8_job *job, int64_t m, int64_t m0, int64_t rows,
                       int64_t p, int64_t panels) {
  _Alignas(64) weight_block scratch[TILE_PANELS][CHUNK];
  _Alignas(64) float acc[ROWS * COLS];
  const int64_t ld = padded(m);
  const float *d = act_factors(job->x, m, job->blocks) + m0, *sum = d + job->blocks * ld;
  memset(acc, 0, (size_t)(rows * COLS) * sizeof *acc);
  for (int64_t b = 0; b < job->blocks; b += CHUNK) {
    int64_t count = mtk_k_min(CHUNK, job->blocks - b);
    for (int64_t i = 0; i < panels; i++) f->decode(scratch[i], job, p + i, b, count);
    for (int64_t r = 0; r < rows; r += TILE_SIDE) {
      const act_block *x = act_row(job->x, m0 + r, job->ldx) + b;
      const int64_t at = b * ld + r;
      for (int64_t i = 0; i < panels; i++) {
        f->multiply(acc + r * COLS + i * MTK_PANEL, x, job->ldx, d + at, sum + at, ld, scratch[i],
                    count);
      }
    }
  }
  store_tile(job, acc, m0, rows, p, panels);
}

static void run_rows(const kernels *f, const a8_job *job, int64_t m, int64_t m0, int64_t m1,
                     int64_t p0, int64_t p1) {
  tiles_begin(TILE_SIDE, MTK_K_BLOCK);
  for (int64_t i = m0; i < m1; i += ROWS) {
    for (int64_t p = p0; p < p1; p += TILE_PANELS) {
      run_chunks(f, job, m, i, mtk_k_min(ROWS, m1 - i), p, mtk_k_min(TILE_PANELS, p1 - p));
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
  NOINLINE void decode_##t(weight_block *dst, const a8_job *job, int64_t p, int64_t b0,            \
                           int64_t count) {                                                        \
    decode(block_##t, dst, job, p, b0, count);                                                     \
  }                                                                                                \
  NOINLINE void multiply_##t(float *acc, const act_block *x, int64_t ldx, const float *d,          \
                             const float *sum, int64_t ld, const weight_block *w, int64_t count) { \
    multiply(block_##t, acc, x, ldx, d, sum, ld, w, count);                                        \
  }                                                                                                \
  MTK_K_RUN(mtk_k_linear_##t##__avx512); /* simd/linear_a8.h */                                    \
  static MTK_K_RUN(run_##t) {                                                                      \
    static const kernels f = {decode_##t, multiply_##t};                                           \
    const int64_t rest = (m1 - m0) % TILE_SIDE, end = rest < TILE_WORTH_ROWS ? m1 - rest : m1;     \
    a8_job job = job_of(block_##t, TYPE, y, ldy, act, packed, n, k);                               \
    if (m0 < end) run_rows(&f, &job, m, m0, end, p0, p1);                                          \
    if (end < m1) mtk_k_linear_##t##__avx512(y, ldy, act, m, end, m1, packed, n, k, p0, p1);       \
  }                                                                                                \
  static const mtk_linear_kernel row_##t = {                                                       \
      NAME(t, a8), TYPE,        MTK_A8,  packed_bytes_##t,      mtk_k_panel_pack,                  \
      act_bytes,   prepare_##t, run_##t, mtk_k_panel_grid_bytes};
MTK_K_A8_WHOLE(A8_ROW)

void MTK_K(linear_a8_init)(mtk_kernels *table) {
#define LAY(TYPE, t) table->linear[TYPE][MTK_A8] = &row_##t;
  MTK_K_A8_WHOLE(LAY)
}
