/* text/scripts.h: the UnicodeScripts pre-tokenizer as a regular expression. */
#ifndef MTK_TEXT_SCRIPTS_H
#define MTK_TEXT_SCRIPTS_H

#include <mtk/base.h>

/* Appends a pattern whose matches are the pieces: characters of one script, with blanks and
 * characters of no script after them. Hiragana, Katakana and the long vowel mark count as Han. */
mtk_status mtk_text_scripts_pattern(mtk_bytes *out, mtk_error *err);

#endif
