/* kernels/linear_panel.c: see linear_panel.h. Pure functions, any thread. */
#include "linear_panel.h"

#include "interleave.h"
#include "superblock.h"

#include <string.h>

static const mtk_k_panel_format formats[MTK_DTYPE_COUNT] = {
    [MTK_F32] = {.elem_bytes = 4},
    [MTK_F16] = {.elem_bytes = 2},
    [MTK_BF16] = {.elem_bytes = 2},
    [MTK_F8_E4M3] = {.elem_bytes = 1},
    [MTK_F8_E5M2] = {.elem_bytes = 1},
    [MTK_Q8_0] = {.unit = 2,
                  .code_bytes = 512,
                  .parts = 1,
                  .part_bytes = 2,
                  .split = 1,
                  .block_bytes = 34,
                  .code_offset = 2,
                  .code_xor = 0x80},
    [MTK_Q4_0] = {.unit = 2,
                  .code_bytes = 256,
                  .parts = 1,
                  .part_bytes = 2,
                  .split = 1,
                  .block_bytes = 18,
                  .code_offset = 2},
    [MTK_Q4_1] = {.unit = 1,
                  .code_bytes = 256,
                  .parts = 2,
                  .part_bytes = 2,
                  .split = 1,
                  .block_bytes = 20,
                  .code_offset = 4},
    [MTK_Q5_0] = {.unit = 2,
                  .code_bytes = 320,
                  .parts = 1,
                  .part_bytes = 2,
                  .split = 1,
                  .block_bytes = 22,
                  .code_offset = 6,
                  .fifth_offset = 2},
    [MTK_Q5_1] = {.unit = 1,
                  .code_bytes = 320,
                  .parts = 2,
                  .part_bytes = 2,
                  .split = 1,
                  .block_bytes = 24,
                  .code_offset = 8,
                  .fifth_offset = 4},
    [MTK_IQ4_NL] = {.unit = 2,
                    .code_bytes = 256,
                    .parts = 1,
                    .part_bytes = 2,
                    .split = 1,
                    .block_bytes = 18,
                    .code_offset = 2},
    [MTK_MXFP8] = {.unit = 4,
                   .code_bytes = 512,
                   .parts = 1,
                   .part_bytes = 1,
                   .split = 1,
                   .block_bytes = 33,
                   .code_offset = 1,
                   .by_k = 1},
    [MTK_MXFP4] = {.unit = 4,
                   .code_bytes = 256,
                   .parts = 1,
                   .part_bytes = 1,
                   .split = 1,
                   .block_bytes = 17,
                   .code_offset = 1},
    [MTK_NVFP4] = {.unit = 2,
                   .code_bytes = 256,
                   .parts = 2,
                   .part_bytes = 1,
                   .split = 2,
                   .block_bytes = 36,
                   .code_offset = 4,
                   .code_step = 16,
                   .scale_step = 2},
    [MTK_Q2_K] = {.unit = 8, .code_bytes = 128, .head_bytes = 64 + 256},
    [MTK_Q3_K] = {.unit = 8, .code_bytes = 192, .head_bytes = 32 + 256},
    [MTK_Q4_K] = {.unit = 8, .code_bytes = 256, .head_bytes = 64 + 256},
    [MTK_Q5_K] = {.unit = 8, .code_bytes = 320, .head_bytes = 64 + 256},
    [MTK_Q6_K] = {.unit = 8, .code_bytes = 384, .head_bytes = 32 + 256},
    [MTK_IQ4_XS] = {.unit = 8, .code_bytes = 256, .head_bytes = 32 + 128},
};

const mtk_k_panel_format *mtk_k_panel_format_of(mtk_dtype type) { return &formats[type]; }

size_t mtk_k_panel_grid_bytes(int64_t n, int64_t k) {
  return (size_t)(mtk_k_panels(n) * mtk_k_blocks(k) * MTK_PANEL) * sizeof(float);
}

size_t mtk_k_panel_folded_bytes(mtk_dtype type, int64_t n, int64_t k) {
  return sizeof(mtk_k_header) + (size_t)(mtk_k_panels(n) * mtk_k_panel_stride(&formats[type], k));
}

size_t mtk_k_panel_packed_bytes(mtk_dtype type, int64_t n, int64_t k) {
  return mtk_k_panel_folded_bytes(type, n, k) + mtk_k_panel_grid_bytes(n, k);
}

static void pack_grid(void *packed, const mtk_wview *w, int64_t stride, int64_t p) {
  int64_t blocks = mtk_k_blocks(w->k);
  float *grid = (float *)(uintptr_t)mtk_k_panel(packed, stride, mtk_k_panels(w->n));
  grid += p * blocks * MTK_PANEL;
  for (int64_t b = 0; b < blocks; b++) {
    for (int64_t lane = 0; lane < MTK_PANEL; lane++) {
      int64_t row = p * MTK_PANEL + lane;
      grid[b * MTK_PANEL + lane] = row < w->n ? mtk_k_grid(w, row, b) : 0.0f;
    }
  }
}

