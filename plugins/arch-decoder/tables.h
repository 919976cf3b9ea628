/* tables.h: rows that the tables of most families share. Sources: the configuration_*.py of
 * transformers; the keys of GGUF's specification. Static data. */
#ifndef ARCH_DECODER_TABLES_H
#define ARCH_DECODER_TABLES_H

#include "decoder.h"

/* clang-format off */
/* config.json came in two forms for rope: rope_theta and rope_scaling at the top, and
 * (transformers 5) both inside rope_parameters. */
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
  {"tie_word_embeddings", "tie_word_embeddings", MTK_META_BOOL, false, "!output.weight"}

#define Q_ROWS "attention.head_count*attention.key_length"
#define KV_ROWS "attention.head_count_kv*attention.key_length"
#define LINEAR (MTK_TENSOR_REQUIRED | MTK_TENSOR_LINEAR | MTK_TENSOR_BLOCK)
#define VECTOR (MTK_TENSOR_REQUIRED | MTK_TENSOR_BLOCK)

#define COMMON_TENSORS \
  {"token_embd", "model.embed_tokens", "vocab_size", "embedding_length", MTK_TENSOR_REQUIRED, \
   NULL}, \
  {"output_norm", "model.norm", "embedding_length", NULL, MTK_TENSOR_REQUIRED, NULL}, \
  {"output", "lm_head", "vocab_size", "embedding_length", MTK_TENSOR_LINEAR, NULL}, \
  {"blk.%d.attn_norm", "model.layers.%d.input_layernorm", "embedding_length", NULL, VECTOR, NULL}, \
  {"blk.%d.attn_q", "model.layers.%d.self_attn.q_proj", Q_ROWS, "embedding_length", \
   LINEAR | MTK_TENSOR_ROPE_Q, "qkv"}, \
  {"blk.%d.attn_k", "model.layers.%d.self_attn.k_proj", KV_ROWS, "embedding_length", \
   LINEAR | MTK_TENSOR_ROPE_K, "qkv"}, \
  {"blk.%d.attn_v", "model.layers.%d.self_attn.v_proj", KV_ROWS, "embedding_length", LINEAR, \
   "qkv"}, \
  {"blk.%d.attn_output", "model.layers.%d.self_attn.o_proj", "embedding_length", Q_ROWS, LINEAR, \
   NULL}, \
  {"blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm", "embedding_length", NULL, \
   VECTOR, NULL}, \
  {"blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj", "feed_forward_length", "embedding_length", \
   LINEAR, "gate_up"}, \
  {"blk.%d.ffn_up", "model.layers.%d.mlp.up_proj", "feed_forward_length", "embedding_length", \
   LINEAR, "gate_up"}, \
  {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj", "embedding_length", "feed_forward_length", \
   LINEAR, NULL}
/* clang-format on */

#endif
