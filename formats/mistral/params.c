/* params.c: params.json (mistral-inference, src/mistral_inference/args.py; vllm,
 * vllm/transformers_utils/configs/mistral.py) as hyperparameters and back. Values that the table
 * does not name stay in the kept original. Each call has its own state: any thread. */
#include "mistral.h"

#include <jansson.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One value of params.json; dots step into objects, "@" stands for the image encoder's block. */
typedef struct param {
  const char *path, *key;
  mtk_meta_type type;
  const char *implied; /* what an absent value means; "" = nothing; NULL = it must be there */
} param;

/* clang-format off */
static const param params[] = {
  {"dim", "embedding_length", MTK_META_U32, NULL},
  {"n_layers", "block_count", MTK_META_U32, NULL},
  {"head_dim", "attention.key_length", MTK_META_U32, ""},
  {"hidden_dim", "feed_forward_length", MTK_META_U32, ""},
  {"n_heads", "attention.head_count", MTK_META_U32, NULL},
  {"n_kv_heads", "attention.head_count_kv", MTK_META_U32, ""},
  {"rope_theta", "rope.freq_base", MTK_META_F32, ""},
  {"norm_eps", "attention.layer_norm_rms_epsilon", MTK_META_F32, NULL},
  {"vocab_size", "vocab_size", MTK_META_U32, ""},
  {"tied_embeddings", "tie_word_embeddings", MTK_META_BOOL, "false"},
  {"max_position_embeddings", "context_length", MTK_META_U32, "128000"},
  {"max_seq_len", "context_length", MTK_META_U32, "128000"},
  {"sliding_window", "attention.sliding_window", MTK_META_U32, ""},
  {"yarn.factor", "rope.scaling.factor", MTK_META_F32, ""},
  {"yarn.original_max_position_embeddings", "rope.scaling.original_context_length", MTK_META_U32,
   ""},
  {"yarn.beta", "rope.scaling.yarn_beta_fast", MTK_META_F32, ""},
  {"yarn.alpha", "rope.scaling.yarn_beta_slow", MTK_META_F32, ""},
  {"llama_4_scaling.beta", "attention.temperature_scale", MTK_META_F32, ""},
  {"llama_4_scaling.original_max_position_embeddings", "attention.temperature_length",
   MTK_META_U32, ""},
  {"moe.num_experts", "expert_count", MTK_META_U32, ""},
  {"moe.num_experts_per_tok", "expert_used_count", MTK_META_U32, ""},
  {"moe.expert_hidden_dim", "expert_feed_forward_length", MTK_META_U32, ""},
  {"@hidden_size", "vision.embedding_length", MTK_META_U32, ""},
  {"@num_hidden_layers", "vision.block_count", MTK_META_U32, ""},
  {"@intermediate_size", "vision.feed_forward_length", MTK_META_U32, ""},
  {"@num_attention_heads", "vision.attention.head_count", MTK_META_U32, ""},
  {"@num_channels", "vision.channel_count", MTK_META_U32, "3"},
  {"@image_size", "vision.image_size", MTK_META_U32, ""},
  {"@max_image_size", "vision.max_image_size", MTK_META_U32, ""},
  {"@patch_size", "vision.patch_size", MTK_META_U32, ""},
  {"@rope_theta", "vision.rope.freq_base", MTK_META_F32, "10000"},
  {"@spatial_merge_size", "vision.spatial_merge_size", MTK_META_U32, "1"},
  {"@mm_projector_id", "vision.projector", MTK_META_STRING, ""},
  {"@add_pre_mm_projector_layer_norm", "vision.projector_norm", MTK_META_BOOL, "false"},
  {"@adapter_bias", "vision.projector_bias", MTK_META_BOOL, "true"},
  {"@image_token_id", "vision.image_token_id", MTK_META_U32, "10"},
  {"@image_break_token_id", "vision.image_break_token_id", MTK_META_U32, "12"},
  {"@image_end_token_id", "vision.image_end_token_id", MTK_META_U32, "13"},
};
/* clang-format on */
enum { N_PARAMS = sizeof params / sizeof params[0], MAX_PATH = 128 };

static const char *const vision_blocks[] = {"vision_encoder", "multimodal.vision_encoder_args"};

/* ---- JSON by dotted path ------------------------------------------------------------------- */

