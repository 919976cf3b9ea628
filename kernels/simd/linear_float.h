/* kernels/simd/linear_float.h: linear layers in arithmetics a32 and a16, every storage type.
 *
 * Lanes run over n (rows of W) and each chain runs over k in order, so the bits do not depend on
 * tiles. A row, and few rows of plain types, decode in registers, as do tiles that read weights
 * where they stand; everything else decodes up to DEPTH k of PANELS panels once for ROWS
 * activations: to floats for the tiles of simd/linear_tiles.h, to pairs of bf16 for those of
 * kernels/amx. A tile keeps its sums over these k in registers; in between y holds them as floats,
 * which continues the chains unchanged. DEPTH k are done for all panels before more, so that many
 * activations stay in L2. */
#include "families.h"
#include "simd/linear_block.h"
#include "simd/linear_sums.h"

/* Panels side by side: of one row of x; of 2, 4 or 8 rows, by the registers (0: not at all; AMX has
 * tiles for more than 4 rows, 8 lanes for more than 2). Less than two panels of weights from memory
 * are slow. */
#if MTK_LANES == 16
enum { GEMV_A32 = 4, GEMV_A16 = 4 };
#define FEW_A32(rows) (rows == 8 ? 2 : 4)
#else
enum { GEMV_A32 = 4, GEMV_A16 = 2 };
#define FEW_A32(rows) (rows == 2 ? 2 : 0)
#endif
#if defined(MTK_TILES)
#define FEW_A16(rows) (rows == 8 ? 0 : 8 / rows)
#elif MTK_LANES == 16
#define FEW_A16(rows) (8 / rows)
#else
#define FEW_A16(rows) (rows == 2 ? 1 : 0)
#endif

enum { FEW_ROWS = 3 * LANES }; /* of tiles: their weights stay in L1 */
enum { FTZ_DAZ = 0x8040 };
static unsigned flush_on(int flush) {
  unsigned old = _mm_getcsr();
  if (flush) _mm_setcsr(old | FTZ_DAZ);
  return old;
}

/* Decoded weights k0 .. k0+count (k0 even) of a panel: in dst, or where they stand. */
typedef const void *decode_fn(void *dst, const uint8_t *panel, const float *grid, int64_t k0,
                              int64_t count);
/* m rows of x and where their products go; the grid of the first panel, and floats to the next. */
typedef struct gemv_rows {
  float *y;
  const float *x, *grid;
  int64_t ldy, ldx, m, ld_grid;
} gemv_rows;
/* Some rows of x times some panels, `stride` apart; cols of y from the first one on exist. */
typedef void gemv_fn(const gemv_rows *rows, const uint8_t *panel, int64_t stride, int64_t k,
                     float scale, int64_t cols);

/* A storage type in one arithmetic: how its weights are decoded, or NULL if there never is a grid
 * and there are tiles; tiles that read weights without a grid where they stand, or NULL; chains
 * that decode in registers, without a grid and with one (none: all NULL): of one row of x, many
 * panels and one; of up to 2, 4 and 8 rows, so many panels as FEW_ says, or NULL. */
enum { FEW_COUNT = 3 };
enum { bare, gridded, GEMV_SETS };
typedef struct gemv_set {
  gemv_fn *many, *one, *few[FEW_COUNT];
} gemv_set;
typedef struct tile_table tile_table;
typedef struct float_kernel {
  mtk_dtype type;
  mtk_arith arith;
  decode_fn *decode;
  const tile_table *tiles;
  gemv_set gemv[GEMV_SETS];
} float_kernel;

typedef struct float_job {
  const float_kernel *kernel;
  const tile_table *tiles; /* NULL: weights are decoded first */
  float *y;
  const float *act;
  const void *packed;
  int64_t ldy, m, stride, n, k;
  int flush; /* MXCSR FTZ and DAZ while the chains run */
} float_job;

/* Columns of y that sums of k0 and up go to: first if k0 is 0, else they hold the sums before. */
typedef struct sums_at {
  float *y;
  int64_t ldy, cols;
  int first;
  float scale; /* 1 if more sums follow */
} sums_at;

