/* tables_qwen.c: hyperparameters and tensors of qwen2 and qwen3. Sources: transformers,
 * configuration_qwen2.py, configuration_qwen3.py. Static data. */
#include "tables.h"

/* clang-format off */
const mtk_arch_hparam qwen2_hparams[] = {
  COMMON_HPARAMS,
  QWEN_WINDOW_HPARAMS,
  {0},
};

const mtk_arch_hparam qwen3_hparams[] = {
  COMMON_HPARAMS,
  QWEN_WINDOW_HPARAMS,
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q.bias"},
  {0},
};

const mtk_arch_tensor qwen2_tensors[] = {
  COMMON_TENSORS,
  {"blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", Q_ROWS, NULL,
   VECTOR | MTK_TENSOR_ROPE_Q, NULL},
  {"blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", KV_ROWS, NULL,
   VECTOR | MTK_TENSOR_ROPE_K, NULL},
  {"blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", V_ROWS, NULL, VECTOR, NULL},
  {0},
};

const mtk_arch_tensor qwen3_tensors[] = {
  COMMON_TENSORS,
  QK_NORM_TENSORS(0),
  {0},
};
/* clang-format on */
