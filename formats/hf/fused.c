/* fused.c: do the members of fused groups (q, k and v; gate and up) share their scales? Loaders
 * that make one matrix of them take one scale for all, and say nothing. Any thread. */
#include "hf.h"

#include <string.h>

typedef struct member {
  const mtk_tensor *t;
  const char *group; /* by the architecture's table; NULL: none */
  long block;
} member;

static member member_of(const mtk_tensor *t, const mtk_arch_v1 *arch) {
  long index[2];
  const mtk_arch_tensor *row = t->dtype == MTK_NVFP4 ? mtk_arch_row_at(index, arch, t->name) : NULL;
  return row ? (member){t, row->fuse_group, index[0]} : (member){t, NULL, -1};
}

static bool differ(const member *a, const member *b) {
  if (!a->group || !b->group || a->block != b->block || strcmp(a->group, b->group) != 0)
    return false;
  int64_t n = mtk_tensor_scale_count(a->t);
  if (n != mtk_tensor_scale_count(b->t)) return false; /* of another number of experts */
  if (n && memcmp(a->t->scales, b->t->scales, (size_t)n * sizeof *a->t->scales) != 0) return true;
  return memcmp(&a->t->input_scale, &b->t->input_scale, sizeof a->t->input_scale) != 0;
}

mtk_status hf_warn_fused(mtk_model *model, const mtk_arch_v1 *arch, mtk_error *err) {
  size_t n = mtk_model_tensor_count(model), n_bad = 0;
  const mtk_tensor *first = NULL;
  member *members = mtk_alloc(n, sizeof *members);
  if (!members) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n; i++) {
    members[i] = member_of(mtk_model_tensor_at(model, i), arch);
    size_t j = members[i].group ? 0 : i;
    while (j < i && !differ(&members[i], &members[j])) j++;
    if (j < i && !n_bad++) first = members[i].t;
  }
  mtk_free(members);
  if (!n_bad) return MTK_OK;
  return mtk_model_warn(model,
                        "%zu tensors have other global scales than the matrices that loaders fuse "
                        "with them (first: %s): such programs compute with one of both",
                        n_bad, first->name);
}
