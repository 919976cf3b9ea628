/* quantconfig.c: which layout a written tensor gets, and the quantization_config that tells other
 * programs (compressed-tensors, src/compressed_tensors/quantization; DeepSeek-V3), both ways. Any
 * thread. */
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

/* A grid of scales per row or per group of 32, 64, ... columns. */
static bool has_groups(const mtk_tensor *t) {
  return t->scales && t->scale_n == 1 && (t->scale_k % 32 == 0 || t->scale_k >= t->shape[1]);
}

/* Integers in blocks; q4_1 needs a group of its own for each zero point. */
static hf_layout int_layout(const mtk_tensor *t, hf_acts acts) {
  bool whole = t->dtype == MTK_Q4_1 ? t->shape[1] % t->scale_k == 0 : t->dtype == MTK_Q4_0;
  if (t->dtype == MTK_Q8_0) return acts == HF_ACTS_NONE ? HF_PACKED_INT : HF_INT8;
  return whole ? HF_PACKED_INT : HF_DEQUANT;
}

hf_layout hf_layout_of(const mtk_tensor *t, hf_acts acts) {
  const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
  bool matrix = t->n_dims == 2 && is_weight(t->name) && mtk_tensor_rows(t) > 0;
  int64_t n_scales = mtk_tensor_scale_count(t);
  if ((!info->is_quant || st_dtype_name(t->dtype)) && !t->scales) return HF_PLAIN;
  bool experts = t->n_dims == 3 && is_weight(t->name) && strstr(t->name, "_exps.");
  if (experts && t->dtype == MTK_MXFP4 && n_scales == 0) return HF_BLOCKS;
  if (!matrix) return HF_DEQUANT;
  if (t->dtype == MTK_NVFP4 && n_scales <= 1) return HF_NVFP4;
  if (t->dtype == MTK_MXFP4 && n_scales == 0) return HF_MXFP4;
  if (info->is_quant && has_groups(t)) return int_layout(t, acts);
  if (t->dtype != MTK_F8_E4M3 && t->dtype != MTK_F8_E5M2) return HF_DEQUANT;
  if (t->scale_n > 1 || t->scale_k >= t->shape[1]) return HF_FP8;
  bool mx = t->scale_n == 1 && t->scale_k == 32 && powers_of_two(t->scales, n_scales);
  return mx ? HF_MXFP8 : HF_DEQUANT;
}

bool hf_keeps(const mtk_tensor *t) { return hf_layout_of(t, HF_ACTS_USUAL) != HF_DEQUANT; }

bool hf_is_linear(const mtk_tensor *t, const char *hf_name) {
  return t->n_dims == 2 && is_weight(hf_name) && strcmp(t->name, "token_embd.weight") != 0;
}

/* ---- activations --------------------------------------------------------------------------- */

static const char *const acts_names[HF_ACTS_COUNT] = {NULL,    "none", "nvfp4", "mxfp4",
                                                      "mxfp8", "fp8",  "int8"};

hf_acts hf_acts_of(const mtk_model *model) {
  const char *name = mtk_meta_str(mtk_model_meta(model), "hf.activations", "");
  for (int i = 1; i < HF_ACTS_COUNT; i++)
    if (strcmp(name, acts_names[i]) == 0) return (hf_acts)i;
  return HF_ACTS_USUAL;
}

mtk_status hf_acts_put(mtk_model *model, hf_acts acts, mtk_error *err) {
  if (acts == HF_ACTS_USUAL) return MTK_OK;
  return mtk_meta_set_string(mtk_model_meta(model), "hf.activations", acts_names[acts], err);
}

/* What one group says of activations. */
static hf_acts acts_in(const json_t *input) {
  const char *type = json_string_value(json_object_get(input, "type"));
  json_int_t bits = json_integer_value(json_object_get(input, "num_bits"));
  json_int_t group = json_integer_value(json_object_get(input, "group_size"));
  if (!json_is_object(input)) return HF_ACTS_NONE;
  if (type && strcmp(type, "int") == 0) return HF_ACTS_INT8;
  if (bits == 4) return group == 32 ? HF_ACTS_MXFP4 : HF_ACTS_NVFP4;
  return group == 32 ? HF_ACTS_MXFP8 : HF_ACTS_FP8;
}

