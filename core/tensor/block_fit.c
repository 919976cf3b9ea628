/* block_fit.c: see block_fit.h. Pure functions; any thread. */
#include "tensor/block_fit.h"

#include "tensor/block_util.h"

#include <string.h>

static const float nothing = 1e-15f; /* groups whose peak is smaller count as zeros */

/* Sums of a least-squares fit of one scale: scale = xl / ll. */
typedef struct fit_sums {
  float xl, ll;
} fit_sums;

static void clear(uint8_t *codes, int n) {
  for (int i = 0; i < n; i++) codes[i] = 0;
}

/* ---- four groups side by side -------------------------------------------------------------- */

/* Element l belongs to group l: sums stay chains in each group's own order. */
enum { QUAD = 4 };
typedef float quad __attribute__((vector_size(4 * QUAD)));
typedef int32_t quad_mask __attribute__((vector_size(4 * QUAD)));

static inline quad pick(quad_mask mask, quad a, quad b) {
  return (quad)(((quad_mask)a & mask) | ((quad_mask)b & ~mask));
}

static inline quad magnitude(quad a) { return (quad)((quad_mask)a & 0x7FFFFFFF); }

/* nearest_code of each */
static inline quad round_quad(quad f, float lo, float hi) {
  const quad zero = {0};
  f = pick(f > lo, f, zero + lo);
  f = pick(f < hi, f, zero + hi);
  return (f + 0x1.8p23f) - 0x1.8p23f;
}

/* n numbers of each of the groups that are left, the last one in place of those that are not. */
static void gather(quad *dst, const float *src, int n, int left) {
  const float *of[QUAD];
  for (int l = 0; l < QUAD; l++) of[l] = src + (l < left ? l : left - 1) * n;
  for (int i = 0; i < n; i++) dst[i] = (quad){of[0][i], of[1][i], of[2][i], of[3][i]};
}

static void scatter(uint8_t *codes, const quad *src, int n, int left, float plus) {
  for (int l = 0; l < QUAD && l < left; l++)
    for (int i = 0; i < n; i++) codes[l * n + i] = (uint8_t)(src[i][l] + plus);
}

/* ---- one scale, codes of both signs -------------------------------------------------------- */

typedef struct quad_sums {
  quad xl, ll;
} quad_sums;

/* wx: weight times x */
static quad_sums symmetric_sums(int n, int nmax, const quad *x, const quad *w, const quad *wx,
                                quad inv) {
  quad_sums s = {{0}, {0}};
  for (int i = 0; i < n; i++) {
    quad l = round_quad(inv * x[i], (float)-nmax, (float)(nmax - 1));
    s.xl += wx[i] * l;
    s.ll += w[i] * l * l;
  }
  return s;
}

static quad fit_symmetric(int n, int nmax, const quad *x, const quad *w, quad *codes) {
  const quad zero = {0};
  quad wx[FIT_MAX], amax = zero, peak = zero;
  for (int i = 0; i < n; i++) {
    quad_mask more = magnitude(x[i]) > amax;
    amax = pick(more, magnitude(x[i]), amax);
    peak = pick(more, x[i], peak);
    wx[i] = w[i] * x[i];
  }
  quad best_inv = (float)-nmax / peak;
  quad_sums s = symmetric_sums(n, nmax, x, w, wx, best_inv);
  quad scale = pick((s.ll > zero) | (s.ll < zero), s.xl / s.ll, zero), best = scale * s.xl;
  for (int step = -9; step <= 9; step++) {
    if (step == 0) continue;
    quad inv = -((float)nmax + 0.1f * (float)step) / peak;
    s = symmetric_sums(n, nmax, x, w, wx, inv);
    quad_mask better = (s.ll > zero) & (s.xl * s.xl > best * s.ll);
    scale = pick(better, s.xl / s.ll, scale);
    best = pick(better, scale * s.xl, best);
    best_inv = pick(better, inv, best_inv);
  }
  quad_mask live = ~(amax < nothing);
  for (int i = 0; i < n; i++)
    codes[i] = pick(live, round_quad(best_inv * x[i], (float)-nmax, (float)(nmax - 1)),
                    zero - (float)nmax);
  return pick(live, scale, zero);
}

