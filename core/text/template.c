/* text/template.c: the public face of the Jinja engine. A template is immutable and shared by
 * threads; a render belongs to one call. */
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"

enum { MAX_SOURCE = 4 * 1024 * 1024 };

struct mtk_template {
  mtk_arena *arena; /* nodes, names, literals */
  mtk_map *names;   /* text -> interned name */
  jinja_node *body;
};

/* ---- parse ---------------------------------------------------------------------------------- */

static mtk_status parse(mtk_template *t, const char *source, size_t n, mtk_error *err) {
  jinja_tokens tokens = {0};
  t->arena = mtk_arena_create();
  t->names = mtk_map_create();
  mtk_status status = MTK_OK;
  if (!t->arena || !t->names) {
    status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  }
  if (status == MTK_OK) status = mtk_jinja_lex(&tokens, t->arena, source, n, err);
  if (status == MTK_OK) status = mtk_jinja_parse(&t->body, t->arena, t->names, &tokens, err);
  return status;
}

mtk_status mtk_template_create(mtk_template **out, const char *source, size_t n, mtk_error *err) {
  if (n > MAX_SOURCE) {
    return mtk_fail(err, MTK_E_LIMIT, "template", "%zu bytes are more than %d", n, MAX_SOURCE);
  }
  mtk_template *t = mtk_alloc(1, sizeof *t);
  if (!t) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  mtk_status status = parse(t, source, n, err);
  if (status != MTK_OK) {
    mtk_template_destroy(t);
    return status;
  }
  *out = t;
  return MTK_OK;
}

void mtk_template_destroy(mtk_template *t) {
  if (!t) return;
  mtk_map_destroy(t->names);
  mtk_arena_destroy(t->arena);
  mtk_free(t);
}

/* ---- render --------------------------------------------------------------------------------- */

mtk_status mtk_jinja_fail(jinja *j, mtk_status code, const char *fmt, ...) {
  char message[512];
  va_list list;
  va_start(list, fmt);
  int n = vsnprintf(message, sizeof message, fmt, list);
  va_end(list);
  return mtk_jinja_fail_line(j->err, code, j->line, "%s", n < 0 ? "" : message);
}

mtk_status mtk_jinja_step(jinja *j, uint64_t n) {
  j->steps += n;
  if (j->steps <= j->max_steps) return MTK_OK;
  return mtk_jinja_fail(j, MTK_E_LIMIT, "the template runs for more than %llu steps",
                    (unsigned long long)j->max_steps);
}

void *mtk_jinja_alloc(jinja *j, size_t count, size_t size) {
  size_t bytes;
  if (!mtk_mul_ok(count, size, &bytes) || bytes > j->max_memory ||
      j->memory > j->max_memory - bytes) {
    mtk_jinja_fail(j, MTK_E_LIMIT, "the template needs more than %zu bytes of memory",
                   j->max_memory);
    return NULL;
  }
  j->memory += bytes + 16;
  void *p = mtk_arena_alloc(j->arena, count, size);
  if (!p) mtk_jinja_fail(j, MTK_E_NOMEM, "out of memory");
  return p;
}

void mtk_rendered_finish(mtk_rendered *r) {
  mtk_bytes_finish(&r->text);
  mtk_free(r->data);
  mtk_free(r->generation);
  *r = (mtk_rendered){0};
}

static mtk_status copy_spans(mtk_span **out, size_t *n_out, const mtk_span *spans, size_t n,
                             mtk_error *err) {
  if (n == 0) return MTK_OK;
  *out = mtk_alloc(n, sizeof **out);
  if (!*out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory rendering a template");
  memcpy(*out, spans, n * sizeof **out);
  *n_out = n;
  return MTK_OK;
}

static mtk_status copy_result(mtk_rendered *out, const jinja *j) {
  mtk_rendered r = {0};
  mtk_bytes_append(&r.text, j->main.data ? j->main.data : "", j->main.len);
  mtk_status status = mtk_bytes_status(&r.text, j->err);
  if (status == MTK_OK)
    status = copy_spans(&r.data, &r.n_data, j->main.marks, j->main.n_marks, j->err);
  if (status == MTK_OK) {
    status = copy_spans(&r.generation, &r.n_generation, j->generation, j->n_generation, j->err);
  }
  if (status == MTK_OK)
    *out = r;
  else
    mtk_rendered_finish(&r);
  return status;
}

static mtk_status run(jinja *j, const mtk_template *t, const char *context_json, size_t n) {
  jinja_scope *globals;
  MTK_TRY(mtk_jinja_scope_push(j, NULL, &globals));
  MTK_TRY(mtk_jinja_load_context(j, globals, context_json, n));
  MTK_TRY(mtk_jinja_scope_push(j, globals, &j->scope));
  return mtk_jinja_exec(j, t->body);
}

mtk_status mtk_template_render(mtk_rendered *out, const mtk_template *t, const char *context_json,
                               size_t n, const mtk_template_options *options, mtk_error *err) {
  mtk_error own = {0};
  jinja j = {.names = t->names, .err = &own, .max_steps = 10000000, .max_output = (size_t)64 << 20};
  if (options && options->max_steps) j.max_steps = options->max_steps;
  if (options && options->max_output) j.max_output = options->max_output;
  if (options) j.now = options->now;
  j.max_memory = ((size_t)256 << 20) + 4 * j.max_output + 64 * n;
  j.out = &j.main;
  j.arena = mtk_arena_create();
  mtk_status status =
      j.arena ? run(&j, t, context_json, n) : mtk_fail(&own, MTK_E_NOMEM, NULL, "out of memory");
  if (status == MTK_OK) status = copy_result(out, &j);
  mtk_arena_destroy(j.arena);
  if (status != MTK_OK && err) *err = own;
  return status;
}
