/* flatten.c: nested dictionaries of tensors -> tensors with dotted names. Values may share parts
 * and even contain themselves: depth and the number of visits are limited. */
#include "torch.h"

#include <string.h>

enum { MAX_DEPTH = 32, MAX_VISITS = 4 << 20, MAX_NAME = 1024, MAX_LISTED = 400 };

typedef struct walk {
  mtk_model *model;
  const char *path;
  mtk_error *err;
  char name[MAX_NAME]; /* of the value that is visited */
  size_t n_name;
  uint64_t visits;
  mtk_bytes others; /* names of what is no tensor, the first ones */
  uint64_t n_others;
} walk;

/* ---- rows of tensors that do not lie in order ---------------------------------------------- */

typedef struct strided {
  const uint8_t *data;
  int64_t stride[MTK_MAX_DIMS]; /* bytes */
} strided;

static mtk_status read_strided(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                               mtk_error *err) {
  const strided *s = t->read_ctx;
  size_t item = mtk_dtype_get(t->dtype)->block_bytes;
  int64_t n = mtk_tensor_row_elems(t), step = t->n_dims ? s->stride[t->n_dims - 1] : 0;
  uint8_t *out = dst;
  (void)err;
  for (int64_t row = row0; row < row0 + n_rows; row++) {
    const uint8_t *from = s->data;
    int64_t rest = row;
    for (int d = t->n_dims - 2; d >= 0; d--) {
      from += rest % t->shape[d] * s->stride[d];
      rest /= t->shape[d];
    }
    if (step == (int64_t)item || n == 1) {
      memcpy(out, from, (size_t)n * item);
      out += (size_t)n * item;
      continue;
    }
    for (int64_t i = 0; i < n; i++, out += item) memcpy(out, from + i * step, item);
  }
  return MTK_OK;
}

/* Elements follow each other in the order of the shape (dimensions of size 1 do not matter). */
static bool is_contiguous(const pk_tensor *t) {
  int64_t step = 1;
  for (int d = t->n_dims - 1; d >= 0; d--) {
    if (t->shape[d] != 1 && t->stride[d] != step) return false;
    step *= t->shape[d];
  }
  return true;
}

static mtk_status add_tensor(walk *w, const pk_tensor *in) {
  uint64_t item = mtk_dtype_get(in->dtype)->block_bytes, elems = 1;
  mtk_tensor t = {.name = w->name, .source_name = w->name, .dtype = in->dtype};
  t.n_dims = in->n_dims;
  memcpy(t.shape, in->shape, sizeof t.shape);
  for (int d = 0; d < in->n_dims; d++)
    if (__builtin_mul_overflow(elems, (uint64_t)in->shape[d], &elems)) elems = 0;
  t.size_bytes = elems * item;
  if (t.size_bytes) {
    const uint8_t *data = in->storage->data + in->offset * item;
    t.data = data;
    if (!is_contiguous(in) || (uintptr_t)data % item) {
      strided *s = mtk_arena_alloc(mtk_model_arena(w->model), 1, sizeof *s);
      if (!s) return mtk_fail(w->err, MTK_E_NOMEM, w->path, "out of memory");
      s->data = data;
      for (int d = 0; d < in->n_dims; d++) s->stride[d] = in->stride[d] * (int64_t)item;
      t.data = NULL;
      t.read = read_strided;
      t.read_ctx = s;
    }
  }
  return mtk_model_add_tensor(w->model, &t, w->err);
}

/* ---- the walk ------------------------------------------------------------------------------ */

static void note_other(walk *w) {
  if (w->others.len < MAX_LISTED) {
    mtk_bytes_printf(&w->others, "%s%s", w->n_others ? ", " : "", w->n_name ? w->name : "(all)");
  }
  w->n_others++;
}

