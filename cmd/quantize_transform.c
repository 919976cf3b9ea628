/* quantize_transform.c: mtk quantize --rotate and --equalize: the model changed before it is
 * quantized, and its copies with it: the one that is calibrated, the one to compare with; and
 * --bias-correction after. Main thread only. */
#include <mtk/equalize.h>
#include <string.h>

#include "quantize.h"

static unsigned what_to_rotate(const mtk_cmd_line *line) {
  const char *what = mtk_options_string(line->options, "rotate");
  if (!strcmp(what, "values")) return MTK_ROTATE_VALUES;
  if (!strcmp(what, "residual")) return MTK_ROTATE_RESIDUAL;
  return strcmp(what, "all") ? 0 : MTK_ROTATE_VALUES | MTK_ROTATE_RESIDUAL;
}

bool mtk_cmd_transforms(const mtk_cmd_line *line) {
  return what_to_rotate(line) || strcmp(mtk_options_string(line->options, "equalize"), "none");
}

/* A rotation that reaches over several blocks spreads what is large in one of them over all. */
static mtk_status check_rotation(int64_t size, const mtk_quantize_options *o, mtk_error *err) {
  if (!o->target || o->target->dtype != MTK_MXFP4 || size <= 32) return MTK_OK;
  return mtk_fail(err, MTK_E_INVALID, NULL,
                  "--rotate-size %lld: mxfp4 gets worse when rotations reach over its blocks of 32",
                  (long long)size);
}

static mtk_status rotate(mtk_model *const *models, int n, unsigned what,
                         const mtk_quantize_options *o, const mtk_cmd_line *line, mtk_error *err) {
  int64_t size = mtk_options_int(line->options, "rotate-size");
  MTK_TRY(check_rotation(size, o, err));
  for (int i = 0; i < n; i++) MTK_TRY(mtk_model_rotate(models[i], what, size, err));
  return MTK_OK;
}

/* Factors are tried with a method that needs no second moments: the same target by sweep or rtn;
 * where a plan says what every tensor gets, by rtn, which knows them all. */
static mtk_status find_trial(mtk_quantize_options *into, const mtk_quantizer_v1 **trial,
                             mtk_error *err) {
  static const char *const methods[] = {"sweep", "rtn"};
  *trial = into->plan ? mtk_quantizer_find("rtn") : NULL;
  if (into->plan || !(into->quantizer->needs & MTK_QUANT_NEEDS_SECOND_MOMENT)) return MTK_OK;
  for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
    *trial = mtk_quantizer_find(methods[m]);
    if (mtk_cmd_find_target(*trial, into->target->name)) return MTK_OK;
  }
  return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "--equalize: there is no rtn to %s",
                  into->target->name);
}

static mtk_status equalize(mtk_model *const *models, int n, mtk_cmd_calibration *c,
                           mtk_quantize_options *into, const mtk_cmd_line *line, mtk_error *err) {
  const char *rule = mtk_options_string(line->options, "equalize");
  bool fixed = mtk_options_is_set(line->options, "equalize-alpha");
  mtk_equalize_options o = {
      .struct_size = sizeof o,
      .rule = strcmp(rule, "smooth") ? MTK_EQUALIZE_AWQ : MTK_EQUALIZE_SMOOTH,
      .alpha = fixed ? mtk_options_float(line->options, "equalize-alpha") : -1,
      .into = into,
      .pool = into->pool};
  mtk_equalize_report r = {0};
  MTK_TRY(find_trial(into, &o.trial, err));
  MTK_TRY(mtk_model_equalize(models, n, mtk_cmd_calibration_state(c), &o, &r, err));
  mtk_log(MTK_LOG_INFO, "%s: %zu of %zu inputs scaled", rule, r.n_changed, r.n_sites);
  if (r.error_before > 0)
    mtk_log(MTK_LOG_INFO, "%s: expected error of their outputs %.4g of what it was", rule,
            r.error_after / r.error_before);
  return mtk_cmd_calibration_restart(c, err);
}

mtk_status mtk_cmd_transform(mtk_model *model, mtk_model *copy, mtk_cmd_calibration *c,
                             mtk_quantize_options *into, const mtk_cmd_line *line, mtk_error *err) {
  mtk_model *models[] = {model, copy};
  unsigned what = what_to_rotate(line);
  bool scales = strcmp(mtk_options_string(line->options, "equalize"), "none") != 0;
  if (scales && !c)
    return mtk_fail(err, MTK_E_INVALID, NULL, "--equalize needs --calibration FILE");
  if (what) MTK_TRY(rotate(models, 2, what, into, line, err));
  if (what && c) MTK_TRY(mtk_cmd_calibration_restart(c, err));
  return scales ? equalize(models, 2, c, into, line, err) : MTK_OK;
}

mtk_status mtk_cmd_correct_biases(mtk_model *model, mtk_cmd_calibration *c,
                                  const mtk_quantize_report *rows, const mtk_cmd_line *line,
                                  mtk_error *err) {
  size_t n = 0;
  if (!mtk_options_flag(line->options, "bias-correction")) return MTK_OK;
  if (!c)
    return mtk_fail(err, MTK_E_INVALID, NULL, "--bias-correction needs --calibration FILE");
  MTK_TRY(mtk_model_correct_biases(&n, model, mtk_cmd_calibration_model(c), rows,
                                   mtk_cmd_calibration_stats, c, err));
  mtk_log(MTK_LOG_INFO, "bias correction: %zu layers have a bias", n);
  return MTK_OK;
}
