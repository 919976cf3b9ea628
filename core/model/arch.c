/* arch.c: the tensor table of an architecture (ext/arch.h): names, shapes, the check of a model
 * against it. Static tables; any thread. */
#include "model/model_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 256 };

/* Block index at the start of s: digits without a leading zero. Returns how many, 0 if none. */
static size_t match_index(long *index, const char *s) {
  size_t n = strspn(s, "0123456789");
  if (n == 0 || n > 9 || (n > 1 && s[0] == '0')) return 0;
  *index = strtol(s, NULL, 10);
  return n;
}

/* Match `name` from its start against a pattern with at most two %d. Returns the rest of the name
 * after the pattern, or NULL; index (-1 without %d) gets the block and the expert. */
static const char *match_pattern(const char *pattern, const char *name, long index[2]) {
  int found = 0;
  index[0] = index[1] = -1;
  for (; *pattern; pattern++, name++) {
    if (pattern[0] == '%' && pattern[1] == 'd') {
      size_t n = found < 2 ? match_index(&index[found++], name) : 0;
      if (n == 0) return NULL;
      name += n - 1;
      pattern++;
    } else if (*pattern != *name) {
      return NULL;
    }
  }
  return name;
}

/* The pattern with its %d filled in, plus suffix; an expert for which it has no %d goes between
 * ("blk.3.ffn_up_exps" + ".7" + ".weight"). False if it does not fit. */
static bool fill_pattern(char *buf, size_t size, const char *pattern, const long index[2],
                         const char *suffix) {
  size_t at = 0;
  int used = 0, n = 0;
  for (const char *percent; (percent = strstr(pattern, "%d")) && used < 2; pattern = percent + 2) {
    n = snprintf(buf + at, size - at, "%.*s%ld", (int)(percent - pattern), pattern, index[used++]);
    if (n < 0 || (size_t)n >= size - at) return false;
    at += (size_t)n;
  }
  n = used == 1 && index[1] >= 0
          ? snprintf(buf + at, size - at, "%s.%ld%s", pattern, index[1], suffix)
          : snprintf(buf + at, size - at, "%s%s", pattern, suffix);
  return n >= 0 && (size_t)n < size - at;
}

static bool is_suffix(const char *rest) {
  return strcmp(rest, ".weight") == 0 || strcmp(rest, ".bias") == 0;
}

/* A row names either one tensor in full, or a base to which ".weight" and ".bias" belong. */
static bool row_is_full(const mtk_arch_tensor *row) {
  const char *dot = strrchr(row->name, '.');
  return dot && is_suffix(dot);
}

/* The suffix behind the pattern, or NULL. */
static const char *match_row(const mtk_arch_tensor *row, const char *pattern, const char *name,
                             long index[2]) {
  const char *rest = pattern ? match_pattern(pattern, name, index) : NULL;
  if (!rest) return NULL;
  if (row->flags & MTK_TENSOR_EXPERTS && index[1] < 0 && rest[0] == '.') {
    size_t n = match_index(&index[1], rest + 1); /* one expert's: "….7.weight" */
    if (n > 0) rest += n + 1;
    else index[1] = -1;
  }
  return (row_is_full(row) ? rest[0] == 0 : is_suffix(rest)) ? rest : NULL;
}

const mtk_arch_tensor *mtk_arch_row_at(long index[2], const mtk_arch_v1 *arch, const char *name) {
  for (const mtk_arch_tensor *row = arch->tensors; row->name; row++)
    if (match_row(row, row->name, name, index)) return row;
  return NULL;
}

const mtk_arch_tensor *mtk_arch_row(const mtk_arch_v1 *arch, const char *name) {
  long index[2];
  return arch ? mtk_arch_row_at(index, arch, name) : NULL;
}

