/* plugin_new.c: plugin skeletons as text; @NAME@ is the plugin's name. */
#include "plugin_new.h"

#include <string.h>

static const char g_makefile[] =
    "# Builds @NAME@.so against the installed mtk headers: make, make check.\n"
    "MTK_INCLUDE ?= $(shell pkg-config --variable=includedir mtk 2>/dev/null || echo "
    "/usr/local/include)\n"
    "MTK ?= mtk\n"
    "CFLAGS ?= -O2 -g -Wall -Wextra\n"
    "\n"
    "@NAME@.so: @NAME@.c\n"
    "\t$(CC) -std=c17 $(CFLAGS) -fPIC -fvisibility=hidden -DMTK_PLUGIN_BUILD -I$(MTK_INCLUDE) \\\n"
    "\t  -shared -o $@ $<\n"
    "\n"
    "check: @NAME@.so\n"
    "\t$(MTK) plugin check $<\n"
    "\tMTK=$(MTK) sh ./test.sh\n"
    "\n"
    "clean:\n"
    "\trm -f @NAME@.so\n"
    "\n"
    ".PHONY: check clean\n";

static const char g_readme[] =
    "# @NAME@\n\n"
    "A plugin for mtk (ABI 1). `make` builds `@NAME@.so`, `make check` loads and tests it.\n"
    "Use it with `MTK_PLUGIN_PATH=$PWD mtk ...`, or copy it into mtk's plugin folder.\n"
    "Set MTK_INCLUDE to the folder that holds `mtk/plugin.h` if pkg-config does not know mtk.\n";

static const char g_format_c[] =
    "/* @NAME@.c: a file format for mtk: one line \"@NAME@ 1\", then lines \"key value\". */\n"
    "#include <mtk/ext/format.h>\n"
    "#include <mtk/plugin.h>\n\n"
    "#include <string.h>\n\n"
    "static const char g_magic[] = \"@NAME@ 1\\n\";\n\n"
    "static int probe(const char *path, const uint8_t *head, size_t n) {\n"
    "  (void)path;\n"
    "  return n >= sizeof g_magic - 1 && !memcmp(head, g_magic, sizeof g_magic - 1) ? 100 : 0;\n"
    "}\n\n"
    "/* Every \"key value\" line becomes metadata; add tensors with mtk_model_add_tensor. */\n"
    "static mtk_status read_model(mtk_model *model, const char *path, mtk_error *err) {\n"
    "  const mtk_file *file;\n"
    "  MTK_TRY(mtk_model_open_file(&file, model, path, err));\n"
    "  mtk_status st = MTK_OK;\n"
    "  const char *text = (const char *)file->data;\n"
    "  size_t at = sizeof g_magic - 1;\n"
    "  while (at < file->size && st == MTK_OK) {\n"
    "    const char *nl = memchr(text + at, '\\n', file->size - at);\n"
    "    size_t end = nl ? (size_t)(nl - text) : file->size;\n"
    "    const char *blank = memchr(text + at, ' ', end - at);\n"
    "    if (!blank) return mtk_fail_at(err, MTK_E_FORMAT, path, at, \"expected 'key value'\");\n"
    "    char *key = mtk_strndup(text + at, (size_t)(blank - (text + at)));\n"
    "    char *value = mtk_strndup(blank + 1, end - (size_t)(blank + 1 - text));\n"
    "    st = key && value ? mtk_meta_set_string(mtk_model_meta(model), key, value, err)\n"
    "                      : mtk_fail(err, MTK_E_NOMEM, path, \"out of memory\");\n"
    "    mtk_free(key);\n"
    "    mtk_free(value);\n"
    "    at = end + 1;\n"
    "  }\n"
    "  return st;\n"
    "}\n\n"
    "static const mtk_format_v1 g_format = {.struct_size = sizeof g_format,\n"
    "                                       .id = \"@NAME@\",\n"
    "                                       .title = \"@NAME@ text\",\n"
    "                                       .extensions = \"@NAME@\",\n"
    "                                       .flags = MTK_FORMAT_MODEL,\n"
    "                                       .probe = probe,\n"
    "                                       .read_model = read_model};\n\n"
    "MTK_PLUGIN_DEFINE(\"@NAME@\", \"0.1.0\", \"the @NAME@ format\", \"Apache-2.0\",\n"
    "                  {MTK_EXT_FORMAT, &g_format});\n";

