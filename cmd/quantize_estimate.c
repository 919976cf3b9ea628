/* quantize_estimate.c: mtk quantize --dry-run: what the run would take, and what its result runs as
 * on which machine. Main thread only. */
#include <string.h>

#include "quantize.h"

/* ---- what it runs as ------------------------------------------------------------------------- */

/* Which kernels serve a target: vLLM, SGLang and TensorRT-LLM for model folders, llama.cpp and mtk
 * for GGUF. Tensor cores: FP8 from sm_89 (Ada), FP4 and MX scales from sm_100 (Blackwell). */
enum { N_DEVICES = 3 };
static const char *const g_devices[N_DEVICES] = {"Blackwell", "Hopper", "Ada"};
typedef struct runs_as {
  const char *target, *act; /* act: of --act; NULL = none given */
  const char *on[N_DEVICES];
} runs_as;

static const char g_fallback[] =
    "weight-only W4A16 (Marlin): no FP4 tensor cores; saves memory, not compute";
static const char g_weight_only[] =
    "weight-only W4A16 (Marlin): the checkpoint has no input scales (--act nvfp4 gives them)";
static const char g_fp8[] = "W8A8 on FP8 tensor cores";
static const char g_blocks[] = "W8A8 on FP8 tensor cores, scales per 128 x 128 (DeepGEMM, CUTLASS)";
static const char g_blocks_triton[] = "W8A8 on FP8 tensor cores, scales per 128 x 128 (Triton)";
static const char g_int[] = "weight-only int4 or int8 (Marlin)";

static const runs_as g_runs[] = {
    {"nvfp4",
     "nvfp4",
     {"W4A4 on FP4 tensor cores (sm_100, sm_103, sm_120, sm_121)", g_fallback, g_fallback}},
    {"nvfp4",
     "fp8",
     {"W4A8 on FP8 tensor cores", "W4A8: weights to FP8, FP8 tensor cores",
      "W4A8: weights to FP8, FP8 tensor cores"}},
    {"nvfp4", NULL, {g_weight_only, g_weight_only, g_weight_only}},
    {"mxfp4",
     NULL,
     {"W4A16, or W4A8 with MXFP8 activations where the server makes them", g_fallback, g_fallback}},
    {"mxfp8",
     NULL,
     {"W8A8 with MX scales on FP8 tensor cores", "weight-only W8A16: no MX scales",
      "weight-only W8A16: no MX scales"}},
    {"fp8", NULL, {g_fp8, g_fp8, g_fp8}},
    {"fp8-channel", NULL, {g_fp8, g_fp8, g_fp8}},
    {"fp8-block",
     NULL,
     {"W8A8 on FP8 tensor cores; scales become powers of two (DeepGEMM)", g_blocks,
      g_blocks_triton}},
    {"int4", NULL, {g_int, g_int, g_int}},
    {"int8", NULL, {g_int, g_int, g_int}},
};
static const char g_gguf[] = "llama.cpp: integer kernels of the type (CUDA)";
static const char *const g_cpu[MTK_ARITH_COUNT] = {
    [MTK_A32] = "f32 (a32)",
    [MTK_A16] = "bf16 with f32 sums (a16)",
    [MTK_A8] = "integer dot products with int8 activations (a8)",
};

static bool begins(const char *name, const char *prefix) {
  size_t n = strlen(prefix);
  return strncmp(name, prefix, n) == 0 && (name[n] == 0 || name[n] == '-');
}

static const char *find_runs(const mtk_quant_target *t, const mtk_cmd_estimate *e, int device) {
  for (size_t i = 0; i < sizeof g_runs / sizeof *g_runs && !e->gguf; i++) {
    const runs_as *r = &g_runs[i];
    bool exact = strcmp(r->target, t->name) == 0;
    if (!exact && !(begins(t->name, r->target) && !begins(t->name, "fp8"))) continue;
    if (!r->act || (e->act && strcmp(r->act, e->act) == 0)) return r->on[device];
  }
  return e->gguf ? g_gguf : "weights are read as bf16";
}

