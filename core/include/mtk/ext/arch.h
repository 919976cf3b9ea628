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
  mtk_meta_type type; /* U32, F32, BOOL or STRING */
  bool required;
  const char *fallback; /* used when absent: a number, true or false, a text, "=other.key" to copy
                           one, "=a/b" for a quotient of two keys, "?tensor" or "!tensor" for
                           whether the model has or lacks a tensor; NULL = leave absent */
} mtk_arch_hparam;

enum {
  MTK_TENSOR_REQUIRED = 1,
  MTK_TENSOR_ROPE_Q = 2, /* rows are n_head heads to permute with the pairing */
  MTK_TENSOR_ROPE_K = 4, /* rows are n_head_kv heads */
  MTK_TENSOR_LINEAR = 8, /* weight of a linear layer: quantizable, LoRA target */
  MTK_TENSOR_BLOCK = 16  /* one per block: %d in the names is the block index */
};

/* One tensor (base names without ".weight"/".bias"; both suffixes match unless the table lists the
 * suffix itself). rows, cols: canonical hyperparameter keys, products with '*'
 * ("attention.head_count*attention.key_length"); cols NULL for vectors. */
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
} mtk_arch_v1;

#ifdef __cplusplus
}
#endif
#endif
