/* kernels/simd/linear_block.h: reading panels of block-quantized weights (layout: linear_panel.h).
 * block_type rows are compile-time constants: everything here folds when inlined. */
#ifndef MTK_KERNELS_SIMD_LINEAR_BLOCK_H
#define MTK_KERNELS_SIMD_LINEAR_BLOCK_H

#include "linear_panel.h"
#include "simd/linear_lanes.h"

enum { CODE_BYTE, CODE_NIBBLE, CODE_FIVE, CODE_E2M1, CODE_IQ4, CODE_E4M3 };
enum { SCALE_F16, SCALE_E4M3, SCALE_E8M0 };

typedef struct block_type {
  int code, scale;
  int unit, code_bytes; /* as in mtk_k_panel_format */
  int has_min, halves;  /* two scale parts: d and m, or one d for each 16 k */
  int offset;           /* codes are read as unsigned bytes c + offset (e2m1: twice the value) */
  float closing;        /* factor of the a8 result: 0.5 where the codes are twice the value */
} block_type;

static const block_type block_q8_0 = {CODE_BYTE, SCALE_F16, 2, 512, 0, 0, 128, 1.0f};
static const block_type block_q4_0 = {CODE_NIBBLE, SCALE_F16, 2, 256, 0, 0, 8, 1.0f};
static const block_type block_q4_1 = {CODE_NIBBLE, SCALE_F16, 1, 256, 1, 0, 0, 1.0f};
static const block_type block_q5_0 = {CODE_FIVE, SCALE_F16, 2, 320, 0, 0, 16, 1.0f};
static const block_type block_q5_1 = {CODE_FIVE, SCALE_F16, 1, 320, 1, 0, 0, 1.0f};
static const block_type block_iq4_nl = {CODE_IQ4, SCALE_F16, 2, 256, 0, 0, 128, 1.0f};
static const block_type block_mxfp8 = {CODE_E4M3, SCALE_E8M0, 4, 512, 0, 0, 0, 1.0f};
static const block_type block_mxfp4 = {CODE_E2M1, SCALE_E8M0, 4, 256, 0, 0, 12, 0.5f};
static const block_type block_nvfp4 = {CODE_E2M1, SCALE_E4M3, 2, 256, 0, 1, 12, 0.5f};

/* One block of 32 k of a panel; grid NULL or its 16 factors. */
typedef struct panel_block {
  const uint8_t *codes, *scales;
  const float *grid;
} panel_block;

MTK_INLINE panel_block block_at(block_type t, const uint8_t *panel, const float *grid, int64_t b) {
  int64_t part_bytes = t.scale == SCALE_F16 ? 2 : 1;
  int64_t scale_bytes = (t.has_min || t.halves ? 2 : 1) * part_bytes * MTK_PANEL;
  const uint8_t *unit = panel + b / t.unit * t.unit * (t.code_bytes + scale_bytes);
  panel_block at = {unit + b % t.unit * t.code_bytes,
                    unit + t.unit * t.code_bytes + b % t.unit * scale_bytes,
                    grid ? grid + b * MTK_PANEL : NULL};
  return at;
}

/* How far ahead of `at`, the place in its panel, to prefetch when `panels` panels are read side by
 * side, AHEAD bytes in all; at the end of the panel in the one that comes next in its place. Into
 * L2: L1 has too few fill buffers for the latency of memory. */
enum { AHEAD = 4096 };
MTK_INLINE int64_t ahead_of(int64_t at, int panels, int64_t stride) {
  return at + AHEAD / panels < stride ? AHEAD / panels : AHEAD / panels + (panels - 1) * stride;
}
MTK_INLINE void prefetch(const uint8_t *p, int64_t ahead) {
  _mm_prefetch((const char *)p + ahead, _MM_HINT_T1);
}

/* Scales of part 0 or 1, lanes h * LANES and up of the panel, grid applied. */
MTK_INLINE vf block_scale(block_type t, panel_block at, int part, int h) {
  int lane = part * MTK_PANEL + h * LANES;
  vf d;
  if (t.scale == SCALE_F16)
    d = load_f16(at.scales + 2 * lane);
  else if (t.scale == SCALE_E4M3)
    d = load_f8_e4m3(at.scales + lane);
  else
    d = load_e8m0(at.scales + lane);
  return at.grid ? vf_mul(d, vf_load(at.grid + h * LANES)) : d;
}

