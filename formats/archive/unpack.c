/* unpack.c: the members of a tar or zip file, through libarchive, as files of a mount. libarchive
 * is given the mapped archive as memory; where it hands out a member's bytes as a pointer into that
 * memory (uncompressed tar, stored zip), they are used there. Anything else goes to one scratch
 * file that has no name. Names that leave the folder, links and devices are refused. */
#include "archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>

enum { MAX_MEMBERS = 1 << 20, ALIGNMENT = 64 };

/* A file of the archive: bytes in the mapped archive, or (copied) at an offset of the scratch. */
typedef struct unpacked {
  const char *name;
  const uint8_t *data;
  uint64_t offset, size;
  bool copied;
} unpacked;

typedef struct unpacker {
  struct archive *a;
  const uint8_t *data;
  size_t size;
  const char *path;
  mtk_arena *arena;
  unpacked *files; /* heap */
  size_t n, cap;
  mtk_output *scratch; /* made when first needed */
  uint64_t n_copied;
  mtk_error *err;
} unpacker;

static mtk_status no_memory(const unpacker *u) {
  return mtk_fail(u->err, MTK_E_NOMEM, u->path, "out of memory");
}

/* libarchive's own text, cut to one line. */
static mtk_status bad(const unpacker *u) {
  const char *text = archive_error_string(u->a);
  char line[200];
  size_t n = text ? strcspn(text, "\r\n") : 0;
  if (n >= sizeof line) n = sizeof line - 1;
  if (n) memcpy(line, text, n);
  line[n] = 0;
  return mtk_fail(u->err, MTK_E_FORMAT, u->path, "archive: %s", n ? line : "cannot be read");
}

/* ---- names --------------------------------------------------------------------------------- */

/* "./a//b/" -> "a/b" in the arena; NULL name: nothing is left ("./"). What climbs or starts at the
 * root is refused. */
static mtk_status clean_name(const char **out, const unpacker *u, const char *name) {
  *out = NULL;
  bool incomplete = false;
  if (!name || mtk_utf8_prefix(name, strlen(name), &incomplete) != strlen(name))
    return mtk_fail(u->err, MTK_E_FORMAT, u->path, "a member's name is not UTF-8");
  if (name[0] == '/')
    return mtk_fail(u->err, MTK_E_FORMAT, u->path, "member '%.100s' has an absolute name: refused",
                    name);
  char *clean = mtk_arena_strndup(u->arena, name, strlen(name));
  if (!clean) return no_memory(u);
  size_t used = 0;
  for (const char *part = name; *part;) {
    size_t n = strcspn(part, "/");
    if (n == 2 && part[0] == '.' && part[1] == '.')
      return mtk_fail(u->err, MTK_E_FORMAT, u->path, "member '%.100s' leaves the folder: refused",
                      name);
    if (n && !(n == 1 && part[0] == '.')) {
      if (used) clean[used++] = '/';
      memmove(clean + used, part, n);
      used += n;
    }
    part += n + (part[n] == '/');
  }
  clean[used] = 0;
  *out = used ? clean : NULL;
  return MTK_OK;
}

/* ---- contents ------------------------------------------------------------------------------ */

static mtk_status copy_block(unpacker *u, unpacked *f, const void *block, size_t n) {
  static const uint8_t zeros[ALIGNMENT];
  if (!u->scratch) MTK_TRY(mtk_output_create_scratch(&u->scratch, u->err));
  if (!f->copied) {
    size_t over = (size_t)(mtk_output_size(u->scratch) % ALIGNMENT);
    if (over) MTK_TRY(mtk_output_write(u->scratch, zeros, ALIGNMENT - over, u->err));
    f->offset = mtk_output_size(u->scratch);
    f->copied = true;
  }
  u->n_copied += n;
  MTK_TRY(mtk_expand_check(u->n_copied, u->size, u->path, u->err));
  return mtk_output_write(u->scratch, block, n, u->err);
}

/* One more block: it lengthens the run in the archive, or the member must be copied. */
static mtk_status add_block(unpacker *u, unpacked *f, const uint8_t *block, size_t n) {
  uintptr_t begin = (uintptr_t)u->data, at = (uintptr_t)block;
  bool inside = at >= begin && n <= u->size && at - begin <= u->size - n;
  if (!f->copied && inside && (!f->size || f->data + f->size == block)) {
    if (!f->size) f->data = block;
    f->size += n;
    return MTK_OK;
  }
  if (!f->copied && f->size) MTK_TRY(copy_block(u, f, f->data, (size_t)f->size));
  MTK_TRY(copy_block(u, f, block, n));
  f->size += n;
  return MTK_OK;
}

