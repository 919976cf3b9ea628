/* host_table.c: the table of functions that plugins get, filled from the rows of host.h; the
 * compiler checks each against its public declaration. Constant; any thread. */
#include "plug/plug_impl.h"

#define HOST_ENTRY(ret, name, args, attr) mtk_##name,

static const mtk_host table = {sizeof table, MTK_ABI_MAJOR, MTK_ABI_MINOR,
                               MTK_HOST_FUNCTIONS(HOST_ENTRY)};

const mtk_host *mtk_host_get(void) { return &table; }
