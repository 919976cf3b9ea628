/* tables_llama.c: hyperparameters and tensors of llama (Llama, Mistral, SmolLM2, Mixtral). Sources:
 * transformers, configuration_llama.py, configuration_mistral.py. Static data. */
#include "tables.h"

/* clang-format off */
const mtk_arch_hparam llama_hparams[] = {
  COMMON_HPARAMS,
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q.bias"},
  {"feed_forward.bias", "mlp_bias", MTK_META_BOOL, false, "?blk.0.ffn_up.bias"},
  {"attention.temperature_scale", "rope_scaling.llama_4_scaling_beta", MTK_META_F32, false, NULL},
  {"attention.temperature_scale", "rope_parameters.llama_4_scaling_beta", MTK_META_F32, false,
   NULL},
  {"expert_count", "num_local_experts", MTK_META_U32, false, NULL},
  {"expert_used_count", "num_experts_per_tok", MTK_META_U32, false, NULL},
  {0},
};

const mtk_arch_tensor llama_tensors[] = {
  COMMON_TENSORS,
  {"blk.%d.ffn_gate_inp", "model.layers.%d.block_sparse_moe.gate", "expert_count",
   "embedding_length", MTK_TENSOR_BLOCK, NULL},
  {"blk.%d.ffn_gate_exps", "model.layers.%d.block_sparse_moe.experts.%d.w1", "feed_forward_length",
   "embedding_length", EXPERTS, "gate_up"},
  {"blk.%d.ffn_up_exps", "model.layers.%d.block_sparse_moe.experts.%d.w3", "feed_forward_length",
   "embedding_length", EXPERTS, "gate_up"},
  {"blk.%d.ffn_down_exps", "model.layers.%d.block_sparse_moe.experts.%d.w2", "embedding_length",
   "feed_forward_length", EXPERTS, NULL},
  {"blk.%d.ffn_gate_inp", "model.layers.%d.mlp.gate", "expert_count", "embedding_length",
   MTK_TENSOR_BLOCK, NULL}, /* as transformers 5 names it */
  FUSED_EXPERTS,
  {0},
};
/* clang-format on */
