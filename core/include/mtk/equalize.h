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

/* What is rotated by Hadamard matrices, in blocks of neighbouring channels. */
enum {
  MTK_ROTATE_VALUES = 1,  /* attention's values: rows of v, columns of the output projection */
  MTK_ROTATE_RESIDUAL = 2 /* the residual stream: all that reads or writes it (Ashkboos et al. 2024,
                             QuaRot); norms' weights move into what reads them; a head that shares
                             the embedding gets a matrix of its own */
};
/* size: of a block, a power of two. MTK_E_UNSUPPORTED names what cannot be rotated: widths that are
 * no multiple of size, a norm behind a projection, ... */
mtk_status mtk_model_rotate(mtk_model *model, unsigned what, int64_t size, mtk_error *err);

/* When all is quantized: the biases of quantized layers lose what rounding added to the mean of the
 * outputs, dW mean(x); layers without a bias stay. source: the model before (changed like it);
 * stats: of the inputs, with means. */
mtk_status mtk_model_correct_biases(size_t *n_corrected, mtk_model *model, const mtk_model *source,
                                    const mtk_quantize_report *rows,
                                    const mtk_input_stats *(*stats)(void *ctx, const char *tensor),
                                    void *ctx, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