void mtk_fit_symmetric(float *scales, int n_groups, int n, int nmax, const float *x, const float *w,
                       uint8_t *codes) {
  for (int g = 0; g < n_groups; g += QUAD) {
    quad xs[FIT_MAX], ws[FIT_MAX], cs[FIT_MAX];
    int left = n_groups - g;
    gather(xs, x + g * n, n, left);
    if (w) gather(ws, w + g * n, n, left);
    for (int i = 0; i < n && !w; i++) ws[i] = xs[i] * xs[i];
    quad scale = fit_symmetric(n, nmax, xs, ws, cs);
    scatter(codes + g * n, cs, n, left, (float)nmax);
    for (int l = 0; l < QUAD && l < left; l++) scales[g + l] = scale[l];
  }
}

/* Move each code to where it fits best with the others held; up to 5 rounds. lo..hi: its range;
 * only_ll: also demand that the rest has a code that is not 0 before trying. */
static void descend(fit_sums *s, int n, int lo, int hi, const float *x, const float *w, int *codes,
                    int only_ll) {
  for (int round = 0, changed = 1; round < 5 && changed; round++) {
    changed = 0;
    for (int i = 0; i < n; i++) {
      float weight = w ? w[i] : x[i] * x[i], l = (float)codes[i];
      float xl = s->xl - weight * x[i] * l, ll = s->ll - weight * l * l;
      if (!(xl > 0) || (only_ll && !(ll > 0))) continue;
      int code = nearest_code(x[i] * ll / xl, lo, hi);
      if (code == codes[i]) continue;
      l = (float)code;
      xl += weight * x[i] * l;
      ll += weight * l * l;
      if (!(ll > 0 && xl * xl * s->ll > s->xl * s->xl * ll)) continue;
      codes[i] = code;
      *s = (fit_sums){xl, ll};
      changed = 1;
    }
  }
}

float mtk_fit_descent(int n, int nmax, const float *x, uint8_t *codes) {
  int l[FIT_MAX];
  float peak = peak_of(x, n), inv = (float)-nmax / peak;
  fit_sums s = {0, 0};
  clear(codes, n);
  if (fabsf(peak) < nothing) return 0.0f;
  for (int i = 0; i < n; i++) {
    float weight = x[i] * x[i];
    l[i] = nearest_code(inv * x[i], -nmax, nmax - 1);
    s.xl += weight * x[i] * (float)l[i];
    s.ll += weight * (float)l[i] * (float)l[i];
  }
  descend(&s, n, -nmax, nmax - 1, x, NULL, l, 0);
  for (int i = 0; i < n; i++) codes[i] = (uint8_t)(l[i] + nmax);
  return s.ll > 0 ? s.xl / s.ll : 0.0f;
}

/* ---- one scale, no signs ------------------------------------------------------------------- */

static float positive_error(int n, int nmax, const float *x, const float *w, float inv) {
  float scale = 1 / inv, error = 0;
  for (int i = 0; i < n; i++) {
    int l = nearest_int(inv * x[i]);
    float diff = x[i] - scale * (float)(l < nmax ? l : nmax);
    error += w[i] * diff * diff;
  }
  return error;
}

