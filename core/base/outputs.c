/* outputs.c: the outputs of one command: outputs that go on where a killed run stopped, and outputs
 * that are compared instead of written (mtk/base.h).
 *
 * A resumable command has a folder ".NAME.mtk-tmp.resume" beside its output, locked while it runs:
 *   key            the text that all bytes follow from
 *   journal        a line "HASH END NAME" for every range of an output that is complete
 *   part-DIGEST    an output, renamed when it is committed (DIGEST is that of its name)
 *   out            an output that is a folder, with its files under their own names
 *   scratch-DIGEST a scratch file
 * Ranges are hashed when they are marked and again when a run goes on, so that bytes that never
 * reached the disk (a power cut, another machine) are made anew. One thread at a time. */
#include "base/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, MAX_BASE = 200 };

/* ---- ranges of files ----------------------------------------------------------------------- */

/* Multiply and rotate over words in four lanes: against lost bytes, not against people. */
static void hash_words(uint64_t h[4], const uint8_t *p, size_t n) {
  for (size_t i = 0; i + 32 <= n; i += 32)
    for (int l = 0; l < 4; l++) {
      uint64_t w;
      memcpy(&w, p + i + 8 * (size_t)l, sizeof w);
      w = (h[l] ^ w) * 0x9e3779b97f4a7c15u;
      h[l] = w << 29 | w >> 35;
    }
}

/* 0, or an errno: why the range cannot be read. */
static int hash_range(uint64_t *out, int fd, uint64_t from, uint64_t end) {
  uint64_t h[4] = {end - from, 1, 2, 3};
  uint8_t *buffer = mtk_alloc(READ_BYTES + 32, 1);
  int bad = buffer ? 0 : ENOMEM;
  while (!bad && from < end) {
    size_t want = end - from < READ_BYTES ? (size_t)(end - from) : READ_BYTES, have = 0;
    while (!bad && have < want) {
      ssize_t n = pread(fd, buffer + have, want - have, (off_t)(from + have));
      if (n > 0) have += (size_t)n;
      else if (n == 0 || errno != EINTR) bad = n < 0 ? errno : EIO;
    }
    if (!bad) memset(buffer + have, 0, 32);
    if (!bad) hash_words(h, buffer, (have + 31) / 32 * 32);
    from += have;
  }
  mtk_free(buffer);
  *out = h[0] ^ h[1] * 3 ^ h[2] * 5 ^ h[3] * 7;
  return bad;
}

uint64_t mtk_outputs_verified(const mtk_outputs *o, const char *name, int fd) {
  uint64_t at = 0, hash;
  for (size_t i = 0; i < o->n_marks; i++) {
    const output_mark *m = &o->marks[i];
    if (strcmp(m->name, name) != 0) continue;
    if (m->end <= at || hash_range(&hash, fd, at, m->end) || hash != m->hash) continue;
    at = m->end;
  }
  return at;
}

int mtk_outputs_mark(mtk_outputs *o, const char *name, int fd, uint64_t from, uint64_t end) {
  uint64_t hash;
  int bad = hash_range(&hash, fd, from, end);
  if (bad) return bad;
  char *line = mtk_asprintf("%016llx %llu %s\n", (unsigned long long)hash,
                            (unsigned long long)end, name);
  bad = line ? mtk_write_whole(o->journal, line, strlen(line)) : ENOMEM;
  mtk_free(line);
  o->n_made += !bad;
  return bad;
}

/* ---- the folder ---------------------------------------------------------------------------- */

static char *folder_of(const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  char *whole = mtk_strndup(path, n);
  const char *base = whole ? mtk_path_base(whole) : NULL;
  char *folder = whole ? mtk_asprintf("%.*s.%.*s.mtk-tmp.resume", (int)(base - whole), whole,
                                      MAX_BASE, base)
                       : NULL;
  mtk_free(whole);
  return folder;
}

/* "FOLDER/KIND-DIGEST": names may hold anything and be of any length. */
static char *path_in(const mtk_outputs *o, const char *kind, const char *name) {
  char hex[65];
  mtk_sha256_hex(hex, name, strlen(name));
  return mtk_asprintf("%s/%s-%.32s", o->folder, kind, hex);
}

char *mtk_outputs_part(const mtk_outputs *o, const char *path) {
  size_t n = strlen(o->folder);
  bool inside = strncmp(path, o->folder, n) == 0 && path[n] == '/';
  return inside ? mtk_strdup(path) : path_in(o, "part", mtk_path_base(path));
}

static mtk_status read_text(char **out, const char *folder, const char *name) {
  mtk_file *file = NULL;
  char *path = mtk_path_join(folder, name);
  mtk_status st = path ? mtk_file_open(&file, path, NULL) : MTK_E_NOMEM;
  *out = st == MTK_OK ? mtk_strndup(file->data ? (const char *)file->data : "", file->size) : NULL;
  mtk_file_close(file);
  mtk_free(path);
  return st == MTK_OK && !*out ? MTK_E_NOMEM : st;
}

char *mtk_outputs_key(const char *path) {
  char *folder = folder_of(path), *key = NULL;
  if (folder) (void)read_text(&key, folder, "key");
  mtk_free(folder);
  return key;
}

