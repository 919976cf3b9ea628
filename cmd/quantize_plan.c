/* quantize_plan.c: mtk quantize --target-bits, --target-size, --plan: which type every tensor gets;
 * plans as JSON. Main thread only. */
#include "quantize_plan.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

const mtk_quant_target *mtk_cmd_find_target(const mtk_quantizer_v1 *q, const char *name) {
  for (const mtk_quant_target *t = q ? q->targets : NULL; t && t->name; t++)
    if (!strcmp(t->name, name)) return t;
  return NULL;
}

/* No mixture: a type of its own. */
static const mtk_quant_target *find_type(const mtk_quantizer_v1 *q, const char *type) {
  const mtk_quant_target *t = mtk_cmd_find_target(q, type);
  return t && !t->file_type ? t : NULL;
}

const mtk_quant_target *plan_target(const mtk_quantizer_v1 **quantizer, const mtk_cmd_plan *plan,
                                    const char *type) {
  const mtk_quant_target *t = find_type(plan->method, type);
  *quantizer = t ? plan->method : plan->rtn;
  return t ? t : find_type(plan->rtn, type);
}

mtk_status plan_check_type(const mtk_cmd_plan *p, const char *type, const char *place,
                           mtk_error *err) {
  const mtk_quantizer_v1 *q;
  const mtk_quant_target *t = plan_target(&q, p, type);
  if (!t)
    return mtk_fail(err, MTK_E_INVALID, place,
                    "there is no type '%.40s'; 'mtk quantize --list' shows them", type);
  mtk_status st = mtk_cmd_keeps_target(p->format, q, t, p->line, err);
  return st == MTK_OK ? st : mtk_fail_in(err, st, place);
}

static const plan_option *chosen(const plan_group *g) { return &g->options[g->chosen]; }

/* The group of a tensor, which is number *at in it; NULL: it is in none. */
static const plan_group *find_group(size_t *at, const mtk_cmd_plan *p, const char *tensor) {
  for (const plan_group *g = p->groups; g < p->groups + p->n_groups; g++)
    for (*at = 0; *at < g->n_tensors; ++*at)
      if (!strcmp(g->tensors[*at], tensor)) return g;
  return NULL;
}

