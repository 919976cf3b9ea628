/* kernels/simd/linear_a8.h: linear layers in arithmetic a8 (formulas: linear_rules.h), block types.
 *
 * Lanes run over n, registers over m. Weight codes are unsigned bytes c + offset; the integer sums
 * start at -offset * sum(q), which is exact. Up to DIRECT_LIMIT activations decode codes in
 * registers; more work on chunks of CHUNK blocks, decoded once to bytes and float scales for ROWS
 * activations. */
#include "simd/linear_act.h"

#if MTK_LANES == 16
enum { TILE = 6, TILE_HALVES = 4, DIRECT_ROWS = 8, DIRECT_LIMIT = 40, MAX_DIRECT = 16 };
#else
enum { TILE = 4, TILE_HALVES = 3, DIRECT_ROWS = 8, DIRECT_LIMIT = 16, MAX_DIRECT = 8 };
#endif
enum { CHUNK = 16, ROWS = 192 };

/* ---- tiles ---------------------------------------- */
/* A decoded block of a panel. */
typedef struct weight_block {
  uint8_t codes[512];        /* 8 registers of 4 k x 16 rows */
  float scale[2][MTK_PANEL]; /* d, m or d0, d1 */
} weight_block;

/* The integer sum that dot_step made, as floats. */
MTK_INLINE vf block_sum(block_type t, vi sum, const act_block *a) {
  sum = dot_end(sum, is_wide(t));
  return vf_from_i32(is_raised(t) ? vi_add(sum, vi_set1(a->start[1])) : sum);
}

/* acc[rows][COLS] continued over `count` blocks. Vector v of the tile is w[v], lane[v] and up. AVX2
 * has registers for the integer sums alone: acc stays in memory. */
MTK_INLINE void tile(block_type t, const int rows, float *acc, const act_block *x, int64_t ldx,
                     const weight_block *const *w, int64_t count) {
  const int wide = is_wide(t), lane[2] = {0, MTK_LANES == 8 ? LANES : 0};
  const int in_memory = MTK_LANES == 8;
  vf c[TILE][2], part[TILE][2];
  vi sum[TILE][2];
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < 2; v++) c[r][v] = vf_load(acc + r * COLS + v * LANES);
  }
  for (int64_t b = 0; b < count; b++) {
    const weight_block *const wb[2] = {w[0] + b, w[1] + b};
    MTK_UNROLL for (int half = 0; half < 2; half++) {
      const int begins = half == 0 || t.halves;
      MTK_UNROLL for (int r = 0; r < rows; r++) {
        if (begins) sum[r][0] = sum[r][1] = vi_set1(act_row(x, r, ldx)[b].start[half]);
      }
      MTK_UNROLL for (int g = 4 * half; g < 4 * half + 4; g++) {
        vi w0 = vi_load(wb[0]->codes + 64 * g + 4 * lane[0]);
        vi w1 = vi_load(wb[1]->codes + 64 * g + 4 * lane[1]);
        MTK_UNROLL for (int r = 0; r < rows; r++) {
          vi q = vi_set1_bytes(act_row(x, r, ldx)[b].q + 4 * g);
          sum[r][0] = dot_step(sum[r][0], w0, q, wide);
          sum[r][1] = dot_step(sum[r][1], w1, q, wide);
        }
      }
      if (half == 0 && !t.halves) continue;
      MTK_UNROLL for (int r = 0; r < rows; r++) {
        MTK_UNROLL for (int v = 0; v < 2; v++) {
          vf d = vf_load(wb[v]->scale[t.halves ? half : 0] + lane[v]);
          vf s = block_sum(t, sum[r][v], &act_row(x, r, ldx)[b]);
          if (t.halves && half == 1)
            part[r][v] = vf_fma(d, s, part[r][v]);
          else
            part[r][v] = vf_mul(d, s);
        }
      }
    }
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      const act_block *a = &act_row(x, r, ldx)[b];
      MTK_UNROLL for (int v = 0; v < 2; v++) {
        float *at = acc + r * COLS + v * LANES;
        vf p = part[r][v];
        if (t.has_min) p = vf_fma(vf_load(wb[v]->scale[1] + lane[v]), vf_set1(a->sum), p);
        if (in_memory) c[r][v] = vf_load(at);
        c[r][v] = vf_fma(p, vf_set1(a->d), c[r][v]);
        if (in_memory) vf_store(at, c[r][v]);
      }
    }
  }
  MTK_UNROLL for (int r = 0; r < rows && !in_memory; r++) {
    MTK_UNROLL for (int v = 0; v < 2; v++) vf_store(acc + r * COLS + v * LANES, c[r][v]);
  }
}

