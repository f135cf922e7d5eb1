/* needs pool */
/* Averages of codes under a window, ties away from zero; padding does not count. */
INLINE int32_t mean_of(const int8_t* in, int rows, int columns, int pitch, int depth) {
  const int count = rows * columns;
  int32_t sum = 0;
  do {
    const int8_t* from = in;
    int i = columns;
    do sum += *from, from += depth;
    while (--i > 0);
    in += pitch;
  } while (--rows > 0);
  return (sum + (sum < 0 ? -(count / 2) : count / 2)) / count;
}

KERNEL(average) { pool(op, mean_of, in, out); }
