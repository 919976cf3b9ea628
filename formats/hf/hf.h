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

/* What the config states: block sizes for grids of scales (0 = not stated), and in which type
 * activations are multiplied, where that is not the usual one of the weights' layout. */
typedef enum hf_acts {
  HF_ACTS_USUAL,
  HF_ACTS_NONE,
  HF_ACTS_NVFP4,
  HF_ACTS_MXFP4,
  HF_ACTS_MXFP8,
  HF_ACTS_FP8,
  HF_ACTS_INT8,
  HF_ACTS_COUNT
} hf_acts;
typedef struct hf_quant_config {
  int64_t block_n, block_k;
  hf_acts acts;
} hf_quant_config;
/* Mark the companions (scales) of all quantized weights as consumed. */
void hf_quant_mark(hf_source *src);
/* The canonical tensor (name not set) of a stored one. */
mtk_status hf_quant_tensor(mtk_tensor *out, mtk_model *model, const hf_source *src,
                           const st_tensor *in, const hf_quant_config *config, mtk_error *err);
/* The name that the weight of a stored tensor has: "m.weight_packed" -> "m.weight". */
mtk_status hf_quant_name(const char **out, mtk_arena *arena, const st_tensor *in, mtk_error *err);

bool hf_is_float(mtk_dtype d); /* f32, f16, bf16 */
int64_t hf_count_of(const st_tensor *t);
bool hf_all_zero(const st_tensor *t);
/* Blocks keep element j of a group and element j + half in one byte: NVFP4 groups of 16 (half 8),
 * the others 32 (half 16). Files keep neighbours in one, the even one in the low half. */
void hf_unpack_group(uint8_t *packed, const uint8_t *qs, size_t half);
/* Rows of mtk's fp4 blocks (dtype.h) -> rows of packed values and of block scales. */
void hf_unpack_rows(mtk_dtype dtype, uint8_t *packed, uint8_t *scales, const uint8_t *blocks,
                    size_t n_blocks);

/* ---- ints.c: integer weights under outside scales ------------------------------------------ */

/* What lies beside a weight in int32 words or int8; all but the scale may be NULL. */
typedef struct hf_int_parts {
  const st_tensor *scale, *zeros, *shape, *index;
} hf_int_parts;
mtk_status hf_int_tensor(mtk_tensor *out, mtk_arena *arena, const st_tensor *in,
                         const hf_int_parts *parts, mtk_error *err);
/* Blocks of q4_0, q4_1 or q8_0 -> packed codes counted from 0, and (q4_1) a zero point per block.
 * false: a block's own scale is not 1, or its zero point no code. */
bool hf_int_unpack(mtk_dtype dtype, uint8_t *packed, uint8_t *zeros, const uint8_t *blocks,
                   size_t n_blocks);

/* ---- cache.c: scales of the key and value cache -------------------------------------------- */

/* "blk.N.attn_k.cache_scale" and "..attn_v..": one float. */
bool hf_is_cache_scale(const mtk_tensor *t);
/* Canonical name of "<attention>.k_scale" or "<attention>.k_proj.k_scale" in buf; NULL: another
 * tensor, or no such layer. */
const char *hf_cache_name_from(char *buf, size_t size, const mtk_arch_v1 *arch, const char *name);
/* The way back; modelopt chooses the second form. */
const char *hf_cache_name_to(char *buf, size_t size, const mtk_arch_v1 *arch, const char *name,
                             bool modelopt);

/* ---- quantconfig.c: how weights are stored in what is written ------------------------------ */

typedef enum hf_layout {
  HF_PLAIN,   /* one tensor */
  HF_DEQUANT, /* one tensor, values converted to bf16 */
  HF_NVFP4,   /* weight_packed, weight_scale, weight_global_scale (, input_global_scale) */
  HF_MXFP4,   /* weight_packed, weight_scale */
  HF_FP8,     /* weight, weight_scale (, input_scale) */
  HF_MXFP8,   /* weight, weight_scale of E8M0 */
  HF_PACKED_INT, /* weight_packed, weight_scale, (weight_zero_point,) weight_shape */
  HF_INT8,       /* weight of int8, weight_scale */
  HF_BLOCKS   /* gpt-oss's experts: X_blocks, X_scales (MXFP4) */
} hf_layout;
hf_layout hf_layout_of(const mtk_tensor *t, hf_acts acts);
bool hf_keeps(const mtk_tensor *t);
/* A linear weight of the model under its name in the folder. */
bool hf_is_linear(const mtk_tensor *t, const char *hf_name);
/* "model.layers.0.mlp.up_proj.weight" -> a new string: the module's name. */
json_t *hf_module_of(const char *hf_name);

