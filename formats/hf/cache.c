/* cache.c: names of the scales of a quantized key and value cache, one of each per layer:
 * "<attention>.k_scale" (compressed-tensors) or "<attention>.k_proj.k_scale" (ModelOpt), in the
 * model "blk.N.attn_k.cache_scale". The cache holds value / scale. Any thread. */
#include "hf.h"

#include <stdio.h>
#include <string.h>

static const char own_suffix[] = ".cache_scale";

/* Which of the two a canonical or stored name is about; 0: neither. */
static char which(const char *name, const char *k_end, const char *v_end) {
  size_t n = strlen(name), k = strlen(k_end), v = strlen(v_end);
  if (n > k && strcmp(name + n - k, k_end) == 0) return 'k';
  return n > v && strcmp(name + n - v, v_end) == 0 ? 'v' : 0;
}

bool hf_is_cache_scale(const mtk_tensor *t) {
  return mtk_tensor_rows(t) * mtk_tensor_row_elems(t) == 1 && hf_is_float(t->dtype) && t->data &&
         which(t->name, ".attn_k.cache_scale", ".attn_v.cache_scale");
}

const char *hf_cache_name_from(char *buf, size_t size, const mtk_arch_v1 *arch, const char *name) {
  char c = which(name, ".k_scale", ".v_scale"), weight[512], own[512];
  if (!c) return NULL;
  char module[] = {'.', c, '_', 'p', 'r', 'o', 'j', 0};
  size_t stem = strlen(name) - strlen(".k_scale"), n = strlen(module);
  bool named = stem > n && strncmp(name + stem - n, module, n) == 0;
  if (stem > sizeof weight - 32) return NULL;
  snprintf(weight, sizeof weight, "%.*s%s.weight", (int)stem, name, named ? "" : module);
  const char *canonical = mtk_arch_name_from_hf(own, sizeof own, arch, weight);
  if (!canonical || !which(canonical, ".attn_k.weight", ".attn_v.weight")) return NULL;
  stem = strlen(canonical) - strlen(".weight");
  int len = snprintf(buf, size, "%.*s%s", (int)stem, canonical, own_suffix);
  return len > 0 && (size_t)len < size ? buf : NULL;
}

const char *hf_cache_name_to(char *buf, size_t size, const mtk_arch_v1 *arch, const char *name,
                             bool modelopt) {
  char c = which(name, ".attn_k.cache_scale", ".attn_v.cache_scale"), own[512], weight[512];
  size_t stem = strlen(name) - strlen(own_suffix);
  if (!c || stem > sizeof own - 16) return NULL;
  snprintf(own, sizeof own, "%.*s.weight", (int)stem, name);
  const char *stored = mtk_arch_name_to_hf(weight, sizeof weight, arch, own);
  if (!stored) return NULL;
  stem = strlen(stored) - strlen(".weight");
  while (!modelopt && stem > 0 && stored[stem - 1] != '.') stem--; /* the attention's own name */
  if (!modelopt && stem > 0) stem--;
  int len = snprintf(buf, size, "%.*s.%c_scale", (int)stem, stored, c);
  return len > 0 && (size_t)len < size ? buf : NULL;
}
