/* tensor/iq_grids.h: codebooks of ggml's IQ types; packing in iq_grids.c. */
#ifndef MTK_TENSOR_IQ_GRIDS_H
#define MTK_TENSOR_IQ_GRIDS_H

#include <stdint.h>

extern const uint16_t mtk_grid_iq2_xxs[256];
extern const uint16_t mtk_grid_iq2_xs[512];
extern const uint16_t mtk_grid_iq2_s[1024];
extern const uint16_t mtk_grid_iq3_xxs[256];
extern const uint16_t mtk_grid_iq3_s[512];
extern const uint16_t mtk_grid_iq1[2048];

#endif
