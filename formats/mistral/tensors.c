/* tensors.c: the tensors of a model under Mistral's names and under the canonical ones. Only names
 * and descriptions change: data stays where it is, scales of FP8 weights are a few floats each.
 * Any thread; the read functions of what is made here too. */
#include "mistral.h"

#include <math.h>
#include <string.h>

static const char weight_scale[] = ".qscale_weight", act_scale[] = ".qscale_act";

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n > k && strcmp(s + n - k, suffix) == 0;
}

static mtk_status no_memory(mtk_error *err, const char *place) {
  return mtk_fail(err, MTK_E_NOMEM, place, "out of memory");
}

/* ---- native -> canonical ------------------------------------------------------------------- */

/* "m.weight" -> the tensor "m<suffix>" of raw; NULL if absent. */
static const mtk_tensor *sibling(const mtk_model *raw, const char *weight, const char *suffix) {
  if (!ends_with(weight, ".weight")) return NULL;
  size_t stem = strlen(weight) - strlen(".weight");
  char *name = mtk_asprintf("%.*s%s", (int)stem, weight, suffix);
  const mtk_tensor *t = name ? mtk_model_tensor(raw, name) : NULL;
  mtk_free(name);
  return t;
}

static int64_t count(const mtk_tensor *t) { return mtk_tensor_rows(t) * mtk_tensor_row_elems(t); }

/* All values of a small tensor as f32. */
static mtk_status load_values(float *out, const mtk_tensor *t, mtk_error *err) {
  void *tmp = mtk_alloc(t->size_bytes ? t->size_bytes : 1, 1);
  if (!tmp) return no_memory(err, t->name);
  mtk_status status = mtk_tensor_fetch_f32(out, t, 0, mtk_tensor_rows(t), tmp, err);
  mtk_free(tmp);
  return status;
}

/* One scale for the whole weight, or one for each row. */
static mtk_status take_weight_scale(mtk_tensor *t, mtk_model *model, const mtk_tensor *scale,
                                    mtk_error *err) {
  int64_t n = count(scale);
  if (t->n_dims != 2 || (n != 1 && n != t->shape[0]) || !mtk_dtype_get(scale->dtype)->is_float)
    return mtk_fail(err, MTK_E_FORMAT, scale->name, "does not fit the weight it belongs to");
  float *values = mtk_arena_alloc(mtk_model_arena(model), (size_t)n, sizeof *values);
  if (!values) return no_memory(err, scale->name);
  MTK_TRY(load_values(values, scale, err));
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(values[i])) return mtk_fail(err, MTK_E_FORMAT, scale->name, "is not finite");
  t->scales = values;
  t->scale_n = n == 1 ? t->shape[0] : 1;
  t->scale_k = t->shape[1];
  return MTK_OK;
}

static mtk_status take_scales(mtk_tensor *t, mtk_model *model, const mtk_model *raw,
                              mtk_error *err) {
  const mtk_tensor *weight = sibling(raw, t->source_name, weight_scale);
  const mtk_tensor *act = sibling(raw, t->source_name, act_scale);
  if (weight) {
    MTK_TRY(take_weight_scale(t, model, weight, err));
    const char *type = mtk_dtype_get(weight->dtype)->name;
    MTK_TRY(mtk_meta_set_string(mtk_model_meta(model), "mistral.qscale_type", type, err));
  }
  if (!act) return MTK_OK;
  if (count(act) != 1 || !mtk_dtype_get(act->dtype)->is_float)
    return mtk_fail(err, MTK_E_FORMAT, act->name, "is not one number");
  MTK_TRY(load_values(&t->input_scale, act, err));
  if (t->input_scale > 0 && isfinite(t->input_scale)) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, act->name, "is not a positive number");
}

/* Scales that belong to a weight which is there. */
static bool is_scale(const mtk_model *raw, const char *name) {
  const char *suffixes[] = {weight_scale, act_scale};
  for (size_t i = 0; i < 2; i++) {
    if (!ends_with(name, suffixes[i])) continue;
    char *weight =
        mtk_asprintf("%.*s.weight", (int)(strlen(name) - strlen(suffixes[i])), name);
    bool found = weight && mtk_model_tensor(raw, weight);
    mtk_free(weight);
    return found;
  }
  return false;
}

static mtk_status warn_counts(mtk_model *model, size_t n_foreign, const char *foreign,
                              size_t n_fake) {
  if (n_fake)
    (void)mtk_model_warn(model, "%zu tensors of fake quantizers (training only) left out", n_fake);
  if (!n_foreign) return MTK_OK;
  return mtk_model_warn(model, "%zu tensors have no canonical name, kept as they are (first: %s)",
                        n_foreign, foreign);
}

mtk_status mistral_adopt(mtk_model *model, const mtk_model *raw, mtk_error *err) {
  size_t n_foreign = 0, n_fake = 0;
  const char *foreign = NULL;
  for (size_t i = 0; i < mtk_model_tensor_count(raw); i++) {
    char name[MISTRAL_MAX_NAME];
    mtk_tensor t = *mtk_model_tensor_at(raw, i);
    if (strstr(t.name, "fake_quantizer")) {
      n_fake++;
      continue;
    }
    if (is_scale(raw, t.name)) continue;
    t.source_name = t.name;
    const char *known = mistral_name_from(name, sizeof name, t.name);
    if (known) t.name = known;
    else if (!n_foreign++) foreign = t.name;
    MTK_TRY(take_scales(&t, model, raw, err));
    MTK_TRY(mtk_model_add_tensor(model, &t, err));
  }
  return warn_counts(model, n_foreign, foreign, n_fake);
}

