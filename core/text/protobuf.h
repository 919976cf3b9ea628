/* text/protobuf.h: the wire format of Protocol Buffers, as far as SentencePiece models use it.
 * Readers borrow the bytes they read; pure functions, any thread. */
#ifndef MTK_TEXT_PROTOBUF_H
#define MTK_TEXT_PROTOBUF_H

#include <mtk/base.h>

/* A message being read. {data, n, 0, false} to start. */
typedef struct text_pb {
  const uint8_t *data;
  size_t n, at;
  bool broken; /* the bytes at `at` are no field */
} text_pb;

typedef struct text_pb_field {
  uint32_t number;
  uint32_t wire;       /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
  uint64_t value;      /* of all but bytes */
  const uint8_t *data; /* of bytes */
  size_t n;
} text_pb_field;

/* The next field, or false at the end or at broken bytes (then pb->broken). */
bool mtk_text_pb_next(text_pb *pb, text_pb_field *field);
/* A fixed32 value as a float. */
float mtk_text_pb_float(const text_pb_field *field);

/* Appending fields to a message. */
void mtk_text_pb_put_varint(mtk_bytes *out, uint32_t number, uint64_t value);
void mtk_text_pb_put_float(mtk_bytes *out, uint32_t number, float value);
void mtk_text_pb_put_bytes(mtk_bytes *out, uint32_t number, const void *data, size_t n);

#endif
