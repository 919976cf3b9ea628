/* archive.h: inside of the archive plugin (tar and zip files with a model in them). Nothing is
 * shared between calls; any thread. */
#ifndef MTK_FORMAT_ARCHIVE_H
#define MTK_FORMAT_ARCHIVE_H

#include <mtk/ext/format.h>
#include <mtk/plugin.h>

/* unpack.c: the members of an archive as a folder at `prefix`. `data` are the bytes of a file that
 * the mount keeps; n_copied: how many bytes were not readable in place. */
mtk_status archive_mount(mtk_mount *mount, uint64_t *n_copied, const uint8_t *data, size_t size,
                         const char *path, mtk_error *err);

/* read.c */
mtk_status archive_read_model(mtk_model *model, const char *path, mtk_error *err);
mtk_status archive_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err);

#endif
