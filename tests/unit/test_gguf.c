/* test_gguf.c: the GGUF plugin against files of the gguf package (made by
 * tests/oracle/make_format_golden.py), round trips, and hostile input. */
#include "format_util.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(reads_every_type) {
  mtk_model *m = load("gguf", GOLDEN "types.gguf");
  check_sums(m, GOLDEN "types.gguf.sha256");
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

START_TEST(writes_what_it_read) {
  mtk_model *a = load("gguf", GOLDEN "types.gguf");
  save("gguf", a, scratch("a.gguf"), NULL);
  mtk_model *b = load("gguf", scratch("a.gguf"));
  check_same_tensors(a, b, true);
  save("gguf", b, scratch("b.gguf"), NULL);
  ck_assert(same_files(scratch("a.gguf"), scratch("b.gguf")));
  mtk_model_destroy(a);
  mtk_model_destroy(b);
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
}
END_TEST

int main(void) {
  Suite *s = suite_create("gguf");
  TCase *c = tcase_create("gguf");
  tcase_add_checked_fixture(c, format_setup, format_teardown);
  tcase_add_test(c, reads_every_type);
  tcase_add_test(c, reads_metadata);
  tcase_add_test(c, writes_what_it_read);
  tcase_add_test(c, hf_and_back);
  tcase_add_test(c, q_rows_are_interleaved);
  tcase_add_test(c, rope_scaling_of_llama3);
  tcase_add_test(c, tokenizer_goes_along);
  tcase_add_test(c, what_gguf_cannot_hold);
  tcase_add_test(c, adapter_round_trip);
  tcase_add_test(c, headers_right_and_wrong);
  tcase_add_test(c, hostile_bytes);
  tcase_add_test(c, allocations_fail);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? 1 : 0;
}
