/* model/activations.c: what a quantized model says of its activations: their type, static scales of
 * the inputs of linear layers, scales of the cache of keys and values (mtk/quantize.h). */
#include <mtk/quantize.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Which activations go with which weights. largest: the value that the static scale maps to 1; 0:
 * activations are scaled as they come. */
typedef struct pair {
  const char *type;
  mtk_dtype weights;
  bool one_scale; /* weights with one scale per tensor only */
  float largest;
} pair;
static const pair pairs[] = {
    {"nvfp4", MTK_NVFP4, false, 6.0f * 448.0f}, {"nvfp4", MTK_F8_E4M3, true, 448.0f},
    {"fp8", MTK_NVFP4, false, 448.0f},          {"fp8", MTK_F8_E4M3, true, 448.0f},
    {"fp8", MTK_F8_E4M3, false, 0},             {"fp8", MTK_MXFP4, false, 0},
    {"fp8", MTK_Q4_0, false, 0},                {"fp8", MTK_Q4_1, false, 0},
    {"mxfp4", MTK_MXFP4, false, 0},             {"mxfp8", MTK_F8_E4M3, false, 0},
    {"int8", MTK_Q8_0, false, 0},               {"int8", MTK_Q4_0, false, 0},
    {"int8", MTK_Q4_1, false, 0},
};

static const pair *find_pair(const char *type, mtk_dtype weights, bool one_scale) {
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
    if (!strcmp(pairs[i].type, type) && pairs[i].weights == weights &&
        (one_scale || !pairs[i].one_scale))
      return &pairs[i];
  return NULL;
}

mtk_status mtk_activation_needs_scales(bool *out, const char *type, const mtk_quant_target *target,
                                       mtk_error *err) {
  *out = false;
  if (!type || !strcmp(type, "none")) return MTK_OK;
  const pair *p = find_pair(type, target->dtype, target->scale_n == 0 && target->scale_k == 0);
  if (!p || (target->scale_n < 0 && target->dtype >= MTK_Q4_0 && target->dtype <= MTK_Q8_0))
    return mtk_fail(err, MTK_E_INVALID, "--act", "no layout has %s activations on %s weights", type,
                    target->name);
  *out = p->largest > 0;
  return MTK_OK;
}

static mtk_status set_input(mtk_model *model, const mtk_tensor *t, float largest,
                            const mtk_activation_options *o, mtk_error *err) {
  const mtk_input_stats *stats = o->stats ? o->stats(o->stats_ctx, t->name) : NULL;
  if (!stats)
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name,
                    "no calibration text runs through it: --keep it, or quantize without --act");
  mtk_tensor with = *t;
  double headroom = o->headroom > 0 ? o->headroom : 1;
  with.input_scale = (float)((double)stats->clip * headroom) / largest;
  if (!(with.input_scale > 0)) with.input_scale = 1.0f; /* only zeros were seen */
  with.input_scale = 1.0f / (1.0f / with.input_scale); /* so that a float is its reciprocal */
  if (!isfinite(with.input_scale))
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "its input is not finite in calibration");
  return mtk_model_replace_tensor(model, &with, err);
}

mtk_status mtk_model_set_activations(mtk_model *model, const mtk_quantize_report *rows,
                                     const mtk_activation_options *o, mtk_error *err) {
  mtk_meta *meta = mtk_model_meta(model);
  mtk_meta_remove(meta, "hf.activations");
  if (!o->type) return MTK_OK;
  /* nvfp4 weights with input scales have nvfp4 activations unless the model says fp8 */
  if (strcmp(o->type, "nvfp4") != 0)
    MTK_TRY(mtk_meta_set_string(meta, "hf.activations", o->type, err));
  for (size_t i = 0; i < rows->n_rows; i++) {
    if (rows->rows[i].reason != MTK_QUANTIZED) continue;
    const mtk_tensor *t = mtk_model_tensor(model, rows->rows[i].name);
    bool one = t && mtk_tensor_scale_count(t) <= mtk_tensor_matrices(t);
    const pair *p = t ? find_pair(o->type, t->dtype, one) : NULL;
    if (p && p->largest > 0) MTK_TRY(set_input(model, t, p->largest, o, err));
  }
  return MTK_OK;
}

/* ---- the cache ------------------------------------------------------------------------------ */

static mtk_status add_cache_scale(mtk_model *model, const char *weight, float amax,
                                  mtk_error *err) {
  char name[128];
  float *value = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *value);
  if (!value) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  *value = amax > 0 ? amax / 448.0f : 1.0f;
  snprintf(name, sizeof name, "%.*s.cache_scale", (int)(strlen(weight) - strlen(".weight")),
           weight);
  mtk_tensor t = {.name = name, .dtype = MTK_F32, .n_dims = 1, .shape = {1}, .data = value,
                  .size_bytes = sizeof *value};
  if (mtk_model_tensor(model, name)) return mtk_model_replace_tensor(model, &t, err);
  return mtk_model_add_tensor(model, &t, err);
}

mtk_status mtk_model_set_cache_scales(mtk_model *model,
                                      const float *(*amax)(void *ctx, const char *tensor),
                                      void *ctx, mtk_error *err) {
  uint64_t n = 0;
  MTK_TRY(mtk_meta_uint(&n, mtk_model_meta(model), "block_count", 0, err));
  for (uint64_t i = 0; i < n; i++) {
    char k[64], v[64];
    snprintf(k, sizeof k, "blk.%llu.attn_k.weight", (unsigned long long)i);
    snprintf(v, sizeof v, "blk.%llu.attn_v.weight", (unsigned long long)i);
    const float *seen = amax(ctx, k);
    if (!seen)
      return mtk_fail(err, MTK_E_UNSUPPORTED, k,
                      "no keys and values were seen: the cache of this model cannot have scales");
    MTK_TRY(add_cache_scale(model, k, seen[0], err));
    MTK_TRY(add_cache_scale(model, v, seen[1], err));
  }
  return MTK_OK;
}
