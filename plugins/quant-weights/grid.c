/* grid.c: the storage types that error propagation can write, as grids per group of elements with
 * scales that are fixed before the first element is rounded. Layouts: mtk/dtype.h and, for the
 * types of ggml, ggml-common.h. Pure functions; any thread. */
#include "gptq.h"

#include <math.h>

static float f16_at(const uint8_t *p) { return mtk_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

/* Bits `shift`.. of a byte, as many as `mask` has. */
static void put_bits(uint8_t *byte, int shift, int mask, int code) {
  *byte = (uint8_t)((*byte & ~(mask << shift)) | (code & mask) << shift);
}

/* Element e of 2 * half nibbles: the second half lies in the high nibbles. */
static void put_nibble(uint8_t *codes, int64_t e, int64_t half, int code) {
  put_bits(codes + e % half, e < half ? 0 : 4, 15, code);
}

/* ---- blocks of 4-bit floats and of 32 integers ------------------------------------------------
 * */

static gptq_grid grid_nvfp4(const uint8_t *row, int64_t i) {
  return (gptq_grid){mtk_e4m3_to_f32(row[i / 4 * 36 + i % 4]), 0};
}
static void put_nvfp4(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 64 * 36 + 4 + e % 64 / 16 * 8, e % 16, 8, code);
}

static gptq_grid grid_mxfp4(const uint8_t *row, int64_t i) {
  return (gptq_grid){mtk_e8m0_to_f32(row[i * 17]), 0};
}
static void put_mxfp4(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 32 * 17 + 1, e % 32, 16, code);
}

static gptq_grid grid_q8_0(const uint8_t *row, int64_t i) {
  return (gptq_grid){f16_at(row + i * 34), 0};
}
static void put_q8_0(uint8_t *row, int64_t e, int code) {
  row[e / 32 * 34 + 2 + e % 32] = (uint8_t)(code - 128);
}

static gptq_grid grid_q4_0(const uint8_t *row, int64_t i) {
  return (gptq_grid){f16_at(row + i * 18), 0};
}
static void put_q4_0(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 32 * 18 + 2, e % 32, 16, code);
}

static gptq_grid grid_q4_1(const uint8_t *row, int64_t i) {
  return (gptq_grid){f16_at(row + i * 20), f16_at(row + i * 20 + 2)};
}
static void put_q4_1(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 32 * 20 + 4, e % 32, 16, code);
}

/* The fifth bits of a block of 32, little endian, at `high`. */
static void put_fifth(uint8_t *high, int64_t e, int code) {
  put_bits(high + e % 32 / 8, (int)(e % 8), 1, code >> 4);
}

static gptq_grid grid_q5_0(const uint8_t *row, int64_t i) {
  return (gptq_grid){f16_at(row + i * 22), 0};
}
static void put_q5_0(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 32 * 22 + 6, e % 32, 16, code & 15);
  put_fifth(row + e / 32 * 22 + 2, e, code);
}

static gptq_grid grid_q5_1(const uint8_t *row, int64_t i) {
  return (gptq_grid){f16_at(row + i * 24), f16_at(row + i * 24 + 2)};
}
static void put_q5_1(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 32 * 24 + 8, e % 32, 16, code & 15);
  put_fifth(row + e / 32 * 24 + 4, e, code);
}

static gptq_grid grid_iq4_nl(const uint8_t *row, int64_t i) {
  return (gptq_grid){f16_at(row + i * 18), 0};
}

static gptq_grid grid_f8(const uint8_t *row, int64_t i) {
  (void)row;
  (void)i;
  return (gptq_grid){1, 0};
}
static void put_f8(uint8_t *row, int64_t e, int code) { row[e] = (uint8_t)code; }

/* ---- superblocks of 256 -----------------------------------------------------------------------
 * */

/* 6-bit scale and minimum of sub-block j of 8 (q4_k, q5_k). */
static gptq_grid grid_k45(const uint8_t *block, int j) {
  const uint8_t *s = block + 4;
  int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  int min = j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  return (gptq_grid){f16_at(block) * (float)scale, -(f16_at(block + 2) * (float)min)};
}

static gptq_grid grid_q4_k(const uint8_t *row, int64_t i) {
  return grid_k45(row + i / 8 * 144, (int)(i % 8));
}
static void put_q4_k(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 256 * 144 + 16 + e % 256 / 64 * 32, e % 64, 32, code);
}

static gptq_grid grid_q5_k(const uint8_t *row, int64_t i) {
  return grid_k45(row + i / 8 * 176, (int)(i % 8));
}
static void put_q5_k(uint8_t *row, int64_t e, int code) {
  uint8_t *block = row + e / 256 * 176;
  put_nibble(block + 48 + e % 256 / 64 * 32, e % 64, 32, code & 15);
  put_bits(block + 16 + e % 32, (int)(e % 256 / 32), 1, code >> 4);
}

static gptq_grid grid_q6_k(const uint8_t *row, int64_t i) {
  const uint8_t *block = row + i / 16 * 210;
  return (gptq_grid){f16_at(block + 208) * (float)(int8_t)block[192 + i % 16], 0};
}
static void put_q6_k(uint8_t *row, int64_t e, int code) {
  uint8_t *block = row + e / 256 * 210;
  int64_t half = e % 256 / 128, quarter = e % 128 / 32, l = e % 32;
  put_bits(block + half * 64 + quarter % 2 * 32 + l, quarter < 2 ? 0 : 4, 15, code & 15);
  put_bits(block + 128 + half * 32 + l, (int)quarter * 2, 3, code >> 4);
}

