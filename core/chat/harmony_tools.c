/* chat/harmony_tools.c: tools as gpt-oss reads them: JSON schemas written as TypeScript types in
 * namespaces. Byte for byte what openai/harmony writes (src/encoding.rs), oddities included. Pure;
 * any thread. */
#include <stdlib.h>
#include <string.h>

#include "chat/harmony.h"

enum { MAX_DEPTH = 64, INDENT = 256 };

/* A schema's type appended to out; the indentation grows with the depth. */
static void write_type(mtk_bytes *out, const json_t *schema, size_t indent, int depth);

static void spaces(mtk_bytes *out, size_t n) {
  for (size_t i = 0; i < n && i < INDENT; i++) mtk_bytes_append(out, " ", 1);
}

static const char *text_of(const json_t *schema, const char *key) {
  return mtk_json_get(schema, key, NULL);
}

static void comment(mtk_bytes *out, size_t indent, const char *text) {
  spaces(out, indent);
  mtk_bytes_puts(out, "// ");
  mtk_bytes_puts(out, text);
  mtk_bytes_puts(out, "\n");
}

static bool is_enum(const json_t *schema) {
  return json_array_size(json_object_get(schema, "enum")) > 0;
}

/* "default: X"; the strings of an enum stand without quotes. */
static void write_default(mtk_bytes *out, const json_t *schema, bool quote_enum) {
  const json_t *value = json_object_get(schema, "default");
  mtk_bytes_puts(out, "default: ");
  if (!json_is_string(value)) {
    mtk_json_value(out, value, true);
    return;
  }
  bool bare = is_enum(schema), json = bare && quote_enum;
  if (json) {
    mtk_json_value(out, value, true);
    return;
  }
  if (!bare) mtk_bytes_puts(out, "\"");
  mtk_bytes_append(out, json_string_value(value), json_string_length(value));
  if (!bare) mtk_bytes_puts(out, "\"");
}

/* The type, and " | null" if the schema says so and the type does not. */
static void write_nullable(mtk_bytes *out, const json_t *schema, size_t indent, int depth) {
  mtk_bytes type = {0};
  write_type(&type, schema, indent, depth);
  mtk_bytes_append(out, type.data ? type.data : "", type.len);
  bool has_null = type.len && memmem(type.data, type.len, "null", 4);
  if (json_is_true(json_object_get(schema, "nullable")) && !has_null)
    mtk_bytes_puts(out, " | null");
  out->failed |= type.failed;
  mtk_bytes_finish(&type);
}

/* " // description default: X" after a variant; description NULL = none. */
static void write_trailing(mtk_bytes *out, const json_t *variant, const char *description,
                           bool quote_enum) {
  bool has_default = json_object_get(variant, "default") != NULL;
  if (!description && !has_default) return;
  mtk_bytes_puts(out, " // ");
  if (description) mtk_bytes_puts(out, description);
  if (description && has_default) mtk_bytes_puts(out, " ");
  if (has_default) write_default(out, variant, quote_enum);
}

/* oneOf where a type is expected. */
static void write_variants(mtk_bytes *out, const json_t *list, size_t indent, int depth) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *variant = json_array_get(list, i);
    mtk_bytes_puts(out, "\n");
    spaces(out, indent);
    mtk_bytes_puts(out, " | ");
    write_nullable(out, variant, indent + 3, depth);
    write_trailing(out, variant, text_of(variant, "description"), true);
  }
}

/* ---- properties of objects ------------------------------------------------------------------ */

static bool is_required(const json_t *schema, const char *key) {
  const json_t *list = json_object_get(schema, "required");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *name = json_string_value(json_array_get(list, i));
    if (name && !strcmp(name, key)) return true;
  }
  return false;
}

