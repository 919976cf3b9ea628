/* kernels/table.c: the kernel table of a level, and which levels this machine has. Reference
 * kernels fill the table first, then each level lays its own over them: a kernel that a level lacks
 * is the one below. No state; any thread may enter. */
#include <string.h>

#include "families.h"

static const char *const isa_names[MTK_ISA_COUNT] = {"ref", "avx2", "avx512", "amx"};

mtk_isa mtk_isa_by_name(const char *name) {
  int i = 0;
  while (i < MTK_ISA_COUNT && strcmp(name, isa_names[i]) != 0) i++;
  return (mtk_isa)i;
}

#ifdef __x86_64__
#include <cpuid.h>

enum { FAMILIES = 7 };
typedef void init_fn(mtk_kernels *table);

static init_fn *const overlays[][FAMILIES] = {
    {mtk_k_linear_init__avx2, mtk_k_vector_init__avx2, mtk_k_attention_init__avx2,
     mtk_k_gemm_init__avx2, mtk_k_moe_init__avx2, mtk_k_encode_init__avx2,
     mtk_k_peak_init__avx2},
    {mtk_k_linear_init__avx512, mtk_k_vector_init__avx512, mtk_k_attention_init__avx512,
     mtk_k_gemm_init__avx512, mtk_k_moe_init__avx512, mtk_k_encode_init__avx512,
     mtk_k_peak_init__avx512},
};

static void lay_over(mtk_kernels *table, mtk_isa level) {
  for (int l = MTK_ISA_AVX2; l <= (int)level && l <= MTK_ISA_AVX512; l++) {
    for (int f = 0; f < FAMILIES; f++) overlays[l - MTK_ISA_AVX2][f](table);
  }
}

enum { EAX, EBX, ECX, EDX };

/* What each level asks of CPUID (Intel SDM vol. 2, CPUID), lowest level first. */
typedef struct isa_need {
  mtk_isa level;
  unsigned leaf;
  int reg, bit;
  const char *lacking; /* the reason when this bit is the one that stops the climb */
} isa_need;

static const isa_need needs[] = {
    {MTK_ISA_AVX2, 1, ECX, 27, "the operating system does not enable XSAVE"},
    {MTK_ISA_AVX2, 1, ECX, 28, "this CPU has no AVX"},
    {MTK_ISA_AVX2, 1, ECX, 12, "this CPU has no FMA"},
    {MTK_ISA_AVX2, 1, ECX, 29, "this CPU has no F16C"},
    {MTK_ISA_AVX2, 7, EBX, 5, "this CPU has no AVX2"},
    {MTK_ISA_AVX512, 7, EBX, 16, "AVX2, FMA and F16C; this CPU has no AVX-512F"},
    {MTK_ISA_AVX512, 7, EBX, 17, "AVX2, FMA and F16C; this CPU has no AVX-512DQ"},
    {MTK_ISA_AVX512, 7, EBX, 30, "AVX2, FMA and F16C; this CPU has no AVX-512BW"},
    {MTK_ISA_AVX512, 7, EBX, 31, "AVX2, FMA and F16C; this CPU has no AVX-512VL"},
    {MTK_ISA_AVX512, 7, ECX, 11, "AVX2, FMA and F16C; this CPU has no AVX-512 VNNI"},
};

/* Register state the OS must save (XCR0): SSE and AVX; for AVX-512 masks and both upper halves. */
static const struct {
  unsigned long long mask;
  const char *lacking;
} os_state[] = {
    [MTK_ISA_AVX2] = {0x6, "the operating system does not save AVX registers"},
    [MTK_ISA_AVX512] = {0xe6,
                        "AVX2, FMA and F16C; the operating system does not save AVX-512 registers"},
};

static unsigned long long xgetbv0(void) {
  unsigned lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return ((unsigned long long)hi << 32) | lo;
}

static int has_bit(const isa_need *n) {
  unsigned r[4];
  if (!__get_cpuid_count(n->leaf, 0, &r[EAX], &r[EBX], &r[ECX], &r[EDX])) return 0;
  return (int)(r[n->reg] >> n->bit) & 1;
}

mtk_isa mtk_isa_best(const char **why) {
  const char *reason = "AVX-512 F, BW, DQ, VL and VNNI";
  mtk_isa best = MTK_ISA_AVX512;
  for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
    if (has_bit(&needs[i])) continue;
    reason = needs[i].lacking;
    best = (mtk_isa)(needs[i].level - 1);
    break;
  }
  for (int l = MTK_ISA_AVX2; l <= (int)best; l++) {
    if ((xgetbv0() & os_state[l].mask) == os_state[l].mask) continue;
    reason = os_state[l].lacking;
    best = (mtk_isa)(l - 1);
  }
  if (why) *why = reason;
  return best;
}

#else

static void lay_over(mtk_kernels *table, mtk_isa level) {
  (void)table;
  (void)level;
}

mtk_isa mtk_isa_best(const char **why) {
  if (why) *why = "no other kernels exist for this processor family";
  return MTK_ISA_REF;
}
#endif

void mtk_kernels_init(mtk_kernels *table, mtk_isa level) {
  memset(table, 0, sizeof *table);
  table->isa = level;
  table->isa_name = isa_names[level];
  mtk_k_linear_init__ref(table);
  mtk_k_vector_init__ref(table);
  mtk_k_attention_init__ref(table);
  mtk_k_gemm_init__ref(table);
  mtk_k_moe_init__ref(table);
  mtk_k_encode_init__ref(table);
  mtk_k_peak_init__ref(table);
  lay_over(table, level);
}