/* ---- block types ---------------------------------------- */
/* Bit j of the u32 at src to byte j % 4, bit j / 4. */
static void pack_fifth_bits(uint8_t *dst, const uint8_t *src) {
  uint32_t bits;
  memcpy(&bits, src, sizeof bits);
  for (int i = 0; i < 4; i++) {
    uint32_t every4 = bits >> i & 0x11111111u; /* squeezed together in three steps */
    every4 = (every4 | every4 >> 3) & 0x03030303u;
    every4 = (every4 | every4 >> 6) & 0x000f000fu;
    dst[i] = (uint8_t)(every4 | every4 >> 12);
  }
}

/* A block's codes of all rows; row_bytes apart in src. */
static void pack_codes(uint8_t *codes, const mtk_k_panel_format *f, int lanes, const uint8_t *src,
                       int64_t row_bytes) {
  int count = f->fifth_offset ? 16 : f->code_bytes / MTK_PANEL;
  if (!f->by_k) {
    mtk_k_interleave(codes, src, row_bytes, lanes, count / 4, 0x01010101u * (uint32_t)f->code_xor);
    return;
  }
  for (int lane = 0; lane < lanes; lane++, src += row_bytes)
    for (int i = 0; i < count; i++) codes[i * MTK_PANEL + lane] = src[i];
}

static void pack_scales(uint8_t *scales, const mtk_k_panel_format *f, int lanes,
                        const uint8_t *src, int64_t row_bytes) {
  for (int lane = 0; lane < lanes; lane++, src += row_bytes) {
    for (int part = 0; part < f->parts; part++) {
      int at = part * MTK_PANEL + lane;
      if (f->part_bytes == 2)
        memcpy(scales + 2 * at, src + 2 * part, 2);
      else
        scales[at] = src[part];
    }
  }
}

static void pack_blocks(uint8_t *panel, const mtk_wview *w, int64_t p) {
  const mtk_k_panel_format *f = &formats[w->type];
  int64_t scale_bytes = f->parts * f->part_bytes * MTK_PANEL, unit_bytes = mtk_k_unit_bytes(f);
  int64_t row_bytes = mtk_k_row_bytes(w->type, w->k), row = p * MTK_PANEL;
  int lanes = (int)mtk_k_min(MTK_PANEL, w->n - row);
  const uint8_t *rows = (const uint8_t *)w->data + (row - w->row0) * row_bytes;
  for (int64_t b = 0; b < mtk_k_blocks(w->k); b++) {
    uint8_t *unit = panel + b / f->unit * unit_bytes;
    uint8_t *codes = unit + b % f->unit * f->code_bytes;
    uint8_t *scales = unit + f->unit * f->code_bytes + b % f->unit * scale_bytes;
    const uint8_t *block = rows + b / f->split * f->block_bytes;
    int64_t step = b % f->split;
    pack_codes(codes, f, lanes, block + f->code_offset + step * f->code_step, row_bytes);
    pack_scales(scales, f, lanes, block + f->scale_offset + step * f->scale_step, row_bytes);
    for (int lane = 0; lane < lanes && f->fifth_offset; lane++)
      pack_fifth_bits(codes + 256 + lane * 4, block + f->fifth_offset + lane * row_bytes);
  }
}

/* ---- plain types ---------------------------------------- */
#define PLAIN(name, elem)                                                                          \
  static void name(uint8_t *panel, const uint8_t *row, int lane, int64_t k0, int64_t k1) {         \
    for (int64_t j = k0; j < k1; j++) {                                                            \
      memcpy(panel + (j * MTK_PANEL + lane) * (int64_t)sizeof(elem),                               \
             row + j * (int64_t)sizeof(elem), sizeof(elem));                                       \
    }                                                                                              \
  }
PLAIN(pack_plain_1, uint8_t)
PLAIN(pack_plain_2, uint16_t)

typedef void plain_fn(uint8_t *panel, const uint8_t *row, int lane, int64_t k0, int64_t k1);

/* Some k of all rows at a time: that much of the panel stays in the cache. */
static void pack_plain(uint8_t *panel, const mtk_wview *w, int64_t p) {
  enum { STEP = 128 };
  plain_fn *pack = formats[w->type].elem_bytes == 1 ? pack_plain_1 : pack_plain_2;
  int64_t row_bytes = mtk_k_row_bytes(w->type, w->k), row = p * MTK_PANEL;
  int lanes = (int)mtk_k_min(MTK_PANEL, w->n - row);
  const uint8_t *src = (const uint8_t *)w->data + (row - w->row0) * row_bytes;
  if (formats[w->type].elem_bytes == 4 || w->type == MTK_BF16) {
    int64_t groups = w->k * formats[w->type].elem_bytes / 4;
    mtk_k_interleave(panel, src, row_bytes, lanes, groups, 0);
    for (int lane = 0; lane < lanes && w->type == MTK_BF16 && w->k % 2; lane++)
      memcpy(panel + (groups * MTK_PANEL + lane) * 4, src + lane * row_bytes + groups * 4, 2);
    return;
  }
  for (int64_t k0 = 0; k0 < w->k; k0 += STEP)
    for (int lane = 0; lane < lanes; lane++)
      pack(panel, src + lane * row_bytes, lane, k0, mtk_k_min(k0 + STEP, w->k));
}

