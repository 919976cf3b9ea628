/* plug/plug_impl.h: what the files of core/plug share. */
#ifndef MTK_PLUG_IMPL_H
#define MTK_PLUG_IMPL_H

#include <mtk/registry.h>

/* Note that a feature of this plugin took part in the work (goes into provenance). Any thread. */
void mtk_plugin_mark_used(const mtk_plugin_info *info);
bool mtk_plugin_was_used(const mtk_plugin_info *info);

typedef struct mtk_refusal {
  char why[256];
} mtk_refusal;

/* Whether an entry fits this host; else the reason. `name` is what the file name promises. Reads
 * nothing beyond the abi block until that is right. */
bool mtk_plugin_entry_fits(mtk_refusal *out, const mtk_plugin_entry_t *entry, const char *name);
/* The same for its features, once init has been called. */
bool mtk_plugin_features_fit(mtk_refusal *out, const mtk_plugin_entry_t *entry);

#endif
