/* archive_fuzz.c: any bytes as an archive: its members are mounted, listed and read. Readers of the
 * formats inside have fuzz targets of their own. Single-threaded. */
#include <mtk/registry.h>

#include <mtk/archive.h>

#include "archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t g_sum;

static void walk(mtk_arena *arena, const char *path, int depth) {
  const char **names = NULL;
  mtk_file *file = NULL;
  size_t n = 0;
  if (!mtk_path_is_dir(path)) {
    if (mtk_file_open(&file, path, NULL) != MTK_OK) return;
    for (size_t i = 0; i < file->size; i++) g_sum += file->data[i];
    mtk_file_close(file);
    return;
  }
  if (depth > 8 || mtk_folder_list(&names, &n, arena, path, NULL) != MTK_OK) return;
  for (size_t i = 0; i < n; i++) {
    char *child = mtk_path_join(path, names[i]);
    if (child) walk(arena, child, depth + 1);
    mtk_free(child);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mtk_error err;
  mtk_mount *mount = NULL;
  uint64_t n_copied = 0;
  if (mtk_plugins_load(&err) != MTK_OK || mtk_mount_create(&mount, "fuzz!", &err) != MTK_OK)
    return 0;
  mtk_arena *arena = mtk_arena_create();
  if (arena && archive_mount(mount, &n_copied, data, size, "fuzz", &err) == MTK_OK &&
      mtk_mount_publish(mount, &err) == MTK_OK)
    walk(arena, "fuzz!", 0);
  mtk_arena_destroy(arena);
  mtk_mount_release(mount);
  return 0;
}
