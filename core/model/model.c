/* model.c: mtk_model, the container: hyperparameters, tensors, vocabulary, attachments, warnings.
 * It owns all that it was given: descriptions and texts in its arena, files until it is destroyed.
 * One thread builds it, then any number read it. */
#include "base/hashmap.h"

#include <mtk/model.h>

#include <stdio.h>
#include <string.h>

typedef struct attachment {
  const char *name;
  const char *data; /* NUL-terminated beyond size */
  size_t size;
} attachment;

struct mtk_model {
  mtk_arena *arena;
  mtk_meta *meta;
  const char *arch, *format, *path;
  mtk_map *tensor_index; /* name -> position in tensors */
  const mtk_tensor **tensors;
  size_t n_tensors, cap_tensors;
  mtk_file **files;
  size_t n_files, cap_files;
  mtk_model *parts, *next_part; /* models that tensors of this one point into */
  attachment *attachments;
  size_t n_attachments, cap_attachments;
  const char **warnings;
  size_t n_warnings, cap_warnings;
  mtk_vocab *vocab;
  mtk_outputs *outputs; /* borrowed; where scratch files go that a resumption wants */
};

static mtk_status no_memory(mtk_error *err, const char *place) {
  return mtk_fail(err, MTK_E_NOMEM, place, "out of memory");
}

/* Makes room for one more element; false when out of memory. */
static bool grow(void **items, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return true;
  size_t more = *cap ? *cap * 2 : 16;
  void *grown = mtk_realloc(*items, *cap, more, size);
  if (!grown) return false;
  *items = grown;
  *cap = more;
  return true;
}

mtk_model *mtk_model_create(void) {
  mtk_model *m = mtk_alloc(1, sizeof *m);
  if (!m) return NULL;
  m->arena = mtk_arena_create();
  m->meta = mtk_meta_create();
  m->tensor_index = mtk_map_create();
  m->arch = m->format = m->path = "";
  if (m->arena && m->meta && m->tensor_index) return m;
  mtk_model_destroy(m);
  return NULL;
}

void mtk_model_destroy(mtk_model *m) {
  if (!m) return;
  for (mtk_model *part = m->parts, *next; part; part = next) {
    next = part->next_part;
    mtk_model_destroy(part);
  }
  mtk_vocab_destroy(m->vocab);
  mtk_meta_destroy(m->meta);
  mtk_map_destroy(m->tensor_index);
  for (size_t i = 0; i < m->n_files; i++) mtk_file_close(m->files[i]);
  mtk_free(m->tensors);
  mtk_free(m->files);
  mtk_free(m->attachments);
  mtk_free(m->warnings);
  mtk_arena_destroy(m->arena);
  mtk_free(m);
}

mtk_arena *mtk_model_arena(mtk_model *m) { return m->arena; }

mtk_status mtk_model_keep_file(mtk_model *m, mtk_file *file, mtk_error *err) {
  void *items = m->files;
  bool ok = grow(&items, m->n_files, &m->cap_files, sizeof *m->files);
  m->files = items;
  if (!ok) return no_memory(err, file->path);
  m->files[m->n_files++] = file;
  return MTK_OK;
}

mtk_status mtk_model_open_file(const mtk_file **out, mtk_model *m, const char *path,
                               mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  mtk_status status = mtk_model_keep_file(m, file, err);
  if (status == MTK_OK)
    *out = file;
  else
    mtk_file_close(file);
  return status;
}

void mtk_model_set_outputs(mtk_model *m, mtk_outputs *outputs) { m->outputs = outputs; }

mtk_outputs *mtk_model_outputs(const mtk_model *m) { return m->outputs; }

void mtk_model_keep_model(mtk_model *m, mtk_model *part) {
  part->next_part = m->parts;
  m->parts = part;
}

/* ---- identity ------------------------------------------------------------------------------ */

static mtk_status set_text(const char **slot, mtk_model *m, const char *text, mtk_error *err) {
  char *copy = mtk_arena_strndup(m->arena, text, strlen(text));
  if (!copy) return no_memory(err, NULL);
  *slot = copy;
  return MTK_OK;
}

const char *mtk_model_arch(const mtk_model *m) { return m->arch; }
const char *mtk_model_format(const mtk_model *m) { return m->format; }
const char *mtk_model_path(const mtk_model *m) { return m->path; }
mtk_meta *mtk_model_meta(const mtk_model *m) { return m->meta; }

