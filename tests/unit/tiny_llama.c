/* tiny_llama.c: see tiny_llama.h. All numbers come from Philox, so that a failure repeats. */
#include "tiny_llama.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const tiny_config tiny_default = {.vocab = 67, .dim = 64, .ff = 128, .n_layer = 2, .n_head = 4,
                                  .n_head_kv = 2, .head_dim = 16, .type = MTK_F32,
                                  .biases = true, .seed = 1};

static tiny_config current;

static mtk_status add(mtk_model *m, const char *name, mtk_dtype type, int64_t n, int64_t k,
                      double mean, double spread) {
  uint64_t stream = mtk_model_tensor_count(m);
  size_t count = (size_t)(n * k), bytes = mtk_dtype_bytes(type, count);
  float *values = mtk_arena_alloc(mtk_model_arena(m), count, sizeof *values);
  void *data = mtk_arena_alloc(mtk_model_arena(m), bytes, 1);
  if (!values || !data) return MTK_E_NOMEM;
  for (size_t i = 0; i < count; i++)
    values[i] = (float)(mean + spread * mtk_normal(current.seed, stream, i));
  mtk_dtype_encode(type, data, values, count);
  mtk_tensor t = {.name = name, .dtype = type, .n_dims = n > 1 ? 2 : 1,
                  .shape = {n > 1 ? n : k, k}, .data = data, .size_bytes = bytes};
  return mtk_model_add_tensor(m, &t, NULL);
}

static mtk_status add_block(mtk_model *m, int layer) {
  const tiny_config *c = &current;
  int64_t q = (int64_t)c->n_head * c->head_dim, kv = (int64_t)c->n_head_kv * c->head_dim;
  typedef struct matrix {
    const char *name;
    int64_t n, k;
  } matrix;
  const matrix plain[] = {{"attn_q", q, c->dim},         {"attn_k", kv, c->dim},
                          {"attn_v", kv, c->dim},        {"attn_output", c->dim, q},
                          {"ffn_gate", c->ff, c->dim},   {"ffn_up", c->ff, c->dim},
                          {"ffn_down", c->dim, c->ff}};
  const matrix fused[] = {{"attn_qkv", q + 2 * kv, c->dim}, {"attn_output", c->dim, q},
                          {"ffn_up", 2 * c->ff, c->dim},    {"ffn_down", c->dim, c->ff}};
  const matrix *mats = c->rich ? fused : plain;
  char name[96];
  for (size_t i = 0; i < (c->rich ? 4 : 7); i++) {
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, mats[i].name);
    MTK_TRY(add(m, name, c->type, mats[i].n, mats[i].k, 0.0, 1.0 / sqrt((double)mats[i].k)));
    if (!c->biases || c->rich || i > 2) continue;
    snprintf(name, sizeof name, "blk.%d.%s.bias", layer, mats[i].name);
    MTK_TRY(add(m, name, MTK_F32, 1, mats[i].n, 0.0, 0.1));
  }
  for (int i = 0; c->rich && i < 2; i++) {
    snprintf(name, sizeof name, "blk.%d.attn_%c_norm.weight", layer, "qk"[i]);
    MTK_TRY(add(m, name, MTK_F32, 1, c->head_dim, 1.0, 0.3));
  }
  snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
  MTK_TRY(add(m, name, MTK_F32, 1, c->dim, 1.0, 0.1));
  snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
  return add(m, name, MTK_F32, 1, c->dim, 1.0, 0.1);
}

mtk_model *tiny_model(const tiny_config *config) {
  current = *config;
  mtk_model *m = mtk_model_create();
  if (!m) return NULL;
  mtk_status status =
      add(m, "token_embd.weight", config->type, config->vocab, config->dim, 0.0, 1.0);
  for (int l = 0; l < config->n_layer && status == MTK_OK; l++) status = add_block(m, l);
  if (status == MTK_OK) status = add(m, "output_norm.weight", MTK_F32, 1, config->dim, 1.0, 0.1);
  if (status == MTK_OK && !config->tied)
    status = add(m, "output.weight", config->type, config->vocab, config->dim, 0.0, 0.3);
  if (status == MTK_OK)
    status = mtk_meta_set_uint(mtk_model_meta(m), "context_length", 512, NULL);
  if (status == MTK_OK) return m;
  mtk_model_destroy(m);
  return NULL;
}

