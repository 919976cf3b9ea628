/* text/jinja_args.c: matching call arguments with parameter names, and finding table rows. Pure. */
#include <string.h>

#include "text/jinja.h"

mtk_status mtk_jinja_bind(jinja *j, const char *what, const jinja_args *args,
                          const char *const *names, size_t n, jinja_value *values) {
  size_t positional = args->n - args->n_named;
  if (positional > n) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "%s takes at most %zu arguments, got %zu", what, n,
                      positional);
  }
  for (size_t i = 0; i < positional; i++) values[i] = args->items[i];
  for (size_t i = 0; i < args->n_named; i++) {
    size_t at = 0;
    while (at < n && strcmp(names[at], args->names[i]) != 0) at++;
    if (at == n) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "%s got an unexpected keyword argument '%.60s'", what,
                        args->names[i]);
    }
    if (values[at].kind != JINJA_ABSENT) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "%s got multiple values for argument '%.60s'", what,
                        names[at]);
    }
    values[at] = args->items[positional + i];
  }
  return MTK_OK;
}

mtk_status mtk_jinja_int_arg(jinja *j, jinja_value v, int64_t otherwise, int64_t *out) {
  if (v.kind == JINJA_ABSENT) {
    *out = otherwise;
    return MTK_OK;
  }
  MTK_TRY(mtk_jinja_require_defined(j, v));
  if (v.kind != JINJA_INT && v.kind != JINJA_BOOL) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' object cannot be interpreted as an integer",
                      mtk_jinja_type_name(v));
  }
  *out = v.kind == JINJA_BOOL ? v.u.b : v.u.i;
  return MTK_OK;
}

mtk_status mtk_jinja_string_arg(jinja *j, const char *what, jinja_value v, jinja_string **out) {
  *out = NULL;
  if (v.kind == JINJA_ABSENT || v.kind == JINJA_NONE) return MTK_OK;
  MTK_TRY(mtk_jinja_require_defined(j, v));
  if (v.kind != JINJA_STRING) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "%s: argument must be str, not %s", what,
                      mtk_jinja_type_name(v));
  }
  *out = v.u.s;
  return MTK_OK;
}

jinja_args mtk_jinja_rest_args(const jinja_args *args, size_t first) {
  size_t positional = args->n - args->n_named;
  if (first > positional) first = positional;
  return (jinja_args){args->items + first, args->n - first, args->names, args->n_named};
}

const jinja_row *mtk_jinja_find_row(const jinja_row *rows, size_t n, const char *name) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(rows[i].name, name) == 0) return &rows[i];
  }
  return NULL;
}