typedef void tile_fn(float *acc, const act_block *x, int64_t ldx, const weight_block *const *w,
                     int64_t count);

/* ---- general m ---------------------------------------- */
MTK_INLINE void decode_chunk(block_type t, weight_block *dst, const a8_job *job, int64_t p,
                             int64_t b0, int64_t count) {
  const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p);
  const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p);
  for (int64_t b = 0; b < count; b++) {
    panel_block at = block_at(t, panel, grid, b0 + b);
    block_codes(dst[b].codes, t, at, code_table(t));
    for (int part = 0; part < (t.has_min || t.halves ? 2 : 1); part++) {
      MTK_UNROLL for (int h = 0; h < PARTS; h++) {
        vf_store(dst[b].scale[part] + h * LANES, block_scale(t, at, part, h));
      }
    }
  }
}

MTK_INLINE void run_rows(block_type t, tile_fn *const *tiles, int64_t max_rows, const a8_job *job,
                         int64_t m0, int64_t rows, int64_t p0, int64_t p1) {
  _Alignas(64) weight_block scratch[TILE_PANELS][CHUNK];
  _Alignas(64) float acc[ROWS * COLS];
  for (int64_t p = p0; p < p1; p += TILE_PANELS) {
    int64_t panels = mtk_k_min(TILE_PANELS, p1 - p);
    const weight_block *const w[2] = {scratch[0], scratch[panels - 1]};
    const float *y = job->y + m0 * job->ldy + p * MTK_PANEL;
    memset(acc, 0, (size_t)(rows * COLS) * sizeof *acc);
    for (int64_t b0 = 0; b0 < job->blocks; b0 += CHUNK) {
      int64_t count = mtk_k_min(CHUNK, job->blocks - b0), height;
      for (int64_t i = 0; i < panels; i++) decode_chunk(t, scratch[i], job, p + i, b0, count);
      int64_t left = (rows + max_rows - 1) / max_rows; /* tiles of nearly the same height */
      for (int64_t r = 0; left > 0; r += height, left--) {
        height = (rows - r + left - 1) / left;
        const act_block *x = act_row(job->x, m0 + r, job->ldx) + b0;
        if (b0 + CHUNK >= job->blocks) fetch_rows(y + r * job->ldy, job->ldy, height);
        tiles[height](acc + r * COLS, x, job->ldx, w, count);
      }
    }
    store_tile(job, acc, m0, rows, p, panels);
  }
}

/* ---- small m: codes decoded in registers ---------------------------------------- */
/* d_w * isum, plus the minimum: of one block and one activation, from its integer sums. */
MTK_INLINE vf block_product(block_type t, const vi *sum, const act_block *x, const vf *scale) {
  vf product = vf_mul(scale[0], block_sum(t, sum[0], x));
  if (t.halves) product = vf_fma(scale[1], block_sum(t, sum[1], x), product);
  if (t.has_min) product = vf_fma(scale[1], vf_set1(x->sum), product);
  return product;
}

/* The integer sums of one activation, of a block or its halves. shared: what is read of x serves
 * other panels too. */
MTK_INLINE void block_sums(block_type t, vi *sum, const vi *codes, const act_block *x, int shared) {
  MTK_UNROLL for (int g = 0; g < 8; g++) {
    const int8_t *q = x->q + 4 * g;
    vi *s = &sum[t.halves ? g / 4 : 0];
    if (g == 0 || (t.halves && g == 4)) *s = vi_set1(x->start[g / 4]);
    *s = shared ? dot_step(*s, codes[g], vi_set1_bytes(q), is_wide(t))
                : dot_step_at(*s, codes[g], q, is_wide(t));
  }
}

/* The same of `rows` activations, with codes decoded group by group: AVX2 has no registers for all
 * of a block. */
MTK_INLINE void sums_by_groups(block_type t, const int rows, vi (*sum)[2], panel_block at, int h,
                               __m128i table, const act_block *x, int64_t ldx) {
  const vi fifth = fifth_bits(t, at.codes, h);
  __asm__("" : "+r"(x)); /* read for each h anew */
  MTK_UNROLL for (int g = 0; g < 8; g++) {
    const int half = t.halves ? g / 4 : 0;
    vi codes = block_group(t, at, h, g, fifth, table);
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      const act_block *a = act_row(x, r, ldx);
      if (g == 0 || (t.halves && g == 4)) sum[r][half] = vi_set1(a->start[half]);
      sum[r][half] = dot_step_at(sum[r][half], codes, a->q + 4 * g, is_wide(t));
    }
  }
}

/* y of `rows` activations from m0 on and `panels` panels from p on, side by side, so that memory
 * has that many streams to deliver. */
