/* test_registry.c: which plugins are loaded and which are refused, with what reason; formats chosen
 * by content and by name; provenance. Wrong plugins are copies of a good one with bytes changed in
 * its abi block. */
#include "plug/plug_impl.h"
#include "run_suite.h"

#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUILT_IN MTK_BUILD_DIR "/lib/mtk/plugins/"

static char folder[] = "/tmp/mtk-registry-XXXXXX";
static mtk_error err;

static char *in_folder(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void make_folder(void) {
  strncpy(strrchr(folder, '-') + 1, "XXXXXX", 7);
  ck_assert_ptr_nonnull(mkdtemp(folder));
  memset(&err, 0, sizeof err);
}

static void remove_folder(void) {
  static const char *const names[] = {"quant-weights.so", "other.so", "text.so", "empty", "a.bin"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlink(in_folder(names[i]));
  rmdir(folder);
}

/* Copy a built plugin to `to`, with `n` bytes at `offset` of its abi block replaced. */
static void copy_plugin(const char *to, size_t offset, const void *bytes, size_t n) {
  mtk_file *f = NULL;
  ck_assert_int_eq(mtk_file_open(&f, BUILT_IN "quant-weights.so", &err), MTK_OK);
  uint8_t *copy = mtk_alloc(f->size, 1);
  memcpy(copy, f->data, f->size);
  uint8_t head[8] = {'M', 'T', 'K', '1', MTK_ABI_MAJOR, 0, MTK_ABI_MINOR, 0};
  uint8_t *abi = memmem(copy, f->size, head, sizeof head);
  ck_assert_ptr_nonnull(abi);
  memcpy(abi + offset, bytes, n);
  ck_assert_int_eq(mtk_write_file(to, copy, f->size, true, &err), MTK_OK);
  mtk_file_close(f);
  mtk_free(copy);
}

static bool have_files(void) {
  if (mtk_path_exists(BUILT_IN "quant-weights.so")) return true;
  fprintf(stderr, "SKIP: plugins are linked in, there is no .so file to change\n");
  return false;
}

/* ---- loading ------------------------------------------------------------------------------ */

START_TEST(built_in_plugins_load) {
  ck_assert_int_eq(mtk_plugins_load(&err), MTK_OK);
  size_t n = mtk_plugin_count();
  ck_assert_int_eq(mtk_plugins_load(&err), MTK_OK);
  ck_assert_uint_eq(mtk_plugin_count(), n); /* again: nothing happens */
  bool found = false;
  for (size_t i = 0; i < n; i++) {
    const mtk_plugin_info *info = mtk_plugin_at(i);
    ck_assert_msg(!info->refused, "%s: %s", info->name, info->refused);
    ck_assert_uint_eq(strlen(mtk_plugin_sha256(info)), 64);
    found |= strcmp(info->name, "quant-weights") == 0;
  }
  ck_assert(found);
  ck_assert_ptr_null(mtk_plugin_at(n));
  ck_assert_ptr_nonnull(mtk_quantizer_find("rtn"));
  ck_assert_ptr_null(mtk_quantizer_find("no-such"));
  ck_assert_str_eq(mtk_arch_find("llama")->id, "llama");
  ck_assert_str_eq(mtk_arch_find_hf("MistralForCausalLM")->id, "llama");
  ck_assert_str_eq(mtk_arch_find_gguf("qwen2")->id, "qwen2");
  ck_assert_ptr_null(mtk_arch_find_hf("GPT2LMHeadModel"));
  ck_assert_ptr_null(mtk_feature_find("mtk.no-such/1", "rtn"));
}
END_TEST

static const uint32_t wrong_magic = 0x12345678, swapped_magic = 0x4D544B31;
static const uint16_t major_two = 2, minor_99 = 99;
static const uint8_t four = 4;
static const uint64_t other_layout = 7;
static const struct {
  size_t offset, n;
  const void *bytes;
  const char *says;
} changes[] = {
    {offsetof(mtk_abi_block, magic), 4, &wrong_magic, "no mtk plugin: magic 12345678"},
    {offsetof(mtk_abi_block, magic), 4, &swapped_magic, "byte order"},
    {offsetof(mtk_abi_block, major), 2, &major_two, "ABI major 2, this host has 1"},
    {offsetof(mtk_abi_block, minor), 2, &minor_99, "ABI 1.99, this host has only 1.0"},
    {offsetof(mtk_abi_block, pointer_size), 1, &four, "pointers of 4 bytes"},
    {offsetof(mtk_abi_block, layout_hash), 8, &other_layout, "struct layout 0000000000000007"},
};

START_TEST(wrong_abi_is_refused) {
  if (!have_files()) return;
  const mtk_plugin_info *info = NULL;
  copy_plugin(in_folder("quant-weights.so"), changes[_i].offset, changes[_i].bytes, changes[_i].n);
  mtk_status status = mtk_plugin_load_file(&info, in_folder("quant-weights.so"), &err);
  ck_assert_int_eq(status, MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, changes[_i].says), "%s", err.message);
  ck_assert_msg(strstr(info->refused, changes[_i].says), "%s", info->refused);
  ck_assert_ptr_null(info->entry);
  ck_assert_ptr_null(mtk_quantizer_find("rtn"));
}
END_TEST

START_TEST(unchanged_copy_loads) {
  if (!have_files()) return;
  const mtk_plugin_info *info = NULL;
  uint32_t magic = MTK_ABI_MAGIC;
  copy_plugin(in_folder("quant-weights.so"), 0, &magic, 4);
  ck_assert_int_eq(mtk_plugin_load_file(&info, in_folder("quant-weights.so"), &err), MTK_OK);
  ck_assert_ptr_null(info->refused);
  ck_assert_str_eq(info->license, "Apache-2.0");
  ck_assert_ptr_nonnull(mtk_quantizer_find("rtn"));
}
END_TEST

START_TEST(other_files_are_refused) {
  if (!have_files()) return;
  const mtk_plugin_info *info = NULL;
  uint32_t magic = MTK_ABI_MAGIC;
  copy_plugin(in_folder("other.so"), 0, &magic, 4);
  ck_assert_int_eq(mtk_plugin_load_file(&info, in_folder("other.so"), &err), MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, "'quant-weights', its file says 'other'"), "%s", err.message);
  ck_assert_int_eq(mtk_write_file(in_folder("text.so"), "hello", 5, true, &err), MTK_OK);
  ck_assert_int_eq(mtk_plugin_load_file(&info, in_folder("text.so"), &err), MTK_E_UNSUPPORTED);
  ck_assert_int_eq(mtk_plugin_load_file(&info, in_folder("none.so"), &err), MTK_E_NOT_FOUND);
}
END_TEST

