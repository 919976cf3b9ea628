/* tables_llama.c: hyperparameters and tensors of llama (Llama, Mistral, SmolLM2). Sources:
 * transformers, configuration_llama.py, configuration_mistral.py. Static data. */
#include "tables.h"

/* clang-format off */
const mtk_arch_hparam llama_hparams[] = {
  COMMON_HPARAMS,
  {"attention.bias", "attention_bias", MTK_META_BOOL, false, "?blk.0.attn_q.bias"},
  {"feed_forward.bias", "mlp_bias", MTK_META_BOOL, false, "?blk.0.ffn_up.bias"},
  {0},
};

const mtk_arch_tensor llama_tensors[] = {
  COMMON_TENSORS,
  {0},
};
/* clang-format on */
