/* text/fallback.c: unknown bytes. */
#include "text/fallback.h"

void mtk_text_fallback_init(text_fallback *out, const mtk_vocab *vocab, const mtk_map *ids) {
  static const char hex[] = "0123456789ABCDEF";
  out->use_bytes = vocab->byte_fallback;
  out->fuse = vocab->fuse_unk;
  out->unk = vocab->unk;
  for (int b = 0; b < 256; b++) {
    const char name[] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
    const mtk_map_value *id = mtk_map_get(ids, name, sizeof name);
    out->bytes[b] = id ? (int32_t)id->i : -1;
  }
}

mtk_status mtk_text_fallback_push(const text_fallback *f, text_sink *sink, const char *s, size_t n,
                                  size_t offset, bool *unknown, mtk_error *err) {
  bool spelled = f->use_bytes;
  for (size_t i = 0; i < n && spelled; i++) spelled = f->bytes[(uint8_t)s[i]] >= 0;
  if (spelled) {
    for (size_t i = 0; i < n; i++) {
      MTK_TRY(mtk_text_sink_push(sink, f->bytes[(uint8_t)s[i]], offset + i, err));
    }
    return MTK_OK;
  }
  if (f->unk < 0 || (f->fuse && *unknown)) return MTK_OK;
  *unknown = true;
  return mtk_text_sink_push(sink, f->unk, offset, err);
}
