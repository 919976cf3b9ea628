/* text/added.h: finds added tokens (control and user-defined ones) in text, leftmost-longest.
 * Immutable after creation, shared by threads. */
#ifndef MTK_TEXT_ADDED_H
#define MTK_TEXT_ADDED_H

#include <mtk/text.h>

typedef struct text_added_token {
  const char *text; /* what is looked for; owned by the set's arena */
  uint32_t len;
  int32_t id;
  bool control, lstrip, rstrip, single_word;
} text_added_token;

typedef struct text_added {
  mtk_arena *arena;
  text_added_token *tokens; /* sorted by text */
  size_t n_tokens;
  bool starts[256]; /* first bytes of any token */
} text_added;

/* Added tokens of vocab whose `normalized` flag is as given; their texts are normalized (NFC) in
 * that set if the vocabulary normalizes. */
mtk_status mtk_text_added_init(text_added *set, const mtk_vocab *vocab, bool normalized,
                           mtk_error *err);
void mtk_text_added_finish(text_added *set);

/* A match in a text: [begin, end) includes stripped whitespace. */
typedef struct text_added_match {
  size_t begin, end, token_begin;
  int32_t id;
} text_added_match;

/* Limits control tokens to where they may be parsed: `spans` (sorted, disjoint) are forbidden; with
 * all = true everything is. */
typedef struct text_forbidden {
  bool all;
  const mtk_span *spans;
  size_t n_spans;
} text_forbidden;

/* The next match in text[from..n); begin = n if none. `origin` is added to offsets when comparing
 * with the forbidden spans. */
text_added_match mtk_text_added_next(const text_added *set, const char *text, size_t n, size_t from,
                                 size_t origin, const text_forbidden *forbidden);

#endif
