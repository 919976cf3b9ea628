/* kernels/simd/encode.h: the encoders of ref/encode.c. The search for a block scale has one block
 * per lane: LANES blocks are transposed, so that every chain over a block's elements runs as in
 * plain C; codes are made 32 values at a time. Included once by avx2/encode.c and avx512/encode.c.
 * Pure functions, any thread. */
#include "encode_rules.h"
#include "families.h"
#include "linear_rules.h"
#include "simd/linear_lanes.h"
#include "simd/widen.h"

typedef struct encode_group {
  _Alignas(64) float x[MTK_ENCODE_MX][LANES]; /* element, block */
  _Alignas(64) float w[MTK_ENCODE_MX][LANES]; /* importance */
  int first[LANES], best[LANES], four[LANES]; /* codes */
  int n;                                      /* values of a block */
} encode_group;

/* e2m1 of y >= 0: adding 1.5 * 2^23 * step rounds to a multiple of step. */
MTK_INLINE vf round_e2m1(vf y) {
  vf magic = vf_if_less(y, vf_set1(4.0f), vf_set1(0x1.8p23f), vf_set1(0x1.8p24f));
  magic = vf_if_less(y, vf_set1(2.0f), vf_set1(0x1.8p22f), magic);
  vf q = vf_sub(vf_add(y, magic), magic);
  return vf_if_less(q, vf_set1(6.0f), q, vf_set1(6.0f));
}

/* e4m3 codes of finite y >= 0 up to 448, nearest even. */
MTK_INLINE vi round_e4m3(vf y) {
  vi bits = vf_as_vi(y);
  vi odd = vi_and(vi_srli(bits, 20), vi_set1(1));
  vi normal = vi_sub(vi_srli(vi_add(vi_add(bits, vi_set1(0x7ffff)), odd), 20), vi_set1(120 << 3));
  vi small = vi_from_vf(vf_mul(y, vf_set1(0x1p9f))); /* subnormals are multiples of 2^-9 */
  return vf_as_vi(vf_if_less(y, vf_set1(0x1p-6f), vi_as_vf(small), vi_as_vf(normal)));
}

/* mtk_k_nv_code of LANES blocks. */
static void lane_nv_codes(int *code, const float *amax, float largest, float s2) {
  vf scale = vf_div(vf_load(amax), vf_set1(largest * s2));
  scale = vf_if_less(vf_set1(0.0f), scale, scale, vf_set1(1.0f));
  scale = vf_if_less(scale, vf_set1(0x1p-9f), vf_set1(0x1p-9f), scale);
  vi_store(code, round_e4m3(vf_if_less(scale, vf_set1(448.0f), scale, vf_set1(448.0f))));
}

/* d and u of a code per lane. */
static void lane_scales(float *d, float *u, const mtk_fp4_rule *rule, const int *code,
                        const int *first) {
  uint8_t bytes[LANES];
  if (rule->type == MTK_NVFP4) {
    for (int l = 0; l < LANES; l++) bytes[l] = (uint8_t)code[l];
    vf unit = load_f8_e4m3(bytes);
    vf_store(u, unit);
    vf_store(d, vf_mul(unit, vf_set1(rule->s2)));
    return;
  }
  for (int l = 0; l < LANES; l++) d[l] = mtk_k_scale_of(rule, code[l], first[l], &u[l]);
}

MTK_INLINE vf group_error(const encode_group *g, const int n, const int weighted, vf d, vf u) {
  vf r = vf_div(vf_set1(1.0f), d), acc = vf_set1(0.0f);
  MTK_UNROLL for (int i = 0; i < n; i++) {
    vf y = vf_mul(vf_abs(vf_load(g->x[i])), r);
    vf e = vf_sub(y, round_e2m1(y));
    acc = weighted ? vf_fma(vf_mul(e, e), vf_load(g->w[i]), acc) : vf_fma(e, e, acc);
  }
  return vf_mul(acc, vf_mul(u, u));
}

