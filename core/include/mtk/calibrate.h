/* mtk/calibrate.h: what flows into the linear layers of a model over a calibration text. The model
 * is computed block by block, so that only one block's weights are in memory. Host side (commands).
 * */
#ifndef MTK_CALIBRATE_H
#define MTK_CALIBRATE_H

#include <mtk/quantize.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtk_calibration_options {
  size_t struct_size;
  mtk_pool *pool;
  int arith, isa;         /* as in mtk_engine_options; -1 = default */
  const int32_t *ids;     /* all sequences, one after the other; borrowed */
  const int64_t *lengths; /* [n_seqs]; borrowed */
  int64_t n_seqs;
  double percentile; /* of mtk_input_stats.clip, in (0, 100]; 0 = 100 */
} mtk_calibration_options;

typedef struct mtk_calibration mtk_calibration;
mtk_status mtk_calibration_create(mtk_calibration **out, const mtk_model *model,
                                  const mtk_calibration_options *options, mtk_error *err);
void mtk_calibration_destroy(mtk_calibration *c);
/* Stages: the embedding, each block, the head. The stage that reads a tensor; -1 if none does. */
int mtk_calibration_stages(const mtk_calibration *c);
int mtk_calibration_stage_of(const mtk_calibration *c, const char *tensor);
/* Run the next stage. With second_moments the k x k matrices of that stage are kept until the next
 * call; everything else stays. */
mtk_status mtk_calibration_next(mtk_calibration *c, bool second_moments, mtk_error *err);
/* NULL if the tensor is no linear weight of a stage that was run. Borrowed. */
const mtk_input_stats *mtk_calibration_find(const mtk_calibration *c, const char *tensor);

/* Largest magnitudes of the keys and the values that the layer of a tensor ("blk.3.attn_k.weight")
 * put into its cache: two floats, borrowed; NULL if its stage was not run or has no cache. */
const float *mtk_calibration_cache(const mtk_calibration *c, const char *tensor);

/* ---- what types cost ------------------------------------------------------------------------ */

/* A model with some of its weights taken from another one (of the same shapes). */
typedef struct mtk_variant {
  const mtk_model *model;
  const char *const *names; /* [n_names] canonical */
  size_t n_names;
} mtk_variant;

/* kld[v] = mean over the second half of every sequence of KL(model || variant v), in nats, both in
 * 16-bit activations (a16), so that only the weights differ. The model is computed a block at a
 * time for all variants together, as many at once as keep their activations within 1 GiB.
 * MTK_E_UNSUPPORTED if the model gives no logits. */
mtk_status mtk_sensitivity(double *kld, const mtk_model *model,
                           const mtk_calibration_options *options, const mtk_variant *variants,
                           size_t n, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
