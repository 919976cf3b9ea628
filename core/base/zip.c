/* zip.c: the members of a zip file in memory, by its central directory (APPNOTE.TXT 6.3.10). Pure
 * functions on untrusted bytes; any thread. And the limit on what may become of compressed ones. */
#include "base/internal.h"

#include <mtk/archive.h>

#include <stdlib.h>
#include <string.h>

enum {
  END_BYTES = 22,
  END64_LOCATOR_BYTES = 20,
  END64_BYTES = 56,
  CENTRAL_BYTES = 46,
  LOCAL_BYTES = 30,
  MAX_COMMENT = 65535
};
#define END_SIGNATURE           0x06054b50u
#define END64_LOCATOR_SIGNATURE 0x07064b50u
#define END64_SIGNATURE         0x06064b50u
#define CENTRAL_SIGNATURE       0x02014b50u
#define LOCAL_SIGNATURE         0x04034b50u

typedef struct zip_reader {
  const uint8_t *data;
  size_t size;
  const char *path;
  mtk_error *err;
  uint64_t n, begin, length; /* the central directory */
} zip_reader;

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

static bool fits(const zip_reader *z, uint64_t begin, uint64_t n) {
  return begin <= z->size && n <= z->size - begin;
}

static mtk_status bad(const zip_reader *z, uint64_t offset, const char *what) {
  return mtk_fail_at(z->err, MTK_E_FORMAT, z->path, offset, "zip: %s", what);
}

/* The end record is the last one whose comment ends with the file. */
static mtk_status find_end(const zip_reader *z, size_t *at) {
  size_t back = END_BYTES;
  for (; back <= z->size && back <= END_BYTES + MAX_COMMENT; back++) {
    const uint8_t *p = z->data + z->size - back;
    if (get32(p) != END_SIGNATURE || get16(p + 20) != back - END_BYTES) continue;
    *at = z->size - back;
    return MTK_OK;
  }
  return bad(z, z->size, "no end record: the file is cut off or not a zip file");
}

static mtk_status read_end(zip_reader *z, mtk_zip *out) {
  size_t at = 0;
  MTK_TRY(find_end(z, &at));
  const uint8_t *p = z->data + at;
  if (get16(p + 4) != get16(p + 6) || get16(p + 8) != get16(p + 10))
    return bad(z, at, "an archive of several disks");
  z->n = get16(p + 10);
  z->length = get32(p + 12);
  z->begin = get32(p + 16);
  out->comment = (const char *)p + END_BYTES;
  out->n_comment = z->size - at - END_BYTES;
  if (at >= END64_LOCATOR_BYTES && get32(p - END64_LOCATOR_BYTES) == END64_LOCATOR_SIGNATURE) {
    uint64_t end64 = get64(p - END64_LOCATOR_BYTES + 8);
    if (!fits(z, end64, END64_BYTES) || get32(z->data + end64) != END64_SIGNATURE)
      return bad(z, at - END64_LOCATOR_BYTES, "the zip64 end record is not where it should be");
    z->n = get64(z->data + end64 + 32);
    z->length = get64(z->data + end64 + 40);
    z->begin = get64(z->data + end64 + 48);
  }
  if (!fits(z, z->begin, z->length)) return bad(z, at, "the directory lies outside the file");
  if (z->n > z->length / CENTRAL_BYTES) return bad(z, at, "more members than the directory holds");
  return MTK_OK;
}

/* Sizes and offset of all ones in the record stand in the zip64 extra field, in this order. */
static bool read_zip64(const uint8_t *extra, size_t n, uint64_t *const fields[3]) {
  for (size_t at = 0; at + 4 <= n;) {
    size_t id = get16(extra + at), len = get16(extra + at + 2), pos = at + 4;
    if (len > n - pos) return false;
    for (size_t f = 0, end = pos + len; id == 1 && f < 3; f++) {
      if (*fields[f] != UINT32_MAX) continue;
      if (end - pos < 8) return false;
      *fields[f] = get64(extra + pos);
      pos += 8;
    }
    at += 4 + len;
  }
  return true;
}

/* Where the bytes of a member are: its local header has a name and an extra field of its own. */
static mtk_status locate(const zip_reader *z, mtk_zip_entry *e, uint64_t local) {
  if (!fits(z, local, LOCAL_BYTES) || get32(z->data + local) != LOCAL_SIGNATURE)
    return bad(z, local, "a member's header is missing");
  const uint8_t *p = z->data + local;
  uint64_t begin = local + LOCAL_BYTES + get16(p + 26) + get16(p + 28);
  if (!fits(z, begin, e->stored_size)) return bad(z, local, "a member runs past the end");
  e->data = z->data + begin;
  return MTK_OK;
}