/* What is usual for weights of this kind: then the model need not remember it. */
static bool is_usual(hf_acts acts, const json_t *weights, const char *format) {
  const char *type = json_string_value(json_object_get(weights, "type"));
  json_int_t bits = json_integer_value(json_object_get(weights, "num_bits"));
  json_int_t group = json_integer_value(json_object_get(weights, "group_size"));
  bool whole = type && strcmp(type, "int") == 0;
  bool packed = format && strcmp(format, "pack-quantized") == 0; /* q8_0 is int-quantized */
  if (whole && bits > 4) return acts == HF_ACTS_INT8 && !packed;
  if (bits == 8 && group != 32) return acts == HF_ACTS_FP8;
  bool nvfp4 = !whole && bits == 4 && group != 32;
  return acts == HF_ACTS_NONE || (nvfp4 && acts == HF_ACTS_NVFP4);
}

static hf_acts read_acts(const json_t *quantization) {
  const char *name, *algo = json_string_value(json_object_get(quantization, "quant_algo"));
  const char *format = json_string_value(json_object_get(quantization, "format"));
  json_t *group, *groups = json_object_get(quantization, "config_groups");
  if (algo && strstr(algo, "W4A8_")) return HF_ACTS_FP8;
  if (algo) return strcmp(algo, "MXFP8") == 0 ? HF_ACTS_MXFP8 : HF_ACTS_USUAL;
  json_object_foreach(groups, name, group) {
    const char *own = json_string_value(json_object_get(group, "format"));
    hf_acts acts = acts_in(json_object_get(group, "input_activations"));
    const json_t *weights = json_object_get(group, "weights");
    if (json_is_object(weights) && !is_usual(acts, weights, own ? own : format)) return acts;
  }
  return HF_ACTS_USUAL;
}

static json_t *block_structure(const json_t *quantization) {
  const char *name;
  json_t *group, *groups = json_object_get(quantization, "config_groups");
  json_object_foreach(groups, name, group) {
    json_t *weights = json_object_get(group, "weights");
    json_t *block = json_object_get(weights, "block_structure");
    if (json_is_array(block)) return block;
  }
  return NULL;
}

void hf_quant_config_read(hf_quant_config *out, const json_t *config) {
  const json_t *quantization = json_object_get(config, "quantization_config");
  if (!quantization) quantization = json_object_get(config, "quantization"); /* ModelOpt's file */
  const json_t *block = json_object_get(quantization, "weight_block_size");
  if (!block) block = block_structure(quantization);
  out->block_n = json_integer_value(json_array_get(block, 0));
  out->block_k = json_integer_value(json_array_get(block, 1));
  out->acts = read_acts(quantization);
}

/* ---- schemes ------------------------------------------------------------------------------- */

/* What decides the text of a config group. */
typedef struct scheme {
  hf_layout layout;
  mtk_dtype dtype;
  int64_t block_n, block_k; /* steps of the grid; -1 = the whole dimension */
  bool static_input;
  hf_acts acts;
  json_t *targets; /* names of modules */
} scheme;
enum { MAX_SCHEMES = 16 };

static const char *const format_names[] = {
    [HF_NVFP4] = "nvfp4-pack-quantized",   [HF_MXFP4] = "mxfp4-pack-quantized",
    [HF_FP8] = "float-quantized",          [HF_MXFP8] = "mxfp8-quantized",
    [HF_PACKED_INT] = "pack-quantized",    [HF_INT8] = "int-quantized",
};

static scheme scheme_of(const mtk_tensor *t, hf_layout layout, const hf_store *st) {
  scheme s = {layout, t->dtype, 0, 0, t->input_scale != 0, st->acts, NULL};
  if (layout == HF_NVFP4 || layout == HF_MXFP4) return s;
  if (hf_is_blocks(st, t) || (t->dtype != MTK_Q8_0 && t->scale_k == st->int_group)) {
    s.block_n = t->scale_n;
    s.block_k = t->scale_k;
    return s;
  }
  s.block_n = t->scale_n >= t->shape[0] && layout == HF_FP8 ? -1 : t->scale_n;
  s.block_k = t->scale_k >= t->shape[1] ? -1 : t->scale_k;
  return s;
}