/* For mtk_quantize_options.plan. */
static void choose(void *ctx, const char *tensor, const mtk_quantizer_v1 **quantizer,
                   const mtk_quant_target **target) {
  const mtk_cmd_plan *p = ctx;
  const mtk_quantizer_v1 *q = NULL;
  size_t at;
  const plan_group *g = find_group(&at, p, tensor);
  *target = g ? plan_target(&q, p, chosen(g)->types[at]) : NULL;
  if (!g) return;
  /* the embedding is looked up: its input has no second moments */
  if (!strcmp(tensor, "token_embd.weight") && (q->needs & MTK_QUANT_NEEDS_SECOND_MOMENT))
    q = p->rtn;
  *quantizer = q;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static double bits_of(const mtk_cmd_plan *p, uint64_t bytes) {
  return p->params ? 8.0 * (double)bytes / (double)p->params : 0;
}

static mtk_status refuse_budget(const mtk_cmd_plan *p, const mtk_budget_group *groups,
                                const mtk_cmd_line *line, mtk_error *err) {
  bool by_bits = mtk_options_is_set(line->options, "target-bits");
  const char *name = by_bits ? "target-bits" : "target-size";
  uint64_t least = p->fixed_bytes;
  for (size_t i = 0; i < p->n_groups; i++) {
    uint64_t group = UINT64_MAX;
    for (size_t j = 0; j < groups[i].n_options; j++)
      if (groups[i].options[j].bytes < group) group = groups[i].options[j].bytes;
    least += group;
  }
  return mtk_fail(err, MTK_E_LIMIT, NULL,
                  "--%s %s cannot be kept: the smallest that the candidates allow is %.4f bits per "
                  "weight, %llu bytes of tensors (%llu of them in tensors that keep their type)",
                  name, mtk_options_string(line->options, name),
                  ceil(bits_of(p, least) * 1e4) / 1e4, (unsigned long long)least,
                  (unsigned long long)p->fixed_bytes);
}

/* Choose an option of every group within the budget. */
static mtk_status plan_solve(mtk_cmd_plan *p, const mtk_cmd_line *line, uint64_t budget_bytes,
                      mtk_error *err) {
  mtk_budget_group *groups = mtk_arena_alloc(p->arena, p->n_groups, sizeof *groups);
  size_t *choice = mtk_arena_alloc(p->arena, p->n_groups, sizeof *choice);
  if (!groups || !choice) return no_memory(err);
  for (size_t i = 0; i < p->n_groups; i++) {
    const plan_group *g = &p->groups[i];
    mtk_budget_option *options = mtk_arena_alloc(p->arena, g->n_options, sizeof *options);
    if (!options) return no_memory(err);
    for (size_t j = 0; j < g->n_options; j++)
      options[j] = (mtk_budget_option){g->options[j].bytes, g->options[j].kld};
    groups[i] = (mtk_budget_group){options, g->n_options};
  }
  mtk_error why = {0};
  mtk_status st = MTK_E_LIMIT;
  if (budget_bytes >= p->fixed_bytes)
    st = mtk_budget_solve(choice, groups, p->n_groups, budget_bytes - p->fixed_bytes, &why);
  if (st == MTK_E_LIMIT) return refuse_budget(p, groups, line, err);
  if (st == MTK_OK) st = mtk_budget_curve(&p->curve, &p->n_curve, groups, p->n_groups, &why);
  if (st != MTK_OK && err) *err = why;
  for (size_t i = 0; i < p->n_curve; i++) p->curve[i].bytes += p->fixed_bytes;
  for (size_t i = 0; i < p->n_groups && st == MTK_OK; i++) p->groups[i].chosen = choice[i];
  p->budget_bytes = budget_bytes;
  return st;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* "q5_0"; where the tensors of a group have several types, the candidate that led to them. */
static const char *type_of(const plan_group *g, const plan_option *o) {
  for (size_t i = 1; i < g->n_tensors; i++)
    if (strcmp(o->types[i], o->types[0]) != 0) return o->candidate;
  return o->types[0];
}

/* All tensors in one candidate's types. Returns the type that all of them have then, else the name
 * of the candidate; NULL: some group cannot have it. */
static const char *uniform(mtk_budget_point *out, const mtk_cmd_plan *p, const char *candidate) {
  const char *type = NULL;
  *out = (mtk_budget_point){p->fixed_bytes, 0};
  for (size_t i = 0; i < p->n_groups; i++) {
    const plan_option *found = NULL;
    for (size_t j = 0; j < p->groups[i].n_options && !found; j++) {
      const plan_option *o = &p->groups[i].options[j];
      if (strcmp(o->candidate, candidate) == 0) found = o;
    }
    if (!found) return NULL;
    const char *own = type_of(&p->groups[i], found);
    type = !type || strcmp(type, own) == 0 ? own : candidate;
    out->bytes += found->bytes;
    out->loss += found->kld;
  }
  return type;
}

static json_t *point_json(const mtk_cmd_plan *p, mtk_budget_point at) {
  return json_pack("{s:f,s:I,s:f}", "bits_per_weight", bits_of(p, at.bytes), "bytes",
                   (json_int_t)at.bytes, "kld", at.loss);
}

static mtk_budget_point sum_of(const mtk_cmd_plan *p) {
  mtk_budget_point sum = {p->fixed_bytes, 0};
  for (size_t i = 0; i < p->n_groups; i++) {
    sum.bytes += chosen(&p->groups[i])->bytes;
    sum.loss += chosen(&p->groups[i])->kld;
  }
  return sum;
}

static json_t *types_json(const mtk_cmd_plan *p) {
  json_t *types = json_object();
  for (size_t i = 0; i < p->n_groups; i++)
    for (size_t j = 0; j < p->groups[i].n_tensors; j++)
      json_object_set_new(types, p->groups[i].tensors[j],
                          json_string(chosen(&p->groups[i])->types[j]));
  return types;
}

static json_t *strings_json(const char *const *items, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) json_array_append_new(list, json_string(items[i]));
  return list;
}

static json_t *groups_json(const mtk_cmd_plan *p) {
  json_t *groups = json_array();
  for (size_t i = 0; i < p->n_groups; i++) {
    const plan_group *g = &p->groups[i];
    json_t *options = json_array();
    for (size_t j = 0; j < g->n_options; j++) {
      const plan_option *o = &g->options[j];
      json_array_append_new(
          options, json_pack("{s:s,s:o,s:I,s:f,s:f}", "candidate", o->candidate, "types",
                             strings_json(o->types, g->n_tensors), "bytes", (json_int_t)o->bytes,
                             "output_error", sqrt(o->error), "kld", o->kld));
    }
    json_array_append_new(groups, json_pack("{s:o,s:s,s:o}", "tensors",
                                            strings_json(g->tensors, g->n_tensors), "chosen",
                                            type_of(g, chosen(g)), "options", options));
  }
  return groups;
}

/* What fits beside the weights: no measurements. */
static json_t *short_json(const mtk_cmd_plan *p) {
  json_t *doc = json_pack("{s:i}", "mtk_plan", 1);
  if (p->budget_bytes) {
    mtk_budget_point sum = sum_of(p);
    json_object_set_new(doc, "budget_bytes", json_integer((json_int_t)p->budget_bytes));
    json_object_set_new(doc, "bytes", json_integer((json_int_t)sum.bytes));
    json_object_set_new(doc, "bits_per_weight", json_real(bits_of(p, sum.bytes)));
    json_object_set_new(doc, "predicted_kld", json_real(sum.loss));
  }
  json_object_set_new(doc, "tensors", types_json(p));
  return doc;
}

json_t *mtk_cmd_plan_json(const mtk_cmd_plan *p) {
  json_t *doc = short_json(p), *curve = json_array(), *same = json_object(), *seen = json_object();
  for (size_t i = 0; i < p->n_curve; i++)
    json_array_append_new(curve, point_json(p, p->curve[i]));
  for (size_t i = 0; p->budget_bytes && i < p->n_groups; i++)
    for (size_t j = 0; j < p->groups[i].n_options; j++) {
      const char *candidate = p->groups[i].options[j].candidate;
      mtk_budget_point at;
      if (json_object_get(seen, candidate)) continue;
      json_object_set_new(seen, candidate, json_true());
      const char *name = uniform(&at, p, candidate);
      if (name && !json_object_get(same, name))
        json_object_set_new(same, name, point_json(p, at));
    }
  json_decref(seen);
  if (!p->budget_bytes) {
    json_decref(curve);
    json_decref(same);
    return doc;
  }
  json_object_set_new(doc, "curve", curve);
  json_object_set_new(doc, "uniform", same);
  json_object_set_new(doc, "groups", groups_json(p));
  return doc;
}

static mtk_status write_plan(const mtk_cmd_plan *p, const mtk_cmd_line *line, mtk_error *err) {
  const char *path = mtk_options_string(line->options, "plan-out");
  if (!path) return MTK_OK;
  json_t *doc = mtk_cmd_plan_json(p);
  char *text = json_dumps(doc, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
  json_decref(doc);
  if (!text) return no_memory(err);
  mtk_status st = mtk_write_file(path, text, strlen(text), mtk_cmd_replaces(line), err);
  free(text);
  return st;
}

/* ---- reading --------------------------------------------------------------------------------- */

static mtk_status bad_plan(const char *path, const char *what, mtk_error *err) {
  return mtk_fail(err, MTK_E_FORMAT, path, "%s", what);
}

/* Copies of the strings of a list; it must have n of them. */
static mtk_status read_strings(const char ***out, mtk_arena *arena, const json_t *list, size_t n,
                               const char *path, mtk_error *err) {
  *out = mtk_arena_alloc(arena, n, sizeof **out);
  if (!*out) return no_memory(err);
  if (json_array_size(list) != n || n == 0)
    return bad_plan(path, "a group has no tensors, or not as many types as tensors", err);
  for (size_t i = 0; i < n; i++) {
    const char *s = json_string_value(json_array_get(list, i));
    if (!s) return bad_plan(path, "a tensor or type is no string", err);
    if (!((*out)[i] = mtk_arena_strndup(arena, s, strlen(s)))) return no_memory(err);
  }
  return MTK_OK;
}

static mtk_status check_names(const mtk_cmd_plan *p, const plan_group *g, const mtk_model *model,
                              const char *path, mtk_error *err) {
  for (size_t i = 0; i < g->n_tensors; i++) {
    if (!mtk_model_tensor(model, g->tensors[i]))
      return mtk_fail(err, MTK_E_NOT_FOUND, path, "the model has no tensor %.200s", g->tensors[i]);
    for (size_t j = 0; j < g->n_options; j++) {
      mtk_status st = plan_check_type(p, g->options[j].types[i], g->tensors[i], err);
      if (st != MTK_OK) return mtk_fail_in(err, st, path);
    }
  }
  return MTK_OK;
}

static mtk_status read_group(plan_group *g, const mtk_cmd_plan *p, const json_t *doc,
                             const char *path, mtk_error *err) {
  const json_t *tensors = json_object_get(doc, "tensors"), *list = json_object_get(doc, "options");
  g->n_tensors = json_array_size(tensors);
  g->n_options = json_array_size(list);
  g->options = mtk_arena_alloc(p->arena, g->n_options, sizeof *g->options);
  if (!g->options) return no_memory(err);
  if (g->n_options == 0) return bad_plan(path, "a group has no options", err);
  MTK_TRY(read_strings(&g->tensors, p->arena, tensors, g->n_tensors, path, err));
  for (size_t i = 0; i < g->n_options; i++) {
    const json_t *item = json_array_get(list, i), *bytes = json_object_get(item, "bytes");
    const char *name = json_string_value(json_object_get(item, "candidate"));
    double kld = json_number_value(json_object_get(item, "kld"));
    double error = json_number_value(json_object_get(item, "output_error"));
    plan_option *o = &g->options[i];
    if (!name || !json_is_integer(bytes) || json_integer_value(bytes) < 0 || !(kld >= 0))
      return bad_plan(path, "an option lacks its candidate, bytes or kld", err);
    o->candidate = mtk_arena_strndup(p->arena, name, strlen(name));
    o->bytes = (uint64_t)json_integer_value(bytes);
    o->error = error * error;
    o->kld = kld;
    if (!o->candidate) return no_memory(err);
    MTK_TRY(read_strings(&o->types, p->arena, json_object_get(item, "types"), g->n_tensors, path,
                         err));
  }
  return MTK_OK;
}

/* A group of its own for every tensor, with the type it has. */
static mtk_status read_types(mtk_cmd_plan *p, json_t *types, const char *path, mtk_error *err) {
  const char *name;
  json_t *value;
  json_object_foreach(types, name, value) {
    plan_group *g = &p->groups[p->n_groups++];
    const char *type = json_string_value(value);
    g->tensors = mtk_arena_alloc(p->arena, 1, sizeof *g->tensors);
    g->options = mtk_arena_alloc(p->arena, 1, sizeof *g->options);
    if (g->options) g->options->types = mtk_arena_alloc(p->arena, 1, sizeof *g->tensors);
    if (!g->tensors || !g->options || !g->options->types) return no_memory(err);
    if (!type) return bad_plan(path, "a type is no string", err);
    g->n_tensors = g->n_options = 1;
    g->tensors[0] = mtk_arena_strndup(p->arena, name, strlen(name));
    g->options->types[0] = mtk_arena_strndup(p->arena, type, strlen(type));
    g->options->candidate = g->options->types[0];
    if (!g->tensors[0] || !g->options->types[0]) return no_memory(err);
  }
  return MTK_OK;
}

static mtk_status read_groups(mtk_cmd_plan *p, const json_t *groups, const char *path,
                              mtk_error *err) {
  for (size_t i = 0; i < json_array_size(groups); i++)
    MTK_TRY(read_group(&p->groups[p->n_groups++], p, json_array_get(groups, i), path, err));
  return MTK_OK;
}

/* Bytes of the tensors that no group has. */
static uint64_t fixed_bytes(const mtk_cmd_plan *p, const mtk_model *model) {
  uint64_t n = 0;
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    size_t at;
    if (!find_group(&at, p, t->name)) n += t->size_bytes;
  }
  return n;
}

static mtk_status plan_read(mtk_cmd_plan *p, const char *path, const mtk_model *model, bool solve,
                            mtk_error *err) {
  json_t *doc = NULL;
  MTK_TRY(mtk_cmd_read_json(&doc, path, JSON_REJECT_DUPLICATES, err));
  json_t *types = json_object_get(doc, "tensors"), *groups = json_object_get(doc, "groups");
  size_t n = solve ? json_array_size(groups) : json_object_size(types);
  mtk_status st = MTK_OK;
  p->groups = mtk_arena_alloc(p->arena, n, sizeof *p->groups);
  if (!p->groups)
    st = no_memory(err);
  else if (json_integer_value(json_object_get(doc, "mtk_plan")) != 1)
    st = bad_plan(path, "is no plan of mtk quantize (\"mtk_plan\": 1)", err);
  else if (n == 0)
    st = bad_plan(path, solve ? "has no measurements (\"groups\") to choose from"
                              : "names no types (\"tensors\")", err);
  else
    st = solve ? read_groups(p, groups, path, err) : read_types(p, types, path, err);
  for (size_t i = 0; i < p->n_groups && st == MTK_OK; i++)
    st = check_names(p, &p->groups[i], model, path, err);
  if (st == MTK_OK && solve) p->fixed_bytes = fixed_bytes(p, model);
  json_decref(doc);
  return st;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* "14GB", "500 MiB", "1234567" */
static mtk_status parse_size(uint64_t *out, const char *text, mtk_error *err) {
  static const struct {
    const char *name;
    double bytes;
  } units[] = {{"", 1},       {"B", 1},        {"kB", 1e3},       {"KB", 1e3},  {"MB", 1e6},
               {"GB", 1e9},   {"TB", 1e12},    {"KiB", 1024},     {"MiB", 1048576},
               {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
  char *end = NULL;
  double value = strtod(text, &end);
  while (*end == ' ') end++;
  for (size_t i = 0; i < sizeof units / sizeof *units && end != text; i++)
    if (strcmp(end, units[i].name) == 0 && value > 0 && value * units[i].bytes < 1e18) {
      *out = (uint64_t)(value * units[i].bytes);
      return MTK_OK;
    }
  return mtk_fail(err, MTK_E_INVALID, "--target-size", "'%.40s' is not like 14GB or 500MiB", text);
}

static bool holds_weights(const char *name) {
  static const char *const ends[] = {".safetensors", ".bin",  ".pth", ".pt",     ".gguf",
                                     ".h5",          ".onnx", ".npz", ".msgpack"};
  size_t n = strlen(name);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i])) return true;
  return false;
}

/* What the source has beside its tensors. A folder may have them in several formats. */
static uint64_t source_metadata(const char *path, const mtk_model *model) {
  DIR *dir = opendir(path);
  if (!dir) {
    uint64_t all = mtk_cmd_output_bytes(path), tensors = mtk_cmd_model_bytes(model);
    return all > tensors ? all - tensors : 0;
  }
  uint64_t n = 0;
  for (struct dirent *d; (d = readdir(dir));) {
    char *file =
        holds_weights(d->d_name) || d->d_name[0] == '.' ? NULL : mtk_path_join(path, d->d_name);
    if (file && !mtk_path_is_dir(file)) n += mtk_cmd_output_bytes(file);
    mtk_free(file);
  }
  closedir(dir);
  return n;
}

/* What a file takes beside its tensors, at most: what the source has there (a folder's JSON files
 * may take three times what a GGUF does), and what is added. */
static uint64_t beside_tensors(const mtk_cmd_line *line, const mtk_model *model,
                               const mtk_format_v1 *format) {
  enum { PER_TENSOR = 192, PER_TENSOR_OF_FOLDER = 768, PROVENANCE = 16384 };
  bool folder = strcmp(format->id, "gguf") != 0;
  bool grows = folder && strcmp(format->id, mtk_model_format(model)) != 0;
  return source_metadata(line->args[0], model) * (grows ? 4 : 1) + PROVENANCE +
         (folder ? PER_TENSOR_OF_FOLDER : PER_TENSOR) * mtk_model_tensor_count(model);
}

static mtk_status read_budget(uint64_t *out, const mtk_cmd_line *line, const mtk_model *model,
                              const mtk_format_v1 *format, mtk_error *err) {
  const mtk_option_values *o = line->options;
  bool bits = mtk_options_is_set(o, "target-bits"), size = mtk_options_is_set(o, "target-size");
  *out = 0;
  if (bits && size)
    return mtk_fail(err, MTK_E_INVALID, NULL, "give --target-bits or --target-size, not both");
  if (bits)
    *out = (uint64_t)(mtk_options_float(o, "target-bits") / 8 *
                      (double)mtk_model_param_count(model));
  if (!size) return MTK_OK;
  uint64_t beside = beside_tensors(line, model, format);
  MTK_TRY(parse_size(out, mtk_options_string(o, "target-size"), err));
  if (*out <= beside)
    return mtk_fail(err, MTK_E_LIMIT, "--target-size",
                    "what is not weights alone takes up to %llu bytes", (unsigned long long)beside);
  *out -= beside;
  return MTK_OK;
}

bool mtk_cmd_plan_asked(const mtk_cmd_line *line) {
  return mtk_options_is_set(line->options, "target-bits") ||
         mtk_options_is_set(line->options, "target-size") ||
         mtk_options_is_set(line->options, "plan");
}

const char *mtk_cmd_target_name(const mtk_cmd_line *line) {
  const char *to = mtk_options_string(line->options, "to");
  return to ? to : "mixed types";
}

static mtk_status fill(mtk_cmd_plan *p, const mtk_model *model, const mtk_quantize_options *o,
                       const mtk_cmd_line *line, const mtk_format_v1 *format,
                       const mtk_cmd_calibration *c, mtk_error *err) {
  const char *path = mtk_options_string(line->options, "plan");
  uint64_t budget;
  bool gguf = strcmp(format->id, "gguf") == 0;
  p->method = o->quantizer;
  p->rtn = mtk_quantizer_find("rtn");
  p->params = mtk_model_param_count(model);
  p->format = format;
  p->line = line;
  p->candidates = mtk_options_string(line->options, "candidates");
  if (!p->candidates) p->candidates = gguf ? "q2_k,q3_k,q4_k,q5_k,q6_k,q8_0" : "nvfp4,fp8,bf16";
  MTK_TRY(read_budget(&budget, line, model, format, err));
  mtk_quantize_options all = *o;
  all.embeddings |= gguf; /* loaders of folders take no quantized embedding */
  if (path)
    MTK_TRY(plan_read(p, path, model, budget > 0, err));
  else if (c)
    MTK_TRY(plan_measure(p, line->args[0], model, &all, line, c, budget, err));
  else
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "a budget needs --calibration FILE to measure what each type costs, or --plan "
                    "FILE with measurements");
  return budget > 0 ? plan_solve(p, line, budget, err) : MTK_OK;
}

