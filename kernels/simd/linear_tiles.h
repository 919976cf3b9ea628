/* kernels/simd/linear_tiles.h: products of many rows of x for simd/linear_float.h, with sums in
 * registers: lanes over n, a tile of `rows` activations x 2 or 3 vectors.
 *
 * Activations are rows of floats for few rows, and then the same once more as tiles: of `height`
 * rows each, k by k, so that a product reads one stream. */
#ifndef MTK_KERNELS_SIMD_LINEAR_TILES_H
#define MTK_KERNELS_SIMD_LINEAR_TILES_H

/* Heights of tiles, X(a, b, height). a16 keeps two chains each, so half the rows; MANY_A32 is the
 * height for more rows than TILE_A32. */
#define NONE(X, a, b)
#define UP_TO_3(X, a, b) X(a, b, 1) X(a, b, 2) X(a, b, 3)
#define UP_TO_4(X, a, b) UP_TO_3(X, a, b) X(a, b, 4)
#define UP_TO_6(X, a, b) UP_TO_4(X, a, b) X(a, b, 5) X(a, b, 6)
#define UP_TO_12(X, a, b)                                                                          \
  UP_TO_6(X, a, b) X(a, b, 7) X(a, b, 8) X(a, b, 9) X(a, b, 10) X(a, b, 11) X(a, b, 12)
#if MTK_LANES == 16
enum { TILE_A32 = 12, TILE_A16 = 6, MANY_A32 = TILE_A32, PANELS = TILE_PANELS };
#define HEIGHTS_A32 UP_TO_12
#define HEIGHTS_A16 UP_TO_6
#define WIDE_A32    NONE
#else
enum { TILE_A32 = 6, TILE_A16 = 3, MANY_A32 = 4, PANELS = 3 };
#define HEIGHTS_A32 UP_TO_6
#define HEIGHTS_A16 UP_TO_3
/* Of three vectors, half the panels. */
#define WIDE_A32 UP_TO_4
#endif
enum { MAX_WIDTH = 3 }; /* vectors */
enum { ROWS = 264, DEPTH = 1024, FETCH_K = MTK_K_BLOCK }; /* whole tiles for 256 rows */
typedef float tile_weight;
/* k at a time: what was decoded for few rows stays in L1. */
static int64_t depth_of(const float_job *job, int64_t rows) {
  return rows > FEW_ROWS || (MTK_LANES == 8 && job->tiles) ? DEPTH : 128;
}

/* ---- activations ---------------------------------------- */
static int64_t act_ld(int64_t k) { return mtk_k_blocks(k) * MTK_K_BLOCK; }
/* With 8 lanes nearly equal heights, and beyond 6 rows of a32 tiles of three vectors: otherwise
 * there are too few chains for the latency of FMA. */
static int64_t tile_height(mtk_arith arith, int64_t m) {
  int64_t most = arith == MTK_A16 ? TILE_A16 : m > TILE_A32 ? MANY_A32 : TILE_A32;
  int64_t count = (m + most - 1) / most;
  return MTK_LANES == 8 ? (m + count - 1) / count : mtk_k_min(most, m);
}
static int64_t rows_in_tiles(int64_t height, int64_t m) {
  return (m + height - 1) / height * height;
}
static size_t act_bytes(mtk_arith arith, int64_t m, int64_t k) {
  return (size_t)((m + rows_in_tiles(tile_height(arith, m), m)) * act_ld(k)) * sizeof(float);
}
/* Row i, column j of a batch in its tile: DEPTH columns of all rows, then the next ones. A single
 * row is its tile. */
static int64_t in_tile(int64_t height, int64_t m, int64_t i, int64_t j, int64_t k) {
  if (m == 1) return j;
  int64_t j0 = j / DEPTH * DEPTH, width = mtk_k_min(DEPTH, act_ld(k) - j0);
  return m * act_ld(k) + rows_in_tiles(height, m) * j0 + i / height * height * width +
         (j - j0) * height + i % height;
}

/* Rows m0 .. m1 to their tiles, four at a time where they lie in one. */
static void tile_rows(float *act, mtk_arith arith, int64_t m, int64_t m0, int64_t m1, int64_t k) {
  int64_t height = tile_height(arith, m), ld = act_ld(k), count;
  for (int64_t i = m0; i < m1 && m > 1; i += count) {
    count = i % height + 4 <= height && i + 4 <= m1 ? 4 : 1;
    for (int64_t j0 = 0; j0 < ld; j0 += DEPTH) {
      const float *row = act + i * ld + j0;
      float *to = act + in_tile(height, m, i, j0, k);
      int64_t width = mtk_k_min(DEPTH, ld - j0);
      for (int64_t j = 0; j < width && count == 1; j++) to[j * height] = row[j];
      for (int64_t j = 0; j < width && count == 4; j += 4) {
        __m128 v[4];
        MTK_UNROLL for (int r = 0; r < 4; r++) v[r] = _mm_loadu_ps(row + r * ld + j);
        _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);
        MTK_UNROLL for (int c = 0; c < 4; c++) _mm_storeu_ps(to + (j + c) * height, v[c]);
      }
    }
  }
}

