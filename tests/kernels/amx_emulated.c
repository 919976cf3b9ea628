/* tests/kernels/amx_emulated.c: kernels/amx over tiles of plain memory, so that its bits are
 * checked on machines without AMX: each tile instruction by what Intel's manual (SDM vol. 2,
 * TDPBF16PS, TDPBSSD) says. Needs AVX-512; one thread. */
#include "kernels/amx_emulated.h"

#ifdef __AVX512F__
#include <math.h>
#include <string.h>

#include "kernels/amx_tiles.h"

typedef struct tile {
  int rows, bytes; /* of a row */
  uint32_t row[16][16];
} tile;
static tile emulated[8];
static int configured;

void ck_emulate_config(const void *config) {
  const uint8_t *c = config;
  configured = c[0] == 1;
  memset(emulated, 0, sizeof emulated);
  for (int i = 0; i < 8; i++) {
    tile *t = &emulated[i];
    t->rows = c[48 + i];
    t->bytes = c[16 + 2 * i];
    if (t->rows < 1 || t->rows > 16 || t->bytes < 4 || t->bytes > 64 || t->bytes % 4)
      configured = 0;
  }
}

void ck_emulate_release(void) { configured = 0; }

void ck_emulate_zero(int t) { memset(emulated[t].row, 0, sizeof emulated[t].row); }

void ck_emulate_load(int t, const void *base, int64_t stride) {
  ck_emulate_zero(t);
  for (int r = 0; r < emulated[t].rows && configured; r++)
    memcpy(emulated[t].row[r], (const char *)base + r * stride, (size_t)emulated[t].bytes);
}

void ck_emulate_store(int t, void *base, int64_t stride) {
  for (int r = 0; r < emulated[t].rows && configured; r++)
    memcpy((char *)base + r * stride, emulated[t].row[r], (size_t)emulated[t].bytes);
}

/* Do the shapes of a product fit together? Otherwise the processor would fault. */
static int fit(const tile *c, const tile *a, const tile *b) {
  return configured && c->rows == a->rows && c->bytes == b->bytes && a->bytes == 4 * b->rows;
}

static float bits_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* MXCSR flushes denormals of inputs and results here, as the instruction always does. */
static __attribute__((noinline)) void multiply(tile *c, const tile *a, const tile *b) {
  for (int m = 0; m < c->rows; m++) {
    for (int n = 0; n < c->bytes / 4; n++) {
      float even = 0.0f, odd = 0.0f, sum;
      for (int k = 0; k < b->rows; k++) {
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

void ck_emulate_dpbf16ps(int c, int a, int b) {
  unsigned csr = _mm_getcsr();
  if (!fit(&emulated[c], &emulated[a], &emulated[b])) return;
  _mm_setcsr(csr | 0x8040);
  multiply(&emulated[c], &emulated[a], &emulated[b]);
  _mm_setcsr(csr);
}

void ck_emulate_dpbssd(int c, int a, int b) {
  tile *to = &emulated[c];
  if (!fit(to, &emulated[a], &emulated[b])) return;
  for (int m = 0; m < to->rows; m++) {
    for (int n = 0; n < to->bytes / 4; n++) {
      for (int k = 0; k < emulated[b].rows; k++) {
        uint32_t x = emulated[a].row[m][k], w = emulated[b].row[k][n];
        for (int i = 0; i < 32; i += 8) {
          to->row[m][n] += (uint32_t)((int8_t)(x >> i) * (int8_t)(w >> i));
        }
      }
    }
  }
}

#include "amx/linear.c"

int ck_amx_emulated(mtk_kernels *table) {
  if (mtk_isa_best(NULL) < MTK_ISA_AVX512) return 0;
  mtk_kernels_init(table, MTK_ISA_AVX512);
  mtk_k_linear_init__amx_emulated(table);
  mtk_k_linear_a8_init__amx_emulated(table);
  mtk_k_linear_k_init__amx_emulated(table);
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
