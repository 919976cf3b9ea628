/* mtk/budget.h: mixed precision under a budget of bytes: what a group of tensors loses in another
 * storage type, measured, and which type each group gets. Host side (commands). */
#ifndef MTK_BUDGET_H
#define MTK_BUDGET_H

#include <mtk/calibrate.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- losses ---------------------------------------------------------------------------------- */

/* A model with some of its weights taken from another one (of the same shapes). */
typedef struct mtk_variant {
  const mtk_model *model;
  const char *const *names; /* [n_names] canonical */
  size_t n_names;
} mtk_variant;

/* kld[v] = mean over the second half of every sequence of KL(model || variant v), in nats, both in
 * 16-bit activations (a16), so that only the weights differ. The model is computed a block at a time
 * for all variants together, of which so many go at once as keep their activations within 1 GiB.
 * MTK_E_UNSUPPORTED if the model gives no logits. */
mtk_status mtk_sensitivity(double *kld, const mtk_model *model,
                           const mtk_calibration_options *options, const mtk_variant *variants,
                           size_t n, mtk_error *err);

/* ---- the choice ------------------------------------------------------------------------------ */

/* What a group of tensors takes and loses in one of the types it can have. */
typedef struct mtk_budget_option {
  uint64_t bytes;
  double loss; /* >= 0 */
} mtk_budget_option;
typedef struct mtk_budget_group {
  const mtk_budget_option *options; /* at least one */
  size_t n_options;
} mtk_budget_group;
typedef struct mtk_budget_point {
  uint64_t bytes;
  double loss;
} mtk_budget_point;

/* choice[n]: one option per group, so that the bytes are at most `budget` and the sum of losses is
 * least (among equals: the fewest bytes). Exact but for losses being rounded to 2^-60 of the sum of
 * the groups' largest. MTK_E_LIMIT when even the smallest options take more. */
mtk_status mtk_budget_solve(size_t *choice, const mtk_budget_group *groups, size_t n,
                            uint64_t budget, mtk_error *err);
/* What can be had: the corners of the lower convex hull of (bytes, loss) over all choices, each the
 * best one for its bytes; ascending bytes. *points: mtk_free by the caller. */
mtk_status mtk_budget_curve(mtk_budget_point **points, size_t *n_points,
                            const mtk_budget_group *groups, size_t n, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
