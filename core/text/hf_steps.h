/* text/hf_steps.h: the components of a tokenizer.json (normalizer, pre_tokenizer, decoder) to steps
 * and back. One thread per vocabulary. */
#ifndef MTK_TEXT_HF_STEPS_H
#define MTK_TEXT_HF_STEPS_H

#include <jansson.h>
#include <mtk/text.h>

typedef enum text_hf_role {
  TEXT_HF_NORMALIZER = 1,
  TEXT_HF_PRE_TOKENIZER = 2,
  TEXT_HF_DECODER = 4
} text_hf_role;

/* Steps of a component (NULL or null: none); Sequences are flattened. Strings go to the arena. */
mtk_status mtk_text_hf_read_steps(mtk_steps *out, mtk_arena *arena, const json_t *component,
                                  text_hf_role role, mtk_error *err);
/* The component of steps: null, an object, or a Sequence. NULL if out of memory, or with *bad the
 * step that `tokenizers` cannot express. */
json_t *mtk_text_hf_write_steps(const mtk_steps *steps, text_hf_role role, const mtk_step **bad);

#endif
