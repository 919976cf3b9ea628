/* read.c: the two containers of torch.save: a zip file with data.pkl and one member per storage
 * (since 1.6), and the older run of pickles followed by the storages. */
#include "torch.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STORAGES = 1 << 20 };

typedef struct reader {
  pk_machine m;
  mtk_zip zip;
  const char *folder; /* in the zip file: "archive/" */
  pk_storage **list;  /* of the old container: heap */
  size_t n, cap;
} reader;

/* ("storage", type, key, location, number of elements[, view]) */
static mtk_status parse_id(pk_storage **out, const pk_list *id, pk_machine *m) {
  const pk_value *a = id->items;
  if (id->n < 5 || !pk_is(&a[0], "storage") || a[1].kind != PK_GLOBAL ||
      a[1].as.global->kind != PK_STORAGE_TYPE || a[2].kind != PK_STR || a[4].kind != PK_INT ||
      a[4].as.i < 0)
    return pk_bad(m, "a persistent id that is no storage");
  if (id->n > 5 && a[5].kind != PK_NONE) return pk_bad(m, "a view of a storage: refused");
  pk_storage *s = mtk_arena_alloc(m->arena, 1, sizeof *s);
  if (!s) return pk_no_memory(m);
  s->key = a[2].as.str.s;
  s->n_key = a[2].as.str.n;
  s->dtype = a[1].as.global->dtype;
  s->n = (uint64_t)a[4].as.i;
  uint64_t item = s->dtype == MTK_DTYPE_COUNT ? 1 : 0;
  if (!item && !mtk_dtype_get(s->dtype)) return pk_bad(m, "a storage type that mtk does not have");
  if (!item) item = mtk_dtype_get(s->dtype)->block_bytes;
  if (__builtin_mul_overflow(s->n, item, &s->size_bytes))
    return pk_bad(m, "a storage whose size overflows");
  *out = s;
  return MTK_OK;
}

/* ---- zip ----------------------------------------------------------------------------------- */

static mtk_status find_member(const mtk_zip_entry **out, const reader *r, const char *name,
                              size_t n) {
  const pk_machine *m = &r->m;
  char *path = mtk_asprintf("%s%.*s", r->folder, (int)n, name);
  if (!path) return pk_no_memory(m);
  *out = mtk_zip_find(&r->zip, path);
  mtk_free(path);
  if (!*out || ((*out)->method == MTK_ZIP_STORED && !(*out)->encrypted)) return MTK_OK;
  return mtk_fail(m->err, MTK_E_UNSUPPORTED, m->path, "member %.100s is compressed or encrypted",
                  (*out)->name);
}

static mtk_status zip_storage(void *ctx, pk_storage **out, const pk_list *id, pk_machine *m) {
  const reader *r = ctx;
  const mtk_zip_entry *e = NULL;
  MTK_TRY(parse_id(out, id, m));
  pk_storage *s = *out;
  char name[80] = "data/";
  if (s->n_key > 64) return pk_bad(m, "a storage with a long name");
  memcpy(name + 5, s->key, s->n_key);
  MTK_TRY(find_member(&e, r, name, 5 + s->n_key));
  if (!e) {
    return mtk_fail(m->err, MTK_E_FORMAT, m->path, "storage %.64s is missing", name);
  }
  if (e->size < s->size_bytes) {
    return mtk_fail(m->err, MTK_E_FORMAT, m->path, "storage %.64s has %llu bytes, not %llu", name,
                    (unsigned long long)e->size, (unsigned long long)s->size_bytes);
  }
  s->data = e->data;
  return MTK_OK;
}

/* Everything stands in one folder; data.pkl tells its name. */
static mtk_status find_folder(reader *r, const mtk_zip_entry **pickle) {
  static const char name[] = "data.pkl";
  for (size_t i = 0; i < r->zip.n; i++) {
    const char *full = r->zip.entries[i].name;
    size_t n = strlen(full), k = sizeof name - 1;
    if (n < k || strcmp(full + n - k, name) != 0 || strchr(full, '/') != strrchr(full, '/'))
      continue;
    if (n > k && full[n - k - 1] != '/') continue;
    r->folder = mtk_arena_strndup(r->m.arena, full, n - k);
    if (!r->folder) return pk_no_memory(&r->m);
    return find_member(pickle, r, name, k);
  }
  return mtk_fail(r->m.err, MTK_E_FORMAT, r->m.path, "a zip file without data.pkl");
}

static mtk_status read_zip(reader *r, pk_value *out, const uint8_t *data, size_t size) {
  pk_machine *m = &r->m;
  const mtk_zip_entry *pickle = NULL, *order = NULL;
  MTK_TRY(mtk_zip_parse(&r->zip, m->arena, data, size, m->path, m->err));
  MTK_TRY(find_folder(r, &pickle));
  MTK_TRY(find_member(&order, r, "byteorder", 9));
  if (order && (order->size != 6 || memcmp(order->data, "little", 6) != 0)) {
    return mtk_fail(m->err, MTK_E_UNSUPPORTED, m->path, "a checkpoint in big-endian byte order");
  }
  m->storage = zip_storage;
  m->pos = (size_t)(pickle->data - data);
  m->end = m->pos + (size_t)pickle->size;
  return pk_run(out, m);
}

