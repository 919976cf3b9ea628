/* mtk/archive.h: folders inside files, members of zip files, scratch files.
 *
 * A mount gives readers a folder that lies in memory (usually in a mapped archive): under its
 * prefix, "model.tar!" say, mtk_file_open, mtk_path_exists, mtk_path_is_dir and mtk_folder_list
 * work as on a disk, so readers of formats need not know about archives. */
#ifndef MTK_ARCHIVE_H
#define MTK_ARCHIVE_H

#include <mtk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- mounts -------------------------------------------------------------------------------- */

/* Seen by all threads from mtk_mount_publish until the builder has released it and all files opened
 * from it are closed. Built by one thread. Of two mounts with one prefix the last one is seen. */
typedef struct mtk_mount mtk_mount;
/* prefix: a path that no file has. */
mtk_status mtk_mount_create(mtk_mount **out, const char *prefix, mtk_error *err);
/* Takes the file (also on failure): it is closed when the mount and all files of it are. */
mtk_status mtk_mount_keep(mtk_mount *mount, mtk_file *file, mtk_error *err);
/* A file `name` ("folder/config.json": relative, no "." or ".." parts, no empty ones; anything else
 * is MTK_E_FORMAT) with bytes of a kept file. */
mtk_status mtk_mount_add(mtk_mount *mount, const char *name, const uint8_t *data, size_t size,
                         mtk_error *err);
/* MTK_E_FORMAT if two files have one name, or a file has the name of a folder. */
mtk_status mtk_mount_publish(mtk_mount *mount, mtk_error *err);
void mtk_mount_release(mtk_mount *mount);

/* Names in a folder (files and folders, not "." and ".."), sorted by bytes, in the arena. */
mtk_status mtk_folder_list(const char ***names, size_t *n, mtk_arena *arena, const char *path,
                           mtk_error *err);

/* ---- zip ----------------------------------------------------------------------------------- */

enum { MTK_ZIP_STORED = 0, MTK_ZIP_DEFLATED = 8 };

typedef struct mtk_zip_entry {
  const char *name;    /* NUL-terminated, in the arena; any bytes but NUL */
  const uint8_t *data; /* the stored bytes, borrowed */
  uint64_t size;       /* of the contents; equals stored_size if method is MTK_ZIP_STORED */
  uint64_t stored_size;
  uint32_t crc32;
  uint16_t method;
  bool encrypted;
} mtk_zip_entry;

typedef struct mtk_zip {
  const mtk_zip_entry *entries; /* in the order of the central directory */
  size_t n;
  const mtk_zip_entry *const *by_name; /* sorted; no two are equal */
  const char *comment;                 /* of the whole file; borrowed, not terminated */
  size_t n_comment;
} mtk_zip;
/* The members of a zip file in memory, zip64 too (APPNOTE.TXT 6.3.10, sections 4.3 and 4.5), by its
 * central directory. Every range is checked; contents are not looked at. Any thread. */
mtk_status mtk_zip_parse(mtk_zip *out, mtk_arena *arena, const uint8_t *data, size_t size,
                         const char *path, mtk_error *err);
const mtk_zip_entry *mtk_zip_find(const mtk_zip *zip, const char *name); /* NULL if absent */

/* Is it sane that stored_size bytes become at least `size`? MTK_E_LIMIT beyond 256 MiB if that is
 * more than 200 times as much, and beyond $MTK_EXPAND_LIMIT bytes (default 1 TiB). */
mtk_status mtk_expand_check(uint64_t size, uint64_t stored_size, const char *path, mtk_error *err);

/* ---- scratch files ------------------------------------------------------------------------- */

/* An output without a name, in $TMPDIR or /tmp: it is gone when it is closed, however the process
 * ends. Write with mtk_output_write, then map it, or abort. */
mtk_status mtk_output_create_scratch(mtk_output **out, mtk_error *err);
/* Frees `out`, whatever it returns. */
mtk_status mtk_output_map(mtk_file **file, mtk_output *out, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
