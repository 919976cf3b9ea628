/* kernels/simd/linear_tiles.h: products of many rows of x for simd/linear_float.h, with sums in
 * registers: lanes over n, a tile of `rows` activations x 2 vectors.
 *
 * Activations are rows of floats for few rows, and then the same once more as tiles: of `height`
 * rows each, k by k, so that a product reads one stream. */
#ifndef MTK_KERNELS_SIMD_LINEAR_TILES_H
#define MTK_KERNELS_SIMD_LINEAR_TILES_H

/* Heights of tiles, X(a, b, height). a16 keeps two chains each, so half the rows. */
#define UP_TO_3(X, a, b) X(a, b, 1) X(a, b, 2) X(a, b, 3)
#define UP_TO_6(X, a, b) UP_TO_3(X, a, b) X(a, b, 4) X(a, b, 5) X(a, b, 6)
#define UP_TO_12(X, a, b)                                                                          \
  UP_TO_6(X, a, b) X(a, b, 7) X(a, b, 8) X(a, b, 9) X(a, b, 10) X(a, b, 11) X(a, b, 12)
#if MTK_LANES == 16
enum { TILE_A32 = 12, TILE_A16 = 6 };
#define HEIGHTS_A32 UP_TO_12
#define HEIGHTS_A16 UP_TO_6
#else
enum { TILE_A32 = 6, TILE_A16 = 3 };
#define HEIGHTS_A32 UP_TO_6
#define HEIGHTS_A16 UP_TO_3
#endif
enum { ROWS = 264, DEPTH = 1024, FETCH_K = MTK_K_BLOCK }; /* whole tiles for 256 rows */
typedef float tile_weight;
/* k at a time: what few rows multiply stays in L1. */
static int64_t depth_of(const float_job *job, int64_t rows) {
  return rows > 4 * TILE_A32 ? DEPTH : job->tiles && MTK_LANES == 8 ? 512 : 128;
}

/* ---- activations ---------------------------------------- */
static int64_t act_ld(int64_t k) { return mtk_k_blocks(k) * MTK_K_BLOCK; }
/* With 8 lanes nearly equal heights: few rows have too few chains for the latency of FMA. */
static int64_t tile_height(mtk_arith arith, int64_t m) {
  int64_t most = arith == MTK_A16 ? TILE_A16 : TILE_A32, count = (m + most - 1) / most;
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
MTK_INLINE void begin_sums(const int rows, vf c[][2], const float *y, const sums_at *to) {
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    c[r][0] = to->first ? vf_set1(0.0f) : vf_load(y + r * to->ldy);
    c[r][1] = to->first ? vf_set1(0.0f) : vf_load(y + r * to->ldy + LANES);
  }
  fetch_rows(y + rows * to->ldy, to->ldy, rows);
}
MTK_INLINE void end_sums(const int rows, float *y, vf c[][2], const sums_at *to) {
  MTK_UNROLL for (int r = 0; r < rows; r++) {
    vf_store(y + r * to->ldy, vf_mul(c[r][0], vf_set1(to->scale)));
    vf_store(y + r * to->ldy + LANES, vf_mul(c[r][1], vf_set1(to->scale)));
  }
}

MTK_INLINE void tile_a32(load1_fn *load, const int rows, float *y, const sums_at *to,
                         const float *x, int64_t step, const void *const *w, int64_t count,
                         upcoming *next) {
  vf c[TILE_A32][2];
  begin_sums(rows, c, y, to);
  const uint8_t *w0 = w[0], *w1 = w[TILE_PANELS - 1];
  for (int64_t j = 0, end = 0; j < count; j++, x += step) {
    if (j == end) {
      fetch_step(next);
      end += FETCH_K;
    }
    vf b0 = load(w0, j, 0, 0), b1 = load(w1, j, 0, PARTS - 1);
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      vf a = vf_set1(x[r]);
      c[r][0] = vf_fma(a, b0, c[r][0]);
      c[r][1] = vf_fma(a, b1, c[r][1]);
    }
  }
  end_sums(rows, y, c, to);
}

