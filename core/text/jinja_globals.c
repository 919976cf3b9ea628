/* text/jinja_globals.c: the functions every template sees: Jinja's range, dict and namespace,
 * transformers' raise_exception and strftime_now. */
#include <string.h>
#include <time.h>

#include "text/jinja.h"
#include "text/jinja_strings.h"

enum { MAX_RANGE = 100000 }; /* of Jinja's sandbox */

static mtk_status range(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  jinja_value v[3] = {0};
  int64_t a, b, step;
  (void)self;
  MTK_TRY(mtk_jinja_positional(j, "range", args, 1, 3, v));
  MTK_TRY(mtk_jinja_int_arg(j, v[0], 0, &a));
  MTK_TRY(mtk_jinja_int_arg(j, v[1], 0, &b));
  MTK_TRY(mtk_jinja_int_arg(j, v[2], 1, &step));
  int64_t start = args->n > 1 ? a : 0, stop = args->n > 1 ? b : a;
  if (step == 0) return mtk_jinja_fail(j, MTK_E_INVALID, "range() arg 3 must not be zero");
  bool empty = step > 0 ? start >= stop : start <= stop;
  uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
  uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
  uint64_t n = empty ? 0 : (span - 1) / stride + 1;
  if (n > MAX_RANGE)
    return mtk_jinja_fail(j, MTK_E_LIMIT, "range too big: %d items at most", MAX_RANGE);
  MTK_TRY(mtk_jinja_new_view(j, JINJA_VIEW, "range", (size_t)n, out));
  for (uint64_t i = 0; i < n; i++) {
    out->u.l->items[i] = mtk_jinja_int((int64_t)((uint64_t)start + i * (uint64_t)step));
  }
  out->u.l->len = (size_t)n;
  return MTK_OK;
}

/* (key, value) pairs or a mapping, then named arguments. */
static mtk_status fill_dict(jinja *j, const jinja_args *args, jinja_dict *d) {
  size_t positional = args->n - args->n_named;
  if (positional > 1) return mtk_jinja_fail(j, MTK_E_INVALID, "dict takes at most one mapping");
  if (positional == 1 && args->items[0].kind == JINJA_DICT) {
    const jinja_dict *from = args->items[0].u.d;
    for (size_t i = 0; i < from->len; i++) {
      MTK_TRY(mtk_jinja_dict_set(j, d, from->entries[i].key, from->entries[i].value));
    }
  } else if (positional == 1) {
    const jinja_list *pairs;
    MTK_TRY(mtk_jinja_items(j, args->items[0], &pairs));
    for (size_t i = 0; i < pairs->len; i++) {
      const jinja_list *pair;
      MTK_TRY(mtk_jinja_items(j, pairs->items[i], &pair));
      if (pair->len != 2) return mtk_jinja_fail(j, MTK_E_INVALID, "dict needs pairs");
      MTK_TRY(mtk_jinja_dict_set(j, d, pair->items[0], pair->items[1]));
    }
  }
  for (size_t i = 0; i < args->n_named; i++) {
    jinja_value key;
    MTK_TRY(mtk_jinja_new_string(j, args->names[i], strlen(args->names[i]), false, &key));
    MTK_TRY(mtk_jinja_dict_set(j, d, key, args->items[positional + i]));
  }
  return MTK_OK;
}

static mtk_status dict(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  (void)self;
  MTK_TRY(mtk_jinja_new_dict(j, JINJA_DICT, out));
  return fill_dict(j, args, out->u.d);
}

static mtk_status namespace(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out) {
  (void)self;
  MTK_TRY(mtk_jinja_new_dict(j, JINJA_NAMESPACE, out));
  return fill_dict(j, args, out->u.d);
}

static mtk_status raise_exception(jinja *j, jinja_value self, const jinja_args *args,
                                  jinja_value *out) {
  static const char *const names[] = {"message"};
  jinja_value v[1] = {0}, text;
  (void)self;
  (void)out;
  MTK_TRY(mtk_jinja_bind(j, "raise_exception", args, names, 1, v));
  MTK_TRY(mtk_jinja_to_string(j, v[0], &text));
  int n = text.u.s->len < 400 ? (int)text.u.s->len : 400;
  return mtk_jinja_fail(j, MTK_E_INVALID, "%.*s", n, text.u.s->data);
}

/* ---- the clock ------------------------------------------------------------------------------ */

/* n digits at *s as a number; -1 if they are not there. */
static int read_digits(const char **s, int n) {
  int value = 0;
  for (; n > 0; n--, (*s)++) {
    if (**s < '0' || **s > '9') return -1;
    value = value * 10 + (**s - '0');
  }
  return value;
}

/* YYYY-MM-DD[(T| )HH:MM[:SS]]; what follows (fraction, zone) is not looked at: time is local. */
static bool parse_iso8601(const char *s, struct tm *out) {
  struct tm t = {.tm_isdst = -1};
  t.tm_year = read_digits(&s, 4) - 1900;
  if (t.tm_year < -1900 || *s++ != '-') return false;
  t.tm_mon = read_digits(&s, 2) - 1;
  if (t.tm_mon < 0 || t.tm_mon > 11 || *s++ != '-') return false;
  t.tm_mday = read_digits(&s, 2);
  if (t.tm_mday < 1 || t.tm_mday > 31) return false;
  if (*s == 'T' || *s == ' ') {
    s++;
    t.tm_hour = read_digits(&s, 2);
    if (t.tm_hour < 0 || t.tm_hour > 23 || *s++ != ':') return false;
    t.tm_min = read_digits(&s, 2);
    if (t.tm_min < 0 || t.tm_min > 59) return false;
    if (*s == ':') {
      s++;
      t.tm_sec = read_digits(&s, 2);
      if (t.tm_sec < 0 || t.tm_sec > 60) return false;
    }
  }
  struct tm normal = t;
  timegm(&normal); /* day of the week and of the year */
  t.tm_wday = normal.tm_wday;
  t.tm_yday = normal.tm_yday;
  *out = t;
  return true;
}

static mtk_status strftime_now(jinja *j, jinja_value self, const jinja_args *args,
                               jinja_value *out) {
  static const char *const names[] = {"format"};
  jinja_value v[1] = {0}, format;
  struct tm t = {0};
  char buf[512], pattern[256];
  (void)self;
  MTK_TRY(mtk_jinja_bind(j, "strftime_now", args, names, 1, v));
  MTK_TRY(mtk_jinja_to_string(j, v[0], &format));
  if (format.u.s->len >= sizeof pattern) {
    return mtk_jinja_fail(j, MTK_E_LIMIT, "strftime_now: format too long");
  }
  memcpy(pattern, format.u.s->data, format.u.s->len);
  pattern[format.u.s->len] = 0;
  if (j->now) {
    if (!parse_iso8601(j->now, &t)) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "\"%.40s\" is not an ISO 8601 time", j->now);
    }
  } else {
    time_t now = time(NULL);
    localtime_r(&now, &t);
  }
  size_t n = strftime(buf, sizeof buf, pattern, &t);
  return mtk_jinja_new_string(j, buf, n, mtk_jinja_is_data(format.u.s), out);
}

static const jinja_row globals[] = {
    {"range", range},
    {"dict", dict},
    {"namespace", namespace},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

const jinja_row *mtk_jinja_find_global(const char *name) {
  return mtk_jinja_find_row(globals, sizeof globals / sizeof globals[0], name);
}
