/* kernels/superblock.c: see superblock.h. Pure functions, any thread. */
#include "superblock.h"

#include "interleave.h"

#include <string.h>

/* ---- codes: four elements a group, group g in c[g] ---------------------------------------- */
enum { GROUPS = MTK_K_SUPER / 4 };
static const uint32_t FOURS = 0x0f0f0f0fu, TWOS = 0x03030303u, ONES = 0x01010101u;

static void load_nibbles(uint32_t *c, const uint8_t *src) {
  uint32_t s[GROUPS / 2];
  memcpy(s, src, sizeof s);
  for (int g = 0; g < 4; g++) {
    for (int l = 0; l < 8; l++) {
      c[16 * g + l] = s[8 * g + l] & FOURS;
      c[16 * g + 8 + l] = s[8 * g + l] >> 4 & FOURS;
    }
  }
}

static void load_pairs(uint32_t *c, const uint8_t *src) {
  uint32_t s[GROUPS / 4];
  memcpy(s, src, sizeof s);
  for (int n = 0; n < 2; n++) {
    for (int j = 0; j < 4; j++) {
      for (int l = 0; l < 8; l++) c[32 * n + 8 * j + l] = s[8 * n + l] >> (2 * j) & TWOS;
    }
  }
}

static void add_bit(uint32_t *c, const uint8_t *src, int bit) {
  mtk_k_u32x4 s[2], v;
  memcpy(s, src, sizeof s);
  for (int j = 0; j < 16; j++, c += 4) {
    memcpy(&v, c, sizeof v);
    v |= (s[j % 2] >> (j / 2) & ONES) << bit;
    memcpy(c, &v, sizeof v);
  }
}

/* ---- types: places and packing are ggml's (ggml-common.h) ---------------------------------- */
static void scales_q2_k(mtk_k_superblock *b, const uint8_t *src) {
  for (int j = 0; j < 16; j++) {
    b->scale[j] = src[j] & 15;
    b->min[j] = (int8_t)(src[j] >> 4);
  }
  b->d = mtk_k_u16_at(src + 80);
  b->dmin = mtk_k_u16_at(src + 82);
}
static void codes_q2_k(uint32_t *c, const uint8_t *src) { load_pairs(c, src + 16); }

static void scales_q3_k(mtk_k_superblock *b, const uint8_t *src) {
  const uint8_t *s = src + 96;
  for (int j = 0; j < 16; j++) {
    int low = s[j % 8] >> (j / 8 * 4) & 15, high = s[8 + j % 4] >> (j / 4 * 2) & 3;
    b->scale[j] = (int8_t)((low | high << 4) - 32);
  }
  b->d = mtk_k_u16_at(src + 108);
}
static void codes_q3_k(uint32_t *c, const uint8_t *src) {
  load_pairs(c, src + 32);
  add_bit(c, src, 2);
}

static void scales_q4_k(mtk_k_superblock *b, const uint8_t *src) {
  b->d = mtk_k_u16_at(src);
  b->dmin = mtk_k_u16_at(src + 2);
  for (int j = 0; j < 8; j++) mtk_k_super_scale_min(&b->scale[j], &b->min[j], src + 4, j);
}
static void codes_q4_k(uint32_t *c, const uint8_t *src) { load_nibbles(c, src + 16); }

#define scales_q5_k scales_q4_k
static void codes_q5_k(uint32_t *c, const uint8_t *src) {
  load_nibbles(c, src + 48);
  add_bit(c, src + 16, 4);
}

static void scales_q6_k(mtk_k_superblock *b, const uint8_t *src) {
  memcpy(b->scale, src + 192, 16);
  b->d = mtk_k_u16_at(src + 208);
}
static void codes_q6_k(uint32_t *c, const uint8_t *src) {
  uint32_t s[GROUPS / 2];
  memcpy(s, src, sizeof s);
  load_pairs(c, src + 128);
  for (int n = 0; n < 2; n++) {
    for (int h = 0; h < 2; h++) {
      uint32_t *to = c + 32 * n + 16 * h;
      for (int l = 0; l < 16; l++) to[l] = to[l] << 4 | (s[16 * n + l] >> (4 * h) & FOURS);
    }
  }
}

static void scales_iq4_xs(mtk_k_superblock *b, const uint8_t *src) {
  int high = mtk_k_u16_at(src + 2);
  b->d = mtk_k_u16_at(src);
  for (int g = 0; g < 8; g++) {
    int low = src[4 + g / 2] >> (g % 2 * 4) & 15;
    b->scale[g] = (int8_t)((low | (high >> (2 * g) & 3) << 4) - 32);
  }
}
static void codes_iq4_xs(uint32_t *c, const uint8_t *src) {
  uint32_t s[GROUPS / 2];
  memcpy(s, src + 8, sizeof s);
  for (int g = 0; g < 8; g++) {
    for (int l = 0; l < 4; l++) {
      c[8 * g + l] = s[4 * g + l] & FOURS;
      c[8 * g + 4 + l] = s[4 * g + l] >> 4 & FOURS;
    }
  }
}

/* All but the codes, which may be left as they are; the codes. */
static const struct {
  const mtk_k_super *format;
  void (*scales)(mtk_k_superblock *b, const uint8_t *src);
  void (*codes)(uint32_t *c, const uint8_t *src);
} types[MTK_DTYPE_COUNT] = {
#define SUPER(TYPE, t) [TYPE] = {&mtk_k_super_##t, scales_##t, codes_##t},
    MTK_K_SUPERS(SUPER)};

