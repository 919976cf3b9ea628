/* test_chat_parser.c: generated text to content, reasoning and tool calls. Every case is fed whole,
 * byte by byte, and in two pieces cut at every place: the result must be the same. */
#include <mtk/chat.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"
#include "text_util.h"

static const char g_tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": "
    "\"object\", "
    "\"properties\": {\"city\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\"}}}}}]";

/* A chat whose template shows the markup, and whose vocabulary shows none. */
static mtk_chat *open_chat(const char *template) {
  size_t n;
  mtk_vocab *vocab;
  mtk_chat *chat;
  mtk_error err = {0};
  char *json = text_read_golden("smollm.tokenizer.json", &n);
  for (char *hit = json; (hit = strstr(hit, "think>"));) memcpy(hit, "other", 5);
  ck_assert(mtk_vocab_from_hf(&vocab, json, n, NULL, 0, &err) == MTK_OK);
  mtk_free(json);
  mtk_model *model = mtk_model_create();
  mtk_model_set_vocab(model, vocab);
  ck_assert_msg(mtk_chat_create(&chat, model, template, &err) == MTK_OK, "%s", err.message);
  mtk_model_destroy(model);
  return chat;
}

/* ---- answers as one line: "text", (reasoning), name{arguments}; ------------------------------ */

typedef struct answer {
  mtk_bytes line;
  int part, index; /* of the last delta */
} answer;

static void close_part(answer *a) {
  static const char *const ends[] = {"\"", ")", "", ";"};
  if (a->part >= 0) mtk_bytes_puts(&a->line, ends[a->part]);
}

static void add_delta(answer *a, const mtk_chat_delta *d) {
  static const char *const starts[] = {"\"", "(", "", ""};
  bool joins = d->part != MTK_CHAT_CALL && (int)d->part == a->part;
  if (d->part == MTK_CHAT_ARGUMENTS) ck_assert_int_eq(d->index, a->index);
  if (d->part == MTK_CHAT_ARGUMENTS && a->part == MTK_CHAT_CALL) joins = true;
  if (!joins) close_part(a);
  if (!joins) mtk_bytes_puts(&a->line, starts[d->part]);
  if (d->part == MTK_CHAT_CALL) {
    ck_assert_int_eq(d->index, ++a->index);
    ck_assert_uint_gt(strlen(d->id), 0);
    mtk_bytes_puts(&a->line, d->name);
    mtk_bytes_puts(&a->line, "#");
    if (strlen(d->id) != 9 || d->id[0] == '!') mtk_bytes_puts(&a->line, d->id);
  } else {
    ck_assert_uint_gt(d->n_text, 0);
    mtk_bytes_append(&a->line, d->text, d->n_text);
  }
  a->part = (int)d->part;
}

/* Pieces of `step` bytes (0: all at once), the first of them `first` bytes. */
static char *parse(const mtk_chat *chat, const mtk_chat_parser_options *o, const char *text,
                   size_t first, size_t step) {
  mtk_chat_parser *p;
  mtk_error err = {0};
  answer a = {.part = -1, .index = -1};
  size_t n = strlen(text);
  mtk_bytes_puts(&a.line, "");
  ck_assert_msg(mtk_chat_parser_create(&p, chat, o, &err) == MTK_OK, "%s", err.message);
  for (size_t at = 0, len = first; at < n || len == first; at += len, len = step ? step : n - at) {
    const mtk_chat_delta *deltas;
    size_t n_deltas;
    if (len > n - at) len = n - at;
    ck_assert(mtk_chat_parser_push(&deltas, &n_deltas, p, text + at, len, at + len == n, &err) ==
              MTK_OK);
    for (size_t i = 0; i < n_deltas; i++) add_delta(&a, &deltas[i]);
    if (at + len == n) break;
  }
  close_part(&a);
  mtk_chat_parser_destroy(p);
  return a.line.data;
}

