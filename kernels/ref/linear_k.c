/* kernels/ref/linear_k.c: linear layers in plain C, arithmetic a8 of weights in superblocks of 256:
 * int8 activations in blocks of 256, exact integer sums with the sub-scales multiplied in. The
 * formulas stand in kernels/linear_rules.h. Pure functions, any thread. */
#include <math.h>

#include "ref/linear_ref.h"
#include "superblock.h"

typedef struct act_block {
  float d; /* x is about d * q */
  int8_t q[MTK_K_SUPER];
} act_block;

static size_t act_bytes(int64_t m, int64_t k) {
  return (size_t)(m * k / MTK_K_SUPER) * sizeof(act_block);
}

static void prepare(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                    int64_t k) {
  (void)m;
  int64_t n_blocks = k / MTK_K_SUPER;
  for (int64_t i = m0; i < m1; i++) {
    for (int64_t b = 0; b < n_blocks; b++) {
      act_block *a = (act_block *)act + i * n_blocks + b;
      a->d = mtk_k_ref_quantize(a->q, x + i * ldx + b * MTK_K_SUPER, MTK_K_SUPER);
    }
  }
}

/* A superblock as it is multiplied: codes as numbers, scales as floats. */
typedef struct weight_block {
  int8_t c[MTK_K_SUPER];
  int8_t scale[16], min[16];
  float d, dmin;
} weight_block;

static void load(weight_block *w, mtk_dtype type, const uint8_t *src) {
  const mtk_k_super *f = mtk_k_super_of(type);
  mtk_k_superblock b;
  mtk_k_superblock_load(&b, type, src);
  for (int e = 0; e < MTK_K_SUPER; e++) {
    w->c[e] = f->levels ? mtk_k_iq4_levels[b.c[e]] : (int8_t)(b.c[e] - f->offset);
  }
  for (int j = 0; j < 16; j++) {
    w->scale[j] = b.scale[j];
    w->min[j] = b.min[j];
  }
  w->d = mtk_f16_to_f32(b.d);
  w->dmin = mtk_f16_to_f32(b.dmin);
}

static float product(const mtk_k_super *f, const weight_block *w, const int8_t *q) {
  int32_t isum = 0, msum = 0;
  for (int j = 0; j < MTK_K_SUPER / f->sub; j++) {
    int32_t dot = 0, sum = 0;
    for (int e = j * f->sub; e < (j + 1) * f->sub; e++) {
      dot += w->c[e] * q[e];
      sum += q[e];
    }
    isum += w->scale[j] * dot;
    msum += w->min[j] * sum;
  }
  float t = w->d * (float)isum;
  return f->has_min ? fmaf(-w->dmin, (float)msum, t) : t;
}

static void run(mtk_dtype type, float *y, int64_t ldy, const act_block *act, int64_t m0, int64_t m1,
                const void *packed, int64_t n, int64_t k, int64_t n0, int64_t n1) {
  const mtk_k_super *f = mtk_k_super_of(type);
  int64_t n_blocks = k / MTK_K_SUPER, block_bytes = mtk_k_row_bytes(type, MTK_K_SUPER);
  float scale = ((const mtk_k_header *)packed)->scale;
  for (int64_t row = n0; row < n1; row++) {
    const uint8_t *src = mtk_k_ref_row(packed, type, row, k);
    const float *grid = mtk_k_ref_grid(packed, type, row, n, k);
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] = 0.0f;
    for (int64_t b = 0; b < n_blocks; b++) {
      weight_block w;
      load(&w, type, src + b * block_bytes);
      if (grid) {
        w.d *= grid[b * (MTK_K_SUPER / MTK_K_BLOCK)];
        w.dmin *= grid[b * (MTK_K_SUPER / MTK_K_BLOCK)];
      }
      for (int64_t i = m0; i < m1; i++) {
        const act_block *a = &act[i * n_blocks + b];
        float *acc = &y[i * ldy + row];
        *acc = fmaf(product(f, &w, a->q), a->d, *acc);
      }
    }
    for (int64_t i = m0; i < m1; i++) y[i * ldy + row] *= scale;
  }
}

/* ---- table rows ---------------------------------------- */
#define SUPER_ROW(TYPE, t)                                                                         \
  static size_t packed_bytes_##t(int64_t n, int64_t k) {                                           \
    return mtk_k_ref_packed_bytes(TYPE, n, k);                                                     \
  }                                                                                                \
  static void run_##t(float *y, int64_t ldy, const void *act, int64_t m, int64_t m0, int64_t m1,   \
                      const void *packed, int64_t n, int64_t k, int64_t p0, int64_t p1) {          \
    (void)m;                                                                                       \
    run(TYPE, y, ldy, act, m0, m1, packed, n, k, p0 *MTK_PANEL, mtk_k_min(p1 *MTK_PANEL, n));      \
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
MTK_K_SUPERS(SUPER_ROW)

void mtk_k_linear_k_init__ref(mtk_kernels *table) {
#define LAY(TYPE, t) table->linear[TYPE][MTK_A8] = &row_##t;
  MTK_K_SUPERS(LAY)
}
