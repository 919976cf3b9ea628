/* llama2c.c: the llama2.c plugin: detection and entry. Static data only; any thread. */
#include "llama2c.h"

#include <string.h>

/* Version 0 has no mark: its header must give the size of the file to the byte. */
static int llama2c_probe(const char *path, const uint8_t *head, size_t n) {
  mtk_file *file = NULL;
  llama2c_header h;
  static const uint8_t magic[] = {0x32, 0x34, 0x6b, 0x61}; /* "ak42", little endian */
  if (n < 28 || mtk_path_is_dir(path)) return 0;
  if (memcmp(head, magic, sizeof magic) == 0) return 95;
  if (mtk_file_open(&file, path, NULL) != MTK_OK) return 0;
  bool ours = llama2c_parse_header(&h, file->data, file->size, path, NULL) == MTK_OK ||
              llama2c_is_tokenizer(file->data, file->size);
  mtk_file_close(file);
  return ours ? 92 : 0;
}

static bool llama2c_keeps(const mtk_tensor *t) { return t->dtype == MTK_F32 && !t->scales; }

static const mtk_format_v1 llama2c_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "llama2c",
    .title = "llama2.c checkpoint and tokenizer",
    .extensions = "bin",
    .flags = MTK_FORMAT_MODEL,
    .probe = llama2c_probe,
    .read_model = llama2c_read_model,
    .write_model = llama2c_write_model,
    .keeps = llama2c_keeps,
};

MTK_PLUGIN_DEFINE("llama2c", MTK_PLUGIN_VERSION, "reads llama2.c checkpoints, writes version 0",
                  "Apache-2.0", {MTK_EXT_FORMAT, &llama2c_format});
