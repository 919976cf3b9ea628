/* folder.c: which files of weights a path means, their tensors in one list, and small text files
 * beside them. The model keeps the mapped files open; the list borrows their bytes. */
#include "hf.h"

#include <mtk/archive.h>
#include <stdlib.h>
#include <string.h>

/* Where the weights are, the first one that is there; then any only .safetensors file. */
static const struct {
  const char *file;
  bool is_index;
} weights_files[] = {
    {"model.safetensors", false},
    {"model.safetensors.index.json", true},
    {"pytorch_model.bin", false},
    {"pytorch_model.bin.index.json", true},
};
enum { N_WEIGHTS_FILES = sizeof weights_files / sizeof weights_files[0] };

/* ---- text files ---------------------------------------------------------------------------- */

mtk_status hf_read_text(char **text, size_t *n, const char *folder, const char *name,
                        mtk_error *err) {
  *text = NULL;
  *n = 0;
  char *path = mtk_path_join(folder, name);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  mtk_file *file = NULL;
  mtk_status status = MTK_OK;
  if (mtk_path_exists(path) && !mtk_path_is_dir(path)) status = mtk_file_open(&file, path, err);
  mtk_free(path);
  if (!file) return status;
  if (file->size > HF_MAX_TEXT) {
    status = mtk_fail(err, MTK_E_LIMIT, name, "larger than %d bytes", HF_MAX_TEXT);
  } else {
    *text = mtk_alloc(file->size + 1, 1);
    if (!*text) status = mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
    if (*text && file->size) memcpy(*text, file->data, file->size);
    if (*text) *n = file->size;
  }
  mtk_file_close(file);
  return status;
}

mtk_status hf_load_json(json_t **out, const char *text, size_t n, const char *name,
                        mtk_error *err) {
  json_error_t at;
  *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
  if (!*out && json_error_code(&at) == json_error_numeric_overflow) /* model_max_length: 10^30 */
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &at);
  if (!*out) return mtk_fail(err, MTK_E_FORMAT, name, "line %d: %s", at.line, at.text);
  if (json_is_object(*out)) return MTK_OK;
  json_decref(*out);
  *out = NULL;
  return mtk_fail(err, MTK_E_FORMAT, name, "not a JSON object");
}

/* ---- shards -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
  return strcmp((*(st_tensor *const *)a)->name, (*(st_tensor *const *)b)->name);
}

mtk_status hf_source_index(hf_source *src, mtk_error *err) {
  src->by_name = mtk_arena_alloc(src->arena, src->list.n, sizeof *src->by_name);
  if (!src->by_name) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < src->list.n; i++) src->by_name[i] = &src->list.items[i];
  if (src->list.n) qsort(src->by_name, src->list.n, sizeof *src->by_name, by_name);
  for (size_t i = 1; i < src->list.n; i++) {
    const st_tensor *a = src->by_name[i - 1], *b = src->by_name[i];
    if (strcmp(a->name, b->name) == 0) {
      return mtk_fail(err, MTK_E_FORMAT, b->file, "tensor %s is also in %s", b->name, a->file);
    }
  }
  return MTK_OK;
}

/* A name in two pieces. */
typedef struct split_name {
  const char *module, *suffix;
  size_t module_len;
} split_name;

static int by_pieces(const void *key, const void *item) {
  const split_name *k = key;
  const char *name = (*(st_tensor *const *)item)->name;
  int order = strncmp(k->module, name, k->module_len);
  return order ? order : strcmp(k->suffix, name + k->module_len);
}

st_tensor *hf_source_sibling(const hf_source *src, const char *module, size_t module_len,
                             const char *suffix) {
  const split_name key = {module, suffix, module_len};
  size_t n = src->list.n;
  st_tensor **hit = n ? bsearch(&key, src->by_name, n, sizeof *hit, by_pieces) : NULL;
  return hit ? *hit : NULL;
}

st_tensor *hf_source_find(const hf_source *src, const char *name) {
  return hf_source_sibling(src, name, 0, name);
}

