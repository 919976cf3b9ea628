/* rtn.h: inside of the plugin quant-rtn. */
#ifndef MTK_QUANT_RTN_H
#define MTK_QUANT_RTN_H

#include <mtk/plugin.h>

#include <mtk/ext/quantizer.h>

/* plugin.c: what the method can be asked for; ends with a row of name NULL. */
extern const mtk_quant_target rtn_targets[];

/* mixtures.c: which of them a tensor gets (mtk_quantizer_v1.choose). */
const mtk_quant_target *rtn_choose(const mtk_quant_target *asked, const mtk_quant_place *place);

#endif
