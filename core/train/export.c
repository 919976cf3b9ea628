/* train/export.c: results of training: an adapter, or trained weights put into a model. */
#include "train/trainer.h"

#include <string.h>

static mtk_status copy_pair(mtk_lora_pair *out, mtk_adapter *a, const mtk_trainer *t,
                            const mtk_weight *lora_a, mtk_error *err) {
  size_t base = strlen(lora_a->name) - strlen(".lora_a");
  char *target = mtk_arena_strndup(a->arena, lora_a->name, base);
  char *name_b = mtk_asprintf("%.*s.lora_b", (int)base, lora_a->name);
  const mtk_weight *b = name_b ? mtk_weights_find(t->weights, name_b) : NULL;
  mtk_free(name_b);
  if (!target || !b) return mtk_fail(err, MTK_E_NOMEM, lora_a->name, "out of memory");
  float *va = mtk_arena_alloc(a->arena, (size_t)(lora_a->n * lora_a->k), sizeof *va);
  float *vb = mtk_arena_alloc(a->arena, (size_t)(b->n * b->k), sizeof *vb);
  if (!va || !vb) return mtk_fail(err, MTK_E_NOMEM, lora_a->name, "out of memory");
  memcpy(va, lora_a->value, (size_t)(lora_a->n * lora_a->k) * sizeof *va);
  memcpy(vb, b->value, (size_t)(b->n * b->k) * sizeof *vb);
  *out = (mtk_lora_pair){.target = target,
                         .rank = lora_a->n,
                         .scale = t->options.lora_alpha / (float)t->options.lora_rank,
                         .a = va,
                         .b = vb,
                         .n = b->n,
                         .k = lora_a->k};
  return MTK_OK;
}

mtk_status mtk_trainer_adapter(mtk_adapter **out, const mtk_trainer *t, mtk_error *err) {
  *out = NULL;
  if (t->options.lora_rank <= 0)
    return mtk_fail(err, MTK_E_INVALID, NULL, "all weights were trained: there is no adapter");
  mtk_adapter *a = mtk_adapter_create();
  if (!a) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  a->rank = t->options.lora_rank;
  a->alpha = t->options.lora_alpha;
  a->pairing = mtk_meta_str(mtk_model_meta(t->model), "rope.pairing", "half");
  a->pairing = mtk_arena_strndup(a->arena, a->pairing, strlen(a->pairing));
  a->pairs = mtk_arena_alloc(a->arena, t->n_params, sizeof *a->pairs);
  mtk_status st =
      a->pairs && a->pairing ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < t->n_params && st == MTK_OK; i++) {
    const mtk_weight *w = t->param_weights[i];
    if (strstr(w->name, ".lora_a")) st = copy_pair(&a->pairs[a->n_pairs++], a, t, w, err);
  }
  if (st != MTK_OK) {
    mtk_adapter_destroy(a);
    return st;
  }
  *out = a;
  return MTK_OK;
}

static mtk_status put_tensor(mtk_model *model, const mtk_weight *w, mtk_dtype dtype,
                             mtk_error *err) {
  const mtk_tensor *old = mtk_model_tensor(model, w->name);
  if (!old) return mtk_fail(err, MTK_E_NOT_FOUND, w->name, "the model has no such tensor");
  mtk_tensor t = *old;
  size_t count = (size_t)(w->n * w->k);
  bool matrix = t.n_dims >= 2;
  mtk_dtype keep = mtk_dtype_get(t.dtype)->is_quant ? MTK_BF16 : t.dtype;
  t.dtype = dtype == MTK_DTYPE_COUNT ? keep : matrix || dtype == MTK_F32 ? dtype : keep;
  t.size_bytes = mtk_dtype_bytes(t.dtype, count);
  void *data = mtk_arena_alloc(mtk_model_arena(model), 1, t.size_bytes);
  if (!data) return mtk_fail(err, MTK_E_NOMEM, w->name, "out of memory");
  if (!mtk_dtype_encode(t.dtype, data, w->value, count))
    return mtk_fail(err, MTK_E_UNSUPPORTED, w->name, "cannot be stored as %s",
                    mtk_dtype_get(t.dtype)->name);
  t.data = data;
  t.read = NULL;
  t.read_ctx = NULL;
  t.scales = NULL;
  t.scale_n = t.scale_k = 0;
  t.input_scale = 0;
  return mtk_model_replace_tensor(model, &t, err);
}

mtk_status mtk_trainer_apply(const mtk_trainer *t, mtk_model *model, mtk_dtype dtype,
                             mtk_error *err) {
  if (t->options.lora_rank > 0)
    return mtk_fail(err, MTK_E_INVALID, NULL, "an adapter was trained: merge it instead");
  for (size_t i = 0; i < t->n_params; i++)
    MTK_TRY(put_tensor(model, t->param_weights[i], dtype, err));
  return MTK_OK;
}
