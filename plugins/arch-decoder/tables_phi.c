/* tables_phi.c: hyperparameters and tensors of phi3 (Phi-3, Phi-3.5, Phi-4): q, k, v in one matrix,
 * gate and up in another. Sources: transformers, configuration_phi3.py, modeling_phi3.py. Static
 * data. */
#include "tables.h"

/* clang-format off */
/* A part of each head turns: the folder names the part, GGUF the dimensions; each follows from the
 * other, so these rows stand before the common ones. */
const mtk_arch_hparam phi3_hparams[] = {
  {"attention.key_length", "head_dim", MTK_META_U32, false,
   "=embedding_length/attention.head_count"},
  {"rope.dimension_count", NULL, MTK_META_U32, false, "=attention.key_length*rope.partial_factor"},
  {"rope.partial_factor", "partial_rotary_factor", MTK_META_F32, false,
   "=rope.dimension_count/attention.key_length"},
  {"rope.partial_factor", "rope_parameters.partial_rotary_factor", MTK_META_F32, false, NULL},
  {"rope.scaling.original_context_length", "original_max_position_embeddings", MTK_META_U32, false,
   NULL},
  COMMON_HPARAMS,
  ROPE_SCALING("short_factor", "short_factor", MTK_META_ARRAY),
  ROPE_SCALING("long_factor", "long_factor", MTK_META_ARRAY),
  {0},
};

const mtk_arch_tensor phi3_tensors[] = {
  OUTER_TENSORS(0),
  FFN_NORM_TENSOR,
  {"blk.%d.attn_qkv", "model.layers.%d.self_attn.qkv_proj", Q_ROWS "+" KV_ROWS "+" V_ROWS,
   "embedding_length", LINEAR, NULL},
  {"blk.%d.ffn_up", "model.layers.%d.mlp.gate_up_proj", "2*feed_forward_length",
   "embedding_length", LINEAR, NULL},
  {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj", "embedding_length", "feed_forward_length",
   LINEAR, NULL},
  {0},
};
/* clang-format on */
