/* mtk/ext/arch.h: "mtk.arch/1": an architecture = tables of hyperparameters and tensors + one
 * function that builds the graph. */
#ifndef MTK_EXT_ARCH_H
#define MTK_EXT_ARCH_H

#include <mtk/graph.h>
#include <mtk/model.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_EXT_ARCH "mtk.arch/1"

/* One hyperparameter and its name in Hugging Face's config.json. Several rows may share a key:
 * reading takes the first that is present, writing changes those that the original has, else adds
 * the first. A null or the string "default" counts as absent. */
typedef struct mtk_arch_hparam {
  const char *key;    /* canonical, without prefix ("attention.head_count"); NULL ends the table */
  const char *hf_key; /* "num_attention_heads"; dots step into objects ("rope_scaling.factor"); NULL
                         = config.json has none */
  mtk_meta_type type; /* U32, F32, BOOL, STRING or ARRAY (of F32 or STRING) */
  bool required;
  const char *fallback; /* used when absent: a number, true or false, a text, "=other.key" to copy
                           one, "=a/b" (* + - too) for two keys (whole unless F32), "?tensor" or
                           "!tensor" for whether the model has or lacks a tensor; NULL = leave
                           absent */
} mtk_arch_hparam;

enum {
  MTK_TENSOR_REQUIRED = 1,
  MTK_TENSOR_ROPE_Q = 2, /* rows are n_head heads to permute with the pairing */
  MTK_TENSOR_ROPE_K = 4, /* rows are n_head_kv heads */
  MTK_TENSOR_LINEAR = 8, /* weight of a linear layer: quantizable, LoRA target */
  MTK_TENSOR_BLOCK = 16, /* one per block: %d in the names is the block index */
  /* One matrix [rows, cols] per expert, stacked: shape {expert_count, rows, cols}; a bias
   * {expert_count, rows}. A second %d in hf_name is the expert, where a folder has a tensor for
   * each (mtk_model_join_experts). */
  MTK_TENSOR_EXPERTS = 32,
  /* Only in files: ffn_gate_exps and ffn_up_exps in one tensor. Of each expert's 2*rows rows the
   * first half is the gate's, or with EVEN_ODD the even ones. */
  MTK_TENSOR_GATE_UP = 64,
  MTK_TENSOR_EVEN_ODD = 128,
  /* A folder stores the matrix of each expert as [cols, rows] unless its type is block-quantized */
  MTK_TENSOR_HF_TRANSPOSED = 256,
  MTK_TENSOR_DENSE = 512, /* not demanded of a model with experts (expert_count) */
  /* A folder stores a norm's weight minus one (mtk_model_shift_norms). */
  MTK_TENSOR_HF_MINUS_ONE = 1024,
  /* Of an image encoder ("v.blk.%d.attn_q", "mm.1"): never demanded; rotary rows are heads of
   * vision.attention.key_length. */
  MTK_TENSOR_IMAGE = 2048,
  MTK_TENSOR_ALIAS = 4096 /* another hf_name of an earlier row, for reading */
};

/* One tensor (base names without ".weight"/".bias"; both suffixes match unless the table lists the
 * suffix itself). rows, cols: canonical hyperparameter keys or numbers, products with '*'
 * and their sums with '+' ("attention.head_count*attention.key_length"); cols NULL for vectors. */
typedef struct mtk_arch_tensor {
  const char *name;    /* "blk.%d.attn_q"; NULL ends the table */
  const char *hf_name; /* "model.layers.%d.self_attn.q_proj" */
  const char *rows, *cols;
  uint32_t flags;
  const char *fuse_group; /* "qkv", "gate_up": members share global scales; NULL = none */
} mtk_arch_tensor;

/* Static tables; functions may be called from any thread. */
typedef struct mtk_arch_v1 {
  size_t struct_size;
  const char *id;                /* "llama" (also the GGUF general.architecture) */
  const char *const *hf_classes; /* NULL-terminated; first = default when writing HF */
  const char *hf_model_type;     /* "llama" */
  /* "interleaved" or "half": what a GGUF of this arch holds */
  const char *gguf_pairing;
  const mtk_arch_hparam *hparams;
  const mtk_arch_tensor *tensors;
  /* Build the forward graph up to the logits. has_tensor answers which optional tensors exist. */
  mtk_status (*build)(mtk_graph *g, const mtk_model *model, mtk_error *err);
  const char *hf_expert_class; /* default for models with experts; NULL = the first class */
} mtk_arch_v1;

#ifdef __cplusplus
}
#endif
#endif