/* Columns of y to acc[rows][COLS]: store_sums takes them back. */
NOINLINE void load_sums(float *acc, const float *y, int64_t ldy, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r++, y += ldy, acc += COLS) {
    for (int64_t c = 0; c < cols; c += LANES) vf_store(acc + c, vf_load_n(y + c, cols - c));
  }
}

#ifdef MTK_TILES
#include "amx/tiles.h"
#else
#include "simd/linear_tiles.h"
#endif

/* ---- activations ---------------------------------------- */
enum { PREPARE_ROWS = 4 }; /* as rows and as tiles while they are in the cache */

#ifndef MTK_TILES
static size_t act_bytes_a32(int64_t m, int64_t k) { return act_bytes(MTK_A32, m, k); }

static void prepare_a32(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                        int64_t k) {
  for (int64_t i = m0, end; i < m1; i = end) {
    end = mtk_k_min(i + PREPARE_ROWS, m1);
    for (int64_t r = i; r < end; r++) {
      memcpy((float *)act + r * act_ld(k), x + r * ldx, (size_t)k * sizeof(float));
    }
    tile_rows(act, MTK_A32, m, i, end, k);
  }
}
#endif

static size_t act_bytes_a16(int64_t m, int64_t k) { return act_bytes(MTK_A16, m, k); }

static void prepare_a16(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                        int64_t k) {
  for (int64_t i = m0, end; i < m1; i = end) {
    end = mtk_k_min(i + PREPARE_ROWS, m1);
    for (int64_t r = i; r < end; r++) {
      float *row = (float *)act + r * act_ld(k);
      for (int64_t j = 0; j < act_ld(k); j += LANES) {
        int64_t left = k - j;
        vf v = left > 0 ? vf_load_n(x + r * ldx + j, left) : vf_set1(0.0f);
        vf_store(row + j, vf_round_bf16(v));
      }
    }
    tile_rows(act, MTK_A16, m, i, end, k);
  }
}

/* ---- general m ---------------------------------------- */
/* Where the weights k0 .. k0+count of panels p .. lie, about. */
static upcoming upcoming_at(const float_job *job, int64_t p, int64_t k0, int64_t count) {
  int64_t blocks = mtk_k_blocks(job->k), bytes = job->stride * mtk_k_blocks(count) / blocks;
  upcoming next = {.n_panels = PANELS, .lines = bytes / 64 + 1};
  for (int i = 0; i < PANELS; i++) {
    next.panels[i] = mtk_k_panel(job->packed, job->stride, p + i) +
                     job->stride * (k0 / MTK_K_BLOCK) / blocks / 64 * 64;
  }
  return next;
}

/* Rows m0 .. m0+rows times panels p .. p+panels, k0 .. k1 of the sums. */
static void run_panels(const float_job *job, int64_t m0, int64_t rows, int64_t p, int64_t panels,
                       int64_t k0, int64_t k1) {
  _Alignas(64) uint8_t scratch[PANELS][DEPTH * MTK_PANEL * sizeof(tile_weight)];
  const mtk_k_header *header = job->packed;
  sums_at to = {.y = job->y + m0 * job->ldy + p * MTK_PANEL,
                .ldy = job->ldy,
                .cols = mtk_k_min(panels * MTK_PANEL, job->n - p * MTK_PANEL)};
  int64_t depth = depth_of(job, rows);
  int elem = mtk_k_panel_format_of(job->kernel->type)->elem_bytes;
  for (int64_t j = k0; j < k1; j += depth) {
    int64_t count = mtk_k_min(depth, k1 - j);
    to.first = j == 0;
    to.scale = j + count == job->k ? header->scale : 1.0f;
    if (job->kernel->arith == MTK_A16) count = mtk_k_blocks(count) * MTK_K_BLOCK;
    const void *w[PANELS] = {0};
    for (int64_t i = 0; i < panels; i++) {
      const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p + i);
      const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p + i);
      w[i] = job->tiles ? panel + j * MTK_PANEL * elem
                        : job->kernel->decode(scratch[i], panel, grid, j, count);
    }
    for (int64_t i = panels; i < PANELS; i++) w[i] = w[0];
    int more = j + depth < k1;
    upcoming next = upcoming_at(job, more ? p : p + PANELS, more ? j + depth : k0, count);
    unsigned csr = flush_on(job->flush);
    products(job, &to, m0, rows, j, count, w, &next);
    _mm_setcsr(csr);
  }
}

