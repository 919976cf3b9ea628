/* cgroup.c: what the cgroups of this process allow, v1 and v2 and both at once. /proc/self/cgroup
 * names a group for each controller, /proc/self/mountinfo the folders where groups are shown; every
 * group from ours up to the top one that is shown may have a limit. No memory is allocated. Any
 * thread. */
#include "base/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 3 * PATH_BYTES };

typedef void visit_fn(void *ctx, const char *folder, bool v2);

/* The next line without its end, cut where it is too long. */
static bool next_line(char line[LINE_BYTES], FILE *f) {
  if (!fgets(line, LINE_BYTES, f)) return false;
  char *end = strchr(line, '\n');
  for (int c = 0; !end && c != EOF && c != '\n';) c = fgetc(f);
  if (end) *end = 0;
  return true;
}

static FILE *open_file(const char *folder, const char *name) {
  char path[PATH_BYTES + 64];
  int n = snprintf(path, sizeof path, "%s/%s", folder, name);
  return n < (int)sizeof path ? fopen(path, "re") : NULL;
}

/* Is `word` one of those between commas? */
static bool lists(const char *words, const char *word) {
  size_t n = strlen(word);
  for (const char *at = words; (at = strstr(at, word)) != NULL; at += n)
    if ((at == words || at[-1] == ',') && (at[n] == ',' || !at[n])) return true;
  return false;
}

/* A line of mountinfo (proc(5)): "36 35 98:0 ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS". */
typedef struct mount {
  const char *root, *point, *type, *options;
} mount;

static bool parse_mount(mount *m, char *line) {
  char *fields[5], *rest = strstr(line, " - "), *save;
  if (!rest) return false;
  *rest = 0;
  for (int i = 0; i < 5; i++)
    if (!(fields[i] = strtok_r(i ? NULL : line, " ", &save))) return false;
  m->root = fields[3];
  m->point = fields[4];
  m->type = strtok_r(rest + 3, " ", &save);
  m->options = strtok_r(NULL, " ", &save) ? strtok_r(NULL, " ", &save) : NULL;
  return m->type && m->options;
}

/* What follows `root` in the path of a group: "" if they are the same; NULL if it is not below. */
static const char *below(const char *group, const char *root) {
  size_t n = strcmp(root, "/") ? strlen(root) : 0;
  bool is = !strncmp(group, root, n) && (!group[n] || group[n] == '/');
  return is ? group + n : NULL;
}

/* Where a group is shown. A mount that does not show it belongs to a namespace that sees it under
 * another path: the mount itself, then. controller NULL: v2. */
static bool find_folder(char folder[PATH_BYTES], size_t *top, const char *root, const char *group,
                        const char *controller) {
  char line[LINE_BYTES];
  bool found = false, exact = false;
  FILE *f = open_file(root, "proc/self/mountinfo");
  while (f && !exact && next_line(line, f)) {
    mount m;
    if (!parse_mount(&m, line) || strcmp(m.type, controller ? "cgroup" : "cgroup2") != 0) continue;
    if (controller && !lists(m.options, controller)) continue;
    const char *rest = below(group, m.root);
    if (found && !rest) continue;
    int n = snprintf(folder, PATH_BYTES, "%s%s%s", root, m.point, rest ? rest : "");
    *top = strlen(root) + strlen(m.point);
    found = n < PATH_BYTES;
    exact = found && rest;
  }
  if (f) fclose(f);
  return found;
}

/* The groups of this process that a controller may limit, from the inside out. */
static void each_group(const char *root, const char *controller, visit_fn *visit, void *ctx) {
  char line[LINE_BYTES], folder[PATH_BYTES];
  FILE *f = open_file(root, "proc/self/cgroup");
  while (f && next_line(line, f)) { /* ID:CONTROLLERS:PATH */
    char *list = strchr(line, ':'), *group = list ? strchr(++list, ':') : NULL;
    if (!group) continue;
    *group++ = 0;
    const bool v2 = !*list;
    size_t top;
    if (!v2 && !lists(list, controller)) continue;
    if (!find_folder(folder, &top, root, group, v2 ? NULL : controller)) continue;
    for (char *slash = folder; slash;) {
      visit(ctx, folder, v2);
      slash = strrchr(folder + top, '/');
      if (slash) *slash = 0;
    }
  }
  if (f) fclose(f);
}

/* The number behind `key` at the start of a line ("": of the first) and the one behind that. */
static int read_numbers(int64_t out[2], const char *folder, const char *name, const char *key) {
  char line[LINE_BYTES];
  int n = 0;
  FILE *f = open_file(folder, name);
  while (f && n == 0 && next_line(line, f)) {
    if (strncmp(line, key, strlen(key)) != 0) continue;
    char *at = line + strlen(key), *end;
    for (; n < 2; n++, at = end) {
      out[n] = strtoll(at, &end, 10);
      if (end == at) break;
    }
    if (!*key) break;
  }
  if (f) fclose(f);
  return n;
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

static void visit_cpu(void *ctx, const char *folder, bool v2) {
  int64_t *least = ctx, v[2], more[2];
  if (v2) { /* "max 100000" or "150000 100000" */
    if (read_numbers(v, folder, "cpu.max", "") < 2) return;
  } else {
    if (read_numbers(v, folder, "cpu.cfs_quota_us", "") < 1) return;
    if (read_numbers(more, folder, "cpu.cfs_period_us", "") < 1) return;
    v[1] = more[0];
  }
  if (v[0] <= 0 || v[1] <= 0) return;
  int64_t cpus = v[0] / v[1] + (v[0] % v[1] != 0);
  if (!*least || cpus < *least) *least = cpus;
}

int64_t mtk_cgroup_cpus(const char *root) {
  int64_t least = 0;
  each_group(root, "cpu", visit_cpu, &least);
  return least;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void visit_memory(void *ctx, const char *folder, bool v2) {
  uint64_t *least = ctx;
  int64_t limit[2], used[2], idle[2];
  if (read_numbers(limit, folder, v2 ? "memory.max" : "memory.limit_in_bytes", "") < 1) return;
  if (read_numbers(used, folder, v2 ? "memory.current" : "memory.usage_in_bytes", "") < 1) return;
  if (read_numbers(idle, folder, "memory.stat", v2 ? "inactive_file " : "total_inactive_file ") < 1)
    idle[0] = 0;
  if (limit[0] < 0 || used[0] < 0) return;
  if (idle[0] > 0) used[0] = idle[0] < used[0] ? used[0] - idle[0] : 0;
  uint64_t left = limit[0] > used[0] ? (uint64_t)(limit[0] - used[0]) : 0;
  if (left < *least) *least = left;
}

uint64_t mtk_cgroup_memory(const char *root) {
  uint64_t least = UINT64_MAX;
  each_group(root, "memory", visit_memory, &least);
  return least;
}

uint64_t mtk_memory_left(const char *root) {
  char proc[PATH_BYTES];
  int64_t kb[2];
  snprintf(proc, sizeof proc, "%.4000s/proc", root);
  bool known = read_numbers(kb, proc, "meminfo", "MemAvailable:") > 0 && kb[0] >= 0;
  uint64_t half = (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t bytes = known ? (uint64_t)kb[0] * 1024 : half, allowed = mtk_cgroup_memory(root);
  return allowed < bytes ? allowed : bytes;
}
