/* tests/kernels/linear_bench.c: see linear_bench.h. Single-threaded. */
#include "kernels/linear_bench.h"

#include <mtk/limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/checkker.h"

enum { MAX_SHAPES = 256 };
static const char *const arith_names[MTK_ARITH_COUNT] = {"a32", "a16", "a8"};

/* What one thread can do at most: operations, and bytes read of a matrix of this size, a second. */
typedef struct limits {
  double ops[MTK_ARITH_COUNT], read;
} limits;

static void must(mtk_status st, const mtk_error *err) {
  if (st == MTK_OK) return;
  fprintf(stderr, "limits: %s\n", err->message);
  exit(1);
}

static double read_rate(const mtk_kernels *k, size_t bytes) {
  mtk_error err;
  double rate;
  must(mtk_limits_read(&rate, k, NULL, bytes, &err), &err);
  return rate;
}

/* A kernel with its weights packed, and the batch of the moment. */
typedef struct timed {
  const mtk_linear_kernel *l;
  int64_t m, n, k;
  const float *x;
  float *y;
  void *act, *packed;
} timed;

static int64_t panels(int64_t n) { return (n + MTK_PANEL - 1) / MTK_PANEL; }

static void call(void *arg) {
  timed *t = arg;
  t->l->prepare(t->act, t->x, t->k, t->m, 0, t->m, t->k);
  t->l->run(t->y, t->n, t->act, t->m, 0, t->m, t->packed, t->n, t->k, 0, panels(t->n));
}

/* The same 16 random rows in every panel: speed does not depend on values. */
static void *pack(const mtk_linear_kernel *l, int64_t n, int64_t k) {
  size_t row_bytes = mtk_dtype_bytes(l->type, (uint64_t)k);
  uint8_t *rows = ck_buf(MTK_PANEL * row_bytes, 0);
  float *values = ck_floats(k, 0);
  for (int r = 0; r < MTK_PANEL; r++) {
    ck_fill(values, k, CK_NORMAL);
    mtk_dtype_encode(l->type, rows + (size_t)r * row_bytes, values, (size_t)k);
  }
  void *packed = ck_buf(l->packed_bytes(n, k) - l->grid_bytes(n, k), 0);
  for (int64_t p = 0; p < panels(n); p++) {
    int64_t row = p * MTK_PANEL, left = n - row < MTK_PANEL ? n - row : MTK_PANEL;
    l->pack(packed, &(mtk_wview){l->type, n, k, rows, row, left, NULL, 0, 0}, p, p + 1);
  }
  return packed;
}

static double part(double value, double limit) { return limit > 0 ? 100.0 * value / limit : 0.0; }

static size_t packed_bytes(const timed *t) {
  return t->l->packed_bytes(t->n, t->k) - t->l->grid_bytes(t->n, t->k);
}

static void print_row(const mtk_kernels *k, const timed *t, const ck_shape *shape, double s,
                      const limits *at_most) {
  double ops = 2e-9 * (double)t->m * (double)t->n * (double)t->k / s;
  size_t bytes = packed_bytes(t);
  double read = 1e-9 * (double)bytes / s, limit = 1e-9 * at_most->ops[t->l->arith];
  double read_limit = 1e-9 * at_most->read;
  long long m = t->m, n = t->n, depth = t->k;
  if (ck_csv()) {
    printf("%s,%s,%s,%s,%s,%lld,%lld,%lld,%.2f,%.2f,%.2f,%.2f,%.2f\n", k->isa_name,
           mtk_dtype_get(t->l->type)->name, arith_names[t->l->arith], shape->model, shape->label, m,
           n, depth, 1e6 * s, ops, read, limit, read_limit);
  } else {
    printf("%-34s %-8s %-8s %5lld x %5lld x %5lld %9.1f us %7.1f GOP/s (%3.0f %%) %6.2f GB/s "
           "(%3.0f %%)\n",
           t->l->name, shape->model, shape->label, m, n, depth, 1e6 * s, ops, part(ops, limit),
           read, part(read, read_limit));
  }
  fflush(stdout);
}

/* Shapes that differ in m alone, at shapes[0..count). */
static void time_kernel(const mtk_kernels *k, const mtk_linear_kernel *l, const ck_shape *shapes,
                        int count) {
  timed t = {.l = l, .n = shapes->n, .k = shapes->k};
  if (t.k % mtk_dtype_get(l->type)->block_elems) return;
  mtk_error err;
  limits at_most; /* measured beside every kernel: others use the machine too */
  must(mtk_limits_ops(at_most.ops, k, NULL, &err), &err);
  t.packed = pack(l, t.n, t.k);
  double after = read_rate(k, packed_bytes(&t));
  for (int i = 0; i < count; i++) {
    t.m = shapes[i].m;
    if (k->isa == MTK_ISA_REF && t.m > 1) continue; /* minutes */
    float *x = ck_floats(t.m * t.k, 0);
    ck_fill(x, t.m * t.k, CK_NORMAL);
    t.x = x;
    t.y = ck_floats(t.m * t.n, 0);
    t.act = ck_buf(l->act_bytes(t.m, t.k), 0);
    double seconds = ck_seconds(call, &t), before = after;
    after = read_rate(k, packed_bytes(&t));
    at_most.read = before > after ? before : after;
    print_row(k, &t, &shapes[i], seconds, &at_most);
  }
  ck_free_all();
}

/* Does this kernel run as that of another type that the weights were decoded to? */
static int is_decoded(const mtk_kernels *k, mtk_dtype type, int arith) {
  mtk_dtype as = arith == MTK_A32 ? MTK_F32 : MTK_BF16;
  return arith != MTK_A8 && type != as && k->linear[type][arith]->run == k->linear[as][arith]->run;
}

static int same_weights(const ck_shape *a, const ck_shape *b) {
  return strcmp(a->model, b->model) == 0 && strcmp(a->label, b->label) == 0 && a->n == b->n &&
         a->k == b->k;
}

void ck_bench_linear(const mtk_kernels *k) {
  static ck_shape shapes[MAX_SHAPES];
  int n_shapes = ck_shapes(shapes, MAX_SHAPES);
  if (ck_csv()) printf("isa,type,arith,model,label,m,n,k,us,gops,gbs,ops_limit,read_limit\n");
  for (int first = 0, count; first < n_shapes; first += count) {
    count = 1;
    while (first + count < n_shapes && same_weights(&shapes[first], &shapes[first + count])) {
      count++;
    }
    for (int type = 0; type < MTK_DTYPE_COUNT; type++) {
      for (int a = 0; a < MTK_ARITH_COUNT; a++) {
        const mtk_linear_kernel *l = k->linear[type][a];
        if (!l || !ck_wanted(l->name) || is_decoded(k, (mtk_dtype)type, a)) continue;
        time_kernel(k, l, &shapes[first], count);
      }
    }
  }
}
