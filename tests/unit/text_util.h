/* text_util.h: reading the goldens of tokenizers and templates. */
#ifndef MTK_TEST_TEXT_UTIL_H
#define MTK_TEST_TEXT_UTIL_H

#include <jansson.h>
#include <mtk/text.h>

/* A whole file, NUL-terminated; fails the test if it is missing. Free with mtk_free. */
char *text_read_file(const char *path, size_t *n);
/* tests/golden/text/NAME. */
char *text_read_golden(const char *name, size_t *n);
/* $MTK_TEST_DATA/NAME, or NULL (and a line saying SKIP) if that is not set. */
char *text_read_data(const char *name, size_t *n);
/* The next line of a JSON lines text as a value; NULL at the end. A line that jansson cannot hold
 * (a NUL byte in a key) is skipped, and said so. */
json_t *text_next_line(const char **at);

/* A tokenizer from a tokenizer.json text (config may be NULL). */
mtk_tokenizer *text_make_tokenizer(const char *json, size_t n, const char *config, size_t config_n);
/* Whether ids equal a JSON array of integers. */
bool text_same_ids(const mtk_ids *ids, const json_t *array);

#endif
