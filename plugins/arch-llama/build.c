/* build.c: the decoder's graph: RMSNorm, grouped-query attention with rotary positions, SwiGLU
 * (Touvron et al. 2023, section 2.2; MODEL.md lists the details). Any thread. */
#include "arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct decoder {
  mtk_graph *g;
  const mtk_model *model;
  int32_t n_embd, n_ff, n_vocab, n_block;
  mtk_attrs attention; /* heads, sizes, pairing, window, scale */
  float eps;
} decoder;

static mtk_status read_size(int32_t *out, const mtk_model *model, const char *key, mtk_error *err) {
  uint64_t v;
  MTK_TRY(mtk_meta_uint(&v, mtk_model_meta(model), key, 0, err));
  if (v == 0 || v > INT32_MAX / 2)
    return mtk_fail(err, MTK_E_FORMAT, key, "is missing or not a size (%llu)",
                    (unsigned long long)v);
  *out = (int32_t)v;
  return MTK_OK;
}

static mtk_status check_heads(const mtk_attrs *a, int32_t value_length, mtk_error *err) {
  if (a->n_head % a->n_head_kv)
    return mtk_fail(err, MTK_E_FORMAT, "attention.head_count_kv",
                    "%d heads do not share %d key heads evenly", a->n_head, a->n_head_kv);
  if (a->rope_dim % 2 || a->rope_dim > a->head_dim)
    return mtk_fail(err, MTK_E_FORMAT, "rope.dimension_count",
                    "%d is odd or larger than the head size %d", a->rope_dim, a->head_dim);
  if (value_length != a->head_dim)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "attention.value_length",
                    "%d differs from the head size %d", value_length, a->head_dim);
  if ((int64_t)a->n_head * a->head_dim > INT32_MAX)
    return mtk_fail(err, MTK_E_FORMAT, "attention.head_count", "the heads are too many");
  return MTK_OK;
}

static mtk_status read_attention(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  mtk_attrs *a = &d->attention;
  int32_t value_length;
  uint64_t window, sliding;
  MTK_TRY(read_size(&a->n_head, d->model, "attention.head_count", err));
  MTK_TRY(read_size(&a->n_head_kv, d->model, "attention.head_count_kv", err));
  MTK_TRY(read_size(&a->head_dim, d->model, "attention.key_length", err));
  MTK_TRY(read_size(&value_length, d->model, "attention.value_length", err));
  MTK_TRY(read_size(&a->rope_dim, d->model, "rope.dimension_count", err));
  MTK_TRY(check_heads(a, value_length, err));
  MTK_TRY(mtk_meta_uint(&sliding, meta, "attention.use_sliding_window", 0, err));
  if (sliding)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "use_sliding_window",
                    "qwen2 with a window on some layers only is not supported");
  MTK_TRY(mtk_meta_uint(&window, meta, "attention.sliding_window", 0, err));
  bool windowed = strcmp(mtk_model_arch(d->model), "qwen2") != 0 && window < INT32_MAX;
  a->window = windowed ? (int32_t)window : 0;
  a->interleaved = strcmp(mtk_meta_str(meta, "rope.pairing", "half"), "interleaved") == 0;
  a->scale = (float)(1.0 / sqrt((double)a->head_dim));
  return MTK_OK;
}

static mtk_status read_decoder(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  MTK_TRY(read_size(&d->n_embd, d->model, "embedding_length", err));
  MTK_TRY(read_size(&d->n_ff, d->model, "feed_forward_length", err));
  MTK_TRY(read_size(&d->n_vocab, d->model, "vocab_size", err));
  MTK_TRY(read_size(&d->n_block, d->model, "block_count", err));
  MTK_TRY(read_attention(d, err));
  double eps;
  MTK_TRY(mtk_meta_float(&eps, meta, "attention.layer_norm_rms_epsilon", 1e-6, err));
  d->eps = (float)eps;
  const char *activation = mtk_meta_str(meta, "feed_forward.activation", "silu");
  if (strcmp(activation, "silu") != 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "hidden_act", "'%.60s': only silu is supported",
                    activation);
  return MTK_OK;
}

/* ---- ops ----------------------------------------------------------------------------------- */

static mtk_node_value add1(decoder *d, mtk_op op, mtk_node_value x, const char *weight,
                           int64_t width, const mtk_attrs *attrs) {
  return mtk_graph_add(d->g, op, &x, 1, weight, width, attrs);
}

static mtk_node_value add2(decoder *d, mtk_op op, mtk_node_value a, mtk_node_value b) {
  mtk_node_value in[] = {a, b};
  return mtk_graph_add(d->g, op, in, 2, NULL, 0, NULL);
}

static mtk_node_value rmsnorm(decoder *d, mtk_node_value x, const char *weight) {
  mtk_attrs attrs = {.eps = d->eps};
  return add1(d, MTK_OP_RMSNORM, x, weight, 0, &attrs);
}

