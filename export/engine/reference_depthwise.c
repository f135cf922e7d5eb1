/* needs fixed_point window */
/* Depthwise convolutions that no other kernel takes: with large windows, factors of a half or more, or
 * sums that wrap around. Any rescaling is right. Codes are taken from zero first, as what is outside
 * adds nothing. */
typedef struct {
  const int8_t* weights; /* [height, width, out], a byte each */
  const int32_t* biases;
  const Factor* factors;
  Window window;
  int32_t channels, zero, low, high;
} Reference;

INLINE int8_t coded(const Reference* r, int channel, uint32_t sum) {
  const int32_t value = rescale((int32_t)sum, r->factors[channel]);
  return clamped(value + r->zero, r->low, r->high);
}

KERNEL(reference_depthwise) {
  const Reference* r = op;
  const Window* w = &r->window;
  const int each = r->channels / w->depth;
  for (int y = 0; y < w->out_height; ++y) {
    for (int x = 0; x < w->out_width; ++x) {
      const int left = x * w->stride_x - w->left, apart = w->dilation_x;
      const int first = larger((apart - 1 - left) / apart, 0); /* of the taps inside */
      const int end = smaller((w->in_width - left + apart - 1) / apart, w->width);
      for (int c = 0; c < r->channels; ++c) {
        const int8_t *tap = r->weights + c, *map = in + c / each;
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = 0; i < w->height; ++i, tap += w->width * r->channels) {
          const int at = y * w->stride_y - w->top + i * w->dilation_y;
          if ((unsigned)at >= w->in_height) continue;
          const int8_t* from = map + (at * w->in_width + left + first * apart) * w->depth;
          const int8_t* t = tap + first * r->channels;
          for (int j = first; j < end; ++j, from += apart * w->depth, t += r->channels) {
            sum += (uint32_t)(*t * (*from - w->zero));
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
