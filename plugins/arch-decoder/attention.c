/* attention.c: the attention of one block: grouped queries, rotary positions, windows, soft caps
 * (Touvron et al. 2023, section 2.2; details in models/). The thread that builds the graph. */
#include "decoder.h"

#include <mtk/kernel.h>

#include <math.h>
#include <string.h>

static mtk_status check_heads(const mtk_attrs *a, mtk_error *err) {
  if (a->n_head % a->n_head_kv)
    return mtk_fail(err, MTK_E_FORMAT, "attention.head_count_kv",
                    "%d heads do not share %d key heads evenly", a->n_head, a->n_head_kv);
  if (a->rope_dim % 2 || a->rope_dim > a->head_dim)
    return mtk_fail(err, MTK_E_FORMAT, "rope.dimension_count",
                    "%d is odd or larger than the head size %d", a->rope_dim, a->head_dim);
  if ((int64_t)a->n_head * a->head_dim > INT32_MAX / 4 ||
      (int64_t)a->n_head * a->v_dim > INT32_MAX / 4)
    return mtk_fail(err, MTK_E_FORMAT, "attention.head_count", "the heads are too many");
  return MTK_OK;
}

static mtk_status read_heads(decoder *d, mtk_error *err) {
  mtk_attrs *a = &d->attention;
  MTK_TRY(decoder_read_size(&a->n_head, d, "attention.head_count", err));
  MTK_TRY(decoder_read_size(&a->n_head_kv, d, "attention.head_count_kv", err));
  MTK_TRY(decoder_read_size(&a->head_dim, d, "attention.key_length", err));
  MTK_TRY(decoder_read_size(&a->v_dim, d, "attention.value_length", err));
  MTK_TRY(decoder_read_size(&a->rope_dim, d, "rope.dimension_count", err));
  return check_heads(a, err);
}

/* ---- rotary tables ------------------------------------------------------------------------- */

/* Layers with a window may turn by a base of their own, without scaling (Gemma 3). */
static mtk_status add_window_rope(decoder *d, double *inv_freq, int n, mtk_error *err) {
  double base;
  d->rope_window = d->attention.rope_table;
  MTK_TRY(mtk_meta_float(&base, mtk_model_meta(d->model), "rope.freq_base_swa", 0, err));
  if (!(base > 0)) return MTK_OK;
  for (int j = 0; j < n; j++) inv_freq[j] = mtk_math_pow(base, -(double)j / (double)n);
  d->rope_window = mtk_graph_add_rope(d->g, inv_freq, n, 1.0);
  return MTK_OK;
}

/* Queries grow with their position (Ministral 3: llama_4_scaling). The factor lies in a table of
 * their own, so all values of a head must be rotated. */
static mtk_status add_query_rope(decoder *d, const double *inv_freq, int n, double mscale,
                                 mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  double temperature;
  uint64_t length;
  d->rope_query = -1;
  MTK_TRY(mtk_meta_float(&temperature, meta, "attention.temperature_scale", 0, err));
  if (!(temperature > 0)) return MTK_OK;
  MTK_TRY(mtk_meta_uint(&length, meta, "rope.scaling.original_context_length", 0, err));
  MTK_TRY(mtk_meta_uint(&length, meta, "attention.temperature_length", length, err));
  if (length == 0 || length > INT32_MAX || d->attention.rope_dim != d->attention.head_dim)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "attention.temperature_scale",
                    "needs attention.temperature_length, and heads that are rotated whole");
  d->rope_query = mtk_graph_add_rope(d->g, inv_freq, n, mscale);
  mtk_graph_set_rope_temperature(d->g, d->rope_query, temperature, (int64_t)length);
  return MTK_OK;
}

