/* kernels/simd/linear_tiles.h: products of many rows of x for simd/linear_float.h, with sums in
 * registers: lanes over n, a tile of `rows` activations x 2 vectors.
 *
 * Activations are rows of floats for few rows, and then the same once more as tiles: of `height`
 * rows each, k by k, so that a product reads one stream. */
#ifndef MTK_KERNELS_SIMD_LINEAR_TILES_H
#define MTK_KERNELS_SIMD_LINEAR_TILES_H

/* Heights of tiles. a16 keeps two chains each, so half the rows. */
#define UP_TO_3(X)  X(1) X(2) X(3)
#define UP_TO_6(X)  UP_TO_3(X) X(4) X(5) X(6)
#define UP_TO_12(X) UP_TO_6(X) X(7) X(8) X(9) X(10) X(11) X(12)
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
/* Decoded k at a time: what few rows multiply stays in L1. */
static int64_t depth_of(int64_t rows) { return rows <= 4 * TILE_A32 ? 128 : DEPTH; }

/* ---- activations ---------------------------------------- */
static int64_t act_ld(int64_t k) { return mtk_k_blocks(k) * MTK_K_BLOCK; }
static int64_t tile_height(mtk_arith arith, int64_t m) {
  return mtk_k_min(arith == MTK_A16 ? TILE_A16 : TILE_A32, m);
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

MTK_INLINE void tile_a32(const int rows, float *y, const sums_at *to, const float *x, int64_t step,
                         const float *const *w, int64_t count, upcoming *next) {
  vf c[TILE_A32][2];
  begin_sums(rows, c, y, to);
  const float *w0 = w[0], *w1 = w[1];
  for (int64_t j = 0, end = 0; j < count; j++, x += step) {
    if (j == end) {
      fetch_step(next);
      end += FETCH_K;
    }
    vf b0 = vf_load(w0 + j * MTK_PANEL), b1 = vf_load(w1 + j * MTK_PANEL);
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      vf a = vf_set1(x[r]);
      c[r][0] = vf_fma(a, b0, c[r][0]);
      c[r][1] = vf_fma(a, b1, c[r][1]);
    }
  }
  end_sums(rows, y, c, to);
}

MTK_INLINE void tile_a16(const int rows, float *y, const sums_at *to, const float *x, int64_t step,
                         const float *const *w, int64_t count, upcoming *next) {
  vf sum[TILE_A16][2];
  begin_sums(rows, sum, y, to);
  const float *w0 = w[0], *w1 = w[1];
  for (int64_t k0 = 0; k0 < count; k0 += MTK_K_BLOCK) {
    fetch_step(next);
    vf c[2][TILE_A16][2]; /* even, odd */
    MTK_UNROLL for (int r = 0; r < rows; r++) {
      c[0][r][0] = c[0][r][1] = c[1][r][0] = c[1][r][1] = vf_set1(0.0f);
    }
    for (int64_t j = k0; j < k0 + MTK_K_BLOCK; j += 2) {
      MTK_UNROLL for (int odd = 0; odd < 2; odd++, x += step) {
        vf b0 = vf_load(w0 + (j + odd) * MTK_PANEL), b1 = vf_load(w1 + (j + odd) * MTK_PANEL);
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
                     const float *const *w, int64_t count, upcoming *next);
#define TILE(a, r)                                                                                 \
  NOINLINE void tile_##a##_##r(float *y, const sums_at *to, const float *x, int64_t step,          \
                               const float *const *w, int64_t count, upcoming *next) {             \
    tile_##a(r, y, to, x, step, w, count, next);                                                   \
  }
#define TILE_ENTRY(a, r) [r] = tile_##a##_##r,
#define A32_TILE(r)      TILE(a32, r)
#define A16_TILE(r)      TILE(a16, r)
#define A32_ENTRY(r)     TILE_ENTRY(a32, r)
#define A16_ENTRY(r)     TILE_ENTRY(a16, r)
HEIGHTS_A32(A32_TILE)
HEIGHTS_A16(A16_TILE)
static tile_fn *const tiles[][TILE_A32 + 1] = {
    [MTK_A32] = {HEIGHTS_A32(A32_ENTRY)}, [MTK_A16] = {HEIGHTS_A16(A16_ENTRY)}};

/* Sums of rows m0 .. of x, columns k0 .. k0+count, times w. */
NOINLINE void products(const float_job *job, const sums_at *to, int64_t m0, int64_t rows,
                       int64_t k0, int64_t count, const void *const *w, upcoming *next) {
  int64_t height = tile_height(job->kernel->arith, job->m), r = 0;
  const float *weights[2] = {w[0], MTK_LANES == 8 ? (const float *)w[0] + LANES : w[1]};
  fetch_in_steps(next, (rows + height - 1) / height * ((count + FETCH_K - 1) / FETCH_K));
  while (r < rows) {
    int64_t n = mtk_k_min(height - (m0 + r) % height, rows - r);
    const float *x = job->act + in_tile(height, job->m, m0 + r, k0, job->k);
    tile_fn *tile = tiles[job->kernel->arith][n];
    float *y = to->y + r * to->ldy;
    if (to->cols == COLS) {
      tile(y, to, x, height, weights, count, next);
    } else {
      float acc[TILE_A32 * COLS];
      sums_at all = {.ldy = COLS, .first = to->first, .scale = to->scale};
      if (!to->first) load_sums(acc, y, to->ldy, n, to->cols);
      tile(acc, &all, x, height, weights, count, next);
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
