/* cmd.h: what every subcommand gets and gives. One row of the command table in main.c per
 * subcommand, one file each; options come from tables (mtk/option.h). Main thread only. */
#ifndef MTK_CMD_H
#define MTK_CMD_H

#include <jansson.h>
#include <mtk/registry.h>

/* A parsed command line. */
typedef struct mtk_cmd_line {
  mtk_option_def *defs; /* the merged table behind options */
  mtk_option_values *options;
  const char **args; /* positional, in order */
  int n_args;
  int argc; /* as typed, for provenance */
  const char *const *argv;
  bool json, quiet, verbose;
} mtk_cmd_line;

typedef struct mtk_cmd {
  const char *name;
  const char *usage; /* after "mtk NAME " */
  const char *summary;
  const mtk_option_def *options;
  /* Options that depend on plugins (a recipe's, a server's): may look at argv; may be NULL. */
  const mtk_option_def *(*extra)(int argc, const char *const *argv);
  int min_args, max_args; /* -1 = any number */
  mtk_status (*run)(const mtk_cmd_line *line, mtk_error *err);
} mtk_cmd;

extern const mtk_cmd mtk_cmd_convert, mtk_cmd_quantize, mtk_cmd_finetune, mtk_cmd_serve,
    mtk_cmd_run, mtk_cmd_eval, mtk_cmd_bench, mtk_cmd_inspect, mtk_cmd_tokenize, mtk_cmd_template,
    mtk_cmd_plugin, mtk_cmd_doctor, mtk_cmd_embed, mtk_cmd_verify;

/* args.c */
/* Options that every command has (--json, --quiet, --verbose, --threads, --help). */
extern const mtk_option_def mtk_cmd_common_options[];
/* Parse argv[1..] of a command. *help = --help was given (then nothing else is checked). Owned by
 * the caller: finish with mtk_cmd_line_finish. */
mtk_status mtk_cmd_parse(mtk_cmd_line *line, bool *help, const mtk_cmd *cmd, int argc,
                         const char *const *argv, mtk_error *err);
void mtk_cmd_line_finish(mtk_cmd_line *line);
void mtk_cmd_help(const mtk_cmd *cmd, int argc, const char *const *argv);
bool mtk_cmd_has_option(const mtk_option_def *defs, const char *name); /* defs may be NULL */
/* Value of --name in raw arguments, or fallback: for `extra`. */
const char *mtk_cmd_peek(int argc, const char *const *argv, const char *name, const char *fallback);

/* report.c: the only place that writes to stderr; stdout helpers. */
void mtk_cmd_report_init(bool quiet, bool verbose);
void mtk_cmd_report_error(const char *cmd, const mtk_error *err);
/* Prints a JSON document and a newline, and frees it. */
mtk_status mtk_cmd_print_json(json_t *doc, bool compact, mtk_error *err);
/* A string of bytes that may not be UTF-8: invalid parts become U+FFFD. */
json_t *mtk_cmd_json_text(const char *s);
json_t *mtk_cmd_json_textn(const char *data, size_t n);
/* printf to stdout; write errors are found at the end by mtk_cmd_flush. */
void mtk_cmd_print(const char *fmt, ...) MTK_PRINTF(1, 2);
mtk_status mtk_cmd_flush(mtk_error *err);
/* "1.2 GB" in a static ring of buffers. */
const char *mtk_cmd_bytes(uint64_t n);

/* common.c */
mtk_status mtk_cmd_pool(mtk_pool **out, const mtk_cmd_line *line, mtk_error *err);
/* Options shared by commands that run a model (--context, --activations, --kv-cache ...). */
#define MTK_CMD_ENGINE_OPTIONS                                                                     \
  {"context", 'c', MTK_OPT_INT, "N", NULL, 1, 1e9, NULL, "positions per sequence (model's own)"},  \
      {"activations",                                                                              \
       0,                                                                                          \
       MTK_OPT_ENUM,                                                                               \
       "A",                                                                                        \
       "default",                                                                                  \
       0,                                                                                          \
       0,                                                                                          \
       "default|a32|a16|a8",                                                                       \
       "arithmetic of linear layers instead of each type's default"},                              \
      {"kv-cache",                                                                                 \
       0,                                                                                          \
       MTK_OPT_ENUM,                                                                               \
       "TYPE",                                                                                     \
       "f32",                                                                                      \
       0,                                                                                          \
       0,                                                                                          \
       "f32|f16|bf16|q8_0|fp8",                                                                    \
       "storage type of the cached keys and values"},                                              \
      {"batch", 0, MTK_OPT_INT, "N", "512", 1, 65536, NULL, "prompt tokens computed at once"}, {   \
    "adapter", 0, MTK_OPT_LIST, "[NAME=]DIR", NULL, 0, 0, NULL, "LoRA adapter to apply"            \
  }
/* A loaded model with an engine on it. */
typedef struct mtk_cmd_engine {
  mtk_model *model;
  bool model_is_borrowed;
  mtk_engine *engine;
  mtk_pool *pool;
  int max_batch; /* prompt tokens computed at once */
  int adapter;   /* id of the first --adapter, 0 if none */
  int n_adapters;
  const char **adapter_names; /* by id - 1 */
} mtk_cmd_engine;
mtk_status mtk_cmd_engine_open(mtk_cmd_engine *out, const mtk_cmd_line *line, const char *path,
                               int max_seqs, mtk_error *err);
