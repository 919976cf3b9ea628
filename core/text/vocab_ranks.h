/* text/vocab_ranks.h: filling vocabularies of ranked byte strings (kind RANKS), shared by
 * vocab_tekken.c and vocab_tiktoken.c. One thread per vocabulary. */
#ifndef MTK_TEXT_VOCAB_RANKS_H
#define MTK_TEXT_VOCAB_RANKS_H

#include <mtk/text.h>

/* n holes. */
mtk_status mtk_text_ranks_init(mtk_vocab *vocab, size_t n, mtk_error *err);
/* Token `id` of rank `rank`, given in base64. */
mtk_status mtk_text_ranks_put(mtk_vocab *vocab, size_t id, size_t rank, const char *base64,
                              size_t n, mtk_error *err);
/* Control or user-defined token `id`. */
mtk_status mtk_text_ranks_put_special(mtk_vocab *vocab, size_t id, const char *text, size_t n,
                                      mtk_token_type type, mtk_error *err);
/* The only pre-tokenizer pattern; also finds its GGUF name. */
mtk_status mtk_text_ranks_set_pattern(mtk_vocab *vocab, const char *pattern, size_t n,
                                      mtk_error *err);
/* Id of a token of one of these types by its text, or -1. Slow: for a few names. */
int32_t mtk_text_ranks_find(const mtk_vocab *vocab, const char *text);
/* Whether the NORMAL tokens have the ranks id - first, or merges that amount to them:
 * MTK_E_UNSUPPORTED if not. */
mtk_status mtk_text_ranks_check(const mtk_vocab *vocab, size_t first, mtk_error *err);
/* Base64 of a ranked token's bytes. */
mtk_status mtk_text_ranks_base64(mtk_bytes *out, const mtk_token *token, mtk_error *err);

#endif
