/* text/regex_translate.c: what Oniguruma and PCRE2 write differently: \s, \w and \b, names of
 * properties, \h, \uHHHH, nested character classes and their intersections, "{1,3}+". */
#include "text/regex_translate.h"

#include <string.h>

enum { MAX_DEPTH = 20 };

typedef struct translator {
  const char *p, *end;
  const char *word;      /* the characters of \w, as the inside of a class */
  const char *lone_word; /* the same outside of classes */
  mtk_bytes *out;
  mtk_error *err;
  int depth;
} translator;

static mtk_status bad(const translator *t, const char *what) {
  return mtk_fail(t->err, MTK_E_FORMAT, "regular expression", "%s near \"%.40s\"", what,
                  t->p < t->end ? t->p : "its end");
}

/* Long names that PCRE2 lacks. In a class "[:alpha:]" they mean the same. */
static const struct {
  const char *name, *set;
} properties[] = {
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"alpha", "\\p{Alphabetic}"},
    {"blank", "\\t\\p{Zs}"},
    {"cntrl", "\\p{Cc}"},
    {"digit", "\\p{Nd}"},
    {"lower", "\\p{Lowercase}"},
    {"punct", "\\p{P}"},
    {"space", "\\p{White_Space}"},
    {"upper", "\\p{Uppercase}"},
    {"xdigit", "0-9A-Fa-f"},
    {"ascii", "\\x00-\\x7F"},
    {"letter", "\\p{L}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"casedletter", "\\p{Lu}\\p{Ll}\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"mark", "\\p{M}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"number", "\\p{N}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"punctuation", "\\p{P}"},
    {"connectorpunctuation", "\\p{Pc}"},
    {"dashpunctuation", "\\p{Pd}"},
    {"openpunctuation", "\\p{Ps}"},
    {"closepunctuation", "\\p{Pe}"},
    {"initialpunctuation", "\\p{Pi}"},
    {"finalpunctuation", "\\p{Pf}"},
    {"otherpunctuation", "\\p{Po}"},
    {"symbol", "\\p{S}"},
    {"mathsymbol", "\\p{Sm}"},
    {"currencysymbol", "\\p{Sc}"},
    {"modifiersymbol", "\\p{Sk}"},
    {"othersymbol", "\\p{So}"},
    {"separator", "\\p{Z}"},
    {"spaceseparator", "\\p{Zs}"},
    {"lineseparator", "\\p{Zl}"},
    {"paragraphseparator", "\\p{Zp}"},
    {"other", "\\p{C}"},
    {"control", "\\p{Cc}"},
    {"format", "\\p{Cf}"},
    {"privateuse", "\\p{Co}"},
    {"unassigned", "\\p{Cn}"},
};

/* The set of a property named [name..name + n) in any case, with _, - and blanks ignored. */
static const char *find_property(const char *name, size_t n, const char *word) {
  char plain[32];
  size_t len = 0;
  for (size_t i = 0; i < n; i++) {
    char c = name[i];
    if (c == '_' || c == '-' || c == ' ') continue;
    if (len + 1 == sizeof plain) return NULL;
    plain[len++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
  }
  plain[len] = 0;
  if (strcmp(plain, "word") == 0) return word;
  for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++) {
    if (strcmp(properties[i].name, plain) == 0) return properties[i].set;
  }
  return NULL;
}

/* A set, or what is not in it. In a class the complement of a union cannot be written as such. */
static mtk_status put_set(translator *t, const char *set, bool negated, bool in_class) {
  bool single = set[0] == '\\' && (set[1] == 'p' || set[1] == 'P') && strchr(set, '}')[1] == 0;
  if (single && negated) {
    mtk_bytes_printf(t->out, "\\%c%s", set[1] == 'p' ? 'P' : 'p', set + 2);
  } else if (in_class && negated) {
    return mtk_fail(t->err, MTK_E_UNSUPPORTED, "regular expression",
                    "the complement of a set inside a class is not supported");
  } else {
    mtk_bytes_printf(t->out, in_class || single ? "%s" : negated ? "[^%s]" : "[%s]", set);
  }
  return MTK_OK;
}

/* After "\p" or "\P": {Name}, {^Name} or one letter. */
static mtk_status put_property(translator *t, bool negated, bool in_class) {
  const char *name = t->p;
  size_t n = 1;
  if (t->p < t->end && *t->p == '{') {
    const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
    if (!close) return bad(t, "a property without }");
    name = t->p + 1;
    if (name < close && *name == '^') {
      negated = !negated;
      name++;
    }
    n = (size_t)(close - name);
    t->p = close + 1;
  } else if (t->p < t->end) {
    t->p++;
  } else {
    return bad(t, "a property without a name");
  }
  const char *set = n > 2 ? find_property(name, n, t->word) : NULL;
  if (set) return put_set(t, set, negated, in_class);
  char script[64]; /* Oniguruma's \p{Han} is the script, PCRE2's its extensions too */
  mtk_bytes spelled = {.max = sizeof script};
  mtk_bytes_printf(&spelled, "sc:%.*s", (int)(n < 40 ? n : 40), name);
  bool is_script =
      n > 2 && !spelled.failed && mtk_text_regex_has_property(spelled.data, spelled.len);
  mtk_bytes_finish(&spelled);
  mtk_bytes_printf(t->out, "\\%c{%s", negated ? 'P' : 'p', is_script ? "sc:" : "");
  mtk_bytes_append(t->out, name, n);
  mtk_bytes_puts(t->out, "}");
  return MTK_OK;
}

