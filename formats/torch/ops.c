/* ops.c: the opcodes of pickle protocols 0 to 5 (CPython, Lib/pickletools.py) as one table. Those
 * that would need code or objects are in it too, to be refused by name. */
#include "pickle.h"

#include <string.h>

/* ---- reading arguments --------------------------------------------------------------------- */

static mtk_status take(const uint8_t **out, pk_machine *m, uint64_t n) {
  if (n > m->end - m->pos) return pk_bad(m, "ends inside an argument");
  *out = m->data + m->pos;
  m->pos += (size_t)n;
  return MTK_OK;
}

/* A little-endian number of n bytes. */
static mtk_status take_uint(uint64_t *out, pk_machine *m, int n) {
  const uint8_t *p = NULL;
  MTK_TRY(take(&p, m, (uint64_t)n));
  *out = 0;
  for (int i = 0; i < n; i++) *out |= (uint64_t)p[i] << (8 * i);
  return MTK_OK;
}

/* Up to and without a line feed. */
static mtk_status take_line(const char **s, size_t *n, pk_machine *m) {
  const uint8_t *p = m->data + m->pos;
  const uint8_t *feed = m->pos < m->end ? memchr(p, '\n', m->end - m->pos) : NULL;
  if (!feed) return pk_bad(m, "ends inside a line");
  *s = (const char *)p;
  *n = (size_t)(feed - p);
  m->pos += *n + 1;
  return MTK_OK;
}

/* ---- numbers ------------------------------------------------------------------------------- */

static mtk_status push_kind(pk_machine *m, int kind) {
  return pk_push(m, (pk_value){.kind = (pk_kind)kind});
}

static mtk_status push_bool(pk_machine *m, int value) {
  return pk_push(m, (pk_value){.kind = PK_BOOL, .as.i = value});
}

static mtk_status push_int(pk_machine *m, int64_t value) {
  return pk_push(m, (pk_value){.kind = PK_INT, .as.i = value});
}

/* BININT1, BININT2 (unsigned), BININT (signed) */
static mtk_status op_binint(pk_machine *m, int n) {
  uint64_t v = 0;
  MTK_TRY(take_uint(&v, m, n));
  return push_int(m, n == 4 ? (int32_t)(uint32_t)v : (int64_t)v);
}

/* LONG1, LONG4: two's complement of any length */
static mtk_status op_long(pk_machine *m, int n) {
  uint64_t size = 0, v = 0;
  const uint8_t *p = NULL;
  MTK_TRY(take_uint(&size, m, n));
  MTK_TRY(take(&p, m, size));
  if (size > 8) {
    pk_value big = {.kind = PK_LONG, .as.str = {(const char *)p, (size_t)size}};
    return pk_push(m, big);
  }
  for (uint64_t i = 0; i < size; i++) v |= (uint64_t)p[i] << (8 * i);
  if (size && size < 8 && p[size - 1] & 0x80) v |= UINT64_MAX << (8 * size);
  return push_int(m, (int64_t)v);
}

static mtk_status op_binfloat(pk_machine *m, int arg) {
  const uint8_t *p = NULL;
  uint64_t bits = 0;
  pk_value v = {.kind = PK_FLOAT};
  (void)arg;
  MTK_TRY(take(&p, m, 8));
  for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
  memcpy(&v.as.f, &bits, 8);
  return pk_push(m, v);
}

/* INT and LONG as text; "I00" and "I01" are the booleans of protocol 1. */
static mtk_status op_int_text(pk_machine *m, int arg) {
  const char *s = NULL;
  size_t n = 0, at = 0;
  uint64_t v = 0;
  (void)arg;
  MTK_TRY(take_line(&s, &n, m));
  if (n == 2 && s[0] == '0' && (s[1] == '0' || s[1] == '1')) return push_bool(m, s[1] == '1');
  if (n && s[n - 1] == 'L') n--;
  bool minus = n && s[0] == '-';
  for (at = minus; at < n; at++) {
    if (s[at] < '0' || s[at] > '9') return pk_bad(m, "not a number");
    if (v > (INT64_MAX - 9) / 10) return pk_bad(m, "a number beyond 64 bits");
    v = 10 * v + (uint64_t)(s[at] - '0');
  }
  if (at == (size_t)minus) return pk_bad(m, "not a number");
  return push_int(m, minus ? -(int64_t)v : (int64_t)v);
}

