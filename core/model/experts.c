/* experts.c: the two shapes of a mixture of experts: stacked [expert, rows, cols] as graphs and
 * GGUF have it, and as files of other formats cut it: a tensor per expert, or gate and up in one.
 * Only descriptions are made; values are gathered when rows are read, scale grids are small and
 * copied. Part of the model: one thread changes it; the read functions may be entered by any. */
#include "model/model_impl.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 256 };

/* ---- reading rows --------------------------------------------------------------------------- */

/* Where the rows of a made tensor come from. Sources are [n_expert, source_rows, K], or transposed
 * [n_expert, K, source_rows]; of a bias [n_expert, source_rows]. */
typedef struct expert_view {
  const mtk_tensor *const *parts; /* STACK: one per expert; FUSE: gate and up; else one */
  int n_parts;
  int64_t n;           /* rows of one expert in the made tensor; of a bias: 1 */
  int64_t start, step; /* TAKE: first row of an expert in the source, and distance */
  int64_t source_rows;
  bool interleaved; /* FUSE: gate and up take turns */
} expert_view;

/* Row r of expert e in the part that holds it (FUSE), of `half` rows each. */
static const mtk_tensor *fused_part(const expert_view *v, int64_t *r) {
  int64_t half = v->source_rows / v->n_parts, at = *r;
  *r = v->interleaved ? at / v->n_parts : at % half;
  return v->parts[v->interleaved ? at % v->n_parts : at / half];
}

static mtk_status copy_rows(void *dst, const mtk_tensor *source, int64_t row0, int64_t n,
                            mtk_error *err) {
  const void *from = NULL;
  MTK_TRY(mtk_tensor_fetch(&from, source, row0, n, dst, err));
  if (from != dst) memcpy(dst, from, (size_t)n * mtk_tensor_row_bytes(source));
  return MTK_OK;
}

static mtk_status read_stack(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const expert_view *v = t->read_ctx;
  uint8_t *to = dst;
  while (n_rows > 0) {
    int64_t in = row0 % v->n, n = v->n - in < n_rows ? v->n - in : n_rows;
    MTK_TRY(copy_rows(to, v->parts[row0 / v->n], in, n, err));
    to += (size_t)n * mtk_tensor_row_bytes(t);
    row0 += n;
    n_rows -= n;
  }
  return MTK_OK;
}

/* One expert of a stack. */
static mtk_status read_slice(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const expert_view *v = t->read_ctx;
  return copy_rows(dst, v->parts[0], v->start + row0, n_rows, err);
}

static mtk_status read_taken(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const expert_view *v = t->read_ctx;
  uint8_t *to = dst;
  for (int64_t r = row0; r < row0 + n_rows; r++, to += mtk_tensor_row_bytes(t))
    MTK_TRY(copy_rows(to, v->parts[0], r / v->n * v->source_rows + v->start + r % v->n * v->step, 1,
                      err));
  return MTK_OK;
}

static mtk_status read_fused(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const expert_view *v = t->read_ctx;
  int64_t half = v->source_rows / v->n_parts;
  uint8_t *to = dst;
  for (int64_t r = row0; r < row0 + n_rows; r++, to += mtk_tensor_row_bytes(t)) {
    int64_t in = r % v->n;
    const mtk_tensor *part = fused_part(v, &in);
    MTK_TRY(copy_rows(to, part, r / v->n * half + in, 1, err));
  }
  return MTK_OK;
}

/* Rows i0 .. i0+n of expert e out of the columns of the source. */
static mtk_status take_columns(uint8_t *dst, const expert_view *v, int64_t e, int64_t i0, int64_t n,
                               int64_t k, void *tmp, mtk_error *err) {
  size_t elem = mtk_dtype_get(v->parts[0]->dtype)->block_bytes;
  for (int64_t c = 0; c < k; c++) {
    const void *row = NULL;
    MTK_TRY(mtk_tensor_fetch(&row, v->parts[0], e * k + c, 1, tmp, err));
    const uint8_t *from = (const uint8_t *)row + (size_t)(v->start + i0 * v->step) * elem;
    for (int64_t i = 0; i < n; i++)
      memcpy(dst + (size_t)(i * k + c) * elem, from + (size_t)(i * v->step) * elem, elem);
  }
  return MTK_OK;
}

