/* read.c: a model folder or a bare safetensors file as the canonical model. */
#include "hf.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* Files that travel with a model as they are. */
static const char *const carried[] = {
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "README.md",
    "USE_POLICY.md",
    "provenance.json",
};
enum { N_CARRIED = sizeof carried / sizeof carried[0] };

/* ---- texts --------------------------------------------------------------------------------- */

static mtk_status attach_file(mtk_model *model, const char *folder, const char *file,
                              const char *name, mtk_error *err) {
  char *text = NULL;
  size_t n = 0;
  MTK_TRY(hf_read_text(&text, &n, folder, file, err));
  mtk_status status = text ? mtk_model_attach(model, name, text, n, err) : MTK_OK;
  mtk_free(text);
  return status;
}

static mtk_status attach_json_string(mtk_model *model, const char *name, const json_t *value,
                                     mtk_error *err) {
  return mtk_model_attach(model, name, json_string_value(value), json_string_length(value), err);
}

/* chat_template of tokenizer_config.json: one text, or a list of named ones. */
static mtk_status attach_templates(mtk_model *model, const json_t *config, mtk_error *err) {
  const json_t *value = json_object_get(config, "chat_template");
  if (json_is_string(value)) return attach_json_string(model, "chat_template", value, err);
  for (size_t i = 0; i < json_array_size(value); i++) {
    const json_t *item = json_array_get(value, i), *text = json_object_get(item, "template");
    const char *name = json_string_value(json_object_get(item, "name"));
    if (!name || !json_is_string(text)) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer_config.json",
                      "chat_template: item %zu is not a name and a template", i);
    }
    bool is_default = strcmp(name, "default") == 0;
    char *key = mtk_asprintf("chat_template%s%s", is_default ? "" : ".", is_default ? "" : name);
    if (!key) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    mtk_status status = attach_json_string(model, key, text, err);
    mtk_free(key);
    MTK_TRY(status);
  }
  return MTK_OK;
}

/* The tokenizer, or its files as they are when mtk does not understand them. */
static mtk_status read_tokenizer(mtk_model *model, const char *folder, mtk_error *err) {
  char *json = NULL, *config = NULL;
  size_t json_n = 0, config_n = 0;
  json_t *tree = NULL;
  mtk_vocab *vocab = NULL;
  mtk_error why = {0};
  mtk_status status = hf_read_text(&json, &json_n, folder, "tokenizer.json", err);
  if (status == MTK_OK) {
    status = hf_read_text(&config, &config_n, folder, "tokenizer_config.json", err);
  }
  if (status == MTK_OK && config) {
    status = hf_load_json(&tree, config, config_n, "tokenizer_config.json", err);
    if (status == MTK_OK) status = attach_templates(model, tree, err);
  }
  if (status == MTK_OK && json) {
    status = mtk_vocab_from_hf(&vocab, json, json_n, config, config_n, &why);
    if (status == MTK_OK) mtk_model_set_vocab(model, vocab);
    if (status != MTK_OK && status != MTK_E_UNSUPPORTED && err) *err = why;
    if (status == MTK_E_UNSUPPORTED) {
      status = mtk_model_warn(model, "tokenizer not understood, carried along: %s: %s", why.place,
                              why.message);
    }
  }
  if (status == MTK_OK && !vocab && json) {
    status = mtk_model_attach(model, "tokenizer.json", json, json_n, err);
  }
  if (status == MTK_OK && !vocab && config) {
    status = mtk_model_attach(model, "tokenizer_config.json", config, config_n, err);
  }
  json_decref(tree);
  mtk_free(json);
  mtk_free(config);
  return status;
}

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* Files that were read, or whose content is in files that were read. */
static bool is_known(const char *file) {
  static const char *const known[] = {"tokenizer.json", "tokenizer_config.json",
                                      "chat_template.jinja", "model.safetensors.index.json"};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(file, known[i]) == 0) return true;
  for (size_t i = 0; i < N_CARRIED; i++)
    if (strcmp(file, carried[i]) == 0) return true;
  return file[0] == '.' || ends_with(file, ".safetensors");
}

/* One warning with the names of all files that stay behind, in the order of their names. */
static mtk_status warn_left_files(mtk_model *model, const char *folder, mtk_error *err) {
  struct dirent **entries = NULL;
  int n = scandir(folder, &entries, NULL, alphasort);
  if (n < 0) return mtk_fail(err, MTK_E_IO, folder, "cannot list the folder");
  mtk_bytes names = {.max = 1 << 20};
  for (int i = 0; i < n; i++) {
    if (!is_known(entries[i]->d_name)) {
      mtk_bytes_printf(&names, "%s%s", names.len ? ", " : "", entries[i]->d_name);
    }
    free(entries[i]);
  }
  free(entries);
  mtk_status status = MTK_OK;
  if (names.len) status = mtk_model_warn(model, "files not carried along: %s", names.data);
  mtk_bytes_finish(&names);
  return status;
}

