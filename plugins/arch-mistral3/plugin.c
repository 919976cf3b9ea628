/* plugin.c: mistral3: a llama decoder with Pixtral's image encoder beside it (Mistral Small 3.1 and
 * later, Ministral 3). Hyperparameters and tensors are here, the graph is llama's: the text part
 * computes, the image encoder's tensors travel along. Sources: transformers,
 * configuration_mistral3.py, configuration_pixtral.py. Static data; any thread. */
#include <mtk/ext/arch.h>
#include <mtk/plugin.h>

static const char *const classes[] = {"Mistral3ForConditionalGeneration", NULL};

/* clang-format off */
#define TEXT(key, name, type, required, fallback) \
  {key, "text_config." name, type, required, fallback}
#define VISION(key, name, type, fallback) {key, "vision_config." name, type, false, fallback}
#define ROPE(key, name, type) \
  {"rope." key, "text_config.rope_parameters." name, type, false, NULL}, \
  {"rope." key, "text_config.rope_scaling." name, type, false, NULL}

static const mtk_arch_hparam hparams[] = {
  {"hf.text_model_type", "text_config.model_type", MTK_META_STRING, false, "mistral"},
  TEXT("vocab_size", "vocab_size", MTK_META_U32, true, NULL),
  TEXT("context_length", "max_position_embeddings", MTK_META_U32, false, "131072"),
  TEXT("embedding_length", "hidden_size", MTK_META_U32, true, NULL),
  TEXT("block_count", "num_hidden_layers", MTK_META_U32, true, NULL),
  TEXT("feed_forward_length", "intermediate_size", MTK_META_U32, true, NULL),
  TEXT("feed_forward.activation", "hidden_act", MTK_META_STRING, false, "silu"),
  TEXT("attention.head_count", "num_attention_heads", MTK_META_U32, true, NULL),
  TEXT("attention.head_count_kv", "num_key_value_heads", MTK_META_U32, false,
   "=attention.head_count"),
  TEXT("attention.key_length", "head_dim", MTK_META_U32, false,
   "=embedding_length/attention.head_count"),
  {"attention.value_length", NULL, MTK_META_U32, false, "=attention.key_length"},
  TEXT("attention.layer_norm_rms_epsilon", "rms_norm_eps", MTK_META_F32, false, "1e-5"),
  TEXT("attention.sliding_window", "sliding_window", MTK_META_U32, false, NULL),
  {"rope.dimension_count", NULL, MTK_META_U32, false, "=attention.key_length"},
  TEXT("rope.freq_base", "rope_theta", MTK_META_F32, false, "1000000000"),
  {"rope.freq_base", "text_config.rope_parameters.rope_theta", MTK_META_F32, false, "1000000000"},
  ROPE("scaling.type", "rope_type", MTK_META_STRING),
  ROPE("scaling.type", "type", MTK_META_STRING),
  ROPE("scaling.factor", "factor", MTK_META_F32),
  ROPE("scaling.original_context_length", "original_max_position_embeddings", MTK_META_U32),
  ROPE("scaling.yarn_beta_fast", "beta_fast", MTK_META_F32),
  ROPE("scaling.yarn_beta_slow", "beta_slow", MTK_META_F32),
  ROPE("scaling.yarn_attn_factor", "attention_factor", MTK_META_F32),
  ROPE("scaling.yarn_mscale", "mscale", MTK_META_F32),
  ROPE("scaling.yarn_log_multiplier", "mscale_all_dim", MTK_META_F32),
  ROPE("scaling.yarn_truncate", "truncate", MTK_META_BOOL),
  {"attention.temperature_scale", "text_config.rope_parameters.llama_4_scaling_beta",
   MTK_META_F32, false, NULL},
  {"tie_word_embeddings", "tie_word_embeddings", MTK_META_BOOL, false, "!output.weight"},
  {"tie_word_embeddings", "text_config.tie_word_embeddings", MTK_META_BOOL, false,
   "!output.weight"},
  {"hf.vision_model_type", "vision_config.model_type", MTK_META_STRING, false, "pixtral"},
  VISION("vision.embedding_length", "hidden_size", MTK_META_U32, NULL),
  VISION("vision.block_count", "num_hidden_layers", MTK_META_U32, NULL),
  VISION("vision.feed_forward_length", "intermediate_size", MTK_META_U32, NULL),
  VISION("vision.feed_forward.activation", "hidden_act", MTK_META_STRING, "silu"),
  VISION("vision.attention.head_count", "num_attention_heads", MTK_META_U32, NULL),
  VISION("vision.attention.key_length", "head_dim", MTK_META_U32,
   "=vision.embedding_length/vision.attention.head_count"),
  VISION("vision.channel_count", "num_channels", MTK_META_U32, "3"),
  VISION("vision.image_size", "image_size", MTK_META_U32, NULL),
  VISION("vision.patch_size", "patch_size", MTK_META_U32, NULL),
  VISION("vision.rope.freq_base", "rope_theta", MTK_META_F32, "10000"),
  VISION("vision.rope.freq_base", "rope_parameters.rope_theta", MTK_META_F32, "10000"),
  {"vision.spatial_merge_size", "spatial_merge_size", MTK_META_U32, false, "2"},
  {"vision.projector_bias", "multimodal_projector_bias", MTK_META_BOOL, false, "?mm.1.bias"},
  {"vision.image_token_id", "image_token_index", MTK_META_U32, false, "10"},
  {"vision.image_token_id", "image_token_id", MTK_META_U32, false, "10"},
  /* of params.json alone */
  {"vision.projector_norm", NULL, MTK_META_BOOL, false, "?mm.input_norm.weight"},
  {"vision.max_image_size", NULL, MTK_META_U32, false, "=vision.image_size"},
  {"vision.image_break_token_id", NULL, MTK_META_U32, false, "12"},
  {"vision.image_end_token_id", NULL, MTK_META_U32, false, "13"},
  {0},
};

