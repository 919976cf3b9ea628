/* folder.c: a folder in Mistral's own layout, in and out. Which tensors lie in which file, and the
 * texts beside them. Each call has its own state: any thread. */
#include "mistral.h"

#include <stdlib.h>
#include <string.h>

/* Files that travel with a model as they are. */
static const char *const carried[] = {"SYSTEM_PROMPT.txt", "LICENSE", "LICENSE.txt", "README.md",
                                      "NOTICE"};
enum { N_CARRIED = sizeof carried / sizeof carried[0] };

mtk_status mistral_read_text(char **text, size_t *n, const char *folder, const char *name,
                             mtk_error *err) {
  *text = NULL;
  *n = 0;
  char *path = mtk_path_join(folder, name);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  mtk_file *file = NULL;
  mtk_status status = mtk_path_exists(path) ? mtk_file_open(&file, path, err) : MTK_OK;
  if (file && file->size > MISTRAL_MAX_TEXT) {
    status = mtk_fail(err, MTK_E_LIMIT, path, "is larger than 64 MiB");
  } else if (file) {
    *text = mtk_alloc(file->size + 1, 1);
    if (!*text) status = mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
    else if (file->size) memcpy(*text, file->data, file->size);
    *n = file->size;
  }
  mtk_file_close(file);
  mtk_free(path);
  return status;
}

mtk_status mistral_write_text(const char *folder, const char *name, const char *text, size_t n,
                              mtk_error *err) {
  char *path = mtk_path_join(folder, name);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  mtk_status status = mtk_write_file(path, text, n, true, err);
  mtk_free(path);
  return status;
}

/* ---- reading ------------------------------------------------------------------------------- */

mtk_status mistral_open_tensors(mtk_model **raw, const char *folder, const char *name,
                                mtk_error *err) {
  size_t n = strlen(name);
  const char *id = n > 4 && strcmp(name + n - 4, ".pth") == 0 ? "torch" : "hf";
  const mtk_format_v1 *format = mtk_format_find(id);
  *raw = NULL;
  if (!format || !format->read_model)
    return mtk_fail(err, MTK_E_UNSUPPORTED, name, "needs the plugin for format %s, which is not "
                                                  "loaded", id);
  char *path = folder ? mtk_path_join(folder, name) : mtk_strdup(name);
  mtk_model *model = mtk_model_create();
  mtk_status status = path && model ? format->read_model(model, path, err)
                                    : mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  mtk_free(path);
  if (status == MTK_OK) *raw = model;
  else mtk_model_destroy(model);
  return status;
}

/* A number of five digits at *s, stepped over together with the text behind it; 0 if not so. */
static unsigned take_number(const char **s, const char *behind) {
  char *end;
  unsigned long v = strspn(*s, "0123456789") == 5 ? strtoul(*s, &end, 10) : 0;
  if (v == 0 || strncmp(end, behind, strlen(behind)) != 0) return 0;
  *s = end + strlen(behind);
  return (unsigned)v;
}

/* Number of parts that the name announces ("consolidated-00002-of-00005.safetensors" -> 5). */
static unsigned part_of(const char *name, unsigned *index) {
  static const char stem[] = "consolidated-";
  if (strncmp(name, stem, sizeof stem - 1) != 0) return 0;
  const char *s = name + sizeof stem - 1;
  *index = take_number(&s, "-of-");
  unsigned of = *index ? take_number(&s, ".safetensors") : 0;
  return *s == 0 && *index <= of ? of : 0;
}

typedef struct weights {
  bool single, torch, torch_parts;
  const char **parts; /* names of the parts, in order */
  size_t n_parts;
  unsigned of;
} weights;

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Which files of weights the folder has. Names live in the arena. */
static mtk_status list_weights(weights *out, mtk_arena *arena, const char *folder, mtk_error *err) {
  const char **names = NULL;
  size_t n = 0;
  *out = (weights){0};
  MTK_TRY(mtk_folder_list(&names, &n, arena, folder, err));
  out->parts = mtk_arena_alloc(arena, n ? n : 1, sizeof *out->parts);
  if (!out->parts) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  for (size_t i = 0; i < n; i++) {
    unsigned index, of = part_of(names[i], &index);
    out->single |= strcmp(names[i], MISTRAL_SINGLE) == 0;
    out->torch |= strcmp(names[i], MISTRAL_TORCH) == 0;
    out->torch_parts |= strcmp(names[i], "consolidated.01.pth") == 0;
    if (of) out->parts[out->n_parts++] = names[i];
    if (of) out->of = of;
  }
  if (out->n_parts) qsort(out->parts, out->n_parts, sizeof *out->parts, by_text);
  return MTK_OK;
}

