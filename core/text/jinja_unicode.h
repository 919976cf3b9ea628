/* text/jinja_unicode.h: case mapping and character classes of strings. */
#ifndef MTK_TEXT_JINJA_UNICODE_H
#define MTK_TEXT_JINJA_UNICODE_H

#include "text/jinja.h"

typedef enum jinja_case {
  CASE_LOWER,
  CASE_FOLD, /* as lower, but the sharp s becomes ss */
  CASE_UPPER,
  CASE_SWAP,
  CASE_CAPITALIZE, /* first character upper, the rest lower */
  CASE_TITLE,      /* str.title: upper after anything but a letter */
  CASE_TITLE_WORDS /* the title filter: upper after space - ( { [ < */
} jinja_case;

/* All of the result is data if any of s is. */
mtk_status mtk_jinja_map_case(jinja *j, const jinja_string *s, jinja_case mode, jinja_value *out);

typedef enum jinja_class {
  CLASS_ALPHA,
  CLASS_DECIMAL,
  CLASS_DIGIT,
  CLASS_NUMERIC,
  CLASS_ALNUM,
  CLASS_SPACE,
  CLASS_ASCII,
  CLASS_IDENTIFIER,
  CLASS_LOWER, /* has cased characters and all are lower */
  CLASS_UPPER
} jinja_class;

/* Python's str.isalpha() and so on. */
bool mtk_jinja_is_class(const jinja_string *s, jinja_class which);

#endif