const mtk_k_super *mtk_k_super_of(mtk_dtype type) { return types[type].format; }

void mtk_k_superblock_load(mtk_k_superblock *b, mtk_dtype type, const uint8_t *src) {
  uint32_t c[GROUPS];
  memset(b, 0, sizeof *b);
  types[type].scales(b, src);
  types[type].codes(c, src);
  memcpy(b->c, c, sizeof c);
}

/* ---- panels ---------------------------------------- */
/* A plane: bits `shift` .. `shift` + `bits` of 16 groups of all lanes. Returns its end. */
static inline uint8_t *put_plane(uint8_t *dst, uint32_t groups[][MTK_PANEL], const int shift,
                                 const int bits) {
  const uint32_t mask = ONES * ((1u << bits) - 1);
  for (int r = 0; r < 2 * bits; r++, dst += 4 * MTK_PANEL) {
    uint32_t v[MTK_PANEL] = {0};
    for (int i = 0; i < 8 / bits; i++) {
      const uint32_t *group = groups[r + 2 * bits * i];
      for (int lane = 0; lane < MTK_PANEL; lane++)
        v[lane] |= (group[lane] >> shift & mask) << (bits * i);
    }
    memcpy(dst, v, sizeof v);
  }
  return dst;
}

/* Pairs of `count` bytes, one pair of a lane beside the next lane's. */
static void put_pairs(uint8_t *dst, int lane, const uint8_t *bytes, int count) {
  for (int j = 0; j < count; j += 2) memcpy(dst + (j * MTK_PANEL + 2 * lane), bytes + j, 2);
}

/* count: sub-blocks. */
static void put_scales(uint8_t *unit, const mtk_k_super *f, int count, int lane,
                       const mtk_k_superblock *b) {
  memcpy(unit + 2 * lane, &b->d, 2);
  if (f->has_min) memcpy(unit + 2 * MTK_PANEL + 2 * lane, &b->dmin, 2);
  uint8_t *dst = unit + (1 + f->has_min) * 2 * MTK_PANEL, scales[16];
  memcpy(scales, b->scale, sizeof scales);
  for (int j = 0; j < 16 && f->nibbles; j++) scales[j] = (uint8_t)(scales[j] | b->min[j] << 4);
  put_pairs(dst, lane, scales, count);
  if (f->has_min && !f->nibbles)
    put_pairs(dst + count * MTK_PANEL, lane, (const uint8_t *)b->min, count);
}

/* Codes of one quarter after the other. */
static void put_codes(uint8_t *dst, const mtk_k_super *f, uint32_t groups[][MTK_PANEL]) {
  for (int quarter = 0; quarter < MTK_K_QUARTERS; quarter++, groups += 16) {
    dst = f->low_bits == 4 ? put_plane(dst, groups, 0, 4) : put_plane(dst, groups, 0, 2);
    if (f->high_bits == 0) continue;
    if (f->low_bits == 2)
      dst = put_plane(dst, groups, 2, 1);
    else
      dst = f->high_bits == 1 ? put_plane(dst, groups, 4, 1) : put_plane(dst, groups, 4, 2);
  }
}

static void pack_unit(uint8_t *unit, mtk_dtype type, const uint8_t *src, int64_t row_bytes,
                      int lanes) {
  const mtk_k_super *f = types[type].format;
  int count = MTK_K_SUPER / f->sub;
  uint32_t c[MTK_PANEL][GROUPS], groups[GROUPS][MTK_PANEL];
  for (int lane = 0; lane < lanes; lane++) {
    mtk_k_superblock b;
    types[type].scales(&b, src + lane * row_bytes);
    put_scales(unit, f, count, lane, &b);
    if (type != MTK_Q4_K) types[type].codes(c[lane], src + lane * row_bytes);
  }
  unit += mtk_k_super_head(f);
  if (type == MTK_Q4_K) { /* whose codes lie in a file as in a panel */
    mtk_k_interleave(unit, src + 16, row_bytes, lanes, GROUPS / 2, 0);
    return;
  }
  if (lanes < MTK_PANEL) memset(groups, 0, sizeof groups);
  mtk_k_interleave((uint8_t *)groups, (const uint8_t *)c, sizeof c[0], lanes, GROUPS, 0);
  put_codes(unit, f, groups);
}

void mtk_k_super_pack(uint8_t *panel, const mtk_wview *w, int64_t p) {
  int64_t row_bytes = mtk_k_row_bytes(w->type, w->k), row = p * MTK_PANEL;
  int64_t block_bytes = mtk_k_row_bytes(w->type, MTK_K_SUPER);
  int lanes = (int)mtk_k_min(MTK_PANEL, w->n - row), unit = mtk_k_super_unit(types[w->type].format);
  const uint8_t *src = (const uint8_t *)w->data + (row - w->row0) * row_bytes;
  for (int64_t b = 0; b < w->k / MTK_K_SUPER; b++, src += block_bytes) {
    mtk_k_fetch_next_panel(src, row_bytes, block_bytes);
    pack_unit(panel + b * unit, w->type, src, row_bytes, lanes);
  }
}
