/* test_arch.c: the tables of plugin arch-decoder at work: tensor names, config.json both ways,
 * shapes, the pairing of rotary rows, the graph. */
#include "model/model_impl.h"
#include "run_suite.h"

#include <mtk/engine.h>
#include <mtk/registry.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mtk_error err;
static mtk_model *m;
static const mtk_arch_v1 *llama, *qwen2;

static void setup(void) {
  memset(&err, 0, sizeof err);
  ck_assert_msg(mtk_plugins_load(&err) == MTK_OK, "%s", err.message);
  llama = mtk_arch_find("llama");
  qwen2 = mtk_arch_find("qwen2");
  ck_assert(llama && qwen2);
  m = mtk_model_create();
}
static void teardown(void) { mtk_model_destroy(m); }

/* ---- names --------------------------------------------------------------------------------- */

static const struct {
  const char *name, *hf;
} names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output.weight", "lm_head.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"},
    {"blk.12.attn_q.bias", "model.layers.12.self_attn.q_proj.bias"},
    {"blk.7.attn_output.weight", "model.layers.7.self_attn.o_proj.weight"},
    {"blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"},
    {"blk.999.ffn_norm.weight", "model.layers.999.post_attention_layernorm.weight"},
};
static const char *const no_names[] = {
    "", "model.layers..self_attn.q_proj.weight", "model.layers.01.self_attn.q_proj.weight",
    "model.layers.-1.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj",
    "model.layers.0.self_attn.q_proj.weight.x", "model.layers.9999999999.mlp.up_proj.weight",
    "model.embed_tokens.weight_scale", "model.layers.0.self_attn.rotary_emb.inv_freq"};

START_TEST(tensor_names) {
  char buf[128];
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    ck_assert_pstr_eq(mtk_arch_name_from_hf(buf, sizeof buf, llama, names[i].hf), names[i].name);
    ck_assert_pstr_eq(mtk_arch_name_to_hf(buf, sizeof buf, qwen2, names[i].name), names[i].hf);
  }
  for (size_t i = 0; i < sizeof no_names / sizeof no_names[0]; i++)
    ck_assert_pstr_eq(mtk_arch_name_from_hf(buf, sizeof buf, qwen2, no_names[i]), NULL);
  ck_assert_ptr_null(mtk_arch_name_from_hf(buf, 10, llama, names[0].hf));
  ck_assert_ptr_null(mtk_arch_name_to_hf(buf, sizeof buf, llama, "rope_freqs.weight"));
}
END_TEST

/* ---- config.json --------------------------------------------------------------------------- */

#define SIZES                                                                                   \
  "\"vocab_size\": 5, \"hidden_size\": 8, \"num_hidden_layers\": 2, \"intermediate_size\": 12, " \
  "\"num_attention_heads\": 4, \"max_position_embeddings\": 64"

static uint64_t uint_of(const char *key) {
  uint64_t v;
  ck_assert_int_eq(mtk_meta_uint(&v, mtk_model_meta(m), key, 12345, &err), MTK_OK);
  return v;
}

static double float_of(const char *key) {
  double v;
  ck_assert_int_eq(mtk_meta_float(&v, mtk_model_meta(m), key, 12345, &err), MTK_OK);
  return v;
}