/* Columns c0 .. c0+n of expert e of all parts, as rows of source_rows elements. */
static mtk_status fuse_columns(uint8_t *dst, const expert_view *v, int64_t e, int64_t c0, int64_t n,
                               int64_t k, void *tmp, mtk_error *err) {
  size_t elem = mtk_dtype_get(v->parts[0]->dtype)->block_bytes;
  int64_t half = v->source_rows / v->n_parts;
  (void)k;
  for (int64_t r = 0; r < v->source_rows; r++) {
    int64_t in = r;
    const void *row = NULL;
    const mtk_tensor *part = fused_part(v, &in);
    MTK_TRY(mtk_tensor_fetch(&row, part, e * half + in, 1, tmp, err));
    const uint8_t *from = (const uint8_t *)row + (size_t)c0 * elem;
    for (int64_t i = 0; i < n; i++)
      memcpy(dst + (size_t)(i * v->source_rows + r) * elem, from + (size_t)i * elem, elem);
  }
  return MTK_OK;
}

typedef mtk_status columns_fn(uint8_t *dst, const expert_view *v, int64_t e, int64_t i0, int64_t n,
                              int64_t k, void *tmp, mtk_error *err);

static mtk_status read_columns(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                               columns_fn *fn, mtk_error *err) {
  const expert_view *v = t->read_ctx;
  uint8_t *to = dst;
  void *tmp = mtk_alloc(mtk_tensor_row_bytes(v->parts[0]), 1);
  mtk_status status = tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  while (n_rows > 0 && status == MTK_OK) {
    int64_t in = row0 % v->n, n = v->n - in < n_rows ? v->n - in : n_rows;
    status = fn(to, v, row0 / v->n, in, n, mtk_tensor_row_elems(t), tmp, err);
    to += (size_t)n * mtk_tensor_row_bytes(t);
    row0 += n;
    n_rows -= n;
  }
  mtk_free(tmp);
  return status;
}

static mtk_status read_taken_columns(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                                     mtk_error *err) {
  return read_columns(t, dst, row0, n_rows, take_columns, err);
}

static mtk_status read_fused_columns(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                                     mtk_error *err) {
  return read_columns(t, dst, row0, n_rows, fuse_columns, err);
}

/* Biases are matrices of one "column" per expert, whose rows are elements. */
static mtk_status read_taken_bias(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                                  mtk_error *err) {
  const expert_view *v = t->read_ctx;
  void *tmp = mtk_alloc(mtk_tensor_row_bytes(v->parts[0]), 1);
  mtk_status status = tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  uint8_t *to = dst;
  for (int64_t e = row0; e < row0 + n_rows && status == MTK_OK; e++, to += mtk_tensor_row_bytes(t))
    status = take_columns(to, v, e, 0, t->shape[1], 1, tmp, err);
  mtk_free(tmp);
  return status;
}

static mtk_status read_fused_bias(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                                  mtk_error *err) {
  const expert_view *v = t->read_ctx;
  size_t elem = mtk_dtype_get(t->dtype)->block_bytes;
  void *tmp = mtk_alloc(mtk_tensor_row_bytes(v->parts[0]), 1);
  mtk_status status = tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  uint8_t *to = dst;
  for (int64_t e = row0; e < row0 + n_rows && status == MTK_OK; e++) {
    for (int p = 0; p < v->n_parts && status == MTK_OK; p++) {
      const void *row = NULL;
      int64_t half = v->source_rows / v->n_parts;
      status = mtk_tensor_fetch(&row, v->parts[p], e, 1, tmp, err);
      for (int64_t i = 0; i < half && status == MTK_OK; i++)
        memcpy(to + (size_t)(v->interleaved ? i * v->n_parts + p : p * half + i) * elem,
               (const uint8_t *)row + (size_t)i * elem, elem);
    }
    to += mtk_tensor_row_bytes(t);
  }
  mtk_free(tmp);
  return status;
}

