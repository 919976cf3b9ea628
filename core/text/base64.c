/* text/base64.c: see base64.h. */
#include "text/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c) {
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : -1;
}

bool mtk_text_base64_decode(char *dst, size_t *len, const char *s, size_t n) {
  *len = 0;
  if (n % 4 != 0) return false;
  for (size_t i = 0; i < n; i += 4) {
    size_t padding = i + 4 < n || s[i + 3] != '=' ? 0 : s[i + 2] != '=' ? 1 : 2;
    uint32_t bits = 0;
    for (size_t k = 0; k < 4; k++) {
      int v = k < 4 - padding ? value_of(s[i + k]) : 0;
      if (v < 0) return false;
      bits = bits << 6 | (uint32_t)v;
    }
    for (size_t k = 0; k < 3 - padding; k++) dst[(*len)++] = (char)(bits >> (16 - 8 * k));
  }
  return true;
}

void mtk_text_base64_append(mtk_bytes *out, const char *data, size_t n) {
  for (size_t i = 0; i < n; i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < n ? (uint8_t)data[i + k] : 0u);
    char four[4];
    for (size_t k = 0; k < 4; k++) {
      four[k] = i + k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    mtk_bytes_append(out, four, 4);
  }
}
