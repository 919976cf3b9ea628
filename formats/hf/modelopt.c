/* modelopt.c: NVIDIA ModelOpt's description of quantized weights: hf_quant_config.json, and the
 * same in the words of config.json's quantization_config (modelopt/torch/export: quant_utils.py,
 * convert_hf_config.py). Loaders (TensorRT-LLM, vLLM, SGLang) take them only from the producer
 * "modelopt"; the version is that of the layout. Any thread. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>

static const char layout_version[] = "0.47.0";

/* What a tensor's storage is called; group 0: none is stated. NULL: it has no name there. */
static const char *algo_of(int *group, const mtk_tensor *t, const hf_store *s) {
  hf_acts acts = s->acts;
  *group = 0;
  switch (hf_layout_of(t, acts)) {
  case HF_NVFP4:
    *group = hf_has_pairs(s, t) ? 32 : 16;
    if (t->input_scale == 0) return "W4A16_NVFP4";
    return acts == HF_ACTS_FP8 ? "W4A8_NVFP4_FP8" : "NVFP4";
  case HF_MXFP4: *group = 32; return acts == HF_ACTS_FP8 ? "W4A8_MXFP4_FP8" : "mxfp4";
  case HF_MXFP8: *group = 32; return "MXFP8";
  case HF_FP8:
    if (t->dtype != MTK_F8_E4M3) return NULL;
    if (hf_is_blocks(s, t)) return "FP8_PB_WO";
    if (mtk_tensor_scale_count(t) == 1) return t->input_scale != 0 ? "FP8" : NULL;
    return t->scale_n == 1 ? "FP8_PER_CHANNEL_PER_TOKEN" : NULL;
  case HF_PACKED_INT:
  case HF_INT8:
  case HF_BLOCKS:
  case HF_PLAIN:
  case HF_DEQUANT: break;
  }
  return NULL;
}

const char *hf_modelopt_misfit(const mtk_tensor *t, const hf_store *s) {
  int group;
  if (algo_of(&group, t, s)) return NULL;
  if (hf_layout_of(t, s->acts) == HF_FP8 && mtk_tensor_scale_count(t) == 1)
    return "ModelOpt's fp8 with one scale needs the scale of its activations: --act fp8 "
           "--calibration FILE, or fp8-channel";
  return "ModelOpt's layout has no such weights: --layout compressed-tensors";
}

/* ---- the file ------------------------------------------------------------------------------ */

static json_t *layer_entry(const char *algo, int group) {
  json_t *o = json_pack("{s:s}", "quant_algo", algo);
  if (group) (void)json_object_set_new(o, "group_size", json_integer(group));
  return o;
}

static int by_text(const void *a, const void *b) {
  return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static void sort_names(json_t *names) {
  size_t n = json_array_size(names);
  json_t **items = mtk_alloc(n, sizeof *items);
  for (size_t i = 0; items && i < n; i++) items[i] = json_incref(json_array_get(names, i));
  if (items && n) qsort(items, n, sizeof *items, by_text);
  for (size_t i = 0; items && i < n; i++) (void)json_array_set_new(names, i, items[i]);
  mtk_free(items);
}

/* *layers: {module: entry}; *left: modules that are linear or embeddings and not quantized. */
static void collect(json_t *layers, json_t *left, const hf_store *s) {
  for (size_t i = 0; i < mtk_model_tensor_count(s->model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(s->model, i);
    int group;
    const char *algo = algo_of(&group, t, s);
    bool embedding = strcmp(t->name, "token_embd.weight") == 0;
    if (!algo && !embedding && !hf_is_linear(t, s->names[i])) continue;
    json_t *module = hf_module_of(s->names[i]);
    const char *name = json_string_value(module);
    if (algo) (void)json_object_set_new(layers, name, layer_entry(algo, group));
    else (void)json_array_append(left, module);
    json_decref(module);
  }
  if (!mtk_model_tensor(s->model, "output.weight"))
    (void)json_array_append_new(left, json_string("lm_head"));
  sort_names(left);
}

/* The entry that all layers have; NULL if they differ. */
static json_t *common_entry(const json_t *layers) {
  json_t *first = json_object_iter_value(json_object_iter((json_t *)(uintptr_t)layers)), *entry;
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)layers, name, entry)
    if (!json_equal(entry, first)) return NULL;
  return first;
}

static json_t *quantization_of(const hf_store *s, json_t *layers, json_t *left) {
  json_t *common = common_entry(layers), *o = json_object();
  json_t *cache = hf_has_cache_scales(s) ? json_string("FP8") : json_null();
  (void)json_object_set_new(o, "quant_algo", json_string("MIXED_PRECISION"));
  (void)json_object_set_new(o, "kv_cache_quant_algo", cache);
  if (common) (void)json_object_update(o, common);
  else (void)json_object_set(o, "quantized_layers", layers);
  (void)json_object_set(o, "exclude_modules", left);
  return o;
}

/* ---- config.json ---------------------------------------------------------------------------- */

