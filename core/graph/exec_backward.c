/* exec_backward.c: how each derivative op is split into tasks and handed to the kernels.
 *
 * Ops that accumulate into a weight's gradient continue one chain per element over the tokens in
 * order; they are split by columns or rows of the gradient, never by tokens, so that k
 * micro-batches give the bits of one batch. run_* are called by the driving thread. */
#include "graph/exec_ops.h"

#include <string.h>

/* ---- into gradients ------------------------------------------------------------------------- */

static void embed_dw_columns(mtk_exec *e, const mtk_graph_node *n, int64_t c0, int64_t c1,
                             int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  const float *dy = mtk_exec_data(e, n->in[0]);
  for (int64_t t = 0; t < e->step->n_tokens; t++) {
    float *dw = w->grad_embed + e->step->ids[t] * w->k + c0;
    e->k->add(dw, dw, dy + t * w->k + c0, c1 - c0);
  }
}

static void rmsnorm_dw_columns(mtk_exec *e, const mtk_graph_node *n, int64_t c0, int64_t c1,
                               int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  int64_t heads = mtk_exec_width(e, n->in[0]) / w->k;
  e->k->rmsnorm_dw(w->grad, mtk_exec_data(e, n->in[0]), mtk_exec_data(e, n->in[1]), n->attrs.eps,
                   mtk_exec_rows(e, n->in[0]) * heads, w->k, c0, c1);
}

static void add_row_dw_columns(mtk_exec *e, const mtk_graph_node *n, int64_t c0, int64_t c1,
                               int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  e->k->col_sum(w->grad, mtk_exec_data(e, n->in[0]), mtk_exec_rows(e, n->in[0]), w->k, w->k, c0,
                c1);
}

static void linear_dw_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                           int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  e->k->gemm_tn(w->grad, w->k, mtk_exec_data(e, n->in[0]), w->n, mtk_exec_data(e, n->in[1]), w->k,
                r0, r1, w->k, mtk_exec_rows(e, n->in[0]));
}

typedef struct gradient_split {
  mtk_range_fn fn;
  int64_t grain;
} gradient_split;

static const gradient_split gradient_ops[MTK_OP_COUNT] = {
    [MTK_OP_EMBED_DW] = {embed_dw_columns, 64},
    [MTK_OP_RMSNORM_DW] = {rmsnorm_dw_columns, 64},
    [MTK_OP_ADD_ROW_DW] = {add_row_dw_columns, 64},
    [MTK_OP_LINEAR_DW] = {linear_dw_rows, 64},
};

static void run_gradient(mtk_exec *e, const mtk_graph_node *n) {
  const mtk_weight *w = e->weights[n->weight];
  double rows = (double)mtk_exec_rows(e, n->in[0]);
  bool matrix = n->op == MTK_OP_LINEAR_DW;
  if (rows > 0)
    mtk_exec_split(e, n, matrix ? w->n : w->k, gradient_ops[n->op].grain,
                   matrix ? 2.0 * rows * (double)w->k : 5.0 * rows, gradient_ops[n->op].fn);
}

/* ---- linear dx ------------------------------------------------------------------------------ */

int64_t mtk_exec_decode_rows(const mtk_exec *e, const mtk_weight *w) {
  int64_t rows = e->decode_floats / w->k;
  rows = rows < 64 ? 64 : rows;
  return rows < w->n ? rows : w->n;
}

typedef struct dx_job {
  mtk_exec *e;
  const mtk_weight *w;
  float *dx;
  const float *dy, *rows; /* rows row0 .. row0 + n_rows of W as f32 */
  int64_t m, row0, n_rows, row_block, col_block, n_row_blocks;
} dx_job;

static void decode_task(void *ctx, int64_t task, int worker) {
  const dx_job *j = ctx;
  mtk_error error;
  if (j->w->fetch_row(j->e->ws->decoded + task * j->w->k, j->e->k, j->w, j->row0 + task,
                      mtk_exec_scratch(j->e, worker), &error) != MTK_OK)
    mtk_exec_fail(j->e, &error);
}

static void dx_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  const dx_job *j = ctx;
  int64_t m0 = task % j->n_row_blocks * j->row_block, c0 = task / j->n_row_blocks * j->col_block;
  int64_t m1 = m0 + j->row_block < j->m ? m0 + j->row_block : j->m;
  int64_t cols = c0 + j->col_block < j->w->k ? j->col_block : j->w->k - c0;
  j->e->k->gemm_nn(j->dx + c0, j->w->k, j->dy + j->row0, j->w->n, j->rows + c0, j->w->k, m0, m1,
                   cols, j->n_rows);
}

