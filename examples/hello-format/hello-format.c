/* hello-format.c: a plugin for mtk that reads and writes models as `.hello` files (README.md has
 * the layout). It uses nothing but the installed headers. Functions may be entered by any thread:
 * all state is in the arguments. */
#include <mtk/plugin.h>

#include <mtk/ext/format.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, MAX_LINE = 4096, CHUNK_ROWS = 64 };
static const char magic[] = "hello 1 ";

/* ---- reading ------------------------------------------------------------------------------- */

typedef struct reader {
  mtk_model *model;
  const mtk_file *file;
  uint64_t at;         /* next unread byte of the header */
  uint64_t line_at;    /* where the current line starts */
  uint64_t data;       /* where the next tensor's bytes start */
  char line[MAX_LINE]; /* the current line, without its end */
  mtk_error *err;
} reader;

static mtk_status bad_line(reader *r, const char *why) {
  return mtk_fail_at(r->err, MTK_E_FORMAT, r->file->path, r->line_at, "%s", why);
}

static mtk_status next_line(reader *r) {
  const char *text = (const char *)r->file->data + r->at;
  size_t left = r->file->size - r->at;
  r->line_at = r->at;
  const char *end = memchr(text, '\n', left < MAX_LINE ? left : MAX_LINE);
  if (!end || memchr(text, 0, (size_t)(end - text)))
    return bad_line(r, "the header does not end, or a line is too long");
  memcpy(r->line, text, (size_t)(end - text));
  r->line[end - text] = 0;
  r->at += (uint64_t)(end - text) + 1;
  return MTK_OK;
}

/* Cuts off and returns the next word of *text; "" at the end. */
static char *take_word(char **text) {
  char *word = *text;
  size_t n = strcspn(word, " ");
  *text = word + n + (word[n] == ' ');
  word[n] = 0;
  return word;
}

/* A whole number of up to 16 digits. */
static bool parse_count(uint64_t *out, const char *text) {
  size_t n = strspn(text, "0123456789");
  if (n == 0 || n > 16 || text[n]) return false;
  *out = strtoull(text, NULL, 10);
  return true;
}

/* arch ID */
static mtk_status read_arch(reader *r, char *text) {
  return mtk_model_set_arch(r->model, text, r->err);
}

/* meta KEY KIND VALUE */
static mtk_status read_meta(reader *r, char *text) {
  mtk_meta *meta = mtk_model_meta(r->model);
  const char *key = take_word(&text), *kind = take_word(&text);
  uint64_t u;
  char *end;
  double f = strtod(text, &end);
  bool is_float = end != text && !*end;
  if (strcmp(kind, "string") == 0) return mtk_meta_set_string(meta, key, text, r->err);
  if (strcmp(kind, "bool") == 0)
    return mtk_meta_set_bool(meta, key, strcmp(text, "true") == 0, r->err);
  if (strcmp(kind, "uint") == 0 && parse_count(&u, text))
    return mtk_meta_set_uint(meta, key, u, r->err);
  if (strcmp(kind, "float") == 0 && is_float) return mtk_meta_set_float(meta, key, f, r->err);
  return bad_line(r, "expected 'meta KEY uint|float|bool|string VALUE'");
}

/* tensor NAME SIZE...: its bytes follow those of the tensor before. Nothing is copied. */
static mtk_status read_tensor(reader *r, char *text) {
  mtk_tensor t = {.name = take_word(&text), .dtype = MTK_F32};
  uint64_t bytes = sizeof(float), size;
  while (*text) {
    if (t.n_dims == MTK_MAX_DIMS || !parse_count(&size, take_word(&text)))
      return bad_line(r, "expected 'tensor NAME SIZE...'");
    t.shape[t.n_dims++] = (int64_t)size;
    if (__builtin_mul_overflow(bytes, size, &bytes)) return bad_line(r, "the tensor is too large");
  }
  if (bytes > r->file->size - r->data) return bad_line(r, "the file ends inside this tensor");
  t.data = r->file->data + r->data;
  t.size_bytes = bytes;
  r->data += bytes;
  return mtk_model_add_tensor(r->model, &t, r->err);
}

static const struct {
  const char *word;
  mtk_status (*read)(reader *r, char *text);
} lines[] = {{"arch", read_arch}, {"meta", read_meta}, {"tensor", read_tensor}};

static mtk_status read_line(reader *r) {
  char *text = r->line;
  const char *word = take_word(&text);
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
    if (strcmp(lines[i].word, word) == 0) return lines[i].read(r, text);
  return bad_line(r, "expected arch, meta, tensor or end");
}

static mtk_status read_header(reader *r) {
  MTK_TRY(next_line(r));
  bool ok = strncmp(r->line, magic, sizeof magic - 1) == 0 &&
            parse_count(&r->data, r->line + sizeof magic - 1);
  if (!ok || r->data % ALIGN || r->data > r->file->size)
    return bad_line(r, "the first line is not 'hello 1 OFFSET'");
  uint64_t header_end = r->data;
  for (;;) {
    MTK_TRY(next_line(r));
    if (r->at > header_end) return bad_line(r, "the header runs into the tensors");
    if (strcmp(r->line, "end") == 0) return MTK_OK;
    MTK_TRY(read_line(r));
  }
}

static mtk_status read_model(mtk_model *model, const char *path, mtk_error *err) {
  const mtk_file *file;
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  reader r = {.model = model, .file = file, .err = err};
  return read_header(&r);
}

