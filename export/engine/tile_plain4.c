/* needs tile tile_thumb */
#if !DSP || PLAIN4
/* Weights of 4 bits: bytes hold an element of each of two pairs. */
#if !THUMB_1
static void dot_4(const uint8_t* w, const int16_t* x, const int16_t* end, int pixels, uint32_t* sums) {
  for (int i = 0; i < 6; ++i) sums[i] = 0;
  for (int up = 0; x < end; w += 4 * up, up = !up) {
    for (int p = 0; p < pixels; ++p, x += 2) {
      for (int j = 0; j < 4; ++j) {
        const int tap = (int8_t)(up ? w[j] & 0xF0 : w[j] << 4) / 16;
        sums[3 * (j & 1) + p] += (uint32_t)(tap * x[j >> 1]);
      }
    }
  }
}
#else
DOT(dot_4, PAIRS_4, PAIRS_OF_ONE_4)
#endif
static int8_t* plain4_three(const Tile* t, const int16_t* columns, int8_t* out) {
  return all_channels(t, columns, 3, out, dot_4, 4);
}
static int8_t* plain4_one(const Tile* t, const int16_t* columns, int8_t* out) {
  return all_channels(t, columns, 1, out, dot_4, 4);
}
static const Form kPlain4 = {plain4_three, plain4_one};
#endif
