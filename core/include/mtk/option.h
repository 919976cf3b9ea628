/* mtk/option.h: typed option tables. Parsing, --help, documentation and config files come from one
 * place: the table of mtk_option_def. */
#ifndef MTK_OPTION_H
#define MTK_OPTION_H

#include <mtk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mtk_option_type {
  MTK_OPT_FLAG,  /* --force; no value */
  MTK_OPT_INT,   /* min..max */
  MTK_OPT_FLOAT, /* min..max */
  MTK_OPT_STRING,
  MTK_OPT_PATH, /* a string naming a file or folder */
  MTK_OPT_ENUM, /* one of `choices`, separated by '|' */
  MTK_OPT_LIST  /* may be given several times; strings */
} mtk_option_type;

typedef struct mtk_option_def {
  const char *name; /* "max-shard-size", without dashes; NULL ends a table */
  char letter;      /* short form, 0 = none */
  mtk_option_type type;
  const char *value_name;    /* "N", "FILE"; for help; NULL for flags */
  const char *default_value; /* as text; NULL = unset */
  double min, max;           /* INT and FLOAT; both 0 = no range */
  const char *choices;       /* ENUM: "keep|f32|f16|bf16" */
  const char *help;          /* one line */
} mtk_option_def;

/* Values for a table. Unset options without default read as NULL / 0 / fallback. */
typedef struct mtk_option_values mtk_option_values;
mtk_option_values *mtk_options_create(const mtk_option_def *defs);
void mtk_options_destroy(mtk_option_values *values);
/* Set one by name ("max-shard-size") from text; checks type and range. value NULL for flags. */
mtk_status mtk_options_set(mtk_option_values *values, const char *name, const char *value,
                           mtk_error *err);
bool mtk_options_is_set(const mtk_option_values *values, const char *name); /* by the user */
bool mtk_options_flag(const mtk_option_values *values, const char *name);
int64_t mtk_options_int(const mtk_option_values *values, const char *name);
double mtk_options_float(const mtk_option_values *values, const char *name);
const char *mtk_options_string(const mtk_option_values *values, const char *name); /* borrowed */
size_t mtk_options_list(const mtk_option_values *values, const char *name,
                        const char *const **items);

#ifdef __cplusplus
}
#endif
#endif
