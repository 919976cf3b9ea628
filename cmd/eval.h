/* eval.h: shared by the files of mtk eval. */
#ifndef MTK_CMD_EVAL_H
#define MTK_CMD_EVAL_H

#include "cmd.h"

/* log p(ids[i+1] | ids[..i]) for i = 0..n-2 into logprobs (n doubles), feeding a fresh sequence;
 * all logits rows go through hash if it is not NULL. */
mtk_status mtk_eval_rows(double *logprobs, mtk_sha256 *hash, mtk_cmd_engine *e, const int32_t *ids,
                         int64_t n, mtk_error *err);

/* Calls fn for every non-empty line; errors get "path: line N" as place. */
typedef mtk_status (*mtk_eval_line_fn)(mtk_cmd_engine *e, const json_t *doc, void *ctx,
                                       mtk_error *err);
mtk_status mtk_eval_jsonl(mtk_cmd_engine *e, const char *path, mtk_eval_line_fn fn, void *ctx,
                          mtk_error *err);

mtk_status mtk_eval_task(mtk_cmd_engine *e, const mtk_cmd_line *line, const char *path,
                         mtk_error *err);

/* Ids of a whole text file, with BOS where the model wants one. */
mtk_status mtk_eval_tokenize_file(mtk_ids *out, const mtk_cmd_engine *e, const char *path,
                                  mtk_error *err);
/* How many windows of --ctx ids to score (--chunks). */
mtk_status mtk_eval_windows(int64_t *n, const mtk_cmd_engine *e, const mtk_cmd_line *line,
                            const mtk_ids *ids, const char *path, mtk_error *err);
/* --kld BASE --text FILE: puts the numbers into the report. */
mtk_status mtk_eval_kld(json_t *report, mtk_cmd_engine *e, mtk_cmd_engine *base,
                        const mtk_cmd_line *line, const char *text, mtk_error *err);
void mtk_eval_kld_print(const json_t *report);
/* --refusals FILE, beside those of the base (NULL: none): puts the rates into the report. */
mtk_status mtk_eval_refusals(json_t *report, mtk_cmd_engine *e, mtk_cmd_engine *base,
                             const mtk_cmd_line *line, mtk_error *err);
void mtk_eval_refusals_print(const json_t *report);

/* eval_generate.c: a prompt and what was generated for it. */
typedef struct mtk_eval_answer {
  mtk_bytes prompt_text;
  mtk_ids prompt, ids;
  mtk_bytes text; /* with the texts of control tokens */
} mtk_eval_answer;
/* The prompt of a chat request ({"messages": ...}). */
mtk_status mtk_eval_prompt(mtk_eval_answer *a, const mtk_chat *chat, const json_t *request,
                           mtk_error *err);
/* Greedy answers to all prompts, as many at once as the engine has sequences. */
mtk_status mtk_eval_generate(mtk_eval_answer *answers, size_t n, const mtk_cmd_engine *e,
                             int64_t max_tokens, mtk_error *err);
void mtk_eval_answer_finish(mtk_eval_answer *a);

/* Are all --gate conditions well-formed? Asked before the work begins. */
mtk_status mtk_eval_parse_gates(const mtk_cmd_line *line, mtk_error *err);
/* Ends a command: checks every --gate against the numbers of the report (the results join it as
 * "gates"), prints it as JSON or by `print`, and frees it. MTK_E_CHECK names the gates that do not
 * hold. */
mtk_status mtk_eval_report(json_t *report, void (*print)(const json_t *report),
                           const mtk_cmd_line *line, mtk_error *err);
/* One JSON a line, in place of a file that is there. */
mtk_status mtk_eval_write_rows(const json_t *rows, const char *path, mtk_error *err);

#endif
