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
/* Bit j of each row's u32, row_bytes apart from src, to byte j % 4, bit j / 4 of a dword a row. */
static void pack_fifth_bits(uint8_t *dst, int lanes, const uint8_t *src, int64_t row_bytes) {
  uint32_t bits[MTK_PANEL] = {0}, out[MTK_PANEL];
  for (int lane = 0; lane < lanes; lane++) memcpy(&bits[lane], src + lane * row_bytes, 4);
  for (int lane = 0; lane < MTK_PANEL; lane++) {
    out[lane] = 0;
    for (int i = 0; i < 4; i++) {
      uint32_t every4 = bits[lane] >> i & 0x11111111u; /* squeezed together in three steps */
      every4 = (every4 | every4 >> 3) & 0x03030303u;
      every4 = (every4 | every4 >> 6) & 0x000f000fu;
      out[lane] |= ((every4 | every4 >> 12) & 0xffu) << (8 * i);
    }
  }
  memcpy(dst, out, (size_t)lanes * 4);
}

/* Elements of 1 or 2 bytes of all rows to [k][16]; k * elem is a multiple of 4. */
static inline void interleave_elements(uint8_t *dst, const uint8_t *src, int64_t row_bytes,
                                       int lanes, int64_t k, const int elem) {
  enum { STEP = 32 };
  uint32_t groups[STEP][MTK_PANEL];
  if (lanes < MTK_PANEL) memset(groups, 0, sizeof groups);
  for (int64_t g = 0, count, n_groups = k * elem / 4; g < n_groups; g += count) {
    count = mtk_k_min(STEP, n_groups - g);
    mtk_k_interleave((uint8_t *)groups, src + 4 * g, row_bytes, lanes, count, 0);
    for (int64_t i = 0; i < count; i++) {
      for (int part = 0; part < 4 / elem; part++, dst += MTK_PANEL * elem) {
        uint16_t halves[MTK_PANEL];
        uint8_t bytes[MTK_PANEL];
        for (int lane = 0; lane < MTK_PANEL; lane++) {
          halves[lane] = (uint16_t)(groups[i][lane] >> (16 * part % 32));
          bytes[lane] = (uint8_t)(groups[i][lane] >> (8 * part));
        }
        memcpy(dst, elem == 2 ? (void *)halves : bytes, (size_t)(MTK_PANEL * elem));
      }
    }
  }
}

/* A block's codes of all rows; row_bytes apart in src. */
static void pack_codes(uint8_t *codes, const mtk_k_panel_format *f, int lanes, const uint8_t *src,
                       int64_t row_bytes) {
  int count = f->fifth_offset ? 16 : f->code_bytes / MTK_PANEL;
  if (f->by_k)
    interleave_elements(codes, src, row_bytes, lanes, count, 1);
  else
    mtk_k_interleave(codes, src, row_bytes, lanes, count / 4, 0x01010101u * (uint32_t)f->code_xor);
}

static inline void scales_of(uint8_t *scales, const int parts, const int bytes, const int lanes,
                             const uint8_t *src, int64_t row_bytes) {
  for (int lane = 0; lane < lanes; lane++, src += row_bytes) {
    for (int part = 0; part < parts; part++)
      memcpy(scales + (part * MTK_PANEL + lane) * bytes, src + part * bytes, (size_t)bytes);
  }
}

/* A block's scales of all rows: whole panels by loops of known length. */
static void pack_scales(uint8_t *scales, const mtk_k_panel_format *f, int lanes,
                        const uint8_t *src, int64_t row_bytes) {
  if (lanes < MTK_PANEL)
    scales_of(scales, f->parts, f->part_bytes, lanes, src, row_bytes);
  else if (f->part_bytes == 2 && f->parts == 1)
    scales_of(scales, 1, 2, MTK_PANEL, src, row_bytes);
  else if (f->part_bytes == 2)
    scales_of(scales, 2, 2, MTK_PANEL, src, row_bytes);
  else if (f->parts == 1)
    scales_of(scales, 1, 1, MTK_PANEL, src, row_bytes);
  else
    scales_of(scales, 2, 1, MTK_PANEL, src, row_bytes);
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
    int64_t at = b / f->split * f->block_bytes;
    const uint8_t *block = rows + at;
    if (at % 64 < f->block_bytes) mtk_k_fetch_next_panel(block, row_bytes, 1);
    int64_t step = b % f->split;
    pack_codes(codes, f, lanes, block + f->code_offset + step * f->code_step, row_bytes);
    pack_scales(scales, f, lanes, block + f->scale_offset + step * f->scale_step, row_bytes);
    if (f->fifth_offset) pack_fifth_bits(codes + 256, lanes, block + f->fifth_offset, row_bytes);
  }
}

/* ---- plain types ---------------------------------------- */
/* bf16 stays in pairs of k. */
static void pack_plain(uint8_t *panel, const mtk_wview *w, int64_t p) {
  int64_t elem = formats[w->type].elem_bytes, row_bytes = mtk_k_row_bytes(w->type, w->k);
  int64_t row = p * MTK_PANEL, whole = w->k - w->k % (4 / elem);
  int lanes = (int)mtk_k_min(MTK_PANEL, w->n - row), pairs = w->type == MTK_BF16;
  const uint8_t *src = (const uint8_t *)w->data + (row - w->row0) * row_bytes;
  if (elem == 4 || pairs)
    mtk_k_interleave(panel, src, row_bytes, lanes, whole * elem / 4, 0);
  else if (elem == 2)
    interleave_elements(panel, src, row_bytes, lanes, whole, 2);
  else
    interleave_elements(panel, src, row_bytes, lanes, whole, 1);
  for (int64_t j = whole; j < w->k; j++) {
    for (int lane = 0; lane < lanes; lane++)
      memcpy(panel + (pairs ? whole * MTK_PANEL + 2 * lane : j * MTK_PANEL + lane) * elem,
             src + lane * row_bytes + j * elem, (size_t)elem);
  }
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