/* dX[m, K] = dY[m, N] W[N, K], one chain over n ascending: blocks of W's rows continue it. */
static void run_linear_dx(mtk_exec *e, const mtk_graph_node *n) {
  const mtk_weight *w = e->weights[n->weight];
  dx_job j = {.e = e, .w = w, .dx = mtk_exec_data(e, n->out[0]), .dy = mtk_exec_data(e, n->in[0]),
              .m = mtk_exec_rows(e, n->in[0]), .row_block = 64, .col_block = 512};
  if (j.m == 0) return;
  memset(j.dx, 0, (size_t)(j.m * w->k) * sizeof *j.dx);
  j.n_row_blocks = (j.m + j.row_block - 1) / j.row_block;
  int64_t n_tasks = j.n_row_blocks * ((w->k + j.col_block - 1) / j.col_block);
  int64_t chunk = w->value ? w->n : mtk_exec_decode_rows(e, w);
  for (j.row0 = 0; j.row0 < w->n; j.row0 += chunk) {
    j.n_rows = j.row0 + chunk < w->n ? chunk : w->n - j.row0;
    j.rows = w->value ? w->value : e->ws->decoded;
    if (!w->value) mtk_pool_run(e->pool, j.n_rows, decode_task, &j);
    if (e->error.code != MTK_OK) return;
    mtk_pool_run(e->pool, n_tasks, dx_task, &j);
  }
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void rmsnorm_dx_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                            int worker) {
  (void)worker;
  const mtk_weight *w = e->weights[n->weight];
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->rmsnorm_dx(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                   mtk_exec_data(e, n->in[1]) + r0 * d, w->value, n->attrs.eps,
                   (r1 - r0) * (d / w->k), w->k);
}

static void silu_mul_dx_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                             int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->silu_mul_bwd(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->out[1]) + r0 * d,
                     mtk_exec_data(e, n->in[0]) + r0 * d, mtk_exec_data(e, n->in[1]) + r0 * d,
                     mtk_exec_data(e, n->in[2]) + r0 * d, (r1 - r0) * d);
}

static void gelu_mul_dx_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                             int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->gelu_mul_bwd(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->out[1]) + r0 * d,
                     mtk_exec_data(e, n->in[0]) + r0 * d, mtk_exec_data(e, n->in[1]) + r0 * d,
                     mtk_exec_data(e, n->in[2]) + r0 * d, n->attrs.activation == MTK_GELU_ERF,
                     (r1 - r0) * d);
}

static void softcap_dx_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                            int worker) {
  (void)worker;
  int64_t d = mtk_exec_width(e, n->in[0]);
  e->k->softcap_bwd(mtk_exec_data(e, n->out[0]) + r0 * d, mtk_exec_data(e, n->in[0]) + r0 * d,
                    mtk_exec_data(e, n->in[1]) + r0 * d, n->attrs.softcap, (r1 - r0) * d);
}

static void slice_dx_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                          int worker) {
  (void)worker;
  int64_t heads = n->attrs.n_head > 1 ? n->attrs.n_head : 1, part = n->attrs.n_column;
  int64_t d = mtk_exec_width(e, n->out[0]) / heads;
  const float *dy = mtk_exec_data(e, n->in[0]);
  float *dx = mtk_exec_data(e, n->out[0]);
  r0 *= heads;
  r1 *= heads;
  memset(dx + r0 * d, 0, (size_t)((r1 - r0) * d) * sizeof *dx);
  for (int64_t r = r0; r < r1; r++)
    memcpy(dx + r * d + n->attrs.column, dy + r * part, (size_t)part * sizeof *dx);
}

static void cross_entropy_dx_rows(mtk_exec *e, const mtk_graph_node *n, int64_t r0, int64_t r1,
                                  int worker) {
  (void)worker;
  int64_t v = mtk_exec_width(e, n->in[0]);
  const float *x = mtk_exec_data(e, n->in[0]);
  float *dx = mtk_exec_data(e, n->out[0]);
  for (int64_t r = r0; r < r1; r++)
    e->k->softmax_xent_dx(dx + r * v, x + r * v, e->k->logsumexp(x + r * v, v),
                          e->step->targets[r], e->step->target_weights[r], v);
}

static const mtk_range_fn row_ops[MTK_OP_COUNT] = {
    [MTK_OP_RMSNORM_DX] = rmsnorm_dx_rows,
    [MTK_OP_SILU_MUL_DX] = silu_mul_dx_rows,
    [MTK_OP_GELU_MUL_DX] = gelu_mul_dx_rows,
    [MTK_OP_SOFTCAP_DX] = softcap_dx_rows,
    [MTK_OP_SLICE_DX] = slice_dx_rows,
    [MTK_OP_CROSS_ENTROPY_DX] = cross_entropy_dx_rows,
};

