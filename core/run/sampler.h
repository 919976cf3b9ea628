/* run/sampler.h: from one row of logits to one id. The choice depends on the logits, the options,
 * the ids so far and Philox(seed, position) alone. A sampler is scratch for one thread. */
#ifndef MTK_RUN_SAMPLER_H
#define MTK_RUN_SAMPLER_H

#include <mtk/engine.h>

typedef struct mtk_candidate {
  int32_t id;
  float x, p; /* scaled logit and probability */
} mtk_candidate;

typedef struct mtk_sampler {
  const mtk_kernels *kernels; /* borrowed */
  int64_t vocab;
  double *block_sum; /* [blocks of vocab]: of p; all that follows lies behind it */
  size_t bytes;
  mtk_candidate *candidates; /* [vocab] */
  float *x, *p;              /* [vocab] */
  float *block_most;         /* [blocks of vocab] */
} mtk_sampler;

mtk_status mtk_sampler_init(mtk_sampler *s, const mtk_kernels *kernels, int64_t vocab,
                            mtk_error *err);
void mtk_sampler_finish(mtk_sampler *s);

/* MTK_E_INVALID names the option that is out of range. */
mtk_status mtk_sampling_check(const mtk_sampling *options, mtk_error *err);

/* History of one sequence for the penalties: per id how often it was generated; MTK_IN_PROMPT is
 * added when it stands in the prompt. */
#define MTK_IN_PROMPT 0x80000000u
bool mtk_sampling_needs_counts(const mtk_sampling *options);

/* The id for `position` (of the token being made). counts may be NULL (no history). Order of the
 * steps: penalties, temperature, top-k, top-p, min-p, draw. Ties go to the lowest id. */
int32_t mtk_sampler_pick(mtk_sampler *s, const mtk_sampling *options, const float *logits,
                         const uint32_t *counts, uint64_t position);

/* The n most probable ids of a row, most probable first; lse = logsumexp of the row. */
void mtk_top_logprobs(mtk_token_prob *out, int n, const float *logits, int64_t vocab, float lse);

#endif
