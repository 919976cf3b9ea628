/* tables_deepseek.c: hyperparameters and tensors of deepseek2, GGUF's name of the shape that
 * DeepSeek-V2, V3 and R1 share. Sources: transformers, configuration_deepseek_v3.py; llama.cpp's
 * names. Static data. */
#include "tables.h"

#define KV_B_ROWS \
  "attention.head_count*attention.nope_length+attention.head_count*attention.value_length"

/* clang-format off */
/* The folder names the parts of a head, GGUF the whole; each follows from the other. */
const mtk_arch_hparam deepseek2_hparams[] = {
  {"rope.dimension_count", "qk_rope_head_dim", MTK_META_U32, true, NULL},
  {"attention.nope_length", "qk_nope_head_dim", MTK_META_U32, true,
   "=attention.key_length-rope.dimension_count"},
  {"attention.key_length", NULL, MTK_META_U32, true,
   "=attention.nope_length+rope.dimension_count"},
  {"attention.value_length", "v_head_dim", MTK_META_U32, true, NULL},
  {"attention.q_lora_rank", "q_lora_rank", MTK_META_U32, false, NULL},
  {"attention.kv_lora_rank", "kv_lora_rank", MTK_META_U32, true, NULL},
  {"rope.interleaved", "rope_interleave", MTK_META_BOOL, false, "true"},
  {"leading_dense_block_count", "first_k_dense_replace", MTK_META_U32, false, "0"},
  {"expert_count", "n_routed_experts", MTK_META_U32, true, NULL},
  {"expert_count", "num_local_experts", MTK_META_U32, true, NULL},
  {"expert_used_count", "num_experts_per_tok", MTK_META_U32, true, NULL},
  {"expert_shared_count", "n_shared_experts", MTK_META_U32, false, "1"},
  {"expert_feed_forward_length", "moe_intermediate_size", MTK_META_U32, true, NULL},
  {"expert_shared_feed_forward_length", NULL, MTK_META_U32, false,
   "=expert_shared_count*expert_feed_forward_length"},
  {"expert_gating_func", NULL, MTK_META_U32, false, "2"},
  {"expert_weights_norm", "norm_topk_prob", MTK_META_BOOL, false, "true"},
  {"expert_weights_scale", "routed_scaling_factor", MTK_META_F32, false, NULL},
  {"expert_group_count", "n_group", MTK_META_U32, false, NULL},
  {"expert_group_used_count", "topk_group", MTK_META_U32, false, NULL},
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q_a.bias"},
  {"attention.sliding_window", NULL, MTK_META_U32, false, NULL},
  {"vocab_size", "vocab_size", MTK_META_U32, true, NULL},
  {"context_length", "max_position_embeddings", MTK_META_U32, false, "4096"},
  {"embedding_length", "hidden_size", MTK_META_U32, true, NULL},
  {"block_count", "num_hidden_layers", MTK_META_U32, true, NULL},
  {"feed_forward_length", "intermediate_size", MTK_META_U32, true, NULL},
  {"feed_forward.activation", "hidden_act", MTK_META_STRING, false, "silu"},
  {"attention.head_count", "num_attention_heads", MTK_META_U32, true, NULL},
  {"attention.head_count_kv", "num_key_value_heads", MTK_META_U32, false,
   "=attention.head_count"},
  {"attention.layer_norm_rms_epsilon", "rms_norm_eps", MTK_META_F32, false, "1e-6"},
  {"rope.freq_base", "rope_theta", MTK_META_F32, false, "10000"},
  {"rope.freq_base", "rope_parameters.rope_theta", MTK_META_F32, false, "10000"},
  ROPE_SCALING("type", "rope_type", MTK_META_STRING),
  ROPE_SCALING("type", "type", MTK_META_STRING),
  ROPE_SCALING("factor", "factor", MTK_META_F32),
  ROPE_SCALING("original_context_length", "original_max_position_embeddings", MTK_META_U32),
  YARN_HPARAMS,
  {"tie_word_embeddings", "tie_word_embeddings", MTK_META_BOOL, false, "!output.weight"},
  {0},
};

