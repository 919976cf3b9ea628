/* write.c: the canonical model as a model folder (or, for a path ending in .safetensors, as one
 * bare file). How the tensors lie in files: store.c. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct writer {
  mtk_model *model;
  const mtk_arch_v1 *arch; /* NULL for bare tensors */
  const mtk_write_options *options;
  hf_store store; /* the tensors of the files */
  json_t *metadata; /* strings of the first file */
  mtk_error *err;
} writer;

static mtk_status no_memory(writer *w) {
  return mtk_fail(w->err, MTK_E_NOMEM, NULL, "out of memory");
}

static mtk_outputs *outputs_of(const writer *w) { return w->options ? w->options->outputs : NULL; }

/* A tensor's name in the folder, maybe in buf. */
static const char *folder_name(char *buf, size_t size, const writer *w, const mtk_tensor *t) {
  const char *name = NULL;
  if (w->arch && hf_is_cache_scale(t))
    name = hf_cache_name_to(buf, size, w->arch, t->name, w->store.style == HF_MODELOPT);
  if (w->arch && !name) name = mtk_arch_name_to_hf(buf, size, w->arch, t->name);
  return name ? name : t->name;
}

static mtk_status name_tensors(writer *w) {
  size_t n = mtk_model_tensor_count(w->model);
  const char **names = mtk_arena_alloc(w->store.arena, n, sizeof *names);
  if (!names) return no_memory(w);
  for (size_t i = 0; i < n; i++) {
    char buf[512];
    const char *name = folder_name(buf, sizeof buf, w, mtk_model_tensor_at(w->model, i));
    names[i] = mtk_arena_strndup(w->store.arena, name, strlen(name));
    if (!names[i]) return no_memory(w);
  }
  w->store.names = names;
  return MTK_OK;
}

/* ---- texts --------------------------------------------------------------------------------- */

static mtk_status write_text(writer *w, const char *folder, const char *name, const char *data,
                             size_t n) {
  char *path = mtk_path_join(folder, name);
  if (!path) return no_memory(w);
  char *slash = path + strlen(path) - strlen(name) + strcspn(name, "/");
  if (*slash) { /* a folder in the folder */
    *slash = 0;
    (void)mkdir(path, 0777); /* if it fails, writing the file says why */
    *slash = '/';
  }
  mtk_output *out = NULL;
  mtk_status status = mtk_output_create_in(&out, outputs_of(w), path, true, w->err);
  mtk_free(path);
  MTK_TRY(status);
  if (!mtk_output_has(out, name, n)) status = mtk_output_write(out, data, n, w->err);
  if (status == MTK_OK) status = mtk_output_mark(out, w->err);
  if (status == MTK_OK) return mtk_output_commit(out, w->err);
  mtk_output_abort(out);
  return status;
}

static json_t *load_attached(const writer *w, const char *name) {
  size_t n = 0;
  const char *text = mtk_model_attachment(w->model, name, &n);
  return text ? json_loadb(text, n, 0, NULL) : NULL;
}

/* DeepSeek's layout as the source described it. */
static bool keeps_config(const writer *w, const json_t *original) {
  return w->store.style == HF_DEEPSEEK && hf_style_of(original) == HF_DEEPSEEK;
}

/* config.json: the table's hyperparameters over the original, and how the weights are stored. The
 * original's bytes if nothing changed. *file: the object of hf_quant_config.json, or NULL. */
static mtk_status make_config(writer *w, mtk_bytes *out, json_t **file) {
  json_t *config = NULL, *quantization = NULL;
  mtk_bytes text = {0};
  mtk_status status = mtk_arch_config_to_hf(&text, w->arch, w->model, w->err);
  if (status == MTK_OK) {
    status = hf_load_json(&config, text.data, text.len, "config.json", w->err);
  }
  mtk_bytes_finish(&text);
  json_t *original = load_attached(w, "config.json");
  if (status == MTK_OK && !keeps_config(w, original)) {
    status = hf_quant_config_write(&quantization, file, &w->store, w->err);
    if (quantization) {
      (void)json_object_set_new(config, "quantization_config", quantization);
    } else {
      (void)json_object_del(config, "quantization_config");
    }
  }
  if (status == MTK_OK && json_equal(config, original)) {
    size_t n = 0;
    const char *bytes = mtk_model_attachment(w->model, "config.json", &n);
    mtk_bytes_append(out, bytes, n);
    status = mtk_bytes_status(out, w->err);
  } else if (status == MTK_OK) {
    status = hf_dump_json(out, config, w->err);
  }
  json_decref(original);
  json_decref(config);
  return status;
}

