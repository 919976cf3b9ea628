/* kernels/simd/linear_float.h: linear layers in arithmetics a32 and a16, every storage type.
 *
 * Lanes run over n (rows of W), registers over m, and each chain runs over k in order, so the bits
 * do not depend on tiles. m = 1 reads plain types straight from the panels; everything else works
 * on chunks of CHUNK k, decoded once to floats for ROWS activations. The accumulators of a chunk
 * are kept as floats in between, which continues the chains unchanged. */
#include "families.h"
#include "simd/linear_block.h"

/* A tile is `rows` activations x 2 vectors. a16 keeps two chains each, so half the rows. */
#if MTK_LANES == 16
enum { TILE_A32 = 12, TILE_A16 = 6, GEMV_A32 = 4, GEMV_A16 = 4 };
#else
enum { TILE_A32 = 6, TILE_A16 = 3, GEMV_A32 = 4, GEMV_A16 = 2 };
#endif
enum { COLS = 2 * LANES, TILE_PANELS = COLS / MTK_PANEL, CHUNK = 128, ROWS = 192 };

#define NOINLINE static __attribute__((noinline)) /* keeps float work between MXCSR changes */

/* ---- activations: rows of floats, padded with zeros to 32 ---------------------------------- */
static int64_t act_ld(int64_t k) {
  int64_t ld = mtk_k_blocks(k) * MTK_K_BLOCK;
  return ld % 1024 ? ld : ld + 16; /* rows of a tile apart from each other in the cache */
}
static size_t act_bytes_a32(int64_t m, int64_t k) {
  return (size_t)(m * act_ld(k)) * sizeof(float);
}

static void prepare_a32(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                        int64_t k) {
  (void)m;
  for (int64_t i = m0; i < m1; i++) {
    memcpy((float *)act + i * act_ld(k), x + i * ldx, (size_t)k * sizeof(float));
  }
}

#ifndef MTK_TILES /* else kernels/amx/linear.c has these */
static int64_t act_ld_a16(int64_t k) { return act_ld(k); }
static size_t act_bytes_a16(int64_t m, int64_t k) { return act_bytes_a32(m, k); }
static void tile_activations(float *row, int64_t padded) {
  (void)row;
  (void)padded;
}
#endif

static void prepare_a16(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                        int64_t k) {
  (void)m;
  int64_t padded = mtk_k_blocks(k) * MTK_K_BLOCK;
  for (int64_t i = m0; i < m1; i++) {
    float *row = (float *)act + i * act_ld_a16(k);
    for (int64_t j = 0; j < padded; j += LANES) {
      int64_t left = k - j;
      vf v = left > 0 ? vf_load_n(x + i * ldx + j, left) : vf_set1(0.0f);
      vf_store(row + j, vf_round_bf16(v));
    }
    tile_activations(row, padded);
  }
}

/* ---- tiles: acc[rows][COLS] += x[rows][count] * w[count][16 a panel] ----------------------- */
MTK_INLINE void tile_a32(const int rows, float *acc, const float *x, int64_t ldx,
                         const float *const *w, int64_t count) {
  vf c[TILE_A32][2];
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    c[r][0] = vf_load(acc + r * COLS);
    c[r][1] = vf_load(acc + r * COLS + LANES);
  }
  const float *w0 = w[0], *w1 = w[1];
  for (int64_t j = 0; j < count; j++) {
    vf b0 = vf_load(w0 + j * MTK_PANEL), b1 = vf_load(w1 + j * MTK_PANEL);
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      vf a = vf_set1(x[r * ldx + j]);
      c[r][0] = vf_fma(a, b0, c[r][0]);
      c[r][1] = vf_fma(a, b1, c[r][1]);
    }
  }
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    vf_store(acc + r * COLS, c[r][0]);
    vf_store(acc + r * COLS + LANES, c[r][1]);
  }
}