static bool same_scheme(const scheme *a, const scheme *b) {
  return a->layout == b->layout && a->dtype == b->dtype && a->block_n == b->block_n &&
         a->block_k == b->block_k && a->static_input == b->static_input;
}

static json_t *args(int num_bits, const char *type, const char *strategy, json_t *dynamic) {
  return json_pack("{s:i, s:s, s:s, s:b, s:o}", "num_bits", num_bits, "type", type, "strategy",
                   strategy, "symmetric", 1, "dynamic", dynamic);
}

static void with_group(json_t *o, int64_t size, const char *scale_dtype) {
  (void)json_object_set_new(o, "group_size", json_integer(size));
  if (!scale_dtype) return;
  (void)json_object_set_new(o, "scale_dtype", json_string(scale_dtype));
  (void)json_object_set_new(o, "zp_dtype", json_string(scale_dtype));
}

static json_t *weight_args(const scheme *s) {
  bool ints = s->layout == HF_PACKED_INT || s->layout == HF_INT8;
  bool four = s->layout == HF_NVFP4 || s->layout == HF_MXFP4 || (ints && s->dtype != MTK_Q8_0);
  bool mx = s->layout == HF_MXFP4 || s->layout == HF_MXFP8;
  bool blocks = s->layout == HF_FP8 && s->block_k > 0;
  bool groups = mx || (ints && s->block_k > 0);
  const char *strategy = s->layout == HF_NVFP4 ? "tensor_group"
                         : groups              ? "group"
                         : blocks              ? "block"
                         : s->block_n == 1     ? "channel"
                                               : "tensor";
  json_t *o = args(four ? 4 : 8, ints ? "int" : "float", strategy, json_false());
  if (s->layout == HF_NVFP4) with_group(o, 16, "torch.float8_e4m3fn");
  if (mx) with_group(o, 32, "torch.uint8");
  if (ints && s->block_k > 0) with_group(o, s->block_k, NULL);
  if (s->dtype == MTK_Q4_1) (void)json_object_set_new(o, "symmetric", json_false());
  if (blocks) {
    (void)json_object_set_new(o, "block_structure",
                              json_pack("[I, I]", (json_int_t)s->block_n, (json_int_t)s->block_k));
  }
  return o;
}

/* Activations that are scaled by what the file says. */
static json_t *static_args(const scheme *s) {
  bool nvfp4 = s->layout == HF_NVFP4;
  json_t *o = nvfp4 ? args(4, "float", "tensor_group", json_string("local"))
                    : args(8, s->layout == HF_INT8 ? "int" : "float", "tensor", json_false());
  if (nvfp4) with_group(o, 16, "torch.float8_e4m3fn");
  (void)json_object_set_new(o, "observer", json_string("static_minmax"));
  return o;
}

/* Activations are scaled as they come, if at all: fp8 and int8 unless the model says otherwise,
 * weights of fewer bits only if it says so. */
static json_t *dynamic_args(const scheme *s) {
  bool eight = s->layout == HF_FP8 || s->layout == HF_INT8;
  hf_acts acts = s->acts;
  if (eight && acts != HF_ACTS_NONE) acts = s->layout == HF_INT8 ? HF_ACTS_INT8 : HF_ACTS_FP8;
  if (s->layout == HF_NVFP4) acts = HF_ACTS_NONE;
  bool mx = acts == HF_ACTS_MXFP4 || acts == HF_ACTS_MXFP8;
  bool grouped = acts == HF_ACTS_FP8 && (s->layout == HF_MXFP4 ||
                                         (s->layout == HF_FP8 && s->block_k > 0));
  if (acts == HF_ACTS_NONE || acts == HF_ACTS_USUAL || acts == HF_ACTS_NVFP4) return json_null();
  json_t *o = args(acts == HF_ACTS_MXFP4 ? 4 : 8, acts == HF_ACTS_INT8 ? "int" : "float",
                   mx || grouped ? "group" : "token", json_true());
  if (mx) with_group(o, 32, "torch.uint8");
  else if (grouped) with_group(o, s->block_k > 0 ? s->block_k : 128, NULL);
  return o;
}

