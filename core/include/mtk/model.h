/* mtk/model.h: the canonical model. Readers produce it, writers, engines and trainers consume it.
 *
 * Architecture id + typed hyperparameters ("meta"), tensors under canonical (GGUF-style) names,
 * vocabulary, and named attachments (chat templates, licence, model card, generation defaults).
 * A model is built by one thread, then read by any number. It owns everything it was given. */
#ifndef MTK_MODEL_H
#define MTK_MODEL_H

#include <mtk/base.h>
#include <mtk/dtype.h>
#include <mtk/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- typed metadata ------------------------------------------------------------------------ */

/* Numbering of GGUF value types. */
typedef enum mtk_meta_type {
  MTK_META_U8 = 0,
  MTK_META_I8 = 1,
  MTK_META_U16 = 2,
  MTK_META_I16 = 3,
  MTK_META_U32 = 4,
  MTK_META_I32 = 5,
  MTK_META_F32 = 6,
  MTK_META_BOOL = 7,
  MTK_META_STRING = 8,
  MTK_META_ARRAY = 9,
  MTK_META_U64 = 10,
  MTK_META_I64 = 11,
  MTK_META_F64 = 12
} mtk_meta_type;

typedef struct mtk_value {
  mtk_meta_type type;
  union {
    uint64_t u; /* unsigned types and BOOL */
    int64_t i;  /* signed types */
    double f;   /* F32 (exact) and F64 */
    struct {
      const char *s;
      size_t len;
    } str;
    struct {
      mtk_meta_type type; /* of the items; ARRAY allowed */
      size_t n;
      const struct mtk_value *items;
    } arr;
  } as;
} mtk_value;

/* An ordered map from key to value. Strings and arrays are deep-copied in. */
typedef struct mtk_meta mtk_meta;
mtk_meta *mtk_meta_create(void);
void mtk_meta_destroy(mtk_meta *meta);
mtk_status mtk_meta_set(mtk_meta *meta, const char *key, const mtk_value *value, mtk_error *err);
/* U32 if fits */
mtk_status mtk_meta_set_uint(mtk_meta *meta, const char *key, uint64_t v, mtk_error *err);
mtk_status mtk_meta_set_float(mtk_meta *meta, const char *key, double v, mtk_error *err); /* F32 */
mtk_status mtk_meta_set_bool(mtk_meta *meta, const char *key, bool v, mtk_error *err);
mtk_status mtk_meta_set_string(mtk_meta *meta, const char *key, const char *s, mtk_error *err);
void mtk_meta_remove(mtk_meta *meta, const char *key);
const mtk_value *mtk_meta_get(const mtk_meta *meta, const char *key); /* borrowed; NULL if absent */
size_t mtk_meta_count(const mtk_meta *meta);
const char *mtk_meta_key(const mtk_meta *meta, size_t index);
const mtk_value *mtk_meta_at(const mtk_meta *meta, size_t index);
/* Typed reads with a fallback for absent keys; a value of another kind gives MTK_E_FORMAT. */
mtk_status mtk_meta_uint(uint64_t *out, const mtk_meta *meta, const char *key, uint64_t fallback,
                         mtk_error *err);
mtk_status mtk_meta_float(double *out, const mtk_meta *meta, const char *key, double fallback,
                          mtk_error *err);
const char *mtk_meta_str(const mtk_meta *meta, const char *key, const char *fallback);

/* Canonical hyperparameter keys (a GGUF file stores "<arch>." + key): context_length,
 * embedding_length, block_count, feed_forward_length, attention.head_count,
 * attention.head_count_kv, attention.key_length, attention.layer_norm_rms_epsilon,
 * rope.dimension_count, rope.freq_base, rope.scaling.*, vocab_size, and without prefix in GGUF:
 * general.* ("general.name"). Only in memory: "rope.pairing" = "half" | "interleaved". */

/* ---- tensors -------------------------------------------------------------------------------- */

enum { MTK_MAX_DIMS = 6 };

/* Shape is outermost first: a matrix W[N,K] has shape {N,K}; a row is the innermost dimension.
 * Bytes either lie in memory (data, usually a file map) or are produced row by row (read), when the
 * file's layout differs from the storage type's (dtype.h). */
