/* plot.c: plots as SVG. Main thread only. */
#include "plot.h"

#include <math.h>

enum { LEFT = 80, TOP = 40, WIDTH = 690, HEIGHT = 260 };

/* What the edges of the plot stand for. */
typedef struct range {
  double x0, x1, y0, y1;
  bool log_y;
} range;

static double at_x(const range *r, double x) {
  return LEFT + WIDTH * (x - r->x0) / (r->x1 - r->x0);
}

static double at_y(const range *r, double y) {
  double part = r->log_y ? log(y / r->y0) / log(r->y1 / r->y0) : (y - r->y0) / (r->y1 - r->y0);
  return TOP + HEIGHT * (1 - part);
}

/* 1, 2 or 5 times a power of ten, so that four or more of them make up `width`. */
static double grid_step(double width) {
  double power = pow(10, floor(log10(width / 4)));
  double left = width / 4 / power;
  return power * (left >= 5 ? 5 : left >= 2 ? 2 : 1);
}

static void put_frame(mtk_bytes *out, const char *title, const char *x_axis, const char *y_axis) {
  mtk_bytes_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 350\" "
                   "width=\"800\" height=\"350\" font-family=\"sans-serif\" font-size=\"12\">\n"
                   "<rect width=\"800\" height=\"350\" fill=\"white\"/>\n"
                   "<text x=\"%d\" y=\"24\" font-size=\"15\">%s</text>\n"
                   "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n"
                   "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">%s"
                   "</text>\n<path d=\"M%d %dH%d\" stroke=\"#888\"/>\n",
                   LEFT, title, LEFT + WIDTH / 2, TOP + HEIGHT + 40, x_axis, TOP + HEIGHT / 2,
                   y_axis, LEFT, TOP + HEIGHT, LEFT + WIDTH);
}

static void put_y_tick(mtk_bytes *out, const range *r, double y) {
  double at = at_y(r, y);
  mtk_bytes_printf(out,
                   "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ccc\"/>"
                   "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                   LEFT, LEFT + WIDTH, at, at, LEFT - 6, at + 4, y);
}

/* Powers of ten; 2 and 5 times them where there are few. */
static void put_log_ticks(mtk_bytes *out, const range *r) {
  bool few = r->y1 / r->y0 < 1e3;
  for (double power = pow(10, floor(log10(r->y0))); power <= r->y1 * 1.0001; power *= 10)
    for (int i = 1; i < 10; i++) {
      double y = i * power;
      bool wanted = i == 1 || (few && (i == 2 || i == 5));
      if (wanted && y >= r->y0 * 0.9999 && y <= r->y1 * 1.0001) put_y_tick(out, r, y);
    }
}

static void put_bar_label(mtk_bytes *out, const mtk_cmd_bars *b, size_t i, double x) {
  bool last = i + 1 == b->n;
  size_t every = b->n > 24 ? b->n / 12 : 1;
  if (!last && i % every != 0) return;
  if (!last && b->n > 24 && b->n - 1 - i < every / 2 + 1) return; /* room for the last label */
  mtk_bytes_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", x, TOP + HEIGHT + 18);
  if (last && b->last) mtk_bytes_printf(out, "%s</text>\n", b->last);
  else mtk_bytes_printf(out, "%ld</text>\n", b->first + (long)i);
}

void mtk_cmd_plot_bars(mtk_bytes *out, const mtk_cmd_bars *b) {
  double top = 1e-6, slot = (double)WIDTH / (double)b->n;
  for (size_t i = 0; i < b->n; i++) top = fmax(top, b->values[i]);
  double step = grid_step(top);
  range r = {.x1 = (double)b->n, .y1 = ceil(top / step) * step};
  put_frame(out, b->title, b->x_axis, b->y_axis);
  for (double y = 0; y <= r.y1 * 1.0001; y += step) put_y_tick(out, &r, y);
  for (size_t i = 0; i < b->n; i++) {
    double y = at_y(&r, b->values[i]), x = at_x(&r, (double)i);
    mtk_bytes_printf(out,
                     "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                     "fill=\"#3b6ea5\"/>\n",
                     x + slot * 0.1, y, slot * 0.8, TOP + HEIGHT - y);
    put_bar_label(out, b, i, x + slot / 2);
  }
  mtk_bytes_puts(out, "</svg>\n");
}

static range range_of(const mtk_cmd_curve *c) {
  range r = {INFINITY, -INFINITY, INFINITY, -INFINITY, true};
  for (size_t i = 0; i < c->n; i++) {
    r.x0 = fmin(r.x0, c->points[i].x);
    r.x1 = fmax(r.x1, c->points[i].x);
    r.y0 = fmin(r.y0, c->points[i].y);
    r.y1 = fmax(r.y1, c->points[i].y);
  }
  double step = grid_step(fmax(r.x1 - r.x0, 0.1));
  r.x0 = floor(r.x0 / step) * step;
  r.x1 = fmax(ceil(r.x1 / step) * step, r.x0 + step);
  r.y0 *= 0.7;
  r.y1 *= 1.5; /* room for labels */
  return r;
}

static void put_mark(mtk_bytes *out, const range *r, const mtk_cmd_point *p) {
  const char *color = p->strong ? "#c0392b" : "#555";
  double x = at_x(r, p->x), y = at_y(r, p->y);
  bool below = p->strong || x > LEFT + WIDTH - 80; /* left and below nothing beats the line */
  mtk_bytes_printf(out,
                   "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\"/>"
                   "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\"%s>%s</text>\n",
                   x, y, p->strong ? 6 : 4, color, below ? x - 8 : x + 8, below ? y + 14 : y - 7,
                   below ? "end" : "start", color,
                   p->strong ? " font-weight=\"bold\"" : "", p->label);
}

void mtk_cmd_plot_curve(mtk_bytes *out, const mtk_cmd_curve *c) {
  range r = range_of(c);
  double step = grid_step(r.x1 - r.x0);
  put_frame(out, c->title, c->x_axis, c->y_axis);
  put_log_ticks(out, &r);
  for (double x = r.x0; x <= r.x1 + step / 2; x += step)
    mtk_bytes_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n",
                     at_x(&r, x), TOP + HEIGHT + 18, x);
  mtk_bytes_puts(out, "<polyline fill=\"none\" stroke=\"#3b6ea5\" stroke-width=\"2\" points=\"");
  for (size_t i = 0; i < c->n; i++)
    if (!c->points[i].label)
      mtk_bytes_printf(out, "%.1f,%.1f ", at_x(&r, c->points[i].x), at_y(&r, c->points[i].y));
  mtk_bytes_puts(out, "\"/>\n");
  for (size_t i = 0; i < c->n; i++)
    if (c->points[i].label) put_mark(out, &r, &c->points[i]);
  mtk_bytes_puts(out, "</svg>\n");
}
