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
  const int run = c->taps * w->depth, pitch = w->in_width * w->depth;
  for (int i = w->height; i > 0; --i, y += w->dilation_y) {
    const int end = y >= 0 && y < w->in_height ? pitch : 0; /* of what lies in the map */
    for (int r = c->runs, at = x * w->depth; r > 0; --r, at += w->dilation_x * w->depth) {
      if (at >= 0 && at + run <= end) {
        to = widen(to, in + y * pitch + at, run, step);
        continue;
      }
      for (int k = 0; k < run; ++k) {
        const int element = at + k;
        to[k & 1] = element >= 0 && element < end ? in[y * pitch + element] : w->zero;
        if (k & 1) to += 2 * step;
      }
      if (run & 1) to += 2 * step;
    }
  }
}

KERNEL(convolution) {
  const Convolution* c = op;
  const Window* w = &c->window;
  int left_over = w->out_height * w->out_width;
  int8_t* const first = out;
  int x = 0, y = -w->top;
  while (left_over > 0) {
    const int pixels = together(left_over);
    for (int i = 0; i < pixels; ++i) {
      column(c, in, y, x * w->stride_x - w->left, (int16_t*)more + 2 * i, pixels);
      if (++x == w->out_width) x = 0, y += w->stride_y;
    }
    out = multiplied(&c->tile, more, pixels, out);
    left_over -= pixels;
  }
  clip(first, (int)(out - first), c->tile.low, c->tile.high);
}