static mtk_status check_weights(const weights *w, const char *folder, mtk_error *err) {
  if (w->single + w->torch + (w->n_parts > 0) > 1)
    return mtk_fail(err, MTK_E_FORMAT, folder,
                    "has more than one of %s, its parts, and %s: remove all but one",
                    MISTRAL_SINGLE, MISTRAL_TORCH);
  if (w->torch_parts)
    return mtk_fail(err, MTK_E_UNSUPPORTED, folder,
                    "weights split over several consolidated.NN.pth cannot be read");
  for (size_t i = 0; i < w->n_parts; i++) {
    unsigned index, of = part_of(w->parts[i], &index);
    if (of != w->of || index != i + 1 || w->n_parts != of)
      return mtk_fail(err, MTK_E_FORMAT, folder, "%s: part %zu of %u is missing", w->parts[i],
                      i + 1, w->of);
  }
  if (w->single || w->torch || w->n_parts) return MTK_OK;
  return mtk_fail(err, MTK_E_NOT_FOUND, folder, "has neither %s nor %s", MISTRAL_SINGLE,
                  MISTRAL_TORCH);
}

static bool is_carried(const char *key) {
  return strncmp(key, "general.", 8) == 0 || strncmp(key, "kv.", 3) == 0;
}

/* Values and notes that the tensor file had. */
static mtk_status take_notes(mtk_model *to, const mtk_model *from, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(from);
  size_t n = 0;
  const char *provenance = mtk_model_attachment(from, "provenance.json", &n);
  for (size_t i = 0; i < mtk_meta_count(meta); i++)
    if (is_carried(mtk_meta_key(meta, i)))
      MTK_TRY(mtk_meta_set(mtk_model_meta(to), mtk_meta_key(meta, i), mtk_meta_at(meta, i), err));
  for (size_t i = 0; i < mtk_model_warning_count(from); i++)
    MTK_TRY(mtk_model_warn(to, "%s", mtk_model_warning(from, i)));
  return provenance ? mtk_model_attach(to, "provenance.json", provenance, n, err) : MTK_OK;
}

static mtk_status read_file(mtk_model *model, const char *folder, const char *name,
                            mtk_error *err) {
  mtk_model *raw;
  MTK_TRY(mistral_open_tensors(&raw, folder, name, err));
  mtk_model_keep_model(model, raw);
  MTK_TRY(take_notes(model, raw, err));
  return mistral_adopt(model, raw, err);
}

static mtk_status read_weights(mtk_model *model, const char *folder, mtk_error *err) {
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  weights w;
  mtk_status status = list_weights(&w, arena, folder, err);
  if (status == MTK_OK) status = check_weights(&w, folder, err);
  if (status == MTK_OK && !w.n_parts)
    status = read_file(model, folder, w.single ? MISTRAL_SINGLE : MISTRAL_TORCH, err);
  for (size_t i = 0; i < w.n_parts && status == MTK_OK; i++)
    status = read_file(model, folder, w.parts[i], err);
  mtk_arena_destroy(arena);
  return status;
}

/* Experts are stacked; old files leave sizes out that the tensors show. */
static mtk_status complete(mtk_model *model, mtk_error *err) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  const mtk_tensor *up = mtk_model_tensor(model, "blk.0.ffn_up.weight");
  mtk_meta *meta = mtk_model_meta(model);
  if (!arch) return MTK_OK;
  MTK_TRY(mtk_model_join_experts(model, arch, false, err));
  if (up && up->n_dims == 2 && !mtk_meta_get(meta, "feed_forward_length"))
    MTK_TRY(mtk_meta_set_uint(meta, "feed_forward_length", (uint64_t)up->shape[0], err));
  return mtk_arch_fill_meta(model, arch, err);
}

static mtk_status attach_file(mtk_model *model, const char *folder, const char *name,
                              mtk_error *err) {
  char *text;
  size_t n;
  mtk_status status = mistral_read_text(&text, &n, folder, name, err);
  if (status == MTK_OK && text) status = mtk_model_attach(model, name, text, n, err);
  mtk_free(text);
  return status;
}

