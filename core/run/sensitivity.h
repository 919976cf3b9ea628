/* run/sensitivity.h: sensitivities of a graph that no plugin builds, for tests. */
#ifndef MTK_RUN_SENSITIVITY_H
#define MTK_RUN_SENSITIVITY_H

#include <mtk/calibrate.h>

#include "model/weights.h"

/* build NULL = the architecture's. */
mtk_status mtk_sensitivity_built(double *kld, const mtk_model *model,
                                 const mtk_calibration_options *o, const mtk_variant *variants,
                                 size_t n, mtk_build_fn *build, mtk_error *err);

#endif
