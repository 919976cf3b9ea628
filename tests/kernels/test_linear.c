/* tests/kernels/test_linear.c: the linear rows of every level. Equality with ref by memcmp over
 * shapes, data, scale grids and splits, at every number of rows and columns up to tiles of both;
 * ref against double precision; timing with --bench. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/checkker.h"
#include "kernels/linear_bench.h"

static const mtk_dtype types[] = {
    MTK_F32,   MTK_F16,   MTK_BF16, MTK_F8_E4M3, MTK_F8_E5M2, MTK_Q8_0,       MTK_Q4_0, MTK_Q4_1,
    MTK_MXFP4, MTK_NVFP4, MTK_Q5_0, MTK_Q5_1,    MTK_IQ4_NL,  MTK_MXFP8,      MTK_Q2_K, MTK_Q3_K,
    MTK_Q4_K,  MTK_Q5_K,  MTK_Q6_K, MTK_IQ4_XS,  MTK_F6_E2M3, MTK_F8_E4M3FNUZ};
enum { N_TYPES = sizeof types / sizeof *types };
static const char *const arith_names[MTK_ARITH_COUNT] = {"a32", "a16", "a8"};

/* ---- weights ---------------------------------------- */
static void put_f16(uint8_t *p, float f) {
  uint16_t h = mtk_f32_to_f16(f);
  memcpy(p, &h, sizeof h);
}

/* Where f16 d and dmin of superblock types stand; 0: at the beginning, no dmin. */
static const struct {
  int d, dmin;
} super_scales[MTK_DTYPE_COUNT] = {
    [MTK_Q2_K] = {80, 82}, [MTK_Q3_K] = {108, 0}, [MTK_Q4_K] = {0, 2},
    [MTK_Q5_K] = {0, 2},   [MTK_Q6_K] = {208, 0},
};

/* Scales of a block of random bytes: of usual size where the kind is, else any number; now and then
 * the greatest with CK_LIMITS, also Inf and NaN with CK_SPECIAL. */
static float any_scale(ck_kind kind) {
  static const float extremes[] = {65504.0f, -65504.0f, INFINITY, -INFINITY, NAN, -NAN};
  if (kind == CK_NORMAL) return 0.01f * ck_normal();
  if (kind >= CK_LIMITS && !ck_range(0, 19))
    return extremes[ck_range(0, kind == CK_LIMITS ? 1 : 5)];
  return ldexpf(ck_normal(), (int)ck_range(-26, 10));
}

static float any_min(ck_kind kind) {
  return kind == CK_NORMAL || kind >= CK_LIMITS ? any_scale(kind) : ck_normal();
}

static void set_e8m0(uint8_t *e, ck_kind kind) {
  *e = (uint8_t)(kind == CK_NORMAL ? ck_range(118, 122) : ck_range(0, 254));
  if (kind == CK_SPECIAL && !ck_range(0, 19)) *e = 0xff;
}

/* The sign of a UE4M3 means nothing. */
static void set_ue4m3(uint8_t *d, ck_kind kind) {
  *d = (uint8_t)(kind == CK_NORMAL ? ck_range(20, 40) : ck_range(0, 126));
  if (kind == CK_SPECIAL && !ck_range(0, 19)) *d = 0x7f;
}

static void set_scales(mtk_dtype type, uint8_t *block, ck_kind kind) {
  if (type == MTK_MXFP4 || type == MTK_MXFP8) {
    set_e8m0(block, kind);
    for (int i = 1; i <= 32 && type == MTK_MXFP8; i++) /* 0x7f and 0xff are NaN */
      if ((block[i] & 0x7f) == 0x7f && (kind != CK_SPECIAL || ck_range(0, 3))) block[i] ^= 1;
    if (block[0] == 0xff && ck_range(0, 1)) /* NaN though all codes are zero */
      memset(block + 1, 0, mtk_dtype_get(type)->block_bytes - 1);
  } else if (type == MTK_NVFP4) {
    for (int i = 0; i < 4; i++) set_ue4m3(block + i, kind);
  } else {
    int dmin = super_scales[type].dmin;
    put_f16(block + super_scales[type].d, any_scale(kind));
    if (dmin) put_f16(block + dmin, any_min(kind));
    int has_min = type == MTK_Q4_1 || type == MTK_Q5_1;
    if (has_min) put_f16(block + 2, any_min(kind));
  }
}