MTK_INLINE void tile_a16(const int rows, float *acc, const float *x, int64_t ldx,
                         const float *const *w, int64_t count) {
  const float *w0 = w[0], *w1 = w[1];
  for (int64_t k0 = 0; k0 < count; k0 += MTK_K_BLOCK) {
    vf c[2][TILE_A16][2]; /* even, odd */
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      c[0][r][0] = c[0][r][1] = c[1][r][0] = c[1][r][1] = vf_set1(0.0f);
    }
    for (int64_t j = k0; j < k0 + MTK_K_BLOCK; j += 2) {
      MTK_UNROLL for (int odd = 0; odd < 2; odd++) {
        vf b0 = vf_load(w0 + (j + odd) * MTK_PANEL), b1 = vf_load(w1 + (j + odd) * MTK_PANEL);
        MTK_UNROLL for (int r = 0; r < rows; r++) {
          vf a = vf_set1(x[r * ldx + j + odd]);
          c[odd][r][0] = vf_fma(a, b0, c[odd][r][0]);
          c[odd][r][1] = vf_fma(a, b1, c[odd][r][1]);
        }
      }
    }
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      MTK_UNROLL for (int v = 0; v < 2; v++) {
        float *at = acc + r * COLS + v * LANES;
        vf_store(at, vf_add(vf_load(at), vf_add(c[0][r][v], c[1][r][v])));
      }
    }
  }
}

typedef void tile_fn(float *acc, const float *x, int64_t ldx, const float *const *w, int64_t count);
#define TILE(a, r)                                                                                 \
  NOINLINE void tile_##a##_##r(float *acc, const float *x, int64_t ldx, const float *const *w,     \
                               int64_t count) {                                                    \
    tile_##a(r, acc, x, ldx, w, count);                                                            \
  }
TILE(a32, 1)
TILE(a32, 2)
TILE(a32, 3)
TILE(a32, 4)
TILE(a32, 5)
TILE(a32, 6)
TILE(a16, 1)
TILE(a16, 2)
TILE(a16, 3)
#if MTK_LANES == 16
TILE(a32, 7)
TILE(a32, 8)
TILE(a32, 9)
TILE(a32, 10)
TILE(a32, 11)
TILE(a32, 12)
TILE(a16, 4)
TILE(a16, 5)
TILE(a16, 6)
#endif

typedef struct float_arith {
  int flush; /* MXCSR FTZ and DAZ while the chains run */
  int max_rows;
  tile_fn *tiles[TILE_A32 + 1];
} float_arith;

#if MTK_LANES == 16
static const float_arith arith_a32 = {0,
                                      TILE_A32,
                                      {NULL, tile_a32_1, tile_a32_2, tile_a32_3, tile_a32_4,
                                       tile_a32_5, tile_a32_6, tile_a32_7, tile_a32_8, tile_a32_9,
                                       tile_a32_10, tile_a32_11, tile_a32_12}};
static const float_arith arith_a16 = {
    1, TILE_A16, {NULL, tile_a16_1, tile_a16_2, tile_a16_3, tile_a16_4, tile_a16_5, tile_a16_6}};
#else
static const float_arith arith_a32 = {
    0, TILE_A32, {NULL, tile_a32_1, tile_a32_2, tile_a32_3, tile_a32_4, tile_a32_5, tile_a32_6}};
static const float_arith arith_a16 = {1, TILE_A16, {NULL, tile_a16_1, tile_a16_2, tile_a16_3}};
#endif

enum { FTZ_DAZ = 0x8040 };
static unsigned flush_on(int flush) {
  unsigned old = _mm_getcsr();
  if (flush) _mm_setcsr(old | FTZ_DAZ);
  return old;
}

/* ---- general m ---------------------------------------- */
/* Decoded weights k0 .. k0+count of a panel: in dst, or where they stand. */
typedef const float *decode_fn(float *dst, const uint8_t *panel, const float *grid, int64_t k0,
                               int64_t count);

typedef struct float_job {
  float *y;
  const float *x; /* activations */
  const void *packed;
  int64_t ldy, ldx, stride, n, k;
  const float_arith *arith;
  decode_fn *decode;
} float_job;

NOINLINE void run_tiles(const float_arith *arith, float *acc, const float *x, int64_t ldx,
                        const float *const *w, int64_t rows, int64_t count) {
  int64_t tiles = (rows + arith->max_rows - 1) / arith->max_rows;
  for (int64_t r = 0; tiles > 0; tiles--) { /* tiles of nearly the same height */
    int64_t height = (rows - r + tiles - 1) / tiles;
    arith->tiles[height](acc + r * COLS, x + r * ldx, ldx, w, count);
    r += height;
  }
}