/* Steps to the object that holds the last name of the path; NULL if one is missing, not made. */
static json_t *walk(json_t *root, const char *path, bool make, const char **last) {
  for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
    char step[MAX_PATH];
    snprintf(step, sizeof step, "%.*s", (int)(dot - path), path);
    json_t *next = json_object_get(root, step);
    if (!json_is_object(next)) {
      if (!make || json_object_set_new(root, step, json_object())) return NULL;
      next = json_object_get(root, step);
    }
    root = next;
  }
  *last = path;
  return root;
}

/* NULL for what is absent or null. */
static json_t *get(json_t *root, const char *path) {
  const char *last;
  json_t *holder = walk(root, path, false, &last);
  json_t *value = holder ? json_object_get(holder, last) : NULL;
  return json_is_null(value) ? NULL : value;
}

static bool set(json_t *root, const char *path, json_t *value) {
  const char *last;
  json_t *holder = walk(root, path, true, &last);
  if (holder) return json_object_set_new(holder, last, value) == 0;
  json_decref(value);
  return false;
}

static void drop(json_t *root, const char *path) {
  const char *last;
  json_t *holder = walk(root, path, false, &last);
  if (holder) (void)json_object_del(holder, last);
}

/* The path of a row, its "@" replaced by the name of the block that root has. */
static const char *path_of(char buf[static MAX_PATH], json_t *root, const char *path) {
  if (path[0] != '@') return path;
  bool second = !get(root, vision_blocks[0]) && get(root, vision_blocks[1]);
  snprintf(buf, MAX_PATH, "%s.%s", vision_blocks[second], path + 1);
  return buf;
}

static bool has_vision(json_t *root) {
  return json_is_object(get(root, vision_blocks[0])) || json_is_object(get(root, vision_blocks[1]));
}

