/* kernels/superblock.c: see superblock.h. Pure functions, any thread. */
#include "superblock.h"

#include "interleave.h"

#include <string.h>

/* ---- codes: element e of a superblock in c[e] ---------------------------------------- */
static void load_nibbles(uint8_t *c, const uint8_t *src) {
  for (int g = 0; g < 4; g++) {
    for (int l = 0; l < 32; l++) {
      c[64 * g + l] = src[32 * g + l] & 15;
      c[64 * g + 32 + l] = src[32 * g + l] >> 4;
    }
  }
}

static void load_pairs(uint8_t *c, const uint8_t *src) {
  for (int n = 0; n < 2; n++) {
    for (int j = 0; j < 4; j++) {
      for (int l = 0; l < 32; l++) c[128 * n + 32 * j + l] = src[32 * n + l] >> (2 * j) & 3;
    }
  }
}

static void add_bit(uint8_t *c, const uint8_t *src, int value) {
  for (int j = 0; j < 8; j++) {
    for (int l = 0; l < 32; l++) c[32 * j + l] |= (uint8_t)((src[l] >> j & 1) * value);
  }
}

/* ---- types: places and packing are ggml's (ggml-common.h) ---------------------------------- */
static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static void load_q2_k(mtk_k_superblock *b, const uint8_t *src) {
  for (int j = 0; j < 16; j++) {
    b->scale[j] = src[j] & 15;
    b->min[j] = (int8_t)(src[j] >> 4);
  }
  load_pairs(b->c, src + 16);
  b->d = u16_at(src + 80);
  b->dmin = u16_at(src + 82);
}

static void load_q3_k(mtk_k_superblock *b, const uint8_t *src) {
  const uint8_t *s = src + 96;
  load_pairs(b->c, src + 32);
  add_bit(b->c, src, 4);
  for (int j = 0; j < 16; j++) {
    int low = s[j % 8] >> (j / 8 * 4) & 15, high = s[8 + j % 4] >> (j / 4 * 2) & 3;
    b->scale[j] = (int8_t)((low | high << 4) - 32);
  }
  b->d = u16_at(src + 108);
}

