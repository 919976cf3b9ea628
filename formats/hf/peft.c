/* peft.c: PEFT LoRA adapter folders (adapter_config.json + adapter_model.safetensors), in and out.
 * Field names: peft, src/peft/tuners/lora/config.py. What changes the meaning of the weights and is
 * not plain LoRA is refused by name. Each call has its own state: any thread. */
#include "hf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG  "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"

#define EMBEDDING "token_embd.weight"

/* Linear layers; and embeddings, which PEFT keeps transposed (A [rank, rows], B [cols, rank]). */
static const struct {
  const char *a, *b;
} suffixes[] = {{".lora_A.weight", ".lora_B.weight"}, {".lora_embedding_A", ".lora_embedding_B"}};
enum { LINEAR, EMBEDDED, N_SUFFIXES };

static const char prefix[] = "base_model.model.";

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
      "layer_replication", "alora_invocation_tokens", "eva_config",   "trainable_token_indices",
      "target_parameters", "arrow_config",            "corda_config",
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

/* [rows, cols] -> [cols, rows] */
static mtk_status transpose(const float **values, mtk_arena *arena, int64_t rows, int64_t cols,
                            mtk_error *err) {
  float *out = mtk_arena_alloc(arena, (size_t)rows, (size_t)cols * sizeof *out);
  if (!out) return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) out[c * rows + r] = (*values)[r * cols + c];
  *values = out;
  return MTK_OK;
}

/* The two matrices; of an embedding W^T = B A, so that the pair of W is A^T, B^T. */
static mtk_status load_pair(mtk_lora_pair *pair, mtk_arena *arena, const st_tensor *a,
                            const st_tensor *b, bool embedded, mtk_error *err) {
  pair->rank = a->shape[0];
  pair->n = embedded ? a->shape[1] : b->shape[0];
  pair->k = embedded ? b->shape[0] : a->shape[1];
  MTK_TRY(load_floats(embedded ? &pair->b : &pair->a, arena, a, err));
  MTK_TRY(load_floats(embedded ? &pair->a : &pair->b, arena, b, err));
  if (!embedded) return MTK_OK;
  MTK_TRY(transpose(&pair->b, arena, pair->rank, pair->n, err));
  return transpose(&pair->a, arena, pair->k, pair->rank, err);
}

/* Rank and scale by the configuration. */
static mtk_status set_scale(mtk_lora_pair *pair, const mtk_adapter *adapter, const char *module,
                            const char *name, const json_t *config, mtk_error *err) {
  double rank = (double)adapter->rank, alpha = (double)adapter->alpha;
  MTK_TRY(pattern_value(&rank, config, "rank_pattern", module, err));
  MTK_TRY(pattern_value(&alpha, config, "alpha_pattern", module, err));
  if ((int64_t)rank != pair->rank) {
    return mtk_fail(err, MTK_E_FORMAT, WEIGHTS, "tensor %s: has rank %lld, %s says %g", name,
                    (long long)pair->rank, CONFIG, rank);
  }
  bool rslora = json_is_true(json_object_get(config, "use_rslora"));
  pair->scale = (float)(alpha / (rslora ? sqrt(rank) : rank));
  return MTK_OK;
}

static mtk_status read_pair(mtk_lora_pair *pair, mtk_adapter *adapter, const hf_source *src,
                            st_tensor *a, int kind, const json_t *config, mtk_error *err) {
  size_t skip = sizeof prefix - 1, len = strlen(a->name) - strlen(suffixes[kind].a);
  st_tensor *b = hf_source_sibling(src, a->name, len, suffixes[kind].b);
  if (!b || a->n_dims != 2 || b->n_dims != 2 || a->shape[0] != b->shape[1] || !a->shape[0]) {
    return mtk_fail(err, MTK_E_FORMAT, WEIGHTS, "tensor %s: its lora_B is missing or does not fit",
                    a->name);
  }
  const char *module = mtk_arena_strndup(adapter->arena, a->name + skip, len - skip);
  pair->target = module ? target_name(adapter->arena, module) : NULL;
  if (!pair->target) return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  a->consumed = b->consumed = true;
  MTK_TRY(load_pair(pair, adapter->arena, a, b, kind == EMBEDDED, err));
  return set_scale(pair, adapter, module, a->name, config, err);
}

/* "<prefix><module>.weight" of a module that modules_to_save names: the module's name; else NULL.
 * Files of old versions say "<module>.modules_to_save.weight". */