static const char g_format_test[] =
    "#!/bin/sh\n"
    "# Reads a file of the new format through mtk, and sees a bad one refused.\n"
    "set -eu\n"
    "export MTK_PLUGIN_PATH=\"$PWD\"\n"
    "tmp=$(mktemp -d)\n"
    "trap 'rm -rf \"$tmp\"' EXIT\n"
    "printf '@NAME@ 1\\ngeneral.name hello\\n' > \"$tmp/a.@NAME@\"\n"
    "\"${MTK:-mtk}\" inspect --json \"$tmp/a.@NAME@\" | grep -q '\"hello\"'\n"
    "printf '@NAME@ 1\\nbroken\\n' > \"$tmp/b.@NAME@\"\n"
    "if \"${MTK:-mtk}\" inspect \"$tmp/b.@NAME@\" 2> \"$tmp/err\"; then exit 1; fi\n"
    "grep -q \"expected 'key value'\" \"$tmp/err\"\n"
    "echo '@NAME@: 2 passed, 0 failed'\n";

static const char g_verifier_c[] =
    "/* @NAME@.c: a verifier (reward) for mtk: short answers pass. Replace `grade`; the problem's\n"
    " * row of the task file is in problem_json. */\n"
    "#include <mtk/ext/verifier.h>\n"
    "#include <mtk/plugin.h>\n\n"
    "enum { MAX_BYTES = 400 };\n\n"
    "static mtk_status grade(mtk_grade *out, const char *text, size_t n, const char "
    "*problem_json,\n"
    "                        mtk_error *err) {\n"
    "  (void)text;\n"
    "  (void)problem_json;\n"
    "  (void)err;\n"
    "  *out = n <= MAX_BYTES ? (mtk_grade){MTK_VERDICT_PASS, 1.0, \"short\"}\n"
    "                        : (mtk_grade){MTK_VERDICT_FAIL, 0.0, \"too long\"};\n"
    "  return MTK_OK;\n"
    "}\n\n"
    "static const mtk_verifier_v1 g_verifier = {sizeof g_verifier, \"@NAME@\", \"short answers\",\n"
    "                                           grade};\n\n"
    "MTK_PLUGIN_DEFINE(\"@NAME@\", \"0.1.0\", \"the @NAME@ verifier\", \"Apache-2.0\",\n"
    "                  {MTK_EXT_VERIFIER, &g_verifier});\n";

static const char g_verifier_test[] = "#!/bin/sh\n"
                                      "# The verifier is found under its name.\n"
                                      "set -eu\n"
                                      "MTK_PLUGIN_PATH=\"$PWD\" \"${MTK:-mtk}\" plugin info @NAME@ "
                                      "| grep -q 'mtk.verifier/1 @NAME@'\n"
                                      "echo '@NAME@: 1 passed, 0 failed'\n";

/* One row per kind: its source and its test. */
static const struct {
  const char *kind, *source, *test;
} g_kinds[] = {{"format", g_format_c, g_format_test}, {"verifier", g_verifier_c, g_verifier_test}};

/* text with @NAME@ replaced, as DIR/file. */
static mtk_status write_text(const char *dir, const char *file, const char *text, const char *name,
                             mtk_error *err) {
  mtk_bytes out = {0};
  const char mark[] = "@NAME@";
  for (const char *at; (at = strstr(text, mark)); text = at + sizeof mark - 1) {
    mtk_bytes_append(&out, text, (size_t)(at - text));
    mtk_bytes_puts(&out, name);
  }
  mtk_bytes_puts(&out, text);
  char *path = mtk_path_join(dir, file);
  mtk_status st =
      path ? mtk_bytes_status(&out, err) : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = mtk_write_file(path, out.data, out.len, false, err);
  mtk_free(path);
  mtk_bytes_finish(&out);
  return st;
}

static bool good_name(const char *name) {
  size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
  return n > 0 && !name[n] && n < 64 && name[0] != '-';
}

mtk_status mtk_cmd_plugin_new(const char *name, const char *kind, const char *dir, mtk_error *err) {
  if (!good_name(name))
    return mtk_fail(err, MTK_E_INVALID, NULL, "'%s': use lower-case letters, digits and '-'", name);
  size_t k = 0;
  while (strcmp(g_kinds[k].kind, kind) != 0) k++; /* the option's choices are these rows */
  mtk_outdir *out = NULL;
  MTK_TRY(mtk_outdir_create(&out, dir, false, err));
  const char *tmp = mtk_outdir_path(out);
  char *source = mtk_asprintf("%s.c", name);
  mtk_status st = source ? write_text(tmp, source, g_kinds[k].source, name, err)
                         : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = write_text(tmp, "Makefile", g_makefile, name, err);
  if (st == MTK_OK) st = write_text(tmp, "test.sh", g_kinds[k].test, name, err);
  if (st == MTK_OK) st = write_text(tmp, "README.md", g_readme, name, err);
  mtk_free(source);
  if (st != MTK_OK) {
    mtk_outdir_abort(out);
    return st;
  }
  MTK_TRY(mtk_outdir_commit(out, err));
  mtk_cmd_print("wrote %s/: build and test it with 'make -C %s check'\n", dir, dir);
  return MTK_OK;
}
