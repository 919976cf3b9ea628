/* feed_forward.c: the feed-forward part of one block: SwiGLU (Shazeer 2020; details in models/).
 * The thread that builds the graph. */
#include "decoder.h"

#include <string.h>

mtk_status decoder_read_feed_forward(decoder *d, mtk_error *err) {
  MTK_TRY(decoder_read_size(&d->n_ff, d, "feed_forward_length", err));
  const char *activation = mtk_meta_str(mtk_model_meta(d->model), "feed_forward.activation",
                                        "silu");
  if (strcmp(activation, "silu") != 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "hidden_act", "'%.60s': only silu is supported",
                    activation);
  return MTK_OK;
}

mtk_node_value decoder_feed_forward(decoder *d, mtk_node_value x, int32_t block) {
  mtk_node_value gate = decoder_project(d, x, block, "ffn_gate", d->n_ff);
  mtk_node_value up = decoder_project(d, x, block, "ffn_up", d->n_ff);
  mtk_node_value h = decoder_add2(d, MTK_OP_SILU_MUL, gate, up);
  return decoder_project(d, h, block, "ffn_down", d->n_embd);
}
