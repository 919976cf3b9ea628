/* text/normalize.h: normalizers, that is steps that rewrite text before it is cut into pieces. A
 * normalizer is immutable after creation and shared by threads; work memory belongs to one call
 * at a time. Bytes that are not UTF-8 stay as they are. */
#ifndef MTK_TEXT_NORMALIZE_H
#define MTK_TEXT_NORMALIZE_H

#include <mtk/text.h>

#include "text/regex.h"
#include "text/slice.h"

typedef struct text_normalizer text_normalizer;
/* Copies what it needs. MTK_E_UNSUPPORTED for a step that is no normalizer. */
mtk_status mtk_text_normalizer_create(text_normalizer **out, const mtk_steps *steps,
                                      mtk_error *err);
void mtk_text_normalizer_destroy(text_normalizer *n);
/* Whether it has no steps. */
bool mtk_text_normalizer_is_empty(const text_normalizer *n);

typedef struct text_normalize_work {
  text_buffer buffers[2];
  int32_t *chars, *spare; /* of the Unicode forms */
  size_t cap_chars;
  text_regex_work *regex; /* borrowed */
  bool track;             /* keep origins through rewriting */
} text_normalize_work;
void mtk_text_normalize_work_finish(text_normalize_work *work);

/* Rewrites *text; the result may lie in work, or be (a part of) what came in. Near-linear time. */
mtk_status mtk_text_normalize(const text_normalizer *n, text_normalize_work *work, text_slice *text,
                              mtk_error *err);

/* A Unicode normalization form (Annex 15). *text stays as it is where nothing changes. */
mtk_status mtk_text_normalize_form(mtk_step_kind form, text_normalize_work *work, text_buffer *out,
                                   text_slice *text, mtk_error *err);

#endif
