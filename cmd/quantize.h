/* quantize.h: shared by the files of mtk quantize. */
#ifndef MTK_CMD_QUANTIZE_H
#define MTK_CMD_QUANTIZE_H

#include <mtk/calibrate.h>
#include <mtk/quantize.h>

#include "cmd.h"

/* quantize.c: the command, or (repeats: the provenance of DST) the command again, compared with
 * DST, which stays as it is: MTK_E_CHECK names the first difference. */
mtk_status mtk_cmd_quantize_run(const mtk_cmd_line *line, const char *repeats, mtk_error *err);
/* May small files beside DST be replaced? With --resume they are those of the interrupted run. */
bool mtk_cmd_replaces(const mtk_cmd_line *line);

/* quantize_keeps.c: can files of the format hold what a method makes for a target? Of a type: the
 * refusal names others. Of all tensors of the report, once they are quantized. */
mtk_status mtk_cmd_keeps_target(const mtk_format_v1 *format, const mtk_quantizer_v1 *q,
                                const mtk_quant_target *t, const mtk_cmd_line *line,
                                mtk_error *err);
mtk_status mtk_cmd_keeps_tensors(const mtk_format_v1 *format, const mtk_model *model,
                                 const mtk_quantize_report *r, mtk_error *err);

/* quantize_estimate.c: what a run would take, and what its result runs as (--dry-run). */
typedef struct mtk_cmd_estimate {
  double seconds; /* 0: cannot be told */
  double bytes_per_second; /* of source that is encoded */
  uint64_t peak_bytes;
  const char *act; /* borrowed from the command line; may be NULL */
  bool gguf;
  mtk_arith arith; /* on CPUs; of a mixture, that of its block types */
  const mtk_quant_target *targets[MTK_DTYPE_COUNT]; /* of the tensors, one of each name */
  size_t n_targets;
} mtk_cmd_estimate;
mtk_status mtk_cmd_estimate_make(mtk_cmd_estimate *out, const mtk_model *model,
                                 const mtk_quantize_report *r, const mtk_quantize_options *o,
                                 const mtk_cmd_line *line, const char *format, mtk_error *err);
json_t *mtk_cmd_estimate_json(const mtk_cmd_estimate *e);
void mtk_cmd_estimate_print(const mtk_cmd_estimate *e);

/* verify_repeat.c: run the command that an artefact's provenance records again and compare the
 * bytes. MTK_E_CHECK names the first difference. *why_not (static): it was not repeated; NULL = it
 * was. */
typedef struct mtk_cmd_repeat {
  const char *artefact, *provenance, *threads;
  const char *const *sources; /* the model, then other files */
  int n_sources;
} mtk_cmd_repeat;
mtk_status mtk_cmd_verify_repeat(const char **why_not, const mtk_cmd_repeat *r, mtk_error *err);

/* quantize_calibrate.c: the options of calibration, and what it is made of. */
#define MTK_CMD_CALIBRATION_OPTIONS                                                                \
  {"calibration", 0, MTK_OPT_LIST, "FILE", NULL, 0, 0, NULL,                                       \
   "text, or JSONL of chats or texts, to measure activations on"},                                 \
      {"calibration-tokens", 0, MTK_OPT_INT, "N", "32768", 1, 1e9, NULL, "how many tokens of it"}, \
      {"sequence-length", 0, MTK_OPT_INT, "N", "512", 2, 1e6, NULL, "longest sequence"},           \
  {                                                                                                \
    "seed", 0, MTK_OPT_INT, "S", "0", 0, 1e15, NULL, "choice of the calibration sequences"         \
  }

typedef struct mtk_cmd_calibration mtk_cmd_calibration;
/* *out stays NULL when no --calibration is given. The model is loaded a second time: quantizing
 * changes the tensors of the first. */
mtk_status mtk_cmd_calibration_open(mtk_cmd_calibration **out, const mtk_cmd_line *line,
                                    const char *path, mtk_pool *pool, mtk_error *err);
void mtk_cmd_calibration_close(mtk_cmd_calibration *c);
/* The model that is calibrated (borrowed). After a change of it: begin again. */
mtk_model *mtk_cmd_calibration_model(mtk_cmd_calibration *c);
mtk_calibration *mtk_cmd_calibration_state(mtk_cmd_calibration *c);
mtk_status mtk_cmd_calibration_restart(mtk_cmd_calibration *c, mtk_error *err);
/* All stages, without second moments. */
mtk_status mtk_cmd_calibration_run(mtk_cmd_calibration *c, mtk_error *err);
/* Stage by stage: second moments, and the tensors of the stage (rows of the report) encoded with
 * them. */
