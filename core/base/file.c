/* file.c: read-only file maps and path helpers. A mapped file may be read by any thread; its bytes
 * are untrusted and may change if another program rewrites the file in place. */
#include "base/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* All open files, so that their pages can be given back. */
typedef struct open_file {
  mtk_file file; /* first: a mtk_file * is an open_file * */
  struct open_file *next, **link;
} open_file;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static open_file *g_files; /* under the lock */
static atomic_size_t g_read_bytes;

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
      if (f->file.data) madvise((void *)(uintptr_t)f->file.data, f->file.size, MADV_DONTNEED);
  pthread_mutex_unlock(&g_lock);
}

/* Maps the open file; leaves data NULL when it is empty. */
static mtk_status map_fd(mtk_file *file, int fd, mtk_error *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) return mtk_fail_errno(err, errno, file->path, "cannot stat");
  if (S_ISDIR(st.st_mode))
    return mtk_fail(err, MTK_E_INVALID, file->path, "is a folder, a file was expected");
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
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  mtk_status status =
      fd < 0 ? mtk_fail_errno(err, errno, path, "cannot open") : map_fd(file, fd, err);
  if (fd >= 0) close(fd);
  if (status != MTK_OK) {
    mtk_file_close(file);
    return status;
  }
  remember(opened);
  *out = file;
  return MTK_OK;
}

void mtk_file_close(mtk_file *file) {
  if (!file) return;
  forget((open_file *)(void *)file);
  if (file->data) munmap((void *)(uintptr_t)file->data, file->size);
  mtk_free(file->path);
  mtk_free(file);
}

bool mtk_path_exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0;
}

bool mtk_path_is_dir(const char *path) {
  struct stat st;
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
