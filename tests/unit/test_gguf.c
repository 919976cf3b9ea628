/* test_gguf.c: the GGUF plugin against files of the gguf package (made by
 * tests/oracle/make_format_golden.py), round trips, and hostile input. */
#include "format_util.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(reads_every_type) {
  check_reads("gguf", GOLDEN "types.gguf");
  mtk_model *m = load("gguf", GOLDEN "types.gguf");
  const mtk_tensor *t = mtk_model_tensor(m, "nvfp4.weight");
  ck_assert_float_eq(t->input_scale, 0.02f);
  ck_assert_ptr_null(mtk_model_tensor(m, "nvfp4.scale"));
  mtk_model_destroy(m);
}
END_TEST

START_TEST(reads_metadata) {
  mtk_model *m = load("gguf", GOLDEN "types.gguf");
  const mtk_meta *meta = mtk_model_meta(m);
  ck_assert_str_eq(mtk_model_arch(m), "llama");
  ck_assert_str_eq(mtk_meta_str(meta, "general.name", ""), "types");
  ck_assert_str_eq(mtk_meta_str(meta, "rope.pairing", ""), "interleaved");
  ck_assert_uint_eq(mtk_meta_get(meta, "block_count")->as.u, 1);
  ck_assert_double_eq(mtk_meta_get(meta, "kv.some.f64")->as.f, 0.1);
  ck_assert_int_eq(mtk_meta_get(meta, "kv.some.i8")->as.i, -3);
  const mtk_value *words = mtk_meta_get(meta, "kv.some.words");
  ck_assert_int_eq(words->type, MTK_META_ARRAY);
  ck_assert_uint_eq(words->as.arr.n, 3);
  ck_assert_str_eq(words->as.arr.items[2].as.str.s, "trois");
  const mtk_value *numbers = mtk_meta_get(meta, "kv.some.numbers");
  ck_assert_int_eq(numbers->as.arr.items[1].as.i, -2);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(writes_what_it_read) { check_rewrites("gguf", GOLDEN "types.gguf", "types.gguf", true); }
END_TEST

/* ---- models made here ---------------------------------------------------------------------- */

static void add(mtk_model *m, const char *name, mtk_dtype dtype, int n_dims, const int64_t *shape,
                const float *scales, int64_t scale_n) {
  mtk_error err = {0};
  int64_t n = 1;
  for (int i = 0; i < n_dims; i++) n *= shape[i];
  mtk_tensor t = {.name = name, .dtype = dtype, .n_dims = n_dims, .scales = scales};
  t.size_bytes = mtk_dtype_bytes(dtype, (uint64_t)n);
  uint8_t *bytes = mtk_arena_alloc(mtk_model_arena(m), t.size_bytes, 1);
  for (uint64_t i = 0; i < t.size_bytes; i++)
    bytes[i] = (uint8_t)((uint32_t)(i * 2654435761u + (uint32_t)dtype) >> 24);
  t.data = bytes;
  memcpy(t.shape, shape, (size_t)n_dims * sizeof *shape);
  t.scale_n = scale_n;
  t.scale_k = scales ? shape[n_dims - 1] : 0;
  mtk_status status = mtk_model_add_tensor(m, &t, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", name, err.message);
}

/* Every type that GGUF has, in a matrix and in stacked experts, comes back with its bytes. */
START_TEST(keeps_every_type) {
  mtk_model *m = mtk_model_create();
  size_t n = 0;
  for (int type = 0; type < MTK_DTYPE_COUNT; type++) {
    char name[32];
    static const int64_t shape[] = {3, 2, 256};
    if (type == MTK_BOOL || (type >= MTK_U8 && type <= MTK_U64) || type == MTK_E8M0 ||
        (type >= MTK_F8_E4M3 && type <= MTK_F8_E5M2) || type >= MTK_F4_E2M1) {
      continue;
    }
    snprintf(name, sizeof name, "m%d", type);
    add(m, name, (mtk_dtype)type, 2, shape + 1, NULL, 0);
    snprintf(name, sizeof name, "blk.0.x%d_exps.weight", type);
    add(m, name, (mtk_dtype)type, 3, shape, NULL, 0);
    n++;
  }
  ck_assert_uint_eq(n, 35); /* enum ggml_type */
  save("gguf", m, scratch("all.gguf"), NULL);
  mtk_model *back = load("gguf", scratch("all.gguf"));
  check_same_tensors(m, back, true);
  mtk_model_destroy(m);
  mtk_model_destroy(back);
}
END_TEST

/* One scale per expert lies beside stacked NVFP4 weights; scales of 1 are left out. */
START_TEST(scales_of_experts) {
  static const int64_t shape[] = {3, 4, 64};
  static const float scales[] = {0.5f, 1.0f, 3.25f}, ones[] = {1, 1, 1};
  mtk_model *m = mtk_model_create();
  add(m, "blk.0.ffn_up_exps.weight", MTK_NVFP4, 3, shape, scales, 4);
  add(m, "blk.0.ffn_gate_exps.weight", MTK_NVFP4, 3, shape, ones, 4);
  save("gguf", m, scratch("experts.gguf"), NULL);
  mtk_model *back = load("gguf", scratch("experts.gguf"));
  ck_assert_uint_eq(mtk_model_tensor_count(back), 2);
  const mtk_tensor *up = mtk_model_tensor(back, "blk.0.ffn_up_exps.weight");
  ck_assert_int_eq(mtk_tensor_scale_count(up), 3);
  ck_assert_int_eq(up->scale_n, 4);
  ck_assert_mem_eq(up->scales, scales, sizeof scales);
  ck_assert_ptr_null(mtk_model_tensor(back, "blk.0.ffn_gate_exps.weight")->scales);
  mtk_model_destroy(m);
  mtk_model_destroy(back);
}
END_TEST

/* The name of a mixture survives as long as the file has tensors of its type. */
START_TEST(file_type_is_kept) {
  static const int64_t shape[] = {2, 256};
  static const struct {
    mtk_dtype dtype;
    uint64_t said, want;
  } cases[] = {{MTK_Q4_K, 14, 14}, {MTK_Q4_K, 7, 15},  {MTK_Q3_K, 13, 13},
               {MTK_Q2_0, 0, 41},  {MTK_BF16, 15, 32}, {MTK_Q5_K, UINT64_MAX, 17}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    mtk_model *m = mtk_model_create();
    mtk_meta_set_uint(mtk_model_meta(m), "general.file_type", cases[i].said, NULL);
    add(m, "blk.0.attn_q.weight", cases[i].dtype, 2, shape, NULL, 0);
    add(m, "token_embd.weight", MTK_Q6_K, 2, shape, NULL, 0);
    save("gguf", m, scratch("type.gguf"), NULL);
    mtk_model *back = load("gguf", scratch("type.gguf"));
    const mtk_value *v = mtk_meta_get(mtk_model_meta(back), "general.file_type");
    ck_assert_uint_eq(v->as.u, cases[i].want);
    mtk_model_destroy(m);
    mtk_model_destroy(back);
  }
}
END_TEST

/* ---- several files ------------------------------------------------------------------------- */

static void same_values(const mtk_model *a, const mtk_model *b) {
  const mtk_meta *x = mtk_model_meta(a), *y = mtk_model_meta(b);
  check_same_tensors(a, b, true);
  ck_assert_uint_eq(mtk_meta_count(x), mtk_meta_count(y));
  for (size_t i = 0; i < mtk_meta_count(x); i++)
    ck_assert_ptr_nonnull(mtk_meta_get(y, mtk_meta_key(x, i)));
}

START_TEST(splits) {
  mtk_model *source = load("gguf", GOLDEN "types.gguf");
  save("gguf", source, scratch("whole.gguf"), NULL);
  mtk_model_destroy(source);
  mtk_model *m = load("gguf", scratch("whole.gguf"));
  size_t n = mtk_model_tensor_count(m), n_files;
  static const char *const options[] = {"split-max-tensors=1", "split-max-tensors=3",
                                        "split-max-size=1000", "split-max-tensors=1000000",
                                        "split-max-size=2G"};
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    char name[64], first[64];
    snprintf(name, sizeof name, "s%zu.gguf", i);
    save("gguf", m, scratch(name), options[i]);
    for (n_files = 1; n_files <= 3 * n; n_files++) {
      snprintf(first, sizeof first, "s%zu-00001-of-%05zu.gguf", i, n_files);
      if (mtk_path_exists(scratch(first))) break;
    }
    bool whole = mtk_path_exists(scratch(name));
    ck_assert_int_eq(whole, i > 2);
    mtk_model *back = load("gguf", scratch(whole ? name : first));
    same_values(m, back);
    mtk_model_destroy(back);
  }
  mtk_model_destroy(m);
}
END_TEST

/* Part `part` of a model of three files is replaced by another file; the first is opened. */
static const char *split_error(const char *part, const char *by) {
  static char message[1024];
  mtk_model *m = load("gguf", GOLDEN "types.gguf");
  size_t n = (mtk_model_tensor_count(m) + 5) / 3, size;
  char option[64];
  snprintf(option, sizeof option, "split-max-tensors=%zu", n);
  save("gguf", m, scratch("t.gguf"), option);
  mtk_model_destroy(m);
  remove(scratch(part));
  if (by) {
    uint8_t *bytes = read_bytes(scratch(by), &size);
    write_bytes(scratch(part), bytes, size);
    mtk_free(bytes);
  }
  mtk_error err = load_fails("gguf", scratch("t-00001-of-00003.gguf"));
  snprintf(message, sizeof message, "%s: %s", err.place, err.message);
  return message;
}

START_TEST(split_errors) {
  const char *two = "t-00002-of-00003.gguf", *three = "t-00003-of-00003.gguf";
  ck_assert_ptr_nonnull(
      strstr(split_error(two, NULL), "file 2 of 3 of this split model is missing"));
  ck_assert_ptr_nonnull(strstr(split_error(two, three), "says it is part 3 of 3, not 2 of 3"));
  ck_assert_ptr_nonnull(strstr(load_fails("gguf", scratch(three)).message, "open part 1"));
  mtk_model *other = mtk_model_create();
  static const int64_t shape[] = {1, 32};
  for (int i = 0; i < 3; i++) {
    char name[16];
    snprintf(name, sizeof name, "t%d", i);
    add(other, name, MTK_F32, 2, shape, NULL, 0);
  }
  save("gguf", other, scratch("o.gguf"), "split-max-tensors=1");
  mtk_model_destroy(other);
  ck_assert_ptr_nonnull(strstr(split_error(three, "o-00003-of-00003.gguf"), "split.tensors.count"));
}
END_TEST

/* Files of docker/model-runner: all kinds of metadata, whole and in two files. */
START_TEST(published_split) {
  const char *data = getenv("MTK_TEST_DATA");
  char whole[512], split[512];
  if (!data) {
    fprintf(stderr, "SKIP: models/dummy*.gguf: MTK_TEST_DATA is not set\n");
    return;
  }
  snprintf(whole, sizeof whole, "%s/models/dummy.gguf", data);
  snprintf(split, sizeof split, "%s/models/dummy-00001-of-00002.gguf", data);
  mtk_model *a = load("gguf", whole), *b = load("gguf", split);
  same_values(a, b);
  const mtk_meta *meta = mtk_model_meta(a);
  ck_assert(mtk_meta_get(meta, "kv.some.parameter.uint64")->as.u == 0x123456789abcdef0);
  ck_assert_int_eq(mtk_meta_get(meta, "kv.some.parameter.float64")->type, MTK_META_F64);
  check_rewrites("gguf", whole, "dummy.gguf", true);
  mtk_model_destroy(a);
  mtk_model_destroy(b);
}
END_TEST

/* Values at the ends of their types, and arrays in arrays, keep type and bits. */
START_TEST(metadata_is_exact) {
  mtk_model *m = mtk_model_create();
  mtk_value big = {.type = MTK_META_U64}, low = {.type = MTK_META_I64},
            tiny = {.type = MTK_META_F64};
  big.as.u = UINT64_MAX;
  low.as.i = INT64_MIN;
  tiny.as.f = -0x1p-1074;
  const mtk_value row = {.type = MTK_META_ARRAY,
                         .as.arr = {MTK_META_U64, 1, &(mtk_value){MTK_META_U64, {UINT64_MAX - 1}}}};
  const mtk_value none = {.type = MTK_META_ARRAY, .as.arr = {MTK_META_STRING, 0, NULL}};
  const mtk_value rows[] = {row, none};
  const mtk_value nested = {.type = MTK_META_ARRAY, .as.arr = {MTK_META_ARRAY, 2, rows}};
  static const char *const keys[] = {"kv.big", "kv.low", "kv.tiny", "kv.nested"};
  const mtk_value *const values[] = {&big, &low, &tiny, &nested};
  for (int i = 0; i < 4; i++)
    ck_assert_int_eq(mtk_meta_set(mtk_model_meta(m), keys[i], values[i], NULL), MTK_OK);
  save("gguf", m, scratch("exact.gguf"), NULL);
  mtk_model *back = load("gguf", scratch("exact.gguf"));
  const mtk_meta *meta = mtk_model_meta(back);
  for (int i = 0; i < 3; i++) {
    const mtk_value *v = mtk_meta_get(meta, keys[i]);
    ck_assert_int_eq(v->type, values[i]->type);
    ck_assert_mem_eq(&v->as.u, &values[i]->as.u, 8);
  }
  const mtk_value *v = mtk_meta_get(meta, "kv.nested");
  ck_assert_uint_eq(v->as.arr.n, 2);
  ck_assert(v->as.arr.items[0].as.arr.items[0].as.u == UINT64_MAX - 1);
  ck_assert_int_eq(v->as.arr.items[1].as.arr.type, MTK_META_STRING);
  ck_assert_uint_eq(v->as.arr.items[1].as.arr.n, 0);
  mtk_model_destroy(m);
  mtk_model_destroy(back);
}
END_TEST

/* q and k rows change places, vectors become f32 and back, and everything returns as it was. */
START_TEST(hf_and_back) {
  mtk_model *a = load("hf", GOLDEN "tiny"), *again = load("hf", GOLDEN "tiny");
  save("gguf", a, scratch("tiny.gguf"), NULL);
  ck_assert_uint_eq(mtk_model_warning_count(a), 0);
  mtk_model *g = load("gguf", scratch("tiny.gguf"));
  ck_assert_ptr_nonnull(mtk_model_vocab(g));
  ck_assert_str_eq(mtk_meta_str(mtk_model_meta(g), "rope.scaling.type", ""), "llama3");
  save("hf", g, scratch("tiny"), NULL);
  mtk_model *b = load("hf", scratch("tiny"));
  check_same_tensors(again, b, true);
  static const char *const files[] = {
      "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
      "LICENSE",     "README.md"};
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    char old_path[256], new_path[256];
    snprintf(old_path, sizeof old_path, GOLDEN "tiny/%s", files[i]);
    snprintf(new_path, sizeof new_path, "%s/%s", scratch("tiny"), files[i]);
    ck_assert_msg(same_files(old_path, new_path), "%s differs", files[i]);
  }
  mtk_model_destroy(a);
  mtk_model_destroy(again);
  mtk_model_destroy(g);
  mtk_model_destroy(b);
}
END_TEST

