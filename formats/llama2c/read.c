/* read.c: a llama2.c checkpoint as the canonical model. f32 weights stay where they are; the int8
 * groups of version 2 are multiplied out row by row when they are read. */
#include "llama2c.h"

#include <stdio.h>
#include <string.h>

/* ---- tensors ------------------------------------------------------------------------------- */

/* Values and scales of one weight of version 2. */
typedef struct groups {
  const int8_t *values;
  const uint8_t *scales; /* f32, at any address */
  int64_t size;
} groups;

static mtk_status read_groups(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                              mtk_error *err) {
  const groups *g = t->read_ctx;
  float *out = dst;
  int64_t first = row0 * t->shape[1], n = n_rows * t->shape[1];
  (void)err;
  for (int64_t i = 0; i < n; i++) {
    float scale;
    memcpy(&scale, g->scales + 4 * ((first + i) / g->size), 4);
    out[i] = (float)g->values[first + i] * scale;
  }
  return MTK_OK;
}

static mtk_status add_tensor(mtk_model *model, const llama2c_header *h, const llama2c_part *p,
                             int64_t layer, const uint8_t *at, mtk_error *err) {
  char name[64];
  const char *hole = strstr(p->name, "%d");
  if (hole)
    snprintf(name, sizeof name, "%.*s%lld%s", (int)(hole - p->name), p->name, (long long)layer,
             hole + 2);
  mtk_tensor t = {.name = hole ? name : p->name, .dtype = MTK_F32, .n_dims = p->cols ? 2 : 1,
                  .shape = {p->rows, p->cols}, .data = at};
  uint64_t n = (uint64_t)p->rows * (uint64_t)(p->cols ? p->cols : 1);
  t.size_bytes = 4 * n;
  if (h->version == 2 && p->cols) {
    groups *g = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *g);
    if (!g) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
    *g = (groups){(const int8_t *)at, at + n, h->group};
    t.data = NULL;
    t.read = read_groups;
    t.read_ctx = g;
  }
  return mtk_model_add_tensor(model, &t, err);
}

static mtk_status add_tensors(mtk_model *model, const llama2c_header *h, const uint8_t *data,
                              mtk_error *err) {
  llama2c_part parts[LLAMA2C_N_PARTS];
  const uint8_t *at = data + h->size;
  llama2c_parts(parts, h);
  for (size_t i = 0; i < LLAMA2C_N_PARTS; i++) {
    const llama2c_part *p = &parts[i];
    if (p->absent) continue;
    uint64_t n = llama2c_count(p) / (uint64_t)p->count;
    uint64_t bytes = h->version == 2 && p->cols ? n + n / (uint64_t)h->group * 4 : 4 * n;
    for (int64_t layer = 0; layer < p->count; layer++, at += bytes)
      if (p->name) MTK_TRY(add_tensor(model, h, p, layer, at, err));
  }
  return MTK_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static mtk_status set_meta(mtk_model *model, const llama2c_header *h, mtk_error *err) {
  mtk_meta *meta = mtk_model_meta(model);
  const struct {
    const char *key;
    int64_t value;
  } sizes[] = {{"vocab_size", h->vocab},
               {"context_length", h->context},
               {"embedding_length", h->dim},
               {"block_count", h->n_layer},
               {"feed_forward_length", h->hidden},
               {"attention.head_count", h->n_head},
               {"attention.head_count_kv", h->n_head_kv},
               {"attention.key_length", h->dim / h->n_head}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    MTK_TRY(mtk_meta_set_uint(meta, sizes[i].key, (uint64_t)sizes[i].value, err));
  MTK_TRY(mtk_meta_set_float(meta, "attention.layer_norm_rms_epsilon", 1e-5, err)); /* run.c */
  MTK_TRY(mtk_meta_set_float(meta, "rope.freq_base", 10000, err));
  MTK_TRY(mtk_meta_set_bool(meta, "tie_word_embeddings", h->shared, err));
  return mtk_meta_set_string(meta, "rope.pairing", "interleaved", err);
}

mtk_status llama2c_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                              mtk_error *err) {
  llama2c_header h;
  MTK_TRY(llama2c_parse_header(&h, data, size, path, err));
  MTK_TRY(mtk_model_set_arch(model, "llama", err));
  MTK_TRY(set_meta(model, &h, err));
  MTK_TRY(add_tensors(model, &h, data, err));
  const mtk_arch_v1 *arch = mtk_arch_find("llama");
  return arch ? mtk_arch_fill_meta(model, arch, err) : MTK_OK;
}

/* ---- the tokenizer beside it --------------------------------------------------------------- */

/* The vocabulary of a file if it has as many tokens as the model. */
static mtk_status try_tokenizer(mtk_model *model, const char *path, mtk_error *err) {
  mtk_file *file = NULL;
  mtk_vocab *vocab = NULL;
  uint64_t want = 0;
  MTK_TRY(mtk_meta_uint(&want, mtk_model_meta(model), "vocab_size", 0, err));
  if (mtk_path_is_dir(path) || mtk_file_open(&file, path, NULL) != MTK_OK) return MTK_OK;
  mtk_status status = MTK_OK;
  if (llama2c_is_tokenizer(file->data, file->size))
    status = llama2c_read_tokenizer(&vocab, file->data, file->size, mtk_path_base(path), err);
  if (vocab && vocab->n_tokens == want) {
    mtk_model_set_vocab(model, vocab);
    vocab = NULL;
  }
  mtk_vocab_destroy(vocab);
  mtk_file_close(file);
  return status;
}

static bool is_candidate(const char *name) {
  size_t n = strlen(name);
  return n > 7 && strncmp(name, "tok", 3) == 0 && strcmp(name + n - 4, ".bin") == 0;
}

/* "tokenizer.bin" first, then every other "tok*.bin" of the folder in order. */
static mtk_status find_tokenizer(mtk_model *model, const char *path, mtk_arena *arena,
                                 mtk_error *err) {
  const char *base = mtk_path_base(path);
  const char *folder = base == path ? "." : mtk_arena_strndup(arena, path, (size_t)(base - path));
  const char **names = NULL;
  size_t n = 0;
  if (!folder) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  MTK_TRY(mtk_folder_list(&names, &n, arena, folder, err));
  for (int pass = 0; pass < 2; pass++)
    for (size_t i = 0; i < n && !mtk_model_vocab(model); i++) {
      bool first = strcmp(names[i], "tokenizer.bin") == 0;
      if (first != (pass == 0) || !is_candidate(names[i])) continue;
      char *file = mtk_path_join(folder, names[i]);
      if (!file) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
      mtk_status status = try_tokenizer(model, file, err);
      mtk_free(file);
      MTK_TRY(status);
    }
  if (mtk_model_vocab(model)) return MTK_OK;
  return mtk_model_warn(model, "no tokenizer.bin or tok*.bin of this size beside the model: it has "
                               "no tokenizer");
}

mtk_status llama2c_read_model(mtk_model *model, const char *path, mtk_error *err) {
  const mtk_file *file;
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  const uint8_t *data = file->data;
  size_t size = file->size;
  if (llama2c_is_tokenizer(data, size)) { /* a vocabulary alone */
    mtk_vocab *vocab = NULL;
    MTK_TRY(llama2c_read_tokenizer(&vocab, data, size, mtk_path_base(path), err));
    mtk_model_set_vocab(model, vocab);
    return MTK_OK;
  }
  MTK_TRY(llama2c_read_bytes(model, data, size, mtk_path_base(path), err));
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status = find_tokenizer(model, path, arena, err);
  mtk_arena_destroy(arena);
  return status;
}
