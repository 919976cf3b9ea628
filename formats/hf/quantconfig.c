/* quantconfig.c: which layout a written tensor gets, and the quantization_config that tells other
 * programs (compressed-tensors, src/compressed_tensors/quantization). Any thread. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>

static bool is_weight(const char *name) {
  size_t n = strlen(name);
  return n > 7 && strcmp(name + n - 7, ".weight") == 0;
}

static bool powers_of_two(const float *values, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], 4);
    if (bits & 0x807FFFFF || bits == 0 || bits >> 23 == 255) return false;
  }
  return true;
}

hf_layout hf_layout_of(const mtk_tensor *t) {
  const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
  bool matrix = t->n_dims == 2 && is_weight(t->name) && mtk_tensor_rows(t) > 0;
  int64_t n_scales = mtk_tensor_scale_count(t);
  if ((!info->is_quant || st_dtype_name(t->dtype)) && !t->scales) return HF_PLAIN;
  bool experts = t->n_dims == 3 && is_weight(t->name) && strstr(t->name, "_exps.");
  if (experts && t->dtype == MTK_MXFP4 && n_scales == 0) return HF_BLOCKS;
  if (!matrix) return HF_DEQUANT;
  if (t->dtype == MTK_NVFP4 && n_scales <= 1) return HF_NVFP4;
  if (t->dtype == MTK_MXFP4 && n_scales == 0) return HF_MXFP4;
  if (t->dtype != MTK_F8_E4M3 && t->dtype != MTK_F8_E5M2) return HF_DEQUANT;
  if (t->scale_n > 1 || t->scale_k >= t->shape[1]) return HF_FP8;
  bool mx = t->scale_n == 1 && t->scale_k == 32 && powers_of_two(t->scales, n_scales);
  return mx ? HF_MXFP8 : HF_DEQUANT;
}

/* ---- schemes ------------------------------------------------------------------------------- */

/* What decides the text of a config group. */
typedef struct scheme {
  hf_layout layout;
  int64_t block_n, block_k; /* HF_FP8: steps of the grid; -1 = the whole dimension */
  bool static_input;
  json_t *targets; /* names of modules */
} scheme;
enum { MAX_SCHEMES = 16 };

static const char *const format_names[] = {
    [HF_NVFP4] = "nvfp4-pack-quantized",
    [HF_MXFP4] = "mxfp4-pack-quantized",
    [HF_FP8] = "float-quantized",
    [HF_MXFP8] = "mxfp8-quantized",
};

static scheme scheme_of(const mtk_tensor *t, hf_layout layout) {
  scheme s = {layout, 0, 0, t->input_scale != 0, NULL};
  if (layout != HF_FP8) return s;
  s.block_n = t->scale_n >= t->shape[0] ? -1 : t->scale_n;
  s.block_k = t->scale_k >= t->shape[1] ? -1 : t->scale_k;
  return s;
}

static bool same_scheme(const scheme *a, const scheme *b) {
  return a->layout == b->layout && a->block_n == b->block_n && a->block_k == b->block_k &&
         a->static_input == b->static_input;
}

static json_t *args(int num_bits, const char *strategy, json_t *dynamic) {
  return json_pack("{s:i, s:s, s:s, s:b, s:o}", "num_bits", num_bits, "type", "float", "strategy",
                   strategy, "symmetric", 1, "dynamic", dynamic);
}

static void with_group(json_t *o, int64_t size, const char *scale_dtype) {
  (void)json_object_set_new(o, "group_size", json_integer(size));
  if (scale_dtype) (void)json_object_set_new(o, "scale_dtype", json_string(scale_dtype));
}

static json_t *weight_args(const scheme *s) {
  bool fp4 = s->layout == HF_NVFP4 || s->layout == HF_MXFP4;
  bool blocks = s->layout == HF_FP8 && s->block_k > 0;
  const char *strategy = s->layout == HF_NVFP4 ? "tensor_group"
                         : s->layout != HF_FP8 ? "group"
                         : blocks              ? "block"
                         : s->block_n == 1     ? "channel"
                                               : "tensor";
  json_t *o = args(fp4 ? 4 : 8, strategy, json_false());
  if (s->layout == HF_NVFP4) with_group(o, 16, "torch.float8_e4m3fn");
  if (s->layout == HF_MXFP4 || s->layout == HF_MXFP8) with_group(o, 32, "torch.uint8");
  if (blocks) {
    (void)json_object_set_new(o, "block_structure",
                              json_pack("[I, I]", (json_int_t)s->block_n, (json_int_t)s->block_k));
  }
  return o;
}

/* Weight-only for fp4 without an activation scale; fp8 activations are scaled as they come. */
static json_t *input_args(const scheme *s) {
  json_t *o = NULL;
  if (s->layout == HF_NVFP4 && s->static_input) {
    o = args(4, "tensor_group", json_string("local"));
    with_group(o, 16, "torch.float8_e4m3fn");
  } else if (s->layout == HF_FP8 && s->static_input) {
    o = args(8, "tensor", json_false());
  } else if (s->layout == HF_FP8 && s->block_k > 0) {
    o = args(8, "group", json_true());
    with_group(o, s->block_k, NULL);
  } else if (s->layout == HF_FP8) {
    o = args(8, "token", json_true());
  }
  return o ? o : json_null();
}

