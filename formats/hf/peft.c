/* peft.c: PEFT LoRA adapter folders (adapter_config.json + adapter_model.safetensors), in and out.
 * Field names: peft, src/peft/tuners/lora/config.py. What changes the meaning of the weights and is
 * not plain LoRA is refused by name. Each call has its own state: any thread. */
#include "hf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG  "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"

static const char prefix[] = "base_model.model.", suffix_a[] = ".lora_A.weight",
                  suffix_b[] = ".lora_B.weight";

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* ---- reading the configuration ------------------------------------------------------------- */

static bool is_on(const json_t *v) {
  if (json_is_string(v)) return *json_string_value(v) != 0;
  if (json_is_array(v)) return json_array_size(v) > 0;
  if (json_is_object(v)) return json_object_size(v) > 0;
  return json_is_true(v);
}

static mtk_status refuse(mtk_error *err, const char *key) {
  return mtk_fail(err, MTK_E_UNSUPPORTED, CONFIG, "%s: only plain LoRA can be read", key);
}

static mtk_status check_config(const json_t *config, mtk_error *err) {
  static const char *const flags[] = {
      "use_dora",          "fan_in_fan_out",          "lora_bias",    "use_qalora",
      "layer_replication", "modules_to_save",         "eva_config",   "alora_invocation_tokens",
      "target_parameters", "trainable_token_indices", "corda_config", "arrow_config",
  };
  static const char *const inits[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
  const char *type = json_string_value(json_object_get(config, "peft_type"));
  const char *bias = json_string_value(json_object_get(config, "bias"));
  const char *init = json_string_value(json_object_get(config, "init_lora_weights"));
  if (!type || strcmp(type, "LORA") != 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, CONFIG, "peft_type %.40s is not LORA",
                    type ? type : "(missing)");
  }
  if (bias && strcmp(bias, "none") != 0) return refuse(err, "bias");
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    if (is_on(json_object_get(config, flags[i]))) return refuse(err, flags[i]);
  }
  for (size_t i = 0; init && i < sizeof inits / sizeof inits[0]; i++) {
    /* these subtract the start values from the base's weights */
    if (strncmp(init, inits[i], strlen(inits[i])) == 0) return refuse(err, "init_lora_weights");
  }
  return MTK_OK;
}

/* PEFT matches a pattern's key as the end of a module's name, at a dot; keys are regular
 * expressions, of which plain names are read. */
static bool key_matches(const char *key, const char *module) {
  size_t n = strlen(module), k = strlen(key);
  if (!ends_with(module, key)) return false;
  return n == k || module[n - k - 1] == '.';
}

static mtk_status pattern_value(double *value, const json_t *config, const char *name,
                                const char *module, mtk_error *err) {
  const char *key;
  json_t *item, *pattern = json_object_get(config, name);
  json_object_foreach(pattern, key, item) {
    if (strpbrk(key, "*+?[](){}|\\^$")) {
      return mtk_fail(err, MTK_E_UNSUPPORTED, CONFIG, "%s: '%.80s' is a regular expression", name,
                      key);
    }
    if (key_matches(key, module) && json_is_number(item)) {
      *value = json_number_value(item);
      return MTK_OK;
    }
  }
  return MTK_OK;
}

/* ---- reading the weights ------------------------------------------------------------------- */

/* The canonical name of a module's weight under any architecture that knows it, else as it is. */
static const char *target_name(mtk_arena *arena, const char *module) {
  char name[512], *hf_name = mtk_asprintf("%s.weight", module);
  const char *found = NULL;
  const mtk_arch_v1 *arch;
  if (!hf_name) return NULL;
  for (size_t i = 0; !found && (arch = mtk_feature_at(MTK_EXT_ARCH, i, NULL)) != NULL; i++) {
    found = mtk_arch_name_from_hf(name, sizeof name, arch, hf_name);
  }
  if (!found) found = hf_name;
  const char *kept = mtk_arena_strndup(arena, found, strlen(found));
  mtk_free(hf_name);
  return kept;
}

