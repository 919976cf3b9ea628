/* gguf.h: inside of the GGUF plugin: the index of a parsed file, and the steps of reading and
 * writing. Nothing here is shared between threads: each call builds its own index, which borrows
 * the bytes of the file. */
#ifndef MTK_FORMAT_GGUF_H
#define MTK_FORMAT_GGUF_H

#include <mtk/ext/arch.h>
#include <mtk/ext/format.h>
#include <mtk/plugin.h>

/* mscale_all_dim of yarn; in files of deepseek2 a tenth of it */
#define GGUF_YARN_LOG "rope.scaling.yarn_log_multiplier"

enum {
  GGUF_VERSION = 3,
  GGUF_ALIGNMENT = 32,    /* what we write; what we read may say otherwise */
  GGUF_MAX_DIMS = 4,      /* of ggml */
  GGUF_MAX_DEPTH = 4,     /* of arrays in arrays */
  GGUF_MAX_KEY = 65535,   /* bytes, from the specification */
  GGUF_MAX_NAME = 255,    /* bytes of a tensor name (ggml: 63) */
  GGUF_FREE_ITEMS = 65536 /* array items of any file that become metadata values */
};

/* One row of ggml's type table. */
typedef struct gguf_type {
  uint32_t id;
  const char *name;
  mtk_dtype dtype;
  uint32_t file_type; /* general.file_type of a model mostly of this type; UINT32_MAX = none */
} gguf_type;
const gguf_type *gguf_type_by_id(uint32_t id);
const gguf_type *gguf_type_by_dtype(mtk_dtype dtype);
/* The type that a general.file_type is named after; MTK_DTYPE_COUNT if unknown. */
mtk_dtype gguf_file_type_dtype(uint64_t file_type);

/* A key and where its value lies. An array's value starts with its item type and count. */
typedef struct gguf_kv {
  const char *key; /* NUL-terminated copy in the arena */
  uint32_t type;   /* mtk_meta_type has the same numbers */
  size_t begin, end;
} gguf_kv;

typedef struct gguf_tensor {
  const char *name; /* NUL-terminated copy in the arena */
  const gguf_type *type;
  uint32_t n_dims;
  uint64_t ne[GGUF_MAX_DIMS]; /* innermost first, as in the file */
  uint64_t begin, size;       /* bytes in the file */
  const uint8_t *bytes;       /* the first of them */
  bool consumed;              /* became a part of another tensor (.scale) */
  mtk_dtype narrow;           /* MTK_F32, or the type it was widened from (mtk.widened.*) */
} gguf_tensor;

typedef struct gguf_index {
  const uint8_t *data;
  size_t size;
  const char *path; /* for messages */
  mtk_arena *arena; /* owns all below; the caller's */
  uint32_t version;
  uint64_t alignment;
  gguf_kv *kvs;
  size_t n_kvs;
  gguf_tensor *tensors;
  size_t n_tensors;
  gguf_kv **kvs_by_key;          /* sorted */
  gguf_tensor **tensors_by_name; /* sorted */
  size_t n_items;                /* metadata array items handed out so far (limited) */
} gguf_index;

/* parse.c: check the whole header and fill the index. Reads only data[0..size). */
mtk_status gguf_parse(gguf_index *out, mtk_arena *arena, const uint8_t *data, size_t size,
                      const char *path, mtk_error *err);
const gguf_kv *gguf_find_kv(const gguf_index *g, const char *key);
gguf_tensor *gguf_find_tensor(const gguf_index *g, const char *name);
/* Sort the views of keys and tensors; MTK_E_FORMAT for a key or tensor that occurs twice. */
mtk_status gguf_sort_views(gguf_index *g, mtk_error *err);
/* The string value of a key: NULL if absent; MTK_E_FORMAT if it is not a string. */
mtk_status gguf_get_string(const char **s, size_t *len, const gguf_index *g, const char *key,
                           mtk_error *err);
/* An array's item type, count and first item. MTK_E_FORMAT if the value is not an array. */
mtk_status gguf_get_array(uint32_t *type, size_t *n, size_t *pos, const gguf_index *g,
                          const gguf_kv *kv, mtk_error *err);
/* The string at *pos of a checked file; *pos moves behind it. */
void gguf_next_string(const char **s, size_t *len, const gguf_index *g, size_t *pos);
/* The value of a key as mtk_value (strings point into the file, items into the arena). */
mtk_status gguf_value(mtk_value *out, gguf_index *g, const gguf_kv *kv, mtk_error *err);

/* vocab.c. read: the tokenizer of a file, into the model; a tokenizer that mtk does not know stays
 * in the metadata, with a warning. covers: keys that the vocabulary replaces. */
mtk_status gguf_read_vocab(mtk_model *model, const gguf_index *g, mtk_error *err);
bool gguf_vocab_covers(const char *key);
mtk_status gguf_write_vocab(mtk_meta *out, mtk_model *model, mtk_error *err);

/* split.c: a model in several files, NAME-00001-of-00003.gguf (llama.cpp, gguf-split). place: of a
 * parsed file: its number from 0 and the number of files (0 and 1 if it is whole); MTK_E_FORMAT for
 * impossible ones. join: open the others beside the first, which lies at path, and add their
 * tensors to g; the model keeps the files. name: path of file no, from "DIR/NAME.gguf"; the caller
 * frees it. */
mtk_status gguf_split_place(uint32_t *no, uint32_t *count, gguf_index *g, mtk_error *err);
mtk_status gguf_split_join(gguf_index *g, mtk_model *model, const char *path, mtk_error *err);
char *gguf_split_name(const char *path, uint32_t no, uint32_t count);
/* The options of splitting: UINT64_MAX = no limit. */
mtk_status gguf_split_limits(uint64_t *max_bytes, uint64_t *max_tensors,
                             const mtk_option_values *options, mtk_error *err);

/* read.c: the model of parsed bytes. data must stay valid as long as the model. path: where they
 * come from, for the other files of a split model; NULL = they stand alone. */
mtk_status gguf_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *name,
                           const char *path, mtk_error *err);
mtk_status gguf_read_model(mtk_model *model, const char *path, mtk_error *err);

/* header.c: the bytes of a header. The caller counts keys and tensors. */
void gguf_put_header(mtk_bytes *out, uint64_t n_tensors, uint64_t n_kvs);
void gguf_put_kv(mtk_bytes *out, const char *key, const mtk_value *value);
void gguf_put_tensor(mtk_bytes *out, const char *name, int n_dims, const int64_t *shape,
                     uint32_t type, uint64_t offset);
void gguf_put_padding(mtk_bytes *out);
uint64_t gguf_padded(uint64_t n);
mtk_value gguf_uint(uint64_t v);
mtk_value gguf_string(const char *s, size_t len);

/* write.c, adapter.c */
mtk_status gguf_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                            mtk_error *err);
bool gguf_keeps(const mtk_tensor *t);
mtk_status gguf_read_adapter_bytes(mtk_adapter *adapter, const uint8_t *data, size_t size,
                                   const char *path, mtk_error *err);
mtk_status gguf_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err);
mtk_status gguf_write_adapter(const mtk_adapter *adapter, const mtk_model *base, const char *path,
                              const mtk_write_options *options, mtk_error *err);

#endif
