/* quantize_act.c: mtk quantize --act and --kv-cache-scales: what the artefact says of activations.
 * Main thread only. */
#include "quantize.h"

#include <string.h>

mtk_status mtk_cmd_act_check(const mtk_cmd_line *line, const mtk_quantize_options *o,
                             const char *imatrix, mtk_error *err) {
  const char *act = mtk_options_string(line->options, "act");
  const char *cache = mtk_options_string(line->options, "kv-cache-scales");
  size_t calibrated = mtk_options_list(line->options, "calibration", NULL);
  bool needs = act && (!strcmp(act, "nvfp4") || !strcmp(act, "fp8"));
  if (act && o->target) MTK_TRY(mtk_activation_needs_scales(&needs, act, o->target, err));
  if (calibrated || !(needs || cache)) return MTK_OK;
  return mtk_fail(err, MTK_E_INVALID, NULL, "--%s needs --calibration FILE%s",
                  needs ? "act" : "kv-cache-scales", imatrix ? ", an --imatrix does not do" : "");
}

static const float *cache_amax(void *ctx, const char *tensor) {
  return mtk_calibration_cache(mtk_cmd_calibration_state(ctx), tensor);
}

mtk_status mtk_cmd_act_apply(mtk_model *model, const mtk_quantize_report *rows,
                             mtk_cmd_calibration *c, const mtk_cmd_line *line, mtk_error *err) {
  mtk_activation_options o = {.struct_size = sizeof o,
                              .type = mtk_options_string(line->options, "act"),
                              .headroom = mtk_options_float(line->options, "act-headroom"),
                              .stats = c ? mtk_cmd_calibration_stats : NULL,
                              .stats_ctx = c};
  MTK_TRY(mtk_model_set_activations(model, rows, &o, err));
  if (!c || !mtk_options_string(line->options, "kv-cache-scales")) return MTK_OK;
  return mtk_model_set_cache_scales(model, cache_amax, c, err);
}