static mtk_status read_entry(const zip_reader *z, mtk_zip_entry *e, mtk_arena *arena,
                             uint64_t *at) {
  const uint8_t *p = z->data + *at;
  uint64_t left = z->begin + z->length - *at;
  if (left < CENTRAL_BYTES || get32(p) != CENTRAL_SIGNATURE)
    return bad(z, *at, "a directory entry is missing");
  size_t n_name = get16(p + 28), n_extra = get16(p + 30), n_comment = get16(p + 32);
  if (left - CENTRAL_BYTES < n_name + n_extra + n_comment)
    return bad(z, *at, "a directory entry runs past the end");
  uint64_t local = get32(p + 42);
  e->method = get16(p + 10);
  e->encrypted = get16(p + 8) & 1;
  e->crc32 = get32(p + 16);
  e->stored_size = get32(p + 20);
  e->size = get32(p + 24);
  const char *name = (const char *)p + CENTRAL_BYTES;
  if (n_name == 0 || memchr(name, 0, n_name)) return bad(z, *at, "a member has no usable name");
  uint64_t *const fields[3] = {&e->size, &e->stored_size, &local};
  if (!read_zip64(p + CENTRAL_BYTES + n_name, n_extra, fields))
    return bad(z, *at, "a zip64 field is cut off");
  if (e->method == MTK_ZIP_STORED && !e->encrypted && e->size != e->stored_size)
    return bad(z, *at, "a stored member has two sizes");
  e->name = mtk_arena_strndup(arena, name, n_name);
  if (!e->name) return mtk_fail(z->err, MTK_E_NOMEM, z->path, "out of memory");
  MTK_TRY(locate(z, e, local));
  *at += CENTRAL_BYTES + n_name + n_extra + n_comment;
  return MTK_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const mtk_zip_entry *const *)a)->name, (*(const mtk_zip_entry *const *)b)->name);
}

static mtk_status sort_names(const zip_reader *z, mtk_zip *out, mtk_arena *arena) {
  const mtk_zip_entry **sorted = mtk_arena_alloc(arena, out->n, sizeof *sorted);
  if (!sorted) return mtk_fail(z->err, MTK_E_NOMEM, z->path, "out of memory");
  for (size_t i = 0; i < out->n; i++) sorted[i] = &out->entries[i];
  if (out->n) qsort(sorted, out->n, sizeof *sorted, by_name);
  for (size_t i = 1; i < out->n; i++)
    if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
      return mtk_fail(z->err, MTK_E_FORMAT, z->path, "zip: two members are named '%.100s'",
                      sorted[i]->name);
  out->by_name = sorted;
  return MTK_OK;
}

mtk_status mtk_zip_parse(mtk_zip *out, mtk_arena *arena, const uint8_t *data, size_t size,
                         const char *path, mtk_error *err) {
  zip_reader z = {.data = data, .size = size, .path = path, .err = err};
  *out = (mtk_zip){0};
  MTK_TRY(read_end(&z, out));
  mtk_zip_entry *entries = mtk_arena_alloc(arena, (size_t)z.n, sizeof *entries);
  if (!entries) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  uint64_t at = z.begin;
  for (uint64_t i = 0; i < z.n; i++) MTK_TRY(read_entry(&z, &entries[i], arena, &at));
  out->entries = entries;
  out->n = (size_t)z.n;
  return sort_names(&z, out, arena);
}

const mtk_zip_entry *mtk_zip_find(const mtk_zip *zip, const char *name) {
  const mtk_zip_entry probe = {.name = name}, *at = &probe;
  const mtk_zip_entry *const *hit =
      zip->n ? bsearch(&at, zip->by_name, zip->n, sizeof *hit, by_name) : NULL;
  return hit ? *hit : NULL;
}

mtk_status mtk_expand_check(uint64_t size, uint64_t stored_size, const char *path, mtk_error *err) {
  enum { MAX_RATIO = 200 };
  const char *text = getenv("MTK_EXPAND_LIMIT");
  uint64_t limit = text && text[0] ? strtoull(text, NULL, 10) : (uint64_t)1 << 40;
  if (size > limit)
    return mtk_fail(err, MTK_E_LIMIT, path,
                    "expands to more than %llu bytes; MTK_EXPAND_LIMIT=BYTES allows more",
                    (unsigned long long)limit);
  if (size > (uint64_t)256 << 20 && size / MAX_RATIO > stored_size)
    return mtk_fail(err, MTK_E_LIMIT, path, "expands to more than %d times its size", MAX_RATIO);
  return MTK_OK;
}
