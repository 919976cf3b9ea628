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
  MTK_OP_EMBED = 0,     /* token ids, or what `lookup` says, -> [T, D]; weight [V, D] */
  MTK_OP_RMSNORM,       /* x; weight [D / n_head]; eps; n_head > 1: each slice of D / n_head is
                           normed on its own */
  MTK_OP_LINEAR,        /* x [.,K]; weight [N,K] -> [.,N] */
  MTK_OP_ADD_ROW,       /* x [.,N]; weight [N] (bias) */
  MTK_OP_ROPE,          /* x [T, n_head*head_dim]; output always in half-split order */
  MTK_OP_ATTENTION,     /* q, k, v -> [T, n_head*v_dim]; writes the KV cache of `layer`. Weight
                           (optional): [n_head] sinks */
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
  /* mixtures of experts (no derivatives yet). Values of ops that work per chosen expert have
   * n_slot parts per token; inside, the rows of such a value stand in order of expert. */
  MTK_OP_MOE_ROUTE,        /* router logits [.,n_expert] -> weights [.,n_slot], ids [.,n_slot] */
  MTK_OP_MOE_ROUTE_BIASED, /* the same; weight [n_expert] is added for the choice only */
  MTK_OP_MOE_LINEAR,  /* x, ids; weight [n_expert,N,K]; x [.,K], or [.,n_slot*K] with slot_input */
  MTK_OP_MOE_ADD_ROW, /* x [.,n_slot*N], ids; weight [n_expert,N] (bias) */
  MTK_OP_MOE_SUM,     /* x [.,n_slot*N], weights, ids -> [.,N]: per element one fma chain from +0
                         over the slots in order of selection, best first */
  MTK_OP_SWIGLU_CLAMPED, /* gate, up; alpha, limit */
  MTK_OP_MUL_SIGMOID,    /* x [.,N], gate [.,1]: x * sigmoid(gate) */
  MTK_OP_GELU_MUL,    /* gelu(gate) * up; form in activation */
  MTK_OP_GELU_MUL_DX, /* dy, gate, up -> two values: dgate, dup */
  MTK_OP_GELU,        /* gelu(x); form in activation */
  MTK_OP_SOFTCAP,     /* softcap * tanh(x / softcap) */
  MTK_OP_SOFTCAP_DX,  /* dy, x */
  MTK_OP_SLICE,       /* x [.,D] -> [.,N]: columns from `column` on; n_head > 1: of each of the
                         n_head parts of x */
  MTK_OP_SLICE_DX,    /* dy [.,N], x [.,D] -> [.,D], zero elsewhere */
  MTK_OP_LAYERNORM,   /* x; weight [D]; eps; a bias is an ADD_ROW. No derivative */
  MTK_OP_JOIN_HEADS,  /* a [., n_head*A], b [., n_head*B] or, shared by the heads, [.,B] ->
                         [., n_head*(A+B)]: each head of a, then b's. head_dim = A+B, v_dim = B. No
                         derivative */
  MTK_OP_COUNT
} mtk_op;

typedef struct mtk_attrs {
  int32_t layer;
  int32_t n_head, n_head_kv, head_dim, rope_dim;
  int32_t interleaved; /* pairing of the input of ROPE */
  int32_t window;      /* sliding window, 0 = none */
  float eps, scale;
  int32_t v_dim;         /* size of a value head; 0 = head_dim */
  int32_t bidirectional; /* attention sees all positions of the sequence (encoders) */
  int32_t rope_table;    /* index that mtk_graph_add_rope gave */
  float softcap;         /* of attention scores and SOFTCAP: cap * tanh(x / cap); 0 = none */
  int32_t column, n_column; /* of SLICE: the first one, how many */
  int32_t activation;    /* of GELU and GELU_MUL: mtk_gelu */
  /* Mixtures of experts; route_*: mtk_route_args (<mtk/kernel.h>). */
  int32_t n_expert, n_slot; /* all experts; those chosen per token */
  int32_t slot_input;       /* MOE_LINEAR's x has n_slot parts */
  uint32_t route_flags;
  int32_t n_group, n_group_used;
  float route_scale;
  float alpha, limit; /* SWIGLU_CLAMPED */
  int32_t lookup;     /* of EMBED: mtk_lookup */
} mtk_attrs;

/* Which row of its weight EMBED takes for a token. */
typedef enum mtk_lookup {
  MTK_LOOKUP_ID = 0,
  MTK_LOOKUP_POSITION, /* of the token in its sequence */
  MTK_LOOKUP_FIRST     /* row 0 (the only token type that a single text has) */
} mtk_lookup;

/* The two forms of GELU (Hendrycks & Gimpel 2016): tanh approximation, or exact by erf. */
typedef enum mtk_gelu { MTK_GELU_TANH = 0, MTK_GELU_ERF } mtk_gelu;

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
/* Mark the final hidden states [O, D], from which embeddings are pooled. To be called before the
 * head is added, which such runs leave out; an encoder has none and sets no logits. */
void mtk_graph_set_hidden(mtk_graph *g, mtk_node_value hidden);
mtk_status mtk_graph_status(const mtk_graph *g, mtk_error *err);
/* How the KV cache is shaped: one entry per layer (set by architectures that have attention). */
void mtk_graph_set_kv(mtk_graph *g, int n_layer, int n_head_kv, int head_dim, int v_dim);
/* Add a table of angles and return its index (mtk_attrs.rope_table), 0 for the first: pair j turns
 * by position * inv_freq[j] (n = rope_dim/2 doubles, copied); cos and sin are multiplied by
 * mscale. At most MTK_GRAPH_MAX_ROPE tables. */
enum { MTK_GRAPH_MAX_ROPE = 4 };
int32_t mtk_graph_add_rope(mtk_graph *g, const double *inv_freq, int n, double mscale);
/* For a table of queries: cos and sin of position p are multiplied by
 * 1 + temperature * ln(1 + floor(p / length)) too (transformers, modeling_ministral3.py). */
void mtk_graph_set_rope_temperature(mtk_graph *g, int32_t table, double temperature,
                                    int64_t length);

#ifdef __cplusplus
}
#endif
#endif
