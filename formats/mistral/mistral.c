/* mistral.c: the Mistral plugin: detection and entry. Static data only; any thread. */
#include "mistral.h"

#include <string.h>

static bool has(const char *folder, const char *name) {
  char *path = mtk_path_join(folder, name);
  bool found = path && mtk_path_exists(path);
  mtk_free(path);
  return found;
}

/* params.json is the mark. Folders on the hub hold both layouts: then Hugging Face's is read. */
static int probe_folder(const char *path) {
  if (has(path, "adapter_config.json")) return 0;
  if (has(path, MISTRAL_LORA) && !has(path, MISTRAL_SINGLE)) return 95;
  if (!has(path, MISTRAL_PARAMS)) return 0;
  bool both = has(path, "model.safetensors") || has(path, "model.safetensors.index.json");
  return both ? 60 : 95;
}

/* Whether needle lies in the first n bytes. */
static bool mentions(const uint8_t *head, size_t n, const char *needle) {
  size_t k = strlen(needle);
  for (size_t i = 0; i + k <= n; i++)
    if (memcmp(head + i, needle, k) == 0) return true;
  return false;
}

/* A safetensors file of low-rank pairs under Mistral's names. */
static int mistral_probe(const char *path, const uint8_t *head, size_t n) {
  if (mtk_path_is_dir(path)) return probe_folder(path);
  bool lora = n > 16 && mentions(head, n, ".lora_A.weight\"") && mentions(head, n, "\"layers.") &&
              !mentions(head, n, "base_model.model.");
  return lora ? 110 : 0;
}

/* The weights lie in a safetensors file. */
static bool mistral_keeps(const mtk_tensor *t) {
  const mtk_format_v1 *hf = mtk_format_find("hf");
  return !hf || mtk_format_keeps(hf, t);
}

static const mtk_format_v1 mistral_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "mistral",
    .title = "Mistral (params.json, consolidated.*, tekken)",
    .extensions = "",
    .flags = MTK_FORMAT_MODEL | MTK_FORMAT_ADAPTER | MTK_FORMAT_FOLDER,
    .probe = mistral_probe,
    .read_model = mistral_read_model,
    .write_model = mistral_write_model,
    .read_adapter = mistral_read_adapter,
    .write_adapter = mistral_write_adapter,
    .keeps = mistral_keeps,
};

MTK_PLUGIN_DEFINE("mistral", MTK_PLUGIN_VERSION,
                  "reads and writes Mistral's own checkpoints and lora.safetensors", "Apache-2.0",
                  {MTK_EXT_FORMAT, &mistral_format});