static mtk_status add_ropes(decoder *d, mtk_error *err) {
  int n = d->attention.rope_dim / 2;
  double mscale, *inv_freq = mtk_alloc((size_t)n, sizeof *inv_freq);
  if (!inv_freq) return mtk_fail(err, MTK_E_NOMEM, "rope", "out of memory");
  mtk_status status = mtk_model_rope(inv_freq, NULL, n, d->model, err);
  if (status == MTK_OK) status = mtk_model_rope_scale(&mscale, d->model, err);
  if (status == MTK_OK) {
    d->attention.rope_table = mtk_graph_add_rope(d->g, inv_freq, n, mscale);
    status = add_query_rope(d, inv_freq, n, mscale, err);
    if (status == MTK_OK) status = add_window_rope(d, inv_freq, n, err);
  }
  mtk_free(inv_freq);
  return status;
}

/* ---- windows ------------------------------------------------------------------------------- */

/* One entry per layer, if the model has such a list. */
static const mtk_value *layer_list(const decoder *d) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  const mtk_value *v = mtk_meta_get(meta, "attention.layer_types");
  if (!v) v = mtk_meta_get(meta, "attention.sliding_window_pattern");
  return v && v->type == MTK_META_ARRAY ? v : NULL;
}

static bool is_window_entry(const mtk_value *entry) {
  if (entry->type == MTK_META_STRING) return strcmp(entry->as.str.s, "sliding_attention") == 0;
  return entry->type == MTK_META_BOOL && entry->as.u;
}

static mtk_status read_windows(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  uint64_t window, used;
  MTK_TRY(mtk_meta_uint(&used, meta, "attention.use_sliding_window", 1, err));
  MTK_TRY(mtk_meta_uint(&window, meta, "attention.sliding_window", 0, err));
  d->attention.window = used && window < INT32_MAX ? (int32_t)window : 0;
  const mtk_value *list = layer_list(d);
  if (list && list->as.arr.n != (size_t)d->n_block)
    return mtk_fail(err, MTK_E_FORMAT, "attention.layer_types", "has %zu entries for %d layers",
                    list->as.arr.n, d->n_block);
  for (size_t i = 0; list && i < list->as.arr.n; i++) {
    const mtk_value *entry = &list->as.arr.items[i];
    bool known = entry->type == MTK_META_BOOL ||
                 (entry->type == MTK_META_STRING &&
                  (is_window_entry(entry) || strcmp(entry->as.str.s, "full_attention") == 0));
    if (!known)
      return mtk_fail(err, MTK_E_UNSUPPORTED, "attention.layer_types",
                      "layer %zu has attention of a kind that is not known", i);
  }
  return MTK_OK;
}

/* Has this layer a window: by the list, else all but each N-th (Gemma), else from a first one on
 * (Qwen), else all. */
static bool is_windowed(const decoder *d, int32_t block) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  const mtk_value *list = layer_list(d);
  uint64_t every = 0, first = 0;
  if (d->attention.window == 0) return false;
  if (list) return is_window_entry(&list->as.arr.items[block]);
  if (mtk_meta_uint(&every, meta, "attention.sliding_window_pattern", 0, NULL) == MTK_OK && every)
    return ((uint64_t)block + 1) % every != 0;
  (void)mtk_meta_uint(&first, meta, "attention.max_window_layers", 0, NULL);
  return (uint64_t)block >= first;
}

/* ---- the graph ----------------------------------------------------------------------------- */

/* Scores are divided by sqrt(query_pre_attn_scalar), usually the head size. GGUF files made
 * elsewhere do not say it; the 27B models of Gemma 2 and 3 alone have another: width / heads. */
static mtk_status read_scale(decoder *d, mtk_error *err) {
  static const struct {
    const char *arch;
    int32_t n_block;
  } by_width[] = {{"gemma2", 46}, {"gemma3", 62}};
  uint64_t scalar, fallback = (uint64_t)d->attention.head_dim;
  const char *arch = mtk_model_arch(d->model);
  for (size_t i = 0; i < sizeof by_width / sizeof by_width[0]; i++)
    if (strcmp(by_width[i].arch, arch) == 0 && by_width[i].n_block == d->n_block)
      fallback = (uint64_t)(d->n_embd / d->attention.n_head);
  MTK_TRY(mtk_meta_uint(&scalar, mtk_model_meta(d->model), "attention.query_pre_attn_scalar",
                        fallback, err));
  if (scalar == 0)
    return mtk_fail(err, MTK_E_FORMAT, "attention.query_pre_attn_scalar", "is zero");
  d->attention.scale = (float)(1.0 / sqrt((double)scalar));
  return MTK_OK;
}

