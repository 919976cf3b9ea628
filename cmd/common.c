/* common.c: what several commands do in the same way: open models and engines, read input. */
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

mtk_status mtk_cmd_pool(mtk_pool **out, const mtk_cmd_line *line, mtk_error *err) {
  return mtk_pool_create(out, (int)mtk_options_int(line->options, "threads"), err);
}

mtk_status mtk_cmd_read_all(mtk_bytes *out, const char *path, mtk_error *err) {
  bool is_stdin = !strcmp(path, "-");
  FILE *f = is_stdin ? stdin : fopen(path, "rb");
  if (!f)
    return mtk_fail(err, errno == ENOENT ? MTK_E_NOT_FOUND : MTK_E_IO, path, "cannot open: %s",
                    strerror(errno));
  char buf[65536];
  size_t n;
  while ((n = fread(buf, 1, sizeof buf, f)) > 0) mtk_bytes_append(out, buf, n);
  bool bad = ferror(f) != 0;
  if (!is_stdin) fclose(f);
  if (bad) return mtk_fail(err, MTK_E_IO, path, "cannot read: %s", strerror(errno));
  if (!out->data) mtk_bytes_append(out, "", 0);
  return mtk_bytes_status(out, err);
}

mtk_status mtk_cmd_read_json(json_t **out, const char *path, size_t flags, mtk_error *err) {
  mtk_bytes text = {0};
  json_error_t je;
  mtk_status st = mtk_cmd_read_all(&text, path, err);
  *out = st == MTK_OK ? json_loadb(text.data, text.len, flags, &je) : NULL;
  if (st == MTK_OK && !*out)
    st = mtk_fail(err, MTK_E_FORMAT, path, "line %d: %s", je.line, je.text);
  mtk_bytes_finish(&text);
  return st;
}

/* Positions of the cache: --kv-tokens where the command has it, else room for every sequence up to
 * a bound, and for one in any case. */
static mtk_status kv_tokens(int64_t *out, const mtk_cmd_line *line, const mtk_model *model,
                            const mtk_engine_options *o, mtk_error *err) {
  enum { MAX_DEFAULT = 65536 };
  uint64_t trained = 0;
  MTK_TRY(mtk_meta_uint(&trained, mtk_model_meta(model), "context_length", 0, err));
  int64_t context = o->context ? o->context : (int64_t)trained;
  *out = mtk_options_int(line->options, "kv-tokens");
  if (*out || context <= 0 || context >= INT32_MAX) return MTK_OK; /* the engine decides */
  *out = context * o->max_seqs;
  if (*out > MAX_DEFAULT) *out = context > MAX_DEFAULT ? context : MAX_DEFAULT;
  return MTK_OK;
}

static mtk_dtype kv_type(const mtk_cmd_line *line) {
  const char *name = mtk_options_string(line->options, "kv-cache");
  return mtk_dtype_by_name(!strcmp(name, "fp8") ? "f8_e4m3" : name);
}

mtk_status mtk_cmd_parse_ids(mtk_ids *out, const char *text, mtk_error *err) {
  const char *p = text;
  while (*p) {
    while (*p == ' ' || *p == ',' || *p == '\n' || *p == '\t' || *p == '[' || *p == ']' ||
           *p == '\r')
      p++;
    if (!*p) break;
    char *end;
    long v = strtol(p, &end, 10);
    if (end == p || v < 0 || v > INT32_MAX)
      return mtk_fail(err, MTK_E_INVALID, NULL, "'%.20s' is not a token id", p);
    MTK_TRY(mtk_ids_push(out, (int32_t)v, err));
    p = end;
  }
  return MTK_OK;
}

/* ---- provenance ------------------------------------------------------------------------------ */

