/* tests/kernels/amx_emulated.c: kernels/amx over tiles of plain memory, so that its bits are
 * checked on machines without AMX: each tile instruction by what Intel's manual (SDM vol. 2,
 * TDPBF16PS) says. Needs AVX-512; one thread. */
#include "kernels/amx_emulated.h"

#ifdef __AVX512F__
#include <immintrin.h>
#include <math.h>
#include <string.h>

typedef struct tile {
  uint32_t row[16][16];
} tile;
static tile emulated[8];
static int configured;

static void emulate_config(const void *config) {
  const uint8_t *c = config;
  configured = c[0] == 1;
  for (int i = 0; i < 8; i++) configured = configured && c[16 + 2 * i] == 64 && c[48 + i] == 16;
  memset(emulated, 0, sizeof emulated);
}

static void emulate_load(int t, const void *base, int64_t stride) {
  for (int r = 0; r < 16 && configured; r++)
    memcpy(emulated[t].row[r], (const char *)base + r * stride, 64);
}

static void emulate_store(int t, void *base, int64_t stride) {
  for (int r = 0; r < 16 && configured; r++)
    memcpy((char *)base + r * stride, emulated[t].row[r], 64);
}

static float bits_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* MXCSR flushes denormals of inputs and results here, as the instruction always does. */
static __attribute__((noinline)) void multiply(tile *c, const tile *a, const tile *b) {
  for (int m = 0; m < 16; m++) {
    for (int n = 0; n < 16; n++) {
      float even = 0.0f, odd = 0.0f, sum;
      for (int k = 0; k < 16; k++) {
        uint32_t x = a->row[m][k], w = b->row[k][n];
        even = fmaf(bits_float(x << 16), bits_float(w << 16), even);
        odd = fmaf(bits_float(x & 0xffff0000u), bits_float(w & 0xffff0000u), odd);
      }
      memcpy(&sum, &c->row[m][n], sizeof sum);
      sum += even + odd;
      memcpy(&c->row[m][n], &sum, sizeof sum);
    }
  }
}

static void emulate_multiply(int c, int a, int b) {
  unsigned csr = _mm_getcsr();
  _mm_setcsr(csr | 0x8040);
  multiply(&emulated[c], &emulated[a], &emulated[b]);
  _mm_setcsr(csr);
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig emulate_config
#define _tile_release()  (configured = 0)
#define _tile_loadd      emulate_load
#define _tile_stored     emulate_store
#define _tile_dpbf16ps   emulate_multiply
#define MTK_K(name)      mtk_k_##name##__amx_emulated

#include "amx/linear.c"

int ck_amx_emulated(mtk_kernels *table) {
  if (mtk_isa_best(NULL) < MTK_ISA_AVX512) return 0;
  mtk_kernels_init(table, MTK_ISA_AVX512);
  mtk_k_linear_init__amx_emulated(table);
  table->isa = MTK_ISA_AMX;
  table->isa_name = "amx";
  return 1;
}
#else
int ck_amx_emulated(mtk_kernels *table) {
  (void)table;
  return 0;
}
#endif