static const char *saved_module(mtk_arena *arena, const char *name, const json_t *config) {
  static const char marker[] = ".modules_to_save";
  size_t n = strlen(name), skip = sizeof prefix - 1, tail = strlen(".weight");
  if (n <= skip + tail || strncmp(name, prefix, skip) != 0) return NULL;
  if (!ends_with(name, ".weight")) return NULL;
  char *module = mtk_arena_strndup(arena, name + skip, n - skip - tail);
  if (module && ends_with(module, marker)) module[strlen(module) - strlen(marker)] = 0;
  const json_t *list = json_object_get(config, "modules_to_save");
  for (size_t i = 0; module && i < json_array_size(list); i++) {
    const char *key = json_string_value(json_array_get(list, i));
    if (key && key_matches(key, module)) return module;
  }
  return NULL;
}

static mtk_status read_whole(mtk_adapter *adapter, st_tensor *t, const char *module,
                             mtk_error *err) {
  mtk_adapter_tensor *w = &adapter->whole[adapter->n_whole++];
  if (t->n_dims < 1 || t->n_dims > 2)
    return mtk_fail(err, MTK_E_UNSUPPORTED, WEIGHTS, "tensor %s: is no vector or matrix", t->name);
  st_tensor matrix = *t;
  if (t->n_dims == 1) matrix.shape[1] = 1;
  w->target = target_name(adapter->arena, module);
  w->n_dims = t->n_dims;
  memcpy(w->shape, t->shape, sizeof w->shape);
  t->consumed = true;
  if (!w->target) return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  return load_floats(&w->values, adapter->arena, &matrix, err);
}

static mtk_status read_tensor(mtk_adapter *adapter, hf_source *src, st_tensor *t,
                              const json_t *config, mtk_error *err) {
  if (t->consumed || strncmp(t->name, prefix, sizeof prefix - 1) != 0) return MTK_OK;
  for (int kind = 0; kind < N_SUFFIXES; kind++)
    if (ends_with(t->name, suffixes[kind].a))
      return read_pair(&adapter->pairs[adapter->n_pairs++], adapter, src, t, kind, config, err);
  const char *module = saved_module(adapter->arena, t->name, config);
  return module ? read_whole(adapter, t, module, err) : MTK_OK;
}

/* Each of modules_to_save must be there: a missing one would be the base's, unnoticed. */
static mtk_status check_saved(const hf_source *src, mtk_arena *arena, const json_t *config,
                              mtk_error *err) {
  const json_t *list = json_object_get(config, "modules_to_save");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *key = json_array_get(list, i);
    json_t *one = json_pack("{s:[O]}", "modules_to_save", key);
    bool found = false;
    for (size_t t = 0; t < src->list.n && !found; t++)
      found = saved_module(arena, src->list.items[t].name, one) != NULL;
    json_decref(one);
    if (!found)
      return mtk_fail(err, MTK_E_FORMAT, CONFIG, "modules_to_save: %.80s is not in " WEIGHTS,
                      json_is_string(key) ? json_string_value(key) : "(no text)");
  }
  return MTK_OK;
}

static mtk_status read_tensors(mtk_adapter *adapter, hf_source *src, const json_t *config,
                               mtk_error *err) {
  size_t n = src->list.n;
  adapter->pairs = mtk_arena_alloc(adapter->arena, n, sizeof *adapter->pairs);
  adapter->whole = mtk_arena_alloc(adapter->arena, n, sizeof *adapter->whole);
  if (!adapter->pairs || !adapter->whole)
    return mtk_fail(err, MTK_E_NOMEM, WEIGHTS, "out of memory");
  MTK_TRY(check_saved(src, adapter->arena, config, err));
  for (size_t i = 0; i < n; i++)
    MTK_TRY(read_tensor(adapter, src, &src->list.items[i], config, err));
  for (size_t i = 0; i < n; i++) {
    const st_tensor *t = &src->list.items[i];
    if (!t->consumed) {
      return mtk_fail(err, MTK_E_UNSUPPORTED, WEIGHTS,
                      "tensor %s is neither a pair of LoRA nor in modules_to_save", t->name);
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
  if (status == MTK_OK) status = read_tensors(adapter, &src, config, err);
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
  const char **modules; /* by pair, then by whole tensor */
  mtk_error *err;
} peft_writer;

static mtk_status no_memory(const peft_writer *w) {
  return mtk_fail(w->err, MTK_E_NOMEM, NULL, "out of memory");
}

static mtk_status name_module(peft_writer *w, size_t i, const char *target) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(w->base));
  char buf[512];
  const char *name = arch ? mtk_arch_name_to_hf(buf, sizeof buf, arch, target) : target;
  if (!name || !ends_with(name, ".weight")) {
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, target, "has no name in a Hugging Face model");
  }
  w->modules[i] = mtk_arena_strndup(w->arena, name, strlen(name) - strlen(".weight"));
  return w->modules[i] ? MTK_OK : no_memory(w);
}

