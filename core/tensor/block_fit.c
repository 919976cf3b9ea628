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

/* ---- one scale, codes of both signs -------------------------------------------------------- */

static fit_sums symmetric_sums(int n, int nmax, const float *x, const float *w, float inv,
                               int8_t *codes) {
  fit_sums s = {0, 0};
  for (int i = 0; i < n; i++) {
    int l = nearest_code(inv * x[i], -nmax, nmax - 1);
    float weight = w ? w[i] : x[i] * x[i];
    codes[i] = (int8_t)l;
    s.xl += weight * x[i] * (float)l;
    s.ll += weight * (float)l * (float)l;
  }
  return s;
}

float mtk_fit_symmetric(int n, int nmax, const float *x, const float *w, uint8_t *codes) {
  int8_t best_codes[FIT_MAX] = {0}, trial[FIT_MAX];
  float peak = peak_of(x, n);
  clear(codes, n);
  if (fabsf(peak) < nothing) return 0.0f;
  fit_sums s = symmetric_sums(n, nmax, x, w, (float)-nmax / peak, best_codes);
  float scale = s.ll > 0 || s.ll < 0 ? s.xl / s.ll : 0.0f, best = scale * s.xl;
  for (int step = -9; step <= 9; step++) {
    if (step == 0) continue;
    s = symmetric_sums(n, nmax, x, w, -((float)nmax + 0.1f * (float)step) / peak, trial);
    if (!(s.ll > 0 && s.xl * s.xl > best * s.ll)) continue;
    memcpy(best_codes, trial, sizeof trial);
    scale = s.xl / s.ll;
    best = scale * s.xl;
  }
  for (int i = 0; i < n; i++) codes[i] = (uint8_t)(best_codes[i] + nmax);
  return scale;
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
  int8_t rounded[FIT_MAX];
  int l[FIT_MAX];
  float peak = peak_of(x, n);
  clear(codes, n);
  if (fabsf(peak) < nothing) return 0.0f;
  fit_sums s = symmetric_sums(n, nmax, x, NULL, (float)-nmax / peak, rounded);
  for (int i = 0; i < n; i++) l[i] = rounded[i];
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
  const float *x, *w;
  float sum_w, sum_x;
} affine;

static float affine_error(const affine *a, float scale, float min, const uint8_t *codes) {
  float error = 0;
  for (int i = 0; i < a->n; i++) {
    float diff = scale * (float)codes[i] + min - a->x[i];
    error += a->w[i] * (a->mad ? fabsf(diff) : diff * diff);
  }
  return error;
}

/* Codes for the range, then the scale and minimum (at most 0) that suit them best; 0 if they do not
 * determine them. */
static int affine_trial(const affine *a, float inv, float min, uint8_t *codes, float *scale_out,
                        float *min_out) {
  float sum_l = 0, sum_ll = 0, sum_xl = 0;
  for (int i = 0; i < a->n; i++) {
    int code = nearest_code(inv * (a->x[i] - min), 0, a->nmax);
    float w = a->w[i], l = (float)code;
    codes[i] = (uint8_t)code;
    sum_l += w * l;
    sum_ll += w * l * l;
    sum_xl += w * l * a->x[i];
  }
  float det = a->sum_w * sum_ll - sum_l * sum_l;
  if (!(det > 0)) return 0;
  *scale_out = (a->sum_w * sum_xl - a->sum_x * sum_l) / det;
  *min_out = (sum_ll * a->sum_x - sum_l * sum_xl) / det;
  if (*min_out > 0) {
    *min_out = 0;
    *scale_out = sum_xl / sum_ll;
  }
  return 1;
}

float mtk_fit_affine(float *min_out, int n, int nmax, const float *x, const float *w,
                     const fit_range *range, uint8_t *codes) {
  affine a = {n, nmax, range->mad, x, w, w[0], w[0] * x[0]};
  float min = x[0], max = x[0];
  for (int i = 1; i < n; i++) {
    if (x[i] < min) min = x[i];
    if (x[i] > max) max = x[i];
    a.sum_w += w[i];
    a.sum_x += w[i] * x[i];
  }
  if (min > 0) min = 0;
  clear(codes, n);
  *min_out = -min;
  if (!(max > min)) return 0.0f;
  float inv = (float)nmax / (max - min), scale = 1 / inv;
  for (int i = 0; i < n; i++) codes[i] = (uint8_t)nearest_code(inv * (x[i] - min), 0, nmax);
  float best = affine_error(&a, scale, min, codes);
  for (int step = 0; step <= range->n_steps; step++) {
    uint8_t trial[FIT_MAX];
    float trial_scale, trial_min;
    inv = (range->first + range->step * (float)step + (float)nmax) / (max - min);
    if (!affine_trial(&a, inv, min, trial, &trial_scale, &trial_min)) continue;
    float error = affine_error(&a, trial_scale, trial_min, trial);
    if (!(error < best)) continue;
    memcpy(codes, trial, (size_t)n);
    best = error;
    scale = trial_scale;
    min = trial_min;
  }
  *min_out = -min;
  return scale;
}
