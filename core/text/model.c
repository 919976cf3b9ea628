/* text/model.c: the table of models, and where their ids go. Any thread. */
#include "text/model.h"

mtk_status mtk_text_sink_push(text_sink *sink, int32_t id, size_t offset, mtk_error *err) {
  if (sink->want_offsets) {
    if (sink->n_offsets == sink->cap_offsets) {
      size_t cap = sink->cap_offsets * 2 + 64;
      size_t *grown = mtk_realloc(sink->offsets, sink->cap_offsets, cap, sizeof *grown);
      if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
      sink->offsets = grown;
      sink->cap_offsets = cap;
    }
    sink->offsets[sink->n_offsets++] = offset;
  }
  return mtk_ids_push(sink->ids, id, err);
}

/* Rows by kind: a new model is a row here and a file. */
static const text_model_class *const classes[MTK_VOCAB_WORDLEVEL + 1] = {
    [MTK_VOCAB_BPE] = &mtk_text_bpe_model,
    [MTK_VOCAB_SPM] = &mtk_text_merge_model,
    [MTK_VOCAB_RANKS] = &mtk_text_merge_model,
    [MTK_VOCAB_UNIGRAM] = &mtk_text_unigram_model,
    [MTK_VOCAB_WORDPIECE] = &mtk_text_wordpiece_model,
    [MTK_VOCAB_WORDLEVEL] = &mtk_text_wordlevel_model,
};

const text_model_class *mtk_text_model_find(mtk_vocab_kind kind) {
  return (size_t)kind < sizeof classes / sizeof classes[0] ? classes[kind] : NULL;
}
