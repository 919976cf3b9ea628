/* check.c: whether a plugin's entry fits this host: abi block first, then the entry, then the size
 * of every feature struct. No state; any thread. */
#include "plug/plug_impl.h"

#include <mtk/ext/recipe.h>
#include <mtk/ext/server.h>
#include <mtk/ext/verifier.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Features of version 1.0: a plugin may bring larger structs, never smaller ones. Members that were
 * appended since do not count. */
static const struct {
  const char *id;
  size_t struct_size;
} features[] = {
    {MTK_EXT_FORMAT, offsetof(mtk_format_v1, keeps)}, {MTK_EXT_ARCH, sizeof(mtk_arch_v1)},
    {MTK_EXT_QUANTIZER, sizeof(mtk_quantizer_v1)},    {MTK_EXT_RECIPE, sizeof(mtk_recipe_v1)},
    {MTK_EXT_SERVER, sizeof(mtk_server_v1)},          {MTK_EXT_VERIFIER, sizeof(mtk_verifier_v1)},
};

static bool refuse(mtk_refusal *out, const char *fmt, ...) MTK_PRINTF(2, 3);
static bool refuse(mtk_refusal *out, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  if (vsnprintf(out->why, sizeof out->why, fmt, args) < 0) out->why[0] = 0;
  va_end(args);
  return false;
}

static bool abi_fits(mtk_refusal *out, const mtk_abi_block *abi) {
  if (abi->magic == __builtin_bswap32(MTK_ABI_MAGIC))
    return refuse(out, "built for the other byte order");
  if (abi->magic != MTK_ABI_MAGIC)
    return refuse(out, "no mtk plugin: magic %08x, expected %08x", abi->magic, MTK_ABI_MAGIC);
  if (abi->major != MTK_ABI_MAJOR)
    return refuse(out, "ABI major %u, this host has %d", abi->major, MTK_ABI_MAJOR);
  if (abi->minor > MTK_ABI_MINOR)
    return refuse(out, "ABI %u.%u, this host has only %d.%d", abi->major, abi->minor, MTK_ABI_MAJOR,
                  MTK_ABI_MINOR);
  if (abi->pointer_size != sizeof(void *))
    return refuse(out, "pointers of %u bytes, this host's have %zu", abi->pointer_size,
                  sizeof(void *));
  if (abi->layout_hash != MTK_LAYOUT_HASH)
    return refuse(out,
                  "struct layout %016llx, this host has %016llx: build it against the headers "
                  "of this version",
                  (unsigned long long)abi->layout_hash, (unsigned long long)MTK_LAYOUT_HASH);
  return true;
}

bool mtk_plugin_entry_fits(mtk_refusal *out, const mtk_plugin_entry_t *e, const char *name) {
  if (!abi_fits(out, &e->abi)) return false;
  if (e->struct_size < sizeof *e)
    return refuse(out, "entry of %zu bytes, ABI %d.%d needs %zu", e->struct_size, MTK_ABI_MAJOR,
                  MTK_ABI_MINOR, sizeof *e);
  if (!e->name || !e->version || !e->description || !e->license || !e->init || !e->get)
    return refuse(out, "its entry lacks a name, version, description, license, init or get");
  if (strcmp(e->name, name) != 0)
    return refuse(out, "it calls itself '%.80s', its file says '%.80s'", e->name, name);
  return true;
}

bool mtk_plugin_features_fit(mtk_refusal *out, const mtk_plugin_entry_t *entry) {
  for (size_t f = 0; f < sizeof features / sizeof features[0]; f++) {
    const size_t *ext; /* every feature struct starts with struct_size */
    for (size_t i = 0; (ext = entry->get(features[f].id, i)); i++)
      if (*ext < features[f].struct_size)
        return refuse(out, "feature %s number %zu has %zu bytes, at least %zu are needed",
                      features[f].id, i, *ext, features[f].struct_size);
  }
  return true;
}