/* ---- the config ---------------------------------------------------------------------------- */

json_t *hf_module_of(const char *hf_name) {
  return json_stringn(hf_name, strlen(hf_name) - strlen(".weight"));
}

bool hf_has_cache_scales(const hf_store *s) {
  for (size_t i = 0; i < mtk_model_tensor_count(s->model); i++)
    if (hf_is_cache_scale(mtk_model_tensor_at(s->model, i))) return true;
  return false;
}

/* Sort all linear weights into schemes and the list of those that are not quantized. */
static mtk_status collect(scheme *schemes, size_t *n_schemes, json_t *ignore, const hf_store *st,
                          mtk_error *err) {
  for (size_t i = 0; i < mtk_model_tensor_count(st->model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(st->model, i);
    hf_layout layout = hf_layout_of(t, st->acts);
    if (layout <= HF_DEQUANT) {
      if (hf_is_linear(t, st->names[i]))
        (void)json_array_append_new(ignore, hf_module_of(st->names[i]));
      continue;
    }
    if (layout == HF_NVFP4 && t->input_scale != 0 && st->acts == HF_ACTS_FP8)
      return mtk_fail(err, MTK_E_UNSUPPORTED, t->name,
                      "compressed-tensors has no nvfp4 weights with fp8 activations: --layout "
                      "modelopt");
    scheme s = scheme_of(t, layout, st);
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
    (void)json_array_append_new(schemes[at].targets, hf_module_of(st->names[i]));
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
                              weight_args(s), "input_activations",
                              s->static_input ? static_args(s) : dynamic_args(s),
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
    hf_layout layout = hf_layout_of(t, HF_ACTS_USUAL);
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

static mtk_status compressed_config(json_t **out, const hf_store *st, mtk_error *err) {
  bool done = false;
  MTK_TRY(experts_config(out, st->model, &done, err));
  if (done) return MTK_OK;
  scheme schemes[MAX_SCHEMES];
  size_t n = 0;
  json_t *ignore = json_array();
  mtk_status status = collect(schemes, &n, ignore, st, err);
  /* A tied output layer has no tensor of its own and is never quantized. */
  if (!mtk_model_tensor(st->model, "output.weight")) {
    (void)json_array_append_new(ignore, json_string("lm_head"));
  }
  bool cache = hf_has_cache_scales(st);
  if (status == MTK_OK && (n || cache)) {
    const char *format = n == 1 ? format_names[schemes[0].layout] : n ? "mixed-precision" : "dense";
    *out = json_pack("{s:s, s:s, s:s, s:o, s:O, s:o}", "quant_method", "compressed-tensors",
                     "format", format, "quantization_status", "compressed", "config_groups",
                     groups_of(schemes, n), "ignore", ignore, "kv_cache_scheme",
                     cache ? args(8, "float", "tensor", json_false()) : json_null());
    if (!*out) status = mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
  }
  for (size_t i = 0; i < n; i++) json_decref(schemes[i].targets);
  json_decref(ignore);
  return status;
}

static mtk_status deepseek_config(json_t **out, const hf_store *st, mtk_error *err) {
  json_t *left = json_array();
  for (size_t i = 0; i < mtk_model_tensor_count(st->model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(st->model, i);
    if (hf_layout_of(t, st->acts) <= HF_DEQUANT && hf_is_linear(t, st->names[i]))
      (void)json_array_append_new(left, hf_module_of(st->names[i]));
  }
  *out = json_pack("{s:s, s:s, s:s, s:[i,i], s:o}", "quant_method", "fp8", "fmt", "e4m3",
                   "activation_scheme", "dynamic", "weight_block_size", 128, 128,
                   "modules_to_not_convert", left);
  return *out ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
}

mtk_status hf_quant_config_write(json_t **out, json_t **file, const hf_store *s, mtk_error *err) {
  *out = *file = NULL;
  if (s->style == HF_MODELOPT) return hf_modelopt_write(out, file, s, err);
  if (s->style == HF_DEEPSEEK) return deepseek_config(out, s, err);
  return compressed_config(out, s, err);
}

/* ---- the style ----------------------------------------------------------------------------- */

static const char *const style_names[HF_STYLE_COUNT] = {"compressed-tensors", "modelopt",
                                                        "deepseek"};

static const char *deepseek_misfit(const mtk_tensor *t) {
  bool fits = t->dtype == MTK_F8_E4M3 && t->scale_n == 128 && t->scale_k == 128;
  return fits ? NULL : "DeepSeek's layout holds fp8 in blocks of 128 x 128 alone (fp8-block)";
}

/* The first quantized tensor that does not fit into a style; *any: there are quantized ones. */
static const mtk_tensor *find_misfit(const char **why, bool *any, const hf_store *s,
                                     hf_style style) {
  *any = false;
  for (size_t i = 0; i < mtk_model_tensor_count(s->model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(s->model, i);
    if (hf_layout_of(t, s->acts) <= HF_DEQUANT) continue;
    *any = true;
    *why = style == HF_MODELOPT   ? hf_modelopt_misfit(t, s)
           : style == HF_DEEPSEEK ? deepseek_misfit(t)
                                  : NULL;
    if (*why) return t;
  }
  return NULL;
}

/* A matrix of one block or group does not say which grid it has: the others do. */
static void find_grids(hf_store *s) {
  for (size_t i = 0; i < mtk_model_tensor_count(s->model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(s->model, i);
    hf_layout layout = hf_layout_of(t, s->acts);
    bool part = layout > HF_DEQUANT && t->scales && t->scale_k < t->shape[1];
    bool whole = t->scale_n == t->shape[0] && t->scale_k == t->shape[1];
    if (layout == HF_FP8 && !whole) s->blocks |= t->scale_n == 128 && t->scale_k == 128;
    if (layout == HF_PACKED_INT && part && !s->int_group) s->int_group = t->scale_k;
  }
}

bool hf_is_blocks(const hf_store *s, const mtk_tensor *t) {
  bool fp8 = t->dtype == MTK_F8_E4M3 || t->dtype == MTK_F8_E5M2;
  return fp8 && s->blocks && t->scale_n == 128 && t->scale_k == 128;
}

bool hf_has_pairs(const hf_store *s, const mtk_tensor *t) {
  return t->dtype == MTK_NVFP4 && t->input_scale != 0 && s->acts == HF_ACTS_FP8;
}

hf_style hf_style_of(const json_t *config) {
  const json_t *quantization = json_object_get(config, "quantization_config");
  const char *method = json_string_value(json_object_get(quantization, "quant_method"));
  if (!method) return HF_COMPRESSED_TENSORS;
  if (strcmp(method, "fp8") == 0) return HF_DEEPSEEK;
  return strncmp(method, "modelopt", 8) == 0 ? HF_MODELOPT : HF_COMPRESSED_TENSORS;
}

mtk_status hf_style_choose(hf_store *s, const char *asked, const json_t *original,
                           mtk_error *err) {
  const char *why = NULL;
  bool any = false;
  int style = (int)hf_style_of(original);
  if (asked) {
    for (style = 0; style < HF_STYLE_COUNT && strcmp(asked, style_names[style]) != 0;) style++;
    if (style == HF_STYLE_COUNT)
      return mtk_fail(err, MTK_E_INVALID, "--layout",
                      "'%.40s' is none of compressed-tensors, modelopt, deepseek", asked);
  }
  s->style = (hf_style)style;
  find_grids(s);
  const mtk_tensor *misfit = find_misfit(&why, &any, s, s->style);
  if (!misfit && any) return MTK_OK;
  if (asked && misfit) return mtk_fail(err, MTK_E_UNSUPPORTED, misfit->name, "%s", why);
  s->style = HF_COMPRESSED_TENSORS;
  return MTK_OK;
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
