/* tests/kernels/amx_emulated_k.c: kernels/amx/linear_k.c on the tiles of amx_emulated.c. */
#ifdef __AVX512F__
#include "kernels/amx_tiles.h"

#include "amx/linear_k.c"
#endif