static void check(const mtk_chat *chat, const mtk_chat_parser_options *o, const char *text,
                  const char *want) {
  size_t n = strlen(text);
  for (size_t i = 0; i <= n + 1; i++) { /* cut at i; n + 1: byte by byte */
    bool bytes = i == n + 1;
    char *got = parse(chat, o, text, bytes ? n > 0 : i, bytes);
    ck_assert_msg(!strcmp(got, want), "%s, cut at %zu of %zu\n  want %s\n  got  %s", text, i, n,
                  want, got);
    mtk_free(got);
  }
}

typedef struct example {
  const char *text, *want;
} example;

static void check_all(const char *template, const char *prompt, bool tools, const example *e) {
  mtk_chat *chat = open_chat(template);
  mtk_chat_parser_options o = {.struct_size = sizeof o,
                               .prompt = prompt,
                               .n_prompt = prompt ? strlen(prompt) : 0,
                               .tools_json = tools ? g_tools : NULL,
                               .n_tools_json = tools ? strlen(g_tools) : 0};
  for (; e->text; e++) check(chat, &o, e->text, e->want);
  mtk_chat_destroy(chat);
}

/* ---- reasoning ------------------------------------------------------------------------------ */

START_TEST(reasoning) {
  static const char template[] = "{# <think> </think> #}";
  static const example plain[] = {{"", ""},
                                  {"hi", "\"hi\""},
                                  {"<think>\nhm</think>\n\nhi", "(hm)\"hi\""},
                                  {"a<think>b</think>c", "\"a\"(b)\"c\""},
                                  {"<think>never ends </thi", "(never ends </thi)"},
                                  {"a < b <thin k", "\"a < b <thin k\""},
                                  {"<think>a</think>b<think>c", "(a)\"b<think>c\""},
                                  {"<think></think>b", "\"b\""},
                                  {NULL, NULL}};
  check_all(template, NULL, true, plain);
  static const example open[] = {{"hm</think>hi", "(hm)\"hi\""}, {"hm", "(hm)"}, {NULL, NULL}};
  check_all(template, "<|user|>q<|assistant|><think>\n", true, open);
  static const example done[] = {{"<think>hi", "\"<think>hi\""}, {NULL, NULL}};
  check_all(template, "<think>\n\n</think>\n\n", true, done);
  static const example mistral[] = {{"[THINK]hm[/THINK]hi", "(hm)\"hi\""}, {NULL, NULL}};
  check_all("{# [THINK] [/THINK] #}", NULL, false, mistral);
  static const example none[] = {{"<think>a</think>b", "\"<think>a</think>b\""}, {NULL, NULL}};
  check_all("{{ messages }}", NULL, true, none);
}
END_TEST

/* ---- Mistral -------------------------------------------------------------------------------- */

