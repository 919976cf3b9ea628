/* text/protobuf.c: fields of the wire format; groups (deprecated) count as broken. */
#include "text/protobuf.h"

#include <string.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static bool read_varint(text_pb *pb, uint64_t *value) {
  *value = 0;
  for (unsigned shift = 0; shift < 64 && pb->at < pb->n; shift += 7) {
    uint8_t byte = pb->data[pb->at++];
    *value |= (uint64_t)(byte & 0x7F) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

static bool read_fixed(text_pb *pb, uint64_t *value, size_t n) {
  if (n > pb->n - pb->at) return false;
  *value = 0;
  for (size_t i = 0; i < n; i++) *value |= (uint64_t)pb->data[pb->at + i] << (8 * i);
  pb->at += n;
  return true;
}

static bool read_field(text_pb *pb, text_pb_field *field) {
  uint64_t key, length;
  *field = (text_pb_field){0};
  if (!read_varint(pb, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) return false;
  field->number = (uint32_t)(key >> 3);
  field->wire = (uint32_t)(key & 7);
  switch (field->wire) {
  case VARINT: return read_varint(pb, &field->value);
  case FIXED64: return read_fixed(pb, &field->value, 8);
  case FIXED32: return read_fixed(pb, &field->value, 4);
  case BYTES: break;
  default: return false;
  }
  if (!read_varint(pb, &length) || length > pb->n - pb->at) return false;
  field->data = pb->data + pb->at;
  field->n = (size_t)length;
  pb->at += field->n;
  return true;
}

bool mtk_text_pb_next(text_pb *pb, text_pb_field *field) {
  if (pb->at >= pb->n) return false;
  pb->broken = !read_field(pb, field);
  return !pb->broken;
}

float mtk_text_pb_float(const text_pb_field *field) {
  uint32_t bits = (uint32_t)field->value;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void put_varint(mtk_bytes *out, uint64_t value) {
  uint8_t bytes[10];
  size_t n = 0;
  for (; value >= 0x80; value >>= 7) bytes[n++] = (uint8_t)(value | 0x80);
  bytes[n++] = (uint8_t)value;
  mtk_bytes_append(out, bytes, n);
}

void mtk_text_pb_put_varint(mtk_bytes *out, uint32_t number, uint64_t value) {
  put_varint(out, (uint64_t)number << 3 | VARINT);
  put_varint(out, value);
}

void mtk_text_pb_put_float(mtk_bytes *out, uint32_t number, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint8_t bytes[] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                           (uint8_t)(bits >> 24)};
  put_varint(out, (uint64_t)number << 3 | FIXED32);
  mtk_bytes_append(out, bytes, sizeof bytes);
}

void mtk_text_pb_put_bytes(mtk_bytes *out, uint32_t number, const void *data, size_t n) {
  put_varint(out, (uint64_t)number << 3 | BYTES);
  put_varint(out, n);
  mtk_bytes_append(out, data, n);
}