NOINLINE void store_tile(const float_job *job, const float *acc, int64_t m0, int64_t rows,
                         int64_t p, int64_t panels) {
  vf scale = vf_set1(((const mtk_k_header *)job->packed)->scale);
  int64_t col0 = p * MTK_PANEL, cols = mtk_k_min(panels * MTK_PANEL, job->n - col0);
  for (int64_t r = 0; r < rows; r++) {
    float *y = job->y + (m0 + r) * job->ldy + col0;
    for (int64_t c = 0; c < cols; c += LANES) {
      vf_store_n(y + c, vf_mul(vf_load(acc + r * COLS + c), scale), cols - c);
    }
  }
}

static void run_rows(const float_job *job, int64_t m0, int64_t rows, int64_t p0, int64_t p1) {
  _Alignas(64) float scratch[TILE_PANELS][CHUNK * MTK_PANEL];
  _Alignas(64) float acc[ROWS * COLS];
  for (int64_t p = p0; p < p1; p += TILE_PANELS) {
    int64_t panels = mtk_k_min(TILE_PANELS, p1 - p);
    memset(acc, 0, (size_t)(rows * COLS) * sizeof *acc);
    for (int64_t k0 = 0; k0 < job->k; k0 += CHUNK) {
      int64_t count = mtk_k_min(CHUNK, job->k - k0);
      if (job->arith->flush) count = mtk_k_blocks(count) * MTK_K_BLOCK;
      const float *w[2] = {0};
      for (int64_t i = 0; i < panels; i++) {
        const float *grid = mtk_k_panel_grid(job->packed, job->stride, job->n, job->k, p + i);
        const uint8_t *panel = mtk_k_panel(job->packed, job->stride, p + i);
        w[i] = job->decode(scratch[i], panel, grid, k0, count);
      }
      if (MTK_LANES == 8)
        w[1] = w[0] + LANES;
      else if (panels == 1)
        w[1] = w[0];
      unsigned csr = flush_on(job->arith->flush);
      run_tiles(job->arith, acc, job->x + m0 * job->ldx + k0, job->ldx, w, rows, count);
      _mm_setcsr(csr);
    }
    unsigned csr = flush_on(job->arith->flush);
    store_tile(job, acc, m0, rows, p, panels);
    _mm_setcsr(csr);
  }
}

/* ---- m = 1, plain types: chains read the panels ---------------------------------------- */
typedef vf load_fn(const uint8_t *p);

MTK_INLINE void gemv(load_fn *load, const int elem, const int a16, const int panels, float *y,
                     const float *x, const uint8_t *panel, int64_t stride, int64_t k, float scale,
                     int64_t cols) {
  enum { MAX = GEMV_A32 * PARTS };
  const int64_t step = MTK_PANEL * elem;
  vf acc[MAX], c[2][MAX];
  MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) acc[v] = vf_set1(0.0f);
  if (a16) {
    for (int64_t k0 = 0; k0 < k; k0 += MTK_K_BLOCK, panel += MTK_K_BLOCK * step) {
      int64_t ahead = ahead_of(k0 * step, panels, stride);
      MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) c[0][v] = c[1][v] = vf_set1(0.0f);
      for (int64_t j = 0; j < MTK_K_BLOCK; j += 2) {
        MTK_UNROLL for (int i = 0; i < panels; i++) prefetch(panel + i * stride + j * step, ahead);
        MTK_UNROLL for (int odd = 0; odd < 2; odd++) {
          vf a = vf_set1(x[k0 + j + odd]);
          MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
            const uint8_t *at = panel + v / PARTS * stride + v % PARTS * LANES * elem;
            c[odd][v] = vf_fma(a, load(at + (j + odd) * step), c[odd][v]);
          }
        }
      }
      MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
        acc[v] = vf_add(acc[v], vf_add(c[0][v], c[1][v]));
      }
    }
  } else {
    for (int64_t j = 0; j < k; j++, panel += step) {
      int64_t ahead = ahead_of(j * step, panels, stride);
      MTK_UNROLL for (int i = 0; i < panels; i++) prefetch(panel + i * stride, ahead);
      vf a = vf_set1(x[j]);
      MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
        const uint8_t *at = panel + v / PARTS * stride + v % PARTS * LANES * elem;
        acc[v] = vf_fma(a, load(at), acc[v]);
      }
    }
  }
  MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
    int64_t left = cols - v * LANES;
    if (left > 0) vf_store_n(y + v * LANES, vf_mul(acc[v], vf_set1(scale)), left);
  }
}

