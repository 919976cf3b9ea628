/* chat/prompt.c: prompts built from pieces. See chat.h; one thread per prompt. */
#include <stdio.h>
#include <string.h>

#include "chat/chat.h"

static mtk_status fill_mask(chat_prompt *p, mtk_error *err) {
  const char mark = p->learn;
  while (p->mask.len < p->ids.len && !p->mask.failed) mtk_bytes_append(&p->mask, &mark, 1);
  MTK_TRY(mtk_bytes_status(&p->text, err));
  return mtk_bytes_status(&p->mask, err);
}

mtk_status mtk_prompt_text_from(chat_prompt *p, const char *text, size_t n, size_t skip,
                                size_t n_skip, mtk_error *err) {
  size_t before = p->ids.len;
  MTK_TRY(mtk_tokenizer_encode(&p->ids, p->tok, text, n, 0, err));
  if (n_skip > p->ids.len - before) n_skip = p->ids.len - before;
  p->ids.len -= n_skip;
  if (n_skip)
    memmove(p->ids.data + before, p->ids.data + before + n_skip,
            (p->ids.len - before) * sizeof *p->ids.data);
  mtk_bytes_append(&p->text, text + skip, n - skip);
  return fill_mask(p, err);
}

mtk_status mtk_prompt_text(chat_prompt *p, const char *text, size_t n, mtk_error *err) {
  return n ? mtk_prompt_text_from(p, text, n, 0, 0, err) : MTK_OK;
}

mtk_status mtk_prompt_puts(chat_prompt *p, const char *text, mtk_error *err) {
  return mtk_prompt_text(p, text, strlen(text), err);
}

mtk_status mtk_prompt_control_id(chat_prompt *p, int32_t id, const char *token, mtk_error *err) {
  if (id < 0 || !mtk_tokenizer_is_control(p->tok, id))
    return mtk_fail(err, MTK_E_FORMAT, NULL,
                    "the vocabulary has no control token %s, which its chat encoding needs", token);
  MTK_TRY(mtk_ids_push(&p->ids, id, err));
  mtk_bytes_puts(&p->text, token);
  return fill_mask(p, err);
}

mtk_status mtk_prompt_control(chat_prompt *p, const char *token, mtk_error *err) {
  return mtk_prompt_control_id(p, mtk_tokenizer_find(p->tok, token), token, err);
}

void mtk_prompt_finish(chat_prompt *p) {
  mtk_bytes_finish(&p->text);
  mtk_bytes_finish(&p->mask);
  mtk_ids_finish(&p->ids);
}

mtk_status mtk_chat_fail(mtk_error *err, size_t message, const char *fmt, ...) {
  char text[400], place[40];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  snprintf(place, sizeof place, "messages[%zu]", message);
  return mtk_fail(err, MTK_E_INVALID, place, "%s", text);
}