float mtk_fit_positive(int n, int nmax, const float *x, const float *w, uint8_t *codes) {
  int l[FIT_MAX];
  float max = 0;
  for (int i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
  clear(codes, n);
  if (max < nothing) return 0.0f;
  float inv = (float)nmax / max, best = positive_error(n, nmax, x, w, inv);
  for (int step = -4; step <= 4; step++) {
    if (step == 0) continue;
    float trial = (0.1f * (float)step + (float)nmax) / max;
    float error = positive_error(n, nmax, x, w, trial);
    if (error < best) best = error, inv = trial;
  }
  fit_sums s = {0, 0};
  for (int i = 0; i < n; i++) {
    int code = nearest_int(inv * x[i]);
    l[i] = code < nmax ? code : nmax;
    s.xl += w[i] * x[i] * (float)l[i];
    s.ll += w[i] * (float)l[i] * (float)l[i];
  }
  descend(&s, n, -nmax, nmax, x, w, l, 1);
  for (int i = 0; i < n; i++) codes[i] = (uint8_t)l[i];
  return s.ll > 0 ? s.xl / s.ll : 0.0f;
}

/* ---- a scale and a minimum ----------------------------------------------------------------- */

/* Numbers to fit: their weights' sums do not change between trials. */
typedef struct affine {
  int n, nmax, mad;
  const quad *x, *w;
  quad sum_w, sum_x;
} affine;

static quad affine_error(const affine *a, quad scale, quad min, const quad *codes) {
  quad error = {0};
  for (int i = 0; i < a->n; i++) {
    quad diff = scale * codes[i] + min - a->x[i];
    error += a->w[i] * (a->mad ? magnitude(diff) : diff * diff);
  }
  return error;
}

/* Codes for the range, then the scale and minimum (at most 0) that suit them best; false where they
 * do not determine them. */
static quad_mask affine_trial(const affine *a, quad inv, quad min, quad *codes, quad *scale_out,
                              quad *min_out) {
  const quad zero = {0};
  quad sum_l = zero, sum_ll = zero, sum_xl = zero;
  for (int i = 0; i < a->n; i++) {
    quad l = codes[i] = round_quad(inv * (a->x[i] - min), 0, (float)a->nmax), wl = a->w[i] * l;
    sum_l += wl;
    sum_ll += wl * l;
    sum_xl += wl * a->x[i];
  }
  quad det = a->sum_w * sum_ll - sum_l * sum_l;
  quad scale = (a->sum_w * sum_xl - a->sum_x * sum_l) / det;
  *min_out = (sum_ll * a->sum_x - sum_l * sum_xl) / det;
  *scale_out = pick(*min_out > zero, sum_xl / sum_ll, scale);
  *min_out = pick(*min_out > zero, zero, *min_out);
  return det > zero;
}

static quad fit_affine(quad *min_out, affine *a, const fit_range *range, quad *codes) {
  const quad zero = {0}, *x = a->x;
  quad min = x[0], max = x[0];
  a->sum_w = a->w[0];
  a->sum_x = a->w[0] * x[0];
  for (int i = 1; i < a->n; i++) {
    min = pick(x[i] < min, x[i], min);
    max = pick(x[i] > max, x[i], max);
    a->sum_w += a->w[i];
    a->sum_x += a->w[i] * x[i];
  }
  min = pick(min > zero, zero, min);
  quad_mask live = max > min;
  quad inv = (float)a->nmax / (max - min), scale = 1 / inv, trial_scale, trial_min;
  quad best_inv = inv, from = min; /* what the codes are made with */
  for (int i = 0; i < a->n; i++) codes[i] = round_quad(inv * (x[i] - min), 0, (float)a->nmax);
  quad best = affine_error(a, scale, min, codes);
  for (int step = 0; step <= range->n_steps; step++) {
    inv = (range->first + range->step * (float)step + (float)a->nmax) / (max - min);
    quad_mask better = live & affine_trial(a, inv, min, codes, &trial_scale, &trial_min);
    quad error = affine_error(a, trial_scale, trial_min, codes);
    better &= error < best;
    best_inv = pick(better, inv, best_inv);
    from = pick(better, min, from);
    best = pick(better, error, best);
    scale = pick(better, trial_scale, scale);
    min = pick(better, trial_min, min);
  }
  for (int i = 0; i < a->n; i++)
    codes[i] = pick(live, round_quad(best_inv * (x[i] - from), 0, (float)a->nmax), zero);
  *min_out = -min;
  return pick(live, scale, zero);
}

void mtk_fit_affine(float *scales, float *mins, int n_groups, int n, int nmax, const float *x,
                    const float *w, const fit_range *range, uint8_t *codes) {
  for (int g = 0; g < n_groups; g += QUAD) {
    quad xs[FIT_MAX] = {{0}}, ws[FIT_MAX] = {{0}}, cs[FIT_MAX], min;
    int left = n_groups - g;
    affine a = {.n = n, .nmax = nmax, .mad = range->mad, .x = xs, .w = ws};
    gather(xs, x + g * n, n, left);
    gather(ws, w + g * n, n, left);
    quad scale = fit_affine(&min, &a, range, cs);
    scatter(codes + g * n, cs, n, left, 0);
    for (int l = 0; l < QUAD && l < left; l++) {
      scales[g + l] = scale[l];
      mins[g + l] = min[l];
    }
  }
}
