/* registry.c: the list of plugins of this process: found, checked, initialised, and never unloaded.
 * Loading happens in one thread at start; after that any thread may look things up. */
#include "plug/plug_impl.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct plugin {
  mtk_plugin_info info; /* first: an info pointer is a plugin pointer */
  atomic_bool used;
} plugin;

static plugin **plugins;
static size_t n_plugins, cap_plugins;
static bool all_loaded;
static pthread_mutex_t hash_lock = PTHREAD_MUTEX_INITIALIZER;

static mtk_status no_memory(mtk_error *err, const char *place) {
  return mtk_fail(err, MTK_E_NOMEM, place, "out of memory");
}

/* ---- the list ------------------------------------------------------------------------------ */

static const mtk_plugin_info *find_loaded(const char *name) {
  for (size_t i = 0; i < n_plugins; i++)
    if (!plugins[i]->info.refused && strcmp(plugins[i]->info.name, name) == 0)
      return &plugins[i]->info;
  return NULL;
}

/* A new row of the list; frees itself on failure. why NULL = not refused. */
static mtk_status append(plugin **out, const char *name, const char *path, const char *why,
                         mtk_error *err) {
  if (n_plugins == cap_plugins) {
    size_t cap = cap_plugins ? cap_plugins * 2 : 32;
    plugin **grown = mtk_realloc(plugins, cap_plugins, cap, sizeof *grown);
    if (!grown) return no_memory(err, path);
    plugins = grown;
    cap_plugins = cap;
  }
  plugin *p = mtk_alloc(1, sizeof *p);
  if (!p) return no_memory(err, path);
  char *own_name = mtk_strdup(name), *own_path = mtk_strdup(path);
  char *own_why = why ? mtk_strdup(why) : NULL;
  p->info = (mtk_plugin_info){own_name, "", "", "", own_path, "", own_why, NULL};
  if (!own_name || !own_path || (why && !own_why)) {
    mtk_free(own_name);
    mtk_free(own_path);
    mtk_free(own_why);
    mtk_free(p);
    return no_memory(err, path);
  }
  plugins[n_plugins++] = p;
  *out = p;
  return MTK_OK;
}

/* Checks, init, features. */
static bool start_entry(mtk_refusal *out, const mtk_plugin_entry_t *entry, const char *name) {
  if (!mtk_plugin_entry_fits(out, entry, name)) return false;
  mtk_error cause = {0};
  if (entry->init(mtk_host_get(), &cause) != MTK_OK) {
    snprintf(out->why, sizeof out->why, "its start failed: %.200s", cause.message);
    return false;
  }
  return mtk_plugin_features_fit(out, entry);
}

/* Check and start `entry` (NULL: `why` says what was wrong already); the plugin is listed in any
 * case. */
static mtk_status enlist(const mtk_plugin_info **out, const mtk_plugin_entry_t *entry,
                         const char *name, const char *path, const char *why, mtk_error *err) {
  mtk_refusal refusal;
  bool ok = entry && start_entry(&refusal, entry, name);
  if (entry && !ok) why = refusal.why;
  plugin *p = NULL;
  MTK_TRY(append(&p, name, path, ok ? NULL : why, err));
  if (out) *out = &p->info;
  if (!ok) {
    mtk_log(MTK_LOG_WARN, "plugin %s refused: %s", path, why);
    return MTK_OK;
  }
  p->info.entry = entry;
  p->info.version = entry->version;
  p->info.description = entry->description;
  p->info.license = entry->license;
  mtk_log(MTK_LOG_DEBUG, "plugin %s %s from %s", name, entry->version, path);
  return MTK_OK;
}

/* ---- files --------------------------------------------------------------------------------- */

/* "/x/gguf.so" -> "gguf" in a heap string; NULL when out of memory. */
static char *name_of_file(const char *path) {
  const char *base = mtk_path_base(path), *dot = strrchr(base, '.');
  return mtk_strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

static mtk_status open_file(const mtk_plugin_info **out, const char *name, const char *path,
                            mtk_error *err) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!handle) return enlist(out, NULL, name, path, dlerror(), err);
  const mtk_plugin_entry_t *entry = dlsym(handle, "mtk_plugin_entry");
  return enlist(out, entry, name, path, "no mtk plugin: it exports no mtk_plugin_entry", err);
}

mtk_status mtk_plugin_load_file(const mtk_plugin_info **out, const char *path, mtk_error *err) {
  char *full = realpath(path, NULL); /* dlopen searches for names without a slash */
  if (!full) return mtk_fail(err, MTK_E_NOT_FOUND, path, "no such plugin file");
  char *name = name_of_file(full);
  mtk_status status = MTK_OK;
  const mtk_plugin_info *there = name ? find_loaded(name) : NULL;
  if (!name) status = no_memory(err, path);
  else if (there && strcmp(there->path, full) == 0) *out = there;
  else if (there) status = enlist(out, NULL, name, full, "its name is already taken", err);
  else status = open_file(out, name, full, err);
  mtk_free(name);
  free(full);
  if (status == MTK_OK && (*out)->refused)
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "%s", (*out)->refused);
  return status;
}

