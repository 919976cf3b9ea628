/* time.c: clock, memory use and version of this process. Any thread. */
#include "base/internal.h"

#include <sys/resource.h>
#include <time.h>

double mtk_now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint64_t mtk_peak_rss_bytes(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0) return 0;
  return (uint64_t)usage.ru_maxrss * 1024;
}

const char *mtk_version(void) { return MTK_VERSION_STRING; }
