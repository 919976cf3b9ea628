/* build.c: the graph of a decoder: embedding, blocks, norm, head. What a block consists of is in
 * attention.c and feed_forward.c; which details belong to which model is in models/. Any thread. */
#include "decoder.h"

#include <math.h>
#include <stdio.h>

/* ---- shared by the files ------------------------------------------------------------------- */

const char *decoder_name(tensor_name buf, int32_t block, const char *name) {
  snprintf(buf, sizeof(tensor_name), "blk.%d.%s", block, name);
  return buf;
}

bool decoder_has(const decoder *d, int32_t block, const char *name) {
  tensor_name full;
  return mtk_model_tensor(d->model, decoder_name(full, block, name)) != NULL;
}

mtk_node_value decoder_norm(decoder *d, mtk_node_value x, int32_t block, const char *name,
                            int32_t n_head) {
  tensor_name full;
  mtk_attrs attrs = {.eps = d->eps, .n_head = n_head};
  return decoder_add1(d, MTK_OP_RMSNORM, x, decoder_name(full, block, name), 0, &attrs);
}

mtk_node_value decoder_slice(decoder *d, mtk_node_value x, int32_t first, int32_t n) {
  mtk_attrs attrs = {.column = first, .n_column = n};
  return decoder_add1(d, MTK_OP_SLICE, x, NULL, 0, &attrs);
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

/* post_attention_norm is what its name says where there is an ffn_norm too (Gemma); alone it stands
 * before the feed-forward part (gpt-oss). */
static mtk_node_value add_block(decoder *d, mtk_node_value x, int32_t block) {
  static const char after[] = "post_attention_norm.weight", before[] = "ffn_norm.weight";
  bool has_before = decoder_has(d, block, before);
  mtk_node_value h = decoder_norm(d, x, block, "attn_norm.weight", 1);
  h = decoder_attend(d, h, block);
  if (has_before && decoder_has(d, block, after)) h = decoder_norm(d, h, block, after, 1);
  x = decoder_add2(d, MTK_OP_ADD, x, h);
  h = decoder_norm(d, x, block, has_before ? before : after, 1);
  h = decoder_feed_forward(d, h, block);
  if (decoder_has(d, block, "post_ffw_norm.weight"))
    h = decoder_norm(d, h, block, "post_ffw_norm.weight", 1);
  return decoder_add2(d, MTK_OP_ADD, x, h);
}

/* Token embeddings; Gemma's are multiplied by sqrt(width), rounded to the type that they are stored
 * in, as transformers does (f32 for quantized ones, as llama.cpp does). */
static mtk_node_value embed(decoder *d) {
  static const char name[] = "token_embd.weight";
  const mtk_value *scaled = mtk_meta_get(mtk_model_meta(d->model), "embedding_sqrt_scale");
  mtk_node_value x = mtk_graph_add(d->g, MTK_OP_EMBED, NULL, 0, name, d->n_embd, NULL);
  if (!scaled || scaled->type != MTK_META_BOOL || !scaled->as.u) return x;
  const mtk_tensor *t = mtk_model_tensor(d->model, name);
  mtk_attrs attrs = {.scale = (float)sqrt((double)d->n_embd)};
  if (t && (t->dtype == MTK_BF16 || t->dtype == MTK_F16)) {
    uint16_t rounded;
    mtk_dtype_encode(t->dtype, &rounded, &attrs.scale, 1);
    mtk_dtype_decode(t->dtype, &attrs.scale, &rounded, 1);
  }
  return decoder_add1(d, MTK_OP_SCALE, x, NULL, 0, &attrs);
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
  const mtk_attrs norm = {.eps = d->eps};
  x = decoder_add1(d, MTK_OP_RMSNORM, x, "output_norm.weight", 0, &norm);
  mtk_graph_set_hidden(d->g, x);
  if (own) x = mtk_graph_project(d->g, x, "output", d->n_vocab, false);
  else x = decoder_add1(d, MTK_OP_LINEAR, x, "token_embd.weight", d->n_vocab, NULL);
  double cap;
  MTK_TRY(mtk_meta_float(&cap, mtk_model_meta(d->model), "final_logit_softcapping", 0, err));
  mtk_attrs attrs = {.softcap = (float)cap};
  if (cap > 0) x = decoder_add1(d, MTK_OP_SOFTCAP, x, NULL, 0, &attrs);
  mtk_graph_set_logits(d->g, x);
  return MTK_OK;
}

mtk_status decoder_build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  decoder d = {.g = g, .model = model};
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch) return mtk_fail(err, MTK_E_INTERNAL, mtk_model_arch(model), "no such architecture");
  MTK_TRY(mtk_arch_check(arch, model, err));
  MTK_TRY(read_decoder(&d, err));
  mtk_node_value x = embed(&d);
  for (int32_t i = 0; i < d.n_block && x >= 0; i++) x = add_block(&d, x, i);
  MTK_TRY(add_head(&d, x, err));
  return mtk_graph_status(g, err);
}