static int is_plugin_file(const struct dirent *d) {
  const char *dot = strrchr(d->d_name, '.');
  return d->d_name[0] != '.' && dot && strcmp(dot, ".so") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static mtk_status load_one(const char *dir, const char *file, mtk_error *err) {
  char *path = mtk_path_join(dir, file), *name = path ? name_of_file(path) : NULL;
  mtk_status status = MTK_OK;
  const mtk_plugin_info *taken = name ? find_loaded(name) : NULL;
  if (!name) status = no_memory(err, dir);
  else if (taken) mtk_log(MTK_LOG_INFO, "plugin %s skipped: %s is loaded from %s", path, name,
                          taken->path);
  else status = open_file(NULL, name, path, err);
  mtk_free(path);
  mtk_free(name);
  return status;
}

static mtk_status load_folder(const char *dir, mtk_error *err) {
  struct dirent **files;
  int n = scandir(dir, &files, is_plugin_file, by_name);
  if (n < 0) {
    mtk_log(MTK_LOG_WARN, "plugin folder %s cannot be read: %s", dir, strerror(errno));
    return MTK_OK;
  }
  mtk_status status = MTK_OK;
  for (int i = 0; i < n; i++) {
    if (status == MTK_OK) status = load_one(dir, files[i]->d_name, err);
    free(files[i]);
  }
  free(files);
  return status;
}

/* ---- where they are ------------------------------------------------------------------------ */

/* <folder of the program>/../lib/mtk/plugins, if there is such a folder. */
static mtk_status load_beside_program(mtk_error *err) {
  char exe[4096];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (n <= 0) return MTK_OK;
  exe[n] = 0;
  char *slash = strrchr(exe, '/');
  if (!slash) return MTK_OK;
  *slash = 0;
  char *dir = mtk_path_join(exe, "../lib/mtk/plugins");
  char *full = dir ? realpath(dir, NULL) : NULL;
  mtk_status status = dir ? MTK_OK : no_memory(err, exe);
  if (full) status = load_folder(full, err);
  mtk_free(dir);
  free(full);
  return status;
}

static mtk_status load_path_list(const char *list, mtk_error *err) {
  while (list && *list) {
    size_t n = strcspn(list, ":");
    char *dir = mtk_strndup(list, n);
    if (!dir) return no_memory(err, "MTK_PLUGIN_PATH");
    mtk_status status = n ? load_folder(dir, err) : MTK_OK;
    mtk_free(dir);
    MTK_TRY(status);
    list += list[n] ? n + 1 : n;
  }
  return MTK_OK;
}

mtk_status mtk_plugins_load(mtk_error *err) {
  if (all_loaded) return MTK_OK;
  for (size_t i = 0; i < mtk_static_plugin_count; i++)
    if (!find_loaded(mtk_static_plugins[i].name))
      MTK_TRY(enlist(NULL, mtk_static_plugins[i].entry, mtk_static_plugins[i].name, "(built in)",
                     NULL, err));
  const char *builtin = secure_getenv("MTK_PLUGIN_DIR");
  MTK_TRY(builtin && *builtin ? load_folder(builtin, err) : load_beside_program(err));
  MTK_TRY(load_path_list(secure_getenv("MTK_PLUGIN_PATH"), err));
  all_loaded = true;
  return MTK_OK;
}

/* ---- looking things up --------------------------------------------------------------------- */

size_t mtk_plugin_count(void) { return n_plugins; }

const mtk_plugin_info *mtk_plugin_at(size_t index) {
  return index < n_plugins ? &plugins[index]->info : NULL;
}

const char *mtk_plugin_sha256(const mtk_plugin_info *info) {
  plugin *p = (plugin *)(uintptr_t)info;
  pthread_mutex_lock(&hash_lock);
  if (!p->info.sha256[0]) {
    const char *path = p->info.path[0] == '(' ? "/proc/self/exe" : p->info.path;
    mtk_file *file = NULL;
    if (mtk_file_open(&file, path, NULL) == MTK_OK)
      mtk_sha256_hex(p->info.sha256, file->data, file->size);
    mtk_file_close(file);
  }
  pthread_mutex_unlock(&hash_lock);
  return p->info.sha256;
}

void mtk_plugin_mark_used(const mtk_plugin_info *info) {
  atomic_store_explicit(&((plugin *)(uintptr_t)info)->used, true, memory_order_relaxed);
}

bool mtk_plugin_was_used(const mtk_plugin_info *info) {
  return atomic_load_explicit(&((plugin *)(uintptr_t)info)->used, memory_order_relaxed);
}

const void *mtk_feature_at(const char *id, size_t index, const mtk_plugin_info **from) {
  for (size_t i = 0; i < n_plugins; i++) {
    const mtk_plugin_entry_t *entry = plugins[i]->info.entry;
    const void *ext;
    for (size_t j = 0; entry && (ext = entry->get(id, j)); j++)
      if (index-- == 0) {
        if (from) *from = &plugins[i]->info;
        return ext;
      }
  }
  return NULL;
}

/* What all feature structs start with. */
typedef struct feature_head {
  size_t struct_size;
  const char *name;
} feature_head;

const void *mtk_feature_find(const char *id, const char *name) {
  const mtk_plugin_info *from;
  const feature_head *f;
  for (size_t i = 0; (f = mtk_feature_at(id, i, &from)); i++)
    if (strcmp(f->name, name) == 0) {
      mtk_plugin_mark_used(from);
      return f;
    }
  return NULL;
}
