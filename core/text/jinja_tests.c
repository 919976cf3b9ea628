/* text/jinja_tests.c: what may stand behind "is", as jinja2/tests.py. */
#include <string.h>

#include "text/jinja.h"
#include "text/jinja_unicode.h"

static mtk_status answer(jinja_value *out, bool holds) {
  *out = mtk_jinja_bool(holds);
  return MTK_OK;
}

static mtk_status one_argument(jinja *j, const char *what, const jinja_args *args,
                               jinja_value *value) {
  *value = (jinja_value){0};
  if (args->n == 1) {
    *value = args->items[0];
    return MTK_OK;
  }
  return mtk_jinja_fail(j, MTK_E_INVALID, "the test '%s' takes one argument", what);
}

/* ---- kinds ---------------------------------------------------------------------------------- */

#define KIND_TEST(name, condition)                                                                 \
  static mtk_status is_##name(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) { \
    if (args->n > 0) {                                                                             \
      return mtk_jinja_fail(j, MTK_E_INVALID, "the test '%s' takes no argument", #name);           \
    }                                                                                              \
    return answer(out, (condition));                                                               \
  }
KIND_TEST(defined, v.kind != JINJA_UNDEFINED)
KIND_TEST(undefined, v.kind == JINJA_UNDEFINED)
KIND_TEST(none, v.kind == JINJA_NONE)
KIND_TEST(boolean, v.kind == JINJA_BOOL)
KIND_TEST(true, v.kind == JINJA_BOOL && v.u.b)
KIND_TEST(false, v.kind == JINJA_BOOL && !v.u.b)
KIND_TEST(integer, v.kind == JINJA_INT)
KIND_TEST(float, v.kind == JINJA_FLOAT)
KIND_TEST(number, mtk_jinja_is_number(v))
KIND_TEST(string, v.kind == JINJA_STRING)
KIND_TEST(mapping, v.kind == JINJA_DICT)
KIND_TEST(callable, v.kind == JINJA_FUNCTION || v.kind == JINJA_MACRO || v.kind == JINJA_LOOP)
KIND_TEST(escaped, v.kind == JINJA_STRING && v.u.s->markup)
KIND_TEST(sequence, v.kind == JINJA_STRING || v.kind == JINJA_LIST || v.kind == JINJA_TUPLE ||
                        v.kind == JINJA_DICT || v.kind == JINJA_UNDEFINED ||
                        (v.kind == JINJA_VIEW && strcmp(v.u.l->type, "range") == 0))
KIND_TEST(iterable, v.kind == JINJA_STRING || v.kind == JINJA_LIST || v.kind == JINJA_TUPLE ||
                        v.kind == JINJA_DICT || v.kind == JINJA_UNDEFINED || v.kind == JINJA_VIEW ||
                        v.kind == JINJA_ITERATOR)

/* ---- text and numbers ----------------------------------------------------------------------- */

static mtk_status text_class(jinja *j, jinja_value v, jinja_class which, jinja_value *out) {
  jinja_value text;
  MTK_TRY(mtk_jinja_to_string(j, v, &text));
  MTK_TRY(mtk_jinja_step(j, text.u.s->len / 64));
  return answer(out, mtk_jinja_is_class(text.u.s, which));
}

static mtk_status is_lower(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  (void)args;
  return text_class(j, v, CLASS_LOWER, out);
}

static mtk_status is_upper(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  (void)args;
  return text_class(j, v, CLASS_UPPER, out);
}

/* v % divisor == rest */
static mtk_status has_rest(jinja *j, jinja_value v, jinja_value divisor, int64_t rest,
                           jinja_value *out) {
  jinja_value left;
  bool equal = false;
  if (v.kind == JINJA_STRING) { /* "%" would format */
    return mtk_jinja_fail(j, MTK_E_INVALID, "not all arguments converted during string formatting");
  }
  MTK_TRY(mtk_jinja_binary(j, OP_MOD, v, divisor, &left));
  MTK_TRY(mtk_jinja_equal(j, left, mtk_jinja_int(rest), &equal));
  return answer(out, equal);
}

static mtk_status is_even(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  (void)args;
  return has_rest(j, v, mtk_jinja_int(2), 0, out);
}

static mtk_status is_odd(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  (void)args;
  return has_rest(j, v, mtk_jinja_int(2), 1, out);
}

