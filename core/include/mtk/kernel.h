/* mtk/kernel.h: the kernel set. One table of function pointers per ISA level; `ref` is the meaning,
 * every other level must give the same bytes (memcmp).
 *
 * Kernels never allocate, lock, print or start threads. They are pure functions of their arguments;
 * callers split work by ranges (panels, rows, heads) and the result does not depend on the split.
 * f32 matrices are row-major with a leading dimension in elements. Pointers need no alignment
 * unless said. Formulas follow the numerics contract (design, section 5): fma is a single rounding
 * (fmaf), all other operations round once, denormals are kept except where a16 says otherwise.
 *
 * sum16(v[0..n)): 16 partials from +0, element i joins partial i mod 16 in ascending order, then
 * p[i] += p[i+8] (i<8), p[i] += p[i+4] (i<4), p[i] += p[i+2] (i<2), p[0] + p[1]. */
#ifndef MTK_KERNEL_H
#define MTK_KERNEL_H

#include <mtk/dtype.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of W that lie together in a packed panel, and KV positions in a page. */
enum { MTK_PANEL = 16, MTK_KV_PAGE = 64 };

typedef enum mtk_isa {
  MTK_ISA_REF,
  MTK_ISA_AVX2,
  MTK_ISA_AVX512,
  MTK_ISA_AMX,
  MTK_ISA_COUNT
} mtk_isa;

/* A window of a weight matrix in storage type: rows row0 .. row0+n_rows of W[n,k], at data.
 * scales: NULL, or the whole tensor's grid [ceil(n/scale_n)][ceil(k/scale_k)]. A 1x1 grid is
 * applied to y at the end (y = acc * s); a finer one multiplies the decoded weights (one f32
 * rounding); its scale_k is a multiple of 32 (a8: of the type's activation block) or at least
 * k. */
typedef struct mtk_wview {
  mtk_dtype type;
  int64_t n, k;
  const void *data;
  int64_t row0, n_rows;
  const float *scales;
  int64_t scale_n, scale_k;
} mtk_wview;

/* A linear layer y[m,n] = x[m,k] W[n,k]^T for one storage type and arithmetic.
 * 1. pack: rows -> panels of MTK_PANEL rows (last one padded). `packed` is 64-byte aligned,
 *    packed_bytes(n,k) long; w must hold all rows of panels p0..p1. Different panels may be packed
 *    by different threads. Panel 0's caller also writes the header, if the format has one.
 * 2. prepare: x rows m0..m1 -> activations in `act` (act_bytes(m,k) long, 64-byte aligned; m = rows
 *    of the whole batch). Different rows may be prepared by different threads.
 * 3. run: y rows m0..m1, panels p0..p1. ldy in elements. Never writes y columns >= n. */
typedef struct mtk_linear_kernel {
  const char *name; /* "mtk_k_q8_0_a8_linear__avx512" */
  mtk_dtype type;
  mtk_arith arith;
  size_t (*packed_bytes)(int64_t n, int64_t k);
  void (*pack)(void *packed, const mtk_wview *w, int64_t p0, int64_t p1);
  size_t (*act_bytes)(int64_t m, int64_t k);
  void (*prepare)(void *act, const float *x, int64_t ldx, int64_t m, int64_t m0, int64_t m1,
                  int64_t k);
  void (*run)(float *y, int64_t ldy, const void *act, int64_t m, int64_t m0, int64_t m1,
              const void *packed, int64_t n, int64_t k, int64_t p0, int64_t p1);
  /* Bytes at the end of packed_bytes that only a grid finer than 1x1 uses: without one, `packed`
   * may be that much shorter. */
  size_t (*grid_bytes)(int64_t n, int64_t k);
} mtk_linear_kernel;

/* The KV cache of one KV head holds keys and values in one of these storage types: f32, f16, bf16,
 * f8_e4m3 (nearest even; fp8 saturates) or q8_0 (ggml's: d = amax/127 as f16 and int8 codes for
 * every 32 elements of a key or value, the last block may be shorter). A value is rounded once,
 * when it is stored, and decoded exactly.
 * Page p holds positions p*64..p*64+63: K as [64/16][head_dim][16] (16 keys interleaved), V as
 * [64][v_dim]; of q8_0 these are the codes, and behind them lie the scales, [dim/32 up][64].
 * Bytes of one such page of K or V, a multiple of 64; 0: the cache cannot have this type. */
size_t mtk_kv_page_bytes(mtk_dtype type, int dim);