static mtk_status read_contents(unpacker *u, unpacked *f) {
  for (;;) {
    const void *block = NULL;
    size_t n = 0;
    la_int64_t offset = 0;
    int rc = archive_read_data_block(u->a, &block, &n, &offset);
    if (rc == ARCHIVE_EOF) return MTK_OK;
    if (rc != ARCHIVE_OK) return bad(u);
    if (offset < 0 || (uint64_t)offset != f->size)
      return mtk_fail(u->err, MTK_E_UNSUPPORTED, u->path, "member '%.100s' has holes", f->name);
    if (n) MTK_TRY(add_block(u, f, block, n));
    if (mtk_cancelled()) return mtk_fail(u->err, MTK_E_CANCELLED, NULL, "stopped on request");
  }
}

static mtk_status add_member(unpacker *u, struct archive_entry *entry) {
  const char *name = NULL;
  MTK_TRY(clean_name(&name, u, archive_entry_pathname(entry)));
  if (archive_entry_hardlink(entry) || archive_entry_symlink(entry))
    return mtk_fail(u->err, MTK_E_UNSUPPORTED, u->path, "member '%.100s' is a link: refused",
                    name ? name : ".");
  if (archive_entry_filetype(entry) == AE_IFDIR) return MTK_OK;
  if (archive_entry_filetype(entry) != AE_IFREG || !name)
    return mtk_fail(u->err, MTK_E_UNSUPPORTED, u->path, "member '%.100s' is no file: refused",
                    name ? name : ".");
  if (archive_entry_is_encrypted(entry))
    return mtk_fail(u->err, MTK_E_UNSUPPORTED, u->path, "member '%.100s' is encrypted", name);
  if (u->n == MAX_MEMBERS)
    return mtk_fail(u->err, MTK_E_LIMIT, u->path, "more than %d members", MAX_MEMBERS);
  if (u->n == u->cap) {
    size_t cap = u->cap ? 2 * u->cap : 64;
    unpacked *more = mtk_realloc(u->files, u->cap, cap, sizeof *more);
    if (!more) return no_memory(u);
    u->files = more;
    u->cap = cap;
  }
  unpacked *f = &u->files[u->n++];
  *f = (unpacked){.name = name};
  return read_contents(u, f);
}

/* ---- the archive --------------------------------------------------------------------------- */

static mtk_status open_archive(unpacker *u) {
  struct archive *a = u->a = archive_read_new();
  if (!a) return no_memory(u);
  archive_read_support_filter_gzip(a);
  archive_read_support_filter_zstd(a);
  archive_read_support_format_tar(a);
  archive_read_support_format_zip_seekable(a);
  /* Sums over stored members would read all of them now. */
  (void)archive_read_set_format_option(a, "zip", "ignorecrc32", "1");
  return archive_read_open_memory(a, u->data, u->size) == ARCHIVE_OK ? MTK_OK : bad(u);
}

static mtk_status read_members(unpacker *u) {
  struct archive_entry *entry = NULL;
  for (;;) {
    int rc = archive_read_next_header(u->a, &entry);
    if (rc == ARCHIVE_EOF) break;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return bad(u);
    MTK_TRY(add_member(u, entry));
  }
  return u->n ? MTK_OK : mtk_fail(u->err, MTK_E_FORMAT, u->path, "the archive is empty");
}

static mtk_status add_files(mtk_mount *mount, unpacker *u) {
  mtk_file *copies = NULL;
  if (u->scratch) {
    mtk_output *scratch = u->scratch;
    u->scratch = NULL;
    MTK_TRY(mtk_output_map(&copies, scratch, u->err));
    MTK_TRY(mtk_mount_keep(mount, copies, u->err));
  }
  for (size_t i = 0; i < u->n; i++) {
    const unpacked *f = &u->files[i];
    const uint8_t *data = f->copied ? copies->data + f->offset : f->data;
    MTK_TRY(mtk_mount_add(mount, f->name, data, (size_t)f->size, u->err));
  }
  return MTK_OK;
}

mtk_status archive_mount(mtk_mount *mount, uint64_t *n_copied, const uint8_t *data, size_t size,
                         const char *path, mtk_error *err) {
  unpacker u = {.data = data, .size = size, .path = path, .err = err};
  u.arena = mtk_arena_create();
  mtk_status status = u.arena ? open_archive(&u) : no_memory(&u);
  if (status == MTK_OK) status = read_members(&u);
  if (status == MTK_OK) status = add_files(mount, &u);
  *n_copied = u.n_copied;
  mtk_output_abort(u.scratch);
  if (u.a) archive_read_free(u.a);
  mtk_free(u.files);
  mtk_arena_destroy(u.arena);
  return status;
}
