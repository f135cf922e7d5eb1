/* needs plane */
/* Depthwise convolutions of several filters for each channel, whose plane they share. */
typedef struct {
  Depthwise depthwise;
  int32_t times; /* filters of a channel */
} Several;

KERNEL(several) {
  const Several* s = op;
  const Depthwise* d = &s->depthwise;
  const Window* w = &d->window;
  const int channels = w->depth * s->times;
  int16_t* const plane = more;
  const int8_t* weights = d->weights;
  for (int i = rows_of(w) * d->pitch; i > 0;) plane[--i] = w->zero;
  for (int i = 0, left = 0; i < channels; ++i, --left, weights += d->bytes) {
    if (left == 0) take_channel(d, in++, plane), left = s->times;
    const int shift = d->shifts[i];
    Channel c = {plane,
                 weights,
                 out + i,
                 channels,
                 w->dilation_y * d->pitch,
                 w->stride_y * d->pitch,
                 w->out_height,
                 w->out_width,
                 d->scales[i].bias,
                 d->scales[i].multiplier,
                 d->zero * (1 << (shift - 1)),
                 shift};
    d->taps(&c);
  }
  clip(out, w->out_height * w->out_width * channels, d->low, d->high);
}
