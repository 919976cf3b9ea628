/* text/added.h: finds added tokens (control and user-defined ones) in text, leftmost-longest.
 * Immutable after creation, shared by threads. */
#ifndef MTK_TEXT_ADDED_H
#define MTK_TEXT_ADDED_H

#include <mtk/text.h>

#include "text/normalize.h"
#include "text/slice.h"

typedef struct text_added_token {
  const char *text; /* what is looked for; owned by the set's arena */
  uint32_t len;
  int32_t id;
  bool control, lstrip, rstrip, single_word;
} text_added_token;

typedef struct text_added {
  mtk_arena *arena;
  text_added_token *tokens; /* sorted by text */
  size_t n_tokens, longest;
  bool starts[256]; /* first bytes of any token */
} text_added;

/* Whether a token is looked for in text before the model runs. */
bool mtk_text_is_added(const mtk_vocab *vocab, const mtk_token *token);
/* Added tokens of vocab whose `normalized` flag is set (normalizer given: their texts are
 * normalized too) or not set (normalizer NULL). */
mtk_status mtk_text_added_init(text_added *set, const mtk_vocab *vocab,
                               const text_normalizer *normalizer, text_normalize_work *work,
                               mtk_error *err);
void mtk_text_added_finish(text_added *set);

/* Limits control tokens to where they may be parsed: `spans` of the source (sorted, disjoint) are
 * forbidden; with all = true everything is. */
typedef struct text_forbidden {
  bool all;
  const mtk_span *spans;
  size_t n_spans;
} text_forbidden;

/* Where a search stands. {0} at first. */
typedef struct text_added_cursor {
  size_t done;   /* all before is handed out, stripped whitespace included */
  size_t search; /* where the next token may begin */
} text_added_cursor;

/* The text before a token (begin < end, or nothing), and the token. */
typedef struct text_added_match {
  size_t begin, end; /* what lies before the token */
  size_t token;      /* where the token itself begins */
  int32_t id;        /* -1: no further token; begin..end is the rest */
} text_added_match;
text_added_match mtk_text_added_next(const text_added *set, text_added_cursor *cursor,
                                     const text_slice *text, const text_forbidden *forbidden);

#endif
