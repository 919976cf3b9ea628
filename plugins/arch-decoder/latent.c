/* latent.c: multi-head latent attention: keys and values of all heads come from one narrow latent,
 * queries from another; a part of each head turns, and that part of the keys is shared by the heads
 * (DeepSeek-V2, arXiv:2405.04434, section 2.1). Heads are computed and cached in full. The thread
 * that builds the graph. */
#include "decoder.h"

#include <mtk/kernel.h>

#include <string.h>

/* Scores of a context that yarn stretches are scaled up, by the square of what cos and sin would be
 * (transformers, modeling_deepseek_v3.py, yarn_apply_mscale). */
static mtk_status scale_scores(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  double factor, all_dim;
  if (strcmp(mtk_meta_str(meta, "rope.scaling.type", ""), "yarn") != 0) return MTK_OK;
  MTK_TRY(mtk_meta_float(&factor, meta, "rope.scaling.factor", 1, err));
  MTK_TRY(mtk_meta_float(&all_dim, meta, "rope.scaling.yarn_log_multiplier", 0, err));
  if (!(factor > 1) || !(all_dim > 0)) return MTK_OK;
  double mscale = 0.1 * all_dim * mtk_math_log(factor) + 1.0;
  d->attention.scale = (float)((double)d->attention.scale * mscale * mscale);
  return MTK_OK;
}

mtk_status decoder_read_latent(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  mtk_attrs *a = &d->attention;
  uint64_t rank, interleaved;
  MTK_TRY(mtk_meta_uint(&rank, meta, "attention.kv_lora_rank", 0, err));
  if (rank == 0) return MTK_OK;
  MTK_TRY(decoder_read_size(&d->kv_rank, d, "attention.kv_lora_rank", err));
  MTK_TRY(mtk_meta_uint(&rank, meta, "attention.q_lora_rank", 0, err));
  if (rank) MTK_TRY(decoder_read_size(&d->q_rank, d, "attention.q_lora_rank", err));
  if (a->n_head_kv != a->n_head || a->rope_dim >= a->head_dim)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "attention.key_length",
                    "latent attention needs a key head for each of %d heads, and heads larger than "
                    "their rotary part (%d)", a->n_head, a->rope_dim);
  MTK_TRY(mtk_meta_uint(&interleaved, meta, "rope.interleaved", 1, err));
  a->interleaved = interleaved != 0;
  return scale_scores(d, err);
}

static mtk_node_value slice_heads(decoder *d, mtk_node_value x, int32_t first, int32_t n) {
  mtk_attrs attrs = {.n_head = d->attention.n_head, .column = first, .n_column = n};
  return decoder_add1(d, MTK_OP_SLICE, x, NULL, 0, &attrs);
}

/* Rotary parts alone, n_head of them. */
static mtk_node_value rotate(decoder *d, mtk_node_value x, int32_t n_head) {
  mtk_attrs attrs = d->attention;
  attrs.n_head = n_head;
  attrs.head_dim = attrs.rope_dim;
  return decoder_add1(d, MTK_OP_ROPE, x, NULL, 0, &attrs);
}

/* Each head: what stays, then what turns. */
static mtk_node_value join(decoder *d, mtk_node_value stays, mtk_node_value turns) {
  mtk_attrs attrs = {.n_head = d->attention.n_head, .head_dim = d->attention.head_dim,
                     .v_dim = d->attention.rope_dim};
  mtk_node_value in[] = {stays, turns};
  return mtk_graph_add(d->g, MTK_OP_JOIN_HEADS, in, 2, NULL, 0, &attrs);
}

void decoder_latent_qkv(decoder *d, mtk_node_value qkv[3], mtk_node_value x, int32_t block) {
  const mtk_attrs *a = &d->attention;
  int32_t rope = a->rope_dim, stay = a->head_dim - rope;
  int64_t q_width = (int64_t)a->n_head * a->head_dim;
  mtk_node_value q;
  if (d->q_rank) {
    q = decoder_project(d, x, block, "attn_q_a", d->q_rank);
    q = decoder_norm(d, q, block, "attn_q_a_norm.weight", 1);
    q = decoder_project(d, q, block, "attn_q_b", q_width);
  } else {
    q = decoder_project(d, x, block, "attn_q", q_width);
  }
  qkv[0] = join(d, slice_heads(d, q, 0, stay), rotate(d, slice_heads(d, q, stay, rope), a->n_head));
  mtk_node_value all = decoder_project(d, x, block, "attn_kv_a_mqa", (int64_t)d->kv_rank + rope);
  mtk_node_value kv = decoder_slice(d, all, 0, d->kv_rank);
  mtk_node_value turns = rotate(d, decoder_slice(d, all, d->kv_rank, rope), 1);
  kv = decoder_norm(d, kv, block, "attn_kv_a_norm.weight", 1);
  kv = decoder_project(d, kv, block, "attn_kv_b", (int64_t)a->n_head * (stay + a->v_dim));
  qkv[1] = join(d, slice_heads(d, kv, 0, stay), turns);
  qkv[2] = slice_heads(d, kv, stay, a->v_dim);
}
