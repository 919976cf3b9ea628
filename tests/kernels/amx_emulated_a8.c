/* tests/kernels/amx_emulated_a8.c: kernels/amx/linear_a8.c on the tiles of amx_emulated.c. */
#ifdef __AVX512F__
#include "kernels/amx_tiles.h"

#include "amx/linear_a8.c"
#endif