static void load_scales_mins(mtk_k_superblock *b, const uint8_t *src) {
  const uint8_t *s = src + 4;
  b->d = u16_at(src);
  b->dmin = u16_at(src + 2);
  for (int j = 0; j < 4; j++) {
    b->scale[j] = s[j] & 63;
    b->min[j] = s[j + 4] & 63;
    b->scale[j + 4] = (int8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
    b->min[j + 4] = (int8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
  }
}

static void load_q4_k(mtk_k_superblock *b, const uint8_t *src) {
  load_scales_mins(b, src);
  load_nibbles(b->c, src + 16);
}

static void load_q5_k(mtk_k_superblock *b, const uint8_t *src) {
  load_scales_mins(b, src);
  load_nibbles(b->c, src + 48);
  add_bit(b->c, src + 16, 16);
}

static void load_q6_k(mtk_k_superblock *b, const uint8_t *src) {
  load_pairs(b->c, src + 128);
  for (int e = 0; e < MTK_K_SUPER; e += 32) {
    int part = e % 128 / 32;
    const uint8_t *low = src + e / 128 * 64 + part % 2 * 32;
    for (int l = 0; l < 32; l++) {
      b->c[e + l] = (uint8_t)(b->c[e + l] << 4 | (low[l] >> (part / 2 * 4) & 15));
    }
  }
  memcpy(b->scale, src + 192, 16);
  b->d = u16_at(src + 208);
}

static void load_iq4_xs(mtk_k_superblock *b, const uint8_t *src) {
  int high = u16_at(src + 2);
  b->d = u16_at(src);
  for (int g = 0; g < 8; g++) {
    const uint8_t *codes = src + 8 + 16 * g;
    int low = src[4 + g / 2] >> (g % 2 * 4) & 15;
    b->scale[g] = (int8_t)((low | (high >> (2 * g) & 3) << 4) - 32);
    for (int l = 0; l < 16; l++) {
      b->c[32 * g + l] = codes[l] & 15;
      b->c[32 * g + 16 + l] = codes[l] >> 4;
    }
  }
}

static const struct {
  const mtk_k_super *format;
  void (*load)(mtk_k_superblock *b, const uint8_t *src);
} types[MTK_DTYPE_COUNT] = {
#define SUPER(TYPE, t) [TYPE] = {&mtk_k_super_##t, load_##t},
    MTK_K_SUPERS(SUPER)};

const mtk_k_super *mtk_k_super_of(mtk_dtype type) { return types[type].format; }

void mtk_k_superblock_load(mtk_k_superblock *b, mtk_dtype type, const uint8_t *src) {
  memset(b, 0, sizeof *b);
  types[type].load(b, src);
}

/* ---- panels ---------------------------------------- */
/* One lane of a plane: bits `shift` .. `shift` + b of 16 groups. Returns the plane's end. */
static uint8_t *put_plane(uint8_t *dst, const uint32_t *groups, int shift, int bits) {
  const uint32_t mask = 0x01010101u * ((1u << bits) - 1);
  for (int r = 0; r < 2 * bits; r++) {
    uint32_t v = 0;
    for (int i = 0; i < 8 / bits; i++) {
      v |= (groups[r + 2 * bits * i] >> shift & mask) << (bits * i);
    }
    memcpy(dst + 64 * r, &v, sizeof v);
  }
  return dst + 128 * bits;
}

static void put_scales(uint8_t *unit, const mtk_k_super *f, int lane, const mtk_k_superblock *b) {
  memcpy(unit + 2 * lane, &b->d, 2);
  if (f->has_min) memcpy(unit + 2 * MTK_PANEL + 2 * lane, &b->dmin, 2);
  uint8_t *scales = unit + (1 + f->has_min) * 2 * MTK_PANEL;
  int count = MTK_K_SUPER / f->sub;
  for (int j = 0; j < count; j++) {
    uint8_t *at = scales + j / 2 * 2 * MTK_PANEL + 2 * lane + j % 2;
    *at = (uint8_t)(f->nibbles ? b->scale[j] | b->min[j] << 4 : b->scale[j]);
    if (f->has_min && !f->nibbles) at[count * MTK_PANEL] = (uint8_t)b->min[j];
  }
}

static void put_codes(uint8_t *unit, const mtk_k_super *f, int lane, const mtk_k_superblock *b) {
  uint32_t groups[MTK_K_SUPER / 4];
  memcpy(groups, b->c, sizeof groups);
  uint8_t *codes = unit + mtk_k_super_head(f) + 4 * lane;
  for (int quarter = 0; quarter < MTK_K_QUARTERS; quarter++) {
    codes = put_plane(codes, groups + 16 * quarter, 0, f->low_bits);
    if (f->high_bits) codes = put_plane(codes, groups + 16 * quarter, f->low_bits, f->high_bits);
  }
}

void mtk_k_super_pack(uint8_t *panel, const mtk_wview *w, int64_t p) {
  const mtk_k_super *f = types[w->type].format;
  int64_t row_bytes = mtk_k_row_bytes(w->type, w->k), row = p * MTK_PANEL;
  int64_t block_bytes = mtk_k_row_bytes(w->type, MTK_K_SUPER);
  int lanes = (int)mtk_k_min(MTK_PANEL, w->n - row);
  const uint8_t *src = (const uint8_t *)w->data + (row - w->row0) * row_bytes;
  for (int64_t b = 0; b < w->k / MTK_K_SUPER; b++, src += block_bytes) {
    for (int lane = 0; lane < lanes; lane++) {
      mtk_k_superblock block;
      mtk_k_superblock_load(&block, w->type, src + lane * row_bytes);
      put_scales(panel, f, lane, &block);
      if (w->type != MTK_Q4_K) put_codes(panel, f, lane, &block);
    }
    if (w->type == MTK_Q4_K) /* whose codes lie in a file as in a panel */
      mtk_k_interleave(panel + mtk_k_super_head(f), src + 16, row_bytes, lanes, MTK_K_SUPER / 8, 0);
    panel += mtk_k_super_unit(f);
  }
}