mtk_status mtk_cmd_calibration_encode(mtk_cmd_calibration *c, mtk_model *model,
                                      const mtk_quantize_report *report, mtk_error *err);
int64_t mtk_cmd_calibration_tokens(const mtk_cmd_calibration *c);
/* For mtk_quantize_options.stats; ctx is the calibration. */
const mtk_input_stats *mtk_cmd_calibration_stats(void *ctx, const char *tensor);

/* quantize_act.c: what the artefact says of activations and of the cache. check: is there what they
 * need? apply: when all is quantized; c may be NULL. */
#define MTK_CMD_ACT_OPTIONS                                                                        \
  {"act", 0, MTK_OPT_ENUM, "TYPE", NULL, 0, 0, "none|nvfp4|mxfp4|mxfp8|fp8|int8",                  \
   "type of activations; nvfp4, and fp8 on nvfp4 or fp8, get static scales from --calibration"},   \
      {"act-percentile", 0, MTK_OPT_FLOAT, "P", "100", 50, 100, NULL,                              \
       "static scales cover this share of the activations, in percent (99.99 cuts outliers)"},     \
      {"act-headroom", 0, MTK_OPT_FLOAT, "X", "1", 0.01, 100, NULL,                                \
       "make static scales so many times larger"},                                                 \
  {                                                                                                \
    "kv-cache-scales", 0, MTK_OPT_ENUM, "TYPE", NULL, 0, 0, "fp8",                                 \
        "add scales for a cache of this type (needs --calibration)"                                \
  }
mtk_status mtk_cmd_act_check(const mtk_cmd_line *line, const mtk_quantize_options *o,
                             const char *imatrix, mtk_error *err);
mtk_status mtk_cmd_act_apply(mtk_model *model, const mtk_quantize_report *rows,
                             mtk_cmd_calibration *c, const mtk_cmd_line *line, mtk_error *err);

/* quantize_transform.c: changes of the model that leave its function as it is. copy: the model
 * again, which gets the same changes; the one that c calibrates, if c is there. */
#define MTK_CMD_TRANSFORM_OPTIONS                                                                  \
  {"equalize", 0, MTK_OPT_ENUM, "RULE", "none", 0, 0, "none|awq|smooth",                           \
   "scale input channels and fold the factors into norms, up and v (needs --calibration)"},        \
      {"equalize-alpha", 0, MTK_OPT_FLOAT, "A", "0.5", 0, 1, NULL,                                 \
       "exponent of the activations; default: awq searches it, smooth takes 0.5"},                 \
      {"rotate", 0, MTK_OPT_ENUM, "WHAT", "none", 0, 0, "none|values|residual|all",                \
       "rotate blocks of channels by Hadamard matrices: of v and output, of the residual stream"}, \
      {"rotate-size", 0, MTK_OPT_INT, "N", "32", 2, 65536, NULL,                                   \
       "channels of such a block, a power of two"},                                                \
  {                                                                                                \
    "bias-correction", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,                                    \
        "take what rounding adds to mean outputs off the biases (needs --calibration)"             \
  }
bool mtk_cmd_transforms(const mtk_cmd_line *line);
mtk_status mtk_cmd_transform(mtk_model *model, mtk_model *copy, mtk_cmd_calibration *c,
                             mtk_quantize_options *into, const mtk_cmd_line *line, mtk_error *err);

/* The model that is calibrated, and as *out its first whole sequences that have `tokens` tokens or
 * more together (all borrowed). */
const mtk_model *mtk_cmd_calibration_part(mtk_calibration_options *out,
                                          const mtk_cmd_calibration *c, int64_t tokens,
                                          mtk_pool *pool);

/* quantize_plan.c: a type for every group of tensors, by a budget or from a file. */
#define MTK_CMD_PLAN_OPTIONS                                                                       \
  {"target-bits", 0, MTK_OPT_FLOAT, "B", NULL, 0.1, 64, NULL,                                      \
   "mixed types: the least loss within so many bits per weight of the whole model (needs "         \
   "--calibration)"},                                                                              \
      {"target-size", 0, MTK_OPT_STRING, "SIZE", NULL, 0, 0, NULL,                                 \
       "the same within so many bytes of output, e.g. 14GB"},                                      \
      {"candidates", 0, MTK_OPT_STRING, "TYPES", NULL, 0, 0, NULL,                                 \
       "types to choose from, e.g. nvfp4,fp8,bf16 (default: those of the layout)"},                \
      {"sensitivity-tokens", 0, MTK_OPT_INT, "N", "1024", 16, 1e9, NULL,                           \
       "tokens of --calibration that losses are measured on"},                                     \
      {"plan", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,                                          \
       "the types that --plan-out wrote; with --target-bits chosen anew, without measuring"},      \
  {                                                                                                \
    "plan-out", 0, MTK_OPT_PATH, "FILE", NULL, 0, 0, NULL,                                         \
        "write the types, what they cost, and all that was measured, as JSON"                      \
  }
