/* adapter.c: LoRA adapters as GGUF files (llama.cpp, convert_lora_to_gguf.py): general.type
 * "adapter", adapter.type "lora", adapter.lora.alpha; tensors "<target>.lora_a" [rank, K] and
 * "<target>.lora_b" [N, rank]. Each call has its own state: any thread. */
#include "gguf.h"

#include <string.h>

#define EMBEDDING "token_embd.weight"

static const char suffix_a[] = ".lora_a", suffix_b[] = ".lora_b";

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n > k && strcmp(s + n - k, suffix) == 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

static mtk_status check_kind(const gguf_index *g, mtk_error *err) {
  const char *type, *kind;
  size_t type_len, kind_len;
  MTK_TRY(gguf_get_string(&type, &type_len, g, "general.type", err));
  MTK_TRY(gguf_get_string(&kind, &kind_len, g, "adapter.type", err));
  if (!type || type_len != 7 || memcmp(type, "adapter", 7) != 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, g->path, "this is a model, not an adapter");
  }
  if (!kind || kind_len != 4 || memcmp(kind, "lora", 4) != 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, g->path, "adapter.type is not lora");
  }
  if (gguf_find_kv(g, "adapter.alora.invocation_tokens")) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, g->path, "activated LoRA is not supported");
  }
  return MTK_OK;
}

static mtk_status read_members(mtk_adapter *adapter, gguf_index *g, mtk_error *err) {
  const char *arch_name;
  size_t len;
  mtk_value alpha = {0};
  const gguf_kv *kv = gguf_find_kv(g, "adapter.lora.alpha");
  if (!kv || kv->type != MTK_META_F32) {
    return mtk_fail(err, MTK_E_FORMAT, g->path, "adapter.lora.alpha is missing or not a float");
  }
  MTK_TRY(gguf_value(&alpha, g, kv, err));
  adapter->alpha = (float)alpha.as.f;
  MTK_TRY(gguf_get_string(&arch_name, &len, g, "general.architecture", err));
  char *id = arch_name ? mtk_strndup(arch_name, len) : NULL;
  const mtk_arch_v1 *arch = id ? mtk_arch_find_gguf(id) : NULL;
  mtk_free(id);
  if (!arch) return mtk_fail(err, MTK_E_UNSUPPORTED, g->path, "its architecture is unknown");
  adapter->pairing = arch->gguf_pairing ? arch->gguf_pairing : "half";
  adapter->name = mtk_arena_strndup(adapter->arena, g->path, strlen(g->path));
  return adapter->name ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
}

static mtk_status load_floats(const float **out, mtk_arena *arena, const gguf_index *g,
                              const gguf_tensor *t, mtk_error *err) {
  size_t n = (size_t)(t->ne[0] * t->ne[1]);
  if (!mtk_dtype_get(t->type->dtype)->is_float) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, g->path, "tensor %s: type %s", t->name, t->type->name);
  }
  float *values = mtk_arena_alloc(arena, n, sizeof *values);
  void *aligned = mtk_alloc(t->size, 1);
  if (values && aligned) {
    memcpy(aligned, t->bytes, t->size);
    mtk_dtype_decode(t->type->dtype, values, aligned, n);
  }
  *out = values;
  mtk_status status =
      values && aligned ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  mtk_free(aligned);
  return status;
}

/* [rows, cols] -> [cols, rows] */
static mtk_status transpose(const float **values, mtk_arena *arena, int64_t rows, int64_t cols,
                            mtk_error *err) {
  float *out = mtk_arena_alloc(arena, (size_t)rows, (size_t)cols * sizeof *out);
  if (!out) return mtk_fail(err, MTK_E_NOMEM, EMBEDDING, "out of memory");
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) out[c * rows + r] = (*values)[r * cols + c];
  *values = out;
  return MTK_OK;
}

/* Rows of an embedding are looked up, not multiplied: llama.cpp keeps lora_a as [vocab, rank] and
 * lora_b as [width, rank], the update of the matrix being lora_a lora_b^T. */
static mtk_status load_pair(mtk_lora_pair *pair, mtk_arena *arena, const gguf_index *g,
                            const gguf_tensor *a, const gguf_tensor *b, mtk_error *err) {
  bool embedding = strcmp(pair->target, EMBEDDING) == 0;
  const gguf_tensor *left = embedding ? a : b, *right = embedding ? b : a;
  pair->rank = (int64_t)left->ne[0];
  pair->n = (int64_t)left->ne[1];
  pair->k = (int64_t)right->ne[embedding ? 1 : 0];
  if ((int64_t)right->ne[embedding ? 0 : 1] != pair->rank || pair->rank == 0)
    return mtk_fail(err, MTK_E_FORMAT, g->path, "tensor %s: its lora_b does not fit", a->name);
  MTK_TRY(load_floats(&pair->b, arena, g, left, err));
  MTK_TRY(load_floats(&pair->a, arena, g, right, err));
  return embedding ? transpose(&pair->a, arena, pair->k, pair->rank, err) : MTK_OK;
}