/* The same on block types, which decode in registers. */
MTK_INLINE void gemv_blocks(block_type t, const int a16, const int panels, float *y, const float *x,
                            const uint8_t *panel, int64_t stride, int64_t k, float scale,
                            int64_t cols) {
  enum { MAX = GEMV_A32 * PARTS };
  vf acc[MAX], c[2][MAX];
  MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
    acc[v] = c[0][v] = c[1][v] = vf_set1(0.0f);
  }
  for (int64_t b = 0; b < mtk_k_blocks(k); b++, x += MTK_K_BLOCK) {
    panel_block at[GEMV_A32];
    float_scales s[MAX];
    int64_t ahead = ahead_of(block_at(t, panel, NULL, b).codes - panel, panels, stride);
    MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
      at[v / PARTS] = block_at(t, panel + v / PARTS * stride, NULL, b);
      for (int line = v % PARTS; line <= t.code_bytes / 64; line += PARTS) {
        prefetch(at[v / PARTS].codes + 64 * line, ahead);
      }
      s[v] = float_scales_of(t, at[v / PARTS], v % PARTS);
    }
    MTK_UNROLL for (int half = 0; half < 2; half++) {
      for (int group = 4 * half; group < 4 * half + 4; group++) {
        MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
          vf w[4];
          group_floats(w, t, at[v / PARTS], &s[v], v % PARTS, half, group, a16);
          MTK_UNROLL for (int i = 0; i < 4; i++) {
            vf a = vf_set1(x[4 * group + i]), *chain = a16 ? &c[i % 2][v] : &acc[v];
            *chain = vf_fma(a, w[i], *chain);
          }
        }
      }
    }
    if (!a16) continue;
    MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
      acc[v] = vf_add(acc[v], vf_add(c[0][v], c[1][v]));
      c[0][v] = c[1][v] = vf_set1(0.0f);
    }
  }
  MTK_UNROLL for (int v = 0; v < panels * PARTS; v++) {
    int64_t left = cols - v * LANES;
    if (left > 0) vf_store_n(y + v * LANES, vf_mul(acc[v], vf_set1(scale)), left);
  }
}

typedef void gemv_fn(float *y, const float *x, const uint8_t *panel, int64_t stride, int64_t k,
                     float scale, int64_t cols);

/* many: of `width` panels at once; one: of a single one. */
static void run_gemv(const float_job *job, gemv_fn *many, int64_t width, gemv_fn *one, int64_t m0,
                     int64_t p0, int64_t p1) {
  float scale = ((const mtk_k_header *)job->packed)->scale;
  float *y = job->y + m0 * job->ldy;
  unsigned csr = flush_on(job->arith->flush);
  for (int64_t p = p0; p < p1;) {
    int64_t panels = p1 - p >= width ? width : 1;
    (panels == width ? many : one)(y + p * MTK_PANEL, job->x + m0 * job->ldx,
                                   mtk_k_panel(job->packed, job->stride, p), job->stride, job->k,
                                   scale, job->n - p * MTK_PANEL);
    p += panels;
  }
  _mm_setcsr(csr);
}

static void run_float(float_job *job, gemv_fn *many, int64_t width, gemv_fn *one, int64_t m0,
                      int64_t m1, int64_t p0, int64_t p1) {
  job->ldx = job->arith->flush ? act_ld_a16(job->k) : act_ld(job->k);
  if (m1 - m0 == 1 && many && !((const mtk_k_header *)job->packed)->has_grid) {
    run_gemv(job, many, width, one, m0, p0, p1);
    return;
  }
#ifdef MTK_TILES
  if (job->arith->flush && m1 - m0 >= TILES_WORTH_ROWS) {
    tile_rows(job, m0, m1, p0, p1);
    return;
  }
#endif
  for (int64_t i = m0; i < m1; i += ROWS) run_rows(job, i, mtk_k_min(ROWS, m1 - i), p0, p1);
}