START_TEST(mistral) {
  static const char template[] = "{# [TOOL_CALLS] [THINK] [/THINK] #}";
  static const example cases[] = {
      {"plain [text]", "\"plain [text]\""},
      /* versions 2 to 7: a list */
      {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": [1, \"]}\"]}}]",
       "f#{\"a\": [1, \"]}\"]};"},
      {"[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}, \"id\": \"abc\"}, {\"arguments\": "
       "{\"b\": 2}, \"name\": \"g\"}]",
       "f#{};g#{\"b\": 2};"},
      {"sure[TOOL_CALLS][{\"name\": \"f\", \"arguments\": \"{\\\"a\\\":1}\"}] ok",
       "\"sure\"f#{\"a\":1};\"ok\""},
      /* from version 11 */
      {"[TOOL_CALLS]f[ARGS]{\"a\": 1}", "f#{\"a\": 1};"},
      {"[TOOL_CALLS]f[CALL_ID]!bcdefghi[ARGS]{\"a\": \"[TOOL_CALLS]\"}[TOOL_CALLS]g[ARGS]{}",
       "f#!bcdefghi{\"a\": \"[TOOL_CALLS]\"};g#{};"},
      {"[THINK]hm[/THINK]so[TOOL_CALLS]f{\"a\": {\"b\": \"\\\"}\"}}",
       "(hm)\"so\"f#{\"a\": {\"b\": \"\\\"}\"}};"},
      /* malformed: text, or raw arguments once the name is told */
      {"[TOOL_CALLS]", "\"[TOOL_CALLS]\""},
      {"[TOOL_CALLS]f", "\"[TOOL_CALLS]f\""},
      {"[TOOL_CALLS]f[ARGS]", "f#{};"},
      {"[TOOL_CALLS]f[ARGS]{\"a\": [1", "f#{\"a\": [1;"},
      {"[TOOL_CALLS]f[ARGS]not json[TOOL_CALLS]g[ARGS]{}", "f#not json;g#{};"},
      {"[TOOL_CALLS]f[ARGS]{\"a\": 1[TOOL_CALLS]g[ARGS]{}", "f#{\"a\": 1;g#{};"},
      {"[TOOL_CALLS]two words[ARGS]{}", "\"[TOOL_CALLS]two words[ARGS]{}\""},
      {"[TOOL_CALLS][1, 2]", "\"[TOOL_CALLS][1, 2]\""},
      {"[TOOL_CALLS][{\"nam\": \"f\"}]", "\"[TOOL_CALLS][{\"nam\": \"f\"}]\""},
      {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\"",
       "\"[TOOL_CALLS][{\"name\": \"f\", \"arguments\"\""},
      {"[TOOL_CALLS]é{\"ü\": \"日本\"}", "é#{\"ü\": \"日本\"};"},
      {NULL, NULL}};
  check_all(template, NULL, true, cases);
  static const example no_tools[] = {{"[TOOL_CALLS]f[ARGS]{}", "\"[TOOL_CALLS]f[ARGS]{}\""},
                                     {NULL, NULL}};
  check_all(template, NULL, false, no_tools);
}
END_TEST

/* ---- Qwen, Hermes --------------------------------------------------------------------------- */

START_TEST(hermes) {
  static const example cases[] = {
      {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"city\": \"a\"}}\n</tool_call>",
       "f#{\"city\": \"a\"};"},
      {"<think>\nhm\n</think>\n\nok <tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n"
       "<tool_call>{\"name\":\"g\",\"parameters\":{\"x\":\"</tool_call>\"}}</tool_call>\n",
       "(hm\n)\"ok \"f#{};g#{\"x\":\"</tool_call>\"};"},
      {"<tool_call>{\"name\": \"f\"}</tool_call> done", "f#{};\"done\""},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {}, \"more\": [\"}\"]}</tool_call>x",
       "f#{};\"x\""},
      {"<tool_call>{\"na", "\"<tool_call>{\"na\""},
      {"<tool_call>hello</tool_call>x", "\"<tool_call>hello</tool_call>x\""},
      {"<tool_call>{\"name\": 3}</tool_call>", "\"<tool_call>{\"name\": 3}</tool_call>\""},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}", "f#{\"a\": 1};"},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": </tool_call>b", "f#{\"a\": ;\"b\""},
      {"use <tool_cal and <tools>", "\"use <tool_cal and <tools>\""},
      {"<tool_call>{\"name\": \"\\u0066\", \"arguments\": [1]}</tool_call>", "f#[1];"},
      /* Qwen3-Coder */
      {"<tool_call>\n<function=f>\n<parameter=city>\nParis\n2\n</parameter>\n<parameter=days>\n3\n"
       "</parameter>\n</function>\n</tool_call>",
       "f#{\"city\": \"Paris\\n2\", \"days\": 3};"},
      {"<tool_call>\n<function=f>\n<parameter=city>\n7\n</parameter>\n<parameter=other>\n7\n"
       "</parameter>\n<parameter=flag>\nTrue\n</parameter>\n</function>\n</tool_call>\n",
       "f#{\"city\": \"7\", \"other\": 7, \"flag\": true};"},
      {"<tool_call><function=g></function></tool_call>", "g#{};"},
      {"<tool_call><function=g><parameter=a>1<parameter=b>[2]</function></tool_call>",
       "g#{\"a\": 1, \"b\": [2]};"},
      {"<tool_call><function=g><parameter=a>1", "\"<tool_call><function=g><parameter=a>1\""},
      {"<tool_call><func", "\"<tool_call><func\""},
      {NULL, NULL}};
  check_all("{# <tool_call> </tool_call> <think> </think> #}", NULL, true, cases);
}
END_TEST