static bool bears_on_result(const char *name) {
  static const char *const others[] = {"force", "resume",  "dry-run", "out", "json",
                                       "quiet", "verbose", "threads", "help",
                                       "no-verify", "imatrix-out", "plan-out", "report", "list"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (!strcmp(name, others[i])) return false;
  return true;
}

/* Appends "--name=value" and a NUL. */
static void add_value(mtk_bytes *out, const mtk_option_def *d, const char *value) {
  bool is_path = d->type == MTK_OPT_PATH || (d->value_name && !strcmp(d->value_name, "FILE"));
  if (d->type == MTK_OPT_FLAG) mtk_bytes_printf(out, "--%s", d->name);
  else mtk_bytes_printf(out, "--%s=%s", d->name, is_path ? mtk_path_base(value) : value);
  mtk_bytes_append(out, "", 1);
}

/* Given, or with a default: another version may have another one. Returns the number of values. */
static int add_option(mtk_bytes *out, const mtk_option_values *o, const mtk_option_def *d) {
  const char *const *items = NULL;
  if (d->type == MTK_OPT_FLAG && !mtk_options_flag(o, d->name)) return 0;
  size_t n = mtk_options_list(o, d->name, &items);
  for (size_t i = 0; i < n; i++) add_value(out, d, items[i]);
  if (d->type == MTK_OPT_LIST) return (int)n;
  const char *value = mtk_options_string(o, d->name);
  if (value) add_value(out, d, value);
  return value != NULL;
}

mtk_status mtk_cmd_provenance(mtk_bytes *out, const mtk_cmd_line *line, const char *const *sources,
                              int n_sources, mtk_error *err) {
  mtk_digests *digests = NULL;
  MTK_TRY(mtk_digests_start(&digests, sources, n_sources, 0, err));
  mtk_status st = mtk_cmd_provenance_with(out, line, digests, err);
  mtk_digests_destroy(digests);
  return st;
}

mtk_status mtk_cmd_provenance_with(mtk_bytes *out, const mtk_cmd_line *line, mtk_digests *sources,
                                   mtk_error *err) {
  mtk_bytes text = {0};
  int n = 0;
  for (const mtk_option_def *d = line->defs; d->name; d++)
    if (bears_on_result(d->name)) n += add_option(&text, line->options, d);
  const char **args = mtk_alloc((size_t)n + 1, sizeof *args);
  mtk_status st = mtk_bytes_status(&text, err);
  if (st == MTK_OK && !args) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  const char *at = text.data;
  for (int i = 0; i < n && st == MTK_OK; i++, at += strlen(at) + 1) args[i] = at;
  if (st == MTK_OK) st = mtk_provenance_with(out, line->argv[0], n, args, sources, err);
  mtk_free(args);
  mtk_bytes_finish(&text);
  return st;
}

/* ---- engines --------------------------------------------------------------------------------- */

/* "[NAME=]DIR" -> name (heap) and path (borrowed). */
static char *split_adapter(const char *text, const char **path) {
  const char *eq = strchr(text, '=');
  *path = eq ? eq + 1 : text;
  return eq ? mtk_strndup(text, (size_t)(eq - text)) : mtk_strdup(mtk_path_base(text));
}

static mtk_status add_adapters(mtk_cmd_engine *e, const mtk_cmd_line *line, mtk_error *err) {
  const char *const *items = NULL;
  size_t n = mtk_options_list(line->options, "adapter", &items);
  e->adapter_names = mtk_alloc(n + 1, sizeof *e->adapter_names);
  if (!e->adapter_names) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n; i++) {
    const char *path;
    char *name = split_adapter(items[i], &path);
    if (!name) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    e->adapter_names[e->n_adapters++] = name;
    mtk_adapter *adapter = NULL;
    MTK_TRY(mtk_adapter_load(&adapter, path, err));
    int id = 0;
    mtk_status st = mtk_adapter_fit(adapter, e->model, err);
    if (st == MTK_OK) st = mtk_engine_add_adapter(&id, e->engine, adapter, err);
    mtk_adapter_destroy(adapter);
    if (st != MTK_OK) return st;
    if (i == 0) e->adapter = id;
  }
  return MTK_OK;
}

/* Where the model comes from and how it is used. */
typedef struct engine_request {
  const char *path;
  mtk_model *model;  /* borrowed, in place of the path */
  int64_t positions; /* of the cache; 0 = by the options */
  int max_seqs, threads;
  bool embeddings, no_adapters;
} engine_request;

static mtk_status open_engine(mtk_cmd_engine *out, const mtk_cmd_line *line,
                              const engine_request *r, mtk_error *err);

