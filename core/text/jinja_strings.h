/* text/jinja_strings.h: string operations that methods and filters share. */
#ifndef MTK_TEXT_JINJA_STRINGS_H
#define MTK_TEXT_JINJA_STRINGS_H

#include "text/jinja.h"

/* Positional arguments only, at least `least`. */
mtk_status mtk_jinja_positional(jinja *j, const char *what, const jinja_args *args, size_t least,
                            size_t most, jinja_value *values);
/* str.strip: chars NULL = whitespace. */
mtk_status mtk_jinja_strip(jinja *j, const jinja_string *s, const jinja_string *chars, bool left,
                       bool right, jinja_value *out);
/* times < 0 = all. */
mtk_status mtk_jinja_replace(jinja *j, jinja_string *s, const jinja_string *old,
                             const jinja_string *by, int64_t times, jinja_value *out);
mtk_status mtk_jinja_splitlines(jinja *j, const jinja_string *s, bool keep_ends, jinja_value *out);
/* s between `left` and `right` copies of a fill character. */
mtk_status mtk_jinja_pad(jinja *j, const jinja_string *s, size_t left, size_t right,
                     const jinja_string *fill, jinja_value *out);

extern const jinja_row mtk_jinja_str_methods[];
extern const size_t mtk_jinja_str_methods_len;

#endif
