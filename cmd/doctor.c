/* doctor.c: mtk doctor: what this machine and this build can do. */
#include <mtk/limits.h>
#include <unistd.h>

#include "cmd.h"

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  const char *why;
  mtk_kernels table;
  MTK_TRY(mtk_kernels_choose(&table, &why, -1, err));
  mtk_pool *pool = NULL;
  MTK_TRY(mtk_pool_create(&pool, 0, err));
  size_t loaded = 0, refused = 0;
  for (size_t i = 0; i < mtk_plugin_count(); i++)
    (mtk_plugin_at(i)->refused ? &refused : &loaded)[0]++;
  long long memory = (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  json_t *doc = json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:I}", "version", mtk_version(), "isa",
                          table.isa_name, "isa_reason", why, "threads",
                          mtk_pool_size(pool), "memory_bytes", (json_int_t)memory, "plugins",
                          (json_int_t)loaded, "plugins_refused", (json_int_t)refused);
  mtk_pool_destroy(pool);
  if (line->json) return mtk_cmd_print_json(doc, false, err);
  mtk_cmd_print("mtk       %s\nkernels   %s (%s)\nthreads   %d\nmemory    %s\nplugins   %zu "
                "loaded, %zu refused\n",
                mtk_version(), table.isa_name, why,
                (int)json_integer_value(json_object_get(doc, "threads")),
                mtk_cmd_bytes((uint64_t)memory), loaded, refused);
  json_decref(doc);
  return MTK_OK;
}

const mtk_cmd mtk_cmd_doctor = {
    "doctor", "", "what this machine and this build can do", NULL, NULL, 0, 0, run};