/* Types of weights and activations of an algorithm. */
typedef struct algo_types {
  const char *algo;
  int weight_bits, input_bits; /* 0: none */
  bool weight_group, input_group;
  const char *strategy; /* of weights; may be NULL */
} algo_types;
static const algo_types types[] = {
    {"NVFP4", 4, 4, true, true, NULL},
    {"W4A16_NVFP4", 4, 0, true, false, NULL},
    {"W4A8_NVFP4_FP8", 4, 8, true, false, NULL},
    {"W4A8_MXFP4_FP8", 4, 8, true, false, NULL},
    {"MXFP8", 8, 8, true, true, NULL},
    {"FP8", 8, 8, false, false, NULL},
    {"FP8_PER_CHANNEL_PER_TOKEN", 8, 8, false, false, "channel"},
};

static json_t *values_of(int bits, int group, const char *strategy) {
  json_t *o = json_pack("{s:b, s:i, s:s}", "dynamic", 0, "num_bits", bits, "type", "float");
  if (group) (void)json_object_set_new(o, "group_size", json_integer(group));
  if (strategy) (void)json_object_set_new(o, "strategy", json_string(strategy));
  return o;
}

/* NULL: an algorithm that has no group there. */
static json_t *group_config(const json_t *entry) {
  const char *algo = json_string_value(json_object_get(entry, "quant_algo"));
  int group = (int)json_integer_value(json_object_get(entry, "group_size"));
  size_t i = 0, n = sizeof types / sizeof types[0];
  while (i < n && strcmp(types[i].algo, algo) != 0) i++;
  if (i == n) return NULL;
  json_t *o = json_object();
  const algo_types *a = &types[i];
  json_t *input = values_of(a->input_bits, a->input_group ? group : 0, NULL);
  json_t *weights = values_of(a->weight_bits, a->weight_group ? group : 0, a->strategy);
  if (a->input_bits) (void)json_object_set(o, "input_activations", input);
  (void)json_object_set_new(o, "weights", weights);
  json_decref(input);
  return o;
}

/* Layers of one entry make one group, in the order in which they appear. */
static json_t *groups_of(json_t *layers, const json_t *common) {
  json_t *groups = json_object(), *entry, *seen = json_array(), *other;
  const char *name;
  json_object_foreach(layers, name, entry) {
    size_t at = 0;
    while (at < json_array_size(seen) && !json_equal(json_array_get(seen, at), entry)) at++;
    char *key = mtk_asprintf("group_%zu", at);
    json_t *group = key ? json_object_get(groups, key) : NULL;
    if (key && at == json_array_size(seen)) {
      (void)json_array_append(seen, entry);
      group = group_config(entry);
      if (!group) group = json_pack("{s:O}", "quant_algo", json_object_get(entry, "quant_algo"));
      other = common ? json_pack("[s]", "Linear") : json_array();
      (void)json_object_set_new(group, "targets", other);
      (void)json_object_set_new(groups, key, group);
    }
    if (!common && group)
      (void)json_array_append_new(json_object_get(group, "targets"), json_string(name));
    mtk_free(key);
  }
  json_decref(seen);
  return groups;
}

/* For the others ModelOpt writes no groups. */
static bool has_groups(const char *algo) {
  static const char *const with[] = {"NVFP4", "W4A16_NVFP4", "FP8", "MIXED_PRECISION"};
  for (size_t i = 0; i < sizeof with / sizeof with[0]; i++)
    if (strcmp(with[i], algo) == 0) return true;
  return false;
}

static json_t *mirror_of(const hf_store *s, json_t *quantization, json_t *layers,
                         json_t *producer) {
  json_t *common = common_entry(layers), *algo = json_object_get(quantization, "quant_algo");
  json_t *o = json_object();
  if (has_groups(json_string_value(algo)))
    (void)json_object_set_new(o, "config_groups", groups_of(layers, common));
  (void)json_object_set(o, "ignore", json_object_get(quantization, "exclude_modules"));
  (void)json_object_set(o, "quant_algo", algo);
  if (!common) (void)json_object_set(o, "quantized_layers", layers);
  if (hf_has_cache_scales(s))
    (void)json_object_set_new(o, "kv_cache_scheme", values_of(8, 0, NULL));
  (void)json_object_set(o, "producer", producer);
  (void)json_object_set_new(o, "quant_method", json_string("modelopt"));
  return o;
}

mtk_status hf_modelopt_write(json_t **out, json_t **file, const hf_store *s, mtk_error *err) {
  json_t *layers = json_object(), *left = json_array();
  json_t *producer = json_pack("{s:s, s:s}", "name", "modelopt", "version", layout_version);
  collect(layers, left, s);
  json_t *quantization = quantization_of(s, layers, left);
  *out = mirror_of(s, quantization, layers, producer);
  *file = json_pack("{s:O, s:O}", "producer", producer, "quantization", quantization);
  json_decref(quantization);
  json_decref(producer);
  json_decref(left);
  json_decref(layers);
  return *out && *file ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
}