MTK_INLINE void direct(block_type t, const int rows, const int panels, const a8_job *job,
                       int64_t m0, int64_t p) {
  const int shared = rows <= 2; /* there are registers for so many rows of a block */
  const int by_groups = MTK_LANES == 8 && rows > 1;
  const __m128i table = code_table(t);
  const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p);
  const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p);
  const act_block *x = act_row(job->x, m0, job->ldx);
  vf acc[MAX_DIRECT][PARTS];
  MTK_UNROLL for (int a = 0; a < rows * panels; a++) {
    MTK_UNROLL for (int h = 0; h < PARTS; h++) acc[a][h] = vf_set1(0.0f);
  }
  for (int64_t b = 0; b < job->blocks; b++, x++) {
    int64_t ahead = ahead_of(block_at(t, panel, NULL, b).codes - panel, panels, job->stride);
    MTK_UNROLL for (int i = 0; i < panels; i++) {
      const float *g = grid ? grid + i * job->blocks * MTK_PANEL : NULL;
      panel_block at = block_at(t, panel + i * job->stride, g, b);
      MTK_UNROLL for (int line = 0; line <= t.code_bytes / 64; line++) {
        prefetch(at.codes + 64 * line, ahead);
      }
      MTK_UNROLL for (int h = 0; h < PARTS; h++) {
        vi codes[8], sum[DIRECT_ROWS][2];
        if (by_groups)
          sums_by_groups(t, rows, sum, at, h, table, x, job->ldx);
        else
          block_registers(codes, t, at, h, table);
        vf scale[2] = {block_scale(t, at, 0, h)};
        if (t.has_min || t.halves) scale[1] = block_scale(t, at, 1, h);
        MTK_UNROLL for (int r = 0; r < rows; r++) {
          const act_block *a = act_row(x, r, job->ldx);
          if (!shared && !by_groups) __asm__("" : "+r"(a)); /* read for each panel anew */
          if (!by_groups) block_sums(t, sum[r], codes, a, shared);
          vf *c = &acc[i * rows + r][h];
          *c = vf_fma(block_product(t, sum[r], a, scale), vf_set1(a->d), *c);
        }
      }
    }
  }
  MTK_UNROLL for (int i = 0; i < panels; i++) {
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      MTK_UNROLL for (int h = 0; h < PARTS; h++) {
        int64_t col = (p + i) * MTK_PANEL + h * LANES, left = job->n - col;
        float *y = job->y + (m0 + r) * job->ldy + col;
        if (left > 0) vf_store_n(y, vf_mul(acc[i * rows + r][h], vf_set1(job->scale)), left);
      }
    }
  }
}

typedef void direct_fn(const a8_job *job, int64_t m0, int64_t p);
/* Of so many activations: of `panels` panels at once if more than one, and of one. */
typedef struct direct_row {
  int panels;
  direct_fn *many, *one;
} direct_row;

/* m0 .. m0+rows in passes of nearly the same height over the same panels. */
static void run_direct(const direct_row *table, const a8_job *job, int64_t m0, int64_t rows,
                       int64_t p0, int64_t p1) {
  int64_t passes = (rows + DIRECT_ROWS - 1) / DIRECT_ROWS;
  int64_t width = table[(rows + passes - 1) / passes].panels;
  for (int64_t p = p0; p < p1; p += width) {
    if (p1 - p < width) width = 1;
    for (int64_t pass = 0, r = 0; pass < passes; pass++) {
      int64_t height = (rows - r) / (passes - pass);
      const direct_row *d = &table[height];
      int64_t step = width < d->panels ? 1 : d->panels;
      for (int64_t q = p; q < p + width; q += step) (step > 1 ? d->many : d->one)(job, m0 + r, q);
      r += height;
    }
  }
}