/* ---- texts --------------------------------------------------------------------------------- */

static mtk_status push_text(pk_machine *m, pk_kind kind, int n) {
  uint64_t size = 0;
  const uint8_t *p = NULL;
  MTK_TRY(take_uint(&size, m, n));
  MTK_TRY(take(&p, m, size));
  return pk_push(m, (pk_value){.kind = kind, .as.str = {(const char *)p, (size_t)size}});
}

static mtk_status op_str(pk_machine *m, int n) { return push_text(m, PK_STR, n); }
static mtk_status op_bytes(pk_machine *m, int n) { return push_text(m, PK_BYTES, n); }

/* UNICODE: a line; its escapes occur for line feeds and beyond ASCII only, and stay as they are. */
static mtk_status op_unicode(pk_machine *m, int arg) {
  pk_value v = {.kind = PK_STR};
  (void)arg;
  MTK_TRY(take_line(&v.as.str.s, &v.as.str.n, m));
  return pk_push(m, v);
}

/* STRING: a quoted line without escapes. */
static mtk_status op_string(pk_machine *m, int arg) {
  const char *s = NULL;
  size_t n = 0;
  (void)arg;
  MTK_TRY(take_line(&s, &n, m));
  if (n < 2 || (s[0] != '\'' && s[0] != '"') || s[n - 1] != s[0] || memchr(s, '\\', n))
    return pk_bad(m, "a text that is not quoted simply");
  return pk_push(m, (pk_value){.kind = PK_STR, .as.str = {s + 1, n - 2}});
}

/* ---- stack and memo ------------------------------------------------------------------------ */

static mtk_status op_mark(pk_machine *m, int arg) {
  (void)arg;
  if (m->n_marks == m->cap_marks) {
    size_t cap = m->cap_marks ? 2 * m->cap_marks : 16;
    if (cap > PK_MAX_VALUES) return pk_bad(m, "too many marks");
    size_t *more = mtk_realloc(m->marks, m->cap_marks, cap, sizeof *more);
    if (!more) return pk_no_memory(m);
    m->marks = more;
    m->cap_marks = cap;
  }
  m->marks[m->n_marks++] = m->n_stack;
  return MTK_OK;
}

/* The values above the topmost mark; they and the mark are off the stack afterwards, and stay valid
 * until the next push. */
static mtk_status pop_mark(const pk_value **items, size_t *n, pk_machine *m) {
  if (!m->n_marks) return pk_bad(m, "there is no mark");
  size_t at = m->marks[--m->n_marks];
  *n = m->n_stack - at;
  *items = *n ? m->stack + at : NULL;
  m->n_stack = at;
  return MTK_OK;
}

static mtk_status op_pop(pk_machine *m, int arg) {
  pk_value v;
  (void)arg;
  if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack) {
    m->n_marks--;
    return MTK_OK;
  }
  return pk_pop(&v, m);
}

static mtk_status op_pop_mark(pk_machine *m, int arg) {
  const pk_value *items = NULL;
  size_t n = 0;
  (void)arg;
  return pop_mark(&items, &n, m);
}

/* The value on top, which stays there. */
static mtk_status peek(pk_value *out, pk_machine *m) {
  MTK_TRY(pk_pop(out, m));
  m->n_stack++;
  return MTK_OK;
}

static mtk_status op_dup(pk_machine *m, int arg) {
  pk_value v;
  (void)arg;
  MTK_TRY(peek(&v, m));
  return pk_push(m, v);
}

