/* mtk/chat.h: conversations to token ids, and generated text back to messages.
 *
 * A mtk_chat knows how one model wants conversations encoded: Mistral's and gpt-oss's own encodings
 * are code (core/chat/mistral.c, harmony.c), all others come from the model's Jinja template. It
 * is immutable after creation and may be shared by threads. A parser reads one answer. */
#ifndef MTK_CHAT_H
#define MTK_CHAT_H

#include <mtk/model.h>
#include <mtk/text.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtk_chat mtk_chat;
/* A Jinja source in template_override decides; with NULL a vocabulary of Mistral's own (tekken, or
 * a SentencePiece model of a known version) or of gpt-oss gets its encoder, and other models their
 * template: MTK_E_NOT_FOUND if there is none. */
mtk_status mtk_chat_create(mtk_chat **out, const mtk_model *model, const char *template_override,
                           mtk_error *err);
void mtk_chat_destroy(mtk_chat *chat);
const mtk_tokenizer *mtk_chat_tokenizer(const mtk_chat *chat);
/* "mistral", "harmony" or "jinja". */
const char *mtk_chat_encoding(const mtk_chat *chat);

/* request_json: one object as of OpenAI's chat API: "messages", "tools", "reasoning_effort",
 * "continue_final_message", and for templates any other variable. Appends the prompt as text
 * and/or ids (either may be NULL). *mask (may be NULL; caller frees with mtk_free) gets one byte
 * per id: 1 where an assistant wrote it, which is what training learns; a conversation rendered
 * with a mask is one to train on. generation_prompt opens the assistant's turn, `now` is the time
 * (ISO 8601, NULL = the clock); "add_generation_prompt" in the request overrides the former.
 * Control tokens come from the encoding alone: no text of the request can become one. MTK_E_INVALID
 * says what is wrong with a request, with the number of the message in place.
 * Mistral also takes {"prompt", "suffix"} instead of messages: fill in the middle. */
mtk_status mtk_chat_render(mtk_bytes *text, mtk_ids *ids, uint8_t **mask, const mtk_chat *chat,
                           const char *request_json, size_t n, bool generation_prompt,
                           const char *now, mtk_error *err);

/* ---- generated text ------------------------------------------------------------------------- */

typedef struct mtk_chat_parser mtk_chat_parser;
typedef struct mtk_chat_parser_options {
  size_t struct_size;
  /* Markup of tool calls: a name of mtk_chat_parser_names, or NULL for the one that the vocabulary
   * or the template shows. */
  const char *name;
  /* The rendered prompt that the answer continues: an open reasoning marker at its end counts. */
  const char *prompt;
  size_t n_prompt;
  /* The request's list of tools, or NULL: then the markup of calls is ordinary text. */
  const char *tools_json;
  size_t n_tools_json;
  uint64_t seed; /* of the ids that are made up for calls */
} mtk_chat_parser_options;

typedef enum mtk_chat_part {
  MTK_CHAT_CONTENT,
  MTK_CHAT_REASONING,
  MTK_CHAT_CALL,     /* a call begins: index, id, name */
  MTK_CHAT_ARGUMENTS /* more of the arguments of call `index` */
} mtk_chat_part;
typedef struct mtk_chat_delta {
  mtk_chat_part part;
  int index;        /* of the call, from 0 */
  const char *id;   /* the model's own, or 9 letters and digits drawn by the seed */
  const char *name; /* NUL-terminated */
  const char *text; /* CONTENT, REASONING, ARGUMENTS: n_text > 0 bytes */
  size_t n_text;
} mtk_chat_delta;

mtk_status mtk_chat_parser_create(mtk_chat_parser **out, const mtk_chat *chat,
                                  const mtk_chat_parser_options *options, mtk_error *err);
void mtk_chat_parser_destroy(mtk_chat_parser *parser);
/* Whether it looks for anything: then the text must hold the texts of control tokens. */
bool mtk_chat_parser_is_active(const mtk_chat_parser *parser);
/* Feed generated text, with the texts of control tokens; finish=true with the last of it (n may be
 * 0). *deltas: what it adds, in order, valid until the next call; half a marker is held back. How
 * the text is cut into pushes does not matter. What looks like a call but is not one comes out as
 * content, or as a call with the raw text as arguments once its name was told. Only memory can run
 * out. */
mtk_status mtk_chat_parser_push(const mtk_chat_delta **deltas, size_t *n_deltas,
                                mtk_chat_parser *parser, const char *text, size_t n, bool finish,
                                mtk_error *err);
/* All names, "a, b, c": for help texts and errors. */
const char *mtk_chat_parser_names(void);

#ifdef __cplusplus
}
#endif
#endif
