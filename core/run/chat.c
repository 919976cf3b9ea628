/* run/chat.c: a model's tokenizer and chat template together: prompts, training masks, reasoning.
 *
 * A mtk_chat is immutable after creation and shared by threads. */
#include <mtk/engine.h>

#include <jansson.h>
#include <string.h>

struct mtk_chat {
  mtk_tokenizer *tok;
  mtk_template *template;
  char *bos, *eos; /* token texts for the template; may be NULL */
  const char *think_open, *think_close;
};

/* Markers of published reasoning models: used when both are tokens of the vocabulary or both occur
 * in the template. */
static const char *const g_markers[][2] = {{"[THINK]", "[/THINK]"}, {"<think>", "</think>"}};

static void find_markers(mtk_chat *c, const char *source) {
  for (size_t i = 0; i < sizeof g_markers / sizeof g_markers[0] && !c->think_open; i++) {
    bool tokens = mtk_tokenizer_find(c->tok, g_markers[i][0]) >= 0 &&
                  mtk_tokenizer_find(c->tok, g_markers[i][1]) >= 0;
    bool text = strstr(source, g_markers[i][0]) && strstr(source, g_markers[i][1]);
    if (tokens || text) {
      c->think_open = g_markers[i][0];
      c->think_close = g_markers[i][1];
    }
  }
}

static char *token_text(const mtk_vocab *v, int32_t id) {
  if (id < 0 || (size_t)id >= v->n_tokens || !v->tokens[id].text) return NULL;
  return mtk_strndup(v->tokens[id].text, v->tokens[id].len);
}

mtk_status mtk_chat_create(mtk_chat **out, const mtk_model *model, const char *template_override,
                           mtk_error *err) {
  *out = NULL;
  size_t n = 0;
  const char *source = template_override;
  if (source)
    n = strlen(source);
  else
    source = mtk_model_attachment(model, "chat_template", &n);
  const mtk_vocab *vocab = mtk_model_vocab(model);
  if (!vocab)
    return mtk_fail(err, MTK_E_NOT_FOUND, mtk_model_path(model),
                    "the model has no tokenizer that mtk can use");
  if (!source)
    return mtk_fail(err, MTK_E_NOT_FOUND, mtk_model_path(model),
                    "the model has no chat template; give one with --template or use raw text");
  mtk_chat *c = mtk_alloc(1, sizeof *c);
  if (!c) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = mtk_tokenizer_create(&c->tok, vocab, err);
  if (st == MTK_OK) {
    st = mtk_template_create(&c->template, source, n, err);
    if (st != MTK_OK) mtk_fail_in(err, st, "chat template");
  }
  if (st != MTK_OK) {
    mtk_chat_destroy(c);
    return st;
  }
  c->bos = token_text(vocab, vocab->bos);
  c->eos = token_text(vocab, vocab->eos);
  find_markers(c, source);
  *out = c;
  return MTK_OK;
}

void mtk_chat_destroy(mtk_chat *c) {
  if (!c) return;
  mtk_tokenizer_destroy(c->tok);
  mtk_template_destroy(c->template);
  mtk_free(c->bos);
  mtk_free(c->eos);
  mtk_free(c);
}

const mtk_tokenizer *mtk_chat_tokenizer(const mtk_chat *chat) { return chat->tok; }
const char *mtk_chat_think_open(const mtk_chat *chat) { return chat->think_open; }
const char *mtk_chat_think_close(const mtk_chat *chat) { return chat->think_close; }

/* ---- rendering ------------------------------------------------------------------------------ */

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

mtk_status mtk_chat_render(mtk_bytes *text, mtk_ids *ids, uint8_t **mask, const mtk_chat *chat,
                           const char *context_json, size_t n, bool generation_prompt,
                           const char *now, mtk_error *err) {
  json_error_t je;
  json_t *doc = json_loadb(context_json, n, JSON_ALLOW_NUL, &je);
  if (!json_is_object(doc)) {
    mtk_status bad = doc ? mtk_fail(err, MTK_E_FORMAT, NULL, "expected a JSON object")
                         : mtk_fail(err, MTK_E_FORMAT, NULL, "JSON line %d: %s", je.line, je.text);
    json_decref(doc);
    return bad;
  }
  set_missing(doc, "add_generation_prompt", json_boolean(generation_prompt));
  if (chat->bos) set_missing(doc, "bos_token", json_string(chat->bos));
  if (chat->eos) set_missing(doc, "eos_token", json_string(chat->eos));
  mtk_rendered r = {0};
  mtk_status st = render_doc(&r, chat, doc, now, err);
  if (st == MTK_OK && mask && !r.n_generation) st = find_generation(&r, chat, doc, now, err);
  if (st == MTK_OK && text) {
    mtk_bytes_append(text, r.text.data ? r.text.data : "", r.text.len);
    st = mtk_bytes_status(text, err);
  }
  if (st == MTK_OK && ids) st = mtk_rendered_encode(ids, mask, &r, chat->tok, err);
  mtk_rendered_finish(&r);
  json_decref(doc);
  return st;
}

/* ---- reasoning ------------------------------------------------------------------------------ */

/* Longest suffix of s[0..n) that begins marker. */
static size_t partial_suffix(const char *s, size_t n, const char *marker) {
  size_t len = strlen(marker), k = n < len - 1 ? n : len - 1;
  for (; k > 0; k--)
    if (!memcmp(s + n - k, marker, k)) return k;
  return 0;
}

void mtk_reasoning_push(mtk_reasoning_split *s, const mtk_chat *chat, const char *text, size_t n,
                        bool finish, mtk_bytes *reasoning, mtk_bytes *content) {
  mtk_bytes all = {0};
  mtk_bytes_append(&all, s->held, (size_t)s->n_held);
  mtk_bytes_append(&all, text, n);
  if (all.failed) content->failed = true; /* nothing is lost unseen */
  s->n_held = 0;
  size_t at = 0;
  while (all.data && at <= all.len) {
    const char *marker = !chat->think_open ? NULL
                         : s->state == 0   ? chat->think_open
                         : s->state == 1   ? chat->think_close
                                           : NULL;
    mtk_bytes *to = s->state == 1 ? reasoning : content;
    const char *rest = all.data + at;
    size_t left = all.len - at;
    const char *hit = marker ? memmem(rest, left, marker, strlen(marker)) : NULL;
    if (hit) {
      mtk_bytes_append(to, rest, (size_t)(hit - rest));
      at = (size_t)(hit - all.data) + strlen(marker);
      s->state++;
      continue;
    }
    size_t keep = marker && !finish ? partial_suffix(rest, left, marker) : 0;
    if (keep > sizeof s->held) keep = 0;
    mtk_bytes_append(to, rest, left - keep);
    memcpy(s->held, rest + left - keep, keep);
    s->n_held = (int)keep;
    break;
  }
  mtk_bytes_finish(&all);
}
