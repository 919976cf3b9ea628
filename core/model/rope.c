/* rope.c: rotary frequencies from a model's hyperparameters. Functions of the model; any thread.
 * Scaling rules: transformers, src/transformers/modeling_rope_utils.py. */
#include "model/model_impl.h"

#include <mtk/kernel.h>

#include <math.h>
#include <string.h>

#define TWO_PI 6.283185307179586476925286766559

typedef mtk_status (*factor_fn)(double *factor, const double *inv_freq, int n, const mtk_meta *meta,
                                mtk_error *err);

static mtk_status positive(double *out, const mtk_meta *meta, const char *key, mtk_error *err) {
  MTK_TRY(mtk_meta_float(out, meta, key, 0, err));
  if (!(*out > 0) || !isfinite(*out))
    return mtk_fail(err, MTK_E_FORMAT, key, "is missing or not a positive number");
  return MTK_OK;
}

static mtk_status no_factor(double *factor, const double *inv_freq, int n, const mtk_meta *meta,
                            mtk_error *err) {
  (void)inv_freq, (void)meta, (void)err;
  for (int j = 0; j < n; j++) factor[j] = 1.0;
  return MTK_OK;
}

static mtk_status linear_factor(double *factor, const double *inv_freq, int n, const mtk_meta *meta,
                                mtk_error *err) {
  (void)inv_freq;
  double f;
  MTK_TRY(positive(&f, meta, "rope.scaling.factor", err));
  for (int j = 0; j < n; j++) factor[j] = f;
  return MTK_OK;
}

/* Long waves are stretched by the factor, short ones kept, those between blended. */
static mtk_status llama3_factor(double *factor, const double *inv_freq, int n, const mtk_meta *meta,
                                mtk_error *err) {
  double f, low, high, length;
  MTK_TRY(positive(&f, meta, "rope.scaling.factor", err));
  MTK_TRY(positive(&low, meta, "rope.scaling.low_freq_factor", err));
  MTK_TRY(positive(&high, meta, "rope.scaling.high_freq_factor", err));
  MTK_TRY(positive(&length, meta, "rope.scaling.original_context_length", err));
  if (!(high > low))
    return mtk_fail(err, MTK_E_FORMAT, "rope.scaling.high_freq_factor", "is not above the low one");
  for (int j = 0; j < n; j++) {
    double wavelength = TWO_PI / inv_freq[j];
    double smooth = (length / wavelength - low) / (high - low);
    double blend = 1.0 / ((1.0 - smooth) / f + smooth);
    factor[j] = wavelength < length / high ? 1.0 : wavelength > length / low ? f : blend;
  }
  return MTK_OK;
}

static const struct {
  const char *type;
  factor_fn factor;
} scalings[] = {{"none", no_factor}, {"linear", linear_factor}, {"llama3", llama3_factor}};

static mtk_status scaling_factor(double *factor, const double *inv_freq, int n,
                                 const mtk_meta *meta, mtk_error *err) {
  const char *type = mtk_meta_str(meta, "rope.scaling.type", "none");
  for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++)
    if (strcmp(scalings[i].type, type) == 0)
      return scalings[i].factor(factor, inv_freq, n, meta, err);
  return mtk_fail(err, MTK_E_UNSUPPORTED, "rope.scaling.type",
                  "rotary scaling '%s' is not supported (none, linear and llama3 are)", type);
}

/* GGUF keeps llama3 factors as a tensor of n floats. */
static mtk_status tensor_factor(double *factor, int n, const mtk_tensor *t, mtk_error *err) {
  if (t->dtype != MTK_F32 || t->n_dims != 1 || t->shape[0] != n)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "is no vector of %d f32", n);
  float *values = mtk_alloc((size_t)n, sizeof *values), *tmp = mtk_alloc((size_t)n, sizeof *tmp);
  mtk_status status = values && tmp ? mtk_tensor_fetch_f32(values, t, 0, 1, tmp, err)
                                    : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int j = 0; j < n && status == MTK_OK; j++) {
    factor[j] = (double)values[j];
    if (!(factor[j] > 0) || !isfinite(factor[j]))
      status = mtk_fail(err, MTK_E_FORMAT, t->name, "factor %d is not a positive number", j);
  }
  mtk_free(values);
  mtk_free(tmp);
  return status;
}

mtk_status mtk_model_rope(double *inv_freq, double *factor, int n, const mtk_model *model,
                          mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  double base;
  MTK_TRY(positive(&base, meta, "rope.freq_base", err));
  for (int j = 0; j < n; j++) inv_freq[j] = mtk_math_pow(base, -(double)j / (double)n);
  double *f = factor ? factor : mtk_alloc((size_t)n, sizeof *f);
  if (!f) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  const mtk_tensor *t = mtk_model_tensor(model, "rope_freqs.weight");
  mtk_status status = t ? tensor_factor(f, n, t, err) : scaling_factor(f, inv_freq, n, meta, err);
  for (int j = 0; j < n && status == MTK_OK; j++) inv_freq[j] /= f[j];
  if (f != factor) mtk_free(f);
  return status;
}
