/* run/profile.h: time and work of the ops of an engine's steps, counted through the executor's
 * observer. Owned by an engine; its driving thread only. {0} = off. */
#ifndef MTK_RUN_PROFILE_H
#define MTK_RUN_PROFILE_H

#include <mtk/engine.h>

#include "graph/exec.h"

enum { MTK_PROFILE_ROWS = 128 };

typedef struct mtk_profile {
  bool on;
  mtk_op_stats rows[MTK_PROFILE_ROWS]; /* what does not fit is counted in the last one */
  size_t n_rows;
  /* The running step. */
  double keys;    /* visible ones of a token, on average */
  double cached;  /* positions of all sequences after the step */
  size_t current; /* the row whose op runs */
  double since;
} mtk_profile;

/* Forget what was counted. */
void mtk_profile_start(mtk_profile *p, bool on);
/* Around mtk_exec_run. */
void mtk_profile_begin(mtk_profile *p, const mtk_exec_step *step);
void mtk_profile_end(mtk_profile *p);
/* The mtk_observe_fn; ctx is the mtk_profile. */
void mtk_profile_observe(void *ctx, mtk_exec *e, const mtk_graph_node *node);

#endif
