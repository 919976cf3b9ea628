/* header.c: the head of a llama2.c checkpoint and the list of its weights. Any thread. */
#include "llama2c.h"

#include <string.h>

enum { MAGIC = 0x616b3432, N_SIZES = 7, HEADER_BYTES = 256 };

static uint32_t u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void llama2c_parts(llama2c_part out[LLAMA2C_N_PARTS], const llama2c_header *h) {
  int64_t head = h->dim / h->n_head, q = h->dim, kv = head * h->n_head_kv, n = h->n_layer;
  const llama2c_part embd = {"token_embd.weight", h->vocab, h->dim, 1, false},
                     attn_norm = {"blk.%d.attn_norm.weight", h->dim, 0, n, false},
                     ffn_norm = {"blk.%d.ffn_norm.weight", h->dim, 0, n, false},
                     norm = {"output_norm.weight", h->dim, 0, 1, false},
                     rope = {NULL, h->context, head / 2, 2, h->version > 0},
                     output = {"output.weight", h->vocab, h->dim, 1, h->shared};
  const llama2c_part attention[] = {{"blk.%d.attn_q.weight", q, h->dim, n, false},
                                    {"blk.%d.attn_k.weight", kv, h->dim, n, false},
                                    {"blk.%d.attn_v.weight", kv, h->dim, n, false},
                                    {"blk.%d.attn_output.weight", h->dim, q, n, false}};
  const llama2c_part forward[] = {{"blk.%d.ffn_gate.weight", h->hidden, h->dim, n, false},
                                  {"blk.%d.ffn_down.weight", h->dim, h->hidden, n, false},
                                  {"blk.%d.ffn_up.weight", h->hidden, h->dim, n, false}};
  size_t at = 0;
  if (h->version > 0) { /* all vectors first */
    out[at++] = attn_norm;
    out[at++] = ffn_norm;
    out[at++] = norm;
  }
  out[at++] = embd;
  if (h->version == 0) out[at++] = attn_norm;
  memcpy(out + at, attention, sizeof attention);
  at += 4;
  if (h->version == 0) out[at++] = ffn_norm;
  memcpy(out + at, forward, sizeof forward);
  at += 3;
  if (h->version == 0) out[at++] = norm;
  out[at++] = rope;
  out[at] = output;
}

uint64_t llama2c_count(const llama2c_part *p) {
  return p->absent ? 0 : (uint64_t)p->rows * (uint64_t)(p->cols ? p->cols : 1) * (uint64_t)p->count;
}

/* Bytes of all weights; false if the sizes are too large for any file. */
static bool total_bytes(uint64_t *out, const llama2c_header *h) {
  llama2c_part parts[LLAMA2C_N_PARTS];
  uint64_t total = h->size;
  llama2c_parts(parts, h);
  for (size_t i = 0; i < LLAMA2C_N_PARTS; i++) {
    uint64_t n = 0, rows = (uint64_t)parts[i].rows, cols = (uint64_t)parts[i].cols;
    bool groups = h->version == 2 && cols > 0;
    if (parts[i].absent) continue;
    if (__builtin_mul_overflow(rows, cols ? cols : 1, &n) ||
        __builtin_mul_overflow(n, (uint64_t)parts[i].count, &n))
      return false;
    if (n > UINT64_MAX / 16) return false;
    uint64_t bytes = groups ? n + n / (uint64_t)h->group * 4 : 4 * n;
    if (__builtin_add_overflow(total, bytes, &total)) return false;
  }
  *out = total;
  return true;
}

static mtk_status check_sizes(const llama2c_header *h, uint64_t size, const char *path,
                              mtk_error *err) {
  const int64_t sizes[] = {h->dim, h->hidden, h->n_layer, h->n_head, h->n_head_kv, h->vocab,
                           h->context};
  static const char *const names[] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads",
                                      "vocab_size", "max_seq_len"};
  for (size_t i = 0; i < N_SIZES; i++)
    if (sizes[i] <= 0 || sizes[i] > LLAMA2C_MAX_SIZE)
      return mtk_fail_at(err, MTK_E_FORMAT, path, 4 * i, "%s is %lld", names[i],
                         (long long)sizes[i]);
  if (h->dim % h->n_head || h->n_head % h->n_head_kv)
    return mtk_fail_at(err, MTK_E_FORMAT, path, 0, "%lld values in %lld heads, %lld of them for "
                       "keys, do not divide", (long long)h->dim, (long long)h->n_head,
                       (long long)h->n_head_kv);
  if (h->version == 2 && (h->group <= 0 || h->group % 4 || h->dim % h->group ||
                          h->hidden % h->group))
    return mtk_fail_at(err, MTK_E_FORMAT, path, 37, "groups of %lld do not divide the rows",
                       (long long)h->group);
  uint64_t total;
  if (total_bytes(&total, h) && total == size) return MTK_OK;
  return mtk_fail_at(err, MTK_E_FORMAT, path, 0,
                     "the sizes in its header do not give its %llu bytes",
                     (unsigned long long)size);
}

mtk_status llama2c_parse_header(llama2c_header *out, const uint8_t *data, size_t size,
                                const char *path, mtk_error *err) {
  *out = (llama2c_header){.size = 4 * N_SIZES, .group = 1};
  if (size < 4 * N_SIZES) return mtk_fail_at(err, MTK_E_FORMAT, path, 0, "is too short");
  const uint8_t *sizes = data;
  if (u32(data) == MAGIC) {
    if (size < HEADER_BYTES) return mtk_fail_at(err, MTK_E_FORMAT, path, 0, "is too short");
    out->version = (int)(u32(data + 4) % 1000);
    if (u32(data + 4) != 1 && u32(data + 4) != 2)
      return mtk_fail_at(err, MTK_E_UNSUPPORTED, path, 4, "version %u is not 1 or 2",
                         u32(data + 4));
    sizes = data + 8;
    out->size = HEADER_BYTES;
    out->shared = data[36] != 0;
    if (out->version == 2) out->group = (int32_t)u32(data + 37);
  }
  int64_t *members[] = {&out->dim, &out->hidden, &out->n_layer, &out->n_head, &out->n_head_kv,
                        &out->vocab, &out->context};
  for (size_t i = 0; i < N_SIZES; i++) *members[i] = (int32_t)u32(sizes + 4 * i);
  if (out->version == 0) {
    out->shared = out->vocab > 0; /* a negative size says that the output has its own matrix */
    if (out->vocab < 0) out->vocab = -out->vocab;
  }
  return check_sizes(out, size, path, err);
}
