/* llama2c_fuzz.c: any bytes as a checkpoint, whose tensors' first and last rows are read, and as a
 * tokenizer, which is written again. Single-threaded. */
#include <mtk/registry.h>

#include "llama2c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_rows(const mtk_tensor *t) {
  mtk_error err;
  const void *row;
  int64_t rows = mtk_tensor_rows(t);
  void *buf = mtk_alloc(mtk_tensor_row_bytes(t), 1);
  if (buf) {
    (void)mtk_tensor_fetch(&row, t, 0, 1, buf, &err);
    (void)mtk_tensor_fetch(&row, t, rows - 1, 1, buf, &err);
  }
  mtk_free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mtk_error err;
  mtk_vocab *vocab = NULL;
  mtk_bytes text = {0};
  mtk_model *model = mtk_plugins_load(&err) == MTK_OK ? mtk_model_create() : NULL;
  if (!model) return 0;
  if (llama2c_read_bytes(model, data, size, "fuzz", &err) == MTK_OK)
    for (size_t i = 0; i < mtk_model_tensor_count(model); i++)
      read_rows(mtk_model_tensor_at(model, i));
  if (llama2c_read_tokenizer(&vocab, data, size, "fuzz", &err) == MTK_OK)
    (void)llama2c_write_tokenizer(&text, vocab, &err);
  mtk_bytes_finish(&text);
  mtk_vocab_destroy(vocab);
  mtk_model_destroy(model);
  return 0;
}