mtk_status decoder_read_attention(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  mtk_attrs *a = &d->attention;
  double softcap;
  MTK_TRY(read_heads(d, err));
  MTK_TRY(read_windows(d, err));
  MTK_TRY(read_scale(d, err));
  MTK_TRY(mtk_meta_float(&softcap, meta, "attn_logit_softcapping", 0, err));
  a->softcap = softcap > 0 ? (float)softcap : 0.0f;
  a->interleaved = strcmp(mtk_meta_str(meta, "rope.pairing", "half"), "interleaved") == 0;
  MTK_TRY(add_ropes(d, err));
  mtk_graph_set_kv(d->g, d->n_block, a->n_head_kv, a->head_dim, a->v_dim);
  return decoder_read_latent(d, err);
}

/* A query or key, normed per head where the model does that (Qwen 3, Gemma 3), and rotated. */
static mtk_node_value rotate(decoder *d, mtk_node_value x, int32_t block, const char *norm,
                             int32_t n_head, const mtk_attrs *layer) {
  mtk_attrs attrs = *layer;
  attrs.n_head = n_head;
  if (decoder_has(d, block, norm)) x = decoder_norm(d, x, block, norm, n_head);
  return decoder_add1(d, MTK_OP_ROPE, x, NULL, 0, &attrs);
}

/* q, k, v: three matrices, or one above the other (Phi-3). */
static void project_qkv(decoder *d, mtk_node_value qkv[3], mtk_node_value x, int32_t block) {
  const mtk_attrs *a = &d->attention;
  int32_t q = a->n_head * a->head_dim, k = a->n_head_kv * a->head_dim;
  int32_t v = a->n_head_kv * a->v_dim;
  if (decoder_has(d, block, "attn_qkv.weight")) {
    mtk_node_value all = decoder_project(d, x, block, "attn_qkv", (int64_t)q + k + v);
    qkv[0] = decoder_slice(d, all, 0, q);
    qkv[1] = decoder_slice(d, all, q, k);
    qkv[2] = decoder_slice(d, all, q + k, v);
    return;
  }
  qkv[0] = decoder_project(d, x, block, "attn_q", q);
  qkv[1] = decoder_project(d, x, block, "attn_k", k);
  qkv[2] = decoder_project(d, x, block, "attn_v", v);
}

mtk_node_value decoder_attend(decoder *d, mtk_node_value x, int32_t block) {
  static const char sinks[] = "attn_sinks.weight";
  tensor_name name;
  mtk_attrs layer = d->attention;
  mtk_node_value in[3];
  layer.layer = block;
  if (!is_windowed(d, block)) layer.window = 0;
  else layer.rope_table = d->rope_window;
  if (d->kv_rank) {
    decoder_latent_qkv(d, in, x, block);
  } else {
    project_qkv(d, in, x, block);
    mtk_attrs query = layer;
    if (d->rope_query >= 0) query.rope_table = d->rope_query;
    in[0] = rotate(d, in[0], block, "attn_q_norm.weight", layer.n_head, &query);
    in[1] = rotate(d, in[1], block, "attn_k_norm.weight", layer.n_head_kv, &layer);
  }
  mtk_node_value out =
      mtk_graph_add(d->g, MTK_OP_ATTENTION, in, 3,
                    decoder_has(d, block, sinks) ? decoder_name(name, block, sinks) : NULL, 0,
                    &layer);
  return decoder_project(d, out, block, "attn_output", d->n_embd);
}