static vf candidate_error(const encode_group *g, int weighted, vf d, vf u) {
  if (g->n == MTK_ENCODE_SUB)
    return weighted ? group_error(g, MTK_ENCODE_SUB, 1, d, u)
                    : group_error(g, MTK_ENCODE_SUB, 0, d, u);
  return weighted ? group_error(g, MTK_ENCODE_MX, 1, d, u) : group_error(g, MTK_ENCODE_MX, 0, d, u);
}

static void choose(encode_group *g, const mtk_fp4_rule *rule) {
  _Alignas(64) float d[LANES], u[LANES], error[LANES], best[LANES];
  for (int l = 0; l < LANES; l++) best[l] = INFINITY;
  for (int i = rule->first - 2; i <= rule->last; i++) {
    int code[LANES];
    if (i == rule->first - 1 && !rule->four) continue;
    for (int l = 0; l < LANES; l++) {
      code[l] = i == rule->first - 2   ? g->first[l]
                : i == rule->first - 1 ? g->four[l]
                                       : mtk_k_clamp_code(rule, g->first[l] + i);
    }
    lane_scales(d, u, rule, code, g->first);
    vf_store(error, candidate_error(g, rule->importance != NULL, vf_load(d), vf_load(u)));
    for (int l = 0; l < LANES; l++) {
      if (error[l] < best[l]) best[l] = error[l], g->best[l] = code[l];
    }
  }
}

/* Largest magnitude of 16 or 32 values. */
MTK_INLINE float block_amax(const float *x, int n) {
  const vi magnitude = vi_set1(0x7fffffff);
  vi most = vi_and(vi_load(x), magnitude);
  for (int i = LANES; i < n; i += LANES) most = vi_max(most, vi_and(vi_load(x + i), magnitude));
  return mtk_k_float_of(vi_max_lane(most));
}

/* Scale codes of the blocks at x; lanes beyond repeat the last block. */
static void first_codes(encode_group *g, const float *x, const mtk_fp4_rule *rule, int64_t lanes) {
  _Alignas(64) float amax[LANES];
  for (int l = 0; l < LANES; l++)
    amax[l] = l < lanes ? block_amax(x + l * g->n, g->n) : amax[lanes - 1];
  if (rule->type == MTK_NVFP4) lane_nv_codes(g->first, amax, 6.0f, rule->s2);
  else
    for (int l = 0; l < LANES; l++) g->first[l] = mtk_k_first_code(rule, amax[l]);
  if (rule->four) lane_nv_codes(g->four, amax, 4.0f, rule->s2);
  memcpy(g->best, g->first, sizeof g->best);
}

static void transpose(encode_group *g, const float *x, const float *importance, int64_t lanes) {
  for (int l = 0; l < LANES; l++) {
    const int64_t at = mtk_k_min(l, lanes - 1) * g->n;
    for (int i = 0; i < g->n; i++) g->x[i][l] = x[at + i];
    for (int i = 0; importance && i < g->n; i++) g->w[i][l] = importance[at + i];
  }
}

/* 32 values, 16 with each scale, to a byte each. */
MTK_INLINE void codes_of(uint64_t codes[4], const float *x, float d0, float d1) {
  enum { VECTORS = 32 / LANES };
  const __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0); /* of 2q */
  vi bytes[VECTORS];
  MTK_UNROLL for (int i = 0; i < VECTORS; i++) {
    vf v = vf_load(x + i * LANES), d = vf_set1(i < VECTORS / 2 ? d0 : d1);
    vf q = round_e2m1(vf_abs(vf_div(v, d)));
    vi sign = vi_slli(vi_srli(vf_as_vi(v), 31), 3);
    bytes[i] = vi_or(vi_lookup16(table, vi_from_vf(vf_add(q, q))), sign);
  }
  __m256i packed = vi_pack_bytes(bytes);
  memcpy(codes, &packed, 32);
}