/* ---- scale grids ---------------------------------------------------------------------------- */

/* Row of the grid that row r of a tensor has: row_scales floats. */
static const float *grid_row(const mtk_tensor *t, int64_t r) {
  return t->scales + r / t->scale_n * ((mtk_tensor_row_elems(t) - 1) / t->scale_k + 1);
}

/* A grid for `out` whose row r (of n per expert) is that of row r of source(ctx). Grids with one
 * scale per expert stay so; others that do not step evenly over experts get a row each. */
typedef const mtk_tensor *source_fn(const void *ctx, int64_t *row);

static mtk_status make_grid(mtk_tensor *out, int64_t n, int64_t scale_n, source_fn *source,
                            const void *ctx, mtk_arena *arena, mtk_error *err) {
  int64_t row = 0, rows = mtk_tensor_rows(out), k = mtk_tensor_row_elems(out);
  const mtk_tensor *first = source(ctx, &row);
  int64_t scale_k = first->scales ? first->scale_k : k;
  if (scale_k > k) scale_k = k;
  int64_t per_row = (k - 1) / scale_k + 1, step = n % scale_n == 0 ? scale_n : 1;
  size_t count;
  if (!mtk_mul_ok((size_t)(rows / step), (size_t)per_row, &count))
    return mtk_fail(err, MTK_E_NOMEM, out->name, "too large");
  float *scales = mtk_arena_alloc(arena, count, sizeof *scales);
  if (!scales) return mtk_fail(err, MTK_E_NOMEM, out->name, "out of memory");
  for (int64_t r = 0; r < rows; r += step) {
    int64_t at = r;
    const mtk_tensor *t = source(ctx, &at);
    if (t->scales && (t->scale_k < k ? t->scale_k : k) != scale_k)
      return mtk_fail(err, MTK_E_UNSUPPORTED, out->name, "its experts differ in their scale grids");
    for (int64_t c = 0; c < per_row; c++)
      scales[r / step * per_row + c] = t->scales ? grid_row(t, at)[c] : 1.0f;
  }
  out->scales = scales;
  out->scale_n = step;
  out->scale_k = scale_k;
  return MTK_OK;
}

/* ---- making tensors ------------------------------------------------------------------------- */

/* The tensors that a pass leaves in the model. */
typedef struct pass {
  mtk_model *model;
  const mtk_arch_v1 *arch;
  mtk_arena *arena;
  mtk_tensor *list; /* heap */
  size_t n, cap;
  mtk_error *err;
} pass;

static mtk_status no_memory(pass *p) {
  return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory");
}

static mtk_status push(pass *p, const mtk_tensor *t) {
  if (p->n == p->cap) {
    size_t more = p->cap ? 2 * p->cap : 256;
    mtk_tensor *grown = mtk_realloc(p->list, p->n, more, sizeof *grown);
    if (!grown) return no_memory(p);
    p->list = grown;
    p->cap = more;
  }
  p->list[p->n++] = *t;
  return MTK_OK;
}

/* A view in the arena with room for n_parts sources. */
static expert_view *new_view(pass *p, int64_t n_parts, const mtk_tensor ***parts) {
  expert_view *v = mtk_arena_alloc(p->arena, 1, sizeof *v);
  *parts = mtk_arena_alloc(p->arena, (size_t)n_parts, sizeof **parts);
  if (!v || !*parts) return NULL;
  v->parts = *parts;
  v->n_parts = (int)n_parts;
  return v;
}

/* "blk.3.ffn_up_exps" + ".7" + ".weight" */
static const char *expert_name(pass *p, const char *base, int64_t expert, const char *suffix) {
  char name[NAME_BYTES];
  int n = expert < 0 ? snprintf(name, sizeof name, "%s%s", base, suffix)
                     : snprintf(name, sizeof name, "%s.%lld%s", base, (long long)expert, suffix);
  return n > 0 && n < NAME_BYTES ? mtk_arena_strndup(p->arena, name, (size_t)n) : NULL;
}

