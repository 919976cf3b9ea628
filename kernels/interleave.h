/* kernels/interleave.h: 16 rows side by side, in groups of 4 bytes: what packing mostly is. Whole
 * panels go through 4 x 4 transpositions in registers of 16 bytes, which every 64-bit machine has.
 * No state, any thread. */
#ifndef MTK_KERNELS_INTERLEAVE_H
#define MTK_KERNELS_INTERLEAVE_H

#include <mtk/kernel.h>

#include <string.h>

typedef uint32_t mtk_k_u32x4 __attribute__((vector_size(16)));

/* Groups 0..3 of 4 rows to dst, 4 groups of a line each; lines are MTK_PANEL groups. */
static inline void mtk_k_transpose_4x4(uint8_t *dst, const uint8_t *src, int64_t row_bytes,
                                       uint32_t flip) {
  mtk_k_u32x4 r[4];
  for (int i = 0; i < 4; i++) memcpy(&r[i], src + i * row_bytes, sizeof r[i]);
  const mtk_k_u32x4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
  const mtk_k_u32x4 b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const mtk_k_u32x4 c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  const mtk_k_u32x4 d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5) ^ flip;
  r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7) ^ flip;
  r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5) ^ flip;
  r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7) ^ flip;
  for (int i = 0; i < 4; i++) memcpy(dst + i * 4 * MTK_PANEL, &r[i], sizeof r[i]);
}

/* The same bytes of the next 16 rows, which are packed next: reading rows side by side, a little of
 * each, is nothing that a processor foresees. */
static inline void mtk_k_fetch_next_panel(const uint8_t *src, int64_t row_bytes, int64_t bytes) {
  for (int lane = MTK_PANEL; lane < 2 * MTK_PANEL; lane++) {
    uintptr_t row = (uintptr_t)src + (uintptr_t)(lane * row_bytes); /* may lie behind the matrix */
    for (int64_t at = 0; at < bytes; at += 64)
      __builtin_prefetch((const void *)(row + (uintptr_t)at), 0, 2);
  }
}

/* Group g of row i, ^ flip, to group g * MTK_PANEL + i of dst, for the first `lanes` rows. */
static inline void mtk_k_interleave(uint8_t *dst, const uint8_t *src, int64_t row_bytes, int lanes,
                                    int64_t n_groups, uint32_t flip) {
  int64_t g = 0;
  for (; lanes == MTK_PANEL && g + 4 <= n_groups; g += 4) {
    for (int i = 0; i < MTK_PANEL; i += 4)
      mtk_k_transpose_4x4(dst + (g * MTK_PANEL + i) * 4, src + i * row_bytes + 4 * g, row_bytes,
                          flip);
  }
  for (; g < n_groups; g++) {
    for (int i = 0; i < lanes; i++) {
      uint32_t group;
      memcpy(&group, src + i * row_bytes + 4 * g, sizeof group);
      group ^= flip;
      memcpy(dst + (g * MTK_PANEL + i) * 4, &group, sizeof group);
    }
  }
}

#endif
