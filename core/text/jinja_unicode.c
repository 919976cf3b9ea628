/* text/jinja_unicode.c: with utf8proc's tables; of the special case mappings only the sharp s
 * (SS) is known. Pure. */
#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include "text/utf8.h"

static bool is_cased(uint32_t cp) {
  utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
  return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

static bool is_alpha(uint32_t cp) {
  utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
  return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

static bool starts_word(uint32_t previous) {
  return previous == '-' || previous == '(' || previous == '{' || previous == '[' ||
         previous == '<' || text_is_space(previous);
}

static bool want_upper(jinja_case mode, uint32_t cp, uint32_t previous, bool is_first) {
  switch (mode) {
  case CASE_UPPER: return true;
  case CASE_CAPITALIZE: return is_first;
  case CASE_TITLE: return is_first || !is_cased(previous);
  case CASE_TITLE_WORDS: return is_first || starts_word(previous);
  case CASE_SWAP: return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LL;
  default: return false;
  }
}

mtk_status mtk_jinja_map_case(jinja *j, const jinja_string *s, jinja_case mode, jinja_value *out) {
  jinja_text t = {0};
  uint32_t previous = 0;
  bool is_data = mtk_jinja_is_data(s);
  MTK_TRY(mtk_jinja_step(j, s->len / 64));
  for (size_t i = 0; i < s->len;) {
    uint32_t cp = 0;
    char buf[4];
    size_t n = text_utf8_decode(s->data + i, s->len - i, &cp);
    bool upper = want_upper(mode, cp, previous, i == 0);
    if (cp == 0xDF && (upper || mode == CASE_FOLD)) {
      const char *letters = mode == CASE_UPPER ? "SS" : upper ? "Ss" : "ss";
      MTK_TRY(mtk_jinja_text_add(j, &t, letters, 2, is_data));
    } else {
      utf8proc_int32_t mapped =
          upper ? (mode == CASE_UPPER || mode == CASE_SWAP ? utf8proc_toupper((utf8proc_int32_t)cp)
                                                           : utf8proc_totitle((utf8proc_int32_t)cp))
                : utf8proc_tolower((utf8proc_int32_t)cp);
      MTK_TRY(mtk_jinja_text_add(j, &t, buf, text_utf8_encode((uint32_t)mapped, buf), is_data));
    }
    previous = cp;
    i += n;
  }
  MTK_TRY(mtk_jinja_text_value(j, &t, out));
  out->u.s->markup = s->markup;
  return MTK_OK;
}

static bool in_class(uint32_t cp, jinja_class which, bool is_first) {
  utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
  bool decimal = c == UTF8PROC_CATEGORY_ND;
  bool superscript = cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || (cp >= 0x2070 && cp <= 0x2089);
  bool numeric = decimal || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
  switch (which) {
  case CLASS_ALPHA: return is_alpha(cp);
  case CLASS_DECIMAL: return decimal;
  case CLASS_DIGIT: return decimal || superscript;
  case CLASS_NUMERIC: return numeric;
  case CLASS_ALNUM: return numeric || is_alpha(cp);
  case CLASS_SPACE: return text_is_space(cp) || (cp >= 0x1C && cp <= 0x1F);
  case CLASS_ASCII: return cp < 0x80;
  default: return cp == '_' || is_alpha(cp) || (!is_first && decimal);
  }
}

static bool all_cased(const jinja_string *s, utf8proc_category_t want) {
  bool any = false;
  for (size_t i = 0; i < s->len;) {
    uint32_t cp = 0;
    i += text_utf8_decode(s->data + i, s->len - i, &cp);
    if (!is_cased(cp)) continue;
    if (utf8proc_category((utf8proc_int32_t)cp) != want) return false;
    any = true;
  }
  return any;
}

bool mtk_jinja_is_class(const jinja_string *s, jinja_class which) {
  if (which == CLASS_LOWER) return all_cased(s, UTF8PROC_CATEGORY_LL);
  if (which == CLASS_UPPER) return all_cased(s, UTF8PROC_CATEGORY_LU);
  if (s->len == 0) return which == CLASS_ASCII;
  for (size_t i = 0; i < s->len;) {
    uint32_t cp = 0;
    size_t n = text_utf8_decode(s->data + i, s->len - i, &cp);
    if (!in_class(cp, which, i == 0)) return false;
    i += n;
  }
  return true;
}