/* Row r of a half-split head of 16 is row 2r or 2(r-8)+1 of an interleaved one. */
START_TEST(q_rows_are_interleaved) {
  mtk_model *hf = load("hf", GOLDEN "tiny"), *source = load("hf", GOLDEN "tiny");
  save("gguf", hf, scratch("tiny.gguf"), NULL);
  mtk_model *g = load("gguf", scratch("tiny.gguf"));
  static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight"};
  for (int i = 0; i < 2; i++) {
    const mtk_tensor *x = mtk_model_tensor(source, names[i]), *y = mtk_model_tensor(g, names[i]);
    uint8_t *from = tensor_bytes(x), *to = tensor_bytes(y);
    size_t row = mtk_tensor_row_bytes(x);
    for (int64_t r = 0; r < x->shape[0]; r++) {
      int64_t in_head = r % 16, at = r - in_head + in_head % 8 * 2 + in_head / 8;
      ck_assert_mem_eq(from + (size_t)r * row, to + (size_t)at * row, row);
    }
    mtk_free(from);
    mtk_free(to);
  }
  mtk_model_destroy(hf);
  mtk_model_destroy(source);
  mtk_model_destroy(g);
}
END_TEST

/* llama.cpp gets llama3's rotary scaling as a tensor; other keys would make it stop. */
START_TEST(rope_scaling_of_llama3) {
  size_t n;
  mtk_model *hf = load("hf", GOLDEN "tiny");
  save("gguf", hf, scratch("tiny.gguf"), NULL);
  uint8_t *bytes = read_bytes(scratch("tiny.gguf"), &n);
  ck_assert_ptr_nonnull(memmem(bytes, n, "rope_freqs.weight", 17));
  ck_assert_ptr_null(memmem(bytes, n, "llama.rope.scaling", 18));
  mtk_free(bytes);
  mtk_model_destroy(hf);
}
END_TEST