/* Attention of n_tokens consecutive queries of one sequence for one KV head.
 * Query t has absolute position pos = pos0 + t and sees keys lo..hi-1: lo = max(0, pos+1-window)
 * (window 0 = all), hi = pos+1; bidirectional: 0..n_keys-1. q: token t, head h of the group at
 * [t*ld_q + h*head_dim]; out: [t*ld_out + h*v_dim].
 *   q' = q*scale; s_j = chain over d ascending of fma(q'_d, k_jd, .) from +0;
 *   softcap > 0: s_j = softcap * tanh(s_j / softcap);
 *   mx = max(sinks_h, max s_j) (sinks NULL: -inf); p_j = exp(s_j - mx);
 *   den = sum16 over absolute key position j (partial j mod 16), plus exp(sinks_h - mx);
 *   o_d = chain over keys ascending of fma(p_j, v_jd, .) from +0; out_d = o_d * (1/den).
 * scratch: attn_scratch_floats of the same sizes or of greater ones, 64-byte aligned, one per
 * thread. */
typedef struct mtk_attn_args {
  float *out;
  int64_t ld_out;
  const float *q;
  int64_t ld_q;
  const void *const *k_pages;
  const void *const *v_pages;
  int64_t n_tokens, pos0, window;
  int64_t n_keys; /* keys that the pages hold: pos0 + n_tokens if causal */
  int head_dim, v_dim, group;
  int bidirectional;
  float scale, softcap;
  const float *sinks; /* [group] or NULL */
  float *scratch;
  mtk_dtype kv_type; /* of the pages */
  const void *k_after, *v_after; /* pages that the next call begins with, to be fetched; or NULL */
  /* Of attention_step only: [group][ld_scores], shared by the threads, 64-byte aligned; ld_scores a
   * multiple of 16 and at least n_keys rounded up to 64, plus 16. */
  float *scores;
  int64_t ld_scores;
} mtk_attn_args;

/* The steps of attention_step; each needs all of the one before. */
typedef enum mtk_attn_step {
  MTK_ATTN_SCORES,  /* keys i0..i1; a range begins at a multiple of 64, if not with the first key */
  MTK_ATTN_SOFTMAX, /* heads i0..i1 of the group */
  MTK_ATTN_VALUES   /* columns i0..i1 of v_dim, i0 a multiple of 32 */
} mtk_attn_step;

/* Its derivative for one whole sequence (pos0 = 0) and one KV head, from plain f32 matrices: k, v
 * [n_tokens] with leading dimensions ld_k, ld_v; q, d_q with ld_q; d_out with ld_out; d_k and d_v
 * as k and v. p_tj and den are recomputed exactly as above; P = p/den where t sees j, else +0;
 * c_tj = 1, or with softcap fma(-h, h, 1), h = tanh(s_tj / softcap):
 *   dP_tj = chain over d of d_out_td * v_jd;  D_t = sum16 over j of P_tj * dP_tj;
 *   dS_tj = P_tj * (dP_tj - D_t) * c_tj;
 *   d_q_t = scale * chain over seen j ascending of dS_tj * k_j;
 *   d_k_j = chain over (query t that sees j ascending, head of the group) of dS_tj * q'_t, plus +0
 *   (never -0: zeros may stand for pairs that do not see each other);  d_v_j so of P_tj * d_out_t.
 * d_q, d_k and d_v are overwritten. The sinks get no derivative. */
typedef struct mtk_attn_bwd_args {
  float *d_q, *d_k, *d_v;
  const float *d_out, *q, *k, *v;
  int64_t ld_q, ld_k, ld_v, ld_out;
  int64_t n_tokens, window;
  int head_dim, v_dim, group;
  int bidirectional;
  float scale, softcap;
  const float *sinks; /* [group] or NULL */
  float *scratch;
} mtk_attn_bwd_args;

typedef struct mtk_adamw_args {
  float lr, beta1, beta2, eps, weight_decay;
  float grad_scale;   /* multiplied onto every gradient first (clipping) */
  float corr1, corr2; /* 1/(1-beta^t) */
} mtk_adamw_args;

/* How a router's logits choose experts (mtk_kernels.route). */
enum {
  MTK_ROUTE_SIGMOID = 1,        /* score = sigmoid of the logit, instead of softmax over all */
  MTK_ROUTE_SOFTMAX_CHOSEN = 2, /* score = the logit; softmax over the chosen ones alone */
  MTK_ROUTE_NORM = 4,           /* weights are divided by (their sum + 1e-20) */
  MTK_ROUTE_GROUP_TOP2 = 8      /* groups rank by the sum of their two best, else by the best */
};
enum { MTK_MAX_EXPERT = 1024 };

