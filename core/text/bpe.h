/* text/bpe.h: the byte-level BPE model. Takes one pre-tokenized piece of raw bytes, gives ids by
 * merging the pair of lowest rank first (leftmost first among equals), in n log n time.
 * Immutable after creation, shared by threads; the work area belongs to one call. */
#ifndef MTK_TEXT_BPE_H
#define MTK_TEXT_BPE_H

#include "text/model.h"

typedef struct text_bpe text_bpe;

typedef struct text_bpe_work {
  struct text_bpe_symbol *symbols;
  struct text_bpe_pair *heap;
  size_t cap_symbols, cap_heap, n_heap;
} text_bpe_work;
void mtk_text_bpe_work_finish(text_bpe_work *work);

/* ids: token text as spelled in the vocabulary -> id; borrowed for the life of the model. */
mtk_status mtk_text_bpe_create(text_bpe **out, const mtk_vocab *vocab, const mtk_map *ids,
                           mtk_error *err);
void mtk_text_bpe_destroy(text_bpe *bpe);
/* Ids of piece[0..n) with offsets base..base+n into sink. A byte the vocabulary lacks becomes unk,
 * or nothing if there is no unk. */
mtk_status mtk_text_bpe_encode(const text_bpe *bpe, text_bpe_work *work, const char *piece,
                               size_t n, size_t base, text_sink *sink, mtk_error *err);

#endif