static mtk_status memo_put(pk_machine *m, uint64_t i) {
  pk_value v;
  MTK_TRY(peek(&v, m));
  if (i >= PK_MAX_MEMO) return pk_bad(m, "a memo index beyond the limit");
  if (i >= m->cap_memo) {
    size_t cap = m->cap_memo ? 2 * m->cap_memo : 256;
    while (cap <= i) cap *= 2;
    pk_value *more = mtk_realloc(m->memo, m->cap_memo, cap, sizeof *more);
    if (!more) return pk_no_memory(m);
    memset(more + m->cap_memo, 0, (cap - m->cap_memo) * sizeof *more);
    m->memo = more;
    m->cap_memo = cap;
  }
  m->memo[i] = v;
  if (i >= m->n_memo) m->n_memo = (size_t)i + 1;
  return MTK_OK;
}

static mtk_status memo_get(pk_machine *m, uint64_t i) {
  if (i >= m->n_memo) return pk_bad(m, "an unknown memo index");
  return pk_push(m, m->memo[i]);
}

/* The index stands in n bytes, or (n = 0) in a line. */
static mtk_status take_index(uint64_t *i, pk_machine *m, int n) {
  const char *s = NULL;
  size_t len = 0;
  if (n) return take_uint(i, m, n);
  MTK_TRY(take_line(&s, &len, m));
  *i = 0;
  for (size_t at = 0; at < len; at++) {
    if (s[at] < '0' || s[at] > '9' || *i >= PK_MAX_MEMO) return pk_bad(m, "not a memo index");
    *i = 10 * *i + (uint64_t)(s[at] - '0');
  }
  return MTK_OK;
}

static mtk_status op_put(pk_machine *m, int n) {
  uint64_t i = 0;
  MTK_TRY(take_index(&i, m, n));
  return memo_put(m, i);
}

static mtk_status op_get(pk_machine *m, int n) {
  uint64_t i = 0;
  MTK_TRY(take_index(&i, m, n));
  return memo_get(m, i);
}

static mtk_status op_memoize(pk_machine *m, int arg) {
  (void)arg;
  return memo_put(m, m->n_memo);
}

/* ---- containers ---------------------------------------------------------------------------- */

static mtk_status op_empty(pk_machine *m, int kind) {
  pk_value v;
  MTK_TRY(pk_new_list(&v, m, (pk_kind)kind, NULL, 0));
  return pk_push(m, v);
}

/* LIST, TUPLE, DICT: all above the mark */
static mtk_status op_from_mark(pk_machine *m, int kind) {
  const pk_value *items = NULL;
  size_t n = 0;
  pk_value v;
  MTK_TRY(pop_mark(&items, &n, m));
  if (kind == PK_DICT && n % 2) return pk_bad(m, "a key without a value");
  MTK_TRY(pk_new_list(&v, m, (pk_kind)kind, items, n));
  return pk_push(m, v);
}

static mtk_status op_tuple_n(pk_machine *m, int n) {
  pk_value items[3], v;
  for (int i = n - 1; i >= 0; i--) MTK_TRY(pk_pop(&items[i], m));
  MTK_TRY(pk_new_list(&v, m, PK_TUPLE, items, (size_t)n));
  return pk_push(m, v);
}

static mtk_status extend(pk_machine *m, pk_kind kind, const pk_value *items, size_t n) {
  pk_value target;
  MTK_TRY(peek(&target, m));
  if (target.kind != kind) return pk_bad(m, "adds items to something that holds none");
  if (kind == PK_DICT && n % 2) return pk_bad(m, "a key without a value");
  for (size_t i = 0; i < n; i++) MTK_TRY(pk_append(m, target.as.list, items[i]));
  return MTK_OK;
}

/* APPENDS, SETITEMS */
static mtk_status op_extend(pk_machine *m, int kind) {
  const pk_value *items = NULL;
  size_t n = 0;
  MTK_TRY(pop_mark(&items, &n, m));
  return extend(m, (pk_kind)kind, items, n);
}

/* APPEND, SETITEM */
static mtk_status op_add(pk_machine *m, int kind) {
  pk_value items[2];
  int n = kind == PK_DICT ? 2 : 1;
  for (int i = n - 1; i >= 0; i--) MTK_TRY(pk_pop(&items[i], m));
  return extend(m, (pk_kind)kind, items, (size_t)n);
}