static void write_heading(mtk_bytes *out, const json_t *property, size_t indent) {
  const char *title = text_of(property, "title"), *about = text_of(property, "description");
  const json_t *examples = json_object_get(property, "examples");
  if (title) {
    comment(out, indent, title);
    spaces(out, indent);
    mtk_bytes_puts(out, "//\n");
  }
  if (about && !json_object_get(property, "oneOf")) comment(out, indent, about);
  if (json_array_size(examples)) comment(out, indent, "Examples:");
  for (size_t i = 0; i < json_array_size(examples); i++) {
    const char *example = json_string_value(json_array_get(examples, i));
    if (!example) continue;
    spaces(out, indent);
    mtk_bytes_puts(out, "// - \"");
    mtk_bytes_puts(out, example);
    mtk_bytes_puts(out, "\"\n");
  }
}

static void write_name(mtk_bytes *out, const char *key, bool required, size_t indent) {
  spaces(out, indent);
  mtk_bytes_puts(out, key);
  mtk_bytes_puts(out, required ? ":" : "?:");
}

/* A property that is one of several types, each on a line of its own. */
static void write_one_of(mtk_bytes *out, const char *key, const json_t *property, bool required,
                         size_t indent, int depth) {
  const json_t *list = json_object_get(property, "oneOf");
  const char *about = text_of(property, "description");
  const char *first = text_of(json_array_get(list, 0), "description");
  bool above = about && !(first && !strcmp(about, first));
  if (above) comment(out, indent, about);
  if (json_object_get(property, "default")) {
    spaces(out, indent);
    mtk_bytes_puts(out, "// ");
    write_default(out, property, false);
    mtk_bytes_puts(out, "\n");
  }
  write_name(out, key, required, indent);
  mtk_bytes_puts(out, "\n");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *variant = json_array_get(list, i);
    const char *text = text_of(variant, "description");
    bool told = (i == 0 && above) || (text && about && !strcmp(text, about));
    spaces(out, indent);
    mtk_bytes_puts(out, " | ");
    write_nullable(out, variant, indent + 3, depth);
    write_trailing(out, variant, told ? NULL : text, false);
    mtk_bytes_puts(out, "\n");
  }
  spaces(out, indent);
  mtk_bytes_puts(out, ",\n");
}

static void write_property(mtk_bytes *out, const char *key, const json_t *property, bool required,
                           size_t indent, int depth) {
  write_heading(out, property, indent);
  if (json_is_array(json_object_get(property, "oneOf"))) {
    write_one_of(out, key, property, required, indent, depth);
    return;
  }
  write_name(out, key, required, indent);
  mtk_bytes_puts(out, " ");
  write_nullable(out, property, indent + 4, depth);
  mtk_bytes_puts(out, ",");
  if (!json_object_get(property, "oneOf") && json_object_get(property, "default")) {
    mtk_bytes_puts(out, " // ");
    write_default(out, property, false);
  }
  mtk_bytes_puts(out, "\n");
}

static void write_object(mtk_bytes *out, const json_t *schema, size_t indent, int depth) {
  const char *about = text_of(schema, "description"), *key;
  json_t *property;
  if (about) comment(out, indent, about);
  mtk_bytes_puts(out, "{\n");
  json_object_foreach(json_object_get(schema, "properties"), key, property)
      write_property(out, key, property, is_required(schema, key), indent, depth);
  spaces(out, indent);
  mtk_bytes_puts(out, "}");
}

/* ---- types ---------------------------------------------------------------------------------- */

