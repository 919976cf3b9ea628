/* run/calibrate.h: calibration of a graph that no plugin builds, for tests. */
#ifndef MTK_RUN_CALIBRATE_H
#define MTK_RUN_CALIBRATE_H

#include <mtk/calibrate.h>

#include "model/weights.h"

/* build NULL = the architecture's. */
mtk_status mtk_calibration_create_built(mtk_calibration **out, const mtk_model *model,
                                        mtk_build_fn *build, const mtk_calibration_options *o,
                                        mtk_error *err);

#endif
