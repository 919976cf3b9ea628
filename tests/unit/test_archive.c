/* test_archive.c: mounts (folders in memory), scratch files, and the members of zip files, zip64
 * written by hand. */
#include "format_util.h"

#include <mtk/archive.h>

#include <check.h>
#include <stdio.h>
#include <string.h>

static mtk_mount *mount_of(const char *prefix, const char *const *names, size_t n) {
  mtk_mount *m = NULL;
  ck_assert_int_eq(mtk_mount_create(&m, prefix, NULL), MTK_OK);
  for (size_t i = 0; i < n; i++) {
    const uint8_t *data = (const uint8_t *)names[i];
    ck_assert_int_eq(mtk_mount_add(m, names[i], data, strlen(names[i]), NULL), MTK_OK);
  }
  return m;
}

START_TEST(looks_like_a_folder) {
  static const char *const files[] = {"b/c", "a", "b-d", "b/a/x", "b.txt", "b/a/y"};
  mtk_mount *m = mount_of("/no/x.tar!", files, 6);
  ck_assert(!mtk_path_exists("/no/x.tar!"));
  ck_assert_int_eq(mtk_mount_publish(m, NULL), MTK_OK);
  ck_assert(mtk_path_is_dir("/no/x.tar!") && mtk_path_is_dir("/no/x.tar!/"));
  ck_assert(mtk_path_is_dir("/no/x.tar!/b") && mtk_path_is_dir("/no/x.tar!/b/a/"));
  ck_assert(mtk_path_exists("/no/x.tar!/b-d") && !mtk_path_is_dir("/no/x.tar!/b-d"));
  ck_assert(!mtk_path_exists("/no/x.tar!/b-") && !mtk_path_exists("/no/x.tar!/b/a/z"));
  ck_assert(!mtk_path_exists("/no/x.tar!y") && !mtk_path_exists("/no/x.tar!/b/a/x/y"));
  for (size_t i = 0; i < 6; i++) {
    char path[64];
    mtk_file *file = NULL;
    snprintf(path, sizeof path, "/no/x.tar!/%s", files[i]);
    ck_assert_int_eq(mtk_file_open(&file, path, NULL), MTK_OK);
    ck_assert_ptr_eq(file->data, files[i]);
    ck_assert_uint_eq(file->size, strlen(files[i]));
    mtk_file_close(file);
  }
  mtk_error err;
  mtk_file *file = NULL;
  ck_assert_int_eq(mtk_file_open(&file, "/no/x.tar!/b", &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_file_open(&file, "/no/x.tar!/nothing", &err), MTK_E_NOT_FOUND);
  mtk_mount_release(m);
  ck_assert(!mtk_path_exists("/no/x.tar!"));
}
END_TEST

static void expect_names(const char *path, const char *want) {
  const char **names = NULL;
  size_t n = 0;
  mtk_arena *arena = mtk_arena_create();
  mtk_bytes text = {0};
  ck_assert_int_eq(mtk_folder_list(&names, &n, arena, path, NULL), MTK_OK);
  for (size_t i = 0; i < n; i++) mtk_bytes_printf(&text, "%s ", names[i]);
  ck_assert_str_eq(text.data ? text.data : "", want);
  mtk_bytes_finish(&text);
  mtk_arena_destroy(arena);
}

START_TEST(lists_folders) {
  static const char *const files[] = {"b/c", "a", "b-d", "b/a/x", "b.txt", "b/a/y"};
  mtk_mount *m = mount_of("x!", files, 6);
  ck_assert_int_eq(mtk_mount_publish(m, NULL), MTK_OK);
  expect_names("x!", "a b b-d b.txt ");
  expect_names("x!/b/", "a c ");
  expect_names("x!/b/a", "x y ");
  mtk_mount_release(m);
  write_bytes(scratch("2"), "", 0);
  write_bytes(scratch("1"), "", 0);
  char folder[256];
  snprintf(folder, sizeof folder, "%s", scratch(""));
  expect_names(folder, "1 2 ");
  mtk_error err;
  size_t n;
  const char **names;
  ck_assert_int_ne(mtk_folder_list(&names, &n, NULL, scratch("none"), &err), MTK_OK);
}
END_TEST

START_TEST(refuses_names) {
  static const char *const unsafe[] = {"",  "/a", "a/",   "a//b", "..",
                                       ".", "./a", "a/./b", "a/..", "../a"};
  static const char *const twice[] = {"a/b", "c", "a/b"}, *const both[] = {"a/b/c", "a/b"};
  mtk_mount *m = mount_of("x!", NULL, 0);
  for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
    ck_assert_int_eq(mtk_mount_add(m, unsafe[i], NULL, 0, NULL), MTK_E_FORMAT);
  mtk_mount_release(m);
  m = mount_of("x!", twice, 3);
  ck_assert_int_eq(mtk_mount_publish(m, NULL), MTK_E_FORMAT);
  mtk_mount_release(m);
  m = mount_of("x!", both, 2);
  ck_assert_int_eq(mtk_mount_publish(m, NULL), MTK_E_FORMAT);
  mtk_mount_release(m);
}
END_TEST

/* A file of a mount outlives the builder's hold, with the bytes behind it. */
START_TEST(files_keep_the_mount) {
  mtk_output *out = NULL;
  mtk_file *behind = NULL, *file = NULL;
  mtk_mount *m = NULL;
  ck_assert_int_eq(mtk_output_create_scratch(&out, NULL), MTK_OK);
  ck_assert_int_eq(mtk_output_write(out, "abcdef", 6, NULL), MTK_OK);
  ck_assert_int_eq(mtk_output_map(&behind, out, NULL), MTK_OK);
  ck_assert_int_eq(mtk_mount_create(&m, "y!", NULL), MTK_OK);
  ck_assert_int_eq(mtk_mount_keep(m, behind, NULL), MTK_OK);
  ck_assert_int_eq(mtk_mount_add(m, "f", behind->data + 2, 3, NULL), MTK_OK);
  ck_assert_int_eq(mtk_mount_publish(m, NULL), MTK_OK);
  ck_assert_int_eq(mtk_file_open(&file, "y!/f", NULL), MTK_OK);
  mtk_mount_release(m);
  ck_assert_mem_eq(file->data, "cde", 3);
  mtk_file_close(file);
  ck_assert(!mtk_path_exists("y!/f"));
}
END_TEST

/* ---- zip ----------------------------------------------------------------------------------- */

static void put(mtk_bytes *b, uint64_t v, int n) {
  for (int i = 0; i < n; i++, v >>= 8) {
    uint8_t byte = (uint8_t)v;
    mtk_bytes_append(b, &byte, 1);
  }
}

/* One stored member "m" = "1234", everything in zip64 fields. */
static void make_zip64(mtk_bytes *b, uint64_t size) {
  put(b, 0x04034b50, 4);
  for (int i = 0; i < 22; i++) put(b, 0, 1);
  put(b, 1, 2);
  put(b, 0, 2);
  mtk_bytes_puts(b, "m1234");
  size_t central = b->len;
  put(b, 0x02014b50, 4);
  for (int i = 0; i < 16; i++) put(b, 0, 1);
  put(b, UINT32_MAX, 4);
  put(b, UINT32_MAX, 4);
  put(b, 1, 2);
  put(b, 28, 2);
  for (int i = 0; i < 10; i++) put(b, 0, 1);
  put(b, UINT32_MAX, 4);
  mtk_bytes_puts(b, "m");
  put(b, 1, 2);
  put(b, 24, 2);
  put(b, size, 8);
  put(b, size, 8);
  put(b, 0, 8);
  size_t end = b->len;
  put(b, 0x06064b50, 4);
  put(b, 44, 8);
  for (int i = 0; i < 12; i++) put(b, 0, 1);
  put(b, 1, 8);
  put(b, 1, 8);
  put(b, end - central, 8);
  put(b, central, 8);
  put(b, 0x07064b50, 4);
  put(b, 0, 4);
  put(b, end, 8);
  put(b, 1, 4);
  put(b, 0x06054b50, 4);
  for (int i = 0; i < 4; i++) put(b, 0, 1);
  put(b, UINT16_MAX, 2);
  put(b, UINT16_MAX, 2);
  put(b, UINT32_MAX, 4);
  put(b, UINT32_MAX, 4);
  put(b, 3, 2);
  mtk_bytes_puts(b, "hey");
}

START_TEST(reads_zip64) {
  mtk_bytes b = {0};
  mtk_zip zip;
  mtk_error err;
  mtk_arena *arena = mtk_arena_create();
  make_zip64(&b, 4);
  mtk_status st = mtk_zip_parse(&zip, arena, (const uint8_t *)b.data, b.len, "z", &err);
  ck_assert_msg(st == MTK_OK, "%s", err.message);
  ck_assert(zip.n == 1 && zip.n_comment == 3 && memcmp(zip.comment, "hey", 3) == 0);
  const mtk_zip_entry *e = mtk_zip_find(&zip, "m");
  ck_assert(e && e->size == 4 && memcmp(e->data, "1234", 4) == 0);
  ck_assert_ptr_null(mtk_zip_find(&zip, "n"));
  mtk_bytes_clear(&b);
  make_zip64(&b, (uint64_t)1 << 60); /* runs past the end */
  st = mtk_zip_parse(&zip, arena, (const uint8_t *)b.data, b.len, "z", &err);
  ck_assert(st == MTK_E_FORMAT && strstr(err.message, "past the end"));
  mtk_bytes_finish(&b);
  mtk_arena_destroy(arena);
}
END_TEST

START_TEST(limits_expansion) {
  const uint64_t mib = 1 << 20;
  ck_assert_int_eq(mtk_expand_check(256 * mib, 1, "z", NULL), MTK_OK);
  ck_assert_int_eq(mtk_expand_check(300 * mib, 1, "z", NULL), MTK_E_LIMIT);
  ck_assert_int_eq(mtk_expand_check(300 * mib, 2 * mib, "z", NULL), MTK_OK);
  ck_assert_int_eq(mtk_expand_check((uint64_t)2 << 40, (uint64_t)1 << 40, "z", NULL), MTK_E_LIMIT);
}
END_TEST

/* ---- the plugin ---------------------------------------------------------------------------- */

#define CORPUS MTK_SOURCE_DIR "/formats/archive/corpus/"

static bool has_plugin(void) {
  if (mtk_format_find("archive")) return true;
  fprintf(stderr, "SKIP: the archive plugin is not built\n");
  return false;
}

START_TEST(hostile_bytes) {
  if (!has_plugin()) return;
  check_cut_and_spoiled("archive", CORPUS "good.tar.gz", ".tar.gz");
  check_cut_and_spoiled("archive", CORPUS "good_deflated.zip", ".zip");
  check_cut_and_spoiled("archive", CORPUS "good_stored.zip", ".zip");
}
END_TEST

/* With any allocation failing it is read, or there is an error; nothing is lost or read twice. (A
 * probe that runs out of memory counts as one that found nothing, so the code may differ.) */
START_TEST(allocations_fail) {
  if (!has_plugin()) return;
  bool read = false;
  for (int64_t n = 0; !read && n < 2000; n++) {
    mtk_error err = {0};
    mtk_model *m = mtk_model_create();
    mtk_alloc_fail_after(n);
    mtk_status status = mtk_format_find("archive")->read_model(m, CORPUS "good.tar.gz", &err);
    mtk_alloc_fail_after(-1);
    ck_assert(status == MTK_OK || status == MTK_E_NOMEM || err.message[0]);
    read = n > 40 && status == MTK_OK;
    mtk_model_destroy(m);
    ck_assert(!mtk_path_exists(CORPUS "good.tar.gz!"));
  }
  ck_assert(read);
}
END_TEST

int main(void) {
  const TTest *const tests[] = {
      looks_like_a_folder,  lists_folders, refuses_names,
      files_keep_the_mount, reads_zip64,   limits_expansion,
      hostile_bytes,        allocations_fail,
  };
  return run_format_tests("archive", tests, sizeof tests / sizeof tests[0]);
}
