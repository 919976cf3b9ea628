/* model/recode.c: see model/recode.h. */
#include "model/recode.h"

#include <math.h>
#include <mtk/archive.h>
#include <mtk/kernel.h>

enum { CHUNK_FLOATS = 1 << 18, STRIP_FLOATS = 1 << 14 };

/* ---- source rows ---------------------------------------------------------------------------- */

/* Rows of one task: about CHUNK_FLOATS values. */
static int64_t chunk_rows(const mtk_tensor *t) {
  int64_t k = mtk_tensor_row_elems(t), n = k > 0 ? CHUNK_FLOATS / k : 1;
  int64_t rows = n < 1 ? 1 : n;
  return rows < 128 ? rows : rows / 128 * 128;
}

/* Room for a few rows of a tensor as f32, so few that they stay in the cache from decoding to
 * encoding. */
typedef struct strip {
  float *x;
  void *tmp; /* for tensors that are produced */
  int64_t rows;
} strip;

static mtk_status strip_init(strip *s, const mtk_tensor *t, int64_t rows, mtk_error *err) {
  size_t count;
  *s = (strip){.rows = rows};
  if (!mtk_mul_ok((size_t)rows, (size_t)mtk_tensor_row_elems(t), &count))
    return mtk_fail(err, MTK_E_NOMEM, t->name, "too large");
  s->x = mtk_alloc(count, sizeof *s->x);
  s->tmp = t->data ? NULL : mtk_alloc((size_t)rows, mtk_tensor_row_bytes(t));
  return s->x && (s->tmp || t->data) ? MTK_OK
                                     : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
}

static void strip_finish(strip *s) {
  mtk_free(s->x);
  mtk_free(s->tmp);
}

/* At most n rows. */
static int64_t strip_rows(const mtk_tensor *t, int64_t n) {
  int64_t k = mtk_tensor_row_elems(t), rows = k > 0 ? STRIP_FLOATS / k : 1;
  return rows < 1 ? 1 : rows < n ? rows : n;
}

static mtk_status refuse_value(const mtk_tensor *t, const float *x, int64_t row0, mtk_error *err) {
  int64_t i = 0, k = mtk_tensor_row_elems(t);
  while (isfinite(x[i])) i++;
  return mtk_fail(err, MTK_E_FORMAT, t->name,
                  "row %lld holds NaN or infinity; repair the checkpoint or keep the tensor with "
                  "--keep",
                  (long long)(row0 + i / k));
}

/* ---- ranges of rows on the pool -------------------------------------------------------------- */

/* fn on chunks of rows; the failure of the first chunk in order is reported. */
typedef struct rows_job {
  const mtk_tensor *t;
  mtk_status (*fn)(struct rows_job *j, int64_t task, int64_t row0, int64_t n, mtk_error *err);
  int64_t row0, n_rows, chunk;
  mtk_status *status;
  mtk_error *errors;
  /* encoding */
  const mtk_recode *recode;
  uint8_t *dst;
  size_t row_bytes;
  /* measuring */
  float *amax; /* per task */
} rows_job;

static void run_rows_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  rows_job *j = ctx;
  int64_t at = task * j->chunk, n = j->n_rows - at < j->chunk ? j->n_rows - at : j->chunk;
  j->status[task] = j->fn(j, task, j->row0 + at, n, &j->errors[task]);
}

static int64_t task_count(const rows_job *j) { return (j->n_rows + j->chunk - 1) / j->chunk; }

