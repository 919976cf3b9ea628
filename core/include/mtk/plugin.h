/* mtk/plugin.h: plugin ABI v1.
 *
 * A plugin is a shared object with one exported symbol, `mtk_plugin_entry`. The host checks `abi`
 * before it calls anything. init() gets the host's function table and keeps it for its life; the
 * plugin links to nothing of ours. Features are structs of function pointers under versioned string
 * ids (ext/<name>.h): unknown id -> NULL -> absent. Every struct starts with struct_size and only
 * grows at its end. Plugins stay loaded until the process ends.
 *
 * Source files of a plugin are compiled with MTK_PLUGIN_BUILD defined: then plugin_names.h maps
 * every mtk_* host function to the table, and plugin code reads like core code. Exactly one file
 * says MTK_PLUGIN_DEFINE(...). */
#ifndef MTK_PLUGIN_H
#define MTK_PLUGIN_H

#include <mtk/archive.h>
#include <mtk/base.h>
#include <mtk/dtype.h>
#include <mtk/engine.h>
#include <mtk/graph.h>
#include <mtk/model.h>
#include <mtk/option.h>
#include <mtk/text.h>
#include <mtk/train.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_ABI_MAGIC 0x314B544Du /* "MTK1" */
enum { MTK_ABI_MAJOR = 1, MTK_ABI_MINOR = 0 };

/* Fixed for all time: checked before anything else is touched. */
typedef struct mtk_abi_block {
  uint32_t magic;        /* MTK_ABI_MAGIC: also tells the byte order */
  uint16_t major, minor; /* host.major == plugin.major; host.minor >= plugin.minor */
  uint8_t pointer_size;
  uint8_t reserved[7];
  uint64_t layout_hash; /* MTK_LAYOUT_HASH: sizes of the basic structs */
} mtk_abi_block;

/* Sizes that must agree; mixed into one number. */
#define MTK_LAYOUT_MIX(h, v) (((h) ^ (uint64_t)(v)) * 1099511628211ull)
#define MTK_LAYOUT_HASH                                                                            \
  MTK_LAYOUT_MIX(                                                                                  \
      MTK_LAYOUT_MIX(MTK_LAYOUT_MIX(MTK_LAYOUT_MIX(14695981039346656037ull, sizeof(mtk_error)),    \
                                    sizeof(mtk_tensor)),                                           \
                     sizeof(mtk_value)),                                                           \
      sizeof(mtk_option_def))

typedef struct mtk_host mtk_host;

typedef struct mtk_plugin_entry_t {
  mtk_abi_block abi;
  size_t struct_size;
  const char *name;        /* "gguf"; equals the file name without .so */
  const char *version;     /* semantic version */
  const char *description; /* one line */
  const char *license;     /* SPDX id */
  /* Called once, by one thread, before get(). */
  mtk_status (*init)(const mtk_host *host, mtk_error *err);
  /* Feature number `index` (0, 1, ...) of an id, or NULL when there are no more. Static data. Any
   * thread. */
  const void *(*get)(const char *id, size_t index);
} mtk_plugin_entry_t;

typedef struct mtk_static_plugin {
  const char *name;
  const mtk_plugin_entry_t *entry;
} mtk_static_plugin;
extern const mtk_static_plugin mtk_static_plugins[];
extern const size_t mtk_static_plugin_count;

/* One row of a plugin's feature list. */
typedef struct mtk_feature {
  const char *id;
  const void *ext;
} mtk_feature;

#include <mtk/host.h>

#ifdef MTK_PLUGIN_BUILD
#define MTK_EXPORT __attribute__((visibility("default")))
extern const mtk_host *mtk_host_table;
#include <mtk/plugin_names.h>
/* Defines the entry: name, version, description, licence and the feature rows. */
#define MTK_PLUGIN_DEFINE(plugin_name, plugin_version, text, spdx, ...)                            \
  const mtk_host *mtk_host_table;                                                                  \
  static const mtk_feature mtk_features_[] = {__VA_ARGS__, {NULL, NULL}};                          \
  static mtk_status mtk_plugin_init_(const mtk_host *host, mtk_error *err) {                       \
    (void)err;                                                                                     \
    mtk_host_table = host;                                                                         \
    return MTK_OK;                                                                                 \
  }                                                                                                \
  static const void *mtk_plugin_get_(const char *id, size_t index) {                               \
    for (const mtk_feature *f = mtk_features_; f->id; f++) {                                       \
      const char *a = f->id, *b = id;                                                              \
      while (*a && *a == *b) a++, b++;                                                             \
      if (*a == *b && index-- == 0) return f->ext;                                                 \
    }                                                                                              \
    return NULL;                                                                                   \
  }                                                                                                \
  extern MTK_EXPORT const mtk_plugin_entry_t mtk_plugin_entry;                                     \
  const mtk_plugin_entry_t mtk_plugin_entry = {                                                    \
      {MTK_ABI_MAGIC, MTK_ABI_MAJOR, MTK_ABI_MINOR, sizeof(void *), {0}, MTK_LAYOUT_HASH},         \
      sizeof(mtk_plugin_entry_t),                                                                  \
      plugin_name,                                                                                 \
      plugin_version,                                                                              \
      text,                                                                                        \
      spdx,                                                                                        \
      mtk_plugin_init_,                                                                            \
      mtk_plugin_get_}
#endif

#ifdef __cplusplus
}
#endif
#endif
