/* tests/unit/format_util.h: what the tests of file formats share: models through the registry,
 * golden sums, a scratch folder, files cut and spoiled. */
#ifndef MTK_TESTS_FORMAT_UTIL_H
#define MTK_TESTS_FORMAT_UTIL_H

#include <mtk/registry.h>

#include <check.h>

#define GOLDEN MTK_SOURCE_DIR "/tests/golden/formats/"

/* Plugins loaded, scratch folder made; and the folder removed with all in it. */
void format_setup(void);
void format_teardown(void);
/* A path in the scratch folder; static memory of four rotating buffers. */
const char *scratch(const char *name);

/* Read with a format by id; aborts the test on failure, or (load_fails) unless it fails, and then
 * returns the error, whose message must not be empty. */
mtk_model *load(const char *format, const char *path);
mtk_error load_fails(const char *format, const char *path);
/* Write with a format; options as "name=value" or NULL. */
void save(const char *format, mtk_model *model, const char *path, const char *option);

/* PATH is read and holds what PATH.sha256 says. */
void check_reads(const char *format, const char *path);
/* What is read from path and written as `name` is read again with the same tensors, and written
 * again with the same bytes. */
void check_rewrites(const char *format, const char *path, const char *name, bool ordered);
/* main() of a test program: each test with the set-up above. */
int run_format_tests(const char *name, const TTest *const *tests, size_t n);

/* Every line of FILE.sha256: the tensor exists with that shape and those f32 values. */
void check_sums(const mtk_model *model, const char *sums_path);
/* Same tensors, same order (if `ordered`), types, shapes, bytes and scales. */
void check_same_tensors(const mtk_model *a, const mtk_model *b, bool ordered);
/* All bytes of a tensor in storage type; caller frees. */
uint8_t *tensor_bytes(const mtk_tensor *t);
bool has_warning(const mtk_model *model, const char *part);

/* Whole file in heap memory (mtk_free), and back. */
uint8_t *read_bytes(const char *path, size_t *n);
void write_bytes(const char *path, const void *data, size_t n);
bool same_files(const char *a, const char *b);

/* Load every prefix of a file (in steps) and the file with single bytes changed: nothing may crash,
 * each failure must have a message. */
void check_cut_and_spoiled(const char *format, const char *path, const char *suffix);
/* Load with the n-th allocation failing, for all n: MTK_E_NOMEM each time, until it succeeds. */
void check_alloc_failures(const char *format, const char *path);
/* The same for writing the model of `source` (format "hf") to `path`; nothing may be left there. */
void check_write_alloc_failures(const char *format, const char *source, const char *path);
/* The cases of MTK_TEST_DATA/malformed of one folder; says SKIP when the data is absent. */
void check_malformed(const char *format, const char *folder);

#endif
