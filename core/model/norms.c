/* norms.c: norm weights of architectures whose folders store w where y = x * (1 + w) (Gemma):
 * canonical tensors and GGUF hold 1 + w in f32. Values are shifted when they are read.
 *
 * Part of the model: one thread changes it; the read functions may be entered by any. */
#include "model/model_impl.h"

static const char type_key[] = "hf.norm_type";

typedef struct shifted {
  const mtk_tensor *source;
  float by;
} shifted;

static mtk_status read_shifted(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                               mtk_error *err) {
  const shifted *s = t->read_ctx;
  size_t n = (size_t)(n_rows * mtk_tensor_row_elems(t));
  if (n == 0) return MTK_OK;
  float *values = mtk_alloc(n, sizeof *values);
  void *tmp = mtk_alloc((size_t)n_rows, mtk_tensor_row_bytes(s->source));
  mtk_status status = values && tmp
                          ? mtk_tensor_fetch_f32(values, s->source, row0, n_rows, tmp, err)
                          : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  if (status == MTK_OK) {
    for (size_t i = 0; i < n; i++) values[i] += s->by;
    mtk_dtype_encode(t->dtype, dst, values, n);
  }
  mtk_free(values);
  mtk_free(tmp);
  return status;
}

static mtk_status shift_tensor(mtk_model *model, const mtk_tensor *t, mtk_dtype dtype, float by,
                               mtk_error *err) {
  const shifted *before = t->read_ctx;
  if (t->read == read_shifted && before->by + by == 0.0f) /* there and back again */
    return mtk_model_replace_tensor(model, before->source, err);
  const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
  if (!info->is_float || info->is_quant)
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "a norm of type %s cannot be shifted",
                    info->name);
  shifted *s = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *s);
  if (!s) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  *s = (shifted){t, by};
  mtk_tensor view = *t;
  view.data = NULL;
  view.read = read_shifted;
  view.read_ctx = s;
  view.dtype = dtype;
  view.size_bytes = (uint64_t)mtk_tensor_rows(t) * mtk_tensor_row_bytes(&view);
  return mtk_model_replace_tensor(model, &view, err);
}

/* Of a canonical norm in a folder: as the folder that it came from had it. */
static mtk_dtype type_in_folder(const mtk_model *model, const mtk_tensor *t) {
  mtk_dtype type = mtk_dtype_by_name(mtk_meta_str(mtk_model_meta(model), type_key, ""));
  return t->dtype == MTK_F32 && (type == MTK_BF16 || type == MTK_F16) ? type : t->dtype;
}

mtk_status mtk_model_shift_norms(mtk_model *model, const mtk_arch_v1 *arch, bool to_hf,
                                 mtk_error *err) {
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    const mtk_arch_tensor *row = mtk_arch_row(arch, t->name);
    if (!row || !(row->flags & MTK_TENSOR_HF_MINUS_ONE)) continue;
    if (!to_hf && !mtk_meta_get(mtk_model_meta(model), type_key))
      MTK_TRY(mtk_meta_set_string(mtk_model_meta(model), type_key, mtk_dtype_get(t->dtype)->name,
                                  err));
    mtk_dtype type = to_hf ? type_in_folder(model, t) : MTK_F32;
    MTK_TRY(shift_tensor(model, t, type, to_hf ? -1.0f : 1.0f, err));
  }
  if (to_hf) mtk_meta_remove(mtk_model_meta(model), type_key);
  return MTK_OK;
}
