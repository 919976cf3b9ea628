/* kernels/simd/encode.h: the encoder of ref/encode.c with one block per lane: LANES blocks are
 * transposed, so that every chain over a block's elements runs as in plain C. Included once by
 * avx2/encode.c and avx512/encode.c. Pure functions, any thread. */
#include "encode_rules.h"
#include "families.h"
#include "linear_rules.h"
#include "simd/linear_lanes.h"

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

/* d and u of a code per lane. */
static void lane_scales(float *d, float *u, const mtk_fp4_rule *rule, const int *code,
                        const int *first) {
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

/* Blocks b0 .. b0+lanes-1 of the row; lanes beyond repeat the last block. */
static void load_group(encode_group *g, const float *x, const mtk_fp4_rule *rule, int64_t b0,
                       int64_t lanes) {
  _Alignas(64) float amax[LANES];
  for (int l = 0; l < LANES; l++) {
    int64_t at = (b0 + mtk_k_min(l, lanes - 1)) * g->n;
    for (int i = 0; i < g->n; i++) {
      g->x[i][l] = x[at + i];
      if (rule->importance) g->w[i][l] = rule->importance[at + i];
    }
  }
  vf m = vf_set1(0.0f);
  for (int i = 0; i < g->n; i++) m = vf_max(vf_abs(vf_load(g->x[i])), m);
  vf_store(amax, m);
  for (int l = 0; l < LANES; l++) {
    g->best[l] = g->first[l] = mtk_k_first_code(rule, amax[l]);
    g->four[l] = rule->four ? mtk_k_nv_code(amax[l], 4.0f, rule->s2) : 0;
  }
}

/* Codes of the chosen scales into bytes: value j low, value n/2 + j high. */
static void store_group(uint8_t *dst, const encode_group *g, const mtk_fp4_rule *rule, int64_t b0,
                        int64_t lanes) {
  static const uint8_t code_of[13] = {0, 1, 2, 3, 4, 0, 5,
                                      0, 6, 0, 0, 0, 7}; /* of twice the value */
  const mtk_dtype_info *info = mtk_dtype_get(rule->type);
  int per_block = (int)info->block_elems / g->n;
  _Alignas(64) float d[LANES], u[LANES], q[MTK_ENCODE_MX][LANES];
  lane_scales(d, u, rule, g->best, g->first);
  for (int i = 0; i < g->n; i++) {
    vf y = vf_abs(vf_div(vf_load(g->x[i]), vf_load(d)));
    vf_store(q[i], vf_mul(round_e2m1(y), vf_set1(2.0f)));
  }
  for (int64_t l = 0; l < lanes; l++) {
    uint8_t *block = dst + (b0 + l) / per_block * info->block_bytes;
    int s = (int)((b0 + l) % per_block), half = g->n / 2;
    block[s] = (uint8_t)g->best[l];
    for (int j = 0; j < half; j++) {
      int low = code_of[(int)q[j][l]] | (signbit(g->x[j][l]) ? 8 : 0);
      int high = code_of[(int)q[half + j][l]] | (signbit(g->x[half + j][l]) ? 8 : 0);
      block[per_block + s * half + j] = (uint8_t)(low | high << 4);
    }
  }
}

static void MTK_K(fp4_encode)(uint8_t *dst, const float *x, int64_t k, const mtk_fp4_rule *rule) {
  encode_group g = {.n = rule->type == MTK_NVFP4 ? MTK_ENCODE_SUB : MTK_ENCODE_MX};
  int64_t blocks = k / g.n;
  for (int64_t b0 = 0; b0 < blocks; b0 += LANES) {
    int64_t lanes = mtk_k_min(LANES, blocks - b0);
    load_group(&g, x, rule, b0, lanes);
    if (rule->four || rule->first != 0 || rule->last != 0) choose(&g, rule);
    store_group(dst, &g, rule, b0, lanes);
  }
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
}
