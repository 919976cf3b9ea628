/* gptq.h: the parts of method gptq: factor.c, grid.c, gptq.c. */
#ifndef QUANT_WEIGHTS_GPTQ_H
#define QUANT_WEIGHTS_GPTQ_H

#include <mtk/plugin.h>

#include <mtk/ext/quantizer.h>

/* Wider vectors where the machine has them; without contraction the results are the same. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GPTQ_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GPTQ_WIDE
#endif

/* ---- factor.c: the order of the columns and the factor of the inverse Hessian ---------------- */

typedef struct gptq_factor {
  int64_t k;
  int64_t *order;       /* columns by falling diagonal (act-order), or ascending */
  float *u;             /* [k][k] upper triangular, in that order: inverse(H + damp I) = u^T u */
  float *column_weight; /* [k] diagonal of H, source order: importance of a column */
} gptq_factor;

/* h: [k][k], symmetric. damp: share of the mean diagonal that is added to it. A column that was
 * never active is given the mean diagonal. pool: may be NULL. */
mtk_status gptq_factor_create(gptq_factor **out, const float *h, int64_t k, double damp,
                              bool act_order, mtk_pool *pool, mtk_error *err);
void gptq_factor_destroy(gptq_factor *f);

/* ---- grid.c: storage types as rows of grids whose scales are fixed ----------------------------
 * */

/* The values an element can take: a * level + b. */
typedef struct gptq_grid {
  float a, b;
} gptq_grid;

typedef struct gptq_type {
  mtk_dtype dtype;
  int group;  /* elements that share a grid, contiguous along k */
  int lo, hi; /* levels are these integers, or what `level` says */
  gptq_grid (*grid)(const uint8_t *row, int64_t group);
  /* Store a code (integer levels: level - lo) as element e of a row. */
  void (*put)(uint8_t *row, int64_t e, int code);
  /* The nearest level and its code; NULL = integers. */
  float (*level)(int *code, float x);
} gptq_type;

const gptq_type *gptq_type_find(mtk_dtype dtype); /* NULL: the method is not defined for it */

/* The value of the grid nearest to x, and its code for put. */
float gptq_nearest(int *code, const gptq_type *type, gptq_grid grid, float x);

#endif
