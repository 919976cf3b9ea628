/* checkpoints.h: where a run keeps its checkpoints: <out>.ckpt/step-NNNNNNNN, the last two. */
#ifndef MTK_SFT_CHECKPOINTS_H
#define MTK_SFT_CHECKPOINTS_H

#include <mtk/plugin.h>

mtk_status sft_checkpoint_save(const mtk_trainer *t, const char *out, int64_t step,
                               const char *json, mtk_error *err);
/* Load the newest complete one; *found = false if there is none. */
mtk_status sft_checkpoint_load(bool *found, mtk_bytes *json, mtk_trainer *t, const char *out,
                               mtk_error *err);
/* MTK_E_EXISTS when checkpoints of an unfinished run lie there. */
mtk_status sft_checkpoint_refuse(const char *out, mtk_error *err);
/* Remove all but the newest `keep`; with keep 0 the folder too. */
void sft_checkpoint_remove(const char *out, int keep);

#endif