static void fill_encoded(mtk_dtype type, uint8_t *dst, int64_t count, ck_kind kind) {
  const mtk_dtype_info *t = mtk_dtype_get(type);
  for (int64_t i = 0; i < count; i += t->block_elems, dst += t->block_bytes) {
    float v[256];
    ck_fill(v, t->block_elems, kind);
    mtk_dtype_encode(type, dst, v, t->block_elems);
  }
}

/* Random weights W[n,k]; the result has no alignment to speak of. */
static uint8_t *make_weights(mtk_dtype type, int64_t n, int64_t k, ck_kind kind) {
  const mtk_dtype_info *t = mtk_dtype_get(type);
  size_t bytes = mtk_dtype_bytes(type, (uint64_t)(n * k));
  uint8_t *w = ck_buf(bytes, t->block_elems == 1 ? t->block_bytes : 1);
  if (t->block_elems == 1 || (t->act_block == 0 && type != MTK_MXFP8)) {
    fill_encoded(type, w, n * k, kind);
    return w;
  }
  ck_fill_bytes(w, bytes);
  for (size_t i = 0; i < bytes; i += t->block_bytes) set_scales(type, w + i, kind);
  return w;
}

/* ---- one case: a weight matrix, activations, a kernel ------------------------------------- */
typedef struct linear_case {
  mtk_dtype type;
  mtk_arith arith;
  int64_t m, n, k, ldx, ldy;
  mtk_wview w;
  const float *x;
  char text[200];
} linear_case;

enum { GRID_NONE, GRID_ONE, GRID_ROWS, GRID_32, GRID_TILES, GRID_KINDS };

static void make_grid(linear_case *c, int grid) {
  static const int64_t steps[GRID_KINDS][2] = {
      [GRID_ONE] = {1 << 20, 1 << 20},
      [GRID_ROWS] = {1, 1 << 20},
      [GRID_32] = {1, 32},
      [GRID_TILES] = {5, 64},
  };
  if (grid == GRID_NONE) return;
  int64_t block = mtk_dtype_get(c->type)->act_block;
  c->w.scale_n = steps[grid][0];
  c->w.scale_k = steps[grid][1] * (c->arith == MTK_A8 ? block / 32 : 1);
  int64_t rows = (c->n + c->w.scale_n - 1) / c->w.scale_n;
  int64_t cols = (c->k + c->w.scale_k - 1) / c->w.scale_k;
  float *scales = ck_floats(rows * cols, 1);
  for (int64_t i = 0; i < rows * cols; i++) scales[i] = ldexpf(ck_normal() + 2.0f, -5);
  c->w.scales = scales;
}

static linear_case make_case(mtk_dtype type, mtk_arith arith, int64_t m, int64_t n, int64_t k,
                             ck_kind x_kind, ck_kind w_kind, int grid) {
  linear_case c = {.type = type, .arith = arith, .m = m, .n = n, .k = k};
  c.ldx = k + ck_range(0, 3);
  c.ldy = n + ck_range(0, 3);
  c.w = (mtk_wview){.type = type, .n = n, .k = k, .n_rows = n};
  c.w.data = make_weights(type, n, k, w_kind);
  make_grid(&c, grid);
  float *x = ck_floats(m * c.ldx, (size_t)ck_range(0, 3));
  ck_fill(x, m * c.ldx, x_kind);
  c.x = x;
  snprintf(c.text, sizeof c.text, "%s %s m=%lld n=%lld k=%lld x %s w %s grid %d",
           mtk_dtype_get(type)->name, arith_names[arith], (long long)m, (long long)n, (long long)k,
           ck_kind_name(x_kind), ck_kind_name(w_kind), grid);
  return c;
}

/* Rows of panel p as their own window of the matrix. */
static void pack_one(const mtk_linear_kernel *l, void *packed, const mtk_wview *w, int64_t p) {
  mtk_wview window = *w;
  size_t row_bytes = mtk_dtype_bytes(w->type, (uint64_t)w->k);
  window.row0 = p * MTK_PANEL;
  window.n_rows = w->n - window.row0 < MTK_PANEL ? w->n - window.row0 : MTK_PANEL;
  window.data = (const uint8_t *)w->data + (size_t)window.row0 * row_bytes;
  l->pack(packed, &window, p, p + 1);
}

