/* keys.c: API keys: from the command line or, unseen by other users of the machine, from a file. */
#include "server.h"

#include <string.h>
#include <strings.h>

static mtk_status add_key(server *s, const char *text, size_t n, mtk_error *err) {
  char *key = mtk_strndup(text, n);
  char **grown = key ? mtk_realloc((void *)s->keys, s->n_keys, s->n_keys + 1, sizeof *grown) : NULL;
  if (!grown) {
    mtk_free(key);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  s->keys = grown;
  s->keys[s->n_keys++] = key;
  return MTK_OK;
}

/* One key a line; spaces around it and empty lines do not count. */
static mtk_status add_lines(server *s, const char *text, size_t n, mtk_error *err) {
  static const char blank[] = " \t\r";
  for (size_t at = 0; at < n;) {
    const char *eol = memchr(text + at, '\n', n - at);
    size_t begin = at, end = eol ? (size_t)(eol - text) : n;
    at = end + 1;
    while (begin < end && text[begin] && strchr(blank, text[begin])) begin++;
    while (end > begin && text[end - 1] && strchr(blank, text[end - 1])) end--;
    if (end > begin) MTK_TRY(add_key(s, text + begin, end - begin, err));
  }
  return MTK_OK;
}

mtk_status serve_keys_load(server *s, mtk_error *err) {
  const mtk_option_values *o = s->args->options;
  const char *const *items = NULL;
  size_t n = mtk_options_list(o, "api-key", &items);
  for (size_t i = 0; i < n; i++) {
    if (!items[i][0]) return mtk_fail(err, MTK_E_INVALID, NULL, "--api-key wants a key");
    MTK_TRY(add_key(s, items[i], strlen(items[i]), err));
  }
  const char *path = mtk_options_string(o, "api-key-file");
  if (!path) return MTK_OK;
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  mtk_status st = add_lines(s, (const char *)file->data, file->size, err);
  mtk_file_close(file);
  if (st == MTK_OK && !s->n_keys)
    st = mtk_fail(err, MTK_E_INVALID, path, "holds no key: one per line is wanted");
  return st;
}

void serve_keys_finish(server *s) {
  for (size_t i = 0; i < s->n_keys; i++) mtk_free(s->keys[i]);
  mtk_free((void *)s->keys);
}

/* Compares whole strings in a time that does not tell where they differ. */
static bool same_secret(const char *given, const char *key) {
  size_t n = strlen(given), n_key = strlen(key);
  unsigned diff = n != n_key;
  for (size_t i = 0; i < n; i++) diff |= (unsigned)(given[i] ^ key[i % n_key]);
  return diff == 0;
}

bool serve_authorized(const server *s, struct evhttp_request *http) {
  if (!s->n_keys) return true;
  const char *value = evhttp_find_header(evhttp_request_get_input_headers(http), "Authorization");
  bool ok = false;
  if (!value || strncasecmp(value, "Bearer ", 7) != 0) return false;
  for (size_t i = 0; i < s->n_keys; i++) ok |= same_secret(value + 7, s->keys[i]);
  return ok;
}