mtk_status mtk_model_set_arch(mtk_model *m, const char *arch_id, mtk_error *err) {
  return set_text(&m->arch, m, arch_id, err);
}

mtk_status mtk_model_set_source(mtk_model *m, const char *format_id, const char *path,
                                mtk_error *err) {
  MTK_TRY(set_text(&m->format, m, format_id, err));
  return set_text(&m->path, m, path, err);
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* Bytes that dtype and shape ask for. */
static mtk_status tensor_bytes(uint64_t *out, const mtk_tensor *t, mtk_error *err) {
  if (!mtk_dtype_get(t->dtype))
    return mtk_fail(err, MTK_E_FORMAT, t->name, "unknown storage type %d", (int)t->dtype);
  if (t->n_dims < 0 || t->n_dims > MTK_MAX_DIMS)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "%d dimensions, at most %d are possible",
                    t->n_dims, MTK_MAX_DIMS);
  uint64_t elems = 1;
  for (int i = 0; i < t->n_dims; i++) {
    if (t->shape[i] < 0)
      return mtk_fail(err, MTK_E_FORMAT, t->name, "dimension %d is negative", i);
    if (__builtin_mul_overflow(elems, (uint64_t)t->shape[i], &elems) || elems > INT64_MAX)
      return mtk_fail(err, MTK_E_FORMAT, t->name, "the shape has too many elements");
  }
  *out = 0;
  if (elems == 0) return MTK_OK;
  uint64_t row = mtk_tensor_row_bytes(t);
  if (row == 0)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "rows of %lld elements do not fill blocks of %u",
                    (long long)mtk_tensor_row_elems(t), mtk_dtype_get(t->dtype)->block_elems);
  if (__builtin_mul_overflow(row, (uint64_t)mtk_tensor_rows(t), out) || *out > INT64_MAX)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "the tensor is too large");
  return MTK_OK;
}

static mtk_status check_tensor(const mtk_tensor *t, mtk_error *err) {
  if (!t->name || !t->name[0]) return mtk_fail(err, MTK_E_FORMAT, NULL, "a tensor has no name");
  uint64_t bytes = 0;
  MTK_TRY(tensor_bytes(&bytes, t, err));
  if (bytes != t->size_bytes)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "%llu bytes are given, type and shape need %llu",
                    (unsigned long long)t->size_bytes, (unsigned long long)bytes);
  if (bytes && !t->data && !t->read)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "the tensor has no values");
  if (t->scales && (t->scale_n <= 0 || t->scale_k <= 0))
    return mtk_fail(err, MTK_E_FORMAT, t->name, "the scale grid has a step of 0");
  return MTK_OK;
}

/* A copy in the arena, strings included. */
static mtk_status keep_tensor(const mtk_tensor **out, mtk_model *m, const mtk_tensor *t,
                              mtk_error *err) {
  mtk_tensor *copy = mtk_arena_alloc(m->arena, 1, sizeof *copy);
  if (!copy) return no_memory(err, t->name);
  *copy = *t;
  MTK_TRY(set_text(&copy->name, m, t->name, err));
  if (t->source_name) MTK_TRY(set_text(&copy->source_name, m, t->source_name, err));
  *out = copy;
  return MTK_OK;
}

mtk_status mtk_model_add_tensor(mtk_model *m, const mtk_tensor *tensor, mtk_error *err) {
  MTK_TRY(check_tensor(tensor, err));
  const mtk_tensor *kept = NULL;
  MTK_TRY(keep_tensor(&kept, m, tensor, err));
  void *items = m->tensors;
  bool ok = grow(&items, m->n_tensors, &m->cap_tensors, sizeof *m->tensors);
  m->tensors = items;
  if (!ok) return no_memory(err, tensor->name);
  bool found;
  mtk_map_value *at = mtk_map_put(m->tensor_index, kept->name, strlen(kept->name), &found);
  if (!at) return no_memory(err, tensor->name);
  if (found) return mtk_fail(err, MTK_E_FORMAT, tensor->name, "two tensors have this name");
  at->i = (int64_t)m->n_tensors;
  m->tensors[m->n_tensors++] = kept;
  return MTK_OK;
}

mtk_status mtk_model_clear_tensors(mtk_model *m, mtk_error *err) {
  mtk_map *empty = mtk_map_create();
  if (!empty) return no_memory(err, NULL);
  mtk_map_destroy(m->tensor_index);
  m->tensor_index = empty;
  m->n_tensors = 0;
  return MTK_OK;
}

