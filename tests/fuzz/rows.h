/* fuzz/rows.h: what the fuzz targets of file formats do with a model that could be read. */
#ifndef MTK_TESTS_FUZZ_ROWS_H
#define MTK_TESTS_FUZZ_ROWS_H

#include <mtk/model.h>

/* Fetch the first and last row of every tensor, as it is stored and as f32. */
static inline void fuzz_read_rows(const mtk_model *model) {
  mtk_error err;
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    int64_t rows = t->size_bytes ? mtk_tensor_rows(t) : 0;
    if (rows == 0 || mtk_tensor_row_bytes(t) > 1 << 20) continue;
    void *buf = mtk_alloc(mtk_tensor_row_bytes(t), 1);
    float *values = mtk_alloc((size_t)mtk_tensor_row_elems(t), sizeof *values);
    const void *row;
    for (int last = 0; buf && values && last < 2; last++) {
      (void)mtk_tensor_fetch(&row, t, last ? rows - 1 : 0, 1, buf, &err);
      (void)mtk_tensor_fetch_f32(values, t, last ? rows - 1 : 0, 1, buf, &err);
    }
    mtk_free(values);
    mtk_free(buf);
  }
}

#endif
