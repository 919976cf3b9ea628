/* error.c: filling mtk_error. No state; any thread. The place and the arguments may point into the
 * error that is being filled. */
#include "base/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[] = {
    [MTK_OK] = "ok",
    [MTK_E_NOMEM] = "out-of-memory",
    [MTK_E_IO] = "io",
    [MTK_E_FORMAT] = "format",
    [MTK_E_UNSUPPORTED] = "unsupported",
    [MTK_E_INVALID] = "invalid",
    [MTK_E_NOT_FOUND] = "not-found",
    [MTK_E_EXISTS] = "exists",
    [MTK_E_LIMIT] = "limit",
    [MTK_E_CANCELLED] = "cancelled",
    [MTK_E_CHECK] = "check",
    [MTK_E_INTERNAL] = "internal",
};

const char *mtk_status_name(mtk_status code) {
  size_t i = (size_t)code;
  return i < sizeof status_names / sizeof status_names[0] ? status_names[i] : "unknown";
}

static void copy_text(char *dst, size_t size, const char *src) {
  size_t n = src ? strlen(src) : 0;
  if (n >= size) n = size - 1;
  if (n) memmove(dst, src, n);
  dst[n] = 0;
}

static mtk_status fail_va(mtk_error *err, mtk_status code, const char *place, const char *fmt,
                          va_list args) {
  if (!err) return code;
  char message[sizeof err->message];
  if (vsnprintf(message, sizeof message, fmt, args) < 0) message[0] = 0;
  copy_text(err->place, sizeof err->place, place);
  memcpy(err->message, message, sizeof message);
  err->code = code;
  return code;
}

mtk_status mtk_fail(mtk_error *err, mtk_status code, const char *place, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  fail_va(err, code, place, fmt, args);
  va_end(args);
  return code;
}

/* Writes "text + suffix" to dst, cutting text so that the suffix always stays. */
static void join_text(char *dst, size_t size, const char *text, const char *suffix) {
  size_t tail = strlen(suffix), head = text ? strlen(text) : 0;
  if (tail >= size) tail = size - 1;
  if (head > size - 1 - tail) head = size - 1 - tail;
  if (head) memcpy(dst, text, head);
  memcpy(dst + head, suffix, tail);
  dst[head + tail] = 0;
}

mtk_status mtk_fail_at(mtk_error *err, mtk_status code, const char *path, uint64_t offset,
                       const char *fmt, ...) {
  if (!err) return code;
  char at[40], place[sizeof err->place];
  snprintf(at, sizeof at, ": byte %llu", (unsigned long long)offset);
  join_text(place, sizeof place, path, at);
  va_list args;
  va_start(args, fmt);
  fail_va(err, code, place, fmt, args);
  va_end(args);
  return code;
}

mtk_status mtk_fail_in(mtk_error *err, mtk_status code, const char *prefix) {
  if (!err || !prefix || !prefix[0]) return code;
  char place[sizeof err->place], rest[sizeof err->place];
  copy_text(rest, sizeof rest, err->place);
  copy_text(place, sizeof place, prefix);
  size_t n = strlen(place);
  if (rest[0] && n + 2 < sizeof place) {
    memcpy(place + n, ": ", 2);
    copy_text(place + n + 2, sizeof place - n - 2, rest);
  }
  memcpy(err->place, place, sizeof place);
  return code;
}

mtk_status mtk_fail_errno(mtk_error *err, int errnum, const char *place, const char *what) {
  static const struct {
    int errnum;
    mtk_status code;
  } codes[] = {{ENOENT, MTK_E_NOT_FOUND}, {EEXIST, MTK_E_EXISTS}, {ENOMEM, MTK_E_NOMEM}};
  mtk_status code = MTK_E_IO;
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (codes[i].errnum == errnum) code = codes[i].code;
  char text[128];
  return mtk_fail(err, code, place, "%s: %s", what, strerror_r(errnum, text, sizeof text));
}