/* Four hexadecimal digits after "\u". */
static mtk_status put_code_point(translator *t) {
  if (t->end - t->p < 4 || strspn(t->p, "0123456789abcdefABCDEF") < 4) return bad(t, "a wrong \\u");
  mtk_bytes_printf(t->out, "\\x{%.4s}", t->p);
  t->p += 4;
  return MTK_OK;
}

/* \b, or \B: both sides alike. */
static void put_boundary(translator *t, bool none) {
  const char *w = t->lone_word;
  mtk_bytes_printf(t->out, "(?:(?<=[%s])(?%c[%s])|(?<![%s])(?%c[%s]))", w, none ? '=' : '!', w, w,
                   none ? '!' : '=', w);
}

/* At a backslash. */
static mtk_status put_escape(translator *t, bool in_class) {
  if (t->end - t->p < 2) return bad(t, "a backslash");
  char c = t->p[1];
  t->p += 2;
  switch (c) {
  case 's':
  case 'S': return put_set(t, "\\p{White_Space}", c == 'S', in_class);
  case 'w':
  case 'W': return put_set(t, in_class ? t->word : t->lone_word, c == 'W', in_class);
  case 'h':
  case 'H': return put_set(t, "0-9A-Fa-f", c == 'H', in_class);
  case 'p':
  case 'P': return put_property(t, c == 'P', in_class);
  case 'u': return put_code_point(t);
  default: break;
  }
  if ((c == 'b' || c == 'B') && !in_class) {
    put_boundary(t, c == 'B');
    return MTK_OK;
  }
  mtk_bytes_append(t->out, "\\", 1);
  mtk_bytes_append(t->out, &c, 1);
  return MTK_OK;
}

/* ---- character classes ---------------------------------------------------------------------- */

static bool at_and(const translator *t) {
  return t->end - t->p >= 2 && t->p[0] == '&' && t->p[1] == '&';
}

static mtk_status put_class(translator *t);

/* "[:alpha:]" or "[:^alpha:]" */
static mtk_status put_posix(translator *t, const char *close) {
  const char *name = t->p + 2;
  bool negated = *name == '^';
  name += negated;
  bool punct = close - name == 5 && memcmp(name, "punct", 5) == 0; /* symbols too, but for \p */
  const char *set = punct ? "\\p{P}\\p{S}" : find_property(name, (size_t)(close - name), t->word);
  if (!set) return bad(t, "an unknown POSIX class");
  t->p = close + 2;
  return put_set(t, set, negated, true);
}

static const char *posix_end(const translator *t) {
  if (t->end - t->p < 4 || t->p[1] != ':') return NULL;
  for (const char *q = t->p + 2; q + 1 < t->end && *q != ']'; q++) {
    if (q[0] == ':' && q[1] == ']') return q;
  }
  return NULL;
}

/* One operand of &&: "(?:[abc]|nested|nested)". */
static mtk_status put_union(translator *t) {
  mtk_bytes flat = {0}, *out = t->out;
  mtk_status status = MTK_OK;
  bool empty = true, first = true;
  mtk_bytes_puts(out, "(?:");
  while (status == MTK_OK && t->p < t->end && (*t->p != ']' || first) && !at_and(t)) {
    const char *posix = *t->p == '[' ? posix_end(t) : NULL;
    first = false;
    if (*t->p == '[' && !posix) {
      if (!empty) mtk_bytes_puts(out, "|");
      empty = false;
      status = put_class(t);
      continue;
    }
    t->out = &flat;
    if (posix) {
      status = put_posix(t, posix);
    } else if (*t->p == '\\') {
      status = put_escape(t, true);
    } else {
      if (*t->p == '[' || (*t->p == ']' && flat.len == 0)) mtk_bytes_puts(&flat, "\\");
      mtk_bytes_append(&flat, t->p++, 1);
    }
    t->out = out;
  }
  if (status == MTK_OK && flat.len > 0) {
    mtk_bytes_puts(out, empty ? "[" : "|[");
    mtk_bytes_append(out, flat.data, flat.len);
    mtk_bytes_puts(out, "]");
    empty = false;
  }
  if (status == MTK_OK && flat.failed) out->failed = true;
  mtk_bytes_finish(&flat);
  mtk_bytes_puts(out, empty ? "(?!))" : ")");
  return status;
}

