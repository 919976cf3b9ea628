/* tests/emulation/amx.c: AMX tiles of plain memory, so that the bits of kernels/amx are checked on
 * machines without AMX: each instruction by what Intel's manual (SDM vol. 2, TDPBF16PS, TDPBSSD)
 * says. State of a thread; any thread. */
#include "emulation/amx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct tile {
  int rows, bytes; /* of a row */
  uint32_t row[16][16];
} tile;
static _Thread_local tile tiles[8];
static _Thread_local int configured;

static void fault(const char *instruction, const char *why) {
  fprintf(stderr, "emulated AMX: %s: %s\n", instruction, why);
  abort();
}

static tile *tile_of(int t, const char *instruction) {
  if (!configured) fault(instruction, "tiles are not configured");
  return &tiles[t];
}

void mtk_emulated_loadconfig(const void *config) {
  const uint8_t *c = config;
  if (c[0] != 1 || c[1] != 0) fault("LDTILECFG", "palette 1 from row 0 is all there is");
  for (int i = 0; i < 8; i++) {
    tile *t = &tiles[i];
    *t = (tile){.rows = c[48 + i], .bytes = c[16 + 2 * i] | c[17 + 2 * i] << 8};
    if (t->rows < 1 || t->rows > 16 || t->bytes < 1 || t->bytes > 64)
      fault("LDTILECFG", "a tile has 1 to 16 rows of 1 to 64 bytes");
    if (t->bytes % 4) fault("LDTILECFG", "dwords only here");
  }
  configured = 1;
}

void mtk_emulated_release(void) { configured = 0; }

void mtk_emulated_zero(int t) { memset(tile_of(t, "TILEZERO")->row, 0, sizeof tiles[t].row); }

void mtk_emulated_loadd(int t, const void *base, int64_t stride) {
  tile *to = tile_of(t, "TILELOADD");
  memset(to->row, 0, sizeof to->row);
  for (int r = 0; r < to->rows; r++)
    memcpy(to->row[r], (const char *)base + r * stride, (size_t)to->bytes);
}

void mtk_emulated_stored(int t, void *base, int64_t stride) {
  const tile *from = tile_of(t, "TILESTORED");
  for (int r = 0; r < from->rows; r++)
    memcpy((char *)base + r * stride, from->row[r], (size_t)from->bytes);
}

/* The tiles of a product; the processor faults when their shapes do not fit together. */
typedef struct product {
  tile *c;
  const tile *a, *b;
} product;
static product product_of(int c, int a, int b, const char *instruction) {
  product p = {tile_of(c, instruction), &tiles[a], &tiles[b]};
  if (c == a || c == b || a == b) fault(instruction, "a tile twice");
  if (p.c->rows != p.a->rows || p.c->bytes != p.b->bytes || p.a->bytes != 4 * p.b->rows)
    fault(instruction, "shapes do not fit together");
  return p;
}

/* Sums of bf16 as floats, of which a dword holds the even one below the odd one. */
static __attribute__((noinline)) void multiply_bf16(product p) {
  for (int m = 0; m < p.c->rows; m++) {
    float even[16] = {0}, odd[16] = {0}, sum[16];
    for (int k = 0; k < p.b->rows; k++) {
      uint32_t x[2] = {p.a->row[m][k] << 16, p.a->row[m][k] & 0xffff0000u}, w[2][16];
      float xf[2], wf[2][16];
      for (int n = 0; n < 16; n++) {
        w[0][n] = p.b->row[k][n] << 16;
        w[1][n] = p.b->row[k][n] & 0xffff0000u;
      }
      memcpy(xf, x, sizeof x);
      memcpy(wf, w, sizeof w);
      for (int n = 0; n < 16; n++) {
        even[n] = fmaf(xf[0], wf[0][n], even[n]);
        odd[n] = fmaf(xf[1], wf[1][n], odd[n]);
      }
    }
    memcpy(sum, p.c->row[m], sizeof sum);
    for (int n = 0; n < p.c->bytes / 4; n++) sum[n] += even[n] + odd[n];
    memcpy(p.c->row[m], sum, sizeof sum);
  }
}

/* Whatever MXCSR says, denormals count as zeros, rounding is to nearest even. */
void mtk_emulated_dpbf16ps(int c, int a, int b) {
  product p = product_of(c, a, b, "TDPBF16PS");
  unsigned csr = _mm_getcsr();
  _mm_setcsr(0x1f80 | 0x8040);
  multiply_bf16(p);
  _mm_setcsr(csr);
}

void mtk_emulated_dpbssd(int c, int a, int b) {
  product p = product_of(c, a, b, "TDPBSSD");
  for (int m = 0; m < p.c->rows; m++) {
    for (int k = 0; k < p.b->rows; k++) {
      uint32_t x = p.a->row[m][k];
      for (int n = 0; n < p.c->bytes / 4; n++) {
        uint32_t w = p.b->row[k][n];
        for (int i = 0; i < 32; i += 8)
          p.c->row[m][n] += (uint32_t)((int8_t)(x >> i) * (int8_t)(w >> i));
      }
    }
  }
}