/* ---- objects ------------------------------------------------------------------------------- */

static mtk_status push_global(pk_machine *m, const char *module, size_t n_module, const char *name,
                              size_t n_name) {
  pk_value v = {.kind = PK_GLOBAL};
  MTK_TRY(pk_find_global(&v.as.global, m, module, n_module, name, n_name));
  return pk_push(m, v);
}

/* GLOBAL, INST: two lines. INST would call it: no name of the table is made that way. */
static mtk_status op_global(pk_machine *m, int is_inst) {
  const char *module = NULL, *name = NULL;
  size_t n_module = 0, n_name = 0;
  MTK_TRY(take_line(&module, &n_module, m));
  MTK_TRY(take_line(&name, &n_name, m));
  MTK_TRY(push_global(m, module, n_module, name, n_name));
  return is_inst ? pk_bad(m, "asks for INST: refused") : MTK_OK;
}

static mtk_status op_stack_global(pk_machine *m, int arg) {
  pk_value module, name;
  (void)arg;
  MTK_TRY(pk_pop(&name, m));
  MTK_TRY(pk_pop(&module, m));
  if (module.kind != PK_STR || name.kind != PK_STR) return pk_bad(m, "a name that is no text");
  return push_global(m, module.as.str.s, module.as.str.n, name.as.str.s, name.as.str.n);
}

/* REDUCE, NEWOBJ */
static mtk_status op_reduce(pk_machine *m, int arg) {
  pk_value args, function, out;
  (void)arg;
  MTK_TRY(pk_pop(&args, m));
  MTK_TRY(pk_pop(&function, m));
  if (args.kind != PK_TUPLE) return pk_bad(m, "a call without a tuple of arguments");
  MTK_TRY(pk_call(&out, m, &function, args.as.list));
  return pk_push(m, out);
}

static mtk_status op_build(pk_machine *m, int arg) {
  pk_value state, object;
  (void)arg;
  MTK_TRY(pk_pop(&state, m));
  MTK_TRY(peek(&object, m));
  return pk_build(m, &object);
}

static mtk_status op_persid(pk_machine *m, int arg) {
  pk_value id, v = {.kind = PK_STORAGE};
  (void)arg;
  MTK_TRY(pk_pop(&id, m));
  if (id.kind != PK_TUPLE) return pk_bad(m, "a persistent id that is no tuple");
  MTK_TRY(m->storage(m->ctx, &v.as.storage, id.as.list, m));
  return pk_push(m, v);
}

/* ---- the frame ----------------------------------------------------------------------------- */

static mtk_status op_proto(pk_machine *m, int arg) {
  uint64_t version = 0;
  (void)arg;
  MTK_TRY(take_uint(&version, m, 1));
  return version <= 5 ? MTK_OK : pk_bad(m, "a protocol above 5");
}

static mtk_status op_frame(pk_machine *m, int arg) {
  uint64_t size = 0;
  (void)arg;
  return take_uint(&size, m, 8);
}

static mtk_status op_stop(pk_machine *m, int arg) {
  (void)arg;
  m->stopped = true;
  return MTK_OK;
}

/* ---- the table ----------------------------------------------------------------------------- */

