/* attention.c: the attention of one block: grouped queries, rotary positions, sliding windows
 * (Touvron et al. 2023, section 2.2; details in models/). The thread that builds the graph. */
#include "decoder.h"

#include <math.h>
#include <string.h>

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

static mtk_status read_heads(decoder *d, mtk_error *err) {
  mtk_attrs *a = &d->attention;
  int32_t value_length;
  MTK_TRY(decoder_read_size(&a->n_head, d, "attention.head_count", err));
  MTK_TRY(decoder_read_size(&a->n_head_kv, d, "attention.head_count_kv", err));
  MTK_TRY(decoder_read_size(&a->head_dim, d, "attention.key_length", err));
  MTK_TRY(decoder_read_size(&value_length, d, "attention.value_length", err));
  MTK_TRY(decoder_read_size(&a->rope_dim, d, "rope.dimension_count", err));
  return check_heads(a, value_length, err);
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

mtk_status decoder_read_attention(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  mtk_attrs *a = &d->attention;
  uint64_t window, sliding;
  MTK_TRY(read_heads(d, err));
  MTK_TRY(mtk_meta_uint(&sliding, meta, "attention.use_sliding_window", 0, err));
  if (sliding)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "use_sliding_window",
                    "qwen2 with a window on some layers only is not supported");
  MTK_TRY(mtk_meta_uint(&window, meta, "attention.sliding_window", 0, err));
  bool windowed = strcmp(mtk_model_arch(d->model), "qwen2") != 0 && window < INT32_MAX;
  a->window = windowed ? (int32_t)window : 0;
  a->interleaved = strcmp(mtk_meta_str(meta, "rope.pairing", "half"), "interleaved") == 0;
  a->scale = (float)(1.0 / sqrt((double)a->head_dim));
  MTK_TRY(set_rope(d, err));
  mtk_graph_set_kv(d->g, d->n_block, a->n_head_kv, a->head_dim);
  return MTK_OK;
}

static mtk_node_value rotate(decoder *d, mtk_node_value x, int32_t n_head) {
  mtk_attrs attrs = d->attention;
  attrs.n_head = n_head;
  return decoder_add1(d, MTK_OP_ROPE, x, NULL, 0, &attrs);
}

mtk_node_value decoder_attend(decoder *d, mtk_node_value x, int32_t block) {
  mtk_attrs attrs = d->attention;
  attrs.layer = block;
  int64_t q_width = (int64_t)attrs.n_head * attrs.head_dim;
  int64_t kv_width = (int64_t)attrs.n_head_kv * attrs.head_dim;
  mtk_node_value q = decoder_project(d, x, block, "attn_q", q_width);
  mtk_node_value k = decoder_project(d, x, block, "attn_k", kv_width);
  mtk_node_value v = decoder_project(d, x, block, "attn_v", kv_width);
  mtk_node_value in[] = {rotate(d, q, attrs.n_head), rotate(d, k, attrs.n_head_kv), v};
  mtk_node_value out = mtk_graph_add(d->g, MTK_OP_ATTENTION, in, 3, NULL, 0, &attrs);
  return decoder_project(d, out, block, "attn_output", d->n_embd);
}