START_TEST(tokenizer_goes_along) {
  mtk_model *hf = load("hf", GOLDEN "tiny");
  save("gguf", hf, scratch("tiny.gguf"), NULL);
  mtk_model *g = load("gguf", scratch("tiny.gguf"));
  const mtk_vocab *a = mtk_model_vocab(hf), *b = mtk_model_vocab(g);
  ck_assert_uint_eq(a->n_tokens, b->n_tokens);
  ck_assert_uint_eq(a->n_merges, b->n_merges);
  for (size_t i = 0; i < a->n_tokens; i++) {
    ck_assert_str_eq(a->tokens[i].text, b->tokens[i].text);
    ck_assert_int_eq(a->tokens[i].type, b->tokens[i].type);
  }
  ck_assert_int_eq(b->bos, 0);
  ck_assert_int_eq(b->eos, 1);
  size_t n;
  ck_assert_ptr_nonnull(mtk_model_attachment(g, "chat_template", &n));
  mtk_model_destroy(hf);
  mtk_model_destroy(g);
}
END_TEST

/* fp8 and its scales have no place in a GGUF: bf16, and said so; other integers: refused. */
START_TEST(what_gguf_cannot_hold) {
  mtk_model *m = load("hf", GOLDEN "quantized.safetensors");
  save("gguf", m, scratch("q.gguf"), NULL);
  ck_assert(has_warning(m, "4 tensors were written as bf16"));
  mtk_model *g = load("gguf", scratch("q.gguf"));
  ck_assert_int_eq(mtk_model_tensor(g, "block.weight")->dtype, MTK_BF16);
  const mtk_tensor *a = mtk_model_tensor(m, "ct.weight"), *b = mtk_model_tensor(g, "ct.weight");
  ck_assert_int_eq(b->dtype, MTK_NVFP4);
  ck_assert_float_eq(a->scales[0], b->scales[0]);
  ck_assert_float_eq(a->input_scale, b->input_scale);
  mtk_model_destroy(m);
  mtk_model_destroy(g);
  mtk_error err = {0};
  m = load("hf", GOLDEN "types.safetensors");
  mtk_write_options options = {.struct_size = sizeof options};
  mtk_status status = mtk_format_find("gguf")->write_model(m, scratch("t.gguf"), &options, &err);
  ck_assert_int_eq(status, MTK_E_UNSUPPORTED);
  ck_assert(!mtk_path_exists(scratch("t.gguf")));
  mtk_model_destroy(m);
}
END_TEST