static mtk_status load_floats(const float **out, mtk_arena *arena, const st_tensor *t,
                              mtk_error *err) {
  size_t n = (size_t)(t->shape[0] * t->shape[1]);
  bool is_float = t->dtype == MTK_F32 || t->dtype == MTK_F16 || t->dtype == MTK_BF16;
  if (!is_float) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->file, "tensor %s: dtype is not f32, f16 or bf16",
                    t->name);
  }
  float *values = mtk_arena_alloc(arena, n, sizeof *values);
  void *aligned = mtk_alloc(t->size, 1);
  if (!values || !aligned) {
    mtk_free(aligned);
    return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  }
  if (t->size) memcpy(aligned, t->data, t->size);
  mtk_dtype_decode(t->dtype, values, aligned, n);
  mtk_free(aligned);
  *out = values;
  return MTK_OK;
}

static mtk_status read_pair(mtk_lora_pair *pair, mtk_adapter *adapter, const hf_source *src,
                            st_tensor *a, const json_t *config, mtk_error *err) {
  size_t skip = sizeof prefix - 1, len = strlen(a->name) - (sizeof suffix_a - 1);
  st_tensor *b = hf_source_sibling(src, a->name, len, suffix_b);
  if (!b || a->n_dims != 2 || b->n_dims != 2 || a->shape[0] != b->shape[1] || !a->shape[0]) {
    return mtk_fail(err, MTK_E_FORMAT, WEIGHTS, "tensor %s: its lora_B is missing or does not fit",
                    a->name);
  }
  const char *module = mtk_arena_strndup(adapter->arena, a->name + skip, len - skip);
  if (!module) return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  double rank = (double)adapter->rank, alpha = (double)adapter->alpha;
  MTK_TRY(pattern_value(&rank, config, "rank_pattern", module, err));
  MTK_TRY(pattern_value(&alpha, config, "alpha_pattern", module, err));
  if ((int64_t)rank != a->shape[0]) {
    return mtk_fail(err, MTK_E_FORMAT, WEIGHTS, "tensor %s: has rank %lld, %s says %g", a->name,
                    (long long)a->shape[0], CONFIG, rank);
  }
  bool rslora = json_is_true(json_object_get(config, "use_rslora"));
  pair->target = target_name(adapter->arena, module);
  pair->rank = a->shape[0];
  pair->scale = (float)(alpha / (rslora ? sqrt(rank) : rank));
  pair->n = b->shape[0];
  pair->k = a->shape[1];
  a->consumed = b->consumed = true;
  if (!pair->target) return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  MTK_TRY(load_floats(&pair->a, adapter->arena, a, err));
  return load_floats(&pair->b, adapter->arena, b, err);
}

static mtk_status read_pairs(mtk_adapter *adapter, hf_source *src, const json_t *config,
                             mtk_error *err) {
  adapter->pairs = mtk_arena_alloc(adapter->arena, src->list.n, sizeof *adapter->pairs);
  if (!adapter->pairs) return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  for (size_t i = 0; i < src->list.n; i++) {
    st_tensor *t = &src->list.items[i];
    if (strncmp(t->name, prefix, sizeof prefix - 1) != 0 || !ends_with(t->name, suffix_a)) continue;
    MTK_TRY(read_pair(&adapter->pairs[adapter->n_pairs], adapter, src, t, config, err));
    adapter->n_pairs++;
  }
  for (size_t i = 0; i < src->list.n; i++) {
    const st_tensor *t = &src->list.items[i];
    if (!t->consumed) {
      return mtk_fail(err, MTK_E_UNSUPPORTED, WEIGHTS,
                      "tensor %s is neither lora_A nor lora_B of a linear layer", t->name);
    }
  }
  return MTK_OK;
}

static mtk_status read_config(json_t **config, mtk_adapter *adapter, const char *path,
                              mtk_error *err) {
  char *text = NULL;
  size_t n = 0;
  MTK_TRY(hf_read_text(&text, &n, path, CONFIG, err));
  if (!text) return mtk_fail(err, MTK_E_NOT_FOUND, path, "has no " CONFIG);
  mtk_status status = hf_load_json(config, text, n, CONFIG, err);
  mtk_free(text);
  MTK_TRY(status);
  MTK_TRY(check_config(*config, err));
  const json_t *rank = json_object_get(*config, "r"),
               *alpha = json_object_get(*config, "lora_alpha");
  if (!json_is_integer(rank) || json_integer_value(rank) <= 0 || !json_is_number(alpha)) {
    return mtk_fail(err, MTK_E_FORMAT, CONFIG, "r or lora_alpha is missing or not a number");
  }
  adapter->rank = json_integer_value(rank);
  adapter->alpha = (float)json_number_value(alpha);
  adapter->pairing = "half";
  const char *base = json_string_value(json_object_get(*config, "base_model_name_or_path"));
  if (base) adapter->base = mtk_arena_strndup(adapter->arena, base, strlen(base));
  const char *name = mtk_path_base(path);
  adapter->name = mtk_arena_strndup(adapter->arena, name, strlen(name));
  return MTK_OK;
}

