/* needs pool */
/* The largest codes under a window. */
INLINE int32_t most_of(const int8_t* in, int rows, int columns, int pitch, int depth) {
  int32_t found = -128;
  do {
    const int8_t* from = in;
    int i = columns;
    do found = larger(found, *from), from += depth;
    while (--i > 0);
    in += pitch;
  } while (--rows > 0);
  return found;
}

KERNEL(largest) { pool(op, most_of, in, out); }
