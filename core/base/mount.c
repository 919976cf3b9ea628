/* mount.c: folders that lie in memory (mtk/archive.h). A mount is built by one thread, then seen by
 * all through the list of published mounts; it lives until the builder and every file opened from
 * it have released it. */
#include "base/internal.h"

#include <mtk/archive.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct mount_entry {
  const char *name;
  const uint8_t *data;
  size_t size;
} mount_entry;

struct mtk_mount {
  mtk_arena *arena;
  const char *prefix;
  size_t n_prefix;
  mount_entry *entries; /* sorted once published */
  size_t n, cap;
  mtk_file *files[4]; /* closed at the end */
  size_t n_files;
  int refs; /* under the lock from here on */
  bool published;
  struct mtk_mount *next;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static mtk_mount *g_mounts; /* under the lock */

/* ---- building ------------------------------------------------------------------------------ */

mtk_status mtk_mount_create(mtk_mount **out, const char *prefix, mtk_error *err) {
  *out = NULL;
  mtk_mount *m = mtk_alloc(1, sizeof *m);
  if (m) m->arena = mtk_arena_create();
  if (m && m->arena) m->prefix = mtk_arena_strndup(m->arena, prefix, strlen(prefix));
  if (!m || !m->prefix) {
    if (m) mtk_arena_destroy(m->arena);
    mtk_free(m);
    return mtk_fail(err, MTK_E_NOMEM, prefix, "out of memory");
  }
  m->n_prefix = strlen(prefix);
  m->refs = 1;
  *out = m;
  return MTK_OK;
}

mtk_status mtk_mount_keep(mtk_mount *m, mtk_file *file, mtk_error *err) {
  if (m->n_files == sizeof m->files / sizeof m->files[0]) {
    mtk_file_close(file);
    return mtk_fail(err, MTK_E_LIMIT, m->prefix, "too many files behind one mount");
  }
  m->files[m->n_files++] = file;
  return MTK_OK;
}

/* Relative, without empty, "." and ".." parts. */
static bool is_plain_name(const char *name) {
  for (const char *part = name;;) {
    size_t n = strcspn(part, "/");
    if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
      return false;
    if (!part[n]) return true;
    part += n + 1;
  }
}

mtk_status mtk_mount_add(mtk_mount *m, const char *name, const uint8_t *data, size_t size,
                         mtk_error *err) {
  if (!is_plain_name(name))
    return mtk_fail(err, MTK_E_FORMAT, m->prefix, "member '%.100s' has an unsafe name", name);
  if (m->n == m->cap) {
    size_t cap = m->cap ? 2 * m->cap : 64;
    mount_entry *more = mtk_realloc(m->entries, m->cap, cap, sizeof *more);
    if (!more) return mtk_fail(err, MTK_E_NOMEM, m->prefix, "out of memory");
    m->entries = more;
    m->cap = cap;
  }
  const char *copy = mtk_arena_strndup(m->arena, name, strlen(name));
  if (!copy) return mtk_fail(err, MTK_E_NOMEM, m->prefix, "out of memory");
  m->entries[m->n++] = (mount_entry){copy, data, size};
  return MTK_OK;
}

/* The order of characters in names: '/' before every other, so that what lies in a folder follows
 * the folder's own name. */
static int rank_of(char c) { return c == '/' ? 1 : c ? (unsigned char)c + 1 : 0; }

static int compare_names(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return rank_of(*a) - rank_of(*b);
}

static int by_name(const void *a, const void *b) {
  return compare_names(((const mount_entry *)a)->name, ((const mount_entry *)b)->name);
}

/* Is `name` in the folder dir (n bytes; 0 = the root), at any depth? */
static bool is_below(const char *name, const char *dir, size_t n) {
  return n == 0 || (strncmp(name, dir, n) == 0 && name[n] == '/');
}

mtk_status mtk_mount_publish(mtk_mount *m, mtk_error *err) {
  if (m->n) qsort(m->entries, m->n, sizeof *m->entries, by_name);
  for (size_t i = 1; i < m->n; i++) {
    const char *a = m->entries[i - 1].name, *b = m->entries[i].name;
    if (strcmp(a, b) == 0)
      return mtk_fail(err, MTK_E_FORMAT, m->prefix, "two members are named '%.100s'", a);
    if (is_below(b, a, strlen(a)))
      return mtk_fail(err, MTK_E_FORMAT, m->prefix, "member '%.100s' is a file and a folder", a);
  }
  pthread_mutex_lock(&g_lock);
  m->published = true;
  m->next = g_mounts;
  g_mounts = m;
  pthread_mutex_unlock(&g_lock);
  return MTK_OK;
}

/* True when that was the last one: the mount is out of the list. */
static bool drop_reference(mtk_mount *m) {
  pthread_mutex_lock(&g_lock);
  bool last = --m->refs == 0;
  for (mtk_mount **at = &g_mounts; last && m->published && *at; at = &(*at)->next) {
    if (*at != m) continue;
    *at = m->next;
    break;
  }
  pthread_mutex_unlock(&g_lock);
  return last;
}

void mtk_mount_release(mtk_mount *m) {
  if (!m || !drop_reference(m)) return;
  for (size_t i = 0; i < m->n_files; i++) mtk_file_close(m->files[i]);
  mtk_free(m->entries);
  mtk_arena_destroy(m->arena);
  mtk_free(m);
}

/* ---- looking up ---------------------------------------------------------------------------- */

/* The mount that a path lies in, and the rest of the path without slashes around it. The lock is
 * held by the caller. */
static mtk_mount *find_mount(const char *path, const char **rest, size_t *n) {
  for (mtk_mount *m = g_mounts; m; m = m->next) {
    if (strncmp(path, m->prefix, m->n_prefix) != 0) continue;
    const char *at = path + m->n_prefix;
    if (*at && *at != '/') continue;
    while (*at == '/') at++;
    *rest = at;
    *n = strlen(at);
    while (*n && at[*n - 1] == '/') --*n;
    return m;
  }
  return NULL;
}

/* The first entry that is `name` (n bytes) or below it; m->n if there is none. */
static size_t first_at(const mtk_mount *m, const char *name, size_t n) {
  size_t low = 0, high = m->n;
  if (n == 0) return 0;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const char *have = m->entries[middle].name;
    size_t same = 0;
    while (same < n && have[same] == name[same]) same++;
    if (same < n && rank_of(have[same]) < rank_of(name[same]))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

mtk_mount_kind mtk_mount_lookup(const char *path, const uint8_t **data, size_t *size,
                                mtk_mount **owner) {
  const char *rest;
  size_t n;
  mtk_mount_kind kind = MTK_MOUNT_OUTSIDE;
  pthread_mutex_lock(&g_lock);
  mtk_mount *m = find_mount(path, &rest, &n);
  if (m) {
    size_t i = first_at(m, rest, n);
    const mount_entry *e = i < m->n ? &m->entries[i] : NULL;
    bool file = e && n && strncmp(e->name, rest, n) == 0 && e->name[n] == 0;
    bool folder = n == 0 || (e && is_below(e->name, rest, n));
    kind = file ? MTK_MOUNT_FILE : folder ? MTK_MOUNT_FOLDER : MTK_MOUNT_ABSENT;
    if (file && owner) {
      *data = e->data;
      *size = e->size;
      *owner = m;
      m->refs++;
    }
  }
  pthread_mutex_unlock(&g_lock);
  return kind;
}

mtk_status mtk_mount_list(const char *path,
                          mtk_status (*add)(void *ctx, const char *name, size_t n), void *ctx) {
  const char *rest, *last = NULL;
  size_t n, n_last = 0;
  mtk_status status = MTK_OK;
  pthread_mutex_lock(&g_lock);
  const mtk_mount *m = find_mount(path, &rest, &n);
  for (size_t i = m ? first_at(m, rest, n) : 0; m && i < m->n && status == MTK_OK; i++) {
    const char *name = m->entries[i].name;
    if (!is_below(name, rest, n)) break;
    const char *part = name + (n ? n + 1 : 0);
    size_t len = strcspn(part, "/");
    if (last && len == n_last && memcmp(part, last, len) == 0) continue; /* files of one folder */
    status = add(ctx, part, len);
    last = part;
    n_last = len;
  }
  pthread_mutex_unlock(&g_lock);
  return status;
}