static void run_rows(mtk_exec *e, const mtk_graph_node *n) {
  double flops = mtk_op_get(n->op)->flops * (double)mtk_exec_width(e, n->in[0]);
  mtk_exec_split(e, n, mtk_exec_rows(e, n->out[0]), 1, flops, row_ops[n->op]);
}

static void run_select_dx(mtk_exec *e, const mtk_graph_node *n) {
  int64_t d = mtk_exec_width(e, n->in[0]);
  const float *dy = mtk_exec_data(e, n->in[0]);
  float *dx = mtk_exec_data(e, n->out[0]);
  memset(dx, 0, (size_t)(e->step->n_tokens * d) * sizeof *dx);
  for (int64_t r = 0; r < e->step->n_outputs; r++)
    memcpy(dx + e->step->output_rows[r] * d, dy + r * d, (size_t)d * sizeof *dx);
}

/* ---- attention ------------------------------------------------------------------------------ */

/* Items: (sequence, KV head). */
static void attention_dx_items(mtk_exec *e, const mtk_graph_node *n, int64_t i0, int64_t i1,
                               int worker) {
  int heads = n->attrs.n_head_kv, group = n->attrs.n_head / heads, hd = n->attrs.head_dim;
  int vd = n->attrs.v_dim;
  int64_t ld_q = mtk_exec_width(e, n->in[1]), ld_out = mtk_exec_width(e, n->in[0]);
  int64_t ld_k = mtk_exec_width(e, n->in[2]), ld_v = mtk_exec_width(e, n->in[3]);
  for (int64_t i = i0; i < i1; i++) {
    const mtk_step_seq *s = &e->step->seqs[i / heads];
    int64_t head = i % heads, q = s->row0 * ld_q + head * group * hd;
    int64_t k = s->row0 * ld_k + head * hd, v = s->row0 * ld_v + head * vd;
    mtk_attn_bwd_args a = {.d_q = mtk_exec_data(e, n->out[0]) + q,
                           .d_k = mtk_exec_data(e, n->out[1]) + k,
                           .d_v = mtk_exec_data(e, n->out[2]) + v,
                           .d_out = mtk_exec_data(e, n->in[0]) + s->row0 * ld_out +
                                    head * group * vd,
                           .q = mtk_exec_data(e, n->in[1]) + q,
                           .k = mtk_exec_data(e, n->in[2]) + k,
                           .v = mtk_exec_data(e, n->in[3]) + v,
                           .ld_q = ld_q, .ld_k = ld_k, .ld_v = ld_v, .ld_out = ld_out,
                           .n_tokens = s->n_rows, .window = n->attrs.window, .head_dim = hd,
                           .v_dim = vd, .group = group,
                           .bidirectional = n->attrs.bidirectional, .scale = n->attrs.scale,
                           .softcap = n->attrs.softcap, .scratch = mtk_exec_scratch(e, worker)};
    if (n->weight >= 0) a.sinks = e->weights[n->weight]->value + head * group;
    e->k->attention_bwd(&a);
  }
}

static void run_attention_dx(mtk_exec *e, const mtk_graph_node *n) {
  double dots = 0.0;
  for (int s = 0; s < e->step->n_seqs; s++) {
    const mtk_step_seq *q = &e->step->seqs[s];
    dots += 0.5 * (double)q->n_rows * (double)q->n_rows;
    if (q->pos0 != 0) {
      mtk_error error;
      mtk_fail(&error, MTK_E_UNSUPPORTED, "attention_dx",
               "a training sequence does not begin at position 0");
      mtk_exec_fail(e, &error);
      return;
    }
  }
  int64_t items = (int64_t)e->step->n_seqs * n->attrs.n_head_kv;
  if (items > 0)
    mtk_exec_split(e, n, items, 1,
                   10.0 * dots * (double)mtk_exec_width(e, n->in[1]) / (double)items,
                   attention_dx_items);
}

mtk_run_fn *const mtk_exec_backward_ops[MTK_OP_COUNT] = {
    [MTK_OP_EMBED_DW] = run_gradient,         [MTK_OP_RMSNORM_DW] = run_gradient,
    [MTK_OP_ADD_ROW_DW] = run_gradient,       [MTK_OP_LINEAR_DW] = run_gradient,
    [MTK_OP_LINEAR_DX] = run_linear_dx,       [MTK_OP_RMSNORM_DX] = run_rows,
    [MTK_OP_SILU_MUL_DX] = run_rows,          [MTK_OP_CROSS_ENTROPY_DX] = run_rows,
    [MTK_OP_GELU_MUL_DX] = run_rows,          [MTK_OP_SOFTCAP_DX] = run_rows,
    [MTK_OP_SLICE_DX] = run_rows,
    [MTK_OP_SELECT_DX] = run_select_dx,       [MTK_OP_ATTENTION_DX] = run_attention_dx,
};
