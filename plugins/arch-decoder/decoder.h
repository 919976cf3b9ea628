/* decoder.h: what the files of this plugin share: the tables of its rows and the graph under
 * construction. Internal; the thread that builds a graph owns its decoder. */
#ifndef ARCH_DECODER_H
#define ARCH_DECODER_H

#include <mtk/plugin.h>

#include <mtk/ext/arch.h>

extern const mtk_arch_hparam llama_hparams[], qwen2_hparams[], qwen3_hparams[], phi3_hparams[];
extern const mtk_arch_tensor llama_tensors[], qwen2_tensors[], qwen3_tensors[], phi3_tensors[];

extern const mtk_arch_hparam gemma2_hparams[], gemma3_hparams[];
extern const mtk_arch_tensor gemma2_tensors[], gemma3_tensors[];

extern const mtk_arch_hparam qwen2moe_hparams[], qwen3moe_hparams[], gpt_oss_hparams[];
extern const mtk_arch_tensor qwen2moe_tensors[], qwen3moe_tensors[], gpt_oss_tensors[];

extern const mtk_arch_hparam deepseek2_hparams[];
extern const mtk_arch_tensor deepseek2_tensors[];

/* A decoder whose graph is being built. */
typedef struct decoder {
  mtk_graph *g;
  const mtk_model *model;
  int32_t n_embd, n_ff, n_vocab, n_block;
  mtk_attrs attention; /* heads, sizes, pairing, scale; the window where a layer has one */
  int32_t rope_window; /* rope table of the layers with a window */
  int32_t rope_query;  /* of the queries, where they get a temperature; else -1 */
  int32_t q_rank, kv_rank; /* latent attention: widths of the latents; kv_rank 0 = none */
  float eps;
  mtk_op gate; /* SILU_MUL or GELU_MUL, and its form */
  mtk_attrs activation;
  mtk_attrs experts; /* how many, how they are chosen; n_expert 0 = none */
  int32_t n_ff_expert, n_ff_shared;
} decoder;

/* The graph that all rows share: hyperparameters and the presence of tensors decide (build.c). */
mtk_status decoder_build(mtk_graph *g, const mtk_model *model, mtk_error *err);

/* attention.c: hyperparameters, rotary table and KV cache of the graph; then one block's part:
 * normed x -> what is added to the residual. */
mtk_status decoder_read_attention(decoder *d, mtk_error *err);
mtk_node_value decoder_attend(decoder *d, mtk_node_value x, int32_t block);

/* latent.c: attention through low-rank latents: reads its sizes; queries, keys (both rotated) and
 * values of a block. */
mtk_status decoder_read_latent(decoder *d, mtk_error *err);
void decoder_latent_qkv(decoder *d, mtk_node_value qkv[3], mtk_node_value x, int32_t block);

/* feed_forward.c: likewise. */
mtk_status decoder_read_feed_forward(decoder *d, mtk_error *err);
mtk_node_value decoder_feed_forward(decoder *d, mtk_node_value x, int32_t block);

/* moe.c: likewise, for blocks that have a router. */
mtk_status decoder_read_experts(decoder *d, mtk_error *err);
bool decoder_has_experts(const decoder *d, int32_t block);
mtk_node_value decoder_experts(decoder *d, mtk_node_value x, int32_t block);

/* build.c: small steps that the files share. The names of a block's tensors ("blk.7.attn_q") lie in
 * the caller's buffer. */
typedef char tensor_name[64];
const char *decoder_name(tensor_name buf, int32_t block, const char *name);
bool decoder_has(const decoder *d, int32_t block, const char *name);
/* x normed by "blk.N.name"; n_head > 1: each head on its own. */
mtk_node_value decoder_norm(decoder *d, mtk_node_value x, int32_t block, const char *name,
                            int32_t n_head);
/* Columns first .. first + n - 1 of x. */
mtk_node_value decoder_slice(decoder *d, mtk_node_value x, int32_t first, int32_t n);
/* A positive hyperparameter; MTK_E_FORMAT if absent. */
mtk_status decoder_read_size(int32_t *out, const decoder *d, const char *key, mtk_error *err);
mtk_node_value decoder_add1(decoder *d, mtk_op op, mtk_node_value x, const char *weight,
                            int64_t width, const mtk_attrs *attrs);
mtk_node_value decoder_add2(decoder *d, mtk_op op, mtk_node_value a, mtk_node_value b);
/* A projection, with its bias if the model has one. */
mtk_node_value decoder_project(decoder *d, mtk_node_value x, int32_t block, const char *name,
                               int64_t n_out);

#endif