/* ---- Llama 3 -------------------------------------------------------------------------------- */

START_TEST(llama3) {
  static const example cases[] = {
      {"{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "f#{\"a\": 1};"},
      {"\n{\"type\": \"function\", \"function\": \"f\", \"parameters\": {}}", "f#{};"},
      {"{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"b\": 2}}",
       "f#{};g#{\"b\": 2};"},
      {"<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "f#{};"},
      {"<|python_tag|>print(1)", "\"<|python_tag|>print(1)\""},
      {"{\"answer\": 42}", "\"{\"answer\": 42}\""},
      {"{\"name\": \"f\", \"age\": 3}", "\"{\"name\": \"f\", \"age\": 3}\""},
      {"{\"name\": \"Bob\"", "\"{\"name\": \"Bob\"\""},
      {"See {\"name\": \"f\", \"parameters\": {}}",
       "\"See {\"name\": \"f\", \"parameters\": {}}\""},
      {"  ", "\"  \""},
      {NULL, NULL}};
  check_all("{# <|python_tag|> #}", NULL, true, cases);
}
END_TEST

/* ---- DeepSeek, Kimi ------------------------------------------------------------------------- */

START_TEST(deepseek) {
  static const example cases[] = {
      {"hm</think>go<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}"
       "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
       "<｜tool▁calls▁end｜>",
       "(hm)\"go\"f#{\"a\": 1};g#{};"},
      {"</"
       "think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
       "\"```\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}"
       "\n"
       "```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       "f#{\"a\": \"```\"};g#{};"},
      {"</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n",
       "\"<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n\""},
      {"</"
       "think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\"<｜tool▁call▁end｜>",
       "f#{\"a\";"},
      {"</think>a <｜tool▁x", "\"a <｜tool▁x\""},
      {NULL, NULL}};
  check_all("{# <｜tool▁calls▁begin｜> <think> </think> #}", "<｜Assistant｜><think>", true, cases);
  static const example kimi[] = {
      {"<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
       "{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>",
       "f#functions.f:0{\"a\": 1};"},
      {NULL, NULL}};
  check_all("{# <|tool_calls_section_begin|> #}", NULL, true, kimi);
}
END_TEST

/* ---- gpt-oss -------------------------------------------------------------------------------- */

START_TEST(harmony) {
  static const char template[] = "{# <|channel|> <|message|> <|call|> #}";
  static const example cases[] = {
      {"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>hi"
       "<|return|>",
       "(hm)\"hi\""},
      {"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
       "to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>",
       "(hm)f#{\"a\": 1};"},
      {" to=functions.f<|channel|>commentary json<|message|>{}", "f#{};"},
      {"<|channel|>commentary to=functions.f<|constrain|>json<|message|>{\"a\":2}<|call|>",
       "f#{\"a\":2};"},
      {"<|channel|>commentary<|message|>I will look<|end|><|start|>assistant to=python<|channel|>"
       "analysis code<|message|>print(1)<|call|>",
       "\"I will look\"python#print(1);"},
      {"<|message|>hi", "\"hi\""},
      {"no markup at all", "\"no markup at all\""},
      {"<|channel|>fin", "\"<|channel|>fin\""},
      {"<|channel|>commentary Hello<|end|>", "\"<|channel|>commentary Hello\""},
      {"<|channel|>final<|message|>a<|end|>b", "\"ab\""},
      {NULL, NULL}};
  check_all(template, "<|start|>assistant", false, cases);
}
END_TEST

static char *data_text(const char *name, size_t *n) {
  char path[128];
  snprintf(path, sizeof path, "templates/harmony/%s", name);
  char *text = text_read_data(path, n);
  while (text && *n && (text[*n - 1] == '\n' || text[*n - 1] == '\r')) text[--*n] = 0;
  return text;
}

/* Answers of openai/harmony's own tests, as text or as ids of o200k_harmony. */
START_TEST(harmony_data) {
  static const example texts[] = {
      {"test_streamable_parser.txt",
       "(User asks \"Who is the current US president?\" It's 2025, presumably current president is "
       "Joe Biden? Actually as of 2025-07-28, there was a 2024 election. In 2024, President is "
       "probably President Biden still? But w\ne need up to date info. Let's browse to confirm.)"
       "browser.search#{\"query\": \"current US president July 2025\", \"topn\": 10, \"source\": "
       "\"news\"};\"{\"result\": \"https://openai.com/\"}\""},
      {"test_tool_response_parsing.txt", "\"{\"result\": \"https://openai.com/\"} \""},
      {NULL, NULL}};
  static const example ids[] = {
      {"test_simple_reasoning_response.txt",
       "(User asks: \"What is 2 + 2?\" Simple arithmetic. Provide answer.)\"2 + 2 = 4.\""},
      {"test_simple_tool_call.txt",
       "(User asks: \"What is the weather in Tokyo?\" We need to use lookup_weather tool.)"
       "lookup_weather#{\"location\": \"Tokyo\"};"},
      {NULL, NULL}};
  size_t n;
  mtk_vocab *vocab;
  char *json = text_read_data("tokenizers/npm/gptoss/tokenizer.json", &n);
  if (!json) return;
  ck_assert(mtk_vocab_from_hf(&vocab, json, n, NULL, 0, NULL) == MTK_OK);
  mtk_free(json);
  mtk_tokenizer *tok;
  ck_assert(mtk_tokenizer_create(&tok, vocab, NULL) == MTK_OK);
  mtk_vocab_destroy(vocab);
  mtk_chat *chat = open_chat("{# <|channel|> <|message|> <|call|> #}");
  mtk_chat_parser_options o = {.struct_size = sizeof o};
  for (const example *e = texts; e->text; e++) {
    char *text = data_text(e->text, &n);
    check(chat, &o, text, e->want);
    mtk_free(text);
  }
  for (const example *e = ids; e->text; e++) {
    char *text = data_text(e->text, &n), *end = text;
    mtk_bytes decoded = {0};
    for (long id; (id = strtol(end, &end, 10)) > 0;) {
      size_t len;
      /* these ids stand for <|end|> in the published file's older numbering */
      const char *piece = mtk_tokenizer_piece(tok, id == 200002 ? 200007 : (int32_t)id, true, &len);
      mtk_bytes_append(&decoded, piece, len);
    }
    check(chat, &o, decoded.data, e->want);
    mtk_bytes_finish(&decoded);
    mtk_free(text);
  }
  printf("harmony answers: 4 of 4\n");
  mtk_chat_destroy(chat);
  mtk_tokenizer_destroy(tok);
}
END_TEST

/* ---- Gemma ---------------------------------------------------------------------------------- */

START_TEST(gemma) {
  static const example gemma4[] = {
      {"<|channel>thought\nhm\n<channel|>ok<|tool_call>call:f{city:<|\"|>a, }b<|\"|>,days:3,"
       "l:[1,<|\"|>x<|\"|>],o:{k:true}}<tool_call|>",
       "(hm\n)\"ok\"f#{\"city\": \"a, }b\", \"days\": 3, \"l\": [1, \"x\"], \"o\": {\"k\": "
       "true}};"},
      {"<|tool_call>call:f{}<tool_call|><|tool_call>call:g{a:b c}<tool_call|>",
       "f#{};g#{\"a\": \"b c\"};"},
      {"<|tool_call>call:f{a:", "\"<|tool_call>call:f{a:\""},
      {"<|tool_call>nothing<tool_call|>", "\"<|tool_call>nothing<tool_call|>\""},
      {NULL, NULL}};
  check_all("{# <|tool_call> <tool_call|> <|channel>thought <channel|> #}", NULL, true, gemma4);
  static const example functiongemma[] = {
      {"<start_function_call>call:f{city:<escape>Oslo<escape>}<end_function_call>",
       "f#{\"city\": \"Oslo\"};"},
      {NULL, NULL}};
  check_all("{# <start_function_call> <end_function_call> #}", NULL, true, functiongemma);
  static const example gemma3[] = {
      {"Sure\n```tool_code\nprint(f(city=\"O'\\\"s\", days=-2, l=[1, 'x'], d={'k': None}, t=(True,)"
       "))\n```",
       "\"Sure\n\"f#{\"city\": \"O'\\\"s\", \"days\": -2, \"l\": [1, \"x\"], \"d\": "
       "{\"k\": null}, \"t\": [true]};"},
      {"```tool_code\nf()\n```", "f#{};"},
      {"```tool_code\nx = 1\n```y", "\"```tool_code\nx = 1\n```y\""},
      {"```python\nf()\n```", "\"```python\nf()\n```\""},
      {NULL, NULL}};
  check_all("{# tool_code #}", NULL, true, gemma3);
}
END_TEST

/* ---- options -------------------------------------------------------------------------------- */

START_TEST(options) {
  mtk_chat *chat = open_chat("{{ messages }}");
  mtk_chat_parser *p;
  mtk_error err = {0};
  mtk_chat_parser_options o = {.struct_size = sizeof o, .name = "nosuch"};
  ck_assert(mtk_chat_parser_create(&p, chat, &o, &err) == MTK_E_INVALID);
  ck_assert_ptr_nonnull(strstr(err.message, "hermes"));
  o.name = NULL;
  ck_assert(mtk_chat_parser_create(&p, chat, &o, &err) == MTK_OK);
  ck_assert(!mtk_chat_parser_is_active(p));
  mtk_chat_parser_destroy(p);
  o.tools_json = g_tools;
  o.n_tools_json = strlen(g_tools);
  char names[256], *save = NULL; /* every name that is told is taken */
  snprintf(names, sizeof names, "%s", mtk_chat_parser_names());
  for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
    o.name = name;
    ck_assert_msg(mtk_chat_parser_create(&p, chat, &o, &err) == MTK_OK, "%s", err.message);
    ck_assert(mtk_chat_parser_is_active(p));
    mtk_chat_parser_destroy(p);
  }
  o.name = "mistral";
  check(chat, &o, "[TOOL_CALLS]f[ARGS]{}", "f#{};");
  mtk_chat_destroy(chat);
}
END_TEST

/* Made-up ids differ from call to call and from seed to seed, and are the same again. */
START_TEST(ids) {
  mtk_chat *chat = open_chat("{# [TOOL_CALLS] #}");
  char seen[3][2][16];
  for (int run = 0; run < 3; run++) {
    mtk_chat_parser_options o = {.struct_size = sizeof o,
                                 .tools_json = g_tools,
                                 .n_tools_json = strlen(g_tools),
                                 .seed = run == 2};
    static const char text[] = "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]f[ARGS]{}";
    mtk_chat_parser *p;
    const mtk_chat_delta *d;
    size_t n, k = 0;
    ck_assert(mtk_chat_parser_create(&p, chat, &o, NULL) == MTK_OK);
    ck_assert(mtk_chat_parser_push(&d, &n, p, text, strlen(text), true, NULL) == MTK_OK);
    for (size_t i = 0; i < n; i++)
      if (d[i].part == MTK_CHAT_CALL) snprintf(seen[run][k++], 16, "%s", d[i].id);
    ck_assert_uint_eq(k, 2);
    mtk_chat_parser_destroy(p);
  }
  ck_assert_str_ne(seen[0][0], seen[0][1]);
  ck_assert_str_eq(seen[0][0], seen[1][0]);
  ck_assert_str_ne(seen[0][0], seen[2][0]);
  mtk_chat_destroy(chat);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("chat parser");
  TCase *tc = tcase_create("chat parser");
  tcase_set_timeout(tc, 300);
  tcase_add_test(tc, reasoning);
  tcase_add_test(tc, mistral);
  tcase_add_test(tc, hermes);
  tcase_add_test(tc, llama3);
  tcase_add_test(tc, deepseek);
  tcase_add_test(tc, harmony);
  tcase_add_test(tc, harmony_data);
  tcase_add_test(tc, gemma);
  tcase_add_test(tc, options);
  tcase_add_test(tc, ids);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
