/* model/weights.h: from a model to its graph and its bound weights: shared by core/run and
 * core/train.
 *
 * A store owns mtk_weight records by name; it may have a parent (borrowed) whose records it sees:
 * adapters keep their pairs in stores of their own on top of the base weights. Built by one thread
 * (which uses the pool), then read by any. */
#ifndef MTK_MODEL_WEIGHTS_H
#define MTK_MODEL_WEIGHTS_H

#include <mtk/ext/arch.h>
#include <mtk/model.h>

#include "graph/graph.h"
#include "graph/weight.h"

typedef mtk_status mtk_build_fn(mtk_graph *g, const mtk_model *model, mtk_error *err);

/* The forward graph of a model, with the low-rank updates of `adapter` (NULL = none). build NULL
 * = that of the model's architecture (MTK_E_UNSUPPORTED when no plugin knows it). */
mtk_status mtk_model_build_graph(mtk_graph **out, const mtk_model *model, mtk_build_fn *build,
                                 const mtk_adapter_spec *adapter, mtk_error *err);

typedef struct mtk_weights mtk_weights;

typedef struct mtk_weights_options {
  const mtk_kernels *kernels; /* borrowed while loading and repacking */
  mtk_pool *pool;
  int arith; /* -1 = each storage type's default, else mtk_arith where the type has it, else a32 */
} mtk_weights_options;

mtk_status mtk_weights_create(mtk_weights **out, const mtk_weights *parent,
                              const mtk_weights_options *options, mtk_error *err);
void mtk_weights_destroy(mtk_weights *store);
/* Own records (not the parent's), in the order they were added. */
size_t mtk_weights_count(const mtk_weights *store);
mtk_weight *mtk_weights_at(const mtk_weights *store, size_t index);
/* Own or the parent's; NULL if absent. */
mtk_weight *mtk_weights_find(const mtk_weights *store, const char *name);

/* Add a matrix [n, k] without a source tensor (a low-rank pair): f32, a32, used by LINEAR. values
 * are copied; NULL = zeros (fill .value, then mtk_weight_repack). */
mtk_status mtk_weights_add_matrix(mtk_weight **out, mtk_weights *store, const char *name, int64_t n,
                                  int64_t k, const float *values, bool trainable, mtk_error *err);
/* Load every weight of the graph that the store does not have yet from the model's tensors:
 * vectors and trainable matrices as f32 (with gradients where the graph says trainable), linear
 * weights packed in storage type, panel ranges in parallel, with progress. Embeddings stay mapped.
 * MTK_E_NOT_FOUND / MTK_E_FORMAT name the tensor. */
mtk_status mtk_weights_load(mtk_weights *store, const mtk_graph *g, const mtk_model *model,
                            mtk_error *err);
/* One pointer per weight of the graph, in its order, for mtk_exec_options.weights; free with
 * mtk_free. */
mtk_status mtk_weights_bind(mtk_weight ***out, const mtk_weights *store, const mtk_graph *g,
                            mtk_error *err);

/* After w->value changed: pack it again (parallel over panels). No-op if not used by LINEAR. */
void mtk_weight_repack(mtk_weight *w, mtk_pool *pool);
/* Elements i0 .. i1-1. join: once per optimizer step, after the last micro-batch: grad +=
 * grad_embed where they are apart. */
void mtk_weight_zero_grad(mtk_weight *w, int64_t i0, int64_t i1);
void mtk_weight_join_grads(mtk_weight *w, const mtk_kernels *kernels, int64_t i0, int64_t i1);

#endif
