/* needs fixed_point window scale clip */
/* Depthwise convolutions, a channel at a time: its map is copied into a plane with its padding, from
 * which any kernel writes back over the same channel of the same map. */
typedef struct {
  Window window;
  const int8_t* weights; /* the taps of each channel */
  const Scale* scales;
  const int8_t* shifts;
  uint16_t pitch; /* of the plane's rows */
  int16_t zero;   /* twice the output's zero point, and one */
  int8_t low, high;
} Depthwise;

INLINE int rows_of(const Window* w) {
  return (w->out_height - 1) * w->stride_y + (w->height - 1) * w->dilation_y + 1;
}

SHARED void surround(const Depthwise* d, int16_t* plane) {
  for (int i = rows_of(&d->window) * d->pitch; i > 0; --i) *plane++ = d->window.zero;
}

SHARED void take_channel(const Depthwise* d, const int8_t* in, int16_t* plane) {
  const Window* w = &d->window;
  const int depth = w->depth;
  int height = rows_of(w) - w->top, width = d->pitch - w->left;
  if (height > w->in_height) height = w->in_height;
  if (width > w->in_width) width = w->in_width;
  plane += w->top * d->pitch + w->left;
  for (; height > 0; --height, plane += d->pitch, in += w->in_width * depth) {
    int16_t* to = plane;
    const int8_t* from = in;
    int i = width;
    for (; i >= 4; i -= 4, to += 4) {
      to[0] = *from, from += depth;
      to[1] = *from, from += depth;
      to[2] = *from, from += depth;
      to[3] = *from, from += depth;
    }
    for (; i > 0; --i, from += depth) *to++ = *from;
  }
}

#if DSP
INLINE int32_t word(const int16_t* at) {
  int32_t value;
  memcpy(&value, at, 4);
  return value;
}
INLINE int32_t pair(int first, int second) { return (int32_t)((uint32_t)second << 16 | (first & 0xFFFF)); }
#define MULTIPLY(name)                                                                \
  INLINE int32_t name(int32_t sum, int32_t x, int32_t w) {                     \
    __asm(#name " %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(w));                      \
    return sum;                                                                       \
  }
MULTIPLY(smlad)
MULTIPLY(smlabb)
MULTIPLY(smlabt)
MULTIPLY(smlatb)
INLINE int32_t product(int32_t sum, int32_t multiplier) {
  __asm("smmulr %0, %0, %1" : "+r"(sum) : "r"(multiplier));
  return sum;
}
INLINE int32_t codes(int32_t value) {
  __asm("ssat %0, #8, %0" : "+r"(value));
  return value;
}
#else
INLINE int32_t product(int32_t doubled, int32_t multiplier) { return high(doubled >> 1, multiplier); }
INLINE int32_t codes(int32_t value) { return clamped(value, -128, 127); }
#endif
