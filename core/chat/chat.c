/* chat/chat.c: which encoder a model's conversations go through. A mtk_chat is immutable after
 * creation and shared by threads. */
#include <string.h>

#include "chat/chat.h"
#include "chat/parser.h"

/* The vocabulary's own encoding comes first; the last takes any model that has a template. */
static const chat_encoder *const g_encoders[] = {&mtk_chat_mistral, &mtk_chat_harmony,
                                                 &mtk_chat_jinja};

static char *token_text(const mtk_vocab *v, int32_t id) {
  if (id < 0 || (size_t)id >= v->n_tokens || !v->tokens[id].text) return NULL;
  return mtk_strndup(v->tokens[id].text, v->tokens[id].len);
}

static mtk_status parse_template(mtk_chat *c, const char *source, size_t n, mtk_error *err) {
  mtk_status st = mtk_template_create(&c->template, source, n, err);
  return st == MTK_OK ? st : mtk_fail_in(err, st, "chat template");
}

static mtk_status open_chat(mtk_chat *c, const mtk_model *model, const char *override,
                            mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(model);
  size_t n = override ? strlen(override) : 0, i = 0;
  const char *source = override ? override : mtk_model_attachment(model, "chat_template", &n);
  if (!vocab)
    return mtk_fail(err, MTK_E_NOT_FOUND, mtk_model_path(model),
                    "the model has no tokenizer that mtk can use");
  MTK_TRY(mtk_tokenizer_create(&c->tok, vocab, err));
  while (g_encoders[i] != &mtk_chat_jinja && (override || !g_encoders[i]->matches(vocab, c->tok)))
    i++;
  c->encoder = g_encoders[i];
  if (c->encoder == &mtk_chat_jinja && !source)
    return mtk_fail(err, MTK_E_NOT_FOUND, mtk_model_path(model),
                    "the model has no chat template; give one with --template or use raw text");
  if (c->encoder == &mtk_chat_jinja) MTK_TRY(parse_template(c, source, n, err));
  if (c->encoder->open) MTK_TRY(c->encoder->open(c, vocab, err));
  c->bos = token_text(vocab, vocab->bos);
  c->eos = token_text(vocab, vocab->eos);
  mtk_chat_find_markup(c, source ? source : "");
  return MTK_OK;
}

mtk_status mtk_chat_create(mtk_chat **out, const mtk_model *model, const char *template_override,
                           mtk_error *err) {
  *out = NULL;
  mtk_chat *c = mtk_alloc(1, sizeof *c);
  if (!c) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = open_chat(c, model, template_override, err);
  if (st == MTK_OK)
    *out = c;
  else
    mtk_chat_destroy(c);
  return st;
}

void mtk_chat_destroy(mtk_chat *c) {
  if (!c) return;
  mtk_tokenizer_destroy(c->tok);
  mtk_template_destroy(c->template);
  json_decref(c->settings);
  mtk_free(c->bos);
  mtk_free(c->eos);
  mtk_free(c);
}

const mtk_tokenizer *mtk_chat_tokenizer(const mtk_chat *chat) { return chat->tok; }
const char *mtk_chat_encoding(const mtk_chat *chat) { return chat->encoder->name; }

/* ---- rendering ------------------------------------------------------------------------------ */

static mtk_status hand_out(mtk_bytes *text, mtk_ids *ids, uint8_t **mask, const chat_prompt *p,
                           mtk_error *err) {
  if (text) {
    mtk_bytes_append(text, p->text.data ? p->text.data : "", p->text.len);
    MTK_TRY(mtk_bytes_status(text, err));
  }
  for (size_t i = 0; ids && i < p->ids.len; i++) MTK_TRY(mtk_ids_push(ids, p->ids.data[i], err));
  if (!mask) return MTK_OK;
  *mask = mtk_alloc(p->ids.len, 1);
  if (!*mask) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding a prompt");
  if (p->ids.len) memcpy(*mask, p->mask.data, p->ids.len);
  return MTK_OK;
}

mtk_status mtk_chat_render(mtk_bytes *text, mtk_ids *ids, uint8_t **mask, const mtk_chat *chat,
                           const char *request_json, size_t n, bool generation_prompt,
                           const char *now, mtk_error *err) {
  json_error_t je;
  json_t *request = json_loadb(request_json, n, JSON_ALLOW_NUL, &je);
  if (!json_is_object(request)) {
    mtk_status bad = request
                         ? mtk_fail(err, MTK_E_FORMAT, NULL, "expected a JSON object")
                         : mtk_fail(err, MTK_E_FORMAT, NULL, "JSON line %d: %s", je.line, je.text);
    json_decref(request);
    return bad;
  }
  const json_t *open = json_object_get(request, "add_generation_prompt");
  chat_ask ask = {.generation_prompt = open ? json_is_true(open) : generation_prompt,
                  .ids = ids != NULL,
                  .training = mask != NULL,
                  .now = now};
  chat_prompt p = {.tok = chat->tok};
  mtk_status st = chat->encoder->encode(&p, chat, request, &ask, err);
  if (st == MTK_OK) st = hand_out(text, ids, mask, &p, err);
  mtk_prompt_finish(&p);
  json_decref(request);
  return st;
}
