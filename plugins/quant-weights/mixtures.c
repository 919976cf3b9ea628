/* mixtures.c: which type each tensor gets: llama.cpp's mixtures (q4_k_m, ...), and types for rows
 * that do not fill the blocks of the one asked for. Source: llama.cpp, src/llama-quant.cpp,
 * llama_tensor_get_type_impl and tensor_type_fallback. Static tables; any thread. */
#include "quant.h"

#include <string.h>

/* Tensors that mixtures tell apart, by a part of their names. */
typedef enum tensor_role { ATTN_V, ATTN_K, ATTN_OUTPUT, FFN_DOWN, OTHER } tensor_role;

static const struct {
  const char *part;
  tensor_role role;
} parts[] = {
    {"attn_v.weight", ATTN_V}, {"attn_qkv.weight", ATTN_V},         {"attn_kv_b.weight", ATTN_V},
    {"attn_k.weight", ATTN_K}, {"attn_output.weight", ATTN_OUTPUT}, {"ffn_down", FFN_DOWN},
};

static tensor_role role_of(const char *name) {
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strstr(name, parts[i].part)) return parts[i].role;
  return OTHER;
}

/* Where a rule applies. */
typedef enum condition {
  ALWAYS,
  FIRST_2,
  FIRST_4, /* blocks */
  FIRST_8TH,
  FIRST_16TH,     /* of the blocks */
  FIRST_LAST_3RD, /* the first and last eighth, and every third block between */
  GQA_4,          /* four or more query heads per key head */
  EXPERTS_8
} condition;

static bool holds(condition when, const mtk_quant_place *p) {
  int64_t i = p->block, n = p->n_block;
  switch (when) {
  case ALWAYS: return true;
  case FIRST_2: return i < 2;
  case FIRST_4: return i < 4;
  case FIRST_8TH: return i < n / 8;
  case FIRST_16TH: return i < n / 16;
  case FIRST_LAST_3RD: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  case GQA_4: return p->n_head_kv > 0 && p->n_head / p->n_head_kv >= 4;
  case EXPERTS_8: return p->n_expert == 8;
  }
  return false;
}

/* The first rule that fits decides; without one, the type of the target's row. */
typedef struct rule {
  const char *target;
  tensor_role role;
  condition when;
  mtk_dtype dtype;
} rule;

static const rule rules[] = {
    {"q2_k_m", ATTN_V, GQA_4, MTK_Q4_K},
    {"q2_k_m", ATTN_V, ALWAYS, MTK_Q3_K},
    {"q2_k_m", FFN_DOWN, ALWAYS, MTK_Q3_K},
    {"q2_k_m", ATTN_OUTPUT, EXPERTS_8, MTK_Q5_K},
    {"q2_k_m", ATTN_OUTPUT, ALWAYS, MTK_Q3_K},
    {"q2_k_s", ATTN_V, GQA_4, MTK_Q4_K},
    {"q2_k_s", FFN_DOWN, FIRST_8TH, MTK_Q4_K},
    {"q3_k_s", ATTN_OUTPUT, EXPERTS_8, MTK_Q5_K},
    {"q3_k_m", ATTN_V, FIRST_2, MTK_Q5_K},
    {"q3_k_m", ATTN_V, ALWAYS, MTK_Q4_K},
    {"q3_k_m", FFN_DOWN, FIRST_16TH, MTK_Q5_K},
    {"q3_k_m", FFN_DOWN, ALWAYS, MTK_Q4_K},
    {"q3_k_m", ATTN_OUTPUT, EXPERTS_8, MTK_Q5_K},
    {"q3_k_m", ATTN_OUTPUT, ALWAYS, MTK_Q4_K},
    {"q3_k_l", ATTN_V, ALWAYS, MTK_Q5_K},
    {"q3_k_l", FFN_DOWN, ALWAYS, MTK_Q5_K},
    {"q3_k_l", ATTN_OUTPUT, EXPERTS_8, MTK_Q3_K},
    {"q3_k_l", ATTN_OUTPUT, ALWAYS, MTK_Q5_K},
    {"q4_k_s", ATTN_V, FIRST_4, MTK_Q5_K},
    {"q4_k_s", FFN_DOWN, FIRST_8TH, MTK_Q5_K},
    {"q4_k_s", ATTN_OUTPUT, EXPERTS_8, MTK_Q5_K},
    {"q4_k_m", ATTN_V, FIRST_LAST_3RD, MTK_Q6_K},
    {"q4_k_m", FFN_DOWN, FIRST_LAST_3RD, MTK_Q6_K},
    {"q4_k_m", ATTN_OUTPUT, EXPERTS_8, MTK_Q5_K},
    {"q5_k_m", ATTN_V, FIRST_LAST_3RD, MTK_Q6_K},
    {"q5_k_m", FFN_DOWN, FIRST_LAST_3RD, MTK_Q6_K},
};