/* "model.layers.0.mlp.up_proj.weight" -> the module's name. */
static json_t *module_of(const char *hf_name) {
  return json_stringn(hf_name, strlen(hf_name) - strlen(".weight"));
}

/* Sort all linear weights into schemes and the list of those that are not quantized. */
static mtk_status collect(scheme *schemes, size_t *n_schemes, json_t *ignore,
                          const mtk_model *model, const char *const *hf_names, mtk_error *err) {
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    hf_layout layout = hf_layout_of(t);
    if (t->n_dims != 2 || !is_weight(hf_names[i]) || strcmp(t->name, "token_embd.weight") == 0) {
      if (layout <= HF_DEQUANT) continue;
    }
    if (layout <= HF_DEQUANT) {
      (void)json_array_append_new(ignore, module_of(hf_names[i]));
      continue;
    }
    scheme s = scheme_of(t, layout);
    size_t at = 0;
    while (at < *n_schemes && !same_scheme(&schemes[at], &s)) at++;
    if (at == MAX_SCHEMES) {
      return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "more than %d kinds of quantized weights",
                      MAX_SCHEMES);
    }
    if (at == *n_schemes) {
      s.targets = json_array();
      schemes[(*n_schemes)++] = s;
    }
    (void)json_array_append_new(schemes[at].targets, module_of(hf_names[i]));
  }
  return MTK_OK;
}

/* One group targets all linear layers but the ignored ones; several groups name their modules. */
static json_t *groups_of(scheme *schemes, size_t n) {
  json_t *groups = json_object();
  for (size_t i = 0; i < n; i++) {
    const scheme *s = &schemes[i];
    char key[] = "group_00";
    key[6] = (char)('0' + i % 10);
    key[7] = 0;
    if (i >= 10) key[6] = '1', key[7] = (char)('0' + i % 10);
    json_t *targets = n == 1 ? json_pack("[s]", "Linear") : json_incref(s->targets);
    json_t *group = json_pack("{s:o, s:o, s:o, s:n, s:s}", "targets", targets, "weights",
                              weight_args(s), "input_activations", input_args(s),
                              "output_activations", "format", format_names[s->layout]);
    (void)json_object_set_new(groups, key, group);
  }
  return groups;
}

/* What gpt-oss says of its experts; nothing else can be quantized beside them. */
static mtk_status experts_config(json_t **out, const mtk_model *model, bool *done,
                                 mtk_error *err) {
  size_t n_experts = 0;
  const char *other = NULL;
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    hf_layout layout = hf_layout_of(t);
    n_experts += layout == HF_BLOCKS;
    if (layout > HF_DEQUANT && layout != HF_BLOCKS) other = t->name;
  }
  *done = n_experts > 0;
  if (!*done) return MTK_OK;
  if (other)
    return mtk_fail(err, MTK_E_UNSUPPORTED, other,
                    "beside MXFP4 experts a folder cannot hold other quantized tensors (--keep "
                    "attn_)");
  *out = json_pack("{s:s, s:[s,s,s,s]}", "quant_method", "mxfp4", "modules_to_not_convert",
                   "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                   "lm_head");
  return *out ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
}

mtk_status hf_quant_config_write(json_t **out, const mtk_model *model, const char *const *hf_names,
                                 mtk_error *err) {
  bool done = false;
  *out = NULL;
  MTK_TRY(experts_config(out, model, &done, err));
  if (done) return MTK_OK;
  scheme schemes[MAX_SCHEMES];
  size_t n = 0;
  json_t *ignore = json_array();
  *out = NULL;
  mtk_status status = collect(schemes, &n, ignore, model, hf_names, err);
  /* A tied output layer has no tensor of its own and is never quantized. */
  if (!mtk_model_tensor(model, "output.weight")) {
    (void)json_array_append_new(ignore, json_string("lm_head"));
  }
  if (status == MTK_OK && n) {
    const char *format = n == 1 ? format_names[schemes[0].layout] : "mixed-precision";
    *out = json_pack("{s:s, s:s, s:s, s:o, s:O, s:n}", "quant_method", "compressed-tensors",
                     "format", format, "quantization_status", "compressed", "config_groups",
                     groups_of(schemes, n), "ignore", ignore, "kv_cache_scheme");
    if (!*out) status = mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
  }
  for (size_t i = 0; i < n; i++) json_decref(schemes[i].targets);
  json_decref(ignore);
  return status;
}

mtk_status hf_dump_json(mtk_bytes *out, const json_t *value, mtk_error *err) {
  char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
  json_t *again = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
  if (!json_equal(again, value)) {
    free(text);
    text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
  }
  json_decref(again);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_bytes_puts(out, text);
  mtk_bytes_puts(out, "\n");
  free(text);
  return mtk_bytes_status(out, err);
}
