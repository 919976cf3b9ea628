/* isa.c: which kernel level to run: asked for, forced by MTK_CPU, or the best there is. Results are
 * the same for all levels; the choice is logged with its reason, once. Any thread. */
#include <mtk/limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* All engines of a process have the same level for the same reason, which is said once. */
static void log_choice(const mtk_kernels *table, const char *reason) {
  static _Atomic unsigned logged; /* a bit a level */
  const unsigned bit = 1u << table->isa;
  if (!(atomic_fetch_or(&logged, bit) & bit))
    mtk_log(MTK_LOG_INFO, "kernels: %s (%s)", table->isa_name, reason);
}

mtk_status mtk_kernels_choose(mtk_kernels *table, const char **why, int isa, mtk_error *err) {
  const char *forced = getenv("MTK_CPU"), *reason = isa >= 0 ? "asked for" : NULL, *machine = "";
  mtk_isa most = isa >= 0 ? (mtk_isa)isa : MTK_ISA_AMX;
  if (isa < 0 && forced && forced[0]) {
    most = mtk_isa_by_name(forced);
    reason = "forced by MTK_CPU";
    if (most == MTK_ISA_COUNT)
      return mtk_fail(err, MTK_E_INVALID, "MTK_CPU", "'%.40s' is none of ref, avx2, avx512, amx",
                      forced);
  }
  mtk_isa level = mtk_isa_best_up_to(most, &machine);
  if (reason && level < most)
    return mtk_fail(err, isa >= 0 ? MTK_E_UNSUPPORTED : MTK_E_INVALID, "MTK_CPU",
                    "this machine cannot run the kernel level that was %s (%s)", reason, machine);
  if (!reason) reason = machine;
  mtk_kernels_init(table, level);
  log_choice(table, reason);
  if (why) *why = reason;
  return MTK_OK;
}

static mtk_kernels default_kernels;

/* A level that MTK_CPU cannot have counts as not given here: engines report it. */
static void init_default(void) {
  mtk_error ignored;
  if (mtk_kernels_choose(&default_kernels, NULL, -1, &ignored) != MTK_OK)
    mtk_kernels_init(&default_kernels, mtk_isa_best(NULL));
}

const mtk_kernels *mtk_kernels_default(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_default);
  return &default_kernels;
}