static mtk_status read_texts(mtk_model *model, const char *folder, mtk_error *err) {
  for (size_t i = 0; i < N_CARRIED; i++) {
    MTK_TRY(attach_file(model, folder, carried[i], carried[i], err));
  }
  MTK_TRY(read_tokenizer(model, folder, err));
  MTK_TRY(attach_file(model, folder, "chat_template.jinja", "chat_template", err));
  return warn_left_files(model, folder, err);
}

/* ---- config.json --------------------------------------------------------------------------- */

static mtk_status read_arch(mtk_model *model, const json_t *config, const mtk_arch_v1 **arch,
                            mtk_error *err) {
  size_t n = 0;
  const char *text = mtk_model_attachment(model, "config.json", &n);
  const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
  *arch = name ? mtk_arch_find_hf(name) : NULL;
  if (!*arch) {
    return mtk_model_warn(model, "config.json: architecture %s is unknown; only tensors are read",
                          name ? name : "(not stated)");
  }
  MTK_TRY(mtk_model_set_arch(model, (*arch)->id, err));
  MTK_TRY(mtk_arch_meta_from_hf(mtk_model_meta(model), *arch, text, n, err));
  return mtk_meta_set_string(mtk_model_meta(model), "rope.pairing", "half", err);
}

static mtk_status load_config(json_t **out, mtk_model *model, mtk_error *err) {
  size_t n = 0;
  const char *text = mtk_model_attachment(model, "config.json", &n);
  *out = NULL;
  if (text) return hf_load_json(out, text, n, "config.json", err);
  return mtk_model_warn(model, "no config.json: the architecture is unknown");
}

/* ---- tensors ------------------------------------------------------------------------------- */

static mtk_status add_tensors(mtk_model *model, hf_source *src, const mtk_arch_v1 *arch,
                              const hf_quant_config *config, mtk_error *err) {
  size_t n_foreign = 0;
  const char *foreign = NULL;
  hf_quant_mark(src);
  for (size_t i = 0; i < src->list.n; i++) {
    const st_tensor *in = &src->list.items[i];
    mtk_tensor t;
    char name[512];
    if (in->consumed) continue;
    MTK_TRY(hf_quant_tensor(&t, model, src, in, config, err));
    MTK_TRY(hf_quant_name(&t.source_name, src->arena, in, err));
    t.name = arch ? mtk_arch_name_from_hf(name, sizeof name, arch, t.source_name) : t.source_name;
    if (!t.name) {
      t.name = t.source_name;
      if (!n_foreign++) foreign = t.name;
    }
    MTK_TRY(mtk_model_add_tensor(model, &t, err));
  }
  if (!n_foreign) return MTK_OK;
  return mtk_model_warn(model,
                        "%zu tensors are not part of architecture %s, kept as they are "
                        "(first: %s)",
                        n_foreign, arch->id, foreign);
}

static mtk_status read_folder(mtk_model *model, hf_source *src, mtk_arena *arena, const char *path,
                              mtk_error *err) {
  json_t *config = NULL;
  const mtk_arch_v1 *arch = NULL;
  hf_quant_config quant = {0};
  MTK_TRY(read_texts(model, path, err));
  mtk_status status = load_config(&config, model, err);
  if (status == MTK_OK && config) status = read_arch(model, config, &arch, err);
  hf_quant_config_read(&quant, config);
  json_decref(config);
  MTK_TRY(status);
  MTK_TRY(hf_source_open(src, model, arena, path, err));
  MTK_TRY(hf_get_metadata(model, src->metadata, err));
  return add_tensors(model, src, arch, &quant, err);
}

static mtk_status refuse_adapter(const char *path, mtk_error *err) {
  char *config = mtk_path_join(path, "adapter_config.json");
  if (!config) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  bool adapter = mtk_path_exists(config);
  mtk_free(config);
  if (!adapter) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, path,
                  "this is a PEFT adapter, not a model; give it with --adapter");
}

mtk_status hf_read_model(mtk_model *model, const char *path, mtk_error *err) {
  const hf_quant_config none = {0};
  hf_source src = {0};
  if (mtk_path_is_dir(path)) MTK_TRY(refuse_adapter(path, err));
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status;
  if (mtk_path_is_dir(path)) {
    status = read_folder(model, &src, arena, path, err);
  } else {
    status = hf_source_open(&src, model, arena, path, err);
    if (status == MTK_OK) status = hf_get_metadata(model, src.metadata, err);
    if (status == MTK_OK) status = add_tensors(model, &src, NULL, &none, err);
  }
  hf_source_finish(&src);
  mtk_arena_destroy(arena);
  return status;
}

mtk_status hf_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                         mtk_error *err) {
  const hf_quant_config none = {0};
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  hf_source src = {.arena = arena};
  mtk_status status = st_parse(&src.list, &src.metadata, arena, data, size, path, err);
  if (status == MTK_OK) status = hf_source_index(&src, err);
  if (status == MTK_OK) status = hf_get_metadata(model, src.metadata, err);
  if (status == MTK_OK) status = add_tensors(model, &src, NULL, &none, err);
  json_decref(src.metadata); /* the list itself lies in the arena here */
  mtk_arena_destroy(arena);
  return status;
}