/* Room for n more tensors. */
static mtk_status reserve(hf_source *src, size_t n, mtk_error *err) {
  if (n <= src->cap - src->list.n) return MTK_OK;
  size_t cap = 2 * src->cap > src->list.n + n ? 2 * src->cap : src->list.n + n;
  st_tensor *items = mtk_realloc(src->list.items, src->cap, cap, sizeof *items);
  if (!items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  src->list.items = items;
  src->cap = cap;
  return MTK_OK;
}

static bool is_safetensors(const char *path) {
  size_t n = strlen(path), k = strlen(".safetensors");
  return n > k && strcmp(path + n - k, ".safetensors") == 0;
}

/* Map a safetensors file and append its tensors. */
static mtk_status add_safetensors(hf_source *src, mtk_model *model, const char *path,
                                  const char *name, mtk_error *err) {
  const mtk_file *file;
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  st_list more = {0};
  MTK_TRY(st_parse(&more, src->metadata ? NULL : &src->metadata, src->arena, file->data, file->size,
                   name, err));
  MTK_TRY(reserve(src, more.n, err));
  if (more.n) memcpy(src->list.items + src->list.n, more.items, more.n * sizeof *more.items);
  src->list.n += more.n;
  return MTK_OK;
}

/* Values of a small tensor that do not lie in order: scales are needed as a whole. */
static mtk_status gather_small(st_tensor *out, mtk_arena *arena, mtk_error *err) {
  enum { MAX_BYTES = 1 << 20 };
  const void *rows = NULL;
  if (out->data || out->size == 0 || out->size > MAX_BYTES) return MTK_OK;
  void *copy = mtk_arena_alloc(arena, (size_t)out->size, 1);
  if (!copy) return mtk_fail(err, MTK_E_NOMEM, out->name, "out of memory");
  MTK_TRY(mtk_tensor_fetch(&rows, out->part, 0, mtk_tensor_rows(out->part), copy, err));
  out->data = copy;
  return MTK_OK;
}

static mtk_status add_part_tensors(hf_source *src, mtk_model *model, mtk_model *part,
                                   const char *name, mtk_error *err) {
  size_t n = mtk_model_tensor_count(part);
  MTK_TRY(reserve(src, n, err));
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(part, i);
    st_tensor *out = &src->list.items[src->list.n++];
    *out = (st_tensor){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims, .file = name};
    memcpy(out->shape, t->shape, sizeof out->shape);
    out->data = t->data;
    out->size = t->size_bytes;
    out->part = t;
    MTK_TRY(gather_small(out, mtk_model_arena(model), err));
  }
  for (size_t i = 0; i < mtk_model_warning_count(part); i++)
    MTK_TRY(mtk_model_warn(model, "%.60s: %.400s", name, mtk_model_warning(part, i)));
  return MTK_OK;
}

/* Any other file of weights through the plugin of its format. */
static mtk_status add_part(hf_source *src, mtk_model *model, const char *path, const char *name,
                           mtk_error *err) {
  const mtk_format_v1 *format = NULL;
  MTK_TRY(mtk_format_probe(&format, path, MTK_FORMAT_MODEL, err));
  mtk_model *part = mtk_model_create();
  if (!part) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_model_keep_model(model, part);
  MTK_TRY(format->read_model(part, path, err));
  return add_part_tensors(src, model, part, name, err);
}