MTK_INLINE void tile_a16(load1_fn *load, const int rows, float *y, const sums_at *to,
                         const float *x, int64_t step, const void *const *w, int64_t count,
                         upcoming *next) {
  vf sum[TILE_A16][2];
  begin_sums(rows, sum, y, to);
  const uint8_t *w0 = w[0], *w1 = w[TILE_PANELS - 1];
  for (int64_t k0 = 0; k0 < count; k0 += MTK_K_BLOCK) {
    fetch_step(next);
    vf c[2][TILE_A16][2]; /* even, odd */
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      c[0][r][0] = c[0][r][1] = c[1][r][0] = c[1][r][1] = vf_set1(0.0f);
    }
    for (int64_t j = k0; j < k0 + MTK_K_BLOCK; j += 2) {
      MTK_UNROLL for (int odd = 0; odd < 2; odd++, x += step) {
        loads_in_order();
        vf b0 = load(w0, j, odd, 0), b1 = load(w1, j, odd, PARTS - 1);
        MTK_UNROLL for (int r = 0; r < rows; r++) {
          vf a = vf_set1(x[r]);
          c[odd][r][0] = vf_fma(a, b0, c[odd][r][0]);
          c[odd][r][1] = vf_fma(a, b1, c[odd][r][1]);
        }
      }
    }
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      MTK_UNROLL for (int v = 0; v < 2; v++) {
        sum[r][v] = vf_add(sum[r][v], vf_add(c[0][r][v], c[1][r][v]));
      }
    }
  }
  end_sums(rows, y, sum, to);
}

typedef void tile_fn(float *y, const sums_at *to, const float *x, int64_t step,
                     const void *const *w, int64_t count, upcoming *next);
/* Tiles of weights as load1_ reads them, by their rows. */
struct tile_table {
  tile_fn *rows[TILE_A32 + 1];
};
#define TILE(a, load, r)                                                                           \
  NOINLINE void tile_##a##_##load##_##r(float *y, const sums_at *to, const float *x, int64_t step, \
                                        const void *const *w, int64_t count, upcoming *next) {     \
    tile_##a(load1_##load, r, y, to, x, step, w, count, next);                                     \
  }
#define TILE_ENTRY(a, load, r) [r] = tile_##a##_##load##_##r,
#define TILES(a, load, HEIGHTS)                                                                    \
  HEIGHTS(TILE, a, load)                                                                           \
  static const tile_table tiles_##a##_##load = {{HEIGHTS(TILE_ENTRY, a, load)}};
TILES(a32, f32, HEIGHTS_A32)
TILES(a16, f32, HEIGHTS_A16)
#define TILES_F32 &tiles_a32_f32
#if MTK_LANES == 8
/* Conversions of these run beside multiplications, so they are read where they stand. */
TILES(a32, f16, HEIGHTS_A32)
TILES(a16, bf16, HEIGHTS_A16)
#define TILES_F16  &tiles_a32_f16
#define TILES_BF16 &tiles_a16_bf16
#else
#define TILES_F16  NULL
#define TILES_BF16 NULL
#endif

/* Sums of rows m0 .. of x, columns k0 .. k0+count, times w. */
NOINLINE void products(const float_job *job, const sums_at *to, int64_t m0, int64_t rows,
                       int64_t k0, int64_t count, const void *const *w, upcoming *next) {
  int64_t height = tile_height(job->kernel->arith, job->m), r = 0;
  const tile_table *decoded = job->kernel->arith == MTK_A16 ? &tiles_a16_f32 : &tiles_a32_f32;
  const tile_table *tiles = job->tiles ? job->tiles : decoded;
  fetch_in_steps(next, (rows + height - 1) / height * ((count + FETCH_K - 1) / FETCH_K));
  while (r < rows) {
    int64_t n = mtk_k_min(height - (m0 + r) % height, rows - r);
    const float *x = job->act + in_tile(height, job->m, m0 + r, k0, job->k);
    tile_fn *tile = tiles->rows[n];
    float *y = to->y + r * to->ldy;
    if (to->cols == COLS) {
      tile(y, to, x, height, w, count, next);
    } else {
      float acc[TILE_A32 * COLS];
      sums_at all = {.ldy = COLS, .first = to->first, .scale = to->scale};
      if (!to->first) load_sums(acc, y, to->ldy, n, to->cols);
      tile(acc, &all, x, height, w, count, next);
      store_sums(y, to->ldy, acc, n, to->cols, 1.0f);
    }
    r += n;
  }
}

MTK_INLINE void put_weights(float *dst, int64_t j, int h, vf *w, int round) {
  if (round) round2(w);
  vf_store(dst + j * MTK_PANEL + h * LANES, w[0]);
  vf_store(dst + (j + 1) * MTK_PANEL + h * LANES, w[1]);
}

#endif
