/* kernels/simd/linear_act.h: what linear layers in a8 of block types share (formulas:
 * linear_rules.h): activations in blocks of 32, and what a run works on. */
#include "simd/linear_block.h"
#include "simd/linear_sums.h"

/* X(TYPE, name) for each type with one scale for 32 k, and for all types. */
#define MTK_K_A8_WHOLE(X)                                                                          \
  X(MTK_Q8_0, q8_0)                                                                                \
  X(MTK_Q4_0, q4_0)                                                                                \
  X(MTK_Q4_1, q4_1)                                                                                \
  X(MTK_Q5_0, q5_0)                                                                                \
  X(MTK_Q5_1, q5_1)                                                                                \
  X(MTK_IQ4_NL, iq4_nl)                                                                            \
  X(MTK_MXFP4, mxfp4)
#define MTK_K_A8_BLOCKS(X) MTK_K_A8_WHOLE(X) X(MTK_NVFP4, nvfp4)

/* ---- activations: rows of blocks, an odd number of cache lines apart ----------------------- */
typedef struct act_block {
  int8_t q[MTK_K_BLOCK];
  float d;
  int32_t start[2]; /* of integer sums, see set_starts */
  float sum;        /* sum(q) */
} act_block;

/* Bytes from row to row: rows of a tile lie apart from each other in the cache. */
MTK_INLINE int64_t act_ld(int64_t blocks) {
  return ((blocks * (int64_t)sizeof(act_block) + 63) / 64 | 1) * 64;
}
MTK_INLINE act_block *act_row(const void *x, int64_t row, int64_t ld) {
  return (act_block *)((uintptr_t)x + (uintptr_t)(row * ld));
}

/* Are codes read as all 8 bits (offset 128)? */
MTK_INLINE int is_wide(block_type t) { return t.offset == 128; }

/* What integer sums start at: -offset * sum(q), of the block or of each half. AVX2 has it in pairs
 * of int16, or nothing where codes are signed; sums of q5_1 start as if 16 were taken off the
 * codes, so that they fit, and are raised by start[1] at the end. */
#if MTK_LANES == 16
MTK_INLINE int is_raised(block_type t) {
  (void)t;
  return 0;
}
MTK_INLINE void set_starts(act_block *a, block_type t, const int32_t sum[2]) {
  a->start[0] = -t.offset * (t.halves ? sum[0] : sum[0] + sum[1]);
  a->start[1] = t.halves ? -t.offset * sum[1] : 0;
}
#else
MTK_INLINE int is_raised(block_type t) { return t.code == CODE_FIVE && t.offset == 0; }
MTK_INLINE void set_starts(act_block *a, block_type t, const int32_t sum[2]) {
  if (is_wide(t)) return;
  act_pairs(a->start, a->q, is_raised(t) ? -16 : -t.offset, t.halves);
  if (is_raised(t)) a->start[1] = 16 * (sum[0] + sum[1]);
}
#endif

MTK_INLINE void quantize(act_block *a, const float *x, block_type t) {
  float inverse;
  int32_t sum[2];
  memset(a, 0, sizeof *a);
  a->d = act_scale(x, MTK_K_BLOCK, &inverse);
  if (inverse == 0.0f) return;
  act_codes(a->q, sum, x, inverse);
  set_starts(a, t, sum);
  a->sum = (float)(sum[0] + sum[1]);
}

MTK_INLINE void prepare_row(block_type t, act_block *a, const float *x, int64_t blocks) {
  for (int64_t b = 0; b < blocks; b++) quantize(&a[b], x + b * MTK_K_BLOCK, t);
}

/* ---- a run ---------------------------------------- */
typedef struct a8_job {
  float *y;
  const void *x; /* activations */
  const void *packed;
  int64_t ldy, ldx, blocks, stride, n, k;
  float scale;
} a8_job;

MTK_INLINE a8_job job_of(block_type t, mtk_dtype type, float *y, int64_t ldy, const void *act,
                         const void *packed, int64_t n, int64_t k) {
  a8_job job = {.y = y, .x = act, .packed = packed, .ldy = ldy, .n = n, .k = k};
  job.blocks = mtk_k_blocks(k);
  job.ldx = act_ld(job.blocks);
  job.stride = mtk_k_panel_stride(mtk_k_panel_format_of(type), k);
  job.scale = t.closing * ((const mtk_k_header *)packed)->scale;
  return job;
}

/* acc[rows][COLS] to rows m0 and up, panels p and up of y. */
MTK_INLINE void store_tile(const a8_job *job, const float *acc, int64_t m0, int64_t rows, int64_t p,
                           int64_t panels) {
  const int64_t col0 = p * MTK_PANEL, cols = mtk_k_min(panels * MTK_PANEL, job->n - col0);
  store_sums(job->y + m0 * job->ldy + col0, job->ldy, acc, rows, cols, job->scale);
}