static mtk_status add_file(hf_source *src, mtk_model *model, const char *path, bool bare,
                           mtk_error *err) {
  const char *base = mtk_path_base(path);
  const char *name = mtk_arena_strndup(src->arena, base, strlen(base));
  if (!name) return mtk_fail(err, MTK_E_NOMEM, base, "out of memory");
  return bare || is_safetensors(path) ? add_safetensors(src, model, path, name, err)
                                      : add_part(src, model, path, name, err);
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of weight_map, sorted. */
static mtk_status shard_names(const char ***out, size_t *n, const hf_source *src, json_t *map,
                              const char *index_name, mtk_error *err) {
  const char *tensor;
  json_t *value;
  const char **names = mtk_arena_alloc(src->arena, json_object_size(map), sizeof *names);
  size_t used = 0;
  if (!names) return mtk_fail(err, MTK_E_NOMEM, index_name, "out of memory");
  json_object_foreach(map, tensor, value) {
    const char *file = json_string_value(value);
    if (!file || !*file || strchr(file, '/') || file[0] == '.') {
      return mtk_fail(err, MTK_E_FORMAT, index_name, "weight_map: %.80s does not name a file",
                      tensor);
    }
    names[used++] = file;
  }
  if (used) qsort(names, used, sizeof *names, by_text);
  *n = 0;
  for (size_t i = 0; i < used; i++) {
    if (i == 0 || strcmp(names[i], names[i - 1]) != 0) names[(*n)++] = names[i];
  }
  *out = names;
  return MTK_OK;
}

/* The index and the files must agree on every tensor. */
static mtk_status check_map(const hf_source *src, json_t *map, const char *index_name,
                            mtk_error *err) {
  const char *name;
  json_t *value;
  json_object_foreach(map, name, value) {
    const st_tensor *t = hf_source_find(src, name);
    if (!t || strcmp(t->file, json_string_value(value)) != 0) {
      return mtk_fail(err, MTK_E_FORMAT, index_name, "%.80s is not in %.80s", name,
                      json_string_value(value));
    }
  }
  for (size_t i = 0; i < src->list.n; i++) {
    const st_tensor *t = &src->list.items[i];
    if (!json_object_get(map, t->name)) {
      return mtk_fail(err, MTK_E_FORMAT, index_name, "%.80s of %.80s is missing in weight_map",
                      t->name, t->file);
    }
  }
  return MTK_OK;
}

static mtk_status open_shards(hf_source *src, mtk_model *model, const char *folder, json_t *index,
                              const char *index_name, mtk_error *err) {
  json_t *map = json_object_get(index, "weight_map");
  const char **names = NULL;
  size_t n = 0;
  if (!json_is_object(map)) {
    return mtk_fail(err, MTK_E_FORMAT, index_name, "weight_map is missing or not an object");
  }
  MTK_TRY(shard_names(&names, &n, src, map, index_name, err));
  for (size_t i = 0; i < n; i++) {
    char *path = mtk_path_join(folder, names[i]);
    if (!path) return mtk_fail(err, MTK_E_NOMEM, index_name, "out of memory");
    mtk_status status = mtk_path_exists(path)
                            ? add_file(src, model, path, false, err)
                            : mtk_fail(err, MTK_E_NOT_FOUND, index_name,
                                       "shard %.80s is missing in the folder", names[i]);
    mtk_free(path);
    MTK_TRY(status);
  }
  MTK_TRY(hf_source_index(src, err));
  return check_map(src, map, index_name, err);
}

/* The only .safetensors file of a folder. */
static mtk_status find_only(hf_weights *out, mtk_arena *arena, const char *folder, mtk_error *err) {
  const char **names = NULL;
  size_t n = 0;
  MTK_TRY(mtk_folder_list(&names, &n, arena, folder, err));
  for (size_t i = 0; i < n; i++) {
    if (names[i][0] == '.' || !is_safetensors(names[i])) continue;
    if (out->file) {
      return mtk_fail(err, MTK_E_FORMAT, folder,
                      "several .safetensors files (%.60s, %.60s, ...) and no index: name one",
                      out->file, names[i]);
    }
    out->file = names[i];
  }
  return MTK_OK;
}

mtk_status hf_find_weights(hf_weights *out, mtk_arena *arena, const char *folder, mtk_error *err) {
  *out = (hf_weights){NULL, false};
  for (size_t i = 0; i < N_WEIGHTS_FILES && !out->file; i++) {
    char *path = mtk_path_join(folder, weights_files[i].file);
    if (!path) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
    if (mtk_path_exists(path)) {
      *out = (hf_weights){weights_files[i].file, weights_files[i].is_index};
    }
    mtk_free(path);
  }
  return out->file ? MTK_OK : find_only(out, arena, folder, err);
}

static mtk_status open_index(hf_source *src, mtk_model *model, const char *folder,
                             const char *index_name, mtk_error *err) {
  char *text = NULL;
  size_t n = 0;
  json_t *index = NULL;
  mtk_status status = hf_read_text(&text, &n, folder, index_name, err);
  if (status == MTK_OK && !text) {
    status = mtk_fail(err, MTK_E_FORMAT, index_name, "is not a file");
  }
  if (status == MTK_OK) status = hf_load_json(&index, text, n, index_name, err);
  if (status == MTK_OK) status = open_shards(src, model, folder, index, index_name, err);
  json_decref(index);
  mtk_free(text);
  return status;
}

static mtk_status open_folder(hf_source *src, mtk_model *model, const char *folder,
                              mtk_error *err) {
  hf_weights weights;
  MTK_TRY(hf_find_weights(&weights, src->arena, folder, err));
  if (!weights.file) {
    return mtk_fail(err, MTK_E_NOT_FOUND, folder,
                    "holds no weights (model.safetensors, pytorch_model.bin or an index of them)");
  }
  if (weights.is_index) return open_index(src, model, folder, weights.file, err);
  char *path = mtk_path_join(folder, weights.file);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  mtk_status status = add_file(src, model, path, false, err);
  mtk_free(path);
  MTK_TRY(status);
  return hf_source_index(src, err);
}

mtk_status hf_source_open(hf_source *out, mtk_model *model, mtk_arena *arena, const char *path,
                          mtk_error *err) {
  memset(out, 0, sizeof *out);
  out->arena = arena;
  if (mtk_path_is_dir(path)) return open_folder(out, model, path, err);
  MTK_TRY(add_file(out, model, path, true, err));
  return hf_source_index(out, err);
}

void hf_source_finish(hf_source *src) {
  mtk_free(src->list.items);
  json_decref(src->metadata);
}