typedef struct mtk_route_args {
  int64_t n_expert, n_slot;      /* n_slot <= n_expert <= MTK_MAX_EXPERT */
  int64_t n_group, n_group_used; /* 0 or 1 = no groups; else n_group divides n_expert, and the used
                                    groups hold at least n_slot experts */
  unsigned flags;                /* MTK_ROUTE_ */
  float scale;                   /* multiplied onto the weights last */
  const float *bias;             /* [n_expert], added for the choice only; NULL = none */
} mtk_route_args;

/* Which E8M0 exponent a block of mxfp4 gets for amax: OCP's floor(log2 amax) - 2,
 * ceil(log2(amax/6)), rounding up from a mantissa of 1.75, or round(log2 amax) - 2. */
typedef enum mtk_mx_scale {
  MTK_MX_FLOOR = 0,
  MTK_MX_RCEIL,
  MTK_MX_EVEN,
  MTK_MX_RNE_LOG2
} mtk_mx_scale;

/* How 4-bit float blocks choose their scale: first = last = 0 and no `four` is plain rounding;
 * otherwise the candidate of least squared error wins. */
typedef struct mtk_fp4_rule {
  mtk_dtype type; /* MTK_NVFP4 or MTK_MXFP4 */
  float s2;       /* nvfp4: the tensor's scale, multiply-side */
  mtk_mx_scale mx;
  int first, last;         /* also the codes c0+first .. c0+last around the plain one */
  int four;                /* nvfp4: also the scale that maps amax to 4 (arXiv 2512.02010) */
  const float *importance; /* [k] weights of the squared errors; NULL = all 1 */
} mtk_fp4_rule;