static mtk_status run_rows(rows_job *j, mtk_pool *pool, mtk_error *err) {
  size_t n = (size_t)task_count(j);
  j->status = mtk_alloc(n, sizeof *j->status);
  j->errors = mtk_alloc(n, sizeof *j->errors);
  mtk_status st =
      j->status && j->errors ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, j->t->name, "out of memory");
  if (st == MTK_OK) mtk_pool_run(pool, (int64_t)n, run_rows_task, j);
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    st = j->status[i];
    if (st != MTK_OK && err) *err = j->errors[i];
  }
  mtk_free(j->errors);
  mtk_free(j->status);
  return st;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static mtk_status measure_rows(rows_job *j, int64_t task, int64_t row0, int64_t n, mtk_error *err) {
  strip s;
  int64_t k = mtk_tensor_row_elems(j->t), end = row0 + n;
  mtk_status st = strip_init(&s, j->t, strip_rows(j->t, n), err);
  for (int64_t row = row0; row < end && st == MTK_OK; row += s.rows) {
    int64_t part = end - row < s.rows ? end - row : s.rows;
    st = mtk_tensor_fetch_f32(s.x, j->t, row, part, s.tmp, err);
    float amax = st == MTK_OK ? mtk_kernels_default()->amax(s.x, part * k) : 0;
    if (!isfinite(amax)) st = refuse_value(j->t, s.x, row, err);
    j->amax[task] = fmaxf(j->amax[task], amax);
  }
  strip_finish(&s);
  return st;
}

mtk_status mtk_tensor_amax(float *out, const mtk_tensor *t, mtk_pool *pool, mtk_error *err) {
  rows_job j = {.t = t, .fn = measure_rows, .n_rows = mtk_tensor_rows(t), .chunk = chunk_rows(t)};
  *out = 0;
  j.amax = mtk_alloc((size_t)task_count(&j), sizeof *j.amax);
  if (!j.amax) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  mtk_status st = run_rows(&j, pool, err);
  for (int64_t i = 0; i < task_count(&j); i++) *out = fmaxf(*out, j.amax[i]);
  mtk_free(j.amax);
  return st;
}

mtk_status mtk_recode_gather(const mtk_quantizer_v1 *q, const mtk_quant_tensor *quant,
                             mtk_error *err) {
  size_t n_state = q->state_floats ? q->state_floats(quant) : 0;
  float *state = mtk_alloc(n_state + 1, sizeof *state);
  if (!state) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  const mtk_tensor *t = quant->source;
  /* a single scale from the amax of the tensor or its group, which is known */
  bool known = n_state == 1 && quant->group_amax > 0;
  int64_t rows = mtk_tensor_rows(t);
  strip s;
  mtk_status st = strip_init(&s, t, strip_rows(t, rows), err);
  for (int64_t row = 0; row < rows && st == MTK_OK && q->update && !known; row += s.rows) {
    int64_t n = rows - row < s.rows ? rows - row : s.rows;
    st = mtk_tensor_fetch_f32(s.x, t, row, n, s.tmp, err);
    if (st == MTK_OK) q->update(quant, state, s.x, row, n);
  }
  strip_finish(&s);
  if (st == MTK_OK && q->finish) q->finish(quant, state);
  mtk_free(state);
  return st;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* Rows row0 .. row0+n_rows, which may lie in several matrices. */
static mtk_status encode_matrices(const mtk_recode *r, uint8_t *dst, const float *x, int64_t row0,
                                  int64_t n_rows, size_t row_bytes, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(&r->source) / r->n_quants, k = mtk_tensor_row_elems(&r->source);
  while (n_rows > 0) {
    int64_t in = row0 % rows, n = rows - in < n_rows ? rows - in : n_rows;
    MTK_TRY(r->quantizer->encode(&r->quants[row0 / rows], dst, x, in, n, err));
    dst += (size_t)n * row_bytes;
    x += n * k;
    row0 += n;
    n_rows -= n;
  }
  return MTK_OK;
}

/* Rows that were fetched. */
static mtk_status encode_strip(rows_job *j, const strip *s, int64_t row, int64_t n,
                               mtk_error *err) {
  const mtk_recode *r = j->recode;
  int64_t count = n * mtk_tensor_row_elems(j->t);
  uint8_t *dst = j->dst + (size_t)(row - j->row0) * j->row_bytes;
  if (r->quantizer) {
    if (!isfinite(mtk_kernels_default()->amax(s->x, count)))
      return refuse_value(j->t, s->x, row, err);
    return encode_matrices(r, dst, s->x, row, n, j->row_bytes, err);
  }
  if (mtk_dtype_encode(j->t->dtype, dst, s->x, (size_t)count)) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, j->t->name, "cannot convert to %s",
                  mtk_dtype_get(j->t->dtype)->name);
}

