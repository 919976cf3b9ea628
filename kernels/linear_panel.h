/* kernels/linear_panel.h: packed weights of the vector levels (avx2, avx512): panels of 16 rows,
 * one row a lane. Packing is plain C and the same for all of them. No state, any thread.
 *
 * packed = header, panels, grid. A panel holds all K (padded to a multiple of 32) of 16 rows:
 *  - plain types: [k][16] elements; bf16: [k/2][16][2], as AMX multiplies it;
 *  - block types: units of `unit` blocks of 32 k, each unit the codes of its blocks, then their
 *    scales (unit chosen so that scales fill a cache line). Codes of a block: registers of 64
 *    bytes, register g, lane n = bytes 4g..4g+3 of row n's codes (q8_0: +128, unsigned), then for
 *    5-bit types a register of fifth bits: lane n, byte i, bit g = element 4g+i of row n; mxfp8:
 *    [k][16]. Scales of a block: [part][16], parts d | d, m | d0, d1.
 *  - superblocks: see superblock.h.
 * Rows past n are zero bytes. The grid region, f32 [panel][block of 32][16], is filled only when
 * header.has_grid. */
#ifndef MTK_KERNELS_LINEAR_PANEL_H
#define MTK_KERNELS_LINEAR_PANEL_H

#include "linear_rules.h"

typedef struct mtk_k_panel_format {
  int elem_bytes; /* plain types: bytes of an element; 0 = block type */
  int unit;       /* blocks of 32 per unit */
  int code_bytes; /* panel bytes of one block's codes: 256, 320 (with fifth bits) or 512 */
  int parts, part_bytes;
  /* Where block b stands in a row of W: at b / split * block_bytes, b % split steps further. */
  int split, block_bytes, code_offset, code_step, scale_offset, scale_step;
  int fifth_offset; /* of the u32 of fifth bits; 0 = none */
  int code_xor;
  int by_k;       /* codes as [k][16] */
  int head_bytes; /* superblocks: scales of a unit, before its codes (superblock.h) */
} mtk_k_panel_format;

/* Of a plain or block float type. bf16 is also the format of a16 for f32 and f16 weights. */
const mtk_k_panel_format *mtk_k_panel_format_of(mtk_dtype type);

static inline int64_t mtk_k_panels(int64_t n) { return (n + MTK_PANEL - 1) / MTK_PANEL; }

static inline int64_t mtk_k_unit_bytes(const mtk_k_panel_format *f) {
  return f->head_bytes + f->unit * (f->code_bytes + f->parts * f->part_bytes * MTK_PANEL);
}

/* Bytes from panel to panel: never a multiple of 4096, so that panels read together do not meet in
 * the same cache sets. */
static inline int64_t mtk_k_panel_stride(const mtk_k_panel_format *f, int64_t k) {
  int64_t blocks = mtk_k_blocks(k), bytes = blocks * MTK_K_BLOCK * MTK_PANEL * f->elem_bytes;
  if (f->elem_bytes == 0) bytes = (blocks + f->unit - 1) / f->unit * mtk_k_unit_bytes(f);
  return bytes % 4096 ? bytes : bytes + 576;
}

static inline const uint8_t *mtk_k_panel(const void *packed, int64_t stride, int64_t p) {
  return (const uint8_t *)packed + sizeof(mtk_k_header) + p * stride;
}

/* Grid scales of panel p: [block][16]; NULL without a grid. */
static inline const float *mtk_k_panel_grid(const void *packed, int64_t stride, int64_t n,
                                            int64_t k, int64_t p) {
  if (!((const mtk_k_header *)packed)->has_grid) return NULL;
  const void *grid = mtk_k_panel(packed, stride, mtk_k_panels(n));
  return (const float *)grid + p * mtk_k_blocks(k) * MTK_PANEL;
}

/* Of packed weights: in all; without a grid region (where grids are folded in); that region. */
size_t mtk_k_panel_packed_bytes(mtk_dtype type, int64_t n, int64_t k);
size_t mtk_k_panel_folded_bytes(mtk_dtype type, int64_t n, int64_t k);
size_t mtk_k_panel_grid_bytes(int64_t n, int64_t k);
/* Panels of w's own type. */
void mtk_k_panel_pack(void *packed, const mtk_wview *w, int64_t p0, int64_t p1);
/* f32 or bf16 panels from weights of any float type, decoded, grid folded in. */
void mtk_k_panel_pack_f32(void *packed, const mtk_wview *w, int64_t p0, int64_t p1);
void mtk_k_panel_pack_bf16(void *packed, const mtk_wview *w, int64_t p0, int64_t p1);

/* mtk_linear_kernel.packed_bytes of a type, packed_bytes_NAME. */
#define MTK_K_PACKED_BYTES(TYPE, t)                                                                \
  static size_t packed_bytes_##t(int64_t n, int64_t k) {                                           \
    return mtk_k_panel_packed_bytes(TYPE, n, k);                                                   \
  }
/* The head of a mtk_linear_kernel.run. */
#define MTK_K_RUN(name)                                                                            \
  void name(float *y, int64_t ldy, const void *act, int64_t m, int64_t m0, int64_t m1,             \
            const void *packed, int64_t n, int64_t k, int64_t p0, int64_t p1)

#endif