/* "W8A8 ...", or where that differs by type "nvfp4: W4A16 ...; fp8: W8A8 ...". */
static void describe_runs(mtk_bytes *out, const mtk_cmd_estimate *e, int device) {
  bool differ = false;
  for (size_t i = 1; i < e->n_targets; i++)
    differ |= find_runs(e->targets[i], e, device) != find_runs(e->targets[0], e, device);
  for (size_t i = 0; i < (differ ? e->n_targets : 1); i++) {
    if (differ) mtk_bytes_printf(out, "%s%s: ", i ? "; " : "", e->targets[i]->name);
    mtk_bytes_puts(out, find_runs(e->targets[i], e, device));
  }
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum {
  WINDOW_BYTES = 32 << 20, /* pages of mapped files that stay before they are given back */
  CHUNK_BYTES = 4 << 20    /* rows on their way into a file */
};

/* Second moments of the layers of one block, the largest of all: k x k floats for each input. */
static uint64_t moment_bytes(const mtk_model *model, const mtk_quantize_report *r) {
  uint64_t most = 0, sum = 0;
  long block = -2;
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, r->rows[i].name);
    if (!t || r->rows[i].reason != MTK_QUANTIZED || r->rows[i].group != i) continue;
    long at = mtk_tensor_block(t->name);
    uint64_t k = (uint64_t)mtk_tensor_row_elems(t), n = (uint64_t)mtk_tensor_matrices(t);
    sum = (at == block ? sum : 0) + 4 * n * k * k;
    block = at;
    if (sum > most) most = sum;
  }
  return most;
}

/* Weights of the largest block as the engine packs them, and activations of all tokens. */
static uint64_t calibration_bytes(const mtk_model *model, const mtk_cmd_line *line) {
  uint64_t most = 0, sum = 0, width = 0, tokens, longest;
  mtk_error ignored = {0};
  long block = -2;
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    long at = mtk_tensor_block(t->name);
    uint64_t n = (uint64_t)mtk_tensor_rows(t) * (uint64_t)mtk_tensor_row_elems(t);
    sum = (at == block ? sum : 0) + 4 * n;
    block = at;
    if (sum > most) most = sum;
  }
  (void)mtk_meta_uint(&width, mtk_model_meta(model), "embedding_length", 0, &ignored);
  tokens = (uint64_t)mtk_options_int(line->options, "calibration-tokens");
  longest = (uint64_t)mtk_options_int(line->options, "sequence-length");
  return most + 8 * tokens * width + 64 * longest * width;
}

static uint64_t peak_bytes(const mtk_model *model, const mtk_quantize_report *r,
                           const mtk_quantize_options *o, const mtk_cmd_line *line) {
  uint64_t beside = 0; /* scales of a tensor that are written after its values */
  for (size_t i = 0; i < r->n_rows; i++) {
    uint64_t bytes = r->rows[i].reason == MTK_QUANTIZED ? r->rows[i].bytes_after / 8 : 0;
    if (bytes > beside) beside = bytes;
  }
  uint64_t peak = mtk_peak_rss_bytes() + 3 * (uint64_t)WINDOW_BYTES + 3 * (uint64_t)CHUNK_BYTES +
                  beside + (uint64_t)mtk_pool_size(o->pool) * (4u << 20);
  if (o->quantizer->needs || mtk_options_is_set(line->options, "calibration"))
    peak += calibration_bytes(model, line);
  if (o->quantizer->needs & MTK_QUANT_NEEDS_SECOND_MOMENT) peak += moment_bytes(model, r);
  return peak;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Seconds to encode one byte of source: rows of the tensor in the middle, on the pool. */
static mtk_status encode_seconds(double *out, const mtk_model *model,
                                 const mtk_quantize_report *r, mtk_error *err) {
  enum { SAMPLE_ELEMS = 4 << 20 };
  size_t seen = 0;
  *out = 0;
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, r->rows[i].name);
    if (!t || r->rows[i].reason != MTK_QUANTIZED || seen++ < r->n_quantized / 2) continue;
    int64_t k = mtk_tensor_row_elems(t), rows = mtk_tensor_rows(t), n = SAMPLE_ELEMS / k;
    if (n < 1) n = 1;
    if (n > rows) n = rows;
    void *buffer = mtk_alloc((size_t)n, mtk_tensor_row_bytes(t));
    const void *bytes = NULL;
    if (!buffer) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    double start = mtk_now_s();
    mtk_status st = mtk_tensor_fetch(&bytes, t, 0, n, buffer, err);
    double seconds = mtk_now_s() - start;
    mtk_free(buffer);
    *out = seconds / ((double)n / (double)rows * (double)r->rows[i].bytes_before);
    return st;
  }
  return MTK_OK;
}

