/* plug/plug_impl.h: what the files of core/plug share. */
#ifndef MTK_PLUG_IMPL_H
#define MTK_PLUG_IMPL_H

#include <mtk/registry.h>

/* Note that a feature of this plugin took part in the work (goes into provenance). Any thread. */
void mtk_plugin_mark_used(const mtk_plugin_info *info);
bool mtk_plugin_was_used(const mtk_plugin_info *info);

/* sources.c: between begin and end (NULL: memory was short) the files that this thread opens are
 * those of the source; ok: it was read. */
typedef struct mtk_reading mtk_reading;
mtk_reading *mtk_reading_begin(const char *source);
void mtk_reading_end(mtk_reading *reading, bool ok);
/* The files of a source, in the arena: those that its reader opened, if this process has read it
 * (whole: also what it left in a folder); else the file, or all files of the folder. */
typedef struct mtk_source_file {
  const char *path, *name; /* name: "a.gguf", "folder/config.json" */
} mtk_source_file;
mtk_status mtk_source_list(mtk_source_file **items, size_t *n, mtk_arena *arena, const char *source,
                           bool whole, mtk_error *err);

typedef struct mtk_refusal {
  char why[256];
} mtk_refusal;

/* Whether an entry fits this host; else the reason. `name` is what the file name promises. Reads
 * nothing beyond the abi block until that is right. */
bool mtk_plugin_entry_fits(mtk_refusal *out, const mtk_plugin_entry_t *entry, const char *name);
/* The same for its features, once init has been called. */
bool mtk_plugin_features_fit(mtk_refusal *out, const mtk_plugin_entry_t *entry);

#endif