/* At "[": the class as alternatives and lookaheads: A && B is (?=B)A. */
static mtk_status put_class(translator *t) {
  if (++t->depth > MAX_DEPTH) return bad(t, "classes nested too deep");
  t->p++;
  bool negated = t->p < t->end && *t->p == '^';
  t->p += negated;
  if (negated) mtk_bytes_puts(t->out, "(?!");
  mtk_bytes *out = t->out, operand = {0};
  mtk_bytes_puts(out, "(?:");
  for (bool more = true; more;) {
    t->out = &operand;
    mtk_bytes_clear(&operand);
    mtk_status status = put_union(t);
    t->out = out;
    more = at_and(t);
    if (status != MTK_OK || operand.failed) {
      if (operand.failed) out->failed = true;
      mtk_bytes_finish(&operand);
      return status;
    }
    mtk_bytes_puts(out, more ? "(?=" : "");
    mtk_bytes_append(out, operand.data, operand.len);
    mtk_bytes_puts(out, more ? ")" : "");
    if (more) t->p += 2;
  }
  mtk_bytes_finish(&operand);
  if (t->p >= t->end) return bad(t, "a class without ]");
  t->p++;
  mtk_bytes_puts(out, negated ? "))(?s:.)" : ")");
  t->depth--;
  return MTK_OK;
}

/* End of a class without nested ones or &&, that PCRE2 can read as it is; else NULL. */
static const char *plain_class_end(const translator *t) {
  const char *q = t->p + 1;
  if (q < t->end && *q == '^') q++;
  if (q < t->end && *q == ']') q++;
  for (; q < t->end && *q != ']'; q++) {
    if (*q == '[' || (*q == '&' && q + 1 < t->end && q[1] == '&')) return NULL;
    if (*q == '\\' && q + 1 < t->end) {
      if (strchr("WH", q[1])) return NULL; /* complements of unions */
      q++;
    }
  }
  return q < t->end ? q : NULL;
}

static mtk_status put_plain_class(translator *t, const char *close) {
  mtk_bytes_append(t->out, t->p++, 1);
  if (*t->p == '^') mtk_bytes_append(t->out, t->p++, 1);
  if (*t->p == ']') mtk_bytes_append(t->out, t->p++, 1);
  while (t->p < close) {
    if (*t->p == '\\')
      MTK_TRY(put_escape(t, true));
    else
      mtk_bytes_append(t->out, t->p++, 1);
  }
  mtk_bytes_append(t->out, t->p++, 1);
  return MTK_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

enum { MAX_GROUPS = 100 };

/* Where atoms begin in the output: "X{1,3}+" repeats "X{1,3}" here, and is possessive in PCRE2. */
typedef struct atoms {
  size_t last, groups[MAX_GROUPS];
  size_t n_groups;
} atoms;

/* The end of "{n,m}+" at t->p, that is the plus sign; or NULL. */
static const char *repeated_interval(const translator *t) {
  const char *q = t->p + 1;
  while (q < t->end && (*q == ',' || (*q >= '0' && *q <= '9'))) q++;
  bool is_one = q > t->p + 1 && q + 1 < t->end && q[0] == '}' && q[1] == '+';
  return is_one ? q + 1 : NULL;
}

static mtk_status put_repeated(translator *t, const atoms *a, const char *plus) {
  size_t head = a->last, tail = t->out->len - head;
  mtk_bytes_append(t->out, "(?:", 3); /* makes room; goes in front of the atom */
  MTK_TRY(mtk_bytes_status(t->out, t->err));
  memmove(t->out->data + head + 3, t->out->data + head, tail);
  memcpy(t->out->data + head, "(?:", 3);
  mtk_bytes_append(t->out, t->p, (size_t)(plus - t->p));
  mtk_bytes_puts(t->out, ")");
  t->p = plus;
  return MTK_OK;
}

static mtk_status put_next(translator *t, atoms *a) {
  const char *close = *t->p == '[' ? plain_class_end(t) : NULL, *plus;
  size_t begin = t->out->len;
  switch (*t->p) {
  case '[': a->last = begin; return close ? put_plain_class(t, close) : put_class(t);
  case '\\': a->last = begin; return put_escape(t, false);
  case '{':
    plus = repeated_interval(t);
    if (plus) return put_repeated(t, a, plus);
    break;
  case '(':
    if (a->n_groups == MAX_GROUPS) return bad(t, "groups nested too deep");
    a->groups[a->n_groups++] = begin;
    break;
  case ')':
    if (a->n_groups > 0) a->last = a->groups[--a->n_groups];
    break;
  case '*':
  case '+':
  case '?': break;
  default:
    if (((uint8_t)*t->p & 0xC0) != 0x80) a->last = begin;
  }
  mtk_bytes_append(t->out, t->p++, 1);
  return MTK_OK;
}

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

mtk_status mtk_text_regex_translate(mtk_bytes *out, const char *pattern, size_t n,
                                    text_regex_syntax syntax, mtk_error *err) {
  /* Oniguruma has a table for Latin-1, which counts superscripts and fractions. */
  bool rust = syntax == TEXT_REGEX_RUST;
  translator t = {.p = pattern, .end = pattern + n, .out = out, .err = err};
  t.word = rust ? WORD "\\p{Join_Control}" : WORD;
  t.lone_word = rust ? t.word : WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
  atoms a = {.last = 0};
  while (t.p < t.end) MTK_TRY(put_next(&t, &a));
  return mtk_bytes_status(out, err);
}
