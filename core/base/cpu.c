/* cpu.c: how many CPUs this process may use. Reads the affinity mask and the cgroup quota; called
 * once per pool, any thread. */
#include "base/internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CPUS = 1 << 16, TEXT_BYTES = 4096 };

static int affinity_count(void) {
  for (int cpus = 1024; cpus <= MAX_CPUS; cpus *= 2) {
    size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
    cpu_set_t *set = mtk_alloc(bytes, 1);
    if (!set) return 1;
    int bad = sched_getaffinity(0, bytes, set), why = errno;
    int n = bad ? 0 : CPU_COUNT_S(bytes, set);
    mtk_free(set);
    if (n > 0) return n;
    if (why != EINVAL) return 1;
  }
  return 1;
}

/* First bytes of a small system file as a string; false when it cannot be read. */
static bool read_text(char text[TEXT_BYTES], const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  size_t n = fread(text, 1, TEXT_BYTES - 1, f);
  fclose(f);
  text[n] = 0;
  return n > 0;
}

/* CPUs granted by one cgroup folder: quota / period rounded up, 0 = no quota. */
static int64_t folder_quota(const char *folder, bool v2) {
  char path[TEXT_BYTES], text[TEXT_BYTES], *end;
  int64_t quota, period;
  if (v2) { /* "max 100000" or "150000 100000" */
    snprintf(path, sizeof path, "%.4000s/cpu.max", folder);
    if (!read_text(text, path)) return 0;
    quota = strtoll(text, &end, 10);
    if (end == text) return 0;
    period = strtoll(end, NULL, 10);
  } else {
    snprintf(path, sizeof path, "%.4000s/cpu.cfs_quota_us", folder);
    if (!read_text(text, path)) return 0;
    quota = strtoll(text, NULL, 10);
    snprintf(path, sizeof path, "%.4000s/cpu.cfs_period_us", folder);
    if (!read_text(text, path)) return 0;
    period = strtoll(text, NULL, 10);
  }
  return quota > 0 && period > 0 ? quota / period + (quota % period != 0) : 0;
}

/* Smallest quota from `group` below `mount` up to the mount itself; 0 = none. */
static int64_t quota_upwards(const char *mount, const char *group, bool v2) {
  char folder[TEXT_BYTES];
  int64_t best = 0;
  size_t root = strlen(mount);
  snprintf(folder, sizeof folder, "%.1000s%.3000s", mount, group);
  for (;;) {
    int64_t quota = folder_quota(folder, v2);
    if (quota && (!best || quota < best)) best = quota;
    char *slash = strrchr(folder, '/');
    if (!slash || (size_t)(slash - folder) < root) return best;
    *slash = 0;
  }
}

/* Quota of the cgroup named by one line of /proc/self/cgroup, "ID:CONTROLLERS:PATH"; 0 = none. */
static int64_t line_quota(const char *line) {
  const char *controllers = strchr(line, ':');
  const char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) return 0;
  int len = (int)(group - controllers - 1);
  if (len == 0) return quota_upwards("/sys/fs/cgroup", group + 1, true);
  char list[256], mount[300];
  snprintf(list, sizeof list, ",%.*s,", len > 200 ? 200 : len, controllers + 1);
  if (!strstr(list, ",cpu,")) return 0;
  snprintf(mount, sizeof mount, "/sys/fs/cgroup/%.*s", len > 200 ? 200 : len, controllers + 1);
  return quota_upwards(mount, group + 1, false);
}

static int64_t cgroup_quota(void) {
  char text[TEXT_BYTES];
  int64_t best = 0;
  if (!read_text(text, "/proc/self/cgroup")) return 0;
  for (char *line = text; *line;) {
    char *end = strchr(line, '\n'), *next = end ? end + 1 : line + strlen(line);
    if (end) *end = 0;
    int64_t quota = line_quota(line);
    if (quota && (!best || quota < best)) best = quota;
    line = next;
  }
  return best;
}

int mtk_cpu_count(void) {
  int n = affinity_count();
  int64_t quota = cgroup_quota();
  return quota && quota < n ? (int)quota : n;
}
