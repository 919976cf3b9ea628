/* kernels/simd/linear_super.h: what linear layers of weights in superblocks share (formulas:
 * linear_rules.h; panels: superblock.h): activations of a8 in blocks of 256, reading panels. */
#include "linear_panel.h"
#include "simd/linear_lanes.h"
#include "simd/linear_sums.h"
#include "superblock.h"

enum { AHEAD = 3072 }; /* bytes prefetched, across panels too; to L2: L1 has too few fill buffers */

/* ---- activations: the same for all types ---------------------------------------- */
typedef struct act_block {
  int8_t q[MTK_K_SUPER];
  int16_t sum16[16], sum32[8]; /* of q, by 16 and 32 */
  float d;
  int32_t pad[3];
} act_block;

static void quantize(act_block *a, const float *x) {
  float inverse;
  memset(a, 0, sizeof *a);
  a->d = act_scale(x, MTK_K_SUPER, &inverse);
  if (inverse == 0.0f) return;
  for (int j = 0; j < 8; j++) {
    int32_t sum[2];
    act_codes(a->q + 32 * j, sum, x + 32 * j, inverse);
    a->sum16[2 * j] = (int16_t)sum[0];
    a->sum16[2 * j + 1] = (int16_t)sum[1];
    a->sum32[j] = (int16_t)(sum[0] + sum[1]);
  }
}

static void prepare(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                    int64_t k) {
  (void)m;
  int64_t blocks = k / MTK_K_SUPER;
  for (int64_t i = m0; i < m1; i++) {
    for (int64_t b = 0; b < blocks; b++) {
      quantize((act_block *)act + i * blocks + b, x + i * ldx + b * MTK_K_SUPER);
    }
  }
}

/* Pairs of int16: a pair a lane from bytes; its products summed; one of them twice. */
#if MTK_LANES == 16
MTK_INLINE vi pairs_from_i8(const void *p) { return _mm512_cvtepi8_epi16(vh_load(p)); }
MTK_INLINE vi add_pairs(vi total, vi a, vi b) { return _mm512_dpwssd_epi32(total, a, b); }
MTK_INLINE vi first_half(vi pairs) {
  return _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(pairs, 0xa0), 0xa0);
}
MTK_INLINE vi second_half(vi pairs) {
  return _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(pairs, 0xf5), 0xf5);
}
#else
MTK_INLINE vi pairs_from_i8(const void *p) { return _mm256_cvtepi8_epi16(vh_load(p)); }
MTK_INLINE vi add_pairs(vi total, vi a, vi b) {
  return _mm256_add_epi32(total, _mm256_madd_epi16(a, b));
}
MTK_INLINE vi first_half(vi pairs) {
  return _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(pairs, 0xa0), 0xa0);
}
MTK_INLINE vi second_half(vi pairs) {
  return _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(pairs, 0xf5), 0xf5);
}
#endif

/* ---- reading panels; `type` is a compile-time constant, everything folds ------------------- */
typedef struct job {
  float *y;
  const act_block *x;
  const void *packed;
  int64_t ldy, blocks, stride, n, k;
  float scale;
} job;

MTK_INLINE job job_of(mtk_dtype type, float *y, int64_t ldy, const void *act, const void *packed,
                      int64_t n, int64_t k) {
  job j = {
      .y = y, .x = act, .packed = packed, .ldy = ldy, .blocks = k / MTK_K_SUPER, .n = n, .k = k};
  j.stride = mtk_k_panel_stride(mtk_k_panel_format_of(type), k);
  j.scale = ((const mtk_k_header *)packed)->scale;
  return j;
}

/* A superblock of a panel; grid NULL or its 16 factors. */
typedef struct unit {
  const uint8_t *at;
  const float *grid;
} unit;

MTK_INLINE unit unit_at(const mtk_k_super *f, const job *j, int64_t p, int64_t b) {
  const float *grid = mtk_k_panel_grid(j->packed, j->stride, j->n, j->k, p);
  unit u = {mtk_k_panel(j->packed, j->stride, p) + b * mtk_k_super_unit(f),
            grid ? grid + b * (MTK_K_SUPER / MTK_K_BLOCK) * MTK_PANEL : NULL};
  return u;
}

MTK_INLINE void prefetch_bytes(const uint8_t *p, int bytes) {
  for (int i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T1);
}

/* d (0) or dmin (1) of lanes h * LANES and up, grid applied. */
MTK_INLINE vf unit_d(unit u, int which, int h) {
  vf d = load_f16(u.at + which * 2 * MTK_PANEL + 2 * LANES * h);
  return u.grid ? vf_mul(d, vf_load(u.grid + h * LANES)) : d;
}

/* Scales of sub-blocks 2 * pair and the next as int16, and what the sums of q are multiplied by:
 * the minimums, or the scales again where codes have an offset. */
MTK_INLINE vi unit_pair(const mtk_k_super *f, unit u, int part, int pair, int h) {
  const uint8_t *at = u.at + (1 + f->has_min) * 2 * MTK_PANEL + (pair * MTK_PANEL + h * LANES) * 2;
  return pairs_from_i8(at + part * (MTK_K_SUPER / f->sub) * MTK_PANEL);
}
MTK_INLINE vi unit_scales(const mtk_k_super *f, unit u, int pair, int h) {
  vi bytes = unit_pair(f, u, 0, pair, h);
  return f->nibbles ? vi_and(bytes, vi_set1(0x000f000f)) : bytes;
}
MTK_INLINE vi unit_bias(const mtk_k_super *f, unit u, int pair, int h) {
  if (f->nibbles) return vi_and(vi_srli(unit_pair(f, u, 0, pair, h), 4), vi_set1(0x000f000f));
  return unit_pair(f, u, f->has_min, pair, h);
}

/* Bits of group t in a plane of `bits` a code, moved to bit `to` of each byte. */
MTK_INLINE vi plane_codes(const uint8_t *plane, int t, int bits, int to) {
  const int from = t / (2 * bits) * bits;
  vi v = vi_load(plane + 64 * (t % (2 * bits)));
  v = from > to ? vi_srli(v, from - to) : from < to ? vi_slli(v, to - from) : v;
  return vi_and(v, vi_set1(0x01010101 * (((1 << bits) - 1) << to)));
}

/* Codes of group t (4 k) of a quarter: unsigned bytes, or the numbers themselves (levels in
 * AVX2). */
MTK_INLINE vi group_codes(const mtk_k_super *f, const uint8_t *quarter, int t, __m128i levels) {
  vi c = plane_codes(quarter, t, f->low_bits, 0);
  if (f->levels) return vi_lookup16(levels, c);
  if (!f->high_bits) return c;
  return vi_or(c, plane_codes(quarter + 128 * f->low_bits, t, f->high_bits, f->low_bits));
}

/* The levels of iq4_xs as bytes, plus offset. */
MTK_INLINE __m128i load_levels(int offset) {
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)mtk_k_iq4_levels);
  return _mm_add_epi8(v, _mm_set1_epi8((char)offset));
}

MTK_INLINE const int16_t *act_sums(const mtk_k_super *f, const act_block *x) {
  return f->sub == 16 ? x->sum16 : x->sum32;
}

/* acc[rows][COLS] to rows m0 and up, panels p and up of y. */
MTK_INLINE void store_tile(const job *j, const float *acc, int64_t m0, int64_t rows, int64_t p,
                           int64_t panels) {
  const int64_t col0 = p * MTK_PANEL, cols = mtk_k_min(panels * MTK_PANEL, j->n - col0);
  store_sums(j->y + m0 * j->ldy + col0, j->ldy, acc, rows, cols, j->scale);
}