/* Types of 256 (or 64) -> of 32, for rows that are no multiple. */
static const struct {
  mtk_dtype from, to;
} fallbacks[] = {
    {MTK_Q2_K, MTK_Q4_0},  {MTK_Q3_K, MTK_Q4_0},  {MTK_Q4_K, MTK_Q5_0},
    {MTK_Q5_K, MTK_Q5_1},  {MTK_Q6_K, MTK_Q8_0},  {MTK_IQ4_XS, MTK_IQ4_NL},
    {MTK_TQ1_0, MTK_Q4_0}, {MTK_TQ2_0, MTK_Q4_0}, {MTK_Q2_0, MTK_Q4_0},
};

static mtk_dtype fitting(mtk_dtype dtype, int64_t row_elems) {
  if (row_elems % mtk_dtype_get(dtype)->block_elems == 0) return dtype;
  for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++)
    if (fallbacks[i].from == dtype) return fallbacks[i].to;
  return dtype;
}

/* The plain row of a type. */
static const mtk_quant_target *target_of(mtk_dtype dtype) {
  for (const mtk_quant_target *t = quant_targets; t->name; t++)
    if (t->dtype == dtype && t->file_type == 0 && t->scale_n < 0) return t;
  return NULL;
}

/* In a mixture the head is q6_k, and so is the embedding where the two are one matrix. */
static mtk_dtype mixed_type(const mtk_quant_target *asked, const mtk_quant_place *p) {
  mtk_dtype dtype = asked->dtype;
  if (p->is_embedding)
    return p->is_tied || strcmp(p->name, "output.weight") == 0 ? MTK_Q6_K : dtype;
  tensor_role role = role_of(p->name);
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    const rule *r = &rules[i];
    if (r->role != role || strcmp(r->target, asked->name) != 0 || !holds(r->when, p)) continue;
    dtype = r->dtype;
    break;
  }
  bool small = role == ATTN_V || role == ATTN_K,
       is_70b = p->n_block == 80 && p->n_head != p->n_head_kv;
  if (small && p->n_expert == 8) return MTK_Q8_0;
  return role == ATTN_V && is_70b && (dtype == MTK_Q3_K || dtype == MTK_Q4_K) ? MTK_Q5_K : dtype;
}

const mtk_quant_target *quant_choose(const mtk_quant_target *asked, const mtk_quant_place *p) {
  mtk_dtype dtype = asked->dtype;
  if (asked->file_type)
    dtype = mixed_type(asked, p);
  else if (p->is_embedding && !p->embeddings)
    return NULL;
  if (quant_is_integer(asked) && asked->scale_k > 0 && p->row_elems % asked->scale_k) return NULL;
  mtk_dtype fit = fitting(dtype, p->row_elems);
  if (p->row_elems % mtk_dtype_get(fit)->block_elems) return NULL;
  return fit == asked->dtype && !asked->file_type ? asked : target_of(fit);
}