static mtk_status is_divisibleby(jinja *j, jinja_value v, const jinja_args *args,
                                 jinja_value *out) {
  jinja_value divisor;
  MTK_TRY(one_argument(j, "divisibleby", args, &divisor));
  return has_rest(j, v, divisor, 0, out);
}

/* ---- comparisons ---------------------------------------------------------------------------- */

static mtk_status is_eq(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  jinja_value other;
  bool equal = false;
  MTK_TRY(one_argument(j, "eq", args, &other));
  MTK_TRY(mtk_jinja_equal(j, v, other, &equal));
  return answer(out, equal);
}

static mtk_status is_ne(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  MTK_TRY(is_eq(j, v, args, out));
  return answer(out, !out->u.b);
}

/* v < other (swap: other < v), negated if asked. */
static mtk_status order(jinja *j, const char *what, jinja_value v, const jinja_args *args,
                        bool swap, bool negate, jinja_value *out) {
  jinja_value other;
  bool less = false;
  MTK_TRY(one_argument(j, what, args, &other));
  MTK_TRY(mtk_jinja_less(j, swap ? other : v, swap ? v : other, &less));
  return answer(out, less != negate);
}

static mtk_status is_lt(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  return order(j, "lt", v, args, false, false, out);
}

static mtk_status is_ge(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  return order(j, "ge", v, args, false, true, out);
}

static mtk_status is_gt(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  return order(j, "gt", v, args, true, false, out);
}

static mtk_status is_le(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  return order(j, "le", v, args, true, true, out);
}

static mtk_status is_in(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  jinja_value container;
  bool found = false;
  MTK_TRY(one_argument(j, "in", args, &container));
  MTK_TRY(mtk_jinja_contains(j, container, v, &found));
  return answer(out, found);
}

/* Python's "is": the same object. Equal strings and numbers pass for the same. */
static mtk_status is_sameas(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  jinja_value other;
  bool same = false;
  MTK_TRY(one_argument(j, "sameas", args, &other));
  if (v.kind != other.kind) return answer(out, false);
  bool scalar = mtk_jinja_is_number(v) || v.kind == JINJA_STRING || v.kind == JINJA_NONE;
  if (!scalar) return answer(out, v.u.l == other.u.l);
  MTK_TRY(mtk_jinja_equal(j, v, other, &same));
  return answer(out, same);
}

/* Whether the name of a filter or test exists. */
static mtk_status names_row(jinja *j, jinja_value v, const jinja_row *(*find)(const char *),
                            jinja_value *out) {
  jinja_string *name;
  char text[64] = "";
  MTK_TRY(mtk_jinja_string_arg(j, "filter", v, &name));
  if (name && name->len < sizeof text) memcpy(text, name->data, name->len);
  return answer(out, find(text) != NULL);
}

static mtk_status is_filter(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  (void)args;
  return names_row(j, v, mtk_jinja_find_filter, out);
}

static mtk_status is_test(jinja *j, jinja_value v, const jinja_args *args, jinja_value *out) {
  (void)args;
  return names_row(j, v, mtk_jinja_find_test, out);
}

static const jinja_row tests[] = {
    {"defined", is_defined},
    {"undefined", is_undefined},
    {"none", is_none},
    {"boolean", is_boolean},
    {"true", is_true},
    {"false", is_false},
    {"integer", is_integer},
    {"float", is_float},
    {"number", is_number},
    {"string", is_string},
    {"mapping", is_mapping},
    {"callable", is_callable},
    {"escaped", is_escaped},
    {"sequence", is_sequence},
    {"iterable", is_iterable},
    {"lower", is_lower},
    {"upper", is_upper},
    {"even", is_even},
    {"odd", is_odd},
    {"divisibleby", is_divisibleby},
    {"eq", is_eq},
    {"equalto", is_eq},
    {"==", is_eq},
    {"ne", is_ne},
    {"!=", is_ne},
    {"lt", is_lt},
    {"lessthan", is_lt},
    {"<", is_lt},
    {"ge", is_ge},
    {">=", is_ge},
    {"gt", is_gt},
    {"greaterthan", is_gt},
    {">", is_gt},
    {"le", is_le},
    {"<=", is_le},
    {"in", is_in},
    {"sameas", is_sameas},
    {"filter", is_filter},
    {"test", is_test},
};

const jinja_row *mtk_jinja_find_test(const char *name) {
  return mtk_jinja_find_row(tests, sizeof tests / sizeof tests[0], name);
}
