/* needs fixed_point window */
/* Depthwise convolutions that no other kernel takes: with large windows, factors of a half or more, or
 * sums that wrap around. Any rescaling is right. */
typedef struct {
  const int8_t* weights; /* [height, width, out], a byte each */
  const int32_t* biases; /* with the zero point of the input in them */
  const Factor* factors;
  Window window;
  int32_t channels, zero, low, high;
} Reference;

INLINE int8_t coded(const Reference* r, int channel, uint32_t sum) {
  const int32_t value = rescale((int32_t)sum, r->factors[channel]);
  return clamped(value + r->zero, r->low, r->high);
}

/* Code of a map, or its zero outside. */
INLINE int32_t code(const Window* w, const int8_t* in, int y, int x, int channel) {
  const int inside = ((unsigned)y < w->in_height) & ((unsigned)x < w->in_width);
  return inside ? in[(y * w->in_width + x) * w->depth + channel] : w->zero;
}

KERNEL(reference_depthwise) {
  const Reference* r = op;
  const Window* w = &r->window;
  const int each = r->channels / w->depth;
  for (int y = 0; y < w->out_height; ++y) {
    for (int x = 0; x < w->out_width; ++x) {
      for (int c = 0; c < r->channels; ++c) {
        const int8_t* tap = r->weights + c;
        uint32_t sum = (uint32_t)r->biases[c];
        for (int i = 0; i < w->height; ++i) {
          const int at = y * w->stride_y - w->top + i * w->dilation_y;
          for (int j = 0; j < w->width; ++j, tap += r->channels) {
            const int from = x * w->stride_x - w->left + j * w->dilation_x;
            sum += (uint32_t)(*tap * code(w, in, at, from, c / each));
          }
        }
        *out++ = coded(r, c, sum);
      }
    }
  }
}