size_t mtk_model_tensor_count(const mtk_model *m) { return m->n_tensors; }

const mtk_tensor *mtk_model_tensor_at(const mtk_model *m, size_t index) {
  return index < m->n_tensors ? m->tensors[index] : NULL;
}

static mtk_map_value *find_tensor(const mtk_model *m, const char *name) {
  return mtk_map_get(m->tensor_index, name, strlen(name));
}

const mtk_tensor *mtk_model_tensor(const mtk_model *m, const char *name) {
  const mtk_map_value *at = find_tensor(m, name);
  return at ? m->tensors[at->i] : NULL;
}

uint64_t mtk_model_param_count(const mtk_model *m) {
  uint64_t n = 0;
  for (size_t i = 0; i < m->n_tensors; i++)
    n += (uint64_t)(mtk_tensor_rows(m->tensors[i]) * mtk_tensor_row_elems(m->tensors[i]));
  return n;
}

/* The old description stays in the arena, so that a new one may read from it. */
mtk_status mtk_model_replace_tensor(mtk_model *m, const mtk_tensor *tensor, mtk_error *err) {
  MTK_TRY(check_tensor(tensor, err));
  const mtk_map_value *at = find_tensor(m, tensor->name);
  if (!at) return mtk_fail(err, MTK_E_NOT_FOUND, tensor->name, "the model has no such tensor");
  return keep_tensor(&m->tensors[at->i], m, tensor, err);
}

/* ---- vocabulary, attachments, warnings ------------------------------------------------------ */

void mtk_model_set_vocab(mtk_model *m, mtk_vocab *vocab) {
  if (m->vocab != vocab) mtk_vocab_destroy(m->vocab);
  m->vocab = vocab;
}

const mtk_vocab *mtk_model_vocab(const mtk_model *m) { return m->vocab; }

mtk_vocab *mtk_model_take_vocab(mtk_model *m) {
  mtk_vocab *vocab = m->vocab;
  m->vocab = NULL;
  return vocab;
}

static attachment *find_attachment(const mtk_model *m, const char *name) {
  for (size_t i = 0; i < m->n_attachments; i++)
    if (strcmp(m->attachments[i].name, name) == 0) return &m->attachments[i];
  return NULL;
}

mtk_status mtk_model_attach(mtk_model *m, const char *name, const char *data, size_t n,
                            mtk_error *err) {
  attachment kept = {.size = n};
  size_t room;
  char *copy = mtk_add_ok(n, 1, &room) ? mtk_arena_alloc(m->arena, room, 1) : NULL;
  if (!copy) return no_memory(err, name);
  if (n) memcpy(copy, data, n);
  kept.data = copy;
  attachment *old = find_attachment(m, name);
  if (old) {
    kept.name = old->name;
    *old = kept;
    return MTK_OK;
  }
  MTK_TRY(set_text(&kept.name, m, name, err));
  void *items = m->attachments;
  bool ok = grow(&items, m->n_attachments, &m->cap_attachments, sizeof *m->attachments);
  m->attachments = items;
  if (!ok) return no_memory(err, name);
  m->attachments[m->n_attachments++] = kept;
  return MTK_OK;
}

const char *mtk_model_attachment(const mtk_model *m, const char *name, size_t *n) {
  const attachment *a = find_attachment(m, name);
  if (n) *n = a ? a->size : 0;
  return a ? a->data : NULL;
}

size_t mtk_model_attachment_count(const mtk_model *m) { return m->n_attachments; }

const char *mtk_model_attachment_name(const mtk_model *m, size_t index) {
  return index < m->n_attachments ? m->attachments[index].name : NULL;
}

mtk_status mtk_model_warn(mtk_model *m, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  if (vsnprintf(text, sizeof text, fmt, args) < 0) text[0] = 0;
  va_end(args);
  const char *kept = NULL;
  MTK_TRY(set_text(&kept, m, text, NULL));
  void *items = m->warnings;
  bool ok = grow(&items, m->n_warnings, &m->cap_warnings, sizeof *m->warnings);
  m->warnings = items;
  if (!ok) return MTK_E_NOMEM;
  m->warnings[m->n_warnings++] = kept;
  return MTK_OK;
}

size_t mtk_model_warning_count(const mtk_model *m) { return m->n_warnings; }

const char *mtk_model_warning(const mtk_model *m, size_t index) {
  return index < m->n_warnings ? m->warnings[index] : NULL;
}