mtk_status mistral_read_model(mtk_model *model, const char *path, mtk_error *err) {
  char *text;
  size_t n;
  if (!mtk_path_is_dir(path))
    return mtk_fail(err, MTK_E_UNSUPPORTED, path,
                    "this is an adapter, not a model; give it with --adapter");
  mtk_status status = mistral_read_text(&text, &n, path, MISTRAL_PARAMS, err);
  if (status == MTK_OK && !text)
    status = mtk_fail(err, MTK_E_NOT_FOUND, path, "has no " MISTRAL_PARAMS);
  if (status == MTK_OK) status = mistral_read_params(model, text, n, err);
  mtk_free(text);
  MTK_TRY(status);
  MTK_TRY(read_weights(model, path, err));
  MTK_TRY(complete(model, err));
  MTK_TRY(mistral_read_tokenizer(model, path, err));
  MTK_TRY(attach_file(model, path, "provenance.json", err));
  for (size_t i = 0; i < N_CARRIED; i++) MTK_TRY(attach_file(model, path, carried[i], err));
  return MTK_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

static mtk_status write_weights(mtk_model *model, const char *folder, const char *provenance,
                                mtk_error *err) {
  const mtk_format_v1 *format = mtk_format_find("hf");
  const mtk_meta *meta = mtk_model_meta(model);
  if (!format || !format->write_model)
    return mtk_fail(err, MTK_E_UNSUPPORTED, folder, "needs the plugin for format hf");
  mtk_model *flat = mtk_model_create();
  char *path = mtk_path_join(folder, MISTRAL_SINGLE);
  mtk_write_options o = {.struct_size = sizeof o, .force = true, .provenance = provenance};
  mtk_status status =
      flat && path ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  for (size_t i = 0; i < mtk_meta_count(meta) && status == MTK_OK; i++)
    if (is_carried(mtk_meta_key(meta, i)))
      status = mtk_meta_set(mtk_model_meta(flat), mtk_meta_key(meta, i), mtk_meta_at(meta, i), err);
  if (status == MTK_OK) status = mistral_flatten(flat, model, err);
  if (status == MTK_OK) status = format->write_model(flat, path, &o, err);
  for (size_t i = 0; flat && i < mtk_model_warning_count(flat) && status == MTK_OK; i++)
    status = mtk_model_warn(model, "%s", mtk_model_warning(flat, i));
  mtk_free(path);
  mtk_model_destroy(flat);
  return status;
}

static bool is_named(const char *name, const char *const *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(name, list[i]) == 0) return true;
  return false;
}

/* Texts that have a place here; a note names the others. */
static mtk_status write_texts(mtk_model *model, const char *folder, const char *provenance,
                              mtk_error *err) {
  static const char *const own[] = {MISTRAL_PARAMS, "provenance.json"};
  mtk_bytes left = {.max = 1 << 16};
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < mtk_model_attachment_count(model) && status == MTK_OK; i++) {
    const char *name = mtk_model_attachment_name(model, i);
    size_t n = 0;
    const char *text = mtk_model_attachment(model, name, &n);
    if (is_named(name, own, 2)) continue;
    if (is_named(name, carried, N_CARRIED))
      status = mistral_write_text(folder, name, text, n, err);
    else mtk_bytes_printf(&left, "%s%s", left.len ? ", " : "", name);
  }
  if (status == MTK_OK && left.len)
    status = mtk_model_warn(model, "Mistral's layout has no place for: %s", left.data);
  mtk_bytes_finish(&left);
  if (status != MTK_OK || !provenance) return status;
  return mistral_write_text(folder, "provenance.json", provenance, strlen(provenance), err);
}

static mtk_status fill_folder(mtk_model *model, const char *folder, const char *provenance,
                              mtk_error *err) {
  mtk_bytes params = {0};
  mtk_status status = mistral_write_params(&params, model, err);
  if (status == MTK_OK)
    status = mistral_write_text(folder, MISTRAL_PARAMS, params.data, params.len, err);
  mtk_bytes_finish(&params);
  MTK_TRY(status);
  MTK_TRY(mistral_write_tokenizer(model, folder, err));
  MTK_TRY(write_texts(model, folder, provenance, err));
  return write_weights(model, folder, provenance, err);
}

mtk_status mistral_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                               mtk_error *err) {
  static const char *const archs[] = {"llama", "mistral3", "mixtral"};
  const char *arch = mtk_model_arch(model);
  if (!is_named(arch, archs, sizeof archs / sizeof archs[0]))
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "Mistral's layout has no architecture '%s'",
                    arch);
  MTK_TRY(mtk_model_set_pairing(model, "interleaved", err));
  MTK_TRY(mtk_model_split_experts(model, mtk_arch_find(arch), err));
  mtk_outdir *dir = NULL;
  MTK_TRY(mtk_outdir_create(&dir, path, options && options->force, err));
  mtk_status status =
      fill_folder(model, mtk_outdir_path(dir), options ? options->provenance : NULL, err);
  if (status == MTK_OK) return mtk_outdir_commit(dir, err);
  mtk_outdir_abort(dir);
  return status;
}
