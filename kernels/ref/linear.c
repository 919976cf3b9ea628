/* kernels/ref/linear.c: linear layers in plain C, arithmetics a32 and a16 of every float storage
 * type, and the packing of all reference linear kernels. The meaning of these kernels: read it
 * against the numerics contract (kernel.h, kernels/linear_rules.h). Pure functions, any thread. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "families.h"
#include "ref/linear_ref.h"

enum { CHUNK = 256 }; /* k decoded at a time: a multiple of every storage block and of 32 */

/* ---- packing ---------------------------------------- */
static size_t grid_offset(mtk_dtype type, int64_t n, int64_t k) {
  return (sizeof(mtk_k_header) + (size_t)(n * mtk_k_row_bytes(type, k)) + 63) / 64 * 64;
}

size_t mtk_k_ref_grid_bytes(int64_t n, int64_t k) {
  return (size_t)(n * mtk_k_blocks(k)) * sizeof(float);
}

size_t mtk_k_ref_packed_bytes(mtk_dtype type, int64_t n, int64_t k) {
  return grid_offset(type, n, k) + mtk_k_ref_grid_bytes(n, k);
}

const float *mtk_k_ref_grid(const void *packed, mtk_dtype type, int64_t row, int64_t n, int64_t k) {
  if (!((const mtk_k_header *)packed)->has_grid) return NULL;
  const char *grid = (const char *)packed + grid_offset(type, n, k);
  return (const float *)(const void *)grid + row * mtk_k_blocks(k);
}

void mtk_k_ref_pack(void *packed, const mtk_wview *w, int64_t p0, int64_t p1) {
  if (p0 == 0) mtk_k_header_init(packed, w);
  int64_t row_bytes = mtk_k_row_bytes(w->type, w->k), n_blocks = mtk_k_blocks(w->k);
  char *rows = (char *)packed + sizeof(mtk_k_header);
  float *grid = (float *)(void *)((char *)packed + grid_offset(w->type, w->n, w->k));
  int has_grid = mtk_k_has_grid(w);
  for (int64_t r = p0 * MTK_PANEL; r < mtk_k_min(p1 * MTK_PANEL, w->n); r++) {
    const char *src = (const char *)w->data + (r - w->row0) * row_bytes;
    memcpy(rows + r * row_bytes, src, (size_t)row_bytes);
    for (int64_t b = 0; has_grid && b < n_blocks; b++) {
      grid[r * n_blocks + b] = mtk_k_grid(w, r, b);
    }
  }
}

/* w[0..count) = decoded W[row, k0..k0+count), grid applied. */
static void decode_row(float *w, const void *packed, mtk_dtype type, int64_t row, int64_t n,
                       int64_t k, int64_t k0, int64_t count) {
  const uint8_t *src = mtk_k_ref_row(packed, type, row, k) + mtk_k_row_bytes(type, k0);
  mtk_dtype_decode(type, w, src, (size_t)count);
  const float *grid = mtk_k_ref_grid(packed, type, row, n, k);
  for (int64_t j = 0; grid && j < count; j++) w[j] *= grid[(k0 + j) / MTK_K_BLOCK];
}

/* ---- a32: one chain ---------------------------------------- */
static size_t act_bytes_a32(int64_t m, int64_t k) { return (size_t)(m * k) * sizeof(float); }

static void prepare_a32(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                        int64_t k) {
  (void)m;
  for (int64_t i = m0; i < m1; i++) {
    memcpy((float *)act + i * k, x + i * ldx, (size_t)k * sizeof(float));
  }
}

static float chain_a32(float acc, const float *x, const float *w, int64_t count) {
  for (int64_t j = 0; j < count; j++) acc = fmaf(x[j], w[j], acc);
  return acc;
}

static void run_a32(mtk_dtype type, float *y, int64_t ldy, const float *x, int64_t m0, int64_t m1,
                    const void *packed, int64_t n, int64_t k, int64_t n0, int64_t n1) {
  float scale = ((const mtk_k_header *)packed)->scale;
  for (int64_t row = n0; row < n1; row++) {
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] = 0.0f;
    for (int64_t k0 = 0; k0 < k; k0 += CHUNK) {
      float w[CHUNK];
      int64_t count = mtk_k_min(CHUNK, k - k0);
      decode_row(w, packed, type, row, n, k, k0, count);
      for (int64_t i = m0; i < m1; i++) {
        float *acc = &y[i * ldy + row];
        *acc = chain_a32(*acc, x + i * k + k0, w, count);
      }
    }
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] *= scale;
  }
}

/* ---- a16: bf16 operands, even and odd chains per 32 k, denormals flushed ------------------- */
static float flush(float v) { return fabsf(v) < FLT_MIN ? copysignf(0.0f, v) : v; }

/* r = 2^-126 may be the rounded-up denormal of a result that lies below 2^-126 with 24 bits, which
 * SSE flushes: anything below 2^-126 - 2^-151. `exact` is the unrounded result (close to 2^-126 a
 * double holds it). */
static float flush_result(float r, double exact) {
  if (fabsf(r) > FLT_MIN) return r;
  return fabs(exact) < 0x1p-126 - 0x1p-151 ? copysignf(0.0f, r) : r;
}

static float fma_flush(float a, float b, float c) {
  return flush_result(fmaf(a, b, c), (double)a * (double)b + (double)c);
}

static float mul_flush(float a, float b) { return flush_result(a * b, (double)a * (double)b); }

static float to_bf16(float v) { return mtk_bf16_to_f32(mtk_f32_to_bf16(v)); }

static int64_t padded(int64_t k) { return mtk_k_blocks(k) * MTK_K_BLOCK; }

