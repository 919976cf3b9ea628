/* sources.c: which files a source of an artefact is: those that its reader opened, where this
 * process has read it; else the file, or all files of the folder. Any thread. */
#include "base/internal.h"
#include "plug/plug_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- what readers open ----------------------------------------------------------------------- */

/* The files that were opened for a source, as often as it was. */
typedef struct memory {
  char *source;
  char **paths;
  size_t n, cap;
  struct memory *next;
} memory;

struct mtk_reading {
  memory *files; /* NULL: memory was short, nothing is known */
  mtk_reading *outer;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static memory *g_memories; /* under the lock; one per source */
static _Thread_local mtk_reading *g_reading;

static void forget(memory *m) {
  if (!m) return;
  for (size_t i = 0; i < m->n; i++) mtk_free(m->paths[i]);
  mtk_free(m->paths);
  mtk_free(m->source);
  mtk_free(m);
}

static bool remember(memory *m, const char *path) {
  if (m->n == m->cap) {
    size_t cap = m->cap ? 2 * m->cap : 16;
    char **more = mtk_realloc(m->paths, m->cap, cap, sizeof *more);
    if (!more) return false;
    m->paths = more;
    m->cap = cap;
  }
  m->paths[m->n] = mtk_strdup(path);
  return m->paths[m->n++] != NULL;
}

/* A reader may read another source for its own. */
static void note_opened(const char *path) {
  for (mtk_reading *r = g_reading; r; r = r->outer) {
    if (!r->files || remember(r->files, path)) continue;
    forget(r->files);
    r->files = NULL;
  }
}

mtk_reading *mtk_reading_begin(const char *source) {
  mtk_reading *r = mtk_alloc(1, sizeof *r);
  if (!r) return NULL;
  r->files = mtk_alloc(1, sizeof *r->files);
  if (r->files) r->files->source = mtk_strdup(source);
  r->outer = g_reading;
  g_reading = r;
  mtk_file_watch(note_opened);
  return r;
}

void mtk_reading_end(mtk_reading *r, bool ok) {
  if (!r) return;
  memory *m = r->files;
  g_reading = r->outer;
  if (!g_reading) mtk_file_watch(NULL);
  mtk_free(r);
  if (!m || !m->source || !ok) {
    forget(m);
    return;
  }
  pthread_mutex_lock(&g_lock);
  memory **at = &g_memories;
  while (*at && strcmp((*at)->source, m->source) != 0) at = &(*at)->next;
  memory *old = *at;
  m->next = old ? old->next : NULL;
  *at = m;
  pthread_mutex_unlock(&g_lock);
  forget(old);
}

/* ---- the files of a source ------------------------------------------------------------------- */

typedef struct listing {
  mtk_arena *arena;
  const char *source, *base; /* source without final slashes; base points into it */
  bool folder;
  mtk_source_file *items;
  size_t n;
} listing;

/* Adds `path` if it lies in the folder or beside the file, which scratch files do not. */
static bool add_path(listing *l, const char *path) {
  size_t prefix = l->folder ? strlen(l->source) : (size_t)(l->base - l->source);
  if (strncmp(path, l->source, prefix) != 0 || (l->folder && path[prefix] != '/')) return true;
  const char *rest = path + prefix;
  while (*rest == '/') rest++;
  if (!l->folder && strchr(rest, '/')) return true;
  char *name = l->folder ? mtk_path_join(l->base, rest) : mtk_strdup(rest);
  mtk_source_file *f = &l->items[l->n];
  f->name = name ? mtk_arena_strndup(l->arena, name, strlen(name)) : NULL;
  f->path = mtk_arena_strndup(l->arena, path, strlen(path));
  mtk_free(name);
  if (!f->name || !f->path) return false;
  size_t at = 0;
  while (strcmp(l->items[at].name, f->name) != 0) at++;
  l->n += at == l->n;
  return true;
}

/* Files of the folder itself: folders in it are not part of a model. */
static bool add_visible(listing *l, const char *name) {
  char *path = mtk_path_join(l->source, name);
  bool ok = path && (name[0] == '.' || mtk_path_is_dir(path) || add_path(l, path));
  mtk_free(path);
  return ok;
}

/* Copies of the paths that were opened; *n = 0: nothing is known of this source. */
static bool recall(const char ***paths, size_t *n, mtk_arena *arena, const char *source) {
  pthread_mutex_lock(&g_lock);
  const memory *m = g_memories;
  while (m && strcmp(m->source, source) != 0) m = m->next;
  *n = m ? m->n : 0;
  *paths = mtk_arena_alloc(arena, *n, sizeof **paths);
  bool ok = *paths != NULL;
  for (size_t i = 0; i < *n && ok; i++)
    ok = ((*paths)[i] = mtk_arena_strndup(arena, m->paths[i], strlen(m->paths[i]))) != NULL;
  pthread_mutex_unlock(&g_lock);
  return ok;
}

static int by_name(const void *a, const void *b) {
  const mtk_source_file *x = a, *y = b;
  return strcmp(x->name, y->name);
}

mtk_status mtk_source_list(mtk_source_file **items, size_t *n, mtk_arena *arena,
                           const char *source, bool whole, mtk_error *err) {
  size_t len = strlen(source), n_read = 0, n_all = 0;
  const char **read = NULL, **all = NULL;
  while (len > 1 && source[len - 1] == '/') len--;
  listing l = {.arena = arena, .source = mtk_arena_strndup(arena, source, len)};
  bool ok = l.source && recall(&read, &n_read, arena, source);
  l.folder = mtk_path_is_dir(source);
  if (ok && l.folder && (whole || !n_read))
    MTK_TRY(mtk_folder_list(&all, &n_all, arena, l.source, err));
  l.items = ok ? mtk_arena_alloc(arena, n_read + n_all + 1, sizeof *l.items) : NULL;
  ok = l.items != NULL;
  if (ok) l.base = mtk_path_base(l.source);
  if (ok && !l.folder) ok = add_path(&l, l.source);
  for (size_t i = 0; i < n_read && ok; i++) ok = add_path(&l, read[i]);
  for (size_t i = 0; i < n_all && ok; i++) ok = add_visible(&l, all[i]);
  if (!ok) return mtk_fail(err, MTK_E_NOMEM, source, "out of memory");
  size_t fixed = l.folder ? 0 : 1; /* the file itself comes first */
  qsort(l.items + fixed, l.n - fixed, sizeof *l.items, by_name);
  *items = l.items;
  *n = l.n;
  return MTK_OK;
}
