/* hf.h: inside of the HF plugin (safetensors files, model folders, PEFT adapter folders). Nothing
 * here is shared between threads: each call has its own state. */
#ifndef MTK_FORMAT_HF_H
#define MTK_FORMAT_HF_H

#include <mtk/ext/arch.h>
#include <mtk/ext/format.h>
#include <mtk/plugin.h>

#include <jansson.h>

enum {
  ST_MAX_HEADER = 100000000, /* bytes, from the reference implementation */
  HF_MAX_TEXT = 64 << 20,    /* bytes of a file that is carried along */
};

/* ---- safetensors.c ------------------------------------------------------------------------- */

/* One tensor of a safetensors file. Strings live in the arena given to st_parse. */
typedef struct st_tensor {
  const char *name;
  mtk_dtype dtype;
  int n_dims;
  int64_t shape[MTK_MAX_DIMS];
  const uint8_t *data; /* borrowed from the file's bytes; NULL: only rows of `part` */
  uint64_t begin, size;
  const mtk_tensor *part; /* of a file that another format's plugin reads; else NULL */
  const char *file; /* for messages */
  bool consumed;    /* became a part of another tensor (scales) */
} st_tensor;

typedef struct st_list {
  st_tensor *items; /* in the order of their data */
  size_t n;
} st_list;

/* Check the bytes of a safetensors file whole: header, every offset, full cover without overlap.
 * metadata (may be NULL) gets a new reference to __metadata__, or NULL if there is none. */
mtk_status st_parse(st_list *out, json_t **metadata, mtk_arena *arena, const uint8_t *data,
                    size_t size, const char *path, mtk_error *err);
/* "BF16" for a type; NULL where safetensors has none. */
const char *st_dtype_name(mtk_dtype dtype);
/* The alignment that values want: the size of an element; 1 for packed ones. */
size_t st_alignment(mtk_dtype dtype);

/* ---- folder.c: files, shards ---------------------------------------------------------------- */

/* All tensors of a folder or file. by_name is sorted. */
typedef struct hf_source {
  mtk_arena *arena;
  st_list list; /* heap */
  size_t cap;
  st_tensor **by_name;
  json_t *metadata; /* of the first file */
} hf_source;
/* The weights of a folder: ".safetensors" files, or files that a plugin of another format reads as
 * bare tensors (pytorch_model.bin). */
typedef struct hf_weights {
  const char *file; /* in the arena; NULL: none */
  bool is_index;    /* it lists the files that hold them */
} hf_weights;
mtk_status hf_find_weights(hf_weights *out, mtk_arena *arena, const char *folder, mtk_error *err);
/* Maps the files; the model keeps them open. path: folder or .safetensors file. */
mtk_status hf_source_open(hf_source *out, mtk_model *model, mtk_arena *arena, const char *path,
                          mtk_error *err);
void hf_source_finish(hf_source *src);
/* Sort by name; two tensors of one name are an error. */
mtk_status hf_source_index(hf_source *src, mtk_error *err);
st_tensor *hf_source_find(const hf_source *src, const char *name);
/* "<module><suffix>" for "<module>.weight..." names; NULL if absent. */
st_tensor *hf_source_sibling(const hf_source *src, const char *module, size_t module_len,
                             const char *suffix);

/* Text of a file; *text is heap memory. Absent: MTK_OK and NULL. */
mtk_status hf_read_text(char **text, size_t *n, const char *folder, const char *name,
                        mtk_error *err);
/* A JSON object from text. `name` is the place in messages. */
mtk_status hf_load_json(json_t **out, const char *text, size_t n, const char *name, mtk_error *err);

/* texts.c: tokenizer, templates and the files that travel along; a warning names what stays. */
mtk_status hf_read_texts(mtk_model *model, mtk_arena *arena, const char *folder, mtk_error *err);

/* sentence.c: pooling and length limit of sentence-transformers, from the attached files. */
mtk_status hf_read_sentence(mtk_model *model, mtk_error *err);

/* ---- quant.c: quantized layouts ------------------------------------------------------------ */

