/* kernels/ref/linear_a8.c: linear layers in plain C, arithmetic a8: int8 activations in blocks of
 * 32, exact integer sums. The formulas stand in kernels/linear_rules.h. Pure functions, any
 * thread. */
#include <math.h>
#include <string.h>

#include "ref/linear_ref.h"

/* ---- activations ---------------------------------------- */
typedef struct act_block {
  float d; /* x is about d * q */
  int8_t q[MTK_K_BLOCK];
} act_block;

static size_t act_bytes(int64_t m, int64_t k) {
  return (size_t)(m * mtk_k_blocks(k)) * sizeof(act_block);
}

float mtk_k_ref_quantize(int8_t *q, const float *x, int64_t count) {
  float amax = 0.0f;
  int finite = 1;
  for (int64_t j = 0; j < count; j++) {
    amax = fmaxf(amax, fabsf(x[j]));
    finite &= isfinite(x[j]) != 0;
    q[j] = 0;
  }
  if (!finite) return NAN;
  if (amax < 0x1p-100f) return 0.0f;
  float inverse = 127.0f / amax;
  for (int64_t j = 0; j < count; j++) q[j] = (int8_t)lrintf(x[j] * inverse);
  return amax / 127.0f;
}

static void prepare(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                    int64_t k) {
  (void)m;
  act_block *blocks = act;
  int64_t n_blocks = mtk_k_blocks(k);
  for (int64_t i = m0; i < m1; i++) {
    for (int64_t b = 0; b < n_blocks; b++) {
      act_block *a = &blocks[i * n_blocks + b];
      a->d = mtk_k_ref_quantize(a->q, x + i * ldx + b * MTK_K_BLOCK, MTK_K_BLOCK);
    }
  }
}

/* ---- weights ---------------------------------------- */
/* One block of a row: integer codes; d of both halves (equal but for nvfp4), m of q4_1, q5_1. */
typedef struct weight_block {
  int8_t c[MTK_K_BLOCK];
  float d[2], m;
} weight_block;

static const int8_t e2m1_twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void load_q4_0(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 18 * b;
  w->d[0] = mtk_k_f16_at(p);
  for (int j = 0; j < 16; j++) {
    w->c[j] = (int8_t)((p[2 + j] & 15) - 8);
    w->c[j + 16] = (int8_t)((p[2 + j] >> 4) - 8);
  }
}

static void load_q4_1(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 20 * b;
  w->d[0] = mtk_k_f16_at(p);
  w->m = mtk_k_f16_at(p + 2);
  for (int j = 0; j < 16; j++) {
    w->c[j] = (int8_t)(p[4 + j] & 15);
    w->c[j + 16] = (int8_t)(p[4 + j] >> 4);
  }
}

static void load_fives(weight_block *w, const uint8_t *fifth, const uint8_t *codes, int offset) {
  for (int j = 0; j < MTK_K_BLOCK; j++) {
    int low = codes[j % 16] >> (j / 16 * 4) & 15, high = fifth[j / 8] >> (j % 8) & 1;
    w->c[j] = (int8_t)((low | high << 4) - offset);
  }
}

static void load_q5_0(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 22 * b;
  w->d[0] = mtk_k_f16_at(p);
  load_fives(w, p + 2, p + 6, 16);
}

static void load_q5_1(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 24 * b;
  w->d[0] = mtk_k_f16_at(p);
  w->m = mtk_k_f16_at(p + 2);
  load_fives(w, p + 4, p + 8, 0);
}

static void load_iq4_nl(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 18 * b;
  w->d[0] = mtk_k_f16_at(p);
  for (int j = 0; j < 16; j++) {
    w->c[j] = mtk_k_iq4_levels[p[2 + j] & 15];
    w->c[j + 16] = mtk_k_iq4_levels[p[2 + j] >> 4];
  }
}

static void load_q8_0(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 34 * b;
  w->d[0] = mtk_k_f16_at(p);
  memcpy(w->c, p + 2, MTK_K_BLOCK);
}

static void load_mxfp4(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 17 * b;
  w->d[0] = mtk_e8m0_to_f32(p[0]);
  for (int j = 0; j < 16; j++) {
    w->c[j] = e2m1_twice[p[1 + j] & 15];
    w->c[j + 16] = e2m1_twice[p[1 + j] >> 4];
  }
}

static void load_nvfp4(weight_block *w, const uint8_t *row, int64_t b) {
  const uint8_t *p = row + 36 * (b / 2);
  for (int half = 0; half < 2; half++) {
    int s = (int)(b % 2) * 2 + half; /* 16-wide sub-block of the 64 */
    w->d[half] = mtk_e4m3_to_f32(p[s]);
    for (int j = 0; j < 8; j++) {
      w->c[16 * half + j] = e2m1_twice[p[4 + 8 * s + j] & 15];
      w->c[16 * half + 8 + j] = e2m1_twice[p[4 + 8 * s + j] >> 4];
    }
  }
}

