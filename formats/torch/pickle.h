/* pickle.h: a pickle machine that can build containers, numbers, texts and tensors, and nothing
 * else. One run is used by one thread; values live in the arena it was given. */
#ifndef MTK_TORCH_PICKLE_H
#define MTK_TORCH_PICKLE_H

#include <mtk/ext/format.h>
#include <mtk/plugin.h>

typedef enum pk_kind {
  PK_NONE,
  PK_BOOL,
  PK_INT,
  PK_LONG, /* beyond 64 bits: its little-endian bytes */
  PK_FLOAT,
  PK_STR,
  PK_BYTES,
  PK_LIST,
  PK_TUPLE,
  PK_DICT, /* items are key, value, key, value ... */
  PK_GLOBAL,
  PK_STORAGE,
  PK_TENSOR
} pk_kind;

typedef struct pk_list pk_list;
typedef struct pk_global pk_global;
typedef struct pk_storage pk_storage;
typedef struct pk_tensor pk_tensor;

typedef struct pk_value {
  pk_kind kind;
  union {
    int64_t i; /* BOOL too */
    double f;
    struct {
      const char *s; /* not terminated; borrowed from the pickle */
      size_t n;
    } str; /* LONG, STR, BYTES */
    pk_list *list;
    const pk_global *global;
    pk_storage *storage;
    pk_tensor *tensor;
  } as;
} pk_value;

struct pk_list {
  pk_value *items;
  size_t n, cap;
};

/* A row of the only names that a pickle may ask for. */
typedef enum pk_global_kind {
  PK_CALL_DICT,
  PK_CALL_TENSOR,    /* _rebuild_tensor(storage, offset, size, stride, ...) */
  PK_CALL_PARAMETER, /* _rebuild_parameter(tensor, ...) */
  PK_CALL_FROM_TYPE, /* _rebuild_from_type_v2(function, type, arguments, state) */
  PK_CALL_SIZE,
  PK_CALL_DEVICE,
  PK_STORAGE_TYPE, /* dtype; MTK_DTYPE_COUNT = untyped: counted in bytes */
  PK_DTYPE,
  PK_TENSOR_TYPE
} pk_global_kind;
struct pk_global {
  const char *module, *name;
  pk_global_kind kind;
  mtk_dtype dtype;
};

struct pk_storage {
  const char *key; /* not terminated */
  size_t n_key;
  mtk_dtype dtype; /* MTK_DTYPE_COUNT = untyped */
  uint64_t n;      /* elements, or bytes when untyped */
  const uint8_t *data;
  uint64_t size_bytes;
};

struct pk_tensor {
  pk_storage *storage;
  mtk_dtype dtype;
  uint64_t offset; /* elements into the storage */
  int n_dims;
  int64_t shape[MTK_MAX_DIMS], stride[MTK_MAX_DIMS]; /* elements */
};

typedef struct pk_machine pk_machine;
struct pk_machine {
  mtk_arena *arena;
  const uint8_t *data; /* the whole file; offsets of messages count from here */
  size_t end, pos;
  const char *path;
  mtk_error *err;
  /* A persistent id: a tuple ("storage", type, key, location, number of elements, ...). */
  mtk_status (*storage)(void *ctx, pk_storage **out, const pk_list *id, pk_machine *m);
  void *ctx;
  /* the state of one pickle */
  pk_value *stack, *memo;
  size_t n_stack, cap_stack, n_memo, cap_memo;
  size_t *marks;
  size_t n_marks, cap_marks;
  uint64_t n_values; /* made so far: bounds memory */
  bool stopped;
};

/* Run the pickle at m->pos; m->pos is then behind it. What asks for anything outside the table of
 * names is MTK_E_UNSUPPORTED and named. */
mtk_status pk_run(pk_value *out, pk_machine *m);
void pk_finish(pk_machine *m);

/* ---- for the files of the machine ---------------------------------------------------------- */

enum { PK_MAX_VALUES = 16 << 20, PK_MAX_MEMO = 8 << 20, PK_MAX_BYTES = 64 << 20 };

mtk_status pk_bad(const pk_machine *m, const char *why);
mtk_status pk_no_memory(const pk_machine *m);
mtk_status pk_push(pk_machine *m, pk_value v);
mtk_status pk_pop(pk_value *out, pk_machine *m);
mtk_status pk_append(pk_machine *m, pk_list *list, pk_value v);
mtk_status pk_new_list(pk_value *out, pk_machine *m, pk_kind kind, const pk_value *items, size_t n);
bool pk_is(const pk_value *v, const char *text); /* a STR of this text */

/* objects.c: the row of a name, refused by name if there is none; a call; a BUILD. */
mtk_status pk_find_global(const pk_global **out, const pk_machine *m, const char *module,
                          size_t n_module, const char *name, size_t n_name);
mtk_status pk_call(pk_value *out, pk_machine *m, const pk_value *function, const pk_list *args);
mtk_status pk_build(pk_machine *m, const pk_value *object);
/* ops.c: one opcode, whose byte was read. */
typedef mtk_status (*pk_op)(pk_machine *m, int arg);
mtk_status pk_step(pk_machine *m, uint8_t opcode);

#endif
