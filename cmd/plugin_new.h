/* plugin_new.h: the skeletons that `mtk plugin new` writes. */
#ifndef MTK_CMD_PLUGIN_NEW_H
#define MTK_CMD_PLUGIN_NEW_H

#include "cmd.h"

/* Write a plugin of a kind ("format", "verifier") into the new folder `dir`: source, Makefile with
 * `make` and `make check`, README. name: lower-case letters, digits, '-'. */
mtk_status mtk_cmd_plugin_new(const char *name, const char *kind, const char *dir, mtk_error *err);

#endif
