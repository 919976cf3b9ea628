/* text/regex.h: regular expressions of tokenizer.json, written for Oniguruma (Ruby syntax, Unicode)
 * and run by PCRE2 with JIT. A regex is immutable after creation and shared by threads; match
 * memory belongs to one call at a time. Properties of characters are those of the installed PCRE2:
 * what Unicode added since counts as unassigned. */
#ifndef MTK_TEXT_REGEX_H
#define MTK_TEXT_REGEX_H

#include <mtk/base.h>

typedef struct text_regex text_regex;
typedef struct text_regex_work text_regex_work;

/* Who wrote a pattern: they differ in what \w is. */
typedef enum text_regex_syntax { TEXT_REGEX_ONIGURUMA, TEXT_REGEX_RUST } text_regex_syntax;

/* MTK_E_FORMAT if the pattern is wrong, MTK_E_UNSUPPORTED naming what PCRE2 cannot express. */
mtk_status mtk_text_regex_create(text_regex **out, const char *pattern, size_t n,
                                 text_regex_syntax syntax, mtk_error *err);
void mtk_text_regex_destroy(text_regex *regex);

/* Match data and JIT stack for any regex. */
mtk_status mtk_text_regex_work_create(text_regex_work **out, mtk_error *err);
void mtk_text_regex_work_destroy(text_regex_work *work);

/* Successive matches in a text, as Oniguruma's find_iter gives them: an empty match counts unless
 * it touches the end of the match before. */
typedef struct text_regex_scan {
  size_t from, last_end; /* {0, SIZE_MAX} at first */
} text_regex_scan;
/* The next match in valid UTF-8 s[0..n): *found with [*begin, *end), or none. MTK_E_LIMIT when
 * backtracking takes too long. */
mtk_status mtk_text_regex_next(const text_regex *regex, text_regex_work *work,
                               text_regex_scan *scan, const char *s, size_t n, bool *found,
                               size_t *begin, size_t *end, mtk_error *err);

#endif