static mtk_node_value norm(mtk_graph *g, mtk_node_value x, const char *name) {
  return mtk_graph_add(g, MTK_OP_RMSNORM, &x, 1, name, 0, &(mtk_attrs){.eps = 1e-5f});
}

static mtk_node_value slice(mtk_graph *g, mtk_node_value x, int64_t column, int64_t n) {
  mtk_attrs a = {.column = (int32_t)column, .n_column = (int32_t)n};
  return mtk_graph_add(g, MTK_OP_SLICE, &x, 1, NULL, 0, &a);
}

static mtk_node_value attention(mtk_graph *g, mtk_node_value x, int layer) {
  const tiny_config *c = &current;
  mtk_attrs a = {.layer = layer, .n_head = c->n_head, .n_head_kv = c->n_head_kv,
                 .head_dim = c->head_dim, .rope_dim = c->head_dim,
                 .interleaved = c->interleaved, .scale = 1.0f / sqrtf((float)c->head_dim)};
  char name[64];
  snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
  x = norm(g, x, name);
  int64_t width[3] = {(int64_t)c->n_head * c->head_dim, (int64_t)c->n_head_kv * c->head_dim,
                      (int64_t)c->n_head_kv * c->head_dim};
  mtk_node_value qkv[3], all = -1;
  snprintf(name, sizeof name, "blk.%d.attn_qkv", layer);
  if (c->rich) {
    all = mtk_graph_project(g, x, name, width[0] + width[1] + width[2], false);
    a.softcap = 2.0f;
    if (layer == 0) a.window = 5, a.rope_table = 1;
  }
  for (int i = 0, at = 0; i < 3; at += (int)width[i++]) {
    snprintf(name, sizeof name, "blk.%d.attn_%c", layer, "qkv"[i]);
    qkv[i] = c->rich ? slice(g, all, at, width[i])
                     : mtk_graph_project(g, x, name, width[i], c->biases);
    mtk_attrs per_head = {.eps = 1e-5f, .n_head = i == 0 ? c->n_head : c->n_head_kv};
    snprintf(name, sizeof name, "blk.%d.attn_%c_norm.weight", layer, "qkv"[i]);
    if (c->rich && i < 2)
      qkv[i] = mtk_graph_add(g, MTK_OP_RMSNORM, &qkv[i], 1, name, 0, &per_head);
    mtk_attrs rope = a;
    if (i == 1) rope.n_head = c->n_head_kv;
    if (i < 2) qkv[i] = mtk_graph_add(g, MTK_OP_ROPE, &qkv[i], 1, NULL, 0, &rope);
  }
  mtk_node_value out = mtk_graph_add(g, MTK_OP_ATTENTION, qkv, 3, NULL, 0, &a);
  snprintf(name, sizeof name, "blk.%d.attn_output", layer);
  return mtk_graph_project(g, out, name, c->dim, false);
}

static mtk_node_value feed_forward(mtk_graph *g, mtk_node_value x, int layer) {
  char name[64];
  snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
  x = norm(g, x, name);
  mtk_node_value in[2];
  if (current.rich) {
    snprintf(name, sizeof name, "blk.%d.ffn_up", layer);
    mtk_node_value both = mtk_graph_project(g, x, name, 2 * current.ff, false);
    for (int i = 0; i < 2; i++) in[i] = slice(g, both, i * current.ff, current.ff);
  } else {
    snprintf(name, sizeof name, "blk.%d.ffn_gate", layer);
    in[0] = mtk_graph_project(g, x, name, current.ff, false);
    snprintf(name, sizeof name, "blk.%d.ffn_up", layer);
    in[1] = mtk_graph_project(g, x, name, current.ff, false);
  }
  mtk_node_value h =
      mtk_graph_add(g, current.rich ? MTK_OP_GELU_MUL : MTK_OP_SILU_MUL, in, 2, NULL, 0, NULL);
  snprintf(name, sizeof name, "blk.%d.ffn_down", layer);
  return mtk_graph_project(g, h, name, current.dim, false);
}

