/* quantize.h: shared by the files of mtk quantize. */
#ifndef MTK_CMD_QUANTIZE_H
#define MTK_CMD_QUANTIZE_H

#include <mtk/calibrate.h>
#include <mtk/quantize.h>

#include "cmd.h"

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
/* All stages, without second moments. */
mtk_status mtk_cmd_calibration_run(mtk_cmd_calibration *c, mtk_error *err);
/* Stage by stage: second moments, and the tensors of the stage (rows of the report) encoded with
 * them. */
mtk_status mtk_cmd_calibration_encode(mtk_cmd_calibration *c, mtk_model *model,
                                      const mtk_quantizer_v1 *quantizer,
                                      const mtk_quantize_report *report, mtk_error *err);
int64_t mtk_cmd_calibration_tokens(const mtk_cmd_calibration *c);
/* For mtk_quantize_options.stats; ctx is the calibration. */
const mtk_input_stats *mtk_cmd_calibration_stats(void *ctx, const char *tensor);

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

/* quantize_verify.c: an artefact beside its source, both loaded anew (the artefact may be split).
 * Finish *out in any case. */
mtk_status mtk_cmd_compare(mtk_compare_report *out, const char *artefact, const char *source,
                           mtk_pool *pool, mtk_error *err);
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