static mtk_status extend_name(walk *w, const char *part, size_t n) {
  size_t dot = w->n_name ? 1 : 0;
  bool incomplete = false;
  if (memchr(part, 0, n) || mtk_utf8_prefix(part, n, &incomplete) != n) {
    return mtk_fail(w->err, MTK_E_FORMAT, w->path, "below %s: a key that is not UTF-8",
                    w->n_name ? w->name : "the top");
  }
  if (w->n_name + dot + n >= MAX_NAME) {
    return mtk_fail(w->err, MTK_E_LIMIT, w->path, "a name of more than %d bytes", MAX_NAME);
  }
  if (dot) w->name[w->n_name++] = '.';
  memcpy(w->name + w->n_name, part, n);
  w->n_name += n;
  w->name[w->n_name] = 0;
  return MTK_OK;
}

static mtk_status extend_index(walk *w, int64_t i) {
  char *text = mtk_asprintf("%lld", (long long)i);
  if (!text) return mtk_fail(w->err, MTK_E_NOMEM, w->path, "out of memory");
  mtk_status status = extend_name(w, text, strlen(text));
  mtk_free(text);
  return status;
}

static mtk_status visit(walk *w, const pk_value *v, int depth);

/* Items with a name of their own: index, or text or number as key. */
static mtk_status visit_items(walk *w, const pk_value *v, int depth) {
  const pk_list *list = v->as.list;
  size_t step = v->kind == PK_DICT ? 2 : 1, n_name = w->n_name;
  for (size_t i = 0; i < list->n; i += step) {
    const pk_value *key = &list->items[i];
    if (step == 1) {
      MTK_TRY(extend_index(w, (int64_t)i));
    } else if (key->kind == PK_STR) {
      MTK_TRY(extend_name(w, key->as.str.s, key->as.str.n));
    } else if (key->kind == PK_INT) {
      MTK_TRY(extend_index(w, key->as.i));
    } else {
      note_other(w);
      continue;
    }
    MTK_TRY(visit(w, &list->items[i + step - 1], depth + 1));
    w->n_name = n_name;
    w->name[n_name] = 0;
  }
  return MTK_OK;
}

/* No list or tuple of numbers is taken apart: it is one value that is no tensor. */
static bool has_parts(walk *w, const pk_value *v) {
  if (v->kind == PK_DICT) return true;
  if (v->kind != PK_LIST && v->kind != PK_TUPLE) return false;
  for (size_t i = 0; i < v->as.list->n; i++, w->visits++)
    if (v->as.list->items[i].kind >= PK_LIST) return true;
  return false;
}

static mtk_status visit(walk *w, const pk_value *v, int depth) {
  if (++w->visits > MAX_VISITS || depth > MAX_DEPTH) {
    return mtk_fail(w->err, MTK_E_LIMIT, w->path, "more than %d values or nested deeper than %d",
                    MAX_VISITS, MAX_DEPTH);
  }
  if (v->kind == PK_TENSOR) {
    if (!w->n_name) MTK_TRY(extend_name(w, "tensor", 6));
    return add_tensor(w, v->as.tensor);
  }
  if (has_parts(w, v)) return visit_items(w, v, depth);
  note_other(w);
  return MTK_OK;
}

mtk_status torch_flatten(mtk_model *model, mtk_arena *arena, const pk_value *value,
                         const char *path, mtk_error *err) {
  walk *w = mtk_arena_alloc(arena, 1, sizeof *w);
  if (!w) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  w->model = model;
  w->path = path;
  w->err = err;
  mtk_status status = visit(w, value, 0);
  if (status == MTK_OK && !mtk_model_tensor_count(model))
    status = mtk_fail(err, MTK_E_FORMAT, path, "holds no tensors");
  if (status == MTK_OK && w->n_others) {
    status = mtk_model_warn(model, "%llu values that are no tensors were left out: %s%s",
                            (unsigned long long)w->n_others, w->others.data ? w->others.data : "",
                            w->others.len < MAX_LISTED ? "" : ", ...");
  }
  mtk_bytes_finish(&w->others);
  return status;
}
