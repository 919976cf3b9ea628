/* text/charsmap.h: SentencePiece's precompiled_charsmap: a set of rules "these bytes become
 * those", stored as a double-array trie and a list of NUL-terminated replacements. Immutable
 * after creation, shared by threads. */
#ifndef MTK_TEXT_CHARSMAP_H
#define MTK_TEXT_CHARSMAP_H

#include <mtk/base.h>

typedef struct text_charsmap text_charsmap;
/* Copies what it needs of blob[0..n). An empty blob has no rules. MTK_E_FORMAT if it is broken.
 * `kept`: texts, each ending with a NUL, that rules do not touch (user-defined symbols). */
mtk_status mtk_text_charsmap_create(text_charsmap **out, const char *blob, size_t n,
                                    const char *kept, size_t n_kept, mtk_error *err);
void mtk_text_charsmap_destroy(text_charsmap *map);

/* How rules are looked for. */
typedef enum text_charsmap_mode {
  TEXT_CHARSMAP_LONGEST,  /* SentencePiece: the longest rule at each place */
  TEXT_CHARSMAP_GRAPHEMES /* `tokenizers`: the shortest rule that a grapheme of less than 6 bytes
                             begins with replaces it whole, otherwise character by character */
} text_charsmap_mode;

/* s[begin..end) is replaced by to[0..n). Calls come in order; what lies between them stays. */
typedef mtk_status (*text_rewrite_fn)(void *ctx, size_t begin, size_t end, const char *to, size_t n,
                                      mtk_error *err);
/* Calls fn for each rule that applies in s[0..n). Bytes that are no UTF-8 stay as they are. */
mtk_status mtk_text_charsmap_apply(const text_charsmap *map, text_charsmap_mode mode, const char *s,
                                   size_t n, text_rewrite_fn fn, void *ctx, mtk_error *err);

#endif
