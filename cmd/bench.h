/* bench.h: what the files of `mtk bench` share. Main thread only. */
#ifndef MTK_CMD_BENCH_H
#define MTK_CMD_BENCH_H

#include <mtk/limits.h>

#include "cmd.h"

/* ---- bench_shape.c: what is measured ---- */

typedef struct bench_model {
  mtk_model *model;
  const char *name;      /* base name of the model or of the shape's config.json */
  bool shape;            /* random weights */
  int64_t blocks, whole; /* of a shape: those measured, and those of the config */
  double seconds;        /* that opening took */
} bench_model;
/* MODEL or --shape. positions: KV cache positions that the run needs, for the number of blocks that
 * fits into memory. */
mtk_status bench_model_open(bench_model *out, const mtk_cmd_line *line, int64_t positions,
                            mtk_error *err);

/* ---- bench_peak.c: the machine's limits ---- */

typedef struct bench_peak {
  int threads;
  double memory, read;         /* bytes/s: far beyond the caches; as many as a token reads */
  double ops[MTK_ARITH_COUNT]; /* operations/s in what each arithmetic is made of */
} bench_peak;
/* Of the machine's best instruction level, whatever MTK_CPU says. */
mtk_status bench_measure_peak(bench_peak *out, uint64_t weight_bytes, mtk_pool *pool,
                              mtk_error *err);

/* ---- bench_report.c: JSON and text ---- */

/* Prompt (0) and generation (1) of one setting. */
typedef struct bench_phase {
  double tokens, seconds; /* of the median run */
  double ops[MTK_ARITH_COUNT], bytes;
  json_t *per_op; /* owned; NULL = not asked for */
} bench_phase;
typedef struct bench_run {
  const char *isa;
  int threads, sequences, depth, prompt_tokens, generated;
  uint64_t weight_bytes;
  bench_phase phases[2];
  char hash[65];
} bench_run;
/* Adds the ops counted by the engine since mtk_engine_profile; per_op: also row by row, with what
 * share of the limits they reach (peak may be NULL). */
void bench_count_ops(bench_phase *phase, const mtk_engine *engine, bool per_op,
                     const bench_peak *peak);
/* The JSON form; takes the phases' per_op. */
json_t *bench_run_json(bench_run *run, const bench_peak *peak);
json_t *bench_peak_json(const bench_peak *peak);
void bench_print_peak(const json_t *peak);
void bench_print_run(const json_t *run);
/* An earlier report; *out is the caller's in any case. */
mtk_status bench_read_report(json_t **out, const char *path, mtk_error *err);
/* Does a report have a run of so many threads, sequences and tokens? */
bool bench_report_has(const json_t *report, const bench_run *run);
/* Sets doc.compare: ratios to the runs of another report, and the runs that only one of both has.
 * MTK_E_CHECK: other logits for equal settings; with --tolerance also a rate that fell by more, or
 * a run that the other lacks. */
mtk_status bench_compare(json_t *doc, const json_t *other, const mtk_cmd_line *line,
                         mtk_error *err);

#endif
