/* text/pretok.h: pre-tokenizers, that is steps that cut text into the pieces the model sees, each
 * applied to the pieces the step before left. Immutable after creation, shared by threads; a cursor
 * belongs to one call at a time. */
#ifndef MTK_TEXT_PRETOK_H
#define MTK_TEXT_PRETOK_H

#include <mtk/text.h>

#include "text/regex.h"
#include "text/slice.h"

typedef struct text_pretok text_pretok;
typedef struct text_pretok_cursor text_pretok_cursor;
typedef mtk_status (*text_piece_fn)(void *ctx, const text_slice *piece, mtk_error *err);

/* Copies what it needs of the steps. MTK_E_UNSUPPORTED for a step that is no pre-tokenizer. */
mtk_status mtk_text_pretok_create(text_pretok **out, const mtk_steps *steps, mtk_error *err);
void mtk_text_pretok_destroy(text_pretok *p);
/* Whether a step asks where in the source a piece begins (Metaspace's "first"). */
bool mtk_text_pretok_needs_origin(const text_pretok *p);
/* Buffers of one encode call; `regex` is borrowed. */
mtk_status mtk_text_pretok_cursor_create(text_pretok_cursor **out, const text_pretok *p,
                                         text_regex_work *regex, mtk_error *err);
void mtk_text_pretok_cursor_destroy(text_pretok_cursor *c);
/* Calls fn for each piece of a section in order, none of them empty. Bytes that are no UTF-8 form
 * pieces of their own. `track`: keep origins through rewriting. */
mtk_status mtk_text_pretok_split(text_pretok_cursor *c, const text_slice *text, bool track,
                                 text_piece_fn fn, void *ctx, mtk_error *err);

/* Names of llama.cpp's tokenizer.ggml.pre and what they mean. */
typedef struct text_pre {
  const char *name;
  const char *patterns[6]; /* ends with NULL, if shorter */
  uint32_t flags;
} text_pre;
enum {
  TEXT_PRE_DIGITS = 1, /* Digits(individual) comes first */
  TEXT_PRE_WHOLE = 2,  /* ignore_merges */
  TEXT_PRE_NFC = 4,
  TEXT_PRE_BOS = 8,     /* BOS is added where a file does not say */
  TEXT_PRE_SPACED = 16, /* tokens are text with U+2581 for spaces and "<0xNN>" for bytes */
  TEXT_PRE_WORDS = 32   /* tokens are text; white space is dropped */
};
extern const text_pre mtk_text_pre_table[];
extern const size_t mtk_text_pre_table_len;
/* The pattern of ByteLevel(use_regex) and of Digits(individual_digits). */
extern const char mtk_text_pattern_gpt2[], mtk_text_pattern_digit[];

#endif