#define ATTENTION(name) "model.layers.%d.self_attn." name
#define SHARED_LENGTH "expert_shared_feed_forward_length"

const mtk_arch_tensor deepseek2_tensors[] = {
  {"token_embd", "model.embed_tokens", "vocab_size", "embedding_length", MTK_TENSOR_REQUIRED,
   NULL},
  {"output_norm", "model.norm", "embedding_length", NULL, MTK_TENSOR_REQUIRED, NULL},
  {"output", "lm_head", "vocab_size", "embedding_length", MTK_TENSOR_LINEAR, NULL},
  {"blk.%d.attn_norm", "model.layers.%d.input_layernorm", "embedding_length", NULL, VECTOR, NULL},
  {"blk.%d.attn_q", ATTENTION("q_proj"), Q_ROWS, "embedding_length", SHARED, NULL},
  {"blk.%d.attn_q_a", ATTENTION("q_a_proj"), "attention.q_lora_rank", "embedding_length", SHARED,
   NULL},
  {"blk.%d.attn_q_a_norm", ATTENTION("q_a_layernorm"), "attention.q_lora_rank", NULL,
   MTK_TENSOR_BLOCK, NULL},
  {"blk.%d.attn_q_b", ATTENTION("q_b_proj"), Q_ROWS, "attention.q_lora_rank", SHARED, NULL},
  {"blk.%d.attn_kv_a_mqa", ATTENTION("kv_a_proj_with_mqa"),
   "attention.kv_lora_rank+rope.dimension_count", "embedding_length", LINEAR, NULL},
  {"blk.%d.attn_kv_a_norm", ATTENTION("kv_a_layernorm"), "attention.kv_lora_rank", NULL, VECTOR,
   NULL},
  {"blk.%d.attn_kv_b", ATTENTION("kv_b_proj"), KV_B_ROWS, "attention.kv_lora_rank", LINEAR, NULL},
  {"blk.%d.attn_output", ATTENTION("o_proj"), "embedding_length", OUT_COLS, LINEAR, NULL},
  FFN_NORM_TENSOR,
  GATED_TENSORS,
  {"blk.%d.exp_probs_b.bias", "model.layers.%d.mlp.gate.e_score_correction_bias", "expert_count",
   NULL, MTK_TENSOR_BLOCK, NULL},
  {"blk.%d.ffn_gate_inp", "model.layers.%d.mlp.gate", "expert_count", "embedding_length",
   MTK_TENSOR_BLOCK, NULL},
  {"blk.%d.ffn_gate_exps", "model.layers.%d.mlp.experts.%d.gate_proj",
   "expert_feed_forward_length", "embedding_length", EXPERTS, "gate_up"},
  {"blk.%d.ffn_up_exps", "model.layers.%d.mlp.experts.%d.up_proj", "expert_feed_forward_length",
   "embedding_length", EXPERTS, "gate_up"},
  {"blk.%d.ffn_down_exps", "model.layers.%d.mlp.experts.%d.down_proj", "embedding_length",
   "expert_feed_forward_length", EXPERTS, NULL},
  FUSED_EXPERTS,
  {"blk.%d.ffn_gate_shexp", "model.layers.%d.mlp.shared_experts.gate_proj", SHARED_LENGTH,
   "embedding_length", SHARED, "gate_up_shared"},
  {"blk.%d.ffn_up_shexp", "model.layers.%d.mlp.shared_experts.up_proj", SHARED_LENGTH,
   "embedding_length", SHARED, "gate_up_shared"},
  {"blk.%d.ffn_down_shexp", "model.layers.%d.mlp.shared_experts.down_proj", "embedding_length",
   SHARED_LENGTH, SHARED, NULL},
  {0},
};
/* clang-format on */