/* Where a group of 4 k stands: in which register of nibbles, and in its high ones? */
MTK_INLINE int stored_in(block_type t, int group) {
  return t.halves ? group / 4 * 2 + group % 2 : group % 4;
}
MTK_INLINE int is_high(block_type t, int group) { return t.halves ? group % 4 / 2 : group / 4; }

/* The codes of group `group` in its register of nibbles, as unsigned bytes: by the table where the
 * type has one, with the fifth bits of register `fifth`. */
MTK_INLINE vi nibble_codes(block_type t, vi raw, vi fifth, __m128i table, int group) {
  vi nibbles = vi_and(is_high(t, group) ? vi_srli(raw, 4) : raw, vi_set1(0x0f0f0f0f));
  if (t.code == CODE_E2M1 || t.code == CODE_IQ4) return vi_lookup16(table, nibbles);
  if (t.code != CODE_FIVE) return nibbles;
  vi moved = group < 4 ? vi_slli(fifth, 4 - group) : vi_srli(fifth, group - 4);
  return vi_or(nibbles, vi_and(moved, vi_set1(0x10101010)));
}
/* The fifth bits, vector h of the panel. */
MTK_INLINE vi fifth_bits(block_type t, const uint8_t *codes, int h) {
  return t.code == CODE_FIVE ? vi_load(codes + 256 + 4 * LANES * h) : vi_set1(0);
}

/* c + offset of each code: e2m1 as 12 + twice the value, iq4_nl's levels + 128. */
MTK_INLINE __m128i code_table(block_type t) {
  return t.code == CODE_IQ4 ? _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90,
                                            -75, -59, -39, -15)
                            : _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6,
                                            4, 0);
}
/* Codes of group g of a block, vector h of the panel, as unsigned bytes. */
MTK_INLINE vi block_group(block_type t, panel_block at, int h, int g, vi fifth, __m128i table) {
  const uint8_t *from = at.codes + 4 * LANES * h;
  if (t.code == CODE_BYTE) return vi_load(from + 64 * g);
  return nibble_codes(t, vi_load(from + 64 * stored_in(t, g)), fifth, table, g);
}
/* All groups: register j = k 4j..4j+3. */
MTK_INLINE void block_registers(vi *codes, block_type t, panel_block at, int h, __m128i table) {
  const vi fifth = fifth_bits(t, at.codes, h);
  MTK_UNROLL for (int g = 0; g < 8; g++) codes[g] = block_group(t, at, h, g, fifth, table);
}
/* Codes of a block as bytes, register j = k 4j..4j+3 of the 16 rows: 8 x 64 bytes at dst. */
MTK_INLINE void block_codes(uint8_t *dst, block_type t, panel_block at, __m128i table) {
  if (t.code == CODE_BYTE) {
    memcpy(dst, at.codes, 512);
    return;
  }
  MTK_UNROLL for (int h = 0; h < PARTS; h++) {
    vi codes[8];
    block_registers(codes, t, at, h, table);
    MTK_UNROLL for (int g = 0; g < 8; g++) vi_store(dst + 64 * g + 4 * LANES * h, codes[g]);
  }
}

/* ---- weights as floats ---------------------------------------- */
/* Two k of a panel of a plain type, j (even) and j + 1, vector h of the panel. */
typedef void load2_fn(vf *w, const uint8_t *panel, int64_t j, int h);
#define LOAD2(t, elem)                                                                             \
  MTK_INLINE void load2_##t(vf *w, const uint8_t *panel, int64_t j, int h) {                       \
    const uint8_t *at = panel + (j * MTK_PANEL + h * LANES) * elem;                                \
    w[0] = load_##t(at);                                                                           \
    w[1] = load_##t(at + MTK_PANEL * elem);                                                        \
  }
LOAD2(f32, 4)
LOAD2(f16, 2)
/* bf16 of two k lie in one dword. */
MTK_INLINE void unpack2(vf *w, vi pairs) {
  w[0] = vi_as_vf(vi_slli(pairs, 16));
  w[1] = vi_as_vf(vi_and(pairs, vi_set1(-65536)));
}
MTK_INLINE void load2_bf16(vf *w, const uint8_t *panel, int64_t j, int h) {
  unpack2(w, vi_load(panel + j * MTK_PANEL * 2 + h * LANES * 4));
}
/* One k, j + odd, of the first vector: j is even where bf16 is read. */
typedef vf load1_fn(const uint8_t *panel, int64_t j, int odd);
#define LOAD1(t, elem)                                                                             \
  MTK_INLINE vf load1_##t(const uint8_t *panel, int64_t j, int odd) {                              \
    return load_##t(panel + (j + odd) * MTK_PANEL * elem);                                         \
  }