typedef struct mtk_cmd_plan mtk_cmd_plan;
bool mtk_cmd_plan_asked(const mtk_cmd_line *line);
/* "q4_k", "mixed types": what --to or the plan asks for. */
const char *mtk_cmd_target_name(const mtk_cmd_line *line);
/* *out stays NULL when no plan is asked for; else o->plan is set, and the plan is attached to the
 * model as "mtk_plan.json". c may be NULL with --plan. */
mtk_status mtk_cmd_plan_open(mtk_cmd_plan **out, mtk_model *model, mtk_quantize_options *o,
                             const mtk_cmd_line *line, const mtk_format_v1 *format,
                             const mtk_cmd_calibration *c, mtk_error *err);
void mtk_cmd_plan_close(mtk_cmd_plan *plan);
/* The row of a method's table; NULL: it has none, or there is no method. */
const mtk_quant_target *mtk_cmd_find_target(const mtk_quantizer_v1 *q, const char *name);
/* Did every tensor get what the plan (may be NULL) says? */
mtk_status mtk_cmd_plan_check(const mtk_cmd_plan *plan, const mtk_quantize_report *r,
                              mtk_error *err);
/* Is what was written within --target-size, if that is given? */
mtk_status mtk_cmd_plan_fits(const mtk_cmd_line *line, mtk_error *err);
/* Types, groups with their options, the curve and the uniform types. */
json_t *mtk_cmd_plan_json(const mtk_cmd_plan *plan);

/* --bias-correction, when all is encoded. */
mtk_status mtk_cmd_correct_biases(mtk_model *model, mtk_cmd_calibration *c,
                                  const mtk_quantize_report *rows, const mtk_cmd_line *line,
                                  mtk_error *err);

/* quantize_imatrix.c: importances in files of llama.cpp. open: those of the model's tensors; a file
 * of another model is refused. write: what a calibration saw, in the order of the report. */
typedef struct mtk_cmd_imatrix mtk_cmd_imatrix;
mtk_status mtk_cmd_imatrix_open(mtk_cmd_imatrix **out, const char *path, const mtk_model *model,
                                mtk_error *err);
void mtk_cmd_imatrix_close(mtk_cmd_imatrix *im);
/* For mtk_quantize_options.stats. */
const mtk_input_stats *mtk_cmd_imatrix_stats(void *ctx, const char *tensor);
mtk_status mtk_cmd_imatrix_write(const char *path, const mtk_cmd_line *line,
                                 mtk_cmd_calibration *c, const mtk_quantize_report *report,
                                 mtk_error *err);

/* quantize_verify.c: an artefact, which may be split and is loaded anew, beside its source. Finish
 * *out in any case. One that cannot be read as a model does not keep its name. */
mtk_status mtk_cmd_compare(mtk_compare_report *out, const char *artefact, mtk_model *source,
                           mtk_pool *pool, mtk_error *err);
/* One norm of the errors over one of the values. */
double mtk_cmd_relative_error(double error2, double norm2);
/* Fields of one tensor into an object; sums by type; the same as text. */
void mtk_cmd_compare_row_json(json_t *out, const mtk_compare_row *row);
json_t *mtk_cmd_compare_json(const mtk_compare_report *report);
void mtk_cmd_compare_print(const mtk_compare_report *report);
/* Fails with `code` on the first fault. */
mtk_status mtk_cmd_compare_verdict(const mtk_compare_report *report, mtk_status code,
                                   const char *artefact, mtk_error *err);

/* quantize_report.c: a folder with `doc` (the document of --json), the same as Markdown, and plots;
 * --force replaces an older one. */
mtk_status mtk_cmd_quantize_report(const char *path, const mtk_cmd_line *line, const json_t *doc,
                                   const mtk_quantize_report *rows,
                                   const mtk_compare_report *verified, mtk_error *err);

#endif