START_TEST(search_path) {
  if (!have_files()) return;
  uint32_t magic = MTK_ABI_MAGIC;
  copy_plugin(in_folder("quant-weights.so"), 0, &magic, 4);
  ck_assert_int_eq(mkdir(in_folder("empty"), 0700), 0);
  setenv("MTK_PLUGIN_DIR", in_folder("empty"), 1);
  char list[512];
  snprintf(list, sizeof list, ":/no/such/folder:%s:" MTK_BUILD_DIR "/lib/mtk/plugins", folder);
  setenv("MTK_PLUGIN_PATH", list, 1);
  ck_assert_int_eq(mtk_plugins_load(&err), MTK_OK);
  ck_assert_str_eq(mtk_plugin_at(0)->path, in_folder("quant-weights.so")); /* the first one wins */
  size_t n = 0;
  for (size_t i = 0; i < mtk_plugin_count(); i++)
    n += strcmp(mtk_plugin_at(i)->name, "quant-weights") == 0;
  ck_assert_uint_eq(n, 1);
  const mtk_plugin_info *info = NULL; /* the same name from another place */
  mtk_status status = mtk_plugin_load_file(&info, BUILT_IN "quant-weights.so", &err);
  ck_assert_int_eq(status, MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, "already taken"), "%s", err.message);
  rmdir(in_folder("empty"));
}
END_TEST

/* ---- entries --------------------------------------------------------------------------------- */

