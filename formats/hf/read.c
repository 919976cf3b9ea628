/* read.c: a model folder or a bare safetensors file as the canonical model. */
#include "hf.h"

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
    if (!t.name && hf_count_of(in) == 1) {
      t.name = hf_cache_name_from(name, sizeof name, arch, t.source_name);
      if (t.name) t.n_dims = 1, t.shape[0] = 1;
    }
    if (!t.name) {
      t.name = t.source_name;
      if (!n_foreign++) foreign = t.name;
    }
    MTK_TRY(mtk_model_add_tensor(model, &t, err));
  }
  if (arch) MTK_TRY(mtk_model_join_experts(model, arch, true, err));
  if (arch) MTK_TRY(mtk_model_shift_norms(model, arch, false, err));
  if (arch) MTK_TRY(hf_warn_fused(model, arch, err));
  if (!n_foreign) return MTK_OK;
  return mtk_model_warn(model,
                        "%zu tensors are not part of architecture %s, kept as they are "
                        "(first: %s)",
                        n_foreign, arch->id, foreign);
}

/* What config.json says of quantized weights, or hf_quant_config.json where older versions of
 * ModelOpt left it there alone. */
static mtk_status read_quant_config(hf_quant_config *out, mtk_model *model, const json_t *config,
                                    const char *folder, mtk_error *err) {
  static const char name[] = "hf_quant_config.json";
  char *text = NULL;
  size_t n = 0;
  json_t *file = NULL;
  mtk_status status = MTK_OK;
  if (!json_object_get(config, "quantization_config"))
    status = hf_read_text(&text, &n, folder, name, err);
  if (status == MTK_OK && text) status = hf_load_json(&file, text, n, name, err);
  hf_quant_config_read(out, file ? file : config);
  json_decref(file);
  mtk_free(text);
  return status == MTK_OK ? hf_acts_put(model, out->acts, err) : status;
}

static mtk_status read_folder(mtk_model *model, hf_source *src, mtk_arena *arena, const char *path,
                              mtk_error *err) {
  json_t *config = NULL;
  const mtk_arch_v1 *arch = NULL;
  hf_quant_config quant = {0};
  MTK_TRY(hf_read_texts(model, arena, path, err));
  mtk_status status = load_config(&config, model, err);
  if (status == MTK_OK && config) status = read_arch(model, config, &arch, err);
  if (status == MTK_OK) status = hf_read_sentence(model, err);
  if (status == MTK_OK) status = read_quant_config(&quant, model, config, path, err);
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
