/* write.c: the canonical model as a llama2.c checkpoint of version 0 (legacy_export of export.py):
 * f32, streamed in chunks of rows; and its vocabulary as tokenizer.bin beside it. */
#include "llama2c.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK_FLOATS = 1 << 18 };

typedef struct writer {
  mtk_model *model;
  mtk_output *out;
  llama2c_header h;
  uint64_t done, total;
  mtk_error *err;
} writer;

/* ---- what run.c computes, and nothing else -------------------------------------------------- */

static mtk_status refuse(mtk_error *err, const char *key, const char *why) {
  return mtk_fail(err, MTK_E_UNSUPPORTED, key, "run.c %s", why);
}

static mtk_status check_float(const mtk_meta *meta, const char *key, double want, mtk_error *err) {
  double v;
  MTK_TRY(mtk_meta_float(&v, meta, key, want, err));
  if ((float)v < (float)want || (float)v > (float)want)
    return mtk_fail(err, MTK_E_UNSUPPORTED, key, "run.c computes with %g, the model has %g", want,
                    v);
  return MTK_OK;
}

static mtk_status check_rules(const mtk_model *model, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  if (strcmp(mtk_model_arch(model), "llama") != 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "architecture", "llama2.c has no '%s', only llama",
                    mtk_model_arch(model));
  MTK_TRY(check_float(meta, "rope.freq_base", 10000, err));
  MTK_TRY(check_float(meta, "attention.layer_norm_rms_epsilon", 1e-5, err));
  if (strcmp(mtk_meta_str(meta, "rope.scaling.type", "none"), "none") != 0 ||
      mtk_model_tensor(model, "rope_freqs.weight"))
    return refuse(err, "rope.scaling.type", "does not scale rotary frequencies");
  if (mtk_meta_get(meta, "expert_count")) return refuse(err, "expert_count", "has no experts");
  uint64_t window, context;
  MTK_TRY(mtk_meta_uint(&window, meta, "attention.sliding_window", 0, err));
  MTK_TRY(mtk_meta_uint(&context, meta, "context_length", 0, err));
  return window && window < context
             ? refuse(err, "attention.sliding_window", "has no sliding window")
             : MTK_OK;
}

static mtk_status read_size(int64_t *out, const mtk_meta *meta, const char *key, mtk_error *err) {
  uint64_t v;
  MTK_TRY(mtk_meta_uint(&v, meta, key, 0, err));
  if (v == 0 || v > LLAMA2C_MAX_SIZE)
    return mtk_fail(err, MTK_E_FORMAT, key, "is missing or not a size");
  *out = (int64_t)v;
  return MTK_OK;
}

static mtk_status make_header(writer *w) {
  const mtk_meta *meta = mtk_model_meta(w->model);
  llama2c_header *h = &w->h;
  int64_t head;
  MTK_TRY(check_rules(w->model, w->err));
  MTK_TRY(read_size(&h->dim, meta, "embedding_length", w->err));
  MTK_TRY(read_size(&h->hidden, meta, "feed_forward_length", w->err));
  MTK_TRY(read_size(&h->n_layer, meta, "block_count", w->err));
  MTK_TRY(read_size(&h->n_head, meta, "attention.head_count", w->err));
  MTK_TRY(read_size(&h->n_head_kv, meta, "attention.head_count_kv", w->err));
  MTK_TRY(read_size(&h->vocab, meta, "vocab_size", w->err));
  MTK_TRY(read_size(&h->context, meta, "context_length", w->err));
  MTK_TRY(read_size(&head, meta, "attention.key_length", w->err));
  h->shared = mtk_model_tensor(w->model, "output.weight") == NULL;
  if (head * h->n_head == h->dim) return MTK_OK;
  return refuse(w->err, "attention.key_length", "has heads of dim / n_heads values");
}

/* ---- weights -------------------------------------------------------------------------------- */

static mtk_status put(writer *w, const void *data, size_t n) {
  w->done += n;
  mtk_progress("write", w->done, w->total, "B");
  if (mtk_cancelled()) return mtk_fail(w->err, MTK_E_CANCELLED, NULL, "stopped on request");
  return mtk_output_write(w->out, data, n, w->err);
}

static mtk_status put_rows(writer *w, const mtk_tensor *t, float *rows, void *tmp, int64_t step) {
  int64_t n_rows = mtk_tensor_rows(t), cols = mtk_tensor_row_elems(t);
  for (int64_t row = 0; row < n_rows; row += step) {
    int64_t n = n_rows - row < step ? n_rows - row : step;
    MTK_TRY(mtk_tensor_fetch_f32(rows, t, row, n, tmp, w->err));
    MTK_TRY(put(w, rows, (size_t)(n * cols) * sizeof *rows));
  }
  return MTK_OK;
}

static mtk_status put_tensor(writer *w, const llama2c_part *p, const char *name) {
  const mtk_tensor *t = mtk_model_tensor(w->model, name);
  if (!t) return mtk_fail(w->err, MTK_E_FORMAT, name, "the model lacks this tensor");
  bool fits = p->cols ? t->n_dims == 2 && t->shape[0] == p->rows && t->shape[1] == p->cols
                      : t->n_dims == 1 && t->shape[0] == p->rows;
  if (!fits) return mtk_fail(w->err, MTK_E_FORMAT, name, "does not have the shape of the header");
  int64_t cols = mtk_tensor_row_elems(t), step = CHUNK_FLOATS / cols;
  if (step < 1) step = 1;
  float *rows = mtk_alloc((size_t)(step * cols), sizeof *rows);
  void *tmp = mtk_alloc((size_t)step, mtk_tensor_row_bytes(t));
  mtk_status status = rows && tmp ? put_rows(w, t, rows, tmp, step)
                                  : mtk_fail(w->err, MTK_E_NOMEM, name, "out of memory");
  mtk_free(rows);
  mtk_free(tmp);
  return status;
}