mtk_status mtk_cmd_embedder_open(mtk_cmd_engine *out, const mtk_cmd_line *line, const char *path,
                                 int max_seqs, mtk_error *err) {
  const engine_request r = {.path = path, .max_seqs = max_seqs, .embeddings = true,
                            .threads = (int)mtk_options_int(line->options, "threads")};
  return open_engine(out, line, &r, err);
}

mtk_status mtk_cmd_engine_open(mtk_cmd_engine *out, const mtk_cmd_line *line, const char *path,
                               int max_seqs, mtk_error *err) {
  const engine_request r = {.path = path, .max_seqs = max_seqs,
                            .threads = (int)mtk_options_int(line->options, "threads")};
  return open_engine(out, line, &r, err);
}

mtk_status mtk_cmd_base_engine_open(mtk_cmd_engine *out, const mtk_cmd_line *line, const char *path,
                                    int max_seqs, mtk_error *err) {
  const engine_request r = {.path = path, .max_seqs = max_seqs, .no_adapters = true,
                            .threads = (int)mtk_options_int(line->options, "threads")};
  return open_engine(out, line, &r, err);
}

mtk_status mtk_cmd_engine_open_model(mtk_cmd_engine *out, const mtk_cmd_line *line,
                                     mtk_model *model, int max_seqs, int64_t positions,
                                     int threads, mtk_error *err) {
  const engine_request r = {.model = model, .positions = positions, .max_seqs = max_seqs,
                            .threads = threads};
  return open_engine(out, line, &r, err);
}

static mtk_status open_engine(mtk_cmd_engine *out, const mtk_cmd_line *line,
                              const engine_request *r, mtk_error *err) {
  *out = (mtk_cmd_engine){.model = r->model, .model_is_borrowed = r->model != NULL};
  const char *a = mtk_options_string(line->options, "activations");
  mtk_engine_options opt = {.struct_size = sizeof opt,
                            .context = mtk_options_int(line->options, "context"),
                            .max_seqs = r->max_seqs,
                            .kv_tokens = r->positions,
                            .max_batch = (int)mtk_options_int(line->options, "batch"),
                            .arith = a[0] == 'd'         ? -1
                                     : !strcmp(a, "a32") ? MTK_A32
                                     : !strcmp(a, "a16") ? MTK_A16
                                                         : MTK_A8,
                            .isa = -1,
                            .kv_type = kv_type(line),
                            .embeddings = r->embeddings};
  mtk_status st = mtk_pool_create(&out->pool, r->threads, err);
  opt.pool = out->pool;
  out->max_batch = opt.max_batch;
  if (st == MTK_OK && !out->model) st = mtk_model_load(&out->model, r->path, err);
  if (st == MTK_OK && !opt.kv_tokens) st = kv_tokens(&opt.kv_tokens, line, out->model, &opt, err);
  if (st == MTK_OK) st = mtk_engine_create(&out->engine, out->model, &opt, err);
  if (st == MTK_OK && !r->no_adapters) st = add_adapters(out, line, err);
  if (st != MTK_OK) mtk_cmd_engine_close(out);
  return st;
}

void mtk_cmd_engine_close(mtk_cmd_engine *e) {
  for (int i = 0; i < e->n_adapters; i++) mtk_free((void *)(uintptr_t)e->adapter_names[i]);
  mtk_free(e->adapter_names);
  mtk_engine_destroy(e->engine);
  if (!e->model_is_borrowed) mtk_model_destroy(e->model);
  mtk_pool_destroy(e->pool);
  *e = (mtk_cmd_engine){0};
}

mtk_status mtk_cmd_tokenizer_open(mtk_model **model, mtk_tokenizer **tok, const char *path,
                                  mtk_error *err) {
  MTK_TRY(mtk_model_load(model, path, err));
  const mtk_vocab *vocab = mtk_model_vocab(*model);
  mtk_status st =
      vocab ? mtk_tokenizer_create(tok, vocab, err)
            : mtk_fail(err, MTK_E_NOT_FOUND, path, "the model has no tokenizer that mtk can use");
  if (st != MTK_OK) {
    mtk_model_destroy(*model);
    *model = NULL;
  }
  return st;
}
