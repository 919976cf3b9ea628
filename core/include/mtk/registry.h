/* mtk/registry.h: loaded plugins and their features. Host side only (commands and core). */
#ifndef MTK_REGISTRY_H
#define MTK_REGISTRY_H

#ifdef MTK_PLUGIN_BUILD
#error "a plugin includes <mtk/plugin.h>: its host table has what plugins may use of this header"
#endif

#include <mtk/ext/arch.h>
#include <mtk/ext/format.h>
#include <mtk/ext/quantizer.h>
#include <mtk/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtk_plugin_info {
  const char *name, *version, *description, *license;
  const char *path;    /* "(built in)" for static ones */
  char sha256[65];     /* of the .so; computed on demand by mtk_plugin_sha256 */
  const char *refused; /* NULL = loaded; else why not ("ABI major 2, this host has 1") */
  const mtk_plugin_entry_t *entry; /* NULL if refused */
} mtk_plugin_info;

/* Load static plugins, then the built-in folder (bin/../lib/mtk/plugins, else the install
 * prefix; MTK_PLUGIN_DIR overrides it), then each folder of MTK_PLUGIN_PATH (':' separated), never
 * the current directory. A plugin whose name is already taken is skipped (first wins; logged).
 * Refused plugins are kept in the list with their reason. Idempotent; call from one thread at
 * start. */
mtk_status mtk_plugins_load(mtk_error *err);
/* Load one file (mtk plugin check). */
mtk_status mtk_plugin_load_file(const mtk_plugin_info **out, const char *path, mtk_error *err);
size_t mtk_plugin_count(void);
const mtk_plugin_info *mtk_plugin_at(size_t index);
const char *mtk_plugin_sha256(const mtk_plugin_info *info);

/* All features of an id over all plugins; the plugin they come from in *from (may be NULL). */
const void *mtk_feature_at(const char *id, size_t index, const mtk_plugin_info **from);
/* The feature of an id that has this name (every feature struct starts with struct_size and its
 * name); NULL if there is none. Its plugin counts as one that took part (mtk_provenance_json). */
const void *mtk_feature_find(const char *id, const char *name);

/* Formats: by id; by probing a path (highest score wins, the reason is logged at debug level).
 * Errors name what was found and what can be read. `need`: MTK_FORMAT_MODEL or _ADAPTER. */
const mtk_format_v1 *mtk_format_find(const char *id);
mtk_status mtk_format_probe(const mtk_format_v1 **out, const char *path, uint32_t need,
                            mtk_error *err);
/* By the name of an output: extension, or a folder if there is none. */
const mtk_format_v1 *mtk_format_for_output(const char *path);
/* Probe and read. */
mtk_status mtk_model_load(mtk_model **out, const char *path, mtk_error *err);
mtk_status mtk_adapter_load(mtk_adapter **out, const char *path, mtk_error *err);
const mtk_quantizer_v1 *mtk_quantizer_find(const char *method);

/* JSON text {"mtk":version,"plugins":[{name,version,sha256}...], ...} for artefacts: command line
 * options as given, digests of all files of the sources (path base names), plugins that took
 * part. */
mtk_status mtk_provenance_json(mtk_bytes *out, const char *command, int n_args,
                               const char *const *args, const char *const *sources, int n_sources,
                               mtk_error *err);
/* The digests of the sources' files (of a model or adapter that was read: those that its reader
 * opened; else all of a folder), computed when they are wanted; n_threads > 0: from now on, on so
 * many threads of their own, so that other work can go on. destroy waits for them. */
typedef struct mtk_digests mtk_digests;
mtk_status mtk_digests_start(mtk_digests **out, const char *const *sources, int n, int n_threads,
                             mtk_error *err);
void mtk_digests_destroy(mtk_digests *digests);
/* mtk_provenance_json with digests that were started before; waits for them. */
mtk_status mtk_provenance_with(mtk_bytes *out, const char *command, int n_args,
                               const char *const *args, mtk_digests *sources, mtk_error *err);

/* The table of functions that plugins get (host.h). Static, constant; any thread. */
const mtk_host *mtk_host_get(void);

#ifdef __cplusplus
}
#endif
#endif
