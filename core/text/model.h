/* text/model.h: what turns one piece of text into ids. One text_model_class per mtk_vocab_kind,
 * found in the table of model.c. Models are immutable after creation and shared by threads; work
 * memory belongs to one encode call at a time. */
#ifndef MTK_TEXT_MODEL_H
#define MTK_TEXT_MODEL_H

#include <mtk/text.h>

#include "base/hashmap.h"

/* Where ids go: appended to ids, with their byte offset (if offsets are wanted) beside them. */
typedef struct text_sink {
  mtk_ids *ids;
  bool want_offsets;
  size_t *offsets; /* one per id pushed through this sink; owned by the caller */
  size_t n_offsets, cap_offsets;
} text_sink;
mtk_status mtk_text_sink_push(text_sink *sink, int32_t id, size_t offset, mtk_error *err);

/* Rules for every model:
 * - Pieces arrive as the tokens are spelled: in the byte alphabet after a ByteLevel step, with
 *   Metaspace's replacement, normalized. The first symbols are characters (UTF-8); a byte that is
 *   not part of a valid character is a symbol of its own.
 * - Tokens of type CONTROL are never made of ordinary text, whatever the vocabulary spells. Nor are
 *   holes (text NULL). `unk` is pushed by id.
 * - A character without a token: its "<0xNN>" tokens (vocab->byte_fallback), else unk, else
 *   nothing.
 * - Time is at most n log n in the length of the piece. */
typedef struct text_model_class {
  /* ids: token text as spelled in the vocabulary -> id; borrowed for the life of the model. Keeps
   * no other pointer to vocab. */
  mtk_status (*create)(void **out, const mtk_vocab *vocab, const mtk_map *ids, mtk_error *err);
  void (*destroy)(void *model); /* NULL is fine */
  /* Ids of piece[0..n), n > 0, with offsets base..base+n into sink. *work is NULL at first; the
   * model creates it when it needs it and finds it again in later calls. */
  mtk_status (*encode)(const void *model, void **work, const char *piece, size_t n, size_t base,
                       text_sink *sink, mtk_error *err);
  void (*work_destroy)(void *work); /* NULL is fine */
} text_model_class;

extern const text_model_class mtk_text_bpe_model;   /* bpe.c */
extern const text_model_class mtk_text_merge_model; /* SPM and RANKS (see vocab->kind) */
extern const text_model_class mtk_text_unigram_model;
extern const text_model_class mtk_text_wordpiece_model;
extern const text_model_class mtk_text_wordlevel_model;

/* Where "left right" is parted: at the blank between two tokens of ids (tokens may hold blanks), or
 * NULL. */
const char *mtk_text_part_merge(const mtk_map *ids, const char *text, size_t n);

/* The class of a kind; NULL if there is none. */
const text_model_class *mtk_text_model_find(mtk_vocab_kind kind);

#endif
