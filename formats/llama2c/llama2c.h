/* llama2c.h: inside of the llama2.c plugin (https://github.com/karpathy/llama2.c: export.py, run.c,
 * runq.c, tokenizer.py). Nothing here is shared between threads: each call has its own state. */
#ifndef MTK_FORMAT_LLAMA2C_H
#define MTK_FORMAT_LLAMA2C_H

#include <mtk/ext/arch.h>
#include <mtk/ext/format.h>
#include <mtk/plugin.h>

enum { LLAMA2C_MAX_SIZE = 1 << 30, LLAMA2C_N_PARTS = 13 };

/* Header of any version. All sizes are positive and at most LLAMA2C_MAX_SIZE. */
typedef struct llama2c_header {
  int version;          /* 0 (no magic), 1 or 2 */
  uint64_t size;        /* bytes before the first weight */
  int64_t dim, hidden, n_layer, n_head, n_head_kv, vocab, context;
  bool shared;          /* the output matrix is the embedding */
  int64_t group;        /* version 2: values that share a scale */
} llama2c_header;

/* One kind of weight: in the file all layers of it follow each other. */
typedef struct llama2c_part {
  const char *name;    /* canonical; %d = layer; NULL: the tables of cos and sin of version 0 */
  int64_t rows, cols;  /* cols 0: a vector */
  int64_t count;       /* layers, or 1 */
  bool absent;         /* not in this file (output of a shared one) */
} llama2c_part;
/* The weights in the order of the file. */
void llama2c_parts(llama2c_part out[LLAMA2C_N_PARTS], const llama2c_header *h);
/* Numbers of a part, all layers together. */
uint64_t llama2c_count(const llama2c_part *p);

/* MTK_E_FORMAT if the bytes are no header, or do not fit the file's size exactly. */
mtk_status llama2c_parse_header(llama2c_header *out, const uint8_t *data, size_t size,
                                const char *path, mtk_error *err);
/* data must outlive the model. */
mtk_status llama2c_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                              mtk_error *err);
mtk_status llama2c_read_model(mtk_model *model, const char *path, mtk_error *err);
mtk_status llama2c_write_model(mtk_model *model, const char *path,
                               const mtk_write_options *options, mtk_error *err);

/* ---- tokenizer.c --------------------------------------------------------------------------- */

/* Whether bytes are a tokenizer file: records to the last byte. */
bool llama2c_is_tokenizer(const uint8_t *data, size_t size);
mtk_status llama2c_read_tokenizer(mtk_vocab **out, const uint8_t *data, size_t size,
                                  const char *path, mtk_error *err);
/* MTK_E_UNSUPPORTED if the vocabulary is of another kind. */
mtk_status llama2c_write_tokenizer(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err);

#endif
