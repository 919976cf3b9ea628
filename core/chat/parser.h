/* chat/parser.h: the inside of the parser of generated text.
 *
 * A parser is a state: a function that looks at the pending input, emits deltas, consumes what it
 * is sure of, and names the next state. It returns false when it needs more input. Whatever the
 * cuts between pushes, the same input gives the same deltas, joined. One thread at a time. */
#ifndef MTK_CHAT_PARSER_H
#define MTK_CHAT_PARSER_H

#include "chat/chat.h"

/* How a family of models writes tool calls. NULL = it has no such marker. */
typedef struct chat_markup {
  const char *name;
  const char *shown[3];                 /* all in the vocabulary or the template: it is this one */
  const char *calls_open, *calls_close; /* around all calls */
  const char *call_open, *call_close;   /* around one call, or around a JSON list of them */
  const char *args_open;                /* between a call's name and its arguments */
  const char *id_open;                  /* before a call's id */
  const char *quote;                    /* around strings of arguments that are no JSON (Gemma) */
  bool typed;    /* name and arguments may be "type<args_open>name, then fenced JSON" */
  bool numbered; /* names are "functions.NAME:NUMBER", and ids */
  bool code;     /* a call is a line of Python */
  bool bare;     /* JSON at the start of the answer is a call */
  bool channels; /* harmony: messages with headers */
} chat_markup;

/* Sets think and markup of a chat from its vocabulary and template. */
void mtk_chat_find_markup(mtk_chat *chat, const char *template_source);
const chat_markup *mtk_chat_markup_named(const char *name);

typedef mtk_chat_parser parser;
typedef bool (*parser_state)(parser *p);

/* Where in a JSON value the scan is; offsets from the parser's `at`. */
typedef struct json_scan {
  size_t pos;
  int depth;
  bool in_string, escaped;
  enum { SCAN_KEY, SCAN_COLON, SCAN_BEFORE_VALUE, SCAN_VALUE } phase; /* at depth 1 */
  mtk_span key, value, name, arguments; /* value.end, and end of the others: 0 = not seen */
} json_scan;

typedef struct parser_delta {
  mtk_chat_part part;
  int index;
  size_t id, name, text, n_text; /* offsets in `out` */
} parser_delta;

struct mtk_chat_parser {
  const chat_markup *markup;
  const chat_think *think;
  json_t *tools; /* list, or NULL: no calls */
  uint64_t seed;
  parser_state state;
  bool finish;     /* no more input comes */
  bool thought;    /* reasoning is over: its marker is text from now on */
  bool skip_space; /* before the next text */
  bool answered;   /* some content or call came */
  bool in_list;    /* the call at hand is in a JSON list */
  mtk_bytes in;    /* pending input begins at `at` */
  size_t at;
  size_t body;     /* offset of the call's body behind its opening marker */
  size_t searched; /* offset up to which no end of it was found */
  json_scan scan;
  mtk_chat_part part; /* harmony: where the message's text goes */
  int n_calls;
  mtk_bytes out; /* texts, names and ids of this push's deltas */
  parser_delta *deltas;
  mtk_chat_delta *result;
  size_t n_deltas, cap_deltas;
  bool failed;
};

/* ---- parser.c: input and output ------------------------------------------------------------- */

const char *mtk_parser_rest(const parser *p, size_t *n); /* the pending input */
void mtk_parser_emit(parser *p, mtk_chat_part part, const char *text, size_t n);
/* A call begins; id NULL = made up. */
void mtk_parser_call(parser *p, const char *name, size_t n, const char *id, size_t n_id);
/* Emit up to the first of the markers, and consume it: its number; -1: there is none, and all but
 * half a marker at the end was emitted. NULL markers are skipped. */
int mtk_parser_text(parser *p, mtk_chat_part part, const char *const *markers, int n);
/* Where the first of the markers begins at or behind offset `from`; *which its number, or -1 when
 * there is none: then the offset behind which one may begin. */
size_t mtk_parser_find(const parser *p, size_t from, const char *const *markers, int n, int *which);
/* 1: the input at offset begins with marker; 0: it does not; -1: not known yet. */
int mtk_parser_starts(const parser *p, size_t offset, const char *marker);
/* Drop bytes of `set` at the front; true if anything but them is left. */
bool mtk_parser_skip(parser *p, const char *set);
/* The call is none: n bytes of the input are content. */
bool mtk_parser_give_up(parser *p, size_t n);

/* ---- states --------------------------------------------------------------------------------- */

bool mtk_parse_content(parser *p);       /* parser.c */
bool mtk_parse_between_calls(parser *p); /* parse_calls.c: after calls_open, or after a call */
bool mtk_parse_call(parser *p);          /* parse_calls.c: at call_open, `body` is its length */
bool mtk_parse_bare(parser *p);          /* parse_calls.c: at a '{' */
bool mtk_parse_harmony(parser *p);       /* parse_harmony.c: where a header may stand */

/* parse_arguments.c: bodies of calls that are no JSON, to JSON. Append the arguments and set the
 * name (a part of body); false if the body is not of that form. */
bool mtk_arguments_xml(mtk_bytes *out, mtk_span *name, const char *body, size_t n,
                       const json_t *tools);
bool mtk_arguments_gemma(mtk_bytes *out, mtk_span *name, const char *body, size_t n,
                         const char *quote);
bool mtk_arguments_python(mtk_bytes *out, mtk_span *name, const char *body, size_t n);

#endif