static mtk_status encode_rows(rows_job *j, int64_t task, int64_t row0, int64_t n, mtk_error *err) {
  (void)task;
  strip s;
  const mtk_recode *r = j->recode;
  bool together = r->quantizer && r->quantizer->prepare; /* such methods work on many rows */
  int64_t end = row0 + n;
  mtk_status st = strip_init(&s, &r->source, together ? n : strip_rows(&r->source, n), err);
  for (int64_t row = row0; row < end && st == MTK_OK; row += s.rows) {
    int64_t part = end - row < s.rows ? end - row : s.rows;
    st = mtk_tensor_fetch_f32(s.x, &r->source, row, part, s.tmp, err);
    if (st == MTK_OK) st = encode_strip(j, &s, row, part, err);
  }
  strip_finish(&s);
  return st;
}

static mtk_status read_recoded(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                               mtk_error *err) {
  const mtk_recode *r = t->read_ctx;
  rows_job j = {.t = t,
                .fn = encode_rows,
                .row0 = row0,
                .n_rows = n_rows,
                .chunk = chunk_rows(t),
                .recode = r,
                .dst = dst,
                .row_bytes = mtk_tensor_row_bytes(t)};
  return n_rows > 0 ? run_rows(&j, r->pool, err) : MTK_OK;
}

mtk_recode *mtk_recode_create(mtk_model *model, const mtk_tensor *source) {
  mtk_recode *r = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *r);
  if (r) r->source = *source;
  return r;
}

mtk_status mtk_recode_install(mtk_model *model, mtk_recode *r, mtk_dtype dtype, mtk_error *err) {
  mtk_tensor t = r->source;
  t.dtype = dtype;
  t.data = NULL;
  t.read = read_recoded;
  t.read_ctx = r;
  t.scales = r->quantizer ? r->quants[0].scales : NULL; /* those of all matrices in one array */
  t.scale_n = t.scales ? r->quants[0].scale_n : 0;
  t.scale_k = t.scales ? r->quants[0].scale_k : 0;
  t.input_scale = 0;
  int64_t n = mtk_tensor_rows(&t);
  size_t row = mtk_dtype_bytes(dtype, (uint64_t)mtk_tensor_row_elems(&t));
  size_t total;
  if (!row || !mtk_mul_ok((size_t)n, row, &total))
    return mtk_fail(err, MTK_E_INVALID, t.name, "row length %lld does not fit blocks of %s",
                    (long long)mtk_tensor_row_elems(&t), mtk_dtype_get(dtype)->name);
  t.size_bytes = total;
  return mtk_model_replace_tensor(model, &t, err);
}

/* ---- encoding now --------------------------------------------------------------------------- */

static mtk_status give_statistics(mtk_recode *r, const mtk_input_stats *s, mtk_error *err) {
  if ((r->quantizer->needs & MTK_QUANT_NEEDS_SECOND_MOMENT) && !(s && s->second_moment))
    return mtk_fail(err, MTK_E_UNSUPPORTED, r->source.name,
                    "there are no second moments for method %s: --keep it or choose another method",
                    r->quantizer->method);
  for (int64_t i = 0; s && i < r->n_quants; i++) {
    mtk_quant_tensor *q = &r->quants[i];
    if (s->k != mtk_tensor_row_elems(q->source))
      return mtk_fail(err, MTK_E_INVALID, r->source.name,
                      "statistics of %lld columns for rows of %lld", (long long)s->k,
                      (long long)mtk_tensor_row_elems(q->source));
    int64_t at = s->n_expert > 0 ? i : 0;
    q->importance = s->mean_square + at * s->k;
    q->second_moment = s->second_moment ? s->second_moment + at * s->k * s->k : NULL;
  }
  return MTK_OK;
}

/* A tensor on its way into a scratch file. */
typedef struct encoding {
  const mtk_tensor *t;
  mtk_recode *recode;
  mtk_output *out;
  bool there; /* all of it was made by an interrupted run */
} encoding;

