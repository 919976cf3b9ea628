/* report.c: everything a command shows: messages and progress on stderr, results on stdout. */
#include "cmd.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
  bool quiet, tty, bar_open;
  double last_s;
  char what[64];
  double start_s;
  pthread_mutex_t lock;
} g_report = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void close_bar(void) {
  if (g_report.bar_open) fputs("\r\033[K", stderr);
  g_report.bar_open = false;
}

static void on_log(void *ctx, mtk_log_level level, const char *message) {
  (void)ctx;
  static const char *const names[] = {"error", "warning", "", "debug"};
  pthread_mutex_lock(&g_report.lock);
  close_bar();
  if (names[level][0])
    fprintf(stderr, "mtk: %s: %s\n", names[level], message);
  else
    fprintf(stderr, "mtk: %s\n", message);
  pthread_mutex_unlock(&g_report.lock);
}

/* A bar with rate and time left on a terminal; elsewhere a line every five seconds. */
static void on_progress(void *ctx, const char *what, uint64_t done, uint64_t total,
                        const char *unit) {
  (void)ctx;
  pthread_mutex_lock(&g_report.lock);
  double now = mtk_now_s();
  if (strncmp(g_report.what, what, sizeof g_report.what - 1) != 0) {
    snprintf(g_report.what, sizeof g_report.what, "%s", what);
    g_report.start_s = now;
    g_report.last_s = now;
  }
  bool end = total && done >= total;
  double wait = g_report.tty ? 0.1 : 5.0;
  if (now - g_report.last_s >= wait || (end && g_report.bar_open)) {
    double elapsed = now - g_report.start_s, rate = elapsed > 0 ? (double)done / elapsed : 0;
    double left = rate > 0 && total > done ? (double)(total - done) / rate : 0;
    if (g_report.tty) fputs("\r\033[K", stderr);
    fprintf(stderr, "mtk: %s %llu", what, (unsigned long long)done);
    if (total) fprintf(stderr, "/%llu", (unsigned long long)total);
    fprintf(stderr, " %s, %.3g %s/s", unit, rate, unit);
    if (left > 0) fprintf(stderr, ", %.0f s left", left);
    if (!g_report.tty) fputc('\n', stderr);
    g_report.bar_open = g_report.tty;
    g_report.last_s = now;
    if (end) close_bar();
  }
  pthread_mutex_unlock(&g_report.lock);
}

void mtk_cmd_report_init(bool quiet, bool verbose) {
  g_report.quiet = quiet;
  g_report.tty = isatty(2);
  mtk_log_set(on_log, NULL, quiet ? MTK_LOG_ERROR : verbose ? MTK_LOG_DEBUG : MTK_LOG_WARN);
  mtk_progress_set(quiet ? NULL : on_progress, NULL);
}

void mtk_cmd_report_error(const char *cmd, const mtk_error *err) {
  pthread_mutex_lock(&g_report.lock);
  close_bar();
  fprintf(stderr, "mtk %s: %s%s%s\n", cmd, err->place, err->place[0] ? ": " : "",
          err->message[0] ? err->message : mtk_status_name(err->code));
  pthread_mutex_unlock(&g_report.lock);
}

void mtk_cmd_print(const char *fmt, ...) {
  pthread_mutex_lock(&g_report.lock);
  close_bar();
  va_list ap;
  va_start(ap, fmt);
  vprintf(fmt, ap);
  va_end(ap);
  pthread_mutex_unlock(&g_report.lock);
}

mtk_status mtk_cmd_print_json(json_t *doc, bool compact, mtk_error *err) {
  size_t flags = JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY;
  char *text = doc ? json_dumps(doc, flags | (compact ? JSON_COMPACT : JSON_INDENT(2))) : NULL;
  json_decref(doc);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "cannot build the JSON report");
  mtk_cmd_print("%s\n", text);
  free(text);
  return MTK_OK;
}

json_t *mtk_cmd_json_textn(const char *data, size_t n) {
  mtk_bytes clean = {0};
  mtk_utf8_stream s = {0};
  mtk_utf8_stream_push(&s, &clean, data, n, true);
  json_t *j = json_stringn(clean.data ? clean.data : "", clean.len);
  mtk_bytes_finish(&clean);
  return j;
}

json_t *mtk_cmd_json_text(const char *s) { return mtk_cmd_json_textn(s, strlen(s)); }

mtk_status mtk_cmd_flush(mtk_error *err) {
  errno = 0;
  if (fflush(stdout) != 0 || ferror(stdout))
    return mtk_fail(err, MTK_E_IO, "standard output", "cannot write: %s",
                    errno ? strerror(errno) : "write error");
  return MTK_OK;
}

const char *mtk_cmd_bytes(uint64_t n) {
  static char ring[8][24];
  static int at;
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  char *buf = ring[at++ & 7];
  double v = (double)n;
  int u = 0;
  while (v >= 1000 && u < 5) v /= 1000, u++;
  snprintf(buf, sizeof ring[0], u ? "%.2f %s" : "%.0f %s", v, units[u]);
  return buf;
}
