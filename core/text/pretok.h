/* text/pretok.h: pre-tokenizers, that is lists of regular expressions that cut text into words.
 *
 * Patterns are written as in tokenizer.json (Oniguruma, Unicode) and compiled by PCRE2 with JIT.
 * Each pattern is applied to the pieces the previous one left; matches and the gaps between them
 * become pieces ("isolated"). Immutable after creation, shared by threads; a cursor belongs to one
 * call. */
#ifndef MTK_TEXT_PRETOK_H
#define MTK_TEXT_PRETOK_H

#include <mtk/text.h>

typedef struct text_pretok text_pretok;
typedef struct text_pretok_cursor text_pretok_cursor;
/* offset: where the piece begins in the text that is split. */
typedef mtk_status (*text_piece_fn)(void *ctx, const char *piece, size_t n, size_t offset,
                                    mtk_error *err);

mtk_status mtk_text_pretok_create(text_pretok **out, const mtk_vocab *vocab, mtk_error *err);
void mtk_text_pretok_destroy(text_pretok *p);
/* Match data and JIT stack of one encode call. */
mtk_status mtk_text_pretok_cursor_create(text_pretok_cursor **out, const text_pretok *p,
                                     mtk_error *err);
void mtk_text_pretok_cursor_destroy(text_pretok_cursor *c);
/* Calls fn for each piece of s[0..n) in order. Bytes that are no UTF-8 form pieces of their own. */
mtk_status mtk_text_pretok_split(text_pretok_cursor *c, const char *s, size_t n, text_piece_fn fn,
                             void *ctx, mtk_error *err);

/* Names of llama.cpp's tokenizer.ggml.pre and what they mean. */
typedef struct text_pre {
  const char *name;
  const char *patterns[6]; /* NULL-terminated */
  bool split_digits, ignore_merges, nfc;
  bool add_bos; /* what the name implies where a file does not say */
} text_pre;
extern const text_pre mtk_text_pre_table[];
extern const size_t mtk_text_pre_table_len;
/* The pattern of ByteLevel(use_regex) and of Digits(individual_digits). */
extern const char mtk_text_pattern_gpt2[], mtk_text_pattern_digit[];

#endif