static mtk_status write_config(writer *w, const char *folder) {
  size_t n = 0;
  const char *original = mtk_model_attachment(w->model, "config.json", &n);
  if (!w->arch) {
    if (original) return write_text(w, folder, "config.json", original, n);
    return mtk_model_warn(w->model, "the architecture is unknown: no config.json was written");
  }
  mtk_bytes text = {0}, more = {0};
  json_t *file = NULL;
  mtk_status status = make_config(w, &text, &file);
  if (status == MTK_OK) status = write_text(w, folder, "config.json", text.data, text.len);
  if (status == MTK_OK && file) {
    status = hf_dump_json(&more, file, w->err);
    if (status == MTK_OK)
      status = write_text(w, folder, "hf_quant_config.json", more.data, more.len);
  }
  json_decref(file);
  mtk_bytes_finish(&more);
  mtk_bytes_finish(&text);
  return status;
}

/* tokenizer.json and tokenizer_config.json; *config gets the parsed latter (may stay NULL). */
static mtk_status write_vocab(writer *w, const char *folder, json_t **config) {
  const mtk_vocab *vocab = mtk_model_vocab(w->model);
  mtk_bytes json = {0}, config_json = {0};
  if (!vocab) {
    *config = load_attached(w, "tokenizer_config.json");
    return MTK_OK; /* written with the other attachments */
  }
  mtk_status status = mtk_vocab_to_hf(&json, &config_json, vocab, w->err);
  if (status == MTK_OK) status = write_text(w, folder, "tokenizer.json", json.data, json.len);
  if (status == MTK_OK && config_json.len) {
    status = write_text(w, folder, "tokenizer_config.json", config_json.data, config_json.len);
    *config = json_loadb(config_json.data, config_json.len, 0, NULL);
  }
  mtk_bytes_finish(&json);
  mtk_bytes_finish(&config_json);
  return status;
}

/* The text of one template inside tokenizer_config.json, or NULL. */
static const char *template_in(const json_t *config, const char *name) {
  const json_t *value = json_object_get(config, "chat_template");
  if (json_is_string(value)) return *name ? NULL : json_string_value(value);
  for (size_t i = 0; i < json_array_size(value); i++) {
    const json_t *item = json_array_get(value, i);
    const char *found = json_string_value(json_object_get(item, "name"));
    if (found && strcmp(found, *name ? name : "default") == 0) {
      return json_string_value(json_object_get(item, "template"));
    }
  }
  return NULL;
}

static bool same_text(const char *a, const char *b, size_t n) {
  return a && strlen(a) == n && memcmp(a, b, n) == 0;
}

/* A file of the folder itself, or of one folder in it. */
static bool is_safe_name(const char *name) {
  const char *slash = strchr(name, '/');
  return name[0] && name[0] != '.' && name[0] != '/' &&
         (!slash || (slash[1] && slash[1] != '.' && !strchr(slash + 1, '/')));
}

/* A template gets a file of its own unless tokenizer_config.json holds the same text. */
static mtk_status write_template(writer *w, const char *folder, const json_t *config,
                                 const char *attachment, const char *data, size_t n) {
  const char *name = attachment + strlen("chat_template");
  if (*name == '.') name++;
  if (same_text(template_in(config, name), data, n)) return MTK_OK;
  if (!*name) return write_text(w, folder, "chat_template.jinja", data, n);
  if (!is_safe_name(name)) {
    return mtk_model_warn(w->model, "chat template %.80s has no safe file name; left out", name);
  }
  char *file = mtk_asprintf("additional_chat_templates/%s.jinja", name);
  mtk_status status = file ? write_text(w, folder, file, data, n) : no_memory(w);
  mtk_free(file);
  return status;
}