/* ---- per type ---------------------------------------- */
/* round: for a16, whose plain types (bf16, fp8) are exact in bf16 without a grid. */
MTK_INLINE const float *plain_floats(load_fn *load, const int elem, const int round, float *dst,
                                     const uint8_t *panel, const float *grid, int64_t k0,
                                     int64_t count) {
  for (int64_t j = 0; j < count; j++) {
    MTK_UNROLL for (int h = 0; h < PARTS; h++) {
      vf v = load(panel + ((k0 + j) * MTK_PANEL + h * LANES) * elem);
      if (grid) v = vf_mul(v, vf_load(grid + (k0 + j) / MTK_K_BLOCK * MTK_PANEL + h * LANES));
      vf_store(dst + j * MTK_PANEL + h * LANES, round && grid ? vf_round_bf16(v) : v);
    }
  }
  return dst;
}

MTK_INLINE const float *block_chunk(block_type t, const int round, float *dst, const uint8_t *panel,
                                    const float *grid, int64_t k0, int64_t count) {
  for (int64_t j = 0; j < count; j += MTK_K_BLOCK) {
    panel_block at = block_at(t, panel, grid, (k0 + j) / MTK_K_BLOCK);
    block_floats(dst + j * MTK_PANEL, t, at, round);
  }
  return dst;
}

#define DECODE(t, a, call)                                                                         \
  static const float *decode_##t##_##a(float *dst, const uint8_t *panel, const float *grid,        \
                                       int64_t k0, int64_t count) {                                \
    return call;                                                                                   \
  }
