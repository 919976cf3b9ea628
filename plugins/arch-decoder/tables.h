/* tables.h: rows that the tables of most families share. Sources: the configuration_*.py of
 * transformers; the keys of GGUF's specification. Static data. */
#ifndef ARCH_DECODER_TABLES_H
#define ARCH_DECODER_TABLES_H

#include "decoder.h"

/* clang-format off */
/* config.json came in two forms for rope: rope_theta and rope_scaling at the top, and
 * (transformers 5) both inside rope_parameters. */
#define ROPE_SCALING(key, hf_key, type) \
  {"rope.scaling." key, "rope_scaling." hf_key, type, false, NULL}, \
  {"rope.scaling." key, "rope_parameters." hf_key, type, false, NULL}

#define YARN_HPARAMS \
  ROPE_SCALING("yarn_beta_fast", "beta_fast", MTK_META_F32), \
  ROPE_SCALING("yarn_beta_slow", "beta_slow", MTK_META_F32), \
  ROPE_SCALING("yarn_attn_factor", "attention_factor", MTK_META_F32), \
  ROPE_SCALING("yarn_mscale", "mscale", MTK_META_F32), \
  ROPE_SCALING("yarn_log_multiplier", "mscale_all_dim", MTK_META_F32), \
  ROPE_SCALING("yarn_truncate", "truncate", MTK_META_BOOL)

#define COMMON_HPARAMS \
  {"vocab_size", "vocab_size", MTK_META_U32, true, NULL}, \
  {"context_length", "max_position_embeddings", MTK_META_U32, false, "2048"}, \
  {"embedding_length", "hidden_size", MTK_META_U32, true, NULL}, \
  {"block_count", "num_hidden_layers", MTK_META_U32, true, NULL}, \
  {"feed_forward_length", "intermediate_size", MTK_META_U32, true, NULL}, \
  {"feed_forward.activation", "hidden_act", MTK_META_STRING, false, "silu"}, \
  {"attention.head_count", "num_attention_heads", MTK_META_U32, true, NULL}, \
  {"attention.head_count_kv", "num_key_value_heads", MTK_META_U32, false, \
   "=attention.head_count"}, \
  {"attention.key_length", "head_dim", MTK_META_U32, false, \
   "=embedding_length/attention.head_count"}, \
  {"attention.value_length", NULL, MTK_META_U32, false, "=attention.key_length"}, \
  {"attention.layer_norm_rms_epsilon", "rms_norm_eps", MTK_META_F32, false, "1e-6"}, \
  {"attention.sliding_window", "sliding_window", MTK_META_U32, false, NULL}, \
  {"rope.dimension_count", NULL, MTK_META_U32, false, "=attention.key_length"}, \
  {"rope.freq_base", "rope_theta", MTK_META_F32, false, "10000"}, \
  {"rope.freq_base", "rope_parameters.rope_theta", MTK_META_F32, false, "10000"}, \
  {"rope.scaling.type", "rope_scaling.rope_type", MTK_META_STRING, false, NULL}, \
  {"rope.scaling.type", "rope_scaling.type", MTK_META_STRING, false, NULL}, \
  {"rope.scaling.type", "rope_parameters.rope_type", MTK_META_STRING, false, NULL}, \
  {"rope.scaling.factor", "rope_scaling.factor", MTK_META_F32, false, NULL}, \
  {"rope.scaling.factor", "rope_parameters.factor", MTK_META_F32, false, NULL}, \
  {"rope.scaling.low_freq_factor", "rope_scaling.low_freq_factor", MTK_META_F32, false, NULL}, \
  {"rope.scaling.low_freq_factor", "rope_parameters.low_freq_factor", MTK_META_F32, false, NULL}, \
  {"rope.scaling.high_freq_factor", "rope_scaling.high_freq_factor", MTK_META_F32, false, NULL}, \
  {"rope.scaling.high_freq_factor", "rope_parameters.high_freq_factor", MTK_META_F32, false, \
   NULL}, \
  {"rope.scaling.original_context_length", "rope_scaling.original_max_position_embeddings", \
   MTK_META_U32, false, NULL}, \
  {"rope.scaling.original_context_length", "rope_parameters.original_max_position_embeddings", \
   MTK_META_U32, false, NULL}, \
  YARN_HPARAMS, \
  {"tie_word_embeddings", "tie_word_embeddings", MTK_META_BOOL, false, "!output.weight"}

