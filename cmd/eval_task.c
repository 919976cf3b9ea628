/* eval_task.c: mtk eval --task: greedy answers, several at once, graded by a verifier plugin. */
#include "eval.h"

#include <mtk/ext/verifier.h>

/* One problem, its answer as it is generated, and its grade. */
typedef struct problem {
  json_t *doc;
  mtk_grade grade;
} problem;

typedef struct task {
  const mtk_verifier_v1 *verifier;
  mtk_chat *chat;
  problem *items;
  mtk_eval_answer *answers; /* one per item */
  size_t n, cap;
} task;

static mtk_status add_problem(mtk_cmd_engine *e, const json_t *doc, void *ctx, mtk_error *err) {
  (void)e;
  task *t = ctx;
  if (!json_is_array(json_object_get(doc, "messages")) || !json_object_get(doc, "answer"))
    return mtk_fail(err, MTK_E_FORMAT, NULL, "needs \"messages\" and \"answer\"");
  if (t->n == t->cap) {
    size_t cap = t->cap ? t->cap * 2 : 64;
    problem *grown = mtk_realloc(t->items, t->cap, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    t->items = grown;
    mtk_eval_answer *more = mtk_realloc(t->answers, t->cap, cap, sizeof *more);
    if (!more) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    t->answers = more;
    t->cap = cap;
  }
  mtk_eval_answer *a = &t->answers[t->n];
  problem *p = &t->items[t->n++];
  *a = (mtk_eval_answer){0};
  *p = (problem){.doc = json_deep_copy(doc)};
  if (!p->doc) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  return mtk_eval_prompt(a, t->chat, doc, err);
}

static mtk_status grade_all(task *t, mtk_error *err) {
  for (size_t i = 0; i < t->n; i++) {
    problem *p = &t->items[i];
    const mtk_bytes *text = &t->answers[i].text;
    char *json = json_dumps(p->doc, JSON_REAL_PRECISION(17));
    if (!json) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    mtk_status st =
        t->verifier->grade(&p->grade, text->data ? text->data : "", text->len, json, err);
    free(json);
    if (st != MTK_OK) return st;
  }
  return MTK_OK;
}

static mtk_status write_outputs(const task *t, const char *path, mtk_error *err) {
  json_t *rows = json_array();
  for (size_t i = 0; i < t->n; i++) {
    const problem *p = &t->items[i];
    const mtk_bytes *text = &t->answers[i].text;
    json_t *row =
        json_pack("{s:s%,s:b,s:s}", "text", text->data ? text->data : "", text->len, "correct",
                  p->grade.verdict == MTK_VERDICT_PASS, "reason", p->grade.reason);
    if (row) json_object_update_missing(row, p->doc);
    if (row) json_array_append_new(rows, row);
  }
  mtk_status st = mtk_eval_write_rows(rows, path, err);
  json_decref(rows);
  return st;
}

/* Count one problem under groups[field=value]. */
static void count_group(json_t *groups, const problem *p, const char *field) {
  const char *value = json_string_value(json_object_get(p->doc, field));
  if (!value) return;
  json_t *by = json_object_get(groups, field);
  if (!by) {
    by = json_object();
    json_object_set_new(groups, field, by);
  }
  json_t *row = json_object_get(by, value);
  if (!row) {
    row = json_pack("{s:I,s:I}", "correct", (json_int_t)0, "total", (json_int_t)0);
    json_object_set_new(by, value, row);
  }
  json_t *total = json_object_get(row, "total"), *correct = json_object_get(row, "correct");
  json_integer_set(total, json_integer_value(total) + 1);
  if (p->grade.verdict == MTK_VERDICT_PASS)
    json_integer_set(correct, json_integer_value(correct) + 1);
}

static void print_report(const json_t *r) {
  const json_t *groups = json_object_get(r, "by");
  double tokens = json_number_value(json_object_get(r, "generated_tokens"));
  mtk_cmd_print("exact answers: %.0f of %.0f (%.1f %%), %.0f tokens in %.1f s\n",
                json_number_value(json_object_get(r, "correct")),
                json_number_value(json_object_get(r, "total")),
                100 * json_number_value(json_object_get(r, "accuracy")), tokens,
                json_number_value(json_object_get(r, "seconds")));
  const char *field, *value;
  json_t *by, *row;
  json_object_foreach((json_t *)(uintptr_t)groups, field, by) {
    json_object_foreach(by, value, row) {
      double c = json_number_value(json_object_get(row, "correct"));
      double n = json_number_value(json_object_get(row, "total"));
      mtk_cmd_print("  %-6s %-8s %5.1f %%  (%.0f of %.0f)\n", field, value, 100 * c / n, c, n);
    }
  }
}

static mtk_status report(const task *t, const mtk_cmd_line *line, double seconds, mtk_error *err) {
  json_t *groups = json_object();
  size_t correct = 0, tokens = 0;
  for (size_t i = 0; i < t->n; i++) {
    correct += t->items[i].grade.verdict == MTK_VERDICT_PASS;
    tokens += t->answers[i].ids.len;
    count_group(groups, &t->items[i], "task");
    count_group(groups, &t->items[i], "lang");
  }
  double accuracy = t->n ? (double)correct / (double)t->n : 0;
  json_t *doc = json_pack("{s:s,s:I,s:I,s:f,s:o,s:I,s:f}", "model", line->args[0], "correct",
                          (json_int_t)correct, "total", (json_int_t)t->n, "accuracy", accuracy,
                          "by", groups, "generated_tokens", (json_int_t)tokens, "seconds", seconds);
  return mtk_eval_report(doc, print_report, line, err);
}

mtk_status mtk_eval_task(mtk_cmd_engine *e, const mtk_cmd_line *line, const char *path,
                         mtk_error *err) {
  const char *id = mtk_options_string(line->options, "verifier");
  const char *outputs = mtk_options_string(line->options, "outputs");
  task t = {.verifier = mtk_feature_find(MTK_EXT_VERIFIER, id)};
  if (!t.verifier)
    return mtk_fail(err, MTK_E_INVALID, NULL, "no verifier '%s'; 'mtk plugin list' shows them", id);
  double start = mtk_now_s();
  mtk_status st = mtk_chat_create(&t.chat, e->model, NULL, err);
  if (st == MTK_OK) st = mtk_eval_jsonl(e, path, add_problem, &t, err);
  if (st == MTK_OK)
    st = mtk_eval_generate(t.answers, t.n, e, mtk_options_int(line->options, "max-tokens"), err);
  if (st == MTK_OK) st = grade_all(&t, err);
  if (st == MTK_OK && outputs) st = write_outputs(&t, outputs, err);
  if (st == MTK_OK) st = report(&t, line, mtk_now_s() - start, err);
  for (size_t i = 0; i < t.n; i++) {
    json_decref(t.items[i].doc);
    mtk_eval_answer_finish(&t.answers[i]);
  }
  mtk_free(t.items);
  mtk_free(t.answers);
  mtk_chat_destroy(t.chat);
  return st;
}