/* ---- sums += x[count][rows, step apart] * w[count][16 a panel] ------------------- */
/* Loads after it stay there: the compiler would gather those of several steps, for which 16
 * registers are too few. */
MTK_INLINE void loads_in_order(void) {
  if (MTK_LANES == 8) __asm__ volatile("" ::: "memory");
}

/* The sums so far, and the vectors of weights in registers. */
MTK_INLINE void begin_tile(const int rows, const int width, vf c[][MAX_WIDTH], const float *y,
                           const sums_at *to, const uint8_t **w, const uint8_t *const *vectors) {
  MTK_UNROLL for (int v = 0; v < width; v++) w[v] = vectors[v];
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < width; v++) {
      c[r][v] = to->first ? vf_set1(0.0f) : vf_load(y + r * to->ldy + v * LANES);
    }
  }
  fetch_rows(y + rows * to->ldy, to->ldy, rows);
}
MTK_INLINE void end_tile(const int rows, const int width, float *y, vf c[][MAX_WIDTH],
                         const sums_at *to) {
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    MTK_UNROLL for (int v = 0; v < width; v++) {
      vf_store(y + r * to->ldy + v * LANES, vf_mul(c[r][v], vf_set1(to->scale)));
    }
  }
}

/* c[rows][width] += x[rows] * k j + odd of the vectors at w. */
MTK_INLINE void add_products(load1_fn *load, const int rows, const int width, vf c[][MAX_WIDTH],
                             const float *x, const uint8_t *const *w, int64_t j, int odd) {
  vf b[MAX_WIDTH];
  MTK_UNROLL for (int v = 0; v < width; v++) b[v] = load(w[v], j, odd);
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    vf a = vf_set1(x[r]);
    MTK_UNROLL for (int v = 0; v < width; v++) c[r][v] = vf_fma(a, b[v], c[r][v]);
  }
}

MTK_INLINE void tile_a32(load1_fn *load, const int rows, const int width, float *y,
                         const sums_at *to, const float *x, int64_t step,
                         const uint8_t *const *vectors, int64_t count, upcoming *next) {
  vf c[TILE_A32][MAX_WIDTH];
  const uint8_t *w[MAX_WIDTH];
  begin_tile(rows, width, c, y, to, w, vectors);
  for (int64_t j = 0, end = 0; j < count; j++, x += step) {
    if (j == end) {
      fetch_step(next);
      end += FETCH_K;
    }
    add_products(load, rows, width, c, x, w, j, 0);
  }
  end_tile(rows, width, y, c, to);
}

MTK_INLINE void tile_a16(load1_fn *load, const int rows, const int width, float *y,
                         const sums_at *to, const float *x, int64_t step,
                         const uint8_t *const *vectors, int64_t count, upcoming *next) {
  vf sum[TILE_A16][MAX_WIDTH];
  const uint8_t *w[MAX_WIDTH];
  begin_tile(rows, width, sum, y, to, w, vectors);
  for (int64_t k0 = 0; k0 < count; k0 += MTK_K_BLOCK) {
    fetch_step(next);
    vf c[2][TILE_A16][MAX_WIDTH]; /* even, odd */
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      MTK_UNROLL for (int v = 0; v < width; v++) c[0][r][v] = c[1][r][v] = vf_set1(0.0f);
    }
    for (int64_t j = k0; j < k0 + MTK_K_BLOCK; j += 2) {
      MTK_UNROLL for (int odd = 0; odd < 2; odd++, x += step) {
        loads_in_order();
        add_products(load, rows, width, c[odd], x, w, j, odd);
      }
    }
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      MTK_UNROLL for (int v = 0; v < width; v++) {
        sum[r][v] = vf_add(sum[r][v], vf_add(c[0][r][v], c[1][r][v]));
      }
    }
  }
  end_tile(rows, width, y, sum, to);
}

typedef void tile_fn(float *y, const sums_at *to, const float *x, int64_t step,
                     const uint8_t *const *w, int64_t count, upcoming *next);
/* Tiles of weights as load1_ reads them, by their rows: of two vectors and of three, if any; bytes
 * from vector to vector of a panel. */
