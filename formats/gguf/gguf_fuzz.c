/* gguf_fuzz.c: any bytes as a GGUF file: as a model whose tensors' first and last rows are
 * read, and as an adapter. Single-threaded. */
#include <mtk/registry.h>

#include "gguf.h"
#include "fuzz/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mtk_error err;
  mtk_model *model = mtk_plugins_load(&err) == MTK_OK ? mtk_model_create() : NULL;
  if (!model) return 0;
  if (gguf_read_bytes(model, data, size, "fuzz", NULL, &err) == MTK_OK) fuzz_read_rows(model);
  mtk_model_destroy(model);
  mtk_adapter *adapter = mtk_adapter_create();
  if (adapter) (void)gguf_read_adapter_bytes(adapter, data, size, "fuzz", &err);
  mtk_adapter_destroy(adapter);
  return 0;
}
