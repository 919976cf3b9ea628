/* run/stages.h: a model computed a stage at a time (embedding, each block, head) over a fixed set
 * of sequences, with only one stage's weights in memory: for calibration and measurements on models
 * that do not fit. The values that cross from stage to stage are kept as f32 for all tokens.
 *
 * One thread drives. The model is borrowed. */
#ifndef MTK_RUN_STAGES_H
#define MTK_RUN_STAGES_H

#include <mtk/calibrate.h>

#include "graph/exec.h"
#include "model/weights.h"

typedef struct mtk_stages mtk_stages;

/* Logits of n_rows rows of one sequence in one lane. */
typedef void mtk_stages_result_fn(void *ctx, int lane, int64_t n_rows, const float *logits);

/* Lane 0 is the model. Every other lane is the same with some weights of another model, computed
 * beside it from the first stage on that has one of them. */
typedef struct mtk_stages_options {
  mtk_build_fn *build; /* NULL = the architecture's */
  mtk_pool *pool;
  int arith, isa;         /* as in mtk_engine_options; -1 = default */
  const int32_t *ids;     /* all sequences, one after the other; borrowed */
  const int64_t *lengths; /* [n_seqs]; borrowed */
  int64_t n_seqs;
  const mtk_variant *lanes; /* [n_lanes] borrowed; lane i + 1 */
  int n_lanes;
  /* Gets the logits of the second half of every sequence, a few rows at a time, of lane 0 before
   * those of the others. NULL: only observed, all positions. */
  mtk_stages_result_fn *result;
  void *result_ctx;
} mtk_stages_options;

mtk_status mtk_stages_create(mtk_stages **out, const mtk_model *model, const mtk_stages_options *o,
                             mtk_error *err);
void mtk_stages_destroy(mtk_stages *s);
/* The embedding is stage 0, block b is stage b + 1, the head is the last one. */
int mtk_stages_count(const mtk_stages *s);
/* The stage that uses a weight; -1 if none does. */
int mtk_stages_of(const mtk_stages *s, const char *weight);
int64_t mtk_stages_vocab(const mtk_stages *s); /* logits per row; 0 if the model gives none */
const mtk_kernels *mtk_stages_kernels(const mtk_stages *s);
/* Run the next stage over all sequences. observe (may be NULL) is called before every node of lane
 * 0, on the driving thread. */
mtk_status mtk_stages_next(mtk_stages *s, mtk_observe_fn *observe, void *ctx, mtk_error *err);

#endif