static mtk_status bad(mtk_error *err, const char *path, const char *want) {
  char place[MAX_PATH + 16];
  snprintf(place, sizeof place, MISTRAL_PARAMS ": %s", path);
  return mtk_fail(err, MTK_E_FORMAT, place, "expected %s", want);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* sliding_window comes as a number, as text, or as a list for a pattern of layers. */
static mtk_status window_of(mtk_value *out, const json_t *j, const char *path, mtk_error *err) {
  if (json_is_string(j)) {
    char *end;
    out->as.u = strtoul(json_string_value(j), &end, 10);
    if (*end == 0 && out->as.u > 0 && out->as.u <= UINT32_MAX) return MTK_OK;
    return bad(err, path, "a whole number");
  }
  const json_t *first = json_array_get(j, 0);
  for (size_t i = 1; i < json_array_size(j); i++)
    if (!json_equal(json_array_get(j, i), first))
      return mtk_fail(err, MTK_E_UNSUPPORTED, MISTRAL_PARAMS ": sliding_window",
                      "windows that differ by layer are not supported");
  if (!json_is_integer(first) || json_integer_value(first) <= 0)
    return bad(err, path, "a whole number or a list of equal ones");
  out->as.u = (uint64_t)json_integer_value(first);
  return MTK_OK;
}

static mtk_status value_of(mtk_value *out, const json_t *j, const param *row, const char *path,
                           mtk_error *err) {
  *out = (mtk_value){.type = row->type};
  if (row->type == MTK_META_BOOL) {
    if (!json_is_boolean(j)) return bad(err, path, "true or false");
    out->as.u = json_is_true(j);
  } else if (row->type == MTK_META_STRING) {
    if (!json_is_string(j)) return bad(err, path, "a text");
    out->as.str.s = json_string_value(j);
    out->as.str.len = json_string_length(j);
  } else if (row->type == MTK_META_F32) {
    out->as.f = (double)(float)json_number_value(j);
    if (!json_is_number(j) || !isfinite(out->as.f)) return bad(err, path, "a number");
  } else if (strcmp(path, "sliding_window") == 0 && !json_is_integer(j)) {
    return window_of(out, j, path, err);
  } else {
    double v = json_number_value(j);
    if (!json_is_number(j) || v < 0 || v > UINT32_MAX || floor(v) != v)
      return bad(err, path, "a whole number below 2^32");
    out->as.u = (uint64_t)v;
  }
  return MTK_OK;
}

static mtk_status implied_value(mtk_value *out, const param *row) {
  *out = (mtk_value){.type = row->type};
  if (row->type == MTK_META_BOOL) out->as.u = strcmp(row->implied, "true") == 0;
  else if (row->type == MTK_META_F32) out->as.f = (double)strtof(row->implied, NULL);
  else out->as.u = strtoul(row->implied, NULL, 10);
  return MTK_OK;
}

static mtk_status read_row(mtk_meta *meta, json_t *root, const param *row, bool vision,
                           mtk_error *err) {
  char buf[MAX_PATH];
  const char *path = path_of(buf, root, row->path);
  const json_t *j = get(root, path);
  mtk_value v;
  if (mtk_meta_get(meta, row->key)) return MTK_OK; /* an earlier row had it */
  if (j) {
    MTK_TRY(value_of(&v, j, row, path, err));
    return mtk_meta_set(meta, row->key, &v, err);
  }
  if (!row->implied) return bad(err, path, "a number; it is missing");
  bool later = strcmp(row->path, "max_position_embeddings") == 0 && get(root, "max_seq_len");
  if (!*row->implied || later || (row->path[0] == '@' && !vision)) return MTK_OK;
  MTK_TRY(implied_value(&v, row));
  return mtk_meta_set(meta, row->key, &v, err);
}

/* What the class of transformers has to know, by what the file holds. */
static const char *class_of(json_t *root) {
  if (has_vision(root)) return "Mistral3ForConditionalGeneration";
  if (get(root, "moe.num_experts")) return "MixtralForCausalLM";
  return get(root, "llama_4_scaling") ? "Ministral3ForCausalLM" : "MistralForCausalLM";
}

static mtk_status read_rope(mtk_meta *meta, json_t *root, mtk_error *err) {
  /* mistral-inference: a model with a window was trained with the smaller base */
  if (!mtk_meta_get(meta, "rope.freq_base")) {
    bool window = mtk_meta_get(meta, "attention.sliding_window") != NULL;
    MTK_TRY(mtk_meta_set_float(meta, "rope.freq_base", window ? 10000.0 : 1000000.0, err));
  }
  if (!get(root, "yarn")) return MTK_OK;
  MTK_TRY(mtk_meta_set_string(meta, "rope.scaling.type", "yarn", err));
  const json_t *scale = get(root, "yarn.apply_scale");
  if (!scale || json_is_true(scale)) return MTK_OK;
  /* mscale and mscale_all_dim of equal size: no factor on cos and sin */
  MTK_TRY(mtk_meta_set_float(meta, "rope.scaling.yarn_mscale", 1, err));
  return mtk_meta_set_float(meta, "rope.scaling.yarn_log_multiplier", 1, err);
}

/* What makes this another architecture than those that are known. */
static const char *foreign_part(json_t *root) {
  static const char *const parts[] = {"kv_lora_rank", "q_lora_rank", "causal",
                                      "multimodal.whisper_model_args"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    const json_t *part = get(root, parts[i]);
    if (part && !json_is_true(part)) return parts[i];
  }
  const char *type = json_string_value(get(root, "model_type"));
  return type && strcmp(type, "mamba") == 0 ? "model_type" : NULL;
}

static mtk_status set_arch(mtk_model *model, json_t *root, mtk_error *err) {
  const char *hf_class = class_of(root), *foreign = foreign_part(root);
  const mtk_arch_v1 *arch = foreign ? NULL : mtk_arch_find_hf(hf_class);
  if (!arch)
    return mtk_model_warn(model, MISTRAL_PARAMS ": no architecture for %s; only tensors are read",
                          foreign ? foreign : hf_class);
  MTK_TRY(mtk_model_set_arch(model, arch->id, err));
  MTK_TRY(mtk_meta_set_string(mtk_model_meta(model), "rope.pairing", "interleaved", err));
  if (get(root, "llama_4_scaling"))
    MTK_TRY(mtk_meta_set_string(mtk_model_meta(model), "hf.text_model_type", "ministral3", err));
  return mtk_meta_set_string(mtk_model_meta(model), "hf.architecture", hf_class, err);
}

static mtk_status read_rows(mtk_model *model, json_t *root, mtk_error *err) {
  mtk_meta *meta = mtk_model_meta(model);
  MTK_TRY(set_arch(model, root, err));
  if (!mtk_model_arch(model)[0]) return MTK_OK;
  for (size_t i = 0; i < N_PARAMS; i++)
    MTK_TRY(read_row(meta, root, &params[i], has_vision(root), err));
  return read_rope(meta, root, err);
}

static mtk_status load(json_t **out, const char *text, size_t n, mtk_error *err) {
  json_error_t at;
  *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
  if (!*out) return mtk_fail(err, MTK_E_FORMAT, MISTRAL_PARAMS, "line %d: %s", at.line, at.text);
  if (json_is_object(*out)) return MTK_OK;
  json_decref(*out);
  return mtk_fail(err, MTK_E_FORMAT, MISTRAL_PARAMS, "is no JSON object");
}

mtk_status mistral_read_params(mtk_model *model, const char *text, size_t n, mtk_error *err) {
  json_t *root;
  MTK_TRY(load(&root, text, n, err));
  mtk_status status = read_rows(model, root, err);
  json_decref(root);
  MTK_TRY(status);
  return mtk_model_attach(model, MISTRAL_PARAMS, text, n, err);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The double whose shortest decimal form the f32 has: 1e-5, not 9.99999974e-06. */
static double shortest(double f32) {
  char text[40];
  for (int digits = 1; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, f32);
    double v = strtod(text, NULL);
    if ((double)(float)v == f32) return v;
  }
  return f32;
}

static json_t *to_json(const mtk_value *v) {
  if (v->type == MTK_META_BOOL) return json_boolean(v->as.u != 0);
  if (v->type == MTK_META_F32) return json_real(shortest(v->as.f));
  if (v->type == MTK_META_STRING) return json_stringn(v->as.str.s, v->as.str.len);
  return v->type == MTK_META_ARRAY ? NULL : json_integer((json_int_t)v->as.u);
}

static bool same_value(const mtk_value *a, const mtk_value *b) {
  if (a->type != b->type) return false;
  if (a->type == MTK_META_F32) return !(a->as.f < b->as.f) && !(a->as.f > b->as.f);
  if (a->type == MTK_META_STRING) return strcmp(a->as.str.s, b->as.str.s) == 0;
  return a->as.u == b->as.u;
}

/* Whether another row of the same key is in the original. */
static bool has_sibling(json_t *root, const param *row) {
  for (size_t i = 0; i < N_PARAMS; i++)
    if (&params[i] != row && strcmp(params[i].key, row->key) == 0 && get(root, params[i].path))
      return true;
  return false;
}

static bool is_first(const param *row) {
  for (const param *p = params; p != row; p++)
    if (strcmp(p->key, row->key) == 0) return false;
  return true;
}

/* was: what the original says. */
static mtk_status write_row(json_t *root, const mtk_meta *meta, const mtk_meta *was,
                            const param *row, bool yarn, mtk_error *err) {
  char buf[MAX_PATH];
  const char *path = path_of(buf, root, row->path);
  const mtk_value *v = mtk_meta_get(meta, row->key);
  const json_t *there = get(root, path);
  mtk_value old;
  if (!v || (strncmp(path, "yarn.", 5) == 0 && !yarn)) {
    if (row->path[0] != '@') drop(root, path); /* of images other formats do not say all */
    return MTK_OK;
  }
  if (there && value_of(&old, there, row, path, NULL) == MTK_OK && same_value(&old, v))
    return MTK_OK;
  if (!there) {
    const mtk_value *before = mtk_meta_get(was, row->key);
    if (has_sibling(root, row) || !is_first(row)) return MTK_OK;
    if (before && same_value(before, v)) return MTK_OK;
    bool implied = row->implied && *row->implied && implied_value(&old, row) == MTK_OK;
    if (implied && same_value(&old, v)) return MTK_OK;
  }
  json_t *value = to_json(v);
  if (!value)
    return mtk_fail(err, MTK_E_UNSUPPORTED, row->key, MISTRAL_PARAMS " holds only one value here");
  if (set(root, path, value)) return MTK_OK;
  return mtk_fail(err, MTK_E_NOMEM, MISTRAL_PARAMS, "out of memory");
}

static mtk_status write_yarn(json_t *root, const mtk_meta *meta, bool *yarn, mtk_error *err) {
  const char *type = mtk_meta_str(meta, "rope.scaling.type", "none");
  *yarn = strcmp(type, "yarn") == 0;
  if (!*yarn && strcmp(type, "none") != 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "rope.scaling.type",
                    MISTRAL_PARAMS " cannot name the rotary scaling '%s'", type);
  if (!*yarn) {
    drop(root, "yarn");
    return MTK_OK;
  }
  static const char *const others[] = {"rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor",
                                       "rope.scaling.yarn_ext_factor"};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (mtk_meta_get(meta, others[i]))
      return mtk_fail(err, MTK_E_UNSUPPORTED, others[i], "has no place in " MISTRAL_PARAMS);
  double mscale, all_dim;
  MTK_TRY(mtk_meta_float(&mscale, meta, "rope.scaling.yarn_mscale", 1, err));
  MTK_TRY(mtk_meta_float(&all_dim, meta, "rope.scaling.yarn_log_multiplier", 0, err));
  bool equal = !(mscale < all_dim) && !(mscale > all_dim);
  if (!equal && all_dim > 0 && mscale > 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "rope.scaling.yarn_mscale",
                    "has no place in " MISTRAL_PARAMS " unless it equals yarn_log_multiplier");
  const json_t *now = get(root, "yarn.apply_scale");
  if ((now ? json_is_true(now) : true) != equal) return MTK_OK;
  (void)set(root, "yarn.apply_scale", json_boolean(!equal));
  return MTK_OK;
}

/* How FP8 weights are stored: with a scale for the activations or without. */
static void write_quantization(json_t *root, const mtk_model *model) {
  bool fp8 = false, input = false;
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    if (t->dtype != MTK_F8_E4M3 || !t->scales) continue;
    fp8 = true;
    input |= t->input_scale > 0;
  }
  if (!fp8) {
    (void)json_object_del(root, "quantization");
    return;
  }
  if (get(root, "quantization.qformat_weight")) return;
  (void)set(root, "quantization.qformat_weight", json_string("fp8_e4m3"));
  (void)set(root, "quantization.qscheme_act", json_string(input ? "TENSOR" : "NO_SCALES"));
}

