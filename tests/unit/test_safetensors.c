/* test_safetensors.c: the HF plugin against files of the safetensors package (see
 * tests/oracle/make_format_golden.py), quantized layouts, shards, PEFT, and hostile input. */
#include "format_util.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

START_TEST(reads_every_type) { check_reads("hf", GOLDEN "types.safetensors"); }
END_TEST

START_TEST(reads_quantized_layouts) {
  mtk_model *m = load("hf", GOLDEN "quantized.safetensors");
  check_sums(m, GOLDEN "quantized.safetensors.sha256");
  ck_assert_uint_eq(mtk_model_tensor_count(m), 8);
  ck_assert_int_eq(mtk_model_tensor(m, "ct.weight")->dtype, MTK_NVFP4);
  ck_assert_int_eq(mtk_model_tensor(m, "mx.weight")->dtype, MTK_MXFP4);
  ck_assert_float_eq(mtk_model_tensor(m, "ct.weight")->input_scale, 1.0f / 64);
  ck_assert_float_eq(mtk_model_tensor(m, "opt.weight")->input_scale, 0.5f);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(writes_what_it_read) {
  check_rewrites("hf", GOLDEN "types.safetensors", "types.safetensors", false);
  check_rewrites("hf", GOLDEN "quantized.safetensors", "quantized.safetensors", false);
}
END_TEST

START_TEST(folder_round_trip) {
  mtk_model *a = load("hf", GOLDEN "tiny");
  save("hf", a, scratch("out"), NULL);
  mtk_model *b = load("hf", scratch("out"));
  check_same_tensors(a, b, true);
  ck_assert_uint_eq(mtk_model_warning_count(a), 0);
  char path[256];
  snprintf(path, sizeof path, "%s/model.safetensors", scratch("out"));
  ck_assert(same_files(GOLDEN "tiny/model.safetensors", path));
  mtk_model_destroy(a);
  mtk_model_destroy(b);
}
END_TEST

/* ---- types, texts, other weights ------------------------------------------------------------- */

/* One tensor of every type that the format has; the header is written as it is. */
static const struct {
  const char *dtype, *shape;
  mtk_dtype type;
  int bytes;
} types[] = {
    {"F64", "[2]", MTK_F64, 16},
    {"F32", "[2]", MTK_F32, 8},
    {"C64", "[2]", MTK_C64, 16},
    {"I64", "[]", MTK_I64, 8},
    {"U64", "[1]", MTK_U64, 8},
    {"U32", "[2]", MTK_U32, 8},
    {"I32", "[2]", MTK_I32, 8},
    {"F16", "[4]", MTK_F16, 8},
    {"BF16", "[2,2]", MTK_BF16, 8},
    {"U16", "[4]", MTK_U16, 8},
    {"I16", "[4]", MTK_I16, 8},
    {"U8", "[8]", MTK_U8, 8},
    {"I8", "[0,8]", MTK_I8, 0},
    {"BOOL", "[8]", MTK_BOOL, 8},
    {"F8_E4M3", "[8]", MTK_F8_E4M3, 8},
    {"F8_E4M3FNUZ", "[8]", MTK_F8_E4M3FNUZ, 8},
    {"F8_E5M2", "[8]", MTK_F8_E5M2, 8},
    {"F8_E5M2FNUZ", "[8]", MTK_F8_E5M2FNUZ, 8},
    {"F8_E8M0", "[8]", MTK_E8M0, 8},
    {"F6_E2M3", "[2,8]", MTK_F6_E2M3, 12},
    {"F6_E3M2", "[4,4]", MTK_F6_E3M2, 12},
    {"F4", "[2,2,4]", MTK_F4_E2M1, 8},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static void write_types(const char *path) {
  char file[8192] = {0};
  size_t n = 8, at = 0;
  n += (size_t)snprintf(file + n, sizeof file - n,
                        "{\"__metadata__\":{\"format\":\"pt\",\"made_by\":\"hand: 1\"}");
  for (int i = 0; i < N_TYPES; i++) {
    n += (size_t)snprintf(file + n, sizeof file - n,
                          ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                          types[i].dtype, types[i].dtype, types[i].shape, at,
                          at + (size_t)types[i].bytes);
    at += (size_t)types[i].bytes;
  }
  file[n++] = '}';
  file[0] = (char)(uint8_t)(n - 8);
  file[1] = (char)(uint8_t)((n - 8) >> 8);
  for (size_t i = 0; i < at; i++) file[n + i] = (char)(uint8_t)(7 * i + 1);
  write_bytes(path, file, n + at);
}

START_TEST(carries_every_type) {
  write_types(scratch("types.safetensors"));
  mtk_model *a = load("hf", scratch("types.safetensors"));
  for (int i = 0; i < N_TYPES; i++) {
    const mtk_tensor *t = mtk_model_tensor(a, types[i].dtype);
    ck_assert_msg(t && t->dtype == types[i].type, "%s", types[i].dtype);
    ck_assert_uint_eq(t->size_bytes, (uint64_t)types[i].bytes);
  }
  save("hf", a, scratch("again.safetensors"), NULL);
  mtk_model *b = load("hf", scratch("again.safetensors"));
  check_same_tensors(a, b, false);
  ck_assert_str_eq(mtk_meta_str(mtk_model_meta(b), "kv.safetensors.made_by", ""), "hand: 1");
  size_t n;
  uint8_t *bytes = read_bytes(scratch("again.safetensors"), &n);
  ck_assert(memmem(bytes, n, "\"made_by\": \"hand: 1\"", 20) ||
            memmem(bytes, n, "\"made_by\":\"hand: 1\"", 19));
  mtk_free(bytes);
  mtk_model_destroy(a);
  mtk_model_destroy(b);
}
END_TEST

static void put_text(const char *folder, const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  write_bytes(path, text, strlen(text));
}

/* What stands in the folder comes back byte for byte; what is unknown is named. */
START_TEST(texts_travel) {
  static const char *const names[] = {"LICENSE-CODE.txt",
                                      "NOTICE",
                                      "preprocessor_config.json",
                                      "merges.txt",
                                      "1_Pooling/config.json",
                                      "chat_template.jinja",
                                      "additional_chat_templates/tool_use.jinja"};
  char in[256], out[256], path[512], path_out[512];
  snprintf(in, sizeof in, "%s", scratch("in"));
  snprintf(out, sizeof out, "%s", scratch("out"));
  mkdir(in, 0777);
  write_types(scratch("in/weights.safetensors"));
  mkdir(scratch("in/1_Pooling"), 0777);
  mkdir(scratch("in/additional_chat_templates"), 0777);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    put_text(in, names[i],
             strcmp(names[i], "1_Pooling/config.json") ? names[i] : "{}"); /* is read */
  put_text(in, "training.log", "x");
  mtk_model *a = load("hf", in);
  ck_assert(has_warning(a, "files not carried along: training.log"));
  ck_assert_uint_eq(mtk_model_tensor_count(a), N_TYPES);
  ck_assert_str_eq(mtk_model_attachment(a, "chat_template.tool_use", NULL),
                   "additional_chat_templates/tool_use.jinja");
  save("hf", a, out, NULL);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    snprintf(path, sizeof path, "%s/%s", in, names[i]);
    snprintf(path_out, sizeof path_out, "%s/%s", out, names[i]);
    ck_assert_msg(same_files(path, path_out), "%s", names[i]);
  }
  mtk_model_destroy(a);
  put_text(in, "more.safetensors", "x");
  mtk_error err = load_fails("hf", in);
  ck_assert(strstr(err.message, "several .safetensors files") != NULL);
}
END_TEST

/* ---- shards -------------------------------------------------------------------------------- */

static const char *in_out(const char *name) {
  char part[128];
  snprintf(part, sizeof part, "out/%s", name);
  return scratch(part);
}

static json_t *load_index(void) {
  json_t *index = json_load_file(in_out("model.safetensors.index.json"), 0, NULL);
  ck_assert_ptr_nonnull(index);
  return index;
}

static void put_index(json_t *index) {
  ck_assert_int_eq(json_dump_file(index, in_out("model.safetensors.index.json"), 0), 0);
  json_decref(index);
}

START_TEST(shards) {
  mtk_model *a = load("hf", GOLDEN "tiny");
  save("hf", a, scratch("out"), "max-shard-size=20KB");
  mtk_model *b = load("hf", scratch("out"));
  check_same_tensors(a, b, true);
  mtk_model_destroy(b);
  mtk_model_destroy(a);
  json_t *index = load_index(), *map = json_object_get(index, "weight_map");
  json_t *wrong = json_deep_copy(index);
  const char *file = json_string_value(json_object_get(map, "model.norm.weight"));
  ck_assert_ptr_nonnull(file);
  char shard[256];
  snprintf(shard, sizeof shard, "%s", in_out(file));

  json_object_set_new(json_object_get(wrong, "weight_map"), "ghost", json_string(file));
  put_index(json_deep_copy(wrong));
  ck_assert_ptr_nonnull(strstr(load_fails("hf", scratch("out")).message, "ghost"));

  json_object_del(json_object_get(wrong, "weight_map"), "ghost");
  json_object_del(json_object_get(wrong, "weight_map"), "model.norm.weight");
  put_index(json_deep_copy(wrong));
  ck_assert_ptr_nonnull(strstr(load_fails("hf", scratch("out")).message, "model.norm.weight"));

  json_object_set_new(json_object_get(wrong, "weight_map"), "model.norm.weight",
                      json_string("../../etc/passwd"));
  put_index(wrong);
  ck_assert_int_eq(load_fails("hf", scratch("out")).code, MTK_E_FORMAT);

  put_index(index);
  ck_assert_int_eq(remove(shard), 0);
  ck_assert_int_eq(load_fails("hf", scratch("out")).code, MTK_E_NOT_FOUND);
}
END_TEST

/* ---- quantized folders --------------------------------------------------------------------- */

/* A tensor of the model in a quantized type, its rows encoded here. */
static void quantize(mtk_model *m, const char *name, mtk_dtype dtype, int64_t scale_n,
                     int64_t scale_k, float scale) {
  mtk_error err = {0};
  mtk_tensor t = *mtk_model_tensor(m, name);
  size_t n = (size_t)(t.shape[0] * t.shape[1]);
  float *values = mtk_alloc(n, sizeof *values);
  void *tmp = mtk_alloc(t.size_bytes, 1);
  ck_assert_int_eq(mtk_tensor_fetch_f32(values, &t, 0, t.shape[0], tmp, &err), MTK_OK);
  for (size_t i = 0; i < n; i++) values[i] /= scale;
  t.dtype = dtype;
  t.size_bytes = mtk_dtype_bytes(dtype, n);
  void *data = mtk_arena_alloc(mtk_model_arena(m), t.size_bytes, 1);
  ck_assert_int_ne(mtk_dtype_encode(dtype, data, values, n), 0);
  t.data = data;
  t.read = NULL;
  if (scale_n) {
    int64_t count = ((t.shape[0] - 1) / scale_n + 1) * ((t.shape[1] - 1) / scale_k + 1);
    float *scales = mtk_arena_alloc(mtk_model_arena(m), (size_t)count, sizeof *scales);
    for (int64_t i = 0; i < count; i++) scales[i] = scale * (float)(1 + i);
    t.scales = scales;
    t.scale_n = scale_n;
    t.scale_k = scale_k;
  }
  ck_assert_int_eq(mtk_model_replace_tensor(m, &t, &err), MTK_OK);
  mtk_free(values);
  mtk_free(tmp);
}

static json_t *written_quantization(void) {
  json_t *config = json_load_file(in_out("config.json"), 0, NULL);
  json_t *quantization = json_incref(json_object_get(config, "quantization_config"));
  json_decref(config);
  return quantization;
}

START_TEST(quantized_folders) {
  static const struct {
    mtk_dtype dtype;
    int64_t scale_n, scale_k;
    const char *format;
  } kinds[] = {{MTK_NVFP4, 64, 64, "nvfp4-pack-quantized"},
               {MTK_MXFP4, 0, 0, "mxfp4-pack-quantized"},
               {MTK_F8_E4M3, 64, 64, "float-quantized"},
               {MTK_F8_E4M3, 1, 64, "float-quantized"},
               {MTK_F8_E4M3, 16, 16, "float-quantized"}};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    mtk_model *a = load("hf", GOLDEN "tiny");
    quantize(a, "blk.0.attn_output.weight", kinds[i].dtype, kinds[i].scale_n, kinds[i].scale_k,
             0.013f);
    save("hf", a, scratch("out"), NULL);
    mtk_model *b = load("hf", scratch("out"));
    check_same_tensors(a, b, false);
    json_t *q = written_quantization();
    ck_assert_str_eq(json_string_value(json_object_get(q, "format")), kinds[i].format);
    ck_assert_str_eq(json_string_value(json_object_get(q, "quant_method")), "compressed-tensors");
    json_decref(q);
    save("gguf", b, scratch("q.gguf"), NULL); /* and through a GGUF that can hold it */
    if (kinds[i].dtype != MTK_F8_E4M3) {
      mtk_model *g = load("gguf", scratch("q.gguf"));
      save("hf", g, scratch("out"), NULL);
      mtk_model *c = load("hf", scratch("out"));
      check_same_tensors(a, c, false);
      mtk_model_destroy(g);
      mtk_model_destroy(c);
    }
    mtk_model_destroy(a);
    mtk_model_destroy(b);
  }
}
END_TEST

