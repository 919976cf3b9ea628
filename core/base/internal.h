/* base/internal.h: what the files of core/base share with each other and with the rest of core, but
 * not with plugins. */
#ifndef MTK_BASE_INTERNAL_H
#define MTK_BASE_INTERNAL_H

#include <mtk/base.h>

/* mtk_fail with the system's text for `errnum`: "cannot open: No such file or directory". The code
 * follows from errnum: ENOENT not-found, EEXIST exists, ENOMEM nomem, anything else io. */
mtk_status mtk_fail_errno(mtk_error *err, int errnum, const char *place, const char *what);

/* n bytes of mapped files were read. Now and then the pages of all maps are given back (they come
 * again from the page cache), so that a pass over a model of any size keeps bounded memory. Any
 * thread. */
void mtk_file_note_read(size_t n);

/* CPUs this process may use: affinity mask and cgroup v1/v2 quota (rounded up), at least 1. */
int mtk_cpu_count(void);

#endif
