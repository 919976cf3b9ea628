/* text/utf8.h: strict UTF-8 decoding and encoding of single characters (RFC 3629: no surrogates, no
 * overlong forms). Pure functions, any thread. */
#ifndef MTK_TEXT_UTF8_H
#define MTK_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the character at s[0..n) with its code point, or 0 if the bytes are not one. */
static inline size_t text_utf8_decode(const char *s, size_t n, uint32_t *cp) {
  const uint8_t *p = (const uint8_t *)s;
  if (n == 0) return 0;
  if (p[0] < 0x80) {
    *cp = p[0];
    return 1;
  }
  size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
  if (p[0] < 0xC2 || p[0] > 0xF4 || n < len) return 0;
  uint32_t c = p[0] & (0xFFu >> (len + 1));
  for (size_t i = 1; i < len; i++) {
    if ((p[i] & 0xC0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3Fu);
  }
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
  *cp = c;
  return len;
}

/* Writes 1 to 4 bytes, returns how many. cp must be a valid code point. */
static inline size_t text_utf8_encode(uint32_t cp, char out[4]) {
  if (cp < 0x80) {
    out[0] = (char)cp;
    return 1;
  }
  size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  for (size_t i = len - 1; i > 0; i--) {
    out[i] = (char)(0x80 | (cp & 0x3F));
    cp >>= 6;
  }
  out[0] = (char)((0xF00 >> len) | cp);
  return len;
}

/* Bytes of the longest prefix of s[0..n) that is valid UTF-8. */
static inline size_t text_utf8_valid(const char *s, size_t n) {
  size_t i = 0;
  while (i < n) {
    uint32_t cp;
    size_t len = text_utf8_decode(s + i, n - i, &cp);
    if (len == 0) break;
    i += len;
  }
  return i;
}

/* Length of the character that ends s[0..n), with its code point, or 0 if the bytes are not one. */
static inline size_t text_utf8_decode_last(const char *s, size_t n, uint32_t *cp) {
  for (size_t len = 1; len <= 4 && len <= n; len++) {
    if (text_utf8_decode(s + n - len, len, cp) == len) return len;
  }
  return 0;
}

/* Number of characters in valid UTF-8 (bytes that are no continuation). */
static inline size_t text_utf8_count(const char *s, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) count += ((uint8_t)s[i] & 0xC0) != 0x80;
  return count;
}

/* Unicode White_Space. */
static inline int text_is_space(uint32_t cp) {
  return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
         (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
         cp == 0x205F || cp == 0x3000;
}

#endif