mtk_status hf_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err) {
  json_t *config = NULL;
  hf_source src = {0};
  if (!mtk_path_is_dir(path)) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "name the folder that holds " CONFIG);
  }
  char *weights = mtk_path_join(path, WEIGHTS);
  mtk_model *files = mtk_model_create(); /* keeps the file mapped while values are copied */
  mtk_arena *arena = mtk_arena_create();
  mtk_status status = weights && files && arena ? read_config(&config, adapter, path, err)
                                                : mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (status == MTK_OK) status = hf_source_open(&src, files, arena, weights, err);
  if (status == MTK_OK) status = read_pairs(adapter, &src, config, err);
  hf_source_finish(&src);
  json_decref(config);
  mtk_arena_destroy(arena);
  mtk_model_destroy(files);
  mtk_free(weights);
  return status;
}

/* ---- writing ------------------------------------------------------------------------------- */

typedef struct peft_writer {
  const mtk_adapter *adapter; /* pairing "half" */
  const mtk_model *base;
  mtk_arena *arena;
  const char **modules; /* by pair */
  mtk_error *err;
} peft_writer;

static mtk_status no_memory(const peft_writer *w) {
  return mtk_fail(w->err, MTK_E_NOMEM, NULL, "out of memory");
}

static mtk_status name_modules(peft_writer *w) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(w->base));
  w->modules = mtk_arena_alloc(w->arena, w->adapter->n_pairs, sizeof *w->modules);
  if (!w->modules) return no_memory(w);
  for (size_t i = 0; i < w->adapter->n_pairs; i++) {
    char buf[512];
    const char *target = w->adapter->pairs[i].target;
    const char *name = arch ? mtk_arch_name_to_hf(buf, sizeof buf, arch, target) : target;
    if (!name || !ends_with(name, ".weight")) {
      return mtk_fail(w->err, MTK_E_UNSUPPORTED, target, "has no name in a Hugging Face model");
    }
    w->modules[i] = mtk_arena_strndup(w->arena, name, strlen(name) - strlen(".weight"));
    if (!w->modules[i]) return no_memory(w);
  }
  return MTK_OK;
}

/* The alpha that gives a pair its scale: the adapter's own where that is exact. */
static double alpha_of(const mtk_adapter *adapter, const mtk_lora_pair *pair) {
  float exact = (float)((double)adapter->alpha / (double)pair->rank);
  return exact == pair->scale ? (double)adapter->alpha : (double)pair->scale * (double)pair->rank;
}

