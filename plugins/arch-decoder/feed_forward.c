/* feed_forward.c: the feed-forward part of one block: SwiGLU (Shazeer 2020; details in models/).
 * The thread that builds the graph. */
#include "decoder.h"

#include <string.h>

static const struct {
  const char *name;
  mtk_op gate;
  mtk_gelu form;
} activations[] = {
    {"silu", MTK_OP_SILU_MUL, MTK_GELU_TANH},
    {"swish", MTK_OP_SILU_MUL, MTK_GELU_TANH},
    {"gelu_pytorch_tanh", MTK_OP_GELU_MUL, MTK_GELU_TANH},
    {"gelu_new", MTK_OP_GELU_MUL, MTK_GELU_TANH},
    {"gelu", MTK_OP_GELU_MUL, MTK_GELU_ERF},
};

static mtk_status read_activation(decoder *d, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(d->model);
  const char *name = mtk_meta_str(meta, "feed_forward.activation", "silu");
  for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++) {
    if (strcmp(activations[i].name, name) != 0) continue;
    d->gate = activations[i].gate;
    d->activation.activation = (int32_t)activations[i].form;
    return MTK_OK;
  }
  return mtk_fail(err, MTK_E_UNSUPPORTED, "hidden_act", "'%.60s': silu and gelu are supported",
                  name);
}

mtk_status decoder_read_feed_forward(decoder *d, mtk_error *err) {
  MTK_TRY(decoder_read_size(&d->n_ff, d, "feed_forward_length", err));
  MTK_TRY(read_activation(d, err));
  return decoder_read_experts(d, err);
}

mtk_node_value decoder_feed_forward(decoder *d, mtk_node_value x, int32_t block) {
  if (decoder_has_experts(d, block)) return decoder_experts(d, x, block);
  mtk_node_value in[2]; /* gate, up: two matrices, or one above the other (Phi-3) */
  if (decoder_has(d, block, "ffn_gate.weight")) {
    in[0] = decoder_project(d, x, block, "ffn_gate", d->n_ff);
    in[1] = decoder_project(d, x, block, "ffn_up", d->n_ff);
  } else {
    mtk_node_value both = decoder_project(d, x, block, "ffn_up", 2 * (int64_t)d->n_ff);
    in[0] = decoder_slice(d, both, 0, d->n_ff);
    in[1] = decoder_slice(d, both, d->n_ff, d->n_ff);
  }
  mtk_node_value h = mtk_graph_add(d->g, d->gate, in, 2, NULL, 0, &d->activation);
  return decoder_project(d, h, block, "ffn_down", d->n_embd);
}
