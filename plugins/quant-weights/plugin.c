/* plugin.c: the weight quantizers: rtn (round to nearest), sweep (block scales of least squared
 * error), four-over-six (arXiv 2512.02010), gptq (error propagation). Static tables; functions may
 * be entered by any thread. */
#include "quant.h"

/* clang-format off */
#define MX_SCALE \
  {"mx-scale", 0, MTK_OPT_ENUM, "RULE", "floor", 0, 0, "floor|rceil|even|rne-log2", \
   "mxfp4: power of two of a block: floor(log2 amax)-2 (OCP), ceil(log2(amax/6)), " \
   "from a mantissa of 1.75 up, round(log2 amax)-2"}
#define END {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}

static const mtk_option_def rtn_options[] = {MX_SCALE, END};
static const mtk_option_def sweep_options[] = {
  MX_SCALE,
  {"sweep", 0, MTK_OPT_ENUM, "RANGE", "window", 0, 0, "window|full",
   "block scales tried: around the plain one, or all"},
  END};

static const mtk_quant_target fp4_targets[] = {
  TARGET_NVFP4,
  TARGET_MXFP4,
  {0},
};
static const mtk_quant_target nvfp4_targets[] = {
  TARGET_NVFP4,
  {0},
};
/* clang-format on */

/* The functions of a method that rounds every block by itself. */
#define METHOD(name)                                                                               \
  static void name##_finish(const mtk_quant_tensor *t, float *state) {                             \
    quant_finish(t, state, &quant_##name);                                                         \
  }                                                                                                \
  static mtk_status name##_encode(const mtk_quant_tensor *t, void *dst, const float *x,            \
                                  int64_t row0, int64_t n_rows, mtk_error *err) {                  \
    return quant_encode(t, dst, x, row0, n_rows, &quant_##name, err);                              \
  }
METHOD(rtn)
METHOD(sweep)
METHOD(four_over_six)

static const mtk_quantizer_v1 rtn = {
    .struct_size = sizeof rtn,
    .method = "rtn",
    .title = "round to nearest",
    .targets = quant_targets,
    .options = rtn_options,
    .state_floats = quant_state_floats,
    .update = quant_update,
    .finish = rtn_finish,
    .encode = rtn_encode,
    .choose = quant_choose,
};

static const mtk_quantizer_v1 sweep = {
    .struct_size = sizeof sweep,
    .method = "sweep",
    .title = "block scales of least squared error",
    .targets = fp4_targets,
    .options = sweep_options,
    .state_floats = quant_state_floats,
    .update = quant_update,
    .finish = sweep_finish,
    .encode = sweep_encode,
};

static const mtk_quantizer_v1 four_over_six = {
    .struct_size = sizeof four_over_six,
    .method = "four-over-six",
    .title = "blocks scaled to 4 or to 6, whichever is nearer",
    .targets = nvfp4_targets,
    .state_floats = quant_state_floats,
    .update = quant_update,
    .finish = four_over_six_finish,
    .encode = four_over_six_encode,
};

static const mtk_quantizer_v1 gptq = {
    .struct_size = sizeof gptq,
    .method = "gptq",
    .title = "errors propagated to later columns (needs calibration)",
    .targets = gptq_targets,
    .options = gptq_options,
    .state_floats = quant_state_floats,
    .update = quant_update,
    .finish = sweep_finish,
    .encode = gptq_encode,
    .choose = quant_choose,
    .needs = MTK_QUANT_NEEDS_IMPORTANCE | MTK_QUANT_NEEDS_SECOND_MOMENT,
    .prepare = gptq_prepare,
    .release = gptq_release,
};

MTK_PLUGIN_DEFINE("quant-weights", MTK_PLUGIN_VERSION,
                  "quantizers: rtn, sweep, four-over-six, gptq", "Apache-2.0",
                  {MTK_EXT_QUANTIZER, &rtn}, {MTK_EXT_QUANTIZER, &sweep},
                  {MTK_EXT_QUANTIZER, &four_over_six}, {MTK_EXT_QUANTIZER, &gptq});
