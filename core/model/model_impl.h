/* model/model_impl.h: what the files of core/model share with each other and with other parts of
 * core that need the tables of an architecture (train). Not for plugins. */
#ifndef MTK_MODEL_IMPL_H
#define MTK_MODEL_IMPL_H

#include <mtk/ext/arch.h>
#include <mtk/kernel.h>
#include <mtk/model.h>

/* One tensor of an architecture's table for one block: its base name (without ".weight"), the row
 * it comes from, and the shape of its weight: n_dims 2 {rows, cols}, or 1 {rows}; of experts one
 * more in front. */
typedef struct mtk_arch_slot {
  const mtk_arch_tensor *row;
  int64_t block; /* -1 outside blocks */
  char name[128];
  int n_dims;
  int64_t shape[3];
} mtk_arch_slot;

/* Walk all tensors of the table, blocks ascending inside each row: start with {0}; false at the
 * end, or on failure (*status tells which). n_block comes from meta's block_count. */
typedef struct mtk_arch_walk {
  size_t row;
  int64_t block;
  bool dense; /* also what MTK_TENSOR_DENSE says is not demanded of a model with experts */
} mtk_arch_walk;
bool mtk_arch_next(mtk_arch_slot *out, mtk_arch_walk *walk, const mtk_arch_v1 *arch,
                   const mtk_meta *meta, mtk_status *status, mtk_error *err);
/* Standard deviation of a matrix with random weights: mtk_model_init_random's rule. */
double mtk_arch_init_sigma(const mtk_arch_slot *slot, uint64_t n_block);
/* Architecture and hyperparameters from the attachment "config.json"; half-split pairing. */
mtk_status mtk_model_read_config(mtk_model *model, mtk_error *err);
/* A positive size from hyperparameters: "embedding_length", or sums of products "a*b+2*c". */
mtk_status mtk_arch_size(int64_t *out, const mtk_meta *meta, const char *expr, mtk_error *err);
/* mtk_arch_row_at for those that ask for no numbers; arch may be NULL. */
const mtk_arch_tensor *mtk_arch_row(const mtk_arch_v1 *arch, const char *name);
/* One matrix of stacked experts as a tensor of its own: borrows t and its values. */
mtk_status mtk_expert_slice(mtk_tensor *out, mtk_arena *arena, const mtk_tensor *t, int64_t expert,
                            mtk_error *err);
/* mtk_tensor_fetch_f32 by the kernels of a level. */
mtk_status mtk_tensor_widen(float *out, const mtk_kernels *kernels, const mtk_tensor *t,
                            int64_t row0, int64_t n_rows, void *tmp, mtk_error *err);
/* Replace t, of a type without outside scales, by these values, all of them, in its type. */
mtk_status mtk_tensor_put(mtk_model *model, const mtk_tensor *t, const float *values,
                          mtk_error *err);
/* Forget all tensors, to add others; their descriptions live on in the arena. */
mtk_status mtk_model_clear_tensors(mtk_model *model, mtk_error *err);

/* Value of a row's fallback under what meta (and model, may be NULL) hold; *found = false if the
 * fallback is NULL, names an absent key, or asks for a tensor without a model. */
mtk_status mtk_arch_fallback(mtk_value *out, bool *found, const mtk_arch_hparam *row,
                             const mtk_meta *meta, const mtk_model *model, mtk_error *err);

/* Source row of row `r` in a head-wise reordering: n_head heads of head_dim rows, of which the
 * first rope_dim are paired. */
typedef struct mtk_pairing_map {
  int64_t head_dim, rope_dim;
  bool to_interleaved;
} mtk_pairing_map;
int64_t mtk_pairing_source(const mtk_pairing_map *map, int64_t r);
/* The map for rows flagged ROPE_Q or ROPE_K, from the model's hyperparameters. */
mtk_status mtk_pairing_map_get(mtk_pairing_map *out, const mtk_model *model, bool to_interleaved,
                               mtk_error *err);

#endif
