/* text/base64.h: base64 (RFC 4648, with padding). Pure functions, any thread. */
#ifndef MTK_TEXT_BASE64_H
#define MTK_TEXT_BASE64_H

#include <mtk/base.h>

/* Bytes of s[0..n) into dst (room for n / 4 * 3); false if it is not base64. */
bool mtk_text_base64_decode(char *dst, size_t *len, const char *s, size_t n);
void mtk_text_base64_append(mtk_bytes *out, const char *data, size_t n);

#endif