/* Reals with 15 digits (1e-5), or 17 where 15 would change one. */
static char *dump(const json_t *root) {
  static const size_t digits[] = {15, 17};
  char *text = NULL;
  for (size_t i = 0; i < 2; i++) {
    free(text);
    text = json_dumps(root, JSON_INDENT(4) | JSON_REAL_PRECISION(digits[i]));
    json_t *again = text ? json_loads(text, 0, NULL) : NULL;
    bool same = again && json_equal(again, root);
    json_decref(again);
    if (same) break;
  }
  return text;
}

/* What other formats leave to be seen from the rest: config.json gives yarn and llama_4_scaling one
 * length; the kind of projector shows in its tensors. */
static void write_implied(json_t *root, const mtk_model *model) {
  const mtk_meta *meta = mtk_model_meta(model);
  uint64_t length = 0;
  char buf[MAX_PATH];
  bool merges = mtk_model_tensor(model, "mm.patch_merger.weight") != NULL;
  bool norms = mtk_model_tensor(model, "mm.input_norm.weight") != NULL;
  if (has_vision(root) && merges && !get(root, path_of(buf, root, "@mm_projector_id")))
    (void)set(root, buf, json_string("patch_merge"));
  if (has_vision(root) && norms &&
      !get(root, path_of(buf, root, "@add_pre_mm_projector_layer_norm")))
    (void)set(root, buf, json_true());
  if (get(root, "llama_4_scaling") && !get(root, "llama_4_scaling.original_max_position_embeddings")
      && mtk_meta_uint(&length, meta, "rope.scaling.original_context_length", 0, NULL) == MTK_OK)
    (void)set(root, "llama_4_scaling.original_max_position_embeddings",
              json_integer((json_int_t)length));
}

