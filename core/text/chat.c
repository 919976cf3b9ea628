/* text/chat.c: rendered prompts to token ids. Control tokens come only from the template itself,
 * never from data, however the two meet. Pure; any thread. */
#include "text/tokenizer.h"

/* 1 for each offset inside one of the sorted spans. */
static void mark_spans(uint8_t *mask, const size_t *offsets, size_t n, const mtk_span *spans,
                       size_t n_spans) {
  size_t span = 0;
  for (size_t i = 0; i < n; i++) {
    while (span < n_spans && spans[span].end <= offsets[i]) span++;
    mask[i] = span < n_spans && spans[span].begin <= offsets[i];
  }
}

mtk_status mtk_rendered_encode(mtk_ids *out, uint8_t **mask, const mtk_rendered *r,
                               const mtk_tokenizer *tok, mtk_error *err) {
  text_sink sink = {.ids = out, .want_offsets = mask != NULL};
  text_forbidden forbidden = {.spans = r->data, .n_spans = r->n_data};
  mtk_status status = mtk_text_encode(&sink, tok, r->text.data, r->text.len, &forbidden, err);
  if (status == MTK_OK && mask) {
    *mask = mtk_alloc(sink.n_offsets, 1);
    if (!*mask)
      status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding a prompt");
    else
      mark_spans(*mask, sink.offsets, sink.n_offsets, r->generation, r->n_generation);
  }
  mtk_free(sink.offsets);
  return status;
}
