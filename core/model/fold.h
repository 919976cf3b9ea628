/* model/fold.h: linear changes of a model's tensors that leave its function as it is: channels
 * multiplied on one side and divided on the other, or rotated on both. A folded tensor is f32 and
 * computed from its source when somebody reads it.
 *
 * One thread changes the model; the read functions may be entered by any. */
#ifndef MTK_MODEL_FOLD_H
#define MTK_MODEL_FOLD_H

#include "graph/graph.h"
#include "model/model_impl.h"

/* Blocks of the orthonormal Hadamard matrix of `size` (a power of two) along indices first ..
 * first + count, count a multiple of size; size 0 = none. */
typedef struct mtk_fold_rotation {
  int64_t first, count, size;
} mtk_fold_rotation;

/* Applied to a tensor of `matrices` matrices [rows, k] in this order. Of vectors (biases, norms)
 * the elements are columns. Arrays are borrowed: they live as long as the model. */
typedef struct mtk_fold {
  int64_t matrices;
  const float *columns; /* [matrices][k] factors, or with shared_columns [k]; NULL = none */
  bool shared_columns;
  const float *rows; /* [matrices * rows] factors; NULL = none */
  mtk_fold_rotation rotate_columns;
  mtk_fold_rotation rotate_rows; /* of each matrix: its rows are a multiple of size */
} mtk_fold;
mtk_status mtk_model_fold(mtk_model *model, const char *name, const mtk_fold *fold, mtk_error *err);
/* What a tensor was before it was folded (itself if it was not). */
const mtk_tensor *mtk_fold_original(const mtk_tensor *t);
/* Folded tensors get their original type back, bf16 if that is no plain float type. */
mtk_status mtk_model_settle_folds(mtk_model *model, mtk_error *err);

/* x[count]: one Hadamard block of `size` after the other, in place; y = x H / sqrt(size). */
void mtk_hadamard(float *x, int64_t count, int64_t size);

/* ---- nodes of a graph ----------------------------------------------------------------------- */

static inline bool mtk_node_reads(const mtk_graph_node *n, mtk_node_value v) {
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i] == v) return true;
  return false;
}

static inline bool mtk_node_is_linear(const mtk_graph_node *n) {
  return n->op == MTK_OP_LINEAR || n->op == MTK_OP_MOE_LINEAR;
}

/* ---- where factors can go (fold_sites.c) ---------------------------------------------------- */

/* The input of linear layers whose channels can be divided by factors where they are made: what
 * multiplies the columns of `readers` divides `writer`, a norm's weight or the rows of a linear
 * layer that values or a gate's products come from. Independent channels: n_channel per matrix. */
typedef struct mtk_fold_site {
  const char **readers; /* all that read the input */
  int n_readers;
  int64_t k;        /* columns of the readers */
  int64_t n_expert; /* matrices of writer and readers, each with channels of its own; 0 = one */
  bool is_norm;
  const char *writer, *bias; /* bias: NULL = none */
  int64_t first_row;         /* of the writer's rows: channel 0 */
  int64_t head, repeat; /* each `head` channels of the writer feed `repeat` heads of the readers */
} mtk_fold_site;
/* All sites of a graph, in the order of its nodes; in the arena. */
mtk_status mtk_fold_sites(mtk_fold_site **out, size_t *n, mtk_arena *arena, const mtk_graph *g,
                          mtk_error *err);
/* Channels that can have factors of their own, of one matrix, and the one that column j reads. */
int64_t mtk_fold_channels(const mtk_fold_site *site);
int64_t mtk_fold_channel(const mtk_fold_site *site, int64_t j);
/* factors: [max(n_expert, 1)][n_channel], > 0. A norm's weight keeps its type: factors are changed
 * so that the quotient is exact in it. */
mtk_status mtk_model_fold_site(mtk_model *model, const mtk_fold_site *site, float *factors,
                               mtk_error *err);

#endif
