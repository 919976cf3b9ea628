/* utf8.c: how much of a byte string is complete UTF-8 (Unicode 15, table 3-7: no surrogates, no
 * overlong forms, nothing above U+10FFFF). Pure; any thread. */
#include "base/internal.h"

/* Length of the sequence that a lead byte starts (0 = not a lead byte) and the range its second
 * byte must lie in; further bytes lie in 80..BF. */
typedef struct lead {
  unsigned char first, last, length, second_min, second_max;
} lead;

static const lead leads[] = {
    {0x00, 0x7F, 1, 0, 0},       {0xC2, 0xDF, 2, 0x80, 0xBF}, {0xE0, 0xE0, 3, 0xA0, 0xBF},
    {0xE1, 0xEC, 3, 0x80, 0xBF}, {0xED, 0xED, 3, 0x80, 0x9F}, {0xEE, 0xEF, 3, 0x80, 0xBF},
    {0xF0, 0xF0, 4, 0x90, 0xBF}, {0xF1, 0xF3, 4, 0x80, 0xBF}, {0xF4, 0xF4, 4, 0x80, 0x8F},
};

/* Length of the sequence at s; 0 = invalid, and *incomplete when it only ends too early. */
static size_t sequence(const unsigned char *s, size_t n, bool *incomplete) {
  const lead *l = NULL;
  for (size_t i = 0; i < sizeof leads / sizeof leads[0] && !l; i++)
    if (s[0] >= leads[i].first && s[0] <= leads[i].last) l = &leads[i];
  if (!l) return 0;
  for (size_t i = 1; i < l->length; i++) {
    if (i == n) {
      *incomplete = true;
      return 0;
    }
    unsigned char min = i == 1 ? l->second_min : 0x80, max = i == 1 ? l->second_max : 0xBF;
    if (s[i] < min || s[i] > max) return 0;
  }
  return l->length;
}

size_t mtk_utf8_prefix(const char *s, size_t n, bool *incomplete) {
  const unsigned char *bytes = (const unsigned char *)s;
  size_t done = 0, length;
  bool partial = false;
  while (done < n && (length = sequence(bytes + done, n - done, &partial)) != 0) done += length;
  if (incomplete) *incomplete = partial;
  return done;
}
