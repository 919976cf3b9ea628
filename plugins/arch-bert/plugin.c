/* plugin.c: bert and nomic-bert: hyperparameters, tensors and the rows of this plugin. Sources:
 * transformers, configuration_bert.py, configuration_nomic_bert.py, conversion_mapping.py; GGUF's
 * names. Static data; any thread. */
#include "bert.h"

/* clang-format off */
#define COMMON_HPARAMS \
  {"vocab_size", "vocab_size", MTK_META_U32, true, NULL}, \
  {"embedding_length", "hidden_size", MTK_META_U32, true, NULL}, \
  {"block_count", "num_hidden_layers", MTK_META_U32, true, NULL}, \
  {"feed_forward_length", "intermediate_size", MTK_META_U32, true, NULL}, \
  {"attention.head_count", "num_attention_heads", MTK_META_U32, true, NULL}, \
  {"attention.layer_norm_epsilon", "layer_norm_eps", MTK_META_F32, false, "1e-12"}, \
  {"attention.causal", NULL, MTK_META_BOOL, false, "false"}, \
  {"tokenizer.ggml.token_type_count", "type_vocab_size", MTK_META_U32, false, "2"}

static const mtk_arch_hparam bert_hparams[] = {
  COMMON_HPARAMS,
  {"context_length", "max_position_embeddings", MTK_META_U32, false, "512"},
  {"feed_forward.activation", "hidden_act", MTK_META_STRING, false, "gelu"},
  {0},
};

/* The first names are transformers', the second the ones of nomic's own code. */
static const mtk_arch_hparam nomic_hparams[] = {
  COMMON_HPARAMS,
  {"embedding_length", "n_embd", MTK_META_U32, true, NULL},
  {"block_count", "n_layer", MTK_META_U32, true, NULL},
  {"feed_forward_length", "n_inner", MTK_META_U32, true, NULL},
  {"attention.head_count", "n_head", MTK_META_U32, true, NULL},
  {"attention.layer_norm_epsilon", "layer_norm_epsilon", MTK_META_F32, false, "1e-12"},
  {"context_length", "max_position_embeddings", MTK_META_U32, false, "2048"},
  {"context_length", "n_positions", MTK_META_U32, false, "2048"},
  {"feed_forward.activation", "hidden_act", MTK_META_STRING, false, "silu"},
  {"feed_forward.activation", "activation_function", MTK_META_STRING, false, "silu"},
  {"attention.key_length", "head_dim", MTK_META_U32, false,
   "=embedding_length/attention.head_count"},
  {"rope.dimension_count", NULL, MTK_META_U32, false, "=attention.key_length"},
  {"rope.freq_base", "rope_theta", MTK_META_F32, false, "1000"},
  {"rope.freq_base", "rope_parameters.rope_theta", MTK_META_F32, false, "1000"},
  {"rope.freq_base", "rotary_emb_base", MTK_META_F32, false, "1000"},
  {0},
};

#define LINEAR (MTK_TENSOR_REQUIRED | MTK_TENSOR_LINEAR | MTK_TENSOR_BLOCK)
#define VECTOR (MTK_TENSOR_REQUIRED | MTK_TENSOR_BLOCK)
#define WIDTH "embedding_length"
#define FF "feed_forward_length"

/* Folders of other heads (BertForMaskedLM) put "bert." before each name. */
#define BERT(name, hf_name, rows, cols, flags, group) \
  {name, hf_name, rows, cols, flags, group}, \
  {name, "bert." hf_name, rows, cols, (flags) | MTK_TENSOR_ALIAS, group}
#define BERT_BLOCK(name, hf_name, rows, cols, flags, group) \
  BERT("blk.%d." name, "encoder.layer.%d." hf_name, rows, cols, flags, group)

