/* npz_fuzz.c: any bytes as a NumPy file whose tensors' first and last rows are read.
 * Single-threaded. */
#include <mtk/registry.h>

#include "npz.h"
#include "fuzz/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mtk_error err;
  mtk_model *model = mtk_plugins_load(&err) == MTK_OK ? mtk_model_create() : NULL;
  if (!model) return 0;
  if (npz_read_bytes(model, data, size, "fuzz", &err) == MTK_OK)
    fuzz_read_rows(model);
  mtk_model_destroy(model);
  return 0;
}