static mtk_status read_pair(mtk_lora_pair *pair, mtk_adapter *adapter, const gguf_index *g,
                            gguf_tensor *a, mtk_error *err) {
  size_t stem = strlen(a->name) - strlen(suffix_a);
  char *name_b = mtk_asprintf("%.*s%s", (int)stem, a->name, suffix_b);
  gguf_tensor *b = name_b ? gguf_find_tensor(g, name_b) : NULL;
  mtk_free(name_b);
  if (!b || a->n_dims != 2 || b->n_dims != 2) {
    return mtk_fail(err, MTK_E_FORMAT, g->path, "tensor %s: its lora_b is missing or does not fit",
                    a->name);
  }
  a->consumed = b->consumed = true;
  pair->target = mtk_arena_strndup(adapter->arena, a->name, stem);
  if (!pair->target) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  MTK_TRY(load_pair(pair, adapter->arena, g, a, b, err));
  pair->scale = (float)((double)adapter->alpha / (double)pair->rank);
  if (!adapter->rank) adapter->rank = pair->rank;
  return MTK_OK;
}

static mtk_status read_pairs(mtk_adapter *adapter, gguf_index *g, mtk_error *err) {
  adapter->pairs = mtk_arena_alloc(adapter->arena, g->n_tensors, sizeof *adapter->pairs);
  if (!adapter->pairs) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  for (size_t i = 0; i < g->n_tensors; i++) {
    if (!ends_with(g->tensors[i].name, suffix_a)) continue;
    MTK_TRY(read_pair(&adapter->pairs[adapter->n_pairs], adapter, g, &g->tensors[i], err));
    adapter->n_pairs++;
  }
  for (size_t i = 0; i < g->n_tensors; i++) {
    if (!g->tensors[i].consumed) {
      return mtk_fail(err, MTK_E_UNSUPPORTED, g->path, "tensor %s is neither lora_a nor lora_b",
                      g->tensors[i].name);
    }
  }
  return MTK_OK;
}

mtk_status gguf_read_adapter_bytes(mtk_adapter *adapter, const uint8_t *data, size_t size,
                                   const char *path, mtk_error *err) {
  gguf_index g = {0};
  mtk_arena *arena = mtk_arena_create();
  mtk_status status = arena ? gguf_parse(&g, arena, data, size, path, err)
                            : mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (status == MTK_OK) status = check_kind(&g, err);
  if (status == MTK_OK) status = read_members(adapter, &g, err);
  if (status == MTK_OK) status = read_pairs(adapter, &g, err);
  mtk_arena_destroy(arena);
  return status;
}

mtk_status gguf_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  mtk_status status =
      gguf_read_adapter_bytes(adapter, file->data, file->size, mtk_path_base(path), err);
  mtk_file_close(file);
  return status;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The file has one alpha: the scale of each pair must be alpha / rank, or B is multiplied by what
 * is missing. */
static float b_factor(const mtk_adapter *adapter, const mtk_lora_pair *p) {
  float given = (float)((double)adapter->alpha / (double)p->rank);
  return given == p->scale || given == 0 ? 1.0f : p->scale / given;
}

static void put_meta(mtk_bytes *out, const mtk_adapter *adapter, const mtk_model *base,
                     const char *provenance) {
  mtk_value alpha = {.type = MTK_META_F32};
  const char *arch = mtk_model_arch(base);
  mtk_value value = gguf_string(arch, strlen(arch));
  alpha.as.f = (double)adapter->alpha;
  gguf_put_kv(out, "general.architecture", &value);
  value = gguf_string("adapter", 7);
  gguf_put_kv(out, "general.type", &value);
  value = gguf_string("lora", 4);
  gguf_put_kv(out, "adapter.type", &value);
  gguf_put_kv(out, "adapter.lora.alpha", &alpha);
  if (provenance) {
    value = gguf_string(provenance, strlen(provenance));
    gguf_put_kv(out, "mtk.provenance", &value);
  }
}

/* The matrices of a pair as the file has them. */
typedef struct stored {
  int64_t shape_a[2], shape_b[2];
  const float *a, *b;
} stored;