static mtk_status write_all(mtk_bytes *out, json_t *root, const json_t *original,
                            const mtk_meta *was, const mtk_model *model, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  bool yarn;
  size_t n;
  MTK_TRY(write_yarn(root, meta, &yarn, err));
  for (size_t i = 0; i < N_PARAMS; i++) MTK_TRY(write_row(root, meta, was, &params[i], yarn, err));
  write_implied(root, model);
  write_quantization(root, model);
  if (json_equal(root, original)) { /* byte for byte */
    const char *text = mtk_model_attachment(model, MISTRAL_PARAMS, &n);
    mtk_bytes_append(out, text, n);
    return mtk_bytes_status(out, err);
  }
  char *text = dump(root);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, MISTRAL_PARAMS, "out of memory");
  mtk_bytes_puts(out, text);
  mtk_bytes_puts(out, "\n");
  free(text);
  return mtk_bytes_status(out, err);
}

mtk_status mistral_write_params(mtk_bytes *out, const mtk_model *model, mtk_error *err) {
  size_t n = 0;
  const char *text = mtk_model_attachment(model, MISTRAL_PARAMS, &n);
  json_t *original = NULL;
  if (text) MTK_TRY(load(&original, text, n, err));
  json_t *root = original ? json_deep_copy(original) : json_object();
  mtk_model *was = mtk_model_create();
  mtk_status status = root && was ? MTK_OK
                                  : mtk_fail(err, MTK_E_NOMEM, MISTRAL_PARAMS, "out of memory");
  if (status == MTK_OK && original) status = read_rows(was, original, err);
  if (status == MTK_OK)
    status = write_all(out, root, original, mtk_model_meta(was), model, err);
  mtk_model_destroy(was);
  json_decref(root);
  json_decref(original);
  return status;
}
