/* output.c: files and folders that appear under their final name only when complete.
 *
 * While it is written an output has a temporary name beside its final one,
 * ".NAME.mtk-tmp.PID.N", and holds a flock on it; the lock dies with the process, so an unlocked
 * temporary belongs to a killed run and is removed by the next writer of the same name. The caller
 * owns the object; one thread at a time. */
#include "base/outputs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 * 1024, MAX_TEMP_BASE = 200, MAX_TRIES = 100, MAX_OPEN_DIRS = 16 };

/* Final and temporary name of a file or folder; `fd` is open on the temporary and locked. */
typedef struct target {
  char *path, *dir, *base, *temp;
  int fd;
  bool force;
} target;

struct mtk_output {
  target t;
  uint8_t *buffer;
  size_t buffered;
  uint64_t size;
  int failed; /* errno of the first failed write, 0 = none */
  /* of a command that can be resumed or compares (outputs.h); else NULL */
  mtk_outputs *outputs;
  uint64_t have;    /* bytes that an interrupted run left; 0 once something is written */
  uint64_t marked;  /* up to here it is in the journal */
  mtk_file *theirs; /* what is compared with */
  char *part;       /* name of the part that is being written */
};

struct mtk_outdir {
  target t;
  mtk_outputs *outputs;
};

static void target_finish(target *t) {
  if (t->fd >= 0) close(t->fd);
  mtk_free(t->path);
  mtk_free(t->dir);
  mtk_free(t->base);
  mtk_free(t->temp);
}

/* Splits path (trailing slashes ignored) into folder and name. */
static mtk_status target_init(target *t, const char *path, bool force, mtk_error *err) {
  *t = (target){.fd = -1, .force = force};
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  t->path = mtk_strndup(path, n);
  if (!t->path) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  const char *base = mtk_path_base(t->path);
  size_t dir_len = (size_t)(base - t->path);
  t->base = mtk_strdup(base);
  t->dir = dir_len ? mtk_strndup(t->path, dir_len) : mtk_strdup(".");
  if (!t->base || !t->dir) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (!base[0] || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
    return mtk_fail(err, MTK_E_INVALID, path, "not a name that can be created");
  if (!mtk_path_is_dir(t->dir))
    return mtk_fail(err, MTK_E_NOT_FOUND, t->dir, "folder for the output does not exist");
  return MTK_OK;
}

/* Refuses outputs that exist without force, and with it anything of another kind. */
static mtk_status check_existing(const target *t, mode_t kind, mtk_error *err) {
  struct stat st;
  if (lstat(t->path, &st) != 0) return MTK_OK;
  if (!t->force)
    return mtk_fail(err, MTK_E_EXISTS, t->path, "output exists; --force replaces it");
  if ((st.st_mode & S_IFMT) != kind)
    return mtk_fail(err, MTK_E_INVALID, t->path, "exists and is not a %s",
                    kind == S_IFDIR ? "folder" : "regular file");
  return MTK_OK;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)type, (void)ftw;
  return remove(path);
}

static int remove_tree(const char *path) {
  return nftw(path, remove_entry, MAX_OPEN_DIRS, FTW_DEPTH | FTW_PHYS);
}

void mtk_remove_below(const char *folder) {
  DIR *dir = opendir(folder);
  if (!dir) return;
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *path = mtk_path_join(folder, e->d_name);
    if (path) remove_tree(path);
    mtk_free(path);
  }
  closedir(dir);
}

/* Removes one temporary unless a living process holds its lock. */
static void remove_if_stale(const char *dir, const char *name) {
  char *path = mtk_path_join(dir, name);
  if (!path) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd >= 0) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) remove_tree(path);
    close(fd);
  }
  mtk_free(path);
}

/* "NAME.mtk-tmp." with a dot in front, cut to what a file name can hold. */
static char *temp_prefix(const target *t) {
  return mtk_asprintf(".%.*s.mtk-tmp.", MAX_TEMP_BASE, t->base);
}

