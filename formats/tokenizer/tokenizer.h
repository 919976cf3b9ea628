/* tokenizer.h: inside of the tokenizer plugin: bare tokenizer files. Static data only. */
#ifndef MTK_FORMAT_TOKENIZER_H
#define MTK_FORMAT_TOKENIZER_H

#include <mtk/ext/format.h>
#include <mtk/plugin.h>

/* The representations; rows of a table in tokenizer.c. */
typedef struct tokenizer_kind {
  const char *name;
  /* How sure the first n bytes of a file say that it is one: 0 to 100. */
  int (*sniff)(const uint8_t *head, size_t n);
  /* Whether the name of an output means it. base: without folders. */
  bool (*named)(const char *base);
  mtk_status (*read)(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                     mtk_error *err);
  mtk_status (*write)(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err);
} tokenizer_kind;

/* The vocabulary of bytes that are a tokenizer file; path: its name, for what the bytes do not say.
 */
mtk_status tokenizer_read_bytes(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                                mtk_error *err);
mtk_status tokenizer_read_model(mtk_model *model, const char *path, mtk_error *err);
mtk_status tokenizer_write_model(mtk_model *model, const char *path,
                                 const mtk_write_options *options, mtk_error *err);
int tokenizer_probe(const char *path, const uint8_t *head, size_t n);

#endif