/* cos, then sin, of position times 10000^(-2j / head). run.c skips them, older readers do not. */
static mtk_status put_rope(writer *w, const llama2c_part *p) {
  float *row = mtk_alloc((size_t)p->cols, sizeof *row);
  mtk_status status = row ? MTK_OK : mtk_fail(w->err, MTK_E_NOMEM, "rope", "out of memory");
  for (int table = 0; table < 2; table++)
    for (int64_t pos = 0; pos < p->rows && status == MTK_OK; pos++) {
      for (int64_t j = 0; j < p->cols; j++) {
        double sine, cosine;
        double inv_freq = mtk_math_pow(10000, -(double)j / (double)p->cols);
        mtk_math_sincos((double)pos * inv_freq, &sine, &cosine);
        row[j] = (float)(table ? sine : cosine);
      }
      status = put(w, row, (size_t)p->cols * sizeof *row);
    }
  mtk_free(row);
  return status;
}

static mtk_status put_part(writer *w, const llama2c_part *p) {
  if (p->absent) return MTK_OK;
  if (!p->name) return put_rope(w, p);
  const char *hole = strstr(p->name, "%d");
  for (int64_t layer = 0; layer < p->count; layer++) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(hole ? hole - p->name : 63), p->name);
    if (hole)
      snprintf(name, sizeof name, "%.*s%lld%s", (int)(hole - p->name), p->name, (long long)layer,
               hole + 2);
    MTK_TRY(put_tensor(w, p, name));
  }
  return MTK_OK;
}

static mtk_status put_all(writer *w) {
  const llama2c_header *h = &w->h;
  llama2c_part parts[LLAMA2C_N_PARTS];
  int64_t vocab = h->shared ? h->vocab : -h->vocab;
  const int32_t head[] = {(int32_t)h->dim,     (int32_t)h->hidden,    (int32_t)h->n_layer,
                          (int32_t)h->n_head,  (int32_t)h->n_head_kv, (int32_t)vocab,
                          (int32_t)h->context};
  llama2c_parts(parts, h);
  w->total = sizeof head;
  for (size_t i = 0; i < LLAMA2C_N_PARTS; i++) w->total += 4 * llama2c_count(&parts[i]);
  MTK_TRY(put(w, head, sizeof head));
  for (size_t i = 0; i < LLAMA2C_N_PARTS; i++) MTK_TRY(put_part(w, &parts[i]));
  return MTK_OK;
}

/* ---- the tokenizer, and what stays behind --------------------------------------------------- */

/* "tokenizer.bin" in the folder of path; mtk_free. */
static char *tokenizer_path(const char *path) {
  const char *base = mtk_path_base(path);
  return mtk_asprintf("%.*stokenizer.bin", (int)(base - path), path);
}

static mtk_status write_tokenizer(mtk_model *model, const char *path, bool force, mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(model);
  mtk_bytes text = {0};
  mtk_error why = {0};
  if (!vocab) return MTK_OK;
  char *file = tokenizer_path(path);
  mtk_status status = file ? llama2c_write_tokenizer(&text, vocab, &why)
                           : mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (status == MTK_E_UNSUPPORTED)
    status = mtk_model_warn(model, "the tokenizer is left out: tokenizer.bin %s", why.message);
  else if (status == MTK_OK && !force && mtk_path_exists(file))
    status = mtk_model_warn(model, "%s exists and is kept; --force replaces it", file);
  else if (status == MTK_OK)
    status = mtk_write_file(file, text.data, text.len, force, err);
  mtk_bytes_finish(&text);
  mtk_free(file);
  return status;
}

static bool is_written(const mtk_model *model, const llama2c_header *h) {
  size_t most = 9 * (size_t)h->n_layer + 2 + !h->shared;
  return mtk_model_tensor_count(model) <= most;
}

mtk_status llama2c_write_model(mtk_model *model, const char *path,
                               const mtk_write_options *options, mtk_error *err) {
  writer w = {.model = model, .err = err};
  bool force = options && options->force;
  MTK_TRY(mtk_model_set_pairing(model, "interleaved", err));
  MTK_TRY(make_header(&w));
  if (!is_written(model, &w.h))
    return mtk_fail(err, MTK_E_UNSUPPORTED, path,
                    "the model has tensors (biases or others) that run.c does not know");
  if (mtk_model_attachment_count(model))
    MTK_TRY(mtk_model_warn(model, "a llama2.c file holds weights alone: licence, template and "
                                  "other texts were left out"));
  MTK_TRY(mtk_output_create(&w.out, path, force, err));
  mtk_status status = put_all(&w);
  if (status == MTK_OK) status = mtk_output_commit(w.out, err);
  else mtk_output_abort(w.out);
  return status == MTK_OK ? write_tokenizer(model, path, force, err) : status;
}