typedef struct mtk_tensor mtk_tensor;
struct mtk_tensor {
  const char *name; /* canonical ("blk.0.attn_q.weight") */
  mtk_dtype dtype;
  int n_dims;
  int64_t shape[MTK_MAX_DIMS];
  const void *data; /* or NULL: use read */
  uint64_t size_bytes;
  /* Outside scales: NULL, or f32 [ceil(N/scale_n)][ceil(K/scale_k)] multiplied onto the values. */
  const float *scales;
  int64_t scale_n, scale_k;
  float input_scale; /* activations' static scale of W4A4/W8A8 checkpoints; 0 = none */
  /* Write rows row0 .. row0+n_rows in storage type to dst. Any thread. */
  mtk_status (*read)(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows, mtk_error *err);
  void *read_ctx;          /* for read; owned by whoever set it (usually the model's arena) */
  const char *source_name; /* name in the file it came from; may be NULL */
};

int64_t mtk_tensor_rows(const mtk_tensor *t);      /* product of all but the last dim; 1 for 0-d */
int64_t mtk_tensor_row_elems(const mtk_tensor *t); /* last dim; 1 for 0-d */
size_t mtk_tensor_row_bytes(const mtk_tensor *t);
/* Rows in storage type: a pointer into data, or buf filled through read (buf: n_rows * row
 * bytes). */
mtk_status mtk_tensor_fetch(const void **out, const mtk_tensor *t, int64_t row0, int64_t n_rows,
                            void *buf, mtk_error *err);
/* Rows as f32 with all scales multiplied in; tmp: n_rows * row bytes (may be NULL if t->data). */
mtk_status mtk_tensor_fetch_f32(float *out, const mtk_tensor *t, int64_t row0, int64_t n_rows,
                                void *tmp, mtk_error *err);
/* Number of f32 in t->scales (0 if none). */
int64_t mtk_tensor_scale_count(const mtk_tensor *t);
/* Matrices of a tensor: the experts of a stack of three dimensions, else 1. */
int64_t mtk_tensor_matrices(const mtk_tensor *t);

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct mtk_model mtk_model;
mtk_model *mtk_model_create(void);
void mtk_model_destroy(mtk_model *model);
mtk_arena *mtk_model_arena(mtk_model *model); /* lives as long as the model */
/* The model closes the file when it is destroyed; on failure it stays the caller's. */
mtk_status mtk_model_keep_file(mtk_model *model, mtk_file *file, mtk_error *err);
/* Open a file that the model keeps. Borrowed; lives as long as the model. */
mtk_status mtk_model_open_file(const mtk_file **out, mtk_model *model, const char *path,
                               mtk_error *err);
/* The outputs of the command (borrowed, NULL is fine) get the scratch files that are made for the
 * model, so that a resumption finds them. */
void mtk_model_set_outputs(mtk_model *model, mtk_outputs *outputs);
mtk_outputs *mtk_model_outputs(const mtk_model *model);
/* Takes `part`, a model whose tensors the model's own point into. */
void mtk_model_keep_model(mtk_model *model, mtk_model *part);

const char *mtk_model_arch(const mtk_model *model); /* "" when unknown (bare tensors) */
mtk_status mtk_model_set_arch(mtk_model *model, const char *arch_id, mtk_error *err);
/* Where it came from: format id and path, set by the loader. */
const char *mtk_model_format(const mtk_model *model);
const char *mtk_model_path(const mtk_model *model);
mtk_status mtk_model_set_source(mtk_model *model, const char *format_id, const char *path,
                                mtk_error *err);
mtk_meta *mtk_model_meta(const mtk_model *model);

/* Copies the description (strings into the arena). Rejects duplicate names, sizes that do not match
 * dtype and shape, and (with data set) NULL data. */
mtk_status mtk_model_add_tensor(mtk_model *model, const mtk_tensor *tensor, mtk_error *err);
size_t mtk_model_tensor_count(const mtk_model *model);
const mtk_tensor *mtk_model_tensor_at(const mtk_model *model, size_t index);
const mtk_tensor *mtk_model_tensor(const mtk_model *model, const char *name); /* NULL if absent */
uint64_t mtk_model_param_count(const mtk_model *model);
/* Replace a tensor of the same name (used by quantizers, merges, pairing changes). */
mtk_status mtk_model_replace_tensor(mtk_model *model, const mtk_tensor *tensor, mtk_error *err);

/* Takes ownership of vocab. */
void mtk_model_set_vocab(mtk_model *model, mtk_vocab *vocab);
/* The vocabulary, now the caller's; the model has none afterwards. NULL if it had none. */
mtk_vocab *mtk_model_take_vocab(mtk_model *model);
const mtk_vocab *mtk_model_vocab(const mtk_model *model); /* NULL if it has none */

/* Named texts carried along: "chat_template", "chat_template.NAME", "generation_config.json",
 * "config.json" (the original, for a lossless way back), "LICENSE", "README.md", "provenance.json".
 * Replaces an older one; data is copied. */
mtk_status mtk_model_attach(mtk_model *model, const char *name, const char *data, size_t n,
                            mtk_error *err);