static const size_t tiny_feature[2] = {sizeof tiny_feature, 0};
static mtk_status do_init(const mtk_host *host, mtk_error *e) {
  (void)e;
  return host->struct_size > 1000 ? MTK_OK : MTK_E_INTERNAL;
}
static const void *get_tiny(const char *id, size_t index) {
  return index == 0 && strcmp(id, MTK_EXT_FORMAT) == 0 ? tiny_feature : NULL;
}

/* A format from before members were appended. */
static const mtk_format_v1 old_format = {.struct_size = offsetof(mtk_format_v1, keeps), .id = "x"};
static const void *get_old(const char *id, size_t index) {
  return index == 0 && strcmp(id, MTK_EXT_FORMAT) == 0 ? &old_format : NULL;
}

START_TEST(entries) {
  const mtk_plugin_entry_t good = {
      .abi = {MTK_ABI_MAGIC, MTK_ABI_MAJOR, MTK_ABI_MINOR, sizeof(void *), {0}, MTK_LAYOUT_HASH},
      .struct_size = sizeof good,
      .name = "x",
      .version = "1.0.0",
      .description = "test",
      .license = "MIT",
      .init = do_init,
      .get = get_tiny,
  };
  mtk_refusal r;
  ck_assert(mtk_plugin_entry_fits(&r, &good, "x"));
  ck_assert_int_eq(good.init(mtk_host_get(), NULL), MTK_OK);
  ck_assert(!mtk_plugin_features_fit(&r, &good));
  ck_assert_msg(strstr(r.why, "mtk.format/1 number 0 has 16 bytes"), "%s", r.why);
  mtk_plugin_entry_t old = good;
  old.get = get_old;
  ck_assert_msg(mtk_plugin_features_fit(&r, &old), "%s", r.why);
  mtk_tensor any = {.name = "any"};
  ck_assert(mtk_format_keeps(&old_format, &any));
  mtk_plugin_entry_t bad = good;
  bad.struct_size = 24;
  ck_assert(!mtk_plugin_entry_fits(&r, &bad, "x"));
  ck_assert_msg(strstr(r.why, "entry of 24 bytes"), "%s", r.why);
  bad = good;
  bad.license = NULL;
  ck_assert(!mtk_plugin_entry_fits(&r, &bad, "x"));
  ck_assert(!mtk_plugin_entry_fits(&r, &good, "y"));
}
END_TEST

START_TEST(host_table_is_full) {
  const mtk_host *host = mtk_host_get();
  ck_assert_uint_eq(host->struct_size, sizeof *host);
  ck_assert_uint_eq(host->major, MTK_ABI_MAJOR);
#define CHECK_ROW(ret, name, args, attr) ck_assert_msg(host->name == mtk_##name, #name);
  MTK_HOST_FUNCTIONS(CHECK_ROW)
#undef CHECK_ROW
}
END_TEST

/* ---- formats ------------------------------------------------------------------------------- */

START_TEST(formats_without_plugins) {
  const mtk_format_v1 *f = NULL;
  ck_assert_int_eq(mtk_write_file(in_folder("a.bin"), "abc", 3, true, &err), MTK_OK);
  mtk_status status = mtk_format_probe(&f, in_folder("a.bin"), MTK_FORMAT_MODEL, &err);
  ck_assert_int_eq(status, MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, "no plugin that reads a model"), "%s", err.message);
}
END_TEST