static mtk_status name_modules(peft_writer *w) {
  const mtk_adapter *ad = w->adapter;
  w->modules = mtk_arena_alloc(w->arena, ad->n_pairs + ad->n_whole, sizeof *w->modules);
  if (!w->modules) return no_memory(w);
  for (size_t i = 0; i < ad->n_pairs; i++) MTK_TRY(name_module(w, i, ad->pairs[i].target));
  for (size_t i = 0; i < ad->n_whole; i++)
    MTK_TRY(name_module(w, ad->n_pairs + i, ad->whole[i].target));
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

/* Last parts of the names of n modules, each once, sorted. */
static json_t *last_names(const peft_writer *w, size_t first, size_t n) {
  const char **names = mtk_arena_alloc(w->arena, n, sizeof *names);
  json_t *list = json_array();
  for (size_t i = 0; names && i < n; i++) {
    const char *module = w->modules[first + i], *dot = strrchr(module, '.');
    names[i] = dot ? dot + 1 : module;
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
  json_t *saved = ad->n_whole ? last_names(w, ad->n_pairs, ad->n_whole) : json_null();
  return json_pack("{s:s, s:s*, s:s, s:b, s:b, s:b, s:b, s:I, s:o, s:f, s:o, s:o, s:o, s:b, s:o}",
                   "peft_type", "LORA", "base_model_name_or_path", ad->base, "bias", "none",
                   "fan_in_fan_out", 0, "inference_mode", 1, "use_dora", 0, "init_lora_weights", 1,
                   "r", (json_int_t)rank, "lora_alpha", number(alpha), "lora_dropout", 0.0,
                   "target_modules", last_names(w, 0, ad->n_pairs), "rank_pattern", ranks,
                   "alpha_pattern", alphas, "use_rslora", 0, "modules_to_save", saved);
}

static mtk_status write_floats(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  (void)s;
  return mtk_output_write(out, self->values, self->size, err);
}

static mtk_status set_out(peft_writer *w, st_out *out, size_t module, const char *suffix,
                          const float *values, int64_t rows, int64_t cols) {
  char *name = mtk_asprintf("%s%s%s", prefix, w->modules[module], suffix);
  *out = (st_out){.dtype = MTK_F32, .n_dims = 2, .shape = {rows, cols}, .values = values};
  out->name = name ? mtk_arena_strndup(w->arena, name, strlen(name)) : NULL;
  out->size = (uint64_t)rows * (uint64_t)cols * 4;
  out->write = write_floats;
  mtk_free(name);
  return out->name ? MTK_OK : no_memory(w);
}

static mtk_status set_pair(peft_writer *w, st_out out[2], size_t i) {
  const mtk_lora_pair *p = &w->adapter->pairs[i];
  if (strcmp(p->target, EMBEDDING) != 0) {
    MTK_TRY(set_out(w, &out[0], i, suffixes[LINEAR].a, p->a, p->rank, p->k));
    return set_out(w, &out[1], i, suffixes[LINEAR].b, p->b, p->n, p->rank);
  }
  const float *a = p->b, *b = p->a;
  MTK_TRY(transpose(&a, w->arena, p->n, p->rank, w->err));
  MTK_TRY(transpose(&b, w->arena, p->rank, p->k, w->err));
  MTK_TRY(set_out(w, &out[0], i, suffixes[EMBEDDED].a, a, p->rank, p->n));
  return set_out(w, &out[1], i, suffixes[EMBEDDED].b, b, p->k, p->rank);
}

static mtk_status set_whole(peft_writer *w, st_out *out, size_t i) {
  const mtk_adapter_tensor *t = &w->adapter->whole[i];
  int64_t cols = t->n_dims > 1 ? t->shape[1] : 1;
  MTK_TRY(set_out(w, out, w->adapter->n_pairs + i, ".weight", t->values, t->shape[0], cols));
  out->n_dims = t->n_dims;
  return MTK_OK;
}

static mtk_status write_weights(peft_writer *w, const char *folder) {
  size_t n = w->adapter->n_pairs, n_whole = w->adapter->n_whole;
  st_out *outs = mtk_arena_alloc(w->arena, 2 * n + n_whole, sizeof *outs);
  char *path = mtk_path_join(folder, WEIGHTS);
  mtk_status status = outs && path ? MTK_OK : no_memory(w);
  for (size_t i = 0; i < n && status == MTK_OK; i++) status = set_pair(w, &outs[2 * i], i);
  for (size_t i = 0; i < n_whole && status == MTK_OK; i++)
    status = set_whole(w, &outs[2 * n + i], i);
  if (status == MTK_OK)
    status = st_write_file(path, outs, 2 * n + n_whole, NULL, NULL, true, NULL, w->err);
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
