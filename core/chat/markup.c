/* chat/markup.c: how families of models mark reasoning and tool calls, and which family a model
 * belongs to. */
#include <string.h>

#include "chat/parser.h"

/* Used when both markers are tokens of the vocabulary, or both occur in the template. */
static const chat_think g_thinks[] = {
    {"[THINK]", "[/THINK]"}, {"<think>", "</think>"}, {"<|channel>thought", "<channel|>"}};

/* The first that the vocabulary or the template shows is taken. Bars and underscores of DeepSeek's
 * tokens are U+FF5C and U+2581. */
static const chat_markup g_markups[] = {
    {.name = "harmony", .shown = {"<|channel|>", "<|message|>", "<|call|>"}, .channels = true},
    /* versions before 11 write a JSON list behind the marker */
    {.name = "mistral",
     .shown = {"[TOOL_CALLS]"},
     .call_open = "[TOOL_CALLS]",
     .args_open = "[ARGS]",
     .id_open = "[CALL_ID]"},
    {.name = "deepseek",
     .shown = {"<｜tool▁calls▁begin｜>"},
     .calls_open = "<｜tool▁calls▁begin｜>",
     .calls_close = "<｜tool▁calls▁end｜>",
     .call_open = "<｜tool▁call▁begin｜>",
     .call_close = "<｜tool▁call▁end｜>",
     .args_open = "<｜tool▁sep｜>",
     .typed = true},
    {.name = "kimi",
     .shown = {"<|tool_calls_section_begin|>"},
     .calls_open = "<|tool_calls_section_begin|>",
     .calls_close = "<|tool_calls_section_end|>",
     .call_open = "<|tool_call_begin|>",
     .call_close = "<|tool_call_end|>",
     .args_open = "<|tool_call_argument_begin|>",
     .numbered = true},
    {.name = "gemma4",
     .shown = {"<|tool_call>", "<tool_call|>"},
     .call_open = "<|tool_call>",
     .call_close = "<tool_call|>",
     .quote = "<|\"|>"},
    {.name = "functiongemma",
     .shown = {"<start_function_call>", "<end_function_call>"},
     .call_open = "<start_function_call>",
     .call_close = "<end_function_call>",
     .quote = "<escape>"},
    /* Qwen, Hermes, and Qwen3-Coder with its XML inside */
    {.name = "hermes",
     .shown = {"<tool_call>", "</tool_call>"},
     .call_open = "<tool_call>",
     .call_close = "</tool_call>"},
    {.name = "llama3", .shown = {"<|python_tag|>"}, .call_open = "<|python_tag|>", .bare = true},
    {.name = "llama3", .shown = {"<|start_header_id|>", "\"parameters\": "}, .bare = true},
    {.name = "gemma3",
     .shown = {"tool_code"},
     .call_open = "```tool_code\n",
     .call_close = "```",
     .code = true}};
enum { N_MARKUPS = sizeof g_markups / sizeof g_markups[0] };

static bool is_shown(const mtk_chat *c, const char *source, const char *text) {
  return mtk_tokenizer_find(c->tok, text) >= 0 || strstr(source, text);
}

void mtk_chat_find_markup(mtk_chat *c, const char *source) {
  for (size_t i = 0; i < sizeof g_thinks / sizeof g_thinks[0] && !c->think; i++) {
    bool tokens = mtk_tokenizer_find(c->tok, g_thinks[i].open) >= 0 &&
                  mtk_tokenizer_find(c->tok, g_thinks[i].close) >= 0;
    bool text = strstr(source, g_thinks[i].open) && strstr(source, g_thinks[i].close);
    if (tokens || text) c->think = &g_thinks[i];
  }
  for (size_t i = 0; i < N_MARKUPS && !c->markup; i++) {
    bool all = true;
    for (size_t k = 0; k < 3 && g_markups[i].shown[k]; k++)
      all = all && is_shown(c, source, g_markups[i].shown[k]);
    if (all) c->markup = &g_markups[i];
  }
}

const chat_markup *mtk_chat_markup_named(const char *name) {
  for (size_t i = 0; i < N_MARKUPS; i++)
    if (!strcmp(g_markups[i].name, name)) return &g_markups[i];
  return NULL;
}

const char *mtk_chat_parser_names(void) {
  return "harmony, mistral, deepseek, kimi, gemma4, functiongemma, hermes, llama3, gemma3";
}