mtk_status mtk_cmd_plan_open(mtk_cmd_plan **out, mtk_model *model, mtk_quantize_options *o,
                             const mtk_cmd_line *line, const mtk_format_v1 *format,
                             const mtk_cmd_calibration *c, mtk_error *err) {
  *out = NULL;
  if (!mtk_cmd_plan_asked(line)) return MTK_OK;
  mtk_cmd_plan *p = mtk_alloc(1, sizeof *p);
  if (p) p->arena = mtk_arena_create();
  mtk_status st = p && p->arena ? MTK_OK : no_memory(err);
  if (st == MTK_OK) st = fill(p, model, o, line, format, c, err);
  if (st == MTK_OK) st = write_plan(p, line, err);
  json_t *doc = st == MTK_OK ? short_json(p) : NULL;
  char *text = doc ? json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
  if (st == MTK_OK)
    st = text ? mtk_model_attach(model, "mtk_plan.json", text, strlen(text), err) : no_memory(err);
  free(text);
  json_decref(doc);
  if (st != MTK_OK) {
    mtk_cmd_plan_close(p);
    return st;
  }
  o->plan = choose;
  o->plan_ctx = *out = p;
  return MTK_OK;
}

void mtk_cmd_plan_close(mtk_cmd_plan *p) {
  if (!p) return;
  mtk_free(p->curve);
  mtk_arena_destroy(p->arena);
  mtk_free(p);
}