LOAD1(f32, 4)
LOAD1(f16, 2)
MTK_INLINE vf load1_bf16(const uint8_t *panel, int64_t j, int odd) {
  vf w[2];
  load2_bf16(w, panel, j, 0);
  return w[odd];
}
#if MTK_LANES == 16
MTK_INLINE void f16_halves(vf *w, __m512i v) {
  w[0] = vf_from_f16(_mm512_castsi512_si256(v));
  w[1] = vf_from_f16(_mm512_extracti64x4_epi64(v, 1));
}
/* See load_f8_e4m3. */
MTK_INLINE void load2_f8_e4m3(vf *w, const uint8_t *panel, int64_t j, int h) {
  (void)h;
  __m512i v = _mm512_cvtepi8_epi16(vh_load(panel + j * MTK_PANEL));
  v = _mm512_and_si512(_mm512_slli_epi16(v, 7), _mm512_set1_epi16((short)0xbfff));
  __m512i size = _mm512_and_si512(v, _mm512_set1_epi16(0x7fff));
  __mmask32 is_nan = _mm512_cmpeq_epi16_mask(size, _mm512_set1_epi16(0x3f80));
  f16_halves(w, _mm512_mask_mov_epi16(v, is_nan, _mm512_set1_epi16(0x7e00)));
  w[0] = vf_mul(w[0], vf_set1(256.0f));
  w[1] = vf_mul(w[1], vf_set1(256.0f));
}
MTK_INLINE void load2_f8_e5m2(vf *w, const uint8_t *panel, int64_t j, int h) {
  (void)h;
  f16_halves(w, _mm512_slli_epi16(_mm512_cvtepi8_epi16(vh_load(panel + j * MTK_PANEL)), 8));
}
#else
LOAD2(f8_e4m3, 1)
LOAD2(f8_e5m2, 1)
#endif

/* Two vectors of weights as pairs of bf16. exact: they are bf16 already; else they are rounded, and
 * NaN among them must be the quiet one. */
MTK_INLINE vi pack2(const vf *w, int exact) {
  const vi upper = vi_set1(-65536);
  vi even = vf_as_vi(w[0]), odd = vf_as_vi(w[1]);
#if MTK_LANES == 16
  vi high = vi_select(upper, odd, vi_srli(even, 16));
  if (exact) return high;
  vi low = vi_select(upper, vi_slli(odd, 16), even);
  low = vi_or(low, vi_and(high, vi_set1(0x00010001))); /* half way: up if odd */
  __mmask32 up = _mm512_cmpgt_epu16_mask(low, _mm512_set1_epi16((short)0x8000));
  return _mm512_mask_sub_epi16(high, up, high, vi_set1(-1));
#else
  if (!exact) {
    even = vf_as_vi(vf_round_quiet_bf16(w[0]));
    odd = vf_as_vi(vf_round_quiet_bf16(w[1]));
  }
  return vi_or(vi_and(odd, upper), vi_srli(even, 16));
#endif
}
MTK_INLINE void round2(vf *w) {
#if MTK_LANES == 16
  unpack2(w, pack2(w, 0));
#else
  w[0] = vf_round_quiet_bf16(w[0]);
  w[1] = vf_round_quiet_bf16(w[1]);
#endif
}

/* Codes of group `group` (k 4*group and up), vector h of the panel: each byte's low bits are one.
 * high: which nibble they are in. */
MTK_INLINE vi group_codes(block_type t, const uint8_t *codes, int h, int group, int high) {
  codes += 4 * LANES * h;
  if (t.code == CODE_BYTE) return vi_load(codes + 64 * group);
  vi raw = vi_srli(vi_load(codes + 64 * stored_in(t, group)), 4 * high);
  if (t.code != CODE_FIVE) return raw;
  vi fifth = vi_slli(vi_shift_right(vi_load(codes + 256), group), 4);
  return vi_select(vi_set1(0x10101010), fifth, raw);
}