static gptq_grid grid_q3_k(const uint8_t *row, int64_t i) {
  const uint8_t *block = row + i / 16 * 110, *s = block + 96;
  int j = (int)(i % 16);
  int low = s[j % 8] >> (j < 8 ? 0 : 4) & 15, high = s[8 + j % 4] >> (j / 4 * 2) & 3;
  return (gptq_grid){f16_at(block + 108) * (float)((low | high << 4) - 32), 0};
}
static void put_q3_k(uint8_t *row, int64_t e, int code) {
  uint8_t *block = row + e / 256 * 110;
  put_bits(block + 32 + e % 256 / 128 * 32 + e % 32, (int)(e % 128 / 32) * 2, 3, code & 3);
  put_bits(block + e % 32, (int)(e % 256 / 32), 1, code >> 2);
}

static gptq_grid grid_iq4_xs(const uint8_t *row, int64_t i) {
  const uint8_t *block = row + i / 8 * 136;
  int j = (int)(i % 8), high = block[2] | block[3] << 8;
  int s = (block[4 + j / 2] >> (j % 2 * 4) & 15) | (high >> (2 * j) & 3) << 4;
  return (gptq_grid){f16_at(block) * (float)(s - 32), 0};
}
static void put_iq4_xs(uint8_t *row, int64_t e, int code) {
  put_nibble(row + e / 256 * 136 + 8 + e % 256 / 32 * 16, e % 32, 16, code);
}

static gptq_grid grid_q2_k(const uint8_t *row, int64_t i) {
  const uint8_t *block = row + i / 16 * 84;
  uint8_t s = block[i % 16];
  return (gptq_grid){f16_at(block + 80) * (float)(s & 15), -(f16_at(block + 82) * (float)(s >> 4))};
}
static void put_q2_k(uint8_t *row, int64_t e, int code) {
  uint8_t *block = row + e / 256 * 84;
  put_bits(block + 16 + e % 256 / 128 * 32 + e % 32, (int)(e % 128 / 32) * 2, 3, code);
}

/* ---- levels that are no integers --------------------------------------------------------------
 * */

static float level_e2m1(int *code, float x) {
  *code = mtk_f32_to_e2m1(x);
  return mtk_e2m1_to_f32((uint8_t)*code);
}

static float level_e4m3(int *code, float x) {
  *code = mtk_f32_to_e4m3(x);
  return mtk_e4m3_to_f32((uint8_t)*code);
}

/* The 16 levels of iq4_nl and iq4_xs. */
static float level_iq4(int *code, float x) {
  static const float levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
  int i = 0;
  while (i < 15 && x - levels[i] >= levels[i + 1] - x) i++;
  *code = i;
  return levels[i];
}

/* ---- the table --------------------------------------------------------------------------------
 * */

static const gptq_type types[] = {
    {MTK_NVFP4, 16, 0, 0, grid_nvfp4, put_nvfp4, level_e2m1},
    {MTK_MXFP4, 32, 0, 0, grid_mxfp4, put_mxfp4, level_e2m1},
    {MTK_F8_E4M3, 32, 0, 0, grid_f8, put_f8, level_e4m3},
    {MTK_Q8_0, 32, -128, 127, grid_q8_0, put_q8_0, NULL},
    {MTK_Q5_0, 32, -16, 15, grid_q5_0, put_q5_0, NULL},
    {MTK_Q5_1, 32, 0, 31, grid_q5_1, put_q5_1, NULL},
    {MTK_Q4_0, 32, -8, 7, grid_q4_0, put_q4_0, NULL},
    {MTK_Q4_1, 32, 0, 15, grid_q4_1, put_q4_1, NULL},
    {MTK_IQ4_NL, 32, 0, 0, grid_iq4_nl, put_q4_0, level_iq4},
    {MTK_IQ4_XS, 32, 0, 0, grid_iq4_xs, put_iq4_xs, level_iq4},
    {MTK_Q6_K, 16, -32, 31, grid_q6_k, put_q6_k, NULL},
    {MTK_Q5_K, 32, 0, 31, grid_q5_k, put_q5_k, NULL},
    {MTK_Q4_K, 32, 0, 15, grid_q4_k, put_q4_k, NULL},
    {MTK_Q3_K, 16, -4, 3, grid_q3_k, put_q3_k, NULL},
    {MTK_Q2_K, 16, 0, 3, grid_q2_k, put_q2_k, NULL},
};

const gptq_type *gptq_type_find(mtk_dtype dtype) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].dtype == dtype) return &types[i];
  return NULL;
}

float gptq_nearest(int *code, const gptq_type *type, gptq_grid grid, float x) {
  float level = grid.a != 0 ? (x - grid.b) / grid.a : 0;
  if (type->level) return type->level(code, level) * grid.a + grid.b;
  level = fminf(fmaxf(rintf(level), (float)type->lo), (float)type->hi);
  *code = (int)level - type->lo;
  return level * grid.a + grid.b;
}