static mtk_status write_attachments(writer *w, const char *folder, const json_t *config) {
  const char *provenance = w->options ? w->options->provenance : NULL;
  for (size_t i = 0; i < mtk_model_attachment_count(w->model); i++) {
    const char *name = mtk_model_attachment_name(w->model, i);
    size_t n = 0;
    const char *data = mtk_model_attachment(w->model, name, &n);
    bool template = strncmp(name, "chat_template", 13) == 0 && (!name[13] || name[13] == '.');
    if (strcmp(name, "config.json") == 0) continue;
    if (strcmp(name, "provenance.json") == 0 && provenance) continue;
    if (template) {
      MTK_TRY(write_template(w, folder, config, name, data, n));
    } else if (!is_safe_name(name)) {
      MTK_TRY(mtk_model_warn(w->model, "attachment %.80s has no safe file name; left out", name));
    } else {
      MTK_TRY(write_text(w, folder, name, data, n));
    }
  }
  if (!provenance) return MTK_OK;
  return write_text(w, folder, "provenance.json", provenance, strlen(provenance));
}

/* ---- shards -------------------------------------------------------------------------------- */

/* "5GB", "300MB", "1000000"; decimal units as in huggingface_hub. 0 = no limit. */
static mtk_status shard_limit(writer *w, uint64_t *out) {
  static const struct {
    const char *unit;
    uint64_t factor;
  } units[] = {{"", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}};
  const char *text = w->options && w->options->options
                         ? mtk_options_string(w->options->options, "max-shard-size")
                         : NULL;
  *out = 0;
  if (!text) return MTK_OK;
  char *end = NULL;
  unsigned long long n = strtoull(text, &end, 10);
  for (size_t i = 0; i < sizeof units / sizeof units[0] && end != text && *text != '-'; i++) {
    if (strcmp(end, units[i].unit) == 0 &&
        !__builtin_mul_overflow((uint64_t)n, units[i].factor, out)) {
      return MTK_OK;
    }
  }
  return mtk_fail(w->err, MTK_E_INVALID, "--max-shard-size",
                  "'%.40s' is not a size (a number with KB, MB, GB or TB)", text);
}

static size_t shard_end(const writer *w, size_t begin, uint64_t limit) {
  uint64_t bytes = 0;
  size_t i = begin;
  for (; i < w->store.n_outs; i++) {
    if (limit && i > begin && bytes + w->store.outs[i].size > limit) break;
    bytes += w->store.outs[i].size;
  }
  return i;
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A copy with the keys in the order of their bytes; NULL when memory is short. */
static json_t *sorted_by_key(json_t *map) {
  const char *key;
  json_t *value, *out = json_object();
  const char **keys = mtk_alloc(json_object_size(map), sizeof *keys);
  size_t n = 0;
  if (keys) {
    json_object_foreach(map, key, value) keys[n++] = key;
    qsort(keys, n, sizeof *keys, by_text);
  }
  for (size_t i = 0; i < n; i++)
    (void)json_object_set(out, keys[i], json_object_get(map, keys[i]));
  mtk_free(keys);
  if (n == json_object_size(out) && n == json_object_size(map)) return out;
  json_decref(out);
  return NULL;
}

static mtk_status write_index(writer *w, const char *folder, json_t *map) {
  json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->store.total,
                            "weight_map", sorted_by_key(map));
  mtk_bytes text = {0};
  mtk_status status = index ? hf_dump_json(&text, index, w->err) : no_memory(w);
  if (status == MTK_OK) {
    status = write_text(w, folder, "model.safetensors.index.json", text.data, text.len);
  }
  mtk_bytes_finish(&text);
  json_decref(index);
  return status;
}

static mtk_status write_shard(writer *w, const char *folder, const char *name, size_t begin,
                              size_t end) {
  char *path = mtk_path_join(folder, name);
  if (!path) return no_memory(w);
  st_sort_aligned(w->store.outs + begin, end - begin);
  json_t *metadata = begin ? NULL : w->metadata; /* in the first file */
  mtk_status status = st_write_file(path, w->store.outs + begin, end - begin, metadata,
                                    outputs_of(w), true, &w->store, w->err);
  mtk_free(path);
  return status;
}