/* The code in byte i of each lane as its number (e2m1: twice the value, -0 kept). */
MTK_INLINE vf code_value(block_type t, vi codes, int i) {
  static const float unsigned4[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  static const float signed4[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
  static const float e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};
  static const float iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
  if (t.code != CODE_BYTE && t.code != CODE_FIVE) {
    const float *table = t.code == CODE_E2M1  ? e2m1
                         : t.code == CODE_IQ4 ? iq4
                         : t.offset           ? signed4
                                              : unsigned4;
    return vf_lookup16(table, vi_srli(codes, 8 * i));
  }
  /* 256 + code, by putting the code into the upper bits of a mantissa */
  int mask = t.code == CODE_FIVE ? 31 : 255;
  vi moved = i < 2 ? vi_slli(codes, 15 - 8 * i) : vi_srli(codes, 8 * i - 15);
  vi bits = vi_select(vi_set1(mask << 15), moved, vi_set1(0x43800000));
  return vf_sub(vi_as_vf(bits), vf_set1((float)(256 + t.offset)));
}

/* What a block's codes are multiplied by, and the minimum, for one vector of the panel. A d of
 * E8M0 is two factors, d[0] and d[1], since 2^-127 alone is a denormal, which a16 would flush. */
typedef struct float_scales {
  vf d[2], m, grid;
} float_scales;

MTK_INLINE float_scales float_scales_of(block_type t, panel_block at, int h) {
  panel_block bare = {at.codes, at.scales, NULL};
  float_scales s = {.m = vf_set1(0.0f), .grid = vf_set1(1.0f)};
  if (at.grid) s.grid = vf_quiet(vf_load(at.grid + h * LANES));
  if (t.scale == SCALE_E8M0) {
    vi e = vi_from_u8(at.scales + h * LANES), half = vi_srli(e, 1);
    vf first = vi_as_vf(vi_slli(vi_add(half, vi_set1(64)), 23));
    vf is_nan = vi_as_vf(vi_add(vi_slli(e, 23), vi_set1(0x00400000))); /* of 255 alone */
    s.d[0] = vf_if_nan(is_nan, is_nan, first);
    s.d[1] = vi_as_vf(vi_slli(vi_add(vi_sub(e, half), vi_set1(63)), 23));
    s.d[1] = vf_mul(s.d[1], vf_set1(t.closing));
  } else {
    for (int half = 0; half < (t.halves ? 2 : 1); half++) {
      s.d[half] = vf_mul(vf_quiet(block_scale(t, bare, half, h)), vf_set1(t.closing));
    }
    if (t.has_min) s.m = vf_quiet(block_scale(t, bare, 1, h));
  }
  return s;
}

/* A block is read in RUNS runs of two groups; in which half of it one lies, in which nibbles. */
enum { RUNS = 4 };
MTK_INLINE int run_half(int run) { return run / 2; }
MTK_INLINE int run_high(block_type t, int run) { return t.halves ? run % 2 : run / 2; }

/* Weights k 4*group .. 4*group+3 of a block, group of `run`: exact, then times the grid. */
MTK_INLINE void group_floats(vf *w, block_type t, panel_block at, const float_scales *s, int h,
                             int run, int group) {
  vi codes = vi_set1(0);
  if (t.code == CODE_E4M3) {
    load2_f8_e4m3(w, at.codes, 4 * group, h);
    load2_f8_e4m3(w + 2, at.codes, 4 * group + 2, h);
  } else {
    codes = group_codes(t, at.codes, h, group, run_high(t, run));
  }
  MTK_UNROLL for (int i = 0; i < 4; i++) {
    vf v = t.code == CODE_E4M3 ? w[i] : code_value(t, codes, i);
    v = vf_mul(v, s->d[t.halves ? run_half(run) : 0]);
    if (t.scale == SCALE_E8M0) v = vf_mul(v, s->d[1]);
    if (t.has_min) v = vf_add(v, s->m);
    w[i] = at.grid ? vf_mul(v, s->grid) : v;
  }
}
/* Are a block's weights exact in bf16? Types of few bits are, without a grid. */
MTK_INLINE int exact_in_bf16(block_type t, panel_block at) {
  return t.scale != SCALE_F16 && !at.grid;
}

#endif