static const char *plain_type(const char *type) {
  static const char *const table[][2] = {
      {"number", "number"}, {"integer", "number"}, {"boolean", "boolean"}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (!strcmp(type, table[i][0])) return table[i][1];
  return "any";
}

/* ["number", "string"]; false if it names no type. */
static bool write_union(mtk_bytes *out, const json_t *types) {
  bool any = false;
  for (size_t i = 0; i < json_array_size(types); i++) {
    const char *type = json_string_value(json_array_get(types, i));
    if (!type) continue;
    if (any) mtk_bytes_puts(out, " | ");
    mtk_bytes_puts(out, strcmp(type, "integer") ? type : "number");
    any = true;
  }
  return any;
}

static void write_string_type(mtk_bytes *out, const json_t *schema) {
  const json_t *values = json_object_get(schema, "enum");
  bool any = false;
  for (size_t i = 0; i < json_array_size(values); i++) {
    const char *value = json_string_value(json_array_get(values, i));
    if (!value) continue;
    mtk_bytes_puts(out, any ? " | \"" : "\"");
    mtk_bytes_puts(out, value);
    mtk_bytes_puts(out, "\"");
    any = true;
  }
  if (!any) mtk_bytes_puts(out, "string");
}

static void write_array(mtk_bytes *out, const json_t *schema, size_t indent, int depth) {
  const json_t *items = json_object_get(schema, "items");
  if (items) write_type(out, items, indent, depth);
  mtk_bytes_puts(out, items ? "[]" : "Array<any>");
}

static void write_type(mtk_bytes *out, const json_t *schema, size_t indent, int depth) {
  const json_t *one_of = json_object_get(schema, "oneOf"), *type = json_object_get(schema, "type");
  const char *name = json_string_value(type);
  if (depth >= MAX_DEPTH || out->failed)
    mtk_bytes_puts(out, "any");
  else if (json_is_array(one_of))
    write_variants(out, one_of, indent, depth + 1);
  else if (write_union(out, type))
    return;
  else if (!name)
    mtk_bytes_puts(out, "any");
  else if (!strcmp(name, "object"))
    write_object(out, schema, indent, depth + 1);
  else if (!strcmp(name, "string"))
    write_string_type(out, schema);
  else if (!strcmp(name, "array"))
    write_array(out, schema, indent, depth + 1);
  else
    mtk_bytes_puts(out, plain_type(name));
}

/* ---- namespaces ----------------------------------------------------------------------------- */

/* Each line of text behind a prefix, and a line break after it. */
static void write_lines(mtk_bytes *out, const char *text, const char *prefix) {
  while (text && *text) {
    size_t n = strcspn(text, "\n"), shown = n && text[n] && text[n - 1] == '\r' ? n - 1 : n;
    mtk_bytes_puts(out, prefix);
    mtk_bytes_append(out, text, shown);
    mtk_bytes_puts(out, "\n");
    text += n + (text[n] == '\n');
  }
}

static void write_tool(mtk_bytes *out, const json_t *tool) {
  const char *name = text_of(tool, "name");
  const json_t *parameters = json_object_get(tool, "parameters");
  write_lines(out, text_of(tool, "description"), "// ");
  mtk_bytes_puts(out, "type ");
  mtk_bytes_puts(out, name ? name : "");
  mtk_bytes_puts(out, " = (");
  if (parameters && !json_is_null(parameters)) {
    mtk_bytes_puts(out, "_: ");
    write_type(out, parameters, 0, 0);
  }
  mtk_bytes_puts(out, ") => any;\n\n");
}

static void write_namespace(mtk_bytes *out, const json_t *space) {
  const char *name = text_of(space, "name");
  const json_t *tools = json_object_get(space, "tools");
  size_t n = json_array_size(tools);
  if (!name) name = "";
  mtk_bytes_puts(out, "\n\n## ");
  mtk_bytes_puts(out, name);
  mtk_bytes_puts(out, "\n\n");
  write_lines(out, text_of(space, "description"), n ? "// " : "");
  if (!n) { /* the lines are joined, not ended */
    while (out->len && !out->failed && out->data[out->len - 1] == '\n') out->len--;
    return;
  }
  mtk_bytes_puts(out, "namespace ");
  mtk_bytes_puts(out, name);
  mtk_bytes_puts(out, " {\n\n");
  for (size_t i = 0; i < n; i++) write_tool(out, json_array_get(tools, i));
  mtk_bytes_puts(out, "} // namespace ");
  mtk_bytes_puts(out, name);
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void mtk_harmony_tools(mtk_bytes *out, const json_t *namespaces) {
  size_t n = json_object_size(namespaces), i = 0;
  const char **names = mtk_alloc(n + 1, sizeof *names), *key;
  json_t *space;
  if (!names) out->failed = true;
  mtk_bytes_puts(out, "# Tools");
  json_object_foreach((json_t *)(uintptr_t)namespaces, key, space) if (names) names[i++] = key;
  if (names) qsort(names, n, sizeof *names, by_name);
  for (i = 0; names && i < n; i++) write_namespace(out, json_object_get(namespaces, names[i]));
  mtk_free(names);
}

/* ---- well-known tools ----------------------------------------------------------------------- */

static const char g_builtin[] =
    "{\"browser\":{\"name\":\"browser\",\"description\":"
    "\"Tool for browsing.\\nThe `cursor` appears in brackets before each browsing display: "
    "`[{cursor}]`.\\nCite information from the tool using the following format:\\n"
    "`\u3010{cursor}\u2020L{line_start}(-L{line_end})?\u3011`, for example: "
    "`\u30106\u2020L9-L11\u3011` or `\u30108\u2020L3\u3011`.\\nDo not quote more than 10 words "
    "directly from the tool output.\\nsources=web (default: web)\",\"tools\":["
    "{\"name\":\"search\",\"description\":\"Searches for information related to `query` and "
    "displays `topn` results.\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"query\":{\"type\":\"string\"},\"topn\":{\"type\":\"number\",\"default\":10},"
    "\"source\":{\"type\":\"string\"}},\"required\":[\"query\"]}},"
    "{\"name\":\"open\",\"description\":\"Opens the link `id` from the page indicated by `cursor` "
    "starting at line number `loc`, showing `num_lines` lines.\\nValid link ids are displayed with "
    "the formatting: `\u3010{id}\u2020.*\u3011`.\\nIf `cursor` is not provided, the most recent "
    "page is implied.\\nIf `id` is a string, it is treated as a fully qualified URL associated "
    "with `source`.\\nIf `loc` is not provided, the viewport will be positioned at the beginning "
    "of the document or centered on the most relevant passage, if available.\\nUse this function "
    "without `id` to scroll to a new location of an opened page.\",\"parameters\":{"
    "\"type\":\"object\",\"properties\":{\"id\":{\"type\":[\"number\",\"string\"],\"default\":-1},"
    "\"cursor\":{\"type\":\"number\",\"default\":-1},\"loc\":{\"type\":\"number\",\"default\":-1},"
    "\"num_lines\":{\"type\":\"number\",\"default\":-1},"
    "\"view_source\":{\"type\":\"boolean\",\"default\":false},"
    "\"source\":{\"type\":\"string\"}}}},"
    "{\"name\":\"find\",\"description\":\"Finds exact matches of `pattern` in the current page, or "
    "the page given by `cursor`.\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"pattern\":{\"type\":\"string\"},\"cursor\":{\"type\":\"number\",\"default\":-1}},"
    "\"required\":[\"pattern\"]}}]},"
    "\"python\":{\"name\":\"python\",\"description\":"
    "\"Use this tool to execute Python code in your chain of thought. The code will not be shown "
    "to the user. This tool should be used for internal reasoning, but not for code that is "
    "intended to be visible to the user (e.g. when creating plots, tables, or files).\\n\\n"
    "When you send a message containing Python code to python, it will be executed in a stateful "
    "Jupyter notebook environment. python will respond with the output of the execution or time "
    "out after 120.0 seconds. The drive at '/mnt/data' can be used to save and persist user files. "
    "Internet access for this session is UNKNOWN. Depends on the cluster.\",\"tools\":[]}}";

json_t *mtk_harmony_builtin(const char *name) {
  json_t *all = json_loads(g_builtin, 0, NULL);
  json_t *one = json_incref(json_object_get(all, name));
  json_decref(all);
  return one;
}

json_t *mtk_harmony_functions(const json_t *tools) {
  json_t *list = json_array();
  for (size_t i = 0; i < json_array_size(tools); i++) {
    json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
    json_array_append(list, function ? function : tool);
  }
  if (json_array_size(list))
    return json_pack("{s:{s:s,s:o}}", "functions", "name", "functions", "tools", list);
  json_decref(list);
  return NULL;
}
