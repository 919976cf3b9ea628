/* inspect_text.c: summaries of a model's chat templates, licence and provenance. */
#include "inspect.h"

#include <string.h>

/* ---- chat templates ------------------------------------------------------------------------ */

/* A text that no template writes itself. */
#define MARK "mtkmark"
#define CALL(arguments)                                                                            \
  "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"\","                \
  "\"tool_calls\":[{\"id\":\"abcdefghi\",\"type\":\"function\",\"function\":{\"name\":\"f\","      \
  "\"arguments\":" arguments "}}]},{\"role\":\"tool\",\"name\":\"f\",\"tool_call_id\":"            \
  "\"abcdefghi\",\"content\":\"" MARK "\"}"
#define USER "{\"role\":\"user\",\"content\":\"a\"}"
#define TOOLS                                                                                      \
  "[{\"type\":\"function\",\"function\":{\"name\":\"" MARK "\",\"description\":\"d\","             \
  "\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]"

/* A conversation in which something carries the mark: does it reach the rendered text? */
typedef struct probe {
  const char *name; /* a role, or what is reported by itself */
  const char *messages, *tools;
} probe;

static const probe roles[] = {
    {"system", "{\"role\":\"system\",\"content\":\"" MARK "\"}," USER, NULL},
    {"developer", "{\"role\":\"developer\",\"content\":\"" MARK "\"}," USER, NULL},
    {"user", "{\"role\":\"user\",\"content\":\"" MARK "\"}", NULL},
    {"assistant", USER ",{\"role\":\"assistant\",\"content\":\"" MARK "\"}," USER, NULL},
    {"tool", CALL("{}"), NULL},
    {"tool", CALL("\"{}\""), NULL},
};
static const probe uses_tools[] = {{"tools", USER, TOOLS}};
static const probe uses_reasoning[] = {
    {"reasoning",
     USER ",{\"role\":\"assistant\",\"content\":\"b\",\"reasoning_content\":\"" MARK
          "\",\"reasoning\":\"" MARK "\",\"thinking\":\"" MARK "\"}",
     NULL},
};

static bool reaches(const mtk_template *t, const probe *p) {
  const mtk_template_options options = {
      .struct_size = sizeof options, .now = "2026-01-01T00:00:00", .max_steps = 1000000};
  mtk_rendered out = {0};
  char *context = mtk_asprintf("{\"messages\":[%s],\"tools\":%s,\"add_generation_prompt\":false,"
                               "\"bos_token\":\"\",\"eos_token\":\"\",\"unk_token\":\"\","
                               "\"pad_token\":\"\"}",
                               p->messages, p->tools ? p->tools : "null");
  bool ok =
      context && mtk_template_render(&out, t, context, strlen(context), &options, NULL) == MTK_OK;
  bool found = ok && out.text.data && strstr(out.text.data, MARK);
  mtk_rendered_finish(&out);
  mtk_free(context);
  return found;
}

/* Texts in a template that show that it has a way to think. */
static bool mentions_reasoning(const char *source) {
  static const char *const words[] = {"<think>", "[THINK]", "enable_thinking", "reasoning_effort"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strstr(source, words[i])) return true;
  return false;
}

static json_t *summary(const char *name, const char *source, size_t n) {
  json_t *o = json_pack("{s:s,s:I}", "name", name, "bytes", (json_int_t)n);
  mtk_template *t = NULL;
  mtk_error err = {0};
  if (mtk_template_create(&t, source, n, &err) != MTK_OK) {
    json_object_set_new(o, "error", json_sprintf("%s: %s", err.place, err.message));
    return o;
  }
  json_t *list = json_array();
  const char *last = "";
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
    if (strcmp(last, roles[i].name) == 0 || !reaches(t, &roles[i])) continue;
    last = roles[i].name;
    json_array_append_new(list, json_string(last));
  }
  json_object_set_new(o, "roles", list);
  json_object_set_new(o, "tools", json_boolean(reaches(t, uses_tools)));
  json_object_set_new(o, "reasoning",
                      json_boolean(mentions_reasoning(source) || reaches(t, uses_reasoning)));
  mtk_template_destroy(t);
  return o;
}

json_t *mtk_cmd_templates_json(const mtk_model *model) {
  static const char prefix[] = "chat_template";
  json_t *list = json_array();
  for (size_t i = 0; i < mtk_model_attachment_count(model); i++) {
    size_t n = 0, k = sizeof prefix - 1;
    const char *key = mtk_model_attachment_name(model, i);
    if (strncmp(key, prefix, k) != 0 || (key[k] && key[k] != '.')) continue;
    const char *source = mtk_model_attachment(model, key, &n);
    json_array_append_new(list, summary(key[k] ? key + k + 1 : "default", source, n));
  }
  return list;
}

/* ---- licence ------------------------------------------------------------------------------- */

/* The rest of a line, without blanks and quotes around it. */
static json_t *trimmed(const char *s) {
  size_t n = strcspn(s, "\r\n");
  while (n && strchr(" \t\"'#", *s)) s++, n--;
  while (n && strchr(" \t\"'", s[n - 1])) n--;
  return n ? json_stringn(s, n < 120 ? n : 120) : NULL;
}

/* "license: apache-2.0" between the "---" lines at the head of a model card. */
static json_t *from_card(const char *card) {
  if (strncmp(card, "---", 3) != 0) return NULL;
  for (const char *line = strchr(card, '\n'); line; line = strchr(line, '\n')) {
    line++;
    if (strncmp(line, "---", 3) == 0) return NULL;
    if (strncmp(line, "license:", 8) == 0) return trimmed(line + 8);
  }
  return NULL;
}

static json_t *first_line(const char *text) {
  while (*text && strchr(" \t\r\n", *text)) text++;
  return trimmed(text);
}

static json_t *found(json_t *license, const char *from) {
  return license ? json_pack("{s:o,s:s}", "license", license, "from", from) : NULL;
}

json_t *mtk_cmd_license_json(const mtk_model *model) {
  const char *stated = mtk_meta_str(mtk_model_meta(model), "general.license", NULL);
  const char *card = mtk_model_attachment(model, "README.md", NULL);
  json_t *o = stated ? found(trimmed(stated), "general.license") : NULL;
  if (!o && card) o = found(from_card(card), "README.md");
  for (size_t i = 0; i < mtk_model_attachment_count(model) && !o; i++) {
    const char *name = mtk_model_attachment_name(model, i);
    if (strncmp(name, "LICEN", 5) != 0 && strncmp(name, "COPYING", 7) != 0) continue;
    o = found(first_line(mtk_model_attachment(model, name, NULL)), name);
  }
  return o ? o : json_null();
}

/* ---- provenance ---------------------------------------------------------------------------- */

json_t *mtk_cmd_provenance_record(const mtk_model *model) {
  size_t n = 0;
  const char *text = mtk_model_attachment(model, "provenance.json", &n);
  json_t *o = text ? json_loadb(text, n, 0, NULL) : NULL;
  return o ? o : json_null();
}