/* The same without the adapters of the command line: --adapter is of another model than this. */
mtk_status mtk_cmd_base_engine_open(mtk_cmd_engine *out, const mtk_cmd_line *line, const char *path,
                                    int max_seqs, mtk_error *err);
/* On a model that is there already and stays the caller's, with a cache of `positions`. */
mtk_status mtk_cmd_engine_open_model(mtk_cmd_engine *out, const mtk_cmd_line *line,
                                     mtk_model *model, int max_seqs, int64_t positions,
                                     int threads, mtk_error *err);
/* The same, but for embeddings instead of logits. */
mtk_status mtk_cmd_embedder_open(mtk_cmd_engine *out, const mtk_cmd_line *line, const char *path,
                                 int max_seqs, mtk_error *err);
void mtk_cmd_engine_close(mtk_cmd_engine *e);
/* Whole file, or standard input for "-". */
mtk_status mtk_cmd_read_all(mtk_bytes *out, const char *path, mtk_error *err);
/* The same as JSON; flags: of json_loadb. */
mtk_status mtk_cmd_read_json(json_t **out, const char *path, size_t flags, mtk_error *err);
/* mtk_provenance_json with the options that bear on the result, in the order of the option table,
 * as "--name=value" with paths cut to their base names: neither threads, verbosity, output name nor
 * folders change an artefact's bytes. */
mtk_status mtk_cmd_provenance(mtk_bytes *out, const mtk_cmd_line *line, const char *const *sources,
                              int n_sources, mtk_error *err);
mtk_status mtk_cmd_provenance_with(mtk_bytes *out, const mtk_cmd_line *line, mtk_digests *sources,
                                   mtk_error *err);
/* Appends the token ids of a text like "1, 2 3" or "[1,2]". */
mtk_status mtk_cmd_parse_ids(mtk_ids *out, const char *text, mtk_error *err);
/* A model, or a bare tokenizer.json as a model without tensors; with its tokenizer. */
mtk_status mtk_cmd_tokenizer_open(mtk_model **model, mtk_tokenizer **tok, const char *path,
                                  mtk_error *err);

/* outputs.c: how the outputs of a command that writes a model come to be. Begin with zeros, or
 * with `repeats`; close in any case. */
typedef struct mtk_cmd_outputs {
  const char *repeats;    /* the provenance of an artefact: repeat and compare, write nothing */
  const char *provenance; /* borrowed from text or repeats */
  mtk_bytes text;
  mtk_digests *digests;
  mtk_outputs *outputs; /* NULL: the format knows nothing of them */
} mtk_cmd_outputs;
/* What is digested in the provenance; with more than one thread that happens beside other work. */
mtk_status mtk_cmd_outputs_begin(mtk_cmd_outputs *o, const char *const *sources, int n_sources,
                                 const mtk_pool *pool, mtk_error *err);
/* --resume and --force of the command apply. */
mtk_status mtk_cmd_outputs_open(mtk_cmd_outputs *o, const mtk_cmd_line *line,
                                const mtk_format_v1 *format, const char *dst, mtk_error *err);
/* A repetition: the model gets the name of the source that the provenance records, which writers
 * may put into their files. */
mtk_status mtk_cmd_outputs_rename(const mtk_cmd_outputs *o, mtk_model *model, mtk_error *err);
/* Returns st; when what was done so far is kept, err says so. */
mtk_status mtk_cmd_outputs_close(mtk_cmd_outputs *o, mtk_status st, mtk_error *err);
/* Of a file, its parts if it was split, or the files of a folder; 0: there is nothing. */
uint64_t mtk_cmd_output_bytes(const char *path);
/* The path to load: the output, or its first part. Heap; NULL when memory is out. */
char *mtk_cmd_output_first(const char *path);
/* What was found to be wrong (st, not if it was stopped) does not keep its name; err tells the new
 * one. Returns st. */
mtk_status mtk_cmd_output_set_aside(const char *path, mtk_status st, mtk_error *err);
/* The row of --resume in a table of options. */
#define MTK_CMD_RESUME_OPTION                                                                      \
  {"resume", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,                                              \
   "go on where an interrupted run with the same options stopped"}

/* convert.c: shared by the commands that write models. */
/* mtk convert, or (repeats: the provenance of DST) the command again, compared with DST, which
 * stays as it is. */
mtk_status mtk_cmd_convert_run(const mtk_cmd_line *line, const char *repeats, mtk_error *err);
/* `first` and the options of all formats, as one table in static memory. */
const mtk_option_def *mtk_cmd_format_options(const mtk_option_def *first);
mtk_status mtk_cmd_output_format(const mtk_format_v1 **out, const mtk_cmd_line *line,
                                 const char *dst, mtk_error *err);
/* Write with provenance, into outputs that may be open; --force of the command applies; warnings
 * are logged. */
mtk_status mtk_cmd_write_outputs(mtk_model *model, const mtk_cmd_line *line,
                                 const mtk_format_v1 *format, const char *dst,
                                 const mtk_cmd_outputs *outputs, mtk_error *err);
void mtk_cmd_print_warnings(const mtk_model *model);
json_t *mtk_cmd_warnings_json(const mtk_model *model);
uint64_t mtk_cmd_model_bytes(const mtk_model *m); /* tensors and scales */

#endif