/* The row's name for a block, without suffix. */
static const char *base_name(pass *p, const mtk_arch_tensor *row, long block) {
  char name[NAME_BYTES];
  const char *at = strstr(row->name, "%d"), *end = row->name + strlen(row->name);
  if (!at) return NULL;
  if (end - row->name > 7 && strcmp(end - 7, ".weight") == 0) end -= 7;
  else if (end - row->name > 5 && strcmp(end - 5, ".bias") == 0) end -= 5;
  int n = snprintf(name, sizeof name, "%.*s%ld%.*s", (int)(at - row->name), row->name, block,
                   (int)(end - at - 2), at + 2);
  return n > 0 && n < NAME_BYTES ? mtk_arena_strndup(p->arena, name, (size_t)n) : NULL;
}

static bool is_bias(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && strcmp(dot, ".bias") == 0;
}

static void set_read(mtk_tensor *t, expert_view *v,
                     mtk_status (*read)(const mtk_tensor *, void *, int64_t, int64_t,
                                        mtk_error *)) {
  t->data = NULL;
  t->read = read;
  t->read_ctx = v;
  t->size_bytes = (uint64_t)mtk_tensor_rows(t) * mtk_tensor_row_bytes(t);
}

/* ---- one tensor per expert ------------------------------------------------------------------ */

static const mtk_tensor *stack_source(const void *ctx, int64_t *row) {
  const expert_view *v = ctx;
  const mtk_tensor *t = v->parts[*row / v->n];
  *row %= v->n;
  return t;
}

static mtk_status find_parts(pass *p, const mtk_tensor **parts, int64_t n_expert, const char *base,
                             const char *suffix) {
  char name[NAME_BYTES];
  for (int64_t e = 0; e < n_expert; e++) {
    snprintf(name, sizeof name, "%s.%lld%s", base, (long long)e, suffix);
    const mtk_tensor *t = parts[e] = mtk_model_tensor(p->model, name), *first = parts[0];
    if (!t) return mtk_fail(p->err, MTK_E_FORMAT, name, "is missing, other experts are there");
    bool same = t->dtype == first->dtype && t->n_dims == first->n_dims && t->n_dims <= 2 &&
                t->n_dims > 0 && t->shape[0] == first->shape[0] && t->shape[0] > 0;
    if (!same || (t->n_dims == 2 && t->shape[1] != first->shape[1]))
      return mtk_fail(p->err, MTK_E_FORMAT, name,
                      "differs in type or shape from the layer's first expert");
  }
  return MTK_OK;
}

/* Static scales of activations: the stack's own if all experts have the same, else a tensor. */
static mtk_status push_input_scales(pass *p, const char *base, const mtk_tensor *const *parts,
                                    int64_t n_expert) {
  float *values = mtk_arena_alloc(p->arena, (size_t)n_expert, sizeof *values);
  mtk_tensor t = {.name = expert_name(p, base, -1, ".input_scale"), .n_dims = 1,
                  .shape = {n_expert}, .data = values, .size_bytes = 4 * (uint64_t)n_expert};
  if (!values || !t.name) return no_memory(p);
  for (int64_t e = 0; e < n_expert; e++) values[e] = parts[e]->input_scale;
  return push(p, &t);
}

/* The stack of which t is the first expert. */
static mtk_status push_stack(pass *p, const mtk_tensor *t, const char *base, int64_t n_expert) {
  const mtk_tensor **parts;
  const char *suffix = is_bias(t->name) ? ".bias" : ".weight";
  expert_view *v = new_view(p, n_expert, &parts);
  if (!v) return no_memory(p);
  MTK_TRY(find_parts(p, parts, n_expert, base, suffix));
  mtk_tensor out = *t;
  out.name = expert_name(p, base, -1, suffix);
  if (!out.name) return no_memory(p);
  out.n_dims = t->n_dims + 1;
  out.shape[0] = n_expert;
  for (int i = 0; i < t->n_dims; i++) out.shape[i + 1] = t->shape[i];
  out.scales = NULL;
  out.scale_n = out.scale_k = 0;
  v->n = mtk_tensor_rows(t);
  set_read(&out, v, read_stack);
  int64_t scale_n = v->n;
  bool scaled = false, same_input = true;
  for (int64_t e = 0; e < n_expert; e++) {
    scaled |= parts[e]->scales != NULL;
    same_input &= memcmp(&parts[e]->input_scale, &t->input_scale, sizeof(float)) == 0;
    int64_t step = parts[e]->scales && parts[e]->scale_n < v->n ? parts[e]->scale_n : v->n;
    if (parts[e]->scales && step != scale_n) scale_n = e == 0 ? step : 1;
  }
  if (scaled) MTK_TRY(make_grid(&out, v->n, scale_n, stack_source, v, p->arena, p->err));
  if (!same_input) out.input_scale = 0;
  MTK_TRY(push(p, &out));
  return same_input ? MTK_OK : push_input_scales(p, base, parts, n_expert);
}

