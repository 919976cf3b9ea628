/* gguf.c: the GGUF plugin: type table, detection, entry. Static data only; any thread. */
#include "gguf.h"

#include <string.h>

#define NO_TYPE      MTK_DTYPE_COUNT
#define NO_FILE_TYPE UINT32_MAX

/* enum ggml_type (ggml.h) and llama_ftype (llama.h); retired numbers are absent. */
static const gguf_type types[] = {
    {0, "F32", MTK_F32, 0},
    {1, "F16", MTK_F16, 1},
    {2, "Q4_0", MTK_Q4_0, 2},
    {3, "Q4_1", MTK_Q4_1, 3},
    {6, "Q5_0", NO_TYPE, NO_FILE_TYPE},
    {7, "Q5_1", NO_TYPE, NO_FILE_TYPE},
    {8, "Q8_0", MTK_Q8_0, 7},
    {9, "Q8_1", NO_TYPE, NO_FILE_TYPE},
    {10, "Q2_K", NO_TYPE, NO_FILE_TYPE},
    {11, "Q3_K", NO_TYPE, NO_FILE_TYPE},
    {12, "Q4_K", NO_TYPE, NO_FILE_TYPE},
    {13, "Q5_K", NO_TYPE, NO_FILE_TYPE},
    {14, "Q6_K", NO_TYPE, NO_FILE_TYPE},
    {15, "Q8_K", NO_TYPE, NO_FILE_TYPE},
    {16, "IQ2_XXS", NO_TYPE, NO_FILE_TYPE},
    {17, "IQ2_XS", NO_TYPE, NO_FILE_TYPE},
    {18, "IQ3_XXS", NO_TYPE, NO_FILE_TYPE},
    {19, "IQ1_S", NO_TYPE, NO_FILE_TYPE},
    {20, "IQ4_NL", NO_TYPE, NO_FILE_TYPE},
    {21, "IQ3_S", NO_TYPE, NO_FILE_TYPE},
    {22, "IQ2_S", NO_TYPE, NO_FILE_TYPE},
    {23, "IQ4_XS", NO_TYPE, NO_FILE_TYPE},
    {24, "I8", MTK_I8, NO_FILE_TYPE},
    {25, "I16", MTK_I16, NO_FILE_TYPE},
    {26, "I32", MTK_I32, NO_FILE_TYPE},
    {27, "I64", MTK_I64, NO_FILE_TYPE},
    {28, "F64", MTK_F64, NO_FILE_TYPE},
    {29, "IQ1_M", NO_TYPE, NO_FILE_TYPE},
    {30, "BF16", MTK_BF16, 32},
    {34, "TQ1_0", NO_TYPE, NO_FILE_TYPE},
    {35, "TQ2_0", NO_TYPE, NO_FILE_TYPE},
    {39, "MXFP4", MTK_MXFP4, 38},
    {40, "NVFP4", MTK_NVFP4, 39},
    {41, "Q1_0", NO_TYPE, NO_FILE_TYPE},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

const gguf_type *gguf_type_by_id(uint32_t id) {
  for (size_t i = 0; i < N_TYPES; i++)
    if (types[i].id == id) return &types[i];
  return NULL;
}

const gguf_type *gguf_type_by_dtype(mtk_dtype dtype) {
  for (size_t i = 0; i < N_TYPES; i++)
    if (types[i].dtype == dtype) return &types[i];
  return NULL;
}

static int gguf_probe(const char *path, const uint8_t *head, size_t n) {
  if (n >= 4 && memcmp(head, "GGUF", 4) == 0) return 100;
  size_t len = strlen(path);
  if (len > 5 && strcmp(path + len - 5, ".gguf") == 0 && !mtk_path_is_dir(path)) return 40;
  return 0;
}

static const mtk_format_v1 gguf_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "gguf",
    .title = "GGUF v3 (llama.cpp)",
    .extensions = "gguf",
    .flags = MTK_FORMAT_MODEL | MTK_FORMAT_ADAPTER,
    .options = NULL,
    .probe = gguf_probe,
    .read_model = gguf_read_model,
    .write_model = gguf_write_model,
    .read_adapter = gguf_read_adapter,
    .write_adapter = gguf_write_adapter,
};

MTK_PLUGIN_DEFINE("gguf", MTK_PLUGIN_VERSION, "reads and writes GGUF models and LoRA adapters",
                  "Apache-2.0", {MTK_EXT_FORMAT, &gguf_format});