/* ---- canonical -> native ------------------------------------------------------------------- */

/* Rows of another tensor, all scales multiplied in, as bf16. */
static mtk_status read_bf16(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  const mtk_tensor *source = t->read_ctx;
  size_t k = (size_t)mtk_tensor_row_elems(t);
  float *values = mtk_alloc(k, sizeof *values);
  void *tmp = mtk_alloc(mtk_tensor_row_bytes(source), 1);
  mtk_status status = values && tmp ? MTK_OK : no_memory(err, t->name);
  for (int64_t r = 0; r < n_rows && status == MTK_OK; r++) {
    status = mtk_tensor_fetch_f32(values, source, row0 + r, 1, tmp, err);
    if (status != MTK_OK) break;
    (void)mtk_dtype_encode(MTK_BF16, (uint16_t *)dst + (size_t)r * k, values, k);
  }
  mtk_free(values);
  mtk_free(tmp);
  return status;
}

/* FP8 with one scale in all or one for each row, which the layout can say. */
static bool is_fp8(const mtk_tensor *t) {
  return t->dtype == MTK_F8_E4M3 && t->scales && t->n_dims == 2 && t->scale_k >= t->shape[1] &&
         (t->scale_n == 1 || t->scale_n >= t->shape[0]) && ends_with(t->name, ".weight");
}

static bool is_plain(const mtk_tensor *t) {
  return !t->scales && mtk_dtype_get(t->dtype)->block_elems == 1;
}

static bool fits_bf16(const float *values, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], 4);
    if (bits & 0xffff) return false;
  }
  return true;
}

/* "<stem of weight><suffix>": n values in the type that the source had, if it holds them. */
static mtk_status add_scale(mtk_model *flat, const char *weight, const char *suffix,
                            const float *values, int64_t n, bool bf16, mtk_error *err) {
  bf16 = bf16 && fits_bf16(values, n);
  mtk_tensor t = {.dtype = bf16 ? MTK_BF16 : MTK_F32, .n_dims = n > 1, .shape = {n}};
  void *data = mtk_arena_alloc(mtk_model_arena(flat), (size_t)n, bf16 ? 2 : 4);
  size_t stem = strlen(weight) - strlen(".weight");
  char *name = mtk_asprintf("%.*s%s", (int)stem, weight, suffix);
  if (!data || !name) {
    mtk_free(name);
    return no_memory(err, weight);
  }
  if (bf16) (void)mtk_dtype_encode(MTK_BF16, data, values, (size_t)n);
  else memcpy(data, values, (size_t)n * 4);
  t.name = name;
  t.data = data;
  t.size_bytes = (uint64_t)n * (bf16 ? 2 : 4);
  mtk_status status = mtk_model_add_tensor(flat, &t, err);
  mtk_free(name);
  return status;
}

static mtk_status add_fp8(mtk_model *flat, const mtk_tensor *source, const char *name, bool bf16,
                          mtk_error *err) {
  mtk_tensor t = *source;
  t.name = name;
  t.scales = NULL;
  t.scale_n = t.scale_k = 0;
  t.input_scale = 0;
  MTK_TRY(mtk_model_add_tensor(flat, &t, err));
  if (source->input_scale > 0)
    MTK_TRY(add_scale(flat, name, act_scale, &source->input_scale, 1, bf16, err));
  return add_scale(flat, name, weight_scale, source->scales, mtk_tensor_scale_count(source), bf16,
                   err);
}

static mtk_status add_decoded(mtk_model *flat, const mtk_tensor *source, const char *name,
                              mtk_error *err) {
  mtk_tensor t = {.name = name, .dtype = MTK_BF16, .n_dims = source->n_dims, .read = read_bf16};
  memcpy(t.shape, source->shape, sizeof t.shape);
  t.read_ctx = (void *)(uintptr_t)source;
  t.size_bytes = 2 * (uint64_t)count(source);
  return mtk_model_add_tensor(flat, &t, err);
}

mtk_status mistral_flatten(mtk_model *flat, mtk_model *model, mtk_error *err) {
  const char *type = mtk_meta_str(mtk_model_meta(model), "mistral.qscale_type", "f32");
  bool bf16 = strcmp(type, "bf16") == 0;
  size_t n_decoded = 0, n_foreign = 0;
  const char *decoded = NULL, *foreign = NULL;
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    char buf[MISTRAL_MAX_NAME];
    const char *name = mistral_name_to(buf, sizeof buf, t->name);
    if (!name && !n_foreign++) foreign = t->name;
    if (!name) name = t->name;
    if (is_fp8(t)) {
      MTK_TRY(add_fp8(flat, t, name, bf16, err));
    } else if (is_plain(t)) {
      mtk_tensor plain = *t;
      plain.name = name;
      MTK_TRY(mtk_model_add_tensor(flat, &plain, err));
    } else {
      if (!n_decoded++) decoded = t->name;
      MTK_TRY(add_decoded(flat, t, name, err));
    }
  }
  if (n_decoded)
    MTK_TRY(mtk_model_warn(model,
                           "%zu tensors were written as bf16: the layout cannot hold their type "
                           "(first: %s)",
                           n_decoded, decoded));
  return n_foreign ? mtk_model_warn(model, "%zu tensors have no name in Mistral's layout, kept as "
                                           "they are (first: %s)",
                                    n_foreign, foreign)
                   : MTK_OK;
}