mtk_status mtk_expert_slice(mtk_tensor *out, mtk_arena *arena, const mtk_tensor *t, int64_t expert,
                            mtk_error *err) {
  int64_t rows = mtk_tensor_rows(t) / t->shape[0];
  expert_view *v = mtk_arena_alloc(arena, 1, sizeof *v);
  const mtk_tensor **parts = mtk_arena_alloc(arena, 1, sizeof *parts);
  if (!v || !parts) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  *out = *t;
  parts[0] = t;
  *v = (expert_view){.parts = parts, .n_parts = 1, .start = expert * rows};
  out->source_name = NULL;
  out->n_dims = t->n_dims - 1;
  for (int i = 0; i < out->n_dims; i++) out->shape[i] = t->shape[i + 1];
  set_read(out, v, read_slice);
  if (t->data) {
    out->read = NULL;
    out->read_ctx = NULL;
    out->data = (const uint8_t *)t->data + (uint64_t)(expert * rows) * mtk_tensor_row_bytes(t);
  }
  if (!t->scales) return MTK_OK;
  out->scales = grid_row(t, expert * rows); /* the slice's begin at a row of the stack's grid */
  if (t->scale_n >= rows && t->scale_n % rows == 0) out->scale_n = rows;
  else if (rows % t->scale_n)
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name,
                    "its grid of scales does not step evenly over experts");
  return MTK_OK;
}

static mtk_status push_slices(pass *p, const mtk_tensor *t, const char *base) {
  const expert_view *stack = t->read == read_stack ? t->read_ctx : NULL;
  char inputs_name[NAME_BYTES];
  snprintf(inputs_name, sizeof inputs_name, "%s.input_scale", base);
  const mtk_tensor *inputs = mtk_model_tensor(p->model, inputs_name);
  bool scaled = inputs && inputs->data && inputs->dtype == MTK_F32 && inputs->n_dims == 1 &&
                inputs->shape[0] == t->shape[0];
  for (int64_t e = 0; e < t->shape[0]; e++) {
    mtk_tensor out;
    if (stack) out = *stack->parts[e]; /* cut as it was joined */
    else MTK_TRY(mtk_expert_slice(&out, p->arena, t, e, p->err));
    out.name = expert_name(p, base, e, is_bias(t->name) ? ".bias" : ".weight");
    if (!out.name) return no_memory(p);
    if (scaled) memcpy(&out.input_scale, (const uint8_t *)inputs->data + 4 * (size_t)e, 4);
    MTK_TRY(push(p, &out));
  }
  return MTK_OK;
}

/* ---- gate and up in one tensor -------------------------------------------------------------- */

/* One number per expert and row in a tensor that may lie transposed or be a bias. */
typedef struct fused_shape {
  bool bias, transposed;
  int64_t n_expert, rows, k; /* rows of one expert in the file's tensor */
} fused_shape;

static mtk_status shape_of(fused_shape *out, const mtk_tensor *t, bool transposed, mtk_error *err) {
  bool plain = mtk_dtype_get(t->dtype)->block_elems == 1;
  *out = (fused_shape){.bias = is_bias(t->name), .transposed = transposed && plain};
  if (t->n_dims != (out->bias ? 2 : 3) || mtk_tensor_rows(t) == 0)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "has %d dimensions, experts need %d", t->n_dims,
                    out->bias ? 2 : 3);
  if ((out->bias || out->transposed) && (!plain || t->scales))
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "%s values of type %s cannot be taken apart",
                    out->bias ? "bias" : "transposed", mtk_dtype_get(t->dtype)->name);
  if (out->bias) out->transposed = false;
  out->n_expert = t->shape[0];
  out->rows = t->shape[out->transposed ? 2 : 1];
  out->k = out->bias ? 1 : t->shape[out->transposed ? 1 : 2];
  return MTK_OK;
}

