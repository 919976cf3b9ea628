/* eval_generate.c: greedy answers to many prompts, several at once, for mtk eval. Main thread
 * only. */
#include "eval.h"

#include <string.h>

static void on_token(void *ctx, const mtk_token_event *ev) {
  mtk_eval_answer *a = ctx;
  if (ev->id >= 0) mtk_ids_push(&a->ids, ev->id, NULL);
  mtk_bytes_append(&a->text, ev->text, ev->n_text);
}

mtk_status mtk_eval_prompt(mtk_eval_answer *a, const mtk_chat *chat, const json_t *request,
                           mtk_error *err) {
  char *json = json_dumps(request, JSON_REAL_PRECISION(17));
  if (!json) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = mtk_chat_render(&a->prompt_text, &a->prompt, NULL, chat, json, strlen(json), true,
                                  NULL, err);
  free(json);
  return st;
}

mtk_status mtk_eval_generate(mtk_eval_answer *answers, size_t n, const mtk_cmd_engine *e,
                             int64_t max_tokens, mtk_error *err) {
  mtk_scheduler *s = NULL;
  MTK_TRY(mtk_scheduler_create(&s, e->engine, err));
  mtk_status st = MTK_OK;
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    mtk_request r = {.struct_size = sizeof r,
                     .prompt = answers[i].prompt.data,
                     .n_prompt = (int64_t)answers[i].prompt.len,
                     .max_tokens = max_tokens,
                     .sampling = MTK_SAMPLING_DEFAULT,
                     .echo_special = true,
                     .adapter = e->adapter,
                     .on_token = on_token,
                     .ctx = &answers[i]};
    uint64_t id;
    st = mtk_scheduler_submit(&id, s, &r, err);
  }
  int active = 1;
  while (st == MTK_OK && active) {
    st = mtk_cancelled() ? mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped")
                         : mtk_scheduler_step(&active, s, err);
    mtk_progress("answer", n - (size_t)active, n, "problems");
  }
  mtk_scheduler_destroy(s);
  for (size_t i = 0; i < n && st == MTK_OK; i++) st = mtk_bytes_status(&answers[i].text, err);
  return st;
}

void mtk_eval_answer_finish(mtk_eval_answer *a) {
  mtk_bytes_finish(&a->prompt_text);
  mtk_ids_finish(&a->prompt);
  mtk_ids_finish(&a->ids);
  mtk_bytes_finish(&a->text);
}
