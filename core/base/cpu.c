/* cpu.c: how many CPUs this process may use. Reads the affinity mask and the cgroup quota; called
 * once per pool, any thread. */
#include "base/internal.h"

#include <errno.h>
#include <sched.h>

enum { MAX_CPUS = 1 << 16 };

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

int mtk_cpu_count(void) {
  int n = affinity_count();
  int64_t quota = mtk_cgroup_cpus("");
  return quota && quota < n ? (int)quota : n;
}
