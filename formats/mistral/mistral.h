/* mistral.h: inside of the Mistral plugin (params.json + consolidated.* + tekken.json or
 * tokenizer.model.*, and lora.safetensors). Tensor files are opened and written through the plugin
 * that knows them ("hf" for safetensors, "torch" for .pth); here they only change names, scales and
 * hyperparameters. Nothing here is shared between threads: each call has its own state. */
#ifndef MTK_FORMAT_MISTRAL_H
#define MTK_FORMAT_MISTRAL_H

#include <mtk/ext/arch.h>
#include <mtk/ext/format.h>
#include <mtk/plugin.h>

#define MISTRAL_PARAMS  "params.json"
#define MISTRAL_SINGLE  "consolidated.safetensors"
#define MISTRAL_TORCH   "consolidated.00.pth"
#define MISTRAL_LORA    "lora.safetensors"

enum { MISTRAL_MAX_TEXT = 64 << 20, MISTRAL_MAX_NAME = 160 };

/* ---- names.c: "layers.3.attention.wq.weight" <-> "blk.3.attn_q.weight" ---------------------- */

/* NULL for names that the table does not have. Result in the caller's buffer. */
const char *mistral_name_from(char *buf, size_t size, const char *native);
const char *mistral_name_to(char *buf, size_t size, const char *name);

/* ---- params.c: params.json <-> hyperparameters ---------------------------------------------- */

/* Sets the architecture and the hyperparameters, and keeps the text as attachment "params.json". */
mtk_status mistral_read_params(mtk_model *model, const char *text, size_t n, mtk_error *err);
/* From the attached original (if any), with what the table names overwritten. */
mtk_status mistral_write_params(mtk_bytes *out, const mtk_model *model, mtk_error *err);

/* ---- tensors.c: a model under native names <-> the canonical one ---------------------------- */

/* Add the tensors of raw, which must live as long as model, under canonical names: scales beside
 * FP8 weights become part of them. */
mtk_status mistral_adopt(mtk_model *model, const mtk_model *raw, mtk_error *err);
/* Fill flat (empty) with the tensors of model under native names; model outlives it. */
mtk_status mistral_flatten(mtk_model *flat, mtk_model *model, mtk_error *err);

/* ---- folder.c, tokenizer.c, adapter.c -------------------------------------------------------- */

mtk_status mistral_read_model(mtk_model *model, const char *path, mtk_error *err);
mtk_status mistral_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                               mtk_error *err);
/* tekken.json, or tokenizer.model with or without a version. */
mtk_status mistral_read_tokenizer(mtk_model *model, const char *folder, mtk_error *err);
mtk_status mistral_write_tokenizer(mtk_model *model, const char *folder, mtk_error *err);
mtk_status mistral_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err);
mtk_status mistral_write_adapter(const mtk_adapter *adapter, const mtk_model *base,
                                 const char *path, const mtk_write_options *options,
                                 mtk_error *err);

/* Text of a file; *text is heap memory. Absent: MTK_OK and NULL. */
mtk_status mistral_read_text(char **text, size_t *n, const char *folder, const char *name,
                             mtk_error *err);
mtk_status mistral_write_text(const char *folder, const char *name, const char *text, size_t n,
                              mtk_error *err);
/* Open a file of tensors as a model under the file's own names. */
mtk_status mistral_open_tensors(mtk_model **raw, const char *folder, const char *name,
                                mtk_error *err);

#endif
