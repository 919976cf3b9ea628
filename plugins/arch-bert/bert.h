/* bert.h: what the files of this plugin share. Internal. */
#ifndef ARCH_BERT_H
#define ARCH_BERT_H

#include <mtk/ext/arch.h>
#include <mtk/plugin.h>

/* The graph of both rows: hyperparameters and the presence of tensors decide (build.c). */
mtk_status bert_build(mtk_graph *g, const mtk_model *model, mtk_error *err);

#endif