/* Seconds of SHA-256 for one byte. */
static double digest_seconds(void) {
  enum { BYTES = 8 << 20 };
  char hex[65];
  void *zeros = mtk_alloc(BYTES, 1);
  double start = mtk_now_s();
  if (zeros) mtk_sha256_hex(hex, zeros, BYTES);
  mtk_free(zeros);
  return (mtk_now_s() - start) / BYTES;
}

static void find_targets(mtk_cmd_estimate *e, const mtk_quantize_report *r) {
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_quant_target *t = r->rows[i].reason == MTK_QUANTIZED ? r->rows[i].target : NULL;
    size_t at = 0;
    while (t && at < e->n_targets && strcmp(e->targets[at]->name, t->name) != 0) at++;
    if (t && at == e->n_targets && at < MTK_DTYPE_COUNT) e->targets[e->n_targets++] = t;
  }
}

mtk_status mtk_cmd_estimate_make(mtk_cmd_estimate *out, const mtk_model *model,
                                 const mtk_quantize_report *r, const mtk_quantize_options *o,
                                 const mtk_cmd_line *line, const char *format, mtk_error *err) {
  double encode = 0, total = 0;
  bool gguf = strcmp(format, "gguf") == 0;
  bool verifies = !mtk_options_flag(line->options, "no-verify");
  *out = (mtk_cmd_estimate){.act = mtk_options_string(line->options, "act"), .gguf = gguf,
                             .arith = MTK_A8};
  if (o->target) out->arith = mtk_dtype_get(o->target->dtype)->arith;
  out->peak_bytes = peak_bytes(model, r, o, line);
  find_targets(out, r);
  if (o->quantizer->needs) return MTK_OK; /* without calibration there is nothing to time */
  MTK_TRY(encode_seconds(&encode, model, r, err));
  for (size_t i = 0; i < r->n_rows; i++) total += (double)r->rows[i].bytes_before;
  double digest = digest_seconds() * total;
  out->bytes_per_second = encode > 0 ? 1 / encode : 0;
  out->seconds = encode * total * (verifies ? 2 : 1);
  out->seconds = mtk_pool_size(o->pool) > 1 && digest < out->seconds ? out->seconds + digest / 2
                                                                      : out->seconds + digest;
  return MTK_OK;
}

/* ---- what is said of it ---------------------------------------------------------------------- */

json_t *mtk_cmd_estimate_json(const mtk_cmd_estimate *e) {
  json_t *runs = json_object();
  for (int d = 0; d < N_DEVICES; d++) {
    mtk_bytes text = {0};
    describe_runs(&text, e, d);
    json_object_set_new(runs, g_devices[d], json_string(text.data));
    mtk_bytes_finish(&text);
  }
  json_object_set_new(runs, "CPU", json_string(g_cpu[e->arith]));
  return json_pack("{s:o,s:f,s:I,s:o}", "seconds",
                   e->seconds > 0 ? json_real(e->seconds) : json_null(), "source_bytes_per_second",
                   e->bytes_per_second, "peak_bytes", (json_int_t)e->peak_bytes, "runs_as", runs);
}

void mtk_cmd_estimate_print(const mtk_cmd_estimate *e) {
  if (e->seconds > 0)
    mtk_cmd_print("  estimated: %.0f s (%s/s of source, measured on a sample), ", e->seconds,
                  mtk_cmd_bytes((uint64_t)e->bytes_per_second));
  else
    mtk_cmd_print("  estimated: time depends on the calibration, ");
  mtk_cmd_print("at most %s of memory\n  runs as\n", mtk_cmd_bytes(e->peak_bytes));
  for (int d = 0; d < N_DEVICES; d++) {
    mtk_bytes text = {0};
    describe_runs(&text, e, d);
    mtk_cmd_print("    %-10s %s\n", g_devices[d], text.data ? text.data : "");
    mtk_bytes_finish(&text);
  }
  mtk_cmd_print("    CPU        %s: %s\n", e->gguf ? "mtk, llama.cpp" : "mtk", g_cpu[e->arith]);
}