const char *mtk_model_attachment(const mtk_model *model, const char *name, size_t *n);
size_t mtk_model_attachment_count(const mtk_model *model);
const char *mtk_model_attachment_name(const mtk_model *model, size_t index);

/* Things a reader or writer could not carry over; listed to the user, never silent. */
mtk_status mtk_model_warn(mtk_model *model, const char *fmt, ...) MTK_PRINTF(2, 3);
size_t mtk_model_warning_count(const mtk_model *model);
const char *mtk_model_warning(const mtk_model *model, size_t index);

/* ---- architectures as tables (mtk.arch/1, ext/arch.h) --------------------------------------- */

struct mtk_arch_v1;
/* By canonical id, by Hugging Face class name ("LlamaForCausalLM"), by GGUF name; NULL if unknown.
 * Through the plugin registry; thread-safe after plugins are loaded. */
const struct mtk_arch_v1 *mtk_arch_find(const char *id);
const struct mtk_arch_v1 *mtk_arch_find_hf(const char *hf_class);
const struct mtk_arch_v1 *mtk_arch_find_gguf(const char *gguf_name);
/* config.json text -> canonical meta; unknown keys stay in the attached original. And back: starts
 * from the attached original (if any) and overwrites what the table names. */
mtk_status mtk_arch_meta_from_hf(mtk_meta *meta, const struct mtk_arch_v1 *arch,
                                 const char *config_json, size_t n, mtk_error *err);
mtk_status mtk_arch_config_to_hf(mtk_bytes *out, const struct mtk_arch_v1 *arch,
                                 const mtk_model *model, mtk_error *err);
/* "model.layers.3.self_attn.q_proj.weight" <-> "blk.3.attn_q.weight". NULL if the table has no row
 * (callers keep the name and warn). Result in the caller's buffer of `size` bytes. */
const char *mtk_arch_name_from_hf(char *buf, size_t size, const struct mtk_arch_v1 *arch,
                                  const char *hf_name);
const char *mtk_arch_name_to_hf(char *buf, size_t size, const struct mtk_arch_v1 *arch,
                                const char *name);
/* Row of a canonical tensor name ("blk.3.attn_q.weight"), or NULL; index gets the numbers in the
 * name: block and expert, -1 without. */
struct mtk_arch_tensor;
const struct mtk_arch_tensor *mtk_arch_row_at(long index[2], const struct mtk_arch_v1 *arch,
                                              const char *name);
/* A model without weights on disk, for measuring speed: hyperparameters of a Hugging Face
 * config.json, and every tensor of the architecture's table with random normal values (norms 1,
 * biases 0) that are produced when read, the same for the same options. Linear weights, embedding
 * and head (left out where tie_word_embeddings is true) have the type asked for, or bf16 with a
 * warning where its blocks do not fit their rows. MTK_E_UNSUPPORTED: no plugin knows the
 * architecture, or the type has no encoder. */
typedef struct mtk_synthetic_options {
  size_t struct_size;
  mtk_dtype dtype;
  int64_t n_block; /* blocks; 0 = as the config says */
  uint64_t seed;
} mtk_synthetic_options;
mtk_status mtk_model_synthetic(mtk_model **out, const char *config_path,
                               const mtk_synthetic_options *options, mtk_error *err);
/* Check that every tensor the table demands is there with the right shape; error names the
 * first. */
mtk_status mtk_arch_check(const struct mtk_arch_v1 *arch, const mtk_model *model, mtk_error *err);
/* For readers, once the tensors are added: the experts of a layer, which lie in tensors of their
 * own ("blk.3.ffn_up_exps.7.weight") or with gate and up in one, become the stacked tensors of the
 * table. Nothing is copied. transposed: tensors flagged HF_TRANSPOSED lie so. MTK_E_FORMAT if one
 * is missing or differs in shape or type. Input scales in which
 * experts differ become the tensor "blk.3.ffn_up_exps.input_scale" [expert_count]. */
mtk_status mtk_model_join_experts(mtk_model *model, const struct mtk_arch_v1 *arch, bool transposed,
                                  mtk_error *err);
/* For writers of Hugging Face folders: the way back, to the tensors that the first row of the table
 * names (hf_name with a second %d: one per expert; without hf_name: gate and up in one). */
mtk_status mtk_model_split_experts(mtk_model *model, const struct mtk_arch_v1 *arch,
                                   mtk_error *err);
/* Give the q/k rows the pairing ("half" or "interleaved") and set rope.pairing. Nothing is copied:
 * tensors get a read function that permutes. No-op if already so. */