mtk_status mtk_cmd_plan_fits(const mtk_cmd_line *line, mtk_error *err) {
  const char *text = mtk_options_string(line->options, "target-size");
  uint64_t size = 0, written = mtk_cmd_output_bytes(line->args[1]);
  if (!text) return MTK_OK;
  MTK_TRY(parse_size(&size, text, err));
  if (written <= size) return MTK_OK;
  return mtk_fail(err, MTK_E_CHECK, line->args[1],
                  "takes %llu bytes, more than --target-size %s: its metadata is larger than "
                  "expected; ask for %llu bytes less",
                  (unsigned long long)written, text, (unsigned long long)(written - size));
}

mtk_status mtk_cmd_plan_check(const mtk_cmd_plan *p, const mtk_quantize_report *r,
                              mtk_error *err) {
  for (size_t i = 0; p && i < r->n_rows; i++) {
    const mtk_quantize_row *row = &r->rows[i];
    const mtk_quantizer_v1 *q = NULL;
    const mtk_quant_target *target;
    choose((void *)(uintptr_t)p, row->name, &q, &target);
    if (!target || row->reason == MTK_QUANTIZED || row->reason == MTK_KEPT_BY_USER) continue;
    return mtk_fail(err, MTK_E_INVALID, row->name,
                    "the plan gives it %s, but it cannot have that: %s", target->name,
                    row->reason == MTK_KEPT_SHAPE ? "its rows do not fill the blocks"
                    : row->reason == MTK_KEPT_QUANTIZED
                        ? "it is quantized already (--requantize allows it)"
                        : "it is no linear weight");
  }
  return MTK_OK;
}
