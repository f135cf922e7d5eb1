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
