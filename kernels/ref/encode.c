/* kernels/ref/encode.c: the encoders of small floats in plain C. The rules stand in
 * kernels/encode_rules.h. Pure functions, any thread. */
#include "encode_rules.h"
#include "families.h"

static float block_error(const float *x, int n, float d, float u, const float *importance) {
  float r = 1.0f / d, acc = 0.0f;
  for (int i = 0; i < n; i++) {
    float y = fabsf(x[i]) * r, e = y - mtk_e2m1_to_f32(mtk_f32_to_e2m1(y));
    acc = importance ? fmaf(e * e, importance[i], acc) : fmaf(e, e, acc);
  }
  return acc * (u * u);
}

static int best_code(const float *x, int n, const float *importance, const mtk_fp4_rule *rule) {
  float amax = 0.0f, best_error = INFINITY, u;
  for (int i = 0; i < n; i++) amax = fmaxf(amax, fabsf(x[i]));
  int first = mtk_k_first_code(rule, amax), best = first;
  if (!rule->four && rule->first == 0 && rule->last == 0) return first;
  for (int i = rule->first - 2; i <= rule->last; i++) {
    int code = i == rule->first - 2 ? first : mtk_k_clamp_code(rule, first + i);
    if (i == rule->first - 1) {
      if (!rule->four) continue;
      code = mtk_k_nv_code(amax, 4.0f, rule->s2);
    }
    float d = mtk_k_scale_of(rule, code, first, &u);
    float error = block_error(x, n, d, u, importance);
    if (error < best_error) best_error = error, best = code;
  }
  return best;
}

/* Byte j of a block's codes: value j low, value n/2 + j high. */
static void store_codes(uint8_t *codes, const float *x, int n, float d) {
  for (int j = 0; j < n / 2; j++) {
    int low = mtk_f32_to_e2m1(x[j] / d), high = mtk_f32_to_e2m1(x[n / 2 + j] / d);
    codes[j] = (uint8_t)(low | high << 4);
  }
}

static void fp4_encode(uint8_t *dst, const float *x, int64_t k, const mtk_fp4_rule *rule) {
  const mtk_dtype_info *info = mtk_dtype_get(rule->type);
  int n = rule->type == MTK_NVFP4 ? MTK_ENCODE_SUB : MTK_ENCODE_MX;
  int per_block = (int)info->block_elems / n; /* scales of a storage block come first */
  for (int64_t i = 0; i < k; i += n) {
    uint8_t *block = dst + i / info->block_elems * info->block_bytes;
    int s = (int)(i / n % per_block);
    const float *importance = rule->importance ? rule->importance + i : NULL;
    float u;
    block[s] = (uint8_t)best_code(x + i, n, importance, rule);
    store_codes(block + per_block + s * n / 2, x + i, n, mtk_k_scale_of(rule, block[s], 0, &u));
  }
}

static float amax(const float *x, int64_t n) { return mtk_k_float_of(mtk_k_amax_bits(0, x, n)); }

static void e4m3_encode(uint8_t *dst, const float *x, float d, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = mtk_f32_to_e4m3(x[i] / d);
}

static void widen(float *dst, const void *src, mtk_dtype type, int64_t n) {
  mtk_dtype_decode(type, dst, src, (size_t)n);
}

void mtk_k_encode_init__ref(mtk_kernels *table) {
  table->fp4_encode = fp4_encode;
  table->amax = amax;
  table->e4m3_encode = e4m3_encode;
  table->widen = widen;
}
