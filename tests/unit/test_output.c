/* test_output.c: mapped files, path helpers, and outputs that appear only when complete. */
#include <mtk/base.h>

#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_suite.h"

static char folder[64]; /* a fresh folder per test */

static void make_folder(void) {
  snprintf(folder, sizeof folder, "/tmp/mtk-test-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  ck_assert_int_eq(system(command), 0);
}

/* "folder/name" in one of a few static buffers. */
static const char *in_folder(const char *name) {
  static char paths[4][256];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static int count_entries(const char *path) {
  DIR *dir = opendir(path);
  ck_assert_ptr_nonnull(dir);
  int n = 0;
  for (struct dirent *e; (e = readdir(dir)) != NULL;)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) n++;
  closedir(dir);
  return n;
}

static void assert_content(const char *path, const char *text) {
  mtk_file *file;
  mtk_error err;
  ck_assert_int_eq(mtk_file_open(&file, path, &err), MTK_OK);
  ck_assert_uint_eq(file->size, strlen(text));
  ck_assert(file->size == 0 || memcmp(file->data, text, file->size) == 0);
  mtk_file_close(file);
}

START_TEST(files_map_or_say_why_not) {
  mtk_file *file;
  mtk_error err;
  ck_assert_int_eq(mtk_file_open(&file, in_folder("none"), &err), MTK_E_NOT_FOUND);
  ck_assert_ptr_null(file);
  ck_assert_str_eq(err.place, in_folder("none"));
  ck_assert_int_eq(mtk_file_open(&file, folder, &err), MTK_E_INVALID);
  ck_assert_int_eq(mkfifo(in_folder("fifo"), 0600), 0);
  ck_assert_int_eq(mtk_file_open(&file, in_folder("fifo"), &err), MTK_E_INVALID); /* no hang */
  ck_assert_int_eq(mtk_write_file(in_folder("empty"), NULL, 0, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_file_open(&file, in_folder("empty"), &err), MTK_OK);
  ck_assert(file->data == NULL && file->size == 0);
  mtk_file_close(file);
  mtk_file_close(NULL);
  ck_assert(mtk_path_exists(in_folder("empty")) && !mtk_path_is_dir(in_folder("empty")));
  ck_assert(mtk_path_is_dir(folder) && !mtk_path_exists(in_folder("none")));
  char *joined = mtk_path_join("a/", "b");
  ck_assert_str_eq(joined, "a/b");
  mtk_free(joined);
  joined = mtk_path_join("a", "b");
  ck_assert_str_eq(joined, "a/b");
  mtk_free(joined);
  ck_assert_str_eq(mtk_path_base("x/y/z.bin"), "z.bin");
  ck_assert_str_eq(mtk_path_base("z.bin"), "z.bin");
}
END_TEST

START_TEST(output_appears_only_at_commit) {
  mtk_output *out;
  mtk_error err;
  const char *path = in_folder("f");
  ck_assert_int_eq(mtk_output_create(&out, path, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_output_write(out, "new", 3, &err), MTK_OK);
  ck_assert_uint_eq(mtk_output_size(out), 3);
  ck_assert(!mtk_path_exists(path));
  ck_assert_int_eq(mtk_output_commit(out, &err), MTK_OK);
  assert_content(path, "new");
  ck_assert_int_eq(mtk_output_create(&out, path, false, &err), MTK_E_EXISTS);
  ck_assert_ptr_nonnull(strstr(err.message, "--force"));
  ck_assert_int_eq(mtk_output_create(&out, path, true, &err), MTK_OK);
  ck_assert_int_eq(mtk_output_write(out, "other", 5, &err), MTK_OK);
  mtk_output_abort(out);
  assert_content(path, "new"); /* an aborted output leaves the old file */
  ck_assert_int_eq(mtk_write_file(path, "third", 5, true, &err), MTK_OK);
  assert_content(path, "third");
  ck_assert_int_eq(count_entries(folder), 1); /* no temporaries left */
}
END_TEST

START_TEST(output_does_not_replace_a_file_made_meanwhile) {
  mtk_output *out;
  mtk_error err;
  const char *path = in_folder("f");
  ck_assert_int_eq(mtk_output_create(&out, path, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_write_file(path, "theirs", 6, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_output_commit(out, &err), MTK_E_EXISTS);
  assert_content(path, "theirs");
  ck_assert_int_eq(count_entries(folder), 1);
}
END_TEST

/* Three parts of a file in `outputs`; stops before part `stop`. The number of parts that were
 * there. */
static int write_parts(mtk_outputs *outputs, const char *path, int stop) {
  static const char *const parts[] = {"one", "two and", "three"};
  mtk_output *out;
  mtk_error err;
  int there = 0;
  ck_assert_int_eq(mtk_output_create_in(&out, outputs, path, false, &err), MTK_OK);
  for (int i = 0; i < stop && i < 3; i++) {
    bool has = mtk_output_has(out, parts[i], strlen(parts[i]));
    there += has;
    if (has) continue;
    ck_assert_int_eq(mtk_output_write(out, parts[i], strlen(parts[i]), &err), MTK_OK);
    ck_assert_int_eq(mtk_output_mark(out, &err), MTK_OK);
  }
  if (stop > 3) ck_assert_int_eq(mtk_output_commit(out, &err), MTK_OK);
  else mtk_output_abort(out);
  return there;
}

START_TEST(outputs_go_on_behind_the_last_part) {
  mtk_outputs *o;
  mtk_error err;
  const char *path = in_folder("f");
  ck_assert_ptr_null(mtk_outputs_key(path));
  ck_assert_int_eq(mtk_outputs_resume(&o, path, "key", true, &err), MTK_OK);
  ck_assert(!mtk_outputs_hold(o));
  ck_assert_int_eq(write_parts(o, path, 2), 0);
  mtk_outputs *second;
  ck_assert_int_eq(mtk_outputs_resume(&second, path, "key", true, &err), MTK_E_EXISTS);
  mtk_outputs_close(o, true);
  ck_assert_int_eq(mtk_outputs_resume(&o, path, "other", true, &err), MTK_E_INVALID);
  char *key = mtk_outputs_key(path);
  ck_assert_str_eq(key, "key");
  mtk_free(key);
  for (int stop = 3; stop <= 4; stop++) {
    ck_assert_int_eq(mtk_outputs_resume(&o, path, "key", true, &err), MTK_OK);
    ck_assert(mtk_outputs_hold(o));
    ck_assert_int_eq(write_parts(o, path, stop), stop - 1);
    mtk_outputs_close(o, stop == 3);
  }
  assert_content(path, "onetwo andthree");
  ck_assert_int_eq(count_entries(folder), 1);
}
END_TEST

START_TEST(outputs_begin_anew_without_resume) {
  mtk_outputs *o;
  mtk_error err;
  const char *path = in_folder("f");
  ck_assert_int_eq(mtk_outputs_resume(&o, path, "key", false, &err), MTK_OK);
  ck_assert_int_eq(write_parts(o, path, 3), 0);
  mtk_outputs_close(o, true);
  ck_assert_int_eq(mtk_outputs_resume(&o, path, "other", false, &err), MTK_OK);
  ck_assert_int_eq(write_parts(o, path, 4), 0);
  mtk_outputs_close(o, false);
  assert_content(path, "onetwo andthree");
}
END_TEST

START_TEST(outputs_compare_and_write_nothing) {
  mtk_outputs *o;
  mtk_output *out;
  mtk_outdir *dir;
  mtk_error err;
  const char *path = in_folder("f");
  ck_assert_int_eq(mtk_write_file(path, "onetwo andthree", 15, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_outputs_compare(&o, &err), MTK_OK);
  ck_assert_ptr_null(mtk_outputs_folder(o));
  ck_assert_int_eq(write_parts(o, path, 4), 0);
  ck_assert_int_eq(mtk_output_create_in(&out, o, path, false, &err), MTK_OK);
  ck_assert(!mtk_output_has(out, "a part", 3));
  ck_assert_int_eq(mtk_output_write(out, "onX", 3, &err), MTK_E_CHECK);
  ck_assert_ptr_nonnull(strstr(err.message, "a part: byte 2"));
  mtk_output_abort(out);
  ck_assert_int_eq(mtk_output_create_in(&out, o, path, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_output_write(out, "one", 3, &err), MTK_OK);
  ck_assert_int_eq(mtk_output_commit(out, &err), MTK_E_CHECK); /* 12 bytes more */
  ck_assert_int_eq(mtk_output_create_in(&out, o, in_folder("g"), false, &err), MTK_E_CHECK);
  ck_assert_int_eq(mtk_outdir_create_in(&dir, o, folder, false, &err), MTK_OK);
  ck_assert_str_eq(mtk_outdir_path(dir), folder);
  ck_assert_int_eq(mtk_outdir_commit(dir, &err), MTK_OK);
  mtk_outputs_close(o, false);
  assert_content(path, "onetwo andthree");
  ck_assert_int_eq(count_entries(folder), 1);
}
END_TEST

START_TEST(output_refuses_odd_targets) {
  mtk_output *out;
  mtk_error err;
  ck_assert_int_eq(mtk_output_create(&out, in_folder("no/f"), false, &err), MTK_E_NOT_FOUND);
  ck_assert_int_eq(mtk_output_create(&out, folder, true, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_output_create(&out, "/dev/null", true, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_output_create(&out, in_folder("."), true, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_output_create(&out, "", true, &err), MTK_E_INVALID);
  mtk_outdir *dir;
  ck_assert_int_eq(mtk_outdir_create(&dir, in_folder(".."), true, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_write_file(in_folder("f"), "x", 1, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_outdir_create(&dir, in_folder("f"), true, &err), MTK_E_INVALID);
  char longest[256] = {0};
  memset(longest, 'n', 250);
  char path[400]; /* the temporary name must fit in NAME_MAX too */
  snprintf(path, sizeof path, "%s/%s", folder, longest);
  ck_assert_int_eq(mtk_write_file(path, "x", 1, false, &err), MTK_OK);
}
END_TEST

START_TEST(output_large_and_small_writes_keep_order) {
  mtk_output *out;
  mtk_error err;
  size_t n = 3 * 1024 * 1024 + 7;
  uint8_t *data = mtk_alloc(n, 1);
  for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(i * 2654435761u >> 13);
  ck_assert_int_eq(mtk_output_create(&out, in_folder("big"), false, &err), MTK_OK);
  size_t at = 0, step = 1;
  while (at < n) {
    size_t part = n - at < step ? n - at : step;
    ck_assert_int_eq(mtk_output_write(out, data + at, part, &err), MTK_OK);
    at += part;
    step = step * 3 % 700001 + 1;
  }
  ck_assert_int_eq(mtk_output_commit(out, &err), MTK_OK);
  mtk_file *file;
  ck_assert_int_eq(mtk_file_open(&file, in_folder("big"), &err), MTK_OK);
  ck_assert(file->size == n && memcmp(file->data, data, n) == 0);
  mtk_file_close(file);
  mtk_free(data);
}
END_TEST

START_TEST(output_reports_a_full_disk) {
  struct rlimit limit = {1 << 20, RLIM_INFINITY};
  mtk_output *out;
  mtk_error err;
  char block[65536] = {0};
  ck_assert_int_eq(mtk_write_file(in_folder("f"), "old", 3, false, &err), MTK_OK);
  ck_assert_int_eq(mtk_output_create(&out, in_folder("f"), true, &err), MTK_OK);
  signal(SIGXFSZ, SIG_IGN);
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  for (int i = 0; i < 32; i++) (void)mtk_output_write(out, block, sizeof block, NULL);
  mtk_status status = mtk_output_commit(out, &err); /* the failed write is sticky */
  limit.rlim_cur = RLIM_INFINITY;
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  ck_assert_int_eq(status, MTK_E_IO);
  ck_assert_str_eq(err.place, in_folder("f"));
  assert_content(in_folder("f"), "old");
  ck_assert_int_eq(count_entries(folder), 1);
}
END_TEST

/* A child writes half an output (file or folder) and dies without cleaning up. */
static void write_half_and_die(bool as_folder, const char *path) {
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    mtk_output *out;
    mtk_outdir *dir;
    if (as_folder) {
      if (mtk_outdir_create(&dir, path, true, NULL) != MTK_OK) _exit(1);
      char *inner = mtk_path_join(mtk_outdir_path(dir), "inner");
      if (mtk_write_file(inner, "half", 4, false, NULL) != MTK_OK) _exit(1);
    } else {
      if (mtk_output_create(&out, path, true, NULL) != MTK_OK) _exit(1);
    }
    raise(SIGKILL);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(killed_runs_leave_the_old_state_and_are_cleaned_up) {
  mtk_error err;
  mtk_output *live, *again;
  mtk_outdir *dir;
  const char *path = in_folder("f");
  ck_assert_int_eq(mtk_write_file(path, "old", 3, false, &err), MTK_OK);
  write_half_and_die(false, path);
  ck_assert_int_eq(count_entries(folder), 2);
  assert_content(path, "old");
  ck_assert_int_eq(mtk_output_create(&live, path, true, &err), MTK_OK);
  ck_assert_int_eq(count_entries(folder), 2); /* the dead one gone, the live one there */
  ck_assert_int_eq(mtk_output_create(&again, path, true, &err), MTK_OK);
  ck_assert_int_eq(count_entries(folder), 3); /* a live one is not taken for dead */
  mtk_output_abort(again);
  ck_assert_int_eq(mtk_output_commit(live, &err), MTK_OK);
  ck_assert_int_eq(count_entries(folder), 1);
  write_half_and_die(true, in_folder("d"));
  ck_assert(!mtk_path_exists(in_folder("d")));
  ck_assert_int_eq(count_entries(folder), 2);
  ck_assert_int_eq(mtk_outdir_create(&dir, in_folder("d"), false, &err), MTK_OK);
  ck_assert_int_eq(count_entries(folder), 2);
  mtk_outdir_abort(dir);
  ck_assert_int_eq(count_entries(folder), 1);
}
END_TEST

static void fill_folder(mtk_outdir *dir, const char *name, const char *text) {
  char *path = mtk_path_join(mtk_outdir_path(dir), name);
  ck_assert_int_eq(mtk_write_file(path, text, strlen(text), false, NULL), MTK_OK);
  mtk_free(path);
}

START_TEST(outdir_replaces_the_whole_folder) {
  mtk_outdir *dir;
  mtk_error err;
  const char *path = in_folder("d");
  char slashed[128];
  snprintf(slashed, sizeof slashed, "%s//", path);
  ck_assert_int_eq(mtk_outdir_create(&dir, slashed, false, &err), MTK_OK);
  fill_folder(dir, "a", "1");
  ck_assert(!mtk_path_exists(path));
  ck_assert_int_eq(mtk_outdir_commit(dir, &err), MTK_OK);
  assert_content(in_folder("d/a"), "1");
  ck_assert_int_eq(mtk_outdir_create(&dir, path, false, &err), MTK_E_EXISTS);
  ck_assert_int_eq(mtk_outdir_create(&dir, path, true, &err), MTK_OK);
  fill_folder(dir, "b", "2");
  mtk_outdir_abort(dir);
  assert_content(in_folder("d/a"), "1");
  ck_assert_int_eq(mtk_outdir_create(&dir, path, true, &err), MTK_OK);
  fill_folder(dir, "b", "2");
  ck_assert_int_eq(mtk_outdir_commit(dir, &err), MTK_OK);
  assert_content(in_folder("d/b"), "2");
  ck_assert(!mtk_path_exists(in_folder("d/a")));
  ck_assert_int_eq(count_entries(folder), 1);
}
END_TEST

START_TEST(outdir_set_aside_by_a_killed_run_comes_back) {
  mtk_outdir *dir;
  mtk_error err;
  ck_assert_int_eq(mkdir(in_folder(".d.mtk-old"), 0700), 0);
  ck_assert_int_eq(mtk_outdir_create(&dir, in_folder("d"), false, &err), MTK_E_EXISTS);
  ck_assert(mtk_path_is_dir(in_folder("d")));
}
END_TEST

START_TEST(outputs_survive_allocation_failures) {
  mtk_error err;
  int failures = 0;
  for (int64_t n = 0;; n++) {
    mtk_alloc_fail_after(n);
    mtk_status status = mtk_write_file(in_folder("f"), "x", 1, true, &err);
    mtk_alloc_fail_after(-1);
    mtk_outdir *dir;
    mtk_alloc_fail_after(n);
    mtk_status folder_status = mtk_outdir_create(&dir, in_folder("d"), true, &err);
    mtk_alloc_fail_after(-1);
    if (folder_status == MTK_OK) mtk_outdir_abort(dir);
    mtk_file *file;
    mtk_alloc_fail_after(n);
    mtk_status file_status = mtk_file_open(&file, "/etc/passwd", &err);
    mtk_alloc_fail_after(-1);
    if (file_status == MTK_OK) mtk_file_close(file);
    ck_assert(status == MTK_OK || status == MTK_E_NOMEM);
    ck_assert(folder_status == MTK_OK || folder_status == MTK_E_NOMEM);
    ck_assert(file_status == MTK_OK || file_status == MTK_E_NOMEM);
    ck_assert_int_le(count_entries(folder), 1);
    failures += status != MTK_OK;
    if (status == MTK_OK && folder_status == MTK_OK && n > 10) break;
  }
  ck_assert_int_ge(failures, 5);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("output");
  TCase *tc = tcase_create("output");
  tcase_add_checked_fixture(tc, make_folder, remove_folder);
  tcase_add_test(tc, files_map_or_say_why_not);
  tcase_add_test(tc, output_appears_only_at_commit);
  tcase_add_test(tc, output_does_not_replace_a_file_made_meanwhile);
  tcase_add_test(tc, output_refuses_odd_targets);
  tcase_add_test(tc, outputs_go_on_behind_the_last_part);
  tcase_add_test(tc, outputs_begin_anew_without_resume);
  tcase_add_test(tc, outputs_compare_and_write_nothing);
  tcase_add_test(tc, output_large_and_small_writes_keep_order);
  tcase_add_test(tc, output_reports_a_full_disk);
  tcase_add_test(tc, killed_runs_leave_the_old_state_and_are_cleaned_up);
  tcase_add_test(tc, outdir_replaces_the_whole_folder);
  tcase_add_test(tc, outdir_set_aside_by_a_killed_run_comes_back);
  tcase_add_test(tc, outputs_survive_allocation_failures);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