#define Q_ROWS "attention.head_count*attention.key_length"
#define KV_ROWS "attention.head_count_kv*attention.key_length"
#define V_ROWS "attention.head_count_kv*attention.value_length"
#define OUT_COLS "attention.head_count*attention.value_length"
#define LINEAR (MTK_TENSOR_REQUIRED | MTK_TENSOR_LINEAR | MTK_TENSOR_BLOCK)
#define VECTOR (MTK_TENSOR_REQUIRED | MTK_TENSOR_BLOCK)

#define EXPERTS (MTK_TENSOR_LINEAR | MTK_TENSOR_BLOCK | MTK_TENSOR_EXPERTS)
#define SHARED (MTK_TENSOR_LINEAR | MTK_TENSOR_BLOCK)
#define DENSE (LINEAR | MTK_TENSOR_DENSE)

/* Windows on some layers only. */
#define LAYER_TYPES_HPARAM \
  {"attention.layer_types", "layer_types", MTK_META_ARRAY, false, NULL}
#define QWEN_WINDOW_HPARAMS \
  LAYER_TYPES_HPARAM, \
  {"attention.use_sliding_window", "use_sliding_window", MTK_META_BOOL, false, "false"}, \
  {"attention.max_window_layers", "max_window_layers", MTK_META_U32, false, NULL}

/* Embedding, head, and what all blocks have; norm: flags of norms. */
#define OUTER_TENSORS(norm) \
  {"token_embd", "model.embed_tokens", "vocab_size", "embedding_length", MTK_TENSOR_REQUIRED, \
   NULL}, \
  {"output_norm", "model.norm", "embedding_length", NULL, MTK_TENSOR_REQUIRED | (norm), NULL}, \
  {"output", "lm_head", "vocab_size", "embedding_length", MTK_TENSOR_LINEAR, NULL}, \
  {"blk.%d.attn_norm", "model.layers.%d.input_layernorm", "embedding_length", NULL, \
   VECTOR | (norm), NULL}, \
  {"blk.%d.attn_output", "model.layers.%d.self_attn.o_proj", "embedding_length", OUT_COLS, \
   LINEAR, NULL}

#define QKV_TENSORS \
  {"blk.%d.attn_q", "model.layers.%d.self_attn.q_proj", Q_ROWS, "embedding_length", \
   LINEAR | MTK_TENSOR_ROPE_Q, "qkv"}, \
  {"blk.%d.attn_k", "model.layers.%d.self_attn.k_proj", KV_ROWS, "embedding_length", \
   LINEAR | MTK_TENSOR_ROPE_K, "qkv"}, \
  {"blk.%d.attn_v", "model.layers.%d.self_attn.v_proj", V_ROWS, "embedding_length", LINEAR, \
   "qkv"}

#define QK_NORM_TENSORS(norm) \
  {"blk.%d.attn_q_norm", "model.layers.%d.self_attn.q_norm", "attention.key_length", NULL, \
   VECTOR | (norm), NULL}, \
  {"blk.%d.attn_k_norm", "model.layers.%d.self_attn.k_norm", "attention.key_length", NULL, \
   VECTOR | (norm), NULL}

#define GATED_TENSORS \
  {"blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj", "feed_forward_length", "embedding_length", \
   DENSE, "gate_up"}, \
  {"blk.%d.ffn_up", "model.layers.%d.mlp.up_proj", "feed_forward_length", "embedding_length", \
   DENSE, "gate_up"}, \
  {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj", "embedding_length", "feed_forward_length", \
   DENSE, NULL}

#define ATTENTION_TENSORS OUTER_TENSORS(0), QKV_TENSORS
#define FFN_NORM_TENSOR \
  {"blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm", "embedding_length", NULL, \
   VECTOR, NULL}
#define COMMON_TENSORS ATTENTION_TENSORS, FFN_NORM_TENSOR, GATED_TENSORS

/* Experts as transformers 5 holds them: stacked, gate above up. */
#define FUSED_EXPERTS \
  {"blk.%d.ffn_gate_up_exps.weight", "model.layers.%d.mlp.experts.gate_up_proj", \
   "expert_feed_forward_length", "embedding_length", MTK_TENSOR_BLOCK | MTK_TENSOR_GATE_UP, NULL}, \
  {"blk.%d.ffn_down_exps.weight", "model.layers.%d.mlp.experts.down_proj", "embedding_length", \
   "expert_feed_forward_length", EXPERTS, NULL}
/* clang-format on */

#endif