START_TEST(adapter_round_trip) {
  mtk_error err = {0};
  const mtk_format_v1 *hf = mtk_format_find("hf"), *gguf = mtk_format_find("gguf");
  mtk_write_options options = {.struct_size = sizeof options, .force = true};
  mtk_model *base = load("hf", GOLDEN "tiny");
  mtk_adapter *a = mtk_adapter_create(), *g = mtk_adapter_create();
  ck_assert_int_eq(hf->read_adapter(a, GOLDEN "tiny-lora", &err), MTK_OK);
  mtk_status status = gguf->write_adapter(a, base, scratch("lora.gguf"), &options, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", err.place, err.message);
  status = gguf->read_adapter(g, scratch("lora.gguf"), &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", err.place, err.message);
  ck_assert_str_eq(g->pairing, "interleaved");
  ck_assert_int_eq(mtk_adapter_fit(g, base, &err), MTK_OK);
  ck_assert_uint_eq(a->n_pairs, g->n_pairs);
  for (size_t i = 0; i < a->n_pairs; i++) {
    const mtk_lora_pair *x = &a->pairs[i], *y = mtk_adapter_find(g, x->target);
    ck_assert_ptr_nonnull(y);
    ck_assert_mem_eq(x->a, y->a, (size_t)(x->rank * x->k) * 4);
    for (int64_t j = 0; j < x->n * x->rank; j++) {
      ck_assert_float_eq_tol(x->scale * x->b[j], y->scale * y->b[j], 1e-5f);
    }
  }
  ck_assert_int_eq(load_fails("gguf", scratch("lora.gguf")).code, MTK_E_UNSUPPORTED);
  mtk_adapter_destroy(a);
  mtk_adapter_destroy(g);
  mtk_model_destroy(base);
}
END_TEST

/* A file with one key and two tensors of 8 f32; the members below spoil it. */
typedef struct spoiled {
  const char *message; /* part of the error; NULL = right */
  uint32_t version, key_type, n_dims, type;
  uint64_t n_kvs, n_tensors, key_len, ne1, offset_b;
  const char *key, *name_b;
} spoiled;

static const spoiled good = {NULL, 3,  MTK_META_U32,        2,  0, 1, 2, 17,
                             2,    32, "general.alignment", "b"};

static void put(mtk_bytes *out, uint64_t v, size_t n) {
  for (size_t i = 0; i < n; i++) mtk_bytes_append(out, &(uint8_t){(uint8_t)(v >> (8 * i))}, 1);
}

static void put_tensor(mtk_bytes *out, const char *name, const spoiled *s, uint64_t offset) {
  put(out, strlen(name), 8);
  mtk_bytes_puts(out, name);
  put(out, s->n_dims, 4);
  put(out, 4, 8);
  put(out, s->ne1, 8);
  put(out, s->type, 4);
  put(out, offset, 8);
}

static void write_spoiled(const char *path, const spoiled *s) {
  mtk_bytes out = {0};
  mtk_bytes_puts(&out, "GGUF");
  put(&out, s->version, 4);
  put(&out, s->n_tensors, 8);
  put(&out, s->n_kvs, 8);
  put(&out, s->key_len, 8);
  mtk_bytes_puts(&out, s->key);
  put(&out, s->key_type, 4);
  put(&out, 32, 4);
  put_tensor(&out, "a", s, 0);
  put_tensor(&out, s->name_b, s, s->offset_b);
  while (out.len % 32) put(&out, 0, 1);
  for (int i = 0; i < 8; i++) put(&out, 0, 8);
  write_bytes(path, out.data, out.len);
  mtk_bytes_finish(&out);
}

START_TEST(headers_right_and_wrong) {
  spoiled cases[18];
  size_t n = 0;
  for (size_t i = 0; i < 18; i++) cases[i] = good;
#define CASE(text, member, value) cases[n].message = text, cases[n].member = value, n++
  CASE(NULL, version, 2);
  CASE(NULL, type, 26);
  CASE("version 1", version, 1);
  CASE("big-endian", version, 0x03000000);
  CASE("more than the file can hold", n_kvs, 1ull << 62);
  CASE("more than the file can hold", n_tensors, 1ull << 62);
  CASE("past the end", key_len, UINT64_MAX);
  CASE("is empty", key_len, 0);
  CASE("not a uint32", key_type, MTK_META_I32);
  CASE("unknown value type", key_type, 99);
  CASE("occurs twice", name_b, "a");
  CASE("more than 4 dimensions", n_dims, 1u << 31);
  CASE("dimension of 0", ne1, 0);
  CASE("63 bits", ne1, 1ull << 62);
  CASE("unknown tensor type 250", type, 250);
  CASE("not a multiple of 32", type, 8);
  CASE("not aligned", offset_b, 8);
  CASE("past the end of the file", offset_b, 1ull << 60);
#undef CASE
  for (size_t i = 0; i < n; i++) {
    write_spoiled(scratch("s.gguf"), &cases[i]);
    if (!cases[i].message) {
      mtk_model_destroy(load("gguf", scratch("s.gguf")));
      continue;
    }
    mtk_error err = load_fails("gguf", scratch("s.gguf"));
    ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "case %zu: '%s' does not say '%s'",
                  i, err.message, cases[i].message);
    ck_assert_msg(strstr(err.place, "s.gguf") != NULL, "'%s' names no file", err.place);
  }
  spoiled overlap = good;
  overlap.offset_b = 0;
  write_spoiled(scratch("s.gguf"), &overlap);
  ck_assert_ptr_nonnull(strstr(load_fails("gguf", scratch("s.gguf")).message, "overlap"));
}
END_TEST

START_TEST(hostile_bytes) {
  check_cut_and_spoiled("gguf", GOLDEN "types.gguf", ".gguf");
  check_malformed("gguf", "gguf");
}
END_TEST

START_TEST(allocations_fail) {
  check_alloc_failures("gguf", GOLDEN "types.gguf");
  mtk_model *m = load("hf", GOLDEN "tiny");
  save("gguf", m, scratch("tiny.gguf"), NULL);
  mtk_model_destroy(m);
  check_alloc_failures("gguf", scratch("tiny.gguf"));
  check_write_alloc_failures("gguf", GOLDEN "tiny", scratch("new.gguf"));
  check_write_alloc_failures("gguf", GOLDEN "quantized.safetensors", scratch("newq.gguf"));
  m = load("gguf", GOLDEN "types.gguf");
  save("gguf", m, scratch("part.gguf"), "split-max-tensors=10");
  mtk_model_destroy(m);
  check_alloc_failures("gguf", scratch("part-00001-of-00002.gguf"));
}
END_TEST

int main(void) {
  const TTest *const tests[] = {
      reads_every_type,
      reads_metadata,
      writes_what_it_read,
      keeps_every_type,
      scales_of_experts,
      file_type_is_kept,
      splits,
      split_errors,
      published_split,
      metadata_is_exact,
      hf_and_back,
      q_rows_are_interleaved,
      rope_scaling_of_llama3,
      tokenizer_goes_along,
      what_gguf_cannot_hold,
      adapter_round_trip,
      headers_right_and_wrong,
      hostile_bytes,
      allocations_fail,
  };
  return run_format_tests("gguf", tests, sizeof tests / sizeof tests[0]);
}
