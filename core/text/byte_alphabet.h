/* text/byte_alphabet.h: GPT-2's reversible mapping of the 256 bytes to printable characters
 * ("bytes_to_unicode"): printable Latin-1 stands for itself, the other 68 bytes become
 * U+0100..U+0143. Pure functions, any thread. */
#ifndef MTK_TEXT_BYTE_ALPHABET_H
#define MTK_TEXT_BYTE_ALPHABET_H

#include <mtk/base.h>

/* Bytes of text[0..n) spelled in the alphabet; returns false (dst undefined) if a character is not
 * in it. dst has room for n bytes; *len = bytes written. */
bool mtk_text_from_alphabet(char *dst, size_t *len, const char *text, size_t n);
/* Spelling of raw bytes; dst has room for 2 * n bytes. Returns the length. */
size_t mtk_text_to_alphabet(char *dst, const char *raw, size_t n);

#endif
