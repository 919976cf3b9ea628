/* plugin.c: the rows of this plugin, one per architecture id. Static data. */
#include "decoder.h"

/* An architecture whose tables are NAME_hparams and NAME_tensors; the Hugging Face classes come
 * last. */
#define DECODER(name, id_, model_type, pairing, expert_class, ...)                                 \
  static const char *const name##_classes[] = {__VA_ARGS__, NULL};                                 \
  static const mtk_arch_v1 name = {.struct_size = sizeof(mtk_arch_v1),                             \
                                   .id = id_,                                                      \
                                   .hf_classes = name##_classes,                                   \
                                   .hf_model_type = model_type,                                    \
                                   .gguf_pairing = pairing,                                        \
                                   .hparams = name##_hparams,                                      \
                                   .tensors = name##_tensors,                                      \
                                   .build = decoder_build,                                         \
                                   .hf_expert_class = expert_class}

/* clang-format off */
DECODER(llama, "llama", "llama", "interleaved", "MixtralForCausalLM", "LlamaForCausalLM",
        "MistralForCausalLM", "MixtralForCausalLM", "Ministral3ForCausalLM");
DECODER(qwen2, "qwen2", "qwen2", "half", NULL, "Qwen2ForCausalLM");
DECODER(qwen3, "qwen3", "qwen3", "half", NULL, "Qwen3ForCausalLM");
DECODER(gemma2, "gemma2", "gemma2", "half", NULL, "Gemma2ForCausalLM");
DECODER(gemma3, "gemma3", "gemma3_text", "half", NULL, "Gemma3ForCausalLM");
DECODER(phi3, "phi3", "phi3", "half", NULL, "Phi3ForCausalLM");
DECODER(qwen2moe, "qwen2moe", "qwen2_moe", "half", NULL, "Qwen2MoeForCausalLM");
DECODER(qwen3moe, "qwen3moe", "qwen3_moe", "half", NULL, "Qwen3MoeForCausalLM");
DECODER(gpt_oss, "gpt-oss", "gpt_oss", "half", NULL, "GptOssForCausalLM");
DECODER(deepseek2, "deepseek2", "deepseek_v3", "half", NULL, "DeepseekV3ForCausalLM");
/* clang-format on */

MTK_PLUGIN_DEFINE("arch-decoder", MTK_PLUGIN_VERSION,
                  "decoders: Llama, Mistral, Qwen, Gemma, Phi, gpt-oss, DeepSeek", "Apache-2.0",
                  {MTK_EXT_ARCH, &llama}, {MTK_EXT_ARCH, &qwen2}, {MTK_EXT_ARCH, &qwen3},
                  {MTK_EXT_ARCH, &gemma2}, {MTK_EXT_ARCH, &gemma3}, {MTK_EXT_ARCH, &phi3},
                  {MTK_EXT_ARCH, &qwen2moe}, {MTK_EXT_ARCH, &qwen3moe}, {MTK_EXT_ARCH, &gpt_oss},
                  {MTK_EXT_ARCH, &deepseek2});
