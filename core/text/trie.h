/* text/trie.h: a set of byte strings with a number each, walked byte by byte. Immutable after
 * creation, shared by threads. */
#ifndef MTK_TEXT_TRIE_H
#define MTK_TEXT_TRIE_H

#include <mtk/base.h>

typedef struct text_trie_unit {
  uint32_t base;   /* children are at base ^ byte */
  uint32_t parent; /* NO_PARENT = free */
  int32_t value;   /* -1 = no string ends here */
} text_trie_unit;

typedef struct text_trie {
  text_trie_unit *units; /* a multiple of 256; 0 is the root */
  size_t n_units;
} text_trie;

typedef struct text_trie_key {
  const char *text;
  uint32_t len; /* empty strings are left out */
  int32_t value;
} text_trie_key;

/* Sorts keys[0..n) in place; of equal strings the one with the lowest value counts. The trie keeps
 * nothing of them. *out: {0}. */
mtk_status mtk_text_trie_init(text_trie *out, text_trie_key *keys, size_t n, mtk_error *err);
void mtk_text_trie_finish(text_trie *trie);

/* The child of a node (0 = the root), or 0 if there is none. */
static inline uint32_t text_trie_next(const text_trie *trie, uint32_t node, uint8_t byte) {
  uint32_t child = trie->units[node].base ^ byte;
  return child != 0 && trie->units[child].parent == node ? child : 0;
}

/* Value of the longest string that s[0..n) begins with and its length, or -1. `node`: where to
 * start. */
int32_t mtk_text_trie_longest(const text_trie *trie, uint32_t node, const char *s, size_t n,
                              size_t *length);

#endif