/* ---- per type ---------------------------------------- */
#define TILE_FN(t, r)                                                                              \
  static void tile_##t##_##r(float *acc, const act_block *x, int64_t ldx,                          \
                             const weight_block *const *w, int64_t count) {                        \
    tile(block_##t, r, acc, x, ldx, w, count);                                                     \
  }
#define TILES_4(t) TILE_FN(t, 1) TILE_FN(t, 2) TILE_FN(t, 3) TILE_FN(t, 4)
#define LIST_4(t)  tile_##t##_1, tile_##t##_2, tile_##t##_3, tile_##t##_4
#if MTK_LANES == 16
#define TILES_6(t) TILES_4(t) TILE_FN(t, 5) TILE_FN(t, 6)
#define LIST_6(t)  LIST_4(t), tile_##t##_5, tile_##t##_6
#else
#define TILES_6 TILES_4
#define LIST_6  LIST_4
#endif

/* Panels side by side, by the registers. */
#if MTK_LANES == 16
#define WIDTH(rows) ((rows) <= 2 ? 4 : 2)
#else
#define WIDTH(rows) ((rows) == 1 ? 4 : 1)
#endif
#define DIRECT_FN(t, rows, which, panels)                                                          \
  static void direct_##t##_##rows##_##which(const a8_job *job, int64_t m0, int64_t p) {            \
    direct(block_##t, rows, panels, job, m0, p);                                                   \
  }
#define DIRECT_FNS(t, rows) DIRECT_FN(t, rows, many, WIDTH(rows)) DIRECT_FN(t, rows, one, 1)
#define DIRECT_ROW(t, rows)                                                                        \
  [rows] = {WIDTH(rows), WIDTH(rows) > 1 ? direct_##t##_##rows##_many : NULL,                      \
            direct_##t##_##rows##_one},
#define UP_TO_8(X, t) X(t, 1) X(t, 2) X(t, 3) X(t, 4) X(t, 5) X(t, 6) X(t, 7) X(t, 8)
#define DIRECTS(t)                                                                                 \
  UP_TO_8(DIRECT_FNS, t)                                                                           \
  static const direct_row direct_##t[DIRECT_ROWS + 1] = {UP_TO_8(DIRECT_ROW, t)};

static size_t act_bytes(int64_t m, int64_t k) { return (size_t)(m * act_ld(mtk_k_blocks(k))); }

#define NAME(t, a) "mtk_k_" #t "_" #a "_linear__" MTK_ISA_TEXT
#define A8_ROW(TYPE, t, max_rows, TILES, LIST)                                                     \
  TILES(t)                                                                                         \
  DIRECTS(t)                                                                                       \
  MTK_K_PACKED_BYTES(TYPE, t)                                                                      \
  static void prepare_##t(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0,           \
                          int64_t m1, int64_t k) {                                                 \
    (void)m;                                                                                       \
    const int64_t blocks = mtk_k_blocks(k);                                                        \
    for (int64_t i = m0; i < m1; i++) {                                                            \
      prepare_row(block_##t, act_row(act, i, act_ld(blocks)), x + i * ldx, blocks);                \
    }                                                                                              \
  }                                                                                                \
  MTK_K_RUN(MTK_K(linear_##t));                                                                    \
  MTK_K_RUN(MTK_K(linear_##t)) {                                                                   \
    static tile_fn *const tiles[] = {NULL, LIST(t)};                                               \
    (void)m;                                                                                       \
    a8_job job = job_of(block_##t, TYPE, y, ldy, act, packed, n, k);                               \
    if (m1 - m0 <= DIRECT_LIMIT) {                                                                 \
      if (m1 > m0) run_direct(direct_##t, &job, m0, m1 - m0, p0, p1);                              \
      return;                                                                                      \
    }                                                                                              \
    for (int64_t i = m0; i < m1; i += ROWS) {                                                      \
      run_rows(block_##t, tiles, max_rows, &job, i, mtk_k_min(ROWS, m1 - i), p0, p1);              \
    }                                                                                              \
  }                                                                                                \
  static const mtk_linear_kernel row_##t = {                                                       \
      NAME(t, a8),           TYPE,      MTK_A8,      packed_bytes_##t,                             \
      mtk_k_panel_pack,      act_bytes, prepare_##t, MTK_K(linear_##t),                            \
      mtk_k_panel_grid_bytes};

A8_ROW(MTK_Q8_0, q8_0, TILE, TILES_6, LIST_6)
A8_ROW(MTK_Q4_0, q4_0, TILE, TILES_6, LIST_6)
A8_ROW(MTK_Q4_1, q4_1, TILE, TILES_6, LIST_6)
A8_ROW(MTK_Q5_0, q5_0, TILE, TILES_6, LIST_6)
A8_ROW(MTK_Q5_1, q5_1, TILE, TILES_6, LIST_6)
A8_ROW(MTK_IQ4_NL, iq4_nl, TILE, TILES_6, LIST_6)
A8_ROW(MTK_MXFP4, mxfp4, TILE, TILES_6, LIST_6)
A8_ROW(MTK_NVFP4, nvfp4, TILE_HALVES, TILES_4, LIST_4)

void MTK_K(linear_a8_init)(mtk_kernels *table);
void MTK_K(linear_a8_init)(mtk_kernels *table) {
#define LAY(TYPE, t) table->linear[TYPE][MTK_A8] = &row_##t;
  MTK_K_A8_BLOCKS(LAY)
}
