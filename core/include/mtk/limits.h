/* mtk/limits.h: what the machine can do: its level of instructions, its memory, and how many
 * multiply-adds on registers and bytes read at most. These limits are the best of several passes,
 * in which the threads of a pool (NULL: the caller alone), but no more than there are CPUs, begin
 * together. Multiply-adds are sums over the threads, each by its own CPU time, so that other
 * programs on a busy machine hardly count; reading is timed by the clock from the first start to
 * the last end, since a thread that reads alone has the memory for itself. 0: the threads never ran
 * at the same time. One call at a time. */
#ifndef MTK_LIMITS_H
#define MTK_LIMITS_H

#include <mtk/base.h>
#include <mtk/kernel.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Operations a second (a multiply-add is 2) of what each arithmetic is made of. */
mtk_status mtk_limits_ops(double out[MTK_ARITH_COUNT], const mtk_kernels *kernels, mtk_pool *pool,
                          mtk_error *err);
/* Bytes a second when `bytes` are read again and again, in huge pages where there are some: from
 * the caches where they fit there, else from memory. The best over numbers of streams, with and
 * without fetching ahead. */
mtk_status mtk_limits_read(double *out, const mtk_kernels *kernels, mtk_pool *pool, uint64_t bytes,
                           mtk_error *err);

/* Bytes of memory that this process may still take: what the system has available, or less where a
 * cgroup allows less (files in the page cache that nobody uses count as available). Any thread. */
uint64_t mtk_memory_available(void);

/* The kernel table of a level: -1 = that which MTK_CPU names, else the best. Logs once which one
 * that is and the reason, a static string that *why (may be NULL) is set to. MTK_E_INVALID: MTK_CPU
 * names no level, or one that this machine cannot run; MTK_E_UNSUPPORTED: it cannot run `isa`.
 * Any thread. */
mtk_status mtk_kernels_choose(mtk_kernels *table, const char **why, int isa, mtk_error *err);

#ifdef __cplusplus
}
#endif
#endif
