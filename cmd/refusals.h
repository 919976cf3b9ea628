/* refusals.h: phrases by which answers refuse. */
#ifndef MTK_CMD_REFUSALS_H
#define MTK_CMD_REFUSALS_H

#include <mtk/base.h>

/* One phrase in words of one language; matched without regard to ASCII case. */
typedef struct mtk_cmd_refusal {
  const char *language, *phrase;
} mtk_cmd_refusal;

/* Ends with a row of NULLs. */
extern const mtk_cmd_refusal mtk_cmd_refusals[];

#endif
