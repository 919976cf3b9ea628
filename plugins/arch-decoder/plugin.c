/* plugin.c: the rows of this plugin: llama (with mistral and smollm) and qwen2. Static data. */
#include "decoder.h"

static const char *const llama_classes[] = {"LlamaForCausalLM", "MistralForCausalLM", NULL};
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

MTK_PLUGIN_DEFINE("arch-decoder", MTK_PLUGIN_VERSION,
                  "decoders: llama (Llama, Mistral, SmolLM2), qwen2", "Apache-2.0",
                  {MTK_EXT_ARCH, &llama}, {MTK_EXT_ARCH, &qwen2});
