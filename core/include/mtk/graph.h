/* mtk/graph.h: a model's computation as a static list of ops.
 *
 * Rows of the op table (mtk_op_info) carry name, shape rule, derivative rule and cost; the executor
 * and any backend run them. Values are f32 matrices [rows, width]; rows is symbolic: all tokens of
 * the step, or only the output rows (positions whose logits are wanted). A graph is built once by
 * an architecture plugin and is immutable afterwards. Builder errors are sticky: check
 * mtk_graph_status once. */
#ifndef MTK_GRAPH_H
#define MTK_GRAPH_H

#include <mtk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtk_graph mtk_graph;
typedef int32_t mtk_node_value; /* index of a value; -1 = error */

typedef enum mtk_op {
  MTK_OP_EMBED = 0,     /* token ids -> [T, D]; weight [V, D] */
  MTK_OP_RMSNORM,       /* x; weight [D]; eps */
  MTK_OP_LINEAR,        /* x [.,K]; weight [N,K] -> [.,N] */
  MTK_OP_ADD_ROW,       /* x [.,N]; weight [N] (bias) */
  MTK_OP_ROPE,          /* x [T, n_head*head_dim]; output always in half-split order */
  MTK_OP_ATTENTION,     /* q, k, v -> [T, n_head*head_dim]; writes the KV cache of `layer` */
  MTK_OP_SILU_MUL,      /* gate, up */
  MTK_OP_ADD,           /* a, b */
  MTK_OP_ADD_SCALED,    /* a + scale*b */
  MTK_OP_SELECT,        /* x [T,D] -> [O,D]: output rows */
  MTK_OP_CROSS_ENTROPY, /* logits [O,V] -> loss [O,1] against the batch's targets */
  /* derivatives (made by mtk_graph_backward) */
  MTK_OP_EMBED_DW,         /* dy [T,D]; accumulates into the weight's gradient */
  MTK_OP_RMSNORM_DX,       /* dy, x; weight */
  MTK_OP_RMSNORM_DW,       /* dy, x; weight */
  MTK_OP_LINEAR_DX,        /* dy; weight */
  MTK_OP_LINEAR_DW,        /* dy, x; weight */
  MTK_OP_ADD_ROW_DW,       /* dy; weight */
  MTK_OP_ROPE_DX,          /* dy */
  MTK_OP_ATTENTION_DX,     /* dout, q, k, v -> three values: dq, dk, dv */
  MTK_OP_SILU_MUL_DX,      /* dy, gate, up -> two values: dgate, dup */
  MTK_OP_SCALE,            /* scale*x */
  MTK_OP_SELECT_DX,        /* dy [O,D] -> [T,D], zero elsewhere */
  MTK_OP_CROSS_ENTROPY_DX, /* logits -> dlogits; times the batch's per-target weight */
  MTK_OP_COUNT
} mtk_op;

typedef struct mtk_attrs {
  int32_t layer;
  int32_t n_head, n_head_kv, head_dim, rope_dim;
  int32_t interleaved; /* pairing of the input of ROPE */
  int32_t window;      /* sliding window, 0 = none */
  float eps, scale;
} mtk_attrs;

enum { MTK_OP_MAX_IN = 4, MTK_OP_MAX_OUT = 3 };

/* Append an op. weight: canonical tensor name or NULL. width: of the result for ops whose width is
 * not implied (EMBED, LINEAR: rows of the weight), else 0. Returns the (first) result. */
mtk_node_value mtk_graph_add(mtk_graph *g, mtk_op op, const mtk_node_value *in, int n_in,
                             const char *weight, int64_t width, const mtk_attrs *attrs);
/* LINEAR on "<name>.weight" plus ADD_ROW on "<name>.bias" if has_bias, plus the low-rank update
 * A, B of an adapter if one is being built in: architectures use this for every projection. */
mtk_node_value mtk_graph_project(mtk_graph *g, mtk_node_value x, const char *name, int64_t n_out,
                                 bool has_bias);
/* Mark the logits [O, V]. */
void mtk_graph_set_logits(mtk_graph *g, mtk_node_value logits);
mtk_status mtk_graph_status(const mtk_graph *g, mtk_error *err);
/* How the KV cache is shaped: one entry per layer (set by architectures that have attention). */
void mtk_graph_set_kv(mtk_graph *g, int n_layer, int n_head_kv, int head_dim);
/* Angles: pair j turns by position * inv_freq[j] (n = rope_dim/2 doubles, copied); cos and sin are
 * multiplied by mscale. One table per graph. */
void mtk_graph_set_rope(mtk_graph *g, const double *inv_freq, int n, double mscale);

#ifdef __cplusplus
}
#endif
#endif
