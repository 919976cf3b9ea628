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

/* Number of the pair whose wave turns `rotations` times in the original context. */
static double yarn_pair(double rotations, int n, double base, double length) {
  return (double)n * mtk_math_log(length / (rotations * TWO_PI)) / mtk_math_log(base);
}

/* The scaling factor; where the source gives none, the ratio of the two context lengths. */
static mtk_status context_factor(double *out, const mtk_meta *meta, mtk_error *err) {
  double length, original;
  if (mtk_meta_get(meta, "rope.scaling.factor"))
    return positive(out, meta, "rope.scaling.factor", err);
  MTK_TRY(positive(&length, meta, "context_length", err));
  MTK_TRY(positive(&original, meta, "rope.scaling.original_context_length", err));
  *out = length / original;
  return MTK_OK;
}

/* Peng et al. 2023, section 3.2: pairs that turn often keep their frequency, slow ones are
 * stretched by the factor, a linear ramp over the pairs lies between. */
static mtk_status yarn_factor(double *factor, const double *inv_freq, int n, const mtk_meta *meta,
                              mtk_error *err) {
  double f, base, fast, slow, length, ext;
  uint64_t truncate;
  (void)inv_freq;
  MTK_TRY(context_factor(&f, meta, err));
  MTK_TRY(positive(&base, meta, "rope.freq_base", err));
  MTK_TRY(positive(&length, meta, "rope.scaling.original_context_length", err));
  MTK_TRY(mtk_meta_float(&fast, meta, "rope.scaling.yarn_beta_fast", 32, err));
  MTK_TRY(mtk_meta_float(&slow, meta, "rope.scaling.yarn_beta_slow", 1, err));
  MTK_TRY(mtk_meta_float(&ext, meta, "rope.scaling.yarn_ext_factor", 1, err));
  MTK_TRY(mtk_meta_uint(&truncate, meta, "rope.scaling.yarn_truncate", 1, err));
  if (!(fast > 0) || !(slow > 0) || !(base > 1) || !(ext >= 0 && ext <= 1))
    return mtk_fail(err, MTK_E_FORMAT, "rope.scaling.type",
                    "yarn with beta_fast %g, beta_slow %g, rope_theta %g, extrapolation %g", fast,
                    slow, base, ext);
  double low = yarn_pair(fast, n, base, length), high = yarn_pair(slow, n, base, length);
  if (truncate) low = floor(low), high = ceil(high);
  low = fmax(low, 0);
  high = fmin(high, 2.0 * n - 1);
  double width = high - low;
  if (fabs(width) < 0.001) width = 0.001;
  for (int j = 0; j < n; j++) {
    double kept = (1.0 - fmin(fmax(((double)j - low) / width, 0.0), 1.0)) * ext;
    factor[j] = 1.0 / ((1.0 - kept) / f + kept);
  }
  return MTK_OK;
}

static double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * mtk_math_log(factor) + 1.0;
}

static mtk_status yarn_attention(double *out, const mtk_meta *meta, mtk_error *err) {
  double f, mscale, all_dim;
  MTK_TRY(mtk_meta_float(out, meta, "rope.scaling.yarn_attn_factor", 0, err));
  if (*out > 0) return MTK_OK;
  MTK_TRY(context_factor(&f, meta, err));
  MTK_TRY(mtk_meta_float(&all_dim, meta, "rope.scaling.yarn_log_multiplier", 0, err));
  MTK_TRY(mtk_meta_float(&mscale, meta, "rope.scaling.yarn_mscale", 1, err));
  bool both = all_dim > 0 && mscale > 0;
  *out = both ? yarn_mscale(f, mscale) / yarn_mscale(f, all_dim) : yarn_mscale(f, 1);
  double more;
  MTK_TRY(mtk_meta_float(&more, meta, "rope.scaling.attn_factor", 1, err));
  *out *= more;
  return MTK_OK;
}

static mtk_status exceeds_original(bool *out, const mtk_meta *meta, mtk_error *err) {
  double length, original;
  MTK_TRY(positive(&length, meta, "context_length", err));
  MTK_TRY(positive(&original, meta, "rope.scaling.original_context_length", err));
  *out = length > original;
  return MTK_OK;
}