static mtk_node_value plus(mtk_graph *g, mtk_node_value a, mtk_node_value b) {
  return mtk_graph_add(g, MTK_OP_ADD, (mtk_node_value[]){a, b}, 2, NULL, 0, NULL);
}

mtk_status tiny_build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  (void)model;
  const tiny_config *c = &current;
  double inv_freq[64];
  for (int table = 0; table < 2; table++) {
    for (int i = 0; i < c->head_dim / 2; i++)
      inv_freq[i] = pow(table ? 100.0 : 10000.0, -2.0 * i / (double)c->head_dim);
    mtk_graph_add_rope(g, inv_freq, c->head_dim / 2, 1.0);
  }
  mtk_graph_set_kv(g, c->n_layer, c->n_head_kv, c->head_dim, c->head_dim);
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", c->dim, NULL);
  if (c->rich) x = mtk_graph_add(g, MTK_OP_SCALE, &x, 1, NULL, 0, &(mtk_attrs){.scale = 3.0f});
  for (int l = 0; l < c->n_layer; l++) {
    x = plus(g, x, attention(g, x, l));
    x = plus(g, x, feed_forward(g, x, l));
  }
  x = mtk_graph_add(g, MTK_OP_SELECT, &x, 1, NULL, 0, NULL);
  x = norm(g, x, "output_norm.weight");
  x = mtk_graph_add(g, MTK_OP_LINEAR, &x, 1, c->tied ? "token_embd.weight" : "output.weight",
                    c->vocab, NULL);
  if (c->rich) x = mtk_graph_add(g, MTK_OP_SOFTCAP, &x, 1, NULL, 0, &(mtk_attrs){.softcap = 3.0f});
  mtk_graph_set_logits(g, x);
  return mtk_graph_status(g, err);
}

mtk_adapter *tiny_adapter(const tiny_config *c, int64_t rank, uint64_t seed) {
  mtk_adapter *a = mtk_adapter_create();
  if (!a) return NULL;
  const int64_t q = (int64_t)c->n_head * c->head_dim, kv = (int64_t)c->n_head_kv * c->head_dim;
  const struct {
    const char *name;
    int64_t n, k;
  } mats[] = {{"attn_q", q, c->dim}, {"attn_v", kv, c->dim}, {"ffn_down", c->dim, c->ff}};
  a->n_pairs = 3 * (size_t)c->n_layer;
  a->rank = rank;
  a->pairs = mtk_arena_alloc(a->arena, a->n_pairs, sizeof *a->pairs);
  for (size_t i = 0; i < a->n_pairs; i++) {
    char name[64];
    snprintf(name, sizeof name, "blk.%zu.%s.weight", i / 3, mats[i % 3].name);
    size_t n_a = (size_t)(rank * mats[i % 3].k), n_b = (size_t)(rank * mats[i % 3].n);
    float *va = mtk_arena_alloc(a->arena, n_a, sizeof *va);
    float *vb = mtk_arena_alloc(a->arena, n_b, sizeof *vb);
    for (size_t j = 0; j < n_a; j++) va[j] = (float)(0.1 * mtk_normal(seed, 2 * i, j));
    for (size_t j = 0; j < n_b; j++) vb[j] = (float)(0.1 * mtk_normal(seed, 2 * i + 1, j));
    a->pairs[i] = (mtk_lora_pair){.target = mtk_arena_strndup(a->arena, name, strlen(name)),
                                  .rank = rank, .scale = 2.0f, .a = va, .b = vb};
  }
  return a;
}