/* Few rows on 8 lanes take panels whole, as they lie in memory. */
static void run_rows(const float_job *job, int64_t m0, int64_t rows, int64_t p0, int64_t p1) {
  int64_t depth = MTK_LANES == 8 && rows <= FEW_ROWS ? job->k : DEPTH;
  for (int64_t k0 = 0; k0 < job->k; k0 += depth) {
    for (int64_t p = p0; p < p1; p += PANELS) {
      run_panels(job, m0, rows, p, mtk_k_min(PANELS, p1 - p), k0, mtk_k_min(k0 + depth, job->k));
    }
  }
}

/* ---- few rows: chains decode in registers ---------------------------------------- */
enum { MAX_GEMV = GEMV_A32 * PARTS, MAX_SUMS = MTK_LANES == 16 ? 16 : 8 };

MTK_INLINE void store_vectors(float *y, const vf *acc, const int count, float scale, int64_t cols) {
  MTK_UNROLL for (int v = 0; v < count; v++) {
    int64_t left = cols - v * LANES;
    if (left > 0) vf_store_n(y + v * LANES, vf_mul(acc[v], vf_set1(scale)), left);
  }
}

/* acc += even + odd, which begin again. */
MTK_INLINE void close_block(vf *acc, vf c[2][MAX_SUMS], const int count) {
  MTK_UNROLL for (int v = 0; v < count; v++) {
    acc[v] = vf_add(acc[v], vf_add(c[0][v], c[1][v]));
    c[0][v] = c[1][v] = vf_set1(0.0f);
  }
}

/* Factors of the block that holds k0, of every vector; NaN among them is the quiet one. */
MTK_INLINE void grid_factors(vf *factor, const int count, const gemv_rows *of, int64_t k0) {
  const float *grid = of->grid + k0 / MTK_K_BLOCK * MTK_PANEL;
  MTK_UNROLL for (int v = 0; v < count; v++) {
    factor[v] = vf_quiet(vf_load(grid + v / PARTS * of->ld_grid + v % PARTS * LANES));
  }
}
MTK_INLINE void apply_factor(vf *w, vf factor, const int a16) {
  w[0] = vf_mul(w[0], factor);
  w[1] = vf_mul(w[1], factor);
  if (a16) round2(w);
}

/* Sums over k j0 .. j1 (an even number) of one block of `rows` rows times `panels` panels: of even
 * and odd k. factor: NULL without a grid. */
MTK_INLINE void gemv_pairs(load2_fn *load2, const int elem, const int a16, const int rows,
                           const int panels, vf *even, vf *odd, const vf *factor,
                           const float *const *x, const uint8_t *panel, int64_t stride,
                           int64_t ahead, int64_t j0, int64_t j1) {
  const int count = panels * PARTS;
#pragma GCC unroll 4
  for (int64_t j = j0; j < j1; j += 2) {
    MTK_UNROLL for (int v = 0; v < count; v++) {
      const uint8_t *from = panel + v / PARTS * stride;
      if (v % PARTS == 0) {
        for (int at = 0; at < 2 * MTK_PANEL * elem; at += 64)
          prefetch(from + j * MTK_PANEL * elem + at, ahead);
      }
      vf w[2];
      load2(w, from, j, v % PARTS);
      if (factor) apply_factor(w, factor[v], a16);
      MTK_UNROLL for (int r = 0; r < rows; r++) {
        even[r * count + v] = vf_fma(vf_set1(x[r][j]), w[0], even[r * count + v]);
        odd[r * count + v] = vf_fma(vf_set1(x[r][j + 1]), w[1], odd[r * count + v]);
      }
    }
  }
}