struct tile_table {
  tile_fn *rows[TILE_A32 + 1], *wide[TILE_A32 + 1];
  int vector_bytes;
};
#define TILE(a, load, r, width, name)                                                              \
  NOINLINE void name(float *y, const sums_at *to, const float *x, int64_t step,                    \
                     const uint8_t *const *w, int64_t count, upcoming *next) {                     \
    tile_##a(load1_##load, r, width, y, to, x, step, w, count, next);                              \
  }
#define NARROW(a, load, r)       TILE(a, load, r, 2, tile_##a##_##load##_##r)
#define NARROW_ENTRY(a, load, r) [r] = tile_##a##_##load##_##r,
#define WIDE(a, load, r)         TILE(a, load, r, 3, wide_##a##_##load##_##r)
#define WIDE_ENTRY(a, load, r)   [r] = wide_##a##_##load##_##r,
#define TILES(a, load, bytes, HEIGHTS, WIDE_HEIGHTS)                                               \
  HEIGHTS(NARROW, a, load)                                                                         \
  WIDE_HEIGHTS(WIDE, a, load)                                                                      \
  static const tile_table tiles_##a##_##load = {                                                   \
      {HEIGHTS(NARROW_ENTRY, a, load)}, {[0] = NULL, WIDE_HEIGHTS(WIDE_ENTRY, a, load)}, bytes};
TILES(a32, f32, 4 * LANES, HEIGHTS_A32, WIDE_A32)
TILES(a16, f32, 4 * LANES, HEIGHTS_A16, NONE)
#define TILES_F32 &tiles_a32_f32
#if MTK_LANES == 8
/* Conversions of these run beside multiplications, so they are read where they stand. */
TILES(a32, f16, 2 * LANES, HEIGHTS_A32, WIDE_A32)
TILES(a16, bf16, 4 * LANES, HEIGHTS_A16, NONE) /* of two k */
#define TILES_F16  &tiles_a32_f16
#define TILES_BF16 &tiles_a16_bf16
#else
#define TILES_F16  NULL
#define TILES_BF16 NULL
#endif

/* A tile of which `cols` columns exist. */
MTK_INLINE void run_tile(tile_fn *tile, float *y, const sums_at *to, int64_t rows, int64_t cols,
                         const float *x, int64_t step, const uint8_t *const *w, int64_t count,
                         upcoming *next) {
  if (cols >= COLS) {
    tile(y, to, x, step, w, count, next);
    return;
  }
  float acc[TILE_A32 * COLS];
  sums_at all = {.ldy = COLS, .first = to->first, .scale = to->scale};
  if (!to->first) load_sums(acc, y, to->ldy, rows, cols);
  tile(acc, &all, x, step, w, count, next);
  store_sums(y, to->ldy, acc, rows, cols, 1.0f);
}

/* Sums of rows m0 .. of x, columns k0 .. k0+count, times w. */
NOINLINE void products(const float_job *job, const sums_at *to, int64_t m0, int64_t rows,
                       int64_t k0, int64_t count, const void *const *w, upcoming *next) {
  enum { VECTORS = PANELS * PARTS };
  int64_t height = tile_height(job->kernel->arith, job->m), n;
  const tile_table *decoded = job->kernel->arith == MTK_A16 ? &tiles_a16_f32 : &tiles_a32_f32;
  const tile_table *tiles = job->tiles ? job->tiles : decoded;
  const int width = to->cols == VECTORS * LANES && tiles->wide[height] ? 3 : 2;
  const uint8_t *vectors[VECTORS];
  for (int v = 0; v < VECTORS; v++) {
    vectors[v] = (const uint8_t *)w[v / PARTS] + v % PARTS * tiles->vector_bytes;
  }
  int64_t steps = (rows + height - 1) / height * ((count + FETCH_K - 1) / FETCH_K);
  fetch_in_steps(next, steps * ((to->cols + width * LANES - 1) / (width * LANES)));
  for (int v = 0; v * LANES < to->cols; v += width) {
    for (int64_t r = 0; r < rows; r += n) {
      n = mtk_k_min(height - (m0 + r) % height, rows - r);
      const float *x = job->act + in_tile(height, job->m, m0 + r, k0, job->k);
      run_tile((width == 3 ? tiles->wide : tiles->rows)[n], to->y + r * to->ldy + v * LANES, to, n,
               to->cols - v * LANES, x, height, vectors + v, count, next);
    }
  }
}

MTK_INLINE void put_weights(float *dst, int64_t j, int h, vf *w, int round) {
  if (round) round2(w);
  vf_store(dst + j * MTK_PANEL + h * LANES, w[0]);
  vf_store(dst + (j + 1) * MTK_PANEL + h * LANES, w[1]);
}

#endif