/* ---- the old container --------------------------------------------------------------------- */

static mtk_status legacy_storage(void *ctx, pk_storage **out, const pk_list *id, pk_machine *m) {
  reader *r = ctx;
  MTK_TRY(parse_id(out, id, m));
  if (r->n == MAX_STORAGES) return pk_bad(m, "too many storages");
  if (r->n == r->cap) {
    size_t cap = r->cap ? 2 * r->cap : 64;
    pk_storage **more = mtk_realloc(r->list, r->cap, cap, sizeof *more);
    if (!more) return pk_no_memory(m);
    r->list = more;
    r->cap = cap;
  }
  r->list[r->n++] = *out;
  return MTK_OK;
}

static int compare_keys(const char *a, size_t n_a, const char *b, size_t n_b) {
  int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
  return order ? order : n_a < n_b ? -1 : n_a > n_b;
}

static int by_key(const void *a, const void *b) {
  const pk_storage *x = *(const pk_storage *const *)a, *y = *(const pk_storage *const *)b;
  return compare_keys(x->key, x->n_key, y->key, y->n_key);
}

/* One storage of the file: 8 bytes with the number of elements, then those. All mentions of the key
 * get it. */
static mtk_status place_storage(reader *r, const pk_value *key) {
  pk_machine *m = &r->m;
  if (key->kind != PK_STR) return pk_bad(m, "a storage key that is no text");
  size_t low = 0, high = r->n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const pk_storage *s = r->list[middle];
    if (compare_keys(s->key, s->n_key, key->as.str.s, key->as.str.n) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  uint64_t n = 0;
  if (m->end - m->pos < 8) return pk_bad(m, "the file ends before its storages");
  for (int i = 0; i < 8; i++) n |= (uint64_t)m->data[m->pos++] << (8 * i);
  if (low == r->n ||
      compare_keys(r->list[low]->key, r->list[low]->n_key, key->as.str.s, key->as.str.n) != 0)
    return pk_bad(m, "a storage that no tensor has");
  uint64_t size_bytes = r->list[low]->size_bytes;
  for (; low < r->n &&
         compare_keys(r->list[low]->key, r->list[low]->n_key, key->as.str.s, key->as.str.n) == 0;
       low++) {
    pk_storage *s = r->list[low];
    if (s->n != n || s->size_bytes != size_bytes || size_bytes > m->end - m->pos)
      return pk_bad(m, "a storage of another size");
    s->data = m->data + m->pos;
  }
  m->pos += (size_t)size_bytes;
  return MTK_OK;
}

/* Five pickles: magic number, protocol, system information, the object, the storages' keys. */
static mtk_status read_legacy(reader *r, pk_value *out) {
  static const uint8_t magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  pk_machine *m = &r->m;
  pk_value skipped, keys;
  m->storage = legacy_storage;
  MTK_TRY(pk_run(&skipped, m));
  if (skipped.kind != PK_LONG || skipped.as.str.n != sizeof magic ||
      memcmp(skipped.as.str.s, magic, sizeof magic) != 0) {
    return mtk_fail(m->err, MTK_E_FORMAT, m->path, "a pickle, but not of torch.save");
  }
  MTK_TRY(pk_run(&skipped, m));
  if (skipped.kind != PK_INT || skipped.as.i != 1001) return pk_bad(m, "an unknown protocol");
  MTK_TRY(pk_run(&skipped, m));
  MTK_TRY(pk_run(out, m));
  MTK_TRY(pk_run(&keys, m));
  if (keys.kind != PK_LIST) return pk_bad(m, "no list of storages");
  if (r->n) qsort(r->list, r->n, sizeof *r->list, by_key);
  for (size_t i = 0; i < keys.as.list->n; i++) MTK_TRY(place_storage(r, &keys.as.list->items[i]));
  for (size_t i = 0; i < r->n; i++)
    if (!r->list[i]->data) return pk_bad(m, "a storage is missing");
  return MTK_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

mtk_status torch_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                            mtk_error *err) {
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  reader r = {.m = {.arena = arena, .data = data, .end = size, .path = path, .err = err}};
  pk_value value;
  r.m.ctx = &r;
  bool zip = size >= 4 && memcmp(data, "PK\3\4", 4) == 0;
  mtk_status status = zip ? read_zip(&r, &value, data, size) : read_legacy(&r, &value);
  if (status == MTK_OK) status = torch_flatten(model, arena, &value, path, err);
  pk_finish(&r.m);
  mtk_free(r.list);
  mtk_arena_destroy(arena);
  return status;
}

mtk_status torch_read_model(mtk_model *model, const char *path, mtk_error *err) {
  const mtk_file *file;
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  return torch_read_bytes(model, file->data, file->size, path, err);
}
