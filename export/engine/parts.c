/* needs column */
/* Convolutions whose pixels of outputs do not lie side by side: in groups of channels, or for outputs
 * a stride apart, as of transposed ones. */
typedef struct {
  Convolution convolution;   /* of the first group, over its channels alone */
  int32_t groups, bytes;     /* and bytes of each one's filters */
  int32_t first, step, line; /* bytes before the first pixel, to the next, and at the end of a row */
} Parts;

KERNEL(parts) {
  const Parts* p = op;
  Convolution c = p->convolution;
  const Window* w = &c.window;
  const int channels = c.tile.channels, even = channels + channels % 2;
  int8_t* const codes = (int8_t*)more + 12 * c.tile.pairs;
  out += p->first;
  for (int g = 0; g < p->groups; ++g, out += channels) {
    int8_t *to = out, *places[3];
    int x = 0, y = -w->top;
    for (int left_over = w->out_height * w->out_width; left_over > 0;) {
      const int pixels = together(left_over);
      for (int i = 0; i < pixels; ++i, to += p->step) {
        places[i] = to;
        column(&c, in, y, x * w->stride_x - w->left, (int16_t*)more + 2 * i, pixels);
        if (++x == w->out_width) x = 0, y += w->stride_y, to += p->line;
      }
      multiplied(&c.tile, more, pixels, codes);
      clip(codes, pixels * channels, c.tile.low, c.tile.high);
      for (int i = 0; i < pixels; ++i) memcpy(places[i], codes + i * channels, (size_t)channels);
      left_over -= pixels;
    }
    c.tile.weights = (const int8_t*)c.tile.weights + p->bytes;
    c.tile.scales += even, c.tile.shifts += even;
    --c.window.left; /* a narrower pixel further */
  }
}
