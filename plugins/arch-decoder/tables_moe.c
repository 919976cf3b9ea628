/* tables_moe.c: hyperparameters and tensors of qwen2moe and qwen3moe (Mixtral is llama's table with
 * experts, tables_llama.c). Sources: transformers, configuration_qwen2_moe.py,
 * configuration_qwen3_moe.py; GGUF's names. Static data. */
#include "tables.h"

/* clang-format off */
#define QWEN_MOE_HPARAMS \
  COMMON_HPARAMS, \
  {"expert_count", "num_experts", MTK_META_U32, true, NULL}, \
  {"expert_count", "num_local_experts", MTK_META_U32, false, NULL}, \
  {"expert_used_count", "num_experts_per_tok", MTK_META_U32, true, NULL}, \
  {"expert_feed_forward_length", "moe_intermediate_size", MTK_META_U32, true, NULL}, \
  {"expert_weights_norm", "norm_topk_prob", MTK_META_BOOL, false, NULL}

const mtk_arch_hparam qwen2moe_hparams[] = {
  QWEN_MOE_HPARAMS,
  QWEN_WINDOW_HPARAMS,
  {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", MTK_META_U32, false,
   NULL},
  {0},
};

const mtk_arch_hparam qwen3moe_hparams[] = {
  QWEN_MOE_HPARAMS,
  {"attention.use_sliding_window", "use_sliding_window", MTK_META_BOOL, false, "false"},
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q.bias"},
  {0},
};

#define QWEN_MOE_TENSORS \
  COMMON_TENSORS, \
  {"blk.%d.ffn_gate_inp", "model.layers.%d.mlp.gate", "expert_count", "embedding_length", \
   MTK_TENSOR_BLOCK, NULL}, \
  {"blk.%d.ffn_gate_exps", "model.layers.%d.mlp.experts.%d.gate_proj", \
   "expert_feed_forward_length", "embedding_length", EXPERTS, "gate_up"}, \
  {"blk.%d.ffn_up_exps", "model.layers.%d.mlp.experts.%d.up_proj", "expert_feed_forward_length", \
   "embedding_length", EXPERTS, "gate_up"}, \
  {"blk.%d.ffn_down_exps", "model.layers.%d.mlp.experts.%d.down_proj", "embedding_length", \
   "expert_feed_forward_length", EXPERTS, NULL}, \
  FUSED_EXPERTS

const mtk_arch_tensor qwen2moe_tensors[] = {
  QWEN_MOE_TENSORS,
  {"blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", Q_ROWS, NULL,
   VECTOR | MTK_TENSOR_ROPE_Q, NULL},
  {"blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", KV_ROWS, NULL,
   VECTOR | MTK_TENSOR_ROPE_K, NULL},
  {"blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", V_ROWS, NULL, VECTOR, NULL},
  {"blk.%d.ffn_gate_inp_shexp", "model.layers.%d.mlp.shared_expert_gate", "1", "embedding_length",
   MTK_TENSOR_BLOCK, NULL},
  {"blk.%d.ffn_gate_shexp", "model.layers.%d.mlp.shared_expert.gate_proj",
   "expert_shared_feed_forward_length", "embedding_length", SHARED, "gate_up_shared"},
  {"blk.%d.ffn_up_shexp", "model.layers.%d.mlp.shared_expert.up_proj",
   "expert_shared_feed_forward_length", "embedding_length", SHARED, "gate_up_shared"},
  {"blk.%d.ffn_down_shexp", "model.layers.%d.mlp.shared_expert.down_proj", "embedding_length",
   "expert_shared_feed_forward_length", SHARED, NULL},
  {0},
};

const mtk_arch_tensor qwen3moe_tensors[] = {
  QWEN_MOE_TENSORS,
  QK_NORM_TENSORS(0),
  {0},
};
/* clang-format on */