/* `rows` rows, of which the last is computed again where there are fewer. */
MTK_INLINE void gemv(load2_fn *load2, const int elem, const int a16, const int with_grid,
                     const int rows, const int panels, const gemv_rows *of, const uint8_t *panel,
                     int64_t stride, int64_t k, float scale, int64_t cols) {
  const int count = panels * PARTS, sums = rows * count;
  vf acc[MAX_SUMS], c[2][MAX_SUMS], w[2], factors[MAX_GEMV];
  const vf *factor = with_grid ? factors : NULL;
  vf *even = a16 ? c[0] : acc, *odd = a16 ? c[1] : acc;
  const float *x[8];
  MTK_UNROLL for (int r = 0; r < rows; r++) x[r] = of->x + (r < of->m ? r : of->m - 1) * of->ldx;
  MTK_UNROLL for (int i = 0; i < sums; i++) acc[i] = c[0][i] = c[1][i] = vf_set1(0.0f);
  int64_t k0 = 0;
  for (; a16 ? k0 < k : k0 + MTK_K_BLOCK <= k; k0 += MTK_K_BLOCK) {
    int64_t ahead = ahead_of(k0 * MTK_PANEL * elem, panels, stride);
    if (with_grid) grid_factors(factors, count, of, k0);
    gemv_pairs(load2, elem, a16, rows, panels, even, odd, factor, x, panel, stride, ahead, k0,
               k0 + MTK_K_BLOCK);
    if (a16) close_block(acc, c, sums);
  }
  if (!a16) {
    if (with_grid) grid_factors(factors, count, of, mtk_k_min(k0, k - 1));
    gemv_pairs(load2, elem, a16, rows, panels, even, odd, factor, x, panel, stride, 0, k0,
               k - k % 2);
  }
  MTK_UNROLL for (int v = 0; v < count; v++) {
    if (a16 || k % 2 == 0) break;
    load2(w, panel + v / PARTS * stride, k - 1, v % PARTS);
    if (with_grid) apply_factor(w, factor[v], 0);
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      acc[r * count + v] = vf_fma(vf_set1(x[r][k - 1]), w[0], acc[r * count + v]);
    }
  }
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    float *y = of->y + (r < of->m ? r : of->m - 1) * of->ldy;
    store_vectors(y, acc + r * count, count, scale, cols);
  }
}

/* The same on block types. */
MTK_INLINE void gemv_blocks(block_type t, const int a16, const int panels, const gemv_rows *of,
                            const uint8_t *panel, int64_t stride, int64_t k, float scale,
                            int64_t cols) {
  const int count = panels * PARTS;
  const float *x = of->x;
  vf acc[MAX_GEMV], c[2][MAX_SUMS];
  MTK_UNROLL for (int v = 0; v < count; v++) acc[v] = c[0][v] = c[1][v] = vf_set1(0.0f);
  for (int64_t b = 0; b < mtk_k_blocks(k); b++, x += MTK_K_BLOCK) {
    panel_block at[GEMV_A32];
    float_scales s[MAX_GEMV];
    int64_t ahead = ahead_of(block_at(t, panel, NULL, b).codes - panel, panels, stride);
    MTK_UNROLL for (int v = 0; v < count; v++) {
      at[v / PARTS] = block_at(t, panel + v / PARTS * stride, NULL, b);
      for (int line = v % PARTS; line <= t.code_bytes / 64; line += PARTS) {
        prefetch(at[v / PARTS].codes + 64 * line, ahead);
      }
      s[v] = float_scales_of(t, at[v / PARTS], v % PARTS);
    }
    MTK_UNROLL for (int run = 0; run < RUNS; run++) {
      for (int group = 2 * run; group < 2 * run + 2; group++) {
        MTK_UNROLL for (int v = 0; v < count; v++) {
          vf w[4];
          group_floats(w, t, at[v / PARTS], &s[v], v % PARTS, run, group);
          MTK_UNROLL for (int i = 0; i < 4; i++) {
            if (a16 && i % 2 == 0 && !exact_in_bf16(t, at[v / PARTS])) round2(w + i);
            vf a = vf_set1(x[4 * group + i]), *chain = a16 ? &c[i % 2][v] : &acc[v];
            *chain = vf_fma(a, w[i], *chain);
          }
        }
      }
    }
    if (a16) close_block(acc, c, count);
  }
  store_vectors(of->y, acc, count, scale, cols);
}

