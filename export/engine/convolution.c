/* needs column */
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
