/* needs pool */
/* Averages of codes under a window, ties away from zero; padding does not count. */
INLINE int32_t mean_of(const int8_t* in, int rows, int columns, int pitch, int depth) {
  const int count = rows * columns;
  int32_t sum = 0;
  for (; rows > 0; --rows, in += pitch) {
    const int8_t* from = in;
    for (int i = columns; i > 0; --i, from += depth) sum += *from;
  }
  return (sum + (sum < 0 ? -(count / 2) : count / 2)) / count;
}

KERNEL void average(const Pool* p, const int8_t* in, int8_t* out) { pool(p, mean_of, in, out); }
