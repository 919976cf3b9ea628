/* check.c: whether a plugin's entry fits this host: abi block first, then the entry, then the size
 * of every feature struct. No state; any thread. */
#include "plug/plug_impl.h"

#include <mtk/ext/recipe.h>
#include <mtk/ext/server.h>
#include <mtk/ext/verifier.h>

#include <string.h>

/* Features of version 1.0: a plugin may bring larger structs, never smaller ones. */
static const struct {
  const char *id;
  size_t struct_size;
} features[] = {
    {MTK_EXT_FORMAT, sizeof(mtk_format_v1)},   {MTK_EXT_ARCH, sizeof(mtk_arch_v1)},
    {MTK_EXT_QUANTIZER, sizeof(mtk_quantizer_v1)}, {MTK_EXT_RECIPE, sizeof(mtk_recipe_v1)},
    {MTK_EXT_SERVER, sizeof(mtk_server_v1)},   {MTK_EXT_VERIFIER, sizeof(mtk_verifier_v1)},
};

static char *abi_refusal(const mtk_abi_block *abi) {
  if (abi->magic == __builtin_bswap32(MTK_ABI_MAGIC))
    return mtk_asprintf("built for the other byte order");
  if (abi->magic != MTK_ABI_MAGIC)
    return mtk_asprintf("no mtk plugin: magic %08x, expected %08x", abi->magic, MTK_ABI_MAGIC);
  if (abi->major != MTK_ABI_MAJOR)
    return mtk_asprintf("ABI major %u, this host has %d", abi->major, MTK_ABI_MAJOR);
  if (abi->minor > MTK_ABI_MINOR)
    return mtk_asprintf("ABI %u.%u, this host has only %d.%d", abi->major, abi->minor,
                        MTK_ABI_MAJOR, MTK_ABI_MINOR);
  if (abi->pointer_size != sizeof(void *))
    return mtk_asprintf("pointers of %u bytes, this host's have %zu", abi->pointer_size,
                        sizeof(void *));
  if (abi->layout_hash != MTK_LAYOUT_HASH)
    return mtk_asprintf("struct layout %016llx, this host has %016llx: build it against this "
                        "version's headers",
                        (unsigned long long)abi->layout_hash, (unsigned long long)MTK_LAYOUT_HASH);
  return NULL;
}

static bool abi_fits(const mtk_abi_block *abi) {
  return abi->magic == MTK_ABI_MAGIC && abi->major == MTK_ABI_MAJOR &&
         abi->minor <= MTK_ABI_MINOR && abi->pointer_size == sizeof(void *) &&
         abi->layout_hash == MTK_LAYOUT_HASH;
}

/* Sets *text to the reason; true if there is one. */
static bool entry_refusal(char **text, const mtk_plugin_entry_t *e, const char *name) {
  if (e->struct_size < sizeof *e) {
    *text = mtk_asprintf("entry of %zu bytes, version %d.%d needs %zu", e->struct_size,
                         MTK_ABI_MAJOR, MTK_ABI_MINOR, sizeof *e);
    return true;
  }
  if (!e->name || !e->version || !e->description || !e->license || !e->init || !e->get) {
    *text = mtk_asprintf("its entry lacks a name, version, description, license, init or get");
    return true;
  }
  if (name && strcmp(e->name, name) != 0) {
    *text = mtk_asprintf("it calls itself '%s', its file says '%s'", e->name, name);
    return true;
  }
  for (size_t f = 0; f < sizeof features / sizeof features[0]; f++) {
    const size_t *ext; /* every feature struct starts with struct_size */
    for (size_t i = 0; (ext = e->get(features[f].id, i)); i++) {
      if (*ext >= features[f].struct_size) continue;
      *text = mtk_asprintf("feature %s number %zu has %zu bytes, at least %zu are needed",
                           features[f].id, i, *ext, features[f].struct_size);
      return true;
    }
  }
  return false;
}

char *mtk_plugin_refusal(const mtk_plugin_entry_t *entry, const char *name, bool *no_memory) {
  char *text = NULL;
  bool refused = true;
  if (!abi_fits(&entry->abi)) text = abi_refusal(&entry->abi);
  else refused = entry_refusal(&text, entry, name);
  *no_memory = refused && !text;
  return text;
}
