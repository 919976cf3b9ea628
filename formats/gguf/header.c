/* header.c: the bytes of a GGUF header, appended to an mtk_bytes (whose failure is sticky). */
#include "gguf.h"

#include <string.h>

static void put(mtk_bytes *out, uint64_t v, size_t n_bytes) {
  uint8_t b[8];
  for (size_t i = 0; i < n_bytes; i++) b[i] = (uint8_t)(v >> (8 * i));
  mtk_bytes_append(out, b, n_bytes);
}

static void put_string(mtk_bytes *out, const char *s, size_t len) {
  put(out, len, 8);
  mtk_bytes_append(out, s, len);
}

uint64_t gguf_padded(uint64_t n) {
  return (n + GGUF_ALIGNMENT - 1) & ~(uint64_t)(GGUF_ALIGNMENT - 1);
}

void gguf_put_padding(mtk_bytes *out) {
  static const uint8_t zeros[GGUF_ALIGNMENT];
  mtk_bytes_append(out, zeros, (size_t)(gguf_padded(out->len) - out->len));
}

void gguf_put_header(mtk_bytes *out, uint64_t n_tensors, uint64_t n_kvs) {
  mtk_bytes_append(out, "GGUF", 4);
  put(out, GGUF_VERSION, 4);
  put(out, n_tensors, 8);
  put(out, n_kvs, 8);
}

static void put_value(mtk_bytes *out, const mtk_value *v) {
  static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  uint64_t bits = v->as.u; /* signed members share the bits */
  if (v->type == MTK_META_STRING) {
    put_string(out, v->as.str.s, v->as.str.len);
    return;
  }
  if (v->type == MTK_META_ARRAY) {
    put(out, v->as.arr.type, 4);
    put(out, v->as.arr.n, 8);
    for (size_t i = 0; i < v->as.arr.n; i++) put_value(out, &v->as.arr.items[i]);
    return;
  }
  if (v->type == MTK_META_F32) {
    float f = (float)v->as.f;
    uint32_t low;
    memcpy(&low, &f, 4);
    bits = low;
  }
  put(out, bits, bytes[v->type]);
}

void gguf_put_kv(mtk_bytes *out, const char *key, const mtk_value *value) {
  put_string(out, key, strlen(key));
  put(out, value->type, 4);
  put_value(out, value);
}

void gguf_put_tensor(mtk_bytes *out, const char *name, int n_dims, const int64_t *shape,
                     uint32_t type, uint64_t offset) {
  put_string(out, name, strlen(name));
  put(out, (uint64_t)n_dims, 4);
  for (int i = n_dims - 1; i >= 0; i--) put(out, (uint64_t)shape[i], 8);
  put(out, type, 4);
  put(out, offset, 8);
}

mtk_value gguf_uint(uint64_t v) {
  mtk_value value = {.type = v <= UINT32_MAX ? MTK_META_U32 : MTK_META_U64};
  value.as.u = v;
  return value;
}

mtk_value gguf_string(const char *s, size_t len) {
  mtk_value value = {.type = MTK_META_STRING};
  value.as.str.s = s;
  value.as.str.len = len;
  return value;
}