/* Whose names and config describe the quantized weights. */
typedef enum hf_style {
  HF_COMPRESSED_TENSORS,
  HF_MODELOPT, /* modelopt.c */
  HF_DEEPSEEK, /* fp8 in blocks of 128 x 128, weight_scale_inv */
  HF_STYLE_COUNT
} hf_style;

/* "hf.activations" of the model. */
hf_acts hf_acts_of(const mtk_model *model);
mtk_status hf_acts_put(mtk_model *model, hf_acts acts, mtk_error *err);
void hf_quant_config_read(hf_quant_config *out, const json_t *config);

struct hf_store;
/* The style of a folder, by the quant_method in its config.json; NULL: no config. */
hf_style hf_style_of(const json_t *config);
/* `asked`: the style that the user named, or NULL: that of the folder the model came from if it
 * fits, else compressed-tensors. original: config.json as it came, may be NULL. */
mtk_status hf_style_choose(struct hf_store *s, const char *asked, const json_t *original,
                           mtk_error *err);
/* A new quantization_config in the store's style, or NULL when no tensor has a quantized layout;
 * *file: the object of hf_quant_config.json, or NULL. */
mtk_status hf_quant_config_write(json_t **out, json_t **file, const struct hf_store *s,
                                 mtk_error *err);
bool hf_is_blocks(const struct hf_store *s, const mtk_tensor *t); /* fp8 in 128 x 128 */
/* nvfp4 with fp8 activations: ModelOpt has one scale for 32 values there. */
bool hf_has_pairs(const struct hf_store *s, const mtk_tensor *t);
/* Why ModelOpt's layout cannot hold a quantized tensor; NULL: it can. */
const char *hf_modelopt_misfit(const mtk_tensor *t, const struct hf_store *s);
mtk_status hf_modelopt_write(json_t **out, json_t **file, const struct hf_store *s, mtk_error *err);
bool hf_has_cache_scales(const struct hf_store *s);
/* JSON text with an indent of 2 and the shortest reals that keep every value. */
mtk_status hf_dump_json(mtk_bytes *out, const json_t *value, mtk_error *err);

/* ---- fused.c: a warning where matrices that loaders fuse have different global scales -------- */

mtk_status hf_warn_fused(mtk_model *model, const mtk_arch_v1 *arch, mtk_error *err);

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
  mtk_status (*write)(const st_out *self, mtk_output *out, struct hf_store *s, mtk_error *err);
  const mtk_tensor *source;
  const void *values; /* small tensors: their values */
};
/* Header and tensors, in the given order. metadata: strings for __metadata__; may be NULL. store:
 * counts the bytes that are there and is given to the write functions; NULL: an adapter. */
mtk_status st_write_file(const char *path, const st_out *tensors, size_t n, json_t *metadata,
                         mtk_outputs *outputs, bool force, struct hf_store *store, mtk_error *err);
/* Stable order by falling element size, if the given order would leave a tensor misaligned. */
void st_sort_aligned(st_out *tensors, size_t n);

/* ---- store.c: the tensors of a folder ------------------------------------------------------- */

typedef struct hf_store {
  mtk_model *model;
  mtk_arena *arena;
  hf_style style;
  hf_acts acts;
  int64_t int_group; /* columns that share a scale of 4-bit integers; 0: none, or the whole row */
  bool blocks;       /* fp8 grids of 128 x 128 are blocks, also where a matrix has but one */
  const char **names; /* by index of the model's tensors: that in the folder */
  st_out *outs;
  size_t n_outs;
  uint64_t done, total; /* bytes */
  size_t n_dequantized;
  const char *first_dequantized;
  size_t n_rounded; /* scales whose reciprocal no float holds */
  const char *first_rounded;
  uint8_t *beside; /* what lies beside the values of the tensor written last */
  const mtk_tensor *beside_of;
  mtk_error *err;
} hf_store;
/* Fill outs; style, acts and names are set. Says in warnings what was changed. */
mtk_status hf_store_plan(hf_store *s);
void hf_store_finish(hf_store *s);

#endif
