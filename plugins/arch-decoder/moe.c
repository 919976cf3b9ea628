/* moe.c: the feed-forward part of a block with experts: router, chosen experts, shared expert
 * (Shazeer et al. 2017; Jiang et al. 2024; details in models/). The thread that builds the
 * graph. */
#include "decoder.h"

#include <mtk/kernel.h>

#include <stdio.h>

/* Values of expert_gating_func, as GGUF has them. */
enum { GATING_SOFTMAX = 1, GATING_SIGMOID = 2, GATING_SOFTMAX_CHOSEN = 3 };

static mtk_status read_routing(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  mtk_attrs *a = &d->experts;
  uint64_t gating, norm, n_group, n_used;
  double scale;
  /* transformers' default for qwen3_moe is not to normalize, llama.cpp always does. */
  bool norm_default = mtk_meta_str(meta, "hf.architecture", NULL) == NULL;
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(d->model));
  if (!arch || arch->tensors == llama_tensors) norm_default = true;
  MTK_TRY(mtk_meta_uint(&gating, meta, "expert_gating_func", GATING_SOFTMAX, err));
  MTK_TRY(mtk_meta_uint(&norm, meta, "expert_weights_norm", norm_default, err));
  MTK_TRY(mtk_meta_uint(&n_group, meta, "expert_group_count", 0, err));
  MTK_TRY(mtk_meta_uint(&n_used, meta, "expert_group_used_count", n_group, err));
  MTK_TRY(mtk_meta_float(&scale, meta, "expert_weights_scale", 1, err));
  if (gating == 0) gating = GATING_SOFTMAX;
  if (gating > GATING_SOFTMAX_CHOSEN)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "expert_gating_func", "%llu is not known",
                    (unsigned long long)gating);
  if (n_group > MTK_MAX_EXPERT || n_used > n_group)
    return mtk_fail(err, MTK_E_FORMAT, "expert_group_count", "%llu of %llu groups",
                    (unsigned long long)n_used, (unsigned long long)n_group);
  a->route_flags = norm && gating != GATING_SOFTMAX_CHOSEN ? MTK_ROUTE_NORM : 0;
  if (gating == GATING_SIGMOID) a->route_flags |= MTK_ROUTE_SIGMOID | MTK_ROUTE_GROUP_TOP2;
  if (gating == GATING_SOFTMAX_CHOSEN) a->route_flags |= MTK_ROUTE_SOFTMAX_CHOSEN;
  a->n_group = (int32_t)n_group;
  a->n_group_used = (int32_t)n_used;
  a->route_scale = scale > 0 ? (float)scale : 1.0f;
  return MTK_OK;
}

mtk_status decoder_read_experts(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  uint64_t n_expert, n_ff, n_shared;
  double alpha, limit;
  MTK_TRY(mtk_meta_uint(&n_expert, meta, "expert_count", 0, err));
  if (n_expert == 0) return MTK_OK;
  MTK_TRY(decoder_read_size(&d->experts.n_expert, d, "expert_count", err));
  MTK_TRY(decoder_read_size(&d->experts.n_slot, d, "expert_used_count", err));
  if (d->experts.n_expert > MTK_MAX_EXPERT || d->experts.n_slot > d->experts.n_expert)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "expert_count", "%d of %d experts (at most %d)",
                    d->experts.n_slot, d->experts.n_expert, MTK_MAX_EXPERT);
  MTK_TRY(mtk_meta_uint(&n_ff, meta, "expert_feed_forward_length", (uint64_t)d->n_ff, err));
  MTK_TRY(mtk_meta_uint(&n_shared, meta, "expert_shared_feed_forward_length", n_ff, err));
  if (n_ff == 0 || n_ff > INT32_MAX / 2 || n_shared > INT32_MAX / 2)
    return mtk_fail(err, MTK_E_FORMAT, "expert_feed_forward_length", "%llu is not a size",
                    (unsigned long long)n_ff);
  d->n_ff_expert = (int32_t)n_ff;
  d->n_ff_shared = (int32_t)n_shared;
  MTK_TRY(mtk_meta_float(&limit, meta, "feed_forward.swiglu_limit", 0, err));
  MTK_TRY(mtk_meta_float(&alpha, meta, "feed_forward.swiglu_alpha", 1.702, err));
  d->experts.limit = (float)limit;
  d->experts.alpha = (float)alpha;
  return read_routing(d, err);
}

