/* needs tile */
/* Convolutions: windows become columns, three pixels at a time. A run is what of a window lies side
 * by side in the map; each begins at an even place of the column. */
typedef struct {
  Window window;
  Tile tile;
  uint16_t runs, taps; /* of a row of the window, and of a run */
} Convolution;

SHARED void column(const Convolution* c, const int8_t* in, int y, int x, int16_t* to, int step) {
  const Window* w = &c->window;
  const int depth = w->depth, run = c->taps * depth;
  for (int i = 0; i < w->height; ++i, y += w->dilation_y) {
    for (int r = 0, left = x; r < c->runs; ++r, left += w->dilation_x) {
      const int inside = y >= 0 && y < w->in_height;
      const int from = (y * w->in_width + left) * depth;
      if (inside && left >= 0 && left + c->taps <= w->in_width) {
        to = widen(to, in + from, run, step);
        continue;
      }
      for (int k = 0, at = left, channel = 0; k < run; ++k) {
        to[k & 1] = inside && at >= 0 && at < w->in_width ? in[from + k] : w->zero;
        if (k & 1) to += 2 * step;
        if (++channel == depth) channel = 0, ++at;
      }
      if (run & 1) to += 2 * step;
    }
  }
}

KERNEL(convolution) {
  const Convolution* c = op;
  int16_t* const columns = more;
  const Window* w = &c->window;
  int left_over = w->out_height * w->out_width;
  int8_t* const first = out;
  int x = 0, left = -w->left, top = -w->top;
  while (left_over > 0) {
    const int pixels = left_over >= 3 ? 3 : 1;
    for (int i = 0; i < pixels; ++i) {
      column(c, in, top, left, columns + 2 * i, pixels);
      left += w->stride_x;
      if (++x == w->out_width) x = 0, left = -w->left, top += w->stride_y;
    }
    out = (pixels == 3 ? c->tile.form->three : c->tile.form->one)(&c->tile, columns, out);
    left_over -= pixels;
  }
  clip(first, (int)(out - first), c->tile.low, c->tile.high);
}