#define PLAIN_DECODE(t, a, elem, round)                                                            \
  DECODE(t, a, plain_floats(load_##t, elem, round, dst, panel, grid, k0, count))
#define BLOCK_DECODE(t, a, round)                                                                  \
  DECODE(t, a, block_chunk(block_##t, round, dst, panel, grid, k0, count))

#define GEMV(t, elem, a, is_a16, width, suffix)                                                    \
  NOINLINE void gemv_##t##_##a##_##suffix(float *y, const float *x, const uint8_t *panel,          \
                                          int64_t stride, int64_t k, float scale, int64_t cols) {  \
    gemv(load_##t, elem, is_a16, width, y, x, panel, stride, k, scale, cols);                      \
  }
#define GEMVS(t, elem, a, is_a16, width)                                                           \
  GEMV(t, elem, a, is_a16, width, many)                                                            \
  GEMV(t, elem, a, is_a16, 1, one)

#define RUN(TYPE, t, a, many, width, one)                                                          \
  static void run_##t##_##a(float *y, int64_t ldy, const void *act, int64_t m, int64_t m0,         \
                            int64_t m1, const void *packed, int64_t n, int64_t k, int64_t p0,      \
                            int64_t p1) {                                                          \
    (void)m;                                                                                       \
    float_job job = {.y = y,                                                                       \
                     .x = act,                                                                     \
                     .packed = packed,                                                             \
                     .ldy = ldy,                                                                   \
                     .n = n,                                                                       \
                     .k = k,                                                                       \
                     .stride = mtk_k_panel_stride(mtk_k_panel_format_of(TYPE), k),                 \
                     .arith = &arith_##a,                                                          \
                     .decode = decode_##t##_##a};                                                  \
    run_float(&job, many, width, one, m0, m1, p0, p1);                                             \
  }
#define PLAIN_RUN(TYPE, t, a, width)                                                               \
  RUN(TYPE, t, a, gemv_##t##_##a##_many, width, gemv_##t##_##a##_one)
#define BLOCK_GEMV(t, a, is_a16, width, suffix)                                                    \
  NOINLINE void gemv_##t##_##a##_##suffix(float *y, const float *x, const uint8_t *panel,          \
                                          int64_t stride, int64_t k, float scale, int64_t cols) {  \
    gemv_blocks(block_##t, is_a16, width, y, x, panel, stride, k, scale, cols);                    \
  }

#define BYTES(TYPE, t)                                                                             \
  static size_t packed_bytes_##t(int64_t n, int64_t k) {                                           \
    return mtk_k_panel_packed_bytes(TYPE, n, k);                                                   \
  }
BYTES(MTK_F16, f16)
BYTES(MTK_BF16, bf16)
BYTES(MTK_F8_E4M3, f8_e4m3)
BYTES(MTK_F8_E5M2, f8_e5m2)
BYTES(MTK_Q8_0, q8_0)
BYTES(MTK_Q4_0, q4_0)
BYTES(MTK_Q4_1, q4_1)
BYTES(MTK_Q5_0, q5_0)
BYTES(MTK_Q5_1, q5_1)
BYTES(MTK_IQ4_NL, iq4_nl)
BYTES(MTK_MXFP8, mxfp8)
BYTES(MTK_MXFP4, mxfp4)
BYTES(MTK_NVFP4, nvfp4)

/* Weights whose grid is folded in: f32 and decoded types of a32, as f32; f32, f16, bf16 and decoded
 * types of a16, as bf16. */
static size_t folded_bytes_f32(int64_t n, int64_t k) {
  return mtk_k_panel_folded_bytes(MTK_F32, n, k);
}
static size_t folded_bytes_bf16(int64_t n, int64_t k) {
  return mtk_k_panel_folded_bytes(MTK_BF16, n, k);
}
static size_t no_grid_bytes(int64_t n, int64_t k) {
  (void)n;
  (void)k;
  return 0;
}

DECODE(f32, a32,
       ((void)dst, (void)grid, (void)count, (const float *)(const void *)panel + k0 * MTK_PANEL))
GEMVS(f32, 4, a32, 0, GEMV_A32)
PLAIN_RUN(MTK_F32, f32, a32, GEMV_A32)

#define PLAIN_A32(TYPE, t, elem)                                                                   \
  PLAIN_DECODE(t, a32, elem, 0)                                                                    \
  GEMVS(t, elem, a32, 0, GEMV_A32)                                                                 \
  PLAIN_RUN(TYPE, t, a32, GEMV_A32)
PLAIN_A32(MTK_F16, f16, 2)
PLAIN_A32(MTK_BF16, bf16, 2)
PLAIN_A32(MTK_F8_E4M3, f8_e4m3, 1)
PLAIN_A32(MTK_F8_E5M2, f8_e5m2, 1)

/* fp8 values are exact in bf16; a grid makes them round. bf16 panels never have a grid. */
#define PLAIN_A16(TYPE, t, elem)                                                                   \
  PLAIN_DECODE(t, a16, elem, 1)                                                                    \
  GEMVS(t, elem, a16, 1, GEMV_A16)                                                                 \
  PLAIN_RUN(TYPE, t, a16, GEMV_A16)
PLAIN_A16(MTK_BF16, bf16, 2)
PLAIN_A16(MTK_F8_E4M3, f8_e4m3, 1)
PLAIN_A16(MTK_F8_E5M2, f8_e5m2, 1)

#define BLOCK_BOTH(TYPE, t)                                                                        \
  BLOCK_DECODE(t, a32, 0)                                                                          \
  BLOCK_DECODE(t, a16, 1)                                                                          \
  BLOCK_GEMV(t, a32, 0, GEMV_A32, many)                                                            \
  BLOCK_GEMV(t, a32, 0, 1, one)                                                                    \
  BLOCK_GEMV(t, a16, 1, GEMV_A16, many)                                                            \
  BLOCK_GEMV(t, a16, 1, 1, one)                                                                    \
  PLAIN_RUN(TYPE, t, a32, GEMV_A32)                                                                \
  PLAIN_RUN(TYPE, t, a16, GEMV_A16)
BLOCK_BOTH(MTK_Q8_0, q8_0)
BLOCK_BOTH(MTK_Q4_0, q4_0)
BLOCK_BOTH(MTK_Q4_1, q4_1)
BLOCK_BOTH(MTK_Q5_0, q5_0)
BLOCK_BOTH(MTK_Q5_1, q5_1)
BLOCK_BOTH(MTK_IQ4_NL, iq4_nl)
BLOCK_BOTH(MTK_MXFP8, mxfp8)
BLOCK_BOTH(MTK_MXFP4, mxfp4)
BLOCK_BOTH(MTK_NVFP4, nvfp4)

/* ---- table rows ---------------------------------------- */
#define NAME(t, a) "mtk_k_" #t "_" #a "_linear__" MTK_ISA_TEXT
static const mtk_linear_kernel rows[] = {
#define ROW(TYPE, A, t, a, bytes, pack, run, grid)                                                 \
  { NAME(t, a), TYPE, A, bytes, pack, act_bytes_##a, prepare_##a, run, grid }
#define A32(TYPE, t)                                                                               \
  ROW(TYPE, MTK_A32, t, a32, packed_bytes_##t, mtk_k_panel_pack, run_##t##_a32,                    \
      mtk_k_panel_grid_bytes)
#define A16(TYPE, t)                                                                               \
  ROW(TYPE, MTK_A16, t, a16, packed_bytes_##t, mtk_k_panel_pack, run_##t##_a16,                    \
      mtk_k_panel_grid_bytes)
#define A16_AS_BF16(TYPE, t)                                                                       \
  ROW(TYPE, MTK_A16, t, a16, folded_bytes_bf16, mtk_k_panel_pack_bf16, run_bf16_a16, no_grid_bytes)
    ROW(MTK_F32, MTK_A32, f32, a32, folded_bytes_f32, mtk_k_panel_pack_f32, run_f32_a32,
        no_grid_bytes),
    A32(MTK_F16, f16),
    A32(MTK_BF16, bf16),
    A32(MTK_F8_E4M3, f8_e4m3),
    A32(MTK_F8_E5M2, f8_e5m2),
    A32(MTK_Q8_0, q8_0),
    A32(MTK_Q4_0, q4_0),
    A32(MTK_Q4_1, q4_1),
    A32(MTK_Q5_0, q5_0),
    A32(MTK_Q5_1, q5_1),
    A32(MTK_IQ4_NL, iq4_nl),
    A32(MTK_MXFP8, mxfp8),
    A32(MTK_MXFP4, mxfp4),
    A32(MTK_NVFP4, nvfp4),
    A16_AS_BF16(MTK_F32, f32),
    A16_AS_BF16(MTK_F16, f16),
    A16_AS_BF16(MTK_BF16, bf16),
    A16(MTK_F8_E4M3, f8_e4m3),
    A16(MTK_F8_E5M2, f8_e5m2),
    A16(MTK_Q8_0, q8_0),
    A16(MTK_Q4_0, q4_0),
    A16(MTK_Q4_1, q4_1),
    A16(MTK_Q5_0, q5_0),
    A16(MTK_Q5_1, q5_1),
    A16(MTK_IQ4_NL, iq4_nl),
    A16(MTK_MXFP8, mxfp8),
    A16(MTK_MXFP4, mxfp4),
    A16(MTK_NVFP4, nvfp4),
#define DECODED(TYPE, t)                                                                           \
  ROW(TYPE, MTK_A32, t, a32, folded_bytes_f32, mtk_k_panel_pack_f32, run_f32_a32, no_grid_bytes),  \
      A16_AS_BF16(TYPE, t),
    MTK_K_DECODED(DECODED)
};

#ifdef MTK_TILES
void MTK_K(linear_init)(mtk_kernels *table) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].arith == MTK_A16) table->linear[rows[i].type][MTK_A16] = &rows[i];
}
#else
void MTK_K(linear_a8_init)(mtk_kernels *table); /* simd/linear_a8.h */
void MTK_K(linear_k_init)(mtk_kernels *table);  /* simd/linear_k.h */

void MTK_K(linear_init)(mtk_kernels *table) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    table->linear[rows[i].type][rows[i].arith] = &rows[i];
  }
  MTK_K(linear_a8_init)(table);
  MTK_K(linear_k_init)(table);
}
#endif
