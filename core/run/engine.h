/* run/engine.h: what tests and the scheduler see of an engine beyond <mtk/engine.h>. */
#ifndef MTK_RUN_ENGINE_H
#define MTK_RUN_ENGINE_H

#include <mtk/engine.h>

#include "model/weights.h"

/* mtk_engine_create with a build function in place of the architecture plugin's (NULL = that). */
mtk_status mtk_engine_create_built(mtk_engine **out, const mtk_model *model, mtk_build_fn *build,
                                   const mtk_engine_options *options, mtk_error *err);
mtk_pool *mtk_engine_pool(const mtk_engine *engine); /* NULL = one thread */
int mtk_engine_max_seqs(const mtk_engine *engine);
int mtk_engine_max_batch(const mtk_engine *engine);
int64_t mtk_engine_kv_pages(const mtk_engine *engine); /* of the whole cache */
/* Number of ids the embedding knows; ids in [0, that) may be fed. */
int64_t mtk_engine_id_count(const mtk_engine *engine);
/* Does it give hidden states? Does attention see whole sequences? */
bool mtk_engine_has_embeddings(const mtk_engine *engine);
bool mtk_engine_is_encoder(const mtk_engine *engine);
/* Does the engine have this adapter? 0 = base is always there. */
bool mtk_engine_has_adapter(const mtk_engine *engine, int id);

#endif
