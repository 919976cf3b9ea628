/* tables_gpt_oss.c: hyperparameters and tensors of gpt-oss. Sources: transformers,
 * configuration_gpt_oss.py; GGUF's names. Static data. */
#include "tables.h"

/* clang-format off */
const mtk_arch_hparam gpt_oss_hparams[] = {
  {"rope.freq_base", "rope_theta", MTK_META_F32, false, "150000"},
  {"attention.layer_norm_rms_epsilon", "rms_norm_eps", MTK_META_F32, false, "1e-5"},
  COMMON_HPARAMS,
  LAYER_TYPES_HPARAM,
  {"attention.sliding_window_pattern", NULL, MTK_META_U32, false, "2"},
  {"expert_count", "num_local_experts", MTK_META_U32, true, NULL},
  {"expert_count", "num_experts", MTK_META_U32, false, NULL},
  {"expert_used_count", "num_experts_per_tok", MTK_META_U32, true, NULL},
  {"expert_used_count", "experts_per_token", MTK_META_U32, false, NULL},
  {"expert_feed_forward_length", NULL, MTK_META_U32, false, "=feed_forward_length"},
  {"expert_gating_func", NULL, MTK_META_U32, false, "3"},
  {"feed_forward.swiglu_alpha", "swiglu_alpha", MTK_META_F32, false, "1.702"},
  {"feed_forward.swiglu_limit", "swiglu_limit", MTK_META_F32, false, "7"},
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q.bias"},
  {0},
};

const mtk_arch_tensor gpt_oss_tensors[] = {
  ATTENTION_TENSORS,
  {"blk.%d.attn_sinks.weight", "model.layers.%d.self_attn.sinks", "attention.head_count", NULL,
   VECTOR, NULL},
  {"blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm", "embedding_length",
   NULL, VECTOR, NULL},
  {"blk.%d.ffn_gate_inp", "model.layers.%d.mlp.router", "expert_count", "embedding_length",
   VECTOR, NULL},
  {"blk.%d.ffn_gate_exps", NULL, "expert_feed_forward_length", "embedding_length", EXPERTS,
   "gate_up"},
  {"blk.%d.ffn_up_exps", NULL, "expert_feed_forward_length", "embedding_length", EXPERTS,
   "gate_up"},
  {"blk.%d.ffn_down_exps.weight", "model.layers.%d.mlp.experts.down_proj", "embedding_length",
   "expert_feed_forward_length", EXPERTS | MTK_TENSOR_HF_TRANSPOSED, NULL},
  {"blk.%d.ffn_down_exps.bias", "model.layers.%d.mlp.experts.down_proj_bias", "embedding_length",
   NULL, MTK_TENSOR_BLOCK | MTK_TENSOR_EXPERTS, NULL},
  {"blk.%d.ffn_gate_up_exps.weight", "model.layers.%d.mlp.experts.gate_up_proj",
   "expert_feed_forward_length", "embedding_length",
   MTK_TENSOR_BLOCK | MTK_TENSOR_GATE_UP | MTK_TENSOR_EVEN_ODD | MTK_TENSOR_HF_TRANSPOSED, NULL},
  {"blk.%d.ffn_gate_up_exps.bias", "model.layers.%d.mlp.experts.gate_up_proj_bias",
   "expert_feed_forward_length", NULL,
   MTK_TENSOR_BLOCK | MTK_TENSOR_GATE_UP | MTK_TENSOR_EVEN_ODD, NULL},
  {0},
};
/* clang-format on */
