/* torch.c: the PyTorch plugin: detection and entry. Static data only; any thread. */
#include "torch.h"

#include <string.h>

static bool ends_with(const char *s, size_t n, const char *suffix) {
  size_t k = strlen(suffix);
  return n >= k && memcmp(s + n - k, suffix, k) == 0;
}

static bool has_extension(const char *path) {
  static const char *const names[] = {".pt", ".pth", ".bin", ".ckpt", ".pkl"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (ends_with(path, strlen(path), names[i])) return true;
  return false;
}

/* A zip file whose first member is "<name>/data.pkl", or a pickle; a pickle that does not begin
 * like torch's old files only under one of its names. */
static int torch_probe(const char *path, const uint8_t *head, size_t n) {
  static const uint8_t legacy[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c,
                                   0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  if (n >= sizeof legacy && memcmp(head, legacy, sizeof legacy) == 0) return 95;
  if (n > 30 && memcmp(head, "PK\3\4", 4) == 0) {
    size_t len = (size_t)(head[26] | head[27] << 8);
    const char *name = (const char *)head + 30;
    if (len <= n - 30 && ends_with(name, len, "/data.pkl")) return 95;
    return has_extension(path) ? 50 : 0;
  }
  return n > 2 && head[0] == 0x80 && head[1] <= 5 && has_extension(path) ? 45 : 0;
}

static const mtk_format_v1 torch_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "torch",
    .title = "PyTorch checkpoint (pickle, tensors only)",
    .extensions = "",
    .flags = MTK_FORMAT_MODEL,
    .probe = torch_probe,
    .read_model = torch_read_model,
};

MTK_PLUGIN_DEFINE("torch", MTK_PLUGIN_VERSION,
                  "reads PyTorch checkpoints without running anything in them", "Apache-2.0",
                  {MTK_EXT_FORMAT, &torch_format});
