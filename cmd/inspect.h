/* inspect.h: what inspect says about the texts of a model. Main thread only. */
#ifndef MTK_CMD_INSPECT_H
#define MTK_CMD_INSPECT_H

#include "cmd.h"

/* [{"name","bytes","roles","tools","reasoning"}, ...]: what each chat template handles, found by
 * rendering small conversations with it; "error" where it cannot be parsed. New references. */
json_t *mtk_cmd_templates_json(const mtk_model *model);
/* {"license": "apache-2.0", "from": "README.md"}, or null. */
json_t *mtk_cmd_license_json(const mtk_model *model);
/* The provenance record, or null. */
json_t *mtk_cmd_provenance_record(const mtk_model *model);

#endif