static const mtk_tensor *taken_source(const void *ctx, int64_t *row) {
  const expert_view *v = ctx;
  *row = *row / v->n * v->source_rows + v->start + *row % v->n * v->step;
  return v->parts[0];
}

/* Rows start, start + step, … of each expert of t as a tensor of `rows` rows per expert. */
static mtk_status push_taken(pass *p, const mtk_tensor *t, const fused_shape *s, const char *base,
                             int64_t start, int64_t step, int64_t rows) {
  const mtk_tensor **parts;
  expert_view *v = new_view(p, 1, &parts);
  mtk_tensor out = *t;
  out.name = expert_name(p, base, -1, s->bias ? ".bias" : ".weight");
  if (!v || !out.name) return no_memory(p);
  parts[0] = t;
  v->n = rows;
  v->start = start;
  v->step = step;
  v->source_rows = s->rows;
  out.shape[1] = rows;
  out.shape[2] = s->k;
  set_read(&out, v, s->bias ? read_taken_bias : s->transposed ? read_taken_columns : read_taken);
  if (t->scales) {
    int64_t scale_n = t->scale_n == s->rows ? rows : 1;
    MTK_TRY(make_grid(&out, rows, scale_n, taken_source, v, p->arena, p->err));
  }
  return push(p, &out);
}

/* The table's row of a stacked tensor that ends so ("ffn_gate_exps"), as the name of this block. */
static const char *stacked_name(pass *p, const char *end, long block) {
  char name[NAME_BYTES];
  int n = snprintf(name, sizeof name, "blk.%ld.%s", block, end);
  return n > 0 && n < NAME_BYTES ? mtk_arena_strndup(p->arena, name, (size_t)n) : NULL;
}

static mtk_status push_gate_up(pass *p, const mtk_tensor *t, const mtk_arch_tensor *row, long block,
                               bool transposed) {
  fused_shape s;
  MTK_TRY(shape_of(&s, t, transposed && row->flags & MTK_TENSOR_HF_TRANSPOSED, p->err));
  if (s.rows % 2)
    return mtk_fail(p->err, MTK_E_FORMAT, t->name, "%lld rows are no gate and up",
                    (long long)s.rows);
  bool even_odd = row->flags & MTK_TENSOR_EVEN_ODD;
  const char *gate = stacked_name(p, "ffn_gate_exps", block);
  const char *up = stacked_name(p, "ffn_up_exps", block);
  if (!gate || !up) return no_memory(p);
  int64_t half = s.rows / 2;
  MTK_TRY(push_taken(p, t, &s, gate, 0, even_odd ? 2 : 1, half));
  return push_taken(p, t, &s, up, even_odd ? 1 : half, even_odd ? 2 : 1, half);
}

/* The table's row for gate and up in one of weights or of biases, or NULL. */
static const mtk_arch_tensor *gate_up_row(const mtk_arch_v1 *arch, bool bias) {
  for (const mtk_arch_tensor *row = arch->tensors; row->name; row++)
    if (row->flags & MTK_TENSOR_GATE_UP && is_bias(row->name) == bias) return row;
  return NULL;
}

