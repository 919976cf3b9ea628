/* fused.c: do the members of fused groups (q, k and v; gate and up) share their scales? Loaders
 * that make one matrix of them take one scale for all, and say nothing. Any thread. */
#include "hf.h"

#include <string.h>

/* "blk.3.attn_q.weight" -> its group by the architecture's table, and the length of "blk.3."; NULL:
 * none. */
static const char *group_of(size_t *prefix, const mtk_arch_v1 *arch, const char *name) {
  if (strncmp(name, "blk.", 4) != 0) return NULL;
  const char *rest = name + 4 + strspn(name + 4, "0123456789");
  const char *end = strstr(rest, ".weight");
  if (*rest != '.' || !end) return NULL;
  size_t n = (size_t)(end - rest);
  *prefix = (size_t)(rest - name) + 1;
  for (const mtk_arch_tensor *row = arch->tensors; row->name; row++)
    if (strncmp(row->name, "blk.%d", 6) == 0 && strncmp(row->name + 6, rest, n) == 0 &&
        strlen(row->name + 6) == n)
      return row->fuse_group;
  return NULL;
}

static bool differ(const mtk_tensor *a, const mtk_tensor *b) {
  int64_t n = mtk_tensor_scale_count(a);
  if (a->dtype != MTK_NVFP4 || b->dtype != MTK_NVFP4) return false;
  if (n != mtk_tensor_scale_count(b)) return false; /* of another number of experts */
  if (n && memcmp(a->scales, b->scales, (size_t)n * sizeof *a->scales) != 0) return true;
  return memcmp(&a->input_scale, &b->input_scale, sizeof a->input_scale) != 0;
}

mtk_status hf_warn_fused(mtk_model *model, const mtk_arch_v1 *arch) {
  size_t n = mtk_model_tensor_count(model), n_bad = 0;
  const mtk_tensor *first = NULL;
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    size_t prefix = 0, other;
    const char *group = t->dtype == MTK_NVFP4 ? group_of(&prefix, arch, t->name) : NULL;
    for (size_t j = 0; group && j < i; j++) {
      const mtk_tensor *u = mtk_model_tensor_at(model, j);
      if (strncmp(u->name, t->name, prefix) != 0 || !differ(t, u)) continue;
      const char *same = group_of(&other, arch, u->name);
      if (!same || strcmp(same, group) != 0) continue;
      if (!n_bad++) first = t;
      break;
    }
  }
  if (!n_bad) return MTK_OK;
  return mtk_model_warn(model,
                        "%zu tensors have other global scales than the matrices that loaders fuse "
                        "with them (first: %s): such programs compute with one of both",
                        n_bad, first->name);
}