static mtk_status from_config(const mtk_arch_v1 *arch, const char *config) {
  size_t n = strlen(config);
  ck_assert_int_eq(mtk_model_set_arch(m, arch->id, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_attach(m, "config.json", config, n, &err), MTK_OK);
  return mtk_arch_meta_from_hf(mtk_model_meta(m), arch, config, n, &err);
}

START_TEST(config_fallbacks) {
  ck_assert_int_eq(from_config(llama, "{" SIZES "}"), MTK_OK);
  ck_assert_uint_eq(uint_of("attention.head_count_kv"), 4);
  ck_assert_uint_eq(uint_of("attention.key_length"), 2);
  ck_assert_uint_eq(uint_of("rope.dimension_count"), 2);
  ck_assert(fabs(float_of("rope.freq_base") - 10000) < 1e-9);
  ck_assert(fabs(float_of("attention.layer_norm_rms_epsilon") - 1e-6) < 1e-12);
  ck_assert_ptr_null(mtk_meta_get(mtk_model_meta(m), "attention.sliding_window"));
  ck_assert_ptr_null(mtk_meta_get(mtk_model_meta(m), "tie_word_embeddings"));
}
END_TEST

static const char *const rope_forms[] = {
    "{" SIZES ", \"rope_theta\": 5e5, \"rope_scaling\": {\"rope_type\": \"llama3\","
    " \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
    " \"original_max_position_embeddings\": 8192}}",
    "{" SIZES ", \"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"llama3\","
    " \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
    " \"original_max_position_embeddings\": 8192}}",
};

START_TEST(config_rope_forms) {
  ck_assert_int_eq(from_config(llama, rope_forms[_i]), MTK_OK);
  ck_assert(fabs(float_of("rope.freq_base") - 5e5) < 1e-9);
  ck_assert_str_eq(mtk_meta_str(mtk_model_meta(m), "rope.scaling.type", ""), "llama3");
  ck_assert(fabs(float_of("rope.scaling.factor") - 8) < 1e-9);
  ck_assert_uint_eq(uint_of("rope.scaling.original_context_length"), 8192);
  /* A changed value goes back to where the original had it, and nowhere else. */
  ck_assert_int_eq(mtk_meta_set_float(mtk_model_meta(m), "rope.freq_base", 1e6, &err), MTK_OK);
  mtk_bytes out = {0};
  ck_assert_int_eq(mtk_arch_config_to_hf(&out, llama, m, &err), MTK_OK);
  char *first = strstr(out.data, "\"rope_theta\"");
  ck_assert(first && !strstr(first + 1, "\"rope_theta\""));
  ck_assert_msg((strstr(out.data, "\"rope_parameters\"") != NULL) == (_i == 1), "%s", out.data);
  ck_assert_ptr_nonnull(strstr(first, "1000000.0"));
  mtk_bytes_finish(&out);
}
END_TEST

static const struct {
  const char *config;
  const char *place, *says;
} bad_configs[] = {
    {"{\"vocab_size\": 5", "config.json", "line 1"},
    {"[1]", "config.json", "no JSON object"},
    {"{\"vocab_size\": 5, \"vocab_size\": 6}", "config.json", "duplicate"},
    {"{\"vocab_size\": 5}", "config.json: hidden_size", "is missing"},
    {"{" SIZES ", \"num_key_value_heads\": \"2\"}", "config.json: num_key_value_heads", "whole"},
    {"{" SIZES ", \"num_key_value_heads\": -2}", "config.json: num_key_value_heads", "whole"},
    {"{" SIZES ", \"num_key_value_heads\": 1.5}", "config.json: num_key_value_heads", "whole"},
    {"{" SIZES ", \"num_key_value_heads\": 4294967296}", "config.json: num_key_value_heads",
     "whole"},
    {"{" SIZES ", \"rms_norm_eps\": true}", "config.json: rms_norm_eps", "a number"},
    {"{" SIZES ", \"rms_norm_eps\": 1e300}", "config.json: rms_norm_eps", "32-bit"},
    {"{" SIZES ", \"tie_word_embeddings\": 1}", "config.json: tie_word_embeddings", "true or"},
    {"{" SIZES ", \"hidden_act\": 1}", "config.json: hidden_act", "a text"},
    {"{\"vocab_size\": 5, \"hidden_size\": 9, \"num_hidden_layers\": 2, \"intermediate_size\": 12, "
     "\"num_attention_heads\": 4}",
     "embedding_length", "9 does not divide"},
    {"{\"vocab_size\": 5, \"hidden_size\": 9, \"num_hidden_layers\": 2, \"intermediate_size\": 12, "
     "\"num_attention_heads\": 0}",
     "embedding_length", "9 does not divide"},
};

START_TEST(config_errors) {
  ck_assert_int_eq(from_config(llama, bad_configs[_i].config), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, bad_configs[_i].place);
  ck_assert_msg(strstr(err.message, bad_configs[_i].says), "%s", err.message);
}
END_TEST

/* An original comes back unchanged, with unknown keys, number forms and order. */
START_TEST(config_returns) {
  static const char *const config =
      "{\n  \"architectures\": [\n    \"MistralForCausalLM\"\n  ],\n  \"vocab_size\": 5,\n"
      "  \"hidden_size\": 8,\n  \"rms_norm_eps\": 1e-5,\n  \"custom\": {\n    \"x\": 0.1\n  },\n"
      "  \"num_hidden_layers\": 2,\n  \"intermediate_size\": 12,\n  \"num_attention_heads\": 4,\n"
      "  \"sliding_window\": null,\n  \"tie_word_embeddings\": false,\n"
      "  \"max_position_embeddings\": 64,\n  \"torch_dtype\": \"float16\"\n}\n";
  ck_assert_int_eq(from_config(llama, config), MTK_OK);
  ck_assert_str_eq(mtk_meta_str(mtk_model_meta(m), "hf.architecture", ""), "MistralForCausalLM");
  mtk_bytes out = {0};
  ck_assert_int_eq(mtk_arch_config_to_hf(&out, llama, m, &err), MTK_OK);
  ck_assert_str_eq(out.data, config);
  mtk_bytes_finish(&out);
}
END_TEST

/* ---- a small model ------------------------------------------------------------------------- */

static float pool[4096];

static void add(const char *name, int64_t n, int64_t k) {
  mtk_tensor t = {.name = name, .dtype = MTK_F32, .n_dims = k ? 2 : 1, .shape = {n, k}};
  t.data = pool;
  t.size_bytes = (uint64_t)(n * (k ? k : 1)) * 4;
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
}

/* 2 blocks, width 16, 4 heads and 2 key heads of size 8 (where the permutation is not its own
 * inverse); biases for qwen2. */
static void make_model(const mtk_arch_v1 *arch, bool tied) {
  for (size_t i = 0; i < sizeof pool / sizeof pool[0]; i++) pool[i] = (float)i;
  mtk_meta *meta = mtk_model_meta(m);
  static const struct {
    const char *key;
    uint64_t v;
  } sizes[] = {{"embedding_length", 16},     {"block_count", 2},
               {"feed_forward_length", 24},  {"attention.head_count", 4},
               {"attention.head_count_kv", 2}, {"context_length", 64},
               {"attention.key_length", 8}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    ck_assert_int_eq(mtk_meta_set_uint(meta, sizes[i].key, sizes[i].v, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_set_arch(m, arch->id, &err), MTK_OK);
  ck_assert_int_eq(mtk_meta_set_string(meta, "rope.pairing", "half", &err), MTK_OK);
  add("token_embd.weight", 5, 16);
  add("output_norm.weight", 16, 0);
  if (!tied) add("output.weight", 5, 16);
  static const struct {
    const char *name;
    int64_t n, k;
  } parts[] = {{"attn_norm.weight", 16, 0},    {"attn_q.weight", 32, 16},
               {"attn_k.weight", 16, 16},      {"attn_v.weight", 16, 16},
               {"attn_output.weight", 16, 32}, {"ffn_norm.weight", 16, 0},
               {"ffn_gate.weight", 24, 16},    {"ffn_up.weight", 24, 16},
               {"ffn_down.weight", 16, 24},    {"attn_q.bias", 32, 0},
               {"attn_k.bias", 16, 0},         {"attn_v.bias", 16, 0}};
  size_t n_parts = sizeof parts / sizeof parts[0];
  for (int b = 0; b < 2; b++)
    for (size_t i = 0; i < (arch == qwen2 ? n_parts : n_parts - 3); i++) {
      char name[64];
      snprintf(name, sizeof name, "blk.%d.%s", b, parts[i].name);
      add(name, parts[i].n, parts[i].k);
    }
  ck_assert_msg(mtk_arch_fill_meta(m, arch, &err) == MTK_OK, "%s: %s", err.place, err.message);
}

START_TEST(fill_and_check) {
  make_model(llama, true);
  ck_assert_uint_eq(uint_of("vocab_size"), 5);
  ck_assert_uint_eq(uint_of("attention.value_length"), 8);
  ck_assert_uint_eq(uint_of("tie_word_embeddings"), 1);
  ck_assert_msg(mtk_arch_check(llama, m, &err) == MTK_OK, "%s: %s", err.place, err.message);
  mtk_meta *meta = mtk_model_meta(m);
  mtk_meta_set_uint(meta, "feed_forward_length", 25, &err);
  ck_assert_int_eq(mtk_arch_check(llama, m, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "blk.0.ffn_gate.weight");
  ck_assert_msg(strstr(err.message, "[24, 16], the hyperparameters ask for [25, 16]"), "%s",
                err.message);
  mtk_meta_set_uint(meta, "feed_forward_length", 24, &err);
  mtk_meta_set_uint(meta, "block_count", 3, &err);
  ck_assert_int_eq(mtk_arch_check(llama, m, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "blk.2.attn_norm.weight");
  mtk_meta_set_uint(meta, "block_count", 1ull << 40, &err);
  ck_assert_int_eq(mtk_arch_check(llama, m, &err), MTK_E_FORMAT);
  mtk_meta_set_uint(meta, "block_count", 2, &err);
  ck_assert_int_eq(mtk_arch_check(qwen2, m, &err), MTK_E_FORMAT); /* no biases */
  ck_assert_str_eq(err.place, "blk.0.attn_q.bias");
}
END_TEST

/* Without an original, config.json comes from the table. */
START_TEST(config_from_nothing) {
  make_model(qwen2, true);
  mtk_meta_set_float(mtk_model_meta(m), "attention.layer_norm_rms_epsilon", 1e-5, &err);
  mtk_bytes out = {0};
  ck_assert_int_eq(mtk_arch_config_to_hf(&out, qwen2, m, &err), MTK_OK);
  static const char *const want[] = {
      "\"Qwen2ForCausalLM\"",      "\"model_type\": \"qwen2\"",     "\"hidden_size\": 16",
      "\"rms_norm_eps\": 1e-5",   "\"tie_word_embeddings\": true", "\"num_key_value_heads\": 2",
      "\"rope_theta\": 10000.0",   "\"torch_dtype\": \"float32\"",  "\"hidden_act\": \"silu\"",
      "\"sliding_window\": null"};
  for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
    ck_assert_msg(strstr(out.data, want[i]) != NULL, "%s is not in %s", want[i], out.data);
  ck_assert_ptr_null(strstr(out.data, "rope_parameters"));
  mtk_bytes_finish(&out);
}
END_TEST

/* Keys that an original leaves to their defaults are not added to it. */
START_TEST(config_is_not_padded) {
  make_model(llama, false);
  static const char config[] = "{\n  \"hidden_size\": 16,\n  \"num_hidden_layers\": 2\n}\n";
  mtk_model_attach(m, "config.json", config, sizeof config - 1, &err);
  mtk_bytes out = {0};
  ck_assert_int_eq(mtk_arch_config_to_hf(&out, llama, m, &err), MTK_OK);
  static const char *const absent[] = {"attention_bias", "tie_word", "rms_norm_eps", "sliding"};
  for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
    ck_assert_msg(!strstr(out.data, absent[i]), "%s is in %s", absent[i], out.data);
  ck_assert_ptr_nonnull(strstr(out.data, "\"head_dim\": 8")); /* not the default: 16/4 */
  mtk_bytes_finish(&out);
}
END_TEST

START_TEST(config_class_is_kept) {
  make_model(llama, false);
  mtk_meta_set_string(mtk_model_meta(m), "hf.architecture", "MistralForCausalLM", &err);
  mtk_bytes out = {0};
  ck_assert_int_eq(mtk_arch_config_to_hf(&out, llama, m, &err), MTK_OK);
  ck_assert_ptr_nonnull(strstr(out.data, "\"MistralForCausalLM\""));
  ck_assert_ptr_nonnull(strstr(out.data, "\"model_type\": \"mistral\""));
  ck_assert_ptr_nonnull(strstr(out.data, "\"tie_word_embeddings\": false"));
  ck_assert_ptr_nonnull(strstr(out.data, "\"attention_bias\": false"));
  mtk_bytes_finish(&out);
}
END_TEST

/* ---- pairing ------------------------------------------------------------------------------- */

static void read_all(float *out, const char *name) {
  const mtk_tensor *t = mtk_model_tensor(m, name);
  float tmp[512];
  ck_assert_int_eq(mtk_tensor_fetch_f32(out, t, 0, mtk_tensor_rows(t), tmp, &err), MTK_OK);
}

/* transformers, convert_mistral_weights_to_hf.py: interleaved -> half is
 * w.view(n_heads, dim1 // n_heads // 2, 2, dim2).transpose(1, 2).reshape(dim1, dim2). */
static void check_half(const float *half, const float *inter, int heads, int d, int k) {
  for (int h = 0; h < heads; h++)
    for (int pair = 0; pair < d / 2; pair++)
      for (int part = 0; part < 2; part++)
        for (int c = 0; c < k; c++) {
          float a = half[((h * 2 + part) * (d / 2) + pair) * k + c];
          float b = inter[((h * d / 2 + pair) * 2 + part) * k + c];
          ck_assert_msg(!(a < b) && !(a > b), "head %d pair %d part %d", h, pair, part);
        }
}

START_TEST(pairing) {
  make_model(qwen2, true);
  float half[512], inter[512], v[512], w[512];
  const void *data = mtk_model_tensor(m, "blk.1.attn_q.weight")->data;
  read_all(v, "blk.1.attn_v.weight");
  ck_assert_int_eq(mtk_model_set_pairing(m, "sideways", &err), MTK_E_INVALID);
  static const struct {
    const char *name;
    int heads, k;
  } rows[] = {{"blk.1.attn_q.weight", 4, 16}, {"blk.0.attn_k.weight", 2, 16},
              {"blk.1.attn_q.bias", 4, 1},    {"blk.0.attn_k.bias", 2, 1}};
  for (int i = 0; i < 4; i++) {
    ck_assert_int_eq(mtk_model_set_pairing(m, "half", &err), MTK_OK);
    read_all(half, rows[i].name);
    ck_assert_int_eq(mtk_model_set_pairing(m, "interleaved", &err), MTK_OK);
    ck_assert_int_eq(mtk_model_set_pairing(m, "interleaved", &err), MTK_OK); /* no change */
    read_all(inter, rows[i].name);
    check_half(half, inter, rows[i].heads, 8, rows[i].k);
  }
  ck_assert_str_eq(mtk_meta_str(mtk_model_meta(m), "rope.pairing", ""), "interleaved");
  read_all(w, "blk.1.attn_v.weight");
  ck_assert_mem_eq(v, w, 16 * 16 * sizeof(float));
  ck_assert_int_eq(mtk_model_set_pairing(m, "half", &err), MTK_OK);
  ck_assert_ptr_eq(mtk_model_tensor(m, "blk.1.attn_q.weight")->data, data); /* unpermuted */
}
END_TEST

/* Scales per row move with their rows; steps that do not cover whole heads are spread first. */
START_TEST(pairing_moves_scales) {
  make_model(llama, true);
  static const int64_t steps[] = {1, 3, 4, 8, 16, 32};
  mtk_tensor t = *mtk_model_tensor(m, "blk.0.attn_q.weight");
  float grid[32 * 2], before[512], after[512];
  for (int i = 0; i < 64; i++) grid[i] = (float)(i + 1);
  t.scales = grid;
  t.scale_n = steps[_i];
  t.scale_k = 8;
  ck_assert_int_eq(mtk_model_replace_tensor(m, &t, &err), MTK_OK);
  read_all(before, t.name);
  ck_assert_int_eq(mtk_model_set_pairing(m, "interleaved", &err), MTK_OK);
  read_all(after, t.name);
  check_half(before, after, 4, 8, 16);
}
END_TEST

START_TEST(pairing_of_adapters) {
  make_model(llama, true);
  float a[16] = {0}, b[32];
  for (int i = 0; i < 32; i++) b[i] = (float)i;
  mtk_adapter *adapter = mtk_adapter_create();
  mtk_lora_pair pair = {"blk.0.attn_q.weight", 1, 1.0f, a, b, 32, 16};
  adapter->pairs = &pair;
  adapter->n_pairs = 1;
  ck_assert_int_eq(mtk_model_set_pairing(m, "interleaved", &err), MTK_OK);
  ck_assert_int_eq(mtk_model_merge(m, adapter, &err), MTK_E_INVALID); /* not fitted */
  ck_assert_int_eq(mtk_adapter_fit(adapter, m, &err), MTK_OK);
  ck_assert_str_eq(adapter->pairing, "interleaved");
  check_half(b, pair.b, 4, 8, 1);
  const float *fitted = pair.b;
  ck_assert_int_eq(mtk_adapter_fit(adapter, m, &err), MTK_OK);
  ck_assert_ptr_eq(pair.b, fitted);
  ck_assert_int_eq(mtk_model_merge(m, adapter, &err), MTK_OK);
  mtk_adapter_destroy(adapter);
}
END_TEST

/* ---- graph --------------------------------------------------------------------------------- */

static const struct {
  const char *key, *text;
  uint64_t number;
  const char *says;
} bad_graphs[] = {
    {"attention.head_count_kv", NULL, 3, "hyperparameters ask for"},
    {"attention.head_count", NULL, 0, "not a size"},
    {"rope.dimension_count", NULL, 3, "odd or larger"},
    {"rope.dimension_count", NULL, 10, "odd or larger"},
    {"attention.value_length", NULL, 4, "hyperparameters ask for"},
    {"feed_forward.activation", "relu", 0, "'relu'"},
    {"rope.scaling.type", "dynamic", 0, "'dynamic' is not supported"},
    {"block_count", NULL, 1000000, "lacks this tensor"},
};

START_TEST(graph_errors) {
  make_model(qwen2, true);
  mtk_meta *meta = mtk_model_meta(m);
  if (bad_graphs[_i].text) mtk_meta_set_string(meta, bad_graphs[_i].key, bad_graphs[_i].text, &err);
  else mtk_meta_set_uint(meta, bad_graphs[_i].key, bad_graphs[_i].number, &err);
  mtk_bytes out = {0};
  ck_assert_int_ne(mtk_model_print_graph(&out, m, &err), MTK_OK);
  ck_assert_msg(strstr(err.message, bad_graphs[_i].says), "%s", err.message);
  mtk_bytes_finish(&out);
}
END_TEST

static size_t count(const char *text, const char *word) {
  size_t n = 0;
  for (const char *p = text; (p = strstr(p, word)); p++) n++;
  return n;
}

START_TEST(graph) {
  make_model(_i ? qwen2 : llama, _i);
  mtk_bytes out = {0};
  mtk_status status = mtk_model_print_graph(&out, m, &err);
  ck_assert_msg(status == MTK_OK, "%s: %s", err.place, err.message);
  ck_assert_uint_eq(count(out.data, "blk.1.attn_q.weight"), 1);
  ck_assert_uint_eq(count(out.data, "blk.1.attn_q.bias"), _i ? 1 : 0);
  ck_assert_uint_eq(count(out.data, "token_embd.weight"), _i ? 2 : 1); /* tied */
  ck_assert_uint_eq(count(out.data, "output.weight"), _i ? 2 : 3);    /* attn_output, output */
  const char *select = strstr(out.data, "select"), *norm = strstr(out.data, "output_norm.weight");
  ck_assert_msg(select && norm && select < norm, "%s", out.data);
  mtk_bytes_finish(&out);
}
END_TEST

START_TEST(untied_without_output) {
  make_model(llama, true);
  mtk_meta_set_bool(mtk_model_meta(m), "tie_word_embeddings", false, &err);
  mtk_bytes out = {0};
  ck_assert_int_eq(mtk_model_print_graph(&out, m, &err), MTK_E_FORMAT);
  ck_assert_str_eq(err.place, "output.weight");
  mtk_bytes_finish(&out);
}
END_TEST

#define N(a) (int)(sizeof(a) / sizeof(a)[0])

int main(void) {
  Suite *s = suite_create("arch");
  TCase *c = tcase_create("arch");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, tensor_names);
  tcase_add_test(c, config_fallbacks);
  tcase_add_loop_test(c, config_rope_forms, 0, N(rope_forms));
  tcase_add_loop_test(c, config_errors, 0, N(bad_configs));
  tcase_add_test(c, config_returns);
  tcase_add_test(c, fill_and_check);
  tcase_add_test(c, config_from_nothing);
  tcase_add_test(c, config_is_not_padded);
  tcase_add_test(c, config_class_is_kept);
  tcase_add_test(c, pairing);
  tcase_add_loop_test(c, pairing_moves_scales, 0, 6);
  tcase_add_test(c, pairing_of_adapters);
  tcase_add_loop_test(c, graph_errors, 0, N(bad_graphs));
  tcase_add_loop_test(c, graph, 0, 2);
  tcase_add_test(c, untied_without_output);
  suite_add_tcase(s, c);
  return run_suite(s);
}