/* "blk.7.attn_q": the name of a block's tensor, in the caller's buffer. */
typedef char tensor_name[64];
static const char *in_block(tensor_name buf, int32_t block, const char *name) {
  snprintf(buf, sizeof(tensor_name), "blk.%d.%s", block, name);
  return buf;
}

static mtk_node_value project(decoder *d, mtk_node_value x, int32_t block, const char *name,
                              int64_t n_out) {
  tensor_name base, bias;
  in_block(base, block, name);
  snprintf(bias, sizeof bias, "%.56s.bias", base);
  return mtk_graph_project(d->g, x, base, n_out, mtk_model_tensor(d->model, bias) != NULL);
}

static mtk_node_value rotate(decoder *d, mtk_node_value x, int32_t n_head) {
  mtk_attrs attrs = d->attention;
  attrs.n_head = n_head;
  return add1(d, MTK_OP_ROPE, x, NULL, 0, &attrs);
}

static mtk_node_value attend(decoder *d, mtk_node_value x, int32_t block) {
  mtk_attrs attrs = d->attention;
  attrs.layer = block;
  int64_t q_width = (int64_t)attrs.n_head * attrs.head_dim;
  int64_t kv_width = (int64_t)attrs.n_head_kv * attrs.head_dim;
  mtk_node_value q = project(d, x, block, "attn_q", q_width);
  mtk_node_value k = project(d, x, block, "attn_k", kv_width);
  mtk_node_value v = project(d, x, block, "attn_v", kv_width);
  mtk_node_value in[] = {rotate(d, q, attrs.n_head), rotate(d, k, attrs.n_head_kv), v};
  mtk_node_value out = mtk_graph_add(d->g, MTK_OP_ATTENTION, in, 3, NULL, 0, &attrs);
  return project(d, out, block, "attn_output", d->n_embd);
}

static mtk_node_value feed_forward(decoder *d, mtk_node_value x, int32_t block) {
  mtk_node_value gate = project(d, x, block, "ffn_gate", d->n_ff);
  mtk_node_value up = project(d, x, block, "ffn_up", d->n_ff);
  return project(d, add2(d, MTK_OP_SILU_MUL, gate, up), block, "ffn_down", d->n_embd);
}

static mtk_node_value add_block(decoder *d, mtk_node_value x, int32_t block) {
  tensor_name name;
  mtk_node_value h = rmsnorm(d, x, in_block(name, block, "attn_norm.weight"));
  x = add2(d, MTK_OP_ADD, x, attend(d, h, block));
  h = rmsnorm(d, x, in_block(name, block, "ffn_norm.weight"));
  return add2(d, MTK_OP_ADD, x, feed_forward(d, h, block));
}

static mtk_status set_rope(decoder *d, mtk_error *err) {
  int n = d->attention.rope_dim / 2;
  double *inv_freq = mtk_alloc((size_t)n, sizeof *inv_freq);
  if (!inv_freq) return mtk_fail(err, MTK_E_NOMEM, "rope", "out of memory");
  mtk_status status = mtk_model_rope(inv_freq, NULL, n, d->model, err);
  if (status == MTK_OK) mtk_graph_set_rope(d->g, inv_freq, n, 1.0);
  mtk_free(inv_freq);
  return status;
}

/* Logits of the selected rows: the last block's output is selected first, so that norm and head are
 * computed for wanted rows only. */
static mtk_status add_head(decoder *d, mtk_node_value x, mtk_error *err) {
  bool own = mtk_model_tensor(d->model, "output.weight") != NULL;
  const mtk_value *tied = mtk_meta_get(mtk_model_meta(d->model), "tie_word_embeddings");
  if (!own && tied && tied->type == MTK_META_BOOL && !tied->as.u)
    return mtk_fail(err, MTK_E_FORMAT, "output.weight",
                    "is missing, and the model says that its embeddings are not shared");
  x = add1(d, MTK_OP_SELECT, x, NULL, 0, NULL);
  x = rmsnorm(d, x, "output_norm.weight");
  if (own) x = mtk_graph_project(d->g, x, "output", d->n_vocab, false);
  else x = add1(d, MTK_OP_LINEAR, x, "token_embd.weight", d->n_vocab, NULL);
  mtk_graph_set_logits(d->g, x);
  return MTK_OK;
}

mtk_status llama_build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  decoder d = {.g = g, .model = model};
  MTK_TRY(read_decoder(&d, err));
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch) return mtk_fail(err, MTK_E_INTERNAL, mtk_model_arch(model), "no such architecture");
  MTK_TRY(mtk_arch_check(arch, model, err));
  MTK_TRY(set_rope(&d, err));
  mtk_graph_set_kv(g, d.n_block, d.attention.n_head_kv, d.attention.head_dim);
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", d.n_embd, NULL);
  for (int32_t i = 0; i < d.n_block && x >= 0; i++) x = add_block(&d, x, i);
  MTK_TRY(add_head(&d, x, err));
  return mtk_graph_status(g, err);
}
