/* text_util.c: see the header. */
#include "text_util.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_read_file(const char *path, size_t *n) {
  mtk_file *file;
  mtk_error err;
  ck_assert_msg(mtk_file_open(&file, path, &err) == MTK_OK, "%s: %s", err.place, err.message);
  char *text = mtk_strndup(file->data ? (const char *)file->data : "", file->size);
  ck_assert_ptr_nonnull(text);
  *n = file->size;
  mtk_file_close(file);
  return text;
}

char *text_read_golden(const char *name, size_t *n) {
  char path[512];
  snprintf(path, sizeof path, "%s/tests/golden/text/%s", MTK_SOURCE_DIR, name);
  return text_read_file(path, n);
}

char *text_read_data(const char *name, size_t *n) {
  const char *folder = getenv("MTK_TEST_DATA");
  if (!folder || !*folder) {
    printf("SKIP %s: MTK_TEST_DATA is not set\n", name);
    return NULL;
  }
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return text_read_file(path, n);
}

json_t *text_next_line(const char **at) {
  json_t *value = NULL;
  while (**at && !value) {
    size_t n = strcspn(*at, "\n");
    json_error_t problem;
    value = json_loadb(*at, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (!value) {
      ck_assert_msg(json_error_code(&problem) == json_error_null_byte_in_key, "%s: %.*s",
                    problem.text, (int)n, *at);
      printf("SKIP %.60s...: jansson takes no NUL byte in a key\n", *at);
    }
    *at += n + ((*at)[n] == '\n');
  }
  return value;
}

mtk_tokenizer *text_make_tokenizer(const char *json, size_t n, const char *config,
                                   size_t config_n) {
  mtk_vocab *vocab;
  mtk_tokenizer *tok;
  mtk_error err;
  ck_assert_msg(mtk_vocab_from_hf(&vocab, json, n, config, config_n, &err) == MTK_OK, "%s: %s",
                err.place, err.message);
  ck_assert_msg(mtk_tokenizer_create(&tok, vocab, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  mtk_vocab_destroy(vocab);
  return tok;
}

bool text_same_ids(const mtk_ids *ids, const json_t *array) {
  if (ids->len != json_array_size(array)) return false;
  for (size_t i = 0; i < ids->len; i++) {
    if (ids->data[i] != json_integer_value(json_array_get(array, i))) return false;
  }
  return true;
}
