/* plug/plug_impl.h: what the files of core/plug share. */
#ifndef MTK_PLUG_IMPL_H
#define MTK_PLUG_IMPL_H

#include <mtk/registry.h>

/* Note that a feature of this plugin took part in the work (goes into provenance). Any thread. */
void mtk_plugin_mark_used(const mtk_plugin_info *info);
bool mtk_plugin_was_used(const mtk_plugin_info *info);

/* Why an entry must not be used, in a heap string; NULL if it fits this host. `name` is what the file
 * name promises, or NULL. Reads nothing beyond the abi block until that is right. */
char *mtk_plugin_refusal(const mtk_plugin_entry_t *entry, const char *name, bool *no_memory);

#endif
