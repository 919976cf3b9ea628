/* kernels/table.c: the kernel table of a level, and which levels this machine has. Reference
 * kernels fill the table first, then each level lays its own over them: a kernel that a level lacks
 * is the one below. Any thread may enter; the only state is a remembered answer. */
#include <stdatomic.h>
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
#include <sys/syscall.h>
#include <unistd.h>

/* The highest level whose instructions the CPU itself must have. A build that emulates those above
 * AVX2 is for tests (tests/emulation). */
#ifdef MTK_EMULATE
static const mtk_isa native = MTK_ISA_AVX2;
static const char *const all_there = "emulated on AVX2, FMA and F16C";
#else
static const mtk_isa native = MTK_ISA_AMX;
static const char *const all_there = "AVX-512 F, BW, DQ, VL and VNNI, AMX-BF16 and AMX-INT8";
#endif

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
  if (level < MTK_ISA_AMX) return;
  mtk_k_linear_init__amx(table);
  mtk_k_linear_a8_init__amx(table);
  mtk_k_linear_k_init__amx(table);
  mtk_k_peak_init__amx(table);
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
    {MTK_ISA_AMX, 7, EDX, 24, "AVX-512 F, BW, DQ, VL and VNNI; this CPU has no AMX"},
    {MTK_ISA_AMX, 7, EDX, 22, "AVX-512 F, BW, DQ, VL and VNNI; this CPU has no AMX-BF16"},
    {MTK_ISA_AMX, 7, EDX, 25, "AVX-512 F, BW, DQ, VL and VNNI; this CPU has no AMX-INT8"},
};

/* Register state the OS must save (XCR0): SSE and AVX; for AVX-512 masks and both upper halves. */
static const struct {
  unsigned long long mask;
  const char *lacking;
} os_state[] = {
    [MTK_ISA_AVX2] = {0x6, "the operating system does not save AVX registers"},
    [MTK_ISA_AVX512] = {0xe6,
                        "AVX2, FMA and F16C; the operating system does not save AVX-512 registers"},
    [MTK_ISA_AMX] = {0x600e6, "AVX-512; the operating system does not save AMX tiles"},
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

/* Linux gives a process tiles on request only; threads started later have them too. */
static int may_use_tiles(void) {
  enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
  return native < MTK_ISA_AMX || syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

enum { TRIAL_ROWS = 16, TRIAL_K = 64, TRIAL_BYTES = 32 << 10 };

static void try_bf16(float *y, mtk_kernels *table, const float *x, const mtk_wview *w) {
  _Alignas(64) uint8_t packed[TRIAL_BYTES], act[TRIAL_BYTES];
  const mtk_linear_kernel *l = table->linear[MTK_BF16][MTK_A16];
  l->pack(packed, w, 0, 1);
  l->prepare(act, x, TRIAL_K, TRIAL_ROWS, 0, TRIAL_ROWS, TRIAL_K);
  l->run(y, MTK_PANEL, act, TRIAL_ROWS, 0, TRIAL_ROWS, packed, MTK_PANEL, TRIAL_K, 0, 1);
}

/* Do tiles compute what a16 says? That is known of the CPUs that were tried, and documented nowhere
 * to the last bit: a product of numbers of wide range is compared with the reference. */
static int tiles_agree(void) {
  float x[TRIAL_ROWS * TRIAL_K], y[2][TRIAL_ROWS * MTK_PANEL];
  uint16_t weights[MTK_PANEL * TRIAL_K];
  uint32_t random = 1;
  for (int i = 0; i < TRIAL_ROWS * TRIAL_K; i++) {
    random = random * 1664525u + 1013904223u;
    uint32_t wide = (random & 0x807fffffu) | (60u + (random >> 9) % 130u) << 23;
    memcpy(&x[i], &wide, sizeof wide);
    random = random * 1664525u + 1013904223u;
    weights[i] = (uint16_t)((random >> 16 & 0x807fu) | (60u + (random >> 9) % 130u) << 7);
  }
  mtk_wview w = {.type = MTK_BF16, .n = MTK_PANEL, .k = TRIAL_K, .data = weights,
                 .n_rows = MTK_PANEL};
  mtk_kernels table;
  memset(&table, 0, sizeof table);
  mtk_k_linear_init__ref(&table);
  try_bf16(y[0], &table, x, &w);
  mtk_k_linear_init__amx(&table);
  try_bf16(y[1], &table, x, &w);
  return memcmp(y[0], y[1], sizeof y[0]) == 0;
}

/* Why tiles cannot be used; NULL = they can. Found out once. */
static const char *tiles_lack(void) {
  static _Atomic int answer; /* 1 + index */
  static const char *const lacks[] = {
      NULL, "AVX-512; the operating system does not permit AMX tiles to this process",
      "AVX-512; AMX of this CPU computes otherwise than the reference"};
  if (!answer) answer = !may_use_tiles() ? 2 : tiles_agree() ? 1 : 3;
  return lacks[answer - 1];
}

mtk_isa mtk_isa_best_up_to(mtk_isa most, const char **why) {
  const char *reason = all_there;
  mtk_isa best = most < MTK_ISA_AMX ? most : MTK_ISA_AMX;
  for (size_t i = 0; i < sizeof needs / sizeof *needs && needs[i].level <= best; i++) {
    if (needs[i].level > native || has_bit(&needs[i])) continue;
    reason = needs[i].lacking;
    best = (mtk_isa)(needs[i].level - 1);
    break;
  }
  for (int l = MTK_ISA_AVX2; l <= (int)best && l <= (int)native; l++) {
    if ((xgetbv0() & os_state[l].mask) == os_state[l].mask) continue;
    reason = os_state[l].lacking;
    best = (mtk_isa)(l - 1);
  }
  if (best == MTK_ISA_AMX && tiles_lack()) {
    reason = tiles_lack();
    best = MTK_ISA_AVX512;
  }
  if (why) *why = reason;
  return best;
}

#else

static void lay_over(mtk_kernels *table, mtk_isa level) {
  (void)table;
  (void)level;
}

mtk_isa mtk_isa_best_up_to(mtk_isa most, const char **why) {
  (void)most;
  if (why) *why = "no other kernels exist for this processor family";
  return MTK_ISA_REF;
}
#endif

mtk_isa mtk_isa_best(const char **why) { return mtk_isa_best_up_to(MTK_ISA_AMX, why); }

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