/* compressed-tensors holds 1/scale; not every float is the reciprocal of one. */
START_TEST(rounded_scales_are_told) {
  mtk_model *a = load("hf", GOLDEN "tiny");
  float scale = 1.0f;
  for (float g = 1.0f / (scale = 0.7f); 1.0f / g == scale; g = 1.0f / scale) {
    scale = nextafterf(scale, 1.0f);
  }
  quantize(a, "blk.0.attn_output.weight", MTK_NVFP4, 64, 64, scale);
  save("hf", a, scratch("out"), NULL);
  ck_assert(has_warning(a, "1 scales were changed in their last bit"));
  mtk_model_destroy(a);
}
END_TEST

START_TEST(types_without_a_layout_become_bf16) {
  mtk_model *a = load("hf", GOLDEN "tiny");
  quantize(a, "blk.0.ffn_up.weight", MTK_Q8_0, 0, 0, 1.0f);
  save("hf", a, scratch("out"), NULL);
  ck_assert(has_warning(a, "1 tensors were written as bf16"));
  json_t *q = written_quantization();
  ck_assert_ptr_null(q);
  mtk_model_destroy(a);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------ */

static void put_file(const char *name, const char *text) {
  write_bytes(in_out(name), text, strlen(text));
}

/* ---- progress -------------------------------------------------------------------------------- */

typedef struct told {
  uint64_t n, done, total;
} told;

static void on_progress(void *ctx, const char *what, uint64_t done, uint64_t total,
                        const char *unit) {
  told *t = ctx;
  (void)what, (void)unit;
  *t = (told){t->n + 1, done, total};
}

static mtk_status read_nothing(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                               mtk_error *err) {
  (void)dst, (void)row0, (void)n_rows;
  return mtk_fail(err, MTK_E_IO, t->name, "cannot be read");
}

/* What an interrupted run left counts as done, and so do scales. */
START_TEST(resumed_progress) {
  const mtk_format_v1 *f = mtk_format_find("hf");
  mtk_error err = {0};
  told seen[2] = {{0}};
  for (int run = 0; run < 2; run++) {
    mtk_model *m = load("hf", GOLDEN "quantized.safetensors");
    mtk_tensor last = *mtk_model_tensor_at(m, mtk_model_tensor_count(m) - 1);
    last.data = NULL;
    last.read = read_nothing;
    if (run == 0) ck_assert_int_eq(mtk_model_replace_tensor(m, &last, &err), MTK_OK);
    mtk_write_options o = {.struct_size = sizeof o};
    ck_assert_int_eq(mtk_outputs_resume(&o.outputs, scratch("r.safetensors"), "key", run, &err),
                     MTK_OK);
    mtk_progress_set(on_progress, &seen[run]);
    mtk_status st = f->write_model(m, scratch("r.safetensors"), &o, &err);
    mtk_progress_set(NULL, NULL);
    ck_assert_int_eq(st, run ? MTK_OK : MTK_E_IO);
    mtk_outputs_close(o.outputs, run == 0);
    mtk_model_destroy(m);
  }
  ck_assert(seen[0].n > 1 && seen[0].done < seen[0].total);
  ck_assert_uint_gt(seen[1].n, seen[0].n);
  ck_assert_uint_eq(seen[1].done, seen[1].total);
}
END_TEST

START_TEST(refusals) {
  ck_assert_int_eq(mkdir(scratch("out"), 0755), 0);
  put_file("config.json", "{\"architectures\": [\"LlamaForCausalLM\"]}");
  ck_assert_int_eq(load_fails("hf", scratch("out")).code, MTK_E_FORMAT); /* hyperparameters */
  put_file("config.json", "{\"architectures\": 1");
  ck_assert_int_eq(load_fails("hf", scratch("out")).code, MTK_E_FORMAT);
  put_file("config.json", "{\"architectures\": [\"NobodyForCausalLM\"]}");
  ck_assert_int_eq(load_fails("hf", scratch("out")).code, MTK_E_NOT_FOUND); /* no weights */
  put_file("adapter_config.json", "{}");
  ck_assert_int_eq(load_fails("hf", scratch("out")).code, MTK_E_UNSUPPORTED);
}
END_TEST

/* ---- PEFT ---------------------------------------------------------------------------------- */

START_TEST(peft_round_trip) {
  mtk_error err = {0};
  const mtk_format_v1 *hf = mtk_format_find("hf");
  mtk_write_options options = {.struct_size = sizeof options, .force = true};
  mtk_model *base = load("hf", GOLDEN "tiny");
  mtk_adapter *a = mtk_adapter_create(), *b = mtk_adapter_create();
  ck_assert_int_eq(hf->read_adapter(a, GOLDEN "tiny-lora", &err), MTK_OK);
  ck_assert_uint_eq(a->n_pairs, 2);
  const mtk_lora_pair *q = mtk_adapter_find(a, "blk.0.attn_q.weight");
  const mtk_lora_pair *down = mtk_adapter_find(a, "blk.0.ffn_down.weight");
  ck_assert_float_eq(q->scale, 3.0f);
  ck_assert_float_eq(down->scale, 4.0f);
  ck_assert_int_eq(down->rank, 3);
  ck_assert_int_eq(mtk_adapter_fit(a, base, &err), MTK_OK);
  mtk_status status = hf->write_adapter(a, base, scratch("lora"), &options, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", err.place, err.message);
  status = hf->read_adapter(b, scratch("lora"), &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", err.place, err.message);
  ck_assert_uint_eq(b->n_pairs, 2);
  for (size_t i = 0; i < 2; i++) {
    const mtk_lora_pair *x = &a->pairs[i], *y = mtk_adapter_find(b, x->target);
    ck_assert_ptr_nonnull(y);
    ck_assert_float_eq(x->scale, y->scale);
    ck_assert_mem_eq(x->a, y->a, (size_t)(x->rank * x->k) * 4);
    ck_assert_mem_eq(x->b, y->b, (size_t)(x->n * x->rank) * 4);
  }
  mtk_adapter_destroy(a);
  mtk_adapter_destroy(b);
  mtk_model_destroy(base);
}
END_TEST

/* Changes one key of the configuration; reading must fail and name it. */
static void refuse_peft(const char *key, json_t *value, const char *named) {
  mtk_error err = {0};
  json_t *config = json_load_file(GOLDEN "tiny-lora/adapter_config.json", 0, NULL);
  json_object_set_new(config, key, value);
  ck_assert_int_eq(json_dump_file(config, in_out("adapter_config.json"), 0), 0);
  json_decref(config);
  mtk_adapter *a = mtk_adapter_create();
  ck_assert_int_ne(mtk_format_find("hf")->read_adapter(a, scratch("out"), &err), MTK_OK);
  ck_assert_msg(strstr(err.message, named) != NULL, "'%s' does not name %s", err.message, named);
  mtk_adapter_destroy(a);
}

START_TEST(peft_refusals) {
  size_t n;
  ck_assert_int_eq(mkdir(scratch("out"), 0755), 0);
  uint8_t *weights = read_bytes(GOLDEN "tiny-lora/adapter_model.safetensors", &n);
  write_bytes(in_out("adapter_model.safetensors"), weights, n);
  mtk_free(weights);
  refuse_peft("use_dora", json_true(), "use_dora");
  refuse_peft("peft_type", json_string("LOHA"), "LOHA");
  refuse_peft("bias", json_string("all"), "bias");
  refuse_peft("modules_to_save", json_pack("[s]", "lm_head"), "modules_to_save");
  refuse_peft("init_lora_weights", json_string("pissa_niter_16"), "init_lora_weights");
  refuse_peft("rank_pattern", json_pack("{s:i}", ".*down_proj", 3), "regular expression");
  refuse_peft("rank_pattern", json_object(), "rank");
  refuse_peft("r", json_integer(0), "r or lora_alpha");
}
END_TEST

/* ---- hostile bytes ------------------------------------------------------------------------- */

#define A(shape, offsets)                                                                          \
  "\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define B(offsets) "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets "}"

/* Headers with 8 bytes of data, and a part of the message; NULL = right. */
static const struct {
  const char *header, *message;
} headers[] = {
    {"{" A("[1]", "[0,4]") "," B("[4,8]") "}", NULL},
    {"{" B("[4,8]") "," A("[1]", "[0,4]") "}", NULL},
    {"{" A("[2]", "[0,8]") "}   ", NULL},
    {"  {" A("[2,1]", "[0,8]") ",\"__metadata__\":{\"k\":\"v\"}}", NULL},
    {"{" A("[1]", "[0,4]") "}", "after the last tensor"},
    {"{" A("[1]", "[0,4]") "," B("[2,6]") "}", "overlap"},
    {"{" A("[0]", "[0,0]") "," B("[4,8]") "}", "gap"},
    {"{" A("[2]", "[0,4]") "}", "need 8 bytes"},
    {"{" A("[2]", "[8,0]") "}", "outside the file"},
    {"{" A("[3]", "[0,12]") "}", "outside the file"},
    {"{" A("[-1]", "[0,8]") "}", "sizes"},
    {"{" A("[2.0]", "[0,8]") "}", "sizes"},
    {"{" A("[4611686018427387904,4]", "[0,8]") "}", "overflows"},
    {"{" A("[1,1,1,1,1,1,2]", "[0,8]") "}", "dimensions"},
    {"{" A("[2]", "[0,8,9]") "}", "pair"},
    {"{" A("[2]", "[0,8]") "," A("[2]", "[0,8]") "}", "duplicate"},
    {"{\"a\":{\"shape\":[8],\"data_offsets\":[0,8]}}", "dtype"},
    {"{\"a\":{\"dtype\":\"F5\",\"shape\":[16],\"data_offsets\":[0,8]}}", "F5"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[2,8],\"data_offsets\":[0,8]}}", NULL},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[16,1],\"data_offsets\":[0,8]}}", "whole bytes"},
    {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[8],\"data_offsets\":[0,6]}," B("[6,8]") "}",
     "need 4 bytes"},
    {"{\"a\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]}}", NULL},
    {"{" A("[2]", "[0,8]") ",\"__metadata__\":{\"k\":1}}", "not a string"},
    {"{\"a\":1}", "not an object"},
    {"[]", "not a JSON object"},
    {"{" A("[2]", "[0,8]"), "header"},
    {"{" A("[2]", "[0,8]") "}x", "header"},
    {"", "header"},
};

START_TEST(headers_right_and_wrong) {
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
    char file[512] = {0};
    size_t n = strlen(headers[i].header);
    file[0] = (char)n;
    memcpy(file + 8, headers[i].header, n);
    memcpy(file + 8 + n, "12345678", 8);
    write_bytes(scratch("h.safetensors"), file, n + 16);
    if (!headers[i].message) {
      mtk_model_destroy(load("hf", scratch("h.safetensors")));
      continue;
    }
    mtk_error err = load_fails("hf", scratch("h.safetensors"));
    ck_assert_msg(strstr(err.message, headers[i].message) != NULL, "%s: '%s' does not say %s",
                  headers[i].header, err.message, headers[i].message);
    ck_assert_msg(strstr(err.place, "h.safetensors") != NULL, "'%s' names no file", err.place);
  }
}
END_TEST

START_TEST(hostile_bytes) {
  check_cut_and_spoiled("hf", GOLDEN "types.safetensors", ".safetensors");
  check_malformed("hf", "safetensors");
}
END_TEST

START_TEST(allocations_fail) {
  check_alloc_failures("hf", GOLDEN "types.safetensors");
  check_alloc_failures("hf", GOLDEN "quantized.safetensors");
  check_alloc_failures("hf", GOLDEN "tiny");
  check_write_alloc_failures("hf", GOLDEN "tiny", scratch("new"));
  check_write_alloc_failures("hf", GOLDEN "quantized.safetensors", scratch("new.safetensors"));
}
END_TEST

int main(void) {
  const TTest *const tests[] = {
      reads_every_type,
      reads_quantized_layouts,
      writes_what_it_read,
      folder_round_trip,
      carries_every_type,
      texts_travel,
      shards,
      quantized_folders,
      rounded_scales_are_told,
      types_without_a_layout_become_bf16,
      resumed_progress,
      refusals,
      peft_round_trip,
      peft_refusals,
      headers_right_and_wrong,
      hostile_bytes,
      allocations_fail,
  };
  return run_format_tests("safetensors", tests, sizeof tests / sizeof tests[0]);
}
