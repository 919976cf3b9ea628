/* text/utf8_stream.c: pieces of tokens in, whole UTF-8 characters out. State is the caller's. */
#include <mtk/text.h>
#include <string.h>

#include "text/utf8.h"

static const char replacement[] = "\xEF\xBF\xBD";

/* Bytes at the start of s[0..n), which does not begin with a character, that one U+FFFD stands for:
 * the longest prefix of some character (Unicode 15, section 3.9, "maximal subpart"). *incomplete if
 * more bytes could still complete it. */
static size_t maximal_subpart(const uint8_t *s, size_t n, bool *incomplete) {
  *incomplete = false;
  size_t len = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
  if (s[0] < 0xC2 || s[0] > 0xF4) return 1;
  uint8_t low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
  uint8_t high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
  size_t i = 1;
  while (i < len && i < n && s[i] >= low && s[i] <= high) {
    low = 0x80;
    high = 0xBF;
    i++;
  }
  *incomplete = i == n && i < len;
  return i;
}

/* Appends the characters of s[0..n); returns how many bytes are left over as an incomplete one. */
static size_t drain(mtk_bytes *out, const char *s, size_t n) {
  while (n > 0) {
    size_t valid = text_utf8_valid(s, n);
    mtk_bytes_append(out, s, valid);
    s += valid;
    n -= valid;
    if (n == 0) break;
    bool incomplete;
    size_t bad = maximal_subpart((const uint8_t *)s, n, &incomplete);
    if (incomplete) return n;
    mtk_bytes_append(out, replacement, 3);
    s += bad;
    n -= bad;
  }
  return 0;
}

void mtk_utf8_stream_push(mtk_utf8_stream *s, mtk_bytes *out, const char *data, size_t n,
                          bool finish) {
  while (s->n_pending > 0 && n > 0) { /* complete the pending character byte by byte */
    char joined[4];
    memcpy(joined, s->pending, s->n_pending);
    joined[s->n_pending] = *data++;
    n--;
    size_t len = s->n_pending + 1u, left = drain(out, joined, len);
    memcpy(s->pending, joined + len - left, left);
    s->n_pending = (uint8_t)left;
  }
  if (n > 0) {
    size_t left = drain(out, data, n);
    memcpy(s->pending, data + n - left, left);
    s->n_pending = (uint8_t)left;
  }
  if (finish && s->n_pending > 0) {
    mtk_bytes_append(out, replacement, 3);
    s->n_pending = 0;
  }
}