#define Q_ROWS "attention.head_count*attention.key_length"
#define KV_ROWS "attention.head_count_kv*attention.key_length"
#define IMAGE_WIDTH "vision.embedding_length"
#define VECTOR (MTK_TENSOR_REQUIRED | MTK_TENSOR_BLOCK)
#define LINEAR (VECTOR | MTK_TENSOR_LINEAR)
#define IMAGE_BLOCK (MTK_TENSOR_BLOCK | MTK_TENSOR_IMAGE)

/* Names of the published folders, and those that transformers writes since 4.52. */
#define TEXT_BLOCK(name, hf_name, rows, cols, flags, group) \
  {"blk.%d." name, "language_model.model.layers.%d." hf_name, rows, cols, flags, group}, \
  {"blk.%d." name, "model.language_model.layers.%d." hf_name, rows, cols, \
   (flags) | MTK_TENSOR_ALIAS, group}
#define IMAGE(name, hf_name, rows, cols, flags) \
  {name, hf_name, rows, cols, flags, NULL}, \
  {name, "model." hf_name, rows, cols, (flags) | MTK_TENSOR_ALIAS, NULL}
#define TOWER(name, hf_name, rows, cols, flags) \
  IMAGE("v.blk.%d." name, "vision_tower.transformer.layers.%d." hf_name, rows, cols, \
        IMAGE_BLOCK | (flags))

