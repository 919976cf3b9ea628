/* chat/chat.h: the inside of a chat: the table of encoders, the prompt they build, JSON text.
 *
 * An encoder turns a request into a prompt. Encoders that are code (mistral.c, harmony.c) build it
 * from pieces of text and named control tokens, and never parse control tokens out of text. */
#ifndef MTK_CHAT_CHAT_H
#define MTK_CHAT_CHAT_H

#include <jansson.h>
#include <mtk/chat.h>

/* ---- prompts -------------------------------------------------------------------------------- */

/* A prompt being built; one thread. Initialise with the tokenizer. */
typedef struct chat_prompt {
  const mtk_tokenizer *tok;
  mtk_bytes text; /* as a reader sees it */
  mtk_ids ids;
  mtk_bytes mask; /* one byte per id */
  bool learn;     /* what is added now was written by an assistant */
} chat_prompt;

/* Append text: its ids never hold a control token. */
mtk_status mtk_prompt_text(chat_prompt *p, const char *text, size_t n, mtk_error *err);
mtk_status mtk_prompt_puts(chat_prompt *p, const char *text, mtk_error *err);
/* The same, but for the first n_skip ids; the reader sees text[skip..n). */
mtk_status mtk_prompt_text_from(chat_prompt *p, const char *text, size_t n, size_t skip,
                                size_t n_skip, mtk_error *err);
/* Append the control token of that text; MTK_E_FORMAT if the vocabulary has none. */
mtk_status mtk_prompt_control(chat_prompt *p, const char *token, mtk_error *err);
mtk_status mtk_prompt_control_id(chat_prompt *p, int32_t id, const char *token, mtk_error *err);
void mtk_prompt_finish(chat_prompt *p);

/* ---- encoders ------------------------------------------------------------------------------- */

typedef struct chat_ask {
  bool generation_prompt;
  bool ids;      /* else only the text is wanted */
  bool training; /* a mask is wanted */
  const char *now;
} chat_ask;

typedef struct chat_encoder {
  const char *name;
  /* Whether it is the vocabulary's own. */
  bool (*matches)(const mtk_vocab *vocab, const mtk_tokenizer *tok);
  /* What it needs of the model beyond the tokenizer; may be NULL. */
  mtk_status (*open)(mtk_chat *chat, const mtk_vocab *vocab, mtk_error *err);
  /* request: an object, the encoder's own to change. */
  mtk_status (*encode)(chat_prompt *out, const mtk_chat *chat, json_t *request, const chat_ask *ask,
                       mtk_error *err);
} chat_encoder;

extern const chat_encoder mtk_chat_mistral, mtk_chat_harmony, mtk_chat_jinja;

/* A pair of markers around reasoning. */
typedef struct chat_think {
  const char *open, *close;
} chat_think;

struct mtk_chat {
  mtk_tokenizer *tok;
  const chat_encoder *encoder;
  mtk_template *template;  /* jinja */
  char *bos, *eos;         /* token texts for the template; may be NULL */
  int32_t version;         /* mistral */
  json_t *settings;        /* mistral: model_settings_builder of tekken.json, or NULL */
  const chat_think *think; /* NULL: the model shows none */
  const struct chat_markup *markup;
};

/* ---- JSON as text --------------------------------------------------------------------------- */

/* Appends json.dumps(json.loads(text), ensure_ascii=False) of Python: numbers keep their value,
 * integers all their digits. False, and nothing appended, if the text is no JSON (as Python sees
 * it). `compact`: no spaces after ',' and ':'. */
bool mtk_json_normalize(mtk_bytes *out, const char *text, size_t n, bool compact);
/* The same of a value that was parsed. */
void mtk_json_value(mtk_bytes *out, const json_t *value, bool compact);
/* A string literal. text is UTF-8. */
void mtk_json_string(mtk_bytes *out, const char *text, size_t n);

/* A string member, or NULL; *n its length (may be NULL). */
const char *mtk_json_get(const json_t *object, const char *key, size_t *n);
/* Fail with the place "messages[i]". */
mtk_status mtk_chat_fail(mtk_error *err, size_t message, const char *fmt, ...) MTK_PRINTF(3, 4);

#endif