typedef struct mtk_kernels {
  mtk_isa isa;
  const char *isa_name; /* "ref", "avx2", "avx512", "amx" */
  /* NULL where the pair is not defined (a8 of f32, ...). a32 and a16 exist for every float type. */
  const mtk_linear_kernel *linear[MTK_DTYPE_COUNT][MTK_ARITH_COUNT];

  /* y_i = (x_i * r) * w_i with r = 1/sqrt(sum16(fma x_i^2)/d + eps); the partials are fma
   * chains. */
  void (*rmsnorm)(float *y, const float *x, const float *w, float eps, int64_t rows, int64_t d);
  /* dx and dw from dy: with xh = x*r, g = dy*w, c = sum16(fma g_i*xh_i)/d:
   * dx_i = r * (g_i - xh_i*c) (fma(-xh,c,g)); dw_i = fma(dy_i, xh_i, dw_i), rows ascending, so dw
   * accumulates and must be done by one thread per column range: columns [c0,c1) of dw only. */
  void (*rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *w, float eps,
                     int64_t rows, int64_t d);
  void (*rmsnorm_dw)(float *dw, const float *dy, const float *x, float eps, int64_t rows, int64_t d,
                     int64_t c0, int64_t c1);

  /* Rotate n_head heads of head_dim per row in place of x -> y (may alias only if not interleaved).
   * cos_sin: per row rope_dim/2 pairs (cos, sin) at [row*rope_dim]. Input pairs are (i,
   * i+rope_dim/2) or, if interleaved, (2i, 2i+1); output is ALWAYS half-split order (i,
   * i+rope_dim/2), so that later chains over the head size do not depend on the model file's
   * pairing. Dims >= rope_dim are copied.
   *   a' = fma(a, c, -(b*s)); b' = fma(b, c, a*s). inverse: the transposed map (sin negated, input
   * half-split, output in the pairing's order): the derivative. */
  void (*rope)(float *y, int64_t ldy, const float *x, int64_t ldx, const float *cos_sin,
               int64_t rows, int n_head, int head_dim, int rope_dim, int interleaved, int inverse);

  /* Append n tokens of K and V of one KV head (rows at k + t*ld_k, v + t*ld_v) at positions pos0...
   * in pages of this type. */
  void (*kv_store)(mtk_dtype type, void *const *k_pages, void *const *v_pages, const float *k,
                   int64_t ld_k, const float *v, int64_t ld_v, int64_t n_tokens, int64_t pos0,
                   int head_dim, int v_dim);
  /* The sizes among the arguments alone are read. Never falls when n_tokens, n_keys, head_dim,
   * v_dim or group grows, so that what the greatest sizes of a step need is enough for all its
   * blocks; that holds for attn_bwd_scratch_floats too. */
  size_t (*attn_scratch_floats)(const mtk_attn_args *a);
  void (*attention)(const mtk_attn_args *a);
  size_t (*attn_bwd_scratch_floats)(const mtk_attn_bwd_args *a);
  void (*attention_bwd)(const mtk_attn_bwd_args *a);

  /* y = (g / (1 + exp(-g))) * u over n elements; and its derivatives (sg = 1/(1+exp(-g))):
   * du = dy * (g*sg'), dg = dy*u * (sg * fma(g, 1-sg, 1)), where g*sg' = g/(1+exp(-g)). */
  void (*silu_mul)(float *y, const float *g, const float *u, int64_t n);
  void (*silu_mul_bwd)(float *dg, float *du, const float *dy, const float *g, const float *u,
                       int64_t n);
  /* y = gelu(g) * u over n elements (u NULL: gelu(g)); and its derivatives. Tanh form, where
   * (1 + tanh z)/2 = 1/(1 + exp(-2z)): e = exp(g * fma(g*g, -C1, -C0)), C0 = sqrt(8/pi), C1 =
   * 0.044715 C0; gelu = g/(1+e), sg = 1/(1+e), slope = fma(g * fma(g*g, 3 C1, C0), sg*(1-sg), sg).
   * exact: gelu = g * P, P = 1 - t or (g < 0) t, t = e * Q(1/fma(0.3, |g|, 1)), e =
   * exp(-0.5*g*g), Q from exp_poly.h; slope = fma(g, e/sqrt(2 pi), P). */
  void (*gelu_mul)(float *y, const float *g, const float *u, int exact, int64_t n);
  void (*gelu_mul_bwd)(float *dg, float *du, const float *dy, const float *g, const float *u,
                       int exact, int64_t n); /* dg = (dy*u)*slope, du = dy*gelu(g) */
  /* y = cap * tanh(x / cap); dx = dy * fma(-h, h, 1), h = tanh(x / cap). */
  void (*softcap)(float *y, const float *x, float cap, int64_t n);
  void (*softcap_bwd)(float *dx, const float *dy, const float *x, float cap, int64_t n);
  void (*add)(float *y, const float *a, const float *b, int64_t n);                 /* a + b */
  void (*add_scaled)(float *y, const float *a, const float *b, float s, int64_t n); /* fma(s,b,a) */
  /* y += bias */
  void (*add_row)(float *y, const float *bias, int64_t rows, int64_t d, int64_t ldy);
  void (*col_sum)(float *db, const float *dy, int64_t rows, int64_t d, int64_t ld, int64_t c0,
                  int64_t c1); /* db_c += dy_rc, rows ascending, columns c0..c1 */
  void (*scale)(float *y, const float *x, float s, int64_t n);

  /* lse = mx + log(sum16(exp(x_i - mx))) of one row; log-probability of i is x_i - lse. */
  float (*logsumexp)(const float *x, int64_t n);
  /* d_i = (exp(x_i - lse) - [i == target]) * g, one row. */
  void (*softmax_xent_dx)(float *d, const float *x, float lse, int64_t target, float g, int64_t n);
  /* p_i = exp(x_i - mx) * (1/den), den = sum16. */
  void (*softmax)(float *p, const float *x, int64_t n);

  /* C[m,n] += A[m,k] B[k,n] (chain over k ascending, continued from C), rows m0..m1. For dX with
   * B = W rows. And C[m,n] += A[k,m]^T B[k,n], rows m0..m1 of C. For dW (k = tokens). */
  void (*gemm_nn)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb,
                  int64_t m0, int64_t m1, int64_t n, int64_t k);
  void (*gemm_tn)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb,
                  int64_t m0, int64_t m1, int64_t n, int64_t k);

  /* AdamW (Loshchilov & Hutter 2019), decoupled decay: g = grad*grad_scale; m = fma(b1,m,(1-b1)*g);
   * v = fma(b2,v,(1-b2)*(g*g)); p = fma(-lr*wd, p, p) first, then
   * p -= lr * ((m*corr1) / (sqrt(v*corr2) + eps)). */
  void (*adamw)(float *p, float *m, float *v, const float *grad, int64_t n,
                const mtk_adamw_args *a);
  /* sum16 of squares (fma chains) of n floats, in f32 partials of blocks of 4096 elements summed in
   * double ascending. */
  double (*sum_squares)(const float *x, int64_t n);

  /* ---- mixtures of experts ---- */
  void (*sigmoid)(float *y, const float *x, int64_t n); /* 1 / (1 + exp(-x)) */
  /* gpt-oss: g' = min(g, limit), u' = min(max(u, -limit), limit);
   * y = (g' / (1 + exp(-(alpha*g')))) * (u' + 1). NaN stays NaN. */
  void (*swiglu_clamped)(float *y, const float *g, const float *u, float alpha, float limit,
                         int64_t n);
  /* One row of router logits -> the n_slot chosen experts, best first: ids (whole numbers) and
   * weights. Scores are softmax over all experts unless flags say otherwise; the choice is by
   * score + bias, of equal ones the lowest id, NaN last; with groups only among the experts of the
   * n_group_used best groups (DeepSeek-V3, arXiv:2412.19437, section 2.1.2). The weight is the
   * score without bias; NORM divides by the sum, slots ascending; then times scale. */
  void (*route)(float *weights, float *ids, const float *logits, const mtk_route_args *a);

  /* A row of k values (whole storage blocks) into nvfp4 or mxfp4, the block scales chosen by `rule`
   * (kernels/encode_rules.h has the formulas). x finite. */
  void (*fp4_encode)(uint8_t *dst, const float *x, int64_t k, const mtk_fp4_rule *rule);
  /* Largest magnitude of n floats, 0 for none; NaN or Inf if there is one (not finite: enough to
   * refuse). */
  float (*amax)(const float *x, int64_t n);
  /* m = sum16(x_i)/d; c_i = x_i - m; r = 1/sqrt(sum16(fma c_i^2)/d + eps); y_i = (c_i * r) * w_i
   * (Ba, Kiros & Hinton 2016). */
  void (*layernorm)(float *y, const float *x, const float *w, float eps, int64_t rows, int64_t d);

  /* ---- the limits of the machine (mtk bench) ---- */
  /* Nothing but the multiply-adds that linear layers of each arithmetic are made of, on registers;
   * returns how many operations that was (a multiply-add is 2). io: 32 floats, read and written so
   * that the work must be done. */
  double (*peak[MTK_ARITH_COUNT])(float *io, int64_t rounds);
  /* Exclusive or of n words, read as `streams` parts side by side (negative: as many, fetched into
   * the L2 cache ahead; not 0); data 64-byte aligned. */
  uint64_t (*read_words)(const uint64_t *data, size_t n, int streams);

  /* e4m3(x / d), nearest even; beyond 448, that. x and d finite. */
  void (*e4m3_encode)(uint8_t *dst, const float *x, float d, int64_t n);
  /* n stored elements (whole blocks) as floats: what mtk_dtype_decode gives. */
  void (*widen)(float *dst, const void *src, mtk_dtype type, int64_t n);
  /* Attention of one token (n_tokens 1) in three steps whose ranges threads may share, each with
   * its own scratch; together they give the bits of `attention`. */
  void (*attention_step)(const mtk_attn_args *a, mtk_attn_step step, int64_t i0, int64_t i1);
} mtk_kernels;

