/* text/vocab_spm.h: numbers of SentencePiece's sentencepiece_model.proto, shared by
 * vocab_spm_read.c and vocab_spm_write.c. */
#ifndef MTK_TEXT_VOCAB_SPM_H
#define MTK_TEXT_VOCAB_SPM_H

#include <mtk/text.h>

#define TEXT_SPM_SPACE "\xE2\x96\x81" /* U+2581 */
/* Removing extra white space takes away U+2581 at the end, too, even where it was in the text. */
#define TEXT_SPM_TRAILING "(?<!" TEXT_SPM_SPACE ")" TEXT_SPM_SPACE "+\\z"

/* Fields of ModelProto and of the messages in it. Piece types are those of mtk_token_type. */
enum {
  TEXT_SPM_PIECE = 1,
  TEXT_SPM_TRAINER = 2,
  TEXT_SPM_NORMALIZER = 3,
  TEXT_SPM_DENORMALIZER = 5,

  TEXT_SPM_PIECE_TEXT = 1,
  TEXT_SPM_PIECE_SCORE = 2,
  TEXT_SPM_PIECE_TYPE = 3,

  TEXT_SPM_MODEL_TYPE = 3, /* trainer */
  TEXT_SPM_VOCAB_SIZE = 4,
  TEXT_SPM_WHITESPACE_SUFFIX = 24,
  TEXT_SPM_BYTE_FALLBACK = 35,
  TEXT_SPM_UNK_ID = 40, /* then bos, eos, pad */
  TEXT_SPM_UNK_TEXT = 45,

  TEXT_SPM_CHARSMAP = 2, /* normalizer */
  TEXT_SPM_DUMMY_PREFIX = 3,
  TEXT_SPM_REMOVE_EXTRA = 4,
  TEXT_SPM_ESCAPE = 5,

  TEXT_SPM_UNIGRAM = 1, /* model types */
  TEXT_SPM_BPE = 2
};

#endif
