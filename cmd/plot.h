/* plot.h: plots as SVG, for reports. */
#ifndef MTK_CMD_PLOT_H
#define MTK_CMD_PLOT_H

#include <mtk/base.h>

/* One bar per value, labelled first, first + 1, ... on the axis; the last one `last`, if not
 * NULL. */
typedef struct mtk_cmd_bars {
  const char *title, *x_axis, *y_axis;
  const double *values; /* >= 0 */
  size_t n;             /* at least one */
  long first;
  const char *last;
} mtk_cmd_bars;
void mtk_cmd_plot_bars(mtk_bytes *out, const mtk_cmd_bars *bars);

typedef struct mtk_cmd_point {
  double x, y;
  const char *label; /* NULL: only part of the line */
  bool strong;       /* the point that matters */
} mtk_cmd_point;

/* A line through the points without a label, a mark at the others. y > 0, on a logarithmic axis. */
typedef struct mtk_cmd_curve {
  const char *title, *x_axis, *y_axis;
  const mtk_cmd_point *points;
  size_t n; /* at least one */
} mtk_cmd_curve;
void mtk_cmd_plot_curve(mtk_bytes *out, const mtk_cmd_curve *curve);

#endif