static const mtk_arch_tensor bert_tensors[] = {
  BERT("token_embd", "embeddings.word_embeddings", "vocab_size", WIDTH, MTK_TENSOR_REQUIRED, NULL),
  BERT("position_embd", "embeddings.position_embeddings", "context_length", WIDTH,
       MTK_TENSOR_REQUIRED, NULL),
  BERT("token_types", "embeddings.token_type_embeddings", "tokenizer.ggml.token_type_count", WIDTH,
       0, NULL),
  BERT("token_embd_norm", "embeddings.LayerNorm", WIDTH, NULL, MTK_TENSOR_REQUIRED, NULL),
  BERT_BLOCK("attn_q", "attention.self.query", WIDTH, WIDTH, LINEAR, "qkv"),
  BERT_BLOCK("attn_k", "attention.self.key", WIDTH, WIDTH, LINEAR, "qkv"),
  BERT_BLOCK("attn_v", "attention.self.value", WIDTH, WIDTH, LINEAR, "qkv"),
  BERT_BLOCK("attn_output", "attention.output.dense", WIDTH, WIDTH, LINEAR, NULL),
  BERT_BLOCK("attn_output_norm", "attention.output.LayerNorm", WIDTH, NULL, VECTOR, NULL),
  BERT_BLOCK("ffn_up", "intermediate.dense", FF, WIDTH, LINEAR, NULL),
  BERT_BLOCK("ffn_down", "output.dense", WIDTH, FF, LINEAR, NULL),
  BERT_BLOCK("layer_output_norm", "output.LayerNorm", WIDTH, NULL, VECTOR, NULL),
  {0},
};

static const mtk_arch_tensor nomic_tensors[] = {
  {"token_embd", "embeddings.word_embeddings", "vocab_size", WIDTH, MTK_TENSOR_REQUIRED, NULL},
  {"token_types", "embeddings.token_type_embeddings", "tokenizer.ggml.token_type_count", WIDTH, 0,
   NULL},
  {"token_embd_norm", "emb_ln", WIDTH, NULL, MTK_TENSOR_REQUIRED, NULL},
  {"blk.%d.attn_qkv", "encoder.layers.%d.attn.Wqkv", "3*" WIDTH, WIDTH, LINEAR, NULL},
  {"blk.%d.attn_output", "encoder.layers.%d.attn.out_proj", WIDTH, WIDTH, LINEAR, NULL},
  {"blk.%d.attn_output_norm", "encoder.layers.%d.norm1", WIDTH, NULL, VECTOR, NULL},
  {"blk.%d.ffn_up", "encoder.layers.%d.mlp.fc11", FF, WIDTH, LINEAR, "gate_up"},
  {"blk.%d.ffn_gate", "encoder.layers.%d.mlp.fc12", FF, WIDTH, LINEAR, "gate_up"},
  {"blk.%d.ffn_down", "encoder.layers.%d.mlp.fc2", WIDTH, FF, LINEAR, NULL},
  {"blk.%d.layer_output_norm", "encoder.layers.%d.norm2", WIDTH, NULL, VECTOR, NULL},
  {0},
};
/* clang-format on */

static const char *const bert_classes[] = {"BertModel", "BertForMaskedLM", NULL};
static const char *const nomic_classes[] = {"NomicBertModel", NULL};

static const mtk_arch_v1 bert = {
    .struct_size = sizeof bert,
    .id = "bert",
    .hf_classes = bert_classes,
    .hf_model_type = "bert",
    .gguf_pairing = "half",
    .hparams = bert_hparams,
    .tensors = bert_tensors,
    .build = bert_build,
};

static const mtk_arch_v1 nomic_bert = {
    .struct_size = sizeof nomic_bert,
    .id = "nomic-bert",
    .hf_classes = nomic_classes,
    .hf_model_type = "nomic_bert",
    .gguf_pairing = "half",
    .hparams = nomic_hparams,
    .tensors = nomic_tensors,
    .build = bert_build,
};

MTK_PLUGIN_DEFINE("arch-bert", MTK_PLUGIN_VERSION, "encoders: BERT, Nomic BERT", "Apache-2.0",
                  {MTK_EXT_ARCH, &bert}, {MTK_EXT_ARCH, &nomic_bert});
