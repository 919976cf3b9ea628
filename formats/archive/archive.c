/* archive.c: the archive plugin: detection and entry. Static data only; any thread. */
#include "archive.h"

#include <string.h>

/* Formats that are zip files themselves (torch, npz) score higher. */
static int archive_probe(const char *path, const uint8_t *head, size_t n) {
  (void)path;
  if (n > 262 && memcmp(head + 257, "ustar", 5) == 0) return 30;
  if (n > 4 && memcmp(head, "PK\3\4", 4) == 0) return 30;
  if (n > 4 && memcmp(head, "\x1f\x8b\x08", 3) == 0) return 30;
  if (n > 4 && memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0) return 30;
  return 0;
}

static const mtk_format_v1 archive_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "archive",
    .title = "tar or zip (gzip, zstd) of any other format",
    .extensions = "",
    .flags = MTK_FORMAT_MODEL | MTK_FORMAT_ADAPTER,
    .probe = archive_probe,
    .read_model = archive_read_model,
    .read_adapter = archive_read_adapter,
};

MTK_PLUGIN_DEFINE("archive", MTK_PLUGIN_VERSION, "reads models inside tar and zip files",
                  "Apache-2.0", {MTK_EXT_FORMAT, &archive_format});