/* Which of `few` does m rows, and on how many panels; -1: none. */
static int few_of(const float_job *job, const gemv_set *set, int64_t m, int64_t *width) {
  static const int widths[][FEW_COUNT] = {[MTK_A32] = {FEW_A32(2), FEW_A32(4), FEW_A32(8)},
                                          [MTK_A16] = {FEW_A16(2), FEW_A16(4), FEW_A16(8)}};
  int i = m <= 2 ? 0 : m <= 4 ? 1 : 2;
  int tiled = MTK_LANES == 8 && job->kernel->arith == MTK_A16 && job->tiles; /* with more chains */
  *width = widths[job->kernel->arith][i];
  return m <= 8 && set->few[i] && !tiled ? i : -1;
}

/* Panels that do not make `width` are left: returns the first. */
static int64_t run_gemv(const float_job *job, gemv_fn *run, int64_t width, int64_t m0, int64_t m,
                        int64_t p0, int64_t p1) {
  float scale = ((const mtk_k_header *)job->packed)->scale;
  gemv_rows rows = {.x = job->act + m0 * act_ld(job->k), .ldx = act_ld(job->k), .ldy = job->ldy,
                    .m = m, .ld_grid = mtk_k_blocks(job->k) * MTK_PANEL};
  unsigned csr = flush_on(job->flush);
  for (; p1 - p0 >= width; p0 += width) {
    rows.y = job->y + m0 * job->ldy + p0 * MTK_PANEL;
    rows.grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p0);
    run(&rows, mtk_k_panel(job->packed, job->stride, p0), job->stride, job->k, scale,
        job->n - p0 * MTK_PANEL);
  }
  _mm_setcsr(csr);
  return p0;
}

/* As many panels as can be done by chains that decode in registers: returns the first that is
 * left. */
static int64_t run_direct(const float_job *job, int64_t m0, int64_t m, int64_t p0, int64_t p1) {
  int64_t width = job->kernel->arith == MTK_A16 ? GEMV_A16 : GEMV_A32;
  const gemv_set *set = &job->kernel->gemv[((const mtk_k_header *)job->packed)->has_grid != 0];
  if (!set->many || m == 0) return p0;
  if (m == 1) {
    p0 = run_gemv(job, set->many, width, m0, 1, p0, p1);
    return run_gemv(job, set->one, 1, m0, 1, p0, p1);
  }
  int few = few_of(job, set, m, &width);
  return few < 0 ? p0 : run_gemv(job, set->few[few], width, m0, m, p0, p1);
}

static void run_float(const float_kernel *kernel, float *y, int64_t ldy, const void *act, int64_t m,
                      int64_t m0, int64_t m1, const void *packed, int64_t n, int64_t k, int64_t p0,
                      int64_t p1) {
  float_job job = {.kernel = kernel,
                   .y = y,
                   .act = act,
                   .packed = packed,
                   .ldy = ldy,
                   .m = m,
                   .n = n,
                   .k = k,
                   .stride = mtk_k_panel_stride(mtk_k_panel_format_of(kernel->type), k),
                   .flush = kernel->arith == MTK_A16};
  if (!((const mtk_k_header *)packed)->has_grid) job.tiles = kernel->tiles;
  p0 = run_direct(&job, m0, m1 - m0, p0, p1);
  for (int64_t i = m0; i < m1 && p0 < p1; i += ROWS)
    run_rows(&job, i, mtk_k_min(ROWS, m1 - i), p0, p1);
}

