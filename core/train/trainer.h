/* train/trainer.h: the inside of a trainer, for the files of core/train. */
#ifndef MTK_TRAIN_TRAINER_H
#define MTK_TRAIN_TRAINER_H

#include "graph/exec.h"
#include "model/weights.h"
#include "train/optimizer.h"

struct mtk_trainer {
  const mtk_model *model; /* borrowed */
  mtk_train_options options;
  char *lora_targets; /* own copy, or NULL */
  mtk_kernels kernels;
  mtk_graph *graph; /* forward, loss, derivatives */
  mtk_weights *weights;
  mtk_weight **bound;
  mtk_workspace workspace;
  mtk_exec *exec;
  int64_t micro_tokens; /* rows of the largest micro-batch */
  mtk_param *params;    /* trainable tensors, in graph order */
  mtk_weight **param_weights;
  size_t n_params;
  int64_t step; /* optimizer steps done */
  /* One micro-batch, room for micro_tokens rows. */
  int32_t *ids, *targets;
  float *target_weights;
  int64_t *output_rows;
  mtk_step_seq *seqs;
};

/* Is this tensor a member of a low-rank pair? */
bool mtk_is_lora_name(const char *name);

#endif
