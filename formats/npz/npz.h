/* npz.h: inside of the NumPy plugin (.npy arrays and .npz files of them). Nothing is shared between
 * calls; any thread. */
#ifndef MTK_FORMAT_NPZ_H
#define MTK_FORMAT_NPZ_H

#include <mtk/ext/format.h>
#include <mtk/plugin.h>

/* ---- npy.c: one array ---------------------------------------------------------------------- */

typedef struct npy_array {
  mtk_dtype dtype;
  bool big_endian, fortran_order;
  int n_dims;
  int64_t shape[MTK_MAX_DIMS];
  const uint8_t *data; /* borrowed */
  uint64_t size_bytes;
} npy_array;
/* Header and range of an array; MTK_E_UNSUPPORTED names a type that is no number. */
mtk_status npy_parse(npy_array *out, const uint8_t *data, size_t size, const char *path,
                     mtk_error *err);
/* The header (version 1.0, padded so that the values lie at a multiple of 64) of a C-ordered array.
 * dtype: one that npy_descr knows. */
mtk_status npy_header(mtk_bytes *out, mtk_dtype dtype, int n_dims, const int64_t *shape,
                      mtk_error *err);
/* "<f4" for a type; NULL where NumPy has none. */
const char *npy_descr(mtk_dtype dtype);

/* ---- read.c, write.c ----------------------------------------------------------------------- */

mtk_status npz_read_model(mtk_model *model, const char *path, mtk_error *err);
/* The same from bytes that outlive the model. */
mtk_status npz_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                          mtk_error *err);
mtk_status npz_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                           mtk_error *err);
bool npz_keeps(const mtk_tensor *t);

#endif
