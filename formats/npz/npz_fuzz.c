/* npz_fuzz.c: any bytes as a NumPy file whose tensors' first and last rows are read.
 * Single-threaded. */
#include <mtk/registry.h>

#include "npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_rows(const mtk_tensor *t) {
  mtk_error err;
  int64_t rows = t->size_bytes ? mtk_tensor_rows(t) : 0;
  if (rows == 0 || mtk_tensor_row_bytes(t) > 1 << 20) return;
  const void *row;
  void *buf = mtk_alloc(mtk_tensor_row_bytes(t), 1);
  if (buf) {
    (void)mtk_tensor_fetch(&row, t, 0, 1, buf, &err);
    (void)mtk_tensor_fetch(&row, t, rows - 1, 1, buf, &err);
  }
  mtk_free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mtk_error err;
  mtk_model *model = mtk_plugins_load(&err) == MTK_OK ? mtk_model_create() : NULL;
  if (!model) return 0;
  if (npz_read_bytes(model, data, size, "fuzz", &err) == MTK_OK)
    for (size_t i = 0; i < mtk_model_tensor_count(model); i++)
      read_rows(mtk_model_tensor_at(model, i));
  mtk_model_destroy(model);
  return 0;
}
