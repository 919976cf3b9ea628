/* build.c: the graph of a decoder: embedding, blocks, norm, head. What a block consists of is in
 * attention.c and feed_forward.c; which details belong to which model is in models/. Any thread. */
#include "decoder.h"

#include <stdio.h>

/* ---- shared by the files ------------------------------------------------------------------- */

const char *decoder_name(tensor_name buf, int32_t block, const char *name) {
  snprintf(buf, sizeof(tensor_name), "blk.%d.%s", block, name);
  return buf;
}

mtk_status decoder_read_size(int32_t *out, const decoder *d, const char *key, mtk_error *err) {
  uint64_t v;
  MTK_TRY(mtk_meta_uint(&v, mtk_model_meta(d->model), key, 0, err));
  if (v == 0 || v > INT32_MAX / 2)
    return mtk_fail(err, MTK_E_FORMAT, key, "is missing or not a size (%llu)",
                    (unsigned long long)v);
  *out = (int32_t)v;
  return MTK_OK;
}

mtk_node_value decoder_add1(decoder *d, mtk_op op, mtk_node_value x, const char *weight,
                            int64_t width, const mtk_attrs *attrs) {
  return mtk_graph_add(d->g, op, &x, 1, weight, width, attrs);
}

mtk_node_value decoder_add2(decoder *d, mtk_op op, mtk_node_value a, mtk_node_value b) {
  mtk_node_value in[] = {a, b};
  return mtk_graph_add(d->g, op, in, 2, NULL, 0, NULL);
}

mtk_node_value decoder_project(decoder *d, mtk_node_value x, int32_t block, const char *name,
                               int64_t n_out) {
  tensor_name base, bias;
  decoder_name(base, block, name);
  snprintf(bias, sizeof bias, "%.56s.bias", base);
  return mtk_graph_project(d->g, x, base, n_out, mtk_model_tensor(d->model, bias) != NULL);
}

/* ---- the graph ----------------------------------------------------------------------------- */

static mtk_status read_decoder(decoder *d, mtk_error *err) {
  MTK_TRY(decoder_read_size(&d->n_embd, d, "embedding_length", err));
  MTK_TRY(decoder_read_size(&d->n_vocab, d, "vocab_size", err));
  MTK_TRY(decoder_read_size(&d->n_block, d, "block_count", err));
  double eps;
  MTK_TRY(mtk_meta_float(&eps, mtk_model_meta(d->model), "attention.layer_norm_rms_epsilon", 1e-6,
                         err));
  d->eps = (float)eps;
  MTK_TRY(decoder_read_feed_forward(d, err));
  return decoder_read_attention(d, err);
}

static mtk_node_value rmsnorm(decoder *d, mtk_node_value x, const char *weight) {
  mtk_attrs attrs = {.eps = d->eps};
  return decoder_add1(d, MTK_OP_RMSNORM, x, weight, 0, &attrs);
}

static mtk_node_value add_block(decoder *d, mtk_node_value x, int32_t block) {
  tensor_name name;
  mtk_node_value h = rmsnorm(d, x, decoder_name(name, block, "attn_norm.weight"));
  x = decoder_add2(d, MTK_OP_ADD, x, decoder_attend(d, h, block));
  h = rmsnorm(d, x, decoder_name(name, block, "ffn_norm.weight"));
  return decoder_add2(d, MTK_OP_ADD, x, decoder_feed_forward(d, h, block));
}

/* Logits of the selected rows: the last block's output is selected first, so that norm and head are
 * computed for wanted rows only. */
static mtk_status add_head(decoder *d, mtk_node_value x, mtk_error *err) {
  bool own = mtk_model_tensor(d->model, "output.weight") != NULL;
  const mtk_value *tied = mtk_meta_get(mtk_model_meta(d->model), "tie_word_embeddings");
  if (!own && tied && tied->type == MTK_META_BOOL && !tied->as.u)
    return mtk_fail(err, MTK_E_FORMAT, "output.weight",
                    "is missing, and the model says that its embeddings are not shared");
  x = decoder_add1(d, MTK_OP_SELECT, x, NULL, 0, NULL);
  x = rmsnorm(d, x, "output_norm.weight");
  if (own) x = mtk_graph_project(d->g, x, "output", d->n_vocab, false);
  else x = decoder_add1(d, MTK_OP_LINEAR, x, "token_embd.weight", d->n_vocab, NULL);
  mtk_graph_set_logits(d->g, x);
  return MTK_OK;
}

mtk_status decoder_build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  decoder d = {.g = g, .model = model};
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch) return mtk_fail(err, MTK_E_INTERNAL, mtk_model_arch(model), "no such architecture");
  MTK_TRY(mtk_arch_check(arch, model, err));
  MTK_TRY(read_decoder(&d, err));
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", d.n_embd, NULL);
  for (int32_t i = 0; i < d.n_block && x >= 0; i++) x = add_block(&d, x, i);
  MTK_TRY(add_head(&d, x, err));
  return mtk_graph_status(g, err);
}