/* y of the case, [m][ldy]; split: everything in random small ranges, in mixed order. */
static float *run_case(const mtk_linear_kernel *l, const linear_case *c, int split) {
  int64_t panels = (c->n + MTK_PANEL - 1) / MTK_PANEL;
  int fine_grid = c->w.scales && (c->w.scale_n < c->n || c->w.scale_k < c->k);
  size_t grid_bytes = fine_grid ? 0 : l->grid_bytes(c->n, c->k);
  void *packed = ck_buf(l->packed_bytes(c->n, c->k) - grid_bytes, 0);
  void *act = ck_buf(l->act_bytes(c->m, c->k), 0);
  float *y = ck_floats(c->m * c->ldy, 1);
  if (!split) {
    l->pack(packed, &c->w, 0, panels);
    l->prepare(act, c->x, c->ldx, c->m, 0, c->m, c->k);
    l->run(y, c->ldy, act, c->m, 0, c->m, packed, c->n, c->k, 0, panels);
    return y;
  }
  for (int64_t p = panels - 1; p >= 0; p--) pack_one(l, packed, &c->w, p);
  for (int64_t i = c->m - 1; i >= 0; i--) l->prepare(act, c->x, c->ldx, c->m, i, i + 1, c->k);
  int64_t p_cut = ck_range(0, panels), m_cut = ck_range(0, c->m);
  const int64_t ps[] = {0, p_cut, panels}, ms[] = {0, m_cut, c->m};
  for (int i = 1; i >= 0; i--) {
    for (int j = 1; j >= 0; j--) {
      l->run(y, c->ldy, act, c->m, ms[i], ms[i + 1], packed, c->n, c->k, ps[j], ps[j + 1]);
    }
  }
  return y;
}

/* ---- equality with ref, and of splits ---------------------------------------- */
static void compare(const mtk_kernels *k, const linear_case *c) {
  const mtk_linear_kernel *ref = ck_ref()->linear[c->type][c->arith];
  const mtk_linear_kernel *l = k->linear[c->type][c->arith];
  const float *want = run_case(ref, c, 0);
  if (l != ref) ck_same(want, run_case(l, c, 0), c->m * c->ldy, "%s", c->text);
  ck_same(want, run_case(l, c, 1), c->m * c->ldy, "%s split", c->text);
  if (!ck_guards_ok()) ck_fail("%s: wrote outside its buffers", c->text);
  volatile float denormal = 0x1p-130f;
  if (denormal * 0.5f == 0.0f) ck_fail("%s: left denormals flushed", c->text);
  ck_free_all();
}

static int64_t any_k(mtk_dtype type) {
  static const int64_t plain[] = {1, 2, 3, 7, 8, 31, 32, 33, 64, 100, 127, 129, 172, 257, 300};
  static const int64_t blocks[] = {1, 2, 3, 4, 5, 15, 16, 17, 33}, supers[] = {1, 2, 3};
  int64_t block = mtk_dtype_get(type)->block_elems;
  if (block == 1) return plain[ck_range(0, sizeof plain / sizeof *plain - 1)];
  if (block == 256) return block * supers[ck_range(0, sizeof supers / sizeof *supers - 1)];
  return block * blocks[ck_range(0, sizeof blocks / sizeof *blocks - 1)];
}

static void each_row(const mtk_kernels *k, void (*fn)(const mtk_kernels *, mtk_dtype, mtk_arith)) {
  for (int t = 0; t < N_TYPES; t++) {
    for (int a = 0; a < MTK_ARITH_COUNT; a++) {
      const mtk_linear_kernel *l = k->linear[types[t]][a];
      int defined = a != MTK_A8 || mtk_dtype_get(types[t])->act_block != 0;
      const char *type = mtk_dtype_get(types[t])->name;
      if ((l != NULL) != defined) ck_fail("%s %s: missing or surplus", type, arith_names[a]);
      if (!l || !ck_wanted(l->name)) continue;
      if (l->type != types[t] || (int)l->arith != a) ck_fail("%s: in the wrong place", l->name);
      fn(k, types[t], (mtk_arith)a);
    }
  }
}

static void tails(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  for (int64_t n = 1; n <= 33; n++) {
    linear_case c = make_case(type, arith, ck_range(1, 3), n, any_k(type), CK_NORMAL, CK_NORMAL,
                              (int)ck_range(0, GRID_KINDS - 1));
    compare(k, &c);
  }
  const int64_t most = k == ck_ref() ? 9 : 42;
  for (int64_t m = 1; m <= most; m += m < 17 ? 1 : 5) { /* 1..17, 22, ..., 42 */
    linear_case c = make_case(type, arith, m, ck_range(1, 90), any_k(type), CK_NORMAL, CK_NORMAL,
                              (int)ck_range(0, GRID_KINDS - 1));
    compare(k, &c);
  }
}