/* `n` parts of one shape as the file's tensor under `name`. */
static mtk_status push_fused(pass *p, const mtk_tensor *const *from, int n, const char *name,
                             bool interleaved, bool transposed) {
  const mtk_tensor **parts;
  const mtk_tensor *t = from[0];
  expert_view *v = new_view(p, n, &parts);
  fused_shape s;
  mtk_tensor out = *t;
  if (!v || !name) return no_memory(p);
  MTK_TRY(shape_of(&s, t, false, p->err));
  for (int i = 0; i < n; i++) {
    parts[i] = from[i];
    bool same = from[i]->dtype == t->dtype && from[i]->n_dims == t->n_dims;
    for (int d = 0; same && d < t->n_dims; d++) same = from[i]->shape[d] == t->shape[d];
    if (!same)
      return mtk_fail(p->err, MTK_E_UNSUPPORTED, from[i]->name,
                      "differs from %s in type or shape: a folder holds both in one tensor",
                      t->name);
  }
  bool plain = mtk_dtype_get(t->dtype)->block_elems == 1;
  bool columns = transposed && plain && !s.bias;
  if (t->scales || (n > 1 && from[1]->scales))
    return mtk_fail(p->err, MTK_E_UNSUPPORTED, t->name,
                    "a folder of this architecture has no place for the scales of %s experts",
                    mtk_dtype_get(t->dtype)->name);
  out.name = name;
  out.source_name = NULL;
  v->interleaved = interleaved;
  v->source_rows = n * s.rows;
  v->n = columns ? s.k : v->source_rows;
  out.shape[1] = v->n;
  out.shape[2] = columns ? v->source_rows : s.k;
  set_read(&out, v, s.bias ? read_fused_bias : columns ? read_fused_columns : read_fused);
  return push(p, &out);
}

/* If t was taken out of a file's tensor, that tensor. */
static const mtk_tensor *taken_from(const mtk_tensor *t) {
  bool taken = t->read == read_taken || t->read == read_taken_columns || t->read == read_taken_bias;
  return taken ? ((const expert_view *)t->read_ctx)->parts[0] : NULL;
}

static mtk_status push_original(pass *p, const mtk_tensor *t, const char *name) {
  mtk_tensor out = *t;
  out.name = name;
  return name ? push(p, &out) : no_memory(p);
}

/* gate and up of one layer, back in one. Called for the gate. */
static mtk_status fuse_gate_up(pass *p, const mtk_tensor *gate, long block) {
  bool bias = is_bias(gate->name);
  const mtk_arch_tensor *row = gate_up_row(p->arch, bias);
  const char *suffix = bias ? ".bias" : ".weight";
  const char *up_base = stacked_name(p, "ffn_up_exps", block);
  const char *up_name = up_base ? expert_name(p, up_base, -1, suffix) : NULL;
  const char *base = base_name(p, row, block);
  const char *name = base ? expert_name(p, base, -1, suffix) : NULL;
  if (!up_name || !name) return no_memory(p);
  const mtk_tensor *up = mtk_model_tensor(p->model, up_name);
  if (!up) return mtk_fail(p->err, MTK_E_FORMAT, up_name, "is missing, the gate is there");
  const mtk_tensor *whole = taken_from(gate), *parts[] = {gate, up};
  if (whole && whole == taken_from(up)) return push_original(p, whole, name);
  return push_fused(p, parts, 2, name, row->flags & MTK_TENSOR_EVEN_ODD,
                    row->flags & MTK_TENSOR_HF_TRANSPOSED);
}

/* ---- the two passes ------------------------------------------------------------------------- */

typedef mtk_status pass_fn(pass *p, const mtk_tensor *t, bool transposed);

static mtk_status join_one(pass *p, const mtk_tensor *t, bool transposed) {
  long index[2];
  const mtk_arch_tensor *row = mtk_arch_row_at(index, p->arch, t->name);
  if (row && row->flags & MTK_TENSOR_GATE_UP) return push_gate_up(p, t, row, index[0], transposed);
  if (!row || !(row->flags & MTK_TENSOR_EXPERTS)) return push(p, t);
  const char *base = base_name(p, row, index[0]);
  if (!base) return no_memory(p);
  if (index[1] < 0) {
    bool columns = transposed && row->flags & MTK_TENSOR_HF_TRANSPOSED && !is_bias(t->name) &&
                   mtk_dtype_get(t->dtype)->block_elems == 1;
    if (!columns) return push(p, t);
    fused_shape s;
    MTK_TRY(shape_of(&s, t, true, p->err));
    return push_taken(p, t, &s, base, 0, 1, s.rows);
  }
  uint64_t n_expert;
  MTK_TRY(mtk_meta_uint(&n_expert, mtk_model_meta(p->model), "expert_count", 0, p->err));
  if (n_expert == 0 || n_expert > 65536 || (uint64_t)index[1] >= n_expert)
    return mtk_fail(p->err, MTK_E_FORMAT, t->name, "expert_count is %llu",
                    (unsigned long long)n_expert);
  if (index[1] == 0) return push_stack(p, t, base, (int64_t)n_expert);
  const char *first = expert_name(p, base, 0, is_bias(t->name) ? ".bias" : ".weight");
  if (!first) return no_memory(p);
  if (mtk_model_tensor(p->model, first)) return MTK_OK; /* part of the first one's stack */
  return mtk_fail(p->err, MTK_E_FORMAT, first, "is missing, other experts are there");
}

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), k = strlen(end);
  return n >= k && strcmp(s + n - k, end) == 0;
}