enum { CHUNK = 256 }; /* k decoded at a time: a multiple of every storage block and of 32 */

/* v[0..count) = W[row, k0..k0+count) decoded, times the grid. */
static void decode_chunk(float *v, const mtk_wview *w, int64_t row, int64_t k0, int64_t count) {
  const uint8_t *src = (const uint8_t *)w->data;
  src += (row - w->row0) * mtk_k_row_bytes(w->type, w->k) + mtk_k_row_bytes(w->type, k0);
  mtk_dtype_decode(w->type, v, src, (size_t)count);
  if (!mtk_k_has_grid(w)) return;
  for (int64_t j = 0; j < count; j++) v[j] *= mtk_k_grid(w, row, (k0 + j) / MTK_K_BLOCK);
}

/* As f32 or (bf16 set) as bf16: panels that need no grid any more. */
static void pack_folded(uint8_t *panel, const mtk_wview *w, int64_t p, int bf16) {
  int lanes = (int)mtk_k_min(MTK_PANEL, w->n - p * MTK_PANEL);
  for (int64_t k0 = 0; k0 < w->k; k0 += CHUNK) {
    for (int lane = 0; lane < lanes; lane++) {
      float v[CHUNK];
      int64_t count = mtk_k_min(CHUNK, w->k - k0);
      decode_chunk(v, w, p * MTK_PANEL + lane, k0, count);
      for (int64_t j = 0; j < count; j++) {
        uint16_t half = mtk_f32_to_bf16(v[j]);
        if (bf16)
          memcpy(panel + ((k0 + j) / 2 * MTK_PANEL + lane) * 4 + j % 2 * 2, &half, sizeof half);
        else
          memcpy(panel + ((k0 + j) * MTK_PANEL + lane) * 4, &v[j], sizeof v[j]);
      }
    }
  }
}

/* ---- whole panels ---------------------------------------- */
/* Where panel p goes; zeros where there are no weights: rows behind the last one, an unfinished
 * unit. */
static uint8_t *begin_panel(void *packed, const mtk_wview *w, mtk_dtype type, int64_t p) {
  const mtk_k_panel_format *f = &formats[type];
  int64_t stride = mtk_k_panel_stride(f, w->k), unit = MTK_K_BLOCK * (f->unit ? f->unit : 1);
  uint8_t *panel = (uint8_t *)packed + sizeof(mtk_k_header) + p * stride;
  if ((p + 1) * MTK_PANEL > w->n || w->k % unit) memset(panel, 0, (size_t)stride);
  return panel;
}

void mtk_k_panel_pack(void *packed, const mtk_wview *w, int64_t p0, int64_t p1) {
  int64_t stride = mtk_k_panel_stride(&formats[w->type], w->k);
  if (p0 == 0) mtk_k_header_init(packed, w);
  for (int64_t p = p0; p < p1; p++) {
    uint8_t *panel = begin_panel(packed, w, w->type, p);
    if (formats[w->type].elem_bytes)
      pack_plain(panel, w, p);
    else if (formats[w->type].head_bytes)
      mtk_k_super_pack(panel, w, p);
    else
      pack_blocks(panel, w, p);
    if (mtk_k_has_grid(w)) pack_grid(packed, w, stride, p);
  }
}

/* Panels of `as` (f32 or bf16), copied where the weights are of that type already. */
static void pack_as(mtk_dtype as, void *packed, const mtk_wview *w, int64_t p0, int64_t p1) {
  if (p0 == 0) {
    mtk_k_header_init(packed, w);
    ((mtk_k_header *)packed)->has_grid = 0;
  }
  for (int64_t p = p0; p < p1; p++) {
    uint8_t *panel = begin_panel(packed, w, as, p);
    if (w->type == as && !mtk_k_has_grid(w))
      pack_plain(panel, w, p);
    else
      pack_folded(panel, w, p, as == MTK_BF16);
  }
}

void mtk_k_panel_pack_f32(void *packed, const mtk_wview *w, int64_t p0, int64_t p1) {
  pack_as(MTK_F32, packed, w, p0, p1);
}

void mtk_k_panel_pack_bf16(void *packed, const mtk_wview *w, int64_t p0, int64_t p1) {
  pack_as(MTK_BF16, packed, w, p0, p1);
}