static void adversarial(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  static const int64_t many[] = {13, 17, 33}; /* tiles of many rows */
  if (k == ck_ref()) return;
  for (int i = 0; i < 2 * CK_ALL_KINDS * CK_ALL_KINDS; i++) {
    int x = i / 2 / CK_ALL_KINDS, w = i / 2 % CK_ALL_KINDS;
    int64_t m = i % 2 ? many[(x + w) % 3] : ck_range(0, 2) ? ck_range(2, 9) : 1;
    linear_case c = make_case(type, arith, m, ck_range(1, 40), any_k(type), (ck_kind)x, (ck_kind)w,
                              (int)ck_range(0, GRID_KINDS - 1));
    compare(k, &c);
  }
}

static void large(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  static const int64_t sizes[][3] = {
      {64, 70, 320}, {260, 33, 64}, {1, 200, 2048}, {14, 40, 2304}, {2, 17, 4096}};
  if (k == ck_ref()) return;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t block = mtk_dtype_get(type)->block_elems, k_full = (sizes[i][2] + block - 1) / block;
    linear_case c = make_case(type, arith, sizes[i][0], sizes[i][1], k_full * block, CK_OUTLIER,
                              CK_NORMAL, GRID_ONE);
    compare(k, &c);
  }
  /* Sums that stay in y between parts of k, with every grid. */
  static const int64_t rows[] = {1, 3, 7, 14, 29};
  for (int i = 0; i < 5 * GRID_KINDS; i++) {
    int64_t block = mtk_dtype_get(type)->block_elems, depth = ck_range(1025, 2200);
    linear_case c = make_case(type, arith, rows[i / GRID_KINDS], ck_range(1, 20),
                              (depth + block - 1) / block * block, CK_NORMAL, CK_NORMAL,
                              i % GRID_KINDS);
    compare(k, &c);
  }
}

/* ---- every number of rows by every number of columns ------------------------------------- */
enum { DENSE_M = 33, DENSE_N = 97, DENSE_LD = DENSE_N + 1 };

/* The result of the first m rows and n columns is that of the whole. */
static void check_part(const linear_case *c, const float *want, const float *y, int64_t m,
                       int64_t n) {
  static const uint32_t untouched = 0xffffffff;
  for (int64_t i = 0; i < DENSE_M * DENSE_LD; i++) {
    int64_t row = i / DENSE_LD, col = i % DENSE_LD;
    const void *expected = &untouched;
    if (row < m && col < n) expected = &want[row * c->ldy + col];
    if (memcmp(expected, &y[i], sizeof *y) == 0) continue;
    ck_fail("%s: y[%lld,%lld] of %lld rows, %lld columns is %a", c->text, (long long)row,
            (long long)col, (long long)m, (long long)n, (double)y[i]);
    return;
  }
}

static void dense(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  static const int64_t depths[] = {5, 37, 64, 69};
  int64_t block = mtk_dtype_get(type)->block_elems;
  int64_t depth = block == 1 ? depths[ck_range(0, 3)] : block * (block > 64 ? 1 : ck_range(1, 3));
  const linear_case c = make_case(type, arith, DENSE_M, DENSE_N, depth, CK_NORMAL, CK_NORMAL,
                                  (int)ck_range(0, GRID_KINDS - 1));
  const float *want = run_case(ck_ref()->linear[type][arith], &c, 0);
  const mtk_linear_kernel *l = k->linear[type][arith];
  void *packed = ck_buf(l->packed_bytes(c.n, c.k), 0), *act = ck_buf(l->act_bytes(c.m, c.k), 0);
  float *y = ck_floats(DENSE_M * DENSE_LD, 1);
  if (k == ck_ref()) return;
  /* A grid that has one scale for n columns means another thing. */
  for (int64_t n = c.w.scale_n < c.n ? c.w.scale_n + 1 : 1; n <= c.n; n++) {
    const int64_t panels = (n + MTK_PANEL - 1) / MTK_PANEL;
    mtk_wview w = c.w;
    w.n = w.n_rows = n;
    l->pack(packed, &w, 0, panels);
    for (int64_t m = 1; m <= c.m; m++) {
      memset(y, 0xff, DENSE_M * DENSE_LD * sizeof *y);
      l->prepare(act, c.x, c.ldx, m, 0, m, c.k);
      l->run(y, DENSE_LD, act, m, 0, m, packed, n, c.k, 0, panels);
      check_part(&c, want, y, m, n);
    }
  }
  if (!ck_guards_ok()) ck_fail("%s: wrote outside its buffers", c.text);
  ck_free_all();
}

