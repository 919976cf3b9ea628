/* quantize_keeps.c: mtk quantize: which targets the format of DST can hold. Main thread only. */
#include <string.h>

#include "quantize.h"

/* A weight as `t` makes it: of 128 x 256 values, so that no usual grid or block covers it whole. */
static bool keeps(const mtk_format_v1 *format, const mtk_quant_target *t) {
  enum { ROWS = 128, COLS = 256 };
  static float ones[ROWS * COLS]; /* as many scales as there may be */
  mtk_tensor w = {.name = "blk.0.ffn_up.weight",
                  .dtype = t->dtype,
                  .n_dims = 2,
                  .shape = {ROWS, COLS},
                  .scale_n = t->scale_n > 0 ? t->scale_n : ROWS,
                  .scale_k = t->scale_k > 0 ? t->scale_k : COLS};
  for (int i = 0; i < ROWS * COLS; i++) ones[i] = 1;
  if (t->scale_n >= 0) w.scales = ones;
  return mtk_format_keeps(format, &w);
}

/* "a model folder", "a .gguf file" */
static void put_kind(mtk_bytes *out, const mtk_format_v1 *f) {
  if (f->flags & MTK_FORMAT_FOLDER)
    mtk_bytes_puts(out, "a model folder");
  else
    mtk_bytes_printf(out, "a .%.*s file", (int)strcspn(f->extensions, " "), f->extensions);
}

/* Where the target can go instead. */
static void put_other(mtk_bytes *out, const mtk_quant_target *t, bool by_layout) {
  static const char *const formats[] = {"hf", "gguf"};
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    const mtk_format_v1 *f = mtk_format_find(formats[i]);
    if (!f || !keeps(f, t)) continue;
    if (by_layout)
      mtk_bytes_printf(out, "give --layout %s, or ", f->id);
    else if (f->flags & MTK_FORMAT_FOLDER)
      mtk_bytes_puts(out, "name a folder as DST, or ");
    else
      mtk_bytes_printf(out, "name DST *.%s, or ", f->extensions);
    return;
  }
}

mtk_status mtk_cmd_keeps_target(const mtk_format_v1 *format, const mtk_quantizer_v1 *q,
                                const mtk_quant_target *t, const mtk_cmd_line *line,
                                mtk_error *err) {
  enum { NAMED = 12 };
  if (keeps(format, t)) return MTK_OK;
  mtk_bytes text = {0}, types = {0};
  int n = 0;
  for (const mtk_quant_target *other = q->targets; other->name; other++)
    if (keeps(format, other) && n++ < NAMED)
      mtk_bytes_printf(&types, "%s%s", n > 1 ? ", " : "", other->name);
  put_kind(&text, format);
  mtk_bytes_printf(&text, " cannot hold %s: ", t->name);
  put_other(&text, t, mtk_options_is_set(line->options, "layout"));
  mtk_bytes_printf(&text, "choose a type that it has: %s%s", types.data ? types.data : "none",
                   n > NAMED ? ", ..." : "");
  mtk_status st = mtk_bytes_status(&text, err);
  if (st == MTK_OK) st = mtk_fail(err, MTK_E_INVALID, NULL, "%s", text.data);
  mtk_bytes_finish(&types);
  mtk_bytes_finish(&text);
  return st;
}

mtk_status mtk_cmd_keeps_tensors(const mtk_format_v1 *format, const mtk_model *model,
                                 const mtk_quantize_report *r, mtk_error *err) {
  for (size_t i = 0; i < r->n_rows; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, r->rows[i].name);
    bool matrix = r->rows[i].reason == MTK_QUANTIZED && t->n_dims == 2; /* experts may be split */
    if (matrix && !mtk_format_keeps(format, t))
      return mtk_fail(err, MTK_E_INVALID, t->name,
                      "format %s cannot hold a matrix of this name and shape as %s: --keep it",
                      format->id, r->rows[i].target->name);
    /* Its loader asks for the scales of all other NVFP4 matrices (llama-cpp-python 0.3.36). */
    if (matrix && t->dtype == MTK_NVFP4 && t->scales && strcmp(format->id, "gguf") == 0 &&
        strcmp(t->name, "token_embd.weight") == 0)
      mtk_log(MTK_LOG_WARN, "%s: llama.cpp refuses a file whose embedding is %s: for it, leave out "
              "--embeddings, or --keep '%s'", t->name, r->rows[i].target->name, t->name);
  }
  return MTK_OK;
}