/* Block sizes that the config states for grids of scales; 0 = not stated. */
typedef struct hf_quant_config {
  int64_t block_n, block_k;
} hf_quant_config;
void hf_quant_config_read(hf_quant_config *out, const json_t *config);
/* Mark the companions (scales) of all quantized weights as consumed. */
void hf_quant_mark(hf_source *src);
/* The canonical tensor (name not set) of a stored one. */
mtk_status hf_quant_tensor(mtk_tensor *out, mtk_model *model, const hf_source *src,
                           const st_tensor *in, const hf_quant_config *config, mtk_error *err);
/* The name that the weight of a stored tensor has: "m.weight_packed" -> "m.weight". */
mtk_status hf_quant_name(const char **out, mtk_arena *arena, const st_tensor *in, mtk_error *err);

/* Rows of mtk's fp4 blocks (dtype.h) -> rows of packed values and of block scales. */
void hf_unpack_rows(mtk_dtype dtype, uint8_t *packed, uint8_t *scales, const uint8_t *blocks,
                    size_t n_blocks);

/* ---- quantconfig.c: how weights are stored in what is written ------------------------------ */

typedef enum hf_layout {
  HF_PLAIN,   /* one tensor */
  HF_DEQUANT, /* one tensor, values converted to bf16 */
  HF_NVFP4,   /* weight_packed, weight_scale, weight_global_scale (, input_global_scale) */
  HF_MXFP4,   /* weight_packed, weight_scale */
  HF_FP8,     /* weight, weight_scale (, input_scale) */
  HF_MXFP8,   /* weight, weight_scale of E8M0 */
  HF_BLOCKS   /* gpt-oss's experts: X_blocks, X_scales (MXFP4) */
} hf_layout;
hf_layout hf_layout_of(const mtk_tensor *t);
/* A new quantization_config (compressed-tensors) of a model, or NULL when no tensor has a quantized
 * layout. hf_names[i]: name of tensor i in the folder. */
mtk_status hf_quant_config_write(json_t **out, const mtk_model *model, const char *const *hf_names,
                                 mtk_error *err);
/* JSON text with an indent of 2 and the shortest reals that keep every value. */
mtk_status hf_dump_json(mtk_bytes *out, const json_t *value, mtk_error *err);

/* ---- metadata.c: values that config.json has no place for, in __metadata__ ----------------- */

/* "general.*" and "kv.*" values of the model as strings of `out`; a warning for what cannot go. */
mtk_status hf_put_metadata(json_t *out, mtk_model *model, mtk_error *err);
mtk_status hf_get_metadata(mtk_model *model, const json_t *metadata, mtk_error *err);

/* ---- read.c, write.c, stwrite.c, peft.c ---------------------------------------------------- */

mtk_status hf_read_model(mtk_model *model, const char *path, mtk_error *err);
/* A bare safetensors file in memory; data must outlive the model. */
mtk_status hf_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                         mtk_error *err);
mtk_status hf_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                          mtk_error *err);
mtk_status hf_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err);
mtk_status hf_write_adapter(const mtk_adapter *adapter, const mtk_model *base, const char *path,
                            const mtk_write_options *options, mtk_error *err);

/* One tensor of a file to be written. write puts exactly `size` bytes. */
typedef struct st_out st_out;
struct st_out {
  const char *name;
  mtk_dtype dtype;
  int n_dims;
  int64_t shape[MTK_MAX_DIMS];
  uint64_t size;
  mtk_status (*write)(const st_out *self, mtk_output *out, void *ctx, mtk_error *err);
  const mtk_tensor *source;
  const float *values; /* small f32 tensors: their values */
};
/* Header and tensors, in the given order. metadata: strings for __metadata__; may be NULL. */
mtk_status st_write_file(const char *path, const st_out *tensors, size_t n, json_t *metadata,
                         bool force, void *ctx, mtk_error *err);
/* Stable order by falling element size, if the given order would leave a tensor misaligned. */
void st_sort_aligned(st_out *tensors, size_t n);

#endif