static void test_dense(const mtk_kernels *k) { each_row(k, dense); }
static void test_tails(const mtk_kernels *k) { each_row(k, tails); }
static void test_adversarial(const mtk_kernels *k) { each_row(k, adversarial); }
static void test_large(const mtk_kernels *k) { each_row(k, large); }

/* ---- a16 at the edge of the denormals: results around 2^-126 ------------------------------- */
static void edge(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  if (type != MTK_F32 || arith != MTK_A16) return;
  for (int rep = 0; rep < 200; rep++) {
    enum { M = 4, N = 48, K = 32 };
    linear_case c = make_case(type, arith, M, N, K, CK_ZERO, CK_ZERO, GRID_NONE);
    float *x = (float *)(uintptr_t)c.x, *w = (float *)(uintptr_t)c.w.data;
    for (int64_t i = 0; i < M * c.ldx; i++) {
      x[i] = ldexpf((float)ck_range(-255, 255), (int)ck_range(-80, -70));
    }
    for (int64_t i = 0; i < N * K; i++) {
      w[i] = ldexpf((float)ck_range(-255, 255), (int)ck_range(-80, -54));
    }
    for (int64_t i = 0; i < M; i++) x[i * c.ldx] = x[i * c.ldx + 1] = 0x1p-60f;
    for (int64_t i = 0; i < N; i++) w[i * K] = w[i * K + 1] = i % 2 ? 0x1p-66f : -0x1p-66f;
    compare(k, &c);
  }
}
static void test_edge(const mtk_kernels *k) { each_row(k, edge); }

/* ---- the greatest integer sums of a8: all codes alike, all activations alike ---------------- */
static void greatest(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  static const uint8_t codes[] = {0x00, 0xff, 0x0f, 0xf0, 0x80, 0x7f};
  static const int64_t rows[] = {1, 2, 3, 7, 16, 17, 45};
  enum { CODES = sizeof codes, ROWS = sizeof rows / sizeof *rows, K = 512, N = 20 };
  if (arith != MTK_A8) return;
  const mtk_dtype_info *t = mtk_dtype_get(type);
  for (int i = 0; i < CODES * ROWS * 2; i++) {
    linear_case c = make_case(type, arith, rows[i % ROWS], N, K, CK_ZERO, CK_NORMAL, GRID_NONE);
    uint8_t *w = (uint8_t *)(uintptr_t)c.w.data;
    const size_t bytes = mtk_dtype_bytes(type, N * K);
    memset(w, codes[i / ROWS % CODES], bytes);
    for (size_t b = 0; b < bytes; b += t->block_bytes) set_scales(type, w + b, CK_NORMAL);
    for (int64_t j = 0; j < c.m * c.ldx; j++) ((float *)(uintptr_t)c.x)[j] = i % 2 ? 1.0f : -1.0f;
    compare(k, &c);
    ck_free_all();
  }
}
static void test_greatest(const mtk_kernels *k) { each_row(k, greatest); }

/* ---- special numbers in a8: NaN and Inf give NaN or Inf, nothing else breaks --------------- */
/* y of k's kernel, which is that of the reference but for which NaN it is. */
static const float *same_but_nan(const mtk_kernels *k, linear_case *c) {
  const float *want = run_case(ck_ref()->linear[c->w.type][MTK_A8], c, 0);
  const float *got = run_case(k->linear[c->w.type][MTK_A8], c, 0);
  for (int64_t j = 0; j < c->m * c->ldy; j++) {
    int same = isnan(want[j]) ? isnan(got[j]) : memcmp(&want[j], &got[j], 4) == 0;
    if (!same) ck_fail("%s: special number, y[%lld]", c->text, (long long)j);
  }
  return got;
}
static void special(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  if (arith != MTK_A8) return;
  static const float specials[] = {NAN, -NAN, INFINITY, -INFINITY, 0x1p-101f, 3e38f, -3e38f};
  enum { SPECIALS = sizeof specials / sizeof *specials };
  for (int i = 0; i < 2 * SPECIALS; i++) { /* in a row by itself, and in one of a whole tile */
    const float x = specials[i % SPECIALS];
    linear_case c = make_case(type, arith, i < SPECIALS ? 3 : 18, 20, 512, CK_NORMAL, CK_NORMAL,
                              GRID_NONE);
    ((float *)(uintptr_t)c.x)[c.ldx + 70] = x;
    const float *y = same_but_nan(k, &c);
    if (!isfinite(x) && !isnan(y[c.ldy])) ck_fail("%s: NaN lost", c.text);
    ck_free_all();
  }
  /* of weights: the scale of the first block of most types, f16 Inf or 2^-127, NaN, zero */
  static const uint8_t scales[][2] = {{0x00, 0x7c}, {0xff, 0xff}, {0x00, 0x00}};
  static const int64_t rows[] = {3, 8, 17};
  for (int i = 0; i < 9; i++) {
    linear_case c = make_case(type, arith, rows[i / 3], 20, 512, CK_NORMAL, CK_NORMAL, GRID_NONE);
    uint8_t *row = (uint8_t *)(uintptr_t)c.w.data + 5 * mtk_dtype_bytes(type, 512);
    memcpy(row, scales[i % 3], sizeof scales[i % 3]);

    same_but_nan(k, &c);
    ck_free_all();
  }
}
static void test_special(const mtk_kernels *k) { each_row(k, special); }