static const mtk_arch_tensor tensors[] = {
  {"token_embd", "language_model.model.embed_tokens", "vocab_size", "embedding_length",
   MTK_TENSOR_REQUIRED, NULL},
  {"token_embd", "model.language_model.embed_tokens", "vocab_size", "embedding_length",
   MTK_TENSOR_ALIAS, NULL},
  {"output_norm", "language_model.model.norm", "embedding_length", NULL, MTK_TENSOR_REQUIRED, NULL},
  {"output_norm", "model.language_model.norm", "embedding_length", NULL, MTK_TENSOR_ALIAS, NULL},
  {"output", "language_model.lm_head", "vocab_size", "embedding_length", MTK_TENSOR_LINEAR, NULL},
  {"output", "lm_head", "vocab_size", "embedding_length", MTK_TENSOR_LINEAR | MTK_TENSOR_ALIAS,
   NULL},
  TEXT_BLOCK("attn_norm", "input_layernorm", "embedding_length", NULL, VECTOR, NULL),
  TEXT_BLOCK("attn_q", "self_attn.q_proj", Q_ROWS, "embedding_length",
   LINEAR | MTK_TENSOR_ROPE_Q, "qkv"),
  TEXT_BLOCK("attn_k", "self_attn.k_proj", KV_ROWS, "embedding_length",
   LINEAR | MTK_TENSOR_ROPE_K, "qkv"),
  TEXT_BLOCK("attn_v", "self_attn.v_proj", KV_ROWS, "embedding_length", LINEAR, "qkv"),
  TEXT_BLOCK("attn_output", "self_attn.o_proj", "embedding_length", Q_ROWS, LINEAR, NULL),
  TEXT_BLOCK("ffn_norm", "post_attention_layernorm", "embedding_length", NULL, VECTOR, NULL),
  TEXT_BLOCK("ffn_gate", "mlp.gate_proj", "feed_forward_length", "embedding_length", LINEAR,
   "gate_up"),
  TEXT_BLOCK("ffn_up", "mlp.up_proj", "feed_forward_length", "embedding_length", LINEAR, "gate_up"),
  TEXT_BLOCK("ffn_down", "mlp.down_proj", "embedding_length", "feed_forward_length", LINEAR, NULL),
  IMAGE("v.patch_embd", "vision_tower.patch_conv", IMAGE_WIDTH, NULL, MTK_TENSOR_IMAGE),
  IMAGE("v.pre_ln", "vision_tower.ln_pre", IMAGE_WIDTH, NULL, MTK_TENSOR_IMAGE),
  TOWER("ln1", "attention_norm", IMAGE_WIDTH, NULL, 0),
  TOWER("attn_q", "attention.q_proj", IMAGE_WIDTH, IMAGE_WIDTH, MTK_TENSOR_ROPE_Q),
  TOWER("attn_k", "attention.k_proj", IMAGE_WIDTH, IMAGE_WIDTH, MTK_TENSOR_ROPE_K),
  TOWER("attn_v", "attention.v_proj", IMAGE_WIDTH, IMAGE_WIDTH, 0),
  TOWER("attn_out", "attention.o_proj", IMAGE_WIDTH, IMAGE_WIDTH, 0),
  TOWER("ln2", "ffn_norm", IMAGE_WIDTH, NULL, 0),
  TOWER("ffn_gate", "feed_forward.gate_proj", "vision.feed_forward_length", IMAGE_WIDTH, 0),
  TOWER("ffn_up", "feed_forward.up_proj", "vision.feed_forward_length", IMAGE_WIDTH, 0),
  TOWER("ffn_down", "feed_forward.down_proj", IMAGE_WIDTH, "vision.feed_forward_length", 0),
  IMAGE("mm.input_norm", "multi_modal_projector.norm", IMAGE_WIDTH, NULL, MTK_TENSOR_IMAGE),
  IMAGE("mm.patch_merger", "multi_modal_projector.patch_merger.merging_layer", IMAGE_WIDTH,
   IMAGE_WIDTH, MTK_TENSOR_IMAGE),
  IMAGE("mm.1", "multi_modal_projector.linear_1", "embedding_length", IMAGE_WIDTH,
   MTK_TENSOR_IMAGE),
  IMAGE("mm.2", "multi_modal_projector.linear_2", "embedding_length", "embedding_length",
   MTK_TENSOR_IMAGE),
  {0},
};
/* clang-format on */

static mtk_status build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  const mtk_arch_v1 *llama = mtk_arch_find("llama");
  if (llama) return llama->build(g, model, err);
  return mtk_fail(err, MTK_E_UNSUPPORTED, "mistral3", "needs the plugin with architecture llama");
}

static const mtk_arch_v1 mistral3 = {
    .struct_size = sizeof mistral3,
    .id = "mistral3",
    .hf_classes = classes,
    .hf_model_type = "mistral3",
    .gguf_pairing = "interleaved",
    .hparams = hparams,
    .tensors = tensors,
    .build = build,
};

MTK_PLUGIN_DEFINE("arch-mistral3", MTK_PLUGIN_VERSION,
                  "Mistral Small 3.1 and later: the text decoder computes, the image encoder's "
                  "tensors are converted", "Apache-2.0", {MTK_EXT_ARCH, &mistral3});
