/* bench_peak.c: the machine's limits (mtk/limits.h) with the thread count of the runs that are
 * compared with them. */
#include "bench.h"

mtk_status bench_measure_peak(bench_peak *out, uint64_t weight_bytes, mtk_pool *pool,
                              mtk_error *err) {
  const uint64_t room = mtk_memory_available() / 8, much = (uint64_t)512 << 20;
  *out = (bench_peak){.threads = mtk_pool_size(pool)};
  mtk_kernels best;
  mtk_kernels_init(&best, mtk_isa_best(NULL));
  MTK_TRY(mtk_limits_ops(out->ops, &best, pool, err));
  MTK_TRY(mtk_limits_read(&out->memory, &best, pool, much < room ? much : room, err));
  out->read = out->memory;
  if (weight_bytes >= much || weight_bytes >= room) return MTK_OK;
  return mtk_limits_read(&out->read, &best, pool, weight_bytes, err);
}