/* ---- per type ---------------------------------------- */
/* a16 rounds to bf16 what is not that already: of plain types (bf16, fp8) only with a grid. */
MTK_INLINE const void *plain_chunk(load2_fn *load2, const int a16, void *dst, const uint8_t *panel,
                                   const float *grid, int64_t k0, int64_t count) {
  for (int64_t j = 0; j < count; j += 2) {
    MTK_UNROLL for (int h = 0; h < PARTS; h++) {
      vf w[2];
      load2(w, panel, k0 + j, h);
      if (grid) {
        const float *at = grid + (k0 + j) / MTK_K_BLOCK * MTK_PANEL + h * LANES;
        for (int i = 0; i < 2; i++) w[i] = vf_mul(w[i], vf_quiet(vf_load(at)));
      }
      put_weights(dst, j, h, w, a16 && grid);
    }
  }
  return dst;
}

MTK_INLINE const void *block_chunk(block_type t, const int a16, void *dst, const uint8_t *panel,
                                   const float *grid, int64_t k0, int64_t count) {
  for (int64_t j = 0; j < count; j += MTK_K_BLOCK) {
    panel_block at = block_at(t, panel, grid, (k0 + j) / MTK_K_BLOCK);
    int round = a16 && !exact_in_bf16(t, at);
    for (int h = 0; h < PARTS; h++) {
      float_scales s = float_scales_of(t, at, h);
      MTK_UNROLL for (int run = 0; run < RUNS; run++) {
        MTK_UNROLL for (int group = 2 * run; group < 2 * run + 2; group++) {
          vf w[4];
          group_floats(w, t, at, &s, h, run, group);
          put_weights(dst, j + 4 * group, h, w, round);
          put_weights(dst, j + 4 * group + 2, h, w + 2, round);
        }
      }
    }
  }
  return dst;
}

#define DECODE(t, a, call)                                                                         \
  static const void *decode_##t##_##a(void *dst, const uint8_t *panel, const float *grid,          \
                                      int64_t k0, int64_t count) {                                 \
    return call;                                                                                   \
  }
#define GEMV(t, a, suffix, call)                                                                   \
  NOINLINE void gemv_##t##_##a##_##suffix(const gemv_rows *rows, const uint8_t *panel,             \
                                          int64_t stride, int64_t k, float scale, int64_t cols) {  \
    call;                                                                                          \
  }
