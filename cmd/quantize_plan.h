/* quantize_plan.h: a plan of mtk quantize: which type every tensor gets, and what is known of the
 * types that it could have had. */
#ifndef MTK_CMD_QUANTIZE_PLAN_H
#define MTK_CMD_QUANTIZE_PLAN_H

#include "quantize.h"

/* One of the types that --candidates names, in a group. */
typedef struct plan_option {
  const char *candidate;
  const char **types; /* per tensor of the group: rows that do not fill blocks have another one */
  uint64_t bytes;
  double error; /* share of the output's energy, by calibration */
  double kld;   /* nats */
} plan_option;

/* Tensors that share a type. */
typedef struct plan_group {
  const char **tensors;
  size_t n_tensors;
  plan_option *options;
  size_t n_options, chosen;
} plan_group;

struct mtk_cmd_plan {
  mtk_arena *arena; /* owns all below */
  const mtk_quantizer_v1 *method, *rtn; /* rtn has what the method has not */
  const char *candidates;               /* "a,b,c" */
  const mtk_format_v1 *format;          /* of the output */
  const mtk_cmd_line *line;
  plan_group *groups;
  size_t n_groups;
  uint64_t fixed_bytes;          /* of tensors that are in no group */
  uint64_t params, budget_bytes; /* budget 0: the types were given */
  mtk_budget_point *curve;       /* heap; with fixed_bytes */
  size_t n_curve;
};

/* quantize_plan.c */
/* The row of a type in the method's table or else in rtn's; NULL: neither has it. */
const mtk_quant_target *plan_target(const mtk_quantizer_v1 **quantizer, const mtk_cmd_plan *plan,
                                    const char *type);
/* Is there such a type, and can the output hold it? place: where it is named. */
mtk_status plan_check_type(const mtk_cmd_plan *plan, const char *type, const char *place,
                           mtk_error *err);

/* quantize_budget.c: fill the groups with what is measured over the calibration text. */
mtk_status plan_measure(mtk_cmd_plan *plan, const char *source, const mtk_model *model,
                        const mtk_quantize_options *o, const mtk_cmd_line *line,
                        const mtk_cmd_calibration *c, uint64_t budget_bytes, mtk_error *err);

#endif