static mtk_status open_encoding(encoding *e, mtk_model *model, const char *name,
                                const mtk_input_stats *stats, mtk_error *err) {
  e->t = mtk_model_tensor(model, name);
  if (!e->t || e->t->read != read_recoded)
    return mtk_fail(err, MTK_E_INTERNAL, name, "is not waiting to be quantized");
  e->recode = e->t->read_ctx;
  MTK_TRY(mtk_outputs_scratch(&e->out, mtk_model_outputs(model), name, err));
  e->there = mtk_output_has(e->out, name, e->t->size_bytes);
  return e->there ? MTK_OK : give_statistics(e->recode, stats, err);
}

/* The rows of one matrix, appended. */
static mtk_status encode_matrix(encoding *e, int64_t matrix, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(e->t) / e->recode->n_quants, step = 16 * chunk_rows(e->t);
  size_t row_bytes = mtk_tensor_row_bytes(e->t);
  uint8_t *bytes = mtk_alloc((size_t)(step < rows ? step : rows), row_bytes);
  mtk_status st = bytes ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, e->t->name, "out of memory");
  for (int64_t row = 0; row < rows && st == MTK_OK; row += step) {
    int64_t n = rows - row < step ? rows - row : step;
    st = e->t->read(e->t, bytes, matrix * rows + row, n, err);
    if (st == MTK_OK) st = mtk_output_write(e->out, bytes, (size_t)n * row_bytes, err);
    if (st == MTK_OK && mtk_cancelled()) st = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
  }
  mtk_free(bytes);
  return st;
}

/* Matrix `matrix` of all tensors; neighbours of one method share what it prepares. */
static mtk_status encode_all(encoding *all, size_t n, int64_t matrix, mtk_error *err) {
  const mtk_quantizer_v1 *q = NULL; /* whose `prepared` is */
  void *prepared = NULL;
  mtk_status st = MTK_OK;
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    if (all[i].there) continue; /* it has no statistics either */
    const mtk_quantizer_v1 *own = all[i].recode->quantizer;
    mtk_quant_tensor *t = &all[i].recode->quants[matrix];
    if (own->prepare && own != q) {
      if (q && q->release) q->release(prepared);
      prepared = NULL;
      q = own;
      t->pool = all[i].recode->pool;
      st = q->prepare(&prepared, t, err);
    }
    t->prepared = own == q ? prepared : NULL;
    if (st == MTK_OK) st = encode_matrix(&all[i], matrix, err);
    t->prepared = NULL;
    if (st != MTK_OK) mtk_fail_in(err, st, all[i].t->name);
  }
  if (q && q->release) q->release(prepared);
  return st;
}

/* The model keeps the scratch file mapped. */
static mtk_status close_encoding(encoding *e, mtk_model *model, mtk_error *err) {
  mtk_file *file = NULL;
  mtk_output *out = e->out;
  MTK_TRY(mtk_output_mark(out, err));
  e->out = NULL;
  MTK_TRY(mtk_output_map(&file, out, err));
  mtk_tensor done = *e->t;
  done.data = file->data;
  done.read = NULL;
  done.read_ctx = NULL;
  mtk_status st = mtk_model_keep_file(model, file, err);
  if (st == MTK_OK) return mtk_model_replace_tensor(model, &done, err);
  mtk_file_close(file);
  return st;
}

mtk_status mtk_model_quantize_now(mtk_model *model, const char *const *names, size_t n,
                                  const mtk_input_stats *stats, mtk_error *err) {
  encoding *all = mtk_alloc(n, sizeof *all);
  mtk_status st = all ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n && st == MTK_OK; i++)
    st = open_encoding(&all[i], model, names[i], stats, err);
  int64_t matrices = st == MTK_OK && n > 0 ? all[0].recode->n_quants : 0;
  for (int64_t m = 0; m < matrices && st == MTK_OK; m++) st = encode_all(all, n, m, err);
  for (size_t i = 0; i < n && all; i++) {
    if (st == MTK_OK) st = close_encoding(&all[i], model, err);
    mtk_output_abort(all[i].out); /* NULL where it was closed */
  }
  mtk_free(all);
  return st;
}