/* Codes of the chosen scales into bytes: value j low, value n/2 + j high. */
static void store_group(uint8_t *dst, const float *x, const encode_group *g,
                        const mtk_fp4_rule *rule, int64_t b0, int64_t lanes) {
  const int nv = rule->type == MTK_NVFP4;
  _Alignas(64) float d[LANES], u[LANES];
  uint64_t codes[4], out[2];
  lane_scales(d, u, rule, g->best, g->first);
  for (int64_t l = 0; l < lanes; l += nv ? 2 : 1) {
    uint8_t *block = dst + (nv ? (b0 + l) / 4 * 36 : (b0 + l) * 17);
    int64_t s = nv ? (b0 + l) % 4 : 0;
    codes_of(codes, x + l * g->n, d[l], d[nv ? l + 1 : l]);
    out[0] = codes[0] | codes[nv ? 1 : 2] << 4;
    out[1] = codes[nv ? 2 : 1] | codes[3] << 4;
    block[s] = (uint8_t)g->best[l];
    if (nv) block[s + 1] = (uint8_t)g->best[l + 1];
    memcpy(block + (nv ? 4 + s * 8 : 1), out, 16);
  }
}

static void MTK_K(fp4_encode)(uint8_t *dst, const float *x, int64_t k, const mtk_fp4_rule *rule) {
  encode_group g = {.n = rule->type == MTK_NVFP4 ? MTK_ENCODE_SUB : MTK_ENCODE_MX};
  int64_t blocks = k / g.n;
  const float *importance = rule->importance;
  for (int64_t b0 = 0; b0 < blocks; b0 += LANES, x += LANES * g.n) {
    int64_t lanes = mtk_k_min(LANES, blocks - b0);
    first_codes(&g, x, rule, lanes);
    if (rule->four || rule->first != 0 || rule->last != 0) {
      transpose(&g, x, importance, lanes);
      choose(&g, rule);
    }
    store_group(dst, x, &g, rule, b0, lanes);
    if (importance) importance += LANES * g.n;
  }
}

/* e4m3(x / d): LANES values as dwords. */
MTK_INLINE vi e4m3_of(const float *x, vf d) {
  vf v = vf_load(x), y = vf_abs(vf_div(v, d));
  vi code = round_e4m3(vf_if_less(y, vf_set1(448.0f), y, vf_set1(448.0f)));
  return vi_or(code, vi_slli(vi_srli(vf_as_vi(v), 31), 7));
}

static void MTK_K(e4m3_encode)(uint8_t *dst, const float *x, float d, int64_t n) {
  enum { VECTORS = 32 / LANES };
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    vi codes[VECTORS];
    MTK_UNROLL for (int v = 0; v < VECTORS; v++) codes[v] = e4m3_of(x + i + v * LANES, vf_set1(d));
    __m256i packed = vi_pack_unsigned(codes);
    memcpy(dst + i, &packed, 32);
  }
  for (; i < n; i++) dst[i] = mtk_f32_to_e4m3(x[i] / d);
}

static float MTK_K(amax)(const float *x, int64_t n) {
  enum { STREAMS = 4 };
  const vi magnitude = vi_set1(0x7fffffff);
  vi most[STREAMS] = {vi_set1(0), vi_set1(0), vi_set1(0), vi_set1(0)};
  uint32_t lanes[STREAMS * LANES], largest = 0;
  int64_t i = 0;
  for (; i + STREAMS * LANES <= n; i += STREAMS * LANES)
    MTK_UNROLL for (int s = 0; s < STREAMS; s++)
      most[s] = vi_max(most[s], vi_and(vi_load(x + i + s * LANES), magnitude));
  memcpy(lanes, most, sizeof lanes);
  for (int l = 0; l < STREAMS * LANES; l++) largest = lanes[l] > largest ? lanes[l] : largest;
  return mtk_k_float_of(mtk_k_amax_bits(largest, x + i, n - i));
}

void MTK_K(encode_init)(mtk_kernels *table) {
  table->fp4_encode = MTK_K(fp4_encode);
  table->amax = MTK_K(amax);
  table->e4m3_encode = MTK_K(e4m3_encode);
  table->widen = MTK_K(widen);
}
