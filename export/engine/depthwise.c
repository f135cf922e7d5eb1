/* needs plane */
KERNEL(depthwise) {
  const Depthwise* d = op;
  const Window* w = &d->window;
  int16_t* const plane = more;
  const int8_t* weights = d->weights;
  for (int i = rows_of(w) * d->pitch; i > 0;) plane[--i] = w->zero;
  for (int i = 0; i < w->depth; ++i, weights += d->bytes) {
    const int shift = d->shifts[i];
    Channel c = {plane,
                 weights,
                 out + i,
                 w->depth,
                 w->dilation_y * d->pitch,
                 w->stride_y * d->pitch,
                 w->out_height,
                 w->out_width,
                 d->scales[i].bias,
                 d->scales[i].multiplier,
                 d->zero * (1 << (shift - 1)),
                 shift};
    take_channel(d, in + i, plane);
    d->taps(&c);
  }
  clip(out, w->out_height * w->out_width * w->depth, d->low, d->high);
}
