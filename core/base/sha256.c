/* sha256.c: SHA-256 through OpenSSL's EVP. A hash object may be used by one thread at a time. When
 * OpenSSL itself fails (out of memory) the digest is the empty string, which equals no digest. */
#include "base/internal.h"

#include <openssl/evp.h>

struct mtk_sha256 {
  EVP_MD_CTX *ctx;
  bool failed;
};

mtk_sha256 *mtk_sha256_create(void) {
  mtk_sha256 *h = mtk_alloc(1, sizeof *h);
  if (!h) return NULL;
  h->ctx = EVP_MD_CTX_new();
  if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
    mtk_sha256_destroy(h);
    return NULL;
  }
  return h;
}

void mtk_sha256_update(mtk_sha256 *h, const void *data, size_t n) {
  if (n && EVP_DigestUpdate(h->ctx, data, n) != 1) h->failed = true;
}

static void to_hex(char out[65], const unsigned char digest[32]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 32; i++) {
    out[2 * i] = digits[digest[i] >> 4];
    out[2 * i + 1] = digits[digest[i] & 15];
  }
  out[64] = 0;
}

void mtk_sha256_final_hex(mtk_sha256 *h, char out[65]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  out[0] = 0;
  if (!h->failed && EVP_DigestFinal_ex(h->ctx, digest, &size) == 1 && size == 32)
    to_hex(out, digest);
}

void mtk_sha256_destroy(mtk_sha256 *h) {
  if (!h) return;
  EVP_MD_CTX_free(h->ctx);
  mtk_free(h);
}

void mtk_sha256_hex(char out[65], const void *data, size_t n) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  out[0] = 0;
  if (EVP_Digest(n ? data : "", n, digest, &size, EVP_sha256(), NULL) == 1 && size == 32)
    to_hex(out, digest);
}