/* Whole lines; a killed run may have left half of one at the end. */
static mtk_status read_journal(mtk_outputs *o, mtk_error *err) {
  char *text = NULL;
  if (read_text(&text, o->folder, "journal") == MTK_E_NOT_FOUND) return MTK_OK;
  size_t lines = 0;
  for (const char *p = text; p && *p; p++) lines += *p == '\n';
  o->marks = text ? mtk_alloc(lines + 1, sizeof *o->marks) : NULL;
  mtk_status st = o->marks ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, o->folder, "out of memory");
  for (char *p = text, *end; st == MTK_OK && (end = strchr(p, '\n')); p = end + 1) {
    output_mark *m = &o->marks[o->n_marks];
    char *after;
    *end = 0;
    m->hash = strtoull(p, &after, 16);
    m->end = strtoull(after, &after, 10);
    if (*after != ' ') continue;
    m->name = mtk_arena_strndup(o->arena, after + 1, strlen(after + 1));
    if (!m->name) st = mtk_fail(err, MTK_E_NOMEM, o->folder, "out of memory");
    o->n_marks++;
  }
  mtk_free(text);
  return st;
}

static mtk_status write_key(const mtk_outputs *o, const char *key, mtk_error *err) {
  char *path = mtk_path_join(o->folder, "key");
  mtk_status st = path ? mtk_write_file(path, key, strlen(key), true, err)
                       : mtk_fail(err, MTK_E_NOMEM, o->folder, "out of memory");
  mtk_free(path);
  return st;
}

static mtk_status open_journal(mtk_outputs *o, mtk_error *err) {
  char *path = mtk_path_join(o->folder, "journal");
  if (path) o->journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  int why = path ? errno : ENOMEM;
  mtk_free(path);
  if (o->journal < 0) return mtk_fail_errno(err, why, o->folder, "cannot create the journal");
  /* the half line of a killed run becomes one of its own, which nobody understands */
  bool half = lseek(o->journal, 0, SEEK_END) > 0;
  why = half ? mtk_write_whole(o->journal, "\n", 1) : 0;
  return why ? mtk_fail_errno(err, why, o->folder, "cannot write the journal") : MTK_OK;
}

static bool has_parent(const char *folder) {
  char *dir = mtk_strndup(folder, (size_t)(mtk_path_base(folder) - folder));
  bool has = dir && mtk_path_is_dir(dir[0] ? dir : ".");
  mtk_free(dir);
  return has;
}

/* The folder, made or found, and locked. */
static mtk_status lock_folder(mtk_outputs *o, const char *path, mtk_error *err) {
  if (mkdir(o->folder, 0777) != 0 && errno != EEXIST) {
    int why = errno;
    if (why == ENOENT && !has_parent(o->folder))
      return mtk_fail(err, MTK_E_NOT_FOUND, path, "the folder for the output does not exist");
    return mtk_fail_errno(err, why, path, "cannot create the output");
  }
  o->lock = open(o->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (o->lock < 0) return mtk_fail_errno(err, errno, o->folder, "cannot open the folder");
  if (flock(o->lock, LOCK_EX | LOCK_NB) == 0) return MTK_OK;
  return mtk_fail(err, MTK_E_EXISTS, o->folder, "another process is writing this output");
}

static mtk_status begin(mtk_outputs *o, const char *path, const char *key, bool resume,
                        mtk_error *err) {
  char *old = NULL;
  MTK_TRY(lock_folder(o, path, err));
  if (resume) (void)read_text(&old, o->folder, "key");
  bool same = old && strcmp(old, key) == 0;
  bool other = old && !same;
  mtk_free(old);
  if (other)
    return mtk_fail(err, MTK_E_INVALID, o->folder,
                    "holds a run on another source or with other options: it cannot be resumed");
  if (same) MTK_TRY(read_journal(o, err));
  if (!same) {
    mtk_remove_below(o->folder);
    MTK_TRY(write_key(o, key, err));
  }
  return open_journal(o, err);
}

mtk_status mtk_outputs_resume(mtk_outputs **out, const char *path, const char *key, bool resume,
                              mtk_error *err) {
  *out = NULL;
  mtk_outputs *o = mtk_alloc(1, sizeof *o);
  if (!o) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  o->lock = o->journal = -1;
  o->folder = folder_of(path);
  o->arena = mtk_arena_create();
  mtk_status st = o->folder && o->arena ? begin(o, path, key, resume, err)
                                        : mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (st != MTK_OK) mtk_outputs_close(o, true);
  else *out = o;
  return st;
}

mtk_status mtk_outputs_compare(mtk_outputs **out, mtk_error *err) {
  *out = mtk_alloc(1, sizeof **out);
  if (!*out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  (*out)->lock = (*out)->journal = -1;
  return MTK_OK;
}

bool mtk_outputs_hold(const mtk_outputs *o) { return o && (o->n_marks || o->n_made); }

const char *mtk_outputs_folder(const mtk_outputs *o) { return o->folder; }

void mtk_outputs_close(mtk_outputs *o, bool keep) {
  if (!o) return;
  if (o->folder && o->lock >= 0 && !keep) {
    mtk_remove_below(o->folder);
    rmdir(o->folder);
  }
  if (o->journal >= 0) close(o->journal);
  if (o->lock >= 0) close(o->lock);
  mtk_free(o->marks);
  mtk_arena_destroy(o->arena);
  mtk_free(o->folder);
  mtk_free(o);
}

/* ---- scratch files of the command ----------------------------------------------------------- */

mtk_status mtk_outputs_scratch(mtk_output **out, mtk_outputs *o, const char *name,
                               mtk_error *err) {
  if (!o || !o->folder) return mtk_output_create_scratch(out, err);
  char *path = path_in(o, "scratch", name);
  mtk_status st = path ? mtk_output_create_in(out, o, path, true, err)
                       : mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  mtk_free(path);
  return st;
}

bool mtk_outputs_has_scratch(const mtk_outputs *o, const char *name) {
  if (!o || !o->folder || !o->n_marks) return false;
  char *path = path_in(o, "scratch", name);
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
  bool has = fd >= 0 && mtk_outputs_verified(o, mtk_path_base(path), fd) > 0;
  if (fd >= 0) close(fd);
  mtk_free(path);
  return has;
}