const char *mtk_arch_name_from_hf(char *buf, size_t size, const mtk_arch_v1 *arch,
                                  const char *hf_name) {
  for (const mtk_arch_tensor *row = arch->tensors; row->name; row++) {
    long index[2];
    const char *rest = match_row(row, row->hf_name, hf_name, index);
    if (rest) return fill_pattern(buf, size, row->name, index, rest) ? buf : NULL;
  }
  return NULL;
}

const char *mtk_arch_name_to_hf(char *buf, size_t size, const mtk_arch_v1 *arch, const char *name) {
  for (const mtk_arch_tensor *row = arch->tensors; row->name; row++) {
    long index[2];
    const char *rest = row->hf_name ? match_row(row, row->name, name, index) : NULL;
    if (rest) return fill_pattern(buf, size, row->hf_name, index, rest) ? buf : NULL;
  }
  return NULL;
}

mtk_status mtk_arch_size(int64_t *out, const mtk_meta *meta, const char *expr, mtk_error *err) {
  int64_t product = 1, sum = 0;
  while (*expr) {
    size_t n = strcspn(expr, "*+");
    char key[MAX_NAME];
    if (n >= sizeof key) return mtk_fail(err, MTK_E_INTERNAL, expr, "the key is too long");
    memcpy(key, expr, n);
    key[n] = 0;
    uint64_t v = strtoull(key, NULL, 10);
    if (key[0] < '0' || key[0] > '9') MTK_TRY(mtk_meta_uint(&v, meta, key, 0, err));
    if (v == 0 || v > INT32_MAX)
      return mtk_fail(err, MTK_E_FORMAT, key, "is missing or not a size (%llu)",
                      (unsigned long long)v);
    if (__builtin_mul_overflow(product, (int64_t)v, &product) ||
        __builtin_add_overflow(sum, expr[n] == '*' ? 0 : product, &sum))
      return mtk_fail(err, MTK_E_FORMAT, expr, "the size is too large");
    if (expr[n] != '*') product = 1;
    expr += expr[n] ? n + 1 : n;
  }
  *out = sum;
  return MTK_OK;
}

static mtk_status fill_slot(mtk_arch_slot *out, const mtk_arch_tensor *row, int64_t block,
                            const mtk_meta *meta, mtk_error *err) {
  *out = (mtk_arch_slot){.row = row, .block = block};
  if (!fill_pattern(out->name, sizeof out->name, row->name, (long[]){(long)block, -1}, ""))
    return mtk_fail(err, MTK_E_INTERNAL, row->name, "the tensor's name is too long");
  if (row->flags & MTK_TENSOR_EXPERTS)
    MTK_TRY(mtk_arch_size(&out->shape[out->n_dims++], meta, "expert_count", err));
  MTK_TRY(mtk_arch_size(&out->shape[out->n_dims++], meta, row->rows, err));
  return row->cols ? mtk_arch_size(&out->shape[out->n_dims++], meta, row->cols, err) : MTK_OK;
}

static bool has_sizes(const mtk_meta *meta, const char *expr) {
  while (expr && *expr) {
    char key[MAX_NAME];
    size_t n = strcspn(expr, "*+");
    snprintf(key, sizeof key, "%.*s", (int)n, expr);
    if ((key[0] < '0' || key[0] > '9') && !mtk_meta_get(meta, key)) return false;
    expr += expr[n] ? n + 1 : n;
  }
  return true;
}

static bool has_experts(const mtk_meta *meta) {
  uint64_t n = 0;
  return mtk_meta_uint(&n, meta, "expert_count", 0, NULL) == MTK_OK && n > 0;
}

/* Does the model have tensors of this row? An optional one needs hyperparameters for its shape. */
static bool row_applies(const mtk_arch_tensor *row, const mtk_meta *meta, bool dense) {
  bool experts = has_experts(meta);
  /* of files only, or of a part that has no graph */
  if (row->flags & (MTK_TENSOR_GATE_UP | MTK_TENSOR_ALIAS | MTK_TENSOR_IMAGE)) return false;
  if (experts && !dense && row->flags & MTK_TENSOR_DENSE) return false;
  if (row->flags & MTK_TENSOR_REQUIRED) return true;
  return (experts || !(row->flags & MTK_TENSOR_EXPERTS)) && has_sizes(meta, row->rows) &&
         has_sizes(meta, row->cols);
}

