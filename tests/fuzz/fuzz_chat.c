/* fuzz_chat.c: requests and answers. The first byte says which: 'a'.. an answer for one of the tool
 * parsers (the second byte: bit 0 tools, bit 1 the prompt opens reasoning), 'A'.. a request in JSON
 * for one of the encoders. An answer must parse the same whole and byte by byte; a prompt has as
 * many ids as mask bytes, and its text is UTF-8. */
#include <jansson.h>
#include <mtk/chat.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vocab_json[] =
    "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"<unk>\":0,\"x\":1},\"unk_token\":\"<unk>\"},"
    "\"added_tokens\":[%s]}";
static const char *const control[] = {"<s>",
                                      "</s>",
                                      "[INST]",
                                      "[/INST]",
                                      "[AVAILABLE_TOOLS]",
                                      "[/AVAILABLE_TOOLS]",
                                      "[TOOL_RESULTS]",
                                      "[/TOOL_RESULTS]",
                                      "[TOOL_CALLS]",
                                      "[SYSTEM_PROMPT]",
                                      "[/SYSTEM_PROMPT]",
                                      "[TOOL_CONTENT]",
                                      "[ARGS]",
                                      "[CALL_ID]",
                                      "[THINK]",
                                      "[/THINK]",
                                      "[MODEL_SETTINGS]",
                                      "[/MODEL_SETTINGS]",
                                      "[PREFIX]",
                                      "[SUFFIX]",
                                      "<|start|>",
                                      "<|end|>",
                                      "<|message|>",
                                      "<|channel|>",
                                      "<|constrain|>",
                                      "<|return|>",
                                      "<|call|>"};
static const int versions[] = {0 /* harmony */, 1, 2, 3, 7, 11, 13, 15};
enum { N_VERSIONS = sizeof versions / sizeof versions[0] };
static const char tekken[] =
    "{\"model_settings_builder\":{\"reasoning_effort\":{\"default\":\"none\",\"values\":[\"none\","
    "\"high\"]},\"json_schema\":{}}}";
static const char tools[] = "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{"
                            "\"type\":\"string\"}}}}}]";

static mtk_vocab *make_vocab(void) {
  mtk_bytes added = {0}, json = {0};
  mtk_vocab *vocab = NULL;
  for (size_t i = 0; i < sizeof control / sizeof control[0]; i++)
    mtk_bytes_printf(&added, "%s{\"id\":%zu,\"content\":\"%s\",\"special\":true}", i ? "," : "",
                     i + 2, control[i]);
  mtk_bytes_printf(&json, vocab_json, added.data);
  if (mtk_vocab_from_hf(&vocab, json.data, json.len, NULL, 0, NULL) != MTK_OK) __builtin_trap();
  vocab->bos = 2;
  vocab->eos = 3;
  mtk_bytes_finish(&added);
  mtk_bytes_finish(&json);
  return vocab;
}

static mtk_chat *make_chat(int version) {
  mtk_model *model = mtk_model_create();
  mtk_vocab *vocab = make_vocab();
  mtk_chat *chat = NULL;
  vocab->mistral_version = version;
  vocab->tekken_json = version ? tekken : NULL;
  vocab->tekken_json_len = version ? sizeof tekken - 1 : 0;
  mtk_model_set_vocab(model, vocab);
  if (mtk_chat_create(&chat, model, NULL, NULL) != MTK_OK) __builtin_trap();
  mtk_model_destroy(model);
  return chat;
}

static mtk_chat *chats[N_VERSIONS];

/* ---- answers -------------------------------------------------------------------------------- */

static void describe(mtk_bytes *out, const mtk_chat_delta *d) {
  if (d->part == MTK_CHAT_CALL)
    mtk_bytes_printf(out, "\nCALL %d %s %s\n", d->index, d->id, d->name);
  else
    for (size_t i = 0; i < d->n_text; i++)
      mtk_bytes_printf(out, "%d %c\n", (int)d->part * 100 + d->index, d->text[i]);
}

static mtk_bytes parse(const mtk_chat_parser_options *o, const char *text, size_t n, size_t step) {
  mtk_chat_parser *p;
  mtk_bytes out = {0};
  if (mtk_chat_parser_create(&p, chats[0], o, NULL) != MTK_OK) __builtin_trap();
  for (size_t at = 0;; at += step) {
    const mtk_chat_delta *deltas;
    size_t n_deltas, len = n - at < step ? n - at : step;
    bool end = at + len == n;
    if (mtk_chat_parser_push(&deltas, &n_deltas, p, text + at, len, end, NULL) != MTK_OK)
      __builtin_trap();
    for (size_t i = 0; i < n_deltas; i++) describe(&out, &deltas[i]);
    if (end) break;
  }
  mtk_chat_parser_destroy(p);
  return out;
}

static void fuzz_answer(int which, uint8_t flags, const char *text, size_t n) {
  char names[256], *save = NULL, *name = NULL;
  strncpy(names, mtk_chat_parser_names(), sizeof names - 1);
  names[sizeof names - 1] = 0;
  name = strtok_r(names, ", ", &save);
  for (int i = 0; i < which && name; i++) name = strtok_r(NULL, ", ", &save);
  mtk_chat_parser_options o = {.struct_size = sizeof o,
                               .name = name,
                               .tools_json = flags & 1 ? tools : NULL,
                               .n_tools_json = sizeof tools - 1,
                               .prompt = flags & 2 ? "[THINK]" : NULL,
                               .n_prompt = 7};
  mtk_bytes whole = parse(&o, text, n, n ? n : 1), bytes = parse(&o, text, n, 1);
  if (whole.len != bytes.len || (whole.len && memcmp(whole.data, bytes.data, whole.len) != 0))
    __builtin_trap();
  mtk_bytes_finish(&whole);
  mtk_bytes_finish(&bytes);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void fuzz_request(const mtk_chat *chat, bool generation, const char *json, size_t n) {
  mtk_bytes text = {0};
  mtk_ids ids = {0};
  uint8_t *mask = NULL;
  bool incomplete;
  mtk_error err = {0};
  mtk_status st = mtk_chat_render(&text, &ids, generation ? NULL : &mask, chat, json, n, generation,
                                  "2025-06-28", &err);
  if (st == MTK_OK && text.len && mtk_utf8_prefix(text.data, text.len, &incomplete) != text.len)
    __builtin_trap();
  for (size_t i = 0; mask && i < ids.len; i++)
    if (mask[i] > 1) __builtin_trap();
  mtk_free(mask);
  mtk_ids_finish(&ids);
  mtk_bytes_finish(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  for (int i = 0; i < N_VERSIONS && !chats[i]; i++) chats[i] = make_chat(versions[i]);
  const char *rest = (const char *)data + 2;
  if (data[0] >= 'a')
    fuzz_answer((data[0] - 'a') % 9, data[1], rest, size - 2);
  else
    fuzz_request(chats[data[0] % N_VERSIONS], data[1] & 1, rest, size - 2);
  return 0;
}