static int probe(const char *path, const uint8_t *head, size_t n) {
  (void)path;
  return n >= sizeof magic - 1 && memcmp(head, magic, sizeof magic - 1) == 0 ? 100 : 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* One value as "KIND VALUE"; false if this format has no place for it. */
static bool write_value(mtk_bytes *out, const mtk_value *v) {
  switch (v->type) {
    case MTK_META_U8:
    case MTK_META_U16:
    case MTK_META_U32:
    case MTK_META_U64:
      mtk_bytes_printf(out, "uint %llu", (unsigned long long)v->as.u);
      return v->as.u < 10000000000000000u;
    case MTK_META_F32: mtk_bytes_printf(out, "float %.9g", v->as.f); return true;
    case MTK_META_BOOL: mtk_bytes_printf(out, "bool %s", v->as.u ? "true" : "false"); return true;
    case MTK_META_STRING:
      mtk_bytes_printf(out, "string %s", v->as.str.s);
      return v->as.str.len < MAX_LINE / 2 && !memchr(v->as.str.s, '\n', v->as.str.len) &&
             !memchr(v->as.str.s, 0, v->as.str.len);
    default: return false;
  }
}

static bool fits_word(const char *s) { return s[0] && strlen(s) < 256 && !strpbrk(s, " \n"); }

static void write_meta(mtk_bytes *out, mtk_model *model) {
  const mtk_meta *meta = mtk_model_meta(model);
  for (size_t i = 0; i < mtk_meta_count(meta); i++) {
    const char *key = mtk_meta_key(meta, i);
    mtk_bytes line = {0};
    if (fits_word(key) && write_value(&line, mtk_meta_at(meta, i)) && !line.failed)
      mtk_bytes_printf(out, "meta %s %s\n", key, line.data);
    else
      mtk_model_warn(model, "%s: the hello format cannot hold this value", key);
    mtk_bytes_finish(&line);
  }
}

static mtk_status write_tensor_lines(mtk_bytes *out, const mtk_model *model, mtk_error *err) {
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    if (!mtk_dtype_get(t->dtype)->is_float || !fits_word(t->name))
      return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "the hello format cannot hold this tensor");
    mtk_bytes_printf(out, "tensor %s", t->name);
    for (int d = 0; d < t->n_dims; d++) mtk_bytes_printf(out, " %lld", (long long)t->shape[d]);
    mtk_bytes_puts(out, "\n");
  }
  return MTK_OK;
}

static void warn_lost(mtk_model *model) {
  if (mtk_model_vocab(model)) mtk_model_warn(model, "the hello format cannot hold a vocabulary");
  for (size_t i = 0; i < mtk_model_attachment_count(model); i++)
    mtk_model_warn(model, "the hello format cannot hold %s", mtk_model_attachment_name(model, i));
}

/* The header up to the first tensor's byte, padded with zeros. */
static mtk_status write_header(mtk_bytes *out, mtk_model *model, mtk_error *err) {
  mtk_bytes body = {0};
  if (fits_word(mtk_model_arch(model))) mtk_bytes_printf(&body, "arch %s\n", mtk_model_arch(model));
  write_meta(&body, model);
  mtk_status status = write_tensor_lines(&body, model, err);
  mtk_bytes_puts(&body, "end\n");
  size_t first_line = sizeof magic - 1 + 16 + 1;
  size_t start = (first_line + body.len + ALIGN - 1) / ALIGN * ALIGN;
  mtk_bytes_printf(out, "%s%016zu\n", magic, start);
  mtk_bytes_append(out, body.data, body.len);
  while (out->len < start && !out->failed) mtk_bytes_append(out, "", 1);
  mtk_bytes_finish(&body);
  return status == MTK_OK ? mtk_bytes_status(out, err) : status;
}

/* Rows as f32, a few at a time. */
static mtk_status write_rows(mtk_output *out, const mtk_tensor *t, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(t);
  size_t k = (size_t)mtk_tensor_row_elems(t);
  float *x = mtk_alloc(CHUNK_ROWS * sizeof *x, k);
  void *tmp = mtk_alloc(CHUNK_ROWS, mtk_tensor_row_bytes(t));
  mtk_status status = x && tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t r = 0; r < rows && status == MTK_OK; r += CHUNK_ROWS) {
    int64_t n = rows - r < CHUNK_ROWS ? rows - r : CHUNK_ROWS;
    status = mtk_tensor_fetch_f32(x, t, r, n, tmp, err);
    if (status == MTK_OK) status = mtk_output_write(out, x, (size_t)n * k * sizeof *x, err);
  }
  mtk_free(x);
  mtk_free(tmp);
  return status;
}

static mtk_status write_file(mtk_output *out, mtk_model *model, mtk_error *err) {
  mtk_bytes header = {0};
  mtk_status status = write_header(&header, model, err);
  if (status == MTK_OK) status = mtk_output_write(out, header.data, header.len, err);
  mtk_bytes_finish(&header);
  for (size_t i = 0; i < mtk_model_tensor_count(model) && status == MTK_OK; i++)
    status = write_rows(out, mtk_model_tensor_at(model, i), err);
  return status;
}

static mtk_status write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                              mtk_error *err) {
  mtk_output *out;
  MTK_TRY(mtk_output_create(&out, path, options->force, err));
  mtk_status status = write_file(out, model, err);
  if (status != MTK_OK) {
    mtk_output_abort(out);
    return status;
  }
  warn_lost(model);
  return mtk_output_commit(out, err);
}

static const mtk_format_v1 hello = {
    .struct_size = sizeof hello,
    .id = "hello",
    .title = "hello (example: text header, raw f32)",
    .extensions = "hello",
    .flags = MTK_FORMAT_MODEL,
    .probe = probe,
    .read_model = read_model,
    .write_model = write_model,
};

MTK_PLUGIN_DEFINE("hello-format", "1.0.0", "example: the .hello model format", "Apache-2.0",
                  {MTK_EXT_FORMAT, &hello});
