/* npz.c: the NumPy plugin: detection, options, entry. Static data only; any thread. */
#include "npz.h"

#include <string.h>

static bool ends_with(const char *s, size_t n, const char *suffix) {
  size_t k = strlen(suffix);
  return n >= k && memcmp(s + n - k, suffix, k) == 0;
}

/* A .npy array by its magic text; a zip file whose first member is one, or named .npz. */
static int npz_probe(const char *path, const uint8_t *head, size_t n) {
  if (n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0) return 100;
  if (n < 30 || memcmp(head, "PK\3\4", 4) != 0)
    return n >= 22 && memcmp(head, "PK\5\6", 4) == 0 && ends_with(path, strlen(path), ".npz") ? 60
                                                                                              : 0;
  size_t len = (size_t)(head[26] | head[27] << 8);
  if (len <= n - 30 && ends_with((const char *)head + 30, len, ".npy")) return 95;
  return ends_with(path, strlen(path), ".npz") ? 60 : 0;
}

static const mtk_option_def options[] = {
    {"tensor", 0, MTK_OPT_LIST, "NAME", NULL, 0, 0, NULL,
     "write only this tensor (may be given several times)"},
    {.name = NULL},
};

static const mtk_format_v1 npz_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "npz",
    .title = "NumPy arrays (.npy, .npz)",
    .extensions = "npz npy",
    .flags = MTK_FORMAT_MODEL,
    .options = options,
    .probe = npz_probe,
    .read_model = npz_read_model,
    .write_model = npz_write_model,
    .keeps = npz_keeps,
};

MTK_PLUGIN_DEFINE("npz", MTK_PLUGIN_VERSION, "reads and writes NumPy arrays", "Apache-2.0",
                  {MTK_EXT_FORMAT, &npz_format});