bool decoder_has_experts(const decoder *d, int32_t block) {
  tensor_name name;
  return mtk_model_tensor(d->model, decoder_name(name, block, "ffn_gate_inp.weight")) != NULL;
}

/* The layer of each chosen expert on its tokens; slots: x has a part per slot already. */
static mtk_node_value project_experts(decoder *d, mtk_node_value x, mtk_node_value ids,
                                      int32_t block, const char *name, int32_t n_out, int slots) {
  tensor_name base, full;
  mtk_attrs attrs = d->experts;
  mtk_node_value in[] = {x, ids};
  attrs.slot_input = slots;
  decoder_name(base, block, name);
  snprintf(full, sizeof full, "%.56s.weight", base);
  mtk_node_value y = mtk_graph_add(d->g, MTK_OP_MOE_LINEAR, in, 2, full,
                                   (int64_t)attrs.n_slot * n_out, &attrs);
  snprintf(full, sizeof full, "%.56s.bias", base);
  if (!mtk_model_tensor(d->model, full)) return y;
  in[0] = y;
  return mtk_graph_add(d->g, MTK_OP_MOE_ADD_ROW, in, 2, full, 0, &attrs);
}

static mtk_node_value gated(decoder *d, mtk_node_value gate, mtk_node_value up) {
  mtk_node_value in[] = {gate, up};
  mtk_op op = d->experts.limit > 0 ? MTK_OP_SWIGLU_CLAMPED : MTK_OP_SILU_MUL;
  return mtk_graph_add(d->g, op, in, 2, NULL, 0, &d->experts);
}

/* What all tokens get besides: an expert of its own, weighted by a gate if there is one. */
static mtk_node_value add_shared(decoder *d, mtk_node_value x, mtk_node_value y, int32_t block) {
  tensor_name name;
  if (!mtk_model_tensor(d->model, decoder_name(name, block, "ffn_up_shexp.weight"))) return y;
  mtk_node_value gate = decoder_project(d, x, block, "ffn_gate_shexp", d->n_ff_shared);
  mtk_node_value up = decoder_project(d, x, block, "ffn_up_shexp", d->n_ff_shared);
  mtk_node_value h = decoder_project(d, gated(d, gate, up), block, "ffn_down_shexp", d->n_embd);
  if (mtk_model_tensor(d->model, decoder_name(name, block, "ffn_gate_inp_shexp.weight")))
    h = decoder_add2(d, MTK_OP_MUL_SIGMOID, h,
                     decoder_add1(d, MTK_OP_LINEAR, x, name, 1, NULL));
  return decoder_add2(d, MTK_OP_ADD, y, h);
}

mtk_node_value decoder_experts(decoder *d, mtk_node_value x, int32_t block) {
  tensor_name bias;
  decoder_name(bias, block, "exp_probs_b.bias");
  bool biased = mtk_model_tensor(d->model, bias) != NULL;
  mtk_node_value logits = decoder_project(d, x, block, "ffn_gate_inp", d->experts.n_expert);
  mtk_node_value weights =
      mtk_graph_add(d->g, biased ? MTK_OP_MOE_ROUTE_BIASED : MTK_OP_MOE_ROUTE, &logits, 1,
                    biased ? bias : NULL, d->experts.n_slot, &d->experts);
  if (weights < 0) return -1;
  mtk_node_value ids = weights + 1; /* the second result */
  mtk_node_value gate = project_experts(d, x, ids, block, "ffn_gate_exps", d->n_ff_expert, 0);
  mtk_node_value up = project_experts(d, x, ids, block, "ffn_up_exps", d->n_ff_expert, 0);
  mtk_node_value h = gated(d, gate, up);
  h = project_experts(d, h, ids, block, "ffn_down_exps", d->n_embd, 1);
  mtk_node_value in[] = {h, weights, ids};
  mtk_node_value y = mtk_graph_add(d->g, MTK_OP_MOE_SUM, in, 3, NULL, 0, &d->experts);
  return y < 0 ? -1 : add_shared(d, x, y, block);
}
