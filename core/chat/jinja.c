/* chat/jinja.c: conversations through the model's chat template. Pure; any thread. */
#include <string.h>

#include "chat/chat.h"

static void set_missing(json_t *doc, const char *key, json_t *value) {
  if (json_object_get(doc, key))
    json_decref(value);
  else
    json_object_set_new(doc, key, value);
}

static mtk_status render_doc(mtk_rendered *out, const mtk_chat *c, const json_t *doc,
                             const char *now, mtk_error *err) {
  char *json = json_dumps(doc, JSON_REAL_PRECISION(17));
  if (!json) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_template_options opt = {.struct_size = sizeof opt, .now = now};
  mtk_status st = mtk_template_render(out, c->template, json, strlen(json), &opt, err);
  free(json);
  return st;
}

/* The rendering of the first n messages. */
static mtk_status render_prefix(mtk_rendered *out, const mtk_chat *c, json_t *doc, size_t n,
                                bool prompt, const char *now, mtk_error *err) {
  json_t *all = json_object_get(doc, "messages"), *some = json_array(), *copy = json_copy(doc);
  for (size_t i = 0; i < n; i++) json_array_append(some, json_array_get(all, i));
  json_object_set_new(copy, "messages", some);
  json_object_set_new(copy, "add_generation_prompt", json_boolean(prompt));
  mtk_status st = render_doc(out, c, copy, now, err);
  json_decref(copy);
  return st;
}

/* The template marks nothing: an assistant message is what its rendering adds to that of the
 * messages before it with the generation prompt open. Both must be prefixes of the whole. */
static mtk_status find_generation(mtk_rendered *whole, const mtk_chat *c, json_t *doc,
                                  const char *now, mtk_error *err) {
  json_t *messages = json_object_get(doc, "messages");
  size_t n = json_array_size(messages);
  whole->generation = mtk_alloc(n + 1, sizeof *whole->generation);
  if (!whole->generation) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = MTK_OK;
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
    if (!role || strcmp(role, "assistant") != 0) continue;
    mtk_rendered before = {0}, after = {0};
    st = render_prefix(&before, c, doc, i, true, now, err);
    if (st == MTK_OK) st = render_prefix(&after, c, doc, i + 1, false, now, err);
    if (st == MTK_OK) {
      bool nested = before.text.len <= after.text.len && after.text.len <= whole->text.len &&
                    !memcmp(before.text.data, whole->text.data, before.text.len) &&
                    !memcmp(after.text.data, whole->text.data, after.text.len);
      if (nested)
        whole->generation[whole->n_generation++] = (mtk_span){before.text.len, after.text.len};
      else
        st = mtk_fail(
            err, MTK_E_UNSUPPORTED, "chat template",
            "cannot tell the assistant's part: the template changes earlier turns; mark it "
            "with {%% generation %%}");
    }
    mtk_rendered_finish(&before);
    mtk_rendered_finish(&after);
  }
  return st;
}

static bool matches(const mtk_vocab *vocab, const mtk_tokenizer *tok) {
  (void)vocab;
  (void)tok;
  return true;
}

static mtk_status encode(chat_prompt *out, const mtk_chat *chat, json_t *request,
                         const chat_ask *ask, mtk_error *err) {
  set_missing(request, "add_generation_prompt", json_boolean(ask->generation_prompt));
  if (chat->bos) set_missing(request, "bos_token", json_string(chat->bos));
  if (chat->eos) set_missing(request, "eos_token", json_string(chat->eos));
  mtk_rendered r = {0};
  uint8_t *mask = NULL;
  mtk_status st = render_doc(&r, chat, request, ask->now, err);
  if (st == MTK_OK && ask->training && !r.n_generation)
    st = find_generation(&r, chat, request, ask->now, err);
  if (st == MTK_OK && (ask->ids || ask->training))
    st = mtk_rendered_encode(&out->ids, ask->training ? &mask : NULL, &r, chat->tok, err);
  if (st == MTK_OK && mask) mtk_bytes_append(&out->mask, mask, out->ids.len);
  mtk_free(mask);
  if (st == MTK_OK) st = mtk_bytes_status(&out->mask, err);
  mtk_bytes text = out->text; /* the rendered text moves over */
  out->text = r.text;
  r.text = text;
  mtk_rendered_finish(&r);
  return st;
}

const chat_encoder mtk_chat_jinja = {"jinja", matches, NULL, encode};