START_TEST(formats_by_content) {
  const mtk_format_v1 *f = NULL;
  mtk_model *m = NULL;
  ck_assert_int_eq(mtk_plugins_load(&err), MTK_OK);
  ck_assert_int_eq(mtk_model_load(&m, in_folder("none"), &err), MTK_E_NOT_FOUND);
  ck_assert_int_eq(mtk_write_file(in_folder("a.bin"), "abc", 3, true, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_load(&m, in_folder("a.bin"), &err), MTK_E_FORMAT);
  ck_assert_msg(strstr(err.message, "it starts with 61 62 63"), "%s", err.message);
  ck_assert_msg(strstr(err.message, "gguf"), "%s", err.message);
  ck_assert_int_eq(mtk_write_file(in_folder("a.bin"), "", 0, true, &err), MTK_OK);
  ck_assert_int_eq(mtk_format_probe(&f, in_folder("a.bin"), MTK_FORMAT_MODEL, &err), MTK_E_FORMAT);
  ck_assert_msg(strstr(err.message, "it is empty"), "%s", err.message);
  unlink(in_folder("a.bin"));
  ck_assert_int_eq(mtk_format_probe(&f, folder, MTK_FORMAT_MODEL, &err), MTK_E_FORMAT);
  ck_assert_msg(strstr(err.message, "folder holds no known file"), "%s", err.message);
}
END_TEST

static const struct {
  const char *path, *format;
} outputs[] = {{"x/a.gguf", "gguf"}, {"x/folder", "hf"},   {"Qwen2.5-7B", "hf"},
               {"x.d/model", "hf"},  {"a.ggfu", NULL}};

START_TEST(formats_by_name) {
  ck_assert_int_eq(mtk_plugins_load(&err), MTK_OK);
  const mtk_format_v1 *f = mtk_format_for_output(outputs[_i].path);
  ck_assert_pstr_eq(f ? f->id : NULL, outputs[_i].format);
}
END_TEST

/* ---- provenance ---------------------------------------------------------------------------- */

START_TEST(provenance) {
  ck_assert_int_eq(mtk_plugins_load(&err), MTK_OK);
  ck_assert_ptr_nonnull(mtk_quantizer_find("rtn"));
  ck_assert_int_eq(mtk_write_file(in_folder("a.bin"), "abc", 3, true, &err), MTK_OK);
  const char *args[] = {"--to", "nv\"fp4"}, *sources[2] = {in_folder("a.bin"), NULL};
  char with_slash[300];
  snprintf(with_slash, sizeof with_slash, "%s/", folder);
  char *one = mtk_strdup(sources[0]);
  sources[0] = one;
  sources[1] = with_slash;
  mtk_bytes a = {0}, b = {0};
  ck_assert_int_eq(mtk_provenance_json(&a, "quantize", 2, args, sources, 2, &err), MTK_OK);
  ck_assert_int_eq(mtk_provenance_json(&b, "quantize", 2, args, sources, 2, &err), MTK_OK);
  ck_assert_str_eq(a.data, b.data);
  const char *abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  const char *first = strstr(a.data, abc);
  ck_assert(first && strstr(first + 1, abc)); /* the file, and the file in the folder */
  ck_assert_ptr_nonnull(strstr(a.data, "nv\\\"fp4"));
  ck_assert_ptr_nonnull(strstr(a.data, "\"quant-weights\""));
  ck_assert_ptr_null(strstr(a.data, "\"arch-decoder\"")); /* loaded, but took no part */
  sources[1] = "/no/such";
  mtk_bytes_clear(&a);
  ck_assert_int_eq(mtk_provenance_json(&a, "x", 0, NULL, sources, 2, &err), MTK_E_NOT_FOUND);
  mtk_bytes_finish(&a);
  mtk_bytes_finish(&b);
  mtk_free(one);
}
END_TEST

int main(void) {
  Suite *s = suite_create("registry");
  TCase *c = tcase_create("registry");
  tcase_add_checked_fixture(c, make_folder, remove_folder);
  tcase_add_test(c, built_in_plugins_load);
  tcase_add_loop_test(c, wrong_abi_is_refused, 0, (int)(sizeof changes / sizeof changes[0]));
  tcase_add_test(c, unchanged_copy_loads);
  tcase_add_test(c, other_files_are_refused);
  tcase_add_test(c, search_path);
  tcase_add_test(c, entries);
  tcase_add_test(c, host_table_is_full);
  tcase_add_test(c, formats_without_plugins);
  tcase_add_test(c, formats_by_content);
  tcase_add_loop_test(c, formats_by_name, 0, (int)(sizeof outputs / sizeof outputs[0]));
  tcase_add_test(c, provenance);
  suite_add_tcase(s, c);
  return run_suite(s);
}
