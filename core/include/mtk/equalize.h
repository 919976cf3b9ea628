/* mtk/equalize.h: changes of a model before it is quantized that leave its function as it is (up to
 * rounding) and make it easier to quantize. They are folded into its tensors, so that it stays a
 * model of its architecture. Host side (commands); one thread. */
#ifndef MTK_EQUALIZE_H
#define MTK_EQUALIZE_H

#include <mtk/calibrate.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the factor s of an input channel is found; its inputs are divided by it where they are made
 * (norm, up, v), the columns of the weights that read it are multiplied. */
typedef enum mtk_equalize_rule {
  /* s = rms(x)^alpha; without alpha the one of 0, 1/8, .. 1 with the least expected squared error
   * of the outputs, tr(dW H dW^T), H the second moment (after Lin et al. 2023, AWQ). */
  MTK_EQUALIZE_AWQ,
  MTK_EQUALIZE_SMOOTH /* s = max|x|^alpha / max|w|^(1-alpha) (Xiao et al. 2022, SmoothQuant) */
} mtk_equalize_rule;

typedef struct mtk_equalize_options {
  size_t struct_size;
  mtk_equalize_rule rule;
  double alpha;                     /* < 0: searched for, or 1/2 for MTK_EQUALIZE_SMOOTH */
  const mtk_quantize_options *into; /* which weights will be quantized, and into what */
  const mtk_quantizer_v1 *trial;    /* rounds while searching; NULL = that of `into` */
  mtk_pool *pool;
} mtk_equalize_options;

typedef struct mtk_equalize_report {
  size_t n_sites, n_changed;         /* inputs that have a place for factors; that got some */
  double error_before, error_after;  /* sums of tr(dW H dW^T) over the sites, if searched */
} mtk_equalize_report;

/* Run all stages of c, a calibration of models[0], find factors, and fold the same ones into every
 * model of `models` (copies of one another). c is of no use afterwards: what it saw has changed. */
mtk_status mtk_model_equalize(mtk_model *const *models, int n_models, mtk_calibration *c,
                              const mtk_equalize_options *options, mtk_equalize_report *report,
                              mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
