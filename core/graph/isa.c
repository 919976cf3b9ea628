/* isa.c: which kernel level to run: asked for, forced by MTK_CPU, or the best there is. Results are
 * the same for all levels; the choice is logged with its reason. Any thread. */
#include "graph/exec.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

mtk_status mtk_kernels_choose(mtk_kernels *table, char *why, size_t why_size, int isa,
                              mtk_error *err) {
  const char *best_why = "";
  mtk_isa best = mtk_isa_best(&best_why), level = isa < 0 ? best : (mtk_isa)isa;
  const char *forced = getenv("MTK_CPU"), *reason = best_why;
  if (isa >= 0) {
    reason = "asked for";
  } else if (forced && forced[0]) {
    level = mtk_isa_by_name(forced);
    reason = "forced by MTK_CPU";
    if (level == MTK_ISA_COUNT)
      return mtk_fail(err, MTK_E_INVALID, "MTK_CPU", "'%s' is none of ref, avx2, avx512, amx",
                      forced);
  }
  if (level > best)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "MTK_CPU",
                    "this machine cannot run the kernel level that was %s (%s)", reason, best_why);
  mtk_kernels_init(table, level);
  mtk_log(MTK_LOG_DEBUG, "kernels: %s (%s)", table->isa_name, reason);
  if (why && why_size > 0) snprintf(why, why_size, "%s (%s)", table->isa_name, reason);
  return MTK_OK;
}

static mtk_kernels default_kernels;

/* A level that MTK_CPU cannot have counts as not given here: engines report it. */
static void init_default(void) {
  mtk_error ignored;
  if (mtk_kernels_choose(&default_kernels, NULL, 0, -1, &ignored) != MTK_OK)
    mtk_kernels_init(&default_kernels, mtk_isa_best(NULL));
}

const mtk_kernels *mtk_kernels_default(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_default);
  return &default_kernels;
}
