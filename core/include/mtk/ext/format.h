/* mtk/ext/format.h: "mtk.format/1": read and write one file format. */
#ifndef MTK_EXT_FORMAT_H
#define MTK_EXT_FORMAT_H

#include <mtk/model.h>
#include <mtk/option.h>

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_EXT_FORMAT "mtk.format/1"

enum {
  MTK_FORMAT_MODEL = 1,   /* reads/writes whole models */
  MTK_FORMAT_ADAPTER = 2, /* reads/writes LoRA adapters */
  MTK_FORMAT_FOLDER = 4,  /* the path is a folder */
  MTK_FORMAT_OUTPUTS = 8  /* write_model makes all its files in options->outputs */
};

typedef struct mtk_write_options {
  size_t struct_size;
  bool force;                       /* overwrite */
  const char *provenance;           /* JSON text to store with the artefact; may be NULL */
  const mtk_option_values *options; /* the format's own options; NULL = defaults */
  mtk_outputs *outputs;             /* where files are made; NULL = by themselves */
} mtk_write_options;

/* All functions may be called from any thread; different calls may run at the same time. */
typedef struct mtk_format_v1 {
  size_t struct_size;
  const char *id;         /* "gguf" */
  const char *title;      /* "GGUF v3 (llama.cpp)" */
  const char *extensions; /* "gguf" (space separated; "" = folder) */
  uint32_t flags;
  const mtk_option_def *options; /* for writing; ends with a row of name NULL; may be NULL */

  /* 0 = not this format, 100 = certain. head: the first n bytes of the file (n = 0 for a
   * folder). */
  int (*probe)(const char *path, const uint8_t *head, size_t n);
  /* Fill an empty model. On failure the caller destroys the model. NULL if it cannot. */
  mtk_status (*read_model)(mtk_model *model, const char *path, mtk_error *err);
  /* Complete under its final name or not at all (mtk_output, mtk_outdir). Streams tensor by tensor.
   * What cannot be held is reported through mtk_model_warn. NULL if it cannot. */
  mtk_status (*write_model)(mtk_model *model, const char *path, const mtk_write_options *options,
                            mtk_error *err);
  mtk_status (*read_adapter)(mtk_adapter *adapter, const char *path, mtk_error *err);
  mtk_status (*write_adapter)(const mtk_adapter *adapter, const mtk_model *base, const char *path,
                              const mtk_write_options *options, mtk_error *err);
  /* Does write_model keep the type and the outside scales of such a tensor (name, shape, type and
   * scales; no values)? Where not it writes another type, with a warning. NULL: of all it can
   * write. */
  bool (*keeps)(const mtk_tensor *t);
} mtk_format_v1;

static inline bool mtk_format_keeps(const mtk_format_v1 *f, const mtk_tensor *t) {
  bool says = f->struct_size > offsetof(mtk_format_v1, keeps) && f->keeps;
  return !says || f->keeps(t);
}

#ifdef __cplusplus
}
#endif
#endif