static mtk_status write_shards(writer *w, const char *folder, uint64_t limit) {
  size_t n_shards = 0;
  for (size_t at = 0; at < w->store.n_outs; n_shards++) at = shard_end(w, at, limit);
  if (n_shards <= 1) return write_shard(w, folder, "model.safetensors", 0, w->store.n_outs);
  json_t *map = json_object();
  mtk_status status = map ? MTK_OK : no_memory(w);
  for (size_t at = 0, i = 1; at < w->store.n_outs && status == MTK_OK; i++) {
    size_t end = shard_end(w, at, limit);
    char *name = mtk_asprintf("model-%05zu-of-%05zu.safetensors", i, n_shards);
    for (size_t t = at; name && t < end; t++) {
      (void)json_object_set_new(map, w->store.outs[t].name, json_string(name));
    }
    status = name ? write_shard(w, folder, name, at, end) : no_memory(w);
    mtk_free(name);
    at = end;
  }
  if (status == MTK_OK) status = write_index(w, folder, map);
  json_decref(map);
  return status;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static mtk_status fill_folder(writer *w, const char *folder) {
  json_t *config = NULL;
  uint64_t limit = 0;
  MTK_TRY(shard_limit(w, &limit));
  MTK_TRY(write_config(w, folder));
  mtk_status status = write_vocab(w, folder, &config);
  if (status == MTK_OK) status = write_attachments(w, folder, config);
  json_decref(config);
  MTK_TRY(status);
  return write_shards(w, folder, limit);
}

static mtk_status write_folder(writer *w, const char *path) {
  mtk_outdir *dir = NULL;
  bool force = w->options && w->options->force;
  MTK_TRY(mtk_outdir_create_in(&dir, outputs_of(w), path, force, w->err));
  mtk_status status = fill_folder(w, mtk_outdir_path(dir));
  if (status == MTK_OK) return mtk_outdir_commit(dir, w->err);
  mtk_outdir_abort(dir);
  return status;
}

static mtk_status write_bare(writer *w, const char *path) {
  const char *provenance = w->options ? w->options->provenance : NULL;
  if (w->arch || mtk_model_vocab(w->model)) {
    MTK_TRY(mtk_model_warn(w->model, "a .safetensors file holds the tensors only: hyperparameters "
                                     "and tokenizer were left out (name a folder to keep them)"));
  }
  if (provenance) {
    (void)json_object_set_new(w->metadata, "mtk.provenance", json_string(provenance));
  }
  st_sort_aligned(w->store.outs, w->store.n_outs);
  return st_write_file(path, w->store.outs, w->store.n_outs, w->metadata, outputs_of(w),
                       w->options && w->options->force, &w->store, w->err);
}

static mtk_status choose_style(writer *w) {
  const mtk_option_values *options = w->options ? w->options->options : NULL;
  const char *asked = options ? mtk_options_string(options, "layout") : NULL;
  json_t *original = load_attached(w, "config.json");
  w->store.acts = hf_acts_of(w->model);
  mtk_status status = hf_style_choose(&w->store, asked, original, w->err);
  json_decref(original);
  return status;
}

static mtk_status plan_and_write(writer *w, const char *path) {
  size_t n = strlen(path), k = strlen(".safetensors");
  if (w->arch && mtk_meta_get(mtk_model_meta(w->model), "rope.pairing")) {
    MTK_TRY(mtk_model_set_pairing(w->model, "half", w->err));
  }
  if (w->arch) MTK_TRY(mtk_model_split_experts(w->model, w->arch, w->err));
  if (w->arch) MTK_TRY(mtk_model_shift_norms(w->model, w->arch, true, w->err));
  MTK_TRY(choose_style(w));
  MTK_TRY(name_tensors(w));
  MTK_TRY(hf_store_plan(&w->store));
  MTK_TRY(hf_put_metadata(w->metadata, w->model, w->err));
  return n > k && strcmp(path + n - k, ".safetensors") == 0 ? write_bare(w, path)
                                                            : write_folder(w, path);
}

mtk_status hf_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                          mtk_error *err) {
  writer w = {.model = model, .options = options, .err = err};
  w.arch = mtk_arch_find(mtk_model_arch(model));
  w.store = (hf_store){.model = model, .arena = mtk_arena_create(), .err = err};
  w.metadata = json_object();
  mtk_status status = w.store.arena && w.metadata ? plan_and_write(&w, path) : no_memory(&w);
  json_decref(w.metadata);
  hf_store_finish(&w.store);
  mtk_arena_destroy(w.store.arena);
  return status;
}
