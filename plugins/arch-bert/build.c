/* build.c: the graph of an encoder up to the hidden states (Devlin et al. 2019): embeddings, then
 * blocks of attention and feed-forward layers, each normed after its residual sum. Details in
 * MODEL.md. Any thread. */
#include "bert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct encoder {
  mtk_graph *g;
  const mtk_model *model;
  int32_t n_embd, n_ff, n_vocab, n_block;
  mtk_attrs attention;
  bool rotary;
  float eps;
  mtk_attrs activation;
} encoder;

typedef char tensor_name[64];

/* ---- hyperparameters ----------------------------------------------------------------------- */

static mtk_status read_size(int32_t *out, const encoder *e, const char *key, mtk_error *err) {
  uint64_t v;
  MTK_TRY(mtk_meta_uint(&v, mtk_model_meta(e->model), key, 0, err));
  if (v == 0 || v > INT32_MAX / 4)
    return mtk_fail(err, MTK_E_FORMAT, key, "is missing or not a size (%llu)",
                    (unsigned long long)v);
  *out = (int32_t)v;
  return MTK_OK;
}

static mtk_status read_rope(encoder *e, mtk_error *err) {
  mtk_attrs *a = &e->attention;
  int n = a->head_dim / 2;
  if (a->head_dim % 2)
    return mtk_fail(err, MTK_E_FORMAT, "attention.key_length", "%d is odd", a->head_dim);
  double *inv_freq = mtk_alloc((size_t)n, sizeof *inv_freq);
  if (!inv_freq) return mtk_fail(err, MTK_E_NOMEM, "rope", "out of memory");
  mtk_status status = mtk_model_rope(inv_freq, NULL, n, e->model, err);
  a->rope_dim = 2 * n;
  if (status == MTK_OK) a->rope_table = mtk_graph_add_rope(e->g, inv_freq, n, 1.0);
  mtk_free(inv_freq);
  return status;
}

static mtk_status read_attention(encoder *e, mtk_error *err) {
  mtk_attrs *a = &e->attention;
  MTK_TRY(read_size(&a->n_head, e, "attention.head_count", err));
  if (e->n_embd % a->n_head)
    return mtk_fail(err, MTK_E_FORMAT, "attention.head_count", "%d heads do not divide %d",
                    a->n_head, e->n_embd);
  a->n_head_kv = a->n_head;
  a->head_dim = e->n_embd / a->n_head;
  a->bidirectional = 1;
  a->scale = (float)(1.0 / sqrt((double)a->head_dim));
  mtk_graph_set_kv(e->g, e->n_block, a->n_head, a->head_dim, a->head_dim);
  e->rotary = mtk_model_tensor(e->model, "position_embd.weight") == NULL;
  return e->rotary ? read_rope(e, err) : MTK_OK;
}

static mtk_status read_activation(encoder *e, mtk_error *err) {
  static const struct {
    const char *name;
    bool gated;
    mtk_gelu form;
  } known[] = {{"gelu", false, MTK_GELU_ERF}, {"gelu_new", false, MTK_GELU_TANH},
               {"gelu_pytorch_tanh", false, MTK_GELU_TANH}, {"silu", true, MTK_GELU_TANH},
               {"swiglu", true, MTK_GELU_TANH}};
  const char *name = mtk_meta_str(mtk_model_meta(e->model), "feed_forward.activation", "gelu");
  bool gated = mtk_model_tensor(e->model, "blk.0.ffn_gate.weight") != NULL;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(known[i].name, name) != 0 || known[i].gated != gated) continue;
    e->activation.activation = (int32_t)known[i].form;
    return MTK_OK;
  }
  return mtk_fail(err, MTK_E_UNSUPPORTED, "hidden_act", "'%.60s' %s a gate is not known", name,
                  gated ? "with" : "without");
}

static mtk_status read_encoder(encoder *e, mtk_error *err) {
  double eps;
  MTK_TRY(read_size(&e->n_embd, e, "embedding_length", err));
  MTK_TRY(read_size(&e->n_vocab, e, "vocab_size", err));
  MTK_TRY(read_size(&e->n_block, e, "block_count", err));
  MTK_TRY(read_size(&e->n_ff, e, "feed_forward_length", err));
  MTK_TRY(mtk_meta_float(&eps, mtk_model_meta(e->model), "attention.layer_norm_epsilon", 1e-12,
                         err));
  e->eps = (float)eps;
  MTK_TRY(read_activation(e, err));
  return read_attention(e, err);
}

/* ---- the graph ----------------------------------------------------------------------------- */

static mtk_node_value add2(encoder *e, mtk_op op, mtk_node_value a, mtk_node_value b) {
  mtk_node_value in[] = {a, b};
  return mtk_graph_add(e->g, op, in, 2, NULL, 0, NULL);
}

static mtk_node_value project(encoder *e, mtk_node_value x, int32_t block, const char *name,
                              int64_t n_out) {
  tensor_name base, bias;
  snprintf(base, sizeof base, "blk.%d.%s", block, name);
  snprintf(bias, sizeof bias, "%.56s.bias", base);
  return mtk_graph_project(e->g, x, base, n_out, mtk_model_tensor(e->model, bias) != NULL);
}

