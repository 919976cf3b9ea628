/* text/jinja_ops.c: Python's arithmetic on values, + - * / // % ** of numbers, strings, lists. */
#include <math.h>
#include <string.h>

#include "text/jinja.h"

static const char *const symbols[] = {"", "+", "-", "*", "/", "//", "%", "** or pow()"};

static mtk_status bad_types(jinja *j, jinja_op op, jinja_value a, jinja_value b) {
  MTK_TRY(mtk_jinja_require_defined(j, a));
  MTK_TRY(mtk_jinja_require_defined(j, b));
  if (op == OP_ADD && (a.kind == JINJA_STRING || a.kind == JINJA_LIST)) {
    const char *type = mtk_jinja_type_name(a);
    return mtk_jinja_fail(j, MTK_E_INVALID, "can only concatenate %s (not \"%s\") to %s", type,
                      mtk_jinja_type_name(b), type);
  }
  return mtk_jinja_fail(j, MTK_E_INVALID, "unsupported operand type(s) for %s: '%s' and '%s'",
                    symbols[op], mtk_jinja_type_name(a), mtk_jinja_type_name(b));
}

static int64_t whole(jinja_value v) { return v.kind == JINJA_BOOL ? v.u.b : v.u.i; }

static mtk_status too_large(jinja *j) {
  return mtk_jinja_fail(j, MTK_E_LIMIT, "an integer grows beyond 64 bits");
}

static mtk_status by_zero(jinja *j) { return mtk_jinja_fail(j, MTK_E_INVALID, "division by zero"); }

static mtk_status int_power(jinja *j, int64_t base, int64_t exponent, jinja_value *out) {
  if (exponent < 0) {
    if (base == 0) return by_zero(j);
    *out = mtk_jinja_float(pow((double)base, (double)exponent));
    return MTK_OK;
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return too_large(j);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return too_large(j);
  }
  *out = mtk_jinja_int(result);
  return MTK_OK;
}

static mtk_status int_op(jinja *j, jinja_op op, int64_t a, int64_t b, jinja_value *out) {
  int64_t r = 0;
  bool overflow = false;
  switch (op) {
  case OP_ADD: overflow = __builtin_add_overflow(a, b, &r); break;
  case OP_SUB: overflow = __builtin_sub_overflow(a, b, &r); break;
  case OP_MUL: overflow = __builtin_mul_overflow(a, b, &r); break;
  case OP_POW: return int_power(j, a, b, out);
  default:
    if (b == 0) return by_zero(j);
    if (op == OP_DIV) {
      *out = mtk_jinja_float((double)a / (double)b);
      return MTK_OK;
    }
    if (b == -1) { /* INT64_MIN / -1 */
      overflow = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &r);
      break;
    }
    r = op == OP_MOD ? a % b : a / b;
    if (op == OP_MOD && r != 0 && (r < 0) != (b < 0)) r += b;
    if (op == OP_FLOORDIV && a % b != 0 && (a < 0) != (b < 0)) r--;
  }
  if (overflow) return too_large(j);
  *out = mtk_jinja_int(r);
  return MTK_OK;
}

static mtk_status float_op(jinja *j, jinja_op op, double a, double b, jinja_value *out) {
  double r = 0;
  bool divides = op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD;
  if (divides && b == 0) return by_zero(j);
  switch (op) {
  case OP_ADD: r = a + b; break;
  case OP_SUB: r = a - b; break;
  case OP_MUL: r = a * b; break;
  case OP_DIV: r = a / b; break;
  case OP_POW: r = pow(a, b); break;
  default:
    r = fmod(a, b);
    if (r != 0 && (r < 0) != (b < 0)) r += b;
    if (op == OP_FLOORDIV) r = floor((a - r) / b + 0.5);
  }
  *out = mtk_jinja_float(r);
  return MTK_OK;
}

static mtk_status repeat_string(jinja *j, const jinja_string *s, int64_t times, jinja_value *out) {
  jinja_text t = {0};
  for (int64_t i = 0; i < times && s->len > 0; i++) {
    MTK_TRY(mtk_jinja_step(j, 1));
    MTK_TRY(mtk_jinja_text_add_string(j, &t, s));
  }
  return mtk_jinja_text_value(j, &t, out);
}

static mtk_status repeat_list(jinja *j, jinja_value v, int64_t times, jinja_value *out) {
  size_t n = v.u.l->len, total;
  if (times < 0) times = 0;
  if (!mtk_mul_ok(n, (size_t)times, &total)) return too_large(j);
  MTK_TRY(mtk_jinja_new_list(j, v.kind, total, out));
  MTK_TRY(mtk_jinja_step(j, total));
  for (size_t i = 0; i < total; i++) out->u.l->items[i] = v.u.l->items[i % n];
  out->u.l->len = total;
  return MTK_OK;
}

static bool is_whole(jinja_value v) { return v.kind == JINJA_INT || v.kind == JINJA_BOOL; }

static bool is_list(jinja_value v) { return v.kind == JINJA_LIST || v.kind == JINJA_TUPLE; }

static mtk_status add_lists(jinja *j, jinja_value a, jinja_value b, jinja_value *out) {
  size_t n = a.u.l->len, m = b.u.l->len;
  MTK_TRY(mtk_jinja_new_list(j, a.kind, n + m, out));
  MTK_TRY(mtk_jinja_step(j, (n + m) / 8));
  if (n > 0) memcpy(out->u.l->items, a.u.l->items, n * sizeof *a.u.l->items);
  if (m > 0) memcpy(out->u.l->items + n, b.u.l->items, m * sizeof *b.u.l->items);
  out->u.l->len = n + m;
  return MTK_OK;
}

static mtk_status add_strings(jinja *j, jinja_value a, jinja_value b, jinja_value *out) {
  jinja_text t = {0};
  bool markup = a.u.s->markup || b.u.s->markup;
  if (markup && !a.u.s->markup) MTK_TRY(mtk_jinja_escape(j, a, &a));
  if (markup && !b.u.s->markup) MTK_TRY(mtk_jinja_escape(j, b, &b));
  MTK_TRY(mtk_jinja_text_add_string(j, &t, a.u.s));
  MTK_TRY(mtk_jinja_text_add_string(j, &t, b.u.s));
  MTK_TRY(mtk_jinja_text_value(j, &t, out));
  out->u.s->markup = markup;
  return MTK_OK;
}

mtk_status mtk_jinja_binary(jinja *j, jinja_op op, jinja_value a, jinja_value b, jinja_value *out) {
  if (is_whole(a) && is_whole(b)) return int_op(j, op, whole(a), whole(b), out);
  if (mtk_jinja_is_number(a) && mtk_jinja_is_number(b)) {
    return float_op(j, op, mtk_jinja_number(a), mtk_jinja_number(b), out);
  }
  if (op == OP_ADD && a.kind == JINJA_STRING && b.kind == JINJA_STRING) {
    return add_strings(j, a, b, out);
  }
  if (op == OP_ADD && is_list(a) && a.kind == b.kind) return add_lists(j, a, b, out);
  if (op == OP_MUL) {
    jinja_value times = is_whole(a) ? a : b, what = is_whole(a) ? b : a;
    if (is_whole(times) && what.kind == JINJA_STRING) {
      return repeat_string(j, what.u.s, whole(times), out);
    }
    if (is_whole(times) && is_list(what)) return repeat_list(j, what, whole(times), out);
  }
  if (op == OP_MOD && a.kind == JINJA_STRING) return mtk_jinja_percent_format(j, a.u.s, b, out);
  return bad_types(j, op, a, b);
}
