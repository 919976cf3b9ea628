/* adapter.c: lora.safetensors (mistral-inference, src/mistral_inference/lora.py; mistral-finetune):
 * "<module>.lora_A.weight" [rank, K] and "<module>.lora_B.weight" [N, rank], all of one type, that
 * of the model. The file has no scale: a loader takes 2, or what the params.json beside it says.
 * Each call has its own state: any thread. */
#include "mistral.h"

#include <jansson.h>

#include <math.h>
#include <string.h>

#define DEFAULT_SCALE 2.0

static const char suffix_a[] = ".lora_A.weight", suffix_b[] = ".lora_B.weight";

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n > k && strcmp(s + n - k, suffix) == 0;
}

static mtk_status no_memory(mtk_error *err, const char *place) {
  return mtk_fail(err, MTK_E_NOMEM, place, "out of memory");
}

/* ---- reading ------------------------------------------------------------------------------- */

static mtk_status load_floats(const float **out, mtk_arena *arena, const mtk_tensor *t,
                              mtk_error *err) {
  bool is_float = t->dtype == MTK_F32 || t->dtype == MTK_F16 || t->dtype == MTK_BF16;
  if (!is_float || t->n_dims != 2)
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "is no matrix of f32, f16 or bf16");
  float *values = mtk_arena_alloc(arena, (size_t)(t->shape[0] * t->shape[1]), sizeof *values);
  void *tmp = mtk_alloc(t->size_bytes + 1, 1);
  mtk_status status = values && tmp
                          ? mtk_tensor_fetch_f32(values, t, 0, t->shape[0], tmp, err)
                          : no_memory(err, t->name);
  mtk_free(tmp);
  *out = values;
  return status;
}

/* The canonical name of a module's weight, else as it is. */
static const char *target_name(mtk_arena *arena, const char *module, size_t n) {
  char buf[MISTRAL_MAX_NAME], *weight = mtk_asprintf("%.*s.weight", (int)n, module);
  const char *name = weight ? mistral_name_from(buf, sizeof buf, weight) : NULL;
  if (weight && !name) name = weight;
  const char *kept = name ? mtk_arena_strndup(arena, name, strlen(name)) : NULL;
  mtk_free(weight);
  return kept;
}

static mtk_status read_pair(mtk_adapter *ad, const mtk_model *raw, const mtk_tensor *a,
                            double scale, mtk_error *err) {
  mtk_lora_pair *p = &ad->pairs[ad->n_pairs++];
  size_t stem = strlen(a->name) - strlen(suffix_a);
  char *name = mtk_asprintf("%.*s%s", (int)stem, a->name, suffix_b);
  const mtk_tensor *b = name ? mtk_model_tensor(raw, name) : NULL;
  mtk_free(name);
  if (!b || a->n_dims != 2 || b->n_dims != 2 || a->shape[0] != b->shape[1] || !a->shape[0])
    return mtk_fail(err, MTK_E_FORMAT, a->name, "its lora_B is missing or does not fit");
  p->target = target_name(ad->arena, a->name, stem);
  p->rank = a->shape[0];
  p->n = b->shape[0];
  p->k = a->shape[1];
  p->scale = (float)scale;
  if (!p->target) return no_memory(err, a->name);
  if (!ad->rank) {
    ad->rank = p->rank;
    ad->alpha = (float)(scale * (double)p->rank);
  }
  MTK_TRY(load_floats(&p->a, ad->arena, a, err));
  return load_floats(&p->b, ad->arena, b, err);
}

static mtk_status read_pairs(mtk_adapter *ad, const mtk_model *raw, double scale, mtk_error *err) {
  size_t n = mtk_model_tensor_count(raw);
  ad->pairs = mtk_arena_alloc(ad->arena, n ? n : 1, sizeof *ad->pairs);
  if (!ad->pairs) return no_memory(err, MISTRAL_LORA);
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(raw, i);
    if (ends_with(t->name, suffix_a)) MTK_TRY(read_pair(ad, raw, t, scale, err));
  }
  if (2 * ad->n_pairs == n) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, MISTRAL_LORA,
                  "%zu of its %zu tensors are neither lora_A nor lora_B of a layer",
                  n - 2 * ad->n_pairs, n);
}

/* lora.scaling of the params.json that mistral-finetune writes beside the weights. */
static mtk_status read_scale(double *scale, const char *folder, mtk_error *err) {
  char *text;
  size_t n;
  *scale = DEFAULT_SCALE;
  MTK_TRY(mistral_read_text(&text, &n, folder, MISTRAL_PARAMS, err));
  json_t *root = text ? json_loadb(text, n, 0, NULL) : NULL;
  const json_t *given = json_object_get(json_object_get(root, "lora"), "scaling");
  if (json_is_number(given)) *scale = json_number_value(given);
  json_decref(root);
  mtk_free(text);
  if (isfinite(*scale)) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, MISTRAL_PARAMS, "lora.scaling is not a number");
}