static json_t *number(double v) {
  return floor(v) == v && fabs(v) < 1e9 ? json_integer((json_int_t)v) : json_real(v);
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Last parts of the modules' names, each once, sorted. */
static json_t *target_modules(const peft_writer *w) {
  size_t n = w->adapter->n_pairs;
  const char **names = mtk_arena_alloc(w->arena, n, sizeof *names);
  json_t *list = json_array();
  for (size_t i = 0; names && i < n; i++) {
    const char *dot = strrchr(w->modules[i], '.');
    names[i] = dot ? dot + 1 : w->modules[i];
  }
  if (names && n) qsort(names, n, sizeof *names, by_text);
  for (size_t i = 0; names && i < n; i++) {
    if (i == 0 || strcmp(names[i], names[i - 1])) {
      (void)json_array_append_new(list, json_string(names[i]));
    }
  }
  return list;
}

static json_t *make_config(const peft_writer *w) {
  const mtk_adapter *ad = w->adapter;
  json_t *ranks = json_object(), *alphas = json_object();
  int64_t rank = ad->n_pairs ? ad->pairs[0].rank : ad->rank;
  double alpha = ad->n_pairs ? alpha_of(ad, &ad->pairs[0]) : (double)ad->alpha;
  for (size_t i = 1; i < ad->n_pairs; i++) {
    const mtk_lora_pair *p = &ad->pairs[i];
    double own = alpha_of(ad, p);
    if (p->rank != rank) (void)json_object_set_new(ranks, w->modules[i], json_integer(p->rank));
    if (own < alpha || own > alpha) (void)json_object_set_new(alphas, w->modules[i], number(own));
  }
  return json_pack("{s:s, s:s*, s:s, s:b, s:b, s:b, s:b, s:I, s:o, s:f, s:o, s:o, s:o, s:b, s:n}",
                   "peft_type", "LORA", "base_model_name_or_path", ad->base, "bias", "none",
                   "fan_in_fan_out", 0, "inference_mode", 1, "use_dora", 0, "init_lora_weights", 1,
                   "r", (json_int_t)rank, "lora_alpha", number(alpha), "lora_dropout", 0.0,
                   "target_modules", target_modules(w), "rank_pattern", ranks, "alpha_pattern",
                   alphas, "use_rslora", 0, "modules_to_save");
}

static mtk_status write_floats(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  (void)ctx;
  return mtk_output_write(out, self->values, self->size, err);
}

static mtk_status set_out(peft_writer *w, st_out *out, size_t pair, const char *suffix,
                          const float *values, int64_t rows, int64_t cols) {
  char *name = mtk_asprintf("%s%s%s", prefix, w->modules[pair], suffix);
  *out = (st_out){.dtype = MTK_F32, .n_dims = 2, .shape = {rows, cols}, .values = values};
  out->name = name ? mtk_arena_strndup(w->arena, name, strlen(name)) : NULL;
  out->size = (uint64_t)rows * (uint64_t)cols * 4;
  out->write = write_floats;
  mtk_free(name);
  return out->name ? MTK_OK : no_memory(w);
}

static mtk_status write_weights(peft_writer *w, const char *folder) {
  size_t n = w->adapter->n_pairs;
  st_out *outs = mtk_arena_alloc(w->arena, 2 * n, sizeof *outs);
  char *path = mtk_path_join(folder, WEIGHTS);
  mtk_status status = outs && path ? MTK_OK : no_memory(w);
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    const mtk_lora_pair *p = &w->adapter->pairs[i];
    status = set_out(w, &outs[2 * i], i, suffix_a, p->a, p->rank, p->k);
    if (status == MTK_OK) status = set_out(w, &outs[2 * i + 1], i, suffix_b, p->b, p->n, p->rank);
  }
  if (status == MTK_OK) status = st_write_file(path, outs, 2 * n, NULL, true, w, w->err);
  mtk_free(path);
  return status;
}

static mtk_status write_text(const char *folder, const char *name, const char *text, size_t n,
                             mtk_error *err) {
  char *path = mtk_path_join(folder, name);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  mtk_status status = mtk_write_file(path, text, n, true, err);
  mtk_free(path);
  return status;
}

static mtk_status fill_folder(peft_writer *w, const char *folder, const char *provenance) {
  mtk_bytes text = {0};
  MTK_TRY(name_modules(w));
  json_t *config = make_config(w);
  mtk_status status = config ? hf_dump_json(&text, config, w->err) : no_memory(w);
  json_decref(config);
  if (status == MTK_OK) status = write_text(folder, CONFIG, text.data, text.len, w->err);
  mtk_bytes_finish(&text);
  MTK_TRY(status);
  if (provenance) {
    MTK_TRY(write_text(folder, "provenance.json", provenance, strlen(provenance), w->err));
  }
  return write_weights(w, folder);
}

static mtk_status write_half(peft_writer *w, const char *path, const mtk_write_options *options) {
  mtk_outdir *dir = NULL;
  MTK_TRY(mtk_outdir_create(&dir, path, options && options->force, w->err));
  mtk_status status = fill_folder(w, mtk_outdir_path(dir), options ? options->provenance : NULL);
  if (status == MTK_OK) return mtk_outdir_commit(dir, w->err);
  mtk_outdir_abort(dir);
  return status;
}

mtk_status hf_write_adapter(const mtk_adapter *adapter, const mtk_model *base, const char *path,
                            const mtk_write_options *options, mtk_error *err) {
  mtk_adapter *half = NULL;
  MTK_TRY(mtk_adapter_view(&half, adapter, "half", base, err));
  peft_writer w = {.adapter = half, .base = base, .err = err, .arena = half->arena};
  mtk_status status = write_half(&w, path, options);
  mtk_adapter_destroy(half);
  return status;
}
