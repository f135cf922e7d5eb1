/* needs fixed_point window */
/* Reference kernels of operators with weights, for what no own kernel takes: groups, several
 * channels of one, factors of a half or more, sums that wrap around. Any rescaling is right. */
typedef struct {
  const int8_t* weights; /* [out, height, width, in] or [height, width, out], a byte each */
  const int32_t* biases; /* with the zero point of the input in them */
  const Factor* factors;
  Window window;
  int32_t channels, groups;
  int32_t zero, low, high;
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
