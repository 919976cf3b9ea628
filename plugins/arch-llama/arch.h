/* arch.h: what the files of this plugin share. */
#ifndef ARCH_LLAMA_H
#define ARCH_LLAMA_H

#include <mtk/plugin.h>

#include <mtk/ext/arch.h>

extern const mtk_arch_hparam llama_hparams[];
extern const mtk_arch_hparam qwen2_hparams[];
extern const mtk_arch_tensor llama_tensors[];
extern const mtk_arch_tensor qwen2_tensors[];

/* The decoder that both rows share; see MODEL.md. */
mtk_status llama_build(mtk_graph *g, const mtk_model *model, mtk_error *err);

#endif
