/* mistral_fuzz.c: any bytes as params.json, and behind a NUL a list of tensors, one a line: name,
 * type, rows, columns (their data is one zeroed page or less). What was read is written again.
 * Single-threaded. */
#include <mtk/registry.h>

#include "mistral.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, MAX_LINE = 256, MAX_TENSORS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t page[PAGE];

/* "layers.0.attention.wq.weight f8_e4m3 16 16" */
static void add_line(mtk_model *raw, const char *line) {
  mtk_error err;
  char name[MAX_LINE], type[16] = "f32";
  size_t n = strcspn(line, " ");
  memcpy(name, line, n);
  name[n] = 0;
  mtk_tensor t = {.name = name, .data = page};
  const char *rest = line[n] ? line + n + 1 : line + n;
  size_t k = strcspn(rest, " ");
  if (k > 0 && k < sizeof type) {
    memcpy(type, rest, k);
    type[k] = 0;
  }
  t.dtype = mtk_dtype_by_name(type);
  if ((int)t.dtype < 0 || t.dtype >= MTK_DTYPE_COUNT) return;
  uint64_t bytes = mtk_dtype_get(t.dtype)->block_bytes;
  for (rest += k; *rest == ' ' && t.n_dims < 2;) {
    char *end;
    t.shape[t.n_dims] = (int64_t)(strtoul(rest, &end, 10) % 65);
    bytes *= (uint64_t)t.shape[t.n_dims++];
    rest = end;
  }
  t.size_bytes = bytes;
  if (bytes <= PAGE && mtk_dtype_get(t.dtype)->block_elems == 1)
    (void)mtk_model_add_tensor(raw, &t, &err);
}

static void add_lines(mtk_model *raw, const char *text, size_t n) {
  for (int i = 0; n > 0 && i < MAX_TENSORS; i++) {
    char line[MAX_LINE];
    const char *end = memchr(text, '\n', n);
    size_t len = end ? (size_t)(end - text) : n, kept = len < sizeof line ? len : sizeof line - 1;
    memcpy(line, text, kept);
    line[kept] = 0;
    add_line(raw, line);
    text += end ? len + 1 : len;
    n -= end ? len + 1 : len;
  }
}

static void write_again(mtk_model *model) {
  mtk_error err;
  mtk_bytes params = {0};
  mtk_model *flat = mtk_model_create(), *again = mtk_model_create();
  if (flat) (void)mistral_flatten(flat, model, &err);
  if (again && mistral_write_params(&params, model, &err) == MTK_OK)
    (void)mistral_read_params(again, params.data, params.len, &err);
  mtk_bytes_finish(&params);
  mtk_model_destroy(flat);
  mtk_model_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mtk_error err;
  if (mtk_plugins_load(&err) != MTK_OK) return 0;
  const char *text = (const char *)data, *nul = size ? memchr(text, 0, size) : NULL;
  size_t n = nul ? (size_t)(nul - text) : size;
  mtk_model *model = mtk_model_create(), *raw = mtk_model_create();
  if (model && raw) {
    if (nul) add_lines(raw, nul + 1, size - n - 1);
    mtk_status status = mistral_read_params(model, text, n, &err);
    if (status == MTK_OK) status = mistral_adopt(model, raw, &err);
    if (status == MTK_OK) write_again(model);
  }
  mtk_model_destroy(model);
  mtk_model_destroy(raw);
  return 0;
}
