/* file.c: read-only file maps and path helpers. A mapped file may be read by any thread; its bytes
 * are untrusted and may change if another program rewrites the file in place. */
#include "base/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
  mtk_file *file = mtk_alloc(1, sizeof *file);
  char *copy = mtk_strdup(path);
  if (!file || !copy) {
    mtk_free(copy);
    mtk_free(file);
    return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  }
  file->path = copy;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  mtk_status status = fd < 0 ? mtk_fail_errno(err, errno, path, "cannot open")
                             : map_fd(file, fd, err);
  if (fd >= 0) close(fd);
  if (status != MTK_OK) {
    mtk_file_close(file);
    return status;
  }
  *out = file;
  return MTK_OK;
}

void mtk_file_close(mtk_file *file) {
  if (!file) return;
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