/* Ding et al. 2024: searched divisors, one set for contexts as in pretraining, one for longer. */
static mtk_status longrope_factor(double *factor, const double *inv_freq, int n,
                                  const mtk_meta *meta, mtk_error *err) {
  (void)inv_freq;
  bool is_long;
  MTK_TRY(exceeds_original(&is_long, meta, err));
  const char *key = is_long ? "rope.scaling.long_factor" : "rope.scaling.short_factor";
  const mtk_value *v = mtk_meta_get(meta, key);
  if (!v || v->type != MTK_META_ARRAY || v->as.arr.n != (size_t)n)
    return mtk_fail(err, MTK_E_FORMAT, key, "is missing or no list of %d numbers", n);
  for (int j = 0; j < n; j++) {
    const mtk_value *item = &v->as.arr.items[j];
    bool is_float = item->type == MTK_META_F32 || item->type == MTK_META_F64;
    factor[j] = is_float ? item->as.f : 0;
    if (!(factor[j] > 0) || !isfinite(factor[j]))
      return mtk_fail(err, MTK_E_FORMAT, key, "number %d is not positive", j);
  }
  return MTK_OK;
}

static mtk_status longrope_attention(double *out, const mtk_meta *meta, mtk_error *err) {
  double f, original;
  MTK_TRY(mtk_meta_float(out, meta, "rope.scaling.attn_factor", 0, err));
  if (*out > 0) return MTK_OK;
  MTK_TRY(positive(&original, meta, "rope.scaling.original_context_length", err));
  MTK_TRY(context_factor(&f, meta, err));
  double factor = f <= 1 ? 1.0 : sqrt(1.0 + mtk_math_log(f) / mtk_math_log(original));
  *out = (double)(float)factor; /* as GGUF files keep it */
  return MTK_OK;
}

static mtk_status no_attention(double *out, const mtk_meta *meta, mtk_error *err) {
  MTK_TRY(mtk_meta_float(out, meta, "rope.scaling.attn_factor", 1, err));
  return MTK_OK;
}

typedef struct scaling {
  const char *type;
  factor_fn factor;
  mtk_status (*attention)(double *out, const mtk_meta *meta, mtk_error *err);
} scaling;

static const scaling scalings[] = {
    {"none", no_factor, no_attention},
    {"linear", linear_factor, no_attention},
    {"llama3", llama3_factor, no_attention},
    {"yarn", yarn_factor, yarn_attention},
    {"longrope", longrope_factor, longrope_attention},
    {"su", longrope_factor, longrope_attention}, /* its name in the first releases of phi3 */
};

static mtk_status find_scaling(const scaling **out, const mtk_meta *meta, mtk_error *err) {
  const char *absent = mtk_meta_get(meta, "rope.scaling.factor") ? "linear" : "none";
  const char *type = mtk_meta_str(meta, "rope.scaling.type", absent);
  for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++)
    if (strcmp(scalings[i].type, type) == 0) {
      *out = &scalings[i];
      return MTK_OK;
    }
  return mtk_fail(err, MTK_E_UNSUPPORTED, "rope.scaling.type",
                  "rotary scaling '%s' is not supported (none, linear, llama3, yarn and longrope "
                  "are)",
                  type);
}

/* GGUF keeps the divisors of llama3 and longrope as tensors of n floats. */
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

/* Tensor that holds the divisors, or NULL if the hyperparameters do. */
static mtk_status find_factors(const mtk_tensor **out, const mtk_model *model, const scaling *s,
                               mtk_error *err) {
  bool is_long;
  *out = mtk_model_tensor(model, "rope_freqs.weight");
  if (*out || s->factor != longrope_factor) return MTK_OK;
  MTK_TRY(exceeds_original(&is_long, mtk_model_meta(model), err));
  const char *name = is_long ? "rope_factors_long.weight" : "rope_factors_short.weight";
  *out = mtk_model_tensor(model, name);
  return MTK_OK;
}

mtk_status mtk_model_rope(double *inv_freq, double *factor, int n, const mtk_model *model,
                          mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  const scaling *s;
  const mtk_tensor *t;
  double base;
  MTK_TRY(positive(&base, meta, "rope.freq_base", err));
  MTK_TRY(find_scaling(&s, meta, err));
  MTK_TRY(find_factors(&t, model, s, err));
  for (int j = 0; j < n; j++) inv_freq[j] = mtk_math_pow(base, -(double)j / (double)n);
  double *f = factor ? factor : mtk_alloc((size_t)n, sizeof *f);
  if (!f) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status status = t ? tensor_factor(f, n, t, err) : s->factor(f, inv_freq, n, meta, err);
  for (int j = 0; j < n && status == MTK_OK; j++) inv_freq[j] /= f[j];
  if (f != factor) mtk_free(f);
  return status;
}

mtk_status mtk_model_rope_scale(double *out, const mtk_model *model, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  const scaling *s;
  MTK_TRY(find_scaling(&s, meta, err));
  MTK_TRY(s->attention(out, meta, err));
  if (*out > 0 && isfinite(*out)) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, "rope.scaling", "the factor of cos and sin is %g", *out);
}