static void remove_stale(const target *t, const char *prefix) {
  DIR *dir = opendir(t->dir);
  if (!dir) return;
  size_t n = strlen(prefix);
  for (struct dirent *e; (e = readdir(dir)) != NULL;)
    if (strncmp(e->d_name, prefix, n) == 0) remove_if_stale(t->dir, e->d_name);
  closedir(dir);
}

/* Opens t->temp, made new, and locks it. False with errno when that failed; errno EAGAIN when
 * another process took it for stale in between. */
static bool open_temp(target *t, bool folder) {
  if (folder) {
    if (mkdir(t->temp, 0777) != 0) return false;
    t->fd = open(t->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } else {
    t->fd = open(t->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  if (t->fd < 0) return false;
  struct stat mine, named;
  bool ours = flock(t->fd, LOCK_EX | LOCK_NB) == 0 && fstat(t->fd, &mine) == 0 &&
              lstat(t->temp, &named) == 0 && mine.st_ino == named.st_ino;
  if (!ours) {
    close(t->fd);
    t->fd = -1;
    errno = EAGAIN;
  }
  return ours;
}

static mtk_status create_temp(target *t, bool folder, mtk_error *err) {
  static _Atomic unsigned counter;
  char *prefix = temp_prefix(t);
  if (!prefix) return mtk_fail(err, MTK_E_NOMEM, t->path, "out of memory");
  remove_stale(t, prefix);
  bool done = false;
  int why = EAGAIN;
  for (int i = 0; i < MAX_TRIES && !done && (why == EAGAIN || why == EEXIST); i++) {
    mtk_free(t->temp);
    t->temp = mtk_asprintf("%s/%s%ld.%u", t->dir, prefix, (long)getpid(),
                           atomic_fetch_add(&counter, 1));
    why = ENOMEM;
    if (!t->temp) break;
    done = open_temp(t, folder);
    why = errno;
  }
  mtk_free(prefix);
  if (done) return MTK_OK;
  mtk_free(t->temp);
  t->temp = NULL;
  return mtk_fail_errno(err, why, t->path, "cannot create");
}

static mtk_status sync_folder(const char *dir, mtk_error *err) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return mtk_fail_errno(err, errno, dir, "cannot open folder");
  int bad = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
  close(fd);
  return bad ? mtk_fail_errno(err, bad, dir, "cannot sync folder") : MTK_OK;
}

/* rename that refuses to replace; 0 or -1 with errno. Not every file system knows the flag. */
static int rename_new(const char *from, const char *to) {
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -1;
  if (mtk_path_exists(to)) {
    errno = EEXIST;
    return -1;
  }
  return rename(from, to);
}

/* ---- files ------------------------------------------------------------------------------- */

static void output_destroy(mtk_output *o) {
  mtk_file_close(o->theirs);
  mtk_free(o->part);
  mtk_free(o->buffer);
  target_finish(&o->t);
  mtk_free(o);
}

static mtk_output *scratch_output(const char *folder) {
  mtk_output *o = mtk_alloc(1, sizeof *o);
  if (!o) return NULL;
  o->t.fd = -1;
  o->buffer = mtk_alloc(BUFFER_BYTES, 1);
  o->t.path = mtk_path_join(folder, "mtk-scratch-XXXXXX");
  if (o->buffer && o->t.path) return o;
  mtk_output_abort(o);
  return NULL;
}

mtk_status mtk_output_create_scratch(mtk_output **out, mtk_error *err) {
  const char *folder = getenv("TMPDIR");
  if (!folder || !folder[0]) folder = "/tmp";
  *out = NULL;
  mtk_output *o = scratch_output(folder);
  if (!o) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  o->t.fd = mkostemp(o->t.path, O_CLOEXEC);
  int why = errno;
  if (o->t.fd < 0) {
    mtk_output_abort(o);
    return mtk_fail_errno(err, why, folder, "cannot create a scratch file");
  }
  unlink(o->t.path);
  *out = o;
  return MTK_OK;
}

/* What an interrupted run left beyond this point is not what comes now. */
static void leave_the_past(mtk_output *o) {
  if (!o->have) return;
  o->have = 0;
  o->marked = o->size;
  if (ftruncate(o->t.fd, (off_t)o->size) != 0 || lseek(o->t.fd, (off_t)o->size, SEEK_SET) < 0)
    o->failed = errno;
}

int mtk_write_whole(int fd, const void *data, size_t n) {
  for (const char *p = data; n;) { /* calls of several MB take twice as long per byte */
    ssize_t done = write(fd, p, n < BUFFER_BYTES ? n : BUFFER_BYTES);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? errno : EIO;
    p += done;
    n -= (size_t)done;
  }
  return 0;
}

static void write_all(mtk_output *o, const void *data, size_t n) {
  if (!o->failed) o->failed = mtk_write_whole(o->t.fd, data, n);
}

static void flush_buffer(mtk_output *o) {
  write_all(o, o->buffer, o->buffered);
  o->buffered = 0;
}

static mtk_status write_status(const mtk_output *o, mtk_error *err) {
  return o->failed ? mtk_fail_errno(err, o->failed, o->t.path, "cannot write") : MTK_OK;
}

static mtk_status compare(mtk_output *o, const uint8_t *data, size_t n, mtk_error *err) {
  const mtk_file *f = o->theirs;
  uint64_t at = o->size, left = at < f->size ? f->size - at : 0, i = 0;
  size_t common = n < left ? n : (size_t)left;
  o->size += n;
  mtk_file_note_read(n);
  if (common == n && (n == 0 || memcmp(f->data + at, data, n) == 0)) return MTK_OK;
  while (i < common && f->data[at + i] == data[i]) i++;
  return mtk_fail(err, MTK_E_CHECK, o->t.path,
                  "%s: byte %llu is not what the same command makes of the source",
                  o->part ? o->part : "header", (unsigned long long)(at + i));
}

mtk_status mtk_output_write(mtk_output *out, const void *data, size_t n, mtk_error *err) {
  if (out->theirs) return compare(out, data, n, err);
  if (n) leave_the_past(out);
  if (n > BUFFER_BYTES - out->buffered) flush_buffer(out);
  if (n >= BUFFER_BYTES) {
    write_all(out, data, n);
  } else if (n) {
    memcpy(out->buffer + out->buffered, data, n);
    out->buffered += n;
  }
  out->size += n;
  return write_status(out, err);
}

uint64_t mtk_output_size(const mtk_output *out) { return out->size; }

static mtk_status commit_compared(mtk_output *out, mtk_error *err) {
  mtk_status status = MTK_OK;
  if (out->size != out->theirs->size)
    status = mtk_fail(err, MTK_E_CHECK, out->t.path, "has %llu bytes more than it should",
                      (unsigned long long)(out->theirs->size - out->size));
  mtk_output_abort(out);
  return status;
}

mtk_status mtk_output_commit(mtk_output *out, mtk_error *err) {
  if (out->theirs) return commit_compared(out, err);
  if (out->have > out->size) leave_the_past(out);
  flush_buffer(out);
  if (!out->failed && fsync(out->t.fd) != 0 && errno != EINVAL) out->failed = errno;
  mtk_status status = write_status(out, err);
  if (status == MTK_OK) {
    const target *t = &out->t;
    bool named = out->outputs && strcmp(t->temp, t->path) == 0;
    int bad = named ? 0 : t->force ? rename(t->temp, t->path) : rename_new(t->temp, t->path);
    if (bad) status = mtk_fail_errno(err, errno, t->path, "cannot rename the finished output");
  }
  if (status != MTK_OK) {
    mtk_output_abort(out);
    return status;
  }
  status = sync_folder(out->t.dir, err);
  output_destroy(out);
  return status;
}

mtk_status mtk_output_map(mtk_file **file, mtk_output *out, mtk_error *err) {
  char link[64]; /* the only name an unlinked file has */
  flush_buffer(out);
  snprintf(link, sizeof link, "/proc/self/fd/%d", out->t.fd);
  mtk_status status = write_status(out, err);
  if (status == MTK_OK) status = mtk_file_open(file, link, err);
  mtk_output_abort(out);
  return status;
}

void mtk_output_abort(mtk_output *out) {
  if (!out) return;
  if (out->t.temp && !out->outputs) unlink(out->t.temp);
  output_destroy(out);
}

/* ---- files of a command that can be resumed, or that compares ------------------------------ */

static mtk_status open_part(mtk_output *o, mtk_error *err) {
  target *t = &o->t;
  t->temp = mtk_outputs_part(o->outputs, t->path);
  if (!t->temp) return mtk_fail(err, MTK_E_NOMEM, t->path, "out of memory");
  if (strcmp(t->temp, t->path) != 0) MTK_TRY(check_existing(t, S_IFREG, err));
  t->fd = open(t->temp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (t->fd < 0) return mtk_fail_errno(err, errno, t->path, "cannot create");
  o->have = mtk_outputs_verified(o->outputs, mtk_path_base(t->temp), t->fd);
  if (o->have == 0 && ftruncate(t->fd, 0) != 0)
    return mtk_fail_errno(err, errno, t->path, "cannot write");
  return MTK_OK;
}

static mtk_status open_theirs(mtk_output *o, mtk_error *err) {
  mtk_status status = mtk_file_open(&o->theirs, o->t.path, err);
  if (status != MTK_E_NOT_FOUND) return status;
  return mtk_fail(err, MTK_E_CHECK, o->t.path, "is missing: the same command makes it");
}

static mtk_status open_output(mtk_output *o, mtk_error *err) {
  if (o->outputs) return o->outputs->folder ? open_part(o, err) : open_theirs(o, err);
  MTK_TRY(check_existing(&o->t, S_IFREG, err));
  return create_temp(&o->t, false, err);
}

mtk_status mtk_output_create_in(mtk_output **out, mtk_outputs *outputs, const char *path,
                                bool force, mtk_error *err) {
  *out = NULL;
  mtk_output *o = mtk_alloc(1, sizeof *o);
  if (!o) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  o->outputs = outputs;
  o->buffer = mtk_alloc(BUFFER_BYTES, 1);
  mtk_status status = target_init(&o->t, path, force, err);
  if (status == MTK_OK && !o->buffer) status = mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (status == MTK_OK) status = open_output(o, err);
  if (status != MTK_OK)
    mtk_output_abort(o);
  else
    *out = o;
  return status;
}

mtk_status mtk_output_create(mtk_output **out, const char *path, bool force, mtk_error *err) {
  return mtk_output_create_in(out, NULL, path, force, err);
}

bool mtk_output_has(mtk_output *out, const char *name, uint64_t n) {
  if (out->theirs) {
    mtk_free(out->part);
    out->part = mtk_strdup(name);
  }
  if (!out->have || out->size > out->have || n > out->have - out->size) return false;
  out->size += n;
  return true;
}

mtk_status mtk_output_mark(mtk_output *out, mtk_error *err) {
  if (!out->outputs || !out->outputs->folder || out->have || out->size == out->marked)
    return MTK_OK;
  flush_buffer(out);
  MTK_TRY(write_status(out, err));
  out->failed = mtk_outputs_mark(out->outputs, mtk_path_base(out->t.temp), out->t.fd, out->marked,
                                 out->size);
  out->marked = out->size;
  return write_status(out, err);
}

mtk_status mtk_write_file(const char *path, const void *data, size_t n, bool force,
                          mtk_error *err) {
  mtk_output *out;
  MTK_TRY(mtk_output_create(&out, path, force, err));
  mtk_status status = mtk_output_write(out, data, n, err);
  if (status != MTK_OK) {
    mtk_output_abort(out);
    return status;
  }
  return mtk_output_commit(out, err);
}

/* ---- folders ----------------------------------------------------------------------------- */

static void outdir_destroy(mtk_outdir *o) {
  target_finish(&o->t);
  mtk_free(o);
}

/* Where a replaced folder waits on file systems that cannot swap two names. */
static char *aside_name(const target *t) {
  return mtk_asprintf("%s/.%.*s.mtk-old", t->dir, MAX_TEMP_BASE, t->base);
}

/* A run killed between the two renames of replace_folder left the old folder aside: put it back. */
static void restore_aside(const target *t) {
  char *aside = aside_name(t);
  if (aside && !mtk_path_exists(t->path) && mtk_path_is_dir(aside)) rename_new(aside, t->path);
  mtk_free(aside);
}

/* In a command that can be resumed the folder grows in that one's; in one that compares nothing is
 * made. */
static mtk_status open_outdir(mtk_outdir *o, mtk_error *err) {
  target *t = &o->t;
  const char *folder = o->outputs ? o->outputs->folder : NULL;
  bool compares = o->outputs && !folder;
  if (!compares) {
    restore_aside(t);
    MTK_TRY(check_existing(t, S_IFDIR, err));
  }
  if (!o->outputs) return create_temp(t, true, err);
  t->temp = compares ? mtk_strdup(t->path) : mtk_path_join(folder, "out");
  if (!t->temp) return mtk_fail(err, MTK_E_NOMEM, t->path, "out of memory");
  if (!compares && mkdir(t->temp, 0777) != 0 && errno != EEXIST)
    return mtk_fail_errno(err, errno, t->path, "cannot create");
  return MTK_OK;
}

mtk_status mtk_outdir_create_in(mtk_outdir **out, mtk_outputs *outputs, const char *path,
                                bool force, mtk_error *err) {
  *out = NULL;
  mtk_outdir *o = mtk_alloc(1, sizeof *o);
  if (!o) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  o->outputs = outputs;
  mtk_status status = target_init(&o->t, path, force, err);
  if (status == MTK_OK) status = open_outdir(o, err);
  if (status != MTK_OK) outdir_destroy(o);
  else *out = o;
  return status;
}

mtk_status mtk_outdir_create(mtk_outdir **out, const char *path, bool force, mtk_error *err) {
  return mtk_outdir_create_in(out, NULL, path, force, err);
}

const char *mtk_outdir_path(const mtk_outdir *out) { return out->t.temp; }

/* nftw callback: fsync files and folders; returns errno to stop. */
static int sync_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)ftw;
  if (type != FTW_F && type != FTW_DP) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return errno;
  int bad = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
  close(fd);
  return bad;
}

/* Puts the temporary under the final name: 0, or -1 with errno. Swaps it with an existing folder
 * in one step where the file system can, else moves that aside first. Afterwards the old folder,
 * if any, lies under *old (heap string or NULL). */
static int replace_folder(const target *t, char **old) {
  *old = NULL;
  if (!t->force || !mtk_path_exists(t->path)) return rename_new(t->temp, t->path);
  if (renameat2(AT_FDCWD, t->temp, AT_FDCWD, t->path, RENAME_EXCHANGE) == 0) {
    *old = mtk_strdup(t->temp);
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS) return -1;
  *old = aside_name(t);
  if (!*old) return -1;
  remove_tree(*old);
  if (rename(t->path, *old) != 0) return -1;
  if (rename(t->temp, t->path) == 0) return 0;
  int why = errno;
  rename(*old, t->path);
  errno = why;
  return -1;
}

mtk_status mtk_outdir_commit(mtk_outdir *out, mtk_error *err) {
  const target *t = &out->t;
  if (out->outputs && !out->outputs->folder) {
    outdir_destroy(out);
    return MTK_OK;
  }
  char *old = NULL;
  int bad = nftw(t->temp, sync_entry, MAX_OPEN_DIRS, FTW_DEPTH | FTW_PHYS);
  mtk_status status = MTK_OK;
  if (bad) status = mtk_fail_errno(err, bad > 0 ? bad : errno, t->path, "cannot sync");
  if (status == MTK_OK) status = check_existing(t, S_IFDIR, err);
  if (status == MTK_OK && replace_folder(t, &old) != 0)
    status = mtk_fail_errno(err, errno, t->path, "cannot rename the finished folder");
  if (status != MTK_OK) {
    mtk_free(old);
    mtk_outdir_abort(out);
    return status;
  }
  status = sync_folder(t->dir, err);
  if (old && remove_tree(old) != 0 && status == MTK_OK)
    mtk_log(MTK_LOG_WARN, "%s: the replaced folder could not be removed", old);
  mtk_free(old);
  outdir_destroy(out);
  return status;
}

void mtk_outdir_abort(mtk_outdir *out) {
  if (!out) return;
  if (!out->outputs) remove_tree(out->t.temp);
  outdir_destroy(out);
}
