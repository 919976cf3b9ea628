/* text/pipeline.h: the steps of a vocabulary, whether it lists them or names a pre-tokenizer.
 * Pure functions, any thread. */
#ifndef MTK_TEXT_PIPELINE_H
#define MTK_TEXT_PIPELINE_H

#include <mtk/text.h>

typedef struct text_pipeline {
  mtk_steps normalizers, pre_tokenizers, decoders;
  mtk_step before[2], cut[24], after[1]; /* room for the steps of a named pre-tokenizer */
} text_pipeline;

/* The steps of vocab, which must outlive them. MTK_E_UNSUPPORTED if its pre-tokenizer is not known.
 * The result points into itself: do not copy it. */
mtk_status mtk_text_pipeline_of(text_pipeline *out, const mtk_vocab *vocab, mtk_error *err);

/* The other way: pre, patterns, split_digits, add_prefix_space and nfc of a byte-level BPE
 * vocabulary, filled from its steps where they can say the same. */
mtk_status mtk_text_pipeline_name(mtk_vocab *vocab, mtk_error *err);

#endif