static size_t act_bytes_a16(int64_t m, int64_t k) {
  return (size_t)(m * padded(k)) * sizeof(float);
}

static void prepare_a16(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                        int64_t k) {
  (void)m;
  for (int64_t i = m0; i < m1; i++) {
    float *dst = (float *)act + i * padded(k);
    for (int64_t j = 0; j < padded(k); j++) dst[j] = j < k ? flush(to_bf16(x[i * ldx + j])) : 0.0f;
  }
}

static float chain_a16(float acc, const float *x, const float *w, int64_t count) {
  for (int64_t b = 0; b < count; b += MTK_K_BLOCK) {
    float even = 0.0f, odd = 0.0f;
    for (int64_t j = b; j < b + MTK_K_BLOCK; j += 2) {
      even = fma_flush(x[j], w[j], even);
      odd = fma_flush(x[j + 1], w[j + 1], odd);
    }
    acc = flush(acc + flush(even + odd));
  }
  return acc;
}

static void run_a16(mtk_dtype type, float *y, int64_t ldy, const float *x, int64_t m0, int64_t m1,
                    const void *packed, int64_t n, int64_t k, int64_t n0, int64_t n1) {
  float scale = flush(((const mtk_k_header *)packed)->scale);
  for (int64_t row = n0; row < n1; row++) {
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] = 0.0f;
    for (int64_t k0 = 0; k0 < k; k0 += CHUNK) {
      float w[CHUNK] = {0};
      int64_t count = mtk_k_min(CHUNK, k - k0);
      decode_row(w, packed, type, row, n, k, k0, count);
      for (int64_t j = 0; j < count; j++) w[j] = flush(to_bf16(w[j]));
      for (int64_t i = m0; i < m1; i++) {
        float *acc = &y[i * ldy + row];
        *acc = chain_a16(*acc, x + i * padded(k) + k0, w, padded(count));
      }
    }
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] = mul_flush(y[i * ldy + row], scale);
  }
}

/* ---- table rows ---------------------------------------- */
#define ROW(TYPE, t, a, A)                                                                         \
  static void run_##t##_##a(float *y, int64_t ldy, const void *act, int64_t m, int64_t m0,         \
                            int64_t m1, const void *packed, int64_t n, int64_t k, int64_t p0,      \
                            int64_t p1) {                                                          \
    (void)m;                                                                                       \
    run_##a(TYPE, y, ldy, act, m0, m1, packed, n, k, p0 *MTK_PANEL, mtk_k_min(p1 *MTK_PANEL, n));  \
  }                                                                                                \
  static const mtk_linear_kernel row_##t##_##a = {"mtk_k_" #t "_" #a "_linear__ref",               \
                                                  TYPE,                                            \
                                                  A,                                               \
                                                  packed_bytes_##t,                                \
                                                  mtk_k_ref_pack,                                  \
                                                  act_bytes_##a,                                   \
                                                  prepare_##a,                                     \
                                                  run_##t##_##a,                                   \
                                                  mtk_k_ref_grid_bytes};

#define TYPE_ROWS(TYPE, t)                                                                         \
  static size_t packed_bytes_##t(int64_t n, int64_t k) {                                           \
    return mtk_k_ref_packed_bytes(TYPE, n, k);                                                     \
  }                                                                                                \
  ROW(TYPE, t, a32, MTK_A32)                                                                       \
  ROW(TYPE, t, a16, MTK_A16)

TYPE_ROWS(MTK_F32, f32)
TYPE_ROWS(MTK_F16, f16)
TYPE_ROWS(MTK_BF16, bf16)
TYPE_ROWS(MTK_F8_E4M3, f8_e4m3)
TYPE_ROWS(MTK_F8_E5M2, f8_e5m2)
TYPE_ROWS(MTK_Q8_0, q8_0)
TYPE_ROWS(MTK_Q4_0, q4_0)
TYPE_ROWS(MTK_Q4_1, q4_1)
TYPE_ROWS(MTK_Q5_0, q5_0)
TYPE_ROWS(MTK_Q5_1, q5_1)
TYPE_ROWS(MTK_IQ4_NL, iq4_nl)
TYPE_ROWS(MTK_MXFP8, mxfp8)
TYPE_ROWS(MTK_MXFP4, mxfp4)
TYPE_ROWS(MTK_NVFP4, nvfp4)
MTK_K_DECODED(TYPE_ROWS)

static const mtk_linear_kernel *const rows[] = {
    &row_f32_a32,  &row_f32_a16,     &row_f16_a32,     &row_f16_a16,     &row_bf16_a32,
    &row_bf16_a16, &row_f8_e4m3_a32, &row_f8_e4m3_a16, &row_f8_e5m2_a32, &row_f8_e5m2_a16,
    &row_q8_0_a32, &row_q8_0_a16,    &row_q4_0_a32,    &row_q4_0_a16,    &row_q4_1_a32,
    &row_q4_1_a16, &row_mxfp4_a32,   &row_mxfp4_a16,   &row_nvfp4_a32,   &row_nvfp4_a16,
    &row_q5_0_a32, &row_q5_0_a16,    &row_q5_1_a32,    &row_q5_1_a16,    &row_iq4_nl_a32,
    &row_iq4_nl_a16, &row_mxfp8_a32, &row_mxfp8_a16,
#define BOTH(TYPE, t) &row_##t##_a32, &row_##t##_a16,
    MTK_K_DECODED(BOTH)
};

void mtk_k_linear_init__ref(mtk_kernels *table) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    table->linear[rows[i]->type][rows[i]->arith] = rows[i];
  }
  mtk_k_linear_a8_init__ref(table);
}
