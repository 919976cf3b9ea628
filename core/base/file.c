/* file.c: read-only file maps and path helpers. A mapped file may be read by any thread; its bytes
 * are untrusted and may change if another program rewrites the file in place. */
#include "base/internal.h"

#include <mtk/archive.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* All open files, so that their pages can be given back. */
typedef struct open_file {
  mtk_file file; /* first: a mtk_file * is an open_file * */
  mtk_mount *mount; /* owner of the bytes, NULL: they are a map of their own */
  struct open_file *next, **link;
} open_file;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static open_file *g_files; /* under the lock */
static atomic_size_t g_read_bytes;

static _Thread_local void (*g_opened)(const char *path);

void mtk_file_watch(void (*opened)(const char *path)) { g_opened = opened; }

static void remember(open_file *f) {
  pthread_mutex_lock(&g_lock);
  f->next = g_files;
  f->link = &g_files;
  if (g_files) g_files->link = &f->next;
  g_files = f;
  pthread_mutex_unlock(&g_lock);
}

static void forget(open_file *f) {
  pthread_mutex_lock(&g_lock);
  if (f->link) *f->link = f->next;
  if (f->link && f->next) f->next->link = f->link;
  pthread_mutex_unlock(&g_lock);
}

void mtk_file_note_read(size_t n) {
  enum { KEEP_BYTES = 32 << 20 };
  if (atomic_fetch_add(&g_read_bytes, n) + n < KEEP_BYTES) return;
  pthread_mutex_lock(&g_lock);
  if (atomic_exchange(&g_read_bytes, 0) >= KEEP_BYTES)
    for (open_file *f = g_files; f; f = f->next)
      if (f->file.data && !f->mount)
        madvise((void *)(uintptr_t)f->file.data, f->file.size, MADV_DONTNEED);
  pthread_mutex_unlock(&g_lock);
}

static mtk_status refuse_folder(const char *path, mtk_error *err) {
  return mtk_fail(err, MTK_E_INVALID, path, "is a folder, a file was expected");
}

/* Maps the open file; leaves data NULL when it is empty. */
static mtk_status map_fd(mtk_file *file, int fd, mtk_error *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) return mtk_fail_errno(err, errno, file->path, "cannot stat");
  if (S_ISDIR(st.st_mode)) return refuse_folder(file->path, err);
  if (!S_ISREG(st.st_mode)) return mtk_fail(err, MTK_E_INVALID, file->path, "not a regular file");
  if ((uint64_t)st.st_size > PTRDIFF_MAX)
    return mtk_fail(err, MTK_E_LIMIT, file->path, "file too large to map");
  if (st.st_size == 0) return MTK_OK;
  void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return mtk_fail_errno(err, errno, file->path, "cannot map");
  file->data = data;
  file->size = (size_t)st.st_size;
  return MTK_OK;
}

static mtk_status map_path(mtk_file *file, mtk_error *err) {
  int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return mtk_fail_errno(err, errno, file->path, "cannot open");
  mtk_status status = map_fd(file, fd, err);
  close(fd);
  return status;
}

mtk_status mtk_file_open(mtk_file **out, const char *path, mtk_error *err) {
  *out = NULL;
  open_file *opened = mtk_alloc(1, sizeof *opened);
  char *copy = mtk_strdup(path);
  if (!opened || !copy) {
    mtk_free(copy);
    mtk_free(opened);
    return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  }
  mtk_file *file = &opened->file;
  file->path = copy;
  mtk_mount_kind kind = mtk_mount_lookup(path, &file->data, &file->size, &opened->mount);
  mtk_status status = kind == MTK_MOUNT_OUTSIDE  ? map_path(file, err)
                      : kind == MTK_MOUNT_ABSENT ? mtk_fail(err, MTK_E_NOT_FOUND, path, "not found")
                      : kind == MTK_MOUNT_FOLDER ? refuse_folder(path, err)
                                                 : MTK_OK;
  if (status != MTK_OK) {
    mtk_file_close(file);
    return status;
  }
  remember(opened);
  if (g_opened && kind == MTK_MOUNT_OUTSIDE) g_opened(path);
  *out = file;
  return MTK_OK;
}

void mtk_file_close(mtk_file *file) {
  if (!file) return;
  open_file *opened = (open_file *)(void *)file;
  forget(opened);
  if (opened->mount) mtk_mount_release(opened->mount);
  else if (file->data) munmap((void *)(uintptr_t)file->data, file->size);
  mtk_free(file->path);
  mtk_free(file);
}

bool mtk_path_exists(const char *path) {
  struct stat st;
  mtk_mount_kind kind = mtk_mount_lookup(path, NULL, NULL, NULL);
  return kind == MTK_MOUNT_OUTSIDE ? lstat(path, &st) == 0 : kind != MTK_MOUNT_ABSENT;
}

bool mtk_path_is_dir(const char *path) {
  struct stat st;
  mtk_mount_kind kind = mtk_mount_lookup(path, NULL, NULL, NULL);
  if (kind != MTK_MOUNT_OUTSIDE) return kind == MTK_MOUNT_FOLDER;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *mtk_path_join(const char *dir, const char *name) {
  size_t n = strlen(dir);
  const char *slash = n == 0 || dir[n - 1] == '/' ? "" : "/";
  return mtk_asprintf("%s%s%s", dir, slash, name);
}

const char *mtk_path_base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* ---- folders ----------------------------------------------------------------------------- */

typedef struct name_list {
  mtk_arena *arena;
  const char **names; /* heap while it grows */
  size_t n, cap;
} name_list;

static mtk_status add_name(void *ctx, const char *name, size_t len) {
  name_list *list = ctx;
  if (list->n == list->cap) {
    size_t cap = list->cap ? 2 * list->cap : 64;
    const char **more = mtk_realloc(list->names, list->cap, cap, sizeof *more);
    if (!more) return MTK_E_NOMEM;
    list->names = more;
    list->cap = cap;
  }
  const char *copy = mtk_arena_strndup(list->arena, name, len);
  if (!copy) return MTK_E_NOMEM;
  list->names[list->n++] = copy;
  return MTK_OK;
}

static mtk_status list_disk(name_list *list, const char *path, mtk_error *err) {
  DIR *dir = opendir(path);
  if (!dir) return mtk_fail_errno(err, errno, path, "cannot list the folder");
  mtk_status status = MTK_OK;
  for (struct dirent *e; status == MTK_OK && (e = readdir(dir)) != NULL;)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
      status = add_name(list, e->d_name, strlen(e->d_name));
  closedir(dir);
  return status;
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

mtk_status mtk_folder_list(const char ***names, size_t *n, mtk_arena *arena, const char *path,
                           mtk_error *err) {
  name_list list = {.arena = arena};
  mtk_mount_kind kind = mtk_mount_lookup(path, NULL, NULL, NULL);
  mtk_status status = MTK_OK;
  if (kind == MTK_MOUNT_FOLDER) status = mtk_mount_list(path, add_name, &list);
  else if (kind == MTK_MOUNT_OUTSIDE) status = list_disk(&list, path, err);
  else status = mtk_fail(err, MTK_E_NOT_FOUND, path, "is not a folder");
  *names = status == MTK_OK ? mtk_arena_alloc(arena, list.n, sizeof **names) : NULL;
  *n = list.n;
  if (status == MTK_E_NOMEM || (status == MTK_OK && !*names))
    status = mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (status == MTK_OK && list.n) {
    memcpy(*names, list.names, list.n * sizeof **names);
    qsort(*names, list.n, sizeof **names, by_text);
  }
  mtk_free(list.names);
  return status;
}