mtk_status mtk_model_set_pairing(mtk_model *model, const char *pairing, mtk_error *err);
/* For readers of formats that leave hyperparameters out, once the tensors are added: absent ones
 * get the table's fallbacks, vocab_size the rows of token_embd. MTK_E_FORMAT if a required one is
 * missing. */
mtk_status mtk_arch_fill_meta(mtk_model *model, const struct mtk_arch_v1 *arch, mtk_error *err);
/* For readers and writers of Hugging Face folders: tensors that the table flags HF_MINUS_ONE get
 * the canonical weight (to_hf false: +1, f32) or the folder's (to_hf: -1, in the type they had
 * there: "hf.norm_type"). Nothing is copied; a folder's own tensors come back as they were. */
mtk_status mtk_model_shift_norms(mtk_model *model, const struct mtk_arch_v1 *arch, bool to_hf,
                                 mtk_error *err);
/* Rotary frequencies of the model, for mtk_graph_add_rope: inv_freq[j] = freq_base^(-2j / 2n) /
 * factor[j], j < n = rope.dimension_count/2. factor (may be NULL) gets the divisors alone. They
 * come from rope.scaling.* (rules: transformers modeling_rope_utils.py):
 * - none; linear {factor}; llama3 {factor, low_freq_factor, high_freq_factor,
 *   original_context_length};
 * - yarn {factor, original_context_length, yarn_beta_fast, yarn_beta_slow, yarn_truncate, and
 *   llama.cpp's yarn_ext_factor}; its attention factor is yarn_attn_factor if there, else from
 *   yarn_mscale and yarn_log_multiplier (mscale and mscale_all_dim of config.json), and factor;
 * - longrope {long_factor, short_factor: lists of F32; original_context_length, factor,
 *   attn_factor}: long ones if context_length exceeds original_context_length;
 * or from the tensors of a GGUF: rope_freqs.weight, rope_factors_{long,short}.weight.
 * MTK_E_UNSUPPORTED names other types. */
mtk_status mtk_model_rope(double *inv_freq, double *factor, int n, const mtk_model *model,
                          mtk_error *err);
/* What cos and sin are multiplied by (transformers' attention_factor; 1 without scaling). */
mtk_status mtk_model_rope_scale(double *out, const mtk_model *model, mtk_error *err);

/* ---- adapters (LoRA) ------------------------------------------------------------------------ */

typedef struct mtk_lora_pair {
  const char *target; /* canonical tensor name ("blk.0.attn_q.weight") */
  int64_t rank;
  float scale;    /* alpha/rank or alpha/sqrt(rank) */
  const float *a; /* [rank, K] */
  const float *b; /* [N, rank]; rows in the pairing of `pairing` */
  int64_t n, k;   /* N and K: the target's shape, as the adapter's source has it */
} mtk_lora_pair;

/* A tensor that an adapter replaces whole (PEFT's modules_to_save). */
typedef struct mtk_adapter_tensor {
  const char *target;
  int n_dims; /* 1 or 2 */
  int64_t shape[2];
  const float *values; /* rows in the adapter's pairing */
} mtk_adapter_tensor;

/* Low-rank updates W' = W + scale * B A for some tensors, f32 in memory. */
typedef struct mtk_adapter {
  mtk_arena *arena;        /* owns all below */
  const char *name, *base; /* base model name or path as stored; may be NULL */
  const char *pairing;     /* of q/k rows of B: "half" (PEFT) */
  mtk_lora_pair *pairs;
  size_t n_pairs;
  float alpha;
  int64_t rank;
  mtk_adapter_tensor *whole; /* can be merged, not served beside the base */
  size_t n_whole;
} mtk_adapter;
mtk_adapter *mtk_adapter_create(void);
void mtk_adapter_destroy(mtk_adapter *adapter);
mtk_lora_pair *mtk_adapter_find(const mtk_adapter *adapter, const char *target);
/* Bring q/k rows of B to the model's pairing, and check names and shapes. */
mtk_status mtk_adapter_fit(mtk_adapter *adapter, const mtk_model *model, mtk_error *err);
/* A copy that borrows adapter's names and values, with the q/k rows of B in the pairing asked for
 * (head sizes are base's). For writers. adapter must outlive it; mtk_adapter_destroy frees it. */
mtk_status mtk_adapter_view(mtk_adapter **out, const mtk_adapter *adapter, const char *pairing,
                            const mtk_model *base, mtk_error *err);
/* Replace each target by W + scale*B*A in its own dtype if that is a plain float type, else in
 * bf16 (says so through mtk_model_warn). Lazily, tensor by tensor. adapter must outlive model. */
mtk_status mtk_model_merge(mtk_model *model, const mtk_adapter *adapter, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
