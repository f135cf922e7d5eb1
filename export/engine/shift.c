/* Rows that are still read move to the beginning of their band, or new ones in behind them. Small C
 * libraries move bytes one by one. */
typedef struct {
  int32_t bytes;
} Shift;

KERNEL(shift) {
  int32_t count = ((const Shift*)op)->bytes;
  if (!(((uintptr_t)in | (uintptr_t)out) & 3)) {
    const uint32_t* from = (const uint32_t*)(const void*)in;
    uint32_t* to = (uint32_t*)(void*)out;
    for (; count >= 16; count -= 16, from += 4, to += 4) {
      const uint32_t a = from[0], b = from[1], c = from[2], d = from[3];
      to[0] = a, to[1] = b, to[2] = c, to[3] = d;
    }
    in = (const int8_t*)from, out = (int8_t*)to;
  }
  for (; count > 0; --count) *out++ = *in++;
}
