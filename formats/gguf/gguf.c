/* gguf.c: the GGUF plugin: type table, detection, entry. Static data only; any thread. */
#include "gguf.h"

#include <string.h>

#define NO_FILE_TYPE UINT32_MAX

/* enum ggml_type (ggml.h) and llama_ftype (llama.h; the one that llama.cpp takes a file for that
 * says nothing); retired numbers are absent. */
static const gguf_type types[] = {
    {0, "F32", MTK_F32, 0},
    {1, "F16", MTK_F16, 1},
    {2, "Q4_0", MTK_Q4_0, 2},
    {3, "Q4_1", MTK_Q4_1, 3},
    {6, "Q5_0", MTK_Q5_0, 8},
    {7, "Q5_1", MTK_Q5_1, 9},
    {8, "Q8_0", MTK_Q8_0, 7},
    {9, "Q8_1", MTK_Q8_1, NO_FILE_TYPE},
    {10, "Q2_K", MTK_Q2_K, 10},
    {11, "Q3_K", MTK_Q3_K, 12},
    {12, "Q4_K", MTK_Q4_K, 15},
    {13, "Q5_K", MTK_Q5_K, 17},
    {14, "Q6_K", MTK_Q6_K, 18},
    {15, "Q8_K", MTK_Q8_K, NO_FILE_TYPE},
    {16, "IQ2_XXS", MTK_IQ2_XXS, 19},
    {17, "IQ2_XS", MTK_IQ2_XS, 20},
    {18, "IQ3_XXS", MTK_IQ3_XXS, 23},
    {19, "IQ1_S", MTK_IQ1_S, 24},
    {20, "IQ4_NL", MTK_IQ4_NL, 25},
    {21, "IQ3_S", MTK_IQ3_S, 26},
    {22, "IQ2_S", MTK_IQ2_S, 28},
    {23, "IQ4_XS", MTK_IQ4_XS, 30},
    {24, "I8", MTK_I8, NO_FILE_TYPE},
    {25, "I16", MTK_I16, NO_FILE_TYPE},
    {26, "I32", MTK_I32, NO_FILE_TYPE},
    {27, "I64", MTK_I64, NO_FILE_TYPE},
    {28, "F64", MTK_F64, NO_FILE_TYPE},
    {29, "IQ1_M", MTK_IQ1_M, 31},
    {30, "BF16", MTK_BF16, 32},
    {34, "TQ1_0", MTK_TQ1_0, 36},
    {35, "TQ2_0", MTK_TQ2_0, 37},
    {39, "MXFP4", MTK_MXFP4, 38},
    {40, "NVFP4", MTK_NVFP4, 39},
    {41, "Q1_0", MTK_Q1_0, 40},
    {42, "Q2_0", MTK_Q2_0, 41},
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

/* Mixtures named after the type of most of their tensors. */
static const struct {
  uint32_t file_type;
  mtk_dtype dtype;
} mixtures[] = {
    {11, MTK_Q3_K},  {12, MTK_Q3_K},  {13, MTK_Q3_K},  {14, MTK_Q4_K},
    {15, MTK_Q4_K},  {16, MTK_Q5_K},  {17, MTK_Q5_K},  {21, MTK_Q2_K},
    {22, MTK_IQ3_S}, {27, MTK_IQ3_S}, {29, MTK_IQ2_S}, {4, MTK_Q4_1},
};

mtk_dtype gguf_file_type_dtype(uint64_t file_type) {
  for (size_t i = 0; i < sizeof mixtures / sizeof mixtures[0]; i++)
    if (mixtures[i].file_type == file_type) return mixtures[i].dtype;
  for (size_t i = 0; i < N_TYPES; i++)
    if (types[i].file_type == file_type) return types[i].dtype;
  return MTK_DTYPE_COUNT;
}

static int gguf_probe(const char *path, const uint8_t *head, size_t n) {
  if (n >= 4 && memcmp(head, "GGUF", 4) == 0) return 100;
  size_t len = strlen(path);
  if (len > 5 && strcmp(path + len - 5, ".gguf") == 0 && !mtk_path_is_dir(path)) return 40;
  return 0;
}

static const mtk_option_def options[] = {
    {"split-max-size", 0, MTK_OPT_STRING, "SIZE", NULL, 0, 0, NULL,
     "split the GGUF into files with at most SIZE of tensors (300M, 2G)"},
    {"split-max-tensors", 0, MTK_OPT_INT, "N", NULL, 1, 1e9, NULL,
     "split the GGUF into files of at most N tensors"},
    {.name = NULL},
};

static const mtk_format_v1 gguf_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "gguf",
    .title = "GGUF v3 (llama.cpp)",
    .extensions = "gguf",
    .flags = MTK_FORMAT_MODEL | MTK_FORMAT_ADAPTER | MTK_FORMAT_OUTPUTS,
    .options = options,
    .probe = gguf_probe,
    .read_model = gguf_read_model,
    .write_model = gguf_write_model,
    .read_adapter = gguf_read_adapter,
    .write_adapter = gguf_write_adapter,
    .keeps = gguf_keeps,
};

MTK_PLUGIN_DEFINE("gguf", MTK_PLUGIN_VERSION, "reads and writes GGUF models and LoRA adapters",
                  "Apache-2.0", {MTK_EXT_FORMAT, &gguf_format});
