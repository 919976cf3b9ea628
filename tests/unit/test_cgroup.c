/* test_cgroup.c: CPUs and memory that cgroups allow, from trees of files as Linux shows them: v1,
 * v2, both at once, nested, in containers, absent, broken. */
#include "base/internal.h"
#include "run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/mtk-cgroup-XXXXXX";

static void setup(void) { ck_assert_ptr_nonnull(mkdtemp(root)); }
static void teardown(void) {
  mtk_remove_below(root);
  remove(root);
}

static void put(const char *name, const char *text) {
  char path[4096];
  int n = snprintf(path, sizeof path, "%s/%s", root, name);
  for (char *p = path + strlen(root) + 1; p < path + n; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0700);
    *p = '/';
  }
  FILE *f = fopen(path, "w");
  ck_assert_ptr_nonnull(f);
  fputs(text, f);
  fclose(f);
}

#define DISK "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
#define V2 "31 22 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

/* An unlimited top group, which has no cpu.max, and /a/b within it. */
static void put_v2(const char *outer, const char *inner) {
  put("proc/self/cgroup", "0::/a/b\n");
  put("proc/self/mountinfo", DISK V2);
  put("sys/fs/cgroup/a/cpu.max", outer);
  put("sys/fs/cgroup/a/b/cpu.max", inner);
}

START_TEST(v2_takes_the_smallest_of_nested_groups) {
  static const struct {
    const char *outer, *inner;
    int64_t cpus;
  } rows[] = {{"max 100000\n", "max 100000\n", 0},      {"150000 100000\n", "max 100000\n", 2},
              {"400000 100000\n", "50000 100000\n", 1}, {"300000 100000\n", "400000 100000\n", 3},
              {"300001 100000\n", "max 100000\n", 4},   {"1000 250000\n", "max 100000\n", 1},
              {"", "200000 100000\n", 2},               {"x\n", "\n", 0},
              {"200000\n", "200000 0\n", 0},            {"-1 100000\n", "0 100000\n", 0},
              {"9223372036854775807 1\n", "99999999999999999999 1", INT64_MAX}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    put_v2(rows[i].outer, rows[i].inner);
    ck_assert_int_eq(mtk_cgroup_cpus(root), rows[i].cpus);
  }
}
END_TEST

#define V1(ROOT) \
  "32 22 0:29 " ROOT " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"

/* The kernel writes the controllers in an order of its own. */
START_TEST(v1_folders_go_by_the_mounts) {
  put("proc/self/cgroup", "5:cpuset:/\n4:cpuacct,cpu:/jobs/x\n0::/\n");
  put("proc/self/mountinfo",
      DISK "33 22 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" V1("/"));
  put("sys/fs/cgroup/cpu,cpuacct/jobs/x/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu,cpuacct/jobs/x/cpu.cfs_period_us", "100000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 0);
  put("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "250000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 0); /* no period */
  put("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 3);
  put("sys/fs/cgroup/cpu,cpuacct/jobs/x/cpu.cfs_quota_us", "150000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 2);
}
END_TEST

/* In a container the mount shows its own group; groups within it are below that. */
START_TEST(containers_show_their_own_group) {
  put("proc/self/cgroup", "4:cpu,cpuacct:/docker/ab/job\n");
  put("proc/self/mountinfo", DISK V1("/docker/ab"));
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 4);
  put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "100000\n");
  put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 1);
  put("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc/job\n"); /* not below /docker/ab */
  ck_assert_int_eq(mtk_cgroup_cpus(root), 4);
}
END_TEST

/* v2 beside v1, elsewhere than usual, and behind more than a page of other groups. */
START_TEST(long_lists_are_read_to_their_end) {
  char list[6000] = "", line[64];
  for (int i = 0; i < 150; i++) {
    snprintf(line, sizeof line, "%d:name=a-hierarchy-of-its-own-%d:/\n", 200 - i, i);
    strncat(list, line, sizeof list - strlen(list) - 1);
  }
  strncat(list, "0::/here\n", sizeof list - strlen(list) - 1);
  ck_assert_uint_gt(strlen(list), 5000);
  put("proc/self/cgroup", list);
  put("proc/self/mountinfo", DISK
      "41 22 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  put("sys/fs/cgroup/unified/here/cpu.max", "200000 100000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 2);
}
END_TEST

START_TEST(absent_and_broken_files_are_no_limit) {
  ck_assert_int_eq(mtk_cgroup_cpus(root), 0);
  ck_assert_uint_eq(mtk_cgroup_memory(root), UINT64_MAX);
  ck_assert_uint_gt(mtk_memory_left(root), 0);
  put("proc/self/cgroup", "0::/a\n4:cpu:/\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 0);
  put("proc/self/mountinfo",
      "\n-\n1 2 3 - cgroup2\n1 2 3 4 5 - cgroup2\n - cgroup cgroup rw,cpu\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 0);
  put("proc/self/mountinfo", DISK V2 V1("/"));
  put("proc/self/cgroup", "\n:\n::\n4:cpu\nx:y:z\n4:cpus:/a\n");
  put("sys/fs/cgroup/a/cpu.max", "100000 100000\n");
  ck_assert_int_eq(mtk_cgroup_cpus(root), 0);
}
END_TEST

START_TEST(unused_files_count_as_free_memory) {
  put("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n");
  ck_assert_uint_eq(mtk_memory_left(root), 8000 * 1024);
  put("proc/self/cgroup", "0::/a/b\n");
  put("proc/self/mountinfo", DISK V2);
  put("sys/fs/cgroup/a/b/memory.max", "max\n");
  put("sys/fs/cgroup/a/b/memory.current", "3000000\n");
  ck_assert_uint_eq(mtk_memory_left(root), 8000 * 1024);
  put("sys/fs/cgroup/a/memory.max", "5000000\n");
  put("sys/fs/cgroup/a/memory.current", "4000000\n");
  ck_assert_uint_eq(mtk_memory_left(root), 1000000);
  put("sys/fs/cgroup/a/memory.stat", "anon 1\nfile 2500000\ninactive_file 1500000\n");
  ck_assert_uint_eq(mtk_memory_left(root), 2500000);
  put("sys/fs/cgroup/a/memory.max", "100\n");
  ck_assert_uint_eq(mtk_memory_left(root), 0);
}
END_TEST

START_TEST(v1_memory) {
  put("proc/self/cgroup", "4:memory:/a\n");
  put("proc/self/mountinfo",
      DISK "34 22 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "7000\n");
  put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "10000\n");
  put("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "6000\n");
  put("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 5000\n");
  ck_assert_uint_eq(mtk_cgroup_memory(root), 9000);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("cgroup");
  TCase *t = tcase_create("cgroup");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 120);
  tcase_add_test(t, v2_takes_the_smallest_of_nested_groups);
  tcase_add_test(t, v1_folders_go_by_the_mounts);
  tcase_add_test(t, containers_show_their_own_group);
  tcase_add_test(t, long_lists_are_read_to_their_end);
  tcase_add_test(t, absent_and_broken_files_are_no_limit);
  tcase_add_test(t, unused_files_count_as_free_memory);
  tcase_add_test(t, v1_memory);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