/* Fill a table for a level, at most mtk_isa_best(): code of a level above is not to be entered, not
 * even to fill its table. Entries a level lacks are those of the next lower one. Thread-safe. */
void mtk_kernels_init(mtk_kernels *table, mtk_isa level);
/* Highest level this CPU and OS support (CPUID and XGETBV), reason as a static string. The first
 * call asks Linux for AMX tiles where the CPU has them. Thread-safe. */
mtk_isa mtk_isa_best(const char **why);
/* The same up to a level, without looking at what higher ones need. Below `most`: *why says what
 * that lacks. */
mtk_isa mtk_isa_best_up_to(mtk_isa most, const char **why);
/* The table of the level that MTK_CPU names, else the best one; lives as long as the program.
 * Thread-safe. */
const mtk_kernels *mtk_kernels_default(void);
mtk_isa mtk_isa_by_name(const char *name); /* MTK_ISA_COUNT if unknown */

/* Scalar math with the bits that all levels use (error bounds tested against long double). */
/* n = rint(x*log2e), two-step ln2, degree-5/6 fma Horner; < -87.3 -> 0 */
float mtk_math_expf(float x);
float mtk_math_logf(float x);
/* |x| < 0.6: x + x^3 P(x^2); else 1 - 2/(exp(2|x|) + 1) with the sign of x */
float mtk_math_tanhf(float x);
double mtk_math_exp(double x);
double mtk_math_log(double x);
double mtk_math_pow(double base, double exponent); /* base >= 0; NaN for a negative one */
void mtk_math_sincos(double x, double *sin_out, double *cos_out); /* |x| < 2^31 */
/* cos_sin rows for positions pos[i]: pair j has angle pos * inv_freq[j] (double), result times
 * mscale, rounded to f32; layout as mtk_kernels.rope wants it. */
void mtk_rope_table(float *cos_sin, const int32_t *pos, int64_t rows, const double *inv_freq,
                    int rope_dim, double mscale);

#ifdef __cplusplus
}
#endif
#endif
