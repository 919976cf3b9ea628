/* bench_shape.c: the model of mtk bench: a file or folder, or random weights in the shape of a
 * config.json, as many blocks of it as fit into memory. */
#include "bench.h"

/* ---- shapes ---------------------------------------------------------------------------------- */

static mtk_status make_shape(mtk_model **out, const mtk_cmd_line *line, int64_t n_block,
                             mtk_error *err) {
  const mtk_option_values *o = line->options;
  const char *type = mtk_options_string(o, "dtype");
  mtk_synthetic_options so = {.struct_size = sizeof so,
                              .dtype = mtk_dtype_by_name(type),
                              .n_block = n_block,
                              .seed = (uint64_t)mtk_options_int(o, "seed")};
  if (so.dtype == MTK_DTYPE_COUNT)
    return mtk_fail(err, MTK_E_INVALID, "--dtype", "'%.40s' is no storage type", type);
  return mtk_model_synthetic(out, mtk_options_string(o, "shape"), &so, err);
}

static uint64_t meta_size(const mtk_model *model, const char *key) {
  uint64_t v = 0;
  return mtk_meta_uint(&v, mtk_model_meta(model), key, 0, NULL) == MTK_OK ? v : 0;
}

/* Bytes of a model of n blocks with its cache. */
static mtk_status shape_bytes(double *out, const mtk_cmd_line *line, int64_t n_block,
                              int64_t positions, mtk_error *err) {
  mtk_model *model;
  MTK_TRY(make_shape(&model, line, n_block, err));
  uint64_t per_head =
      meta_size(model, "attention.key_length") + meta_size(model, "attention.value_length");
  double kv = 4.0 * (double)per_head * (double)meta_size(model, "attention.head_count_kv");
  *out = (double)mtk_cmd_model_bytes(model) + kv * (double)n_block * (double)positions;
  mtk_model_destroy(model);
  return MTK_OK;
}

/* As many blocks as take three quarters of the memory that is left. */
static mtk_status blocks_that_fit(int64_t *out, const mtk_cmd_line *line, int64_t whole,
                                  int64_t positions, mtk_error *err) {
  double one, two, room = 0.75 * (double)mtk_memory_available();
  MTK_TRY(shape_bytes(&one, line, 1, positions, err));
  MTK_TRY(shape_bytes(&two, line, 2, positions, err));
  if (one > room)
    return mtk_fail(err, MTK_E_LIMIT, "--shape",
                    "one layer of it needs %s, %s are left; --layers 1 tries it nevertheless",
                    mtk_cmd_bytes((uint64_t)one), mtk_cmd_bytes((uint64_t)room));
  double more = (room - one) / (two - one);
  *out = more >= (double)(whole - 1) ? whole : 1 + (int64_t)more;
  if (*out < whole)
    mtk_log(MTK_LOG_WARN, "%lld of %lld layers: that is what fits into %s; --layers N takes N",
            (long long)*out, (long long)whole, mtk_cmd_bytes((uint64_t)room));
  return MTK_OK;
}

static mtk_status open_shape(bench_model *out, const mtk_cmd_line *line, int64_t positions,
                             mtk_error *err) {
  out->shape = true;
  out->name = mtk_path_base(mtk_options_string(line->options, "shape"));
  mtk_model *whole;
  MTK_TRY(make_shape(&whole, line, 0, err));
  out->whole = (int64_t)meta_size(whole, "block_count");
  mtk_model_destroy(whole);
  out->blocks = mtk_options_int(line->options, "layers");
  if (out->blocks == 0) MTK_TRY(blocks_that_fit(&out->blocks, line, out->whole, positions, err));
  double start = mtk_now_s();
  MTK_TRY(make_shape(&out->model, line, out->blocks, err));
  out->seconds = mtk_now_s() - start;
  mtk_cmd_print_warnings(out->model);
  return MTK_OK;
}

mtk_status bench_model_open(bench_model *out, const mtk_cmd_line *line, int64_t positions,
                            mtk_error *err) {
  static const char *const of_shapes[] = {"dtype", "layers", "seed"};
  *out = (bench_model){0};
  bool shape = mtk_options_string(line->options, "shape") != NULL;
  if (shape == (line->n_args == 1))
    return mtk_fail(err, MTK_E_INVALID, NULL, "bench needs a MODEL or --shape CONFIG.json%s",
                    shape ? ", not both" : "");
  if (shape) return open_shape(out, line, positions, err);
  for (size_t i = 0; i < sizeof of_shapes / sizeof *of_shapes; i++)
    if (mtk_options_is_set(line->options, of_shapes[i]))
      return mtk_fail(err, MTK_E_INVALID, of_shapes[i], "only goes with --shape");
  out->name = mtk_path_base(line->args[0]);
  double start = mtk_now_s();
  MTK_TRY(mtk_model_load(&out->model, line->args[0], err));
  out->seconds = mtk_now_s() - start;
  return MTK_OK;
}