/* ---- meaning: y against double precision of the decoded weights ----------------------------- */
static void meaning(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  enum { M = 3, N = 37, MAX_K = 256 };
  const int64_t K = 192 % mtk_dtype_get(type)->block_elems ? MAX_K : 192;
  static const double bound[MTK_ARITH_COUNT] = {1e-6, 4e-3, 8e-3}; /* of sum |x w| */
  for (int grid = 0; grid < GRID_KINDS; grid++) {
    linear_case c = make_case(type, arith, M, N, K, CK_NORMAL, CK_NORMAL, grid);
    const float *y = run_case(k->linear[type][arith], &c, 0);
    float w[MAX_K];
    for (int64_t n = 0; n < N; n++) {
      const uint8_t *row = (const uint8_t *)c.w.data + mtk_dtype_bytes(type, (uint64_t)(n * K));
      mtk_dtype_decode(type, w, row, (size_t)K);
      for (int64_t m = 0; m < M; m++) {
        double sum = 0, size = 0;
        for (int64_t j = 0; j < K; j++) {
          int64_t cols = (K + c.w.scale_k - 1) / (c.w.scale_k ? c.w.scale_k : 1);
          double s = grid ? (double)c.w.scales[n / c.w.scale_n * cols + j / c.w.scale_k] : 1.0;
          double term = (double)c.x[m * c.ldx + j] * (double)w[j] * s;
          sum += term;
          size += fabs(term);
        }
        double error = fabs((double)y[m * c.ldy + n] - sum);
        if (!(error <= bound[arith] * size)) {
          ck_fail("%s: y[%lld,%lld] is %g, want %g", c.text, (long long)m, (long long)n,
                  (double)y[m * c.ldy + n], sum);
        }
      }
    }
    ck_free_all();
  }
}
static void test_meaning(const mtk_kernels *k) { each_row(k, meaning); }

/* ---- heights of tiles ---------------------------------------- */
static void whole_tiles(const mtk_kernels *k, mtk_dtype type, mtk_arith arith) {
  static const int64_t rows[] = {7, 8, 15, 16, 17, 31, 32, 33, 48, 191, 192, 193};
  static const int64_t depths[] = {32, 96, 512, 544, 1056, 2080};
  for (size_t i = 0; arith != MTK_A32 && i < sizeof rows / sizeof *rows; i++) {
    int64_t block = mtk_dtype_get(type)->block_elems;
    int64_t depth = depths[ck_range(0, 5)] - (block == 1 ? ck_range(0, 31) : 0);
    depth = (depth + block - 1) / block * block;
    linear_case c = make_case(type, arith, rows[i], ck_range(1, 50), depth, (ck_kind)(i % CK_KINDS),
                              CK_NORMAL, (int)ck_range(0, GRID_KINDS - 1));
    compare(k, &c);
  }
}
static void test_tiles(const mtk_kernels *k) { each_row(k, whole_tiles); }

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"linear_meaning", test_meaning, NULL},
      {"linear_tails", test_tails, NULL},
      {"linear_every_size", test_dense, NULL},
      {"linear_adversarial", test_adversarial, NULL},
      {"linear_large", test_large, ck_bench_linear},
      {"linear_a16_denormal_edge", test_edge, NULL},
      {"linear_a8_greatest_sums", test_greatest, NULL},
      {"linear_a8_special", test_special, NULL},
      {"linear_tiles", test_tiles, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
