/* needs pool */
/* The largest codes under a window. */
INLINE int32_t most_of(const int8_t* in, int rows, int columns, int pitch, int depth) {
  int32_t most = -128;
  for (; rows > 0; --rows, in += pitch) {
    const int8_t* from = in;
    for (int i = columns; i > 0; --i, from += depth) most = *from > most ? *from : most;
  }
  return most;
}

KERNEL void largest(const Pool* p, const int8_t* in, int8_t* out) { pool(p, most_of, in, out); }