static stored stored_of(const mtk_lora_pair *p) {
  if (strcmp(p->target, EMBEDDING) == 0) /* a is transposed already */
    return (stored){{p->n, p->rank}, {p->k, p->rank}, p->b, p->a};
  return (stored){{p->rank, p->k}, {p->n, p->rank}, p->a, p->b};
}

static void put_pair(mtk_bytes *out, const mtk_lora_pair *p, uint64_t *offset) {
  stored s = stored_of(p);
  char *a = mtk_asprintf("%s%s", p->target, suffix_a),
       *b = mtk_asprintf("%s%s", p->target, suffix_b);
  uint32_t type = gguf_type_by_dtype(MTK_F32)->id;
  if (!a || !b) out->failed = true;
  if (a) gguf_put_tensor(out, a, 2, s.shape_a, type, *offset);
  *offset += gguf_padded((uint64_t)(s.shape_a[0] * s.shape_a[1]) * 4);
  if (b) gguf_put_tensor(out, b, 2, s.shape_b, type, *offset);
  *offset += gguf_padded((uint64_t)(s.shape_b[0] * s.shape_b[1]) * 4);
  mtk_free(a);
  mtk_free(b);
}

static mtk_status write_floats(mtk_output *out, const float *values, int64_t n, float factor,
                               mtk_error *err) {
  static const uint8_t zeros[GGUF_ALIGNMENT];
  uint64_t bytes = (uint64_t)n * 4;
  for (int64_t i = 0; i < n; i++) {
    float v = values[i] * factor;
    MTK_TRY(mtk_output_write(out, &v, 4, err));
  }
  return mtk_output_write(out, zeros, (size_t)(gguf_padded(bytes) - bytes), err);
}

static mtk_status write_all(mtk_output *out, const mtk_adapter *adapter, const mtk_bytes *header,
                            mtk_error *err) {
  MTK_TRY(mtk_output_write(out, header->data, header->len, err));
  for (size_t i = 0; i < adapter->n_pairs; i++) {
    const mtk_lora_pair *p = &adapter->pairs[i];
    stored s = stored_of(p);
    MTK_TRY(write_floats(out, s.a, s.shape_a[0] * s.shape_a[1], 1.0f, err));
    MTK_TRY(write_floats(out, s.b, s.shape_b[0] * s.shape_b[1], b_factor(adapter, p), err));
  }
  return MTK_OK;
}

static mtk_status write_paired(const mtk_adapter *adapter, const mtk_model *base, const char *path,
                               const mtk_write_options *options, mtk_error *err) {
  mtk_bytes header = {0};
  mtk_output *out = NULL;
  uint64_t offset = 0;
  const char *provenance = options ? options->provenance : NULL;
  gguf_put_header(&header, 2 * adapter->n_pairs, provenance ? 5 : 4);
  put_meta(&header, adapter, base, provenance);
  for (size_t i = 0; i < adapter->n_pairs; i++) put_pair(&header, &adapter->pairs[i], &offset);
  gguf_put_padding(&header);
  mtk_status status = mtk_bytes_status(&header, err);
  if (status == MTK_OK) status = mtk_output_create(&out, path, options && options->force, err);
  if (status == MTK_OK) {
    status = write_all(out, adapter, &header, err);
    if (status == MTK_OK)
      status = mtk_output_commit(out, err);
    else
      mtk_output_abort(out);
  }
  mtk_bytes_finish(&header);
  return status;
}

mtk_status gguf_write_adapter(const mtk_adapter *adapter, const mtk_model *base, const char *path,
                              const mtk_write_options *options, mtk_error *err) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(base));
  mtk_adapter *view = NULL;
  if (adapter->n_whole)
    return mtk_fail(err, MTK_E_UNSUPPORTED, adapter->whole[0].target,
                    "is replaced whole, which a GGUF adapter cannot hold: merge the adapter");
  if (!arch) return mtk_fail(err, MTK_E_UNSUPPORTED, path, "the base's architecture is unknown");
  const char *pairing = arch->gguf_pairing ? arch->gguf_pairing : adapter->pairing;
  MTK_TRY(mtk_adapter_view(&view, adapter, pairing, base, err));
  mtk_lora_pair *embedding = mtk_adapter_find(view, EMBEDDING);
  mtk_status status = MTK_OK;
  if (embedding)
    status = transpose(&embedding->a, view->arena, embedding->rank, embedding->k, err);
  if (status == MTK_OK) status = write_paired(view, base, path, options, err);
  mtk_adapter_destroy(view);
  return status;
}