mtk_status mistral_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err) {
  bool folder = mtk_path_is_dir(path);
  double scale = DEFAULT_SCALE;
  mtk_model *raw = NULL;
  if (folder) MTK_TRY(read_scale(&scale, path, err));
  mtk_status status =
      mistral_open_tensors(&raw, folder ? path : NULL, folder ? MISTRAL_LORA : path, err);
  adapter->pairing = "interleaved";
  const char *name = mtk_path_base(path);
  adapter->name = mtk_arena_strndup(adapter->arena, name, strlen(name));
  if (status == MTK_OK && !adapter->name) status = no_memory(err, path);
  if (status == MTK_OK) status = read_pairs(adapter, raw, scale, err);
  mtk_model_destroy(raw);
  return status;
}

/* ---- writing ------------------------------------------------------------------------------- */

typedef struct lora_writer {
  mtk_model *flat;
  mtk_arena *arena;
  mtk_dtype dtype; /* of the model: loaders ask for it */
  mtk_error *err;
} lora_writer;

/* The float type of the base's layers; bf16 for quantized ones. */
static mtk_dtype model_type(const mtk_model *base) {
  const mtk_tensor *t = mtk_model_tensor(base, "blk.0.attn_q.weight");
  bool plain = t && (t->dtype == MTK_F32 || t->dtype == MTK_F16);
  return plain ? t->dtype : MTK_BF16;
}

static mtk_status add_matrix(lora_writer *w, const char *module, size_t stem, const char *suffix,
                             const float *values, int64_t rows, int64_t cols, double factor) {
  mtk_tensor t = {.dtype = w->dtype, .n_dims = 2, .shape = {rows, cols}};
  size_t n = (size_t)(rows * cols), elem = mtk_dtype_get(w->dtype)->block_bytes;
  void *data = mtk_arena_alloc(w->arena, n ? n : 1, elem);
  float *scaled = mtk_alloc(n ? n : 1, sizeof *scaled);
  char *name = mtk_asprintf("%.*s%s", (int)stem, module, suffix);
  mtk_status status = data && scaled && name ? MTK_OK : no_memory(w->err, module);
  if (status == MTK_OK) {
    for (size_t i = 0; i < n; i++) scaled[i] = (float)((double)values[i] * factor);
    if (n) (void)mtk_dtype_encode(w->dtype, data, scaled, n);
    t.name = name;
    t.data = data;
    t.size_bytes = n * elem;
    status = mtk_model_add_tensor(w->flat, &t, w->err);
  }
  mtk_free(scaled);
  mtk_free(name);
  return status;
}

static mtk_status add_pair(lora_writer *w, const mtk_lora_pair *p) {
  char buf[MISTRAL_MAX_NAME];
  const char *name = mistral_name_to(buf, sizeof buf, p->target);
  if (!name || !ends_with(name, ".weight") || strcmp(p->target, "token_embd.weight") == 0)
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, p->target, "cannot be adapted in Mistral's layout");
  size_t stem = strlen(name) - strlen(".weight");
  double factor = (double)p->scale / DEFAULT_SCALE; /* what loaders will not multiply */
  MTK_TRY(add_matrix(w, name, stem, suffix_a, p->a, p->rank, p->k, 1));
  return add_matrix(w, name, stem, suffix_b, p->b, p->n, p->rank, factor);
}

static mtk_status write_file(lora_writer *w, const char *path, bool force,
                             const char *provenance) {
  const mtk_format_v1 *format = mtk_format_find("hf");
  mtk_write_options o = {.struct_size = sizeof o, .force = force, .provenance = provenance};
  if (!format || !format->write_model)
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, path, "needs the plugin for format hf");
  return format->write_model(w->flat, path, &o, w->err);
}

/* A file, or a folder that holds lora.safetensors. */
static mtk_status write_place(lora_writer *w, const char *path, const mtk_write_options *options) {
  bool force = options && options->force;
  const char *provenance = options ? options->provenance : NULL;
  mtk_outdir *dir = NULL;
  if (ends_with(path, ".safetensors")) return write_file(w, path, force, provenance);
  MTK_TRY(mtk_outdir_create(&dir, path, force, w->err));
  char *file = mtk_path_join(mtk_outdir_path(dir), MISTRAL_LORA);
  mtk_status status = file ? write_file(w, file, true, provenance) : no_memory(w->err, path);
  mtk_free(file);
  if (status == MTK_OK) return mtk_outdir_commit(dir, w->err);
  mtk_outdir_abort(dir);
  return status;
}

mtk_status mistral_write_adapter(const mtk_adapter *adapter, const mtk_model *base,
                                 const char *path, const mtk_write_options *options,
                                 mtk_error *err) {
  mtk_adapter *view = NULL;
  if (adapter->n_whole)
    return mtk_fail(err, MTK_E_UNSUPPORTED, adapter->whole[0].target,
                    "is replaced whole, which " MISTRAL_LORA " cannot hold: merge the adapter");
  MTK_TRY(mtk_adapter_view(&view, adapter, "interleaved", base, err));
  lora_writer w = {.flat = mtk_model_create(), .err = err, .dtype = model_type(base)};
  mtk_status status = w.flat ? MTK_OK : no_memory(err, path);
  if (status == MTK_OK) w.arena = mtk_model_arena(w.flat);
  for (size_t i = 0; i < view->n_pairs && status == MTK_OK; i++)
    status = add_pair(&w, &view->pairs[i]);
  if (status == MTK_OK) status = write_place(&w, path, options);
  mtk_model_destroy(w.flat);
  mtk_adapter_destroy(view);
  return status;
}