static mtk_node_value norm(encoder *e, mtk_node_value x, const char *base) {
  tensor_name name;
  mtk_attrs attrs = {.eps = e->eps};
  snprintf(name, sizeof name, "%.54s.weight", base);
  x = mtk_graph_add(e->g, MTK_OP_LAYERNORM, &x, 1, name, 0, &attrs);
  snprintf(name, sizeof name, "%.54s.bias", base);
  if (!mtk_model_tensor(e->model, name)) return x;
  return mtk_graph_add(e->g, MTK_OP_ADD_ROW, &x, 1, name, 0, NULL);
}

static mtk_node_value norm_block(encoder *e, mtk_node_value x, int32_t block, const char *name) {
  tensor_name base;
  snprintf(base, sizeof base, "blk.%d.%s", block, name);
  return norm(e, x, base);
}

/* x + the table's rows, if the model has such a table. In the order of transformers: words, token
 * types, positions. */
static mtk_node_value add_lookup(encoder *e, mtk_node_value x, const char *weight,
                                 mtk_lookup lookup) {
  mtk_attrs attrs = {.lookup = (int32_t)lookup};
  if (!mtk_model_tensor(e->model, weight)) return x;
  return add2(e, MTK_OP_ADD, x,
              mtk_graph_add(e->g, MTK_OP_EMBED, NULL, 0, weight, e->n_embd, &attrs));
}

static mtk_node_value embed(encoder *e) {
  mtk_node_value x =
      mtk_graph_add(e->g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", e->n_embd, NULL);
  x = add_lookup(e, x, "token_types.weight", MTK_LOOKUP_FIRST);
  x = add_lookup(e, x, "position_embd.weight", MTK_LOOKUP_POSITION);
  return norm(e, x, "token_embd_norm");
}

static mtk_node_value slice(encoder *e, mtk_node_value x, int32_t first) {
  mtk_attrs attrs = {.column = first, .n_column = e->n_embd};
  return mtk_graph_add(e->g, MTK_OP_SLICE, &x, 1, NULL, 0, &attrs);
}

/* q, k, v: three matrices, or one above the other (Nomic). */
static void project_qkv(encoder *e, mtk_node_value qkv[3], mtk_node_value x, int32_t block) {
  static const char *const names[] = {"attn_q", "attn_k", "attn_v"};
  tensor_name fused;
  snprintf(fused, sizeof fused, "blk.%d.attn_qkv.weight", block);
  mtk_node_value all = -1;
  bool one = mtk_model_tensor(e->model, fused) != NULL;
  if (one) all = project(e, x, block, "attn_qkv", 3 * (int64_t)e->n_embd);
  for (int i = 0; i < 3; i++)
    qkv[i] = one ? slice(e, all, i * e->n_embd) : project(e, x, block, names[i], e->n_embd);
  for (int i = 0; i < 2 && e->rotary; i++)
    qkv[i] = mtk_graph_add(e->g, MTK_OP_ROPE, &qkv[i], 1, NULL, 0, &e->attention);
}

static mtk_node_value add_block(encoder *e, mtk_node_value x, int32_t block) {
  mtk_attrs layer = e->attention;
  mtk_node_value qkv[3];
  layer.layer = block;
  project_qkv(e, qkv, x, block);
  mtk_node_value h = mtk_graph_add(e->g, MTK_OP_ATTENTION, qkv, 3, NULL, 0, &layer);
  h = project(e, h, block, "attn_output", e->n_embd);
  x = norm_block(e, add2(e, MTK_OP_ADD, h, x), block, "attn_output_norm");
  tensor_name gate;
  snprintf(gate, sizeof gate, "blk.%d.ffn_gate.weight", block);
  if (mtk_model_tensor(e->model, gate)) {
    h = project(e, x, block, "ffn_gate", e->n_ff);
    h = add2(e, MTK_OP_SILU_MUL, h, project(e, x, block, "ffn_up", e->n_ff));
  } else {
    h = project(e, x, block, "ffn_up", e->n_ff);
    h = mtk_graph_add(e->g, MTK_OP_GELU, &h, 1, NULL, 0, &e->activation);
  }
  h = project(e, h, block, "ffn_down", e->n_embd);
  return norm_block(e, add2(e, MTK_OP_ADD, h, x), block, "layer_output_norm");
}

mtk_status bert_build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  encoder e = {.g = g, .model = model};
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch) return mtk_fail(err, MTK_E_INTERNAL, mtk_model_arch(model), "no such architecture");
  MTK_TRY(mtk_arch_check(arch, model, err));
  MTK_TRY(read_encoder(&e, err));
  mtk_node_value x = embed(&e);
  for (int32_t i = 0; i < e.n_block && x >= 0; i++) x = add_block(&e, x, i);
  x = mtk_graph_add(g, MTK_OP_SELECT, &x, 1, NULL, 0, NULL);
  mtk_graph_set_hidden(g, x);
  return mtk_graph_status(g, err);
}
