/* torch.h: inside of the PyTorch plugin. Nothing is shared between calls; any thread. */
#ifndef MTK_FORMAT_TORCH_H
#define MTK_FORMAT_TORCH_H

#include "pickle.h"

mtk_status torch_read_model(mtk_model *model, const char *path, mtk_error *err);
/* The same from bytes that outlive the model. */
mtk_status torch_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                            mtk_error *err);

/* flatten.c: the tensors in a value as tensors of the model, named by the keys on their way, joined
 * by dots. What is no tensor is listed in a warning. */
mtk_status torch_flatten(mtk_model *model, mtk_arena *arena, const pk_value *value,
                         const char *path, mtk_error *err);

#endif
