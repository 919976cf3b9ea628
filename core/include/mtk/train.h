/* mtk/train.h: train a model: the forward that serving runs, its derivative, optimizers,
 * checkpoints.
 *
 * A trainer is driven by one thread and uses the pool inside. Same model, data, options and seed
 * give the same bytes for any thread count; k micro-batches give the bits of one batch. */
#ifndef MTK_TRAIN_H
#define MTK_TRAIN_H

#include <mtk/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mtk_optimizer { MTK_OPTIMIZER_ADAMW = 0, MTK_OPTIMIZER_MUON = 1 } mtk_optimizer;
typedef enum mtk_lr_schedule {
  MTK_LR_COSINE = 0,
  MTK_LR_LINEAR = 1,
  MTK_LR_CONSTANT = 2
} mtk_lr_schedule;

typedef struct mtk_train_options {
  size_t struct_size;
  mtk_pool *pool;    /* borrowed */
  int isa;           /* as in mtk_engine_options */
  int64_t lora_rank; /* 0 = train all weights */
  float lora_alpha;  /* scale = alpha / rank */
  /* comma-separated suffixes ("attn_q,ffn_up"); NULL = all linear layers */
  const char *lora_targets;
  bool frozen_embeddings;  /* full training: leave token_embd and output alone */
  mtk_optimizer optimizer; /* MUON: matrices inside blocks by Muon, the rest by AdamW */
  float lr, muon_lr;       /* peaks */
  float beta1, beta2, eps, weight_decay; /* decay on matrices only */
  float grad_clip;                       /* global norm; 0 = off */
  mtk_lr_schedule schedule;
  int64_t warmup_steps, total_steps;
  float lr_min_ratio;   /* final lr / peak */
  int64_t micro_tokens; /* tokens computed at once, no sequence has more; 0 = 4096 */
  uint64_t seed;        /* initial LoRA A (Kaiming uniform as PEFT), B = 0 */
} mtk_train_options;

/* One sequence: position i predicts ids[i+1] with loss weight weight[i+1] (0 = not learned). */
typedef struct mtk_train_seq {
  const int32_t *ids;
  const float *weight; /* n_ids; NULL = all 1 */
  int32_t n_ids;
} mtk_train_seq;

typedef struct mtk_train_stats {
  int64_t step; /* after this call */
  double loss;  /* mean over weighted targets, nats */
  double grad_norm, lr;
  int64_t n_tokens, n_targets;
} mtk_train_stats;

typedef struct mtk_trainer mtk_trainer;
/* model is borrowed. */
mtk_status mtk_trainer_create(mtk_trainer **out, const mtk_model *model,
                              const mtk_train_options *options, mtk_error *err);
void mtk_trainer_destroy(mtk_trainer *t);
/* Forward, backward over all sequences (in micro-batches), one optimizer step. MTK_E_FORMAT naming
 * the sequence for bad ids, MTK_E_LIMIT for more than micro_tokens; MTK_E_CHECK when the loss is
 * not finite. */
mtk_status mtk_trainer_step(mtk_train_stats *stats, mtk_trainer *t, const mtk_train_seq *seqs,
                            int n_seqs, mtk_error *err);
/* Forward only: sums of weighted NLL and of weights; logprobs (may be NULL): per predicted position
 * of all sequences in order (n_ids - 1 each), the same bits as the serving path. */
mtk_status mtk_trainer_eval(double *nll, double *weight, float *logprobs, mtk_trainer *t,
                            const mtk_train_seq *seqs, int n_seqs, mtk_error *err);
int64_t mtk_trainer_step_count(const mtk_trainer *t);
int64_t mtk_trainer_trainable_params(const mtk_trainer *t);
/* One trainable tensor's values and gradient after the last step (for tests); false if not
 * trained. */
bool mtk_trainer_tensor(const float **value, const float **grad, int64_t *n, const mtk_trainer *t,
                        const char *name);
/* Trained state (weights, moments, step) as safetensors in the folder, atomically, plus
 * `state_json` (the caller's own: data cursor, options). load checks that shapes and options
 * fit. */
mtk_status mtk_trainer_save(const mtk_trainer *t, const char *dir, const char *state_json,
                            mtk_error *err);
mtk_status mtk_trainer_load(mtk_bytes *state_json, mtk_trainer *t, const char *dir, mtk_error *err);
/* Results. adapter: LoRA only, caller destroys. apply: put trained weights into `model` (a second
 * load of the same model) in dtype (or keep each tensor's own if MTK_DTYPE_COUNT). */
mtk_status mtk_trainer_adapter(mtk_adapter **out, const mtk_trainer *t, mtk_error *err);
mtk_status mtk_trainer_apply(const mtk_trainer *t, mtk_model *model, mtk_dtype dtype,
                             mtk_error *err);

/* Random weights for a model built from config.json + tokenizer files (training from scratch):
 * embedding N(0, 0.02), matrices N(0, 1/sqrt(fan-in)), attn_output and ffn_down scaled by
 * 1/sqrt(2 L), norms 1, biases 0; f32, keyed by (seed, tensor index, element). */
mtk_status mtk_model_init_random(mtk_model *model, uint64_t seed, mtk_error *err);

/* The same from files: config.json, and the tokenizer, template and generation defaults of
 * `folder`. */
mtk_status mtk_model_init_from_config(mtk_model **out, const char *config_path, const char *folder,
                                      uint64_t seed, mtk_error *err);

/* ---- data ----------------------------------------------------------------------------------- */

/* Training sequences from files: chat JSONL ({"messages":[...]}: loss on assistant tokens only),
 * text JSONL ({"text":...}), prompt/completion JSONL, tokens ({"ids":[..],"mask":[..]}), or plain
 * text (split in windows of max_len). Errors name file and line. All in memory as ids. */
typedef struct mtk_dataset mtk_dataset;
typedef struct mtk_dataset_options {
  size_t struct_size;
  int64_t max_len;   /* longer sequences are cut (counted in *truncated) */
  bool train_on_all; /* loss on every token, not only the assistant's */
} mtk_dataset_options;
mtk_status mtk_dataset_create(mtk_dataset **out, const char *const *paths, int n_paths,
                              const mtk_chat *chat, const mtk_tokenizer *tok,
                              const mtk_dataset_options *options, mtk_error *err);
void mtk_dataset_destroy(mtk_dataset *d);
int64_t mtk_dataset_count(const mtk_dataset *d);
int64_t mtk_dataset_tokens(const mtk_dataset *d);
int64_t mtk_dataset_truncated(const mtk_dataset *d);
mtk_train_seq mtk_dataset_at(const mtk_dataset *d, int64_t index); /* borrowed */
const char *mtk_dataset_sha256(const mtk_dataset *d);              /* of ids and weights */
/* Indices of the batch at `cursor` (a sample counter that goes on over epochs; order of each epoch
 * is a permutation keyed by (seed, epoch)): takes samples until batch_tokens would be passed (at
 * least one). Returns how many; advances *cursor. indices has room for `room`. */
int mtk_dataset_batch(int64_t *indices, int room, int64_t *cursor, const mtk_dataset *d,
                      int64_t batch_tokens, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
