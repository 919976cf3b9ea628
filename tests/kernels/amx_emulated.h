/* tests/kernels/amx_emulated.h: the level amx on tiles made of plain memory (one thread). */
#ifndef MTK_TESTS_AMX_EMULATED_H
#define MTK_TESTS_AMX_EMULATED_H

#include <mtk/kernel.h>

/* Fills the table; 0 on a machine without AVX-512, which it needs for the rest. */
int ck_amx_emulated(mtk_kernels *table);

#endif