static const struct {
  const char *name;
  pk_op run; /* NULL: refused */
  int arg;
} ops[256] = {
    ['('] = {"MARK", op_mark, 0},
    ['.'] = {"STOP", op_stop, 0},
    ['0'] = {"POP", op_pop, 0},
    ['1'] = {"POP_MARK", op_pop_mark, 0},
    ['2'] = {"DUP", op_dup, 0},
    ['F'] = {"FLOAT", NULL, 0},
    ['I'] = {"INT", op_int_text, 0},
    ['J'] = {"BININT", op_binint, 4},
    ['K'] = {"BININT1", op_binint, 1},
    ['L'] = {"LONG", op_int_text, 0},
    ['M'] = {"BININT2", op_binint, 2},
    ['N'] = {"NONE", push_kind, PK_NONE},
    ['P'] = {"PERSID", NULL, 0},
    ['Q'] = {"BINPERSID", op_persid, 0},
    ['R'] = {"REDUCE", op_reduce, 0},
    ['S'] = {"STRING", op_string, 0},
    ['T'] = {"BINSTRING", op_str, 4},
    ['U'] = {"SHORT_BINSTRING", op_str, 1},
    ['V'] = {"UNICODE", op_unicode, 0},
    ['X'] = {"BINUNICODE", op_str, 4},
    ['a'] = {"APPEND", op_add, PK_LIST},
    ['b'] = {"BUILD", op_build, 0},
    ['c'] = {"GLOBAL", op_global, 0},
    ['d'] = {"DICT", op_from_mark, PK_DICT},
    ['}'] = {"EMPTY_DICT", op_empty, PK_DICT},
    ['e'] = {"APPENDS", op_extend, PK_LIST},
    ['g'] = {"GET", op_get, 0},
    ['h'] = {"BINGET", op_get, 1},
    ['i'] = {"INST", op_global, 1},
    ['j'] = {"LONG_BINGET", op_get, 4},
    ['l'] = {"LIST", op_from_mark, PK_LIST},
    [']'] = {"EMPTY_LIST", op_empty, PK_LIST},
    ['o'] = {"OBJ", NULL, 0},
    ['p'] = {"PUT", op_put, 0},
    ['q'] = {"BINPUT", op_put, 1},
    ['r'] = {"LONG_BINPUT", op_put, 4},
    ['s'] = {"SETITEM", op_add, PK_DICT},
    ['t'] = {"TUPLE", op_from_mark, PK_TUPLE},
    [')'] = {"EMPTY_TUPLE", op_empty, PK_TUPLE},
    ['u'] = {"SETITEMS", op_extend, PK_DICT},
    ['G'] = {"BINFLOAT", op_binfloat, 0},
    ['B'] = {"BINBYTES", op_bytes, 4},
    ['C'] = {"SHORT_BINBYTES", op_bytes, 1},
    [0x80] = {"PROTO", op_proto, 0},
    [0x81] = {"NEWOBJ", op_reduce, 0},
    [0x82] = {"EXT1", NULL, 0},
    [0x83] = {"EXT2", NULL, 0},
    [0x84] = {"EXT4", NULL, 0},
    [0x85] = {"TUPLE1", op_tuple_n, 1},
    [0x86] = {"TUPLE2", op_tuple_n, 2},
    [0x87] = {"TUPLE3", op_tuple_n, 3},
    [0x88] = {"NEWTRUE", push_bool, 1},
    [0x89] = {"NEWFALSE", push_bool, 0},
    [0x8a] = {"LONG1", op_long, 1},
    [0x8b] = {"LONG4", op_long, 4},
    [0x8c] = {"SHORT_BINUNICODE", op_str, 1},
    [0x8d] = {"BINUNICODE8", op_str, 8},
    [0x8e] = {"BINBYTES8", op_bytes, 8},
    [0x8f] = {"EMPTY_SET", NULL, 0},
    [0x90] = {"ADDITEMS", NULL, 0},
    [0x91] = {"FROZENSET", NULL, 0},
    [0x92] = {"NEWOBJ_EX", NULL, 0},
    [0x93] = {"STACK_GLOBAL", op_stack_global, 0},
    [0x94] = {"MEMOIZE", op_memoize, 0},
    [0x95] = {"FRAME", op_frame, 0},
    [0x96] = {"BYTEARRAY8", NULL, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0},
};

mtk_status pk_step(pk_machine *m, uint8_t opcode) {
  if (ops[opcode].run) return ops[opcode].run(m, ops[opcode].arg);
  if (!ops[opcode].name) return pk_bad(m, "an unknown opcode");
  return mtk_fail_at(m->err, MTK_E_UNSUPPORTED, m->path, m->pos - 1, "pickle asks for %s: refused",
                     ops[opcode].name);
}
