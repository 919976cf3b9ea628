/* graph/weight.h: one weight as the executor sees it: shared by core/run and core/train.
 *
 * Made by model/weights.c. Read-only while a step runs, but for the gradients, which the derivative
 * ops accumulate into. */
#ifndef MTK_GRAPH_WEIGHT_H
#define MTK_GRAPH_WEIGHT_H

#include <mtk/base.h>
#include <mtk/kernel.h>

struct mtk_tensor; /* <mtk/model.h>, a layer above */

typedef struct mtk_weight mtk_weight;
struct mtk_weight {
  const char *name;         /* canonical tensor name */
  const struct mtk_tensor *tensor; /* source in storage type, borrowed; NULL for low-rank pairs */
  /* One row of the source as f32, all scales multiplied in; tmp: row_bytes, 64-byte aligned. */
  mtk_status (*fetch_row)(float *out, const mtk_kernels *k, const mtk_weight *w, int64_t row,
                          void *tmp, mtk_error *err);
  size_t row_bytes;
  int64_t n, k;             /* matrix [n, k]; vectors n = 1 */
  unsigned use;             /* MTK_USE_ bits (graph/graph.h) */
  bool trainable;
  /* f32 [n, k]: vectors always; matrices when trainable or without tensor. Else NULL. */
  float *value;
  /* f32 [n, k], only if trainable. grad_embed: what EMBED_DW gives, apart from what LINEAR_DW gives
   * (grad) where one weight is both, so that each is one chain over the tokens of all
   * micro-batches; the same pointer as grad where it is only an embedding. mtk_weights_join_grads
   * adds them up. */
  float *grad, *grad_embed;
  /* Linear layers: kernel row and packed panels. Experts: n_expert matrices of n / n_expert rows,
   * one after the other, expert_bytes (a multiple of 64) apart; otherwise n_expert = 0. */
  const mtk_linear_kernel *kernel;
  void *packed;
  size_t packed_bytes;
  int64_t n_expert;
  size_t expert_bytes;
};

#endif
