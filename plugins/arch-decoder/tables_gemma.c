/* tables_gemma.c: hyperparameters and tensors of gemma2 and gemma3 (text). Folders store weights of
 * norms minus one. Sources: transformers, configuration_gemma2.py, configuration_gemma3.py; the
 * keys of llama.cpp's GGUF files. Static data. */
#include "tables.h"

/* clang-format off */
#define GEMMA_HPARAMS \
  {"feed_forward.activation", "hidden_activation", MTK_META_STRING, false, "gelu_pytorch_tanh"}, \
  {"attention.query_pre_attn_scalar", "query_pre_attn_scalar", MTK_META_U32, false, NULL}, \
  {"attn_logit_softcapping", "attn_logit_softcapping", MTK_META_F32, false, NULL}, \
  {"final_logit_softcapping", "final_logit_softcapping", MTK_META_F32, false, NULL}, \
  {"embedding_sqrt_scale", NULL, MTK_META_BOOL, false, "true"}, \
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q.bias"}, \
  LAYER_TYPES_HPARAM

const mtk_arch_hparam gemma2_hparams[] = {
  GEMMA_HPARAMS,
  COMMON_HPARAMS,
  {"attention.sliding_window_pattern", NULL, MTK_META_U32, false, "2"},
  {0},
};

const mtk_arch_hparam gemma3_hparams[] = {
  GEMMA_HPARAMS,
  {"rope.freq_base", "rope_theta", MTK_META_F32, false, "1000000"},
  {"rope.freq_base", "rope_parameters.full_attention.rope_theta", MTK_META_F32, false, NULL},
  {"rope.freq_base_swa", "rope_local_base_freq", MTK_META_F32, false, "10000"},
  {"rope.freq_base_swa", "rope_parameters.sliding_attention.rope_theta", MTK_META_F32, false,
   NULL},
  COMMON_HPARAMS,
  {"rope.scaling.type", "rope_parameters.full_attention.rope_type", MTK_META_STRING, false, NULL},
  {"rope.scaling.factor", "rope_parameters.full_attention.factor", MTK_META_F32, false, NULL},
  {"attention.sliding_window_pattern", "sliding_window_pattern", MTK_META_U32, false, "6"},
  {0},
};

#define MINUS_ONE MTK_TENSOR_HF_MINUS_ONE
#define GEMMA_TENSORS \
  OUTER_TENSORS(MINUS_ONE), \
  QKV_TENSORS, \
  {"blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm", "embedding_length", \
   NULL, VECTOR | MINUS_ONE, NULL}, \
  {"blk.%d.ffn_norm", "model.layers.%d.pre_feedforward_layernorm", "embedding_length", NULL, \
   VECTOR | MINUS_ONE, NULL}, \
  {"blk.%d.post_ffw_norm", "model.layers.%d.post_feedforward_layernorm", "embedding_length", \
   NULL, VECTOR | MINUS_ONE, NULL}, \
  GATED_TENSORS

const mtk_arch_tensor gemma2_tensors[] = {
  GEMMA_TENSORS,
  {0},
};

const mtk_arch_tensor gemma3_tensors[] = {
  GEMMA_TENSORS,
  QK_NORM_TENSORS(MINUS_ONE),
  {0},
};
/* clang-format on */
