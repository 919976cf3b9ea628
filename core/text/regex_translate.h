/* text/regex_translate.h: Oniguruma's syntax in PCRE2's words. Pure; any thread. */
#ifndef MTK_TEXT_REGEX_TRANSLATE_H
#define MTK_TEXT_REGEX_TRANSLATE_H

#include "text/regex.h"

/* Appends the pattern for PCRE2 (UTF, UCP, MULTILINE) to out. */
mtk_status mtk_text_regex_translate(mtk_bytes *out, const char *pattern, size_t n,
                                    text_regex_syntax syntax, mtk_error *err);

/* Whether this PCRE2 knows \p{NAME} for that spelling ("sc:Han"). Defined with the compiler. */
bool mtk_text_regex_has_property(const char *name, size_t n);

#endif
