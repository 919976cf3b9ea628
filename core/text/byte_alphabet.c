/* text/byte_alphabet.c: see the header. */
#include "text/byte_alphabet.h"

#include "text/utf8.h"

static bool stands_for_itself(uint32_t c) {
  return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

/* The character of a byte. */
static uint32_t byte_to_char(uint8_t byte) {
  if (stands_for_itself(byte)) return byte;
  if (byte <= 0x20) return 0x100u + byte;
  if (byte < 0xAD) return 0x121u + (byte - 0x7Fu);
  return 0x143;
}

/* The byte of a character, or -1. */
static int char_to_byte(uint32_t cp) {
  if (cp < 0x100) return stands_for_itself(cp) ? (int)cp : -1;
  if (cp <= 0x120) return (int)(cp - 0x100);
  if (cp <= 0x142) return (int)(cp - 0x121 + 0x7F);
  return cp == 0x143 ? 0xAD : -1;
}

bool mtk_text_from_alphabet(char *dst, size_t *len, const char *text, size_t n) {
  size_t out = 0;
  for (size_t i = 0; i < n;) {
    uint32_t cp;
    size_t step = text_utf8_decode(text + i, n - i, &cp);
    int byte = step ? char_to_byte(cp) : -1;
    if (byte < 0) return false;
    dst[out++] = (char)byte;
    i += step;
  }
  *len = out;
  return true;
}

size_t mtk_text_to_alphabet(char *dst, const char *raw, size_t n) {
  size_t out = 0;
  for (size_t i = 0; i < n; i++) {
    out += text_utf8_encode(byte_to_char((uint8_t)raw[i]), dst + out);
  }
  return out;
}