/* ---- block products ---------------------------------------- */
static float dot(const int8_t *c, const int8_t *q, int count) {
  int32_t sum = 0;
  for (int j = 0; j < count; j++) sum += c[j] * q[j];
  return (float)sum; /* below 2^24, so exact */
}

static float product_plain(const weight_block *w, const int8_t *q) {
  return w->d[0] * dot(w->c, q, MTK_K_BLOCK);
}

static float product_min(const weight_block *w, const int8_t *q) {
  int32_t sum = 0;
  for (int j = 0; j < MTK_K_BLOCK; j++) sum += q[j];
  return fmaf(w->m, (float)sum, w->d[0] * dot(w->c, q, MTK_K_BLOCK));
}

static float product_halves(const weight_block *w, const int8_t *q) {
  return fmaf(w->d[1], dot(w->c + 16, q + 16, 16), w->d[0] * dot(w->c, q, 16));
}

typedef struct a8_type {
  mtk_dtype type;
  void (*load)(weight_block *w, const uint8_t *row, int64_t b);
  float (*product)(const weight_block *w, const int8_t *q);
  float closing; /* 0.5 where the codes are doubled */
} a8_type;

static void run(const a8_type *t, float *y, int64_t ldy, const act_block *act, int64_t m0,
                int64_t m1, const void *packed, int64_t n, int64_t k, int64_t n0, int64_t n1) {
  float scale = t->closing * ((const mtk_k_header *)packed)->scale;
  int64_t n_blocks = mtk_k_blocks(k);
  for (int64_t row = n0; row < n1; row++) {
    const uint8_t *src = mtk_k_ref_row(packed, t->type, row, k);
    const float *grid = mtk_k_ref_grid(packed, t->type, row, n, k);
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] = 0.0f;
    for (int64_t b = 0; b < n_blocks; b++) {
      weight_block w;
      t->load(&w, src, b);
      if (grid) {
        w.d[0] *= grid[b];
        w.d[1] *= grid[b];
        w.m *= grid[b];
      }
      for (int64_t i = m0; i < m1; i++) {
        const act_block *a = &act[i * n_blocks + b];
        float *acc = &y[i * ldy + row];
        *acc = fmaf(t->product(&w, a->q), a->d, *acc);
      }
    }
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] *= scale;
  }
}

/* ---- table rows ---------------------------------------- */
#define A8_ROW(TYPE, t, product, closing)                                                          \
  static size_t packed_bytes_##t(int64_t n, int64_t k) {                                           \
    return mtk_k_ref_packed_bytes(TYPE, n, k);                                                     \
  }                                                                                                \
  static void run_##t(float *y, int64_t ldy, const void *act, int64_t m, int64_t m0, int64_t m1,   \
                      const void *packed, int64_t n, int64_t k, int64_t p0, int64_t p1) {          \
    static const a8_type type = {TYPE, load_##t, product, closing};                                \
    (void)m;                                                                                       \
    run(&type, y, ldy, act, m0, m1, packed, n, k, p0 *MTK_PANEL, mtk_k_min(p1 *MTK_PANEL, n));     \
  }                                                                                                \
  static const mtk_linear_kernel row_##t = {"mtk_k_" #t "_a8_linear__ref",                         \
                                            TYPE,                                                  \
                                            MTK_A8,                                                \
                                            packed_bytes_##t,                                      \
                                            mtk_k_ref_pack,                                        \
                                            act_bytes,                                             \
                                            prepare,                                               \
                                            run_##t,                                               \
                                            mtk_k_ref_grid_bytes};

A8_ROW(MTK_Q8_0, q8_0, product_plain, 1.0f)
A8_ROW(MTK_Q4_0, q4_0, product_plain, 1.0f)
A8_ROW(MTK_Q4_1, q4_1, product_min, 1.0f)
A8_ROW(MTK_Q5_0, q5_0, product_plain, 1.0f)
A8_ROW(MTK_Q5_1, q5_1, product_min, 1.0f)
A8_ROW(MTK_IQ4_NL, iq4_nl, product_plain, 1.0f)
A8_ROW(MTK_MXFP4, mxfp4, product_plain, 0.5f)
A8_ROW(MTK_NVFP4, nvfp4, product_halves, 0.5f)

void mtk_k_linear_a8_init__ref(mtk_kernels *table) {
  static const mtk_linear_kernel *const rows[] = {&row_q8_0,  &row_q4_0, &row_q4_1,
                                                  &row_q5_0,  &row_q5_1, &row_iq4_nl,
                                                  &row_mxfp4, &row_nvfp4};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    table->linear[rows[i]->type][MTK_A8] = rows[i];
  }
  mtk_k_linear_k_init__ref(table);
}
