/* hf.c: the HF plugin: detection, options, entry. Static data only; any thread. */
#include "hf.h"

#include <string.h>

static bool folder_has(const char *path, const char *name) {
  char *file = mtk_path_join(path, name);
  bool has = file && mtk_path_exists(file);
  mtk_free(file);
  return has;
}

/* A folder without config.json is one if it holds weights: then it is a model of bare tensors. */
static int probe_folder(const char *path) {
  hf_weights weights = {NULL, false};
  if (folder_has(path, "adapter_config.json")) return 90;
  mtk_arena *arena = mtk_arena_create();
  bool found = arena && hf_find_weights(&weights, arena, path, NULL) == MTK_OK && weights.file;
  bool standard = found && (weights.is_index || strncmp(weights.file, "model.", 6) == 0 ||
                            strncmp(weights.file, "pytorch_model.", 14) == 0);
  mtk_arena_destroy(arena);
  if (standard) return 90;
  return folder_has(path, "config.json") ? 50 : found ? 30 : 0;
}

/* Eight bytes of header size, then a JSON object, maybe after white space. */
static int hf_probe(const char *path, const uint8_t *head, size_t n) {
  uint64_t size = 0;
  if (mtk_path_is_dir(path)) return probe_folder(path);
  size_t len = strlen(path);
  bool named = len > 12 && strcmp(path + len - 12, ".safetensors") == 0;
  for (size_t i = 0; i < 8 && i < n; i++) size |= (uint64_t)head[i] << (8 * i);
  size_t at = 8;
  while (at < n && strchr(" \t\r\n", head[at]) && head[at]) at++;
  bool json = n > 8 && size <= ST_MAX_HEADER && at < n && head[at] == '{';
  return json ? (named ? 100 : 80) : named ? 40 : 0;
}

static const mtk_option_def options[] = {
    {"max-shard-size", 0, MTK_OPT_STRING, "SIZE", NULL, 0, 0, NULL,
     "split the weights into files of at most SIZE (300MB, 5GB) with an index"},
    {"layout", 0, MTK_OPT_STRING, "LAYOUT", NULL, 0, 0, NULL,
     "names and config of quantized weights: compressed-tensors, modelopt or deepseek; default: "
     "the source's, else compressed-tensors"},
    {.name = NULL},
};

static const mtk_format_v1 hf_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "hf",
    .title = "Hugging Face folder, safetensors, PEFT adapter",
    .extensions = "safetensors",
    .flags = MTK_FORMAT_MODEL | MTK_FORMAT_ADAPTER | MTK_FORMAT_FOLDER | MTK_FORMAT_OUTPUTS,
    .options = options,
    .probe = hf_probe,
    .read_model = hf_read_model,
    .write_model = hf_write_model,
    .read_adapter = hf_read_adapter,
    .write_adapter = hf_write_adapter,
    .keeps = hf_keeps,
};

MTK_PLUGIN_DEFINE("hf", MTK_PLUGIN_VERSION,
                  "reads and writes Hugging Face folders, safetensors files and PEFT adapters",
                  "Apache-2.0", {MTK_EXT_FORMAT, &hf_format});
