/* chat/mistral.h: what differs between the versions of Mistral's tokenizers, and a request in the
 * form that they encode. Source: mistral-common 1.13, protocol/instruct and tokens/tokenizers. */
#ifndef MTK_CHAT_MISTRAL_H
#define MTK_CHAT_MISTRAL_H

#include "chat/chat.h"

typedef struct mistral_rules {
  int version;
  enum { SYSTEM_IN_FIRST_USER, SYSTEM_IN_LAST_USER, SYSTEM_OWN } system;
  enum { TOOLS_NONE, TOOLS_LAST_USER, TOOLS_FIRST_USER } tools;
  enum { CALL_NONE, CALL_LIST, CALL_LIST_ID, CALL_NAME_ID, CALL_NAME } call;
  enum { RESULT_NONE, RESULT_LIST, RESULT_OBJECT, RESULT_ID, RESULT_PLAIN } result;
  enum { ID_FREE, ID_NINE, ID_NONEMPTY } id;
  bool inst_tokens;       /* [INST] is a control token, not text */
  bool content_and_calls; /* in one assistant message */
  bool pair_by_id;        /* results name the calls they answer, and are put in their order */
  bool think;             /* [THINK] in assistant messages */
  bool think_in_system;
  bool settings;          /* [MODEL_SETTINGS] */
  const char *chunk_join; /* between the text chunks of one message */
} mistral_rules;

/* A validated request whose messages are merged, sorted and complete: each has "role", "content"
 * (a string, or a list of {"text"} and {"thinking","closed"}), for assistants "tool_calls" (a list
 * of {"name","arguments","id"}, arguments normalized JSON text), "prefix", "weight", for tools
 * "tool_call_id" and "name". */
typedef struct mistral_request {
  json_t *messages; /* owned */
  json_t *system;   /* versions without a message of its own: the joined text, or NULL; owned */
  json_t *tools;    /* as the model sees them, or NULL; owned */
  json_t *settings; /* object, or NULL; owned */
} mistral_request;
mtk_status mtk_mistral_request_init(mistral_request *out, const mistral_rules *rules,
                                    const json_t *builder, const json_t *request, bool generation,
                                    mtk_error *err);
void mtk_mistral_request_finish(mistral_request *r);

/* mistral_check.c: the order and content of messages; `generation`: an answer is asked for (the
 * last message is not an assistant's, but for a prefix). */
mtk_status mtk_mistral_check(const json_t *messages, const mistral_rules *rules, bool generation,
                             mtk_error *err);
bool mtk_mistral_is_name(const char *name, size_t n);

#endif
