/* chat/harmony.h: parts of gpt-oss's encoding that are text of their own. */
#ifndef MTK_CHAT_HARMONY_H
#define MTK_CHAT_HARMONY_H

#include "chat/chat.h"

/* Appends the section "# Tools" with its namespaces, in the order of their names. `namespaces`:
 * {key: {"name", "description", "tools": [{"name", "description", "parameters"}]}}. */
void mtk_harmony_tools(mtk_bytes *out, const json_t *namespaces);
/* The namespaces "browser" and "python" that the model was trained with; others give NULL. Owned
 * by the caller. */
json_t *mtk_harmony_builtin(const char *name);
/* {"functions": ...} of OpenAI's list of tools, or NULL for none. Owned by the caller. */
json_t *mtk_harmony_functions(const json_t *tools);

#endif
