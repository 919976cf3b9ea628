/* plugin.c: the rows of this plugin, one per architecture id. Static data. */
#include "decoder.h"

static const char *const llama_classes[] = {"LlamaForCausalLM", "MistralForCausalLM",
                                            "MixtralForCausalLM", "Ministral3ForCausalLM", NULL};
static const char *const qwen2_classes[] = {"Qwen2ForCausalLM", NULL};

static const mtk_arch_v1 llama = {
    .struct_size = sizeof llama,
    .id = "llama",
    .hf_classes = llama_classes,
    .hf_model_type = "llama",
    .gguf_pairing = "interleaved",
    .hparams = llama_hparams,
    .tensors = llama_tensors,
    .build = decoder_build,
    .hf_expert_class = "MixtralForCausalLM",
};

static const mtk_arch_v1 qwen2 = {
    .struct_size = sizeof qwen2,
    .id = "qwen2",
    .hf_classes = qwen2_classes,
    .hf_model_type = "qwen2",
    .gguf_pairing = "half",
    .hparams = qwen2_hparams,
    .tensors = qwen2_tensors,
    .build = decoder_build,
};

static const char *const qwen3_classes[] = {"Qwen3ForCausalLM", NULL};
static const char *const gemma2_classes[] = {"Gemma2ForCausalLM", NULL};
static const char *const gemma3_classes[] = {"Gemma3ForCausalLM", NULL};
static const char *const phi3_classes[] = {"Phi3ForCausalLM", NULL};

static const mtk_arch_v1 qwen3 = {
    .struct_size = sizeof qwen3,
    .id = "qwen3",
    .hf_classes = qwen3_classes,
    .hf_model_type = "qwen3",
    .gguf_pairing = "half",
    .hparams = qwen3_hparams,
    .tensors = qwen3_tensors,
    .build = decoder_build,
};

static const mtk_arch_v1 gemma2 = {
    .struct_size = sizeof gemma2,
    .id = "gemma2",
    .hf_classes = gemma2_classes,
    .hf_model_type = "gemma2",
    .gguf_pairing = "half",
    .hparams = gemma2_hparams,
    .tensors = gemma2_tensors,
    .build = decoder_build,
};

static const mtk_arch_v1 gemma3 = {
    .struct_size = sizeof gemma3,
    .id = "gemma3",
    .hf_classes = gemma3_classes,
    .hf_model_type = "gemma3_text",
    .gguf_pairing = "half",
    .hparams = gemma3_hparams,
    .tensors = gemma3_tensors,
    .build = decoder_build,
};

static const mtk_arch_v1 phi3 = {
    .struct_size = sizeof phi3,
    .id = "phi3",
    .hf_classes = phi3_classes,
    .hf_model_type = "phi3",
    .gguf_pairing = "half",
    .hparams = phi3_hparams,
    .tensors = phi3_tensors,
    .build = decoder_build,
};

static const char *const qwen2moe_classes[] = {"Qwen2MoeForCausalLM", NULL};
static const char *const qwen3moe_classes[] = {"Qwen3MoeForCausalLM", NULL};
static const char *const gpt_oss_classes[] = {"GptOssForCausalLM", NULL};

static const mtk_arch_v1 qwen2moe = {
    .struct_size = sizeof qwen2moe,
    .id = "qwen2moe",
    .hf_classes = qwen2moe_classes,
    .hf_model_type = "qwen2_moe",
    .gguf_pairing = "half",
    .hparams = qwen2moe_hparams,
    .tensors = qwen2moe_tensors,
    .build = decoder_build,
};

static const mtk_arch_v1 qwen3moe = {
    .struct_size = sizeof qwen3moe,
    .id = "qwen3moe",
    .hf_classes = qwen3moe_classes,
    .hf_model_type = "qwen3_moe",
    .gguf_pairing = "half",
    .hparams = qwen3moe_hparams,
    .tensors = qwen3moe_tensors,
    .build = decoder_build,
};

static const mtk_arch_v1 gpt_oss = {
    .struct_size = sizeof gpt_oss,
    .id = "gpt-oss",
    .hf_classes = gpt_oss_classes,
    .hf_model_type = "gpt_oss",
    .gguf_pairing = "half",
    .hparams = gpt_oss_hparams,
    .tensors = gpt_oss_tensors,
    .build = decoder_build,
};

static const char *const deepseek2_classes[] = {"DeepseekV3ForCausalLM", NULL};

static const mtk_arch_v1 deepseek2 = {
    .struct_size = sizeof deepseek2,
    .id = "deepseek2",
    .hf_classes = deepseek2_classes,
    .hf_model_type = "deepseek_v3",
    .gguf_pairing = "half",
    .hparams = deepseek2_hparams,
    .tensors = deepseek2_tensors,
    .build = decoder_build,
};

MTK_PLUGIN_DEFINE("arch-decoder", MTK_PLUGIN_VERSION,
                  "decoders: Llama, Mistral, Qwen, Gemma, Phi, gpt-oss, DeepSeek", "Apache-2.0",
                  {MTK_EXT_ARCH, &llama}, {MTK_EXT_ARCH, &qwen2}, {MTK_EXT_ARCH, &qwen3},
                  {MTK_EXT_ARCH, &gemma2}, {MTK_EXT_ARCH, &gemma3}, {MTK_EXT_ARCH, &phi3},
                  {MTK_EXT_ARCH, &qwen2moe}, {MTK_EXT_ARCH, &qwen3moe},
                  {MTK_EXT_ARCH, &gpt_oss}, {MTK_EXT_ARCH, &deepseek2});