/* ...: the sets of gemv. */
#define RUN(TYPE, t, A, a, decode, tiles, ...)                                                     \
  static MTK_K_RUN(run_##t##_##a) {                                                                \
    static const float_kernel kernel = {TYPE, MTK_##A, decode, tiles, {__VA_ARGS__}};              \
    run_float(&kernel, y, ldy, act, m, m0, m1, packed, n, k, p0, p1);                              \
  }
#define PLAIN_GEMV(t, A, set, n_rows, width, elem)                                                 \
  gemv(load2_##t, elem, MTK_##A == MTK_A16, set == gridded, n_rows, width, rows, panel, stride, k, \
       scale, cols)
#define FEW_GEMV(t, A, a, set, n_rows, elem)                                                       \
  GEMV(t, a, set##_##n_rows, PLAIN_GEMV(t, A, set, n_rows, FEW_##A(n_rows), elem))
#define PLAIN_GEMVS(t, A, a, set, elem)                                                            \
  GEMV(t, a, set##_many, PLAIN_GEMV(t, A, set, 1, GEMV_##A, elem))                                 \
  GEMV(t, a, set##_one, PLAIN_GEMV(t, A, set, 1, 1, elem))                                         \
  FEW_GEMV(t, A, a, set, 2, elem)                                                                  \
  FEW_GEMV(t, A, a, set, 4, elem)                                                                  \
  FEW_GEMV(t, A, a, set, 8, elem)
#define FEW_ENTRY(t, A, a, set, n_rows)                                                            \
  FEW_##A(n_rows) > 0 ? gemv_##t##_##a##_##set##_##n_rows : NULL
#define PLAIN_SET(t, A, a, set)                                                                    \
  [set] = {gemv_##t##_##a##_##set##_many, gemv_##t##_##a##_##set##_one,                            \
           {FEW_ENTRY(t, A, a, set, 2), FEW_ENTRY(t, A, a, set, 4), FEW_ENTRY(t, A, a, set, 8)}}
#define DECODE_PLAIN(t, A, a)                                                                      \
  DECODE(t, a, plain_chunk(load2_##t, MTK_##A == MTK_A16, dst, panel, grid, k0, count))
/* Types whose weights nearly never have a grid, and those of FP8. */
#define PLAIN_RUN(TYPE, t, A, a, elem, decode, tiles)                                              \
  PLAIN_GEMVS(t, A, a, bare, elem)                                                                 \
  RUN(TYPE, t, A, a, decode, tiles, PLAIN_SET(t, A, a, bare))
#define PLAIN(TYPE, t, A, a, elem, tiles)                                                          \
  DECODE_PLAIN(t, A, a)                                                                            \
  PLAIN_RUN(TYPE, t, A, a, elem, decode_##t##_##a, tiles)
#define FP8(TYPE, t, A, a)                                                                         \
  DECODE_PLAIN(t, A, a)                                                                            \
  PLAIN_GEMVS(t, A, a, bare, 1)                                                                    \
  PLAIN_GEMVS(t, A, a, gridded, 1)                                                                 \
  RUN(TYPE, t, A, a, decode_##t##_##a, NULL, PLAIN_SET(t, A, a, bare), PLAIN_SET(t, A, a, gridded))
#define BLOCK_GEMV(t, A, width)                                                                    \
  gemv_blocks(block_##t, MTK_##A == MTK_A16, width, rows, panel, stride, k, scale, cols)
#define BLOCK(TYPE, t, A, a)                                                                       \
  DECODE(t, a, block_chunk(block_##t, MTK_##A == MTK_A16, dst, panel, grid, k0, count))            \
  GEMV(t, a, many, BLOCK_GEMV(t, A, GEMV_##A))                                                     \
  GEMV(t, a, one, BLOCK_GEMV(t, A, 1))                                                             \
  RUN(TYPE, t, A, a, decode_##t##_##a, NULL, {gemv_##t##_##a##_many, gemv_##t##_##a##_one, {NULL}})

#define BLOCKS(X, A, a)                                                                            \
  X(MTK_Q8_0, q8_0, A, a)                                                                          \
  X(MTK_Q4_0, q4_0, A, a)                                                                          \
  X(MTK_Q4_1, q4_1, A, a)                                                                          \
  X(MTK_Q5_0, q5_0, A, a)                                                                          \
  X(MTK_Q5_1, q5_1, A, a)                                                                          \
  X(MTK_IQ4_NL, iq4_nl, A, a)                                                                      \
  X(MTK_MXFP8, mxfp8, A, a)                                                                        \
  X(MTK_MXFP4, mxfp4, A, a)                                                                        \
  X(MTK_NVFP4, nvfp4, A, a)

#ifdef MTK_TILES
/* Weights that stand in their panels as products take them. */
static const void *in_place(void *dst, const uint8_t *panel, const float *grid, int64_t k0,
                            int64_t count) {
  (void)dst;
  (void)grid;
  (void)count;
  return panel + k0 * MTK_PANEL * (int64_t)sizeof(tile_weight);
}
PLAIN_RUN(MTK_BF16, bf16, A16, a16, 2, in_place, NULL)
#else
PLAIN_RUN(MTK_F32, f32, A32, a32, 4, NULL, TILES_F32)
PLAIN(MTK_F16, f16, A32, a32, 2, TILES_F16)
PLAIN(MTK_BF16, bf16, A32, a32, 2, NULL)
FP8(MTK_F8_E4M3, f8_e4m3, A32, a32)
FP8(MTK_F8_E5M2, f8_e5m2, A32, a32)
BLOCKS(BLOCK, A32, a32)
PLAIN(MTK_BF16, bf16, A16, a16, 2, TILES_BF16)
#endif
FP8(MTK_F8_E4M3, f8_e4m3, A16, a16)
FP8(MTK_F8_E5M2, f8_e5m2, A16, a16)
BLOCKS(BLOCK, A16, a16)

/* ---- table rows ---------------------------------------- */
#define BYTES(TYPE, t, A, a) MTK_K_PACKED_BYTES(TYPE, t)
MTK_K_PACKED_BYTES(MTK_F8_E4M3, f8_e4m3)
MTK_K_PACKED_BYTES(MTK_F8_E5M2, f8_e5m2)
BLOCKS(BYTES, , )

/* Weights whose grid is folded in: f32 and decoded types of a32, as f32; f32, f16, bf16 and decoded
 * types of a16, as bf16. */
static size_t folded_bytes_bf16(int64_t n, int64_t k) {
  return mtk_k_panel_folded_bytes(MTK_BF16, n, k);
}
static size_t no_grid_bytes(int64_t n, int64_t k) {
  (void)n;
  (void)k;
  return 0;
}

#define NAME(t, a) "mtk_k_" #t "_" #a "_linear__" MTK_ISA_TEXT
#define ROW(TYPE, A, t, a, bytes, pack, run, grid)                                                 \
  {NAME(t, a), TYPE, MTK_##A, bytes, pack, act_bytes_##a, prepare_##a, run, grid},
#define OWN(TYPE, t, A, a)                                                                         \
  ROW(TYPE, A, t, a, packed_bytes_##t, mtk_k_panel_pack, run_##t##_##a, mtk_k_panel_grid_bytes)
#define AS_F32(TYPE, t)                                                                            \
  ROW(TYPE, A32, t, a32, folded_bytes_f32, mtk_k_panel_pack_f32, run_f32_a32, no_grid_bytes)
#define AS_BF16(TYPE, t)                                                                           \
  ROW(TYPE, A16, t, a16, folded_bytes_bf16, mtk_k_panel_pack_bf16, run_bf16_a16, no_grid_bytes)

#ifndef MTK_TILES
MTK_K_PACKED_BYTES(MTK_F16, f16)
MTK_K_PACKED_BYTES(MTK_BF16, bf16)
static size_t folded_bytes_f32(int64_t n, int64_t k) {
  return mtk_k_panel_folded_bytes(MTK_F32, n, k);
}
void MTK_K(linear_a8_init)(mtk_kernels *table); /* simd/linear_a8.h */
void MTK_K(linear_k_init)(mtk_kernels *table);  /* simd/linear_k.h */
#endif

/* clang-format off */
static const mtk_linear_kernel rows[] = {
#ifndef MTK_TILES
    AS_F32(MTK_F32, f32)
    OWN(MTK_F16, f16, A32, a32)
    OWN(MTK_BF16, bf16, A32, a32)
    OWN(MTK_F8_E4M3, f8_e4m3, A32, a32)
    OWN(MTK_F8_E5M2, f8_e5m2, A32, a32)
    BLOCKS(OWN, A32, a32)
    MTK_K_DECODED(AS_F32)
#endif
    AS_BF16(MTK_F32, f32)
    AS_BF16(MTK_F16, f16)
    AS_BF16(MTK_BF16, bf16)
    OWN(MTK_F8_E4M3, f8_e4m3, A16, a16)
    OWN(MTK_F8_E5M2, f8_e5m2, A16, a16)
    BLOCKS(OWN, A16, a16)
    MTK_K_DECODED(AS_BF16)
};
/* clang-format on */

void MTK_K(linear_init)(mtk_kernels *table) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    table->linear[rows[i].type][rows[i].arith] = &rows[i];
  }
#ifndef MTK_TILES
  MTK_K(linear_a8_init)(table);
  MTK_K(linear_k_init)(table);
#endif
}
