/* chat/parse_harmony.c: states of gpt-oss's answers: messages "header<|message|>text<|end|>", whose
 * header tells channel and recipient. The answer begins inside a header, behind "assistant". */
#include <string.h>

#include "chat/parser.h"

static const char g_start[] = "<|start|>", g_message[] = "<|message|>", g_channel[] = "<|channel|>";
/* What ends a message; the first opens the next header by itself. */
static const char *const g_ends[] = {g_start, "<|end|>", "<|return|>", "<|call|>"};
enum { N_ENDS = sizeof g_ends / sizeof g_ends[0] };

static bool parse_text(parser *p) {
  int which = mtk_parser_text(p, p->part, g_ends, N_ENDS);
  if (which < 0) return false;
  if (which > 0) p->at += strlen(g_ends[which]);
  p->state = mtk_parse_harmony;
  return true;
}

/* The word behind a marker in the header; empty if there is none. */
static mtk_span word_after(const char *s, size_t n, const char *marker) {
  const char *hit = memmem(s, n, marker, strlen(marker));
  if (!hit) return (mtk_span){0, 0};
  mtk_span word = {(size_t)(hit - s) + strlen(marker), 0};
  for (word.end = word.begin; word.end < n && (unsigned char)s[word.end] > ' '; word.end++)
    if (s[word.end] == '<') break;
  return word;
}

static bool is_word(const char *s, mtk_span word, const char *text) {
  return strlen(text) == word.end - word.begin && !memcmp(s + word.begin, text, strlen(text));
}

/* "functions.NAME" is a function of the request, other recipients are built-in tools. */
static void begin_message(parser *p, const char *header, size_t n) {
  static const char prefix[] = "functions.";
  mtk_span to = word_after(header, n, "to="), channel = word_after(header, n, g_channel);
  size_t skip = sizeof prefix - 1;
  bool none = to.begin == to.end || is_word(header, to, "all") || is_word(header, to, "user") ||
              is_word(header, to, "assistant");
  p->part = is_word(header, channel, "analysis") ? MTK_CHAT_REASONING : MTK_CHAT_CONTENT;
  if (none) return;
  if (to.end - to.begin > skip && !memcmp(header + to.begin, prefix, skip)) to.begin += skip;
  mtk_parser_call(p, header + to.begin, to.end - to.begin, NULL, 0);
  p->part = MTK_CHAT_ARGUMENTS;
}

/* A header that ends without a text is none: it stays what it was, text. */
static bool parse_header(parser *p) {
  const char *markers[1 + N_ENDS] = {g_message, NULL};
  int which;
  size_t n;
  memcpy(markers + 1, g_ends, sizeof g_ends);
  if (mtk_parser_starts(p, 0, g_start) > 0) markers[1] = NULL; /* its own */
  size_t at = mtk_parser_find(p, p->searched, markers, 1 + N_ENDS, &which);
  const char *s = mtk_parser_rest(p, &n);
  p->searched = at;
  if (which < 0 && !p->finish) return false;
  if (which != 0) {
    mtk_parser_give_up(p, at);
    p->part = MTK_CHAT_CONTENT;
    p->state = parse_text;
    return at > 0 || which > 0;
  }
  begin_message(p, s, at);
  p->at += at + strlen(g_message);
  p->state = parse_text;
  return true;
}

/* Before a header, or before plain text of a model that writes none. */
bool mtk_parse_harmony(parser *p) {
  static const char *const openings[] = {g_start, g_channel, g_message, " to=", "<|constrain|>"};
  size_t n;
  mtk_parser_rest(p, &n);
  if (!n) return false;
  bool header = false, perhaps = false;
  for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++) {
    int found = mtk_parser_starts(p, 0, openings[i]);
    header |= found > 0;
    perhaps |= found < 0;
  }
  if (!header && perhaps) return false;
  p->searched = 0;
  p->part = MTK_CHAT_CONTENT;
  p->state = header ? parse_header : parse_text;
  return true;
}