bool mtk_arch_next(mtk_arch_slot *out, mtk_arch_walk *walk, const mtk_arch_v1 *arch,
                   const mtk_meta *meta, mtk_status *status, mtk_error *err) {
  *status = MTK_OK;
  for (;; walk->row++, walk->block = 0) {
    const mtk_arch_tensor *row = &arch->tensors[walk->row];
    if (!row->name) return false;
    if (!row_applies(row, meta, walk->dense)) continue;
    bool per_block = row->flags & MTK_TENSOR_BLOCK;
    int64_t n = 1;
    if (per_block && (*status = mtk_arch_size(&n, meta, "block_count", err)) != MTK_OK)
      return false;
    if (walk->block >= n) continue;
    *status = fill_slot(out, row, per_block ? walk->block : -1, meta, err);
    walk->block++;
    return *status == MTK_OK;
  }
}

/* "[2048, 512]" */
static void shape_text(char *buf, size_t size, const int64_t *shape, int n_dims) {
  size_t len = (size_t)snprintf(buf, size, "[");
  for (int i = 0; i < n_dims && len < size; i++)
    len += (size_t)snprintf(buf + len, size - len, "%s%lld", i ? ", " : "", (long long)shape[i]);
  if (len < size) snprintf(buf + len, size - len, "]");
}

static mtk_status check_shape(const mtk_tensor *t, const int64_t *shape, int n_dims,
                              mtk_error *err) {
  bool row = n_dims == 2 && shape[0] == 1 && t->n_dims == 1 && t->shape[0] == shape[1];
  if (row) return MTK_OK; /* GGUF keeps a matrix of one row as a vector */
  bool same = t->n_dims == n_dims;
  for (int i = 0; same && i < n_dims; i++) same = t->shape[i] == shape[i];
  if (same) return MTK_OK;
  char have[160], want[80];
  shape_text(have, sizeof have, t->shape, t->n_dims);
  shape_text(want, sizeof want, shape, n_dims);
  return mtk_fail(err, MTK_E_FORMAT, t->name, "has shape %s, the hyperparameters ask for %s", have,
                  want);
}

/* The tensor of a slot under a suffix: shape and presence. */
static mtk_status check_slot(const mtk_arch_slot *slot, const char *suffix, bool required,
                             int n_dims, const mtk_model *model, mtk_error *err) {
  char name[sizeof slot->name + 8];
  snprintf(name, sizeof name, "%s%s", slot->name, suffix);
  const mtk_tensor *t = mtk_model_tensor(model, name);
  if (t) return check_shape(t, slot->shape, n_dims, err);
  if (!required) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, name, "the model lacks this tensor of architecture %s",
                  mtk_model_arch(model));
}

mtk_status mtk_arch_check(const mtk_arch_v1 *arch, const mtk_model *model, mtk_error *err) {
  mtk_arch_slot slot;
  mtk_arch_walk walk = {0};
  mtk_status status;
  while (mtk_arch_next(&slot, &walk, arch, mtk_model_meta(model), &status, err)) {
    bool required = slot.row->flags & MTK_TENSOR_REQUIRED;
    if (row_is_full(slot.row)) {
      MTK_TRY(check_slot(&slot, "", required, slot.n_dims, model, err));
    } else {
      MTK_TRY(check_slot(&slot, ".weight", required, slot.n_dims, model, err));
      MTK_TRY(check_slot(&slot, ".bias", false, slot.n_dims - 1 ? slot.n_dims - 1 : 1, model, err));
    }
  }
  return status;
}
