/* needs fixed_point window scale clip */
/* Depthwise convolutions, a channel at a time: its map is copied into a plane with its padding, from
 * which the taps of any window write back over the same channel of the same map. */
typedef struct { /* at the offsets of engine/kernels/taps.py */
  const int16_t* plane;
  const int8_t* weights;
  int8_t* out;
  int32_t depth;     /* bytes between outputs */
  int32_t row, down; /* elements of the plane between rows of taps, and between rows of outputs */
  int32_t height, width;
  int32_t bias, multiplier, rounding, shift; /* the rounding with the output's zero point in it */
} Channel;
typedef struct {
  Window window;
  const int8_t* weights; /* the taps of each channel */
  const Scale* scales;
  const int8_t* shifts;
  void (*taps)(Channel*);
  uint16_t bytes; /* of a channel's taps */
  uint16_t pitch; /* of the plane's rows */
  int16_t zero;   /* twice the output's zero point, and one */
  int8_t low, high;
} Depthwise;

INLINE int rows_of(const Window* w) {
  return (w->out_height - 1) * w->stride_y + (w->height - 1) * w->dilation_y + 1;
}

SHARED void take_channel(const Depthwise* d, const int8_t* in, int16_t* plane) {
  const Window* w = &d->window;
  const int depth = w->depth, width = smaller(d->pitch - w->left, w->in_width);
  int height = smaller(rows_of(w) - w->top, w->in_height);
  plane += w->top * d->pitch + w->left;
  for (; height > 0; --height, plane += d->pitch, in += w->in_width * depth) {
    const int8_t* from = in;
    int16_t* to = plane;
    int i = width;
    for (; i & 3; --i, from += depth) *to++ = *from;
    for (; i > 0; i -= 4, to += 4) {
      to[0] = *from, from += depth;
      to[1] = *from, from += depth;
      to[2] = *from, from += depth;
      to[3] = *from, from += depth;
    }
  }
}
