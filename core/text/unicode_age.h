/* text/unicode_age.h: which version of Unicode brought a character. The `tokenizers` library takes
 * its properties from packages of different ages, so ids depend on it. Pure; any thread. */
#ifndef MTK_TEXT_UNICODE_AGE_H
#define MTK_TEXT_UNICODE_AGE_H

#include <stdbool.h>
#include <stdint.h>

/* 8 (up to 8.0), 9 (9.0) or 10 (later). */
int mtk_text_unicode_age(uint32_t cp);

#endif
