/* tests/kernels/linear_bench.h: speed of the linear kernels over tests/bench/shapes. */
#ifndef MTK_TESTS_LINEAR_BENCH_H
#define MTK_TESTS_LINEAR_BENCH_H

#include <mtk/kernel.h>

/* One line (CSV after --csv) per kernel and shape: time of one call including the preparation of
 * activations, GOP/s, GB/s of packed weights, and what part that is of the limits measured beside
 * it: multiply-adds on registers, and reading as many bytes, which may come from a cache. Types
 * that run as the f32 or bf16 they decode to are left out. */
void ck_bench_linear(const mtk_kernels *k);

#endif