static mtk_status split_one(pass *p, const mtk_tensor *t, bool transposed) {
  long index[2];
  const mtk_arch_tensor *row = mtk_arch_row_at(index, p->arch, t->name);
  bool input_scale = ends_with(t->name, "_exps.input_scale");
  (void)transposed;
  if (input_scale) return MTK_OK; /* went to the slices */
  if (row && row->cols && t->n_dims == 1 && !is_bias(t->name) && !t->scales) {
    mtk_tensor matrix = *t; /* GGUF keeps a matrix of one row as a vector */
    matrix.n_dims = 2;
    matrix.shape[0] = 1;
    matrix.shape[1] = t->shape[0];
    return push(p, &matrix);
  }
  if (!row || !(row->flags & MTK_TENSOR_EXPERTS) || index[1] >= 0) return push(p, t);
  const char *base = base_name(p, row, index[0]);
  if (!base) return no_memory(p);
  if (row->hf_name) {
    const char *block = strstr(row->hf_name, "%d");
    if (block && strstr(block + 2, "%d")) return push_slices(p, t, base);
    if (!(row->flags & MTK_TENSOR_HF_TRANSPOSED) || is_bias(t->name)) return push(p, t);
    const mtk_tensor *whole = taken_from(t);
    return whole ? push_original(p, whole, t->name) : push_fused(p, &t, 1, t->name, false, true);
  }
  if (!gate_up_row(p->arch, is_bias(t->name)) || strstr(base, "ffn_up_exps"))
    return gate_up_row(p->arch, is_bias(t->name)) ? MTK_OK : push(p, t);
  return strstr(base, "ffn_gate_exps") ? fuse_gate_up(p, t, index[0]) : push(p, t);
}

/* Put each tensor through fn and give the model what comes out, if any of them is an expert's. */
static mtk_status run_pass(mtk_model *model, const mtk_arch_v1 *arch, bool transposed, pass_fn *fn,
                           mtk_error *err) {
  pass p = {.model = model, .arch = arch, .arena = mtk_model_arena(model), .err = err};
  bool any = false;
  for (const mtk_arch_tensor *row = arch->tensors; row->name; row++)
    any |= (row->flags & (MTK_TENSOR_EXPERTS | MTK_TENSOR_GATE_UP)) != 0;
  if (!any || !mtk_meta_get(mtk_model_meta(model), "expert_count")) return MTK_OK;
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < mtk_model_tensor_count(model) && status == MTK_OK; i++)
    status = fn(&p, mtk_model_tensor_at(model, i), transposed);
  if (status == MTK_OK) status = mtk_model_clear_tensors(model, err);
  for (size_t i = 0; i < p.n && status == MTK_OK; i++)
    status = mtk_model_add_tensor(model, &p.list[i], err);
  mtk_free(p.list);
  return status;
}

mtk_status mtk_model_join_experts(mtk_model *model, const mtk_arch_v1 *arch, bool transposed,
                                  mtk_error *err) {
  return run_pass(model, arch, transposed, join_one, err);
}

mtk_status mtk_model_split_experts(mtk_model *model, const mtk_arch_v1 *arch, mtk_error *err) {
  return run_pass(model, arch, false, split_one, err);
}
