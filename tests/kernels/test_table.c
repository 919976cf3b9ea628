/* tests/kernels/test_table.c: the table of each level is complete, and levels go by their names. */
#include <stddef.h>
#include <string.h>

#include "kernels/checkker.h"

/* Every function pointer from `rmsnorm` to the end of the table is set. */
static void test_complete(const mtk_kernels *k) {
  mtk_kernels table;
  mtk_kernels_init(&table, k->isa);
  if (table.isa != k->isa) ck_fail("level %d says it is %d", k->isa, table.isa);
  void *entry;
  for (size_t at = offsetof(mtk_kernels, rmsnorm); at < sizeof table; at += sizeof entry) {
    memcpy(&entry, (const char *)&table + at, sizeof entry);
    if (!entry) ck_fail("%s: the entry at byte %zu is NULL", table.isa_name, at);
  }
}

static void test_names(const mtk_kernels *k) {
  if (mtk_isa_by_name(k->isa_name) != k->isa) ck_fail("%s is not found", k->isa_name);
  if (mtk_isa_by_name("pentium") != MTK_ISA_COUNT) ck_fail("an unknown level is found");
  const char *why = NULL;
  if (mtk_isa_best(&why) < k->isa) ck_fail("best is below %s", k->isa_name);
  if (!why || !*why) ck_fail("no reason given");
  if (mtk_isa_best_up_to(k->isa, &why) != k->isa) ck_fail("%s is not its own best", k->isa_name);
  if (mtk_isa_best_up_to(MTK_ISA_REF, NULL) != MTK_ISA_REF) ck_fail("ref lacks something");
}

/* A kernel's name ends in a level that its table may hold. */
static void test_levels(const mtk_kernels *k) {
  for (int t = 0; t < MTK_DTYPE_COUNT; t++) {
    for (int a = 0; a < MTK_ARITH_COUNT; a++) {
      const mtk_linear_kernel *l = k->linear[t][a];
      if (!l) continue;
      const char *suffix = strstr(l->name, "__");
      mtk_isa isa = suffix ? mtk_isa_by_name(suffix + 2) : MTK_ISA_COUNT;
      if (isa > k->isa) ck_fail("%s stands in the table of %s", l->name, k->isa_name);
    }
  }
}

/* What is measured: all words are read once, whatever the streams; the work is counted. */
static void test_limits(const mtk_kernels *k) {
  enum { WORDS = 1000 };
  uint64_t *words = ck_buf(WORDS * sizeof *words, 0);
  ck_fill_bytes(words, WORDS * sizeof *words);
  for (size_t n = 0; n <= WORDS; n = n * 3 + 1)
    for (int streams = -9; streams <= 9; streams++)
      if (streams && k->read_words(words, n, streams) != ck_ref()->read_words(words, n, 1))
        ck_fail("%s: %zu words in %d streams", k->isa_name, n, streams);
  for (int a = 0; a < MTK_ARITH_COUNT; a++) {
    float *io = ck_floats(32, 0);
    ck_fill(io, 32, CK_NORMAL);
    double one = k->peak[a](io, 1);
    if (!(one > 0) || k->peak[a](io, 10) - 10 * one > 0 || k->peak[a](io, 10) - 10 * one < 0)
      ck_fail("%s: arithmetic %d counts %g operations a round", k->isa_name, a, one);
  }
}

int main(int argc, char **argv) {
  static const ck_check checks[] = {
      {"table_complete", test_complete, NULL},
      {"table_names", test_names, NULL},
      {"table_levels", test_levels, NULL},
      {"table_limits", test_limits, NULL},
  };
  return ck_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
